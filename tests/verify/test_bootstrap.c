// SPDX-License-Identifier: Apache-2.0
#include <check.h>

#include "base/rng.h"
#include "verify/bootstrap.h"

Suite *suite_bootstrap(void);

enum { N = 42 };

static double sum[N];
static int64_t count[N], document[N];

static void setup(void)
{
    for (int i = 0; i < N; i++) {
        sum[i] = i * i * 7 % 31 + 0.5;
        count[i] = 10 + i % 3;
        document[i] = i * i / 90;
    }
}

static interval run(const int64_t *documents, int64_t n, uint64_t seed)
{
    interval i;
    err e = ERR_INIT;
    ck_assert_msg(bootstrap_mean(&i, sum, count, documents, n, seed, &e), "%s", e.text);
    return i;
}

// Goldens: the same method written again in Python, generator and all.
START_TEST(intervals_are_those_of_the_method_written_again)
{
    interval i = run(NULL, N, 1);
    ck_assert_double_eq(i.mean, 1.1147186147186148);
    ck_assert_double_eq(i.low, 1.0275229357798166);
    ck_assert_double_eq(i.high, 1.1987704918032787);
    ck_assert_int_eq(i.n_blocks, 11);
    i = run(document, N, 77);
    ck_assert_double_eq(i.mean, 1.1147186147186148);
    ck_assert_double_eq(i.low, 0.9291044776119403);
    ck_assert_double_eq(i.high, 1.338006230529595);
    ck_assert_int_eq(i.n_blocks, 19);
}
END_TEST

START_TEST(the_seed_decides)
{
    interval a = run(NULL, N, 5), b = run(NULL, N, 5), c = run(NULL, N, 6);
    ck_assert_mem_eq(&a, &b, sizeof a);
    ck_assert(a.low < c.low || a.low > c.low || a.high < c.high || a.high > c.high);
}
END_TEST

START_TEST(a_constant_has_no_width)
{
    for (int i = 0; i < N; i++)
        sum[i] = 0.25 * (double)count[i];
    interval i = run(NULL, N, 1);
    ck_assert_double_eq(i.mean, 0.25);
    ck_assert_double_eq(i.low, 0.25);
    ck_assert_double_eq(i.high, 0.25);
}
END_TEST

START_TEST(one_block_is_its_own_interval)
{
    interval i = run(NULL, 4, 1);
    ck_assert_int_eq(i.n_blocks, 1);
    ck_assert_double_eq(i.low, i.mean);
    ck_assert_double_eq(i.high, i.mean);
}
END_TEST

START_TEST(counts_of_zero_are_no_division_by_zero)
{
    for (int i = 0; i < N; i++)
        sum[i] = 0, count[i] = 0;
    interval i = run(NULL, N, 1);
    ck_assert_double_eq(i.mean, 0);
    ck_assert_double_eq(i.high, 0);
}
END_TEST

// 30 blocks of normal noise around 1: the percentile interval covers the truth a little less often
// than it says (some 93 %); 300 trials with p = 0.93 stray below 0.88 or above 0.98 less than once
// in a thousand.
START_TEST(intervals_cover_the_truth)
{
    double noisy[120];
    int64_t ones[120];
    int covered = 0;
    rng r;
    err e = ERR_INIT;
    rng_seed(&r, 3);
    for (int trial = 0; trial < 300; trial++) {
        interval i;
        for (int k = 0; k < 120; k++) {
            noisy[k] = 1 + rng_normal(&r);
            ones[k] = 1;
        }
        ck_assert_msg(bootstrap_mean(&i, noisy, ones, NULL, 120, (uint64_t)trial, &e), "%s",
                      e.text);
        ck_assert(i.low < i.mean && i.mean < i.high);
        covered += i.low <= 1 && 1 <= i.high;
    }
    ck_assert_int_gt(covered, 264);
    ck_assert_int_lt(covered, 295);
}
END_TEST

Suite *suite_bootstrap(void)
{
    Suite *s = suite_create("bootstrap");
    TCase *t = tcase_create("bootstrap");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, intervals_are_those_of_the_method_written_again);
    tcase_add_test(t, the_seed_decides);
    tcase_add_test(t, a_constant_has_no_width);
    tcase_add_test(t, one_block_is_its_own_interval);
    tcase_add_test(t, counts_of_zero_are_no_division_by_zero);
    tcase_add_test(t, intervals_cover_the_truth);
    suite_add_tcase(s, t);
    return s;
}
