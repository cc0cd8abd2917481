// SPDX-License-Identifier: Apache-2.0
// The codes that ggml finds for Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0, as a template (kernel_lanes.h):
// one block a lane (block_lanes.h), the sums in ggml's order. Writes no bytes; blocks_simple.h
// does.
#ifndef SCRUPLE_QUANTIZE_BLOCKS_SIMPLE_GGML_H
#define SCRUPLE_QUANTIZE_BLOCKS_SIMPLE_GGML_H

#include <float.h>

#include "quantize/block_lanes.h"

enum { SIMPLE_BLOCK = 32 };

// Known where the functions below are inlined.
typedef struct {
    int bits;          // of a code: 4, 5 or 8
    bool with_minimum; // value d q + m; else d (q - zero)
} simple_type;

INLINE int simple_top(simple_type t) { return (1 << t.bits) - 1; }
INLINE int simple_zero(simple_type t) { return t.with_minimum ? 0 : 1 << (t.bits - 1); }

typedef struct {
    vf d, m; // the nearest f16 are written
    vi q[SIMPLE_BLOCK];
} simple_codes;

// ---- as ggml without importance: quantize_row_<type>_ref ----

// The scale from the extremes, codes by its reciprocal.
INLINE void simple_plain(simple_type t, const vf x[SIMPLE_BLOCK], simple_codes *c)
{
    c->m = (vf){0};
    if (t.with_minimum) {
        vf least = x[0], most = x[0];
        for (int j = 1; j < SIMPLE_BLOCK; j++) {
            least = smaller(x[j], least);
            most = larger(x[j], most);
        }
        c->m = least;
        c->d = (most - least) / (float)simple_top(t);
    } else {
        c->d = largest_magnitude(x, SIMPLE_BLOCK) / (float)-simple_zero(t);
    }
    vf inverse = either(c->d != 0.0f, 1 / c->d, (vf){0});
    // Where the reciprocal of a tiny scale overflows, ggml's conversion of what follows gives 0.
    vi lost = magnitude(inverse) > FLT_MAX;
    inverse = either(lost, (vf){0}, inverse);
    vf half = either(lost, (vf){0}, SPREAD((float)simple_zero(t) + 0.5f));
    vf most = SPREAD((float)simple_top(t) + 0.5f);
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf from = x[j];
        if (t.with_minimum)
            from -= c->m;
        c->q[j] = __builtin_convertvector(smaller(from * inverse + half, most), vi);
    }
}

// roundf, half away from zero, for magnitudes below 2^22.
INLINE vi round_away(vf x)
{
    vf a = magnitude(x), whole = nearest_small(a);
    vi away = __builtin_convertvector(whole, vi) - (a - whole == 0.5f); // a true lane is -1
    vi sign = (vi)x >> 31;
    return (away ^ sign) - sign;
}

// quantize_row_q8_0_ref; importance is not asked there.
INLINE void simple_plain_8(const vf x[SIMPLE_BLOCK], simple_codes *c)
{
    vf most = {0};
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        most = larger(magnitude(x[j]), most);
    c->d = most / 127;
    c->m = (vf){0};
    vf inverse = either(c->d != 0.0f, 1 / c->d, (vf){0});
    inverse = either(inverse > FLT_MAX, (vf){0}, inverse); // ggml's codes are 0 then
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        c->q[j] = round_away(x[j] * inverse) + 128;
}

// ---- as ggml with importance ----

// make_qx_quants: of the scale -zero / max and 18 around it the one whose least-squares fit is
// best. w: the weights of the elements.
INLINE void simple_fit_scale(simple_type t, const vf x[SIMPLE_BLOCK], const vf w[SIMPLE_BLOCK],
                             simple_codes *c)
{
    float zero = (float)simple_zero(t);
    vf max = largest_magnitude(x, SIMPLE_BLOCK);
    vi none = magnitude(max) < 1e-15f;
    vf best = {0}, best_inverse = {0}, best_scale = {0};
    for (int i = -10; i <= 9; i++) {
        int step = i == -10 ? 0 : i; // 0 goes first
        vi first = (vi){0} - (i == -10);
        if (i == 0)
            continue;
        vf inverse = either(none, (vf){0}, -(zero + 0.1f * (float)step) / max);
        vf sum_lx = {0}, sum_l2 = {0};
        for (int j = 0; j < SIMPLE_BLOCK; j++) {
            vf l = within(rounded(inverse * x[j]), -zero, zero - 1);
            sum_lx += w[j] * x[j] * l;
            sum_l2 += w[j] * l * l;
        }
        vi better = first | ((sum_l2 > 0.0f) & (sum_lx * sum_lx > best * sum_l2));
        vf scale = either(sum_l2 != 0.0f, sum_lx / sum_l2, (vf){0});
        best_inverse = either(better, inverse, best_inverse);
        best_scale = either(better, scale, best_scale);
        best = either(better, scale * sum_lx, best);
    }
    c->m = (vf){0};
    c->d = either(none, (vf){0}, best_scale);
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf l = within(rounded(best_inverse * x[j]), -zero, zero - 1) + zero;
        c->q[j] = ~none & __builtin_convertvector(l, vi);
    }
}

// Codes nearest((x - base) inverse), and the line fitted to them.
typedef struct {
    vf inverse, base;
    vf scale, minimum, error;
} simple_line;

INLINE vf line_code(simple_type t, const simple_line *l, vf x)
{
    return clamp(nearest(l->inverse * (x - l->base)), 0, (float)simple_top(t));
}

INLINE vf line_error(const simple_line *l, const vf q[SIMPLE_BLOCK], const vf x[SIMPLE_BLOCK],
                     const vf w[SIMPLE_BLOCK])
{
    vf error = {0};
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf d = l->scale * q[j] + l->minimum - x[j];
        error += w[j] * (d * d);
    }
    return error;
}

typedef struct {
    vf w, x, least, most; // of a block: sums of w and w x, extremes of x
} line_sums;

// Least squares, the minimum at most 0, over codes that go to q; false lanes where the system has
// no solution. small: what is rounded is below 2^22.
INLINE vi line_fit(simple_type t, simple_line *l, vf q[SIMPLE_BLOCK], const vf x[SIMPLE_BLOCK],
                   const vf w[SIMPLE_BLOCK], const line_sums *s, bool small)
{
    float top = (float)simple_top(t);
    vf sum_l = {0}, sum_l2 = {0}, sum_xl = {0}, sum_w = s->w, sum_x = s->x;
    for (int j = 0; j < SIMPLE_BLOCK; j++) {
        vf code = l->inverse * (x[j] - l->base);
        q[j] = small ? within(rounded(code), 0, top) : clamp(nearest(code), 0, top);
        vf wq = w[j] * q[j];
        sum_l += wq;
        sum_l2 += wq * q[j];
        sum_xl += wq * x[j];
    }
    vf determinant = sum_w * sum_l2 - sum_l * sum_l;
    l->scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
    l->minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
    vi above = l->minimum > 0.0f;
    l->scale = either(above, sum_xl / sum_l2, l->scale);
    l->minimum = either(above, (vf){0}, l->minimum);
    return determinant > 0.0f;
}

// make_qkx3_quants(-0.9, 0.05, 36): of 37 widths the one whose fit has the least error. Every
// better one moves the base from which the next are counted, as there.
INLINE void simple_fit_line(simple_type t, const vf x[SIMPLE_BLOCK], const vf w[SIMPLE_BLOCK],
                            simple_codes *c)
{
    float top = (float)simple_top(t);
    line_sums s = {.w = w[0], .x = w[0] * x[0], .least = x[0], .most = x[0]};
    for (int j = 1; j < SIMPLE_BLOCK; j++) {
        s.least = smaller(x[j], s.least);
        s.most = larger(x[j], s.most);
        s.w += w[j];
        s.x += w[j] * x[j];
    }
    vf most = s.most, least = either(s.least > 0.0f, (vf){0}, s.least);
    vi flat = most <= least;
    simple_line best = {.inverse = top / (most - least), .base = least, .minimum = least};
    best.scale = 1 / best.inverse;
    vf q[SIMPLE_BLOCK];
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        q[j] = line_code(t, &best, x[j]);
    best.error = line_error(&best, q, x, w);
    for (int step = 0; step <= 36; step++) {
        simple_line l = {.base = best.minimum};
        l.inverse = (-0.9f + 0.05f * (float)step + top) / (most - l.base);
        vi large = ((magnitude(l.inverse * (s.least - l.base)) < 0x1p22f) &
                    (magnitude(l.inverse * (most - l.base)) < 0x1p22f)) == 0;
        vi better = any(large) ? line_fit(t, &l, q, x, w, &s, false)
                               : line_fit(t, &l, q, x, w, &s, true);
        l.error = line_error(&l, q, x, w);
        better &= l.error < best.error;
        best.inverse = either(better, l.inverse, best.inverse);
        best.base = either(better, l.base, best.base);
        best.scale = either(better, l.scale, best.scale);
        best.minimum = either(better, l.minimum, best.minimum);
        best.error = either(better, l.error, best.error);
    }
    c->d = either(flat, (vf){0}, best.scale);
    c->m = either(flat, least, best.minimum);
    for (int j = 0; j < SIMPLE_BLOCK; j++)
        c->q[j] = ~flat & __builtin_convertvector(line_code(t, &best, x[j]), vi);
}

#endif
