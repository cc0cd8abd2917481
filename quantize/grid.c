// SPDX-License-Identifier: Apache-2.0
#include "quantize/grid.h"

#include <string.h>

#include "base/bytes.h"
#include "base/reduce.h"
#include "quantize/kernels.h"
#include "quantize/number.h"

enum { SEGMENT = 256, HEAD = 16, MOST_NEAR = 3 };

static int top_code(const grid *g) { return (1 << g->bits) - 1; }

static bool is_finite(float x) { return (f32_bits(x) & 0x7fffffff) < 0x7f800000; }

// ---- numbers of the scales' type ---------------------------------------------------------------

static uint32_t bits_of(dtype type, float x)
{
    uint8_t byte[4] = {0};
    switch (type) {
    case DT_F8_E4M3: return f32_to_e4m3(x);
    case DT_F8_E8M0: return f32_bits(x) < 0x800000 ? 0 : f32_bits(x) >> 23 & 0xff;
    default: (void)!row_from_f32(byte, type, &x, 1); return load_u32(byte);
    }
}

static float number_of(dtype type, uint32_t bits)
{
    float x = 0;
    (void)!row_to_f32(&x, &bits, type, 1);
    return x;
}

static float with_global(const grid *g, float stored)
{
    return g->divides ? stored / g->global : stored * g->global;
}

// What a scale's own type holds of it.
static float without_global(const grid *g, float scale)
{
    return g->divides ? scale * g->global : scale / g->global;
}

uint32_t grid_scale_bits(const grid *g, float scale)
{
    return bits_of(g->scale, without_global(g, scale));
}

uint32_t grid_bias_bits(const grid *g, float bias) { return bits_of(g->scale, bias); }

// Scales near x that the form can store, the nearest first. Values are products of a scale and a
// code of up to 8 bits: of binary32 scales up to three give the same product, of shorter ones one.
static int scales_near(const grid *g, float x, float to[MOST_NEAR])
{
    uint32_t u = f32_bits(x);
    if (!is_finite(x) || x == 0)
        return 0;
    if (g->pow2 || g->scale == DT_F8_E8M0) {
        float least = g->scale == DT_F8_E8M0 ? 0x1p-127f : 0x1p-126f;
        bool power = (u & 0x7fffff) == 0 || x == 0x1p-127f;
        to[0] = x;
        return power && x >= least;
    }
    if (g->scale == DT_F32) {
        int n = 0;
        for (int step = 0; step < MOST_NEAR; step++) {
            float y = f32_from_bits(u + (step == 1) - (step == 2));
            if (is_finite(y) && y != 0)
                to[n++] = y;
        }
        return n;
    }
    if (g->scale == DT_F8_E4M3 && x < 0)
        return 0;
    to[0] = with_global(g, number_of(g->scale, grid_scale_bits(g, x)));
    return is_finite(to[0]) && to[0] != 0;
}

// ---- whether a scale fits ----------------------------------------------------------------------

void grid_codes(const grid *g, const grid_block *b, const float *from, int64_t n, uint8_t *codes)
{
    const kernels *use = kernels_used();
    if (g->element == ELEMENT_E4M3)
        use->to_e4m3(codes, from, b->scale, n);
    else if (g->element == ELEMENT_E2M1)
        use->to_e2m1(codes, from, b->scale, n);
    else
        use->to_whole(codes, from, b->bias, (float)b->zero, b->scale, (float)top_code(g), n);
}

static bool same_values(const float *a, const float *b, int64_t n)
{
    int different = 0;
    for (int64_t i = 0; i < n; i++)
        different |= !(a[i] == b[i]);
    return !different;
}

static bool segment_fits(const grid *g, const grid_block *b, const float *from, int64_t n)
{
    const kernels *use = kernels_used();
    uint8_t codes[SEGMENT];
    float back[SEGMENT];
    grid_codes(g, b, from, n, codes);
    if (g->element == ELEMENT_E4M3)
        use->from_e4m3(back, codes, b->scale, n);
    else if (g->element == ELEMENT_E2M1)
        use->from_e2m1(back, codes, b->scale, n);
    else
        use->from_u8(back, codes, 0, (float)b->zero, b->scale, n);
    if (g->biases)
        use->add_bias(back, b->bias, n);
    return same_values(from, back, n);
}

// Most scales that are tried do not fit already a few numbers.
static bool fits(const grid *g, const grid_block *b)
{
    if (b->rows * b->cols > 4 * HEAD && !segment_fits(g, b, b->from, i64_min(HEAD, b->cols)))
        return false;
    for (int64_t row = 0; row < b->rows; row++)
        for (int64_t col = 0; col < b->cols; col += SEGMENT)
            if (!segment_fits(g, b, b->from + row * b->stride + col,
                              i64_min(SEGMENT, b->cols - col)))
                return false;
    return true;
}

// ---- the block's numbers -----------------------------------------------------------------------

typedef struct {
    float least, most, largest; // `largest`: of either sign, by magnitude
} extremes;

static extremes extremes_of(const grid_block *b)
{
    extremes x = {b->from[0], b->from[0], b->from[0]};
    for (int64_t row = 0; row < b->rows; row++) {
        const float *from = b->from + row * b->stride;
        for (int64_t i = 0; i < b->cols; i++) {
            x.least = from[i] < x.least ? from[i] : x.least;
            x.most = from[i] > x.most ? from[i] : x.most;
        }
    }
    x.largest = x.most > -x.least ? x.most : x.least;
    return x;
}

// The nearest integer for magnitudes below 2^22, ties to even.
static float nearest(float x) { return x + 12582912.0f - 12582912.0f; }

static float nearest_within(float x, float limit)
{
    return nearest(x > limit ? limit : x < -limit ? -limit : x);
}

// ---- codes around a zero point -----------------------------------------------------------------

// Zero points under which the codes of all numbers exist; the one nearest to the preferred.
static bool fits_with_zero(const grid *g, grid_block *b, extremes x)
{
    int top = top_code(g);
    float first = nearest_within(x.least / b->scale, 1000);
    float last = nearest_within(x.most / b->scale, 1000);
    int low = (int)(first < last ? first : last), high = (int)(first < last ? last : first);
    int from = -low > g->least_zero ? -low : g->least_zero;
    int to = top - high < top ? top - high : top;
    if (from > to)
        return false;
    b->zero = g->zero < from ? from : g->zero > to ? to : g->zero;
    return fits(g, b);
}

// ---- codes and a bias --------------------------------------------------------------------------

static bool fits_with_bias_of(const grid *g, grid_block *b, float bias)
{
    b->bias = number_of(g->scale, grid_bias_bits(g, bias));
    return is_finite(b->bias) && fits(g, b);
}

// Whether all numbers are whole steps from one of them, whatever the bias: which rules out nearly
// every scale of a block that is off the grid. The product and the sum round by 2^-24 each, of up
// to `top` steps and of the number; so for both numbers, and as much again.
static bool are_steps_apart(const grid *g, const grid_block *b, float anchor, float largest)
{
    double step = (double)b->scale, sizes = top_code(g) * step;
    double slack = ((sizes < 0 ? -sizes : sizes) + (double)(largest < 0 ? -largest : largest)) *
                   0x1p-22;
    slack /= step < 0 ? -step : step;
    for (int64_t row = 0; row < b->rows; row++)
        for (int64_t i = 0; i < b->cols; i++) {
            double steps = ((double)b->from[row * b->stride + i] - (double)anchor) / step;
            if (!(steps <= top_code(g) + 1))
                return false;
            double off = steps - (double)(int)(steps + 0.5);
            if (off > slack || off < -slack)
                return false;
        }
    return true;
}

// The bias that a zero point would be first; then those that follow from each code that the number
// with the smallest one can have.
static bool fits_with_bias(const grid *g, grid_block *b, extremes x)
{
    int top = top_code(g);
    float anchor = b->scale > 0 ? x.least : x.most;
    float other = b->scale > 0 ? x.most : x.least;
    double span = ((double)other - (double)anchor) / (double)b->scale;
    b->zero = 0;
    if (!are_steps_apart(g, b, anchor, x.largest))
        return false;
    if (fits_with_bias_of(g, b, (float)(-(double)g->zero * (double)b->scale)))
        return true;
    for (int code = 0; span < (double)(top - code) + 0.5; code++)
        if (fits_with_bias_of(g, b, (float)((double)anchor - code * (double)b->scale)))
            return true;
    return false;
}

// ---- the search --------------------------------------------------------------------------------

static bool scale_fits(const grid *g, grid_block *b, const extremes *x, float scale)
{
    b->scale = scale;
    b->bias = 0;
    b->zero = g->zero;
    if (g->zeros)
        return fits_with_zero(g, b, *x);
    return g->biases ? fits_with_bias(g, b, *x) : fits(g, b);
}

static bool near_fits(const grid *g, grid_block *b, const extremes *x, float code)
{
    float near[MOST_NEAR], wanted = x->largest / code;
    int n = scales_near(g, wanted, near);
    for (int i = 0; i < n; i++)
        if (near[i] * code == x->largest && scale_fits(g, b, x, near[i]))
            return true;
    return false;
}

// Every code that the largest number can have.
static bool float_codes_fit(const grid *g, grid_block *b, const extremes *x)
{
    float sign = x->largest < 0 ? -1 : 1;
    for (int code = g->element == ELEMENT_E4M3 ? 0x7e : 7; code > 0; code--) {
        float value = g->element == ELEMENT_E4M3 ? e4m3_to_f32((uint8_t)code)
                                                 : e2m1_to_f32((uint8_t)code);
        if (near_fits(g, b, x, sign * value))
            return true;
    }
    return false;
}

static bool whole_codes_fit(const grid *g, grid_block *b, const extremes *x)
{
    int most = g->zeros ? top_code(g) : g->zero;
    float sign = x->largest < 0 ? -1 : 1;
    for (int code = most; code > 0; code--)
        for (int side = 0; side < 2; side++) // a zero point makes up for the sign
            if ((side == 0 || !g->zeros) &&
                near_fits(g, b, x, (side ? -sign : sign) * (float)code))
                return true;
    return false;
}

// The largest and the smallest number are whole steps apart.
static bool steps_fit(const grid *g, grid_block *b, const extremes *x)
{
    double span = (double)x->most - (double)x->least;
    for (int steps = top_code(g); steps > 0; steps--) {
        float near[MOST_NEAR];
        int n = scales_near(g, (float)(span / steps), near);
        for (int i = 0; i < n; i++) // a bias may be shorter at the other end
            if (scale_fits(g, b, x, near[i]) || scale_fits(g, b, x, -near[i]))
                return true;
    }
    return false;
}

static bool this_fits(const grid *g, grid_block *b, const extremes *x, float scale)
{
    float near[MOST_NEAR];
    return scales_near(g, scale, near) > 0 && near[0] == scale && scale_fits(g, b, x, scale);
}

// Codes of E2M1 are halves.
static bool source_fits(const grid *g, grid_block *b, const extremes *x)
{
    return this_fits(g, b, x, b->source_scale) ||
           (g->element == ELEMENT_INT && this_fits(g, b, x, b->source_scale / 2));
}

bool grid_finds(const grid *g, grid_block *b)
{
    extremes x = {0};
    if (g->fixed != 0)
        return scale_fits(g, b, &x, g->fixed);
    // The source's scale usually does, and asks for no extremes where codes stand still.
    bool still = !g->zeros && !g->biases;
    if (still && source_fits(g, b, &x))
        return true;
    x = extremes_of(b);
    if (!still && source_fits(g, b, &x))
        return true;
    if (x.largest == 0) // any scale would do
        return scale_fits(g, b, &x, with_global(g, 1));
    if (g->biases && (x.least != x.most))
        return steps_fit(g, b, &x);
    return g->element == ELEMENT_INT ? whole_codes_fit(g, b, &x) : float_codes_fit(g, b, &x);
}
