// SPDX-License-Identifier: Apache-2.0
#include "quantize/blocks_grid.h"

#include <math.h>
#include <string.h>

#include "base/bytes.h"
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

static int64_t gcd(int64_t a, int64_t b)
{
    a = magnitude(a);
    b = magnitude(b);
    while (b) {
        int64_t c = a % b;
        a = b;
        b = c;
    }
    return a;
}

// False where values of so different sizes lie on no grid.
static bool to_integers(grid *g, const float *x)
{
    enum { MOST_BITS = 40 };
    int lowest = INT32_MAX, highest = INT32_MIN;
    for (int i = 0; i < SUPER; i++) {
        int e;
        float f = frexpf(x[i], &e); // f 2^24 is an integer
        if (f == 0)
            continue;
        int64_t whole = (int64_t)ldexpf(f, 24);
        int bottom = e - 24 + __builtin_ctzll((uint64_t)whole);
        lowest = bottom < lowest ? bottom : lowest;
        highest = e > highest ? e : highest;
    }
    g->exponent = highest == INT32_MIN ? 0 : lowest;
    if (highest != INT32_MIN && highest - lowest > MOST_BITS)
        return false;
    for (int i = 0; i < SUPER; i++)
        g->v[i] = (int64_t)ldexp((double)x[i], -g->exponent);
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
    if (unit == 0)
        return false; // zeros: the search keeps them
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
            found = c.s >= 0 && (less ? c.m * t % less == 0 && c.m * t / less <= f->most : c.m == 0);
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
    grid g = {.form = form_of(type)};
    uint8_t block[LARGEST_BLOCK] = {0};
    float back[SUPER];
    if (!g.form || !to_integers(&g, x) || !(g.form->affine ? find_affine : find_signed)(&g))
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
