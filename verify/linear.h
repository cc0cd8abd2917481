// SPDX-License-Identifier: Apache-2.0
// y = W x + b for a weight that is read while it is used: blocks of rows are read and decoded in
// parallel into one scratch, then multiplied. A matrix larger than the scratch never is in memory
// as a whole. The block size never decides a bit. A value that is not finite in a weight is
// ERR_INPUT naming module, row and column.
#ifndef SCRUPLE_VERIFY_LINEAR_H
#define SCRUPLE_VERIFY_LINEAR_H

#include "base/pool.h"
#include "formats/weight_ahead.h"

typedef struct {
    pool *pool;         // may be NULL
    uint64_t budget;    // bytes of decoded rows at a time (one row always goes)
    scratch rows;       // the decoded block
    scratch bias;
    scratch *stored;    // [pool_threads] of stored bytes
    weight_ahead *ahead;
    weight_rows *order; // what it reads
    uint64_t order_cap;
    scratch held;       // stored bytes taken from it
    int64_t unforeseen; // blocks of rows that linear_apply had to read itself
} linear;

MUST_USE bool linear_init(linear *l, pool *p, uint64_t budget, err *e);
void linear_free(linear *l);

// The weights that linear_apply will be given next, in this order, are read ahead from now on, in
// `memory` bytes. What was announced before and not used is forgotten. A promise that is not kept
// costs time and nothing else.
MUST_USE bool linear_expect(linear *l, const weight *const *w, int64_t n, uint64_t memory, err *e);

typedef struct {
    const weight *w;
    const weight *bias;  // vector of w->out; NULL: none
    const float *x;      // [m][in]
    float *y;            // [m][out]; overwritten
    int64_t m;
} linear_args;

MUST_USE bool linear_apply(linear *l, const linear_args *a, err *e);
// A vector weight ([1][n]) or any few rows, checked for finite values: rows [row, row + n).
MUST_USE bool linear_rows(linear *l, const weight *w, int64_t row, int64_t n, float *to, err *e);
// Row ids[t] to to[t * w->in], t = 0 .. n-1 (an embedding). ids must lie inside the weight.
MUST_USE bool linear_gather(linear *l, const weight *w, const int32_t *ids, int64_t n, float *to,
                            err *e);
// The most that linear_apply uses beside x and y: decoded and stored rows, gemm's scratch.
uint64_t linear_bytes(uint64_t budget, int64_t widest_row, int threads);
// The most that linear_expect adds to it, where `memory` is not 0.
uint64_t linear_ahead_bytes(uint64_t budget, int64_t widest_row, uint64_t memory);

#endif
