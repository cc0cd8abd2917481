// SPDX-License-Identifier: Apache-2.0
// The searches behind the K-quants in ggml's order of operations, as a template: one sub-block a
// lane, K_SIDE of them at a time so that sums do not wait for each other. Their names in ggml:
// make_qkx2_quants and make_qkx3_quants (k_fit_line), make_qx_quants (k_fit_scale), make_q3_quants
// (k_descend), make_qp_quants (k_fit_positive).
#ifndef SCRUPLE_QUANTIZE_BLOCKS_K_FIT_H
#define SCRUPLE_QUANTIZE_BLOCKS_K_FIT_H

#include "quantize/blocks_k_lanes.h"

enum { K_SIDE = 2, K_SUB = 32 }; // sub-blocks at a time; the most weights of one

// ---- value = scale code + min, min <= 0, codes from 0 to top ----

typedef struct {
    int n, steps;      // weights; the last candidate
    float top;
    float first, step; // candidate i has the inverse scale (first + step i + top) / range
    bool absolute;     // the error is a sum of magnitudes, not of squares
} k_lines;

typedef struct {
    vf scale, min;
    vf inverse, origin; // the codes are nearest((x - origin) inverse)
} k_line;

typedef struct {
    vf lowest, highest, sum_w, sum_x, error;
    vi flat, strange; // of one value; a candidate's code may not be within 22 bits
    k_line line;
} k_search;

INLINE vf k_code(vf t, float top, bool careful)
{
    if (careful)
        return k_float(k_within(k_nearest(t), 0, (int32_t)top));
    return smaller(larger(k_whole(t), SPREAD(0.0f)), SPREAD(top));
}

INLINE vf k_range(const k_search *s, vf min)
{
    return either(s->flat, SPREAD(1.0f), s->highest - min);
}

INLINE vf k_difference(vf scale, vf code, vf min, vf x, bool absolute)
{
    vf difference = scale * code + min - x;
    if (absolute)
        return k_magnitude(difference);
    return difference * difference;
}

// Range, sums and the error of the scale range / top. x and w: [side][how.n]
INLINE void k_begin(k_lines how, const vf *x, const vf *w, k_search *s, bool careful)
{
    K_EACH(side, K_SIDE) {
        s[side].lowest = s[side].highest = x[side * how.n];
        s[side].sum_w = w[side * how.n];
        s[side].sum_x = w[side * how.n] * x[side * how.n];
        s[side].error = (vf){0};
        s[side].strange = (vi){0};
    }
    for (int i = 1; i < how.n; i++)
        K_EACH(side, K_SIDE) {
            int at = side * how.n + i;
            s[side].lowest = smaller(x[at], s[side].lowest);
            s[side].highest = larger(x[at], s[side].highest);
            s[side].sum_w += w[at];
            s[side].sum_x += w[at] * x[at];
        }
    K_EACH(side, K_SIDE) {
        k_line *l = &s[side].line;
        l->min = l->origin = smaller(s[side].lowest, SPREAD(0.0f));
        s[side].flat = s[side].highest <= l->min;
        l->inverse = how.top / k_range(&s[side], l->min);
        l->scale = 1.0f / l->inverse;
    }
    for (int i = 0; i < how.n; i++)
        K_EACH(side, K_SIDE) {
            const k_line *l = &s[side].line;
            int at = side * how.n + i;
            vf code = k_code((x[at] - l->min) * l->inverse, how.top, careful);
            s[side].error += w[at] * k_difference(l->scale, code, l->min, x[at], how.absolute);
        }
}

INLINE void k_note_strange(k_search *s, vf inverse)
{
    vf low = (s->lowest - s->line.min) * inverse, high = (s->highest - s->line.min) * inverse;
    s->strange |= ~((k_magnitude(low) < 0x1p22f) & (k_magnitude(high) < 0x1p22f));
}

// The least-squares line through the codes of one inverse scale, kept where it is the best so far.
INLINE void k_try(k_lines how, float factor, const vf *x, const vf *w, k_search *s, bool careful)
{
    vf code[K_SIDE * K_SUB], inverse[K_SIDE], error[K_SIDE];
    vf l[K_SIDE], l2[K_SIDE], xl[K_SIDE], scale[K_SIDE], min[K_SIDE];
    vi solved[K_SIDE];
    K_EACH(side, K_SIDE) {
        inverse[side] = factor / k_range(&s[side], s[side].line.min);
        l[side] = l2[side] = xl[side] = error[side] = (vf){0};
        if (!careful)
            k_note_strange(&s[side], inverse[side]);
    }
    for (int i = 0; i < how.n; i++)
        K_EACH(side, K_SIDE) {
            int at = side * how.n + i;
            vf c = k_code((x[at] - s[side].line.min) * inverse[side], how.top, careful);
            vf wl = w[at] * c;
            code[at] = c;
            l[side] += wl;
            l2[side] += wl * c;
            xl[side] += wl * x[at];
        }
    K_EACH(side, K_SIDE) {
        vf sum_w = s[side].sum_w, sum_x = s[side].sum_x;
        vf d = sum_w * l2[side] - l[side] * l[side];
        solved[side] = d > 0.0f;
        d = either(solved[side], d, SPREAD(1.0f));
        scale[side] = (sum_w * xl[side] - sum_x * l[side]) / d;
        min[side] = (l2[side] * sum_x - l[side] * xl[side]) / d;
        vi above = min[side] > 0.0f;
        if (k_any(above)) {
            min[side] = either(above, SPREAD(0.0f), min[side]);
            scale[side] = either(above, xl[side] / l2[side], scale[side]);
        }
    }
    for (int i = 0; i < how.n; i++)
        K_EACH(side, K_SIDE) {
            int at = side * how.n + i;
            error[side] +=
                w[at] * k_difference(scale[side], code[at], min[side], x[at], how.absolute);
        }
    K_EACH(side, K_SIDE) {
        k_line *line = &s[side].line;
        vi better = solved[side] & (error[side] < s[side].error);
        s[side].error = either(better, error[side], s[side].error);
        line->inverse = either(better, inverse[side], line->inverse);
        line->origin = either(better, line->min, line->origin);
        line->scale = either(better, scale[side], line->scale);
        line->min = either(better, min[side], line->min);
    }
}

INLINE void k_search_lines(k_lines how, const vf *x, const vf *w, k_search *s, bool careful)
{
    k_begin(how, x, w, s, careful);
    for (int i = 0; i <= how.steps; i++)
        k_try(how, how.first + how.step * (float)i + how.top, x, w, s, careful);
}

KERNEL_TARGET static void KERNEL(k_search_carefully)(const k_lines *how, const vf *x, const vf *w,
                                                     k_search *s)
{
    k_search_lines(*how, x, w, s, true);
}

// x and w: [K_SIDE][how.n]. A block of one value has scale 0 and codes 0.
INLINE void k_fit_line(k_lines how, const vf *x, const vf *w, k_line line[K_SIDE])
{
    k_search s[K_SIDE];
    k_search_lines(how, x, w, s, false);
    vi strange = s[0].strange;
    for (int side = 1; side < K_SIDE; side++)
        strange |= s[side].strange;
    if (k_any(strange))
        KERNEL(k_search_carefully)(&how, x, w, s);
    for (int side = 0; side < K_SIDE; side++) {
        line[side] = s[side].line;
        line[side].scale = either(s[side].flat, SPREAD(0.0f), line[side].scale);
    }
}

// ---- value = scale code, codes from -top to top - 1 ----

typedef struct {
    vf scale;
    vf inverse; // the codes are nearest(x inverse)
    vi zero;    // nothing but zeros: codes are -top
} k_scale;

INLINE vf k_signed_code(vf t, float top)
{
    return smaller(larger(k_whole(t), SPREAD(-top)), SPREAD(top - 1));
}

// The value of largest magnitude, the first of equals; 1 where there are only zeros.
INLINE vf k_extreme(const vf *x, int n, vi *zero)
{
    vf most = {0}, extreme = {0};
    for (int i = 0; i < n; i++) {
        vf a = k_magnitude(x[i]);
        extreme = either(a > most, x[i], extreme);
        most = larger(a, most);
    }
    *zero = most < 1e-15f;
    return either(*zero, SPREAD(1.0f), extreme);
}

// Of the codes under the scales extreme / factor. x and w: [K_SIDE][n]
INLINE void k_scale_sums(int n, float top, const vf *x, const vf *w, const vf inverse[K_SIDE],
                         vf xl[K_SIDE], vf l2[K_SIDE])
{
    K_EACH(side, K_SIDE)
        xl[side] = l2[side] = SPREAD(0.0f);
    for (int i = 0; i < n; i++)
        K_EACH(side, K_SIDE) {
            int at = side * n + i;
            vf c = k_signed_code(x[at] * inverse[side], top);
            xl[side] += w[at] * x[at] * c;
            l2[side] += w[at] * c * c;
        }
}

// The scale -extreme / top and eighteen beside it: the one that explains most of the weighted
// energy. x and w: [K_SIDE][n]
INLINE void k_fit_scale(int n, float top, const vf *x, const vf *w, k_scale fit[K_SIDE])
{
    vf extreme[K_SIDE], best[K_SIDE], inverse[K_SIDE], xl[K_SIDE], l2[K_SIDE];
    K_EACH(side, K_SIDE) {
        extreme[side] = k_extreme(x + side * n, n, &fit[side].zero);
        fit[side].inverse = inverse[side] = -top / extreme[side];
    }
    k_scale_sums(n, top, x, w, inverse, xl, l2);
    K_EACH(side, K_SIDE) {
        fit[side].scale = either(l2[side] != 0.0f, xl[side] / l2[side], SPREAD(0.0f));
        best[side] = fit[side].scale * xl[side];
    }
    for (int i = -9; i <= 9; i++) {
        if (i == 0)
            continue;
        K_EACH(side, K_SIDE)
            inverse[side] = -(top + 0.1f * (float)i) / extreme[side];
        k_scale_sums(n, top, x, w, inverse, xl, l2);
        K_EACH(side, K_SIDE) {
            vi better = (l2[side] > 0.0f) & (xl[side] * xl[side] > best[side] * l2[side]);
            vf scale = xl[side] / l2[side];
            fit[side].inverse = either(better, inverse[side], fit[side].inverse);
            fit[side].scale = either(better, scale, fit[side].scale);
            best[side] = either(better, scale * xl[side], best[side]);
        }
    }
    K_EACH(side, K_SIDE)
        fit[side].scale = either(fit[side].zero, SPREAD(0.0f), fit[side].scale);
}

// Codes from -4 to 3 of sixteen weights, moved one by one while that explains more of the energy.
// x, code: [K_SIDE][16]
INLINE void k_descend(const vf *x, vf *code, vf scale[K_SIDE])
{
    enum { N = 16 };
    vf xl[K_SIDE], l2[K_SIDE], w[K_SIDE * N], wx[K_SIDE * N];
    vi zero[K_SIDE];
    K_EACH(side, K_SIDE) {
        vf inverse = -4.0f / k_extreme(x + side * N, N, &zero[side]);
        xl[side] = l2[side] = (vf){0};
        for (int i = 0; i < N; i++) {
            int at = side * N + i;
            code[at] = k_signed_code(x[at] * inverse, 4);
            w[at] = x[at] * x[at];
            wx[at] = w[at] * x[at];
            xl[side] += wx[at] * code[at];
            l2[side] += w[at] * code[at] * code[at];
        }
    }
    vi changed = SPREAD_INT(-1);
    for (int round = 0; round < 5 && k_any(changed); round++) {
        changed = (vi){0};
        for (int i = 0; i < N; i++)
            K_EACH(side, K_SIDE) {
                int at = side * N + i;
                vf slx = xl[side] - wx[at] * code[at];
                vf sl2 = l2[side] - w[at] * code[at] * code[at];
                vf new = k_float(k_within(k_nearest(x[at] * sl2 / slx), -4, 3));
                vi moves = (slx > 0.0f) & (new != code[at]);
                slx += wx[at] * new;
                sl2 += w[at] * new * new;
                moves &= (sl2 > 0.0f) & (slx * slx * l2[side] > xl[side] * xl[side] * sl2);
                code[at] = either(moves, new, code[at]);
                xl[side] = either(moves, slx, xl[side]);
                l2[side] = either(moves, sl2, l2[side]);
                changed |= moves;
            }
    }
    K_EACH(side, K_SIDE) {
        vi none = zero[side] | ~(l2[side] > 0.0f);
        scale[side] = either(none, SPREAD(0.0f), xl[side] / l2[side]);
        for (int i = 0; i < N; i++) // zeros have the code -4
            code[side * N + i] = either(zero[side], SPREAD(-4.0f), code[side * N + i]);
    }
}

// ---- scales of sub-blocks: value = scale code, codes from 0 to top, which bytes hold ----

INLINE vi k_positive_code(vf t, float top) { return k_at_most(k_nearest(t), (int32_t)top); }

// The inverse scale of least weighted error among nine.
INLINE vf k_best_inverse(int n, float top, const vf *x, const vf *w, vf most)
{
    vf best = top / most, scale = 1.0f / best, least = {0};
    for (int i = 0; i < n; i++) {
        vf d = x[i] - scale * k_float(k_nearest(x[i] * best) & 255);
        least += w[i] * d * d;
    }
    for (int k = -4; k <= 4; k++) {
        if (k == 0)
            continue;
        vf inverse = (0.1f * (float)k + top) / most, error = {0};
        scale = 1.0f / inverse;
        for (int i = 0; i < n; i++) {
            vf d = x[i] - scale * k_float(k_positive_code(x[i] * inverse, top));
            error += w[i] * d * d;
        }
        vi better = error < least;
        least = either(better, error, least);
        best = either(better, inverse, best);
    }
    return best;
}

// x, w, code: [n]; returns the scale.
INLINE vf k_fit_positive(int n, float top, const vf *x, const vf *w, vi *code)
{
    vf most = {0};
    for (int i = 0; i < n; i++)
        most = larger(most, x[i]);
    vi zero = most < 1e-15f;
    most = either(zero, SPREAD(1.0f), most);
    vf inverse = k_best_inverse(n, top, x, w, most), xl = {0}, l2 = {0};
    for (int i = 0; i < n; i++) {
        vi whole = k_positive_code(x[i] * inverse, top);
        code[i] = whole & 255;
        xl += w[i] * x[i] * k_float(whole);
        l2 += w[i] * k_float(whole) * k_float(whole);
    }
    vi changed = SPREAD_INT(-1);
    for (int round = 0; round < 5 && k_any(changed); round++) {
        changed = (vi){0};
        for (int i = 0; i < n; i++) {
            vf c = k_float(code[i]);
            vf slx = xl - w[i] * x[i] * c, sl2 = l2 - w[i] * c * c;
            vi moves = (slx > 0.0f) & (sl2 > 0.0f);
            vi whole = k_positive_code(x[i] * sl2 / slx, top);
            moves &= whole != code[i];
            slx += w[i] * x[i] * k_float(whole);
            sl2 += w[i] * k_float(whole) * k_float(whole);
            moves &= slx * slx * l2 > xl * xl * sl2;
            code[i] = either_int(moves, whole & 255, code[i]);
            xl = either(moves, slx, xl);
            l2 = either(moves, sl2, l2);
            changed |= moves;
        }
    }
    for (int i = 0; i < n; i++)
        code[i] &= ~zero;
    return either(zero | ~(l2 > 0.0f), SPREAD(0.0f), xl / l2);
}

#endif
