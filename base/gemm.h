// SPDX-License-Identifier: Apache-2.0
// Matrix products of the numeric contract. y[t][o] = sum over blocks of 256 inputs, in order, of a
// chain acc = fma(x[k], w[k], acc) from +0 with k increasing; the total starts at +0 and block
// sums are added in order. Vectorised over outputs and tokens, never over k: the same bits at every
// CPU level, thread count and tiling. No BLAS.
#ifndef SCRUPLE_BASE_GEMM_H
#define SCRUPLE_BASE_GEMM_H

#include "base/pool.h"

typedef struct {
    float *y;             // [m][n], row stride y_row; overwritten
    const float *x;       // [m][k], row stride x_row
    const float *w;       // element (o, i) at w[o * w_row + i * w_col]; [n][k] or transposed
    int64_t y_row, x_row, w_row, w_col; // in elements
    int64_t m, n, k;      // tokens, outputs, inputs; 0 allowed (k == 0 gives +0)
} gemm_args;

// Packs panels of w into its own scratch; fails only for want of memory. pool may be NULL.
MUST_USE bool gemm(const gemm_args *a, pool *p, err *e);
// The most that gemm takes for itself for weights of at most `elements` and k inputs: for those who
// keep a budget.
uint64_t gemm_scratch_bytes(uint64_t elements, int64_t k, int threads);

#endif
