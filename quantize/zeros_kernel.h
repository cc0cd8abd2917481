// SPDX-License-Identifier: Apache-2.0
// Which scale and zero point find the codes of an int4 group of any size, as a template
// (kernel_lanes.h). 16 scales lie side by side in 16 virtual lanes, three zero points beside them,
// and each takes the weights in their order; so the levels agree in every bit.
//
// As in search_kernel.h codes are searched, not scales. With m_j = RNE(w_j / S), kept within the 16
// numbers that the zero point Z leaves, -8 - Z to 7 - Z, and
//     A = sum o_j w_j^2,  B = sum o_j w_j m_j,  C = sum o_j m_j^2
// the codes have the error A - B^2 / C under their scale of least squares, and those of the largest
// B^2 / C are taken. Z only cuts numbers off: most weights have one m under all three, which is
// added up once, and only those at the edges are looked at for each.
//
// Scales are 2 % apart. The first 16 are from 1/12.5 of the range of the weights on; then larger
// and smaller ones, as long as the outermost one has an error near the least; where there are many
// weights, which makes errors smooth, some between the best ones. The three zero points
// are the one that centres the numbers on the range, or on the numbers of the best codes so far,
// and its neighbours.
//
// A group that is the decoding of int4 codes is multiples of its range over a whole number, which
// is asked of all fifteen before; it decodes to the same values again.
#ifndef SCRUPLE_QUANTIZE_ZEROS_KERNEL_H
#define SCRUPLE_QUANTIZE_ZEROS_KERNEL_H

#include "quantize/searched.h"

enum {
    PART = 128, // weights at a time
    ZEROS = 3,
    ZEROS_AT_ONCE = KERNEL_LANES == 16 ? ZEROS : 1, // as there are registers
};

// The group with its largest weight scaled into [1, 2), or a part of it.
typedef struct {
    const searched *s;
    dtype stored;           // of scales
    float low, high;        // the range of weights and 0
    float middle;           // of the numbers that have codes
    float lowest, highest;  // scales
    float least;            // zero point
    float square;           // sum o w^2
    int64_t from, count;    // the part that is loaded
    int edges;
    int32_t edge[PART];     // which weights a zero point may cut off
    _Alignas(64) float w[PART];
    _Alignas(64) float o[PART];
    _Alignas(64) float sure[PART]; // the others; 0 for those
} zeros_group;

typedef struct {
    float scale, zero;
    float loss; // the error less sum o w^2
} zeros_choice;

// 16 scales, from large to small, and what they come to.
typedef struct {
    vf scale[VECTORS], inverse[VECTORS], zero[ZEROS][VECTORS];
    vf product[ZEROS][VECTORS], square[ZEROS][VECTORS];
} zeros_tried;

INLINE void load_part(zeros_group *g, int64_t from)
{
    const searched *s = g->s;
    g->from = from;
    g->count = s->n - from < PART ? s->n - from : PART;
    load_scaled(s, from, g->count, 0, g->w, g->o);
}

// Which weights none of the zero points of scales down to that one cuts off.
INLINE void find_edges(zeros_group *g, float scale)
{
    float below = g->middle - 6.49f * scale, above = g->middle + 6.49f * scale;
    float most = 13.49f * scale; // where zero points end
    below = below > -most ? below : -most;
    above = above < most ? above : most;
    g->edges = 0;
    for (int64_t j = 0; j < g->count; j += KERNEL_LANES) {
        vf w = *(const vf *)(g->w + j);
        vi inside = (w > below) & (w < above);
        *(vf *)(g->sure + j) = (vf)((vi)w & inside);
        g->edges += list_lanes(~inside, (int32_t)j, g->edge + g->edges);
    }
}

INLINE void sum_edges(const zeros_group *g, bool weighted, int first, int some, zeros_tried *t)
{
    vf product[ZEROS][VECTORS], square[ZEROS][VECTORS], least[ZEROS][VECTORS];
    UNROLLED(z, some)
        EACH_VECTOR(v) {
            product[z][v] = square[z][v] = (vf){0};
            least[z][v] = -8.0f - t->zero[first + z][v];
        }
    for (int k = 0; k < g->edges; k++) {
        float w = g->w[g->edge[k]], o = g->o[g->edge[k]];
        EACH_VECTOR(v) {
            vf m = whole(w * t->inverse[v]);
            UNROLLED(z, some) {
                vf kept = smaller(larger(m, least[z][v]), least[z][v] + 15.0f), om = kept;
                if (weighted)
                    om *= o;
                product[z][v] += om * w;
                square[z][v] += om * kept;
            }
        }
    }
    UNROLLED(z, some)
        EACH_VECTOR(v) {
            t->product[first + z][v] += product[z][v];
            t->square[first + z][v] += square[z][v];
        }
}

// B and C under 16 scales and three zero points each: the one that centres the numbers on the
// middle, and its neighbours.
INLINE void sum_zeros(zeros_group *g, bool weighted, float smallest, zeros_tried *t)
{
    vf product[VECTORS] = {0}, square[VECTORS] = {0};
    EACH_VECTOR(v) {
        t->inverse[v] = 1.0f / t->scale[v];
        vf centre = within(rounded(-0.5f - g->middle * t->inverse[v]), g->least, 7);
        for (int z = 0; z < ZEROS; z++) {
            t->zero[z][v] = clamp_lanes(centre + (float)(z - 1), g->least, 7);
            t->product[z][v] = t->square[z][v] = (vf){0};
        }
    }
    for (int64_t j = 0; j < g->s->n; j += PART) {
        if (g->from != j)
            load_part(g, j);
        find_edges(g, smallest);
        add_whole(g->sure, g->o, g->count, weighted, t->inverse, product, square);
        for (int z = 0; z < ZEROS; z += ZEROS_AT_ONCE)
            sum_edges(g, weighted, z, ZEROS_AT_ONCE, t);
    }
    for (int z = 0; z < ZEROS; z++)
        EACH_VECTOR(v) {
            t->product[z][v] += product[v];
            t->square[z][v] += square[v];
        }
}

// Scales 2 % apart; the next 16 begin where these end.
static const float zeros_ladder[CANDIDATES] = {
    1, 0.9803922f, 0.9611688f, 0.9423223f, 0.9238454f, 0.9057308f, 0.8879714f, 0.8705602f,
    0.8534904f, 0.8367553f, 0.8203483f, 0.804263f, 0.7884932f, 0.7730325f, 0.757875f, 0.7430147f,
};
// Around one of those.
static const float zeros_between[CANDIDATES] = {
    1.02f, 1.0175f, 1.015f, 1.0125f, 1.01f, 1.0075f, 1.005f, 1.0025f,
    0.9975f, 0.995f, 0.9925f, 0.99f, 0.9875f, 0.985f, 0.9825f, 0.98f,
};
#define ZEROS_LADDER 0.7284458f
#define ZEROS_FIRST 0.08f // of the range: the first scale
// How much more error than the least the outermost scale may have for the search to go on. Weighted
// errors have more valleys.
#define ZEROS_NEAR 1.1f
#define ZEROS_NEAR_WEIGHTED 1.2f

// Tries `of` times each number of the ladder. error: of the first and the last one.
INLINE void try_zeros(zeros_group *g, float of, const float *ladder, zeros_choice *best,
                      float error[2])
{
    zeros_tried t;
    vf loss[ZEROS][VECTORS], low[VECTORS];
    EACH_VECTOR(v) {
        vf by;
        memcpy(&by, ladder + v * KERNEL_LANES, sizeof by);
        t.scale[v] = clamp_lanes(of * by, g->lowest, g->highest);
    }
    float last = of * ladder[CANDIDATES - 1];
    last = last < g->lowest ? g->lowest : last > g->highest ? g->highest : last;
    if (g->s->o)
        sum_zeros(g, true, last, &t);
    else
        sum_zeros(g, false, last, &t);
    EACH_VECTOR(v) {
        for (int z = 0; z < ZEROS; z++) {
            vf b = t.product[z][v], c = t.square[z][v];
            loss[z][v] = either(c > 0.0f, -(b * b / c), (vf){0});
        }
        low[v] = smaller(smaller(loss[0][v], loss[1][v]), loss[2][v]);
    }
    error[0] = g->square + low[0][0];
    error[1] = g->square + low[VECTORS - 1][KERNEL_LANES - 1];
    float least = least_of(low);
    if (least >= best->loss)
        return;
    for (int z = ZEROS - 1; z >= 0; z--) {
        int at = lane_of(least, loss[z]);
        if (at >= 0) {
            float scales[CANDIDATES], zeros[CANDIDATES];
            memcpy(scales, t.scale, sizeof scales);
            memcpy(zeros, t.zero[z], sizeof zeros);
            *best = (zeros_choice){scales[at], zeros[at], least};
        }
    }
}

// 16 more, with the numbers centred on those of the best so far.
INLINE void try_more(zeros_group *g, float of, const float *ladder, zeros_choice *best,
                     float error[2])
{
    if (best->scale > 0)
        g->middle = -(best->zero + 0.5f) * best->scale;
    try_zeros(g, of, ladder, best, error);
}

// Larger scales and smaller ones, as long as the outermost has an error near the least.
INLINE void search_steps(zeros_group *g, zeros_choice *best)
{
    float range = g->high - g->low, first = range * ZEROS_FIRST, up[2], down[2];
    float near = g->s->o ? ZEROS_NEAR_WEIGHTED : ZEROS_NEAR;
    try_zeros(g, first, zeros_ladder, best, up);
    down[1] = up[1];
    for (float from = first / ZEROS_LADDER;
         from < range && up[0] < near * (g->square + best->loss); from /= ZEROS_LADDER)
        try_more(g, from, zeros_ladder, best, up);
    for (float from = first * ZEROS_LADDER;
         from > range * 0x1p-20f && down[1] < near * (g->square + best->loss);
         from *= ZEROS_LADDER)
        try_more(g, from, zeros_ladder, best, down);
    if (g->s->n > PART && best->scale > 0)
        try_more(g, best->scale, zeros_between, best, down);
}

// Whether all weights are whole numbers of steps of which there are at most 15, as those of a
// decoded group are, and such a step can be stored.
INLINE bool on_steps(const zeros_group *g, zeros_choice *exact)
{
    vf scale[VECTORS], inverse[VECTORS];
    vi lane[VECTORS], off[VECTORS];
    uint32_t on = 0xffff;
    count_lanes(lane);
    EACH_VECTOR(v) {
        vf steps = larger(15.0f - __builtin_convertvector(lane[v], vf), SPREAD(1.0f));
        scale[v] = (g->high - g->low) / steps;
        inverse[v] = 1.0f / scale[v];
        off[v] = (vi){0};
    }
    for (int64_t j = 0; on && j < g->s->n; j++) {
        float w = g->s->w[j] * g->s->factor;
        on = 0;
        EACH_VECTOR(v) {
            off[v] |= w != whole(w * inverse[v]) * scale[v];
            on |= mask_bits(~off[v]) << v * KERNEL_LANES;
        }
    }
    float scales[CANDIDATES];
    memcpy(scales, scale, sizeof scales);
    for (; on; on &= on - 1) {
        float step = scales[__builtin_ctz(on)], stored = step / g->s->factor;
        float zero = -8 - g->low / step;
        zero = zero < g->least ? g->least : zero;
        *exact = (zeros_choice){step, zero, 0};
        if (step >= g->lowest && as(g->stored, stored) == stored && g->high <= (7 - zero) * step)
            return true;
    }
    return false;
}

// The scale under which the weights find the best codes, which is not yet that of their values, and
// the zero point, `least` or above. min and max are of the weights and 0. Scale 0: there is none.
KERNEL_TARGET static zeros_choice KERNEL(zeros_search)(const searched *s, dtype stored,
                                                       float least, float min, float max)
{
    zeros_group g;
    zeros_choice best;
    g.s = s;
    g.stored = stored;
    g.least = least;
    g.from = -1;
    g.low = min * s->factor;
    g.high = max * s->factor;
    g.middle = 0.5f * g.high + 0.5f * g.low;
    g.lowest = (stored == DT_F16 ? 0x1p-24f : 0x1p-126f) * s->factor;
    g.highest = (stored == DT_F16 ? 65504.0f : 0x1.fep127f) * s->factor;
    if (!on_steps(&g, &best)) {
        best = (zeros_choice){0};
        g.square = weighted_square(s);
        search_steps(&g, &best);
    }
    best.scale /= s->factor;
    return best;
}

#endif
