// SPDX-License-Identifier: Apache-2.0
// The registry, geometry, user names and the float forms.
#include <check.h>
#include <math.h>

#include "base/bytes.h"
#include "quantize/codec.h"
#include "quantize/number.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"

Suite *suite_codec(void);

START_TEST(finds_every_codec_by_its_name)
{
    ck_assert_int_eq(codec_count(), 135);
    for (int64_t i = 0; i < codec_count(); i++)
        ck_assert_ptr_eq(codec_find(codec_at(i)->name), codec_at(i));
    ck_assert_ptr_null(codec_find("INT4-G32"));
    ck_assert_ptr_null(codec_at(-1));
    ck_assert_ptr_null(codec_at(codec_count()));
}
END_TEST

static void check_shape(const char *name, int part, const char *suffix, int64_t rows, int64_t cols,
                        uint64_t bytes)
{
    const codec *c = codec_find(name);
    int64_t shape[2];
    int rank = codec_part_shape(c, part, 200, 384, shape);
    ck_assert_str_eq(c->part[part].suffix, suffix);
    ck_assert_int_eq(shape[0], rows);
    ck_assert_int_eq(rank, cols ? 2 : 1);
    if (cols)
        ck_assert_int_eq(shape[1], cols);
    ck_assert_uint_eq(codec_part_bytes(c, part, 200, 384), bytes);
}

START_TEST(knows_the_shape_of_every_part)
{
    check_shape("f32", 0, "weight", 200, 384, 200 * 384 * 4);
    check_shape("bf16", 0, "weight", 200, 384, 200 * 384 * 2);
    check_shape("fp8-block", 0, "weight", 200, 384, 200 * 384);
    check_shape("fp8-block", 1, "weight_scale_inv", 2, 3, 24);
    check_shape("fp8-block-bf16", 1, "weight_scale_inv", 2, 3, 12);
    check_shape("fp8-block32", 1, "weight_scale_inv", 7, 12, 336);
    check_shape("fp8-block32-e8m0", 1, "weight_scale_inv", 7, 12, 84);
    check_shape("fp8-channel", 1, "weight_scale", 200, 1, 800);
    check_shape("int4-g32", 0, "weight_packed", 200, 48, 200 * 192);
    check_shape("int4-g32", 1, "weight_scale", 200, 12, 200 * 24);
    check_shape("int4-g128", 1, "weight_scale", 200, 3, 200 * 6);
    check_shape("int4-g64", 2, "weight_shape", 2, 0, 16);
    const codec *c = codec_find("int4-g64");
    ck_assert_uint_eq(codec_bytes(c, 200, 384), 200 * 192 + 200 * 12 + 16);
    ck_assert_uint_eq(codec_part_row_bytes(c, 1, 384, DT_F32), 24);
    ck_assert_uint_eq(codec_part_row_bytes(codec_find("fp8-block-bf16"), 1, 130, DT_BF16), 4);
}
END_TEST

START_TEST(says_the_largest_number_for_shapes_that_overflow)
{
    ck_assert_uint_eq(codec_bytes(codec_find("f32"), INT64_MAX, INT64_MAX), UINT64_MAX);
}
END_TEST

START_TEST(knows_which_columns_a_group_divides)
{
    ck_assert(codec_divides(codec_find("int4-g32"), 96));
    ck_assert(!codec_divides(codec_find("int4-g64"), 96));
    ck_assert(codec_divides(codec_find("fp8-block"), 100)); // ragged edges are part of the form
}
END_TEST

START_TEST(fills_in_weight_shape)
{
    const codec *c = codec_find("int4-g32");
    unsigned char to[16];
    ck_assert(!codec_fixed_part(c, 0, 5, 64, to));
    ck_assert(codec_fixed_part(c, 2, 5, 64, to));
    ck_assert(load_u64(to) == 5 && load_u64(to + 8) == 64);
    ck_assert(!codec_fixed_part(codec_find("bf16"), 0, 5, 64, to));
}
END_TEST

static void check_user(const char *text, const char *name)
{
    const codec *c;
    err e = ERR_INIT;
    ASSERT_OK(codec_from_user(text, &c, &e), e);
    ck_assert_str_eq(c->name, name);
}

START_TEST(understands_users_in_any_case)
{
    check_user("int4-g32", "int4-g32");
    check_user("INT4-G64", "int4-g64");
    check_user("W4A16", "int4-g128");
    check_user("w4a16", "int4-g128");
    check_user("W4A16_ASYM", "int4-g128-asym");
    check_user("W8A16", "int8-g128");
    check_user("int8-Channel-ASYM", "int8-channel-asym");
    check_user("NVFP4A16", "nvfp4-packed");
    check_user("mxfp4a16", "mxfp4-packed");
    check_user("MXFP8A16", "mxfp8");
    check_user("Bf16", "bf16");
    check_user("FP8-Block", "fp8-block");
    check_user("float32", "f32");
    check_user("INT4-GPTQ-v2-g128-asym", "int4-gptq-v2-g128-asym");
    check_user("q4_k", "Q4_K");
    check_user("Q8_0", "Q8_0");
    check_user("iq4_nl", "IQ4_NL");
    check_user("MXFP4", "MXFP4"); // ggml's
    check_user("nvfp4", "NVFP4");
}
END_TEST

START_TEST(refuses_forms_of_others_with_the_nearest_one_of_ours)
{
    static const char *const REFUSED[][2] = {
        {"FP8_BLOCK", "fp8-block"},  {"fp8_dynamic", "fp8-channel"}, {"FP8", "fp8-tensor"},
        {"Q4_K_M", "Q4_K"},          {"q3_k_L", "Q3_K"},             {"Q5_K_S", "Q5_K"},
        {"MXFP4_MOE", "MXFP4"},      {"Q8_1", "Q8_0"},               {"Q8_K", "Q8_0"},
        {"IQ4_KS", "IQ4_XS"},        {"IQ3_XXS", "Q3_K"},            {"IQ2_S", "Q2_K"},
        {"TQ1_0", "Q2_K"},           {"Q2_0", "Q2_K"},
        {"W8A8", "fp8-channel"},     {"int4", "int4-g32"},           {"GPTQ", "int4-gptq-g128"},
        {"awq", "int4-awq-g128"},    {"MLX", "int4-mlx-g64"},
        {"int4-awq", "int4-awq-g128"},        {"int8-gptq", "int8-gptq-g128"},
        {"int2-gptq-v2", "int4-gptq-v2-g128"}, {"int6-mlx", "int4-mlx-g64"},
        {"int8-zeros", "int8-g128"},
        {"fp8-scaled", "fp8-channel"},        {"int8-bytes", "int8-g128"},
        {"int4-zeros", "int4-g32"},
    };
    for (size_t i = 0; i < COUNT_OF(REFUSED); i++) {
        const codec *c;
        char words[64];
        snprintf(words, sizeof words, "the nearest is %s", REFUSED[i][1]);
        ASSERT_FAILS(codec_from_user(REFUSED[i][0], &c, &refused), ERR_USAGE, words);
        ck_assert_ptr_null(c);
        ck_assert_ptr_nonnull(strstr(refused.text, REFUSED[i][0]));
    }
}
END_TEST

START_TEST(suggests_the_nearest_name)
{
    const codec *c;
    ASSERT_FAILS(codec_from_user("int4-g23", &c, &refused), ERR_USAGE, "did you mean int4-g");
    ASSERT_FAILS(codec_from_user("banana", &c, &refused), ERR_USAGE, "types are f32, f16, bf16");
}
END_TEST

START_TEST(keeps_every_finite_half_and_float)
{
    static const char *const NAMES[] = {"f16", "bf16"};
    static uint16_t bits[65536], again[65536];
    static float wide[65536];
    for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
        const codec *c = codec_find(NAMES[i]);
        int64_t n = 0;
        for (uint32_t code = 0; code < 65536; code++)
            if (isfinite(i ? bf16_to_f32((uint16_t)code) : f16_to_f32((uint16_t)code)))
                bits[n++] = (uint16_t)code;
        part_view part = part_at(bits, c->part[0].type);
        void *const to[] = {again};
        err e = ERR_INIT;
        encode_options o = ENCODE_DEFAULTS;
        ASSERT_OK(c->decode(c, n / 2, 2, &part, wide, &e), e);
        ASSERT_OK(c->encode(c, n / 2, 2, wide, &o, to, &e), e);
        ck_assert_mem_eq(bits, again, (size_t)n * 2);
    }
}
END_TEST

START_TEST(refuses_values_that_are_not_finite_naming_the_place)
{
    static unsigned char space[4][8192];
    void *const to[] = {space[0], space[1], space[2], space[3]};
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = codec_at(i);
        if (!c->encode)
            continue;
        static float w[2][1024];
        memset(w, 0, sizeof w);
        encode_options o = ENCODE_DEFAULTS;
        o.row0 = 256;
        w[1][7] = NAN;
        ASSERT_REFUSED(c->encode(c, 1024, 2, w[0], &o, to, &refused),
                       "row 257, column 7 is not a number");
        w[0][255] = -INFINITY;
        ASSERT_REFUSED(c->encode(c, 1024, 2, w[0], &o, to, &refused),
                       "row 256, column 255 is infinite");
    }
}
END_TEST

START_TEST(refuses_values_that_would_become_infinite)
{
    uint16_t to16[4];
    void *const to[] = {to16};
    const float w[4] = {1, 65519, 65520, 0};
    encode_options o = ENCODE_DEFAULTS;
    const codec *c = codec_find("f16");
    ASSERT_REFUSED(c->encode(c, 2, 2, w, &o, to, &refused),
                   "row 1, column 0: 65520 is too large for F16");
    const float huge[1] = {3.4e38f};
    c = codec_find("bf16");
    ASSERT_REFUSED(c->encode(c, 1, 1, huge, &o, to, &refused), "too large for BF16");
}
END_TEST

START_TEST(refuses_parts_of_a_type_it_does_not_read)
{
    static const unsigned char bytes[1024];
    static float to[512];
    const codec *c = codec_find("int4-g32");
    part_view part[] = {part_at(bytes, DT_I32), part_at(bytes, DT_F8_E4M3),
                        part_at(bytes, DT_I64)};
    ASSERT_REFUSED(c->decode(c, 32, 1, part, to, &refused),
                   "part 'weight_scale' is F8_E4M3, expected BF16");
    part[1].type = DT_F16;
    err e = ERR_INIT;
    ASSERT_OK(c->decode(c, 32, 1, part, to, &e), e);
    c = codec_find("fp8-block");
    part[0].type = DT_F8_E5M2;
    ASSERT_REFUSED(c->decode(c, 32, 1, part, to, &refused), "'weight' is F8_E5M2");
    c = codec_find("bf16");
    part[0].type = DT_F16;
    ASSERT_REFUSED(c->decode(c, 32, 1, part, to, &refused), "is F16, expected BF16");
}
END_TEST

Suite *suite_codec(void)
{
    Suite *s = suite_create("codec");
    TCase *c = tcase_create("registry");
    tcase_add_test(c, finds_every_codec_by_its_name);
    tcase_add_test(c, knows_the_shape_of_every_part);
    tcase_add_test(c, says_the_largest_number_for_shapes_that_overflow);
    tcase_add_test(c, knows_which_columns_a_group_divides);
    tcase_add_test(c, fills_in_weight_shape);
    tcase_add_test(c, understands_users_in_any_case);
    tcase_add_test(c, refuses_forms_of_others_with_the_nearest_one_of_ours);
    tcase_add_test(c, suggests_the_nearest_name);
    suite_add_tcase(s, c);
    c = tcase_create("floats");
    tcase_add_test(c, keeps_every_finite_half_and_float);
    tcase_add_test(c, refuses_values_that_are_not_finite_naming_the_place);
    tcase_add_test(c, refuses_values_that_would_become_infinite);
    tcase_add_test(c, refuses_parts_of_a_type_it_does_not_read);
    suite_add_tcase(s, c);
    return s;
}
