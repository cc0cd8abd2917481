// SPDX-License-Identifier: Apache-2.0
// How the memory of a pass is cut: what one window costs, what everything else costs, and how far
// scratch sizes shrink so that windows fit. Nothing here changes a result.
#include "base/stream.h"
#include "verify/attend.h"
#include "verify/forward_inner.h"

enum {
    COMFORTABLE_TOKENS = 2048,        // of a block: weights are decoded once for so many
    LEAST_TOKENS = 16,
    LEAST_ROWS = 16                   // of a weight's widest row
};
static const uint64_t COMFORTABLE_WEIGHT = 32u << 20;

static uint64_t u64_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t u64_max(uint64_t a, uint64_t b) { return a > b ? a : b; }

static int64_t widest_input(const arch *a)
{
    int64_t w = i64_max(a->hidden, i64_max(a->dense_inter, i64_max(a->moe_inter,
                                                                   a->shared_inter)));
    if (a->mixer == MIXER_GQA)
        return i64_max(w, a->n_heads * a->head_dim);
    return i64_max(i64_max(w, a->n_heads * a->v_dim), i64_max(a->q_lora, a->kv_lora));
}

static int64_t widest_output(const arch *a)
{
    int64_t w = i64_max(widest_input(a), a->vocab);
    if (a->mixer == MIXER_GQA)
        return w;
    return i64_max(w, a->n_heads * i64_max(a->qk_nope + a->qk_rope, a->qk_nope + a->v_dim));
}

uint64_t forward_attend_floats(const arch *a, uint64_t len)
{
    int64_t key = a->mixer == MIXER_MLA ? a->qk_nope + a->qk_rope : 0;
    return most_mul(len, (uint64_t)(ATTEND_TILE + key));
}

static uint64_t vector_floats(const arch *a)
{
    int64_t n = i64_max(i64_max(a->hidden, a->n_experts), i64_max(a->q_lora, a->kv_lora));
    return (uint64_t)i64_max(n, a->head_dim);
}

static void measure(forward_plan *p, const arch *a, int64_t len, int threads)
{
    uint64_t group_tokens = most_mul((uint64_t)p->group, (uint64_t)len);
    uint64_t attention = a->mixer == MIXER_MLA ? forward_mla_floats(a, group_tokens)
                                               : forward_gqa_floats(a, group_tokens);
    p->work_floats = u64_max(attention, forward_ffn_floats(a, (uint64_t)p->block));
    p->worker_floats = u64_max(forward_attend_floats(a, (uint64_t)len),
                               2 * (uint64_t)a->n_experts);
    uint64_t tables = most_mul((uint64_t)len, (uint64_t)rope_dims(a));
    uint64_t workers = most_mul((uint64_t)threads, p->worker_floats);
    uint64_t floats = most_add(most_add(p->work_floats, workers),
                               most_add(tables, vector_floats(a) + (uint64_t)a->n_experts * 2));
    uint64_t weights = linear_bytes(p->weight_bytes, widest_input(a), threads) +
                       linear_ahead_bytes(p->weight_bytes, widest_input(a), p->ahead);
    p->fixed = most_add(most_mul(floats, sizeof(float)), weights);
    uint64_t picks = (uint64_t)a->top_k * (sizeof(int32_t) + sizeof(float) + sizeof(int64_t)) +
                     sizeof(float);
    uint64_t token = 3 * (uint64_t)a->hidden * sizeof(float) + (a->n_experts ? picks : 0);
    p->per_window = most_mul((uint64_t)len, token);
}

// Where memory is short nothing is read ahead; it is better spent on windows.
static uint64_t ahead_of(uint64_t memory)
{
    uint64_t some = u64_min(memory / 16, STREAM_ENOUGH);
    return some < STREAM_LEAST ? 0 : some;
}

void forward_plan_make(forward_plan *p, const arch *a, int64_t len, int threads, uint64_t memory)
{
    uint64_t row = (uint64_t)widest_input(a) * sizeof(float);
    uint64_t least_weight = LEAST_ROWS * row;
    uint64_t whole = most_mul(row, (uint64_t)widest_output(a));
    *p = (forward_plan){.group = i64_max(1, COMFORTABLE_TOKENS / len),
                        .block = COMFORTABLE_TOKENS,
                        .weight_bytes = u64_max(least_weight, u64_min(whole, COMFORTABLE_WEIGHT)),
                        .ahead = ahead_of(memory)};
    measure(p, a, len, threads);
    while (p->fixed > memory / 4 &&
           (p->group > 1 || p->block > LEAST_TOKENS || p->weight_bytes > least_weight)) {
        p->group = i64_max(1, p->group / 2);
        p->block = i64_max(LEAST_TOKENS, p->block / 2);
        p->weight_bytes = u64_max(least_weight, p->weight_bytes / 2);
        measure(p, a, len, threads);
    }
}

int64_t forward_windows(const model *m, int64_t len, const forward_options *o, uint64_t *least)
{
    forward_plan p;
    forward_plan_make(&p, model_arch(m), len, pool_threads(o->pool), 0);
    *least = most_add(p.fixed, p.per_window);
    forward_plan_make(&p, model_arch(m), len, pool_threads(o->pool), o->memory);
    if (p.fixed >= o->memory)
        return 0;
    return (int64_t)u64_min((o->memory - p.fixed) / p.per_window, INT64_MAX / (uint64_t)len);
}
