// SPDX-License-Identifier: Apache-2.0
// Rows of numbers, as a template (kernel_lanes.h): number.c's scalar rules on vectors, which also
// do what is left over at a row's end.
#include "quantize/e2m1_lanes.h"
#include "quantize/sixteen_lanes.h"

KERNEL_TARGET void KERNEL(from_bf16)(float *to, const void *from, int64_t n)
{
    const unsigned char *p = from;
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vu16 bits;
        memcpy(&bits, p + 2 * i, sizeof bits);
        vu wide = __builtin_convertvector(bits, vu) << 16;
        memcpy(to + i, &wide, sizeof wide);
    }
    for (; i < n; i++)
        to[i] = bf16_to_f32(load_u16(p + 2 * i));
}

KERNEL_TARGET void KERNEL(to_bf16)(void *to, const float *from, int64_t n)
{
    unsigned char *p = to;
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vu u;
        memcpy(&u, from + i, sizeof u);
        vi nan = (vi)(u & 0x7fffffff) > 0x7f800000;
        vu rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
        vu16 bits = __builtin_convertvector(
            (vu)either_int(nan, (vi)(u >> 16 | 0x40), (vi)rounded), vu16);
        memcpy(p + 2 * i, &bits, sizeof bits);
    }
    for (; i < n; i++)
        store_u16(p + 2 * i, f32_to_bf16(from[i]));
}

KERNEL_TARGET void KERNEL(from_f16)(float *to, const void *from, int64_t n)
{
    const unsigned char *p = from;
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vu16 bits;
        memcpy(&bits, p + 2 * i, sizeof bits);
        vf x = f16_lanes(__builtin_convertvector(bits, vi));
        memcpy(to + i, &x, sizeof x);
    }
    for (; i < n; i++)
        to[i] = f16_to_f32(load_u16(p + 2 * i));
}

KERNEL_TARGET void KERNEL(to_f16)(void *to, const float *from, int64_t n)
{
    unsigned char *p = to;
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vf x;
        memcpy(&x, from + i, sizeof x);
        vu16 bits = __builtin_convertvector((vu)to_f16_lanes(x), vu16);
        memcpy(p + 2 * i, &bits, sizeof bits);
    }
    for (; i < n; i++)
        store_u16(p + 2 * i, f32_to_f16(from[i]));
}

KERNEL_TARGET void KERNEL(from_e4m3)(float *to, const uint8_t *code, float scale, int64_t n)
{
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vi u = bytes(code + i);
        vf value = (vf)((vi)e4m3_magnitudes(u & 0x7f) | (u & 0x80) << 24) * scale;
        memcpy(to + i, &value, sizeof value);
    }
    for (; i < n; i++)
        to[i] = e4m3_to_f32(code[i]) * scale;
}

KERNEL_TARGET void KERNEL(to_e4m3)(uint8_t *code, const float *from, float scale, int64_t n)
{
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vf value;
        memcpy(&value, from + i, sizeof value);
        store_codes(code + i, e4m3_codes(value / scale));
    }
    for (; i < n; i++)
        code[i] = f32_to_e4m3(from[i] / scale);
}

#if KERNEL_LANES == 4
// A half word's nibbles, masked in place: the conversion to float and the power of two are exact,
// and no lane needs a shift of its own, which SSE2 does not have.
INLINE vf nibbles(const uint8_t *packed)
{
    vi masked = (vi){0x000f, 0x00f0, 0x0f00, 0xf000} & (int32_t)load_u16(packed);
    return __builtin_convertvector(masked, vf) * (vf){1, 0x1p-4f, 0x1p-8f, 0x1p-12f};
}

INLINE vi nibble_codes(const uint8_t *packed)
{
    return __builtin_convertvector(nibbles(packed), vi);
}
#else
// A 64-bit lane gets the nibbles 2 i and 2 i + 1.
INLINE vi nibble_codes(const uint8_t *packed)
{
#if KERNEL_LANES == 16
    vpair x = ((vpair){0} + load_u64(packed)) >> (vpair){0, 8, 16, 24, 32, 40, 48, 56};
#else
    vpair x = ((vpair){0} + load_u32(packed)) >> (vpair){0, 8, 16, 24};
#endif
    return (vi)((x & 15) | (x << 28 & 0x0000000f00000000));
}

INLINE vf nibbles(const uint8_t *packed)
{
    return __builtin_convertvector(nibble_codes(packed), vf);
}
#endif

INLINE uint8_t nibble_at(const uint8_t *packed, int64_t i)
{
    return packed[i / 2] >> (i % 2 * 4) & 15;
}

KERNEL_TARGET void KERNEL(from_u4)(float *to, const uint8_t *packed, float zero, float scale,
                                   int64_t n)
{
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vf value = (nibbles(packed + i / 2) - zero) * scale;
        memcpy(to + i, &value, sizeof value);
    }
    for (; i < n; i++)
        to[i] = ((float)nibble_at(packed, i) - zero) * scale;
}

// Codes of so many bits, a vector of them from the byte on: a 64-bit lane gets the codes 2 i and
// 2 i + 1. 8 of them are `bits` bytes.
INLINE vf stream_codes(const uint8_t *p, uint64_t first, uint64_t bits)
{
    uint64_t mask = ((uint64_t)1 << bits) - 1;
#if KERNEL_LANES == 16
    uint64_t a = load_u64(p), b = load_u64(p + bits);
    vpair word = {a, a, a, a, b, b, b, b};
    vpair shift = (vpair){0, 2, 4, 6, 0, 2, 4, 6} * bits;
#elif KERNEL_LANES == 8
    vpair word = (vpair){0} + load_u64(p);
    vpair shift = (vpair){0, 2, 4, 6} * bits;
#else
    vpair word = (vpair){0} + load_u64(p);
    vpair shift = (vpair){0, 2} * bits;
#endif
    word >>= shift + first;
    return __builtin_convertvector((vi)((word & mask) | (word >> bits & mask) << 32), vf);
}

KERNEL_TARGET void KERNEL(from_bits)(float *to, const uint8_t *stream, const uint8_t *end,
                                     int bits, float zero, float scale, int64_t n)
{
    int64_t i = 0;
    // 4 codes begin at a half byte.
    for (; i <= n - KERNEL_LANES && stream + i / 8 * bits + bits + 8 <= end; i += KERNEL_LANES) {
        vf code = stream_codes(stream + i / 8 * bits, (uint64_t)(i % 8 * bits), (uint64_t)bits);
        vf value = (code - zero) * scale;
        memcpy(to + i, &value, sizeof value);
    }
    for (; i < n; i++) {
        const uint8_t *p = stream + i * bits / 8;
        uint32_t two = p[0], at = (uint32_t)(i * bits % 8);
        if (at + (uint32_t)bits > 8)
            two |= (uint32_t)p[1] << 8;
        to[i] = ((float)(two >> at & ((1u << bits) - 1)) - zero) * scale;
    }
}

KERNEL_TARGET void KERNEL(from_u8)(float *to, const uint8_t *code, uint8_t flip, float zero,
                                   float scale, int64_t n)
{
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vf value = (__builtin_convertvector(bytes(code + i) ^ flip, vf) - zero) * scale;
        memcpy(to + i, &value, sizeof value);
    }
    for (; i < n; i++)
        to[i] = ((float)(code[i] ^ flip) - zero) * scale;
}

KERNEL_TARGET void KERNEL(from_e2m1)(float *to, const uint8_t *packed, float scale, int64_t n)
{
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vf value = twice_e2m1(nibble_codes(packed + i / 2)) * 0.5f * scale;
        memcpy(to + i, &value, sizeof value);
    }
    for (; i < n; i++)
        to[i] = e2m1_to_f32(nibble_at(packed, i)) * scale;
}

KERNEL_TARGET void KERNEL(add_bias)(float *to, float bias, int64_t n)
{
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vf value;
        memcpy(&value, to + i, sizeof value);
        value += bias;
        memcpy(to + i, &value, sizeof value);
    }
    for (; i < n; i++)
        to[i] += bias;
}

KERNEL_TARGET void KERNEL(to_e2m1)(uint8_t *packed, const float *from, float scale, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        uint8_t code[16];
        for (int j = 0; j < 16; j += KERNEL_LANES) {
            vf value;
            memcpy(&value, from + i + j, sizeof value);
            store_codes(code + j, e2m1_codes(value / scale));
        }
        store_pairs(packed + i / 2, code);
    }
}

KERNEL_TARGET void KERNEL(split_eights)(uint8_t *to, int64_t row, const uint8_t *words,
                                        int64_t pitch, int64_t n_words, int64_t columns)
{
    int64_t i = 0;
    for (; i <= columns - KERNEL_LANES; i += KERNEL_LANES)
        for (int64_t w = 0; w < n_words; w++) {
            uint32_t column[KERNEL_LANES];
            vu x;
            for (int k = 0; k < KERNEL_LANES; k++)
                column[k] = load_u32(words + (i + k) * pitch + 4 * w);
            memcpy(&x, column, sizeof x);
            for (int r = 0; r < 8; r++)
                store_codes(to + (8 * w + r) * row + i, (vi)(x >> eights_shift[r] & 15));
        }
    for (; i < columns; i++)
        for (int64_t r = 0; r < 8 * n_words; r++) {
            uint32_t x = load_u32(words + i * pitch + r / 8 * 4);
            to[r * row + i] = x >> eights_shift[r % 8] & 15;
        }
}

// clamp(RNE((from[i] - bias) / scale) + zero, 0, most).
KERNEL_TARGET void KERNEL(to_whole)(uint8_t *code, const float *from, float bias, float zero,
                                    float scale, float most, int64_t n)
{
    int64_t i = 0;
    for (; i <= n - KERNEL_LANES; i += KERNEL_LANES) {
        vf value;
        memcpy(&value, from + i, sizeof value);
        value = smaller(larger((value - bias) / scale, SPREAD(-zero)), SPREAD(most - zero));
        value = value + 12582912.0f - 12582912.0f + zero;
        store_codes(code + i, __builtin_convertvector(value, vi));
    }
    for (; i < n; i++) {
        float value = (from[i] - bias) / scale;
        value = value > -zero ? value : -zero;
        value = value < most - zero ? value : most - zero;
        code[i] = (uint8_t)(value + 12582912.0f - 12582912.0f + zero);
    }
}
