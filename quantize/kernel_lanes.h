// SPDX-License-Identifier: Apache-2.0
// Vector types and the few words both kernel templates use. kernels_<level>.c defines KERNEL_LANES
// (floats in a vector), KERNEL_TARGET (the target attribute) and KERNEL(name) (the name with the
// level's suffix) before; alone, this is the plain level.
#ifndef SCRUPLE_QUANTIZE_KERNEL_LANES_H
#define SCRUPLE_QUANTIZE_KERNEL_LANES_H

#ifndef KERNEL_LANES
#define KERNEL_LANES 4
#define KERNEL_TARGET
#define KERNEL(name) name##_plain
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/bytes.h"
#include "quantize/kernels.h"
#include "quantize/number.h"

#define LANES_OF(type) __attribute__((vector_size(KERNEL_LANES * sizeof(type)), may_alias))
typedef float vf LANES_OF(float);
typedef int32_t vi LANES_OF(int32_t);
typedef uint32_t vu LANES_OF(uint32_t);
typedef uint16_t vu16 LANES_OF(uint16_t);
typedef uint8_t vu8 LANES_OF(uint8_t);
typedef int16_t vi16 LANES_OF(int16_t);
typedef int8_t vi8 LANES_OF(int8_t);
typedef uint64_t vpair __attribute__((vector_size(KERNEL_LANES * 4), may_alias));
typedef float v4 __attribute__((vector_size(16), may_alias));

#define INLINE KERNEL_TARGET static inline __attribute__((always_inline))
#define SPREAD(value) ((vf){0} + (value)) // the same in all lanes; not for -0
#define SPREAD_INT(value) ((vi){0} + (value))

// A loop of a known small number of rounds, unrolled, so that its array lies in registers.
#if defined(__clang__)
#define UNROLLED(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)
#else
#define UNROLLED(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)
#endif

INLINE vi either_int(vi mask, vi yes, vi no) { return (yes & mask) | (no & ~mask); }
INLINE vf either(vi mask, vf yes, vf no) { return (vf)either_int(mask, (vi)yes, (vi)no); }

// Which lanes something is true of, where that only chooses: bits of a mask register rather than a
// vector, which compilers make of a comparison otherwise and take apart again.
#if KERNEL_LANES == 16
typedef __mmask16 vmask;
INLINE vmask above(vf x, vf y)
{
    return _mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_GT_OQ);
}
INLINE vmask at_least(vf x, vf y)
{
    return _mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_GE_OQ);
}
INLINE vmask unequal(vf x, vf y)
{
    return _mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_NEQ_UQ);
}
INLINE vmask both(vmask a, vmask b) { return _kand_mask16(a, b); }
INLINE vmask without(vmask a, vmask b) { return _kandn_mask16(b, a); }
INLINE bool some(vmask a) { return a != 0; }
INLINE vf pick(vmask a, vf yes, vf no)
{
    return (vf)_mm512_mask_blend_ps(a, (__m512)no, (__m512)yes);
}
#else
typedef vi vmask;
INLINE vmask above(vf x, vf y) { return x > y; }
INLINE vmask at_least(vf x, vf y) { return x >= y; }
INLINE vmask unequal(vf x, vf y) { return x != y; }
INLINE vmask both(vmask a, vmask b) { return a & b; }
INLINE vmask without(vmask a, vmask b) { return a & ~b; }
INLINE vf pick(vmask a, vf yes, vf no) { return either(a, yes, no); }
#endif

// x < y ? x : y in each lane.
INLINE vf smaller(vf x, vf y)
{
#if KERNEL_LANES == 16
    return (vf)_mm512_min_ps((__m512)x, (__m512)y);
#elif KERNEL_LANES == 8
    return (vf)_mm256_min_ps((__m256)x, (__m256)y);
#elif defined(__SSE2__)
    return (vf)_mm_min_ps((__m128)x, (__m128)y);
#else
    return either(x < y, x, y);
#endif
}

// x > y ? x : y in each lane.
INLINE vf larger(vf x, vf y)
{
#if KERNEL_LANES == 16
    return (vf)_mm512_max_ps((__m512)x, (__m512)y);
#elif KERNEL_LANES == 8
    return (vf)_mm256_max_ps((__m256)x, (__m256)y);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps((__m128)x, (__m128)y);
#else
    return either(x > y, x, y);
#endif
}

INLINE vi smaller_int(vi x, vi y)
{
#if KERNEL_LANES == 16
    return (vi)_mm512_min_epi32((__m512i)x, (__m512i)y);
#elif KERNEL_LANES == 8
    return (vi)_mm256_min_epi32((__m256i)x, (__m256i)y);
#else
    return either_int(x < y, x, y);
#endif
}

INLINE vi larger_int(vi x, vi y)
{
#if KERNEL_LANES == 16
    return (vi)_mm512_max_epi32((__m512i)x, (__m512i)y);
#elif KERNEL_LANES == 8
    return (vi)_mm256_max_epi32((__m256i)x, (__m256i)y);
#else
    return either_int(x > y, x, y);
#endif
}

// Rounding to whole numbers (|x| < 2^22) within bounds, in two steps, so that two of the second can
// share the first. Beside the number that rounds by being added and subtracted, floats order like
// their bits: integer minimum and maximum keep the adders free. Larger ones become the bounds, too;
// which of them a NaN becomes is not said.
INLINE vf rounded(vf x) { return x + 0x1.8p23f; }

INLINE vf within(vf rounded_x, float least, float most)
{
    vf low = SPREAD(0x1.8p23f + least), high = SPREAD(0x1.8p23f + most);
#if KERNEL_LANES == 4
    return smaller(larger(rounded_x, low), high) - 0x1.8p23f;
#else
    return (vf)smaller_int(larger_int((vi)rounded_x, (vi)low), (vi)high) - 0x1.8p23f;
#endif
}

INLINE vf square_root(vf x)
{
#if KERNEL_LANES == 16
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif KERNEL_LANES == 8
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)x);
#else
    for (int i = 0; i < KERNEL_LANES; i++)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

// One byte a lane, widened. Compilers take the short vector apart byte by byte where they are asked
// for this conversion, so it is spelled out: a 64-bit lane gets the bytes 2 i and 2 i + 1.
INLINE vi bytes(const uint8_t *from)
{
#if KERNEL_LANES == 16
    vu8 narrow;
    memcpy(&narrow, from, sizeof narrow);
    return __builtin_convertvector(__builtin_convertvector(narrow, vu16), vi);
#else
#if KERNEL_LANES == 8
    vpair x = ((vpair){0} + load_u64(from)) >> (vpair){0, 16, 32, 48};
#else
    vpair x = {load_u32(from), load_u16(from + 2)};
#endif
    return (vi)((x & 0xff) | (x << 24 & 0x000000ff00000000));
#endif
}

// f16_to_f32 of the low halves; the high ones are zero.
INLINE vf f16_lanes(vi u)
{
#if KERNEL_LANES == 16
    return (vf)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)u));
#else
    vi magnitude = u & 0x7fff;
    vi x = (magnitude << 13) + (112 << 23);
    vf subnormal = (vf)(x + (1 << 23)) - 0x1p-14f; // of equal exponent: the rest is exact
    x = either_int(magnitude < 0x400, (vi)subnormal, x);
    x += (magnitude >= 0x7c00) & (112 << 23);
    x |= (magnitude > 0x7c00) & 0x400000;
    return (vf)(x | (u & 0x8000) << 16);
#endif
}

// f32_to_f16, in the low halves.
INLINE vi to_f16_lanes(vf value)
{
#if KERNEL_LANES == 16
    enum { TO_NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return (vi)_mm512_cvtepu16_epi32(_mm512_cvtps_ph((__m512)value, TO_NEAREST));
#else
    vi u = (vi)value, a = u & 0x7fffffff;
    vi x = (vi)(((vu)a + 0xfff + ((vu)a >> 13 & 1)) >> 13) - (112 << 10);
    vi below = a < 0x38800000;
    vf small = (vf)(a & below) + 0.5f;
    x = either_int(below, (vi)small - 0x3f000000, x);
    x = either_int(a >= 0x47800000, (vi){0} + 0x7c00, x);
    x = either_int(a > 0x7f800000, 0x7e00 | (a >> 13 & 0x3ff), x);
    return x | (vi)((vu)u >> 16 & 0x8000);
#endif
}

INLINE vf magnitude(vf x) { return (vf)((vi)x & 0x7fffffff); }

// The largest magnitude of n numbers, n a multiple of KERNEL_LANES.
INLINE float largest_of(const float *from, int64_t n)
{
    vf most = {0};
    for (int64_t j = 0; j < n; j += KERNEL_LANES) {
        vf x;
        memcpy(&x, from + j, sizeof x);
        most = larger(magnitude(x), most);
    }
#if KERNEL_LANES == 16
    return _mm512_reduce_max_ps((__m512)most);
#else
    v4 four;
#if KERNEL_LANES == 8
    four = (v4)_mm_max_ps(_mm256_castps256_ps128((__m256)most),
                          _mm256_extractf128_ps((__m256)most, 1));
#else
    four = most;
#endif
    float x = four[0] > four[1] ? four[0] : four[1], y = four[2] > four[3] ? four[2] : four[3];
    return x > y ? x : y;
#endif
}

#endif
