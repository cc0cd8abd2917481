// SPDX-License-Identifier: Apache-2.0
// The searches behind the K-quants in ggml's order of operations, as a template: one sub-block a
// lane. Their names in ggml:
// make_qkx2_quants and make_qkx3_quants (k_fit_line), make_qx_quants (k_fit_scale), make_q3_quants
// (k_descend), make_qp_quants (k_fit_positive).
#ifndef SCRUPLE_QUANTIZE_BLOCKS_K_FIT_H
#define SCRUPLE_QUANTIZE_BLOCKS_K_FIT_H

#include <math.h>

#include "quantize/blocks_k_lanes.h"

enum {
    K_SUB = 32, K_16 = 16,               // weights of a sub-block: at most; of most types
    K_SIDE = KERNEL_LANES == 16 ? 1 : 2, // sub-blocks in one loop, so that sums do not wait,
    K_TURNS = 2 * K_SIDE,                // and in turns, so that divisions do not
};

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
    vi flat, strange; // of one value; a code may not be within 22 bits
    k_line line, tried;
    vmask solved;     // tried is a line
    vf l, l2, xl;     // its sums of w code, w code^2, w code x
    vf code[K_SUB];
} k_search;

INLINE vf k_code(vf t, float top, bool careful)
{
    if (careful)
        return k_float(k_within(nearest_int(t), 0, (int32_t)top));
    return k_cap(k_positive(k_whole(t)), SPREAD(top));
}

INLINE vf k_range(const k_search *s, vf min)
{
    return either(s->flat, SPREAD(1.0f), s->highest - min);
}

INLINE vf k_difference(vf scale, vf code, vf min, vf x, bool absolute)
{
    vf difference = scale * code + min - x;
    if (absolute)
        return magnitude(difference);
    return difference * difference;
}

// Range, sums and the error of the scale range / top. x, w: [how.n]
INLINE void k_begin(k_lines how, const vf *x, const vf *w, k_search *s, bool careful)
{
    vf lowest = x[0], highest = x[0], sum_w = w[0], sum_x = w[0] * x[0], error = {0};
    for (int i = 1; i < how.n; i++) {
        lowest = smaller(x[i], lowest);
        highest = larger(x[i], highest);
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    vf min = smaller(lowest, SPREAD(0.0f));
    *s = (k_search){.lowest = lowest, .highest = highest, .sum_w = sum_w, .sum_x = sum_x};
    s->flat = highest <= min;
    vf inverse = how.top / k_range(s, min), scale = 1.0f / inverse;
    for (int i = 0; i < how.n; i++) {
        vf code = k_code((x[i] - min) * inverse, how.top, careful);
        error += w[i] * k_difference(scale, code, min, x[i], how.absolute);
    }
    s->error = error;
    s->line = (k_line){scale, min, inverse, min};
}

INLINE void k_begin_candidate(float factor, k_search *s, bool careful)
{
    vf min = s->line.min, inverse = factor / k_range(s, min);
    s->tried.inverse = inverse;
    s->tried.origin = min;
    s->l = s->l2 = s->xl = (vf){0};
    if (careful)
        return;
    vf low = (s->lowest - min) * inverse, high = (s->highest - min) * inverse;
    s->strange |= ~((magnitude(low) < 0x1p22f) & (magnitude(high) < 0x1p22f));
}

INLINE void k_solve(k_search *s)
{
    vf l = s->l, l2 = s->l2, xl = s->xl, d = s->sum_w * l2 - l * l;
    s->solved = above(d, SPREAD(0.0f));
    d = pick(s->solved, d, SPREAD(1.0f));
    s->tried.scale = (s->sum_w * xl - s->sum_x * l) / d;
    s->tried.min = (l2 * s->sum_x - l * xl) / d;
    vmask positive = above(s->tried.min, SPREAD(0.0f));
    if (some(positive)) {
        s->tried.min = pick(positive, SPREAD(0.0f), s->tried.min);
        s->tried.scale = pick(positive, xl / l2, s->tried.scale);
    }
}

INLINE void k_keep_better(k_search *s, vf error)
{
    vmask better = both(s->solved, above(s->error, error));
    s->error = pick(better, error, s->error);
    s->line.scale = pick(better, s->tried.scale, s->line.scale);
    s->line.min = pick(better, s->tried.min, s->line.min);
    s->line.inverse = pick(better, s->tried.inverse, s->line.inverse);
    s->line.origin = pick(better, s->tried.origin, s->line.origin);
}

// The least-squares line through the codes of one inverse scale. x, w: [K_SIDE][how.n]
INLINE void k_try(k_lines how, float factor, const vf *x, const vf *w, k_search *s, bool careful)
{
    vf l[K_SIDE], l2[K_SIDE], xl[K_SIDE];
    UNROLLED(side, K_SIDE) {
        k_begin_candidate(factor, &s[side], careful);
        l[side] = l2[side] = xl[side] = SPREAD(0.0f);
    }
    for (int i = 0; i < how.n; i++)
        UNROLLED(side, K_SIDE) {
            int at = side * how.n + i;
            vf t = (x[at] - s[side].tried.origin) * s[side].tried.inverse;
            vf code = k_code(t, how.top, careful), wl = w[at] * code;
            s[side].code[i] = code;
            l[side] += wl;
            l2[side] += wl * code;
            xl[side] += wl * x[at];
        }
    UNROLLED(side, K_SIDE) {
        s[side].l = l[side];
        s[side].l2 = l2[side];
        s[side].xl = xl[side];
        k_solve(&s[side]);
    }
}

// Keeps that line where it is the best so far.
INLINE void k_judge(k_lines how, const vf *x, const vf *w, k_search *s)
{
    vf error[K_SIDE];
    UNROLLED(side, K_SIDE)
        error[side] = SPREAD(0.0f);
    for (int i = 0; i < how.n; i++)
        UNROLLED(side, K_SIDE) {
            int at = side * how.n + i;
            error[side] += w[at] * k_difference(s[side].tried.scale, s[side].code[i],
                                                s[side].tried.min, x[at], how.absolute);
        }
    UNROLLED(side, K_SIDE)
        k_keep_better(&s[side], error[side]);
}

INLINE void k_search_lines(k_lines how, const vf *x, const vf *w, k_search *s, bool careful)
{
    for (int t = 0; t < K_TURNS; t++)
        k_begin(how, x + t * how.n, w + t * how.n, &s[t], careful);
    for (int i = 0; i <= how.steps; i++) {
        float factor = how.first + how.step * (float)i + how.top;
        UNROLLED(t, K_TURNS / K_SIDE)
            k_try(how, factor, x + t * K_SIDE * how.n, w + t * K_SIDE * how.n, s + t * K_SIDE,
                  careful);
        UNROLLED(t, K_TURNS / K_SIDE)
            k_judge(how, x + t * K_SIDE * how.n, w + t * K_SIDE * how.n, s + t * K_SIDE);
    }
}

KERNEL_TARGET static void KERNEL(k_search_carefully)(const k_lines *how, const vf *x, const vf *w,
                                                     k_search *s)
{
    k_search_lines(*how, x, w, s, true);
}

// x and w: [K_TURNS][how.n]. A block of one value has scale 0 and codes 0.
INLINE void k_fit_line(k_lines how, const vf *x, const vf *w, k_line line[K_TURNS])
{
    k_search s[K_TURNS];
    k_search_lines(how, x, w, s, false);
    vi strange = s[0].strange;
    for (int t = 1; t < K_TURNS; t++)
        strange |= s[t].strange;
    if (any(strange))
        KERNEL(k_search_carefully)(&how, x, w, s);
    for (int t = 0; t < K_TURNS; t++) {
        line[t] = s[t].line;
        line[t].scale = either(s[t].flat, SPREAD(0.0f), line[t].scale);
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
    return k_cap(larger(k_whole(t), SPREAD(-top)), SPREAD(top - 1));
}

// The value of largest magnitude, the first of equals; 1 where there are only zeros.
INLINE vf k_extreme(const vf *x, int n, vi *zero)
{
    vf high = x[0], low = x[0];
    for (int i = 1; i < n; i++) {
        high = larger(x[i], high);
        low = smaller(x[i], low);
    }
    vf most = larger(-low, high), extreme = pick(above(-low, high), low, high);
    vmask twins = without(above(most, SPREAD(0.0f)), unequal(-low, high));
    if (some(twins)) {
        vf first = extreme;
        for (int i = n - 1; i >= 0; i--)
            first = pick(unequal(magnitude(x[i]), most), first, x[i]);
        extreme = pick(twins, first, extreme);
    }
    *zero = most < 1e-15f;
    return either(*zero, SPREAD(1.0f), extreme);
}

// Candidate `step`, from -9 to 9, has the inverse scale -(top + step / 10) / extreme. From -9 to 0
// and from 0 to 9 a quotient grows by less than 1, so a weight has one of two codes there: those of
// the first and the last of these candidates, the posts. What either adds to the sums is worked out
// once, and each of the others chooses. All in magnitudes: codes have the sign of -x / extreme, so
// that all terms of a sum have the same.
enum { K_POSTS = 3, K_APART = 9, K_ABREAST = 4 };

typedef struct {
    float top;
    vf largest;                          // the extreme value
    vf x[K_16];
    vf xl[K_POSTS][K_16], l2[K_POSTS][K_16]; // the terms of each weight
    vf next[K_POSTS - 1][K_16];          // the least quotient with the next post's code
    vf factor, scale;                    // of the best candidate so far: largest / scale, scale
    vf best;                             // the energy that it explains
} k_scales;

INLINE float k_step_factor(float top, int step) { return top + 0.1f * (float)step; }

// Keeps the scale of a candidate where it is the best so far; the first one, 0, is taken as it is.
// Where l2 is 0 xl is, too, which is no better.
INLINE void k_judge_scale(k_scales *s, int step, vf xl, vf l2)
{
    vf factor = SPREAD(k_step_factor(s->top, step)), scale = xl / l2;
    if (step == 0) {
        s->factor = factor;
        s->scale = pick(unequal(l2, SPREAD(0.0f)), scale, SPREAD(0.0f));
        s->best = s->scale * xl;
        return;
    }
    vmask better = above(xl * xl, s->best * l2);
    s->factor = pick(better, factor, s->factor);
    s->scale = pick(better, scale, s->scale);
    s->best = pick(better, scale * xl, s->best);
}

// The posts: their terms, and the sums of these. Codes end at top, those of the other sign than the
// extreme value's at top - 1, which quotients of the first post do not reach.
INLINE void k_set_posts(k_scales *s, const vf *x, const vf *w, vi sign, vf *xl, vf *l2)
{
    int32_t less = (int32_t)(f32_bits(s->top - 1) - f32_bits(s->top));
    vf inverse[K_POSTS];
    UNROLLED(c, K_POSTS) {
        inverse[c] = k_step_factor(s->top, K_APART * (c - 1)) / s->largest;
        xl[c] = l2[c] = SPREAD(0.0f);
    }
    for (int i = 0; i < K_16; i++) {
        vf a = magnitude(x[i]), wx = w[i] * a;
        vi most = (vi)SPREAD(s->top) + (((vi)x[i] ^ sign) >> 31 & less);
        s->x[i] = a;
        UNROLLED(c, K_POSTS) {
            vf whole = rounded(a * inverse[c]), code = whole - 0x1.8p23f;
            if (c > 0)
                code = k_cap(code, (vf)most);
            if (c < K_POSTS - 1) // halves themselves go to even codes
                s->next[c][i] = (vf)((vi)(code + 0.5f) | (~(vi)whole & 1));
            s->xl[c][i] = wx * code;
            s->l2[c][i] = w[i] * code * code;
            xl[c] += s->xl[c][i];
            l2[c] += s->l2[c][i];
        }
    }
}

// K_ABREAST candidates from `step` on, behind the post.
INLINE void k_try_scales(k_scales *s, int step, int post)
{
    vf inverse[K_ABREAST], xl[K_ABREAST], l2[K_ABREAST];
    UNROLLED(c, K_ABREAST) {
        inverse[c] = k_step_factor(s->top, step + c) / s->largest;
        xl[c] = l2[c] = SPREAD(0.0f);
    }
    for (int i = 0; i < K_16; i++)
        UNROLLED(c, K_ABREAST) {
            vmask next = at_least(s->x[i] * inverse[c], s->next[post][i]);
            xl[c] += pick(next, s->xl[post + 1][i], s->xl[post][i]);
            l2[c] += pick(next, s->l2[post + 1][i], s->l2[post][i]);
        }
    UNROLLED(c, K_ABREAST)
        k_judge_scale(s, step + c, xl[c], l2[c]);
}

// The scale extreme / -top, then nine larger and nine smaller ones: the one that explains most of
// the weighted energy. top: 4 or 32; x, w: [16], w >= 0
INLINE k_scale k_fit_scale(float top, const vf *x, const vf *w)
{
    k_scale fit;
    k_scales s;
    vf extreme = k_extreme(x, K_16, &fit.zero), xl[K_POSTS], l2[K_POSTS];
    vi sign = (vi)extreme & INT32_MIN, other = sign ^ INT32_MIN;
    s.top = top;
    s.largest = magnitude(extreme);
    k_set_posts(&s, x, w, sign, xl, l2);
    k_judge_scale(&s, 0, xl[1], l2[1]);
    k_judge_scale(&s, -9, xl[0], l2[0]);
    k_try_scales(&s, -8, 0);
    k_try_scales(&s, -4, 0);
    k_try_scales(&s, 1, 1);
    k_try_scales(&s, 5, 1);
    k_judge_scale(&s, 9, xl[2], l2[2]);
    fit.scale = either(fit.zero, SPREAD(0.0f), (vf)((vi)s.scale ^ other) + 0.0f); // no -0
    fit.inverse = (vf)((vi)(s.factor / s.largest) ^ other);
    return fit;
}

enum {
    K_DESCENTS = KERNEL_LANES == 16 ? 4 : 2, // side by side
    // Steps before it pays to look first whether a code of any lane moves.
    K_UNSEEN = KERNEL_LANES > 4 ? K_16 : 0,
};

typedef struct {
    const vf *x;
    vf code[K_16], w[K_16], wx[K_16];
    vf wxc[K_16], wcc[K_16]; // what each code adds to the sums
    vf xl, l2, largest;
    vi zero;
    int quiet; // how many weights were looked at since the last move
} k_descent;

// Quotients are within -4 and 4.
INLINE void k_begin_descent(const vf *x, k_descent *d)
{
    vf extreme = k_extreme(x, K_16, &d->zero), inverse = -4.0f / extreme;
    vf xl = SPREAD(0.0f), l2 = SPREAD(0.0f);
    d->x = x;
    d->largest = magnitude(extreme);
    d->quiet = 0;
    for (int i = 0; i < K_16; i++) {
        vf code = k_cap(k_whole(x[i] * inverse), SPREAD(3.0f));
        d->code[i] = code;
        d->w[i] = x[i] * x[i];
        d->wx[i] = d->w[i] * x[i];
        d->wxc[i] = d->wx[i] * code;
        d->wcc[i] = d->w[i] * code * code;
        xl += d->wxc[i];
        l2 += d->wcc[i];
    }
    d->xl = xl;
    d->l2 = l2;
}

// Moves code i where that explains more of the energy. slx, sl2: the sums without it.
INLINE void k_move(k_descent *d, int i, vf slx, vf sl2)
{
    vf code = d->code[i];
    vf new = k_float(k_within(nearest_int(d->x[i] * sl2 / slx), -4, 3));
    vf wxc = d->wx[i] * new, wcc = d->w[i] * new * new;
    vmask moves = both(above(slx, SPREAD(0.0f)), unequal(new, code));
    slx += wxc;
    sl2 += wcc;
    moves = both(moves, both(above(sl2, SPREAD(0.0f)),
                             above(slx * slx * d->l2, d->xl * d->xl * sl2)));
    d->code[i] = pick(moves, new, code);
    d->wxc[i] = pick(moves, wxc, d->wxc[i]);
    d->wcc[i] = pick(moves, wcc, d->wcc[i]);
    d->xl = pick(moves, slx, d->xl);
    d->l2 = pick(moves, sl2, d->l2);
    d->quiet = some(moves) ? 0 : d->quiet + 1;
}

// The borders between which no code is nearer than the one there is: a thousandth less, far more
// than rounding errors.
typedef struct {
    vf low[K_16], high[K_16];
} k_borders;

INLINE void k_note(const k_descent *d, int i, k_borders *b)
{
    vf code = d->code[i];
    b->low[i] = pick(above(code, SPREAD(-4.0f)), code - 0.499f, SPREAD(-INFINITY));
    b->high[i] = pick(above(SPREAD(3.0f), code), code + 0.499f, SPREAD(INFINITY));
}

// What is left of five rounds. Most codes stay, which is seen without a division. Where slx is
// larger than `tiny` the quotient x sl2 / slx is within 22 bits.
INLINE void k_settle(k_descent *d)
{
    k_borders b;
    for (int i = 0; i < K_16; i++)
        k_note(d, i, &b);
    vf tiny = d->largest * d->l2 * 0x1p-20f;
    for (int at = K_UNSEEN; at < 5 * K_16 && d->quiet < K_16; at++) {
        int i = at % K_16;
        vf slx = d->xl - d->wxc[i], sl2 = d->l2 - d->wcc[i], y = d->x[i] * sl2;
        vmask stays = both(both(above(y, b.low[i] * slx), above(b.high[i] * slx, y)),
                           above(slx, tiny));
        if (!some(without(above(slx, SPREAD(0.0f)), stays))) {
            d->quiet++;
            continue;
        }
        k_move(d, i, slx, sl2);
        k_note(d, i, &b);
        tiny = d->largest * d->l2 * 0x1p-20f;
    }
}

// Codes from -4 to 3 of sixteen weights, moved one by one in five rounds while that explains more
// of the energy; those of zeros are -4. x: [K_DESCENTS][16]
INLINE void k_descend(const vf *x, k_descent *d, vf scale[K_DESCENTS])
{
    for (int s = 0; s < K_DESCENTS; s++)
        k_begin_descent(x + s * K_16, &d[s]);
    for (int i = 0; i < K_UNSEEN; i++)
        UNROLLED(s, K_DESCENTS)
            k_move(&d[s], i, d[s].xl - d[s].wxc[i], d[s].l2 - d[s].wcc[i]);
    for (int s = 0; s < K_DESCENTS; s++) {
        k_settle(&d[s]);
        vi none = d[s].zero | ~(d[s].l2 > 0.0f);
        scale[s] = either(none, SPREAD(0.0f), d[s].xl / d[s].l2);
    }
}

// ---- scales of sub-blocks: value = scale code, codes from 0 to top, which bytes hold ----

INLINE vi k_positive_code(vf t, float top)
{
    return smaller_int(nearest_int(t), SPREAD_INT((int32_t)top));
}

// The inverse scale of least weighted error among nine.
INLINE vf k_best_inverse(int n, float top, const vf *x, const vf *w, vf most)
{
    vf best = top / most, scale = 1.0f / best, least = {0};
    for (int i = 0; i < n; i++) {
        vf d = x[i] - scale * k_float(nearest_int(x[i] * best) & 255);
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
    for (int round = 0; round < 5 && any(changed); round++) {
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
