// SPDX-License-Identifier: Apache-2.0
// The NEON tile, 6 x 16: 24 chains of four outputs in registers, four vectors of weights, and the
// input broadcast by the multiplication itself.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "base/gemm_kernel.h"

#define START(r) float32x4_t a##r = zero, b##r = zero, c##r = zero, d##r = zero;
#define STEP(r)                                                                                   \
    {                                                                                             \
        a##r = vfmaq_n_f32(a##r, w0, x[r]);                                                       \
        b##r = vfmaq_n_f32(b##r, w1, x[r]);                                                       \
        c##r = vfmaq_n_f32(c##r, w2, x[r]);                                                       \
        d##r = vfmaq_n_f32(d##r, w3, x[r]);                                                       \
    }
#define FINISH(r)                                                                                 \
    {                                                                                             \
        float *to = y + r * y_row;                                                                \
        vst1q_f32(to, vaddq_f32(first ? zero : vld1q_f32(to), a##r));                             \
        vst1q_f32(to + 4, vaddq_f32(first ? zero : vld1q_f32(to + 4), b##r));                     \
        vst1q_f32(to + 8, vaddq_f32(first ? zero : vld1q_f32(to + 8), c##r));                     \
        vst1q_f32(to + 12, vaddq_f32(first ? zero : vld1q_f32(to + 12), d##r));                   \
    }
#define TILE(R)                                                                                   \
    static void neon_##R(float *y, int64_t y_row, const float *x, const float *w, int64_t k,      \
                         bool first, const float *const ahead[2])                                 \
    {                                                                                             \
        const float32x4_t zero = vdupq_n_f32(0.0f);                                               \
        ROWS_##R(START) for (int64_t i = 0; i < k; i++, x += R, w += 16)                          \
        {                                                                                         \
            if (i % 16 == 0) {                                                                    \
                __builtin_prefetch(ahead[0] + i, 0, 2);                                           \
                __builtin_prefetch(ahead[1] + i, 0, 2);                                           \
            }                                                                                     \
            float32x4_t w0 = vld1q_f32(w), w1 = vld1q_f32(w + 4);                                 \
            float32x4_t w2 = vld1q_f32(w + 8), w3 = vld1q_f32(w + 12);                            \
            ROWS_##R(STEP)                                                                        \
        }                                                                                         \
        ROWS_##R(FINISH)                                                                          \
    }

TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

// Four columns of four rows become four runs of four.
static inline void transpose_4(float *to, int64_t width, const float *from, int64_t row)
{
    float32x4_t a = vld1q_f32(from), b = vld1q_f32(from + row);
    float32x4_t c = vld1q_f32(from + 2 * row), d = vld1q_f32(from + 3 * row);
    float64x2_t ab_even = vreinterpretq_f64_f32(vtrn1q_f32(a, b));
    float64x2_t ab_odd = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
    float64x2_t cd_even = vreinterpretq_f64_f32(vtrn1q_f32(c, d));
    float64x2_t cd_odd = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
    vst1q_f32(to, vreinterpretq_f32_f64(vtrn1q_f64(ab_even, cd_even)));
    vst1q_f32(to + width, vreinterpretq_f32_f64(vtrn1q_f64(ab_odd, cd_odd)));
    vst1q_f32(to + 2 * width, vreinterpretq_f32_f64(vtrn2q_f64(ab_even, cd_even)));
    vst1q_f32(to + 3 * width, vreinterpretq_f32_f64(vtrn2q_f64(ab_odd, cd_odd)));
}

static void transpose(float *to, int64_t width, const float *from, int64_t rows, int64_t row,
                      int64_t k)
{
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        const float *at = from + r * row;
        int64_t i = 0;
        for (; i + 4 <= k; i += 4)
            transpose_4(to + i * width + r, width, at + i, row);
        for (; i < k; i++)
            for (int64_t j = 0; j < 4; j++)
                to[i * width + r + j] = at[j * row + i];
    }
    for (; r < rows; r++)
        for (int64_t i = 0; i < k; i++)
            to[i * width + r] = from[r * row + i];
}

const gemm_kernel GEMM_NEON = {
    6, 16, {neon_1, neon_2, neon_3, neon_4, neon_5, neon_6}, transpose};
#else
typedef int no_arm_here; // ISO C wants a declaration in every file
#endif
