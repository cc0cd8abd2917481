// SPDX-License-Identifier: Apache-2.0
// E2M1 and E4M3 codes in vector lanes, for the templates (kernel_lanes.h) of rows, groups and
// ggml's FP4 blocks.
#ifndef SCRUPLE_QUANTIZE_E2M1_LANES_H
#define SCRUPLE_QUANTIZE_E2M1_LANES_H

#include "quantize/kernel_lanes.h"

// Twice the value of the E2M1 code in a lane's low nibble, whatever lies above: 0 1 2 3 4 6 8 12.
INLINE vf twice_e2m1(vi code)
{
#if KERNEL_LANES == 16
    __m512 value = _mm512_setr_ps(0, 1, 2, 3, 4, 6, 8, 12, -0.0f, -1, -2, -3, -4, -6, -8, -12);
    return (vf)_mm512_permutexvar_ps((__m512i)code, value);
#elif KERNEL_LANES == 8
    __m256 value = _mm256_setr_ps(0, 1, 2, 3, 4, 6, 8, 12);
    vi x = (vi)_mm256_permutevar8x32_ps(value, (__m256i)code);
    return (vf)(x | (code & 8) << 28);
#else
    vi magnitude = code & 7;
    vi x = (magnitude << 22) + (127 << 23);
    vf subnormal = (vf)(x + (1 << 23)) - 2.0f; // of equal exponent: the rest is exact
    x = either_int(magnitude < 2, (vi)subnormal, x);
    return (vf)(x | (code & 8) << 28);
#endif
}

// f32_to_e2m1 (number.h) in each lane.
INLINE vi e2m1_codes(vf value)
{
    vi u = (vi)value;
    vi a = u & 0x7fffffff;
    vi x = (vi)(((vu)a + 0x1fffff + ((vu)a >> 22 & 1)) >> 22) - (126 << 1);
    vi below = a < 0x3f800000;
    vf small = (vf)(a & below) + 0x1p22f;
    x = either_int(below, (vi)small - 0x4a800000, x);
    x = either_int(a > 0x40a00000, (vi){0} + 7, x);
    return x | (vi)((vu)u >> 28 & 8);
}

// The value of the E4M3 code in a lane, whose sign bit is clear.
INLINE vf e4m3_magnitudes(vi code)
{
    vi x = (code << 20) + (120 << 23);
    vf subnormal = (vf)(x + (1 << 23)) - 0x1p-6f; // of equal exponent: the rest is exact
    x = either_int(code < 8, (vi)subnormal, x);
    return (vf)either_int(code == 0x7f, (vi){0} + 0x7fc00000, x);
}

// f32_to_e4m3 (number.h) in each lane.
INLINE vi e4m3_codes(vf value)
{
    vi u = (vi)value;
    vi a = u & 0x7fffffff;
    vi x = (vi)(((vu)a + 0x7ffff + ((vu)a >> 20 & 1)) >> 20) - (120 << 3);
    vi below = a < 0x3c800000;
    vf small = (vf)(a & below) + 0x1p14f;
    x = either_int(below, (vi)small - 0x46800000, x);
    x = either_int(a >= 0x43e00000, (vi){0} + 0x7e, x);
    x |= (vi)((vu)u >> 24 & 0x80);
    return either_int(a > 0x7f800000, (vi){0} + 0x7f, x);
}

// The low byte of each lane. Compilers do not find these instructions for the conversion.
INLINE void store_codes(uint8_t *to, vi code)
{
#if KERNEL_LANES == 16
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8((__m512i)code));
#elif KERNEL_LANES == 8
    // Each half's four low bytes to its beginning.
    __m256i low = _mm256_shuffle_epi8((__m256i)code, _mm256_set1_epi32(0x0c080400));
    store_u32(to, (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(low)));
    store_u32(to + 4, (uint32_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(low, 1)));
#elif defined(__SSE2__)
    __m128i half = _mm_packs_epi32((__m128i)(code & 0xff), _mm_setzero_si128());
    store_u32(to, (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(half, half)));
#else
    vu8 narrow = __builtin_convertvector(__builtin_convertvector((vu)code, vu16), vu8);
    memcpy(to, &narrow, sizeof narrow);
#endif
}

#endif
