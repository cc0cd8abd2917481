// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/config.h"
#include "formats/quant_config.h"
#include "tests/refused.h"
#include "tests/tiny_model.h"

Suite *suite_config(void);

static bool read_text(config *c, const char *text, err *e)
{
    return config_init(c, text, strlen(text), NULL, e);
}

// The config with one member changed has to be refused with the words.
static void assert_refused(const char *base, const char *key, const char *value, const char *words)
{
    config c;
    char *text = tiny_config_with(base, key, value);
    ASSERT_REFUSED(read_text(&c, text, &refused), words);
    ck_assert_ptr_null(c.root); // nothing left behind
    free(text);
}

static config read_with(const char *base, const char *key, const char *value)
{
    config c;
    err e = ERR_INIT;
    char *text = tiny_config_with(base, key, value);
    ASSERT_OK(read_text(&c, text, &e), e);
    free(text);
    return c;
}

static const char *const qwen = tiny_qwen3_moe_config;
static const char *const deepseek = tiny_deepseek_v3_config;

START_TEST(reads_qwen3_moe_with_its_switches)
{
    config c;
    err e = ERR_INIT;
    ASSERT_OK(read_text(&c, qwen, &e), e);
    const arch *a = &c.arch;
    ck_assert_str_eq(a->family, "qwen3_moe");
    ck_assert_int_eq(a->hidden, 64);
    ck_assert_int_eq(a->n_layers, 3);
    ck_assert_int_eq(a->vocab, 16);
    ck_assert_int_eq(a->n_heads, 4);
    ck_assert_int_eq(a->n_kv_heads, 2);
    ck_assert_int_eq(a->head_dim, 8); // not hidden / heads
    ck_assert_int_eq(a->dense_inter, 96);
    ck_assert_int_eq(a->moe_inter, 32);
    ck_assert_int_eq(a->shared_inter, 0);
    ck_assert_int_eq(a->n_experts, 4);
    ck_assert_int_eq(a->top_k, 2);
    ck_assert_int_eq(a->n_group, 1);
    ck_assert_int_eq(a->topk_group, 1);
    ck_assert_int_eq(a->mixer, MIXER_GQA);
    ck_assert_int_eq(a->score, SCORE_SOFTMAX);
    ck_assert_int_eq(a->rope, ROPE_HALF);
    ck_assert_int_eq(a->scaling, ROPE_PLAIN);
    ck_assert(a->qk_norm && a->renorm && !a->select_bias && !a->tied_head && !a->attention_bias);
    ck_assert_double_eq(a->norm_eps, 1e-6);
    ck_assert_double_eq(a->rope_theta, 1e6);
    ck_assert_double_eq(a->route_scale, 1);
    ck_assert_double_eq(a->renorm_eps, 0);
    ck_assert_int_eq(a->bos, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(c.ffn[i], FFN_MOE);
    config_free(&c);
}
END_TEST

START_TEST(reads_deepseek_v3_with_its_switches)
{
    config c;
    err e = ERR_INIT;
    ASSERT_OK(read_text(&c, deepseek, &e), e);
    const arch *a = &c.arch;
    ck_assert_str_eq(a->family, "deepseek_v3");
    ck_assert_int_eq(a->mixer, MIXER_MLA);
    ck_assert_int_eq(a->q_lora, 32);
    ck_assert_int_eq(a->kv_lora, 16);
    ck_assert_int_eq(a->qk_nope, 8);
    ck_assert_int_eq(a->qk_rope, 4);
    ck_assert_int_eq(a->v_dim, 8);
    ck_assert_int_eq(a->shared_inter, 32);
    ck_assert_int_eq(a->n_group, 2);
    ck_assert_int_eq(a->topk_group, 1);
    ck_assert_int_eq(a->score, SCORE_SIGMOID);
    ck_assert_int_eq(a->group_score, GROUP_TOP2_SUM);
    ck_assert(a->select_bias && a->renorm && !a->qk_norm);
    ck_assert_double_eq(a->renorm_eps, 1e-20);
    ck_assert_double_eq(a->route_scale, 2.5);
    ck_assert_double_eq(a->lora_norm_eps, 1e-6);
    ck_assert_int_eq(a->rope, ROPE_PAIR);
    ck_assert_int_eq(a->scaling, ROPE_YARN);
    ck_assert_double_eq(a->yarn_factor, 40);
    ck_assert_double_eq(a->yarn_original, 4096);
    ck_assert_double_eq(a->yarn_beta_fast, 32);
    ck_assert_double_eq(a->yarn_beta_slow, 1);
    ck_assert_double_eq(a->yarn_mscale, 1);
    ck_assert_double_eq(a->yarn_mscale_all_dim, 0.5);
    ck_assert_double_eq(a->yarn_attention_factor, 0);
    ck_assert_int_eq(a->bos, -1);
    ck_assert_int_eq(c.ffn[0], FFN_DENSE);
    ck_assert_int_eq(c.ffn[1], FFN_MOE);
    config_free(&c);
}
END_TEST

START_TEST(plans_dense_layers_by_list_and_by_step)
{
    config c = read_with(qwen, "mlp_only_layers", "[1]");
    ck_assert(c.ffn[0] == FFN_MOE && c.ffn[1] == FFN_DENSE && c.ffn[2] == FFN_MOE);
    config_free(&c);
    c = read_with(qwen, "decoder_sparse_step", "2"); // (i + 1) % 2 == 0: only layer 1
    ck_assert(c.ffn[0] == FFN_DENSE && c.ffn[1] == FFN_MOE && c.ffn[2] == FFN_DENSE);
    config_free(&c);
    c = read_with(qwen, "mlp_only_layers", "null");
    ck_assert(c.ffn[0] == FFN_MOE && c.ffn[1] == FFN_MOE && c.ffn[2] == FFN_MOE);
    config_free(&c);
    assert_refused(qwen, "mlp_only_layers", "[3]", "'mlp_only_layers'");
    assert_refused(qwen, "mlp_only_layers", "1", "'mlp_only_layers' is not a list");
    assert_refused(qwen, "decoder_sparse_step", "0", "'decoder_sparse_step'");
    assert_refused(deepseek, "first_k_dense_replace", "4", "'first_k_dense_replace'");
    assert_refused(deepseek, "first_k_dense_replace", NULL, "'first_k_dense_replace' is missing");
}
END_TEST

static const char qwen3_5[] =
    "{\"model_type\": \"qwen3_5_moe\", \"text_config\": "
    "{\"model_type\": \"qwen3_5_moe_text\", "
    "\"hidden_size\": 64, \"num_hidden_layers\": 4, \"vocab_size\": 16, "
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 8, "
    "\"moe_intermediate_size\": 32, \"shared_expert_intermediate_size\": 48, "
    "\"num_experts\": 4, \"num_experts_per_tok\": 2, \"rms_norm_eps\": 1e-06, "
    "\"linear_num_key_heads\": 2, \"linear_key_head_dim\": 8, \"linear_num_value_heads\": 4, "
    "\"linear_value_head_dim\": 16, \"rope_parameters\": {\"rope_theta\": 10000000, "
    "\"partial_rotary_factor\": 0.25}}}";

// One key of text_config changed.
static char *qwen3_5_with(const char *key, const char *value)
{
    const char *inner = strstr(qwen3_5, "text_config\": ") + strlen("text_config\": ");
    char text[1000];
    (void)snprintf(text, sizeof text, "%.*s", (int)(strlen(inner) - 1), inner);
    char *changed = tiny_config_with(text, key, value);
    char *whole = tiny_config_with(qwen3_5, "text_config", changed);
    free(changed);
    return whole;
}

static void linear_layers_are(const char *key, const char *value, const char *expected)
{
    config c;
    err e = ERR_INIT;
    char *text = qwen3_5_with(key, value);
    ASSERT_OK(read_text(&c, text, &e), e);
    for (int64_t i = 0; i < c.arch.n_layers; i++) {
        ck_assert_int_eq(c.linear[i], expected[i] == 'l');
        ck_assert_int_eq(config_layer(&c, i).linear, expected[i] == 'l');
    }
    ck_assert(!config_layer(&c, -1).linear && !config_layer(&c, c.arch.n_layers).linear);
    config_free(&c);
    free(text);
}

START_TEST(plans_linear_attention_by_list_and_by_step)
{
    linear_layers_are("full_attention_interval", "2", "lflf");
    linear_layers_are("layer_types", "[\"full_attention\", \"linear_attention\", "
                      "\"linear_attention\", \"full_attention\"]", "fllf");
    linear_layers_are("bos_token_id", "null", "ffff");
    static const char *const bad[][2] = {
        {"[\"full_attention\"]", "'layer_types' is no list of 4 layers"},
        {"\"linear\"", "'layer_types' is no list of 4 layers"},
        {"[\"full_attention\", \"linear_attention\", \"sliding\", \"full_attention\"]",
         "'layer_types' has a layer that is neither 'full_attention' nor 'linear_attention'"},
        {"[1, 2, 3, 4]", "neither 'full_attention'"}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        config c;
        char *text = qwen3_5_with("layer_types", bad[i][0]);
        ASSERT_REFUSED(read_text(&c, text, &refused), bad[i][1]);
        free(text);
    }
    config c;
    char *text = qwen3_5_with("full_attention_interval", "0");
    ASSERT_REFUSED(read_text(&c, text, &refused), "'full_attention_interval'");
    free(text);
}
END_TEST

// Keys that only a forward pass needs are not held against the config.
START_TEST(a_family_without_a_forward_pass_has_its_dimensions)
{
    config c;
    err e = ERR_INIT;
    strbuf text = {0};
    ASSERT_OK(read_text(&c, qwen3_5, &e), e);
    ck_assert_ptr_nonnull(c.arch.no_forward);
    ck_assert_int_eq(c.arch.shared_inter, 48);
    ck_assert_int_eq(config_dim(&c, DIM_DELTA_QKV), 2 * 2 * 8 + 4 * 16);
    config_dim_text(&c, DIM_DELTA_QKV, &text);
    ck_assert_str_eq(text.text, "linear_num_key_heads 2 x (linear_key_head_dim 8 + "
                     "linear_key_head_dim 8) + linear_num_value_heads 4 x "
                     "linear_value_head_dim 16");
    ck_assert_int_eq(config_dim(&c, DIM_GATED_Q), 4 * 2 * 8);
    strbuf_free(&text);
    config_free(&c);
    ASSERT_OK(read_text(&c, tiny_gpt_oss_config, &e), e); // truncate: false
    ck_assert_ptr_nonnull(c.arch.no_forward);
    ck_assert_int_eq(c.arch.moe_inter, 32);
    config_free(&c);
    ASSERT_OK(read_text(&c, tiny_llama4_config, &e), e);
    ck_assert_ptr_nonnull(c.arch.no_forward);
    ck_assert_int_eq(c.arch.moe_inter, 32);
    ck_assert_int_eq(c.arch.dense_inter, 96);
    ck_assert_int_eq(c.arch.shared_inter, 32);
    config_free(&c);
}
END_TEST

START_TEST(derives_the_head_size_only_where_it_divides)
{
    config c = read_with(qwen, "head_dim", NULL);
    ck_assert_int_eq(c.arch.head_dim, 16);
    config_free(&c);
    char *text = tiny_config_with(qwen, "head_dim", NULL);
    assert_refused(text, "num_attention_heads", "6", "'head_dim' is missing");
    free(text);
    c = read_with(qwen, "num_key_value_heads", NULL);
    ck_assert_int_eq(c.arch.n_kv_heads, 4);
    config_free(&c);
}
END_TEST

START_TEST(names_the_missing_renormalisation_key_and_says_why)
{
    assert_refused(qwen, "norm_topk_prob", NULL, "'norm_topk_prob' is missing: it decides");
    assert_refused(deepseek, "norm_topk_prob", NULL, "'norm_topk_prob' is missing");
    config c = read_with(qwen, "norm_topk_prob", "false");
    ck_assert(!c.arch.renorm);
    config_free(&c);
}
END_TEST

START_TEST(accepts_the_spellings_of_transformers_5)
{
    char *text = tiny_config_with(qwen, "rope_theta", NULL);
    char *both = tiny_config_with(text, "rope_scaling", NULL);
    config c = read_with(both, "rope_parameters",
                         "{\"rope_theta\": 5000.0, \"rope_type\": \"default\"}");
    ck_assert_double_eq(c.arch.rope_theta, 5000);
    ck_assert_int_eq(c.arch.scaling, ROPE_PLAIN);
    config_free(&c);
    c = read_with(both, "rope_parameters",
                  "{\"rope_theta\": 5000.0, \"rope_type\": \"yarn\", \"factor\": 4.0, "
                  "\"original_max_position_embeddings\": 32768, \"attention_factor\": 1.5}");
    ck_assert_int_eq(c.arch.scaling, ROPE_YARN);
    ck_assert_double_eq(c.arch.yarn_factor, 4);
    ck_assert_double_eq(c.arch.yarn_beta_fast, 32);
    ck_assert_double_eq(c.arch.yarn_attention_factor, 1.5);
    config_free(&c);
    free(both);
    free(text);
    text = tiny_config_with(qwen, "num_experts", NULL);
    c = read_with(text, "num_local_experts", "4");
    ck_assert_int_eq(c.arch.n_experts, 4);
    ck_assert_str_eq(c.value[CF_EXPERTS].path, "num_local_experts");
    config_free(&c);
    free(text);
}
END_TEST

START_TEST(refuses_two_spellings_that_disagree)
{
    assert_refused(qwen, "num_local_experts", "8", "'num_experts' and 'num_local_experts'");
    config c = read_with(qwen, "num_local_experts", "4");
    config_free(&c);
    assert_refused(deepseek, "rope_parameters", "{\"rope_type\": \"default\"}",
                   "'rope_parameters.rope_type' and 'rope_scaling.type'");
}
END_TEST

START_TEST(looks_into_text_config_first)
{
    strbuf text = {0};
    strbuf_printf(&text, "{\"hidden_size\": 9, \"tie_word_embeddings\": true, \"text_config\": %s}",
                  qwen);
    config c;
    err e = ERR_INIT;
    ASSERT_OK(read_text(&c, text.text, &e), e);
    ck_assert_int_eq(c.arch.hidden, 64);
    ck_assert(!c.arch.tied_head); // text_config says false, and it counts
    config_free(&c);
    strbuf_free(&text);
}
END_TEST

START_TEST(finds_the_family_by_architecture_then_by_model_type)
{
    config c = read_with(deepseek, "model_type", "\"kimi_k2\"");
    ck_assert_str_eq(c.arch.family, "deepseek_v3");
    config_free(&c);
    c = read_with(qwen, "architectures", NULL);
    ck_assert_str_eq(c.arch.family, "qwen3_moe");
    config_free(&c);
    c = read_with(qwen, "model_type", "\"deepseek_v3\""); // the architecture wins
    ck_assert_str_eq(c.arch.family, "qwen3_moe");
    config_free(&c);
    char *text = tiny_config_with(qwen, "model_type", "\"mamba\"");
    assert_refused(text, "architectures", "[\"MambaForCausalLM\"]",
                   "'MambaForCausalLM' and model_type 'mamba' name no model family that this "
                   "version knows: deepseek_v3 (DeepseekV3ForCausalLM), qwen3_moe "
                   "(Qwen3MoeForCausalLM)");
    free(text);
    assert_refused("{}", "x", "1", "architectures '(none)'");
}
END_TEST

START_TEST(refuses_by_name_what_it_does_not_compute)
{
    assert_refused(qwen, "use_sliding_window", "true", "'use_sliding_window' is true");
    assert_refused(qwen, "hidden_act", "\"gelu\"", "'hidden_act' is 'gelu'");
    assert_refused(qwen, "rope_scaling", "{\"type\": \"llama3\", \"factor\": 8}",
                   "'rope_scaling.type' is 'llama3'");
    assert_refused(deepseek, "scoring_func", "\"softmax\"", "'scoring_func' is 'softmax'");
    assert_refused(deepseek, "topk_method", "\"greedy\"", "(only 'noaux_tc')");
    assert_refused(deepseek, "moe_layer_freq", "2", "'moe_layer_freq' is 2");
    assert_refused(deepseek, "moe_layer_freq", "[0, 1, 1]", "'moe_layer_freq' is of another kind");
    assert_refused(deepseek, "attention_bias", "true", "'attention_bias' is true");
    assert_refused(deepseek, "rope_scaling",
                   "{\"type\": \"yarn\", \"factor\": 40, \"truncate\": false, "
                   "\"original_max_position_embeddings\": 4096}", "'rope_scaling.truncate' is");
}
END_TEST

START_TEST(checks_kinds_and_ranges)
{
    assert_refused(qwen, "hidden_size", "0", "'hidden_size' is 0, allowed are 1 to 1048576");
    assert_refused(qwen, "hidden_size", "1048577", "'hidden_size' is 1048577");
    assert_refused(qwen, "hidden_size", "64.5", "'hidden_size' is not an integer");
    assert_refused(qwen, "hidden_size", "\"64\"", "'hidden_size' is not an integer");
    assert_refused(qwen, "hidden_size", "null", "'hidden_size' is null");
    assert_refused(qwen, "num_hidden_layers", "4097", "'num_hidden_layers' is 4097");
    assert_refused(qwen, "num_experts", "65537", "'num_experts' is 65537");
    assert_refused(qwen, "vocab_size", "16777217", "'vocab_size'");
    assert_refused(qwen, "rope_theta", "-1", "'rope_theta' is -1");
    assert_refused(qwen, "rms_norm_eps", "0", "'rms_norm_eps' is 0");
    assert_refused(qwen, "tie_word_embeddings", "1", "'tie_word_embeddings' is not true or false");
    assert_refused(deepseek, "rope_scaling", "{\"type\": \"yarn\", \"factor\": 40}",
                   "'rope_scaling.original_max_position_embeddings' is missing");
    config c = {0};
    ASSERT_REFUSED(read_text(&c, "[1]", &refused), "not an object");
    ASSERT_REFUSED(read_text(&c, "{", &refused), "config.json");
}
END_TEST

START_TEST(checks_what_numbers_have_to_do_with_each_other)
{
    assert_refused(qwen, "num_experts_per_tok", "5", "'num_experts_per_tok' 5 is more than");
    assert_refused(qwen, "num_key_value_heads", "3", "is no multiple of 'num_key_value_heads' 3");
    assert_refused(qwen, "head_dim", "7", "'head_dim' 7 is odd");
    assert_refused(qwen, "bos_token_id", "16", "'bos_token_id' 16 is outside 'vocab_size' 16");
    assert_refused(deepseek, "n_group", "3", "is no multiple of 'n_group' 3");
    assert_refused(deepseek, "topk_group", "3", "'topk_group' 3 is more than 'n_group' 2");
    assert_refused(deepseek, "num_experts_per_tok", "3", "cannot be chosen");
    assert_refused(deepseek, "n_group", "4", "cannot be chosen");
    char *text = tiny_config_with(deepseek, "num_experts_per_tok", "1");
    assert_refused(text, "n_group", "4", "groups of one expert");
    free(text);
    assert_refused(deepseek, "num_key_value_heads", "1", "has to equal");
    assert_refused(deepseek, "qk_rope_head_dim", "3", "'qk_rope_head_dim' 3 is odd");
}
END_TEST

START_TEST(a_null_query_rank_is_a_direct_projection_and_a_missing_one_an_error)
{
    config c = read_with(deepseek, "q_lora_rank", "null");
    ck_assert_int_eq(c.arch.q_lora, 0);
    config_free(&c);
    assert_refused(deepseek, "q_lora_rank", NULL, "'q_lora_rank' is missing");
    c = read_with(deepseek, "n_shared_experts", "null");
    ck_assert_int_eq(c.arch.shared_inter, 0);
    config_free(&c);
    c = read_with(deepseek, "rope_interleave", "false");
    ck_assert_int_eq(c.arch.rope, ROPE_HALF);
    config_free(&c);
}
END_TEST

START_TEST(explains_a_dimension_by_the_keys_it_comes_from)
{
    config c = read_with(deepseek, "hidden_size", "64");
    strbuf text = {0};
    config_dim_text(&c, DIM_MLA_Q, &text);
    ck_assert_str_eq(text.text, "num_attention_heads 2 x (qk_nope_head_dim 8 + "
                                "qk_rope_head_dim 4)");
    ck_assert_int_eq(config_dim(&c, DIM_MLA_Q), 24);
    strbuf_clear(&text);
    config_dim_text(&c, DIM_KV_A, &text);
    ck_assert_str_eq(text.text, "kv_lora_rank 16 + qk_rope_head_dim 4");
    strbuf_clear(&text);
    config_dim_text(&c, DIM_SHARED_INTER, &text);
    ck_assert_str_eq(text.text, "n_shared_experts 1 x moe_intermediate_size 32");
    ck_assert_int_eq(config_dim(&c, DIM_ONE), 1);
    strbuf_free(&text);
    config_free(&c);
}
END_TEST

static char noted[400];

static void take_note(void *ctx, const char *line)
{
    (void)ctx;
    (void)snprintf(noted, sizeof noted, "%s", line);
}

START_TEST(lists_the_keys_that_nothing_reads)
{
    config c;
    err e = ERR_INIT;
    events v = {.note = take_note};
    char *text = tiny_config_with(qwen, "router_aux_loss_coef", "0.001");
    ASSERT_OK(config_init(&c, text, strlen(text), &v, &e), e);
    ck_assert_str_eq(noted, "config.json: keys without effect here: sliding_window, "
                            "router_aux_loss_coef");
    config_free(&c);
    free(text);
}
END_TEST

#define INT4_SCHEME(group)                                                                     \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "              \
    "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, " \
    "\"type\": \"int\", \"symmetric\": true, \"strategy\": \"group\", \"group_size\": " group     \
    ", \"actorder\": null}, \"input_activations\": null}}, \"ignore\": [\"lm_head\"]}"

static void assert_declared(const char *value, const char *expected)
{
    config c = read_with(qwen, "quantization_config", value);
    quant_config q;
    err e = ERR_INIT;
    char text[200];
    ASSERT_OK(quant_config_read(&q, &c, &e), e);
    ck_assert_str_eq(quant_config_text(&q, text, sizeof text), expected);
    config_free(&c);
}

static void assert_undeclarable(const char *value, const char *words)
{
    config c = read_with(qwen, "quantization_config", value);
    quant_config q;
    ASSERT_REFUSED(quant_config_read(&q, &c, &refused), words);
    config_free(&c);
}

START_TEST(reads_what_a_quantization_config_declares)
{
    assert_declared("null", "");
    assert_declared("{\"quant_method\": \"fp8\", \"fmt\": \"e4m3\", \"weight_block_size\": "
                    "[128, 128], \"scale_fmt\": \"ue8m0\"}", "fp8-block");
    assert_declared("{\"quant_method\": \"fp8\", \"weight_block_size\": [1, 32]}", "fp8-g32");
    assert_declared("{\"quant_method\": \"fp8\"}", "fp8");
    assert_declared("{\"quant_method\": \"fp8\", \"weight_block_size\": [32, 32], "
                    "\"expert_dtype\": \"fp4\"}", "fp8-block 32x32, fp4-g32");
    assert_declared("{\"quant_method\": \"fp8\", \"expert_dtype\": \"fp8\"}", "fp8");
    assert_declared("{\"quant_method\": \"fbgemm_fp8\"}", "fp8-channel");
    assert_declared("{\"quant_method\": \"mxfp8\"}", "fp8-g32");
    assert_declared("{\"quant_method\": \"mxfp4\"}", "fp4-g32");
    assert_declared("{\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\"}", "fp4-g16");
    assert_declared("{\"quant_method\": \"gptq\", \"bits\": 8}", "int8-channel");
    assert_declared("{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128, \"dynamic\": "
                    "{\"+:a\": {\"bits\": 8, \"group_size\": 64}, \"+:b\": {\"group_size\": 32}, "
                    "\"-:c\": {}}}", "int4-g128, int8-g64, int4-g32");
    assert_declared("{\"quant_method\": \"awq\"}", "int4-g128");
    assert_declared("{\"bits\": 4, \"group_size\": 32, \"a.b\": {\"bits\": 8, \"group_size\": 64}, "
                    "\"c\": false}", "int4-g32, int8-g64");
    assert_declared("{\"bits\": 4, \"group_size\": 16, \"mode\": \"nvfp4\"}", "fp4-g16");
    assert_declared(INT4_SCHEME("32"), "int4-g32");
    assert_declared(INT4_SCHEME("16"), "int4-g16");
    assert_declared("{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": "
                    "{\"weights\": {\"num_bits\": 4, \"group_size\": 32, \"symmetric\": "
                    "false}}}}", "int4-g32 with zero points");
    assert_declared("{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": "
                    "{\"weights\": {\"type\": \"float\", \"strategy\": \"block\", "
                    "\"block_structure\": [64, 32]}}, \"h\": {\"weights\": {\"strategy\": "
                    "\"tensor\"}}}}", "fp8-block 64x32, int8-tensor");
    assert_declared("{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"a\": "
                    "{\"input_activations\": {\"num_bits\": 8, \"type\": \"float\"}}}}", "");
    assert_declared("{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"a\": "
                    "{\"weights\": {\"type\": \"float\", \"strategy\": \"channel\"}}, \"b\": "
                    "{\"weights\": {\"num_bits\": 4, \"group_size\": 128}}}}",
                    "fp8-channel, int4-g128");
}
END_TEST

START_TEST(refuses_quantizations_it_cannot_read_by_name)
{
    assert_undeclarable("{\"quant_method\": \"exl3\"}", "quant_method is 'exl3'");
    assert_undeclarable("{\"quant_method\": \"gptq\"}", "bits is not 2, 3, 4 or 8");
    assert_undeclarable("{}", "quant_method is '(none)'");
    assert_undeclarable("{\"quant_method\": \"fp8\", \"weight_block_size\": [128]}",
                        "is not two positive numbers");
    assert_undeclarable("{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": "
                        "{\"weights\": {\"type\": \"float\", \"strategy\": \"block\"}}}}",
                        "strategy block");
    assert_undeclarable("{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"g\": "
                        "{\"weights\": {\"type\": \"float\", \"symmetric\": false}}}}",
                        "asymmetric");
    assert_undeclarable("{\"quant_method\": \"compressed-tensors\", \"config_groups\": "
                        "{\"W4A16\": [\"Linear\"]}}", "is a preset name");
    assert_undeclarable("{\"quant_method\": \"compressed-tensors\", \"config_groups\": {}}",
                        "no config_groups");
    assert_undeclarable("{\"quant_method\": \"compressed-tensors\", \"transform_config\": "
                        "{\"a\": 1}, \"config_groups\": {}}", "transform_config");
    assert_undeclarable("{\"quant_method\": \"compressed-tensors\", \"sparsity_config\": "
                        "{\"format\": \"sparse-24\"}, \"config_groups\": {}}", "'sparse-24'");
}
END_TEST

Suite *suite_config(void)
{
    Suite *s = suite_create("config");
    TCase *c = tcase_create("map");
    tcase_add_test(c, reads_qwen3_moe_with_its_switches);
    tcase_add_test(c, reads_deepseek_v3_with_its_switches);
    tcase_add_test(c, plans_dense_layers_by_list_and_by_step);
    tcase_add_test(c, plans_linear_attention_by_list_and_by_step);
    tcase_add_test(c, a_family_without_a_forward_pass_has_its_dimensions);
    tcase_add_test(c, derives_the_head_size_only_where_it_divides);
    tcase_add_test(c, names_the_missing_renormalisation_key_and_says_why);
    tcase_add_test(c, accepts_the_spellings_of_transformers_5);
    tcase_add_test(c, refuses_two_spellings_that_disagree);
    tcase_add_test(c, looks_into_text_config_first);
    tcase_add_test(c, finds_the_family_by_architecture_then_by_model_type);
    tcase_add_test(c, refuses_by_name_what_it_does_not_compute);
    tcase_add_test(c, checks_kinds_and_ranges);
    tcase_add_test(c, checks_what_numbers_have_to_do_with_each_other);
    tcase_add_test(c, a_null_query_rank_is_a_direct_projection_and_a_missing_one_an_error);
    tcase_add_test(c, explains_a_dimension_by_the_keys_it_comes_from);
    tcase_add_test(c, lists_the_keys_that_nothing_reads);
    suite_add_tcase(s, c);
    TCase *q = tcase_create("quantization");
    tcase_add_test(q, reads_what_a_quantization_config_declares);
    tcase_add_test(q, refuses_quantizations_it_cannot_read_by_name);
    suite_add_tcase(s, q);
    return s;
}
