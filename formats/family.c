// SPDX-License-Identifier: Apache-2.0
#include "formats/family.h"

#include <assert.h>
#include <string.h>

// ---- the common config key map ----
// Bounds: what a published model could have, with room; they keep products inside 64 bits.

#define SIZE_KEY(field, need, when, most, ...) \
    {field, KEY_INT, need, when, {__VA_ARGS__}, 1, most, 0, NULL}
#define ROPE_KEY(field, need, name, least, most, otherwise) \
    {field, KEY_REAL, need, READ_YARN, {"rope_parameters." name, "rope_scaling." name}, least, \
     most, otherwise, NULL}

enum { MOST_HIDDEN = 1 << 20, MOST_LAYERS = 4096, MOST_VOCAB = 1 << 24, MOST_HEADS = 1 << 16,
       MOST_EXPERTS = 1 << 16, MOST_INTER = 1 << 24, MOST_EXTRA_LAYERS = 64 };

const config_key config_common[] = {
    SIZE_KEY(CF_HIDDEN, NEED_REQUIRED, READ_ALWAYS, MOST_HIDDEN, "hidden_size"),
    SIZE_KEY(CF_LAYERS, NEED_REQUIRED, READ_ALWAYS, MOST_LAYERS, "num_hidden_layers"),
    {CF_EXTRA_LAYERS, KEY_INT, NEED_UNREAD, READ_ALWAYS, {"num_nextn_predict_layers"}, 0,
     MOST_EXTRA_LAYERS, 0, NULL},
    SIZE_KEY(CF_VOCAB, NEED_REQUIRED, READ_ALWAYS, MOST_VOCAB, "vocab_size"),
    {CF_BOS, KEY_INT, NEED_DEFAULT, READ_ALWAYS, {"bos_token_id"}, 0, MOST_VOCAB, -1, NULL},
    {CF_TIED, KEY_BOOL, NEED_DEFAULT, READ_ALWAYS, {"tie_word_embeddings"}, 0, 0, 0, NULL},
    {CF_NORM_EPS, KEY_REAL, NEED_REQUIRED, READ_ALWAYS, {"rms_norm_eps"}, 1e-30, 1, 0, NULL},
    SIZE_KEY(CF_HEADS, NEED_REQUIRED, READ_ALWAYS, MOST_HEADS, "num_attention_heads"),
    // Defaults of 0 below are derived: heads, and hidden size / heads.
    SIZE_KEY(CF_KV_HEADS, NEED_DEFAULT, READ_ALWAYS, MOST_HEADS, "num_key_value_heads"),
    SIZE_KEY(CF_HEAD_DIM, NEED_DEFAULT, READ_GQA, MOST_HIDDEN, "head_dim"),
    {CF_BIAS, KEY_BOOL, NEED_DEFAULT, READ_GQA, {"attention_bias"}, 0, 0, 0, NULL},
    SIZE_KEY(CF_Q_LORA, NEED_NULLABLE, READ_MLA, MOST_HIDDEN, "q_lora_rank"),
    SIZE_KEY(CF_KV_LORA, NEED_REQUIRED, READ_MLA, MOST_HIDDEN, "kv_lora_rank"),
    SIZE_KEY(CF_QK_NOPE, NEED_REQUIRED, READ_MLA, MOST_HIDDEN, "qk_nope_head_dim"),
    SIZE_KEY(CF_QK_ROPE, NEED_REQUIRED, READ_MLA, MOST_HIDDEN, "qk_rope_head_dim"),
    SIZE_KEY(CF_V_DIM, NEED_REQUIRED, READ_MLA, MOST_HIDDEN, "v_head_dim"),
    {CF_ROPE_INTERLEAVE, KEY_BOOL, NEED_DEFAULT, READ_MLA, {"rope_interleave"}, 0, 0, 1, NULL},
    SIZE_KEY(CF_DELTA_K_HEADS, NEED_UNREAD, READ_ALWAYS, MOST_HEADS, "linear_num_key_heads"),
    SIZE_KEY(CF_DELTA_K_DIM, NEED_UNREAD, READ_ALWAYS, MOST_HIDDEN, "linear_key_head_dim"),
    SIZE_KEY(CF_DELTA_V_HEADS, NEED_UNREAD, READ_ALWAYS, MOST_HEADS, "linear_num_value_heads"),
    SIZE_KEY(CF_DELTA_V_DIM, NEED_UNREAD, READ_ALWAYS, MOST_HIDDEN, "linear_value_head_dim"),
    SIZE_KEY(CF_DENSE_INTER, NEED_REQUIRED, READ_ALWAYS, MOST_INTER, "intermediate_size"),
    SIZE_KEY(CF_MOE_INTER, NEED_REQUIRED, READ_ALWAYS, MOST_INTER, "moe_intermediate_size"),
    SIZE_KEY(CF_EXPERTS, NEED_REQUIRED, READ_ALWAYS, MOST_EXPERTS, "num_experts",
             "num_local_experts", "n_routed_experts"),
    SIZE_KEY(CF_TOP_K, NEED_REQUIRED, READ_ALWAYS, MOST_EXPERTS, "num_experts_per_tok"),
    {CF_N_SHARED, KEY_INT, NEED_UNREAD, READ_ALWAYS, {"n_shared_experts"}, 0, MOST_EXPERTS, 0,
     NULL},
    SIZE_KEY(CF_SHARED_INTER, NEED_UNREAD, READ_ALWAYS, MOST_INTER,
             "shared_expert_intermediate_size"),
    {CF_GROUPS, KEY_INT, NEED_UNREAD, READ_ALWAYS, {"n_group"}, 1, MOST_EXPERTS, 1, NULL},
    {CF_TOPK_GROUP, KEY_INT, NEED_UNREAD, READ_ALWAYS, {"topk_group"}, 1, MOST_EXPERTS, 1, NULL},
    // The classes' default differs from what the published models say (true): it has to be said.
    {CF_RENORM, KEY_BOOL, NEED_REQUIRED, READ_ALWAYS, {"norm_topk_prob"}, 0, 0, 0,
     "it decides whether the chosen experts' weights are divided by their sum, and its default in "
     "transformers is not what the published models use, so it has to be said"},
    {CF_ROUTE_SCALE, KEY_REAL, NEED_UNREAD, READ_ALWAYS, {"routed_scaling_factor"}, 1e-6, 1e6, 1,
     NULL},
    {CF_THETA, KEY_REAL, NEED_REQUIRED, READ_ALWAYS, {"rope_parameters.rope_theta", "rope_theta"},
     2, 1e15, 0, NULL},
    {CF_ROPE_TYPE, KEY_TEXT, NEED_DEFAULT, READ_ALWAYS,
     {"rope_parameters.rope_type", "rope_parameters.type", "rope_scaling.rope_type",
      "rope_scaling.type"}, 0, 0, 0, NULL},
    ROPE_KEY(CF_YARN_FACTOR, NEED_REQUIRED, "factor", 1, 1e6, 0),
    ROPE_KEY(CF_YARN_ORIGINAL, NEED_REQUIRED, "original_max_position_embeddings", 1, 1e12, 0),
    ROPE_KEY(CF_YARN_BETA_FAST, NEED_DEFAULT, "beta_fast", 1e-3, 1e6, 32),
    ROPE_KEY(CF_YARN_BETA_SLOW, NEED_DEFAULT, "beta_slow", 1e-3, 1e6, 1),
    ROPE_KEY(CF_YARN_MSCALE, NEED_DEFAULT, "mscale", 0, 1e3, 0),
    ROPE_KEY(CF_YARN_MSCALE_ALL_DIM, NEED_DEFAULT, "mscale_all_dim", 0, 1e3, 0),
    ROPE_KEY(CF_YARN_ATTENTION_FACTOR, NEED_DEFAULT, "attention_factor", 0, 1e3, 0),
};
const int config_n_common = COUNT_OF(config_common);

// What every forward pass of this version takes for granted.
const config_fixed config_common_fixed[] = {
    {"hidden_act", "silu", 0},
    {"rope_parameters.truncate", NULL, 1},
    {"rope_scaling.truncate", NULL, 1},
    {"rope_parameters.partial_rotary_factor", NULL, 1},
    {"partial_rotary_factor", NULL, 1},
};
const int config_n_common_fixed = COUNT_OF(config_common_fixed);

const dim_row dim_table[DIM_COUNT] = {
    [DIM_ONE] = {CF_NONE, CF_NONE, CF_NONE, CF_NONE, CF_NONE},
    [DIM_HIDDEN] = {CF_NONE, CF_HIDDEN, CF_NONE, CF_NONE, CF_NONE},
    [DIM_VOCAB] = {CF_NONE, CF_VOCAB, CF_NONE, CF_NONE, CF_NONE},
    [DIM_Q] = {CF_HEADS, CF_HEAD_DIM, CF_NONE, CF_NONE, CF_NONE},
    [DIM_KV] = {CF_KV_HEADS, CF_HEAD_DIM, CF_NONE, CF_NONE, CF_NONE},
    [DIM_HEAD] = {CF_NONE, CF_HEAD_DIM, CF_NONE, CF_NONE, CF_NONE},
    [DIM_HEADS] = {CF_NONE, CF_HEADS, CF_NONE, CF_NONE, CF_NONE},
    [DIM_Q_LORA] = {CF_NONE, CF_Q_LORA, CF_NONE, CF_NONE, CF_NONE},
    [DIM_MLA_Q] = {CF_HEADS, CF_QK_NOPE, CF_QK_ROPE, CF_NONE, CF_NONE},
    [DIM_KV_LORA] = {CF_NONE, CF_KV_LORA, CF_NONE, CF_NONE, CF_NONE},
    [DIM_KV_A] = {CF_NONE, CF_KV_LORA, CF_QK_ROPE, CF_NONE, CF_NONE},
    [DIM_KV_B] = {CF_HEADS, CF_QK_NOPE, CF_V_DIM, CF_NONE, CF_NONE},
    [DIM_MLA_O] = {CF_HEADS, CF_V_DIM, CF_NONE, CF_NONE, CF_NONE},
    [DIM_GATED_Q] = {CF_HEADS, CF_HEAD_DIM, CF_HEAD_DIM, CF_NONE, CF_NONE},
    [DIM_DELTA_QKV] = {CF_DELTA_K_HEADS, CF_DELTA_K_DIM, CF_DELTA_K_DIM, CF_DELTA_V_HEADS,
                       CF_DELTA_V_DIM},
    [DIM_DELTA_V] = {CF_DELTA_V_HEADS, CF_DELTA_V_DIM, CF_NONE, CF_NONE, CF_NONE},
    [DIM_DELTA_V_HEADS] = {CF_NONE, CF_DELTA_V_HEADS, CF_NONE, CF_NONE, CF_NONE},
    [DIM_DELTA_V_HEAD] = {CF_NONE, CF_DELTA_V_DIM, CF_NONE, CF_NONE, CF_NONE},
    [DIM_EXPERTS] = {CF_NONE, CF_EXPERTS, CF_NONE, CF_NONE, CF_NONE},
    [DIM_MOE_INTER] = {CF_NONE, CF_MOE_INTER, CF_NONE, CF_NONE, CF_NONE},
    [DIM_SHARED_INTER] = {CF_N_SHARED, CF_MOE_INTER, CF_NONE, CF_NONE, CF_NONE},
    [DIM_SHARED_SIZE] = {CF_NONE, CF_SHARED_INTER, CF_NONE, CF_NONE, CF_NONE},
    [DIM_DENSE_INTER] = {CF_NONE, CF_DENSE_INTER, CF_NONE, CF_NONE, CF_NONE},
};

// ---- sets of roles that families share ----

#define LAYER "{m}layers.{n}."

// Embedding, norms around the blocks, output head: the Llama frame.
static const role_row frame[] = {
    {ROLE_EMBED, "{m}embed_tokens", "weight", 2, DIM_VOCAB, DIM_HIDDEN, WHEN_ALWAYS},
    {ROLE_FINAL_NORM, "{m}norm", "weight", 1, DIM_ONE, DIM_HIDDEN, WHEN_ALWAYS},
    {ROLE_HEAD, "{h}lm_head", "weight", 2, DIM_VOCAB, DIM_HIDDEN, WHEN_UNTIED},
    {ROLE_ATTN_NORM, LAYER "input_layernorm", "weight", 1, DIM_ONE, DIM_HIDDEN, WHEN_ALWAYS},
    {ROLE_FFN_NORM, LAYER "post_attention_layernorm", "weight", 1, DIM_ONE, DIM_HIDDEN,
     WHEN_ALWAYS},
};

static const role_row gqa[] = {
    {ROLE_Q, LAYER "self_attn.q_proj", "weight", 2, DIM_Q, DIM_HIDDEN, WHEN_ALWAYS},
    {ROLE_K, LAYER "self_attn.k_proj", "weight", 2, DIM_KV, DIM_HIDDEN, WHEN_ALWAYS},
    {ROLE_V, LAYER "self_attn.v_proj", "weight", 2, DIM_KV, DIM_HIDDEN, WHEN_ALWAYS},
    {ROLE_O, LAYER "self_attn.o_proj", "weight", 2, DIM_HIDDEN, DIM_Q, WHEN_ALWAYS},
    {ROLE_Q_BIAS, LAYER "self_attn.q_proj", "bias", 1, DIM_ONE, DIM_Q, WHEN_BIAS},
    {ROLE_K_BIAS, LAYER "self_attn.k_proj", "bias", 1, DIM_ONE, DIM_KV, WHEN_BIAS},
    {ROLE_V_BIAS, LAYER "self_attn.v_proj", "bias", 1, DIM_ONE, DIM_KV, WHEN_BIAS},
    {ROLE_O_BIAS, LAYER "self_attn.o_proj", "bias", 1, DIM_ONE, DIM_HIDDEN, WHEN_BIAS},
};

static const role_row head_norms[] = {
    {ROLE_Q_NORM, LAYER "self_attn.q_norm", "weight", 1, DIM_ONE, DIM_HEAD, WHEN_ALWAYS},
    {ROLE_K_NORM, LAYER "self_attn.k_norm", "weight", 1, DIM_ONE, DIM_HEAD, WHEN_ALWAYS},
};

static const role_row mla[] = {
    {ROLE_Q, LAYER "self_attn.q_proj", "weight", 2, DIM_MLA_Q, DIM_HIDDEN, WHEN_Q_DIRECT},
    {ROLE_Q_A, LAYER "self_attn.q_a_proj", "weight", 2, DIM_Q_LORA, DIM_HIDDEN, WHEN_Q_LORA},
    {ROLE_Q_A_NORM, LAYER "self_attn.q_a_layernorm", "weight", 1, DIM_ONE, DIM_Q_LORA, WHEN_Q_LORA},
    {ROLE_Q_B, LAYER "self_attn.q_b_proj", "weight", 2, DIM_MLA_Q, DIM_Q_LORA, WHEN_Q_LORA},
    {ROLE_KV_A, LAYER "self_attn.kv_a_proj_with_mqa", "weight", 2, DIM_KV_A, DIM_HIDDEN,
     WHEN_ALWAYS},
    {ROLE_KV_A_NORM, LAYER "self_attn.kv_a_layernorm", "weight", 1, DIM_ONE, DIM_KV_LORA,
     WHEN_ALWAYS},
    {ROLE_KV_B, LAYER "self_attn.kv_b_proj", "weight", 2, DIM_KV_B, DIM_KV_LORA, WHEN_ALWAYS},
    {ROLE_O, LAYER "self_attn.o_proj", "weight", 2, DIM_HIDDEN, DIM_MLA_O, WHEN_ALWAYS},
};

static const role_row dense[] = {
    {ROLE_FFN_GATE, LAYER "mlp.gate_proj", "weight", 2, DIM_DENSE_INTER, DIM_HIDDEN, WHEN_DENSE},
    {ROLE_FFN_UP, LAYER "mlp.up_proj", "weight", 2, DIM_DENSE_INTER, DIM_HIDDEN, WHEN_DENSE},
    {ROLE_FFN_DOWN, LAYER "mlp.down_proj", "weight", 2, DIM_HIDDEN, DIM_DENSE_INTER, WHEN_DENSE},
};

static const role_row router[] = {
    {ROLE_ROUTER, LAYER "mlp.gate", "weight", 2, DIM_EXPERTS, DIM_HIDDEN, WHEN_MOE},
};

static const role_row experts[] = {
    {ROLE_EXPERT_GATE, LAYER "mlp.experts.{e}.gate_proj", "weight", 2, DIM_MOE_INTER, DIM_HIDDEN,
     WHEN_MOE},
    {ROLE_EXPERT_UP, LAYER "mlp.experts.{e}.up_proj", "weight", 2, DIM_MOE_INTER, DIM_HIDDEN,
     WHEN_MOE},
    {ROLE_EXPERT_DOWN, LAYER "mlp.experts.{e}.down_proj", "weight", 2, DIM_HIDDEN, DIM_MOE_INTER,
     WHEN_MOE},
};

// All experts of a layer in one tensor, as transformers 5 holds them in memory and some save them.
static const stack_row moe_stacks[] = {
    {ROLE_EXPERT_GATE, LAYER "mlp.experts.gate_up_proj", 2, 0, false, false},
    {ROLE_EXPERT_UP, LAYER "mlp.experts.gate_up_proj", 2, 1, false, false},
    {ROLE_EXPERT_DOWN, LAYER "mlp.experts.down_proj", 1, 0, false, false},
};

static const role_row select_bias[] = {
    {ROLE_ROUTER_SELECT_BIAS, LAYER "mlp.gate", "e_score_correction_bias", 1, DIM_ONE, DIM_EXPERTS,
     WHEN_MOE},
};

static const role_row shared[] = {
    {ROLE_SHARED_GATE, LAYER "mlp.shared_experts.gate_proj", "weight", 2, DIM_SHARED_INTER,
     DIM_HIDDEN, WHEN_SHARED},
    {ROLE_SHARED_UP, LAYER "mlp.shared_experts.up_proj", "weight", 2, DIM_SHARED_INTER, DIM_HIDDEN,
     WHEN_SHARED},
    {ROLE_SHARED_DOWN, LAYER "mlp.shared_experts.down_proj", "weight", 2, DIM_HIDDEN,
     DIM_SHARED_INTER, WHEN_SHARED},
};

// ---- what needs no role ----

// Of every family.
static const name_rule common_rules[] = {
    {"tied-head", "{h}lm_head.*", true},             // transformers lets the embedding win
    {"rotary-inv-freq", "*.rotary_emb.inv_freq", false}, // an old buffer, derived from the config
    // How a runtime rounds queries, keys and values: compressed-tensors has them at the attention,
    // ModelOpt at the projections.
    {"cache-scale", "{m}layers.*.self_attn.q_scale", false},
    {"cache-scale", "{m}layers.*.self_attn.k_scale", false},
    {"cache-scale", "{m}layers.*.self_attn.v_scale", false},
    {"cache-scale", "{m}layers.*.self_attn.k_proj.k_scale", false},
    {"cache-scale", "{m}layers.*.self_attn.v_proj.v_scale", false},
};

static const name_rule usual_rules[] = {
    {"mtp-layer", "{m}layers.{x}.*", false},
};

// ---- DeepSeek-V3 (V3, V3-0324, R1, V3.1; Kimi-K2 names the same class) ----

static const config_key deepseek_v3_keys[] = {
    {CF_EXTRA_LAYERS, KEY_INT, NEED_DEFAULT, READ_ALWAYS, {"num_nextn_predict_layers"}, 0,
     MOST_EXTRA_LAYERS, 0, NULL},
    {CF_N_SHARED, KEY_INT, NEED_NULLABLE, READ_ALWAYS, {"n_shared_experts"}, 0, MOST_EXPERTS, 0,
     NULL},
    SIZE_KEY(CF_GROUPS, NEED_REQUIRED, READ_ALWAYS, MOST_EXPERTS, "n_group"),
    SIZE_KEY(CF_TOPK_GROUP, NEED_REQUIRED, READ_ALWAYS, MOST_EXPERTS, "topk_group"),
    {CF_ROUTE_SCALE, KEY_REAL, NEED_REQUIRED, READ_ALWAYS, {"routed_scaling_factor"}, 1e-6, 1e6, 0,
     NULL},
};

static const config_fixed deepseek_v3_fixed[] = {
    {"scoring_func", "sigmoid", 0},
    {"topk_method", "noaux_tc", 0},
    {"moe_layer_freq", NULL, 1},
    {"attention_bias", NULL, 0},
};

static const layer_rule deepseek_v3_layers[] = {
    {DENSE_FIRST, "first_k_dense_replace", NEED_REQUIRED},
};

// ---- Qwen3-MoE ----

static const config_fixed qwen3_moe_fixed[] = {
    {"use_sliding_window", NULL, 0},
};

static const layer_rule qwen3_moe_layers[] = {
    {DENSE_LIST, "mlp_only_layers", NEED_DEFAULT},
    {DENSE_EVERY, "decoder_sparse_step", NEED_DEFAULT},
};

// ---- gpt-oss ----
// Published in stacks of MXFP4 blocks, gate and up in every second row. Saved in BF16 its stacks
// are turned, which the square down_proj does not show: names without "_blocks" tell.

static const config_key gpt_oss_keys[] = {
    SIZE_KEY(CF_MOE_INTER, NEED_REQUIRED, READ_ALWAYS, MOST_INTER, "intermediate_size"),
    SIZE_KEY(CF_TOP_K, NEED_REQUIRED, READ_ALWAYS, MOST_EXPERTS, "num_experts_per_tok",
             "experts_per_token"),
    {CF_RENORM, KEY_BOOL, NEED_UNREAD, READ_ALWAYS, {"norm_topk_prob"}, 0, 0, 1, NULL},
};

static const role_row gpt_oss_roles[] = {
    {ROLE_SINKS, LAYER "self_attn.sinks", "", 1, DIM_ONE, DIM_HEADS, WHEN_ALWAYS},
    {ROLE_ROUTER, LAYER "mlp.router", "weight", 2, DIM_EXPERTS, DIM_HIDDEN, WHEN_MOE},
    {ROLE_ROUTER_BIAS, LAYER "mlp.router", "bias", 1, DIM_ONE, DIM_EXPERTS, WHEN_MOE},
};

static const role_row expert_biases[] = {
    {ROLE_EXPERT_GATE_BIAS, LAYER "mlp.experts.{e}.gate_proj", "bias", 1, DIM_ONE, DIM_MOE_INTER,
     WHEN_MOE},
    {ROLE_EXPERT_UP_BIAS, LAYER "mlp.experts.{e}.up_proj", "bias", 1, DIM_ONE, DIM_MOE_INTER,
     WHEN_MOE},
    {ROLE_EXPERT_DOWN_BIAS, LAYER "mlp.experts.{e}.down_proj", "bias", 1, DIM_ONE, DIM_HIDDEN,
     WHEN_MOE},
};

static const stack_row gpt_oss_stacks[] = {
    {ROLE_EXPERT_GATE, LAYER "mlp.experts.gate_up_proj", 2, 0, true, true},
    {ROLE_EXPERT_UP, LAYER "mlp.experts.gate_up_proj", 2, 1, true, true},
    {ROLE_EXPERT_DOWN, LAYER "mlp.experts.down_proj", 1, 0, false, true},
    {ROLE_EXPERT_GATE_BIAS, LAYER "mlp.experts.gate_up_proj_bias", 2, 0, true, false},
    {ROLE_EXPERT_UP_BIAS, LAYER "mlp.experts.gate_up_proj_bias", 2, 1, true, false},
    {ROLE_EXPERT_DOWN_BIAS, LAYER "mlp.experts.down_proj_bias", 1, 0, false, false},
};

// ---- Llama 4 ----
// Published in stacks [experts][in][out], gate and up side by side.

static const config_key llama4_keys[] = {
    SIZE_KEY(CF_DENSE_INTER, NEED_REQUIRED, READ_ALWAYS, MOST_INTER, "intermediate_size_mlp"),
    SIZE_KEY(CF_MOE_INTER, NEED_REQUIRED, READ_ALWAYS, MOST_INTER, "intermediate_size"),
    SIZE_KEY(CF_EXPERTS, NEED_REQUIRED, READ_ALWAYS, MOST_EXPERTS, "num_local_experts"),
    {CF_N_SHARED, KEY_INT, NEED_UNREAD, READ_ALWAYS, {"n_shared_experts"}, 0, MOST_EXPERTS, 1,
     NULL},
    {CF_RENORM, KEY_BOOL, NEED_UNREAD, READ_ALWAYS, {"norm_topk_prob"}, 0, 0, 0, NULL},
    {CF_ROPE_TYPE, KEY_TEXT, NEED_UNREAD, READ_ALWAYS, {"rope_scaling.rope_type"}, 0, 0, 0, NULL},
};

static const layer_rule llama4_layers[] = {
    {DENSE_EVERY, "interleave_moe_layer_step", NEED_DEFAULT},
};

#define LLAMA4_FFN LAYER "feed_forward."

static const role_row llama4_ffn[] = {
    {ROLE_FFN_GATE, LLAMA4_FFN "gate_proj", "weight", 2, DIM_DENSE_INTER, DIM_HIDDEN, WHEN_DENSE},
    {ROLE_FFN_UP, LLAMA4_FFN "up_proj", "weight", 2, DIM_DENSE_INTER, DIM_HIDDEN, WHEN_DENSE},
    {ROLE_FFN_DOWN, LLAMA4_FFN "down_proj", "weight", 2, DIM_HIDDEN, DIM_DENSE_INTER, WHEN_DENSE},
    {ROLE_ROUTER, LLAMA4_FFN "router", "weight", 2, DIM_EXPERTS, DIM_HIDDEN, WHEN_MOE},
    {ROLE_EXPERT_GATE, LLAMA4_FFN "experts.{e}.gate_proj", "weight", 2, DIM_MOE_INTER, DIM_HIDDEN,
     WHEN_MOE},
    {ROLE_EXPERT_UP, LLAMA4_FFN "experts.{e}.up_proj", "weight", 2, DIM_MOE_INTER, DIM_HIDDEN,
     WHEN_MOE},
    {ROLE_EXPERT_DOWN, LLAMA4_FFN "experts.{e}.down_proj", "weight", 2, DIM_HIDDEN, DIM_MOE_INTER,
     WHEN_MOE},
    {ROLE_SHARED_GATE, LLAMA4_FFN "shared_expert.gate_proj", "weight", 2, DIM_SHARED_INTER,
     DIM_HIDDEN, WHEN_SHARED},
    {ROLE_SHARED_UP, LLAMA4_FFN "shared_expert.up_proj", "weight", 2, DIM_SHARED_INTER, DIM_HIDDEN,
     WHEN_SHARED},
    {ROLE_SHARED_DOWN, LLAMA4_FFN "shared_expert.down_proj", "weight", 2, DIM_HIDDEN,
     DIM_SHARED_INTER, WHEN_SHARED},
};

static const stack_row llama4_stacks[] = {
    {ROLE_EXPERT_GATE, LLAMA4_FFN "experts.gate_up_proj", 2, 0, false, true},
    {ROLE_EXPERT_UP, LLAMA4_FFN "experts.gate_up_proj", 2, 1, false, true},
    {ROLE_EXPERT_DOWN, LLAMA4_FFN "experts.down_proj", 1, 0, false, true},
};

static const name_rule llama4_rules[] = {
    {"vision", "vision_model.*", false},
    {"vision", "multi_modal_projector.*", false},
    {"vision", "model.vision_model.*", false},
    {"vision", "model.multi_modal_projector.*", false},
};

// ---- Qwen3.5-MoE ----
// Published in stacks, gate and up one behind the other; three of four layers have linear attention
// (a gated delta rule), the others a gate beside every query.

static const config_key qwen3_5_moe_keys[] = {
    SIZE_KEY(CF_DENSE_INTER, NEED_DEFAULT, READ_ALWAYS, MOST_INTER, "intermediate_size"),
    SIZE_KEY(CF_DELTA_K_HEADS, NEED_REQUIRED, READ_ALWAYS, MOST_HEADS, "linear_num_key_heads"),
    SIZE_KEY(CF_DELTA_K_DIM, NEED_REQUIRED, READ_ALWAYS, MOST_HIDDEN, "linear_key_head_dim"),
    SIZE_KEY(CF_DELTA_V_HEADS, NEED_REQUIRED, READ_ALWAYS, MOST_HEADS, "linear_num_value_heads"),
    SIZE_KEY(CF_DELTA_V_DIM, NEED_REQUIRED, READ_ALWAYS, MOST_HIDDEN, "linear_value_head_dim"),
    SIZE_KEY(CF_SHARED_INTER, NEED_REQUIRED, READ_ALWAYS, MOST_INTER,
             "shared_expert_intermediate_size"),
    {CF_RENORM, KEY_BOOL, NEED_UNREAD, READ_ALWAYS, {"norm_topk_prob"}, 0, 0, 1, NULL},
};

static const layer_rule qwen3_5_moe_layers[] = {
    {LINEAR_EVERY, "full_attention_interval", NEED_DEFAULT},
    {LINEAR_TYPES, "layer_types", NEED_DEFAULT},
};

static const role_row qwen3_5_mixers[] = {
    {ROLE_Q, LAYER "self_attn.q_proj", "weight", 2, DIM_GATED_Q, DIM_HIDDEN, WHEN_FULL},
    {ROLE_K, LAYER "self_attn.k_proj", "weight", 2, DIM_KV, DIM_HIDDEN, WHEN_FULL},
    {ROLE_V, LAYER "self_attn.v_proj", "weight", 2, DIM_KV, DIM_HIDDEN, WHEN_FULL},
    {ROLE_O, LAYER "self_attn.o_proj", "weight", 2, DIM_HIDDEN, DIM_Q, WHEN_FULL},
    {ROLE_Q_NORM, LAYER "self_attn.q_norm", "weight", 1, DIM_ONE, DIM_HEAD, WHEN_FULL},
    {ROLE_K_NORM, LAYER "self_attn.k_norm", "weight", 1, DIM_ONE, DIM_HEAD, WHEN_FULL},
    {ROLE_DELTA_QKV, LAYER "linear_attn.in_proj_qkv", "weight", 2, DIM_DELTA_QKV, DIM_HIDDEN,
     WHEN_LINEAR},
    {ROLE_DELTA_Z, LAYER "linear_attn.in_proj_z", "weight", 2, DIM_DELTA_V, DIM_HIDDEN,
     WHEN_LINEAR},
    {ROLE_DELTA_B, LAYER "linear_attn.in_proj_b", "weight", 2, DIM_DELTA_V_HEADS, DIM_HIDDEN,
     WHEN_LINEAR},
    {ROLE_DELTA_A, LAYER "linear_attn.in_proj_a", "weight", 2, DIM_DELTA_V_HEADS, DIM_HIDDEN,
     WHEN_LINEAR},
    {ROLE_DELTA_DT_BIAS, LAYER "linear_attn.dt_bias", "", 1, DIM_ONE, DIM_DELTA_V_HEADS,
     WHEN_LINEAR},
    {ROLE_DELTA_A_LOG, LAYER "linear_attn.A_log", "", 1, DIM_ONE, DIM_DELTA_V_HEADS, WHEN_LINEAR},
    {ROLE_DELTA_NORM, LAYER "linear_attn.norm", "weight", 1, DIM_ONE, DIM_DELTA_V_HEAD,
     WHEN_LINEAR},
    {ROLE_DELTA_OUT, LAYER "linear_attn.out_proj", "weight", 2, DIM_HIDDEN, DIM_DELTA_V,
     WHEN_LINEAR},
};

static const role_row qwen3_5_shared[] = {
    {ROLE_SHARED_GATE, LAYER "mlp.shared_expert.gate_proj", "weight", 2, DIM_SHARED_SIZE,
     DIM_HIDDEN, WHEN_SHARED},
    {ROLE_SHARED_UP, LAYER "mlp.shared_expert.up_proj", "weight", 2, DIM_SHARED_SIZE, DIM_HIDDEN,
     WHEN_SHARED},
    {ROLE_SHARED_DOWN, LAYER "mlp.shared_expert.down_proj", "weight", 2, DIM_HIDDEN,
     DIM_SHARED_SIZE, WHEN_SHARED},
    {ROLE_SHARED_ROUTER, LAYER "mlp.shared_expert_gate", "weight", 2, DIM_ONE, DIM_HIDDEN,
     WHEN_SHARED},
};

static const name_rule qwen3_5_moe_rules[] = {
    {"convolution", "{m}layers.*.linear_attn.conv1d.weight", false},
    {"mtp-layer", "mtp.*", false},
    {"vision", "model.visual.*", false},
};

// ---- the table ----

#define SET(rows) {rows, COUNT_OF(rows)}
#define USUAL_PREFIXES \
    {{"model.", ""}, {"model.language_model.", ""}, {"language_model.model.", "language_model."}}

static const family families[] = {
    {
        .architecture = {"DeepseekV3ForCausalLM"},
        .model_type = {"deepseek_v3", "kimi_k2"},
        .facts = {.family = "deepseek_v3", .mixer = MIXER_MLA, .lora_norm_eps = 1e-6,
                  .score = SCORE_SIGMOID, .group_score = GROUP_TOP2_SUM, .select_bias = true,
                  .renorm_eps = 1e-20},
        .prefix = USUAL_PREFIXES,
        .key = deepseek_v3_keys, .n_keys = COUNT_OF(deepseek_v3_keys),
        .fixed = deepseek_v3_fixed, .n_fixed = COUNT_OF(deepseek_v3_fixed),
        .layers = deepseek_v3_layers, .n_layers = COUNT_OF(deepseek_v3_layers),
        .roles = {SET(frame), SET(mla), SET(dense), SET(router), SET(experts), SET(select_bias),
                  SET(shared)},
        .rules = usual_rules, .n_rules = COUNT_OF(usual_rules),
        .stack = moe_stacks, .n_stacks = COUNT_OF(moe_stacks),
    },
    {
        .architecture = {"Qwen3MoeForCausalLM"},
        .model_type = {"qwen3_moe"},
        .facts = {.family = "qwen3_moe", .mixer = MIXER_GQA, .qk_norm = true, .rope = ROPE_HALF,
                  .score = SCORE_SOFTMAX},
        .prefix = USUAL_PREFIXES,
        .fixed = qwen3_moe_fixed, .n_fixed = COUNT_OF(qwen3_moe_fixed),
        .layers = qwen3_moe_layers, .n_layers = COUNT_OF(qwen3_moe_layers),
        .roles = {SET(frame), SET(gqa), SET(head_norms), SET(dense), SET(router), SET(experts)},
        .rules = usual_rules, .n_rules = COUNT_OF(usual_rules),
        .stack = moe_stacks, .n_stacks = COUNT_OF(moe_stacks),
    },
    {
        .architecture = {"GptOssForCausalLM"},
        .model_type = {"gpt_oss"},
        .facts = {.family = "gpt_oss", .mixer = MIXER_GQA, .rope = ROPE_HALF,
                  .score = SCORE_SOFTMAX, .loads_stacks_only = true,
                  .no_forward = "attention sinks, sliding windows and experts with biases"},
        .prefix = USUAL_PREFIXES,
        .key = gpt_oss_keys, .n_keys = COUNT_OF(gpt_oss_keys),
        .roles = {SET(frame), SET(gqa), SET(gpt_oss_roles), SET(experts), SET(expert_biases)},
        .rules = usual_rules, .n_rules = COUNT_OF(usual_rules),
        .stack = gpt_oss_stacks, .n_stacks = COUNT_OF(gpt_oss_stacks), .stacked = true,
    },
    {
        .architecture = {"Llama4ForConditionalGeneration", "Llama4ForCausalLM"},
        .model_type = {"llama4", "llama4_text"},
        .facts = {.family = "llama4", .mixer = MIXER_GQA, .rope = ROPE_PAIR,
                  .score = SCORE_SIGMOID, .loads_stacks_only = true,
                  .no_forward = "chunked attention, layers without RoPE and experts whose inputs "
                                "are weighted"},
        .prefix = USUAL_PREFIXES,
        .key = llama4_keys, .n_keys = COUNT_OF(llama4_keys),
        .layers = llama4_layers, .n_layers = COUNT_OF(llama4_layers),
        .roles = {SET(frame), SET(gqa), SET(llama4_ffn)},
        .rules = llama4_rules, .n_rules = COUNT_OF(llama4_rules),
        .stack = llama4_stacks, .n_stacks = COUNT_OF(llama4_stacks), .stacked = true,
    },
    {
        .architecture = {"Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"},
        .model_type = {"qwen3_5_moe", "qwen3_5_moe_text"},
        .facts = {.family = "qwen3_5_moe", .mixer = MIXER_GQA, .qk_norm = true, .rope = ROPE_HALF,
                  .score = SCORE_SOFTMAX,
                  .no_forward = "linear attention, gated queries and a gated shared expert"},
        .prefix = USUAL_PREFIXES,
        .key = qwen3_5_moe_keys, .n_keys = COUNT_OF(qwen3_5_moe_keys),
        .layers = qwen3_5_moe_layers, .n_layers = COUNT_OF(qwen3_5_moe_layers),
        .roles = {SET(frame), SET(qwen3_5_mixers), SET(router), SET(experts), SET(qwen3_5_shared)},
        .rules = qwen3_5_moe_rules, .n_rules = COUNT_OF(qwen3_5_moe_rules),
        .stack = moe_stacks, .n_stacks = COUNT_OF(moe_stacks), .stacked = true,
    },
};

int family_count(void) { return COUNT_OF(families); }

const family *family_at(int i) { return &families[i]; }

static bool is_one_of(const char *const *names, const char *name)
{
    for (; name && *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

const family *family_find(const char *architecture, const char *model_type)
{
    for (int i = 0; i < family_count(); i++)
        if (is_one_of(families[i].architecture, architecture))
            return &families[i];
    for (int i = 0; i < family_count(); i++)
        if (is_one_of(families[i].model_type, model_type))
            return &families[i];
    return NULL;
}

// ---- names ----

bool role_row_in_layers(const role_row *r) { return strstr(r->module, "{n}") != NULL; }

const stack_row *family_stack(const family *f, role r)
{
    for (int i = 0; i < f->n_stacks; i++)
        if (f->stack[i].role == r)
            return &f->stack[i];
    return NULL;
}

static size_t put_number(char *to, int64_t value)
{
    char digit[20];
    size_t n = 0;
    uint64_t rest = (uint64_t)value;
    do {
        digit[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    for (size_t i = 0; i < n; i++)
        to[i] = digit[n - 1 - i];
    return n;
}

size_t family_name(char *buf, size_t size, const char *module, const name_prefix *p, int64_t n,
                   int64_t e)
{
    size_t len = 0;
    for (const char *t = module; *t; t++) {
        assert(len + 64 < size); // templates and prefixes are ours and short
        if (*t != '{') {
            buf[len++] = *t;
            continue;
        }
        char kind = t[1];
        t += 2; // to the closing brace
        if (kind == 'n' || kind == 'e') {
            len += put_number(buf + len, kind == 'n' ? n : e);
            continue;
        }
        const char *prefix = kind == 'h' ? p->head : p->body;
        size_t prefix_len = strlen(prefix);
        memcpy(buf + len, prefix, prefix_len);
        len += prefix_len;
    }
    buf[len] = 0;
    return len;
}

typedef struct {
    const name_prefix *prefix;
    int64_t first, count;
} rule_context;

// Reads a decimal number without leading zeros; NULL where there is none.
static const char *layer_number(const char *text, int64_t *value)
{
    if (*text < '0' || *text > '9')
        return NULL;
    bool zero = *text == '0';
    *value = 0;
    for (int digits = 0; *text >= '0' && *text <= '9'; text++, digits++) {
        if (digits == 9 || (zero && digits > 0))
            return NULL;
        *value = *value * 10 + (*text - '0');
    }
    return text;
}

static bool pattern_fits(const char *pattern, const char *name, const rule_context *c)
{
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            for (;; name++) {
                if (pattern_fits(pattern + 1, name, c))
                    return true;
                if (!*name)
                    return false;
            }
        }
        if (*pattern != '{') {
            if (*pattern != *name++)
                return false;
            continue;
        }
        char kind = pattern[1];
        pattern += 2; // to the closing brace
        if (kind == 'x') {
            int64_t layer;
            name = layer_number(name, &layer);
            if (!name || layer < c->first || layer - c->first >= c->count)
                return false;
            continue;
        }
        const char *prefix = kind == 'h' ? c->prefix->head : c->prefix->body;
        size_t len = strlen(prefix);
        if (strncmp(name, prefix, len) != 0)
            return false;
        name += len;
    }
    return *name == 0;
}

bool family_rule_fits(const name_rule *r, const name_prefix *p, int64_t first, int64_t count,
                      const char *name)
{
    return pattern_fits(r->pattern, name, &(rule_context){p, first, count});
}

const char *family_rule(const family *f, const name_prefix *p, const arch *a, const char *name)
{
    const struct {
        const name_rule *rule;
        int n;
    } lists[] = {{common_rules, COUNT_OF(common_rules)}, {f->rules, f->n_rules}};
    for (size_t l = 0; l < COUNT_OF(lists); l++) {
        for (int r = 0; r < lists[l].n; r++) {
            const name_rule *rule = &lists[l].rule[r];
            if ((!rule->tied_only || a->tied_head) &&
                family_rule_fits(rule, p, a->n_layers, a->n_extra_layers, name))
                return rule->name;
        }
    }
    return NULL;
}
