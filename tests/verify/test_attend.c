// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "verify/attend.h"
#include "verify/norm.h"

Suite *suite_attend(void);

enum { LEN = 200, QK = 24, V = 10, HEADS = 3 };

static float noise(uint32_t *x)
{
    *x = *x * 1664525u + 1013904223u;
    return (float)(*x >> 8) / 8388608.0f - 1.0f;
}

typedef struct {
    float q[LEN * HEADS * QK], k[LEN * QK], v[LEN * HEADS * V], o[LEN * V];
    float scores[ATTEND_TILE * LEN];
} arrays;

static attend_args fill(arrays *a, int64_t len)
{
    uint32_t x = 7;
    for (int i = 0; i < LEN * HEADS * QK; i++)
        a->q[i] = 3 * noise(&x);
    for (int i = 0; i < LEN * QK; i++)
        a->k[i] = noise(&x);
    for (int i = 0; i < LEN * HEADS * V; i++)
        a->v[i] = noise(&x);
    return (attend_args){.q = a->q + QK, .q_row = HEADS * QK, .k = a->k, .k_row = QK,
                         .v = a->v + 2 * V, .v_row = HEADS * V, .o = a->o, .o_row = V,
                         .len = len, .qk_dim = QK, .v_dim = V, .scale = 0.4f};
}

START_TEST(agrees_with_the_formula)
{
    arrays *a = calloc(1, sizeof *a);
    attend_args args = fill(a, LEN);
    err e = ERR_INIT;
    ck_assert(attend(&args, a->scores, &e));
    for (int t = 0; t < LEN; t++) {
        double p[LEN], sum = 0;
        for (int s = 0; s <= t; s++) {
            double dot = 0;
            for (int d = 0; d < QK; d++)
                dot += (double)args.q[t * args.q_row + d] * (double)args.k[s * QK + d];
            sum += p[s] = exp(dot * 0.4);
        }
        for (int d = 0; d < V; d++) {
            double want = 0;
            for (int s = 0; s <= t; s++)
                want += p[s] / sum * (double)args.v[s * args.v_row + d];
            ck_assert_double_eq_tol(a->o[t * V + d], want, 2e-6);
        }
    }
    free(a);
}
END_TEST

START_TEST(first_token_sees_only_itself)
{
    arrays *a = calloc(1, sizeof *a);
    attend_args args = fill(a, 70);
    err e = ERR_INIT;
    ck_assert(attend(&args, a->scores, &e));
    ck_assert_mem_eq(a->o, args.v, V * sizeof(float));
    free(a);
}
END_TEST

START_TEST(later_tokens_do_not_move_a_bit_of_earlier_ones)
{
    arrays *a = calloc(1, sizeof *a);
    attend_args args = fill(a, LEN);
    err e = ERR_INIT;
    float whole[LEN * V];
    ck_assert(attend(&args, a->scores, &e));
    memcpy(whole, a->o, sizeof whole);
    for (int64_t len = 1; len < LEN; len += 33) {
        args.len = len;
        memset(a->o, 0, sizeof a->o);
        ck_assert(attend(&args, a->scores, &e));
        ck_assert_mem_eq(a->o, whole, (size_t)(len * V) * sizeof(float));
    }
    free(a);
}
END_TEST

START_TEST(norm_agrees_with_the_formula_in_place_and_strided)
{
    enum { ROWS = 3, N = 37 };
    float x[ROWS * 50], y[ROWS * N], w[N];
    uint32_t seed = 3;
    for (int i = 0; i < ROWS * 50; i++)
        x[i] = noise(&seed);
    for (int i = 0; i < N; i++)
        w[i] = noise(&seed);
    err e = ERR_INIT;
    rms_norm_args args = {y, x, N, 50, w, ROWS, N, 1e-2};
    ck_assert(rms_norm(NULL, &args, &e));
    for (int r = 0; r < ROWS; r++) {
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += (double)x[r * 50 + i] * (double)x[r * 50 + i];
        for (int i = 0; i < N; i++)
            ck_assert_double_eq_tol(y[r * N + i], (double)w[i] * (double)x[r * 50 + i] /
                                    sqrt(sum / N + 1e-2), 1e-7);
    }
    args.y = x;
    args.y_row = 50;
    ck_assert(rms_norm(NULL, &args, &e));
    for (int r = 0; r < ROWS; r++)
        ck_assert_mem_eq(x + r * 50, y + r * N, N * sizeof(float));
}
END_TEST

Suite *suite_attend(void)
{
    Suite *s = suite_create("attend");
    TCase *c = tcase_create("attention");
    tcase_add_test(c, agrees_with_the_formula);
    tcase_add_test(c, first_token_sees_only_itself);
    tcase_add_test(c, later_tokens_do_not_move_a_bit_of_earlier_ones);
    tcase_add_test(c, norm_agrees_with_the_formula_in_place_and_strided);
    suite_add_tcase(s, c);
    return s;
}
