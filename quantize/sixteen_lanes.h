// SPDX-License-Identifier: Apache-2.0
// 16 virtual lanes, however wide the real vectors are, for the templates that search groups of
// weights (kernel_lanes.h): element i lies in lane i mod 16, sums are folded 8, 4, 2, 1, so that
// the levels agree in every bit.
#ifndef SCRUPLE_QUANTIZE_SIXTEEN_LANES_H
#define SCRUPLE_QUANTIZE_SIXTEEN_LANES_H

#include "quantize/kernel_lanes.h"

enum { VECTORS = 16 / KERNEL_LANES }; // vectors in 16 lanes

// The loop over the vectors of 16 lanes, unrolled, so that their accumulators are registers.
#if defined(__clang__)
#define EACH_VECTOR(v) _Pragma("unroll") for (int v = 0; v < VECTORS; v++)
#else
#define EACH_VECTOR(v) _Pragma("GCC unroll 4") for (int v = 0; v < VECTORS; v++)
#endif
#define ROUND_MAGIC 0x1.8p23f      // adding and subtracting it rounds |x| < 2^22 to nearest even

INLINE float fold(const vf lanes[VECTORS])
{
    v4 part[4];
    memcpy(part, lanes, sizeof part);
    v4 x = (part[0] + part[2]) + (part[1] + part[3]);
    return (x[0] + x[2]) + (x[1] + x[3]);
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

#endif
