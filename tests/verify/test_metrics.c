// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "verify/metrics.h"

Suite *suite_metrics(void);

enum { LONGEST = 5003 };

static float ref[LONGEST], cand[LONGEST];

static void fill(uint64_t seed, double spread, double noise)
{
    rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < LONGEST; i++) {
        ref[i] = (float)(spread * rng_normal(&r));
        cand[i] = (float)((double)ref[i] + noise * rng_normal(&r));
    }
}

// The definition, by libm, in the plainest order.
static double plain_lse(const float *x, int n)
{
    double max = (double)x[0], sum = 0;
    for (int i = 1; i < n; i++)
        max = fmax(max, (double)x[i]);
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - max);
    return max + log(sum);
}

static double plain_kld(const float *p, const float *q, int n)
{
    double lp = plain_lse(p, n), lq = plain_lse(q, n), sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)p[i] - lp) * (((double)p[i] - lp) - ((double)q[i] - lq));
    return sum;
}

START_TEST(divergence_of_two_coins)
{
    // p = 1/2, 1/2; q = 1/4, 3/4: log(2) / 2 + log(2/3) / 2.
    const float p[2] = {1, 1}, q[2] = {0, 1.0986122886681098f};
    logit_metrics m = metrics_of_logits(p, q, 2);
    ck_assert_double_eq_tol(m.kld, 0.14384103622589045, 1e-8);
    ck_assert_double_eq_tol(m.lse_ref, 1 + log(2), 1e-14);
    ck_assert_double_eq_tol(m.lse_cand, log(4), 1e-7);
}
END_TEST

START_TEST(divergence_is_the_definition)
{
    fill(1, 4, 0.5);
    for (int n = 1; n <= LONGEST; n = n < 70 ? n + 1 : 2 * n + 1) {
        double want = plain_kld(ref, cand, n);
        logit_metrics m = metrics_of_logits(ref, cand, n);
        // Both add n terms of at most some 20 in binary64.
        ck_assert_double_eq_tol(m.kld, fmax(0, want), 1e-12);
        ck_assert_double_eq_tol(m.lse_ref, plain_lse(ref, n), 1e-12);
        ck_assert_double_eq_tol(m.lse_cand, plain_lse(cand, n), 1e-12);
    }
}
END_TEST

START_TEST(divergence_of_equal_rows_is_exactly_zero)
{
    fill(2, 30, 0);
    for (int n = 1; n <= LONGEST; n = n < 70 ? n + 1 : 2 * n + 1)
        ck_assert(metrics_of_logits(ref, cand, n).kld == 0);
}
END_TEST

START_TEST(divergence_is_never_negative)
{
    for (uint64_t seed = 10; seed < 60; seed++) {
        fill(seed, 10, 1e-7);
        double kld = metrics_of_logits(ref, cand, 500).kld;
        ck_assert(kld >= 0);
        ck_assert(kld < 1e-10);
    }
}
END_TEST

START_TEST(divergence_does_not_see_a_common_shift)
{
    fill(3, 4, 0.5);
    for (int i = 0; i < LONGEST; i++) { // multiples of 2^-12: the shift by 64 is exact
        ref[i] = rintf(ref[i] * 4096) / 4096;
        cand[i] = ref[i] + 64;
    }
    ck_assert_double_eq_tol(metrics_of_logits(ref, cand, LONGEST).kld, 0, 1e-12);
}
END_TEST

START_TEST(large_logits_do_not_overflow)
{
    const float p[3] = {3e38f, -3e38f, 0}, q[3] = {1e4f, 0, -1e4f};
    logit_metrics m = metrics_of_logits(p, q, 3);
    ck_assert(isfinite(m.kld) && m.kld >= 0);
    ck_assert(isfinite(m.lse_ref) && isfinite(m.lse_cand));
}
END_TEST

START_TEST(the_lowest_of_equal_logits_is_the_top)
{
    const float p[4] = {0, 2, 2, 1}, q[4] = {0, 3, 1, 1}, r[4] = {0, 1, 3, 1};
    ck_assert(metrics_of_logits(p, q, 4).same_top);
    ck_assert(!metrics_of_logits(p, r, 4).same_top);
}
END_TEST

START_TEST(every_cpu_level_gives_the_same_bits)
{
    err e = ERR_INIT;
    fill(4, 5, 0.3);
    for (int n = 1; n <= LONGEST; n = 3 * n + 1) {
        ck_assert(cpu_use(CPU_PLAIN, &e));
        logit_metrics want = metrics_of_logits(ref, cand, n);
        matrix_sums plain = {0};
        metrics_add(&plain, ref, cand, NULL, n);
        for (int level = 0; level < CPU_LEVELS; level++) {
            if (!cpu_has((cpu_level)level))
                continue;
            ck_assert(cpu_use((cpu_level)level, &e));
            logit_metrics got = metrics_of_logits(ref, cand, n);
            matrix_sums sums = {0};
            metrics_add(&sums, ref, cand, NULL, n);
            ck_assert_mem_eq(&got.kld, &want.kld, sizeof got.kld);
            ck_assert_mem_eq(&got.lse_ref, &want.lse_ref, sizeof got.lse_ref);
            ck_assert_mem_eq(&got.lse_cand, &want.lse_cand, sizeof got.lse_cand);
            ck_assert_mem_eq(&sums, &plain, sizeof sums);
        }
    }
}
END_TEST

START_TEST(sums_of_a_matrix_by_hand)
{
    const float r[4] = {3, -4, 0, 1}, c[4] = {3, -4.5f, 0.25f, 1.5f}, s[4] = {1, 1, 0.125f, 1};
    matrix_sums m = {0};
    metrics_add(&m, r, c, s, 2);
    metrics_add(&m, r + 2, c + 2, s + 2, 2);
    ck_assert_double_eq(m.error, 0.25 + 0.0625 + 0.25);
    ck_assert_double_eq(m.ref, 26);
    ck_assert_double_eq(m.cand, 9 + 20.25 + 0.0625 + 2.25);
    ck_assert_double_eq(m.dot, 9 + 18 + 0 + 1.5);
    ck_assert_double_eq(m.max_abs, 0.5);
    ck_assert_double_eq(m.max_steps, 2);
    ck_assert_int_eq(m.n, 4);
    ck_assert_int_eq(m.n_equal, 1);
    ck_assert_double_eq_tol(metrics_relative_error(&m), sqrt(0.5625 / 26), 1e-15);
    ck_assert_double_eq_tol(metrics_sqnr_db(&m), 10 * log10(26 / 0.5625), 1e-13);
    ck_assert_double_eq_tol(metrics_cosine(&m), 28.5 / sqrt(26 * 31.5625), 1e-15);
}
END_TEST

START_TEST(zeros_of_both_signs_are_no_error_but_not_equal)
{
    const float r[2] = {0.0f, 1}, c[2] = {-0.0f, 1};
    matrix_sums m = {0};
    metrics_add(&m, r, c, NULL, 2);
    ck_assert_double_eq(m.error, 0);
    ck_assert_int_eq(m.n_equal, 1);
}
END_TEST

START_TEST(matrices_of_zeros_have_their_say)
{
    matrix_sums zero = {.n = 1}, lost = {.error = 1, .ref = 1, .n = 1};
    matrix_sums made = {.error = 1, .cand = 1, .n = 1};
    ck_assert(isinf(metrics_sqnr_db(&zero)) && metrics_sqnr_db(&zero) > 0);
    ck_assert_double_eq(metrics_relative_error(&zero), 0);
    ck_assert_double_eq(metrics_cosine(&zero), 1);
    ck_assert_double_eq(metrics_sqnr_db(&lost), 0);
    ck_assert_double_eq(metrics_relative_error(&lost), 1);
    ck_assert_double_eq(metrics_cosine(&lost), 0);
    ck_assert(isinf(metrics_sqnr_db(&made)) && metrics_sqnr_db(&made) < 0);
    ck_assert(isinf(metrics_relative_error(&made)));
}
END_TEST

START_TEST(percentiles_are_nearest_ranks)
{
    double x[200];
    for (int i = 0; i < 200; i++)
        x[i] = i + 1;
    ck_assert_double_eq(metrics_percentile(x, 200, 0.5), 100);
    ck_assert_double_eq(metrics_percentile(x, 200, 0.99), 198);
    ck_assert_double_eq(metrics_percentile(x, 200, 1), 200);
    ck_assert_double_eq(metrics_percentile(x, 200, 0), 1);
    ck_assert_double_eq(metrics_percentile(x, 1, 0.99), 1);
    ck_assert_double_eq(metrics_percentile(x, 3, 0.5), 2);
}
END_TEST

Suite *suite_metrics(void)
{
    Suite *s = suite_create("metrics");
    TCase *t = tcase_create("logits");
    tcase_add_test(t, divergence_of_two_coins);
    tcase_add_test(t, divergence_is_the_definition);
    tcase_add_test(t, divergence_of_equal_rows_is_exactly_zero);
    tcase_add_test(t, divergence_is_never_negative);
    tcase_add_test(t, divergence_does_not_see_a_common_shift);
    tcase_add_test(t, large_logits_do_not_overflow);
    tcase_add_test(t, the_lowest_of_equal_logits_is_the_top);
    tcase_add_test(t, every_cpu_level_gives_the_same_bits);
    suite_add_tcase(s, t);
    t = tcase_create("matrices");
    tcase_add_test(t, sums_of_a_matrix_by_hand);
    tcase_add_test(t, zeros_of_both_signs_are_no_error_but_not_equal);
    tcase_add_test(t, matrices_of_zeros_have_their_say);
    tcase_add_test(t, percentiles_are_nearest_ranks);
    suite_add_tcase(s, t);
    return s;
}
