// SPDX-License-Identifier: Apache-2.0
// SEARCH_BEST of ggml's types of one scale (and minimum) a block, as a template (kernel_lanes.h):
// the least sum of importance x squared error that we find, never more than with ggml's codes.
//
// A block that lies on the type's grid (some f16 scale and minimum give exactly its values) is
// found first and loses nothing. Of several ways to write it always the same is taken, for what a
// search returns, too: so what was written, read and written again has the same bytes.
//
// Else candidates are compared by the error that remains after a least-squares fit to their codes,
// and the best one's scale and minimum are rounded to f16 and fitted again a few times, now with
// the error of the values that a reader gets.
#ifndef SCRUPLE_QUANTIZE_BLOCKS_SIMPLE_BEST_H
#define SCRUPLE_QUANTIZE_BLOCKS_SIMPLE_BEST_H

#include "quantize/blocks_simple_ggml.h"

enum { REFITS = 2 };

// Two sums of 32 such terms, each within 40 roundings, compare as the exact ones do if they differ
// by this factor.
#define SURELY_LESS (1 - 0x1p-17f)

// Importance, or 1, scaled by a power of two so that the largest of a block is in [1, 2).
INLINE void scale_importance(vf w[SIMPLE_BLOCK])
{
    vf most = {0};
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        most = larger(w[j], most);
    vi exponent = (vi)most & 0x7f800000;
    exponent = either_int(exponent == 0, (vi){0} + (127 << 23), exponent);
    exponent = either_int(exponent > 253 << 23, (vi){0} + (253 << 23), exponent);
    vf factor = (vf)((254 << 23) - exponent);
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        w[j] *= factor;
}

// What a reader gets.
INLINE vf simple_value(simple_type t, vf code, vf d, vf m)
{
    return t.with_minimum ? code * d + m : (code - (float)simple_zero(t)) * d;
}

INLINE vf simple_error(simple_type t, const simple_codes *c, const vf x[SIMPLE_BLOCK],
                       const vf w[SIMPLE_BLOCK])
{
    vf d = f16_nearest(c->d), m = f16_nearest(c->m), error = {0};
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf r = x[j] - simple_value(t, __builtin_convertvector(c->q[j], vf), d, m);
        error += w[j] * (r * r);
    }
    return error;
}

INLINE void simple_take(vi mask, const simple_codes *from, simple_codes *to)
{
    to->d = either(mask, from->d, to->d);
    to->m = either(mask, from->m, to->m);
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        to->q[j] = either_int(mask, from->q[j], to->q[j]);
}

// ---- the grid ----

// Lanes of mask where all x are whole multiples of d. *up: none is above zero - 1, *down: none
// below 1 - zero.
INLINE vi are_multiples(simple_type t, const vf x[SIMPLE_BLOCK], vf d, vi mask, vi *up, vi *down)
{
    float zero = (float)simple_zero(t);
    vf inverse = 1 / d;
    *up = *down = mask;
    for (int j = 0; j < SIMPLE_BLOCK && any(mask); j++) {
        vf q = nearest_small(x[j] * inverse);
        mask &= q * d == x[j];
        *up &= q < zero;
        *down &= q > -zero;
    }
    return mask;
}

// Lanes whose block is codes times a scale; the smallest scale, positive where both signs do.
INLINE vi scale_grid(simple_type t, const vf x[SIMPLE_BLOCK], simple_codes *c)
{
    float zero = (float)simple_zero(t);
    vf most = magnitude(largest_magnitude(x, SIMPLE_BLOCK)), scale = {0};
    vi found = most == 0.0f;
    // Smaller codes could be twice as large with half the scale, unless that is a subnormal f16.
    float last = any(~found & (most < zero * 0x1p-13f)) ? 1 : zero / 2;
    for (float largest = zero; largest >= last; largest--) {
        // An f16 has 11 significant bits. The product is exact.
        vf d = (vf)(((vi)(most * (1 / largest)) + 0x1000) & ~0x1fff);
        vi fits = ~found & (d * largest == most);
        if (!any(fits))
            continue;
        fits &= f16_scale(d) == d;
        vi up, down;
        fits = are_multiples(t, x, d, fits, &up, &down);
        fits &= up | down;
        scale = either(fits, either(up, d, -d), scale);
        found |= fits;
    }
    c->d = scale;
    c->m = (vf){0};
    vf inverse = either(found & (scale != 0.0f), 1 / scale, (vf){0});
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        c->q[j] = __builtin_convertvector(nearest_small(x[j] * inverse) + zero, vi);
    return found;
}

// Lanes of mask where d q + m for whole q in 0..top gives all x.
INLINE vi are_on_line(simple_type t, const vf x[SIMPLE_BLOCK], vf d, vf m, vi mask)
{
    vf inverse = 1 / d;
    for (int j = 0; j < SIMPLE_BLOCK && any(mask); j++) {
        vf q = nearest_small(clamp((x[j] - m) * inverse, 0, (float)simple_top(t)));
        mask &= simple_value(t, q, d, m) == x[j];
    }
    return mask;
}

// Lanes of mask where the distances from least, times inverse, are nearly whole.
INLINE vi are_spaced(const vf x[SIMPLE_BLOCK], vf least, vf inverse, vi mask)
{
    for (int j = 0; j < SIMPLE_BLOCK && any(mask); j++) {
        vf q = (x[j] - least) * inverse;
        mask &= magnitude(q - nearest_small(q)) < 0x1p-6f;
    }
    return mask;
}

// For lanes of mask, where all x are value: one code for all, and what is left of value beside its
// nearest f16 as a scale of either sign. Tells where this gives value exactly.
INLINE vi constant_line(simple_type t, vf value, vi mask, simple_codes *c)
{
    vf m = f16_nearest(value) + 0.0f; // no -0
    vf left = magnitude(value - m);
    c->d = either(mask, (vf){0}, c->d);
    c->m = either(mask, m, c->m);
    for (int q = 1; q <= simple_top(t) && any(mask & (left > 0.0f)); q++) {
        vf d = f16_nearest((value - m) / (float)q);
        vf beside = magnitude(value - (d * (float)q + m));
        vi better = mask & (beside < left);
        left = either(better, beside, left);
        c->d = either(better, d, c->d);
        for (int j = 0; j < SIMPLE_BLOCK; j++)
            c->q[j] = either_int(better, (vi){0} + q, c->q[j]);
    }
    return mask & (left == 0.0f);
}

// Lanes whose block is codes on a line; the smallest scale, then the smallest codes. Misses those
// whose minimum is so large beside the scale that binary32 has rounded the scale away.
INLINE vi line_grid(simple_type t, const vf x[SIMPLE_BLOCK], simple_codes *c)
{
    int top = simple_top(t);
    vf least = x[0], most = x[0];
    for (int j = 1; j < SIMPLE_BLOCK; j++) {
        least = smaller(x[j], least);
        most = larger(x[j], most);
    }
    vi found = {0}, constant = most == least;
    vf whole = either(constant, SPREAD(1), 1 / (most - least));
    c->d = c->m = (vf){0};
    for (int span = top; span > 0; span--) {
        vi fits = are_spaced(x, least, whole * (float)span, ~(found | constant));
        if (!any(fits))
            continue;
        vf d = f16_scale((most - least) / (float)span);
        for (int first = 0; first <= top - span && any(fits); first++) {
            vf m = f16_nearest(least - (float)first * d) + 0.0f;
            vi here = are_on_line(t, x, d, m, fits);
            c->d = either(here, d, c->d);
            c->m = either(here, m, c->m);
            found |= here;
            fits &= ~here;
        }
    }
    vf inverse = either(c->d != 0.0f, 1 / c->d, (vf){0});
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf q = clamp((x[j] - c->m) * inverse, 0, (float)top);
        c->q[j] = __builtin_convertvector(nearest_small(q), vi);
    }
    return found | constant_line(t, least, constant, c);
}

INLINE vi simple_grid(simple_type t, const vf x[SIMPLE_BLOCK], simple_codes *c)
{
    return t.with_minimum ? line_grid(t, x, c) : scale_grid(t, x, c);
}

// The one way to write the values that c stands for.
INLINE void simple_settle(simple_type t, simple_codes *c)
{
    vf x[SIMPLE_BLOCK], d = f16_nearest(c->d), m = f16_nearest(c->m);
    simple_codes same;
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        x[j] = simple_value(t, __builtin_convertvector(c->q[j], vf), d, m);
    simple_take(simple_grid(t, x, &same), &same, c);
}

// ---- a scale ----

// Of scales whose largest code would be step, 2 step ... around zero and both signs, the one whose
// least-squares fit is best. Maximises (sum w x l)^2 / sum w l^2.
INLINE vf coarse_scale(simple_type t, const vf x[SIMPLE_BLOCK], const vf w[SIMPLE_BLOCK],
                       bool weighted)
{
    float zero = (float)simple_zero(t);
    int around = weighted ? 12 : 8; // where few weights count the best scale can be farther off
    vf most = magnitude(largest_magnitude(x, SIMPLE_BLOCK)), best = {0}, scale = {0};
    vf wx[SIMPLE_BLOCK];
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        wx[j] = w[j] * x[j];
    for (int step = -around; step <= around; step++) {
        vf inverse = zero * (1 + 0.03f * (float)step) / most;
        vf up_lx = {0}, up_l2 = {0}, down_lx = {0}, down_l2 = {0};
        for (int j = 0; j < SIMPLE_BLOCK; j++) {
            vf l = rounded(x[j] * inverse);
            vf up = within(l, -zero, zero - 1), down = within(l, 1 - zero, zero);
            up_lx += wx[j] * up;
            up_l2 += w[j] * up * up;
            down_lx += wx[j] * down;
            down_l2 += w[j] * down * down;
        }
        vf up_scale = up_lx / up_l2, down_scale = down_lx / down_l2;
        vi better = up_scale * up_lx > best;
        best = either(better, up_scale * up_lx, best);
        scale = either(better, up_scale, scale);
        better = down_scale * down_lx > best;
        best = either(better, down_scale * down_lx, best);
        scale = either(better, -down_scale, scale);
    }
    return scale;
}

INLINE void best_of_scales(simple_type t, const vf x[SIMPLE_BLOCK], const vf w[SIMPLE_BLOCK],
                       bool weighted, simple_codes *c)
{
    float zero = (float)simple_zero(t);
    vf d = f16_scale(coarse_scale(t, x, w, weighted)), best = SPREAD(FLT_MAX);
    c->d = d;
    c->m = (vf){0};
    for (int refit = 0; refit <= REFITS; refit++) {
        vf inverse = 1 / d, error = {0}, lx = {0}, l2 = {0};
        for (int j = 0; j < SIMPLE_BLOCK; j++) {
            vf l = clamp(nearest_small(x[j] * inverse), -zero, zero - 1);
            vf r = x[j] - l * d, wl = w[j] * l;
            error += w[j] * (r * r);
            lx += wl * x[j];
            l2 += wl * l;
        }
        vi better = error < best;
        best = either(better, error, best);
        c->d = either(better, d, c->d);
        d = f16_scale(either(l2 > 0.0f, lx / l2, d));
    }
    vf inverse = 1 / c->d;
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf l = clamp(nearest_small(x[j] * inverse), -zero, zero - 1);
        c->q[j] = __builtin_convertvector(l + zero, vi);
    }
}

// ---- a scale for 8 bits ----

// Here nothing is worth clipping, and which scale suits a block is nearly chance: of the f16 from
// the smallest that clips nothing the first 16 are tried, then every other one, 64 in all.
INLINE void best_of_near_scales(const vf x[SIMPLE_BLOCK], const vf w[SIMPLE_BLOCK],
                                simple_codes *c)
{
    vf least = magnitude(largest_magnitude(x, SIMPLE_BLOCK)) / 127.49f, best = SPREAD(FLT_MAX);
    vi lowest = (vi)to_f16_lanes(least);
    lowest -= f16_lanes(lowest) < least;
    lowest -= lowest == 0;
    c->d = f16_lanes(lowest);
    c->m = (vf){0};
    for (int i = 0; i < 64; i += 2) { // two at a time: neither waits for its sum alone
        vf d[2], inverse[2], error[2] = {{0}, {0}};
        for (int k = 0; k < 2; k++) {
            vi bits = lowest + (i < 16 ? i + k : 2 * (i + k) - 16);
            d[k] = f16_lanes(either_int(bits > 0x7bff, (vi){0} + 0x7bff, bits));
            inverse[k] = 1 / d[k];
        }
        for (int j = 0; j < SIMPLE_BLOCK; j++)
            for (int k = 0; k < 2; k++) {
                vf r = x[j] - nearest_small(x[j] * inverse[k]) * d[k];
                error[k] += w[j] * (r * r);
            }
        for (int k = 0; k < 2; k++) {
            vi better = error[k] < best;
            best = either(better, error[k], best);
            c->d = either(better, d[k], c->d);
        }
    }
    vf inverse = 1 / c->d;
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        c->q[j] = __builtin_convertvector(nearest_small(x[j] * inverse), vi) + 128;
}

// ---- a scale and a minimum ----

// The block around its weighted mean, so that the sums of a fit keep their digits.
typedef struct {
    vf x[SIMPLE_BLOCK], wx[SIMPLE_BLOCK]; // x - mean, and w times that
    vf mean, per_w, least, most; // per_w: 1 / sum of w
    vf scale, minimum, best; // of the best fit so far, and the error that it saves
} centred;

INLINE void centre(centred *b, const vf x[SIMPLE_BLOCK], const vf w[SIMPLE_BLOCK])
{
    vf sum_w = {0}, sum_x = {0};
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        sum_w += w[j];
        sum_x += w[j] * x[j];
    }
    b->per_w = 1 / sum_w;
    b->mean = either(sum_w > 0.0f, sum_x / sum_w, x[0]);
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        b->x[j] = x[j] - b->mean;
        b->wx[j] = w[j] * b->x[j];
        b->least = j ? smaller(b->x[j], b->least) : b->x[j];
        b->most = j ? larger(b->x[j], b->most) : b->x[j];
    }
    b->best = (vf){0};
    b->scale = (b->most - b->least);
    b->minimum = b->least;
}

// Codes nearest(x inverse + offset), and the line fitted to them, where it is the best so far.
INLINE void try_line(simple_type t, centred *b, const vf w[SIMPLE_BLOCK], vf inverse, vf offset)
{
    vf sum_l = {0}, sum_l2 = {0}, sum_xl = {0};
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf l = within(rounded(b->x[j] * inverse + offset), 0, (float)simple_top(t));
        vf wl = w[j] * l;
        sum_l += wl;
        sum_l2 += wl * l;
        sum_xl += b->wx[j] * l;
    }
    vf mean_l = sum_l * b->per_w;
    vf scale = sum_xl / (sum_l2 - sum_l * mean_l);
    vf saved = scale * sum_xl;
    vi better = (saved > b->best) & (saved < FLT_MAX) & (scale > 0.0f);
    b->best = either(better, saved, b->best);
    b->scale = either(better, scale, b->scale);
    b->minimum = either(better, -scale * mean_l, b->minimum);
}

INLINE void coarse_line(simple_type t, centred *b, const vf w[SIMPLE_BLOCK])
{
    float top = (float)simple_top(t);
    vf range = b->most - b->least;
    for (int i = 0; i < 5; i++)
        for (int k = -1; k <= 1; k++) {
            float codes = top * (0.95f + 0.075f * (float)i); // over the whole range
            vf inverse = codes / range;
            try_line(t, b, w, inverse, (top - codes) * 0.5f - 0.4f * (float)k - b->least * inverse);
        }
    // Around the best of these, turned about the middle code.
    vf scale = b->scale, minimum = b->minimum;
    for (int i = -2; i <= 2; i++)
        for (int k = -3; k <= 3; k += 2) {
            float turn = 1 + 0.025f * (float)i;
            vf inverse = turn / scale;
            vf offset = -minimum * inverse - 0.12f * (float)k - (turn - 1) * top * 0.5f;
            try_line(t, b, w, inverse, offset);
        }
}

INLINE void best_of_lines(simple_type t, const vf x[SIMPLE_BLOCK], const vf w[SIMPLE_BLOCK],
                      simple_codes *c)
{
    float top = (float)simple_top(t);
    centred b;
    centre(&b, x, w);
    coarse_line(t, &b, w);
    vf m = f16_nearest(b.mean + b.minimum), d = f16_scale(b.scale), best = SPREAD(FLT_MAX);
    c->d = d;
    c->m = m;
    for (int refit = 0; refit <= REFITS; refit++) {
        vf inverse = 1 / d, error = {0}, sum_l = {0}, sum_l2 = {0}, sum_xl = {0};
        for (int j = 0; j < SIMPLE_BLOCK; j++) {
            vf l = nearest_small(clamp((x[j] - m) * inverse, 0, top));
            vf r = x[j] - (l * d + m), wl = w[j] * l;
            error += w[j] * (r * r);
            sum_l += wl;
            sum_l2 += wl * l;
            sum_xl += b.wx[j] * l;
        }
        vi better = error < best;
        best = either(better, error, best);
        c->d = either(better, d, c->d);
        c->m = either(better, m, c->m);
        // The fitted minimum, rounded, and the scale that fits it best.
        vf mean_l = sum_l * b.per_w;
        vf scale = sum_xl / (sum_l2 - sum_l * mean_l);
        vi solved = (scale > 0.0f) & (scale < FLT_MAX);
        m = f16_nearest(either(solved, b.mean - scale * mean_l, m));
        scale = (sum_xl + (b.mean - m) * sum_l) / sum_l2;
        d = f16_scale(either(solved & (scale > 0.0f) & (scale < FLT_MAX), scale, d));
    }
    vf inverse = 1 / c->d;
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf l = nearest_small(clamp((x[j] - c->m) * inverse, 0, top));
        c->q[j] = __builtin_convertvector(l, vi);
    }
    constant_line(t, x[0], b.most == b.least, c);
}

// Scale and minimum grow until the values do not shrink the weights (docs/decisions.md); not where
// there is more error than weight.
INLINE void simple_unshrink(simple_type t, const vf x[SIMPLE_BLOCK], const vf w[SIMPLE_BLOCK],
                            simple_codes *c)
{
    vf d = f16_nearest(c->d), m = f16_nearest(c->m), xx = {0}, xy = {0};
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf wx = w[j] * x[j];
        xx += wx * x[j];
        xy += wx * simple_value(t, __builtin_convertvector(c->q[j], vf), d, m);
    }
    vf by = either(xy > 0.5f * xx, xx / xy, SPREAD(1.0f));
    vi fits = (magnitude(d * by) <= 65504.0f) & (magnitude(m * by) <= 65504.0f);
    c->d = either(fits, f16_scale(d * by), c->d);
    c->m = either(fits, f16_nearest(m * by), c->m);
}

// c: ggml's codes; replaced where ours have less error. w: importance, or 1; spoiled.
INLINE void simple_best(simple_type t, const vf x[SIMPLE_BLOCK], vf w[SIMPLE_BLOCK],
                        bool weighted, simple_codes *c)
{
    simple_codes ours;
    scale_importance(w);
    if (t.with_minimum)
        best_of_lines(t, x, w, &ours);
    else if (t.bits == 8)
        best_of_near_scales(x, w, &ours);
    else
        best_of_scales(t, x, w, weighted, &ours);
    if (t.bits < 8) // 8 bits shrink less than that tells apart
        simple_unshrink(t, x, w, &ours);
    vf error = simple_error(t, c, x, w);
    simple_take(simple_error(t, &ours, x, w) < error * SURELY_LESS, &ours, c);
    simple_take(simple_grid(t, x, &ours), &ours, c);
    simple_settle(t, c);
}

#endif
