// SPDX-License-Identifier: Apache-2.0
#include "formats/llama_names.h"

#include <stdio.h>

static const char *const names[ROLE_COUNT] = {
    [ROLE_EMBED] = "token_embd",
    [ROLE_HEAD] = "output",
    [ROLE_Q] = "attn_q",
    [ROLE_K] = "attn_k",
    [ROLE_V] = "attn_v",
    [ROLE_O] = "attn_output",
    [ROLE_Q_A] = "attn_q_a",
    [ROLE_Q_B] = "attn_q_b",
    [ROLE_KV_A] = "attn_kv_a_mqa",
    [ROLE_KV_B] = "attn_kv_b",
    [ROLE_DELTA_QKV] = "attn_qkv",
    [ROLE_DELTA_Z] = "attn_gate",
    // ROLE_DELTA_OUT (ssm_out) has its columns in another order there.
    [ROLE_ROUTER] = "ffn_gate_inp",
    [ROLE_SHARED_ROUTER] = "ffn_gate_inp_shexp",
    [ROLE_EXPERT_GATE] = "ffn_gate_exps",
    [ROLE_EXPERT_UP] = "ffn_up_exps",
    [ROLE_EXPERT_DOWN] = "ffn_down_exps",
    [ROLE_SHARED_GATE] = "ffn_gate_shexp",
    [ROLE_SHARED_UP] = "ffn_up_shexp",
    [ROLE_SHARED_DOWN] = "ffn_down_shexp",
    [ROLE_FFN_GATE] = "ffn_gate",
    [ROLE_FFN_UP] = "ffn_up",
    [ROLE_FFN_DOWN] = "ffn_down",
};

const char *llama_weight_name(role r, int64_t layer, char buf[LLAMA_NAME_TEXT])
{
    if (!names[r])
        return NULL;
    if (layer < 0)
        (void)snprintf(buf, LLAMA_NAME_TEXT, "%s.weight", names[r]);
    else
        (void)snprintf(buf, LLAMA_NAME_TEXT, "blk.%lld.%s.weight", (long long)layer, names[r]);
    return buf;
}

const char *llama_expert_name(role r, int64_t layer, int64_t expert, char buf[LLAMA_NAME_TEXT])
{
    role dense = r == ROLE_EXPERT_GATE ? ROLE_FFN_GATE
                 : r == ROLE_EXPERT_UP ? ROLE_FFN_UP
                                       : ROLE_FFN_DOWN;
    if (expert < 0 || !role_is_expert(r))
        return NULL;
    (void)snprintf(buf, LLAMA_NAME_TEXT, "blk.%lld.%s.%lld.weight", (long long)layer, names[dense],
                   (long long)expert);
    return buf;
}
