// SPDX-License-Identifier: Apache-2.0
// The quantization_config that is spliced into config.json: its form, its lists, and that every
// other byte stays. That other people's loaders read it is tested by scripts/oracle/outputs.py.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/config_edit.h"
#include "tests/refused.h"
#include "tests/tiny_model.h"

Suite *suite_config_edit(void);

static tiny t;
static checkpoint *source;
static model *bound;
static plan p;
static strbuf out;
static json *root;

static void set_up(void)
{
    tiny_init(&t);
    source = NULL;
    bound = NULL;
    p = (plan){0};
    out = (strbuf){0};
    root = NULL;
}

static void let_go(void)
{
    json_free(root);
    root = NULL;
    strbuf_free(&out);
    plan_free(&p);
    model_close(bound);
    bound = NULL;
    checkpoint_close(source);
    source = NULL;
}

static void tear_down(void)
{
    let_go();
    tiny_free(&t);
}

static void open_model(const char *config)
{
    err e = ERR_INIT;
    tiny_write(&t, config);
    ASSERT_OK(checkpoint_open(&source, t.dir, NULL, &e), e);
    ASSERT_OK(model_open(&bound, source, NULL, &e), e);
}

static void make_plan(const char *type, plan_scope scope, const char *fallback)
{
    err e = ERR_INIT;
    plan_options o = PLAN_DEFAULTS;
    o.codec = type ? codec_find(type) : NULL;
    o.scope = scope;
    o.fallback = fallback ? codec_find(fallback) : NULL;
    plan_free(&p);
    ASSERT_OK(plan_make(&p, source, bound, &o, &e), e);
}

static bool try_edit(const char *config)
{
    strbuf_clear(&out);
    return config_edit(&p, config, strlen(config), &out, &refused);
}

static void edit(const char *config)
{
    err e = ERR_INIT;
    json_free(root);
    root = NULL;
    strbuf_clear(&out);
    ASSERT_OK(config_edit(&p, config, strlen(config), &out, &e), e);
    ASSERT_OK(json_parse(&root, out.text, out.len, "config.json", &e), e);
}

static const char *text_at(const char *path)
{
    const char *text = json_as_text(json_path(root, path));
    ck_assert_msg(text, "no text %s", path);
    return text;
}

static int64_t number_at(const char *path)
{
    int64_t n;
    ck_assert_msg(json_as_int(json_path(root, path), &n), "no number %s", path);
    return n;
}

// The strings of a list, one behind the other.
static void list_is(const char *path, const char *const *expected, int64_t n)
{
    const json *list = json_path(root, path);
    ck_assert_msg(list, "no list %s", path);
    int64_t i = 0;
    for (const json *item = json_first(list); item; item = json_next(item), i++) {
        ck_assert_msg(i < n, "%s: too many: %s", path, json_as_text(item));
        ck_assert_str_eq(json_as_text(item), expected[i]);
    }
    ck_assert_int_eq(i, n);
}

static const tiny_shape shape = TINY_SHAPE;
static const tiny_shape dense_first = {"model.", "", false, 0, false};

// ---- bytes that stay ----

START_TEST(without_coding_the_text_is_the_same)
{
    static const char config[] = "{\"odd\"  :1e5,\n\t\"quantization_config\": {\"x\": 1} }\n\n";
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan(NULL, SCOPE_NONE, NULL);
    edit(config);
    ck_assert_str_eq(out.text, config);
}
END_TEST

START_TEST(every_other_byte_stays)
{
    static const char before[] = "{\n    \"a\" :  1.50,\n    \"b\": [ 1,2 ],\n    "
                                 "\"\\u00e4\": null";
    char config[200], *rest;
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("fp8-block", SCOPE_EXPERTS, NULL);
    (void)snprintf(config, sizeof config, "%s\n}\n", before);
    edit(config);
    ck_assert_int_eq(strncmp(out.text, before, strlen(before)), 0);
    rest = strstr(out.text, ",\n    \"quantization_config\": {");
    ck_assert_ptr_eq(rest, out.text + strlen(before));
    ck_assert_str_eq(out.text + out.len - 4, "}\n}\n");
    // One that is there is replaced where it stands.
    edit("{\"quantization_config\": {\"quant_method\": \"old\"}, \"z\":  0}");
    ck_assert_int_eq(strncmp(out.text, "{\"quantization_config\": {", 25), 0);
    ck_assert_str_eq(out.text + out.len - 10, ", \"z\":  0}");
    ck_assert_ptr_null(strstr(out.text, "old"));
}
END_TEST

START_TEST(plain_values_need_no_quantization_config)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("f32", SCOPE_MATRICES, NULL);
    edit("{\"a\": 1, \"quantization_config\": {\"x\": 1}, \"b\": 2}");
    ck_assert_str_eq(out.text, "{\"a\": 1, \"b\": 2}");
    edit("{\"a\": 1}");
    ck_assert_str_eq(out.text, "{\"a\": 1}");
}
END_TEST

START_TEST(what_is_said_of_activations_and_caches_stays)
{
    tiny_qwen3_moe(&t, &shape);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config",
        "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"a\": "
        "{\"input_activations\": {\"num_bits\": 8}}}, \"kv_cache_scheme\": "
        "{\"num_bits\": 8, \"type\": \"float\", \"dynamic\": false}}");
    open_model(config);
    make_plan("f32", SCOPE_MATRICES, NULL);
    edit(config);
    ck_assert_str_eq(out.text, config);
    make_plan("int4-g32", SCOPE_EXPERTS, NULL);
    edit(config);
    ck_assert_str_eq(text_at("quantization_config.format"), "pack-quantized");
    ck_assert_str_eq(text_at("quantization_config.kv_cache_scheme.type"), "float");
    ck_assert_int_eq(number_at("quantization_config.kv_cache_scheme.num_bits"), 8);
    make_plan("fp8-block", SCOPE_EXPERTS, NULL);
    edit(config);
    ck_assert_ptr_null(json_path(root, "quantization_config.kv_cache_scheme"));
    free(config);
}
END_TEST

// ---- forms ----

START_TEST(int4_is_pack_quantized)
{
    static const struct {
        const char *type;
        int64_t group;
    } cases[] = {{"int4-g32", 32}, {"int4-g64", 64}};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        make_plan(cases[i].type, SCOPE_EXPERTS, "bf16");
        edit(tiny_qwen3_moe_config);
        ck_assert_str_eq(text_at("quantization_config.quant_method"), "compressed-tensors");
        ck_assert_str_eq(text_at("quantization_config.format"), "pack-quantized");
        ck_assert_str_eq(text_at("quantization_config.quantization_status"), "compressed");
        const char *weights = "quantization_config.config_groups.group_0.weights";
        char path[120];
        (void)snprintf(path, sizeof path, "%s.num_bits", weights);
        ck_assert_int_eq(number_at(path), 4);
        (void)snprintf(path, sizeof path, "%s.group_size", weights);
        ck_assert_int_eq(number_at(path), cases[i].group);
        (void)snprintf(path, sizeof path, "%s.strategy", weights);
        ck_assert_str_eq(text_at(path), "group");
        (void)snprintf(path, sizeof path, "%s.type", weights);
        ck_assert_str_eq(text_at(path), "int");
        list_is("quantization_config.config_groups.group_0.targets",
                (const char *const[]){"Linear"}, 1);
        ck_assert_int_eq(json_type(json_path(
            root, "quantization_config.config_groups.group_0.input_activations")), JSON_NULL);
    }
}
END_TEST

// mlx-lm reads `quantization`, others the second name.
START_TEST(mlx_names_its_modes)
{
    static const struct {
        const char *type, *mode;
        int64_t bits;
    } cases[] = {{"mxfp4-mlx", "mxfp4", 4}, {"mxfp8-mlx", "mxfp8", 8},
                 {"int4-mlx-g32", "affine", 4}};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        make_plan(cases[i].type, SCOPE_EXPERTS, "bf16");
        edit(tiny_qwen3_moe_config);
        for (int second = 0; second < 2; second++) {
            const char *name = second ? "quantization_config" : "quantization";
            char path[80];
            (void)snprintf(path, sizeof path, "%s.mode", name);
            ck_assert_str_eq(text_at(path), cases[i].mode);
            (void)snprintf(path, sizeof path, "%s.bits", name);
            ck_assert_int_eq(number_at(path), cases[i].bits);
            (void)snprintf(path, sizeof path, "%s.group_size", name);
            ck_assert_int_eq(number_at(path), 32);
        }
    }
}
END_TEST

START_TEST(fp8_channel_is_float_quantized)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("fp8-channel", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization_config.format"), "float-quantized");
    ck_assert_int_eq(number_at("quantization_config.config_groups.group_0.weights.num_bits"), 8);
    ck_assert_str_eq(text_at("quantization_config.config_groups.group_0.weights.strategy"),
                     "channel");
    ck_assert_int_eq(json_type(json_path(
        root, "quantization_config.config_groups.group_0.weights.group_size")), JSON_NULL);
}
END_TEST

START_TEST(fp8_blocks_are_in_the_native_form)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("fp8-block", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization_config.quant_method"), "fp8");
    ck_assert_str_eq(text_at("quantization_config.fmt"), "e4m3");
    ck_assert_int_eq(json_len(json_path(root, "quantization_config.weight_block_size")), 2);
    ck_assert_ptr_null(json_path(root, "quantization_config.scale_fmt"));
    make_plan("fp8-block-pow2", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization_config.scale_fmt"), "ue8m0");
}
END_TEST

static int64_t block_side(int i)
{
    const json *side = json_first(json_path(root, "quantization_config.weight_block_size"));
    int64_t n = 0;
    ck_assert(json_as_int(i ? json_next(side) : side, &n));
    return n;
}

static void make_ruled_plan(const char *const *rule, size_t n)
{
    err e = ERR_INIT;
    recipe rules = {0};
    plan_options o = PLAN_DEFAULTS;
    for (size_t i = 0; i < n; i++)
        ASSERT_OK(recipe_add_option(&rules, rule[i], &e), e);
    o.rules = &rules;
    plan_free(&p);
    ASSERT_OK(plan_make(&p, source, bound, &o, &e), e);
    recipe_free(&rules);
}

START_TEST(fbgemm_has_a_config_of_its_own)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("fp8-fbgemm", SCOPE_ALL_LINEAR, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization_config.quant_method"), "fbgemm_fp8");
    ck_assert_int_eq(number_at("quantization_config.activation_scale_ub"), 1200);
    ck_assert_str_eq(json_as_text(json_first(json_path(
        root, "quantization_config.modules_to_not_convert"))), "lm_head");
}
END_TEST

START_TEST(modelopt_is_weights_only)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("nvfp4-modelopt", SCOPE_ALL_LINEAR, NULL);
    edit(tiny_qwen3_moe_config);
    static const char *const expected[] = {"lm_head", "model.layers.0.mlp.gate",
                                           "model.layers.1.mlp.gate", "model.layers.2.mlp.gate"};
    ck_assert_str_eq(text_at("quantization_config.quant_method"), "modelopt");
    ck_assert_str_eq(text_at("quantization_config.quant_algo"), "W4A16_NVFP4");
    ck_assert_int_eq(number_at("quantization_config.config_groups.group_0.weights.group_size"), 16);
    list_is("quantization_config.ignore", expected, COUNT_OF(expected));
}
END_TEST

// DeepSeek-V4's experts, alone and beside FP8 in blocks of any size.
START_TEST(fp4_experts_are_declared_by_expert_dtype)
{
    static const char *const beside[] = {"attention=fp8-block32-e8m0", "experts=mxfp4-deepseek"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("mxfp4-deepseek", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("expert_dtype"), "fp4");
    ck_assert_str_eq(text_at("quantization_config.expert_dtype"), "fp4");
    ck_assert_str_eq(text_at("quantization_config.quant_method"), "fp8");
    ck_assert_str_eq(text_at("quantization_config.scale_fmt"), "ue8m0");
    ck_assert_int_eq(block_side(0), 128);
    make_ruled_plan(beside, COUNT_OF(beside));
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization_config.expert_dtype"), "fp4");
    ck_assert_int_eq(block_side(1), 32);
}
END_TEST

START_TEST(an_expert_dtype_of_the_source_stays_true)
{
    tiny_qwen3_moe(&t, &shape);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "expert_dtype", "\"fp4\"");
    open_model(config);
    make_plan("fp8-block-e8m0", SCOPE_EXPERTS, NULL);
    edit(config);
    ck_assert_str_eq(text_at("expert_dtype"), "fp8");
    ck_assert_ptr_null(json_path(root, "quantization_config.expert_dtype"));
    make_plan("mxfp4-packed", SCOPE_EXPERTS, NULL);
    edit(config);
    ck_assert_ptr_null(json_path(root, "expert_dtype"));
    make_plan("mxfp4-deepseek", SCOPE_EXPERTS, NULL);
    edit(config);
    ck_assert_str_eq(text_at("expert_dtype"), "fp4");
    free(config);
    make_plan("fp8-block", SCOPE_EXPERTS, NULL); // nothing is added where none was
    edit(tiny_qwen3_moe_config);
    ck_assert_ptr_null(json_path(root, "expert_dtype"));
}
END_TEST

START_TEST(fp4_is_of_all_routed_experts_and_of_nothing_else)
{
    static const char *const some[] = {"experts & layer=1=fp8-block-e8m0",
                                       "experts=mxfp4-deepseek"};
    static const char *const plain[] = {"experts & layer=1=keep", "experts=mxfp4-deepseek"};
    static const char *const scales[] = {"attention=fp8-block", "experts=mxfp4-deepseek"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("mxfp4-deepseek", SCOPE_ALL_LINEAR, NULL);
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE,
                 "would be mxfp4-deepseek: a config's expert_dtype says fp4 of all routed experts, "
                 "and of nothing else");
    make_ruled_plan(some, COUNT_OF(some));
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE, "would be fp8-block-e8m0: a config's");
    make_ruled_plan(plain, COUNT_OF(plain));
    edit(tiny_qwen3_moe_config);
    make_ruled_plan(scales, COUNT_OF(scales));
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE, "one kind of scale");
}
END_TEST

START_TEST(fp8_blocks_say_their_size_and_whether_scales_are_powers_of_two)
{
    static const struct {
        const char *type;
        int64_t side;
        bool pow2;
    } forms[] = {{"fp8-block", 128, false},     {"fp8-block-bf16", 128, false},
                 {"fp8-block-e8m0", 128, true}, {"fp8-block32", 32, false},
                 {"fp8-block32-pow2", 32, true}, {"fp8-block32-bf16", 32, false},
                 {"fp8-block32-e8m0", 32, true}};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        make_plan(forms[i].type, SCOPE_EXPERTS, NULL);
        edit(tiny_qwen3_moe_config);
        ck_assert_str_eq(text_at("quantization_config.quant_method"), "fp8");
        ck_assert_int_eq(block_side(0), forms[i].side);
        ck_assert_int_eq(block_side(1), forms[i].side);
        ck_assert_int_eq(json_path(root, "quantization_config.scale_fmt") != NULL, forms[i].pow2);
    }
}
END_TEST

// ---- lists ----

START_TEST(ignored_modules_are_patterns_over_all_layers)
{
    static const char *const expected[] = {
        "lm_head",
        "re:^model\\.layers\\.\\d+\\.mlp\\.gate$",
        "re:^model\\.layers\\.\\d+\\.self_attn\\.k_proj$",
        "re:^model\\.layers\\.\\d+\\.self_attn\\.o_proj$",
        "re:^model\\.layers\\.\\d+\\.self_attn\\.q_proj$",
        "re:^model\\.layers\\.\\d+\\.self_attn\\.v_proj$",
    };
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("int4-g32", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    list_is("quantization_config.ignore", expected, COUNT_OF(expected));
    make_plan("int4-g32", SCOPE_ALL_LINEAR, NULL);
    edit(tiny_qwen3_moe_config);
    list_is("quantization_config.ignore", expected, 2);
}
END_TEST

START_TEST(full_names_are_listed_where_readers_match_by_prefix)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("fp8-block", SCOPE_ALL_LINEAR, NULL);
    edit(tiny_qwen3_moe_config);
    static const char *const expected[] = {"lm_head", "model.layers.0.mlp.gate",
                                           "model.layers.1.mlp.gate", "model.layers.2.mlp.gate"};
    list_is("quantization_config.modules_to_not_convert", expected, COUNT_OF(expected));
}
END_TEST

START_TEST(a_tied_head_is_listed_without_a_tensor)
{
    static const tiny_shape tied = {"model.", "", true, -1, false};
    tiny_qwen3_moe(&t, &tied);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "tie_word_embeddings", "true");
    open_model(config);
    make_plan("int4-g32", SCOPE_ALL_LINEAR, NULL);
    edit(config);
    static const char *const expected[] = {"lm_head", "re:^model\\.layers\\.\\d+\\.mlp\\.gate$"};
    list_is("quantization_config.ignore", expected, 2);
    make_plan("fp8-block", SCOPE_EXPERTS, NULL);
    edit(config);
    ck_assert_str_eq(json_as_text(json_first(json_path(
        root, "quantization_config.modules_to_not_convert"))), "lm_head");
    free(config);
}
END_TEST

START_TEST(a_pattern_never_names_a_quantized_module)
{
    // The extra layer's experts stay; those of the other layers are quantized: one layer's pattern.
    tiny_deepseek_v3(&t, &dense_first);
    tiny_add(&t, "model.layers.3.mlp.experts.0.up_proj.weight", DT_BF16, 2, 8, 64, NULL);
    tiny_add(&t, "model.layers.3.mlp.experts.1.up_proj.weight", DT_BF16, 2, 8, 64, NULL);
    tiny_add(&t, "model.layers.3.eh_proj.weight", DT_BF16, 2, 8, 64, NULL);
    char *config = tiny_config_with(tiny_deepseek_v3_config, "num_nextn_predict_layers", "1");
    open_model(config);
    make_plan("int4-g32", SCOPE_EXPERTS, NULL);
    edit(config);
    free(config);
    ck_assert_ptr_nonnull(strstr(out.text,
        "\"re:^model\\\\.layers\\\\.3\\\\.mlp\\\\.experts\\\\.\\\\d+\\\\.up_proj$\""));
    ck_assert_ptr_nonnull(strstr(out.text, "\"re:^model\\\\.layers\\\\.\\\\d+\\\\.eh_proj$\""));
    // Layer 0 is dense: its up_proj stays, and is not called as the experts are.
    ck_assert_ptr_nonnull(strstr(out.text,
        "\"re:^model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.up_proj$\""));
    ck_assert_ptr_null(strstr(out.text, "model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.experts"));
}
END_TEST

START_TEST(a_fall_back_of_plain_values_is_ignored)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("int4-g64", SCOPE_EXPERTS, "bf16");
    edit(tiny_qwen3_moe_config);
    ck_assert_ptr_nonnull(strstr(out.text,
        "\"re:^model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.experts\\\\.\\\\d+\\\\.down_proj$\""));
    ck_assert_ptr_null(json_path(root, "quantization_config.config_groups.group_1"));
}
END_TEST

// The only text of a list.
static void only(const char *path, const char *expected)
{
    list_is(path, (const char *const[]){expected}, 1);
}

START_TEST(a_fall_back_gets_a_group_of_its_own)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("int4-g64", SCOPE_EXPERTS, "int4-g32");
    edit(tiny_qwen3_moe_config);
    only("quantization_config.config_groups.group_0.targets",
         "re:^model\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\.down_proj$");
    ck_assert_int_eq(number_at("quantization_config.config_groups.group_0.weights.group_size"),
                     32);
    list_is("quantization_config.config_groups.group_1.targets",
            (const char *const[]){
                "re:^model\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\.gate_proj$",
                "re:^model\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\.up_proj$"}, 2);
    ck_assert_str_eq(text_at("quantization_config.format"), "pack-quantized");
    ck_assert_ptr_null(strstr(out.text, "\"Linear\""));
}
END_TEST

START_TEST(types_of_several_forms_are_named_module_by_module)
{
    static const char *const rules[] = {"attention & layer=1=fp8-channel", "attention.q=keep",
                                        "attention=int4-g32", "experts=int4-g32"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_ruled_plan(rules, COUNT_OF(rules));
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization_config.format"), "mixed-precision");
    // The experts' group comes first: transformers looks for it there.
    ck_assert_str_eq(json_as_text(json_first(json_path(root,
        "quantization_config.config_groups.group_0.targets"))),
        "re:^model\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\.down_proj$");
    ck_assert_str_eq(text_at("quantization_config.config_groups.group_0.format"),
                     "pack-quantized");
    list_is("quantization_config.config_groups.group_1.targets",
            (const char *const[]){"re:^model\\.layers\\.1\\.self_attn\\.k_proj$",
                                  "re:^model\\.layers\\.1\\.self_attn\\.o_proj$",
                                  "re:^model\\.layers\\.1\\.self_attn\\.q_proj$",
                                  "re:^model\\.layers\\.1\\.self_attn\\.v_proj$"}, 4);
    ck_assert_str_eq(text_at("quantization_config.config_groups.group_1.format"),
                     "float-quantized");
    ck_assert_str_eq(text_at("quantization_config.config_groups.group_1.weights.strategy"),
                     "channel");
    // Not "every layer's": layer 1 is of another type.
    ck_assert_ptr_nonnull(strstr(out.text,
        "\"re:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.k_proj$\""));
    ck_assert_ptr_nonnull(strstr(out.text,
        "\"re:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.q_proj$\""));
    ck_assert_ptr_null(strstr(out.text, "layers\\\\.\\\\d+\\\\.self_attn"));
}
END_TEST

START_TEST(experts_that_differ_are_named_one_by_one)
{
    static const char *const rules[] = {"experts.up & layer=0 & expert=2=fp8-channel",
                                        "experts.up=int4-g32"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_ruled_plan(rules, COUNT_OF(rules));
    edit(tiny_qwen3_moe_config);
    only("quantization_config.config_groups.group_0.targets",
         "re:^model\\.layers\\.0\\.mlp\\.experts\\.2\\.up_proj$");
    ck_assert_int_eq(json_len(json_path(root, "quantization_config.config_groups.group_1.targets")),
                     3 + 2); // the others of layer 0, layers 1 and 2 as patterns
}
END_TEST

START_TEST(an_embedding_is_named_since_it_is_no_linear_layer)
{
    static const char *const rules[] = {"embedding=fp8-channel", "experts=fp8-channel"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_ruled_plan(rules, COUNT_OF(rules));
    edit(tiny_qwen3_moe_config);
    ck_assert_ptr_nonnull(strstr(out.text, "\"re:^model\\\\.embed_tokens$\""));
    ck_assert_ptr_null(strstr(out.text, "\"Linear\""));
    ck_assert_str_eq(text_at("quantization_config.format"), "float-quantized");
}
END_TEST

START_TEST(rules_that_change_nothing_leave_the_text_alone)
{
    static const char *const rules[] = {"experts=keep", "attention=bf16"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_ruled_plan(rules, COUNT_OF(rules));
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(out.text, tiny_qwen3_moe_config);
}
END_TEST

// ---- what one config cannot say ----

START_TEST(two_methods_in_one_checkpoint_are_refused)
{
    static const char fp8[] = "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}";
    tiny_qwen3_moe(&t, &shape);
    tiny_make_fp8_block(&t, "model.layers.1.self_attn.q_proj");
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config", fp8);
    open_model(config);
    make_plan("int4-g32", SCOPE_EXPERTS, NULL);
    ASSERT_REFUSED(try_edit(config), "'model.layers.1.self_attn.q_proj' is stored as fp8-block and "
                                     "stays so; one quantization_config cannot");
    make_plan("fp8-block-pow2", SCOPE_EXPERTS, NULL);
    ASSERT_REFUSED(try_edit(config), "cannot describe it beside fp8-block-pow2");
    make_plan("int4-g32", SCOPE_ALL_LINEAR, NULL); // now it is converted
    edit(config);
    make_plan("fp8-block", SCOPE_EXPERTS, NULL); // and this is what it is
    edit(config);
    ck_assert_ptr_null(strstr(out.text, "\"model.layers.1.self_attn.q_proj\""));
    ck_assert_ptr_nonnull(strstr(out.text, "\"model.layers.0.self_attn.q_proj\""));
    free(config);
}
END_TEST

START_TEST(types_that_no_loader_reads_together_are_refused)
{
    static const char *const forms[] = {"attention=fp8-block", "experts=int4-g32"};
    static const char *const scales[] = {"attention=fp8-block", "experts=fp8-block-pow2"};
    static const char *const sizes[] = {"attention=fp8-block", "experts=fp8-block32"};
    static const char *const alike[] = {"attention=fp8-block-bf16", "experts=fp8-block"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("int4-g64", SCOPE_EXPERTS, "fp8-block");
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE, "would be fp8-block and");
    make_ruled_plan(forms, COUNT_OF(forms));
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE,
                 "one quantization_config cannot describe both, loaders read either fp8-block or "
                 "compressed-tensors' types");
    make_ruled_plan(scales, COUNT_OF(scales));
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE, "one size of blocks and one "
                 "kind of scale");
    make_ruled_plan(sizes, COUNT_OF(sizes));
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE, "one size of blocks");
    make_ruled_plan(alike, COUNT_OF(alike));
    edit(tiny_qwen3_moe_config);
}
END_TEST

// ---- GPTQ, AWQ, MLX ----

START_TEST(gptq_leaves_modules_out_by_dynamic_patterns)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("int4-gptq-g32", SCOPE_ALL_LINEAR, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization_config.quant_method"), "gptq");
    ck_assert_str_eq(text_at("quantization_config.checkpoint_format"), "gptq");
    ck_assert_str_eq(text_at("quantization_config.format"), "gptq");
    ck_assert_int_eq(number_at("quantization_config.bits"), 4);
    ck_assert_int_eq(number_at("quantization_config.group_size"), 32);
    bool sym, order, head;
    ck_assert(json_as_bool(json_path(root, "quantization_config.sym"), &sym) && sym);
    ck_assert(json_as_bool(json_path(root, "quantization_config.desc_act"), &order) && !order);
    ck_assert(json_as_bool(json_path(root, "quantization_config.lm_head"), &head) && !head);
    const json *left = json_first(json_path(root, "quantization_config.dynamic"));
    ck_assert_str_eq(json_key(left), "-:^lm_head$");
    left = json_next(left);
    ck_assert_str_eq(json_key(left), "-:^model\\.layers\\.\\d+\\.mlp\\.gate$");
    ck_assert_int_eq(json_len(left), 0);
    ck_assert_ptr_null(json_next(left));
    ck_assert_ptr_null(json_get(root, "quantization"));
    make_plan("int8-gptq-v2-channel-asym", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization_config.checkpoint_format"), "gptq_v2");
    ck_assert_int_eq(number_at("quantization_config.bits"), 8);
    ck_assert_int_eq(number_at("quantization_config.group_size"), -1);
    ck_assert(json_as_bool(json_path(root, "quantization_config.sym"), &sym) && !sym);
}
END_TEST

START_TEST(awq_lists_full_names_and_gptqmodels_patterns)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("int4-awq-g32", SCOPE_ALL_LINEAR, NULL);
    edit(tiny_qwen3_moe_config);
    static const char *const expected[] = {"lm_head", "model.layers.0.mlp.gate",
                                           "model.layers.1.mlp.gate", "model.layers.2.mlp.gate"};
    list_is("quantization_config.modules_to_not_convert", expected, COUNT_OF(expected));
    const json *left = json_first(json_path(root, "quantization_config.dynamic"));
    ck_assert_str_eq(json_key(left), "-:^lm_head$");
    left = json_next(left);
    ck_assert_str_eq(json_key(left), "-:^model\\.layers\\.\\d+\\.mlp\\.gate$");
    ck_assert_ptr_null(json_next(left));
    ck_assert_str_eq(text_at("quantization_config.quant_method"), "awq");
    ck_assert_str_eq(text_at("quantization_config.version"), "gemm");
    ck_assert_int_eq(number_at("quantization_config.bits"), 4);
    ck_assert_int_eq(number_at("quantization_config.group_size"), 32);
}
END_TEST

START_TEST(mlx_is_said_twice_and_forgotten_with_the_codes)
{
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("int8-mlx-g32", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization.mode"), "affine");
    ck_assert_int_eq(number_at("quantization.bits"), 8);
    ck_assert_int_eq(number_at("quantization.group_size"), 32);
    ck_assert_str_eq(text_at("quantization_config.mode"), "affine");
    make_plan("mxfp4-mlx", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization.mode"), "mxfp4");
    ck_assert_int_eq(number_at("quantization.group_size"), 32);
    make_plan("nvfp4-mlx", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization.mode"), "nvfp4");
    ck_assert_int_eq(number_at("quantization.group_size"), 16);
    make_plan("mxfp8-mlx", SCOPE_EXPERTS, NULL);
    edit(tiny_qwen3_moe_config);
    ck_assert_str_eq(text_at("quantization.mode"), "mxfp8");
    char *before = tiny_config_with(tiny_qwen3_moe_config, "quantization", "{\"bits\": 4}");
    make_plan("int4-g32", SCOPE_EXPERTS, NULL);
    edit(before);
    ck_assert_ptr_null(json_get(root, "quantization"));
    ck_assert_str_eq(text_at("quantization_config.format"), "pack-quantized");
    free(before);
}
END_TEST

START_TEST(configs_of_one_type_are_not_written_for_two)
{
    static const char *const types[] = {"attention=int4-gptq-g32", "experts=int4-gptq-v2-g32"};
    static const char *const tools[] = {"attention=int4-g32", "experts=int4-awq-g32"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_ruled_plan(types, COUNT_OF(types));
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE,
                 "loaders read one type for all modules from configs of fbgemm, ModelOpt, "
                 "gpt-oss, GPTQ, AWQ and MLX");
    make_ruled_plan(tools, COUNT_OF(tools));
    ASSERT_FAILS(try_edit(tiny_qwen3_moe_config), ERR_USAGE, "one type for all modules");
}
END_TEST

START_TEST(a_config_that_is_no_object_is_refused)
{
    static const char *const bad[] = {"", "[]", "{", "{\"a\": 1} x"};
    tiny_qwen3_moe(&t, &shape);
    open_model(tiny_qwen3_moe_config);
    make_plan("fp8-block", SCOPE_EXPERTS, NULL);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        ASSERT_REFUSED(try_edit(bad[i]), "");
}
END_TEST

Suite *suite_config_edit(void)
{
    Suite *s = suite_create("config_edit");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, without_coding_the_text_is_the_same);
    tcase_add_test(c, every_other_byte_stays);
    tcase_add_test(c, plain_values_need_no_quantization_config);
    tcase_add_test(c, what_is_said_of_activations_and_caches_stays);
    tcase_add_test(c, int4_is_pack_quantized);
    tcase_add_test(c, mlx_names_its_modes);
    tcase_add_test(c, fp8_channel_is_float_quantized);
    tcase_add_test(c, fp8_blocks_are_in_the_native_form);
    tcase_add_test(c, fp8_blocks_say_their_size_and_whether_scales_are_powers_of_two);
    tcase_add_test(c, fbgemm_has_a_config_of_its_own);
    tcase_add_test(c, modelopt_is_weights_only);
    tcase_add_test(c, fp4_experts_are_declared_by_expert_dtype);
    tcase_add_test(c, an_expert_dtype_of_the_source_stays_true);
    tcase_add_test(c, fp4_is_of_all_routed_experts_and_of_nothing_else);
    tcase_add_test(c, ignored_modules_are_patterns_over_all_layers);
    tcase_add_test(c, full_names_are_listed_where_readers_match_by_prefix);
    tcase_add_test(c, a_tied_head_is_listed_without_a_tensor);
    tcase_add_test(c, a_pattern_never_names_a_quantized_module);
    tcase_add_test(c, a_fall_back_of_plain_values_is_ignored);
    tcase_add_test(c, a_fall_back_gets_a_group_of_its_own);
    tcase_add_test(c, types_of_several_forms_are_named_module_by_module);
    tcase_add_test(c, experts_that_differ_are_named_one_by_one);
    tcase_add_test(c, an_embedding_is_named_since_it_is_no_linear_layer);
    tcase_add_test(c, rules_that_change_nothing_leave_the_text_alone);
    tcase_add_test(c, two_methods_in_one_checkpoint_are_refused);
    tcase_add_test(c, types_that_no_loader_reads_together_are_refused);
    tcase_add_test(c, gptq_leaves_modules_out_by_dynamic_patterns);
    tcase_add_test(c, awq_lists_full_names_and_gptqmodels_patterns);
    tcase_add_test(c, mlx_is_said_twice_and_forgotten_with_the_codes);
    tcase_add_test(c, configs_of_one_type_are_not_written_for_two);
    tcase_add_test(c, a_config_that_is_no_object_is_refused);
    suite_add_tcase(s, c);
    return s;
}
