// SPDX-License-Identifier: Apache-2.0
#include "verify/forward.h"

#include <stdlib.h>

#include "base/reduce.h"
#include "verify/forward_inner.h"
#include "verify/norm.h"
#include "verify/router.h"

bool forward_is_computed(const model *m, err *e)
{
    const arch *a = model_arch(m);
    return !a->no_forward ||
           err_set(e, ERR_INPUT, "this version does not compute the forward pass of family %s: it "
                   "has %s (show, check, convert, quantize without statistics and verify --level "
                   "weights do without it)", a->family, a->no_forward);
}

bool forward_open(forward **out, const model *m, const forward_options *o, err *e)
{
    *out = NULL;
    const arch *a = model_arch(m);
    if (!forward_is_computed(m, e) || (a->n_experts > 0 && !router_check(a, e)))
        return false;
    forward *f = mem_new(1, sizeof *f, "forward pass", e);
    if (!f)
        return false;
    *f = (forward){.m = m, .a = a, .o = *o, .next_layer = -1};
    f->worker = mem_new((uint64_t)pool_threads(o->pool), sizeof *f->worker, "scratch", e);
    if (!f->worker) {
        forward_close(f);
        return false;
    }
    *out = f;
    return true;
}

void forward_close(forward *f)
{
    if (!f)
        return;
    scratch *all[] = {&f->hidden, &f->in, &f->delta, &f->chosen, &f->weight, &f->margin,
                      &f->slots, &f->work, &f->vector};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        scratch_free(all[i]);
    for (int i = 0; f->worker && i < pool_threads(f->o.pool); i++)
        scratch_free(&f->worker[i]);
    free(f->worker);
    free(f->order);
    if (f->lin_ready)
        linear_free(&f->lin);
    rope_free(&f->rope);
    free(f);
}

role forward_announced_as(const arch *a, role r)
{
    switch (r) {
    case ROLE_Q:
        return a->mixer == MIXER_MLA ? ROLE_KV_A : ROLE_Q;
    case ROLE_Q_A:
        return ROLE_KV_A;
    case ROLE_K:
    case ROLE_V:
        return ROLE_Q;
    case ROLE_EXPERT_UP:
        return ROLE_EXPERT_GATE;
    case ROLE_SHARED_UP:
        return ROLE_SHARED_GATE;
    case ROLE_FFN_UP:
        return ROLE_FFN_GATE;
    default:
        return r;
    }
}

bool forward_weight(const forward *f, const weight **w, role r, int64_t layer, int64_t expert,
                    err *e)
{
    *w = model_weight(f->m, r, layer, expert);
    if (*w)
        return true;
    return err_set(e, ERR_INPUT, "layer %lld has no weight for %s", (long long)layer,
                   role_name(r));
}

bool forward_product(forward *f, const product *p, err *e)
{
    linear_args args = {.x = p->x, .y = p->y, .m = p->m};
    if (!forward_weight(f, &args.w, p->r, p->layer, p->expert, e))
        return false;
    if (p->bias != ROLE_COUNT)
        args.bias = model_weight(f->m, p->bias, p->layer, p->expert);
    return linear_apply(&f->lin, &args, e);
}

bool forward_norm(forward *f, const normalising *p, err *e)
{
    const weight *w;
    rms_norm_args args = {.y = p->y, .x = p->x, .y_row = p->y_row, .x_row = p->x_row,
                          .w = f->vector.bytes, .rows = p->rows, .n = p->n, .eps = p->eps};
    return forward_weight(f, &w, p->r, p->layer, -1, e) &&
           linear_rows(&f->lin, w, 0, 1, f->vector.bytes, e) && rms_norm(f->o.pool, &args, e);
}

bool forward_announce(const forward *f, const activation *a, err *e)
{
    return !f->o.on_activation || f->o.on_activation(f->o.ctx, a, e);
}

float *forward_worker(forward *f, int worker, err *e)
{
    return scratch_need(&f->worker[worker], f->plan.worker_floats, sizeof(float),
                        "scratch of a worker", e);
}

static bool check_tokens(const forward *f, const int32_t *tokens, int64_t n, int64_t len, err *e)
{
    for (int64_t i = 0; i < n * len; i++)
        if (tokens[i] < 0 || tokens[i] >= f->a->vocab)
            return err_set(e, ERR_INPUT,
                           "window %lld, position %lld: token %ld is outside the vocabulary of "
                           "%lld", (long long)(f->first_window + i / len), (long long)(i % len),
                           (long)tokens[i], (long long)f->a->vocab);
    return true;
}

// Everything a pass needs, once: later steps allocate nothing that grows.
static bool take_memory(forward *f, err *e)
{
    const arch *a = f->a;
    uint64_t states = (uint64_t)(f->tokens * a->hidden), t = (uint64_t)f->tokens;
    uint64_t picks = t * (uint64_t)a->top_k;
    return scratch_need(&f->hidden, states, sizeof(float), "hidden states", e) &&
           scratch_need(&f->in, states, sizeof(float), "normed states", e) &&
           scratch_need(&f->delta, states, sizeof(float), "sums of a layer", e) &&
           scratch_need(&f->work, f->plan.work_floats, sizeof(float), "work space", e) &&
           scratch_need(&f->vector, (uint64_t)i64_max(i64_max(a->hidden, a->n_experts),
                                                      i64_max(i64_max(a->q_lora, a->kv_lora),
                                                              a->head_dim)),
                        sizeof(float), "norm weights", e) &&
           (a->n_experts == 0 ||
            (scratch_need(&f->chosen, picks, sizeof(int32_t), "routing", e) &&
             scratch_need(&f->weight, picks, sizeof(float), "routing", e) &&
             scratch_need(&f->margin, t, sizeof(float), "routing", e) &&
             scratch_need(&f->slots, picks + (uint64_t)a->n_experts, sizeof(int64_t), "routing",
                          e)));
}

static bool start(forward *f, int64_t n, int64_t len, err *e)
{
    uint64_t least = 0;
    int64_t fit = forward_windows(f->m, len, &f->o, &least);
    forward_plan_make(&f->plan, f->a, len, pool_threads(f->o.pool), f->o.memory);
    if (fit < n) {
        if (fit == 0)
            return err_set(e, ERR_ENV, "one window of %lld tokens needs %llu bytes of memory, "
                           "the ceiling is %llu", (long long)len, (unsigned long long)least,
                           (unsigned long long)f->o.memory);
        return err_set(e, ERR_INTERNAL, "%lld windows were given to a pass that holds %lld",
                       (long long)n, (long long)fit);
    }
    if (f->lin_ready)
        linear_free(&f->lin);
    f->lin_ready = linear_init(&f->lin, f->o.pool, f->plan.weight_bytes, e);
    if (f->rope.len != len)
        rope_free(&f->rope);
    f->n = n;
    f->len = len;
    f->tokens = n * len;
    f->plan.group = i64_min(f->plan.group, n);
    return f->lin_ready && (f->rope.len == len || rope_init(&f->rope, f->a, len, e)) &&
           take_memory(f, e);
}

bool forward_begin(forward *f, const int32_t *tokens, int64_t n, int64_t len, err *e)
{
    const weight *embed;
    f->next_layer = -1;
    f->normed = false;
    if (n < 1 || len < 1)
        return err_set(e, ERR_INPUT, "there are no tokens: %lld windows of %lld", (long long)n,
                       (long long)len);
    if (!start(f, n, len, e) || !check_tokens(f, tokens, n, len, e) ||
        !forward_weight(f, &embed, ROLE_EMBED, -1, -1, e) ||
        !forward_expect_layer(f, 0, e) ||
        !linear_gather(&f->lin, embed, tokens, f->tokens, f->hidden.bytes, e))
        return false;
    f->next_layer = 0;
    return true;
}

static bool add_delta(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    forward *f = ctx;
    float *to = f->hidden.bytes;
    const float *delta = f->delta.bytes;
    (void)worker;
    for (int64_t i = begin * f->a->hidden; i < end * f->a->hidden; i++)
        to[i] += delta[i];
    int64_t bad = reduce_first_nonfinite(to + begin * f->a->hidden,
                                         (end - begin) * f->a->hidden);
    if (bad < 0)
        return true;
    int64_t t = begin + bad / f->a->hidden;
    return err_set(e, ERR_INPUT, "layer %lld: the state of token %lld of window %lld is not finite "
                   "any more", (long long)f->next_layer, (long long)(t % f->len),
                   (long long)(f->first_window + t / f->len));
}

static bool norm_all(forward *f, role r, int64_t layer, scratch *to, err *e)
{
    int64_t d = f->a->hidden;
    normalising n = {r, layer, f->hidden.bytes, to->bytes, d, d, f->tokens, d, f->a->norm_eps};
    return forward_norm(f, &n, e);
}

static bool mix(forward *f, int64_t layer, err *e)
{
    for (int64_t w = 0; w < f->n; w += f->plan.group) {
        int64_t n = i64_min(f->plan.group, f->n - w);
        bool ok = f->a->mixer == MIXER_MLA ? forward_mla(f, layer, w, n, e)
                                           : forward_gqa(f, layer, w, n, e);
        if (!ok || !event_go_on(f->o.events, e))
            return false;
    }
    return pool_for(f->o.pool, f->tokens, 64, add_delta, f, e);
}

void forward_number_windows(forward *f, int64_t first)
{
    f->first_window = first;
}

bool forward_layer(forward *f, int64_t layer, err *e)
{
    if (layer != f->next_layer || layer >= f->a->n_layers)
        return err_set(e, ERR_INTERNAL, "layer %lld was asked for where %lld comes next",
                       (long long)layer, (long long)f->next_layer);
    bool ok = norm_all(f, ROLE_ATTN_NORM, layer, &f->in, e) && mix(f, layer, e) &&
              norm_all(f, ROLE_FFN_NORM, layer, &f->in, e) &&
              (model_ffn(f->m, layer) == FFN_MOE ? forward_moe(f, layer, e)
                                                 : forward_dense(f, layer, e)) &&
              pool_for(f->o.pool, f->tokens, 64, add_delta, f, e);
    f->next_layer = ok ? layer + 1 : -1;
    return ok;
}

bool forward_final_norm(forward *f, err *e)
{
    if (f->next_layer != f->a->n_layers || f->normed)
        return err_set(e, ERR_INTERNAL, "the final norm was asked for before the last layer");
    f->normed = norm_all(f, ROLE_FINAL_NORM, -1, &f->hidden, e);
    return f->normed;
}

const float *forward_hidden(const forward *f)
{
    return f->hidden.bytes;
}

bool forward_logits(forward *f, int64_t first, int64_t count, float *logits, err *e)
{
    if (!f->normed || first < 0 || count < 0 || first > f->tokens - count)
        return err_set(e, ERR_INTERNAL, "logits were asked for before the final norm");
    product head = {ROLE_HEAD, ROLE_COUNT, -1, -1,
                    (const float *)f->hidden.bytes + first * f->a->hidden, logits, count};
    return forward_expect_head(f, e) && forward_product(f, &head, e);
}
