// SPDX-License-Identifier: Apache-2.0
// Multi-head latent attention (DeepSeek-V2 section 2.1; research notes: deepseek 4.1), in the plain
// form: keys and values are expanded from the latent, nothing is absorbed.
//
//   q        = W_qb norm(W_qa x), or W_q x without a query rank; per head [nope | rope]
//   [c | kr] = W_kva x; c normed; kr is one rotary key for all heads
//   [k | v]  = W_kvb c, per head [nope | v]; the head's key is [k | kr]
//   o        = W_o concat(attend(q, key, v))
#include <string.h>

#include "verify/attend.h"
#include "verify/forward_inner.h"

typedef struct {
    forward *f;
    float *q;        // [tokens][heads][nope + rope]
    float *kva;      // [tokens][kv_lora + rope]
    float *c;        // [tokens][kv_lora]
    float *kv;       // [tokens][heads][nope + v]
    float *o;        // [tokens][heads][v]
    float *qa;       // [tokens][q_lora]
    int64_t layer, tokens;
    float scale;
} mla;

static int64_t token_floats(const arch *a)
{
    return a->q_lora + a->n_heads * (a->qk_nope + a->qk_rope) + a->kv_lora + a->qk_rope +
           a->kv_lora + a->n_heads * (a->qk_nope + a->v_dim) + a->n_heads * a->v_dim;
}

uint64_t forward_mla_floats(const arch *a, uint64_t tokens)
{
    return most_mul(tokens, (uint64_t)token_floats(a));
}

static void lay_out(mla *s, const arch *a)
{
    int64_t t = s->tokens;
    s->q = s->f->work.bytes;
    s->kva = s->q + t * a->n_heads * (a->qk_nope + a->qk_rope);
    s->c = s->kva + t * (a->kv_lora + a->qk_rope);
    s->kv = s->c + t * a->kv_lora;
    s->o = s->kv + t * a->n_heads * (a->qk_nope + a->v_dim);
    s->qa = s->o + t * a->n_heads * a->v_dim;
}

static bool make_queries(mla *s, const float *x, err *e)
{
    const arch *a = s->f->a;
    int64_t n = s->tokens;
    if (a->q_lora == 0) {
        product q = {ROLE_Q, ROLE_Q_BIAS, s->layer, -1, x, s->q, n};
        return forward_product(s->f, &q, e);
    }
    product qa = {ROLE_Q_A, ROLE_COUNT, s->layer, -1, x, s->qa, n};
    normalising norm = {ROLE_Q_A_NORM, s->layer, s->qa, s->qa, a->q_lora, a->q_lora, n, a->q_lora,
                        a->lora_norm_eps};
    activation latent = {ROLE_Q_B, s->layer, -1, s->qa, n, a->q_lora, NULL};
    product qb = {ROLE_Q_B, ROLE_COUNT, s->layer, -1, s->qa, s->q, n};
    return forward_product(s->f, &qa, e) && forward_norm(s->f, &norm, e) &&
           forward_announce(s->f, &latent, e) && forward_product(s->f, &qb, e);
}

static bool make_keys_and_values(mla *s, const float *x, err *e)
{
    const arch *a = s->f->a;
    int64_t n = s->tokens, kva_row = a->kv_lora + a->qk_rope;
    product kva = {ROLE_KV_A, ROLE_COUNT, s->layer, -1, x, s->kva, n};
    normalising norm = {ROLE_KV_A_NORM, s->layer, s->kva, s->c, kva_row, a->kv_lora, n,
                        a->kv_lora, a->lora_norm_eps};
    activation latent = {ROLE_KV_B, s->layer, -1, s->c, n, a->kv_lora, NULL};
    product kvb = {ROLE_KV_B, ROLE_COUNT, s->layer, -1, s->c, s->kv, n};
    return forward_product(s->f, &kva, e) && forward_norm(s->f, &norm, e) &&
           forward_announce(s->f, &latent, e) && forward_product(s->f, &kvb, e);
}

static bool turn(mla *s, err *e)
{
    const arch *a = s->f->a;
    int64_t qk = a->qk_nope + a->qk_rope, kva_row = a->kv_lora + a->qk_rope;
    rope_rows q = {s->q + a->qk_nope, a->n_heads * qk, qk, s->tokens, a->n_heads};
    rope_rows k = {s->kva + a->kv_lora, kva_row, 0, s->tokens, 1};
    return rope_turn_rows(&s->f->rope, s->f->o.pool, &q, e) &&
           rope_turn_rows(&s->f->rope, s->f->o.pool, &k, e);
}

// The whole keys of one head of one window: key [len][nope + rope].
static void join_keys(const mla *s, int64_t first, int64_t head, float *key)
{
    const arch *a = s->f->a;
    int64_t kv_head = a->qk_nope + a->v_dim;
    const float *nope = s->kv + (first * a->n_heads + head) * kv_head;
    const float *tail = s->kva + first * (a->kv_lora + a->qk_rope) + a->kv_lora;
    for (int64_t t = 0; t < s->f->len; t++) {
        memcpy(key, nope, (size_t)a->qk_nope * sizeof *key);
        memcpy(key + a->qk_nope, tail, (size_t)a->qk_rope * sizeof *key);
        key += a->qk_nope + a->qk_rope;
        nope += a->n_heads * kv_head;
        tail += a->kv_lora + a->qk_rope;
    }
}

// Item i: head i % n_heads of window i / n_heads.
static bool attend_heads(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    mla *s = ctx;
    const arch *a = s->f->a;
    float *own = forward_worker(s->f, worker, e);
    if (!own)
        return false;
    int64_t len = s->f->len, qk = a->qk_nope + a->qk_rope, kv_head = a->qk_nope + a->v_dim;
    float *key = own + ATTEND_TILE * len;
    for (int64_t i = begin; i < end; i++) {
        int64_t head = i % a->n_heads, first = i / a->n_heads * len;
        join_keys(s, first, head, key);
        attend_args args = {
            .q = s->q + (first * a->n_heads + head) * qk, .q_row = a->n_heads * qk,
            .k = key, .k_row = qk,
            .v = s->kv + (first * a->n_heads + head) * kv_head + a->qk_nope,
            .v_row = a->n_heads * kv_head,
            .o = s->o + (first * a->n_heads + head) * a->v_dim, .o_row = a->n_heads * a->v_dim,
            .len = len, .qk_dim = qk, .v_dim = a->v_dim, .scale = s->scale,
            .events = s->f->o.events};
        if (!attend(&args, own, e))
            return false;
    }
    return true;
}

bool forward_mla(forward *f, int64_t layer, int64_t first_window, int64_t n, err *e)
{
    const arch *a = f->a;
    mla s = {.f = f, .layer = layer, .tokens = n * f->len, .scale = rope_softmax_scale(a)};
    lay_out(&s, a);
    const float *x = (const float *)f->in.bytes + first_window * f->len * a->hidden;
    float *y = (float *)f->delta.bytes + first_window * f->len * a->hidden;
    activation in = {ROLE_KV_A, layer, -1, x, s.tokens, a->hidden, NULL};
    activation mixed = {ROLE_O, layer, -1, s.o, s.tokens, a->n_heads * a->v_dim, NULL};
    product out = {ROLE_O, ROLE_O_BIAS, layer, -1, s.o, y, s.tokens};
    return forward_announce(f, &in, e) && make_queries(&s, x, e) &&
           make_keys_and_values(&s, x, e) && turn(&s, e) &&
           pool_for(f->o.pool, n * a->n_heads, 1, attend_heads, &s, e) &&
           forward_announce(f, &mixed, e) && forward_product(f, &out, e);
}
