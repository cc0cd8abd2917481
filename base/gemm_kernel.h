// SPDX-License-Identifier: Apache-2.0
// What gemm.c and its kernels (one for each CPU level) agree on. Nobody else needs it.
#ifndef SCRUPLE_BASE_GEMM_KERNEL_H
#define SCRUPLE_BASE_GEMM_KERNEL_H

#include "base/base.h"

enum {
    GEMM_BLOCK = 256, // inputs a chain runs over: part of the numeric contract
    GEMM_MAX_ROWS = 12,
    GEMM_MAX_COLS = 32
};

// One register tile over at most GEMM_BLOCK inputs:
//   y[r * y_row + c] (+)= chain over i of fma(x[i * R + r], w[i * cols + c], acc), acc = +0 before
// for all r < R and all `cols` columns. first: the old y is +0 and not read. `ahead` are two places
// that will be read soon, k floats from each on; asking for them is optional.
typedef void (*gemm_tile)(float *y, int64_t y_row, const float *x, const float *w, int64_t k,
                          bool first, const float *const ahead[2]);

typedef struct {
    int64_t rows, cols;             // the largest tile
    gemm_tile tile[GEMM_MAX_ROWS];  // [R - 1], R <= rows
    // to[i * width + r] = from[r * row + i] for r < rows, i < k: the bits as they are.
    void (*transpose)(float *to, int64_t width, const float *from, int64_t rows, int64_t row,
                      int64_t k);
} gemm_kernel;

// F(0) F(1) ... F(R - 1): a kernel's rows have variables of their own.
#define ROWS_1(F) F(0)
#define ROWS_2(F) ROWS_1(F) F(1)
#define ROWS_3(F) ROWS_2(F) F(2)
#define ROWS_4(F) ROWS_3(F) F(3)
#define ROWS_5(F) ROWS_4(F) F(4)
#define ROWS_6(F) ROWS_5(F) F(5)
#define ROWS_7(F) ROWS_6(F) F(6)
#define ROWS_8(F) ROWS_7(F) F(7)
#define ROWS_9(F) ROWS_8(F) F(8)
#define ROWS_10(F) ROWS_9(F) F(9)
#define ROWS_11(F) ROWS_10(F) F(10)
#define ROWS_12(F) ROWS_11(F) F(11)

extern const gemm_kernel GEMM_PLAIN;
#if defined(__x86_64__)
extern const gemm_kernel GEMM_AVX2, GEMM_AVX512;
#endif
#if defined(__aarch64__)
extern const gemm_kernel GEMM_NEON;
#endif

#endif
