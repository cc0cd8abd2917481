// SPDX-License-Identifier: Apache-2.0
// In which order a pass uses the matrices, told to the linear layer, which reads them ahead. This
// repeats what the steps do; where they and this page differ, weights are read late and nothing
// else happens (a test counts them). Vectors are small and not announced.
#include "verify/forward_inner.h"

// What the model lacks is told where it is used.
static bool add(forward *f, role r, int64_t layer, int64_t expert, err *e)
{
    const weight *w = model_weight(f->m, r, layer, expert);
    if (!w)
        return true;
    if (!mem_grow((void **)&f->order, &f->order_cap, f->n_order + 1, sizeof(weight *),
                  "the order of weights", e))
        return false;
    f->order[f->n_order++] = w;
    return true;
}

static bool add_mix(forward *f, int64_t layer, err *e)
{
    static const role gqa[] = {ROLE_Q, ROLE_K, ROLE_V, ROLE_O};
    static const role mla[] = {ROLE_Q, ROLE_KV_A, ROLE_KV_B, ROLE_O};
    static const role mla_low[] = {ROLE_Q_A, ROLE_Q_B, ROLE_KV_A, ROLE_KV_B, ROLE_O};
    const role *roles = f->a->mixer == MIXER_GQA ? gqa : f->a->q_lora ? mla_low : mla;
    bool ok = true;
    for (int64_t w = 0; ok && w < f->n; w += f->plan.group)
        for (const role *r = roles; ok; r++) {
            ok = add(f, *r, layer, -1, e);
            if (*r == ROLE_O)
                break;
        }
    return ok;
}

static int64_t blocks_of(const forward *f, int64_t tokens)
{
    return i64_ceil_div(tokens, f->plan.block);
}

static bool add_gated(forward *f, role gate, int64_t layer, int64_t expert, int64_t tokens, err *e)
{
    role up = gate == ROLE_EXPERT_GATE ? ROLE_EXPERT_UP
              : gate == ROLE_SHARED_GATE ? ROLE_SHARED_UP : ROLE_FFN_UP;
    role down = gate == ROLE_EXPERT_GATE ? ROLE_EXPERT_DOWN
                : gate == ROLE_SHARED_GATE ? ROLE_SHARED_DOWN : ROLE_FFN_DOWN;
    bool ok = true;
    for (int64_t b = 0; ok && b < blocks_of(f, tokens); b++)
        ok = add(f, gate, layer, expert, e) && add(f, up, layer, expert, e) &&
             add(f, down, layer, expert, e);
    return ok;
}

static bool add_layers(forward *f, int64_t layer, err *e)
{
    bool ok = true, routes = false;
    for (; ok && !routes && layer < f->a->n_layers; layer++) {
        routes = model_ffn(f->m, layer) == FFN_MOE;
        ok = add_mix(f, layer, e) &&
             (routes || add_gated(f, ROLE_FFN_GATE, layer, -1, f->tokens, e));
        for (int64_t b = 0; ok && routes && b < blocks_of(f, f->tokens); b++)
            ok = add(f, ROLE_ROUTER, layer, -1, e);
    }
    return ok;
}

static bool announce(forward *f, err *e)
{
    return linear_expect(&f->lin, f->order, (int64_t)f->n_order, f->plan.ahead, e);
}

bool forward_expect_layer(forward *f, int64_t layer, err *e)
{
    f->n_order = 0;
    return f->plan.ahead == 0 || (add_layers(f, layer, e) && announce(f, e));
}

bool forward_expect_experts(forward *f, int64_t layer, const int64_t *end, err *e)
{
    f->n_order = 0;
    if (f->plan.ahead == 0)
        return true;
    bool ok = true;
    for (int64_t x = 0, at = 0; ok && x < f->a->n_experts; at = end[x++])
        ok = add_gated(f, ROLE_EXPERT_GATE, layer, x, end[x] - at, e);
    return ok &&
           (f->a->shared_inter == 0 ||
            add_gated(f, ROLE_SHARED_GATE, layer, -1, f->tokens, e)) &&
           add_layers(f, layer + 1, e) && announce(f, e);
}

bool forward_expect_head(forward *f, err *e)
{
    f->n_order = 0;
    return f->plan.ahead == 0 || (add(f, ROLE_HEAD, -1, -1, e) && announce(f, e));
}
