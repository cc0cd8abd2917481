// SPDX-License-Identifier: Apache-2.0
// Whole conversions of tiny models that are refused, or done with a warning.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_make_refused(void);

static const tiny_shape shape = TINY_SHAPE;
static const tiny_shape dense_first = {"model.", "", false, 0, false};

START_TEST(a_value_that_is_no_number_is_named)
{
    static const struct {
        uint16_t bits;
        const char *word;
    } bad[] = {{0x7fc0, "not a number"}, {0xff80, "infinit"}};
    tiny_qwen3_moe(&the.t, &shape);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint16_t values[32 * 64] = {0};
        static const char name[] = "model.layers.2.mlp.experts.3.up_proj.weight";
        values[5 * 64 + 7] = bad[i].bits;
        tiny_drop(&the.t, name);
        tiny_add(&the.t, name, DT_BF16, 2, 32, 64, values);
        tiny_write(&the.t, tiny_qwen3_moe_config);
        static const char *const types[] = {"int4-g32", "fp8-block", "fp8-channel"};
        for (size_t k = 0; k < COUNT_OF(types); k++) {
            make_quantize(types[k], SCOPE_EXPERTS, LAYOUT_EXPERTS);
            const char *said = make_fails(ERR_INPUT, "model.layers.2.mlp.experts.3.up_proj "
                                                     "(layer 2, expert 3, up_proj): ");
            ck_assert_msg(strstr(said, bad[i].word), "%s", said);
            ck_assert_ptr_nonnull(strstr(said, "row 5"));
            ck_assert_ptr_nonnull(strstr(said, "column 7"));
        }
        make_quantize("f32", SCOPE_MATRICES, LAYOUT_PLAIN);
        make_fails(ERR_INPUT, "layer 2, expert 3, up_proj");
    }
}
END_TEST

// Two matrices of binary32, three values of one and one of the the.other no BF16.
static void use_wide_values(void)
{
    static float values[32 * 64], more[64 * 32];
    tiny_qwen3_moe(&the.t, &shape);
    values[0] = 1.0f + 0x1p-20f;
    values[77] = 0x1p-140f;
    values[2047] = -1.001f;
    more[9] = 0.1f;
    tiny_drop(&the.t, "model.layers.0.mlp.experts.1.gate_proj.weight");
    tiny_drop(&the.t, "model.layers.2.mlp.experts.1.down_proj.weight");
    tiny_add(&the.t, "model.layers.0.mlp.experts.1.gate_proj.weight", DT_F32, 2, 32, 64, values);
    tiny_add(&the.t, "model.layers.2.mlp.experts.1.down_proj.weight", DT_F32, 2, 64, 32, more);
    tiny_write(&the.t, tiny_qwen3_moe_config);
    the.order.command = "convert";
    the.order.refuse_changes = the.order.count_changes = true;
    make_quantize("bf16", SCOPE_MATRICES, LAYOUT_PLAIN);
}

static const char four_changes[] =
    "4 values of 2 tensors would change (model.layers.0.mlp.experts.1.gate_proj.weight: 3 of "
    "2048); --allow-lossy accepts that";

START_TEST(an_input_file_whose_name_is_not_utf8_is_refused)
{
    char from[300], to[300];
    make_use_qwen3();
    make_convert(LAYOUT_EXPERTS);
    (void)snprintf(from, sizeof from, "%s/model.safetensors", the.t.dir);
    (void)snprintf(to, sizeof to, "%s/m\xff.safetensors", the.t.dir);
    ck_assert_int_eq(rename(from, to), 0);
    make_fails(ERR_INPUT, "the name of the input file 'm?.safetensors' is not UTF-8");
}
END_TEST

START_TEST(a_value_that_would_change_is_counted_and_refused)
{
    use_wide_values();
    make_fails(ERR_NO, four_changes);
    ck_assert_ptr_nonnull(strstr(heard.warned, "layers.2.mlp.experts.1.down_proj.weight: 1 of "
                                               "2048 values would change"));
    the.order.refuse_changes = false;
    make_runs();
    ck_assert_int_eq(the.report.changed_values, 4);
    ck_assert_int_eq(the.report.changed_tensors, 2);
}
END_TEST

START_TEST(changes_in_a_file_of_an_earlier_run_still_count)
{
    use_wide_values();
    the.order.plan.shard_bytes = 10000; // many files
    heard.stop_at = 30;
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_INTERRUPTED,
                 "the same command");
    ck_assert_int_eq(folder_visible(the.out), 0);
    ck_assert_int_gt(folder_hidden(the.out), 4);
    heard.stop_at = 0;
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_NO, four_changes);
    ck_assert_int_eq(temp_count(the.top), 0);
}
END_TEST

START_TEST(values_that_all_fit_are_converted_without_a_word)
{
    tiny_qwen3_moe(&the.t, &shape);
    tiny_write(&the.t, tiny_qwen3_moe_config);
    the.order.refuse_changes = the.order.count_changes = true;
    make_quantize("f32", SCOPE_MATRICES, LAYOUT_PLAIN);
    make_runs();
    ck_assert_int_eq(the.report.changed_values, 0);
    the.order.input = the.out;
    the.order.output = the.other;
    make_quantize("bf16", SCOPE_MATRICES, LAYOUT_PLAIN);
    make_runs();
    make_same_tensors(the.t.dir, the.other);
}
END_TEST

START_TEST(copied_layers_in_fp8_are_warned_of)
{
    static const char fp8[] = "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}";
    tiny_deepseek_v3(&the.t, &dense_first);
    tiny_add(&the.t, "model.layers.3.eh_proj.weight", DT_BF16, 2, 8, 64, NULL);
    tiny_make_fp8_block(&the.t, "model.layers.3.eh_proj");
    tiny_make_fp8_block(&the.t, "model.layers.0.mlp.up_proj");
    char *config = tiny_config_with(tiny_deepseek_v3_config, "num_nextn_predict_layers", "1");
    char *full = tiny_config_with(config, "quantization_config", fp8);
    tiny_write(&the.t, full);
    free(config);
    free(full);
    the.order.plan.fallback = codec_find("bf16");
    make_quantize("int4-g32", SCOPE_ALL_LINEAR, LAYOUT_EXPERTS);
    make_runs();
    ck_assert_ptr_nonnull(strstr(heard.warned, "1 of them in FP8"));
    ck_assert_ptr_nonnull(strstr(heard.warned, "'model.layers.3.eh_proj.weight'"));
}
END_TEST

START_TEST(forms_that_loaders_do_not_read_are_warned_of)
{
    make_use_qwen3();
    make_quantize("int4-g64", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    the.order.plan.fallback = codec_find("bf16");
    the.order.dry_run = true;
    make_runs();
    ck_assert_ptr_nonnull(strstr(heard.warned, "the experts of layer 0 (and perhaps others) are "
                                               "stored in two types, "));
    the.order.plan.fallback = codec_find("int4-g32");
    memset(&heard, 0, sizeof heard);
    make_runs();
    ck_assert_ptr_nonnull(strstr(heard.warned, "stored in two types"));
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    the.order.plan.fallback = NULL;
    memset(&heard, 0, sizeof heard);
    make_runs();
    make_quantize("fp8-block", SCOPE_ALL_LINEAR, LAYOUT_PLAIN); // all smaller than a block
    make_runs();
    ck_assert_str_eq(heard.warned, "");
    tiny_free(&the.t);
    tiny_init(&the.t);
    tiny_deepseek_v3(&the.t, &dense_first);
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    for (int i = 0; i < 3; i++) {
        char name[80];
        (void)snprintf(name, sizeof name, "model.layers.0.mlp.%s.weight", names[i]);
        tiny_drop(&the.t, name);
        tiny_add(&the.t, name, DT_BF16, 2, i < 2 ? 192 : 64, i < 2 ? 64 : 192, NULL);
    }
    char *config = tiny_config_with(tiny_deepseek_v3_config, "intermediate_size", "192");
    tiny_write(&the.t, config);
    free(config);
    make_runs();
    ck_assert_ptr_nonnull(strstr(heard.warned, "'model.layers.0.mlp."));
    ck_assert_ptr_nonnull(strstr(heard.warned, "no whole number of blocks of 128"));
}
END_TEST

START_TEST(forms_that_their_own_tools_do_not_read_are_warned_of)
{
    tiny_deepseek_v3(&the.t, &dense_first);
    tiny_write(&the.t, tiny_deepseek_v3_config);
    the.order.dry_run = true;
    make_quantize("int4-gptq-g32-asym", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_runs();
    ck_assert_ptr_nonnull(strstr(heard.warned, "is stored as int4-gptq-g32-asym: GPTQModel loads"));
    memset(&heard, 0, sizeof heard);
    make_quantize("int4-gptq-v2-g32-asym", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_runs();
    make_quantize("int4-gptq-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_runs();
    make_quantize("int4-mlx-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_runs();
    ck_assert_str_eq(heard.warned, "");
    make_quantize("nvfp4-mlx", SCOPE_ALL_LINEAR, LAYOUT_EXPERTS);
    make_runs();
    ck_assert_ptr_nonnull(strstr(heard.warned, "kv_b_proj' is stored as nvfp4-mlx: mlx-lm"));
    ck_assert_ptr_null(strstr(heard.warned, "GPTQModel"));
}
END_TEST

START_TEST(an_input_that_changes_during_the_run_is_refused)
{
    make_use_qwen3();
    make_convert(LAYOUT_EXPERTS);
    heard.touch_at = 20;
    make_fails(ERR_INPUT, "changed while it was read");
}
END_TEST

Suite *suite_make_refused(void)
{
    Suite *s = suite_create("make_refused");
    TCase *c = tcase_create("refused");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_test(c, a_value_that_is_no_number_is_named);
    tcase_add_test(c, an_input_file_whose_name_is_not_utf8_is_refused);
    tcase_add_test(c, a_value_that_would_change_is_counted_and_refused);
    tcase_add_test(c, changes_in_a_file_of_an_earlier_run_still_count);
    tcase_add_test(c, values_that_all_fit_are_converted_without_a_word);
    tcase_add_test(c, copied_layers_in_fp8_are_warned_of);
    tcase_add_test(c, forms_that_loaders_do_not_read_are_warned_of);
    tcase_add_test(c, forms_that_their_own_tools_do_not_read_are_warned_of);
    tcase_add_test(c, an_input_that_changes_during_the_run_is_refused);
    suite_add_tcase(s, c);
    return s;
}
