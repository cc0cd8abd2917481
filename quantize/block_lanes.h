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
    for (int i = 0; i < KERNEL_LANES; i++)                                                       \
        if (!(i & (h))) {                                                                        \
            vf a = row[i], b = row[i + (h)];                                                     \
            row[i] = __builtin_shufflevector(a, b, EACH_LANE(FIRST_HALVES, h));                  \
            row[i + (h)] = __builtin_shufflevector(a, b, EACH_LANE(SECOND_HALVES, h));           \
        }

// to[j] = element j of every lane's block; n a multiple of KERNEL_LANES.
INLINE void columns(vf *to, const float *const block[KERNEL_LANES], int n)
{
    for (int j = 0; j < n; j += KERNEL_LANES) {
        vf row[KERNEL_LANES];
        for (int i = 0; i < KERNEL_LANES; i++)
            memcpy(&row[i], block[i] + j, sizeof row[i]);
#if KERNEL_LANES == 16
        SWAP_SQUARES(row, 8)
#endif
#if KERNEL_LANES >= 8
        SWAP_SQUARES(row, 4)
#endif
        SWAP_SQUARES(row, 2)
        SWAP_SQUARES(row, 1)
        memcpy(to + j, row, sizeof row);
    }
}

INLINE vf magnitude(vf x) { return (vf)((vi)x & 0x7fffffff); }

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
INLINE vf nearest(vf x)
{
    vi bits = (vi)(x + 0x1.8p23f) & 0x7fffff;
    return __builtin_convertvector(bits - 0x400000, vf);
}

INLINE vf clamp(vf x, float least, float most)
{
    return smaller(larger(x, SPREAD(least)), SPREAD(most));
}

#endif
