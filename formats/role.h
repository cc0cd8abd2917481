// SPDX-License-Identifier: Apache-2.0
// What a tensor is for, whatever a family calls it. THE list of roles: name for recipes and
// reports, class for scopes and size tables.
#ifndef SCRUPLE_FORMATS_ROLE_H
#define SCRUPLE_FORMATS_ROLE_H

#include "base/base.h"

typedef enum {
    ROLE_EMBED, ROLE_FINAL_NORM, ROLE_HEAD,
    ROLE_ATTN_NORM, ROLE_FFN_NORM,
    // grouped-query attention
    ROLE_Q, ROLE_K, ROLE_V, ROLE_O, ROLE_Q_BIAS, ROLE_K_BIAS, ROLE_V_BIAS, ROLE_O_BIAS,
    ROLE_Q_NORM, ROLE_K_NORM, ROLE_SINKS,
    // latent attention (MLA); ROLE_Q where there is no query rank, ROLE_O as above
    ROLE_Q_A, ROLE_Q_A_NORM, ROLE_Q_B, ROLE_KV_A, ROLE_KV_A_NORM, ROLE_KV_B,
    // linear attention with a gated delta rule
    ROLE_DELTA_QKV, ROLE_DELTA_Z, ROLE_DELTA_B, ROLE_DELTA_A, ROLE_DELTA_DT_BIAS,
    ROLE_DELTA_A_LOG, ROLE_DELTA_NORM, ROLE_DELTA_OUT,
    // mixture of experts
    ROLE_ROUTER, ROLE_ROUTER_SELECT_BIAS, ROLE_ROUTER_BIAS,
    ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_EXPERT_DOWN,
    ROLE_EXPERT_GATE_BIAS, ROLE_EXPERT_UP_BIAS, ROLE_EXPERT_DOWN_BIAS,
    ROLE_SHARED_GATE, ROLE_SHARED_UP, ROLE_SHARED_DOWN, ROLE_SHARED_ROUTER,
    // dense feed-forward
    ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_FFN_DOWN,
    ROLE_COUNT
} role;

typedef enum {
    CLASS_EXPERTS, CLASS_SHARED, CLASS_ATTENTION, CLASS_DENSE, CLASS_ROUTER, CLASS_NORM,
    CLASS_EMBEDDING, CLASS_HEAD, CLASS_OTHER, CLASS_COUNT
} role_class;

const char *role_name(role r);        // "experts.down"
// False where no role has that name.
MUST_USE bool role_from_name(const char *name, role *out);
// What sentences for people call it: "down_proj", "shared expert down_proj", "attention norm".
const char *role_label(role r);
role_class role_class_of(role r);
const char *role_class_name(role_class c); // "experts"
// ROLE_EXPERT_GATE, _UP, _DOWN and their biases: there is one weight an expert.
bool role_is_expert(role r);
// A matrix that --scope all-linear quantizes (attention, shared, dense, experts projections).
bool role_is_linear(role r);

#endif
