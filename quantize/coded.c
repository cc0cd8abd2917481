// SPDX-License-Identifier: Apache-2.0
#include "quantize/coded.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "quantize/kernels.h"
#include "quantize/number.h"

enum { ROWS = 16, WORDS = 32 }; // a cache line of what lies across; words of a row at a time

// ---- room ------------------------------------------------------------------------------------

bool coded_init(coded_rows *r, const codec *c, int64_t rows, int64_t in, err *e)
{
    int64_t group = c->group ? c->group : in;
    *r = (coded_rows){.rows = rows, .in = in, .group = group, .groups = in > 0 ? in / group : 0};
    uint64_t groups = (uint64_t)(rows * r->groups);
    bool zeros = codec_part_of(c, PART_ZEROS) >= 0, biases = codec_part_of(c, PART_BIASES) >= 0;
    r->code = mem_new((uint64_t)(rows * in), 1, "codes", e);
    r->scale = r->code ? mem_new(groups, sizeof *r->scale, "scales", e) : NULL;
    bool ok = r->scale != NULL;
    if (ok && zeros)
        ok = (r->zero = mem_new(groups, 1, "zero points", e)) != NULL;
    if (ok && biases)
        ok = (r->bias = mem_new(groups, sizeof *r->bias, "biases", e)) != NULL;
    if (!ok)
        coded_free(r);
    return ok;
}

void coded_free(coded_rows *r)
{
    free(r->code);
    free(r->scale);
    free(r->zero);
    free(r->bias);
    *r = (coded_rows){0};
}

// Bytes below 16, eight to a word.
static uint32_t join_nibbles(uint64_t x)
{
    x = (x | x >> 4) & 0x00ff00ff00ff00ff;
    x = (x | x >> 8) & 0x0000ffff0000ffff;
    return (uint32_t)(x | x >> 16);
}

// Byte i of word k becomes byte k of word i.
static void transpose_bytes(uint64_t x[8])
{
    static const uint64_t low[] = {0x00ff00ff00ff00ff, 0x0000ffff0000ffff, 0x00000000ffffffff};
    for (int stage = 2; stage >= 0; stage--) {
        int d = 1 << stage;
        for (int i = 0; i < 8; i++) {
            if (i & d)
                continue;
            uint64_t other = (x[i] >> 8 * d ^ x[i + d]) & low[stage];
            x[i + d] ^= other;
            x[i] ^= other << 8 * d;
        }
    }
}

// ---- codes along the columns -----------------------------------------------------------------

// n codes, a multiple of 8, as a stream of bits.
static void pack_stream(uint8_t *to, const uint8_t *code, int bits, int64_t n)
{
    if (bits == 8) {
        memcpy(to, code, (size_t)n);
        return;
    }
    for (int64_t i = 0; i < n; i += 8)
        store_u32(to + i / 2, join_nibbles(load_u64(code + i)));
}

// The words of up to ROWS rows, turned into columns of them.
static void pack_across(const coded_rows *r, int bits, int64_t row, unsigned char *to,
                        int64_t pitch)
{
    uint8_t words[ROWS][4 * WORDS];
    int64_t n = i64_min(ROWS, r->rows - row), codes = WORDS * 32 / bits;
    for (int64_t col = 0; col < r->in; col += codes) {
        int64_t some = i64_min(codes, r->in - col), first = col * bits / 32;
        for (int64_t i = 0; i < n; i++)
            pack_stream(words[i], r->code + (row + i) * r->in + col, bits, some);
        for (int64_t w = 0; w < some * bits / 32; w++)
            for (int64_t i = 0; i < n; i++)
                memcpy(to + (first + w) * pitch + 4 * (row + i), &words[i][4 * w], 4);
    }
}

static void pack_columns(const codec *c, const codec_part *p, const coded_rows *r,
                         const part_room *room)
{
    unsigned char *to = room->bytes;
    int64_t bytes = r->in * c->bits / 8;
    assert(r->in * c->bits % 32 == 0);
    for (int64_t row = 0; row < r->rows; row += p->across ? ROWS : 1) {
        if (p->across)
            pack_across(r, c->bits, row, to, room->pitch);
        else
            pack_stream(to + row * bytes, r->code + row * r->in, c->bits, r->in);
    }
}

// ---- numbers along the rows ------------------------------------------------------------------

// The words of 8 rows (4 bits) or 4 (8 bits) and up to 8 columns of `from` [rows][n].
static void words_of(const codec *c, const uint8_t *from, int64_t rows, int64_t n, int64_t row,
                     int64_t col, uint32_t word[8])
{
    uint64_t x[8] = {0};
    int64_t some = i64_min(8, n - col), all = 32 / c->bits;
    for (int i = 0; i < all && row + i < rows; i++)
        memcpy(&x[c->eights ? eights_shift[i] / 4 : i], from + (row + i) * n + col, (size_t)some);
    transpose_bytes(x);
    // Zero points less 1 are made by subtracting from whole words, as GPTQModel does.
    uint32_t less = c->gptq_format == 1 ? UINT32_MAX / ((1u << c->bits) - 1) : 0;
    for (int k = 0; k < 8; k++)
        word[k] = (c->bits == 8 ? (uint32_t)x[k] : join_nibbles(x[k])) - less;
}

static void pack_rows(const codec *c, const codec_part *p, const uint8_t *from, int64_t rows,
                      int64_t n, const part_room *room)
{
    unsigned char *to = room->bytes;
    int64_t all = 32 / c->bits, words = i64_ceil_div(rows, all);
    int64_t next_row = p->across ? 4 : 4 * n, next_col = p->across ? room->pitch : 4;
    for (int64_t at = 0; at < words; at += ROWS) // rows of words, a cache line across
        for (int64_t col = 0; col < n; col += 8)
            for (int64_t i = at; i < i64_min(at + ROWS, words); i++) {
                uint32_t word[8];
                words_of(c, from, rows, n, i * all, col, word);
                for (int64_t k = 0; k < i64_min(8, n - col); k++)
                    store_u32(to + i * next_row + (col + k) * next_col, word[k]);
            }
}

// ---- scales and biases -----------------------------------------------------------------------

static void put_floats(const codec_part *p, const coded_rows *r, const float *from,
                       const part_room *room)
{
    unsigned char *to = room->bytes;
    int64_t width = dtype_block_bytes(room->type);
    bool known = true;
    if (!p->across)
        known = row_from_f32(to, room->type, from, r->rows * r->groups);
    for (int64_t row = 0; p->across && row < r->rows; row++)
        for (int64_t g = 0; g < r->groups; g++)
            known &= row_from_f32(to + g * room->pitch + row * width, room->type,
                                  from + row * r->groups + g, 1);
    assert(known);
    (void)known;
}

void coded_pack(const codec *c, const coded_rows *r, const part_room *room)
{
    assert(c->element == ELEMENT_INT && (c->bits == 4 || c->bits == 8));
    for (int i = 0; i < c->n_parts; i++) {
        const codec_part *p = &c->part[i];
        if (p->kind == PART_CODES && p->packing == PACKED_COLUMNS)
            pack_columns(c, p, r, &room[i]);
        else if (p->kind == PART_CODES)
            pack_rows(c, p, r->code, r->rows, r->in, &room[i]);
        else if (p->kind == PART_ZEROS)
            pack_rows(c, p, r->zero, r->rows, r->groups, &room[i]);
        else if (p->kind == PART_SCALES)
            put_floats(p, r, r->scale, &room[i]);
        else if (p->kind == PART_BIASES)
            put_floats(p, r, r->bias, &room[i]);
    }
}
