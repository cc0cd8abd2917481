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

// n weights from `from` on, scaled and less `middle`, and their importance; n a multiple of 16.
INLINE void load_scaled(const searched *s, int64_t from, int64_t n, float middle, float *w,
                        float *o)
{
    for (int64_t j = 0; j < n; j += 16)
        EACH_VECTOR(v) {
            vf one = weight_lanes(s, from + j, v, (vf *)(o + j + v * KERNEL_LANES));
            *(vf *)(w + j + v * KERNEL_LANES) = one * s->factor - middle;
        }
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
