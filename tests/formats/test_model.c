// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/model_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_model(void);

static tiny t;
static checkpoint *c;
static model *m;

static void setup(void)
{
    c = NULL;
    m = NULL;
    tiny_init(&t);
}

static void teardown(void)
{
    model_close(m);
    checkpoint_close(c);
    tiny_free(&t);
}

static void open_path(const char *path) { model_case_open_path(path, &c, &m); }
static void open_tiny(const char *config) { model_case_open(&t, config, &c, &m); }

static void assert_unbound(const char *config, const char *words)
{
    model_case_refuses(&t, config, words);
}

static const tensor_account *account_of(const char *name)
{
    int64_t i = checkpoint_index_of(c, name);
    ck_assert_int_ge(i, 0);
    return model_account(m, i);
}

// Every used tensor is found again through model_weight, at the place its account says.
static void assert_accounts_agree(void)
{
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        const tensor_account *a = model_account(m, i);
        if (!a->used) {
            ck_assert_ptr_nonnull(a->rule);
            ck_assert_ptr_null(a->weight);
            continue;
        }
        ck_assert_ptr_null(a->rule);
        ck_assert_ptr_eq(a->weight->part[a->part], checkpoint_at(c, i));
        ck_assert_ptr_eq(model_weight(m, a->role, a->layer, a->expert), a->weight);
    }
}

START_TEST(binds_qwen3_moe_untied)
{
    tiny_shape s = TINY_SHAPE;
    tiny_qwen3_moe(&t, &s);
    open_tiny(tiny_qwen3_moe_config);
    assert_accounts_agree();
    const weight *w = model_weight(m, ROLE_EXPERT_DOWN, 2, 3);
    ck_assert_str_eq(w->module, "model.layers.2.mlp.experts.3.down_proj");
    ck_assert_int_eq(w->out, 64);
    ck_assert_int_eq(w->in, 32);
    w = model_weight(m, ROLE_Q_NORM, 0, -1);
    ck_assert_int_eq(w->out, 1);
    ck_assert_int_eq(w->in, 8);
    ck_assert_str_eq(model_weight(m, ROLE_HEAD, -1, -1)->module, "lm_head");
    ck_assert_ptr_null(model_weight(m, ROLE_Q_BIAS, 0, -1));
    ck_assert_ptr_null(model_weight(m, ROLE_SHARED_UP, 0, -1));
    ck_assert_ptr_null(model_weight(m, ROLE_Q, 3, -1));
    ck_assert_ptr_null(model_weight(m, ROLE_Q, 0, 0));
    ck_assert_ptr_null(model_weight(m, ROLE_EXPERT_UP, 0, 4));
    ck_assert_ptr_null(model_weight(m, ROLE_EXPERT_UP, 0, -1));
    ck_assert_ptr_null(model_weight(m, ROLE_Q, -1, -1));
    ck_assert_int_eq(model_parameters(m, true), 3 * 4 * 3 * 64 * 32);
    int64_t layer = 2 * 64 + 2 * 8 + 2 * 32 * 64 + 2 * 16 * 64 + 4 * 64;
    ck_assert_int_eq(model_parameters(m, false),
                     3 * layer + 2 * 16 * 64 + 64 + model_parameters(m, true));
}
END_TEST

START_TEST(binds_qwen3_moe_tied_and_with_a_dense_layer)
{
    tiny_shape s = TINY_SHAPE;
    s.tied = true;
    s.dense_layer = 1;
    tiny_qwen3_moe(&t, &s);
    char *tied = tiny_config_with(tiny_qwen3_moe_config, "tie_word_embeddings", "true");
    char *config = tiny_config_with(tied, "mlp_only_layers", "[1]");
    open_tiny(config);
    assert_accounts_agree();
    ck_assert_ptr_eq(model_weight(m, ROLE_HEAD, -1, -1), model_weight(m, ROLE_EMBED, -1, -1));
    ck_assert_int_eq(model_ffn(m, 1), FFN_DENSE);
    ck_assert_int_eq(model_ffn(m, 2), FFN_MOE);
    ck_assert_ptr_null(model_weight(m, ROLE_EXPERT_UP, 1, 0));
    ck_assert_ptr_null(model_weight(m, ROLE_ROUTER, 1, -1));
    ck_assert_ptr_nonnull(model_weight(m, ROLE_FFN_DOWN, 1, -1));
    ck_assert_ptr_null(model_weight(m, ROLE_FFN_DOWN, 0, -1));
    free(config);
    free(tied);
}
END_TEST

START_TEST(copies_the_stored_head_of_a_tied_model_by_rule)
{
    tiny_shape s = TINY_SHAPE;
    tiny_qwen3_moe(&t, &s);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "tie_word_embeddings", "true");
    open_tiny(config);
    ck_assert_str_eq(account_of("lm_head.weight")->rule, "tied-head");
    ck_assert_ptr_eq(model_weight(m, ROLE_HEAD, -1, -1), model_weight(m, ROLE_EMBED, -1, -1));
    free(config);
}
END_TEST

START_TEST(binds_attention_biases)
{
    tiny_shape s = TINY_SHAPE;
    s.bias = true;
    tiny_qwen3_moe(&t, &s);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "attention_bias", "true");
    open_tiny(config);
    assert_accounts_agree();
    ck_assert_int_eq(model_weight(m, ROLE_K_BIAS, 1, -1)->in, 16);
    free(config);
    model_close(m);
    m = NULL;
    checkpoint_close(c);
    c = NULL;
    assert_unbound(tiny_qwen3_moe_config, "'model.layers.0.self_attn.q_proj.bias' (and 11 more) "
                                          "has no role in family qwen3_moe");
}
END_TEST

START_TEST(binds_deepseek_v3_with_extra_layers_and_old_buffers_by_rule)
{
    tiny_shape s = TINY_SHAPE;
    s.dense_layer = 0;
    tiny_deepseek_v3(&t, &s);
    tiny_add(&t, "model.layers.3.eh_proj.weight", DT_BF16, 2, 64, 128, NULL);
    tiny_add(&t, "model.layers.3.mlp.experts.0.up_proj.weight", DT_BF16, 2, 32, 64, NULL);
    tiny_add(&t, "model.layers.1.self_attn.rotary_emb.inv_freq", DT_F32, 1, 2, 0, NULL);
    tiny_add(&t, "model.layers.0.self_attn.k_scale", DT_F32, 1, 1, 0, NULL);
    tiny_add(&t, "model.layers.1.self_attn.v_proj.v_scale", DT_F32, 1, 1, 0, NULL);
    char *config = tiny_config_with(tiny_deepseek_v3_config, "num_nextn_predict_layers", "1");
    open_tiny(config);
    free(config);
    assert_accounts_agree();
    ck_assert_str_eq(account_of("model.layers.3.eh_proj.weight")->rule, "mtp-layer");
    ck_assert_str_eq(account_of("model.layers.1.self_attn.rotary_emb.inv_freq")->rule,
                     "rotary-inv-freq");
    ck_assert_str_eq(account_of("model.layers.0.self_attn.k_scale")->rule, "cache-scale");
    ck_assert_str_eq(account_of("model.layers.1.self_attn.v_proj.v_scale")->rule, "cache-scale");
    ck_assert_int_eq(model_weight(m, ROLE_KV_A, 2, -1)->out, 20);
    ck_assert_int_eq(model_weight(m, ROLE_Q_B, 0, -1)->in, 32);
    ck_assert_int_eq(model_weight(m, ROLE_ROUTER_SELECT_BIAS, 1, -1)->in, 4);
    ck_assert_ptr_null(model_weight(m, ROLE_ROUTER_SELECT_BIAS, 0, -1));
    ck_assert_ptr_null(model_weight(m, ROLE_Q, 0, -1));
    ck_assert_int_eq(model_parameters(m, true), 2 * 4 * 3 * 64 * 32);
}
END_TEST

START_TEST(binds_a_direct_query_projection)
{
    tiny_shape s = TINY_SHAPE;
    s.dense_layer = 0;
    tiny_deepseek_v3(&t, &s);
    for (int n = 0; n < 3; n++) {
        static const char *const low_rank[] = {"q_a_proj", "q_a_layernorm", "q_b_proj"};
        char name[100];
        for (int i = 0; i < 3; i++) {
            (void)snprintf(name, sizeof name, "model.layers.%d.self_attn.%s.weight", n,
                           low_rank[i]);
            tiny_drop(&t, name);
        }
        (void)snprintf(name, sizeof name, "model.layers.%d.self_attn.q_proj.weight", n);
        tiny_add(&t, name, DT_BF16, 2, 24, 64, NULL);
    }
    char *config = tiny_config_with(tiny_deepseek_v3_config, "q_lora_rank", "null");
    open_tiny(config);
    free(config);
    ck_assert_int_eq(model_weight(m, ROLE_Q, 2, -1)->out, 24);
    ck_assert_ptr_null(model_weight(m, ROLE_Q_A, 2, -1));
}
END_TEST

START_TEST(binds_a_wrapped_language_model)
{
    static const struct {
        const char *body, *head;
    } wrap[] = {{"model.language_model.", ""}, {"language_model.model.", "language_model."}};
    for (size_t i = 0; i < COUNT_OF(wrap); i++) {
        tiny_shape s = {wrap[i].body, wrap[i].head, false, -1, false};
        tiny_qwen3_moe(&t, &s);
        open_tiny(tiny_qwen3_moe_config);
        assert_accounts_agree();
        char name[100];
        (void)snprintf(name, sizeof name, "%slm_head", wrap[i].head);
        ck_assert_str_eq(model_weight(m, ROLE_HEAD, -1, -1)->module, name);
        teardown();
        setup();
    }
}
END_TEST

START_TEST(binds_quantized_experts_across_shards)
{
    tiny_shape s = TINY_SHAPE;
    tiny_qwen3_moe(&t, &s);
    for (int n = 0; n < 3; n++) {
        for (int x = 0; x < 4; x++) {
            char module[100], name[120];
            (void)snprintf(module, sizeof module, "model.layers.%d.mlp.experts.%d.down_proj", n, x);
            tiny_make_int4(&t, module);
            (void)snprintf(name, sizeof name, "%s.weight_scale", module);
            tiny_put_in_shard(&t, name, 1);
        }
    }
    assert_unbound(tiny_qwen3_moe_config,
                   "layer 0, expert 0, down_proj: tensor 'model.layers.0.mlp.experts.0.down_proj."
                   "weight_packed' is stored as int4-g32, but config.json has no "
                   "quantization_config");
    static const char scheme[] =
        "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"group_0\": {\"weights\": "
        "{\"num_bits\": 4, \"type\": \"int\", \"strategy\": \"group\", \"group_size\": %d}}}}";
    char text[200];
    (void)snprintf(text, sizeof text, scheme, 64);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config", text);
    assert_unbound(config, "is stored as int4-g32, but config.json's quantization_config declares "
                           "int4-g64");
    free(config);
    (void)snprintf(text, sizeof text, scheme, 32);
    config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config", text);
    open_tiny(config);
    free(config);
    assert_accounts_agree();
    const tensor_account *a = account_of("model.layers.1.mlp.experts.2.down_proj.weight_scale");
    char where[MODEL_WHERE_TEXT];
    ck_assert_str_eq(model_where(a, where), "layer 1, expert 2, down_proj (weight_scale)");
    ck_assert_int_eq(model_parameters(m, true), 3 * 4 * 3 * 64 * 32); // logical elements
}
END_TEST

START_TEST(refuses_a_declared_quantization_that_no_weight_has)
{
    tiny_shape s = TINY_SHAPE;
    tiny_qwen3_moe(&t, &s);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config",
                                    "{\"quant_method\": \"fp8\", \"weight_block_size\": "
                                    "[128, 128]}");
    assert_unbound(config, "declares fp8-block, but no weight of the model is stored that way");
    tiny_make_fp8_block(&t, "model.layers.0.self_attn.q_proj");
    open_tiny(config);
    ck_assert_str_eq(model_weight(m, ROLE_Q, 0, -1)->codec->name, "fp8-block");
    free(config);
}
END_TEST

START_TEST(names_layer_expert_and_projection_of_what_is_missing)
{
    tiny_shape s = TINY_SHAPE;
    tiny_qwen3_moe(&t, &s);
    tiny_drop(&t, "model.layers.2.mlp.experts.3.down_proj.weight");
    assert_unbound(tiny_qwen3_moe_config, "layer 2, expert 3, down_proj: tensor 'model.layers.2."
                                          "mlp.experts.3.down_proj.weight' is missing");
    tiny_drop(&t, "model.embed_tokens.weight");
    assert_unbound(tiny_qwen3_moe_config,
                   "embedding: tensor 'model.embed_tokens.weight' is missing");
}
END_TEST

START_TEST(names_the_keys_behind_a_shape_that_does_not_fit)
{
    tiny_shape s = TINY_SHAPE;
    tiny_qwen3_moe(&t, &s);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "moe_intermediate_size", "48");
    assert_unbound(config, "layer 0, expert 0, gate_proj, by config.json [moe_intermediate_size "
                           "48; hidden_size 64]: tensor 'model.layers.0.mlp.experts.0.gate_proj."
                           "weight' has shape [32,64], expected [48,64]");
    free(config);
    config = tiny_config_with(tiny_qwen3_moe_config, "num_key_value_heads", "4");
    assert_unbound(config, "layer 0, k_proj, by config.json [num_key_value_heads 4 x head_dim 8; "
                           "hidden_size 64]");
    free(config);
    config = tiny_config_with(tiny_qwen3_moe_config, "num_experts", "3");
    assert_unbound(config, "router, by config.json [num_experts 3; hidden_size 64]");
    free(config);
}
END_TEST

START_TEST(refuses_tensors_that_nothing_accounts_for)
{
    tiny_shape s = TINY_SHAPE;
    tiny_qwen3_moe(&t, &s);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "num_hidden_layers", "2");
    assert_unbound(config, "; config.json says num_hidden_layers 2");
    free(config);
    tiny_add(&t, "model.layers.0.mlp.surprise.weight", DT_BF16, 1, 4, 0, NULL);
    assert_unbound(tiny_qwen3_moe_config, "tensor 'model.layers.0.mlp.surprise.weight' has no role "
                                          "in family qwen3_moe and no rule accounts for it");
}
END_TEST

START_TEST(says_when_there_is_no_config)
{
    tiny_shape s = TINY_SHAPE;
    tiny_qwen3_moe(&t, &s);
    tiny_write(&t, "{}");
    ck_assert_int_eq(remove(temp_path(t.dir, "config.json")), 0);
    err e = ERR_INIT;
    ASSERT_OK(checkpoint_open(&c, t.dir, NULL, &e), e);
    ASSERT_REFUSED(model_open(&m, c, NULL, &refused), "config.json");
}
END_TEST

START_TEST(describes_places)
{
    char where[MODEL_WHERE_TEXT];
    ck_assert_str_eq(role_where(ROLE_EXPERT_DOWN, 3, 5, where), "layer 3, expert 5, down_proj");
    ck_assert_str_eq(role_where(ROLE_ROUTER, 3, -1, where), "layer 3, router");
    ck_assert_str_eq(role_where(ROLE_HEAD, -1, -1, where), "output head");
    tensor_account a = {.rule = "mtp-layer"};
    ck_assert_str_eq(model_where(&a, where), "copied by the rule 'mtp-layer'");
}
END_TEST

START_TEST(binds_nano)
{
    open_path("tests/data/nano");
    assert_accounts_agree();
    const arch *a = model_arch(m);
    ck_assert_str_eq(a->family, "deepseek_v3");
    ck_assert_int_eq(a->n_experts, 16);
    ck_assert_int_eq(model_parameters(m, true), 2 * 16 * 3 * 128 * 128);
    const weight *w = model_weight(m, ROLE_EXPERT_UP, 1, 15);
    float *row = malloc((size_t)w->in * 2 * sizeof *row);
    scratch s = {0};
    err e = ERR_INIT;
    ASSERT_OK(weight_read_rows(w, 126, 2, row, &s, &e), e);
    scratch_free(&s);
    free(row);
}
END_TEST

static const char *shared_model(const char *name)
{
    static char path[500];
    const char *shared = getenv("SCRUPLE_SHARED");
    (void)snprintf(path, sizeof path, "%s/models/%s", shared ? shared : "../shared", name);
    struct stat st;
    if (stat(path, &st) == 0)
        return path;
    printf("skipped: %s is not there\n", path);
    return NULL;
}

START_TEST(binds_mini_with_experts_split_across_shards)
{
    const char *path = shared_model("mini");
    if (!path)
        return;
    open_path(path);
    assert_accounts_agree();
    ck_assert_int_gt(checkpoint_n_files(c), 1);
    int64_t split = 0;
    for (int64_t n = 0; n < model_arch(m)->n_layers; n++)
        for (int64_t x = 0; model_ffn(m, n) == FFN_MOE && x < model_arch(m)->n_experts; x++)
            split += model_weight(m, ROLE_EXPERT_GATE, n, x)->part[0]->file !=
                     model_weight(m, ROLE_EXPERT_UP, n, x)->part[0]->file;
    ck_assert_int_eq(split, 2); // one at each border
    // Its README counts the parameters; the selection biases are buffers there.
    ck_assert_int_eq(model_parameters(m, false), 29474816 + 4 * 32);
}
END_TEST

Suite *suite_model(void)
{
    Suite *s = suite_create("model");
    TCase *b = tcase_create("bind");
    tcase_add_checked_fixture(b, setup, teardown);
    tcase_add_test(b, binds_qwen3_moe_untied);
    tcase_add_test(b, binds_qwen3_moe_tied_and_with_a_dense_layer);
    tcase_add_test(b, copies_the_stored_head_of_a_tied_model_by_rule);
    tcase_add_test(b, binds_attention_biases);
    tcase_add_test(b, binds_deepseek_v3_with_extra_layers_and_old_buffers_by_rule);
    tcase_add_test(b, binds_a_direct_query_projection);
    tcase_add_test(b, binds_a_wrapped_language_model);
    tcase_add_test(b, binds_quantized_experts_across_shards);
    tcase_add_test(b, refuses_a_declared_quantization_that_no_weight_has);
    tcase_add_test(b, names_layer_expert_and_projection_of_what_is_missing);
    tcase_add_test(b, names_the_keys_behind_a_shape_that_does_not_fit);
    tcase_add_test(b, refuses_tensors_that_nothing_accounts_for);
    tcase_add_test(b, says_when_there_is_no_config);
    tcase_add_test(b, describes_places);
    suite_add_tcase(s, b);
    TCase *r = tcase_create("real models");
    tcase_add_checked_fixture(r, setup, teardown);
    tcase_add_test(r, binds_nano);
    tcase_add_test(r, binds_mini_with_experts_split_across_shards);
    suite_add_tcase(s, r);
    return s;
}
