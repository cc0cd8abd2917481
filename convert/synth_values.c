// SPDX-License-Identifier: Apache-2.0
#include "convert/synth_values.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/rng.h"
#include "quantize/number.h"

enum { BLOCK = 128 };                      // rows and columns that share an FP8 scale
static const double codes_deviation = 112; // 448 / 4

// Sums the density outwards from 0 and writes down where it passes each quantile's probability.
void synth_tables_fill(synth_tables *t)
{
    const double step = 0x1p-12, density_at_0 = 0.3989422804014326779; // 1 / sqrt(2 pi)
    double z = 0, below = 0.5;
    for (int64_t i = 0; i < SYNTH_QUANTILES / 2; i++) {
        double want = 0.5 + ((double)i + 0.5) / SYNTH_QUANTILES, more;
        for (;; z += step, below += more) {
            double middle = z + step / 2;
            more = step * density_at_0 * num_exp(-0.5 * middle * middle);
            if (below + more >= want)
                break;
        }
        double quantile = z + step * (want - below) / more;
        int64_t up = SYNTH_QUANTILES / 2 + i, down = SYNTH_QUANTILES / 2 - 1 - i;
        t->normal[up] = (float)quantile;
        t->normal[down] = -t->normal[up];
        t->code[up] = f32_to_e4m3((float)(quantile * codes_deviation));
        t->code[down] = t->code[up] | 0x80;
    }
}

uint64_t synth_key(uint64_t seed, const char *name)
{
    xxh128_digest d;
    xxh128_of(name, strlen(name), &d);
    return rng_at(seed, 0) ^ load_u64(d.b);
}

static void fill_normal(const synth_tables *tables, const synth_recipe *r, dtype type,
                        uint64_t key, int64_t first, int64_t n, void *to)
{
    const float mean = (float)r->mean, deviation = (float)r->deviation;
    uint64_t random = 0;
    for (int64_t i = 0; i < n; i++, random >>= 16) {
        if (i % 4 == 0)
            random = rng_at(key, (uint64_t)(first + i) / 4);
        float value = mean + deviation * tables->normal[random & 0xffff];
        if (type == DT_BF16)
            store_u16((char *)to + 2 * i, f32_to_bf16(value));
        else
            store_f32((char *)to + 4 * i, value);
    }
}

// Where the block at (row, column) of blocks has the element that its scale came from, and which
// sign that has.
static int64_t largest_of(const tensor *t, uint64_t key, int64_t row, int64_t column, uint8_t *code)
{
    int64_t in = t->shape[1], columns = i64_ceil_div(in, BLOCK);
    uint64_t random = rng_at(~key, (uint64_t)(row * columns + column));
    uint64_t rows = (uint64_t)i64_min(BLOCK, t->shape[0] - row * BLOCK);
    uint64_t cols = (uint64_t)i64_min(BLOCK, in - column * BLOCK);
    *code = random >> 63 ? 0xfe : 0x7e;
    return (row * BLOCK + (int64_t)((random & 0xffff) % rows)) * in + column * BLOCK +
           (int64_t)((random >> 16 & 0xffff) % cols);
}

static void fill_codes(const synth_tables *tables, const tensor *t, uint64_t key, int64_t first,
                       int64_t n, uint8_t *to)
{
    uint64_t random = 0;
    for (int64_t i = 0; i < n; i++, random >>= 16) {
        if (i % 4 == 0)
            random = rng_at(key, (uint64_t)(first + i) / 4);
        to[i] = tables->code[random & 0xffff];
    }
    int64_t in = t->shape[1], columns = i64_ceil_div(in, BLOCK);
    for (int64_t row = first / in / BLOCK; row <= (first + n - 1) / in / BLOCK; row++)
        for (int64_t column = 0; column < columns; column++) {
            uint8_t code;
            int64_t at = largest_of(t, key, row, column, &code) - first;
            if (at >= 0 && at < n)
                to[at] = code;
        }
}

void synth_fill(const synth_tables *tables, const synth_recipe *r, const tensor *t, uint64_t key,
                int64_t first, int64_t n, void *to)
{
    assert(first % 4 == 0);
    if (n == 0)
        return;
    switch (r->kind) {
    case SYNTH_NORMAL: fill_normal(tables, r, t->type, key, first, n, to); return;
    case SYNTH_CODES: fill_codes(tables, t, key, first, n, to); return;
    case SYNTH_SCALES:
        for (int64_t i = 0; i < n; i++) {
            double unit = (double)(rng_at(key, (uint64_t)(first + i)) >> 11) * 0x1p-53;
            store_f32((char *)to + 4 * i,
                      (float)(r->deviation / codes_deviation * (0.75 + 0.5 * unit)));
        }
    }
}
