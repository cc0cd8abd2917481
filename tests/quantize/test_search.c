// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "quantize/kernels.h"
#include "quantize/number.h"
#include "quantize/search.h"
#include "tests/quantize/goldens.h"

Suite *suite_search(void);

enum { MAX = SEARCH_MAX_GROUP };

static uint32_t seed;

static float uniform(void) { return ((float)(mix(seed++) >> 8) + 0.5f) * 0x1p-24f; }

static float gauss(void)
{
    return sqrtf(-2 * logf(uniform())) * cosf(6.2831853f * uniform());
}

typedef struct {
    float w[MAX], importance[MAX];
    bool weighted;
    int64_t n;
    int8_t code[MAX];
} group;

enum { GAUSS, HEAVY, OUTLIER, TERNARY, EQUAL, SPARSE, INTEGERS, KINDS };

static float draw(int kind)
{
    switch (kind) {
    case HEAVY: {
        float sum = 0;
        for (int i = 0; i < 5; i++) {
            float x = gauss();
            sum += x * x;
        }
        return gauss() / sqrtf(sum / 5);
    }
    case OUTLIER:
        return gauss() * (mix(seed++) % 100 == 0 ? 8.0f : 1.0f);
    case TERNARY:
        return (float)((int)(mix(seed++) % 3) - 1);
    case EQUAL:
        return 1;
    case SPARSE:
        return mix(seed++) % 16 ? 0.0f : gauss();
    case INTEGERS:
        return (float)((int)(mix(seed++) % 16) - 8);
    default:
        return gauss();
    }
}

// Weights of that kind, BF16; importance log-normal of that spread, none for 0.
static void fill(group *g, int kind, float size, float spread)
{
    g->weighted = spread > 0;
    for (int64_t j = 0; j < g->n; j++) {
        g->w[j] = bf16_to_f32(f32_to_bf16(draw(kind) * size));
        g->importance[j] = spread > 0 ? expf(spread * gauss()) : 1.0f;
    }
}

static search_group search(group *g, bool absmax, bool positive, const kernels *k)
{
    search_group s = {.w = g->w, .importance = g->weighted ? g->importance : NULL, .n = g->n,
                      .absmax = absmax, .positive = positive, .code = g->code};
    k->search(&s);
    return s;
}

static double error_of(const group *g, float scale)
{
    double sum = 0;
    for (int64_t j = 0; j < g->n; j++) {
        float q = rintf(fminf(fmaxf(g->w[j] / scale, -8), 7));
        double d = (double)g->w[j] - (double)q * (double)scale;
        sum += (double)g->importance[j] * d * d;
    }
    return sum;
}

static double energy_of(const group *g)
{
    double sum = 0;
    for (int64_t j = 0; j < g->n; j++)
        sum += (double)g->importance[j] * (double)g->w[j] * (double)g->w[j];
    return sum;
}

// The least error over all BF16 scales of either sign from amax / 256 to 1.02 amax.
static double least_error(const group *g, bool positive)
{
    float amax = 0;
    for (int64_t j = 0; j < g->n; j++)
        amax = fmaxf(amax, fabsf(g->w[j]));
    double least = HUGE_VAL;
    for (uint16_t s = f32_to_bf16(amax / 256); s <= f32_to_bf16(amax * 1.02f); s++) {
        least = fmin(least, error_of(g, bf16_to_f32(s)));
        if (!positive)
            least = fmin(least, error_of(g, -bf16_to_f32(s)));
    }
    return least;
}

static double excess(int kind, float spread, int64_t n, bool positive)
{
    double found = 0, least = 0;
    group g = {.n = n};
    seed = 1;
    for (int i = 0; i < 24; i++) {
        fill(&g, kind, 0.02f, spread);
        found += error_of(&g, bf16_to_f32(search(&g, false, positive, kernels_used()).scale));
        least += least_error(&g, positive);
    }
    return found / least - 1;
}

START_TEST(finds_the_best_scale_that_brute_force_finds)
{
    for (int64_t n = 32; n <= MAX; n *= 2)
        for (int kind = GAUSS; kind <= OUTLIER; kind++) {
            ck_assert_double_lt(excess(kind, 0, n, false), 1e-7);
            ck_assert_double_lt(excess(kind, 0, n, true), 1e-7);
            ck_assert_double_lt(excess(kind, 1, n, false), 1e-5);
            ck_assert_double_lt(excess(kind, 2.5f, n, false), 1e-4);
        }
}
END_TEST

// Relative squared errors that published searches reach on Gaussian weights.
static double relative_error(int64_t n, bool absmax, bool positive)
{
    double error = 0, energy = 0;
    group g = {.n = n};
    seed = 77;
    for (int i = 0; i < 512; i++) {
        fill(&g, GAUSS, 0.02f, 0);
        error += error_of(&g, bf16_to_f32(search(&g, absmax, positive, kernels_used()).scale));
        energy += energy_of(&g);
    }
    return error / energy;
}

START_TEST(meets_the_anchors_of_gaussian_weights)
{
    ck_assert_double_lt(relative_error(32, false, false), 6.6e-3);
    ck_assert_double_lt(relative_error(128, false, false), 9.4e-3);
    ck_assert_double_lt(relative_error(128, false, true), 10.3e-3);
    ck_assert_double_eq_tol(relative_error(128, true, true), 12.3e-3, 0.3e-3);
}
END_TEST

static void check_group(group *g, bool positive)
{
    search_group absmax = search(g, true, true, kernels_used());
    float at_most = bf16_to_f32(absmax.scale);
    search_group s = search(g, false, positive, kernels_used());
    float scale = bf16_to_f32(s.scale);
    ck_assert(isnormal(scale) && isnormal(at_most));
    ck_assert(at_most > 0 && (scale > 0 || !positive));
    ck_assert_double_le(error_of(g, scale), error_of(g, at_most) * (1 + 1e-6));
    for (int64_t j = 0; j < g->n; j++)
        ck_assert(g->code[j] == rintf(fminf(fmaxf(g->w[j] / scale, -8), 7)));
}

START_TEST(is_never_worse_than_the_absolute_maximum)
{
    static const float SIZES[] = {1, 0x1p-149f, 0x1p-120f, 0x1p-60f, 0x1p100f, 0x1p120f};
    group g;
    seed = 5;
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < COUNT_OF(SIZES); i++)
            for (int64_t n = 32; n <= MAX; n *= 2)
                for (int spread = 0; spread < 4; spread++) {
                    g.n = n;
                    fill(&g, kind, SIZES[i], (float)spread);
                    check_group(&g, false);
                    check_group(&g, true);
                }
}
END_TEST

static void decode(group *g, uint16_t scale)
{
    for (int64_t j = 0; j < g->n; j++)
        g->w[j] = (float)g->code[j] * bf16_to_f32(scale);
}

START_TEST(gives_a_decoded_group_the_same_values_again)
{
    static const float SIZES[] = {0.02f, 0x1p-123f, 0x1p-40f, 0x1p120f};
    group g;
    seed = 6;
    for (int i = 0; i < 4000; i++) {
        g.n = 32 << i % 3;
        fill(&g, i % KINDS, SIZES[i / 7 % 4], (float)(i / 28 % 3));
        bool positive = i / 84 % 2;
        decode(&g, search(&g, false, positive, kernels_used()).scale);
        float before[MAX];
        memcpy(before, g.w, sizeof before);
        decode(&g, search(&g, false, positive, kernels_used()).scale);
        for (int64_t j = 0; j < g.n; j++)
            ck_assert(before[j] == g.w[j]);
    }
}
END_TEST

START_TEST(gives_the_same_bits_at_every_level)
{
    static const float SIZES[] = {0.02f, 0x1p-125f, 0x1p-100f, 0x1p121f};
    group g, plain;
    seed = 7;
    for (int i = 0; i < 3000; i++) {
        g.n = 32 << i % 3;
        fill(&g, i % KINDS, SIZES[i / 7 % 4], (float)(i / 28 % 4));
        bool positive = i / 112 % 2, absmax = i % 10 == 0;
        plain = g;
        uint16_t scale = search(&plain, absmax, positive, kernels_at(CPU_PLAIN)).scale;
        EACH_LEVEL(level) {
            ck_assert_uint_eq(search(&g, absmax, positive, kernels_at(level)).scale, scale);
            ck_assert_mem_eq(g.code, plain.code, (size_t)g.n);
        }
    }
}
END_TEST

START_TEST(gives_a_group_of_zeros_scale_one)
{
    group g = {.n = 32};
    for (int absmax = 0; absmax < 2; absmax++) {
        memset(g.code, 5, sizeof g.code);
        g.w[3] = -0.0f;
        ck_assert_uint_eq(search(&g, absmax, false, kernels_used()).scale, 0x3f80);
        for (int64_t j = 0; j < g.n; j++)
            ck_assert_int_eq(g.code[j], 0);
    }
}
END_TEST

START_TEST(never_writes_a_subnormal_scale)
{
    group g = {.n = 32, .w = {0x1p-126f, -0x1p-127f, 0x1p-149f}};
    for (int absmax = 0; absmax < 2; absmax++) {
        uint16_t scale = search(&g, absmax, true, kernels_used()).scale;
        ck_assert_uint_eq(scale, 0x0080);
        ck_assert_int_eq(g.code[0], 1);
    }
}
END_TEST

START_TEST(uses_a_negative_scale_where_the_largest_weight_is_positive)
{
    group g = {.n = 32, .w = {8, -7, 3, 1}};
    ck_assert_uint_eq(search(&g, false, false, kernels_used()).scale, 0xbf80);
    ck_assert_int_eq(g.code[0], -8);
    ck_assert_int_eq(g.code[1], 7);
    ck_assert_uint_lt(search(&g, false, true, kernels_used()).scale, 0x8000);
}
END_TEST

START_TEST(takes_importance_as_relative)
{
    group g = {.n = 64};
    seed = 8;
    for (int i = 0; i < 200; i++) {
        fill(&g, HEAVY, 0.02f, 1);
        uint16_t scale = search(&g, false, false, kernels_used()).scale;
        for (int64_t j = 0; j < g.n; j++)
            g.importance[j] *= i % 2 ? 0x1p90f : 0x1p-90f;
        ck_assert_uint_eq(search(&g, false, false, kernels_used()).scale, scale);
    }
}
END_TEST

START_TEST(clips_a_weight_that_nobody_needs)
{
    group g = {.n = 32, .weighted = true};
    for (int64_t j = 0; j < g.n; j++) {
        g.w[j] = (float)(j % 15 - 7) * 0.01f;
        g.importance[j] = 1;
    }
    g.w[5] = 100;
    g.importance[5] = 1e-12f;
    float scale = fabsf(bf16_to_f32(search(&g, false, false, kernels_used()).scale));
    ck_assert(scale > 0.0099f && scale < 0.0101f);
}
END_TEST

// compressed-tensors' scales are ours byte for byte; its codes come from a quotient that was
// rounded to BF16 before, ours are the nearest.
enum { CT_ROWS = 24, CT_COLS = 256 };

static void golden_matrix(float w[CT_ROWS][CT_COLS])
{
    for (uint32_t r = 0; r < CT_ROWS; r++)
        for (uint32_t c = 0; c < CT_COLS; c++) {
            w[r][c] = bf16_to_f32(f32_to_bf16(golden_weight(r * CT_COLS + c, 1)));
            if (r == 0)
                w[r][c] = 0.5f;
            if (r == 1)
                w[r][c] = (float)((int)(c % 16) - 8) * 0.125f;
        }
}

static int count_moved(const group *g, float scale, const uint8_t *packed)
{
    int moved = 0;
    for (int64_t j = 0; j < g->n; j++) {
        float quotient = bf16_to_f32(f32_to_bf16(g->w[j] / scale));
        float theirs = rintf(fminf(fmaxf(quotient, -8), 7));
        ck_assert_int_eq((packed[j / 2] >> j % 2 * 4 & 15) - 8, (int)theirs);
        ck_assert(fabsf(g->w[j] - (float)g->code[j] * scale) <= fabsf(g->w[j] - theirs * scale));
        moved += (float)g->code[j] != theirs;
    }
    return moved;
}

START_TEST(has_the_scales_of_compressed_tensors_and_the_nearest_codes)
{
    static float w[CT_ROWS][CT_COLS];
    static uint8_t packed[CT_ROWS * CT_COLS / 2];
    static uint16_t scales[CT_ROWS * CT_COLS / 32];
    golden_matrix(w);
    for (int64_t n = 32; n <= MAX; n *= 2) {
        char name[64];
        size_t groups = (size_t)(CT_ROWS * CT_COLS / n);
        snprintf(name, sizeof name, "ct_g%d_packed.bin", (int)n);
        golden_bytes(name, packed, sizeof packed);
        snprintf(name, sizeof name, "ct_g%d_scale.bin", (int)n);
        golden_bytes(name, scales, groups * 2);
        int moved = 0;
        for (size_t i = 0; i < groups; i++) {
            group g = {.n = n};
            memcpy(g.w, &w[0][0] + i * (size_t)n, (size_t)n * sizeof(float));
            ck_assert_uint_eq(search(&g, true, true, kernels_used()).scale, scales[i]);
            moved += count_moved(&g, bf16_to_f32(scales[i]), packed + i * (size_t)n / 2);
        }
        ck_assert_int_lt(moved, CT_ROWS * CT_COLS / 50);
        ck_assert_int_gt(moved, 0);
    }
}
END_TEST

Suite *suite_search(void)
{
    Suite *s = suite_create("search");
    TCase *c = tcase_create("int4");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, finds_the_best_scale_that_brute_force_finds);
    tcase_add_test(c, meets_the_anchors_of_gaussian_weights);
    tcase_add_test(c, is_never_worse_than_the_absolute_maximum);
    tcase_add_test(c, gives_a_decoded_group_the_same_values_again);
    tcase_add_test(c, gives_the_same_bits_at_every_level);
    tcase_add_test(c, gives_a_group_of_zeros_scale_one);
    tcase_add_test(c, never_writes_a_subnormal_scale);
    tcase_add_test(c, uses_a_negative_scale_where_the_largest_weight_is_positive);
    tcase_add_test(c, takes_importance_as_relative);
    tcase_add_test(c, clips_a_weight_that_nobody_needs);
    tcase_add_test(c, has_the_scales_of_compressed_tensors_and_the_nearest_codes);
    suite_add_tcase(s, c);
    return s;
}
