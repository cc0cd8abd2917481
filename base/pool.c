// SPDX-License-Identifier: Apache-2.0
#include "base/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { MOST_THREADS = 1024 };

// One job at a time. The caller works too, as worker 0; `wanted` helpers are asked for, and those
// that wake in time come in. A helper that wakes when the work is over finds `wanted` 0 and sleeps
// on, so a short job waits for nobody.
struct pool {
    int threads;
    int started; // helpers running
    pthread_t *helper;
    pthread_mutex_t caller; // held for the length of a job: one caller from outside at a time
    pthread_mutex_t lock;   // guards what follows
    pthread_cond_t work, done;
    int wanted, active;
    bool quit;
    const events *watch; // changed between jobs only
    pool_fn fn;
    void *ctx;
    int64_t n, chunk;
    atomic_int_fast64_t next; // chunk to hand out; they go out in order
    atomic_bool failed;
    int64_t lowest; // failing chunk
    err failure;    // its sentence
};

typedef struct {
    struct pool *pool;
    int worker;
} helper_start;

// Whose work this thread is doing now, so that a call from inside a worker is seen.
static _Thread_local struct {
    const pool *pool;
    int worker;
} doing;

static void note_failure(pool *p, int64_t chunk, const err *failure)
{
    (void)pthread_mutex_lock(&p->lock);
    if (p->lowest < 0 || chunk < p->lowest) {
        p->lowest = chunk;
        p->failure = *failure;
    }
    (void)pthread_mutex_unlock(&p->lock);
    atomic_store(&p->failed, true);
}

// Chunks are handed out in order, so when one fails all lower ones are done or being done: the
// lowest failure is the same in every run.
static void work_on(pool *p, int worker)
{
    int64_t chunks = i64_ceil_div(p->n, p->chunk);
    while (!atomic_load(&p->failed)) {
        int64_t c = atomic_fetch_add(&p->next, 1);
        if (c >= chunks)
            return;
        err failure = ERR_INIT;
        int64_t begin = c * p->chunk;
        int64_t end = p->n - begin < p->chunk ? p->n : begin + p->chunk;
        if (!event_go_on(p->watch, &failure) ||
            !p->fn(p->ctx, begin, end, worker, &failure))
            note_failure(p, c, &failure);
    }
}

static void *helper_main(void *arg)
{
    helper_start start = *(helper_start *)arg;
    pool *p = start.pool;
    free(arg);
    doing.pool = p;
    doing.worker = start.worker;
    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->wanted && !p->quit)
            (void)pthread_cond_wait(&p->work, &p->lock);
        if (p->quit)
            break;
        p->wanted--;
        p->active++;
        (void)pthread_mutex_unlock(&p->lock);
        work_on(p, start.worker);
        (void)pthread_mutex_lock(&p->lock);
        if (--p->active == 0)
            (void)pthread_cond_signal(&p->done);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

static bool start_helper(pool *p, int worker, err *e)
{
    helper_start *start = mem_new(1, sizeof *start, "a thread", e);
    if (!start)
        return false;
    *start = (helper_start){p, worker};
    int number = pthread_create(&p->helper[worker - 1], NULL, helper_main, start);
    if (number == 0)
        return true;
    free(start);
    errno = number;
    return err_sys(e, "cannot start thread %d of %d", worker + 1, p->threads);
}

// Signals are for the thread that the command runs in.
static bool start_helpers(pool *p, err *e)
{
    sigset_t all, before;
    bool ok = true;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (ok && p->started < p->threads - 1) {
        ok = start_helper(p, p->started + 1, e);
        p->started += ok;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

bool pool_open(pool **out, int threads, err *e)
{
    *out = NULL;
    if (threads < 0 || threads > MOST_THREADS)
        return err_set(e, ERR_USAGE, "%d threads asked for, 0 (all cores) to %d are possible",
                       threads, MOST_THREADS);
    if (threads == 0)
        threads = pool_cores() < MOST_THREADS ? pool_cores() : MOST_THREADS;
    pool *p = mem_new(1, sizeof *p, "threads", e);
    if (!p)
        return false;
    p->threads = threads;
    p->helper = mem_new((uint64_t)threads, sizeof *p->helper, "threads", e);
    if (!p->helper) {
        free(p);
        return false;
    }
    (void)pthread_mutex_init(&p->caller, NULL); // with default attributes these cannot fail on
    (void)pthread_mutex_init(&p->lock, NULL);   // Linux
    (void)pthread_cond_init(&p->work, NULL);
    (void)pthread_cond_init(&p->done, NULL);
    if (!start_helpers(p, e)) {
        pool_close(p);
        return false;
    }
    *out = p;
    return true;
}

void pool_close(pool *p)
{
    if (!p)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->quit = true;
    (void)pthread_cond_broadcast(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->started; i++)
        (void)pthread_join(p->helper[i], NULL);
    (void)pthread_cond_destroy(&p->done);
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_mutex_destroy(&p->lock);
    (void)pthread_mutex_destroy(&p->caller);
    free(p->helper);
    free(p);
}

int pool_threads(const pool *p) { return p ? p->threads : 1; }

void pool_watch(pool *p, const events *v)
{
    if (p)
        p->watch = v;
}

static bool run_here(int64_t n, int64_t chunk, int worker, pool_fn fn, void *ctx, err *e)
{
    for (int64_t begin = 0; begin < n;) {
        int64_t end = n - begin < chunk ? n : begin + chunk;
        if (!fn(ctx, begin, end, worker, e))
            return false;
        begin = end;
    }
    return true;
}

// The caller holds p->caller.
static void start_job(pool *p, int64_t n, int64_t chunk, pool_fn fn, void *ctx)
{
    int64_t helpers = i64_min(i64_ceil_div(n, chunk) - 1, p->started);
    (void)pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->ctx = ctx;
    p->n = n;
    p->chunk = chunk;
    p->lowest = -1;
    atomic_store(&p->next, 0);
    atomic_store(&p->failed, false);
    p->wanted = (int)helpers;
    for (int64_t i = 0; i < helpers; i++)
        (void)pthread_cond_signal(&p->work);
    (void)pthread_mutex_unlock(&p->lock);
}

static bool finish_job(pool *p, err *e)
{
    (void)pthread_mutex_lock(&p->lock);
    p->wanted = 0;
    while (p->active)
        (void)pthread_cond_wait(&p->done, &p->lock);
    bool ok = p->lowest < 0;
    if (!ok)
        *e = p->failure;
    (void)pthread_mutex_unlock(&p->lock);
    return ok;
}

bool pool_for(pool *p, int64_t n, int64_t chunk, pool_fn fn, void *ctx, err *e)
{
    assert(n >= 0 && chunk > 0);
    if (!p)
        return run_here(n, chunk, 0, fn, ctx, e);
    if (doing.pool == p)
        return run_here(n, chunk, doing.worker, fn, ctx, e);
    if (n == 0)
        return true;
    const pool *outer = doing.pool;
    int outer_worker = doing.worker;
    (void)pthread_mutex_lock(&p->caller);
    doing.pool = p;
    doing.worker = 0;
    start_job(p, n, chunk, fn, ctx);
    work_on(p, 0);
    bool ok = finish_job(p, e);
    doing.pool = outer;
    doing.worker = outer_worker;
    (void)pthread_mutex_unlock(&p->caller);
    return ok;
}
