// SPDX-License-Identifier: Apache-2.0
// The quantization_config of every method but compressed-tensors: the native FP8 and FP4, fbgemm,
// ModelOpt, GPTQ, AWQ and MLX.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/config_case.h"
#include "tests/refused.h"

Suite *suite_config_methods(void);

static int64_t block_side(int i)
{
    const json *side = json_first(config_at("quantization_config.weight_block_size"));
    int64_t n = 0;
    ck_assert(json_as_int(i ? json_next(side) : side, &n));
    return n;
}

// ---- FP8 and FP4 ----

START_TEST(fp8_blocks_are_in_the_native_form)
{
    config_use_qwen3();
    config_plan("fp8-block", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization_config.quant_method"), "fp8");
    ck_assert_str_eq(config_text("quantization_config.fmt"), "e4m3");
    ck_assert_int_eq(json_len(config_at("quantization_config.weight_block_size")), 2);
    ck_assert_ptr_null(config_at("quantization_config.scale_fmt"));
    config_plan("fp8-block-pow2", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization_config.scale_fmt"), "ue8m0");
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
    config_use_qwen3();
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        config_plan(forms[i].type, SCOPE_EXPERTS, NULL);
        config_edits(tiny_qwen3_moe_config);
        ck_assert_str_eq(config_text("quantization_config.quant_method"), "fp8");
        ck_assert_int_eq(block_side(0), forms[i].side);
        ck_assert_int_eq(block_side(1), forms[i].side);
        ck_assert_int_eq(config_at("quantization_config.scale_fmt") != NULL, forms[i].pow2);
    }
}
END_TEST

START_TEST(full_names_are_listed_where_readers_match_by_prefix)
{
    config_use_qwen3();
    config_plan("fp8-block", SCOPE_ALL_LINEAR, NULL);
    config_edits(tiny_qwen3_moe_config);
    static const char *const expected[] = {"lm_head", "model.layers.0.mlp.gate",
                                           "model.layers.1.mlp.gate", "model.layers.2.mlp.gate"};
    config_list_is("quantization_config.modules_to_not_convert", expected, COUNT_OF(expected));
}
END_TEST

// DeepSeek-V4's experts, alone and beside FP8 in blocks of any size.
START_TEST(fp4_experts_are_declared_by_expert_dtype)
{
    static const char *const beside[] = {"attention=fp8-block32-e8m0", "experts=mxfp4-deepseek"};
    config_use_qwen3();
    config_plan("mxfp4-deepseek", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("expert_dtype"), "fp4");
    ck_assert_str_eq(config_text("quantization_config.expert_dtype"), "fp4");
    ck_assert_str_eq(config_text("quantization_config.quant_method"), "fp8");
    ck_assert_str_eq(config_text("quantization_config.scale_fmt"), "ue8m0");
    ck_assert_int_eq(block_side(0), 128);
    config_ruled_plan(beside, COUNT_OF(beside));
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization_config.expert_dtype"), "fp4");
    ck_assert_int_eq(block_side(1), 32);
}
END_TEST

START_TEST(an_expert_dtype_of_the_source_stays_true)
{
    tiny_qwen3_moe(&edited.t, &config_shape);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "expert_dtype", "\"fp4\"");
    config_open(config);
    config_plan("fp8-block-e8m0", SCOPE_EXPERTS, NULL);
    config_edits(config);
    ck_assert_str_eq(config_text("expert_dtype"), "fp8");
    ck_assert_ptr_null(config_at("quantization_config.expert_dtype"));
    config_plan("mxfp4-packed", SCOPE_EXPERTS, NULL);
    config_edits(config);
    ck_assert_ptr_null(config_at("expert_dtype"));
    config_plan("mxfp4-deepseek", SCOPE_EXPERTS, NULL);
    config_edits(config);
    ck_assert_str_eq(config_text("expert_dtype"), "fp4");
    free(config);
    config_plan("fp8-block", SCOPE_EXPERTS, NULL); // nothing is added where none was
    config_edits(tiny_qwen3_moe_config);
    ck_assert_ptr_null(config_at("expert_dtype"));
}
END_TEST

START_TEST(fp4_is_of_all_routed_experts_and_of_nothing_else)
{
    static const char *const some[] = {"experts & layer=1=fp8-block-e8m0",
                                       "experts=mxfp4-deepseek"};
    static const char *const plain[] = {"experts & layer=1=keep", "experts=mxfp4-deepseek"};
    static const char *const scales[] = {"attention=fp8-block", "experts=mxfp4-deepseek"};
    config_use_qwen3();
    config_plan("mxfp4-deepseek", SCOPE_ALL_LINEAR, NULL);
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE,
                 "would be mxfp4-deepseek: a config's expert_dtype says fp4 of all routed experts, "
                 "and of nothing else");
    config_ruled_plan(some, COUNT_OF(some));
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE,
                 "would be fp8-block-e8m0: a config's");
    config_ruled_plan(plain, COUNT_OF(plain));
    config_edits(tiny_qwen3_moe_config);
    config_ruled_plan(scales, COUNT_OF(scales));
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE, "one kind of scale");
}
END_TEST

START_TEST(fbgemm_has_a_config_of_its_own)
{
    config_use_qwen3();
    config_plan("fp8-fbgemm", SCOPE_ALL_LINEAR, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization_config.quant_method"), "fbgemm_fp8");
    ck_assert_int_eq(config_number("quantization_config.activation_scale_ub"), 1200);
    ck_assert_str_eq(json_as_text(json_first(config_at(
        "quantization_config.modules_to_not_convert"))),
        "lm_head");
}
END_TEST

START_TEST(modelopt_is_weights_only)
{
    config_use_qwen3();
    config_plan("nvfp4-modelopt", SCOPE_ALL_LINEAR, NULL);
    config_edits(tiny_qwen3_moe_config);
    static const char *const expected[] = {"lm_head", "model.layers.0.mlp.gate",
                                           "model.layers.1.mlp.gate", "model.layers.2.mlp.gate"};
    ck_assert_str_eq(config_text("quantization_config.quant_method"), "modelopt");
    ck_assert_str_eq(config_text("quantization_config.quant_algo"), "W4A16_NVFP4");
    ck_assert_int_eq(config_number("quantization_config.config_groups.group_0.weights.group_size"),
                     16);
    config_list_is("quantization_config.ignore", expected, COUNT_OF(expected));
}
END_TEST

// ---- GPTQ, AWQ, MLX ----

START_TEST(gptq_leaves_modules_out_by_dynamic_patterns)
{
    config_use_qwen3();
    config_plan("int4-gptq-g32", SCOPE_ALL_LINEAR, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization_config.quant_method"), "gptq");
    ck_assert_str_eq(config_text("quantization_config.checkpoint_format"), "gptq");
    ck_assert_str_eq(config_text("quantization_config.format"), "gptq");
    ck_assert_int_eq(config_number("quantization_config.bits"), 4);
    ck_assert_int_eq(config_number("quantization_config.group_size"), 32);
    bool sym, order, head;
    ck_assert(json_as_bool(config_at("quantization_config.sym"), &sym) && sym);
    ck_assert(json_as_bool(config_at("quantization_config.desc_act"), &order) && !order);
    ck_assert(json_as_bool(config_at("quantization_config.lm_head"), &head) && !head);
    const json *left = json_first(config_at("quantization_config.dynamic"));
    ck_assert_str_eq(json_key(left), "-:^lm_head$");
    left = json_next(left);
    ck_assert_str_eq(json_key(left), "-:^model\\.layers\\.\\d+\\.mlp\\.gate$");
    ck_assert_int_eq(json_len(left), 0);
    ck_assert_ptr_null(json_next(left));
    ck_assert_ptr_null(json_get(edited.root, "quantization"));
    config_plan("int8-gptq-v2-channel-asym", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization_config.checkpoint_format"), "gptq_v2");
    ck_assert_int_eq(config_number("quantization_config.bits"), 8);
    ck_assert_int_eq(config_number("quantization_config.group_size"), -1);
    ck_assert(json_as_bool(config_at("quantization_config.sym"), &sym) && !sym);
}
END_TEST

START_TEST(awq_lists_full_names_and_gptqmodels_patterns)
{
    config_use_qwen3();
    config_plan("int4-awq-g32", SCOPE_ALL_LINEAR, NULL);
    config_edits(tiny_qwen3_moe_config);
    static const char *const expected[] = {"lm_head", "model.layers.0.mlp.gate",
                                           "model.layers.1.mlp.gate", "model.layers.2.mlp.gate"};
    config_list_is("quantization_config.modules_to_not_convert", expected, COUNT_OF(expected));
    const json *left = json_first(config_at("quantization_config.dynamic"));
    ck_assert_str_eq(json_key(left), "-:^lm_head$");
    left = json_next(left);
    ck_assert_str_eq(json_key(left), "-:^model\\.layers\\.\\d+\\.mlp\\.gate$");
    ck_assert_ptr_null(json_next(left));
    ck_assert_str_eq(config_text("quantization_config.quant_method"), "awq");
    ck_assert_str_eq(config_text("quantization_config.version"), "gemm");
    ck_assert_int_eq(config_number("quantization_config.bits"), 4);
    ck_assert_int_eq(config_number("quantization_config.group_size"), 32);
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
    config_use_qwen3();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        config_plan(cases[i].type, SCOPE_EXPERTS, "bf16");
        config_edits(tiny_qwen3_moe_config);
        for (int second = 0; second < 2; second++) {
            const char *name = second ? "quantization_config" : "quantization";
            char path[80];
            (void)snprintf(path, sizeof path, "%s.mode", name);
            ck_assert_str_eq(config_text(path), cases[i].mode);
            (void)snprintf(path, sizeof path, "%s.bits", name);
            ck_assert_int_eq(config_number(path), cases[i].bits);
            (void)snprintf(path, sizeof path, "%s.group_size", name);
            ck_assert_int_eq(config_number(path), 32);
        }
    }
}
END_TEST

START_TEST(mlx_is_said_twice_and_forgotten_with_the_codes)
{
    config_use_qwen3();
    config_plan("int8-mlx-g32", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization.mode"), "affine");
    ck_assert_int_eq(config_number("quantization.bits"), 8);
    ck_assert_int_eq(config_number("quantization.group_size"), 32);
    ck_assert_str_eq(config_text("quantization_config.mode"), "affine");
    config_plan("mxfp4-mlx", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization.mode"), "mxfp4");
    ck_assert_int_eq(config_number("quantization.group_size"), 32);
    config_plan("nvfp4-mlx", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization.mode"), "nvfp4");
    ck_assert_int_eq(config_number("quantization.group_size"), 16);
    config_plan("mxfp8-mlx", SCOPE_EXPERTS, NULL);
    config_edits(tiny_qwen3_moe_config);
    ck_assert_str_eq(config_text("quantization.mode"), "mxfp8");
    char *before = tiny_config_with(tiny_qwen3_moe_config, "quantization", "{\"bits\": 4}");
    config_plan("int4-g32", SCOPE_EXPERTS, NULL);
    config_edits(before);
    ck_assert_ptr_null(json_get(edited.root, "quantization"));
    ck_assert_str_eq(config_text("quantization_config.format"), "pack-quantized");
    free(before);
}
END_TEST

START_TEST(configs_of_one_type_are_not_written_for_two)
{
    static const char *const types[] = {"attention=int4-gptq-g32", "experts=int4-gptq-v2-g32"};
    static const char *const tools[] = {"attention=int4-g32", "experts=int4-awq-g32"};
    config_use_qwen3();
    config_ruled_plan(types, COUNT_OF(types));
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE,
                 "loaders read one type for all modules from configs of fbgemm, ModelOpt, "
                 "gpt-oss, GPTQ, AWQ and MLX");
    config_ruled_plan(tools, COUNT_OF(tools));
    ASSERT_FAILS(config_try(tiny_qwen3_moe_config, &refused), ERR_USAGE,
                 "one type for all modules");
}
END_TEST

Suite *suite_config_methods(void)
{
    Suite *s = suite_create("config_methods");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, config_set_up, config_tear_down);
    tcase_add_test(c, fp8_blocks_are_in_the_native_form);
    tcase_add_test(c, fp8_blocks_say_their_size_and_whether_scales_are_powers_of_two);
    tcase_add_test(c, full_names_are_listed_where_readers_match_by_prefix);
    tcase_add_test(c, fp4_experts_are_declared_by_expert_dtype);
    tcase_add_test(c, an_expert_dtype_of_the_source_stays_true);
    tcase_add_test(c, fp4_is_of_all_routed_experts_and_of_nothing_else);
    tcase_add_test(c, fbgemm_has_a_config_of_its_own);
    tcase_add_test(c, modelopt_is_weights_only);
    tcase_add_test(c, gptq_leaves_modules_out_by_dynamic_patterns);
    tcase_add_test(c, awq_lists_full_names_and_gptqmodels_patterns);
    tcase_add_test(c, mlx_names_its_modes);
    tcase_add_test(c, mlx_is_said_twice_and_forgotten_with_the_codes);
    tcase_add_test(c, configs_of_one_type_are_not_written_for_two);
    suite_add_tcase(s, c);
    return s;
}
