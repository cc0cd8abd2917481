// SPDX-License-Identifier: Apache-2.0
#include <check.h>

#include "base/rng.h"

Suite *suite_rng(void);

// The first outputs of the authors' C code from the state 1, 2, 3, 4.
START_TEST(gives_the_reference_stream)
{
    static const uint64_t expected[] = {
        11520u, 0u, 1509978240u, 1215971899390074240u, 1216172134540287360u, 607988272756665600u,
        16172922978634559625u, 8476171486693032832u, 10595114339597558777u, 2904607092377533576u};
    rng r = {{1, 2, 3, 4}};
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        ck_assert_uint_eq(rng_u64(&r), expected[i]);
}
END_TEST

// splitmix64's reference outputs for 1234567 are the state.
START_TEST(is_seeded_by_splitmix64)
{
    static const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u,
                                        9817491932198370423u, 4593380528125082431u};
    rng r;
    rng_seed(&r, 1234567);
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        ck_assert_uint_eq(r.s[i], expected[i]);
}
END_TEST

START_TEST(draws_below_a_bound_evenly)
{
    enum { DRAWS = 60000, FACES = 6 };
    int count[FACES] = {0};
    rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < DRAWS; i++)
        count[rng_below(&r, FACES)]++;
    for (int f = 0; f < FACES; f++) { // 5 standard deviations of 91
        ck_assert_int_gt(count[f], DRAWS / FACES - 455);
        ck_assert_int_lt(count[f], DRAWS / FACES + 455);
    }
    for (int i = 0; i < 100; i++) {
        ck_assert_uint_eq(rng_below(&r, 1), 0);
        ck_assert_uint_lt(rng_below(&r, ((uint64_t)1 << 63) + 1), ((uint64_t)1 << 63) + 1);
    }
}
END_TEST

// 2^64 mod 3 * 2^62 is 2^62: the reference stream's first six values lie below and are skipped.
START_TEST(skips_the_values_that_would_favour_low_results)
{
    rng r = {{1, 2, 3, 4}};
    const uint64_t n = (uint64_t)3 << 62;
    ck_assert_uint_eq(rng_below(&r, n), 16172922978634559625u - n);
    ck_assert_uint_eq(rng_u64(&r), 8476171486693032832u);
}
END_TEST

START_TEST(units_are_below_one_and_average_a_half)
{
    enum { DRAWS = 100000 };
    rng r;
    double sum = 0;
    rng_seed(&r, 2);
    for (int i = 0; i < DRAWS; i++) {
        double u = rng_unit(&r);
        ck_assert(u >= 0 && u < 1);
        sum += u;
    }
    ck_assert_double_eq_tol(sum / DRAWS, 0.5, 5 * 0.2887 / 316);
}
END_TEST

START_TEST(normals_have_the_moments_of_normals)
{
    enum { DRAWS = 100000 };
    rng r;
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
    rng_seed(&r, 3);
    for (int i = 0; i < DRAWS; i++) {
        double x = rng_normal(&r);
        m1 += x;
        m2 += x * x;
        m3 += x * x * x;
        m4 += x * x * x * x;
    }
    // 5 standard deviations: those of x, x^2, x^3 and x^4 are 1, sqrt 2, sqrt 15, sqrt 96.
    ck_assert_double_eq_tol(m1 / DRAWS, 0, 5 * 1.0 / 316);
    ck_assert_double_eq_tol(m2 / DRAWS, 1, 5 * 1.415 / 316);
    ck_assert_double_eq_tol(m3 / DRAWS, 0, 5 * 3.873 / 316);
    ck_assert_double_eq_tol(m4 / DRAWS, 3, 5 * 9.798 / 316);
}
END_TEST

Suite *suite_rng(void)
{
    Suite *s = suite_create("rng");
    TCase *c = tcase_create("streams");
    tcase_add_test(c, gives_the_reference_stream);
    tcase_add_test(c, is_seeded_by_splitmix64);
    tcase_add_test(c, draws_below_a_bound_evenly);
    tcase_add_test(c, skips_the_values_that_would_favour_low_results);
    tcase_add_test(c, units_are_below_one_and_average_a_half);
    tcase_add_test(c, normals_have_the_moments_of_normals);
    suite_add_tcase(s, c);
    return s;
}
