// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "quantize/number.h"
#include "tests/block_case.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"

Suite *suite_blocks_simple(void);

enum { BLOCK = 32, COLS = 224, ROWS = 37, VALUES = ROWS * COLS, BLOCKS = VALUES / BLOCK };

// The types that are written: value d (q - zero) or d q + m, codes up to top.
typedef struct {
    dtype type;
    int zero, top;
    bool with_minimum;
} kind;

static const kind kinds[] = {
    {DT_Q4_0, 8, 15, false}, {DT_Q4_1, 0, 15, true}, {DT_Q5_0, 16, 31, false},
    {DT_Q5_1, 0, 31, true},  {DT_Q8_0, 128, 255, false},
};

#define EACH_KIND(k) for (const kind *k = kinds; k < kinds + COUNT_OF(kinds); k++)

static float x[VALUES], importance[COLS], back[VALUES], again[VALUES];
static uint8_t to[2 * VALUES], other[2 * VALUES];
static uint32_t state;

static uint32_t next(void) { return mix(state++ * 2654435761u); }

static float uniform(void) { return (float)(next() >> 8) * 0x1p-24f; }

static float bell(void) { return uniform() + uniform() + uniform() + uniform() - 2; }

static float power_of_two(int least, int most)
{
    return ldexpf(1, least + (int)(next() % (uint32_t)(most - least + 1)));
}

// One block of one of the many sorts that weights and hostile files have; at most `largest`.
static void fill_block(float *to_block, int sort, float largest)
{
    float scale = power_of_two(-30, 8), base = bell() * power_of_two(-12, 12);
    for (int j = 0; j < BLOCK; j++) {
        float v = bell() * scale;
        switch (sort) {
        case 1: v = (float)((int)(next() % 17) - 8) * scale; break;          // exact ties
        case 2: v = (float)((int)(next() % 65) - 32) * 0.25f * scale; break; // more of them
        case 3: v = 0; break;
        case 4: v = next() % 8 ? 0 : v; break;
        case 5: v = base; break;
        case 6: v = bell() * power_of_two(-126, 18); break;                  // any size
        case 7: v = (uniform() * 2 - 1) * largest; break;
        case 8: v = base + v; break;
        case 9: v *= power_of_two(-100, 0); break;
        case 10: v = f32_from_bits(next() & 0x80ffffff); break;              // subnormal
        case 11: v = fabsf(v); break;
        case 12: v = -0.0f; break;
        case 13: v = v * v * v / (scale * scale); break;
        default: break;
        }
        to_block[j] = v > largest ? largest : v < -largest ? -largest : v;
    }
}

static void fill(uint32_t seed, float largest)
{
    state = seed;
    for (int b = 0; b < BLOCKS; b++)
        fill_block(x + b * BLOCK, (int)(next() % 14), largest);
    for (int i = 0; i < COLS; i++)
        importance[i] = power_of_two(-6, 6) * (1 + uniform());
}

static void fill_with_weights(uint32_t seed)
{
    for (int i = 0; i < VALUES; i++)
        x[i] = golden_weight((uint32_t)i, seed);
    for (int i = 0; i < COLS; i++)
        importance[i] = power_of_two(-3, 3) * (1 + uniform());
}

static void encode_at(cpu_level level, const kind *k, const float *from, bool weighted,
                      codec_search search, uint8_t *to_bytes)
{
    block_ops_at(k->type, level)
        ->encode(&(block_rows){.from = from, .n = ROWS, .in = COLS, .search = search,
                               .importance = weighted ? importance : NULL, .to = to_bytes});
}

static void encode(const kind *k, const float *from, bool weighted, codec_search search,
                   uint8_t *to_bytes)
{
    encode_at(cpu_used(), k, from, weighted, search, to_bytes);
}

static void decode(const kind *k, const uint8_t *from, float *values)
{
    block_ops_used(k->type)->decode(values, from, BLOCKS);
}

static const uint8_t *block_at(const kind *k, const uint8_t *bytes, int b)
{
    return bytes + b * dtype_block_bytes(k->type);
}

static float scale_of(const kind *k, const uint8_t *bytes, int b)
{
    return f16_to_f32(load_u16(block_at(k, bytes, b)));
}

static float minimum_of(const kind *k, const uint8_t *bytes, int b)
{
    return k->with_minimum ? f16_to_f32(load_u16(block_at(k, bytes, b) + 2)) : 0;
}

// The weighted squared error of block b.
static double error_of(const float *values, bool weighted, int b)
{
    double sum = 0;
    for (int i = b * BLOCK; i < (b + 1) * BLOCK; i++) {
        double d = (double)x[i] - (double)values[i];
        sum += (weighted ? (double)importance[i % COLS] : 1) * d * d;
    }
    return sum;
}

static void assert_same_blocks(const kind *k, const uint8_t *a, const uint8_t *b, int at)
{
    if (memcmp(block_at(k, a, at), block_at(k, b, at), (size_t)dtype_block_bytes(k->type)) == 0)
        return;
    for (int j = 0; j < BLOCK; j++)
        printf("%a ", (double)x[at * BLOCK + j]);
    ck_abort_msg("%s: block %d has other bytes", dtype_name(k->type), at);
}

// ---- other people's bytes ----

START_TEST(has_the_bytes_of_ggml)
{
    block_check_golden(DT_Q4_0, "30cbaec3b016a726bfb0fec047bd781f",
                       "fa400fb8f578a93ee0a92f861ee70b24", "73c3d521aea201bce2870d7589e0e966");
    block_check_golden(DT_Q4_1, "b608515a3031f6b57f8cca6cd62abc8b",
                       "ad19eb79f64883da960726c43094847b", "5a02399b8f67618948f9094882a442aa");
    block_check_golden(DT_Q5_0, "55d9a65a8dd6f61d10a77380d63f286e",
                       "7cb90d07f3ad641033a63c729f1adafb", "ef84a2ddcec783b03fc91884443b8a9f");
    block_check_golden(DT_Q5_1, "8848b0461d7086758312584a94e3ff7e",
                       "26036f71fd5b826722886f772869b0f3", "d2dd90d40b77e39335db19ce02374468");
    block_check_golden(DT_Q8_0, "23af4e8891a4df66d6de5a3b69cfbd6c", NULL,
                       "3ca6f145418ff1af9e3d31aa642526b3");
}
END_TEST

enum { HASHED = 400 };

// Decoded: by the PyPI package gguf 0.19.0 (tests/data/codecs/simple.py); of the last three types,
// which it does not know, by dequantize_row_* of the ggml in llama-cpp-python 0.3.36. Encoded: by
// gguf, without importance.
static const struct {
    dtype type;
    uint64_t decoded, encoded;
} hashed[] = {
    {DT_Q4_0, 356138998287810886u, 7015359931762698u},
    {DT_Q4_1, 350332809744672292u, 8841114164181227u},
    {DT_Q5_0, 350762092837727267u, 10187134259483422u},
    {DT_Q5_1, 352674567657783055u, 12398472399133259u},
    {DT_Q8_0, 351292348269756018u, 25000506414522198u},
    {DT_Q1_0, 5602876941104339075u, 0},
    {DT_Q2_0, 1404657165225061563u, 0},
    {DT_Q8_K, 4055842394511976940u, 0},
};

static uint64_t digest_of(const void *words, int64_t n)
{
    uint64_t digest = 0;
    for (int64_t i = 0; i < n; i++)
        digest_add(&digest, (uint64_t)i, load_u32((const uint8_t *)words + 4 * i));
    return digest;
}

START_TEST(decodes_any_bytes_as_others_do)
{
    static uint8_t bytes[HASHED * 292];
    static float values[HASHED * 256];
    for (size_t t = 0; t < COUNT_OF(hashed); t++) {
        dtype type = hashed[t].type;
        int64_t size = dtype_block_bytes(type), n = HASHED * dtype_block(type);
        for (int64_t i = 0; i < HASHED * size; i++)
            bytes[i] = (uint8_t)mix((uint32_t)i);
        for (int64_t b = 0; b < HASHED; b++) { // scales below 1, no infinity or NaN
            bytes[b * size + (type == DT_Q8_K ? 3 : 1)] &= 0xbb;
            if (type == DT_Q4_1 || type == DT_Q5_1)
                bytes[b * size + 3] &= 0xbb;
        }
        EACH_LEVEL(level) {
            memset(values, 0xaa, sizeof values);
            block_ops_at(type, level)->decode(values, bytes, HASHED);
            ck_assert_msg(digest_of(values, n) == hashed[t].decoded, "%s", dtype_name(type));
        }
    }
}
END_TEST

START_TEST(encodes_weights_as_others_do)
{
    static float weights[HASHED * BLOCK];
    static uint8_t bytes[HASHED * 34];
    for (int i = 0; i < HASHED * BLOCK; i++)
        weights[i] = golden_weight((uint32_t)i, 7);
    for (size_t t = 0; t < COUNT_OF(kinds); t++)
        EACH_LEVEL(level) {
            block_rows r = {.from = weights, .n = HASHED / 4, .in = 4 * BLOCK,
                            .search = SEARCH_COMPAT, .to = bytes};
            block_ops_at(hashed[t].type, level)->encode(&r);
            int64_t words = HASHED * dtype_block_bytes(hashed[t].type) / 4;
            ck_assert_msg(digest_of(bytes, words) == hashed[t].encoded, "%s",
                          dtype_name(hashed[t].type));
        }
}
END_TEST

// ---- every machine, any shape ----

START_TEST(has_the_same_bytes_at_every_level)
{
    EACH_KIND(k)
        for (uint32_t seed = 1; seed <= 3; seed++) {
            fill(seed, block_ops_used(k->type)->largest);
            block_check_levels(k->type, x, ROWS, COLS);
        }
}
END_TEST

// Blocks of several rows share vectors: what stands beside a row has to leave it alone.
START_TEST(has_the_same_bytes_row_by_row)
{
    EACH_KIND(k)
        for (int how = 0; how < 4; how++) {
            fill(11, block_ops_used(k->type)->largest);
            codec_search search = how & 2 ? SEARCH_BEST : SEARCH_COMPAT;
            encode(k, x, how & 1, search, to);
            int64_t row_bytes = COLS / BLOCK * dtype_block_bytes(k->type);
            for (int row = 0; row < ROWS; row++)
                block_ops_used(k->type)
                    ->encode(&(block_rows){.from = x + row * COLS, .n = 1, .in = COLS,
                                           .importance = how & 1 ? importance : NULL,
                                           .search = search, .to = other + row * row_bytes});
            ck_assert_mem_eq(to, other, (size_t)(ROWS * row_bytes));
        }
}
END_TEST

START_TEST(writes_no_byte_beside_its_blocks)
{
    EACH_KIND(k)
        for (int blocks = 1; blocks <= 17; blocks++) {
            int64_t bytes = blocks * dtype_block_bytes(k->type);
            fill(5, 1);
            memset(to, 0xaa, sizeof to);
            block_ops_used(k->type)
                ->encode(&(block_rows){.from = x, .n = 1, .in = blocks * BLOCK, .to = to + 1,
                                       .search = SEARCH_BEST});
            ck_assert_int_eq(to[0], 0xaa);
            for (int64_t i = bytes + 1; i < bytes + 100; i++)
                ck_assert_int_eq(to[i], 0xaa);
        }
}
END_TEST

// ---- the search ----

START_TEST(is_never_worse_than_ggml_in_any_block)
{
    EACH_KIND(k)
        for (int how = 0; how < 8; how++) {
            bool weighted = how & 1;
            if (how < 2)
                fill_with_weights(3);
            else
                fill(20 + (uint32_t)how, block_ops_used(k->type)->largest);
            encode(k, x, weighted, SEARCH_COMPAT, to);
            decode(k, to, back);
            encode(k, x, weighted, SEARCH_BEST, other);
            decode(k, other, again);
            for (int b = 0; b < BLOCKS; b++)
                ck_assert_msg(error_of(again, weighted, b) <= error_of(back, weighted, b),
                              "%s, block %d: %g, ggml %g", dtype_name(k->type), b,
                              error_of(again, weighted, b), error_of(back, weighted, b));
        }
}
END_TEST

// Seen: 0.91 0.79 0.90 0.77 0.81 of ggml's error without, 0.93 0.94 0.93 0.91 0.68 with importance.
START_TEST(is_clearly_better_than_ggml_on_average)
{
    static const double most[2][5] = {
        {0.93, 0.82, 0.93, 0.8, 0.84}, {0.96, 0.96, 0.96, 0.94, 0.72},
    };
    state = 77;
    fill_with_weights(3);
    EACH_KIND(k)
        for (int weighted = 0; weighted < 2; weighted++) {
            double ours = 0, ggml = 0;
            encode(k, x, weighted, SEARCH_COMPAT, to);
            decode(k, to, back);
            encode(k, x, weighted, SEARCH_BEST, other);
            decode(k, other, again);
            for (int b = 0; b < BLOCKS; b++) {
                ours += error_of(again, weighted, b);
                ggml += error_of(back, weighted, b);
            }
            ck_assert_msg(ours < most[weighted][k - kinds] * ggml, "%s: %g", dtype_name(k->type),
                          ours / ggml);
        }
}
END_TEST

START_TEST(does_not_mind_a_common_factor_of_importance)
{
    EACH_KIND(k) {
        fill(31, 100);
        encode(k, x, true, SEARCH_BEST, to);
        for (int i = 0; i < COLS; i++)
            importance[i] *= 0x1p20f;
        encode(k, x, true, SEARCH_BEST, other);
        // ggml's own search, which is held against ours, may round its sums away: compare errors.
        decode(k, to, back);
        decode(k, other, again);
        for (int b = 0; b < BLOCKS; b++)
            ck_assert_double_le(fabs(error_of(again, true, b) - error_of(back, true, b)),
                                1e-4 * error_of(back, true, b));
    }
}
END_TEST

START_TEST(takes_weights_of_no_importance)
{
    EACH_KIND(k) {
        fill_with_weights(9);
        for (int i = 0; i < COLS; i++)
            importance[i] = i < 64 || i % 5 ? 0 : 1; // blocks of which none counts, too
        for (int search = SEARCH_COMPAT; search <= SEARCH_BEST; search++) {
            encode(k, x, true, (codec_search)search, to);
            decode(k, to, back);
            for (int i = 0; i < VALUES; i++)
                ck_assert(fabsf(back[i]) < 8);
        }
    }
}
END_TEST

// ---- what has been read is written again ----

// Where BEST may answer with other bytes: a minimum so large beside the scale that binary32 rounds
// the codes' values.
static bool is_blurred(const kind *k, const uint8_t *bytes, int b)
{
    return fabsf(minimum_of(k, bytes, b)) > 4096 * fabsf(scale_of(k, bytes, b));
}

START_TEST(writes_its_own_values_with_the_same_bytes)
{
    EACH_KIND(k)
        for (int how = 0; how < 8; how++) {
            fill(40 + (uint32_t)how, block_ops_used(k->type)->largest);
            encode(k, x, how & 1, SEARCH_BEST, to);
            decode(k, to, back);
            encode(k, back, how & 1, SEARCH_BEST, other);
            int blurred = 0;
            for (int b = 0; b < BLOCKS; b++)
                if (is_blurred(k, to, b))
                    blurred++;
                else
                    assert_same_blocks(k, to, other, b);
            ck_assert_int_lt(blurred, k->with_minimum ? BLOCKS / 8 : 1);
        }
}
END_TEST

// ggml's codes: the extremes have the outermost codes, from which the scale is found again. Not
// where it was rounded away, where its reciprocal overflowed (all codes 0), or where a minimum
// rounds to -0. With importance the extremes may have other codes, and there is no such promise.
START_TEST(writes_ggmls_values_with_the_same_bytes)
{
    EACH_KIND(k) {
        int compared = 0;
        for (uint32_t seed = 50; seed < 54; seed++) {
            fill(seed, block_ops_used(k->type)->largest);
            encode(k, x, false, SEARCH_COMPAT, to);
            decode(k, to, back);
            encode(k, back, false, SEARCH_COMPAT, other);
            for (int b = 0; b < BLOCKS; b++) {
                bool minus_zero = k->with_minimum && minimum_of(k, to, b) == 0;
                if (scale_of(k, to, b) == 0 || minus_zero || is_blurred(k, to, b))
                    continue;
                assert_same_blocks(k, to, other, b);
                compared++;
            }
        }
        ck_assert_int_gt(compared, BLOCKS);
    }
}
END_TEST

// Any f16 scale, of both signs where there is no minimum, any codes.
START_TEST(keeps_blocks_that_lie_on_the_grid)
{
    EACH_KIND(k)
        for (int weighted = 0; weighted < 2; weighted++) {
            fill(60, 1);
            for (int b = 0; b < BLOCKS; b++) {
                // From subnormal scales to large ones, so that a minimum is not too large.
                uint16_t bits = (uint16_t)(next() % (b % 4 == 0 ? 0x400 : 0x5000) + 1);
                float d = f16_to_f32(bits), m = 0;
                if (k->with_minimum)
                    m = f16_to_f32(f32_to_f16(d * (bell() * 64)));
                else if (next() % 2)
                    d = -d;
                int few = b % 3 == 0 ? 3 : k->top + 1;
                for (int j = 0; j < BLOCK; j++) {
                    float q = (float)((int)(next() % (uint32_t)few));
                    x[b * BLOCK + j] = k->with_minimum ? q * d + m : (q - (float)k->zero) * d;
                }
            }
            encode(k, x, weighted, SEARCH_BEST, to);
            decode(k, to, back);
            for (int i = 0; i < VALUES; i++)
                ck_assert_msg(x[i] == back[i], "%s, %d: %a, not %a", dtype_name(k->type), i,
                              (double)back[i], (double)x[i]);
        }
}
END_TEST

START_TEST(keeps_one_value_repeated)
{
    EACH_KIND(k) {
        if (!k->with_minimum)
            continue;
        state = 70;
        for (int b = 0; b < BLOCKS; b++) {
            float value = (1 + uniform()) * (b % 2 ? power_of_two(0, 14) : -power_of_two(0, 14));
            for (int j = 0; j < BLOCK; j++)
                x[b * BLOCK + j] = value;
        }
        encode(k, x, false, SEARCH_BEST, to);
        decode(k, to, back);
        int exact = 0;
        for (int b = 0; b < BLOCKS; b++) { // an f16 and a code times another: 22 bits and more
            ck_assert(fabsf(back[b * BLOCK] - x[b * BLOCK]) <= 0x1p-22f * fabsf(x[b * BLOCK]));
            exact += back[b * BLOCK] == x[b * BLOCK];
        }
        ck_assert_int_gt(exact, BLOCKS * 9 / 10);
    }
}
END_TEST

// ---- bounds ----

// A code is within half a step of its value, in ggml's types without a minimum one whole step where
// the largest magnitude has the other sign; the scale is off by 2^-11 of itself or 2^-25, and so
// are minima.
START_TEST(stays_within_a_step)
{
    EACH_KIND(k)
        for (uint32_t seed = 80; seed < 83; seed++) {
            fill(seed, block_ops_used(k->type)->largest);
            encode(k, x, false, SEARCH_COMPAT, to);
            decode(k, to, back);
            for (int i = 0; i < VALUES; i++) {
                float least = x[i / BLOCK * BLOCK], most = 0;
                float d = fabsf(scale_of(k, to, i / BLOCK)), m = minimum_of(k, to, i / BLOCK);
                for (int j = 0; j < BLOCK; j++) {
                    float v = x[i / BLOCK * BLOCK + j];
                    most = fabsf(v) > most ? fabsf(v) : most;
                    least = v < least ? v : least;
                }
                float step = k->with_minimum || k->type == DT_Q8_0 ? 0.5f : 1;
                float codes = k->type == DT_Q8_0 ? 127 : (float)(k->top + 1 - k->zero);
                float range = k->with_minimum ? most - least : most;
                float bound = step * d * 1.001f + range * 0x1p-11f + fabsf(m) * 0x1p-10f +
                              (codes + 1) * 0x1p-25f;
                ck_assert_msg(fabsf(x[i] - back[i]) <= bound, "%s: %a became %a",
                              dtype_name(k->type), (double)x[i], (double)back[i]);
            }
        }
}
END_TEST

START_TEST(keeps_zeros)
{
    EACH_KIND(k)
        for (int how = 0; how < 4; how++) {
            fill(90, 1);
            for (int i = 0; i < VALUES; i++)
                x[i] = i % 64 < 32 ? 0.0f : -0.0f;
            encode(k, x, how & 1, how & 2 ? SEARCH_BEST : SEARCH_COMPAT, to);
            decode(k, to, back);
            for (int i = 0; i < VALUES; i++)
                ck_assert(back[i] == 0);
        }
}
END_TEST

START_TEST(takes_the_largest_value_and_refuses_what_is_beyond)
{
    EACH_KIND(k) {
        const codec *c = codec_find(dtype_name(k->type));
        float largest = block_ops_used(k->type)->largest;
        encode_options o = ENCODE_DEFAULTS;
        o.row0 = 4;
        void *const part[] = {to};
        for (int how = 0; how < 4; how++) {
            err e = ERR_INIT;
            o.search = how & 1 ? SEARCH_BEST : SEARCH_COMPAT;
            o.importance = how & 2 ? importance : NULL;
            fill(100, largest);
            for (int b = 0; b < BLOCKS; b++)
                fill_block(x + b * BLOCK, 7, largest);
            x[0] = largest;
            x[1] = -largest;
            ASSERT_OK(c->encode(c, COLS, ROWS, x, &o, part, &e), e);
            decode(k, to, back);
            for (int i = 0; i < VALUES; i++)
                ck_assert(isfinite(back[i]));
            ck_assert(fabsf(back[0] - largest) < largest / 3);
        }
        x[COLS + 3] = -nextafterf(largest, INFINITY);
        ASSERT_REFUSED(c->encode(c, COLS, ROWS, x, &o, part, &refused),
                       "row 5, column 3: -");
        x[COLS + 3] = NAN;
        ASSERT_REFUSED(c->encode(c, COLS, ROWS, x, &o, part, &refused),
                       "row 5, column 3 is not a number");
    }
}
END_TEST

START_TEST(only_reads_types_that_ggml_makes_while_it_runs)
{
    static const char *const names[] = {"Q8_K", "Q1_0", "Q2_0"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const codec *c = codec_find(names[i]);
        ck_assert_ptr_nonnull(c);
        ck_assert(!c->encode && !codec_is_searched(c));
        err e = ERR_INIT;
        static const uint8_t zeros[292];
        part_view part = part_at(zeros, c->part[0].type);
        ASSERT_OK(c->decode(c, c->group, 1, &part, back, &e), e);
        ck_assert(back[0] == 0);
        ASSERT_REFUSED(c->decode(c, c->group + 32, 1, &part, back, &refused), "multiple of");
    }
}
END_TEST

Suite *suite_blocks_simple(void)
{
    Suite *s = suite_create("blocks_simple");
    TCase *c = tcase_create("others");
    tcase_add_test(c, has_the_bytes_of_ggml);
    tcase_add_test(c, decodes_any_bytes_as_others_do);
    tcase_add_test(c, encodes_weights_as_others_do);
    suite_add_tcase(s, c);
    c = tcase_create("everywhere");
    tcase_add_test(c, has_the_same_bytes_at_every_level);
    tcase_add_test(c, has_the_same_bytes_row_by_row);
    tcase_add_test(c, writes_no_byte_beside_its_blocks);
    suite_add_tcase(s, c);
    c = tcase_create("search");
    tcase_add_test(c, is_never_worse_than_ggml_in_any_block);
    tcase_add_test(c, is_clearly_better_than_ggml_on_average);
    tcase_add_test(c, does_not_mind_a_common_factor_of_importance);
    tcase_add_test(c, takes_weights_of_no_importance);
    suite_add_tcase(s, c);
    c = tcase_create("again");
    tcase_add_test(c, writes_its_own_values_with_the_same_bytes);
    tcase_add_test(c, writes_ggmls_values_with_the_same_bytes);
    tcase_add_test(c, keeps_blocks_that_lie_on_the_grid);
    tcase_add_test(c, keeps_one_value_repeated);
    suite_add_tcase(s, c);
    c = tcase_create("bounds");
    tcase_add_test(c, stays_within_a_step);
    tcase_add_test(c, keeps_zeros);
    tcase_add_test(c, takes_the_largest_value_and_refuses_what_is_beyond);
    tcase_add_test(c, only_reads_types_that_ggml_makes_while_it_runs);
    suite_add_tcase(s, c);
    return s;
}
