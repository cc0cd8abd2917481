// SPDX-License-Identifier: Apache-2.0
// The scale searches of ggml's non-linear 4-bit types, as a template (kernel_lanes.h): one part of
// 32 elements a lane. Knows no bytes of blocks.
//
// COMPAT is ggml's search. BEST takes the inverse scales that make the largest magnitude one of the
// 16 values (so that what was read is found again) or a number of a geometric sequence, of both
// signs. For the codes of each, the scale of least squares under the weights that count follows in
// closed form, and how much it lowers the error: by (sum w v x)^2 / sum w v v. Scales as they are
// stored are compared by the error itself.
#ifndef SCRUPLE_QUANTIZE_IQ4_SEARCH_H
#define SCRUPLE_QUANTIZE_IQ4_SEARCH_H

#include "quantize/block_kernels.h"
#include "quantize/block_lanes.h"

enum {
    IQ4_PART = 32,
    IQ4_HALVES = 270, // inverse x lies within +-134.1
    IQ4_TRIES = 16,
    IQ4_AT_ONCE = KERNEL_LANES == 16 ? 4 : 2,
    IQ4_BEST_PLAIN = 44, IQ4_BEST_WEIGHTED = 80, // so many of iq4_best_tries
};

static const float iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                     1, 13, 25, 38, 53, 69, 89, 113};
// Code k + 1 begins in the middle between the values k and k + 1, which is exact.
static const float iq4_middles[15] = {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f,
                                      7, 19, 31.5f, 45.5f, 61, 79, 101};

// What is common to the parts of a call.
typedef struct {
    const block_rows *r;
    float unit;      // power of two that brings the largest importance into [1, 2)
    float to_ggml;   // 1; unit where ggml's sums could leave binary32
    float by_half[2 * IQ4_HALVES]; // value of the code nearest to (i - IQ4_HALVES) / 2
} iq4_job;

// As many parts as there are lanes. Lanes beyond the last part hold zeros.
typedef struct {
    const vf *x;       // [IQ4_PART]
    vf w[IQ4_PART];    // importance by unit, or 1
    vf ggml[IQ4_PART]; // what ggml weighs errors by
} iq4_parts;

// The nearest code, the upper one of two; 15 for what is no number, as in ggml.
INLINE vi nearest_iq4(vf x)
{
    vi code = {0};
    for (int k = 0; k < 15; k++)
        code += x < iq4_middles[k]; // a true lane is -1
    return code + 15;
}

// The value of the nearest code, |x| at most 134.1.
INLINE vf nearest_iq4_value(vf x, const iq4_job *job)
{
#if KERNEL_LANES == 16
    // Cells of eight about the multiples of eight: each has one middle at most, so three tables
    // of the number mod 32 tell what lies on either side. The outermost meet in cells of both ends.
    const __m512 middle_a = _mm512_setr_ps(0, 7, 19, 0, 31.5f, 0, 45.5f, 0, 61, 0, 79, 0, 0, 101,
                                           0, 0),
                 middle_b = _mm512_setr_ps(0, 0, -115.5f, 0, -93.5f, 0, 0, -74, 0, -57, 0, -42,
                                           -28.5f, 0, -16, -4.5f),
                 below_a = _mm512_setr_ps(1, 1, 13, 25, 25, 38, 38, 53, 53, 69, 69, 89, 89, 89,
                                          113, -127),
                 below_b = _mm512_setr_ps(-127, -127, -127, -104, -104, -83, -83, -83, -65, -65,
                                          -49, -49, -35, -22, -22, -10),
                 above_a = _mm512_setr_ps(1, 13, 25, 25, 38, 38, 53, 53, 69, 69, 89, 89, 89, 113,
                                          113, 113),
                 above_b = _mm512_setr_ps(113, 113, -104, -104, -83, -83, -83, -65, -65, -49, -49,
                                          -35, -22, -22, -10, 1);
    (void)job;
    __m512i cell = (__m512i)(x + 0x1.8p26f);
    __m512 middle = _mm512_permutex2var_ps(middle_a, cell, middle_b);
    __m512 below = _mm512_permutex2var_ps(below_a, cell, below_b);
    __m512 above = _mm512_permutex2var_ps(above_a, cell, above_b);
    return (vf)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)x, middle, _CMP_GE_OQ), below,
                                    above);
#elif KERNEL_LANES == 8
    // Cells of 32 about the multiples of 32 less 5.75: each but the lowest has one middle between
    // pairs of codes. Then the middle of the pair. Tables by cell and by pair less 3, mod 8.
    const __m256 between = _mm256_setr_ps(-4.5f, 19, 45.5f, 79, -1e9f, -93.5f, -57, -28.5f),
                 middle = _mm256_setr_ps(-16, 7, 31.5f, 61, 101, -115.5f, -74, -42),
                 below = _mm256_setr_ps(-22, 1, 25, 53, 89, -127, -83, -49),
                 above = _mm256_setr_ps(-10, 13, 38, 69, 113, -104, -65, -35);
    (void)job;
    vi cell = (vi)(smaller(x + 5.75f, SPREAD(110)) + 0x1.8p28f);
    vi pair = cell - (x >= (vf)_mm256_permutevar8x32_ps(between, (__m256i)cell));
    vi upper = x >= (vf)_mm256_permutevar8x32_ps(middle, (__m256i)pair);
    return (vf)_mm256_blendv_ps(_mm256_permutevar8x32_ps(below, (__m256i)pair),
                                _mm256_permutevar8x32_ps(above, (__m256i)pair), (__m256)upper);
#else
    vf halves = x * 2.0f;
    vi i = __builtin_convertvector(halves, vi);
    i += __builtin_convertvector(i, vf) > halves; // floor
    const float *at = job->by_half + IQ4_HALVES;
    return (vf){at[i[0]], at[i[1]], at[i[2]], at[i[3]]};
#endif
}

// For the codes nearest to inverse x, with w the weights: xv = sum of w v x, vv = sum of w v v.
typedef struct {
    vf inverse, xv, vv;
} iq4_fit;

INLINE vf iq4_within(vf x) { return clamp(x, -134, 134); }

INLINE void iq4_fit_codes(const iq4_job *job, const vf *x, const vf *w, bool far,
                          iq4_fit f[IQ4_AT_ONCE])
{
    UNROLLED(t, IQ4_AT_ONCE)
        f[t].xv = f[t].vv = (vf){0};
    for (int j = 0; j < IQ4_PART; j++)
        UNROLLED(t, IQ4_AT_ONCE) {
            vf y = f[t].inverse * x[j];
            vf v = nearest_iq4_value(far ? iq4_within(y) : y, job);
            vf wv = w[j] * v;
            f[t].xv += wv * x[j];
            f[t].vv += wv * v;
        }
}

// The scale of the codes that fit best so far, and how well.
typedef struct {
    vf scale, gain, vv;
} iq4_best;

INLINE void iq4_consider(const iq4_fit *f, vi valid, iq4_best *b)
{
    vi better = valid & (f->vv > 0.0f);
    vf scale = f->xv / f->vv;
    b->scale = either(better, scale, b->scale);
    b->gain = either(better, scale * f->xv, b->gain);
    b->vv = either(better, f->vv, b->vv);
}

// ggml's scales: that of least squares for the codes of 16 inverse scales about 127 / maximum, the
// one whose codes fit best. 0 for parts below 1e-15.
KERNEL_TARGET static vf KERNEL(iq4_scales)(const iq4_job *job, const iq4_parts *p)
{
    vf max = largest_magnitude(p->x, IQ4_PART);
    vi some = magnitude(max) >= 1e-15f;
    max = either(some, max, SPREAD(127));
    iq4_best best = {{0}, {0}, {0}};
    for (int t = 0; t < IQ4_TRIES; t += IQ4_AT_ONCE) {
        iq4_fit f[IQ4_AT_ONCE];
        UNROLLED(i, IQ4_AT_ONCE)
            f[i].inverse = (float)(t + i - 8 - 127) / max;
        if (t == 0)
            f[0].inverse = 1.0f / (max / 127.0f);
        iq4_fit_codes(job, p->x, p->ggml, false, f);
        UNROLLED(i, IQ4_AT_ONCE) {
            vi better = some;
            if (t + i)
                better = f[i].xv * f[i].xv > best.gain * f[i].vv;
            iq4_consider(&f[i], better, &best);
        }
    }
    return either(some, best.scale, (vf){0});
}

// The largest magnitude as a multiple of the scale, with the sign of its code: first the values
// themselves. The geometric sequence goes on to far values where importance can make the largest
// elements unimportant.
static const float iq4_best_tries[IQ4_BEST_WEIGHTED] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
    81.5f, 85.5f, 90, 94.5f, 99, 104, 109, 115, 120.5f, 126.5f, 133, 139.5f, 146.5f, 154,
    -81.5f, -85.5f, -90, -94.5f, -99, -104.5f, -109, -115, -120.5f, -126.5f, -133, -139.5f,
    -146.5f, -154,
    64, 68, 73, 77, 162, 171, 181, 192, 203, 215, 228, 242, 256, 271, 287, 304, 322, 341,
    -64, -68, -73, -77, -162, -171, -181, -192, -203, -215, -228, -242, -256, -271, -287, -304,
    -322, -341,
};

// The largest element, 127 for parts that are as good as zero.
INLINE vf iq4_maximum(const iq4_parts *p)
{
    vf max = largest_magnitude(p->x, IQ4_PART);
    return either(magnitude(max) >= 1e-15f, max, SPREAD(127));
}

// From the first-th of the tries on.
KERNEL_TARGET static iq4_best KERNEL(iq4_best_scales)(const iq4_job *job, const iq4_parts *p,
                                                      int first)
{
    vf max = iq4_maximum(p);
    iq4_best best = {{0}, {0}, {0}};
    int n = job->r->importance ? IQ4_BEST_WEIGHTED : IQ4_BEST_PLAIN;
    for (int t = first; t < n; t += IQ4_AT_ONCE) {
        iq4_fit f[IQ4_AT_ONCE];
        UNROLLED(i, IQ4_AT_ONCE)
            f[i].inverse = iq4_best_tries[t + i] / max;
        iq4_fit_codes(job, p->x, p->w, true, f);
        UNROLLED(i, IQ4_AT_ONCE)
            iq4_consider(&f[i], f[i].xv * f[i].xv > best.gain * f[i].vv, &best);
    }
    return best;
}

INLINE vf iq4_inverses(vf x) { return either(x != 0.0f, 1.0f / x, (vf){0}); }

// The weighted squared error of the codes nearest to inverse x under the scale.
KERNEL_TARGET static vf KERNEL(iq4_error)(const iq4_job *job, const iq4_parts *p, vf inverse,
                                          vf scale)
{
    vf sum = {0};
    for (int j = 0; j < IQ4_PART; j++) {
        vf d = p->x[j] - scale * nearest_iq4_value(iq4_within(inverse * p->x[j]), job);
        sum += p->w[j] * d * d;
    }
    return sum;
}

// Sums of weight x element^2 and weight x element x value, the values being those of the codes
// nearest to inverse x under the scale.
typedef struct {
    vf xx, xy;
} iq4_shrink;

KERNEL_TARGET static iq4_shrink KERNEL(iq4_shrink_of)(const iq4_job *job, const iq4_parts *p,
                                                      vf inverse, vf scale)
{
    iq4_shrink sums = {{0}, {0}};
    for (int j = 0; j < IQ4_PART; j++) {
        vf wx = p->w[j] * p->x[j];
        sums.xx += wx * p->x[j];
        sums.xy += wx * (scale * nearest_iq4_value(iq4_within(inverse * p->x[j]), job));
    }
    return sums;
}

// Fills in p->w and p->ggml: squares, or importance by sqrt(mean2 + x^2).
INLINE void iq4_weigh(const iq4_job *job, iq4_parts *p, const float *const *importance, vf mean2)
{
    bool weighted = job->r->importance != NULL;
    if (weighted)
        columns(p->ggml, importance, IQ4_PART);
    for (int j = 0; j < IQ4_PART; j++) {
        vf x = p->x[j];
        p->w[j] = SPREAD(1);
        if (weighted) {
            p->w[j] = p->ggml[j] * job->unit;
            p->ggml[j] = p->ggml[j] * job->to_ggml * square_root(mean2 + x * x);
        } else {
            p->ggml[j] = x * x;
        }
    }
}

INLINE void iq4_begin(iq4_job *job, const block_rows *r)
{
    *job = (iq4_job){.r = r, .unit = 1, .to_ggml = 1};
#if KERNEL_LANES == 4
    for (int i = 0, code = 0; i < 2 * IQ4_HALVES; i++) {
        while (code < 15 && (float)(i - IQ4_HALVES) * 0.5f >= iq4_middles[code])
            code++;
        job->by_half[i] = iq4_values[code];
    }
#endif
    float most = 0;
    for (int64_t i = 0; r->importance && i < r->in; i++)
        most = r->importance[i] > most ? r->importance[i] : most;
    if (most < 0x1p-126f)
        return;
    uint32_t exponent = f32_bits(most) >> 23;
    job->unit = f32_from_bits((254 - (exponent < 253 ? exponent : 253)) << 23);
    if (most < 0x1p-32f || most >= 0x1p32f)
        job->to_ggml = job->unit;
}

#endif
