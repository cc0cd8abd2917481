// SPDX-License-Identifier: Apache-2.0
// Super-blocks on a K-quant's grid are found, whatever wrote them; others are not.
#include <check.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "quantize/blocks_grid.h"
#include "quantize/number.h"

Suite *suite_blocks_grid(void);

enum { SUPER = 256, BLOCKS = 64, LARGEST = 210 };

static const dtype types[] = {DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};
static float values[BLOCKS * SUPER], back[BLOCKS * SUPER];
static uint8_t blocks[BLOCKS * LARGEST];
static rng random_numbers;

static void set_up(void)
{
    rng_seed(&random_numbers, 5);
    for (int i = 0; i < BLOCKS * SUPER; i++)
        values[i] = bf16_to_f32(f32_to_bf16((float)(0.02 * rng_normal(&random_numbers))));
}

static int found_of(dtype type, const float *x)
{
    int found = 0;
    for (int i = 0; i < BLOCKS; i++) {
        uint8_t to[LARGEST];
        float y[SUPER];
        memset(to, 0xaa, sizeof to);
        if (!block_on_grid(type, x + i * SUPER, to)) {
            for (size_t k = 0; k < sizeof to; k++)
                ck_assert_uint_eq(to[k], 0xaa);
            continue;
        }
        found++;
        block_ops_used(type)->decode(y, to, 1);
        for (int k = 0; k < SUPER; k++)
            if (y[k] != x[i * SUPER + k])
                ck_abort_msg("%s: %g became %g", dtype_name(type), (double)x[i * SUPER + k],
                             (double)y[k]);
    }
    return found;
}

START_TEST(finds_what_either_search_wrote)
{
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        const block_ops *ops = block_ops_used(types[t]);
        for (int search = 0; search < 2; search++) {
            ops->encode(&(block_rows){.from = values, .n = 1, .in = BLOCKS * SUPER, .to = blocks,
                                      .search = (codec_search)search});
            ops->decode(back, blocks, BLOCKS);
            ck_assert_msg(found_of(types[t], back) == BLOCKS, "%s", dtype_name(types[t]));
        }
    }
}
END_TEST

// Any scales, minima and codes under factors of ordinary sizes: nothing is rounded in decoding.
START_TEST(finds_blocks_of_random_bytes)
{
    static const int factor[] = {80, 108, 0, 0, 208};
    static const bool affine[] = {true, false, true, true, false};
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        int64_t bytes = dtype_block_bytes(types[t]);
        for (int64_t i = 0; i < BLOCKS * bytes; i++)
            blocks[i] = (uint8_t)rng_u64(&random_numbers);
        for (int64_t i = 0; i < BLOCKS; i++) {
            store_u16(blocks + i * bytes + factor[t], (uint16_t)(0x1000 + i * 37));
            if (affine[t])
                store_u16(blocks + i * bytes + factor[t] + 2, (uint16_t)(0x1400 + i * 41));
        }
        block_ops_used(types[t])->decode(back, blocks, BLOCKS);
        ck_assert_msg(found_of(types[t], back) == BLOCKS, "%s: %d", dtype_name(types[t]),
                      found_of(types[t], back));
    }
}
END_TEST

START_TEST(finds_nothing_in_weights_and_beside_the_grid)
{
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        const block_ops *ops = block_ops_used(types[t]);
        ck_assert_int_eq(found_of(types[t], values), 0);
        ops->encode(&(block_rows){.from = values, .n = 1, .in = BLOCKS * SUPER, .to = blocks});
        ops->decode(back, blocks, BLOCKS);
        for (int i = 0; i < BLOCKS; i++) // the last bit of one value
            back[i * SUPER + i] = f32_from_bits(f32_bits(back[i * SUPER + i]) ^ 1);
        ck_assert_msg(found_of(types[t], back) == 0, "%s", dtype_name(types[t]));
    }
}
END_TEST

START_TEST(leaves_zeros_and_values_of_very_different_sizes_to_the_search)
{
    float x[SUPER] = {0};
    uint8_t to[LARGEST];
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        memset(x, 0, sizeof x);
        ck_assert(!block_on_grid(types[t], x, to));
        x[3] = 1e-40f;
        x[200] = 3e38f;
        ck_assert(!block_on_grid(types[t], x, to));
    }
    ck_assert(!block_has_grid(DT_Q4_0) && !block_on_grid(DT_Q4_0, x, to));
}
END_TEST

Suite *suite_blocks_grid(void)
{
    Suite *s = suite_create("blocks_grid");
    TCase *c = tcase_create("grid");
    tcase_add_checked_fixture(c, set_up, NULL);
    tcase_add_test(c, finds_what_either_search_wrote);
    tcase_add_test(c, finds_blocks_of_random_bytes);
    tcase_add_test(c, finds_nothing_in_weights_and_beside_the_grid);
    tcase_add_test(c, leaves_zeros_and_values_of_very_different_sizes_to_the_search);
    suite_add_tcase(s, c);
    return s;
}
