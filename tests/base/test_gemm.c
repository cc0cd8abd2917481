// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/gemm.h"

Suite *suite_gemm(void);

static uint64_t state;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545F4914F6CDD1D);
}

static int64_t below(int64_t n)
{
    return (int64_t)(next() >> 32) % n;
}

static float element(int64_t special)
{
    static const float odd[] = {-0.0f, 0.0f, 1e-45f, -1e-45f, 1e-38f, -3e-39f, 1e-23f, -1e-23f,
                                3e38f, -3e38f, INFINITY, -INFINITY, NAN};
    if (special && below(special) == 0)
        return odd[below(COUNT_OF(odd))];
    return (float)(next() >> 40) * 0x1p-23f - 1.0f;
}

// A product with everything around it: sources with gaps, an offset that breaks alignment, a
// destination with gaps that must stay as they are.
typedef struct {
    gemm_args a;
    float *x, *w, *y, *want;
    int64_t y_floats;
} problem;

static float *floats(int64_t n, int64_t special)
{
    float *p = malloc((size_t)(n + 1) * sizeof *p);
    ck_assert_ptr_nonnull(p);
    for (int64_t i = 0; i < n; i++)
        p[i] = element(special);
    return p;
}

// special: one element in so many is zero, subnormal, huge, infinite or NaN; 0 for none.
static problem problem_new(int64_t m, int64_t n, int64_t k, bool transposed, int64_t special)
{
    problem p = {0};
    int64_t gap = below(4), col = transposed ? 1 + below(2) : 1;
    p.a.m = m;
    p.a.n = n;
    p.a.k = k;
    p.a.x_row = k + gap;
    p.a.y_row = n + below(3);
    p.a.w_row = transposed ? col : k + below(5);
    p.a.w_col = transposed ? n * col + below(5) : 1;
    p.x = floats(m * p.a.x_row + 1, special);
    p.w = floats(n * p.a.w_row + k * p.a.w_col + 1, special);
    p.y_floats = m * p.a.y_row + 1;
    p.y = floats(p.y_floats, 0);
    p.want = malloc((size_t)p.y_floats * sizeof *p.want);
    ck_assert_ptr_nonnull(p.want);
    memset(p.want, 0x55, (size_t)p.y_floats * sizeof *p.want);
    p.a.x = p.x + 1;
    p.a.w = p.w + 1;
    p.a.y = p.y + 1;
    return p;
}

static void problem_free(problem *p)
{
    free(p->x);
    free(p->w);
    free(p->y);
    free(p->want);
}

// The contract, word for word.
static float contract(const gemm_args *a, int64_t t, int64_t o)
{
    float total = 0.0f;
    for (int64_t block = 0; block < a->k; block += 256) {
        float acc = 0.0f;
        for (int64_t i = block; i < a->k && i < block + 256; i++)
            acc = fmaf(a->x[t * a->x_row + i], a->w[o * a->w_row + i * a->w_col], acc);
        total += acc;
    }
    return total;
}

static bool same(const float *a, const float *b)
{
    return memcmp(a, b, sizeof *a) == 0 || (isnan(*a) && isnan(*b));
}

static void run(problem *p, pool *threads)
{
    err e = ERR_INIT;
    memset(p->y, 0x55, (size_t)p->y_floats * sizeof *p->y);
    ck_assert_msg(gemm(&p->a, threads, &e), "%s", e.text);
    for (int64_t i = 0; i < p->y_floats; i++)
        ck_assert_msg(same(p->y + i, p->want + i), "%s, m %d n %d k %d, element %d: %a, not %a",
                      cpu_name(cpu_used()), (int)p->a.m, (int)p->a.n, (int)p->a.k, (int)i,
                      (double)p->y[i], (double)p->want[i]);
}

static void check_levels(problem *p)
{
    err e = ERR_INIT;
    for (int64_t t = 0; t < p->a.m; t++)
        for (int64_t o = 0; o < p->a.n; o++)
            p->want[1 + t * p->a.y_row + o] = contract(&p->a, t, o);
    for (int level = 0; level < CPU_LEVELS; level++)
        if (cpu_has((cpu_level)level)) {
            ck_assert(cpu_use((cpu_level)level, &e));
            run(p, NULL);
        }
}

START_TEST(ragged_shapes_follow_the_contract_at_every_level)
{
    static const int64_t inputs[] = {0, 1, 2, 3, 15, 16, 17, 100, 255, 256, 257, 300, 512, 600};
    state = 4711;
    for (int i = 0; i < 120; i++) {
        int64_t k = inputs[(size_t)i % COUNT_OF(inputs)];
        problem p = problem_new(1 + below(14), 1 + below(70), k, i % 3 == 0, i % 4 == 1 ? 20 : 0);
        check_levels(&p);
        problem_free(&p);
    }
}
END_TEST

START_TEST(every_number_of_rows_has_its_tile)
{
    state = 17;
    for (int64_t m = 1; m <= 25; m++) {
        problem p = problem_new(m, 33, 37, false, 0);
        check_levels(&p);
        problem_free(&p);
    }
}
END_TEST

// acc + a b with a b so near to half a unit of acc's last place that binary64 cannot tell them
// apart: who rounds the sum to binary64 first rounds a tie that is none. m = 1, k = 2.
static void check_near_tie(float acc, float a, float b)
{
    problem p = problem_new(1, 9, 2, false, 0);
    p.x[1] = 1.0f;
    p.x[2] = a;
    for (int64_t o = 0; o < 9; o++) {
        p.w[1 + o * p.a.w_row] = acc;
        p.w[2 + o * p.a.w_row] = b;
    }
    check_levels(&p);
    problem_free(&p);
}

START_TEST(a_sum_beside_a_tie_is_rounded_once)
{
    state = 6;
    int above = 0, below_it = 0;
    while (above < 20 || below_it < 20) { // a b = 2^47 + r, |r| small: both have 24 bits
        int64_t a = (INT64_C(1) << 23) + below(1 << 23);
        int64_t b = ((INT64_C(1) << 47) + a / 2) / a, r = a * b - (INT64_C(1) << 47);
        if (r == 0 || r > 1 << 17 || r < -(1 << 17) || b >= 1 << 24)
            continue;
        above += r > 0;
        below_it += r < 0;
        float half = ldexpf((float)b, -47 - 24); // a half = 2^-24 and a hair
        check_near_tie(1.0f, (float)a, half);
        check_near_tie(1.0f + 0x1p-23f, (float)a, half);
        check_near_tie(-1.0f - 0x1p-23f, -(float)a, half);
        check_near_tie(ldexpf(1.0f, -126), ldexpf((float)a, -63), ldexpf(half, -63));
    }
}
END_TEST

START_TEST(subnormal_sums_are_rounded_once)
{
    for (int i = 1; i < 6; i += 2) { // 2^-150 (1 - 2^-46) above an odd multiple of 2^-149
        float acc = 0x1p-128f + (float)i * 0x1p-149f;
        check_near_tie(acc, ldexpf(1.0f + 0x1p-23f, -75), ldexpf(1.0f - 0x1p-23f, -75));
        check_near_tie(-acc, ldexpf(1.0f + 0x1p-23f, -75), ldexpf(-1.0f + 0x1p-23f, -75));
    }
    state = 5;
    problem p = problem_new(13, 40, 300, false, 0);
    for (int round = 0; round < 3; round++) {
        for (int64_t i = 0; i < p.a.m * p.a.x_row; i++)
            p.x[i + 1] = ldexpf(element(0), round == 1 ? -100 : -72);
        for (int64_t i = 0; i < p.a.n * p.a.w_row; i++)
            p.w[i + 1] = ldexpf(element(0), round == 2 ? -48 : -60);
        check_levels(&p);
    }
    problem_free(&p);
}
END_TEST

START_TEST(more_tokens_than_one_tile_share_their_panels)
{
    state = 23;
    static const int64_t shape[][3] = {{241, 9, 257}, {490, 34, 40}, {245, 2, 1100}};
    for (size_t i = 0; i < COUNT_OF(shape); i++)
        for (int transposed = 0; transposed < 2; transposed++) {
            problem p = problem_new(shape[i][0], shape[i][1], shape[i][2], transposed, 0);
            check_levels(&p);
            problem_free(&p);
        }
}
END_TEST

START_TEST(no_inputs_give_plus_zero)
{
    problem p = problem_new(3, 5, 0, false, 0);
    check_levels(&p);
    for (int64_t t = 0; t < 3; t++)
        for (int64_t o = 0; o < 5; o++)
            ck_assert(!signbit(p.a.y[t * p.a.y_row + o]));
    problem_free(&p);
    err e = ERR_INIT;
    ck_assert(gemm(&(gemm_args){.m = 0, .n = 4, .k = 4}, NULL, &e));
    ck_assert(gemm(&(gemm_args){.m = 4, .n = 0, .k = 4}, NULL, &e));
}
END_TEST

START_TEST(threads_change_no_bit)
{
    state = 31;
    err e = ERR_INIT;
    static const int64_t shape[][3] = {{1, 500, 300}, {30, 130, 600}, {700, 90, 300}, {5, 1, 7}};
    for (size_t i = 0; i < COUNT_OF(shape); i++) {
        problem p = problem_new(shape[i][0], shape[i][1], shape[i][2], i % 2, 0);
        ck_assert(gemm(&p.a, NULL, &e));
        for (int64_t t = 0; t < p.a.m; t++)
            memcpy(p.want + 1 + t * p.a.y_row, p.y + 1 + t * p.a.y_row,
                   (size_t)p.a.n * sizeof *p.y);
        static const int counts[] = {1, 2, 7};
        for (size_t c = 0; c < COUNT_OF(counts); c++) {
            pool *threads;
            ck_assert_msg(pool_open(&threads, counts[c], &e), "%s", e.text);
            run(&p, threads);
            pool_close(threads);
        }
        problem_free(&p);
    }
}
END_TEST

// Several rounds of shared panels in k and in outputs; too large for the scalar contract, so single
// outputs are looked at, and the plain level is left out.
START_TEST(rounds_of_shared_panels_add_up)
{
    state = 37;
    err e = ERR_INIT;
    if (cpu_best() == CPU_PLAIN)
        return;
    problem p = problem_new(250, 1100, 1100, false, 0);
    memset(p.y, 0x55, (size_t)p.y_floats * sizeof *p.y);
    ck_assert(gemm(&p.a, NULL, &e));
    for (int i = 0; i < 3000; i++) {
        int64_t t = below(p.a.m), o = below(p.a.n);
        float want = contract(&p.a, t, o);
        ck_assert(same(&p.a.y[t * p.a.y_row + o], &want));
    }
    problem_free(&p);
}
END_TEST

Suite *suite_gemm(void)
{
    Suite *s = suite_create("gemm");
    TCase *c = tcase_create("products");
    tcase_set_timeout(c, 60); // sanitizers on a busy machine
    tcase_add_test(c, ragged_shapes_follow_the_contract_at_every_level);
    tcase_add_test(c, every_number_of_rows_has_its_tile);
    tcase_add_test(c, subnormal_sums_are_rounded_once);
    tcase_add_test(c, a_sum_beside_a_tie_is_rounded_once);
    tcase_add_test(c, more_tokens_than_one_tile_share_their_panels);
    tcase_add_test(c, no_inputs_give_plus_zero);
    tcase_add_test(c, threads_change_no_bit);
    tcase_add_test(c, rounds_of_shared_panels_add_up);
    suite_add_tcase(s, c);
    return s;
}
