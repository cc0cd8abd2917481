// SPDX-License-Identifier: Apache-2.0
#include "tests/refused.h"
#include "tests/two_sides.h"
#include "verify/router_parity.h"

Suite *suite_router_parity(void);

enum { N = 9 };

static two_sides s;
static router_watch w;
static err e = ERR_INIT;

static void setup(void)
{
    two_sides_open(&s, NULL, NULL);
    ASSERT_OK(router_watch_init(&w, s.ref.m, N, &e), e);
}

static void teardown(void)
{
    router_watch_free(&w);
    two_sides_close(&s);
}

static bool hear(int which, int64_t layer, int64_t first, int64_t n, const int32_t *chosen,
                 const float *margin, err *to)
{
    routing r = {.layer = layer, .n_tokens = n, .top_k = 2, .chosen = chosen, .margin = margin};
    return router_watch_add(&w, which, first, &r, to);
}

static void hear_both(int64_t layer, int64_t first, int64_t n, const int32_t *a, const int32_t *b,
                      const float *margin)
{
    ASSERT_OK(hear(0, layer, first, n, a, margin, &e), e);
    ASSERT_OK(hear(1, layer, first, n, b, margin, &e), e);
}

START_TEST(sets_are_counted_by_thirds_of_the_margin)
{
    static const int32_t ref[N][2] = {{0, 1}, {0, 1}, {0, 1}, {0, 2}, {0, 2},
                                      {0, 2}, {1, 3}, {1, 3}, {2, 3}};
    static const int32_t cand[N][2] = {{0, 1}, {0, 2}, {2, 3}, {0, 2}, {0, 2},
                                       {1, 2}, {1, 3}, {1, 3}, {2, 3}};
    static const float margin[N] = {0.9f, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f, 0.8f};
    router_parity *list;
    int64_t n;
    hear_both(0, 0, 4, ref[0], cand[0], margin); // in two groups
    hear_both(0, 4, 5, ref[4], cand[4], margin + 4);
    hear_both(1, 0, N, ref[0], ref[0], margin);
    hear_both(2, 0, N, ref[0], cand[0], margin);
    ASSERT_OK(router_watch_end(&w, &list, &n, &e), e);
    ck_assert_int_eq(n, 3);
    const router_parity *r = &list[0];
    ck_assert_int_eq(r->layer, 0);
    ck_assert_int_eq(r->n, N);
    ck_assert_int_eq(r->n_same, 6);
    ck_assert_int_eq(r->n_shared, 2 * N - 1 - 2 - 1);
    for (int third = 0; third < 3; third++)
        ck_assert_int_eq(r->third_n[third], 3);
    ck_assert_int_eq(r->third_same[0], 1); // margins 0.1 and 0.2 changed, 0.3 did not
    ck_assert_int_eq(r->third_same[1], 2); // 0.5 changed
    ck_assert_int_eq(r->third_same[2], 3);
    ck_assert_float_eq((float)r->third_above[1], 0.4f);
    ck_assert_float_eq((float)r->largest_lost, 0.5f);
    ck_assert_int_eq(list[1].n_same, N);
    ck_assert_double_eq(list[1].largest_lost, 0);
    logit_parity l = {.router = list, .n_routers = n};
    router_parity all = router_parity_total(&l);
    ck_assert_int_eq(all.layer, -1);
    ck_assert_int_eq(all.n, 3 * N);
    ck_assert_int_eq(all.n_same, 6 + N + 6);
    ck_assert_int_eq(all.third_same[0], 1 + 3 + 1);
    ck_assert_float_eq((float)all.largest_lost, 0.5f);
    logit_parity_free(&l);
}
END_TEST

START_TEST(a_layer_nobody_announced_is_a_bug_that_is_told)
{
    static const int32_t chosen[2] = {0, 1};
    static const float margin[1] = {1};
    ASSERT_FAILS(hear(0, 7, 0, 1, chosen, margin, &refused), ERR_INTERNAL, "router of layer 7");
    ASSERT_FAILS(hear(0, 0, N, 1, chosen, margin, &refused), ERR_INTERNAL, "router of layer 0");
}
END_TEST

Suite *suite_router_parity(void)
{
    Suite *suite = suite_create("router_parity");
    TCase *t = tcase_create("router_parity");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, sets_are_counted_by_thirds_of_the_margin);
    tcase_add_test(t, a_layer_nobody_announced_is_a_bug_that_is_told);
    suite_add_tcase(suite, t);
    return suite;
}
