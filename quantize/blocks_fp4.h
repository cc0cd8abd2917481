// SPDX-License-Identifier: Apache-2.0
// ggml's types of E2M1 codes, as a template (kernel_lanes.h): MXFP4, NVFP4. Both keep twice the
// E2M1 value and half the scale; the products are the same. A code of 8 (-0) reads as +0 and is
// never written.
#include "quantize/block_kernels.h"
#include "quantize/block_lanes.h"
#include "quantize/e2m1_lanes.h"

enum {
    MXFP4_BLOCK = 32, MXFP4_BYTES = 17, // u8 e @0; nibbles @1: value 2^(e-128) v
    NVFP4_BLOCK = 64, NVFP4_BYTES = 36, // UE4M3 d[4] @0; nibbles @4, 8 bytes for each d
    NVFP4_PART = 16,
};

// 2^(e - 128), also for 0 and 1, which are subnormal, and for 255, which is nobody's scale.
INLINE float fp4_half_e8m0(uint8_t e)
{
    return f32_from_bits(e < 2 ? 0x200000u << e : (uint32_t)(e - 1) << 23);
}

// Adding zero makes +0 of -0.
INLINE vf fp4_value(vi code) { return twice_e2m1(code) + 0.0f; }

// The products of 2 n elements whose codes are the low nibbles of n bytes, then the high ones; n a
// multiple of KERNEL_LANES.
INLINE void fp4_decode_halves(float *to, const uint8_t *from, float d, int n)
{
    for (int j = 0; j < n; j += KERNEL_LANES) {
        vi pair = bytes(from + j);
        vf low = fp4_value(pair) * d, high = fp4_value(pair >> 4) * d;
        memcpy(to + j, &low, sizeof low);
        memcpy(to + n + j, &high, sizeof high);
    }
}

KERNEL_TARGET static void KERNEL(mxfp4_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += MXFP4_BYTES, to += MXFP4_BLOCK)
        fp4_decode_halves(to, from + 1, fp4_half_e8m0(from[0]), MXFP4_BLOCK / 2);
}

KERNEL_TARGET static void KERNEL(nvfp4_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += NVFP4_BYTES)
        for (int part = 0; part < 4; part++, to += NVFP4_PART) {
            float d = ue4m3_to_f32(from[part]) * 0.5f;
            const uint8_t *codes = from + 4 + 8 * part;
#if KERNEL_LANES == 16
            uint64_t pairs = load_u64(codes);
            uint64_t both[2] = {pairs, pairs >> 4};
            vf value = fp4_value(bytes((const uint8_t *)both)) * d;
            memcpy(to, &value, sizeof value);
#else
            fp4_decode_halves(to, codes, d, NVFP4_PART / 2);
#endif
        }
}

INLINE float fp4_largest_of(const float *from, int n)
{
    vf most = {0};
    for (int j = 0; j < n; j += KERNEL_LANES) {
        vf x;
        memcpy(&x, from + j, sizeof x);
        vf a = magnitude(x);
        most = either(a > most, a, most);
    }
    float amax = 0;
    for (int i = 0; i < KERNEL_LANES; i++)
        amax = most[i] > amax ? most[i] : amax;
    return amax;
}

// The nearest of v d, the smaller magnitude of two: how many midpoints, exact in binary32, lie
// below. ggml's distances |v d - x| are exact where they are compared with success.
INLINE void fp4_nearest_codes(uint8_t *code, const float *from, float d, int n)
{
    float unit = d > 0 ? d : 0x1p127f; // no scale: every code is 0
    for (int j = 0; j < n; j += KERNEL_LANES) {
        vf x;
        memcpy(&x, from + j, sizeof x);
        vf a = magnitude(x);
        vi above = (a > 0.5f * unit) + (a > 1.5f * unit) + (a > 2.5f * unit) + (a > 3.5f * unit) +
                   (a > 5 * unit) + (a > 7 * unit) + (a > 10 * unit); // a true lane is -1
        store_codes(code + j, -above | ((above & (vi)x) >> 31 & 8));
    }
}

// 16 codes as 8 bytes: the first eight are the low nibbles.
INLINE void fp4_store_halves(uint8_t *to, const uint8_t *low, const uint8_t *high)
{
    store_u64(to, load_u64(low) | load_u64(high) << 4);
}

KERNEL_TARGET static void KERNEL(mxfp4_write)(uint8_t *to, const float *from, uint8_t e)
{
    uint8_t code[MXFP4_BLOCK];
    to[0] = e;
    fp4_nearest_codes(code, from, fp4_half_e8m0(e), MXFP4_BLOCK);
    fp4_store_halves(to + 1, code, code + 16);
    fp4_store_halves(to + 9, code + 8, code + 24);
}

KERNEL_TARGET static void KERNEL(nvfp4_write)(uint8_t *to, int part, const float *from, uint8_t e)
{
    uint8_t code[NVFP4_PART];
    to[part] = e;
    fp4_nearest_codes(code, from, ue4m3_to_f32(e) * 0.5f, NVFP4_PART);
    fp4_store_halves(to + 4 + 8 * part, code, code + 8);
}

// ggml's exponent: the largest magnitude is 4 to 8 times the scale. Below 2^-125 ggml converts a
// negative number to a byte, which C leaves open; here the scale is the smallest.
INLINE uint8_t mxfp4_exponent(float amax)
{
    return (uint8_t)(amax < 0x1p-125f ? 0 : f32_floor_log2(amax) + 125);
}

INLINE uint8_t nvfp4_scale(float amax) { return f32_to_ue4m3(amax / 6); }

KERNEL_TARGET static void KERNEL(mxfp4_encode)(const block_rows *r)
{
    for (int64_t b = 0; b < r->n * r->in / MXFP4_BLOCK; b++) {
        const float *from = r->from + b * MXFP4_BLOCK;
        uint8_t e = mxfp4_exponent(fp4_largest_of(from, MXFP4_BLOCK));
        KERNEL(mxfp4_write)(r->to + b * MXFP4_BYTES, from, e);
    }
}

KERNEL_TARGET static void KERNEL(nvfp4_encode)(const block_rows *r)
{
    for (int64_t p = 0; p < r->n * r->in / NVFP4_PART; p++) {
        const float *from = r->from + p * NVFP4_PART;
        uint8_t e = nvfp4_scale(fp4_largest_of(from, NVFP4_PART));
        KERNEL(nvfp4_write)(r->to + p / 4 * NVFP4_BYTES, (int)(p % 4), from, e);
    }
}

const block_ops KERNEL(blocks_fp4)[N_BLOCKS_FP4] = {
    {DT_MXFP4, 0x1.8p127f, true, KERNEL(mxfp4_decode), KERNEL(mxfp4_encode)},
    {DT_NVFP4, 448 * 6, true, KERNEL(nvfp4_decode), KERNEL(nvfp4_encode)},
};
