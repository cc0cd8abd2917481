// SPDX-License-Identifier: Apache-2.0
// The mixture layer: y = sum over the chosen experts, ascending, of weight * expert(x), plus the
// shared expert. Each expert that was hit is read once a block of its tokens, the others not at
// all. Sums are binary32: the weighted output of an expert is rounded, then added; the shared
// expert comes last.
#include <math.h>
#include <string.h>

#include "base/reduce.h"
#include "verify/forward_inner.h"
#include "verify/router.h"

typedef struct {
    forward *f;
    router router;
    float *logits;     // [block][n_experts]
    int64_t layer, first;
} choosing;

static bool choose_range(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    choosing *c = ctx;
    const arch *a = c->f->a;
    float *choice = forward_worker(c->f, worker, e);
    for (int64_t i = begin; choice && i < end; i++) {
        float *logits = c->logits + i * a->n_experts;
        int64_t t = c->first + i, bad = reduce_first_nonfinite(logits, a->n_experts);
        if (bad >= 0)
            return err_set(e, ERR_INPUT,
                           "layer %lld: the router's logit of expert %lld is not finite for token "
                           "%lld of window %lld", (long long)c->layer, (long long)bad,
                           (long long)(t % c->f->len),
                           (long long)(c->f->first_window + t / c->f->len));
        router_choose(&c->router, logits, choice, (int32_t *)c->f->chosen.bytes + t * a->top_k,
                      (float *)c->f->weight.bytes + t * a->top_k,
                      (float *)c->f->margin.bytes + t);
    }
    return choice != NULL;
}

static bool route_all(forward *f, int64_t layer, err *e)
{
    const arch *a = f->a;
    choosing c = {.f = f, .router = {.arch = a}, .logits = f->work.bytes, .layer = layer};
    if (a->select_bias) {
        const weight *w;
        float *bias = f->vector.bytes;
        if (!forward_weight(f, &w, ROLE_ROUTER_SELECT_BIAS, layer, -1, e) ||
            !linear_rows(&f->lin, w, 0, 1, bias, e))
            return false;
        c.router.select_bias = bias;
    }
    for (c.first = 0; c.first < f->tokens; c.first += f->plan.block) {
        int64_t m = i64_min(f->plan.block, f->tokens - c.first);
        product p = {ROLE_ROUTER, ROLE_COUNT, layer, -1,
                     (const float *)f->in.bytes + c.first * a->hidden, c.logits, m};
        if (!forward_product(f, &p, e) ||
            !pool_for(f->o.pool, m, 32, choose_range, &c, e))
            return false;
    }
    routing r = {layer, f->tokens, a->top_k, f->chosen.bytes, f->weight.bytes, f->margin.bytes};
    return !f->o.on_routing || f->o.on_routing(f->o.ctx, &r, e);
}

// Slots (token * top_k + place) sorted by expert, tokens ascending within one; end[x]: one behind
// the last of expert x.
static void sort_slots(const forward *f, int64_t *slots, int64_t *end)
{
    const int32_t *chosen = f->chosen.bytes;
    int64_t n = f->tokens * f->a->top_k, at = 0;
    memset(end, 0, (size_t)f->a->n_experts * sizeof *end);
    for (int64_t i = 0; i < n; i++)
        end[chosen[i]]++;
    for (int64_t x = 0; x < f->a->n_experts; x++) {
        int64_t count = end[x];
        end[x] = at; // the begin, which the next loop moves to the end
        at += count;
    }
    for (int64_t i = 0; i < n; i++)
        slots[end[chosen[i]]++] = i;
}

typedef struct {
    const forward *f;
    const int64_t *slots;  // of one expert
    float *x, *y, *route;  // [m][hidden], [m][hidden], [m]
} moving;

static bool gather(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const moving *g = ctx;
    const arch *a = g->f->a;
    const float *from = g->f->in.bytes, *shares = g->f->weight.bytes;
    (void)worker;
    (void)e;
    for (int64_t i = begin; i < end; i++) {
        memcpy(g->x + i * a->hidden, from + g->slots[i] / a->top_k * a->hidden,
               (size_t)a->hidden * sizeof *from);
        g->route[i] = shares[g->slots[i]];
    }
    return true;
}

// The tokens of one expert are distinct, so rows may be added in any order.
static bool scatter(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const moving *g = ctx;
    const arch *a = g->f->a;
    (void)worker;
    (void)e;
    for (int64_t i = begin; i < end; i++) {
        float *to = (float *)g->f->delta.bytes + g->slots[i] / a->top_k * a->hidden;
        const float *y = g->y + i * a->hidden;
        float w = g->route[i];
        for (int64_t d = 0; d < a->hidden; d++)
            to[d] += w * y[d];
    }
    return true;
}

static bool run_expert(forward *f, int64_t layer, int64_t expert, const int64_t *slots, int64_t n,
                       err *e)
{
    const arch *a = f->a;
    for (int64_t done = 0; done < n; done += f->plan.block) {
        int64_t m = i64_min(f->plan.block, n - done);
        float *x = f->work.bytes, *y = x + m * a->hidden, *route = y + m * a->hidden;
        moving g = {f, slots + done, x, y, route};
        gated ffn = {.gate = ROLE_EXPERT_GATE, .up = ROLE_EXPERT_UP, .down = ROLE_EXPERT_DOWN,
                     .layer = layer, .expert = expert, .inter = a->moe_inter, .x = x, .y = y,
                     .route = route, .hold = route + m, .m = m};
        if (!pool_for(f->o.pool, m, 64, gather, &g, e) || !forward_gated(f, &ffn, e) ||
            !pool_for(f->o.pool, m, 64, scatter, &g, e))
            return false;
    }
    return true;
}

static bool run_experts(forward *f, int64_t layer, err *e)
{
    const arch *a = f->a;
    int64_t *slots = f->slots.bytes, *end = slots + f->tokens * a->top_k;
    sort_slots(f, slots, end);
    if (!forward_expect_experts(f, layer, end, e))
        return false;
    memset(f->delta.bytes, 0, (size_t)(f->tokens * a->hidden) * sizeof(float));
    for (int64_t x = 0, at = 0; x < a->n_experts; at = end[x++]) {
        if (end[x] == at)
            continue;
        if (!event_go_on(f->o.events, e) ||
            !run_expert(f, layer, x, slots + at, end[x] - at, e))
            return false;
    }
    return true;
}

typedef struct {
    float *to;
    const float *y;
    int64_t hidden;
} adding;

static bool add_rows(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const adding *g = ctx;
    (void)worker;
    (void)e;
    for (int64_t i = begin * g->hidden; i < end * g->hidden; i++)
        g->to[i] += g->y[i];
    return true;
}

static bool run_shared(forward *f, int64_t layer, err *e)
{
    const arch *a = f->a;
    for (int64_t t = 0; t < f->tokens; t += f->plan.block) {
        int64_t m = i64_min(f->plan.block, f->tokens - t);
        float *y = f->work.bytes;
        gated ffn = {.gate = ROLE_SHARED_GATE, .up = ROLE_SHARED_UP, .down = ROLE_SHARED_DOWN,
                     .layer = layer, .expert = -1, .inter = a->shared_inter,
                     .x = (const float *)f->in.bytes + t * a->hidden, .y = y,
                     .hold = y + m * a->hidden, .m = m};
        adding g = {(float *)f->delta.bytes + t * a->hidden, y, a->hidden};
        if (!forward_gated(f, &ffn, e) || !pool_for(f->o.pool, m, 64, add_rows, &g, e))
            return false;
    }
    return true;
}

bool forward_moe(forward *f, int64_t layer, err *e)
{
    return route_all(f, layer, e) && run_experts(f, layer, e) &&
           (f->a->shared_inter == 0 || run_shared(f, layer, e));
}
