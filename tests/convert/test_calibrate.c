// SPDX-License-Identifier: Apache-2.0
// Calibration of tiny models: the same file whatever computes it, runs that add up, importance.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/json.h"
#include "base/mem.h"
#include "convert/calibrate.h"
#include "verify/forward.h"
#include "tests/refused.h"
#include "tests/temp.h"
#include "tests/tiny_model.h"

Suite *suite_calibrate(void);

enum { WINDOWS = 12, LEN = 9 };

static tiny t;
static checkpoint *source;
static model *bound;
static int32_t tokens[WINDOWS * LEN];
static windows all;
static calibrate_options order;

static void set_up(void)
{
    static const tiny_shape dense_first = {"model.", "", false, 0, false};
    err e = ERR_INIT;
    temp_prefer_memory();
    tiny_init(&t);
    tiny_deepseek_v3(&t, &dense_first);
    tiny_write(&t, tiny_deepseek_v3_config);
    ASSERT_OK(checkpoint_open(&source, t.dir, NULL, &e), e);
    ASSERT_OK(model_open(&bound, source, NULL, &e), e);
    for (int i = 0; i < WINDOWS * LEN; i++)
        tokens[i] = (i * i + 3 * i / 5) % 16;
    all = (windows){.tokens = tokens, .n = WINDOWS, .len = LEN, .n_input = 110, .dropped = 2};
    order = (calibrate_options){.model = bound, .windows = &all, .memory = 1 << 30};
}

static void tear_down(void)
{
    pool_close(order.pool);
    model_close(bound);
    checkpoint_close(source);
    tiny_free(&t);
}

static void run(stats_file *f)
{
    err e = ERR_INIT;
    ASSERT_OK(calibrate(f, &order, &e), e);
}

// The digest of the file that the run gives.
static void digest_of_run(sha256_digest *sum)
{
    stats_file f;
    err e = ERR_INIT;
    run(&f);
    ASSERT_OK(stats_file_write(&f, temp_path(t.dir, "stats"), true, &e), e);
    ASSERT_OK(sha256_of_file(temp_path(t.dir, "stats"), sum, &e), e);
    stats_file_free(&f);
}

// What holds one window, and not two.
static uint64_t least_memory(void)
{
    stats_file f;
    order.memory = 1000;
    ASSERT_FAILS(calibrate(&f, &order, &refused), ERR_ENV, "the smallest ceiling that does is ");
    return strtoull(strstr(refused.text, "does is ") + 8, NULL, 10);
}

START_TEST(threads_levels_and_memory_do_not_change_a_byte)
{
    static const int threads[] = {1, 2, 7};
    sha256_digest first, now;
    err e = ERR_INIT;
    cpu_level level = cpu_used();
    digest_of_run(&first);
    for (int k = 0; k < CPU_LEVELS; k++) {
        if (!cpu_has((cpu_level)k))
            continue;
        ASSERT_OK(cpu_use((cpu_level)k, &e), e);
        for (size_t i = 0; i < 2 * COUNT_OF(threads); i++) {
            ASSERT_OK(pool_open(&order.pool, threads[i / 2], &e), e);
            order.memory = i % 2 ? least_memory() : 1 << 30;
            digest_of_run(&now);
            pool_close(order.pool);
            order.pool = NULL;
            ck_assert_msg(memcmp(first.b, now.b, sizeof now.b) == 0, "%s, %d threads, %llu bytes",
                          cpu_name((cpu_level)k), threads[i / 2],
                          (unsigned long long)order.memory);
        }
    }
    ASSERT_OK(cpu_use(level, &e), e);
}
END_TEST

START_TEST(memory_that_is_too_small_names_what_would_do)
{
    stats_file f;
    uint64_t least = least_memory();
    order.memory = least;
    // The sums alone: 2 layers of 4 experts with 64 and 32 columns.
    ck_assert_uint_gt(order.memory, 2 * 4 * (64 + 32) * 8);
    sha256_digest small, large;
    digest_of_run(&small);
    order.memory = 1 << 30;
    digest_of_run(&large);
    ck_assert_mem_eq(small.b, large.b, sizeof small.b);
    order.memory = least - 1;
    ASSERT_FAILS(calibrate(&f, &order, &refused), ERR_ENV, "the smallest ceiling that does is ");
    ck_assert_ptr_null(f.set);
}
END_TEST

START_TEST(every_linear_matrix_has_a_set_of_its_input)
{
    stats_file f;
    run(&f);
    for (int64_t layer = 0; layer < 3; layer++)
        for (int r = 0; r < ROLE_COUNT; r++) {
            bool expert = role_is_expert((role)r);
            const weight *w = model_weight(bound, (role)r, layer, expert ? 0 : -1);
            if (!w || !role_is_linear((role)r))
                continue;
            role under = forward_announced_as(model_arch(bound), (role)r);
            const stats *s = stats_file_find(&f, under, layer);
            ck_assert_msg(s, "%s of layer %d", role_name((role)r), (int)layer);
            ck_assert_int_eq(s->cols, w->in);
            ck_assert_int_eq(s->n_experts, expert ? 4 : 1);
            int64_t seen = 0;
            for (int64_t x = 0; x < s->n_experts; x++)
                seen += s->count[x];
            ck_assert_int_eq(seen, WINDOWS * LEN * (expert ? 2 : 1)); // two experts a token
            if (!expert)
                ck_assert(s->weight_sum[0] == WINDOWS * LEN);
        }
    stats_file_free(&f);
}
END_TEST

START_TEST(the_file_carries_what_it_was_made_from)
{
    stats_file f;
    json *j;
    err e = ERR_INIT;
    all.with_bos = true;
    run(&f);
    ASSERT_OK(json_parse(&j, f.made_from, strlen(f.made_from), "made_from", &e), e);
    ck_assert_int_eq(json_len(j), 1);
    const json *one = json_first(j);
    int64_t n;
    bool bos;
    ck_assert_str_eq(json_as_text(json_get(one, "family")), "deepseek_v3");
    ck_assert(json_as_int(json_get(one, "windows"), &n) && n == WINDOWS);
    ck_assert(json_as_int(json_get(one, "context"), &n) && n == LEN);
    ck_assert(json_as_int(json_get(one, "dropped_tokens"), &n) && n == 2);
    ck_assert(json_as_bool(json_get(one, "bos"), &bos) && bos);
    ck_assert_uint_eq(strlen(json_as_text(json_get(one, "tokens_sha256"))), 64);
    const json *file = json_first(json_path(one, "model.files"));
    ck_assert_str_eq(json_as_text(json_get(file, "name")), "model.safetensors");
    json_free(j);
    stats_file_free(&f);
}
END_TEST

static bool near(double a, double b) { return fabs(a - b) <= 1e-12 * (fabs(a) + fabs(b)); }

START_TEST(runs_over_parts_add_up_to_the_run_over_all)
{
    // Counts exactly. Sums are binary64: (a + b) + (c + d) and ((a + b) + c) + d round apart.
    stats_file whole, first, second;
    err e = ERR_INIT;
    run(&whole);
    all.n = 5;
    run(&first);
    all.tokens = tokens + 5 * LEN;
    all.n = WINDOWS - 5;
    run(&second);
    ASSERT_OK(stats_file_merge(&first, &second, &e), e);
    ck_assert_int_eq(first.n, whole.n);
    for (int64_t i = 0; i < whole.n; i++) {
        const stats *a = &whole.set[i].sums, *b = &first.set[i].sums;
        for (int64_t x = 0; x < a->n_experts; x++) {
            ck_assert_int_eq(a->count[x], b->count[x]);
            ck_assert(near(a->weight_sum[x], b->weight_sum[x]));
            ck_assert(near(a->weight_sq_sum[x], b->weight_sq_sum[x]));
            for (int64_t k = 0; k < a->cols; k++)
                ck_assert(near(a->energy[x * a->cols + k], b->energy[x * a->cols + k]));
        }
    }
    stats_file_free(&whole);
    stats_file_free(&first);
    stats_file_free(&second);
}
END_TEST

START_TEST(runs_of_one_token_an_expert_add_up_bit_for_bit)
{
    // Windows of one token each: every merge is one addition, in the order of the run.
    stats_file whole, parts = {0};
    err e = ERR_INIT;
    all.len = 1;
    all.n = 20;
    run(&whole);
    for (int64_t i = 0; i < 20; i++) {
        stats_file one;
        all.tokens = tokens + i;
        all.n = 1;
        run(&one);
        ASSERT_OK(stats_file_merge(&parts, &one, &e), e);
        stats_file_free(&one);
    }
    for (int64_t i = 0; i < whole.n; i++) {
        const stats *a = &whole.set[i].sums;
        const stats *b = stats_file_find(&parts, whole.set[i].role, whole.set[i].layer);
        size_t n = (size_t)a->n_experts * 8;
        ck_assert_mem_eq(a->energy, b->energy, n * (size_t)a->cols);
        ck_assert_mem_eq(a->weight_sum, b->weight_sum, n);
        ck_assert_mem_eq(a->count, b->count, n);
    }
    stats_file_free(&whole);
    stats_file_free(&parts);
}
END_TEST

START_TEST(tokens_outside_the_vocabulary_are_refused)
{
    stats_file f;
    tokens[3 * LEN + 4] = 16;
    ASSERT_REFUSED(calibrate(&f, &order, &refused), "window 3, position 4: token 16");
    ck_assert_ptr_null(f.set);
    ck_assert_ptr_null(f.made_from);
}
END_TEST

// ---- importance ----

START_TEST(importance_is_that_of_the_announced_input)
{
    stats_file f;
    err e = ERR_INIT;
    bool has;
    float gate[64], up[64], shared[64];
    run(&f);
    importance_source s = {&f, bound};
    ASSERT_OK(importance_of(&s, ROLE_EXPERT_GATE, 1, 2, 64, gate, &has, &e), e);
    ck_assert(has);
    ASSERT_OK(importance_of(&s, ROLE_EXPERT_UP, 1, 2, 64, up, &has, &e), e);
    ck_assert(has);
    ck_assert_mem_eq(gate, up, sizeof gate); // they take the same input
    ASSERT_OK(importance_of(&s, ROLE_SHARED_GATE, 1, -1, 64, shared, &has, &e), e);
    ck_assert(has);
    ck_assert_mem_ne(gate, shared, sizeof gate);
    for (int i = 0; i < 64; i++)
        ck_assert(gate[i] > 0 && shared[i] > 0);
    stats_file_free(&f);
}
END_TEST

START_TEST(the_prior_of_down_is_equal_in_all_columns)
{
    // An expert that was never hit has the prior alone: the layer's energies for gate and up, their
    // mean for down.
    stats_file f = {0};
    stats_set *gate, *down;
    err e = ERR_INIT;
    bool has;
    float to[64];
    ASSERT_OK(stats_file_set(&f, ROLE_EXPERT_GATE, 1, 4, 64, &gate, &e), e);
    for (int k = 0; k < 64; k++)
        gate->sums.energy[k] = k + 1;
    gate->sums.weight_sum[0] = gate->sums.weight_sq_sum[0] = 1;
    ASSERT_OK(stats_file_set(&f, ROLE_EXPERT_DOWN, 1, 4, 32, &down, &e), e);
    for (int k = 0; k < 32; k++)
        down->sums.energy[k] = k + 1;
    down->sums.weight_sum[0] = down->sums.weight_sq_sum[0] = 1;
    importance_source s = {&f, bound};
    ASSERT_OK(importance_of(&s, ROLE_EXPERT_UP, 1, 3, 64, to, &has, &e), e);
    for (int k = 1; k < 64; k++)
        ck_assert(to[k] == to[0] * (float)(k + 1));
    ASSERT_OK(importance_of(&s, ROLE_EXPERT_DOWN, 1, 3, 32, to, &has, &e), e);
    for (int k = 1; k < 32; k++)
        ck_assert(to[k] == to[0]);
    stats_file_free(&f);
}
END_TEST

START_TEST(statistics_of_another_model_are_refused)
{
    stats_file f = {0};
    stats_set *set;
    err e = ERR_INIT;
    bool has = true;
    float to[64];
    importance_source s = {&f, bound};
    ASSERT_OK(importance_of(&s, ROLE_EXPERT_GATE, 1, 0, 64, to, &has, &e), e);
    ck_assert(!has); // no set at all is no contradiction
    ASSERT_OK(stats_file_set(&f, ROLE_EXPERT_GATE, 1, 8, 64, &set, &e), e);
    ASSERT_REFUSED(importance_of(&s, ROLE_EXPERT_UP, 1, 0, 64, to, &has, &refused),
                   "the statistics are of another model: layer 1 experts.up has 8 x 64 input "
                   "columns there, 4 x 64 here");
    ASSERT_OK(stats_file_set(&f, ROLE_EXPERT_DOWN, 1, 4, 64, &set, &e), e);
    ASSERT_REFUSED(importance_of(&s, ROLE_EXPERT_DOWN, 1, 0, 32, to, &has, &refused),
                   "4 x 64 input columns there, 4 x 32 here");
    stats_file_free(&f);
}
END_TEST

Suite *suite_calibrate(void)
{
    Suite *s = suite_create("calibrate");
    TCase *c = tcase_create("runs");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, threads_levels_and_memory_do_not_change_a_byte);
    tcase_add_test(c, memory_that_is_too_small_names_what_would_do);
    tcase_add_test(c, every_linear_matrix_has_a_set_of_its_input);
    tcase_add_test(c, the_file_carries_what_it_was_made_from);
    tcase_add_test(c, runs_over_parts_add_up_to_the_run_over_all);
    tcase_add_test(c, runs_of_one_token_an_expert_add_up_bit_for_bit);
    tcase_add_test(c, tokens_outside_the_vocabulary_are_refused);
    suite_add_tcase(s, c);
    c = tcase_create("importance");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, importance_is_that_of_the_announced_input);
    tcase_add_test(c, the_prior_of_down_is_equal_in_all_columns);
    tcase_add_test(c, statistics_of_another_model_are_refused);
    suite_add_tcase(s, c);
    return s;
}
