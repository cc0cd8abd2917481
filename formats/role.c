// SPDX-License-Identifier: Apache-2.0
#include "formats/role.h"

#include <string.h>

static const struct {
    const char *name, *label;
    role_class class;
    bool linear;
} table[ROLE_COUNT] = {
    [ROLE_EMBED] = {"embedding", "embedding", CLASS_EMBEDDING, false},
    [ROLE_FINAL_NORM] = {"norm.final", "final norm", CLASS_NORM, false},
    [ROLE_HEAD] = {"head", "output head", CLASS_HEAD, false},
    [ROLE_ATTN_NORM] = {"norm.attention", "attention norm", CLASS_NORM, false},
    [ROLE_FFN_NORM] = {"norm.ffn", "feed-forward norm", CLASS_NORM, false},

    [ROLE_Q] = {"attention.q", "q_proj", CLASS_ATTENTION, true},
    [ROLE_K] = {"attention.k", "k_proj", CLASS_ATTENTION, true},
    [ROLE_V] = {"attention.v", "v_proj", CLASS_ATTENTION, true},
    [ROLE_O] = {"attention.o", "o_proj", CLASS_ATTENTION, true},
    [ROLE_Q_BIAS] = {"attention.q.bias", "q_proj bias", CLASS_ATTENTION, false},
    [ROLE_K_BIAS] = {"attention.k.bias", "k_proj bias", CLASS_ATTENTION, false},
    [ROLE_V_BIAS] = {"attention.v.bias", "v_proj bias", CLASS_ATTENTION, false},
    [ROLE_O_BIAS] = {"attention.o.bias", "o_proj bias", CLASS_ATTENTION, false},
    [ROLE_Q_NORM] = {"norm.q", "q norm", CLASS_NORM, false},
    [ROLE_K_NORM] = {"norm.k", "k norm", CLASS_NORM, false},
    [ROLE_SINKS] = {"attention.sinks", "attention sinks", CLASS_ATTENTION, false},

    [ROLE_Q_A] = {"attention.q_a", "q_a_proj", CLASS_ATTENTION, true},
    [ROLE_Q_A_NORM] = {"norm.q_a", "q_a norm", CLASS_NORM, false},
    [ROLE_Q_B] = {"attention.q_b", "q_b_proj", CLASS_ATTENTION, true},
    [ROLE_KV_A] = {"attention.kv_a", "kv_a_proj", CLASS_ATTENTION, true},
    [ROLE_KV_A_NORM] = {"norm.kv_a", "kv_a norm", CLASS_NORM, false},
    [ROLE_KV_B] = {"attention.kv_b", "kv_b_proj", CLASS_ATTENTION, true},

    [ROLE_DELTA_QKV] = {"delta.qkv", "in_proj_qkv", CLASS_ATTENTION, true},
    [ROLE_DELTA_Z] = {"delta.z", "in_proj_z", CLASS_ATTENTION, true},
    [ROLE_DELTA_B] = {"delta.b", "in_proj_b", CLASS_ATTENTION, false},
    [ROLE_DELTA_A] = {"delta.a", "in_proj_a", CLASS_ATTENTION, false},
    [ROLE_DELTA_DT_BIAS] = {"delta.dt_bias", "dt_bias", CLASS_ATTENTION, false},
    [ROLE_DELTA_A_LOG] = {"delta.a_log", "A_log", CLASS_ATTENTION, false},
    [ROLE_DELTA_NORM] = {"norm.delta", "norm of linear attention", CLASS_NORM, false},
    [ROLE_DELTA_OUT] = {"delta.out", "out_proj", CLASS_ATTENTION, true},

    [ROLE_ROUTER] = {"router", "router", CLASS_ROUTER, false},
    [ROLE_ROUTER_SELECT_BIAS] = {"router.select_bias", "router selection bias", CLASS_ROUTER,
                                 false},
    [ROLE_ROUTER_BIAS] = {"router.bias", "router bias", CLASS_ROUTER, false},
    [ROLE_EXPERT_GATE] = {"experts.gate", "gate_proj", CLASS_EXPERTS, true},
    [ROLE_EXPERT_UP] = {"experts.up", "up_proj", CLASS_EXPERTS, true},
    [ROLE_EXPERT_DOWN] = {"experts.down", "down_proj", CLASS_EXPERTS, true},
    [ROLE_EXPERT_GATE_BIAS] = {"experts.gate.bias", "gate_proj bias", CLASS_EXPERTS, false},
    [ROLE_EXPERT_UP_BIAS] = {"experts.up.bias", "up_proj bias", CLASS_EXPERTS, false},
    [ROLE_EXPERT_DOWN_BIAS] = {"experts.down.bias", "down_proj bias", CLASS_EXPERTS, false},
    [ROLE_SHARED_GATE] = {"shared.gate", "shared expert gate_proj", CLASS_SHARED, true},
    [ROLE_SHARED_UP] = {"shared.up", "shared expert up_proj", CLASS_SHARED, true},
    [ROLE_SHARED_DOWN] = {"shared.down", "shared expert down_proj", CLASS_SHARED, true},
    [ROLE_SHARED_ROUTER] = {"router.shared", "shared expert gate", CLASS_ROUTER, false},

    [ROLE_FFN_GATE] = {"dense.gate", "dense gate_proj", CLASS_DENSE, true},
    [ROLE_FFN_UP] = {"dense.up", "dense up_proj", CLASS_DENSE, true},
    [ROLE_FFN_DOWN] = {"dense.down", "dense down_proj", CLASS_DENSE, true},
};

static const char *const class_name[CLASS_COUNT] = {
    [CLASS_EXPERTS] = "experts",     [CLASS_SHARED] = "shared", [CLASS_ATTENTION] = "attention",
    [CLASS_DENSE] = "dense",         [CLASS_ROUTER] = "router", [CLASS_NORM] = "norm",
    [CLASS_EMBEDDING] = "embedding", [CLASS_HEAD] = "head",     [CLASS_OTHER] = "other",
};

const char *role_name(role r) { return table[r].name; }

bool role_from_name(const char *name, role *out)
{
    for (int r = 0; r < ROLE_COUNT; r++) {
        if (strcmp(table[r].name, name) == 0) {
            *out = (role)r;
            return true;
        }
    }
    return false;
}

const char *role_label(role r) { return table[r].label; }

role_class role_class_of(role r) { return table[r].class; }

const char *role_class_name(role_class c) { return class_name[c]; }

bool role_is_expert(role r) { return table[r].class == CLASS_EXPERTS; }

bool role_is_linear(role r) { return table[r].linear; }
