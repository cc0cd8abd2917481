// SPDX-License-Identifier: Apache-2.0
// The K-quants decoded, as a template (kernel_lanes.h). Layouts stand with each type; products and
// differences are rounded in ggml's order: d S, times q, less dmin M.
#ifndef SCRUPLE_QUANTIZE_BLOCKS_K_DECODE_H
#define SCRUPLE_QUANTIZE_BLOCKS_K_DECODE_H

#include "quantize/blocks_k_lanes.h"

INLINE void k_emit(float *to, vi code, float scale, float less)
{
    vf x = __builtin_convertvector(code, vf) * scale - less;
    memcpy(to, &x, sizeof x);
}

INLINE void k_emit_signed(float *to, vi code, float scale)
{
    vf x = __builtin_convertvector(code, vf) * scale;
    memcpy(to, &x, sizeof x);
}

// u8 S M[16] @0: four bits each; u8 q[64] @16; f16 d @80, dmin @82. The code of weight 128 c + 32 k
// + l is bits 2 k of byte 32 c + l.
KERNEL_TARGET static void KERNEL(q2_k_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += 84) {
        float d = f16_to_f32(load_u16(from + 80)), dmin = f16_to_f32(load_u16(from + 82));
        for (int j = 0; j < 16; j++, to += 16) {
            const uint8_t *q = from + 16 + j / 8 * 32 + j % 2 * 16;
            float scale = d * (float)(from[j] & 15), less = dmin * (float)(from[j] >> 4);
            for (int i = 0; i < 16; i += KERNEL_LANES)
                k_emit(to + i, bytes(q + i) >> j % 8 / 2 * 2 & 3, scale, less);
        }
    }
}

// u8 high[32] @0: bit e / 32 of byte e % 32; u8 q[64] @32 as in Q2_K; six-bit scales in 12 bytes
// @96, less 32; f16 d @108. The code is q, less 4 where the high bit is not set.
KERNEL_TARGET static void KERNEL(q3_k_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += 110) {
        float d = f16_to_f32(load_u16(from + 108));
        const uint8_t *s = from + 96;
        for (int j = 0; j < 16; j++, to += 16) {
            const uint8_t *q = from + 32 + j / 8 * 32 + j % 2 * 16, *high = from + j % 2 * 16;
            int low = s[j % 8] >> j / 8 * 4 & 15, up = s[8 + j % 4] >> j / 4 * 2 & 3;
            float scale = d * (float)((low | up << 4) - 32);
            for (int i = 0; i < 16; i += KERNEL_LANES) {
                vi code = bytes(q + i) >> j % 8 / 2 * 2 & 3;
                code |= (bytes(high + i) >> j / 2 & 1) << 2;
                k_emit_signed(to + i, code - 4, scale);
            }
        }
    }
}

// Scale and minimum j of the twelve bytes of Q4_K and Q5_K.
INLINE void k_six_bits(const uint8_t *s, int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        *min = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
}

// f16 d @0, dmin @2; six-bit scales and minima @4; u8 q[128] @16: of 64 weights the first 32 are
// the low, the others the high halves of 32 bytes.
KERNEL_TARGET static void KERNEL(q4_k_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += 144) {
        float d = f16_to_f32(load_u16(from)), dmin = f16_to_f32(load_u16(from + 2));
        for (int j = 0; j < 8; j++, to += 32) {
            int s, m;
            k_six_bits(from + 4, j, &s, &m);
            const uint8_t *q = from + 16 + j / 2 * 32;
            float scale = d * (float)s, less = dmin * (float)m;
            for (int i = 0; i < 32; i += KERNEL_LANES)
                k_emit(to + i, bytes(q + i) >> j % 2 * 4 & 15, scale, less);
        }
    }
}

// As Q4_K, with u8 high[32] @16: bit e / 32 of byte e % 32 is the code's fifth; q @48.
KERNEL_TARGET static void KERNEL(q5_k_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += 176) {
        float d = f16_to_f32(load_u16(from)), dmin = f16_to_f32(load_u16(from + 2));
        for (int j = 0; j < 8; j++, to += 32) {
            int s, m;
            k_six_bits(from + 4, j, &s, &m);
            const uint8_t *q = from + 48 + j / 2 * 32;
            float scale = d * (float)s, less = dmin * (float)m;
            for (int i = 0; i < 32; i += KERNEL_LANES) {
                vi code = bytes(q + i) >> j % 2 * 4 & 15;
                code |= (bytes(from + 16 + i) >> j & 1) << 4;
                k_emit(to + i, code, scale, less);
            }
        }
    }
}

// u8 low[128] @0: of 128 weights the first 64 are the low, the others the high halves of 64 bytes;
// u8 high[64] @128 as q in Q2_K; i8 S[16] @192; f16 d @208. The code is the six bits, less 32.
KERNEL_TARGET static void KERNEL(q6_k_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += 210) {
        float d = f16_to_f32(load_u16(from + 208));
        for (int j = 0; j < 16; j++, to += 16) {
            int k = j % 8 / 2;
            const uint8_t *low = from + j / 8 * 64 + k % 2 * 32 + j % 2 * 16;
            const uint8_t *high = from + 128 + j / 8 * 32 + j % 2 * 16;
            float scale = d * (float)(int8_t)from[192 + j];
            for (int i = 0; i < 16; i += KERNEL_LANES) {
                vi code = bytes(low + i) >> k / 2 * 4 & 15;
                code |= (bytes(high + i) >> 2 * k & 3) << 4;
                k_emit_signed(to + i, code - 32, scale);
            }
        }
    }
}

#endif
