// SPDX-License-Identifier: Apache-2.0
#include "verify/passes.h"

#include <stdlib.h>

#include "base/mem.h"

enum { MOST_LOGIT_ROWS = 1024 };  // at a time: the head is decoded once for so many

typedef struct {
    const passes *p;
    int which;
    int64_t first_window;
} forwarding;

typedef struct {
    const passes *p;
    forward *f[PASSES_MAX_MODELS];
    forwarding to[PASSES_MAX_MODELS];
    float *logits[PASSES_MAX_MODELS];
    int64_t group;      // windows at a time
    int64_t rows;       // of logits at a time; 0: none wanted
    uint64_t done, total;
} run;

static bool on_activation(void *ctx, const activation *a, err *e)
{
    const forwarding *t = ctx;
    return t->p->on_activation(t->p->ctx, t->which, a, e);
}

static bool on_routing(void *ctx, const routing *r, err *e)
{
    const forwarding *t = ctx;
    return t->p->on_routing(t->p->ctx, t->which, t->first_window, r, e);
}

static bool check_models(const passes *p, err *e)
{
    if (p->n_models < 2)
        return true;
    const arch *a = model_arch(p->model[0]), *b = model_arch(p->model[1]);
    const struct { const char *what; int64_t a, b; } same[] = {
        {"hidden size", a->hidden, b->hidden},
        {"number of layers", a->n_layers, b->n_layers},
        {"vocabulary", a->vocab, b->vocab},
    };
    for (size_t i = 0; i < COUNT_OF(same); i++)
        if (same[i].a != same[i].b)
            return err_set(e, ERR_INPUT, "the models differ in %s: %lld and %lld", same[i].what,
                           (long long)same[i].a, (long long)same[i].b);
    return true;
}

static bool check_tokens(const passes *p, err *e)
{
    int64_t vocab = model_arch(p->model[0])->vocab;
    if (p->n < 1 || p->len < 1)
        return err_set(e, ERR_INPUT, "there are no tokens: %lld windows of %lld",
                       (long long)p->n, (long long)p->len);
    for (int64_t i = 0; i < p->n * p->len; i++)
        if (p->tokens[i] < 0 || p->tokens[i] >= vocab)
            return err_set(e, ERR_INPUT, "window %lld, position %lld: token %ld is outside the "
                           "vocabulary of %lld", (long long)(i / p->len),
                           (long long)(i % p->len), (long)p->tokens[i], (long long)vocab);
    return true;
}

// What one model may use.
static uint64_t share_of_model(const passes *p)
{
    return (p->memory > p->held ? p->memory - p->held : 0) / (uint64_t)p->n_models;
}

static uint64_t logit_row(const passes *p)
{
    return (uint64_t)model_arch(p->model[0])->vocab * sizeof(float);
}

// Windows at a time when `rows` rows of logits are kept beside; *least: smallest ceiling.
static int64_t windows_beside(const passes *p, int64_t rows, uint64_t *least)
{
    int64_t fit = INT64_MAX;
    uint64_t most = 0, logits = (uint64_t)rows * logit_row(p);
    uint64_t share = share_of_model(p);
    for (int i = 0; i < p->n_models; i++) {
        uint64_t one = 0;
        forward_options o = {.pool = p->pool, .memory = share > logits ? share - logits : 0};
        fit = i64_min(fit, forward_windows(p->model[i], p->len, &o, &one));
        most = one > most ? one : most;
    }
    *least = (most + logits) * (uint64_t)p->n_models + p->held;
    return fit;
}

static bool plan(run *r, err *e)
{
    const passes *p = r->p;
    uint64_t least = 0;
    if (p->on_logits) {
        uint64_t rows = share_of_model(p) / 16 / logit_row(p);
        r->rows = i64_max(1, rows < MOST_LOGIT_ROWS ? (int64_t)rows : MOST_LOGIT_ROWS);
        r->rows = i64_min(r->rows, p->n * p->len);
    }
    int64_t fit = windows_beside(p, r->rows, &least);
    if (fit == 0 && r->rows > 1) {
        r->rows = 1;
        fit = windows_beside(p, r->rows, &least);
    }
    if (fit == 0)
        return err_set(e, ERR_ENV, "%llu bytes of memory do not hold one window of %lld tokens: "
                       "the smallest ceiling that does is %llu", (unsigned long long)p->memory,
                       (long long)p->len, (unsigned long long)least);
    int64_t groups = i64_ceil_div(p->n, i64_min(fit, p->n));
    r->group = i64_ceil_div(p->n, groups);
    groups = i64_ceil_div(p->n, r->group);
    r->total = (uint64_t)(groups * (model_arch(p->model[0])->n_layers + (r->rows > 0)));
    return true;
}

static bool open_models(run *r, err *e)
{
    const passes *p = r->p;
    for (int i = 0; i < p->n_models; i++) {
        r->to[i] = (forwarding){p, i, 0};
        forward_options o = {
            .pool = p->pool, .events = p->events, .ctx = &r->to[i],
            .memory = share_of_model(p) - (uint64_t)r->rows * logit_row(p),
            .on_activation = p->on_activation ? on_activation : NULL,
            .on_routing = p->on_routing ? on_routing : NULL};
        r->logits[i] = mem_new_aligned((uint64_t)r->rows, logit_row(p), "logits", e);
        if (!r->logits[i] || !forward_open(&r->f[i], p->model[i], &o, e))
            return false;
    }
    return true;
}

// A step of model i failed: which of two models it was belongs into the sentence.
static bool failed(const passes *p, int i, err *e)
{
    return p->name[i] && e->kind != ERR_INTERRUPTED ? err_in(e, "%s", p->name[i]) : false;
}

static bool tell_hidden(const run *r, int64_t entry, int64_t first, int64_t n, err *e)
{
    const passes *p = r->p;
    const float *hidden[PASSES_MAX_MODELS] = {NULL};
    for (int i = 0; i < p->n_models; i++)
        hidden[i] = forward_hidden(r->f[i]);
    return !p->on_hidden || p->on_hidden(p->ctx, entry, first, n, hidden, e);
}

static bool step(run *r, int64_t layer, int64_t first, int64_t n, err *e)
{
    const passes *p = r->p;
    int64_t n_layers = model_arch(p->model[0])->n_layers;
    if (!event_go_on(p->events, e))
        return false;
    for (int i = 0; i < p->n_models; i++)
        if (!forward_layer(r->f[i], layer, e) ||
            (layer + 1 == n_layers && !forward_final_norm(r->f[i], e)))
            return failed(p, i, e);
    event_progress(p->events, "layer", ++r->done, r->total);
    return tell_hidden(r, layer + 1, first, n, e);
}

static bool tell_logits(run *r, int64_t first_window, int64_t n, err *e)
{
    const passes *p = r->p;
    int64_t tokens = n * p->len;
    for (int64_t t = 0; t < tokens; t += r->rows) {
        int64_t count = i64_min(r->rows, tokens - t);
        const float *logits[PASSES_MAX_MODELS] = {NULL};
        if (!event_go_on(p->events, e))
            return false;
        for (int i = 0; i < p->n_models; i++) {
            if (!forward_logits(r->f[i], t, count, r->logits[i], e))
                return failed(p, i, e);
            logits[i] = r->logits[i];
        }
        if (!p->on_logits(p->ctx, first_window * p->len + t, count, logits, e))
            return false;
    }
    event_progress(p->events, "layer", ++r->done, r->total);
    return true;
}

static bool run_group(run *r, int64_t first, int64_t n, err *e)
{
    const passes *p = r->p;
    for (int i = 0; i < p->n_models; i++) {
        r->to[i].first_window = first;
        forward_number_windows(r->f[i], first);
        if (!forward_begin(r->f[i], p->tokens + first * p->len, n, p->len, e))
            return failed(p, i, e);
    }
    if (!tell_hidden(r, 0, first, n, e))
        return false;
    for (int64_t l = 0; l < model_arch(p->model[0])->n_layers; l++)
        if (!step(r, l, first, n, e))
            return false;
    return r->rows == 0 || tell_logits(r, first, n, e);
}

bool passes_check(const passes *p, err *e)
{
    run r = {.p = p};
    return check_models(p, e) && check_tokens(p, e) && plan(&r, e);
}

bool passes_run(const passes *p, err *e)
{
    run r = {.p = p};
    bool ok = check_models(p, e) && check_tokens(p, e) && plan(&r, e) && open_models(&r, e);
    for (int64_t w = 0; ok && w < p->n; w += r.group)
        ok = run_group(&r, w, i64_min(r.group, p->n - w), e);
    for (int i = 0; i < p->n_models; i++) {
        forward_close(r.f[i]);
        free(r.logits[i]);
    }
    return ok;
}
