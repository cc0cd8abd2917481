// SPDX-License-Identifier: Apache-2.0
// The gated feed-forward that experts, shared experts and dense layers have in common, and the
// dense layer itself.
#include "base/num.h"
#include "verify/forward_inner.h"

typedef struct {
    float *gate;
    const float *up;
    int64_t inter;
} swiglu_job;

static bool swiglu_rows(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const swiglu_job *j = ctx;
    (void)worker;
    (void)e;
    float *gate = j->gate + begin * j->inter;
    num_swiglu(gate, gate, j->up + begin * j->inter, (end - begin) * j->inter);
    return true;
}

bool forward_gated(forward *f, const gated *g, err *e)
{
    float *gate = g->hold, *up = g->hold + g->m * g->inter;
    activation in = {g->gate, g->layer, g->expert, g->x, g->m, f->a->hidden, g->route};
    product to_gate = {g->gate, ROLE_COUNT, g->layer, g->expert, g->x, gate, g->m};
    product to_up = {g->up, ROLE_COUNT, g->layer, g->expert, g->x, up, g->m};
    swiglu_job act = {gate, up, g->inter};
    activation inner = {g->down, g->layer, g->expert, gate, g->m, g->inter, g->route};
    product down = {g->down, ROLE_COUNT, g->layer, g->expert, gate, g->y, g->m};
    return forward_announce(f, &in, e) && forward_product(f, &to_gate, e) &&
           forward_product(f, &to_up, e) &&
           pool_for(f->o.pool, g->m, 16, swiglu_rows, &act, e) &&
           forward_announce(f, &inner, e) && forward_product(f, &down, e);
}

uint64_t forward_ffn_floats(const arch *a, uint64_t tokens)
{
    int64_t inter = i64_max(a->dense_inter, i64_max(a->moe_inter, a->shared_inter));
    // Input and output of an expert's tokens, their routing weights, gate and up; or the router's
    // logits.
    int64_t ffn = 2 * a->hidden + 1 + 2 * inter;
    return most_mul(tokens, (uint64_t)i64_max(ffn, a->n_experts));
}

bool forward_dense(forward *f, int64_t layer, err *e)
{
    const float *x = f->in.bytes;
    float *y = f->delta.bytes;
    for (int64_t t = 0; t < f->tokens; t += f->plan.block) {
        gated g = {.gate = ROLE_FFN_GATE, .up = ROLE_FFN_UP, .down = ROLE_FFN_DOWN,
                   .layer = layer, .expert = -1, .inter = f->a->dense_inter,
                   .x = x + t * f->a->hidden, .y = y + t * f->a->hidden, .hold = f->work.bytes,
                   .m = i64_min(f->plan.block, f->tokens - t)};
        if (!forward_gated(f, &g, e))
            return false;
    }
    return true;
}
