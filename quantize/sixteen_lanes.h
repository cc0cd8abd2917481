// SPDX-License-Identifier: Apache-2.0
// 16 virtual lanes, however wide the real vectors are, for the templates that search groups of
// weights (kernel_lanes.h): element i lies in lane i mod 16, sums are folded 8, 4, 2, 1, so that
// the levels agree in every bit.
#ifndef SCRUPLE_QUANTIZE_SIXTEEN_LANES_H
#define SCRUPLE_QUANTIZE_SIXTEEN_LANES_H

#include "quantize/kernel_lanes.h"

enum {
    CANDIDATES = 16,
    VECTORS = CANDIDATES / KERNEL_LANES, // vectors in 16 lanes
};

// The loop over the vectors of 16 lanes, unrolled, so that their accumulators are registers.
#if defined(__clang__)
#define EACH_VECTOR(v) _Pragma("unroll") for (int v = 0; v < VECTORS; v++)
#else
#define EACH_VECTOR(v) _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)
#endif
#define ROUND_MAGIC 0x1.8p23f      // adding and subtracting it rounds |x| < 2^22 to nearest even

// The nearest whole number, ties to even, of |x| < 2^22. Which zero is not said.
INLINE vf whole(vf x)
{
#if KERNEL_LANES == 16
    return (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif KERNEL_LANES == 8
    return (vf)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    return x + ROUND_MAGIC - ROUND_MAGIC;
#endif
}

INLINE float fold(const vf lanes[VECTORS])
{
    v4 part[4];
    memcpy(part, lanes, sizeof part);
    v4 x = (part[0] + part[2]) + (part[1] + part[3]);
    return (x[0] + x[2]) + (x[1] + x[3]);
}

// The least of 16; what is no number becomes the largest there is.
INLINE float least_of(vf x[VECTORS])
{
    EACH_VECTOR(v)
        x[v] = smaller(x[v], SPREAD(0x1.fffffep127f));
#if KERNEL_LANES == 16
    return _mm512_reduce_min_ps((__m512)x[0]);
#else
    float part[KERNEL_LANES];
    vf low = x[0];
    for (int v = 1; v < VECTORS; v++)
        low = smaller(x[v], low);
    memcpy(part, &low, sizeof part);
    float least = part[0];
    for (int i = 1; i < KERNEL_LANES; i++)
        least = part[i] < least ? part[i] : least;
    return least;
#endif
}

// A true lane's bit.
INLINE uint32_t mask_bits(vi mask)
{
#if KERNEL_LANES == 16
    return (uint32_t)_mm512_movepi32_mask((__m512i)mask);
#elif KERNEL_LANES == 8
    return (uint32_t)_mm256_movemask_ps((__m256)mask);
#else
    uint32_t bits = 0;
    for (int i = 0; i < KERNEL_LANES; i++)
        bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

// The numbers of the true lanes, the first one being `from`, to room for all of them; how many.
INLINE int list_lanes(vi mask, int32_t from, int32_t *to)
{
    uint32_t bits = mask_bits(mask);
#if KERNEL_LANES == 16
    vi lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    __m512i listed = _mm512_maskz_compress_epi32((__mmask16)bits, (__m512i)(lane + from));
    _mm512_storeu_si512(to, listed);
    return __builtin_popcount(bits);
#else
    int some = 0;
    for (; bits; bits &= bits - 1)
        to[some++] = from + __builtin_ctz(bits);
    return some;
#endif
}

// The first lane that has it, -1 where none has.
INLINE int lane_of(float value, const vf x[VECTORS])
{
    for (int v = 0; v < VECTORS; v++) {
        uint32_t bits = mask_bits(x[v] == value);
        if (bits)
            return v * KERNEL_LANES + __builtin_ctz(bits);
    }
    return -1;
}

// 0 to 15.
INLINE void count_lanes(vi lane[VECTORS])
{
    static const int32_t all[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    memcpy(lane, all, sizeof all);
}

// 16 codes, one a lane's byte, to 8 bytes of two: the low nibble first.
INLINE void store_pairs(uint8_t *to, const uint8_t code[16])
{
    for (int half = 0; half < 2; half++) {
        uint64_t x = load_u64(code + 8 * half);
        x = (x | x >> 4) & 0x00ff00ff00ff00ff;
        x = (x | x >> 8) & 0x0000ffff0000ffff;
        store_u32(to + 4 * half, (uint32_t)(x | x >> 16));
    }
}

// The power of two that brings x into [1, 2), as far as there is one.
INLINE float factor_of(float x)
{
    int32_t exponent = (int32_t)(f32_bits(x) >> 23);
    exponent = exponent < 1 ? 1 : exponent > 253 ? 253 : exponent;
    return f32_from_bits((uint32_t)(254 - exponent) << 23);
}

// Adds o m w and o m^2 of n weights, o = 1 unless they are weighted; m = RNE(w x inverse), in each
// of 16 lanes, each of which takes the weights in their order.
INLINE void add_whole(const float *w, const float *o, int64_t n, bool weighted,
                      const vf inverse[VECTORS], vf product[VECTORS], vf square[VECTORS])
{
    vf b[VECTORS], c[VECTORS];
    EACH_VECTOR(v) {
        b[v] = product[v];
        c[v] = square[v];
    }
    for (int64_t j = 0; j < n; j++)
        EACH_VECTOR(v) {
            vf m = whole(w[j] * inverse[v]), om = m;
            if (weighted)
                om *= o[j];
            b[v] += om * w[j];
            c[v] += om * m;
        }
    EACH_VECTOR(v) {
        product[v] = b[v];
        square[v] = c[v];
    }
}

#endif
