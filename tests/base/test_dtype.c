// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <string.h>

#include "base/dtype.h"

Suite *suite_dtype(void);

// The order and names of the safetensors crate's enum (0.6), each with its bits.
START_TEST(holds_the_types_of_safetensors_in_its_order)
{
    static const struct {
        const char *name;
        int bits;
    } expected[] = {
        {"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8},
        {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
        {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16}, {"I32", 32}, {"U32", 32},
        {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
    };
    ck_assert_uint_eq(COUNT_OF(expected), DT_SAFETENSORS);
    for (int t = 0; t < DT_SAFETENSORS; t++) {
        dtype found;
        ck_assert_str_eq(dtype_name((dtype)t), expected[t].name);
        ck_assert_int_eq(dtype_bits((dtype)t), expected[t].bits);
        ck_assert(!dtype_is_block((dtype)t));
        int64_t bits = 8 * dtype_block_bytes((dtype)t);
        ck_assert_int_eq(bits, expected[t].bits * dtype_block((dtype)t));
        ck_assert(dtype_from_name(expected[t].name, strlen(expected[t].name), &found));
        ck_assert_int_eq((int)found, t);
    }
}
END_TEST

// gguf-py's GGML_QUANT_SIZES.
START_TEST(holds_the_block_types_of_ggml)
{
    static const struct {
        dtype type;
        const char *name;
        int64_t block, bytes;
    } expected[] = {
        {DT_Q4_0, "Q4_0", 32, 2 + 16},
        {DT_Q4_1, "Q4_1", 32, 2 + 2 + 16},
        {DT_Q5_0, "Q5_0", 32, 2 + 4 + 16},
        {DT_Q5_1, "Q5_1", 32, 2 + 2 + 4 + 16},
        {DT_Q8_0, "Q8_0", 32, 2 + 32},
        {DT_Q8_1, "Q8_1", 32, 2 + 2 + 32},
        {DT_Q2_K, "Q2_K", 256, 2 + 2 + 256 / 16 + 256 / 4},
        {DT_Q3_K, "Q3_K", 256, 2 + 256 / 4 + 256 / 8 + 12},
        {DT_Q4_K, "Q4_K", 256, 2 + 2 + 256 / 2 + 12},
        {DT_Q5_K, "Q5_K", 256, 2 + 2 + 256 / 2 + 256 / 8 + 12},
        {DT_Q6_K, "Q6_K", 256, 2 + 256 / 2 + 256 / 4 + 256 / 16},
        {DT_Q8_K, "Q8_K", 256, 4 + 256 + 256 / 8},
        {DT_IQ2_XXS, "IQ2_XXS", 256, 2 + 256 / 4},
        {DT_IQ2_XS, "IQ2_XS", 256, 2 + 256 / 4 + 256 / 32},
        {DT_IQ3_XXS, "IQ3_XXS", 256, 2 + 256 / 4 + 256 / 8},
        {DT_IQ1_S, "IQ1_S", 256, 2 + 256 / 8 + 256 / 16},
        {DT_IQ4_NL, "IQ4_NL", 32, 2 + 16},
        {DT_IQ3_S, "IQ3_S", 256, 2 + 256 / 4 + 256 / 8 + 256 / 32 + 4},
        {DT_IQ2_S, "IQ2_S", 256, 2 + 256 / 4 + 256 / 16},
        {DT_IQ4_XS, "IQ4_XS", 256, 2 + 2 + 256 / 2 + 256 / 64},
        {DT_IQ1_M, "IQ1_M", 256, 256 / 8 + 256 / 16 + 256 / 32},
        {DT_TQ1_0, "TQ1_0", 256, 2 + 4 * 13},
        {DT_TQ2_0, "TQ2_0", 256, 2 + 64},
        {DT_MXFP4, "MXFP4", 32, 1 + 16},
        {DT_NVFP4, "NVFP4", 64, 4 + 32},
        {DT_Q1_0, "Q1_0", 128, 2 + 16},
        {DT_Q2_0, "Q2_0", 64, 2 + 16},
    };
    ck_assert_uint_eq(COUNT_OF(expected), DT_COUNT - DT_SAFETENSORS);
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        dtype t = expected[i].type, found;
        ck_assert_str_eq(dtype_name(t), expected[i].name);
        ck_assert(dtype_is_block(t));
        ck_assert_int_eq(dtype_block(t), expected[i].block);
        ck_assert_int_eq(dtype_block_bytes(t), expected[i].bytes);
        size_t len = strlen(expected[i].name);
        ck_assert(!dtype_from_name(expected[i].name, len, &found));
    }
}
END_TEST

START_TEST(counts_bytes_in_whole_blocks)
{
    uint64_t bytes;
    ck_assert(dtype_bytes(DT_BF16, 3, &bytes) && bytes == 6);
    ck_assert(dtype_bytes(DT_F6_E2M3, 4, &bytes) && bytes == 3);
    ck_assert(!dtype_bytes(DT_F6_E2M3, 6, &bytes));
    ck_assert(dtype_bytes(DT_F4, 0, &bytes) && bytes == 0);
    ck_assert(dtype_bytes(DT_Q4_K, 512, &bytes) && bytes == 288);
    ck_assert(!dtype_bytes(DT_Q4_K, 128, &bytes) && bytes == 0);
    ck_assert(dtype_bytes(DT_F64, INT64_MAX / 8, &bytes) && bytes == INT64_MAX / 8 * 8);
    ck_assert(!dtype_bytes(DT_F64, INT64_MAX / 8 + 1, &bytes));
    ck_assert(!dtype_bytes(DT_U8, UINT64_MAX, &bytes));
}
END_TEST

START_TEST(refuses_other_names)
{
    static const char *const bad[] = {"", "f32", "F", "F3", "F322", "F8", "F8_E4M3F", "BF16 "};
    dtype found = DT_I64;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        ck_assert(!dtype_from_name(bad[i], strlen(bad[i]), &found));
    ck_assert(dtype_from_name("F16x", 3, &found)); // the length counts, not a NUL
    ck_assert_int_eq((int)found, DT_F16);
}
END_TEST

START_TEST(knows_which_types_have_plain_values)
{
    for (int t = 0; t < DT_COUNT; t++)
        ck_assert(dtype_is_float((dtype)t) ==
                  (t == DT_F64 || t == DT_F32 || t == DT_F16 || t == DT_BF16));
}
END_TEST

Suite *suite_dtype(void)
{
    Suite *s = suite_create("dtype");
    TCase *c = tcase_create("table");
    tcase_add_test(c, holds_the_types_of_safetensors_in_its_order);
    tcase_add_test(c, holds_the_block_types_of_ggml);
    tcase_add_test(c, counts_bytes_in_whole_blocks);
    tcase_add_test(c, refuses_other_names);
    tcase_add_test(c, knows_which_types_have_plain_values);
    suite_add_tcase(s, c);
    return s;
}
