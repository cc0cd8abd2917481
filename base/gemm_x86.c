// SPDX-License-Identifier: Apache-2.0
// The AVX2 (6 x 16) and AVX-512 (12 x 32) tiles: 12 respectively 24 chains in registers hide the
// latency of the fused multiply-add, and a step needs fewer loads than multiplications.
#if defined(__x86_64__)
#include <immintrin.h>

#include "base/gemm_kernel.h"

#ifdef __clang__
#define UNROLL _Pragma("unroll 16")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

// A level is a vector type, its width in floats and its operations; a row has two chains, in the
// variables low<r> and high<r>. All of y is read before any of it is written: rows a power of two
// apart look alike to the processor, which would make each load wait for the store before it.
#define START(r)                                                                                  \
    VEC low##r = ZERO(), high##r = ZERO();                                                        \
    _mm_prefetch((const char *)(y + r * y_row), _MM_HINT_T0);                                     \
    _mm_prefetch((const char *)(y + r * y_row + 16), _MM_HINT_T0);
#define STEP(r)                                                                                   \
    {                                                                                             \
        VEC b = SPREAD(x[r]);                                                                     \
        low##r = FMA(b, w_low, low##r);                                                           \
        high##r = FMA(b, w_high, high##r);                                                        \
    }
#define FINISH(r)                                                                                 \
    low##r = ADD(first ? ZERO() : LOAD(y + r * y_row), low##r);                                   \
    high##r = ADD(first ? ZERO() : LOAD(y + r * y_row + WIDTH), high##r);
#define KEEP(r)                                                                                   \
    STORE(y + r * y_row, low##r);                                                                 \
    STORE(y + r * y_row + WIDTH, high##r);
#define NEXT(R)                                                                                   \
    {                                                                                             \
        VEC w_low = LOAD(w), w_high = LOAD(w + WIDTH);                                            \
        ROWS_##R(STEP) x += R;                                                                    \
        w += 2 * WIDTH;                                                                           \
    }
#define TILE(R)                                                                                   \
    static TARGET void NAME(R)(float *y, int64_t y_row, const float *x, const float *w,           \
                               int64_t k, bool first, const float *const ahead[2])                \
    {                                                                                             \
        ROWS_##R(START) int64_t i = 0;                                                            \
        for (; i + 16 <= k; i += 16) {                                                            \
            _mm_prefetch((const char *)(ahead[0] + i), _MM_HINT_T1);                              \
            _mm_prefetch((const char *)(ahead[1] + i), _MM_HINT_T1);                              \
            UNROLL for (int j = 0; j < 16; j++) NEXT(R)                                           \
        }                                                                                         \
        for (; i < k; i++)                                                                        \
            NEXT(R)                                                                               \
        ROWS_##R(FINISH)                                                                          \
        ROWS_##R(KEEP)                                                                            \
    }

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define NAME(R) avx2_##R
#define VEC __m256
#define WIDTH 8
#define ZERO _mm256_setzero_ps
#define SPREAD _mm256_set1_ps
#define FMA _mm256_fmadd_ps
#define ADD _mm256_add_ps
#define LOAD _mm256_loadu_ps
#define STORE _mm256_storeu_ps
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
#undef TARGET
#undef NAME
#undef VEC
#undef WIDTH
#undef ZERO
#undef SPREAD
#undef FMA
#undef ADD
#undef LOAD
#undef STORE

#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#define NAME(R) avx512_##R
#define VEC __m512
#define WIDTH 16
#define ZERO _mm512_setzero_ps
#define SPREAD _mm512_set1_ps
#define FMA _mm512_fmadd_ps
#define ADD _mm512_add_ps
#define LOAD _mm512_loadu_ps
#define STORE _mm512_storeu_ps
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)
TILE(7)
TILE(8)
TILE(9)
TILE(10)
TILE(11)
TILE(12)

// Four columns of four rows become four runs of four.
static inline void transpose_4(float *to, int64_t width, const float *from, int64_t row)
{
    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + row);
    __m128 c = _mm_loadu_ps(from + 2 * row), d = _mm_loadu_ps(from + 3 * row);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a);
    _mm_storeu_ps(to + width, b);
    _mm_storeu_ps(to + 2 * width, c);
    _mm_storeu_ps(to + 3 * width, d);
}

// Four columns of eight rows become four runs of eight: rows r and r + 4 share a register, so that
// nothing crosses its halves.
#define AVX2 __attribute__((target("avx2,fma,f16c")))
static inline AVX2 __m256 two_rows(const float *from, int64_t row)
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)),
                                _mm_loadu_ps(from + 4 * row), 1);
}

static inline AVX2 void transpose_8(float *to, int64_t width, const float *from, int64_t row)
{
    __m256 a = two_rows(from, row), b = two_rows(from + row, row);
    __m256 c = two_rows(from + 2 * row, row), d = two_rows(from + 3 * row, row);
    __m256d ab = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
    __m256d cd = _mm256_castps_pd(_mm256_unpacklo_ps(c, d));
    __m256d ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    __m256d cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
    _mm256_storeu_ps(to, _mm256_castpd_ps(_mm256_unpacklo_pd(ab, cd)));
    _mm256_storeu_ps(to + width, _mm256_castpd_ps(_mm256_unpackhi_pd(ab, cd)));
    _mm256_storeu_ps(to + 2 * width, _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high)));
    _mm256_storeu_ps(to + 3 * width, _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high)));
}

// `n` (8 or 4) rows; those behind them are asked for a line ahead, and an address behind the end
// does no harm.
#define ROWS_AT_ONCE(n, STEP_4)                                                                   \
    for (; r + n <= rows; r += n) {                                                               \
        const float *at = from + r * row;                                                         \
        uintptr_t next = (uintptr_t)at + n * sizeof *at * (size_t)row;                            \
        int64_t i = 0;                                                                            \
        for (; i + 16 <= k; i += 16) {                                                            \
            for (int64_t j = 0; j < n; j++)                                                       \
                _mm_prefetch((const char *)(next + sizeof *at * (size_t)(j * row + i)),           \
                             _MM_HINT_T0);                                                        \
            for (int64_t j = i; j < i + 16; j += 4)                                               \
                STEP_4(to + j * width + r, width, at + j, row);                                   \
        }                                                                                         \
        for (; i + 4 <= k; i += 4)                                                                \
            STEP_4(to + i * width + r, width, at + i, row);                                       \
        for (; i < k; i++)                                                                        \
            for (int64_t j = 0; j < n; j++)                                                       \
                to[i * width + r + j] = at[j * row + i];                                          \
    }

static AVX2 void transpose(float *to, int64_t width, const float *from, int64_t rows, int64_t row,
                           int64_t k)
{
    int64_t r = 0;
    ROWS_AT_ONCE(8, transpose_8)
    ROWS_AT_ONCE(4, transpose_4)
    for (; r < rows; r++)
        for (int64_t i = 0; i < k; i++)
            to[i * width + r] = from[r * row + i];
}

const gemm_kernel GEMM_AVX2 = {
    6, 16, {avx2_1, avx2_2, avx2_3, avx2_4, avx2_5, avx2_6}, transpose};

const gemm_kernel GEMM_AVX512 = {12,
                                 32,
                                 {avx512_1, avx512_2, avx512_3, avx512_4, avx512_5, avx512_6,
                                  avx512_7, avx512_8, avx512_9, avx512_10, avx512_11, avx512_12},
                                 transpose};
#else
typedef int no_x86_here; // ISO C wants a declaration in every file
#endif
