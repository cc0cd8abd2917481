// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>

#include "base/bytes.h"
#include "quantize/number.h"
#include "tests/block_case.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"

Suite *suite_blocks_fp4(void);

START_TEST(has_the_bytes_of_ggml)
{
    block_check_golden(DT_MXFP4, "c2ca68a3737fb88a46250e75cc0325cd", NULL,
                       "a2d142bbb1d4c382150c24a517a15631");
    block_check_golden(DT_NVFP4, "682e5ce705cd7d18ed0f8ab9bd5edbd2", NULL,
                       "ca359808bd93d5dbe7e9d9825c4a14e2");
}
END_TEST

static float values[BLOCK_VALUES], back[BLOCK_VALUES];
static uint8_t bytes[BLOCK_VALUES];

static void fill(float largest) { block_fill_rows(values, largest, 0.25f, 32); }

START_TEST(has_the_same_bytes_at_every_level)
{
    fill(block_ops_used(DT_MXFP4)->largest);
    block_check_levels(DT_MXFP4, values, BLOCK_ROWS, BLOCK_COLUMNS);
    block_check_levels(DT_MXFP4, values, 1, 32);
    fill(block_ops_used(DT_NVFP4)->largest);
    block_check_levels(DT_NVFP4, values, BLOCK_ROWS, BLOCK_COLUMNS);
    block_check_levels(DT_NVFP4, values, 1, 64);
}
END_TEST

// The blocks that tests/data/codecs/fourbit.py describes.
START_TEST(reads_all_codes_under_all_scales_as_the_package_gguf_does)
{
    static uint8_t mx[256][17], nv[64][36];
    for (uint32_t i = 0; i < 256; i++) {
        mx[i][0] = nv[i / 4][i % 4] = (uint8_t)i;
        for (uint32_t j = 0; j < 16; j++)
            mx[i][1 + j] = (uint8_t)(j | (15 - j) << 4);
        for (uint32_t j = 0; j < 8; j++)
            nv[i / 4][4 + i % 4 * 8 + j] = (uint8_t)(2 * j | (2 * j + 1) << 4);
    }
    block_check_decoded(DT_MXFP4, "mxfp4", mx[0], 256);
    block_check_decoded(DT_NVFP4, "nvfp4", nv[0], 64);
}
END_TEST

static void there_and_back(dtype type, const float *x, int64_t n, codec_search search, float *to)
{
    const block_ops *ops = block_ops_used(type);
    memset(bytes, 0xaa, sizeof bytes);
    ops->encode(&(block_rows){.from = x, .n = 1, .in = n, .search = search, .to = bytes});
    ops->decode(to, bytes, n / dtype_block(type));
}

// Twice the scale of element i.
static double scale_of(dtype type, int64_t i)
{
    if (type == DT_MXFP4)
        return ldexp(1, bytes[i / 32 * 17] - 127);
    return (double)ue4m3_to_f32(bytes[i / 64 * 36 + i % 64 / 16]);
}

// And the smaller magnitude of two; a zero has no sign. Where elements have grown before (NVFP4's
// best search takes back what least squares takes from them) it may be the next larger magnitude.
static void check_nearest(dtype type, codec_search search)
{
    bool grown = type == DT_NVFP4 && search == SEARCH_BEST;
    int64_t larger = 0;
    fill(block_ops_used(type)->largest);
    there_and_back(type, values, BLOCK_VALUES, search, back);
    for (int64_t i = 0; i < BLOCK_VALUES; i++) {
        double scale = scale_of(type, i), x = fabs((double)values[i]), nearest = 0;
        double next = 0.5 * scale;
        for (uint8_t code = 1; code < 8; code++) {
            double at = (double)e2m1_to_f32(code) * scale;
            if (fabs(x - at) < fabs(x - nearest)) {
                nearest = at;
                next = code < 7 ? (double)e2m1_to_f32((uint8_t)(code + 1)) * scale : at;
            }
        }
        bool is_next = grown && fabs((double)back[i]) == next;
        larger += is_next && next > nearest;
        ck_assert(fabs((double)back[i]) == nearest || is_next);
        ck_assert(!signbit(back[i]) == !(back[i] != 0 && signbit(values[i])));
    }
    ck_assert_int_lt(larger, BLOCK_VALUES / 8);
}

START_TEST(writes_the_code_nearest_under_its_scale)
{
    check_nearest(DT_MXFP4, SEARCH_COMPAT);
    check_nearest(DT_NVFP4, SEARCH_COMPAT);
    check_nearest(DT_MXFP4, SEARCH_BEST);
    check_nearest(DT_NVFP4, SEARCH_BEST);
}
END_TEST

// MXFP4: the largest is 4 to 8 scales, cut off at 6; steps are 2 scales at most. NVFP4: the scale
// is within a 16th of a sixth of the largest where it is a normal number and below 256.
START_TEST(stays_within_the_bounds_of_its_scale)
{
    for (uint32_t i = 0; i < BLOCK_VALUES; i++)
        values[i] = golden_weight(i, 31) * 64;
    for (int mx = 0; mx < 2; mx++) {
        dtype type = mx ? DT_MXFP4 : DT_NVFP4;
        int part = mx ? 32 : 16;
        there_and_back(type, values, BLOCK_VALUES, SEARCH_COMPAT, back);
        for (int at = 0; at < BLOCK_VALUES; at += part) {
            double amax = 0, most = 0;
            for (int i = at; i < at + part; i++) {
                amax = fmax(amax, fabs((double)values[i]));
                most = fmax(most, fabs((double)values[i] - (double)back[i]));
            }
            ck_assert_double_ge(amax, 6 * 0x1p-6);
            ck_assert_double_le(most, amax * (mx ? 1.0 / 4 : 17.0 / 96));
        }
    }
}
END_TEST

START_TEST(writes_what_it_has_read_again)
{
    static float again[BLOCK_VALUES];
    fill(block_ops_used(DT_MXFP4)->largest);
    there_and_back(DT_MXFP4, values, BLOCK_VALUES, SEARCH_COMPAT, back);
    there_and_back(DT_MXFP4, back, BLOCK_VALUES, SEARCH_COMPAT, again);
    ck_assert_mem_eq(back, again, sizeof back);
}
END_TEST

static uint8_t first_byte(dtype type, float largest)
{
    float x[64] = {[3] = -largest};
    there_and_back(type, x, 64, SEARCH_COMPAT, back);
    return bytes[0];
}

START_TEST(chooses_the_scale_of_the_largest_magnitude)
{
    ck_assert_uint_eq(first_byte(DT_MXFP4, 0), 0);
    ck_assert_uint_eq(first_byte(DT_MXFP4, 0x1p-149f), 0);
    ck_assert_uint_eq(first_byte(DT_MXFP4, 0x1.fffffep-126f), 0);
    ck_assert_uint_eq(first_byte(DT_MXFP4, 0x1p-125f), 0);
    ck_assert_uint_eq(first_byte(DT_MXFP4, 0x1p-124f), 1);
    ck_assert_uint_eq(first_byte(DT_MXFP4, 1.999f), 125);
    ck_assert_uint_eq(first_byte(DT_MXFP4, 2), 126);
    ck_assert_uint_eq(first_byte(DT_MXFP4, 0x1.fffffep3f), 129); // its binary32 logarithm is 4
    ck_assert_uint_eq(first_byte(DT_MXFP4, 0x1.fffffcp3f), 128);
    ck_assert_uint_eq(first_byte(DT_MXFP4, 0x1.8p127f), 252);
    ck_assert_uint_eq(first_byte(DT_NVFP4, 0), 0);
    ck_assert_uint_eq(first_byte(DT_NVFP4, 0x1p-149f), 0);
    ck_assert_uint_eq(first_byte(DT_NVFP4, 0x1.7fffp-8f), 0);
    ck_assert_uint_eq(first_byte(DT_NVFP4, 0x1.8p-8f), 1);
    ck_assert_uint_eq(first_byte(DT_NVFP4, 6), 0x38);
    ck_assert_uint_eq(first_byte(DT_NVFP4, 2688), 0x7e);
}
END_TEST

START_TEST(finds_better_scales_and_never_worse_ones)
{
    fill(block_ops_used(DT_MXFP4)->largest);
    block_check_best(DT_MXFP4, 32, values, BLOCK_VALUES, (double[]){1, 1});
    fill(block_ops_used(DT_NVFP4)->largest);
    block_check_best(DT_NVFP4, 16, values, BLOCK_VALUES, (double[]){1, 1});
    for (uint32_t i = 0; i < BLOCK_VALUES; i++)
        values[i] = golden_weight(i, 23);
    block_check_best(DT_MXFP4, 32, values, BLOCK_VALUES, (double[]){0.992, 0.99});
    block_check_best(DT_NVFP4, 16, values, BLOCK_VALUES, (double[]){0.85, 0.75});
}
END_TEST

// Of magnitudes up to that of the code `largest`.
static uint8_t two_codes(uint32_t largest, uint32_t seed)
{
    uint32_t hash = mix(seed), low = hash % (largest + 1), high = (hash >> 8) % (largest + 1);
    return (uint8_t)(low | (hash >> 16 & 8) | high << 4 | (hash >> 17 & 8) << 4);
}

// All codes under all scales (MXFP4: of finite values), and blocks of which all codes are small.
START_TEST(finds_what_it_has_read_again)
{
    static uint8_t mx[253 * 8][17], nv[127 * 8][36];
    for (uint32_t b = 0; b < 253 * 8; b++) {
        mx[b][0] = (uint8_t)(b / 8);
        for (uint32_t i = 1; i < 17; i++)
            mx[b][i] = two_codes(b % 8, b * 17 + i);
    }
    block_check_again(DT_MXFP4, mx[0], 253 * 8);
    for (uint32_t b = 0; b < 127 * 8; b++) {
        memset(nv[b], (int)(b / 8), 4);
        for (uint32_t i = 4; i < 36; i++)
            nv[b][i] = two_codes(b % 8, b * 36 + i);
    }
    block_check_again(DT_NVFP4, nv[0], 127 * 8);
    fill(1);
    block_check_own(DT_MXFP4, values, BLOCK_VALUES);
    block_check_own(DT_NVFP4, values, BLOCK_VALUES);
}
END_TEST

START_TEST(refuses_what_is_too_large)
{
    float x[64] = {[33] = -2688.001f};
    uint8_t to[36];
    void *const part[] = {to};
    encode_options o = ENCODE_DEFAULTS;
    const codec *c = codec_find("NVFP4");
    ASSERT_REFUSED(c->encode(c, 64, 1, x, &o, part, &refused),
                   "row 0, column 33: -2688.00098 is too large for NVFP4");
    x[33] = INFINITY;
    ASSERT_REFUSED(c->encode(c, 64, 1, x, &o, part, &refused), "column 33 is infinite");
    x[33] = NAN;
    c = codec_find("MXFP4");
    ASSERT_REFUSED(c->encode(c, 64, 1, x, &o, part, &refused), "column 33 is not a number");
    ASSERT_REFUSED(c->encode(c, 48, 1, x, &o, part, &refused),
                   "MXFP4 needs a multiple of 32 columns, the weight has 48");
}
END_TEST

Suite *suite_blocks_fp4(void)
{
    Suite *s = suite_create("blocks_fp4");
    TCase *c = tcase_create("blocks_fp4");
    tcase_add_test(c, has_the_bytes_of_ggml);
    tcase_add_test(c, has_the_same_bytes_at_every_level);
    tcase_add_test(c, reads_all_codes_under_all_scales_as_the_package_gguf_does);
    tcase_add_test(c, writes_the_code_nearest_under_its_scale);
    tcase_add_test(c, stays_within_the_bounds_of_its_scale);
    tcase_add_test(c, writes_what_it_has_read_again);
    tcase_add_test(c, chooses_the_scale_of_the_largest_magnitude);
    tcase_add_test(c, finds_better_scales_and_never_worse_ones);
    tcase_add_test(c, finds_what_it_has_read_again);
    tcase_add_test(c, refuses_what_is_too_large);
    suite_add_tcase(s, c);
    return s;
}
