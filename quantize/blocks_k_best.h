// SPDX-License-Identifier: Apache-2.0
// SEARCH_BEST of the K-quants, as a template (kernel_lanes.h). Beginning with what ggml finds, each
// sub-block tries the integers S (and M) around its own with the codes that follow from them, so
// that nothing is rounded after it was chosen; then the factors d (and dmin) that are least squares
// for all codes of the super-block take their place, and the sub-blocks try again. The error is
// sum o (value - x)^2 with the importance o, or 1, throughout.
// Least squares shrinks: its values are the means of what they stand for, so sum x value is below
// sum x^2 by just that error. Every weight of a layer too small by the same few percent is worse
// than as much noise, so in the end the factors grow until both sums agree; the error grows by its
// own share of sum x^2 only. Who calls compares with ggml's result as it is stored and keeps the
// better.
#ifndef SCRUPLE_QUANTIZE_BLOCKS_K_BEST_H
#define SCRUPLE_QUANTIZE_BLOCKS_K_BEST_H

#include "quantize/blocks_k_fit.h"

enum { K_TRIES = 3 }; // of factors

// What takes the shrinking away, from sum o x^2 and sum o x value.
INLINE vf k_gain(vf xx, vf xy) { return either(xy > 0.5f * xx, xx / xy, SPREAD(1.0f)); }

// ---- value = d S q - dmin M ----

typedef struct {
    int subs, n;         // sub-blocks and their weights
    float top, limit;    // largest q; largest S and M
    int down, up, aside; // from S - down to S + up; from the best M - aside to M + aside
} k_affine_search;

typedef struct {
    vf d, dmin, error;
    vf s[16], m[16];
} k_affine_state;

INLINE vf k_inverse(vf x) { return either(x == 0.0f, SPREAD(0.0f), 1.0f / x); }

// Clamped before it is rounded: |t| may be large.
INLINE vf k_affine_code(vf t, float top) { return k_whole(k_cap(k_positive(t), SPREAD(top))); }

INLINE vf k_affine_error(int n, float top, const vf *x, const vf *o, vf scale, vf min)
{
    vf inverse = k_inverse(scale), error = {0};
    for (int i = 0; i < n; i++) {
        vf y = x[i] + min, d = scale * k_affine_code(y * inverse, top) - y;
        error += o[i] * d * d;
    }
    return error;
}

// The S and M of least error in reach of sub-block j's own.
INLINE void k_improve_affine(k_affine_search how, const vf *x, const vf *o, k_affine_state *st,
                             int j)
{
    vf sum_o = {0}, sum_x = {0}, s0 = st->s[j], m0 = st->m[j] * st->dmin;
    for (int i = 0; i < how.n; i++) {
        sum_o += o[i];
        sum_x += o[i] * x[i];
    }
    vf to_m = k_inverse(st->dmin) * k_inverse(sum_o);
    vf least = k_affine_error(how.n, how.top, x, o, st->d * s0, m0);
    for (int k = -how.down; k <= how.up; k++) {
        vf s = clamp(s0 + (float)k, 0, how.limit), scale = st->d * s;
        vf inverse = k_inverse(scale), sum = {0};
        for (int i = 0; i < how.n; i++)
            sum += o[i] * k_affine_code((x[i] + m0) * inverse, how.top);
        vf center = k_whole(clamp((scale * sum - sum_x) * to_m, 0, how.limit));
        for (int by = -how.aside; by <= how.aside; by++) {
            vf m = clamp(center + (float)by, 0, how.limit);
            vf error = k_affine_error(how.n, how.top, x, o, scale, m * st->dmin);
            vi better = error < least;
            least = either(better, error, least);
            st->s[j] = either(better, s, st->s[j]);
            st->m[j] = either(better, m, st->m[j]);
        }
    }
    st->error += least;
}

// d and dmin of least squares for the codes of all sub-blocks.
INLINE void k_refit_affine(k_affine_search how, const vf *x, const vf *o, k_affine_state *st)
{
    vf ss = {0}, sm = {0}, mm = {0}, sx = {0}, mx = {0};
    for (int j = 0; j < how.subs; j++) {
        vf q = {0}, qq = {0}, qx = {0}, sum_o = {0}, sum_x = {0};
        vf min = st->m[j] * st->dmin, inverse = k_inverse(st->d * st->s[j]);
        for (int i = j * how.n; i < (j + 1) * how.n; i++) {
            vf code = k_affine_code((x[i] + min) * inverse, how.top), oc = o[i] * code;
            q += oc;
            qq += oc * code;
            qx += oc * x[i];
            sum_o += o[i];
            sum_x += o[i] * x[i];
        }
        ss += st->s[j] * st->s[j] * qq;
        sm += st->s[j] * st->m[j] * q;
        mm += st->m[j] * st->m[j] * sum_o;
        sx += st->s[j] * qx;
        mx += st->m[j] * sum_x;
    }
    vf both = ss * mm - sm * sm, inverse = k_inverse(both);
    vi apart = both > 1e-6f * ss * mm;
    vf d = either(apart, (sx * mm - sm * mx) * inverse, sx * k_inverse(ss));
    vf dmin = either(apart, (sx * sm - ss * mx) * inverse, st->dmin);
    st->d = either(d > 0.0f, f16_lanes(to_f16_lanes(smaller(d, SPREAD(65504.0f)))), st->d);
    st->dmin = either(dmin >= 0.0f, f16_lanes(to_f16_lanes(smaller(dmin, SPREAD(65504.0f)))),
                      st->dmin);
}

INLINE void k_unshrink_affine(k_affine_search how, const vf *x, const vf *o, k_affine_state *st)
{
    vf xx = {0}, xy = {0};
    for (int j = 0; j < how.subs; j++) {
        vf scale = st->d * st->s[j], min = st->dmin * st->m[j], inverse = k_inverse(scale);
        for (int i = j * how.n; i < (j + 1) * how.n; i++) {
            vf ox = o[i] * x[i];
            xx += ox * x[i];
            xy += ox * (scale * k_affine_code((x[i] + min) * inverse, how.top) - min);
        }
    }
    vf gain = k_gain(xx, xy);
    st->d *= gain;
    st->dmin *= gain;
}

INLINE void k_best_affine(k_affine_search how, const vf *x, const vf *o, k_affine_state *st)
{
    k_affine_state best = *st;
    best.error = SPREAD(INFINITY);
    for (int k = 0; k < K_TRIES; k++) {
        if (k > 0) {
            k_refit_affine(how, x, o, st);
            how.down = how.up = how.aside = 1;
        }
        st->error = SPREAD(0.0f);
        for (int j = 0; j < how.subs; j++)
            k_improve_affine(how, x + j * how.n, o + j * how.n, st, j);
        vi better = st->error < best.error;
        best.error = either(better, st->error, best.error);
        best.d = either(better, st->d, best.d);
        best.dmin = either(better, st->dmin, best.dmin);
        for (int j = 0; j < how.subs; j++) {
            best.s[j] = either(better, st->s[j], best.s[j]);
            best.m[j] = either(better, st->m[j], best.m[j]);
        }
    }
    *st = best;
    k_unshrink_affine(how, x, o, st);
}

// ---- value = d S q ----

typedef struct {
    float top, limit;   // codes from -top to top - 1, S from -limit to limit - 1
    int reach;          // from S - reach to S + reach; all of them where that is limit
} k_signed_search;

typedef struct {
    vf d, error;
    vf s[16];
} k_signed_state;

INLINE vf k_signed_error(float top, const vf *x, const vf *o, vf scale)
{
    vf inverse = k_inverse(scale), error = {0};
    for (int i = 0; i < K_16; i++) {
        vf t = larger(x[i] * inverse, SPREAD(-top));
        vf d = scale * k_whole(k_cap(t, SPREAD(top - 1))) - x[i];
        error += o[i] * d * d;
    }
    return error;
}

INLINE void k_improve_signed(k_signed_search how, const vf *x, const vf *o, k_signed_state *st,
                             int j)
{
    vf s0 = st->s[j], least = k_signed_error(how.top, x, o, st->d * s0);
    if (how.reach == (int)how.limit)
        s0 = SPREAD(0.0f);
    for (int k = -how.reach; k <= how.reach; k++) {
        vf s = clamp(s0 + (float)k, -how.limit, how.limit - 1);
        vf error = k_signed_error(how.top, x, o, st->d * s);
        vi better = error < least;
        least = either(better, error, least);
        st->s[j] = either(better, s, st->s[j]);
    }
    st->error += least;
}

INLINE void k_refit_signed(k_signed_search how, const vf *x, const vf *o, k_signed_state *st)
{
    vf ss = {0}, sx = {0};
    for (int j = 0; j < 16; j++) {
        vf qq = {0}, qx = {0}, inverse = k_inverse(st->d * st->s[j]);
        for (int i = j * K_16; i < (j + 1) * K_16; i++) {
            vf code = k_whole(clamp(x[i] * inverse, -how.top, how.top - 1)), oc = o[i] * code;
            qq += oc * code;
            qx += oc * x[i];
        }
        ss += st->s[j] * st->s[j] * qq;
        sx += st->s[j] * qx;
    }
    vf d = clamp(sx * k_inverse(ss), -65504, 65504);
    st->d = either(d == 0.0f, st->d, f16_lanes(to_f16_lanes(d)));
}

INLINE void k_unshrink_signed(k_signed_search how, const vf *x, const vf *o, k_signed_state *st)
{
    vf xx = {0}, xy = {0};
    for (int j = 0; j < 16; j++) {
        vf scale = st->d * st->s[j], inverse = k_inverse(scale);
        for (int i = j * K_16; i < (j + 1) * K_16; i++) {
            vf ox = o[i] * x[i];
            xx += ox * x[i];
            xy += ox * (scale * k_whole(clamp(x[i] * inverse, -how.top, how.top - 1)));
        }
    }
    st->d *= k_gain(xx, xy);
}

INLINE void k_best_signed(k_signed_search how, const vf *x, const vf *o, k_signed_state *st)
{
    k_signed_state best = *st;
    best.error = SPREAD(INFINITY);
    for (int k = 0; k < K_TRIES; k++) {
        if (k > 0) {
            k_refit_signed(how, x, o, st);
            how.reach = 1;
        }
        st->error = SPREAD(0.0f);
        for (int j = 0; j < 16; j++)
            k_improve_signed(how, x + j * K_16, o + j * K_16, st, j);
        vi better = st->error < best.error;
        best.error = either(better, st->error, best.error);
        best.d = either(better, st->d, best.d);
        for (int j = 0; j < 16; j++)
            best.s[j] = either(better, st->s[j], best.s[j]);
    }
    *st = best;
    k_unshrink_signed(how, x, o, st);
}

#endif
