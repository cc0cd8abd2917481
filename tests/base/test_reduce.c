// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/num.h"
#include "base/reduce.h"

Suite *suite_reduce(void);

enum { LONGEST = 10007 };

static float x[LONGEST + 1], y[LONGEST + 1];
static double wide[LONGEST + 1];
static const int64_t LENGTHS[] = {0,  1,  2,  3,  7,   8,    9,    15,   16,   17,   23,
                                  31, 64, 65, 71, 129, 1000, 2047, 2048, 2049, 4100, LONGEST};

static uint64_t state;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545F4914F6CDD1D);
}

static void fill(void)
{
    state = 99;
    for (int i = 0; i <= LONGEST; i++) {
        float scale = i % 5 == 0 ? 1e20f : i % 5 == 1 ? 1e-20f : 1.0f;
        x[i] = ((float)(next() >> 40) * 0x1p-23f - 1.0f) * scale;
        y[i] = i % 7 == 0 ? -0.0f : (float)(next() >> 40) * 0x1p-23f - 1.0f;
        wide[i] = (double)x[i] * 1.0000001;
    }
}

static void each_level(void (*check)(void))
{
    err e = ERR_INIT;
    for (int level = 0; level < CPU_LEVELS; level++)
        if (cpu_has((cpu_level)level)) {
            ck_assert(cpu_use((cpu_level)level, &e));
            check();
        }
}

// The contract, word for word: element i to lane i mod 8, lanes folded 4, 2, 1.
typedef double (*term)(int64_t i);

static double contract(int64_t from, int64_t n, term t)
{
    double lane[8] = {0};
    for (int64_t i = 0; i < n; i++)
        lane[i % 8] += t(from + i);
    for (int width = 4; width >= 1; width /= 2)
        for (int j = 0; j < width; j++)
            lane[j] += lane[j + width];
    return lane[0];
}

static double one(int64_t i) { return (double)x[i]; }
static double one_wide(int64_t i) { return wide[i]; }
static double square(int64_t i) { return (double)x[i] * (double)x[i]; }
static double dot(int64_t i) { return (double)x[i] * (double)y[i]; }
static double difference(int64_t i)
{
    double d = (double)x[i] - (double)y[i];
    return d * d;
}

static void same(double got, double want)
{
    ck_assert_msg(memcmp(&got, &want, sizeof got) == 0, "%a instead of %a", got, want);
}

static void check_sums(void)
{
    for (size_t j = 0; j < COUNT_OF(LENGTHS); j++)
        for (int64_t from = 0; from < 2 && from <= LENGTHS[j]; from++) { // aligned and not
            int64_t n = LENGTHS[j] - from;
            same(reduce_sum(x + from, n), contract(from, n, one));
            same(reduce_sum_f64(wide + from, n), contract(from, n, one_wide));
            same(reduce_sum_squares(x + from, n), contract(from, n, square));
            same(reduce_dot(x + from, y + from, n), contract(from, n, dot));
            same(reduce_sum_squared_difference(x + from, y + from, n),
                 contract(from, n, difference));
        }
}

START_TEST(sums_follow_the_contract_at_every_level)
{
    fill();
    each_level(check_sums);
}
END_TEST

START_TEST(a_sum_of_nothing_or_of_minus_zeros_is_plus_zero)
{
    float zeros[9] = {-0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f};
    same(reduce_sum(zeros, 0), 0.0);
    same(reduce_sum(zeros, 9), 0.0);
    same(reduce_sum(zeros, 3), 0.0);
}
END_TEST

static void check_extremes(void)
{
    static float row[70];
    for (int64_t n = 1; n <= 70; n++)
        for (int64_t at = 0; at < n; at++) {
            for (int64_t i = 0; i < n; i++)
                row[i] = -3.0f - (float)(i % 5);
            row[at] = -2.0f;
            ck_assert(reduce_max(row, n) == -2.0f);
            ck_assert_int_eq(reduce_argmax(row, n), at);
            row[at] = -9.0f;
            ck_assert(reduce_max_abs(row, n) == 9.0f);
            ck_assert_int_eq(reduce_first_nonfinite(row, n), -1);
            ck_assert_int_eq(reduce_first_beyond(row, n, 9.0f), -1);
            ck_assert_int_eq(reduce_first_beyond(row, n, nextafterf(9.0f, 0)), at);
            row[at] = at % 2 ? INFINITY : NAN;
            row[n - 1] = -INFINITY;
            ck_assert_int_eq(reduce_first_nonfinite(row, n), at);
            ck_assert_int_eq(reduce_first_beyond(row, n, 9.0f), at);
        }
}

START_TEST(extremes_are_found_wherever_they_are)
{
    each_level(check_extremes);
}
END_TEST

static void check_edges(void)
{
    float tie[] = {1.0f, 5.0f, -5.0f, 5.0f, 2.0f, 5.0f, 0.0f, 1.0f, 5.0f, 5.0f};
    ck_assert_int_eq(reduce_argmax(tie, 10), 1);
    float nans[] = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    ck_assert(reduce_max(nans, 9) == -INFINITY);
    ck_assert_int_eq(reduce_argmax(nans, 9), 0);
    ck_assert(reduce_max_abs(nans, 9) == 0.0f);
    nans[8] = -7.0f;
    ck_assert(reduce_max(nans, 9) == -7.0f);
    ck_assert_int_eq(reduce_argmax(nans, 9), 8);
    ck_assert(reduce_max_abs(nans, 9) == 7.0f);
    float low[] = {-INFINITY, -INFINITY, NAN};
    ck_assert_int_eq(reduce_argmax(low, 3), 0);
    ck_assert(reduce_max_abs(low, 0) == 0.0f);
    ck_assert(reduce_max_abs(low, 3) == INFINITY);
    float zeros[] = {-0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f, -0.0f};
    for (int64_t n = 1; n <= 10; n++)
        ck_assert(!signbit(reduce_max(zeros, n)) && !signbit(reduce_max_abs(zeros, n)));
}

START_TEST(nan_never_wins_and_ties_go_to_the_lowest)
{
    each_level(check_edges);
}
END_TEST

static float *row, *expected, *result;
static int64_t row_n;
static double row_max, row_lse;

static double exp_term(int64_t i)
{
    return num_exp((double)row[i] - row_max);
}

static void check_softmax(void)
{
    memcpy(result, row, (size_t)row_n * sizeof *result);
    reduce_softmax(result, row_n);
    ck_assert(memcmp(result, expected, (size_t)row_n * sizeof *result) == 0);
    same(reduce_log_sum_exp(row, row_n), row_lse);
}

START_TEST(soft_max_follows_the_contract_at_every_level)
{
    row = calloc(3 * LONGEST, sizeof *row);
    ck_assert(row);
    expected = row + LONGEST;
    result = expected + LONGEST;
    state = 7;
    for (size_t j = 1; j < COUNT_OF(LENGTHS); j++) {
        row_n = LENGTHS[j];
        for (int64_t i = 0; i < row_n; i++)
            row[i] = ((float)(next() >> 40) * 0x1p-23f - 1.0f) * (j % 2 ? 30.0f : 200.0f);
        if (row_n > 2)
            row[row_n / 2] = -INFINITY;
        row_max = (double)reduce_max(row, row_n);
        double sum = contract(0, row_n, exp_term);
        for (int64_t i = 0; i < row_n; i++)
            expected[i] = (float)(exp_term(i) / sum);
        if (row_n > 2)
            ck_assert(expected[row_n / 2] == 0.0f);
        row_lse = num_log(sum) + row_max;
        each_level(check_softmax);
    }
    free(row);
}
END_TEST

static void check_energy(void)
{
    static double energy[LONGEST], want[LONGEST];
    for (size_t j = 0; j < COUNT_OF(LENGTHS); j++) {
        int64_t n = LENGTHS[j];
        for (int64_t i = 0; i < n; i++) {
            energy[i] = wide[i];
            want[i] = wide[i] + (0.37 * (double)y[i]) * (double)y[i];
        }
        reduce_add_energy(energy, y, 0.37, n);
        ck_assert(memcmp(energy, want, (size_t)n * sizeof *want) == 0);
    }
}

START_TEST(energy_is_added_in_its_order)
{
    fill();
    each_level(check_energy);
}
END_TEST

Suite *suite_reduce(void)
{
    Suite *s = suite_create("reduce");
    TCase *c = tcase_create("rows");
    tcase_add_test(c, sums_follow_the_contract_at_every_level);
    tcase_add_test(c, a_sum_of_nothing_or_of_minus_zeros_is_plus_zero);
    tcase_add_test(c, extremes_are_found_wherever_they_are);
    tcase_add_test(c, nan_never_wins_and_ties_go_to_the_lowest);
    tcase_add_test(c, soft_max_follows_the_contract_at_every_level);
    tcase_add_test(c, energy_is_added_in_its_order);
    suite_add_tcase(s, c);
    return s;
}
