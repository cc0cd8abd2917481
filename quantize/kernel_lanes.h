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

INLINE vi either_int(vi mask, vi yes, vi no) { return (yes & mask) | (no & ~mask); }
INLINE vf either(vi mask, vf yes, vf no) { return (vf)either_int(mask, (vi)yes, (vi)no); }

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

#endif
