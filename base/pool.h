// SPDX-License-Identifier: Apache-2.0
// A small pthread pool. Created by the command, passed down, never global. Results never depend on
// the number of threads: work is cut by data, and whoever reduces does so in index order.
#ifndef SCRUPLE_BASE_POOL_H
#define SCRUPLE_BASE_POOL_H

#include "base/event.h"

typedef struct pool pool;

// Work on [begin, end). `worker` is in [0, pool_threads): an index for per-worker scratch.
typedef bool (*pool_fn)(void *ctx, int64_t begin, int64_t end, int worker, err *e);

// threads 0: all cores this process may use (affinity and cgroup quota).
MUST_USE bool pool_open(pool **out, int threads, err *e);
void pool_close(pool *p); // NULL is fine
int pool_threads(const pool *p); // 1 for NULL
// What 0 threads stands for, at least 1.
int pool_cores(void);
// From now on pool_for stops between two chunks (ERR_INTERRUPTED) once `v` is asked to stop; so no
// loop over a pool has to ask by itself. NULL: no more.
void pool_watch(pool *p, const events *v);
// Calls fn over [0, n) in chunks of `chunk`; a NULL pool, and a call from inside a worker, run in
// the caller's thread with worker index 0 respectively the worker's own. On failure the error of
// the lowest failing chunk is reported and the remaining chunks are skipped. A second caller from
// another thread waits until the pool is free.
MUST_USE bool pool_for(pool *p, int64_t n, int64_t chunk, pool_fn fn, void *ctx, err *e);

#endif
