// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <string.h>

#include "verify/router.h"

Suite *suite_router(void);

typedef struct {
    int32_t chosen[8];
    float share[8], margin;
} choice;

static choice choose(const arch *a, const float *bias, const float *logits)
{
    float scores[64], hold[128];
    choice c = {0};
    router r = {a, bias};
    memcpy(scores, logits, (size_t)a->n_experts * sizeof *scores);
    router_choose(&r, scores, hold, c.chosen, c.share, &c.margin);
    return c;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static arch sigmoid_of_8(void)
{
    return (arch){.n_experts = 8, .top_k = 2, .n_group = 1, .topk_group = 1,
                  .score = SCORE_SIGMOID, .group_score = GROUP_TOP2_SUM, .select_bias = true,
                  .renorm = true, .renorm_eps = 1e-20, .route_scale = 2.5};
}

START_TEST(bias_decides_the_choice_but_not_the_weights)
{
    arch a = sigmoid_of_8();
    float logits[8] = {2, 1, 0, -1, -2, -3, -4, -5};
    float bias[8] = {0, -1, 0, 0, 0, 0, 0, 1};
    choice c = choose(&a, bias, logits);
    ck_assert_int_eq(c.chosen[0], 0);
    ck_assert_int_eq(c.chosen[1], 7);
    double s0 = sigmoid(2), s7 = sigmoid(-5);
    ck_assert_float_eq_tol(c.share[0], (float)(s0 / (s0 + s7) * 2.5), 1e-6f);
    ck_assert_float_eq_tol(c.share[1], (float)(s7 / (s0 + s7) * 2.5), 1e-6f);
    ck_assert_float_eq_tol(c.margin, (float)(sigmoid(2) - 0.5), 1e-6f);
}
END_TEST

START_TEST(without_renormalising_weights_are_the_scores)
{
    arch a = {.n_experts = 4, .top_k = 2, .score = SCORE_SOFTMAX, .route_scale = 1};
    float logits[4] = {0, 1, 2, 3};
    choice c = choose(&a, NULL, logits);
    double sum = 1 + exp(1) + exp(2) + exp(3);
    ck_assert_int_eq(c.chosen[0], 2);
    ck_assert_int_eq(c.chosen[1], 3);
    ck_assert_float_eq_tol(c.share[0], (float)(exp(2) / sum), 1e-7f);
    ck_assert_float_eq_tol(c.share[1], (float)(exp(3) / sum), 1e-7f);
    ck_assert_float_eq_tol(c.margin, (float)((exp(2) - exp(1)) / sum), 1e-7f);
    a.renorm = true;
    choice n = choose(&a, NULL, logits);
    ck_assert_float_eq_tol(n.share[0] + n.share[1], 1.0f, 1e-6f);
    ck_assert_float_ne(n.share[0], c.share[0]);
}
END_TEST

START_TEST(ties_go_to_the_lowest_index)
{
    arch a = sigmoid_of_8();
    float logits[8] = {0, 1, 1, 1, 0, 1, 0, 0}, bias[8] = {0};
    choice c = choose(&a, bias, logits);
    ck_assert_int_eq(c.chosen[0], 1);
    ck_assert_int_eq(c.chosen[1], 2);
    ck_assert_float_eq(c.margin, 0.0f);
}
END_TEST

START_TEST(groups_count_by_their_two_best)
{
    arch a = sigmoid_of_8();
    a.n_group = 4;
    float bias[8] = {0};
    float logits[8] = {3, -9, 1, 1, 0, 0, -1, -1}; // sums .95, 1.46, 1, .54
    choice c = choose(&a, bias, logits);
    ck_assert_int_eq(c.chosen[0], 2);
    ck_assert_int_eq(c.chosen[1], 3);
    ck_assert(isinf(c.margin) && c.margin > 0); // nothing else is allowed
    a.topk_group = 2;
    c = choose(&a, bias, logits);
    ck_assert_float_eq_tol(c.margin, (float)(sigmoid(1) - 0.5), 1e-6f);
    a.group_score = GROUP_MAX;
    c = choose(&a, bias, logits);
    ck_assert_int_eq(c.chosen[0], 0);
    ck_assert_int_eq(c.chosen[1], 2);
}
END_TEST

// Zero in place of minus infinity for dropped groups would let them back in here.
START_TEST(dropped_groups_stay_out_when_all_scores_are_negative)
{
    arch a = sigmoid_of_8();
    a.n_group = 2;
    float logits[8] = {1, 1, 1, 1, 0, 0, 0, 0};
    float bias[8] = {-3, -3, -3, -3, -3, -3, -3, -3};
    choice c = choose(&a, bias, logits);
    ck_assert_int_eq(c.chosen[0], 0);
    ck_assert_int_eq(c.chosen[1], 1);
}
END_TEST

START_TEST(chosen_experts_are_ascending_with_their_own_weights)
{
    arch a = {.n_experts = 64, .top_k = 8, .score = SCORE_SOFTMAX, .route_scale = 1};
    for (uint32_t seed = 1; seed < 50; seed++) {
        float logits[64];
        uint32_t x = seed;
        for (int i = 0; i < 64; i++) {
            x = x * 1664525u + 1013904223u;
            logits[i] = (float)(x >> 8) / 4e6f;
        }
        choice c = choose(&a, NULL, logits);
        double sum = 0;
        for (int i = 0; i < 64; i++)
            sum += exp(logits[i]);
        for (int k = 0; k < 8; k++) {
            int better = 0;
            for (int i = 0; i < 64; i++)
                better += logits[i] > logits[c.chosen[k]];
            ck_assert_int_lt(better, 8);
            ck_assert(k == 0 || c.chosen[k] > c.chosen[k - 1]);
            ck_assert_float_eq_tol(c.share[k], (float)(exp(logits[c.chosen[k]]) / sum), 1e-6f);
        }
    }
}
END_TEST

START_TEST(refuses_choices_that_cannot_be_made)
{
    err e = ERR_INIT;
    arch a = sigmoid_of_8();
    ck_assert(router_check(&a, &e));
    a.top_k = 9;
    ck_assert(!router_check(&a, &e));
    ck_assert_str_eq(e.text, "the router chooses 9 of 8 experts");
    a.top_k = 3;
    a.n_group = 3;
    ck_assert(!router_check(&a, &e));
    ck_assert_str_eq(e.text, "8 experts do not divide into 3 groups");
    a.n_group = 4;
    ck_assert(!router_check(&a, &e));
    ck_assert_str_eq(e.text, "1 of 4 groups of 2 experts do not hold the 3 of a token");
    ck_assert_int_eq(e.kind, ERR_INPUT);
}
END_TEST

Suite *suite_router(void)
{
    Suite *s = suite_create("router");
    TCase *c = tcase_create("choosing");
    tcase_add_test(c, bias_decides_the_choice_but_not_the_weights);
    tcase_add_test(c, without_renormalising_weights_are_the_scores);
    tcase_add_test(c, ties_go_to_the_lowest_index);
    tcase_add_test(c, groups_count_by_their_two_best);
    tcase_add_test(c, dropped_groups_stay_out_when_all_scores_are_negative);
    tcase_add_test(c, chosen_experts_are_ascending_with_their_own_weights);
    tcase_add_test(c, refuses_choices_that_cannot_be_made);
    suite_add_tcase(s, c);
    return s;
}
