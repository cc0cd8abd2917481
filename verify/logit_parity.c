// SPDX-License-Identifier: Apache-2.0
#include "verify/logit_parity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "verify/passes.h"
#include "verify/router_parity.h"

typedef struct {
    double kld, nll_ref, nll_cand; // the latter two 0 for the last token of a window
    bool same_top;
} token_parity;

typedef struct {
    const logit_parity_options *o;
    logit_parity *to;
    token_parity *token;   // [n * len]
    router_watch routers;
} watching;

// ---- while the models run --------------------------------------------------------------------

static bool on_hidden(void *ctx, int64_t entry, int64_t first_window, int64_t n,
                      const float *const *hidden, err *e)
{
    watching *w = ctx;
    (void)first_window;
    (void)e;
    // Window by window, so that the sums do not depend on how windows are grouped.
    int64_t values = w->o->windows->len * model_arch(w->o->ref)->hidden;
    for (int64_t i = 0; i < n; i++)
        metrics_add(&w->to->hidden[entry].sums, hidden[0] + i * values, hidden[1] + i * values,
                    NULL, values);
    return true;
}

static bool on_routing(void *ctx, int which, int64_t first_window, const routing *r, err *e)
{
    watching *w = ctx;
    return router_watch_add(&w->routers, which, first_window * w->o->windows->len, r, e);
}

typedef struct {
    const watching *w;
    const float *ref, *cand;
    int64_t first, vocab;
} logit_block;

static bool compare_tokens(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const logit_block *b = ctx;
    const windows *in = b->w->o->windows;
    (void)worker;
    (void)e;
    for (int64_t i = begin; i < end; i++) {
        const float *ref = b->ref + i * b->vocab, *cand = b->cand + i * b->vocab;
        int64_t at = b->first + i;
        logit_metrics m = metrics_of_logits(ref, cand, b->vocab);
        token_parity *t = &b->w->token[at];
        *t = (token_parity){.kld = m.kld, .same_top = m.same_top};
        if ((at + 1) % in->len != 0) {
            int32_t target = in->tokens[at + 1];
            t->nll_ref = m.lse_ref - (double)ref[target];
            t->nll_cand = m.lse_cand - (double)cand[target];
        }
    }
    return true;
}

static bool on_logits(void *ctx, int64_t first, int64_t count, const float *const *logits, err *e)
{
    watching *w = ctx;
    logit_block b = {w, logits[0], logits[1], first, model_arch(w->o->ref)->vocab};
    return pool_for(w->o->pool, count, 16, compare_tokens, &b, e);
}

// ---- afterwards ------------------------------------------------------------------------------

static int ascending(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static bool percentiles(watching *w, err *e)
{
    int64_t n = w->to->n_tokens;
    double *sorted = mem_new((uint64_t)n, sizeof *sorted, "divergences", e);
    if (!sorted)
        return false;
    for (int64_t i = 0; i < n; i++)
        sorted[i] = w->token[i].kld;
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    w->to->kld_median = metrics_percentile(sorted, n, 0.5);
    w->to->kld_p99 = metrics_percentile(sorted, n, 0.99);
    w->to->kld_max = sorted[n - 1];
    free(sorted);
    return true;
}

static bool window_sums(watching *w, err *e)
{
    logit_parity *to = w->to;
    const windows *in = w->o->windows;
    to->window_kld = mem_new((uint64_t)in->n, sizeof *to->window_kld, "window sums", e);
    to->window_nll = mem_new((uint64_t)in->n, sizeof *to->window_nll, "window sums", e);
    int64_t *tokens = mem_new((uint64_t)in->n, sizeof *tokens, "counts", e);
    int64_t *targets = mem_new((uint64_t)in->n, sizeof *targets, "counts", e);
    bool ok = to->window_kld && to->window_nll && tokens && targets;
    for (int64_t i = 0; ok && i < in->n; i++) {
        tokens[i] = in->len;
        targets[i] = in->len - 1;
        for (int64_t t = i * in->len; t < (i + 1) * in->len; t++) {
            to->window_kld[i] += w->token[t].kld;
            to->window_nll[i] += w->token[t].nll_cand - w->token[t].nll_ref;
            to->nll_ref += w->token[t].nll_ref;
            to->nll_cand += w->token[t].nll_cand;
            to->n_same_top += w->token[t].same_top;
        }
    }
    if (ok) {
        double scored = (double)(in->n * (in->len - 1));
        to->nll_ref /= scored;
        to->nll_cand /= scored;
        to->n_scored = in->n * in->len;
        ok = bootstrap_mean(&to->kld, to->window_kld, tokens, in->document, in->n, w->o->seed,
                            e) &&
             bootstrap_mean(&to->nll_difference, to->window_nll, targets, in->document, in->n,
                            w->o->seed, e);
    }
    free(tokens);
    free(targets);
    return ok;
}

static bool run(watching *w, err *e)
{
    const logit_parity_options *o = w->o;
    logit_parity *to = w->to;
    to->n_tokens = o->windows->n * o->windows->len;
    to->n_windows = o->windows->n;
    to->window_tokens = o->windows->len;
    to->n_hidden = model_arch(o->ref)->n_layers + 1;
    to->hidden = mem_new((uint64_t)to->n_hidden, sizeof *to->hidden, "layer sums", e);
    w->token = mem_new((uint64_t)to->n_tokens, sizeof *w->token, "token results", e);
    if (!to->hidden || !w->token ||
        !router_watch_init(&w->routers, o->ref, o->windows->n * o->windows->len, e))
        return false;
    passes both = {.n_models = 2,
                   .model = {o->ref, o->cand},
                   .name = {"reference", "candidate"},
                   .tokens = o->windows->tokens,
                   .n = o->windows->n,
                   .len = o->windows->len,
                   .pool = o->pool,
                   .memory = o->memory,
                   .held = (uint64_t)to->n_tokens * sizeof *w->token +
                           router_watch_bytes(&w->routers),
                   .events = o->events,
                   .on_routing = on_routing,
                   .on_hidden = on_hidden,
                   .on_logits = o->layers_only ? NULL : on_logits,
                   .ctx = w};
    if (!passes_run(&both, e))
        return false;
    if (!router_watch_end(&w->routers, &to->router, &to->n_routers, e))
        return false;
    return o->layers_only || (percentiles(w, e) && window_sums(w, e));
}

bool logit_parity_run(logit_parity *out, const logit_parity_options *o, err *e)
{
    logit_parity p = {0};
    watching w = {.o = o, .to = &p};
    *out = p;
    bool ok = run(&w, e);
    router_watch_free(&w.routers);
    free(w.token);
    if (!ok) {
        logit_parity_free(&p);
        return false;
    }
    *out = p;
    return true;
}

void logit_parity_free(logit_parity *p)
{
    free(p->window_kld);
    free(p->window_nll);
    free(p->router);
    free(p->hidden);
    *p = (logit_parity){0};
}
