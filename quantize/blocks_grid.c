// SPDX-License-Identifier: Apache-2.0
#include "quantize/blocks_grid.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/reduce.h"
#include "quantize/number.h"

enum { SUPER = 256, MOST_SUBS = 16, LARGEST_BLOCK = 210, MOST_TRIES = 32 };

// Value = d S q - dmin M, q in low .. high, S in least .. most, M in 0 .. most; without minima M
// is 0.
typedef struct {
    dtype type;
    int subs, low, high, least, most;
    bool affine;
} form;

static const form forms[] = {
    {DT_Q2_K, 16, 0, 3, 0, 15, true},      {DT_Q4_K, 8, 0, 15, 0, 63, true},
    {DT_Q5_K, 8, 0, 31, 0, 63, true},      {DT_Q3_K, 16, -4, 3, -32, 31, false},
    {DT_Q6_K, 16, -32, 31, -128, 127, false},
};

// Values as integers times 2^exponent, and the block that is tried.
typedef struct {
    const form *form;
    int exponent, tries;
    int64_t v[SUPER];
    int64_t least[MOST_SUBS], step[MOST_SUBS], range[MOST_SUBS]; // affine: of a sub-block
    uint16_t d, dmin;
    int s[MOST_SUBS], m[MOST_SUBS], q[SUPER];
} grid;

static const form *form_of(dtype type)
{
    for (size_t i = 0; i < COUNT_OF(forms); i++)
        if (forms[i].type == type)
            return &forms[i];
    return NULL;
}

bool block_has_grid(dtype type) { return form_of(type) != NULL; }

static int64_t magnitude(int64_t a) { return a < 0 ? -a : a; }

// Binary: there is nothing to divide.
static int64_t gcd(int64_t a, int64_t b)
{
    uint64_t x = (uint64_t)magnitude(a), y = (uint64_t)magnitude(b);
    if (x == 0 || y == 0)
        return (int64_t)(x | y);
    int twos = __builtin_ctzll(x | y);
    x >>= __builtin_ctzll(x);
    do {
        y >>= __builtin_ctzll(y);
        uint64_t more = x > y ? x : y, less = x > y ? y : x;
        x = less;
        y = more - less;
    } while (y);
    return (int64_t)(x << twos);
}

// Values below the largest by more than so many bits lie on no grid with it.
enum { MOST_BITS = 40 };

// x times `scale`, where that is an integer.
static bool to_integer(float x, double scale, int64_t *to)
{
    double whole = (double)x * scale;
    *to = (int64_t)whole;
    return (double)*to == whole;
}

// Whether the first sub-block alone could be on a grid: what ends the search for ordinary weights.
static bool is_likely(const form *f, const float *x, double scale)
{
    int n = SUPER / f->subs;
    float low = f->affine ? x[0] : 0, high = x[0];
    int64_t least, most, v, step = 0, codes = f->affine ? f->high : -f->low;
    for (int i = 0; i < n; i++) {
        low = f->affine && x[i] < low ? x[i] : low;
        high = fabsf(x[i] - low) > fabsf(high - low) ? x[i] : high;
    }
    if (!to_integer(low, scale, &least) || !to_integer(high, scale, &most))
        return false;
    step = magnitude(most - least);
    for (int i = 0; i < n; i++) {
        if (!to_integer(x[i], scale, &v))
            return false;
        int64_t before = step;
        step = gcd(step, v - least);
        if (step != before && magnitude(most - least) / step > codes)
            return false;
    }
    return true;
}

// False where values of so different sizes lie on no grid.
static bool to_integers(grid *g, const float *x, double scale, int exponent)
{
    int64_t all = 0;
    for (int i = 0; i < SUPER; i++) {
        if (!to_integer(x[i], scale, &g->v[i]))
            return false;
        all |= g->v[i];
    }
    int twos = __builtin_ctzll((uint64_t)all);
    g->exponent = exponent + twos;
    for (int i = 0; i < SUPER; i++)
        g->v[i] /= (int64_t)1 << twos;
    return true;
}

// numerator / denominator x 2^exponent as a binary16, where it is one.
static bool to_factor(const grid *g, int64_t numerator, int64_t denominator, uint16_t *to)
{
    int shift = __builtin_ctzll((uint64_t)denominator);
    int64_t odd = denominator >> shift;
    if (numerator % odd)
        return false;
    double value = ldexp((double)(numerator / odd), g->exponent - shift);
    if (fabs(value) > 65504)
        return false;
    *to = f32_to_f16((float)value);
    return (double)f16_to_f32(*to) == value;
}

// ---- d S q -----------------------------------------------------------------------------------

// The largest S that gives codes in range for u[n], multiples of `common`; false: none.
static bool signed_scale(const form *f, const int64_t *u, int n, int64_t common, int *s)
{
    int64_t up = 0, down = 0;
    for (int i = 0; i < n; i++) {
        up = u[i] > up ? u[i] : up;
        down = -u[i] > down ? -u[i] : down;
    }
    *s = 0;
    if (common == 0)
        return true;
    for (int64_t k = common < -f->least ? common : -f->least; k > 0; k--) {
        if (common % k)
            continue;
        bool plus = k <= f->most && up <= k * f->high && down <= -k * f->low;
        bool minus = down <= k * f->high && up <= -k * f->low;
        *s = (int)(plus ? k : -k);
        if (plus || minus)
            return true;
    }
    return false;
}

// With d = unit / t.
static bool try_signed(grid *g, int64_t unit, int64_t t)
{
    const form *f = g->form;
    int n = SUPER / f->subs;
    if (!to_factor(g, unit, magnitude(t), &g->d))
        return false;
    g->tries++;
    if (t < 0)
        g->d = (uint16_t)(g->d | 0x8000);
    for (int j = 0; j < f->subs; j++) {
        int64_t u[SUPER], common = 0;
        for (int i = 0; i < n; i++) {
            u[i] = g->v[j * n + i] / unit * t;
            common = gcd(common, u[i]);
        }
        if (!signed_scale(f, u, n, common, &g->s[j]))
            return false;
        for (int i = 0; i < n; i++)
            g->q[j * n + i] = g->s[j] ? (int)(u[i] / g->s[j]) : 0;
    }
    return true;
}

static bool find_signed(grid *g)
{
    const int64_t most = (int64_t)g->form->least * g->form->low;
    int64_t unit = 0, largest = 0;
    for (int i = 0; i < SUPER; i++)
        largest = magnitude(g->v[i]) > largest ? magnitude(g->v[i]) : largest;
    for (int i = 0; i < SUPER; i++) {
        unit = gcd(unit, g->v[i]);
        if (unit && largest / unit > most)
            return false;
    }
    for (int64_t t = 1; largest / unit * t <= most && g->tries < MOST_TRIES; t++)
        if (try_signed(g, unit, t) || try_signed(g, unit, -t))
            return true;
    return false;
}

// ---- d S q - dmin M --------------------------------------------------------------------------

// S, the code of the least value and the minimum that follows, in units of 2^exponent.
typedef struct {
    int s, q;
    int64_t m;
} choice;

// Option `at` of sub-block j under d = unit / t; false: there are no more. An option that cannot
// be has s = -1.
static bool option(const grid *g, int j, int64_t unit, int64_t t, int at, choice *c)
{
    const form *f = g->form;
    *c = (choice){.s = -1};
    if (g->step[j] == 0) { // one value: it is the minimum, or if positive any S and code
        if (g->least[j] <= 0 && at > 0)
            return false;
        int s = at / (f->high + 1), q = at % (f->high + 1);
        if (s > f->most)
            return false;
        // S steps of d, times 2^exponent: whole where t divides.
        if ((int64_t)s * q * unit % t == 0)
            *c = (choice){s, q, (int64_t)s * q * unit / t - g->least[j]};
    } else {
        int k = at / (f->high + 1) + 1, q = at % (f->high + 1);
        int64_t s = g->step[j] / unit * t, codes = g->range[j] / g->step[j] * k;
        if (codes > f->high || k > f->high)
            return false;
        if (s % k == 0 && s / k <= f->most && q + codes <= f->high && g->step[j] % k == 0)
            *c = (choice){(int)(s / k), q, g->step[j] / k * q - g->least[j]};
    }
    if (c->m < 0)
        c->s = -1;
    return true;
}

static int count_options(const grid *g, int j, int64_t unit, int64_t t, choice *first)
{
    choice c;
    int n = 0;
    for (int at = 0; option(g, j, unit, t, at, &c); at++)
        if (c.s >= 0 && n++ == 0)
            *first = c;
    return n;
}

// With dmin = less / t.
static bool try_minima(grid *g, int64_t unit, int64_t scale_t, int64_t less, int64_t t)
{
    const form *f = g->form;
    if (!to_factor(g, less, t, &g->dmin))
        return false;
    for (int j = 0; j < f->subs; j++) {
        choice c;
        bool found = false;
        for (int at = 0; !found && option(g, j, unit, scale_t, at, &c); at++)
            found = c.s >= 0 &&
                    (less ? c.m * t % less == 0 && c.m * t / less <= f->most : c.m == 0);
        if (!found)
            return false;
        g->s[j] = c.s;
        g->m[j] = less ? (int)(c.m * t / less) : 0;
        int n = SUPER / f->subs;
        int64_t step = g->step[j] ? g->range[j] : 0, codes = 0;
        if (step) // codes per range under this S
            codes = g->range[j] / g->step[j] * (g->step[j] / unit * scale_t / c.s);
        for (int i = 0; i < n; i++)
            g->q[j * n + i] =
                c.q + (step ? (int)((g->v[j * n + i] - g->least[j]) * codes / g->range[j]) : 0);
    }
    return true;
}

static bool with_scale(grid *g, int64_t unit, int64_t t)
{
    const form *f = g->form;
    int64_t less = 0, largest = 0;
    if (!to_factor(g, unit, t, &g->d))
        return false;
    g->tries++;
    // Minima that leave no choice have dmin as a divisor.
    for (int j = 0; j < f->subs; j++) {
        choice c;
        int n = count_options(g, j, unit, t, &c);
        if (n == 0)
            return false;
        if (n == 1) {
            less = gcd(less, c.m);
            largest = c.m > largest ? c.m : largest;
        }
    }
    if (less == 0)
        return try_minima(g, unit, t, 0, 1);
    for (int64_t k = 1; largest / less * k <= f->most; k++)
        if (try_minima(g, unit, t, less, k))
            return true;
    return false;
}

static bool find_affine(grid *g)
{
    const form *f = g->form;
    int n = SUPER / f->subs;
    int64_t unit = 0, largest = 0;
    for (int j = 0; j < f->subs; j++) {
        const int64_t *v = g->v + j * n;
        int64_t low = v[0], high = v[0], step = 0;
        for (int i = 1; i < n; i++) {
            low = v[i] < low ? v[i] : low;
            high = v[i] > high ? v[i] : high;
        }
        for (int i = 0; i < n; i++) {
            step = gcd(step, v[i] - low);
            if (step && (high - low) / step > f->high)
                return false;
        }
        g->least[j] = low;
        g->step[j] = step;
        g->range[j] = high - low;
        unit = gcd(unit, step);
        largest = step > largest ? step : largest;
    }
    if (unit == 0)
        return false; // sub-blocks of one value each: the search has them
    const int64_t most = (int64_t)f->most * f->high;
    for (int64_t t = 1; largest / unit * t <= most && g->tries < MOST_TRIES; t++)
        if (with_scale(g, unit, t))
            return true;
    return false;
}

// ---- as bytes (layouts: blocks_k_decode.h) ---------------------------------------------------

static void put_six(uint8_t *to, const grid *g)
{
    for (int j = 0; j < 4; j++) {
        to[j] = (uint8_t)(g->s[j] | g->s[j + 4] >> 4 << 6);
        to[j + 4] = (uint8_t)(g->m[j] | g->m[j + 4] >> 4 << 6);
        to[j + 8] = (uint8_t)((g->s[j + 4] & 15) | (g->m[j + 4] & 15) << 4);
    }
}

static void put_q2(const grid *g, uint8_t *to)
{
    for (int j = 0; j < 16; j++)
        to[j] = (uint8_t)(g->s[j] | g->m[j] << 4);
    for (int i = 0; i < SUPER; i++)
        to[16 + i / 128 * 32 + i % 32] |= (uint8_t)(g->q[i] << i % 128 / 32 * 2);
    store_u16(to + 80, g->d);
    store_u16(to + 82, g->dmin);
}

static void put_q3(const grid *g, uint8_t *to)
{
    for (int i = 0; i < SUPER; i++) {
        int q = g->q[i] + 4;
        to[i % 32] |= (uint8_t)(q >> 2 << i / 32);
        to[32 + i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << i % 128 / 32 * 2);
    }
    for (int j = 0; j < 16; j++) {
        int s = g->s[j] + 32;
        to[96 + j % 8] |= (uint8_t)((s & 15) << j / 8 * 4);
        to[104 + j % 4] |= (uint8_t)(s >> 4 << j / 4 * 2);
    }
    store_u16(to + 108, g->d);
}

static void put_q45(const grid *g, uint8_t *to)
{
    bool five = g->form->type == DT_Q5_K;
    store_u16(to, g->d);
    store_u16(to + 2, g->dmin);
    put_six(to + 4, g);
    for (int i = 0; i < SUPER; i++) {
        to[(five ? 48 : 16) + i / 64 * 32 + i % 32] |=
            (uint8_t)((g->q[i] & 15) << i % 64 / 32 * 4);
        if (five)
            to[16 + i % 32] |= (uint8_t)(g->q[i] >> 4 << i / 32);
    }
}

static void put_q6(const grid *g, uint8_t *to)
{
    for (int i = 0; i < SUPER; i++) {
        int q = g->q[i] + 32;
        to[i / 128 * 64 + i % 64] |= (uint8_t)((q & 15) << i % 128 / 64 * 4);
        to[128 + i / 128 * 32 + i % 32] |= (uint8_t)(q >> 4 << i % 128 / 32 * 2);
    }
    for (int j = 0; j < 16; j++)
        to[192 + j] = (uint8_t)g->s[j];
    store_u16(to + 208, g->d);
}

bool block_on_grid(dtype type, const float *x, uint8_t *to)
{
    const form *f = form_of(type);
    float largest = f ? reduce_max_abs(x, SUPER) : 0;
    int exponent;
    if (largest == 0)
        return false; // zeros: the search keeps them
    (void)frexpf(largest, &exponent);
    exponent -= MOST_BITS;
    double scale = ldexp(1, -exponent);
    if (!is_likely(f, x, scale))
        return false;
    grid g = {.form = f};
    uint8_t block[LARGEST_BLOCK] = {0};
    float back[SUPER];
    if (!to_integers(&g, x, scale, exponent) || !(f->affine ? find_affine : find_signed)(&g))
        return false;
    (type == DT_Q2_K ? put_q2 : type == DT_Q3_K ? put_q3 : type == DT_Q6_K ? put_q6 : put_q45)(
        &g, block);
    block_ops_used(type)->decode(back, block, 1);
    for (int i = 0; i < SUPER; i++)
        if (back[i] != x[i]) // binary32 had to round a difference
            return false;
    memcpy(to, block, (size_t)dtype_block_bytes(type));
    return true;
}
