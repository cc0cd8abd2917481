// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "quantize/number.h"
#include "tests/block_case.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"

Suite *suite_blocks_iq4(void);

START_TEST(has_the_bytes_of_ggml)
{
    block_check_golden(DT_IQ4_NL, "dc911f62ef13b2a8561da571dfb39756",
                       "ce00087e3b97ff89b4643a89402109fd", "64babfee9e08288d431632f395425940");
    block_check_golden(DT_IQ4_XS, "3f6a259197055511ac33f59d2f7a671a",
                       "eddaf7fbbc73c3c779655c868ebc8460", "3a6710c8e164f8cc0cd82e64fdf886c2");
}
END_TEST

static float values[BLOCK_VALUES];

static void fill(float largest) { block_fill_rows(values, largest, 0x1p-9f, 254); }

START_TEST(has_the_same_bytes_at_every_level)
{
    fill(block_ops_used(DT_IQ4_NL)->largest);
    block_check_levels(DT_IQ4_NL, values, BLOCK_ROWS, BLOCK_COLUMNS);
    fill(block_ops_used(DT_IQ4_XS)->largest);
    block_check_levels(DT_IQ4_XS, values, BLOCK_ROWS, BLOCK_COLUMNS);
    block_check_levels(DT_IQ4_XS, values, 1, 256);
    block_check_levels(DT_IQ4_NL, values, 1, 32);
}
END_TEST

// The blocks that tests/data/codecs/fourbit.py describes.
START_TEST(reads_all_codes_under_all_scales_as_the_package_gguf_does)
{
    static uint8_t nl[65536][18], xs[4096][136];
    for (uint32_t d = 0; d < 65536; d++) {
        store_u16(nl[d], (uint16_t)d);
        for (uint32_t j = 0; j < 16; j++)
            nl[d][2 + j] = (uint8_t)(j | (15 - j) << 4);
    }
    block_check_decoded(DT_IQ4_NL, "iq4_nl", nl[0], 65536);
    for (uint32_t b = 0; b < 4096; b++) {
        uint32_t high = 0, low = 0;
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t k = b * 8 + i, scale = (k + (k >> 6)) & 63;
            low |= (scale & 15) << 4 * i;
            high |= scale >> 4 << 2 * i;
        }
        store_u16(xs[b], (uint16_t)(b * 16));
        store_u16(xs[b] + 2, (uint16_t)high);
        store_u32(xs[b] + 4, low);
        for (uint32_t j = 0; j < 128; j++)
            xs[b][8 + j] = (uint8_t)(j % 16 | (15 - j % 16) << 4);
    }
    block_check_decoded(DT_IQ4_XS, "iq4_xs", xs[0], 4096);
}
END_TEST

static void encode(dtype type, const float *x, int64_t n, codec_search search, uint8_t *to)
{
    block_ops_used(type)->encode(&(block_rows){.from = x, .n = 1, .in = n, .search = search,
                                               .to = to});
}

// A part's error weighted by squares is at most that of steps of a 127th of the largest element,
// the first of ggml's tries: half a step of 23 and what rounding the scale adds, 2^-11 of 127.
START_TEST(stays_within_half_a_step)
{
    static uint8_t to[BLOCK_VALUES];
    static float back[BLOCK_VALUES];
    fill(1);
    encode(DT_IQ4_NL, values, BLOCK_COLUMNS, SEARCH_COMPAT, to);
    block_ops_used(DT_IQ4_NL)->decode(back, to, BLOCK_COLUMNS / 32);
    for (int b = 0; b < BLOCK_COLUMNS / 32; b++) {
        double amax = 0, error = 0, weight = 0;
        for (int i = b * 32; i < b * 32 + 32; i++) {
            double x = (double)values[i], e = (double)back[i] - x;
            amax = fmax(amax, fabs(x));
            error += x * x * e * e;
            weight += x * x;
        }
        double most = (11.5 + 127 * 0x1p-11) / 127 * amax;
        ck_assert_msg(error <= weight * most * most, "block %d", b);
    }
}
END_TEST

START_TEST(writes_zeros_as_ggml_does)
{
    static const float zero[256] = {0};
    uint8_t to[136], expected[136];
    encode(DT_IQ4_NL, zero, 32, SEARCH_COMPAT, to);
    memset(expected, 0x88, sizeof expected); // the code of 1, times 0
    store_u16(expected, 0);
    ck_assert_mem_eq(to, expected, 18);
    encode(DT_IQ4_XS, zero, 256, SEARCH_COMPAT, to);
    memset(expected, 0x88, sizeof expected);
    store_u16(expected, 0x8000); // -0
    store_u16(expected + 2, 0xaaaa);
    store_u32(expected + 4, 0);
    ck_assert_mem_eq(to, expected, 136);
}
END_TEST

START_TEST(finds_better_scales_and_never_worse_ones)
{
    fill(block_ops_used(DT_IQ4_NL)->largest);
    block_check_best(DT_IQ4_NL, 32, values, BLOCK_VALUES, (double[]){1, 1});
    block_check_best(DT_IQ4_XS, 256, values, BLOCK_VALUES, (double[]){1, 1});
    for (uint32_t i = 0; i < BLOCK_VALUES; i++)
        values[i] = golden_weight(i, 23);
    block_check_best(DT_IQ4_NL, 32, values, BLOCK_VALUES, (double[]){0.95, 0.8});
    block_check_best(DT_IQ4_XS, 256, values, BLOCK_VALUES, (double[]){0.95, 0.85});
}
END_TEST

// Scales that binary16 holds with all 11 bits, and some that it does not.
static uint16_t some_scale(uint32_t hash)
{
    return (uint16_t)((hash & 0x83ff) | (hash % 5 == 0 ? 0 : 1 + (hash >> 10) % 22) << 10);
}

START_TEST(finds_what_it_has_read_again)
{
    static uint8_t nl[512][18], xs[128][136];
    for (uint32_t b = 0; b < 512; b++) {
        for (uint32_t i = 0; i < 18; i++)
            nl[b][i] = (uint8_t)mix(b * 18 + i + 7);
        store_u16(nl[b], some_scale(mix(b)));
    }
    block_check_again(DT_IQ4_NL, nl[0], 512);
    for (uint32_t b = 0; b < 128; b++) {
        for (uint32_t i = 0; i < 136; i++)
            xs[b][i] = (uint8_t)mix(b * 136 + i + 9);
        store_u16(xs[b], some_scale(mix(b + 1000)));
    }
    block_check_again(DT_IQ4_XS, xs[0], 128);
    for (uint32_t i = 0; i < BLOCK_VALUES; i++)
        values[i] = golden_weight(i, 37);
    block_check_own(DT_IQ4_NL, values, BLOCK_VALUES);
    block_check_own(DT_IQ4_XS, values, BLOCK_VALUES);
}
END_TEST

// Importance only matters up to a factor, of whatever size.
START_TEST(bears_extreme_importance)
{
    static float importance[2][BLOCK_COLUMNS];
    static uint8_t to[2][BLOCK_VALUES];
    static const dtype types[] = {DT_IQ4_NL, DT_IQ4_XS, DT_MXFP4, DT_NVFP4};
    static const float factors[] = {0x1p-115f, 0x1p-40f, 0x1p40f, 0x1p120f};
    for (uint32_t i = 0; i < BLOCK_VALUES; i++)
        values[i] = golden_weight(i, 29);
    for (size_t t = 0; t < COUNT_OF(types); t++)
        for (size_t f = 0; f < COUNT_OF(factors); f++)
            for (int best = 0; best < 2; best++) {
                for (uint32_t i = 0; i < BLOCK_COLUMNS; i++) {
                    importance[0][i] = 0.5f + (float)(mix(i) % 100);
                    importance[1][i] = importance[0][i] * factors[f];
                }
                for (int which = 0; which < 2; which++)
                    block_ops_used(types[t])->encode(&(block_rows){
                        .from = values, .n = BLOCK_ROWS, .in = BLOCK_COLUMNS,
                        .importance = importance[which],
                        .search = best ? SEARCH_BEST : SEARCH_COMPAT, .to = to[which]});
                ck_assert_mem_eq(to[0], to[1], sizeof to[0]);
            }
}
END_TEST

START_TEST(refuses_what_is_too_large)
{
    float x[256] = {[33] = 1048577};
    uint8_t to[136];
    void *const part[] = {to};
    encode_options o = ENCODE_DEFAULTS;
    const codec *c = codec_find("IQ4_NL");
    ASSERT_REFUSED(c->encode(c, 256, 1, x, &o, part, &refused),
                   "row 0, column 33: 1048577 is too large for IQ4_NL");
    c = codec_find("IQ4_XS");
    x[33] = 33554436;
    ASSERT_REFUSED(c->encode(c, 256, 1, x, &o, part, &refused), "too large for IQ4_XS");
    ASSERT_REFUSED(c->encode(c, 128, 1, x, &o, part, &refused),
                   "IQ4_XS needs a multiple of 256 columns, the weight has 128");
}
END_TEST

Suite *suite_blocks_iq4(void)
{
    Suite *s = suite_create("blocks_iq4");
    TCase *c = tcase_create("blocks_iq4");
    tcase_add_test(c, has_the_bytes_of_ggml);
    tcase_add_test(c, has_the_same_bytes_at_every_level);
    tcase_add_test(c, reads_all_codes_under_all_scales_as_the_package_gguf_does);
    tcase_add_test(c, stays_within_half_a_step);
    tcase_add_test(c, writes_zeros_as_ggml_does);
    tcase_add_test(c, finds_better_scales_and_never_worse_ones);
    tcase_add_test(c, finds_what_it_has_read_again);
    tcase_add_test(c, bears_extreme_importance);
    tcase_add_test(c, refuses_what_is_too_large);
    suite_add_tcase(s, c);
    return s;
}
