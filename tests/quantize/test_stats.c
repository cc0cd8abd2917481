// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantize/stats.h"
#include "tests/refused.h"

Suite *suite_stats(void);

static stats made(int64_t n_experts, int64_t cols)
{
    stats s;
    err e = ERR_INIT;
    ASSERT_OK(stats_init(&s, n_experts, cols, &e), e);
    return s;
}

static const float X[3][2] = {{1, 2}, {3, -4}, {0.5f, 0}};
static const float ROUTE[3] = {0.5f, 1, 2};

START_TEST(adds_energy_weighted_by_the_squared_routing_weight)
{
    stats s = made(2, 2);
    stats_add(&s, 1, X[0], ROUTE, 3);
    ck_assert(s.energy[0] == 0 && s.energy[1] == 0 && s.count[0] == 0);
    ck_assert(s.energy[2] == 0.25 * 1 + 9 + 4 * 0.25);
    ck_assert(s.energy[3] == 0.25 * 4 + 16);
    ck_assert(s.weight_sum[1] == 0.25 + 1 + 4);
    ck_assert(s.weight_sq_sum[1] == 0.0625 + 1 + 16);
    ck_assert_int_eq(s.count[1], 3);
    stats_free(&s);
}
END_TEST

START_TEST(takes_weights_of_one_where_nothing_is_routed)
{
    stats s = made(1, 2);
    stats_add(&s, 0, X[0], NULL, 2);
    ck_assert(s.energy[0] == 10 && s.energy[1] == 20 && s.weight_sum[0] == 2);
    ck_assert(s.weight_sq_sum[0] == 2);
    stats_free(&s);
}
END_TEST

START_TEST(adds_up_in_pieces_as_in_one)
{
    stats whole = made(2, 2), first = made(2, 2), rest = made(2, 2);
    stats_add(&whole, 0, X[0], ROUTE, 3);
    stats_add(&first, 0, X[0], ROUTE, 1);
    stats_add(&rest, 0, X[1], ROUTE + 1, 2);
    err e = ERR_INIT;
    ASSERT_OK(stats_merge(&first, &rest, &e), e);
    ck_assert_mem_eq(first.energy, whole.energy, 4 * sizeof(double));
    ck_assert_mem_eq(first.weight_sum, whole.weight_sum, 2 * sizeof(double));
    ck_assert_mem_eq(first.weight_sq_sum, whole.weight_sq_sum, 2 * sizeof(double));
    ck_assert_mem_eq(first.count, whole.count, 2 * sizeof(int64_t));
    stats_free(&whole);
    stats_free(&first);
    stats_free(&rest);
}
END_TEST

START_TEST(refuses_to_merge_another_geometry)
{
    stats a = made(2, 2), b = made(2, 3);
    ASSERT_REFUSED(stats_merge(&a, &b, &refused), "2 experts, 3 columns do not add to those of 2");
    stats_free(&a);
    stats_free(&b);
}
END_TEST

START_TEST(has_the_layers_mean_energy_as_prior)
{
    stats s = made(2, 2);
    double prior[2];
    stats_prior(&s, false, prior);
    ck_assert(prior[0] == 1 && prior[1] == 1);
    stats_add(&s, 0, X[0], NULL, 1);
    stats_add(&s, 1, X[1], NULL, 1);
    stats_prior(&s, false, prior);
    ck_assert(prior[0] == 5 && prior[1] == 10);
    stats_prior(&s, true, prior);
    ck_assert(prior[0] == 7.5 && prior[1] == 7.5);
    stats_free(&s);
}
END_TEST

// e = (n_eff own + n prior) / (n_eff + n), compared as ratios: importance is relative.
START_TEST(blends_the_experts_own_energy_with_the_prior)
{
    stats s = made(2, 2);
    stats_add(&s, 0, X[0], ROUTE, 2);
    double prior[2] = {3, 1}, n_eff = 1.25 * 1.25 / (0.0625 + 1);
    double own[2] = {(0.25 + 9) / 1.25, (1 + 16) / 1.25}, want[2];
    for (int j = 0; j < 2; j++)
        want[j] = (n_eff * own[j] + 2 * prior[j]) / (n_eff + 2);
    float importance[2];
    stats_importance(&s, 0, prior, importance);
    ck_assert_double_eq_tol((double)importance[0] / (double)importance[1], want[0] / want[1], 1e-6);
    stats_importance(&s, 1, prior, importance); // never hit: the prior alone
    ck_assert(importance[0] / importance[1] == 3);
    stats_free(&s);
}
END_TEST

START_TEST(gives_positive_importance_to_columns_without_energy)
{
    stats s = made(1, 4);
    const float x[4] = {1e-30f, 0, 1e15f, 1};
    stats_add(&s, 0, x, NULL, 1);
    double prior[4];
    stats_prior(&s, false, prior);
    float importance[4];
    stats_importance(&s, 0, prior, importance);
    ck_assert(importance[0] == FLT_MIN && importance[1] == FLT_MIN);
    ck_assert(importance[2] >= 1 && importance[2] < 2);
    ck_assert(importance[3] > FLT_MIN && importance[3] < 1e-29f);
    memset(s.energy, 0, 4 * sizeof(double));
    stats_prior(&s, false, prior);
    stats_importance(&s, 0, prior, importance);
    for (int j = 0; j < 4; j++)
        ck_assert(importance[j] == 1);
    stats_free(&s);
}
END_TEST

START_TEST(scales_means_of_others_by_a_power_of_two)
{
    static const float largest[] = {1, 1.5f, 3, 0.01f, 0x1.fffffep127f, 0x1p-126f, 0x1p-100f};
    for (size_t i = 0; i < COUNT_OF(largest); i++) {
        float m[4] = {largest[i], largest[i] * 0.75f, 0, largest[i] * 0x1p-10f};
        stats_importance_of_means(m, 4);
        ck_assert(m[0] >= 1 && m[0] < 2);
        ck_assert(m[1] == m[0] * 0.75f && m[2] == 0x1p-126f);
        if (largest[i] > 0x1p-100f)
            ck_assert(m[3] == m[0] * 0x1p-10f);
        int exponent;
        ck_assert(frexpf(m[0] / largest[i], &exponent) == 0.5f || largest[i] < 0x1p-125f ||
                  largest[i] > 0x1p126f);
    }
    float zeros[2] = {0, 0}, least[2] = {0x1p-149f, 0};
    stats_importance_of_means(zeros, 2);
    ck_assert(zeros[0] == 1 && zeros[1] == 1);
    stats_importance_of_means(least, 2);
    ck_assert(least[0] > least[1] && least[1] > 0);
}
END_TEST

START_TEST(refuses_statistics_that_no_memory_holds)
{
    stats s;
    ASSERT_FAILS(stats_init(&s, INT64_MAX / 2, INT64_MAX / 2, &refused), ERR_ENV, "no memory");
    ck_assert_ptr_null(s.energy);
}
END_TEST

Suite *suite_stats(void)
{
    Suite *s = suite_create("stats");
    TCase *c = tcase_create("arithmetic");
    tcase_add_test(c, adds_energy_weighted_by_the_squared_routing_weight);
    tcase_add_test(c, takes_weights_of_one_where_nothing_is_routed);
    tcase_add_test(c, adds_up_in_pieces_as_in_one);
    tcase_add_test(c, refuses_to_merge_another_geometry);
    tcase_add_test(c, has_the_layers_mean_energy_as_prior);
    tcase_add_test(c, blends_the_experts_own_energy_with_the_prior);
    tcase_add_test(c, gives_positive_importance_to_columns_without_energy);
    tcase_add_test(c, scales_means_of_others_by_a_power_of_two);
    tcase_add_test(c, refuses_statistics_that_no_memory_holds);
    suite_add_tcase(s, c);
    return s;
}
