// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "tests/forward_case.h"
#include "tests/refused.h"
#include "tests/temp.h"
#include "verify/forward_file.h"

Suite *suite_passes(void);

static const char NANO[] = "tests/data/nano", QWEN3[] = "tests/data/qwen3_tiny";
enum { N = 3, LEN = 10 };

static opened o;
static int32_t tokens[N * LEN];

static void setup(void)
{
    open_model(&o, QWEN3);
    random_tokens(tokens, N * LEN, 64, 2);
}

static void teardown(void)
{
    close_model(&o);
}

// ---- two models ----

typedef struct {
    int hidden, logits, routing[2];
    int64_t next_token;
} heard;

static bool same_hidden(void *ctx, int64_t entry, int64_t first_window, int64_t n,
                        const float *const *hidden, err *e)
{
    heard *h = ctx;
    (void)entry;
    (void)first_window;
    (void)e;
    ck_assert_ptr_ne(hidden[0], hidden[1]);
    ck_assert_mem_eq(hidden[0], hidden[1], (size_t)(n * LEN * 32) * sizeof(float));
    h->hidden++;
    return true;
}

static bool same_logits(void *ctx, int64_t first, int64_t count, const float *const *logits,
                        err *e)
{
    heard *h = ctx;
    (void)e;
    ck_assert_int_eq(first, h->next_token);
    ck_assert_mem_eq(logits[0], logits[1], (size_t)(count * 64) * sizeof(float));
    h->next_token += count;
    h->logits++;
    return true;
}

static bool count_routing(void *ctx, int which, int64_t first_window, const routing *r, err *e)
{
    heard *h = ctx;
    (void)first_window;
    (void)r;
    (void)e;
    h->routing[which]++;
    return true;
}

START_TEST(two_models_go_in_step)
{
    err e = ERR_INIT;
    heard h = {0};
    passes p = {.n_models = 2, .model = {o.m, o.m}, .tokens = tokens, .n = N, .len = LEN,
                .memory = 64u << 20, .on_hidden = same_hidden, .on_logits = same_logits,
                .on_routing = count_routing, .ctx = &h};
    ASSERT_OK(passes_run(&p, &e), e);
    ck_assert_int_eq(h.hidden, 4);
    ck_assert_int_eq(h.next_token, N * LEN);
    ck_assert_int_eq(h.routing[0], 2);
    ck_assert_int_eq(h.routing[1], 2);
}
END_TEST

START_TEST(refuses_models_that_cannot_be_compared)
{
    opened other;
    open_model(&other, NANO);
    passes p = {.n_models = 2, .model = {o.m, other.m}, .tokens = tokens, .n = N, .len = LEN,
                .memory = 64u << 20};
    ASSERT_REFUSED(passes_run(&p, &refused), "the models differ in hidden size: 32 and 128");
    close_model(&other);
}
END_TEST

static bool none(void *ctx, int64_t first, int64_t count, const float *const *logits, err *e)
{
    (void)ctx;
    (void)first;
    (void)count;
    (void)logits;
    (void)e;
    return true;
}

START_TEST(the_ceiling_it_names_is_enough)
{
    err e = ERR_INIT;
    passes p = {.n_models = 2, .model = {o.m, o.m}, .tokens = tokens, .n = N, .len = LEN,
                .memory = 1000, .on_logits = none};
    ASSERT_FAILS(passes_run(&p, &refused), ERR_ENV, "do not hold one window of 10 tokens");
    const char *number = strrchr(refused.text, ' ');
    p.memory = strtoull(number, NULL, 10);
    ASSERT_OK(passes_run(&p, &e), e);
    p.memory--;
    ASSERT_FAILS(passes_run(&p, &refused), ERR_ENV, "smallest ceiling");
}
END_TEST

START_TEST(refuses_a_bad_token_before_anything_is_computed)
{
    heard h = {0};
    tokens[2 * LEN + 4] = 64;
    passes p = {.n_models = 1, .model = {o.m}, .tokens = tokens, .n = N, .len = LEN,
                .memory = 64u << 20, .on_hidden = same_hidden, .ctx = &h};
    ASSERT_REFUSED(passes_run(&p, &refused), "window 2, position 4: token 64");
    ck_assert_int_eq(h.hidden, 0);
}
END_TEST

static bool now(void *ctx)
{
    int *left = ctx;
    return --*left < 0;
}

START_TEST(stops_when_asked)
{
    int left = 2;
    events v = {.stop = now, .ctx = &left};
    passes p = {.n_models = 1, .model = {o.m}, .tokens = tokens, .n = N, .len = LEN,
                .memory = 64u << 20, .events = &v};
    ASSERT_FAILS(passes_run(&p, &refused), ERR_INTERRUPTED, "stopped");
}
END_TEST

// ---- the file ----

static void assert_member(const char *dir, const char *member, npy_type type, int rank,
                          const int64_t *shape, const void *data)
{
    err e = ERR_INIT;
    zip_in *z;
    npy a;
    ASSERT_OK(zip_in_open(&z, temp_path(dir, "out.npz"), &e), e);
    ASSERT_OK(npz_read(&a, z, member, &e), e);
    ck_assert_int_eq(a.type, type);
    ck_assert_int_eq(a.rank, rank);
    for (int i = 0; i < rank; i++)
        ck_assert_int_eq(a.shape[i], shape[i]);
    if (data)
        ck_assert(memcmp(a.data, data, (size_t)a.n * 4) == 0);
    npy_free(&a);
    zip_in_close(z);
}

START_TEST(file_holds_what_was_computed)
{
    err e = ERR_INIT;
    outcome r;
    double nll = 0;
    const char *dir = temp_dir_make();
    forward_file f = {.m = o.m, .tokens = tokens, .n = N, .len = LEN, .logits = true,
                      .activations = true, .memory = 64u << 20, .dir = dir, .name = "out.npz"};
    ASSERT_OK(forward_file_write(&f, &nll, &e), e);
    run_model(&r, o.m, tokens, N, LEN, NULL, 64u << 20);
    assert_member(dir, "logits", NPY_F32, 3, (int64_t[]){N, LEN, 64}, r.logits);
    assert_member(dir, "nll", NPY_F32, 2, (int64_t[]){N, LEN - 1}, NULL);
    assert_member(dir, "hidden", NPY_F32, 4, (int64_t[]){4, N, LEN, 32}, r.hidden);
    assert_member(dir, "router", NPY_I32, 4, (int64_t[]){2, N, LEN, 2}, r.router);
    double sum = 0;
    for (int w = 0; w < N; w++)
        for (int t = 0; t + 1 < LEN; t++) {
            const float *row = r.logits + (w * LEN + t) * 64;
            double all = 0;
            for (int i = 0; i < 64; i++)
                all += exp(row[i]);
            sum += log(all) - (double)row[tokens[w * LEN + t + 1]];
        }
    ck_assert_double_eq_tol(nll, sum / (N * (LEN - 1)), 1e-6);
    ck_assert_int_eq(temp_count(dir), 1);
    outcome_free(&r);
    temp_dir_remove(dir);
}
END_TEST

// Groups of windows arrive one behind the other; their places in the file do not depend on it.
START_TEST(file_is_the_same_with_little_memory)
{
    err e = ERR_INIT;
    double nll;
    char *text[2];
    size_t len[2];
    const char *dir = temp_dir_make();
    forward_file f = {.m = o.m, .tokens = tokens, .n = N, .len = LEN, .logits = true,
                      .activations = true, .memory = 64u << 20, .dir = dir, .name = "out.npz"};
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(forward_file_write(&f, &nll, &e), e);
        ASSERT_OK(file_read_all(temp_path(dir, "out.npz"), 1u << 20, &text[i], &len[i], &e), e);
        f.memory = 1000;
        f.replace = true;
        ASSERT_FAILS(forward_file_write(&f, &nll, &refused), ERR_ENV, "smallest ceiling");
        f.memory = strtoull(strrchr(refused.text, ' '), NULL, 10);
    }
    ck_assert_int_eq((int64_t)len[0], (int64_t)len[1]);
    ck_assert(memcmp(text[0], text[1], len[0]) == 0);
    free(text[0]);
    free(text[1]);
    temp_dir_remove(dir);
}
END_TEST

START_TEST(file_may_do_without_logits_and_activations)
{
    err e = ERR_INIT;
    double nll;
    zip_in *z;
    const char *dir = temp_dir_make();
    forward_file f = {.m = o.m, .tokens = tokens, .n = N * LEN, .len = 1, .memory = 64u << 20,
                      .dir = dir, .name = "out.npz"};
    ASSERT_OK(forward_file_write(&f, &nll, &e), e);
    ck_assert_double_eq(nll, 0);
    assert_member(dir, "nll", NPY_F32, 2, (int64_t[]){N * LEN, 0}, NULL);
    ASSERT_OK(zip_in_open(&z, temp_path(dir, "out.npz"), &e), e);
    ck_assert_int_eq(zip_in_count(z), 1);
    zip_in_close(z);
    temp_dir_remove(dir);
}
END_TEST

START_TEST(failure_leaves_nothing_behind)
{
    int left = 4;
    double nll;
    events v = {.stop = now, .ctx = &left};
    const char *dir = temp_dir_make();
    forward_file f = {.m = o.m, .tokens = tokens, .n = N, .len = LEN, .logits = true,
                      .memory = 64u << 20, .events = &v, .dir = dir, .name = "out.npz"};
    ASSERT_FAILS(forward_file_write(&f, &nll, &refused), ERR_INTERRUPTED, "stopped");
    ck_assert_int_eq(temp_count(dir), 0);
    temp_write(dir, "out.npz", "x", 1);
    f.events = NULL;
    ASSERT_FAILS(forward_file_write(&f, &nll, &refused), ERR_ENV, "out.npz");
    ck_assert_int_eq(temp_count(dir), 1);
    temp_dir_remove(dir);
}
END_TEST

Suite *suite_passes(void)
{
    Suite *s = suite_create("passes");
    TCase *c = tcase_create("passes");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, two_models_go_in_step);
    tcase_add_test(c, refuses_models_that_cannot_be_compared);
    tcase_add_test(c, the_ceiling_it_names_is_enough);
    tcase_add_test(c, refuses_a_bad_token_before_anything_is_computed);
    tcase_add_test(c, stops_when_asked);
    tcase_add_test(c, file_holds_what_was_computed);
    tcase_add_test(c, file_is_the_same_with_little_memory);
    tcase_add_test(c, file_may_do_without_logits_and_activations);
    tcase_add_test(c, failure_leaves_nothing_behind);
    suite_add_tcase(s, c);
    return s;
}
