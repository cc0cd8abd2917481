// SPDX-License-Identifier: Apache-2.0
// The reference form of a tile: C, without vectors.
#include <math.h>
#include <string.h>

#include "base/gemm_kernel.h"

enum { ROWS = 4, COLS = 8 };

// fma(x, w, acc), rounded once, where the instruction may be missing and libm's fmaf be an
// emulation of a hundred cycles. The product of two binary32 numbers is exact in binary64 and the
// sum s is off by at most half a unit of its last place, so rounding s again gives the right
// binary32 unless s lies exactly between two of them (29 low bits 1000...) or is below their normal
// range, where they are coarser. Then, about once in 2^29 times, fmaf decides.
static inline float fused(float x, float w, float acc)
{
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(x, w, acc);
#else
    double s = (double)x * (double)w + (double)acc;
    uint64_t bits;
    memcpy(&bits, &s, sizeof bits);
    bool between = (bits & 0x1fffffff) == 0x10000000;
    bool small = (bits << 1) - 1 < (UINT64_C(897) << 53) - 1; // 0 < |s| < 2^-126
    return between || small ? fmaf(x, w, acc) : (float)s;
#endif
}

static inline void tile(float *y, int64_t y_row, const float *x, const float *w, int64_t k,
                        bool first, int rows)
{
    for (int r = 0; r < rows; r++) {
        float acc[COLS] = {0};
        for (int64_t i = 0; i < k; i++)
            for (int c = 0; c < COLS; c++)
                acc[c] = fused(x[i * rows + r], w[i * COLS + c], acc[c]);
        for (int c = 0; c < COLS; c++)
            y[r * y_row + c] = (first ? 0.0f : y[r * y_row + c]) + acc[c];
    }
}

#define TILE(R)                                                                                   \
    static void tile_##R(float *y, int64_t y_row, const float *x, const float *w, int64_t k,      \
                         bool first, const float *const ahead[2])                                 \
    {                                                                                             \
        (void)ahead;                                                                              \
        tile(y, y_row, x, w, k, first, R);                                                        \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)

static void transpose(float *to, int64_t width, const float *from, int64_t rows, int64_t row,
                      int64_t k)
{
    for (int64_t i = 0; i < k; i++)
        for (int64_t r = 0; r < rows; r++)
            to[i * width + r] = from[r * row + i];
}

const gemm_kernel GEMM_PLAIN = {ROWS, COLS, {tile_1, tile_2, tile_3, tile_4}, transpose};
