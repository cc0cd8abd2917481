// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/small_plan.h"

#include "base/bytes.h"
#include "tests/fuzz/fuzz.h"

static const char config[] =
    "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\",\"hidden_size\":32,"
    "\"num_hidden_layers\":1,\"vocab_size\":4,\"num_attention_heads\":1,\"num_key_value_heads\":1,"
    "\"head_dim\":2,\"intermediate_size\":4,\"moe_intermediate_size\":32,\"num_experts\":2,"
    "\"num_experts_per_tok\":1,\"norm_topk_prob\":true,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"hidden_act\":\"silu\",\"decoder_sparse_step\":1,"
    "\"mlp_only_layers\":[],\"attention_bias\":false,\"tie_word_embeddings\":true}";

#define LAYER "model.layers.0."
static const tensor shapes[] = {
    {.name = "model.embed_tokens.weight", .rank = 2, .shape = {4, 32}},
    {.name = "model.norm.weight", .rank = 1, .shape = {32}},
    {.name = LAYER "input_layernorm.weight", .rank = 1, .shape = {32}},
    {.name = LAYER "post_attention_layernorm.weight", .rank = 1, .shape = {32}},
    {.name = LAYER "self_attn.q_proj.weight", .rank = 2, .shape = {2, 32}},
    {.name = LAYER "self_attn.k_proj.weight", .rank = 2, .shape = {2, 32}},
    {.name = LAYER "self_attn.v_proj.weight", .rank = 2, .shape = {2, 32}},
    {.name = LAYER "self_attn.o_proj.weight", .rank = 2, .shape = {32, 2}},
    {.name = LAYER "self_attn.q_norm.weight", .rank = 1, .shape = {2}},
    {.name = LAYER "self_attn.k_norm.weight", .rank = 1, .shape = {2}},
    {.name = LAYER "mlp.gate.weight", .rank = 2, .shape = {2, 32}},
    {.name = LAYER "mlp.experts.0.gate_proj.weight", .rank = 2, .shape = {32, 32}},
    {.name = LAYER "mlp.experts.0.up_proj.weight", .rank = 2, .shape = {32, 32}},
    {.name = LAYER "mlp.experts.0.down_proj.weight", .rank = 2, .shape = {32, 32}},
    {.name = LAYER "mlp.experts.1.gate_proj.weight", .rank = 2, .shape = {32, 32}},
    {.name = LAYER "mlp.experts.1.up_proj.weight", .rank = 2, .shape = {32, 32}},
    {.name = LAYER "mlp.experts.1.down_proj.weight", .rank = 2, .shape = {32, 32}},
};

static void open_source(small_plan *p, model **m)
{
    err e = ERR_INIT;
    strbuf header = {0};
    checkpoint *c;
    tensor list[COUNT_OF(shapes)];
    uint64_t bytes = 0;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        list[i] = shapes[i];
        list[i].type = DT_BF16;
    }
    FUZZ_OK(st_write_header(&header, list, COUNT_OF(shapes), NULL, 0, 8, &e), &e);
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        bytes += list[i].bytes;
    fuzz_file("small/config.json", config, sizeof config - 1, sizeof config - 1);
    fuzz_file("small/model.safetensors", header.text, header.len, header.len + bytes);
    FUZZ_OK(checkpoint_open(&c, "small", NULL, &e) && model_open(m, c, NULL, &e), &e);
    p->source = c;
    fuzz_files_clear();
    strbuf_free(&header);
}

const small_plan *small_plan_get(void)
{
    static small_plan kept;
    static bool made;
    err e = ERR_INIT;
    model *m;
    if (made)
        return &kept;
    open_source(&kept, &m);
    kept.order = (order)ORDER_DEFAULTS;
    kept.order.quantize = true;
    kept.order.plan.codec = codec_find("int4-g32");
    kept.order.plan.scope = SCOPE_EXPERTS;
    kept.order.plan.layout = LAYOUT_EXPERTS;
    FUZZ_OK(plan_make(&kept.plan, kept.source, m, &kept.order.plan, &e), &e);
    made = true;
    return &kept;
}
