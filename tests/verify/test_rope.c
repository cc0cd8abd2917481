// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <string.h>

#include "verify/rope.h"

Suite *suite_rope(void);

static arch deepseek(void)
{
    return (arch){.mixer = MIXER_MLA, .qk_nope = 128, .qk_rope = 64, .v_dim = 128,
                  .rope = ROPE_PAIR, .scaling = ROPE_YARN, .rope_theta = 1e4, .yarn_factor = 40,
                  .yarn_original = 4096, .yarn_beta_fast = 32, .yarn_beta_slow = 1,
                  .yarn_mscale = 1, .yarn_mscale_all_dim = 1};
}

static arch plain(rope_style style, int64_t dims)
{
    return (arch){.mixer = MIXER_GQA, .head_dim = dims, .rope = style, .scaling = ROPE_PLAIN,
                  .rope_theta = 1e4};
}

static void ck_near(double got, double want, double tolerance)
{
    ck_assert_msg(fabs(got - want) <= tolerance * fabs(want), "%.12g, expected %.12g", got, want);
}

// Published check values of DeepSeek-V3's YaRN, nine decimals.
START_TEST(yarn_frequencies_are_the_published_ones)
{
    static const struct { int j; double f; } want[] = {
        {0, 1.0}, {8, 1e-1}, {10, 5.623413252e-02}, {12, 2.687936011e-02}, {15, 8.334508951e-03},
        {16, 5.5e-03}, {20, 7.905694150e-04}, {23, 3.333803580e-05}, {25, 1.874735523e-05},
        {31, 3.333803580e-06}};
    arch a = deepseek();
    double f[32];
    rope_frequencies(&a, 64, f);
    for (size_t i = 0; i < COUNT_OF(want); i++)
        ck_near(f[want[i].j], want[i].f, 1e-9);
}
END_TEST

// Kimi-K2: corr(1) = 19.1646, so pairs 0 .. 19 keep their frequency and 20 .. 31 are stretched.
START_TEST(yarn_ramp_may_be_a_step)
{
    arch a = deepseek();
    a.rope_theta = 50000;
    a.yarn_factor = 32;
    a.yarn_beta_fast = 1;
    double f[32];
    rope_frequencies(&a, 64, f);
    for (int j = 0; j < 32; j++) {
        double base = pow(50000, -2.0 * j / 64);
        ck_near(f[j], j <= 19 ? base : base / 32, 1e-12);
    }
}
END_TEST

START_TEST(softmax_scales_are_the_published_ones)
{
    arch a = deepseek();
    ck_near(rope_softmax_scale(&a), 0.1352337789, 1e-7);
    a.yarn_mscale = a.yarn_mscale_all_dim = 0.707; // V2-Lite
    ck_near(rope_softmax_scale(&a), 0.1147213868, 1e-7);
    a.scaling = ROPE_PLAIN; // VL2
    ck_near(rope_softmax_scale(&a), 0.0721687836, 1e-7);
    arch g = plain(ROPE_HALF, 128);
    ck_near(rope_softmax_scale(&g), 1 / sqrt(128), 1e-7);
}
END_TEST

START_TEST(amplitude_follows_the_config)
{
    arch a = deepseek();
    ck_assert_double_eq(rope_amplitude(&a), 1.0);
    a.yarn_mscale = a.yarn_mscale_all_dim = 0;
    a.yarn_factor = 32;
    ck_near(rope_amplitude(&a), 1.346573590, 1e-9);
    a.yarn_attention_factor = 1.25;
    ck_assert_double_eq(rope_amplitude(&a), 1.25);
    a.scaling = ROPE_PLAIN;
    ck_assert_double_eq(rope_amplitude(&a), 1.0);
}
END_TEST

START_TEST(turns_pairs_and_halves)
{
    float pair[4] = {1, 2, 3, 4}, half[4] = {1, 2, 3, 4};
    arch p = plain(ROPE_PAIR, 4), h = plain(ROPE_HALF, 4);
    rope rp, rh;
    err e = ERR_INIT;
    ck_assert(rope_init(&rp, &p, 8, &e) && rope_init(&rh, &h, 8, &e));
    rope_turn(&rp, 5, pair);
    rope_turn(&rh, 5, half);
    double c0 = cos(5), s0 = sin(5), c1 = cos(0.05), s1 = sin(0.05);
    ck_near(pair[0], 1 * c0 - 2 * s0, 1e-6);
    ck_near(pair[1], 2 * c0 + 1 * s0, 1e-6);
    ck_near(pair[2], 3 * c1 - 4 * s1, 1e-6);
    ck_near(pair[3], 4 * c1 + 3 * s1, 1e-6);
    ck_near(half[0], 1 * c0 - 3 * s0, 1e-6);
    ck_near(half[2], 3 * c0 + 1 * s0, 1e-6);
    ck_near(half[1], 2 * c1 - 4 * s1, 1e-6);
    ck_near(half[3], 4 * c1 + 2 * s1, 1e-6);
    rope_free(&rp);
    rope_free(&rh);
}
END_TEST

START_TEST(position_zero_does_not_turn)
{
    float x[6] = {1, -2, 3, 4, 5, 6}, was[6];
    memcpy(was, x, sizeof x);
    arch a = plain(ROPE_HALF, 6);
    rope r;
    err e = ERR_INIT;
    ck_assert(rope_init(&r, &a, 1, &e));
    rope_turn(&r, 0, x);
    ck_assert_mem_eq(x, was, sizeof x);
    rope_free(&r);
}
END_TEST

START_TEST(rows_begin_again_in_each_window)
{
    // 2 windows of 3 tokens, 2 heads of 4 inside rows of 10.
    float x[60];
    for (int i = 0; i < 60; i++)
        x[i] = (float)(i % 30);
    arch a = plain(ROPE_PAIR, 4);
    rope r;
    err e = ERR_INIT;
    ck_assert(rope_init(&r, &a, 3, &e));
    rope_rows rows = {x + 1, 10, 5, 6, 2};
    ck_assert(rope_turn_rows(&r, NULL, &rows, &e));
    ck_assert_mem_eq(x, x + 30, 30 * sizeof *x);
    float head[4] = {26, 27, 28, 29};
    rope_turn(&r, 2, head);
    ck_assert_mem_eq(x + 26, head, sizeof head);
    ck_assert_float_eq(x[25], 25); // between the heads nothing moves
    rope_free(&r);
}
END_TEST

Suite *suite_rope(void)
{
    Suite *s = suite_create("rope");
    TCase *c = tcase_create("rope");
    tcase_add_test(c, yarn_frequencies_are_the_published_ones);
    tcase_add_test(c, yarn_ramp_may_be_a_step);
    tcase_add_test(c, softmax_scales_are_the_published_ones);
    tcase_add_test(c, amplitude_follows_the_config);
    tcase_add_test(c, turns_pairs_and_halves);
    tcase_add_test(c, position_zero_does_not_turn);
    tcase_add_test(c, rows_begin_again_in_each_window);
    suite_add_tcase(s, c);
    return s;
}
