// SPDX-License-Identifier: Apache-2.0
// Eight codes in a word, and 8 x 8 bytes turned: what reading (codec_scaled.c) and writing
// (coded.c) of words along a weight's rows share. Internal to quantize/.
#ifndef SCRUPLE_QUANTIZE_EIGHTS_H
#define SCRUPLE_QUANTIZE_EIGHTS_H

#include <stdint.h>

// Where AWQ puts the codes 0 .. 7 of a word.
static const int eighth[8] = {0, 4, 1, 5, 2, 6, 3, 7};

// Nibble i becomes byte i.
static inline uint64_t spread_nibbles(uint32_t word)
{
    uint64_t x = (word & 0xffff) | (uint64_t)(word >> 16) << 32;
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
}

// The way back; bytes are below 16.
static inline uint32_t join_nibbles(uint64_t x)
{
    x = (x | x >> 4) & 0x00ff00ff00ff00ff;
    x = (x | x >> 8) & 0x0000ffff0000ffff;
    return (uint32_t)(x | x >> 16);
}

// Byte i of word k becomes byte k of word i.
static inline void transpose_bytes(uint64_t x[8])
{
    static const uint64_t low[] = {0x00ff00ff00ff00ff, 0x0000ffff0000ffff, 0x00000000ffffffff};
    for (int stage = 2; stage >= 0; stage--) {
        int d = 1 << stage;
        for (int i = 0; i < 8; i++) {
            if (i & d)
                continue;
            uint64_t other = (x[i] >> 8 * d ^ x[i + d]) & low[stage];
            x[i + d] ^= other;
            x[i] ^= other << 8 * d;
        }
    }
}

#endif
