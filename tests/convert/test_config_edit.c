// SPDX-License-Identifier: Apache-2.0
// The quantization_config that is spliced into config.json: compressed-tensors' form, its lists,
// and that every other byte stays. That other people's loaders read it is tested by
// scripts/oracle/outputs.py. The other tools' configs: test_config_methods.c.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/config_case.h"
#include "tests/refused.h"

Suite *suite_config_edit(void);

static const tiny_shape dense_first = {"model.", "", false, 0, false};

// ---- bytes that stay ----

START_TEST(without_coding_the_text_is_the_same)
{
    static const char config[] = "{\"odd\"  :1e5,\n\t\"quantization_config\": {\"x\": 1} }\n\n";
    config_use_qwen3();
    config_plan(NULL, SCOPE_NONE, NULL);
    config_edits(config);
    ck_assert_str_eq(edited.out.text, config);
}
END_TEST

START_TEST(every_other_byte_stays)
{
    static const char before[] = "{\n    \"a\" :  1.50,\n    \"b\": [ 1,2 ],\n    "
                                 "\"\\u00e4\": null";
    char config[200], *rest;
    config_use_qwen3();
    config_plan("fp8-block", SCOPE_EXPERTS, NULL);
    (void)snprintf(config, sizeof config, "%s\n}\n", before);
    config_edits(config);
    ck_assert_int_eq(strncmp(edited.out.text, before, strlen(before)), 0);
    rest = strstr(edited.out.text, ",\n    \"quantization_config\": {");
    ck_assert_ptr_eq(rest, edited.out.text + strlen(before));
    ck_assert_str_eq(edited.out.text + edited.out.len - 4, "}\n}\n");
    // One that is there is replaced where it stands.
    config_edits("{\"quantization_config\": {\"quant_method\": \"old\"}, \"z\":  0}");
    ck_assert_int_eq(strncmp(edited.out.text, "{\"quantization_config\": {", 25), 0);
    ck_assert_str_eq(edited.out.text + edited.out.len - 10, ", \"z\":  0}");
    ck_assert_ptr_null(strstr(edited.out.text, "old"));
}
END_TEST

START_TEST(plain_values_need_no_quantization_config)
{
    config_use_qwen3();
    config_plan("f32", SCOPE_MATRICES, NULL);
    config_edits("{\"a\": 1, \"quantization_config\": {\"x\": 1}, \"b\": 2}");
    ck_assert_str_eq(edited.out.text, "{\"a\": 1, \"b\": 2}");
    config_edits("{\"a\": 1}");
    ck_assert_str_eq(edited.out.text, "{\"a\": 1}");
}
END_TEST

START_TEST(what_is_said_of_activations_and_caches_stays)
{
    tiny_qwen3_moe(&edited.t, &config_shape);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config",
        "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"a\": "
        "{\"input_activations\": {\"num_bits\": 8}}}, \"kv_cache_scheme\": "
        "{\"num_bits\": 8, \"type\": \"float\", \"dynamic\": false}}");
    config_open(config);
    config_plan("f32", SCOPE_MATRICES, NULL);
    config_edits(config);
    ck_assert_str_eq(edited.out.text, config);
    config_plan("int4-g32", SCOPE_EXPERTS, NULL);
    config_edits(config);
    ck_assert_str_eq(config_text("quantization_config.format"), "pack-quantized");
    ck_assert_str_eq(config_text("quantization_config.kv_cache_scheme.type"), "float");
    ck_assert_int_eq(config_number("quantization_config.kv_cache_scheme.num_bits"), 8);
    config_plan("fp8-block", SCOPE_EXPERTS, NULL);
    config_edits(config);
    ck_assert_ptr_null(config_at("quantization_config.kv_cache_scheme"));
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
    config_use_qwen3();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        config_plan(cases[i].type, SCOPE_EXPERTS, "bf16");
        config_edits(tiny_qwen3_moe_config);
        ck_assert_str_eq(config_text("quantization_config.quant_method"), "compressed-tensors");
        ck_assert_str_eq(config_text("quantization_config.format"), "pack-quantized");
        ck_assert_str_eq(config_text("quantization_config.quantization_status"), "compressed");
        const char *weights = "quantization_config.config_groups.group_0.weights";
        char path[120];
        (void)snprintf(path, sizeof path, "%s.num_bits", weights);
        ck_assert_int_eq(config_number(path), 4);
        (void)snprintf(path, sizeof path, "%s.group_size", weights);
        ck_assert_int_eq(config_number(path), cases[i].group);
        (void)snprintf(path, sizeof path, "%s.strategy", weights);
        ck_assert_str_eq(config_text(path), "group");
        (void)snprintf(path, sizeof path, "%s.type", weights);
        ck_assert_str_eq(config_text(path), "int");
        config_list_is("quantization_config.config_groups.group_0.targets",
                (const char *const[]){"Linear"}, 1);
        ck_assert_int_eq(json_type(config_at(
            "quantization_config.config_groups.group_0.input_activations")), JSON_NULL);
    }
}
END_TEST

START_TEST(fp8_channel_is_float_quantized)
{
    config_use_qwen3();
    config_plan("fp8-channel", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization_config.format"), "float-quantized");
    ck_assert_int_eq(config_number("quantization_config.config_groups.group_0.weights.num_bits"),
                     8);
    ck_assert_str_eq(config_text("quantization_config.config_groups.group_0.weights.strategy"),
                     "channel");
    ck_assert_int_eq(json_type(config_at(
        "quantization_config.config_groups.group_0.weights.group_size")), JSON_NULL);
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
    config_use_qwen3();
    config_plan("int4-g32", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    config_list_is("quantization_config.ignore", expected, COUNT_OF(expected));
    config_plan("int4-g32", SCOPE_ALL_LINEAR, NULL);
    config_edits(tiny_qwen3_moe_config);
    config_list_is("quantization_config.ignore", expected, 2);
}
END_TEST

START_TEST(a_tied_head_is_listed_without_a_tensor)
{
    static const tiny_shape tied = {"model.", "", true, -1, false};
    tiny_qwen3_moe(&edited.t, &tied);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "tie_word_embeddings", "true");
    config_open(config);
    config_plan("int4-g32", SCOPE_ALL_LINEAR, NULL);
    config_edits(config);
    static const char *const expected[] = {"lm_head", "re:^model\\.layers\\.\\d+\\.mlp\\.gate$"};
    config_list_is("quantization_config.ignore", expected, 2);
    config_plan("fp8-block", SCOPE_EXPERTS, NULL);
    config_edits(config);
    ck_assert_str_eq(json_as_text(json_first(config_at(
        "quantization_config.modules_to_not_convert"))),
        "lm_head");
    free(config);
}
END_TEST

START_TEST(a_pattern_never_names_a_quantized_module)
{
    // The extra layer's experts stay; those of the other layers are quantized: one layer's pattern.
    tiny_deepseek_v3(&edited.t, &dense_first);
    tiny_add(&edited.t, "model.layers.3.mlp.experts.0.up_proj.weight", DT_BF16, 2, 8, 64, NULL);
    tiny_add(&edited.t, "model.layers.3.mlp.experts.1.up_proj.weight", DT_BF16, 2, 8, 64, NULL);
    tiny_add(&edited.t, "model.layers.3.eh_proj.weight", DT_BF16, 2, 8, 64, NULL);
    char *config = tiny_config_with(tiny_deepseek_v3_config, "num_nextn_predict_layers", "1");
    config_open(config);
    config_plan("int4-g32", SCOPE_EXPERTS, NULL);
    config_edits(config);
    free(config);
    ck_assert_ptr_nonnull(strstr(edited.out.text,
        "\"re:^model\\\\.layers\\\\.3\\\\.mlp\\\\.experts\\\\.\\\\d+\\\\.up_proj$\""));
    ck_assert_ptr_nonnull(strstr(edited.out.text,
        "\"re:^model\\\\.layers\\\\.\\\\d+\\\\.eh_proj$\""));
    // Layer 0 is dense: its up_proj stays, and is not called as the experts are.
    ck_assert_ptr_nonnull(strstr(edited.out.text,
        "\"re:^model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.up_proj$\""));
    ck_assert_ptr_null(strstr(edited.out.text, "model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.experts"));
}
END_TEST

START_TEST(a_fall_back_of_plain_values_is_ignored)
{
    config_use_qwen3();
    config_plan("int4-g64", SCOPE_EXPERTS, "bf16");
    config_edits(tiny_qwen3_moe_config);
    ck_assert_ptr_nonnull(strstr(edited.out.text,
        "\"re:^model\\\\.layers\\\\.\\\\d+\\\\.mlp\\\\.experts\\\\.\\\\d+\\\\.down_proj$\""));
    ck_assert_ptr_null(config_at("quantization_config.config_groups.group_1"));
}
END_TEST

// The only text of a list.
static void only(const char *path, const char *expected)
{
    config_list_is(path, (const char *const[]){expected}, 1);
}

START_TEST(a_fall_back_gets_a_group_of_its_own)
{
    config_use_qwen3();
    config_plan("int4-g64", SCOPE_EXPERTS, "int4-g32");
    config_edits(tiny_qwen3_moe_config);
    only("quantization_config.config_groups.group_0.targets",
         "re:^model\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\.down_proj$");
    ck_assert_int_eq(config_number("quantization_config.config_groups.group_0.weights.group_size"),
                     32);
    config_list_is("quantization_config.config_groups.group_1.targets",
            (const char *const[]){
                "re:^model\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\.gate_proj$",
                "re:^model\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\.up_proj$"}, 2);
    ck_assert_str_eq(config_text("quantization_config.format"), "pack-quantized");
    ck_assert_ptr_null(strstr(edited.out.text, "\"Linear\""));
}
END_TEST

START_TEST(types_of_several_forms_are_named_module_by_module)
{
    static const char *const rules[] = {"attention & layer=1=fp8-channel", "attention.q=keep",
                                        "attention=int4-g32", "experts=int4-g32"};
    config_use_qwen3();
    config_ruled_plan(rules, COUNT_OF(rules));
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization_config.format"), "mixed-precision");
    // The experts' group comes first: transformers looks for it there.
    ck_assert_str_eq(json_as_text(json_first(config_at(
        "quantization_config.config_groups.group_0.targets"))),
        "re:^model\\.layers\\.\\d+\\.mlp\\.experts\\.\\d+\\.down_proj$");
    ck_assert_str_eq(config_text("quantization_config.config_groups.group_0.format"),
                     "pack-quantized");
    config_list_is("quantization_config.config_groups.group_1.targets",
            (const char *const[]){"re:^model\\.layers\\.1\\.self_attn\\.k_proj$",
                                  "re:^model\\.layers\\.1\\.self_attn\\.o_proj$",
                                  "re:^model\\.layers\\.1\\.self_attn\\.q_proj$",
                                  "re:^model\\.layers\\.1\\.self_attn\\.v_proj$"}, 4);
    ck_assert_str_eq(config_text("quantization_config.config_groups.group_1.format"),
                     "float-quantized");
    ck_assert_str_eq(config_text("quantization_config.config_groups.group_1.weights.strategy"),
                     "channel");
    // Not "every layer's": layer 1 is of another type.
    ck_assert_ptr_nonnull(strstr(edited.out.text,
        "\"re:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.k_proj$\""));
    ck_assert_ptr_nonnull(strstr(edited.out.text,
        "\"re:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.q_proj$\""));
    ck_assert_ptr_null(strstr(edited.out.text, "layers\\\\.\\\\d+\\\\.self_attn"));
}
END_TEST

START_TEST(experts_that_differ_are_named_one_by_one)
{
    static const char *const rules[] = {"experts.up & layer=0 & expert=2=fp8-channel",
                                        "experts.up=int4-g32"};
    config_use_qwen3();
    config_ruled_plan(rules, COUNT_OF(rules));
    config_edits(tiny_qwen3_moe_config);
    only("quantization_config.config_groups.group_0.targets",
         "re:^model\\.layers\\.0\\.mlp\\.experts\\.2\\.up_proj$");
    ck_assert_int_eq(json_len(config_at("quantization_config.config_groups.group_1.targets")),
                     3 + 2); // the others of layer 0, layers 1 and 2 as patterns
}
END_TEST

START_TEST(an_embedding_is_named_since_it_is_no_linear_layer)
{
    static const char *const rules[] = {"embedding=fp8-channel", "experts=fp8-channel"};
    config_use_qwen3();
    config_ruled_plan(rules, COUNT_OF(rules));
    config_edits(tiny_qwen3_moe_config);
    ck_assert_ptr_nonnull(strstr(edited.out.text, "\"re:^model\\\\.embed_tokens$\""));
    ck_assert_ptr_null(strstr(edited.out.text, "\"Linear\""));
    ck_assert_str_eq(config_text("quantization_config.format"), "float-quantized");
}
END_TEST

START_TEST(rules_that_change_nothing_leave_the_text_alone)
{
    static const char *const rules[] = {"experts=keep", "attention=bf16"};
    config_use_qwen3();
    config_ruled_plan(rules, COUNT_OF(rules));
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(edited.out.text, tiny_qwen3_moe_config);
}
END_TEST

// ---- what one config cannot say ----

START_TEST(two_methods_in_one_checkpoint_are_refused)
{
    static const char fp8[] = "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}";
    tiny_qwen3_moe(&edited.t, &config_shape);
    tiny_make_fp8_block(&edited.t, "model.layers.1.self_attn.q_proj");
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config", fp8);
    config_open(config);
    config_plan("int4-g32", SCOPE_EXPERTS, NULL);
    ASSERT_REFUSED(config_try(config, &refused),
                   "'model.layers.1.self_attn.q_proj' is stored as fp8-block and stays so; one "
                   "quantization_config cannot");
    config_plan("fp8-block-pow2", SCOPE_EXPERTS, NULL);
    ASSERT_REFUSED(config_try(config, &refused), "cannot describe it beside fp8-block-pow2");
    config_plan("int4-g32", SCOPE_ALL_LINEAR, NULL); // now it is converted
    config_edits(config);
    config_plan("fp8-block", SCOPE_EXPERTS, NULL); // and this is what it is
    config_edits(config);
    ck_assert_ptr_null(strstr(edited.out.text, "\"model.layers.1.self_attn.q_proj\""));
    ck_assert_ptr_nonnull(strstr(edited.out.text, "\"model.layers.0.self_attn.q_proj\""));
    free(config);
}
END_TEST

START_TEST(types_that_no_loader_reads_together_are_refused)
{
    static const char *const forms[] = {"attention=fp8-block", "experts=int4-g32"};
    static const char *const scales[] = {"attention=fp8-block", "experts=fp8-block-pow2"};
    static const char *const sizes[] = {"attention=fp8-block", "experts=fp8-block32"};
    static const char *const alike[] = {"attention=fp8-block-bf16", "experts=fp8-block"};
    config_use_qwen3();
    config_plan("int4-g64", SCOPE_EXPERTS, "fp8-block");
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE, "would be fp8-block and");
    config_ruled_plan(forms, COUNT_OF(forms));
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE,
                 "one quantization_config cannot describe both, loaders read either fp8-block or "
                 "compressed-tensors' types");
    config_ruled_plan(scales, COUNT_OF(scales));
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE,
                 "one size of blocks and one kind of scale");
    config_ruled_plan(sizes, COUNT_OF(sizes));
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE, "one size of blocks");
    config_ruled_plan(alike, COUNT_OF(alike));
    config_edits(tiny_qwen3_moe_config);
}
END_TEST

START_TEST(a_config_that_is_no_object_is_refused)
{
    static const char *const bad[] = {"", "[]", "{", "{\"a\": 1} x"};
    config_use_qwen3();
    config_plan("fp8-block", SCOPE_EXPERTS, NULL);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        ASSERT_REFUSED(config_try(bad[i], &refused), "");
}
END_TEST

Suite *suite_config_edit(void)
{
    Suite *s = suite_create("config_edit");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, config_set_up, config_tear_down);
    tcase_add_test(c, without_coding_the_text_is_the_same);
    tcase_add_test(c, every_other_byte_stays);
    tcase_add_test(c, plain_values_need_no_quantization_config);
    tcase_add_test(c, what_is_said_of_activations_and_caches_stays);
    tcase_add_test(c, int4_is_pack_quantized);
    tcase_add_test(c, fp8_channel_is_float_quantized);
    tcase_add_test(c, ignored_modules_are_patterns_over_all_layers);
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
    tcase_add_test(c, a_config_that_is_no_object_is_refused);
    suite_add_tcase(s, c);
    return s;
}
