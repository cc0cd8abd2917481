// SPDX-License-Identifier: Apache-2.0
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/pool.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_pool(void);

typedef struct {
    pool *p;
    int *touched;               // [n]
    atomic_int busy[64];        // by worker
    int64_t fail_from, fail_to; // chunks of one that fail
    bool slow_first;
} job;

static bool touch(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    job *j = ctx;
    ck_assert_int_eq(atomic_fetch_add(&j->busy[worker], 1), 0); // a worker does one thing
    for (int64_t i = begin; i < end; i++)
        j->touched[i]++;
    atomic_fetch_sub(&j->busy[worker], 1);
    if (begin >= j->fail_from && begin < j->fail_to) {
        if (begin == j->fail_from && j->slow_first)
            (void)usleep(2000);
        return err_set(e, ERR_NO, "chunk %lld", (long long)begin);
    }
    return true;
}

START_TEST(visits_every_index_once)
{
    static const int64_t sizes[][2] = {{0, 1}, {1, 1}, {1, 100}, {7, 3}, {1000, 1}, {1000, 999},
                                       {4096, 64}, {100000, 7}};
    err e = ERR_INIT;
    for (int threads = 0; threads <= 7; threads++) {
        pool *p = NULL;
        if (threads > 0)
            ASSERT_OK(pool_open(&p, threads, &e), e);
        ck_assert_int_eq(pool_threads(p), threads ? threads : 1);
        for (size_t s = 0; s < COUNT_OF(sizes); s++) {
            int64_t n = sizes[s][0];
            job j = {.touched = mem_new((uint64_t)n, sizeof(int), "test", &e), .fail_from = n};
            ASSERT_OK(pool_for(p, n, sizes[s][1], touch, &j, &e), e);
            for (int64_t i = 0; i < n; i++)
                ck_assert_int_eq(j.touched[i], 1);
            free(j.touched);
        }
        pool_close(p);
    }
}
END_TEST

START_TEST(reports_the_lowest_failing_chunk_and_skips_the_rest)
{
    enum { N = 20000 };
    err e = ERR_INIT;
    int *touched = calloc(N, sizeof *touched);
    ck_assert_ptr_nonnull(touched);
    for (int threads = 1; threads <= 4; threads++) {
        pool *p;
        ASSERT_OK(pool_open(&p, threads, &e), e);
        for (int round = 0; round < 20; round++) {
            job j = {.touched = touched, .fail_from = 10 * round, .fail_to = N,
                     .slow_first = true};
            char words[32];
            (void)snprintf(words, sizeof words, "chunk %d", 10 * round);
            ASSERT_FAILS(pool_for(p, N, 1, touch, &j, &refused), ERR_NO, words);
            ck_assert_str_eq(refused.text, words);
            ck_assert_int_eq(touched[N - 1], 0);
        }
        pool_close(p);
    }
    free(touched);
}
END_TEST

typedef struct {
    pool *p;
    atomic_int calls;
} nest;

static bool inner(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    int *outer_worker = ctx;
    (void)begin;
    (void)end;
    (void)e;
    ck_assert_int_eq(worker, *outer_worker);
    return true;
}

static bool outer(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    nest *t = ctx;
    (void)end;
    atomic_fetch_add(&t->calls, 1);
    if (!pool_for(t->p, 10, 1, inner, &worker, e))
        return false;
    return begin != 5 || err_set(e, ERR_INPUT, "five");
}

START_TEST(runs_nested_calls_with_the_workers_own_index)
{
    err e = ERR_INIT;
    nest t = {0};
    ASSERT_OK(pool_open(&t.p, 3, &e), e);
    ASSERT_OK(pool_for(t.p, 5, 1, outer, &t, &e), e);
    ck_assert_int_eq(atomic_load(&t.calls), 5);
    ASSERT_FAILS(pool_for(t.p, 100, 1, outer, &t, &refused), ERR_INPUT, "five");
    pool_close(t.p);
}
END_TEST

static void *other_caller(void *ctx)
{
    job *j = ctx;
    static _Thread_local err e = ERR_INIT;
    for (int i = 0; i < 200; i++)
        ASSERT_OK(pool_for(j->p, 64, 4, touch, j, &e), e);
    return NULL;
}

START_TEST(lets_callers_from_two_threads_take_turns)
{
    err e = ERR_INIT;
    int touched[64] = {0};
    job j = {.touched = touched, .fail_from = 64};
    pthread_t thread;
    ASSERT_OK(pool_open(&j.p, 3, &e), e);
    ck_assert_int_eq(pthread_create(&thread, NULL, other_caller, &j), 0);
    (void)other_caller(&j);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(touched[i], 400);
    pool_close(j.p);
}
END_TEST

START_TEST(refuses_senseless_thread_counts)
{
    pool *p;
    ASSERT_FAILS(pool_open(&p, -1, &refused), ERR_USAGE, "-1 threads");
    ck_assert_ptr_null(p);
    ASSERT_FAILS(pool_open(&p, 1025, &refused), ERR_USAGE, "0 (all cores) to 1024");
    pool_close(NULL);
}
END_TEST

START_TEST(zero_threads_means_the_cores_of_the_affinity_mask)
{
    err e = ERR_INIT;
    cpu_set_t one;
    pool *p;
    ck_assert_int_ge(pool_cores(), 1);
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_int_eq(pool_cores(), 1);
    ASSERT_OK(pool_open(&p, 0, &e), e);
    ck_assert_int_eq(pool_threads(p), 1);
    pool_close(p);
}
END_TEST

static bool at_once(void *ctx)
{
    (void)ctx;
    return true;
}

START_TEST(stops_between_chunks_when_a_watch_asks_to)
{
    const events stop = {.stop = at_once};
    err e = ERR_INIT;
    pool *p;
    int touched[9] = {0};
    job j = {.touched = touched, .fail_from = 9};
    ASSERT_OK(pool_open(&p, 2, &e), e);
    pool_watch(p, &stop);
    ASSERT_FAILS(pool_for(p, 9, 1, touch, &j, &refused), ERR_INTERRUPTED, "stopped");
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(touched[i], 0);
    pool_watch(p, NULL);
    ASSERT_OK(pool_for(p, 9, 1, touch, &j, &e), e);
    ck_assert_int_eq(touched[8], 1);
    pool_watch(NULL, &stop);
    pool_close(p);
}
END_TEST

Suite *suite_pool(void)
{
    Suite *s = suite_create("pool");
    TCase *c = tcase_create("threads");
    tcase_add_test(c, visits_every_index_once);
    tcase_add_test(c, reports_the_lowest_failing_chunk_and_skips_the_rest);
    tcase_add_test(c, runs_nested_calls_with_the_workers_own_index);
    tcase_add_test(c, lets_callers_from_two_threads_take_turns);
    tcase_add_test(c, refuses_senseless_thread_counts);
    tcase_add_test(c, zero_threads_means_the_cores_of_the_affinity_mask);
    tcase_add_test(c, stops_between_chunks_when_a_watch_asks_to);
    suite_add_tcase(s, c);
    return s;
}
