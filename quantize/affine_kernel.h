// SPDX-License-Identifier: Apache-2.0
// Which scale and bias find the codes of a 4-bit group, as a template (kernel_lanes.h). As in
// zeros_kernel.h codes are searched, 16 pairs in the lanes: with the weights w_j less the middle of
// their range and m_j = RNE(w_j / S + F), kept within -8 to 7, the codes have the error V - cov^2 /
// var under their own scale and bias of least squares, where O = sum o_j and
//     V = sum o_j w_j^2 - (sum o_j w_j)^2 / O,  var = sum o_j m_j^2 - (sum o_j m_j)^2 / O,
//     cov = sum o_j m_j w_j - sum o_j m_j sum o_j w_j / O
// Codes differ by where between two numbers the weights' zero lies far more than by the scale: the
// lanes are four scales, 4.5 % apart, with four fractions F each. Larger and smaller ones follow as
// long as the outermost scale has an error near the least, centred on the best codes so far.
#ifndef SCRUPLE_QUANTIZE_AFFINE_KERNEL_H
#define SCRUPLE_QUANTIZE_AFFINE_KERNEL_H

#include "quantize/searched.h"

enum { AFFINE_PART = 128 }; // weights at a time

typedef struct {
    const searched *s;
    float middle, range;     // scaled
    float importance, sum;   // O and sum o w
    float spread;            // V
    float centre;            // of the numbers that have codes, beside the middle
    int64_t from, count;     // the part that is loaded
    _Alignas(64) float w[AFFINE_PART]; // less the middle
    _Alignas(64) float o[AFFINE_PART];
} affine_group;

typedef struct {
    float scale, add; // m = RNE(w / scale + add)
    float loss;       // the error less V
} affine_codes;

static const float affine_scales[CANDIDATES] = {
    1, 1, 1, 1, 0.9569378f, 0.9569378f, 0.9569378f, 0.9569378f,
    0.91573f, 0.91573f, 0.91573f, 0.91573f, 0.8762966f, 0.8762966f, 0.8762966f, 0.8762966f,
};
static const float affine_fractions[CANDIDATES] = {
    -0.875f, -0.625f, -0.375f, -0.125f, -0.875f, -0.625f, -0.375f, -0.125f,
    -0.875f, -0.625f, -0.375f, -0.125f, -0.875f, -0.625f, -0.375f, -0.125f,
};
#define AFFINE_LADDER 0.8385613f
#define AFFINE_FIRST 0.0757f // of the range: the first scale
// How much more error than the least the outermost scale may have for the search to go on.
#define AFFINE_NEAR 1.1f
#define AFFINE_NEAR_WEIGHTED 1.2f

INLINE void load_affine(affine_group *g, int64_t from)
{
    const searched *s = g->s;
    g->from = from;
    g->count = s->n - from < AFFINE_PART ? s->n - from : AFFINE_PART;
    load_scaled(s, from, g->count, g->middle, g->w, g->o);
}

typedef struct {
    vf inverse[VECTORS], add[VECTORS];
    vf first[VECTORS], second[VECTORS], product[VECTORS]; // sums of o m, o m^2, o m w
} affine_sums;

INLINE void sum_affine(const affine_group *g, bool weighted, affine_sums *sums)
{
    affine_sums t = *sums;
    for (int64_t j = 0; j < g->count; j++) {
        float w = g->w[j], o = g->o[j];
        EACH_VECTOR(v) {
            vf m = clamp_lanes(whole(w * t.inverse[v] + t.add[v]), -8, 7), om = m;
            if (weighted)
                om *= o;
            t.first[v] += om;
            t.second[v] += om * m;
            t.product[v] += om * w;
        }
    }
    *sums = t;
}

// Four scales from `of` down. error: of the first and the last one.
INLINE void try_codes(affine_group *g, float of, affine_codes *best, float error[2])
{
    vf scale[VECTORS], fraction[VECTORS], loss[VECTORS];
    affine_sums t;
    EACH_VECTOR(v) {
        memcpy(&scale[v], affine_scales + v * KERNEL_LANES, sizeof scale[v]);
        memcpy(&fraction[v], affine_fractions + v * KERNEL_LANES, sizeof fraction[v]);
        scale[v] *= of;
        t.inverse[v] = 1.0f / scale[v];
        t.add[v] = fraction[v] - g->centre * t.inverse[v];
        t.first[v] = t.second[v] = t.product[v] = (vf){0};
    }
    for (int64_t j = 0; j < g->s->n; j += AFFINE_PART) {
        if (g->from != j)
            load_affine(g, j);
        if (g->s->o)
            sum_affine(g, true, &t);
        else
            sum_affine(g, false, &t);
    }
    EACH_VECTOR(v) {
        vf mean = t.first[v] / g->importance;
        vf cov = t.product[v] - mean * g->sum, var = t.second[v] - mean * t.first[v];
        loss[v] = either(var > 0.0f, -(cov * cov / var), (vf){0});
    }
    float all[CANDIDATES], least = least_of(loss);
    memcpy(all, loss, sizeof all);
    error[0] = error[1] = 0x1p127f;
    for (int i = 0; i < 4; i++) {
        error[0] = all[i] < error[0] ? all[i] : error[0];
        error[1] = all[12 + i] < error[1] ? all[12 + i] : error[1];
    }
    error[0] += g->spread;
    error[1] += g->spread;
    if (least >= best->loss)
        return;
    int at = lane_of(least, loss);
    float scales[CANDIDATES], adds[CANDIDATES];
    memcpy(scales, scale, sizeof scales);
    memcpy(adds, t.add, sizeof adds);
    *best = (affine_codes){scales[at], adds[at], least};
}

// Four more, centred on the best codes so far.
INLINE void try_more_codes(affine_group *g, float of, affine_codes *best, float error[2])
{
    if (best->loss < 0)
        g->centre = -(0.5f + best->add) * best->scale;
    try_codes(g, of, best, error);
}

INLINE void sum_weights(affine_group *g)
{
    vf sum[3][VECTORS] = {{{0}}};
    for (int64_t j = 0; j < g->s->n; j += AFFINE_PART) {
        load_affine(g, j);
        for (int64_t k = 0; k < g->count; k += 16)
            EACH_VECTOR(v) {
                vf w = *(const vf *)(g->w + k + v * KERNEL_LANES);
                vf o = *(const vf *)(g->o + k + v * KERNEL_LANES);
                sum[0][v] += o;
                sum[1][v] += o * w;
                sum[2][v] += o * w * w;
            }
    }
    g->importance = fold(sum[0]);
    g->sum = fold(sum[1]);
    g->spread = fold(sum[2]) - g->sum / g->importance * g->sum;
}

// The scale and the bias, that of code 0 of 0 to 15, under which the weights find the best codes;
// not yet those of their values. False where there is nothing to be found: all weights, or all
// that are of any importance, are alike.
KERNEL_TARGET static bool KERNEL(affine_search)(const searched *s, float min, float max,
                                                float *scale, float *bias)
{
    affine_group g;
    affine_codes best = {0};
    float up[2], down[2], near = s->o ? AFFINE_NEAR_WEIGHTED : AFFINE_NEAR;
    g.s = s;
    g.middle = 0.5f * max * s->factor + 0.5f * min * s->factor;
    g.range = max * s->factor - min * s->factor;
    g.centre = 0;
    if (!(g.range > 0))
        return false;
    sum_weights(&g);
    float first = g.range * AFFINE_FIRST;
    if (!(g.spread > 0))
        return false;
    try_codes(&g, first, &best, up);
    down[1] = up[1];
    for (float of = first / AFFINE_LADDER;
         of < g.range && up[0] < near * (g.spread + best.loss); of /= AFFINE_LADDER)
        try_more_codes(&g, of, &best, up);
    for (float of = first * AFFINE_LADDER;
         of > g.range * 0x1p-20f && down[1] < near * (g.spread + best.loss);
         of *= AFFINE_LADDER)
        try_more_codes(&g, of, &best, down);
    *scale = best.scale / s->factor;
    *bias = (g.middle - (best.add + 8) * best.scale) / s->factor;
    return best.loss < 0;
}

#endif
