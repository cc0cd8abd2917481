// SPDX-License-Identifier: Apache-2.0
// int4 and int8, a scale (and a zero point) a group of columns or a row: compressed-tensors'
// pack-quantized. The stored code is q + 2^(bits - 1); element k of a row is `bits` bits of a
// little-endian stream, so with 4 bits byte k holds element 2k (low) and 2k + 1 (high). Zero points
// are stored alike, but along the rows: 8 (4) rows a word. value = (q - zero) x scale, one binary32
// product; a scale without a zero point may be negative (readers only ever multiply by it). Which
// scales: search.h (int4 in small groups, symmetric, BEST), groups.h (all others).
#include "base/bytes.h"
#include "quantize/codec_forms.h"
#include "quantize/kernels.h"

enum { CHUNK = 256 }; // groups at a time

static bool divides(const codec *c, int64_t in, err *e)
{
    if (codec_divides(c, in))
        return true;
    return err_set(e, ERR_INPUT, "%s needs a multiple of %lld columns, the weight has %lld",
                   c->name, (long long)codec_multiple(c), (long long)in);
}

// The zero point of a row's group among those of the rows that share its word.
static void put_zero(uint8_t *words, const codec *c, int64_t groups, int64_t row, int64_t group,
                     int zero)
{
    int64_t rows = 32 / c->bits;
    uint8_t *p = words + 4 * (row / rows * groups + group);
    uint32_t word = row % rows ? load_u32(p) : 0;
    store_u32(p, word | (uint32_t)(zero + c->zero) << row % rows * c->bits);
}

// Eight codes -8..7 to four bytes of two, the low nibble first.
static void put_codes(uint8_t *to, const int8_t code[8])
{
    uint64_t x = (load_u64(code) & 0x0f0f0f0f0f0f0f0f) ^ 0x0808080808080808;
    x = (x | x >> 4) & 0x00ff00ff00ff00ff;
    x = (x | x >> 8) & 0x0000ffff0000ffff;
    store_u32(to, (uint32_t)(x | x >> 16));
}

static void search_groups(const int_groups *g)
{
    const kernels *use = kernels_used();
    int8_t code[SEARCH_MAX_GROUP];
    search_group s = {.n = g->from.n, .positive = g->positive, .code = code};
    for (int64_t i = 0; i < g->from.groups; i++) {
        s.w = g->from.w + i * s.n;
        s.importance = g->from.importance ? g->from.importance + i * s.n : NULL;
        use->search(&s);
        g->scale[i] = s.scale;
        for (int64_t k = 0; k < s.n; k += 8)
            put_codes(g->codes + (i * s.n + k) / 2, code + k);
    }
}

bool int_encode(const codec *c, int64_t in, int64_t n, const float *from, const encode_options *o,
                void *const *part, err *e)
{
    if (!divides(c, in, e))
        return false;
    int64_t size = c->group ? c->group : in, groups = in > 0 ? in / size : 0;
    int zeros = codec_part_of(c, PART_ZEROS);
    int8_t zero[CHUNK];
    bool swept = zeros < 0 && c->bits == 4 && size <= SEARCH_MAX_GROUP && o->search == SEARCH_BEST;
    int_groups g = {.from = {.n = size, .search = o->search, .source = o->source},
                    .bits = c->bits, .positive = o->positive_scales,
                    .zero = zeros < 0 ? NULL : zero};
    for (int64_t row = 0; row < n; row++) {
        if (!codec_within(c, from + row * in, 1, in, CODEC_LARGEST, o->row0 + row, e))
            return false;
        for (int64_t i = 0; i < groups; i += CHUNK) {
            int64_t at = row * in + i * size;
            g.from.groups = i64_min(CHUNK, groups - i);
            g.from.w = from + at;
            g.from.importance = o->importance ? o->importance + i * size : NULL;
            g.codes = (uint8_t *)part[0] + at * c->bits / 8;
            g.scale = (uint16_t *)part[1] + row * groups + i;
            if (swept)
                search_groups(&g);
            else
                kernels_used()->int_rows(&g);
            for (int64_t k = 0; zeros >= 0 && k < g.from.groups; k++)
                put_zero(part[zeros], c, groups, row, i + k, zero[k]);
        }
    }
    return true;
}
