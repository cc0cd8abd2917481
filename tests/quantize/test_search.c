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

// SEARCH_COMPAT of a binary32 weight where absmax says so.
static search_group search(group *g, bool absmax, bool positive, const kernels *k)
{
    search_group s = {.w = g->w, .importance = g->weighted ? g->importance : NULL, .n = g->n,
                      .positive = positive, .code = g->code};
    uint8_t packed[MAX / 2];
    int_groups one = {.from = {.w = g->w, .n = g->n, .groups = 1, .search = SEARCH_COMPAT,
                               .source = DT_F32},
                      .bits = 4, .codes = packed, .scale = &s.scale};
    if (!absmax) {
        k->search(&s);
        return s;
    }
    k->int_rows(&one);
    for (int64_t j = 0; j < g->n; j++)
        g->code[j] = (int8_t)((packed[j / 2] >> j % 2 * 4 & 15) - 8);
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

// sum o w v, sum o v^2 and sum o w^2 for values v that are the codes found.
typedef struct {
    double wv, vv, ww;
} products;

static products products_of(const group *g, float scale)
{
    products p = {0};
    for (int64_t j = 0; j < g->n; j++) {
        double w = (double)g->w[j], v = (double)scale * g->code[j], o = (double)g->importance[j];
        p.wv += o * w * v;
        p.vv += o * v * v;
        p.ww += o * w * w;
    }
    return p;
}

// With the codes found, as they are written.
static double written_error(const group *g, float scale)
{
    double sum = 0;
    for (int64_t j = 0; j < g->n; j++) {
        double d = (double)g->w[j] - (double)scale * g->code[j];
        sum += (double)g->importance[j] * d * d;
    }
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

// What the codes found would have under their scale of least squares, over the error that trying
// all BF16 scales comes to, less 1.
static double excess(int kind, float spread, int64_t n, bool positive)
{
    double found = 0, least = 0;
    group g = {.n = n};
    seed = 1;
    for (int i = 0; i < 24; i++) {
        fill(&g, kind, 0.02f, spread);
        products p =
            products_of(&g, bf16_to_f32(search(&g, false, positive, kernels_used()).scale));
        found += p.ww - p.wv * p.wv / p.vv;
        least += least_error(&g, positive);
    }
    return found / least - 1;
}

START_TEST(finds_codes_as_good_as_those_of_all_scales)
{
    for (int64_t n = 32; n <= MAX; n *= 2)
        for (int kind = GAUSS; kind <= OUTLIER; kind++) {
            // Beside an outlier errors are so large that the absolute maximum's scale, which
            // shrinks nothing either, is often the better one.
            double limit = kind == OUTLIER ? 2e-2 : 2e-3;
            ck_assert_double_lt(excess(kind, 0, n, false), limit);
            ck_assert_double_lt(excess(kind, 0, n, true), limit);
            ck_assert_double_lt(excess(kind, 1, n, false), limit);
            // A few of the weights are all that counts, and single groups lose some percent.
            ck_assert_double_lt(excess(kind, 2.5f, n, false), 2e-2);
        }
}
END_TEST

START_TEST(does_not_shrink_the_weights)
{
    group g;
    seed = 9;
    for (int weighted = 0; weighted < 2; weighted++)
        for (int kind = GAUSS; kind <= OUTLIER; kind++) {
            products sum = {0};
            for (int i = 0; i < 300; i++) {
                g.n = 32 << i % 3;
                fill(&g, kind, 0.02f, (float)weighted);
                search_group s = search(&g, false, false, kernels_used());
                products p = products_of(&g, bf16_to_f32(s.scale));
                sum.wv += p.wv;
                sum.ww += p.ww;
            }
            // By least squares it would be 0.991 to 0.995. Some groups keep the scale of the
            // absolute maximum, and all are rounded to BF16: up to 2^-9 either way, at random.
            ck_assert_double_eq_tol(sum.wv / sum.ww, 1, 1.5e-3);
        }
}
END_TEST

// Relative squared errors e that published searches reach on Gaussian weights, by least squares;
// 1 / (1 - e) of them where the weights do not shrink.
static double relative_error(int64_t n, bool absmax, bool positive)
{
    double error = 0, energy = 0;
    group g = {.n = n};
    seed = 77;
    for (int i = 0; i < 512; i++) {
        fill(&g, GAUSS, 0.02f, 0);
        error += written_error(&g, bf16_to_f32(search(&g, absmax, positive, kernels_used()).scale));
        energy += energy_of(&g);
    }
    return error / energy;
}

START_TEST(meets_the_anchors_of_gaussian_weights)
{
    ck_assert_double_lt(relative_error(32, false, false), 6.6e-3 * 1.0066);
    ck_assert_double_lt(relative_error(128, false, false), 9.4e-3 * 1.0095);
    ck_assert_double_lt(relative_error(128, false, true), 10.3e-3 * 1.0104);
    ck_assert_double_eq_tol(relative_error(128, true, true), 12.3e-3, 0.3e-3);
}
END_TEST

static void check_group(group *g, bool positive)
{
    search_group absmax = search(g, true, true, kernels_used());
    float at_most = bf16_to_f32(absmax.scale);
    search_group s = search(g, false, positive, kernels_used());
    float scale = bf16_to_f32(s.scale);
    ck_assert(isnormal(scale));
    ck_assert(at_most > 0 && (scale > 0 || !positive));
    ck_assert_double_le(written_error(g, scale), error_of(g, at_most) * (1 + 1e-6));
    for (int64_t j = 0; j < g->n; j++)
        ck_assert(g->code[j] >= -8 && g->code[j] <= 7);
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
    memset(g.code, 5, sizeof g.code);
    g.w[3] = -0.0f;
    ck_assert_uint_eq(search(&g, false, false, kernels_used()).scale, 0x3f80);
    for (int64_t j = 0; j < g.n; j++)
        ck_assert_int_eq(g.code[j], 0);
}
END_TEST

START_TEST(never_writes_a_subnormal_scale)
{
    group g = {.n = 32, .w = {0x1p-126f, -0x1p-127f, 0x1p-149f}};
    ck_assert_uint_eq(search(&g, false, true, kernels_used()).scale, 0x0080);
    ck_assert_int_eq(g.code[0], 1);
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

Suite *suite_search(void)
{
    Suite *s = suite_create("search");
    TCase *c = tcase_create("int4");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, finds_codes_as_good_as_those_of_all_scales);
    tcase_add_test(c, does_not_shrink_the_weights);
    tcase_add_test(c, meets_the_anchors_of_gaussian_weights);
    tcase_add_test(c, is_never_worse_than_the_absolute_maximum);
    tcase_add_test(c, gives_a_decoded_group_the_same_values_again);
    tcase_add_test(c, gives_the_same_bits_at_every_level);
    tcase_add_test(c, gives_a_group_of_zeros_scale_one);
    tcase_add_test(c, never_writes_a_subnormal_scale);
    tcase_add_test(c, uses_a_negative_scale_where_the_largest_weight_is_positive);
    tcase_add_test(c, takes_importance_as_relative);
    tcase_add_test(c, clips_a_weight_that_nobody_needs);
    suite_add_tcase(s, c);
    return s;
}
