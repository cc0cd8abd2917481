// SPDX-License-Identifier: Apache-2.0
// Blocks side by side, one a vector lane, for the templates that encode ggml's types
// (kernel_lanes.h): element j of KERNEL_LANES blocks is one vector, every lane works in the scalar
// order, and no sum crosses lanes. Knows floats and bits, no type.
#ifndef SCRUPLE_QUANTIZE_BLOCK_LANES_H
#define SCRUPLE_QUANTIZE_BLOCK_LANES_H

#include "quantize/kernel_lanes.h"

#if KERNEL_LANES == 16
#define EACH_LANE(of, h)                                                                         \
    of(h, 0), of(h, 1), of(h, 2), of(h, 3), of(h, 4), of(h, 5), of(h, 6), of(h, 7), of(h, 8),    \
    of(h, 9), of(h, 10), of(h, 11), of(h, 12), of(h, 13), of(h, 14), of(h, 15)
#elif KERNEL_LANES == 8
#define EACH_LANE(of, h)                                                                         \
    of(h, 0), of(h, 1), of(h, 2), of(h, 3), of(h, 4), of(h, 5), of(h, 6), of(h, 7)
#else
#define EACH_LANE(of, h) of(h, 0), of(h, 1), of(h, 2), of(h, 3)
#endif
#define FIRST_HALVES(h, k) ((k) & (h) ? KERNEL_LANES + (k) - (h) : (k))
#define SECOND_HALVES(h, k) ((k) & (h) ? KERNEL_LANES + (k) : (k) + (h))

// Swaps the h x h squares beside the diagonal of every 2h x 2h square.
#define SWAP_SQUARES(row, h)                                                                     \
    UNROLLED(i, KERNEL_LANES)                                                                    \
        if (!(i & (h))) {                                                                        \
            vf a = row[i], b = row[i + (h)];                                                     \
            row[i] = __builtin_shufflevector(a, b, EACH_LANE(FIRST_HALVES, h));                  \
            row[i + (h)] = __builtin_shufflevector(a, b, EACH_LANE(SECOND_HALVES, h));           \
        }

INLINE void transpose(vf row[KERNEL_LANES])
{
#if KERNEL_LANES == 16
    SWAP_SQUARES(row, 8)
#endif
#if KERNEL_LANES >= 8
    SWAP_SQUARES(row, 4)
#endif
    SWAP_SQUARES(row, 2)
    SWAP_SQUARES(row, 1)
}

// to[j] = element j of every lane's block; n a multiple of KERNEL_LANES.
INLINE void columns(vf *to, const float *const block[KERNEL_LANES], int n)
{
    for (int j = 0; j < n; j += KERNEL_LANES) {
        vf row[KERNEL_LANES];
        UNROLLED(i, KERNEL_LANES)
            memcpy(&row[i], block[i] + j, sizeof row[i]);
        transpose(row);
        UNROLLED(i, KERNEL_LANES)
            to[j + i] = row[i];
    }
}

// The value of largest magnitude of every lane, the first one of several.
INLINE vf largest_magnitude(const vf *x, int n)
{
    vf most = {0}, value = {0};
    for (int j = 0; j < n; j++) {
        vf a = magnitude(x[j]);
        value = either(a > most, x[j], value);
        most = larger(a, most);
    }
    return value;
}

// ggml's nearest_int: to nearest, ties to even, for magnitudes below 2^22. Beyond, and for what is
// no number, the same bits as there: the low ones of the sum's fraction.
INLINE vi nearest_int(vf x) { return ((vi)(x + 0x1.8p23f) & 0x7fffff) - 0x400000; }

INLINE vf nearest(vf x) { return __builtin_convertvector(nearest_int(x), vf); }

// For what is known to be below 2^22.
INLINE vf nearest_small(vf x) { return x + 0x1.8p23f - 0x1.8p23f; }

INLINE vf clamp(vf x, float least, float most)
{
    return smaller(larger(x, SPREAD(least)), SPREAD(most));
}

// A true lane is -1.
INLINE bool any(vi mask)
{
#if KERNEL_LANES == 16
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif KERNEL_LANES == 8
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#else
    return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
#endif
}

#if KERNEL_LANES < 16
INLINE bool some(vmask a) { return any(a); }
#endif

INLINE vf f16_nearest(vf x) { return f16_lanes(to_f16_lanes(clamp(x, -65504, 65504))); }

// The nearest f16 that is a scale: not zero.
INLINE vf f16_scale(vf x)
{
    vf d = f16_nearest(x);
    return either(d != 0.0f, d, (vf)((vi)SPREAD(0x1p-24f) | ((vi)x & INT32_MIN)));
}

#endif
