// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention: q, k, v with or without biases, an RMS norm a head on q and k before
// the rotation where the family has it, rotation of the whole head, soft-max scale head_dim^-1/2.
// Query head h uses key and value head h / (n_heads / n_kv_heads).
#include "verify/attend.h"
#include "verify/forward_inner.h"

typedef struct {
    forward *f;
    float *q, *o;    // [tokens][heads][head_dim]
    float *k, *v;    // [tokens][kv heads][head_dim]
    int64_t layer, tokens;
    float scale;
} gqa;

uint64_t forward_gqa_floats(const arch *a, uint64_t tokens)
{
    return most_mul(tokens, (uint64_t)(2 * (a->n_heads + a->n_kv_heads) * a->head_dim));
}

static void lay_out(gqa *s, const arch *a)
{
    int64_t wide = s->tokens * a->n_heads * a->head_dim;
    int64_t narrow = s->tokens * a->n_kv_heads * a->head_dim;
    s->q = s->f->work.bytes;
    s->o = s->q + wide;
    s->k = s->o + wide;
    s->v = s->k + narrow;
}

static bool project(gqa *s, const float *x, err *e)
{
    product q = {ROLE_Q, ROLE_Q_BIAS, s->layer, -1, x, s->q, s->tokens};
    product k = {ROLE_K, ROLE_K_BIAS, s->layer, -1, x, s->k, s->tokens};
    product v = {ROLE_V, ROLE_V_BIAS, s->layer, -1, x, s->v, s->tokens};
    return forward_product(s->f, &q, e) && forward_product(s->f, &k, e) &&
           forward_product(s->f, &v, e);
}

static bool norm_and_turn(gqa *s, role norm, float *x, int64_t heads, err *e)
{
    const arch *a = s->f->a;
    int64_t d = a->head_dim;
    normalising n = {norm, s->layer, x, x, d, d, s->tokens * heads, d, a->norm_eps};
    rope_rows rows = {x, heads * d, d, s->tokens, heads};
    return (!a->qk_norm || forward_norm(s->f, &n, e)) &&
           rope_turn_rows(&s->f->rope, s->f->o.pool, &rows, e);
}

// Item i: query head i % n_heads of window i / n_heads.
static bool attend_heads(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    gqa *s = ctx;
    const arch *a = s->f->a;
    float *own = forward_worker(s->f, worker, e);
    if (!own)
        return false;
    int64_t len = s->f->len, d = a->head_dim, sharing = a->n_heads / a->n_kv_heads;
    for (int64_t i = begin; i < end; i++) {
        int64_t head = i % a->n_heads, first = i / a->n_heads * len;
        int64_t kv = first * a->n_kv_heads + head / sharing;
        attend_args args = {
            .q = s->q + (first * a->n_heads + head) * d, .q_row = a->n_heads * d,
            .k = s->k + kv * d, .k_row = a->n_kv_heads * d,
            .v = s->v + kv * d, .v_row = a->n_kv_heads * d,
            .o = s->o + (first * a->n_heads + head) * d, .o_row = a->n_heads * d,
            .len = len, .qk_dim = d, .v_dim = d, .scale = s->scale,
            .events = s->f->o.events};
        if (!attend(&args, own, e))
            return false;
    }
    return true;
}

bool forward_gqa(forward *f, int64_t layer, int64_t first_window, int64_t n, err *e)
{
    const arch *a = f->a;
    gqa s = {.f = f, .layer = layer, .tokens = n * f->len, .scale = rope_softmax_scale(a)};
    lay_out(&s, a);
    const float *x = (const float *)f->in.bytes + first_window * f->len * a->hidden;
    float *y = (float *)f->delta.bytes + first_window * f->len * a->hidden;
    activation in = {ROLE_Q, layer, -1, x, s.tokens, a->hidden, NULL};
    activation mixed = {ROLE_O, layer, -1, s.o, s.tokens, a->n_heads * a->head_dim, NULL};
    product out = {ROLE_O, ROLE_O_BIAS, layer, -1, s.o, y, s.tokens};
    return forward_announce(f, &in, e) && project(&s, x, e) &&
           norm_and_turn(&s, ROLE_Q_NORM, s.q, a->n_heads, e) &&
           norm_and_turn(&s, ROLE_K_NORM, s.k, a->n_kv_heads, e) &&
           pool_for(f->o.pool, n * a->n_heads, 1, attend_heads, &s, e) &&
           forward_announce(f, &mixed, e) && forward_product(f, &out, e);
}
