// SPDX-License-Identifier: Apache-2.0
// One group of weights in a search, and the few words that the group searches share
// (groups_kernel.h, tools_kernel.h, zeros_kernel.h), for templates (kernel_lanes.h).
#ifndef SCRUPLE_QUANTIZE_SEARCHED_H
#define SCRUPLE_QUANTIZE_SEARCHED_H

#include "quantize/groups.h"
#include "quantize/sixteen_lanes.h"

INLINE vf clamp_lanes(vf x, float least, float most)
{
    return smaller(larger(x, SPREAD(least)), SPREAD(most));
}

// As it is after rounding to that type, ties to even.
INLINE vf as_lanes(dtype type, vf x)
{
    if (type == DT_BF16) {
        vu u = (vu)x;
        return (vf)((u + 0x7fff + (u >> 16 & 1)) & 0xffff0000);
    }
    return type == DT_F16 ? f16_lanes(to_f16_lanes(x)) : x;
}

INLINE float as(dtype type, float x)
{
    if (type == DT_BF16) {
        uint32_t u = f32_bits(x);
        return f32_from_bits((u + 0x7fff + (u >> 16 & 1)) & 0xffff0000);
    }
    return type == DT_F16 ? f16_to_f32(f32_to_f16(x)) : x;
}

// The least and the largest of n weights and 0.
INLINE void range_of(const float *w, int64_t n, float *min, float *max)
{
    vf low = {0}, high = {0};
    for (int64_t j = 0; j < n; j += KERNEL_LANES) {
        vf x;
        memcpy(&x, w + j, sizeof x);
        low = smaller(x, low);
        high = larger(x, high);
    }
#if KERNEL_LANES == 16
    *min = _mm512_reduce_min_ps((__m512)low);
    *max = _mm512_reduce_max_ps((__m512)high);
#else
    v4 part[2][KERNEL_LANES / 4];
    memcpy(part[0], &low, sizeof low);
    memcpy(part[1], &high, sizeof high);
    *min = *max = 0;
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < KERNEL_LANES / 4; i++) {
            *min = part[0][i][k] < *min ? part[0][i][k] : *min;
            *max = part[1][i][k] > *max ? part[1][i][k] : *max;
        }
#endif
}

INLINE float largest_of(const float *w, int64_t n)
{
    vi most = {0};
    for (int64_t j = 0; j < n; j += KERNEL_LANES) {
        vi x;
        memcpy(&x, w + j, sizeof x);
        x &= 0x7fffffff;
        most = either_int(x > most, x, most);
    }
#if KERNEL_LANES == 16
    return f32_from_bits((uint32_t)_mm512_reduce_max_epi32((__m512i)most));
#else
    int32_t largest = 0;
    for (int i = 0; i < KERNEL_LANES; i++)
        largest = most[i] > largest ? most[i] : largest;
    return f32_from_bits((uint32_t)largest);
#endif
}

// The power of two that brings x into [1, 2), as far as there is one.
INLINE float factor_of(float x)
{
    int32_t exponent = (int32_t)(f32_bits(x) >> 23);
    exponent = exponent < 1 ? 1 : exponent > 253 ? 253 : exponent;
    return f32_from_bits((uint32_t)(254 - exponent) << 23);
}

// One group in the search.
typedef struct {
    const float *w, *o;
    int64_t n;
    float factor, o_factor; // of weights and importance
} searched;

INLINE searched searched_group(const group_weights *g, int64_t at, float amax)
{
    searched s = {.w = g->w + at, .n = g->n, .factor = factor_of(amax), .o_factor = 1};
    if (g->importance) {
        s.o = g->importance + at;
        float most = largest_of(s.o, s.n);
        s.o_factor = most > 0 ? factor_of(most) : 1;
    }
    return s;
}

// The weights of vector v from j on as they are; *o: their importance x o_factor, or 1.
INLINE vf weight_lanes(const searched *s, int64_t j, int v, vf *o)
{
    vf w;
    memcpy(&w, s->w + j + v * KERNEL_LANES, sizeof w);
    *o = SPREAD(1.0f);
    if (s->o) {
        memcpy(o, s->o + j + v * KERNEL_LANES, sizeof *o);
        *o *= s->o_factor;
    }
    return w;
}

// sum o w^2, scaled.
INLINE float weighted_square(const searched *s)
{
    vf sum[VECTORS] = {0};
    for (int64_t j = 0; j < s->n; j += 16)
        EACH_VECTOR(v) {
            vf o, w = weight_lanes(s, j, v, &o);
            w *= s->factor;
            sum[v] += o * w * w;
        }
    return fold(sum);
}

#endif
