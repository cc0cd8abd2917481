// SPDX-License-Identifier: Apache-2.0
#include "quantize/transcode.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"
#include "base/reduce.h"
#include "quantize/codec_forms.h"
#include "quantize/coded.h"
#include "quantize/grid.h"
#include "quantize/groups.h"
#include "quantize/kernels.h"
#include "quantize/number.h"

// ---- ggml's types of one scale a block -------------------------------------------------------

// Byte j of 16 holds element j's low four bits and element j + 16's; NVFP4 has four parts of 16 for
// which it is j and j + 8 of 8 bytes. Bits above the fourth: a word, element j's is bit j.
typedef struct {
    dtype type;
    codec_element element;
    int bits;
    bool biases;
    dtype scale;
    int64_t cols;            // that share a scale
    int scale_at, codes_at;  // in the block
} block_form;

static const block_form block_forms[] = {
    {DT_Q4_0, ELEMENT_INT, 4, false, DT_F16, 32, 0, 2},
    {DT_Q4_1, ELEMENT_INT, 4, true, DT_F16, 32, 0, 4},
    {DT_Q5_0, ELEMENT_INT, 5, false, DT_F16, 32, 0, 6},
    {DT_Q5_1, ELEMENT_INT, 5, true, DT_F16, 32, 0, 8},
    {DT_Q8_0, ELEMENT_INT, 8, false, DT_F16, 32, 0, 2},
    {DT_MXFP4, ELEMENT_E2M1, 4, false, DT_F8_E8M0, 32, 0, 1},
    {DT_NVFP4, ELEMENT_E2M1, 4, false, DT_F8_E4M3, 16, 0, 4},
};

static const block_form *block_form_of(const codec *c)
{
    for (size_t i = 0; c->form == CODEC_BLOCKS && i < COUNT_OF(block_forms); i++)
        if (block_forms[i].type == c->part[0].type)
            return &block_forms[i];
    return NULL;
}

// Of part k of a block, from its scale's bits: ggml reads a UE4M3 of 0x7f as 0.
static float block_scale(const block_form *f, const uint8_t *block, int64_t k)
{
    if (f->scale == DT_F8_E8M0)
        return block[0] == 0xff ? 0 : e8m0_to_f32(block[0]);
    return f->scale == DT_F8_E4M3 ? ue4m3_to_f32(block[k]) : f16_to_f32(load_u16(block));
}

dtype transcode_block_scale_type(const codec *c)
{
    const block_form *f = block_form_of(c);
    return f ? f->scale : DT_F32;
}

bool transcode_scales(const codec *c, int64_t in, int64_t n, const part_view *part, float *to,
                      bool *has, err *e)
{
    const block_form *f = block_form_of(c);
    const uint8_t *block = part[0].bytes;
    *has = f || c->scales;
    if (!f)
        return !c->scales || c->scales(c, in, n, part, to, e);
    for (int64_t i = 0; i < n * in; block += dtype_block_bytes(f->type))
        for (int64_t k = 0; k < c->group / f->cols; k++) {
            float scale = block_scale(f, block, k);
            for (int64_t j = 0; j < f->cols; j++)
                to[i++] = scale;
        }
    return true;
}

static void put_halves(uint8_t *to, const uint8_t *code, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        to[j] = (uint8_t)((code[j] & 15) | (code[j + n] & 15) << 4);
}

// Codes of block part k; the scale beside them.
static void put_block(const block_form *f, const grid *g, const grid_block *b, uint8_t *to,
                      int64_t k)
{
    uint8_t pairs[16], code[32];
    uint32_t scale = grid_scale_bits(g, b->scale);
    if (f->element == ELEMENT_E2M1) {
        grid_codes(g, b, b->from, f->cols, pairs);
        for (int64_t j = 0; j < f->cols; j++)
            code[j] = pairs[j / 2] >> j % 2 * 4 & 15;
        to[k] = (uint8_t)scale;
        put_halves(to + f->codes_at + k * f->cols / 2, code, f->cols / 2);
        return;
    }
    grid_codes(g, b, b->from, f->cols, code);
    store_u16(to, (uint16_t)scale);
    if (f->biases)
        store_u16(to + 2, (uint16_t)grid_bias_bits(g, b->bias));
    if (f->bits == 8) {
        for (int64_t j = 0; j < f->cols; j++)
            to[f->codes_at + j] = code[j] ^ 0x80;
        return;
    }
    put_halves(to + f->codes_at, code, f->cols / 2);
    uint32_t fifth = 0;
    for (int j = 0; j < 32; j++)
        fifth |= (uint32_t)(code[j] >> 4) << j;
    if (f->bits == 5)
        store_u32(to + f->codes_at - 4, fifth);
}

// ---- what a form can stand for ---------------------------------------------------------------

typedef struct {
    const codec *c;
    const transcode_rows *r;
    const block_form *ggml;  // NULL: the form has parts
    grid grid;
    coded_rows coded;        // of integers in parts; a scale that is no number: a lost block
    int64_t rows, cols;      // of a block
    int64_t blocks;          // along the columns
    int scales;              // the part
} mover;

// What shares a scale, or a row of it.
static void block_size(const codec *c, int64_t in, int64_t *rows, int64_t *cols)
{
    const block_form *f = block_form_of(c);
    int scales = codec_part_of(c, PART_SCALES);
    const codec_part *p = scales >= 0 ? &c->part[scales] : NULL;
    *rows = p && p->row_block ? p->row_block : 1;
    *cols = f ? f->cols : p && p->col_block ? p->col_block : c->group ? c->group : in;
}

int64_t transcode_blocks(const codec *c, int64_t out, int64_t in)
{
    int64_t rows, cols;
    block_size(c, in, &rows, &cols);
    return in > 0 ? i64_ceil_div(out, rows) * i64_ceil_div(in, cols) : 0;
}

dtype transcode_written_type(const codec *c, int i, dtype scales)
{
    return codec_written_type(c, i, SEARCH_COMPAT, scales);
}

static bool open_mover(mover *m, const codec *c, const transcode_rows *r)
{
    *m = (mover){.c = c, .r = r, .ggml = block_form_of(c), .scales = codec_part_of(c, PART_SCALES)};
    const block_form *f = m->ggml;
    block_size(c, r->in, &m->rows, &m->cols);
    m->blocks = r->in > 0 ? i64_ceil_div(r->in, m->cols) : 0;
    if (f) {
        int zero = f->element == ELEMENT_INT ? 1 << (f->bits - 1) : 0;
        m->grid = (grid){.element = f->element, .bits = f->bits, .zero = zero, .biases = f->biases,
                         .scale = f->scale, .global = 1};
        return true;
    }
    if (m->scales < 0 || c->element == ELEMENT_ITSELF)
        return false;
    m->grid = (grid){.element = c->element, .bits = c->bits, .scale = c->part[m->scales].type,
                     .pow2 = c->pow2, .global = 1};
    if (c->element == ELEMENT_INT) {
        m->grid.zero = 1 << (c->bits - 1);
        // The tools' symmetric forms have zero points that are always the same.
        m->grid.zeros = codec_part_of(c, PART_ZEROS) >= 0 && !(c->form == CODEC_TOOL && c->zero);
        m->grid.least_zero = c->gptq_format == 1;
        m->grid.biases = codec_part_of(c, PART_BIASES) >= 0;
        m->grid.scale = r->type[m->scales];
    }
    if (c->whole == WHOLE_FUSED) {
        m->grid.global = r->whole_scale;
        m->grid.divides = codec_part_of(c, PART_DIVISOR) >= 0;
    } else if (c->whole == WHOLE_WEIGHT) {
        m->grid.fixed = r->whole_scale;
    }
    return true;
}

// ---- a block ---------------------------------------------------------------------------------

static void put_codes(const mover *m, const grid_block *b, int64_t row, int64_t col)
{
    uint8_t *to = m->r->part[0];
    int bits = m->c->bits;
    for (int64_t i = 0; i < b->rows; i++)
        grid_codes(&m->grid, b, b->from + i * b->stride, b->cols,
                   to + ((row + i) * m->r->in + col) * bits / 8);
}

static void put_scale(const mover *m, const grid_block *b, int64_t at)
{
    dtype type = m->c->part[m->scales].type;
    int64_t width = dtype_block_bytes(type);
    uint32_t bits = grid_scale_bits(&m->grid, b->scale);
    memcpy((uint8_t *)m->r->part[m->scales] + at * width, &bits, (size_t)width);
}

static bool move_block(const mover *m, int64_t row, int64_t k)
{
    const transcode_rows *r = m->r;
    int64_t col = k * m->cols, at = row * r->in + col;
    grid_block b = {.from = r->values + at, .stride = r->in, .rows = i64_min(m->rows, r->n - row),
                    .cols = i64_min(m->cols, r->in - col),
                    .source_scale = r->scales ? r->scales[at] : 0};
    if (!grid_finds(&m->grid, &b))
        return false;
    if (m->ggml) {
        int64_t parts = m->c->group / m->cols;
        uint8_t *block = (uint8_t *)r->part[0] +
                         at / m->c->group * dtype_block_bytes(m->ggml->type);
        put_block(m->ggml, &m->grid, &b, block, k % parts);
        return true;
    }
    put_codes(m, &b, row, col);
    if (m->c->whole != WHOLE_WEIGHT)
        put_scale(m, &b, row / m->rows * m->blocks + k);
    return true;
}

static bool code_block(const mover *m, const float *values, const float *scales, int64_t row,
                       int64_t k)
{
    const coded_rows *to = &m->coded;
    int64_t at = row * to->in + k * m->cols, i = row * to->groups + k;
    grid_block b = {.from = values + at, .stride = to->in, .rows = 1, .cols = m->cols,
                    .source_scale = scales ? scales[at] : 0};
    if (!grid_finds(&m->grid, &b)) {
        to->scale[i] = (float)NAN;
        return false;
    }
    grid_codes(&m->grid, &b, b.from, b.cols, to->code + at);
    to->scale[i] = b.scale;
    if (to->zero)
        to->zero[i] = (uint8_t)b.zero;
    if (to->bias)
        to->bias[i] = b.bias;
    return true;
}

static int64_t code_blocks(const mover *m)
{
    int64_t lost = 0;
    for (int64_t row = 0; row < m->r->n; row++)
        for (int64_t k = 0; k < m->blocks; k++)
            lost += !code_block(m, m->r->values, m->r->scales, row, k);
    return lost;
}

static int64_t move_blocks(const mover *m)
{
    int64_t lost = 0;
    for (int64_t row = 0; row < m->r->n; row += m->rows)
        for (int64_t k = 0; k < m->blocks; k++)
            lost += !move_block(m, row, k);
    part_kind kind = m->c->whole == WHOLE_WEIGHT ? PART_SCALES
                                                  : m->grid.divides ? PART_DIVISOR : PART_GLOBAL;
    int one = codec_part_of(m->c, kind);
    if (m->c->whole && m->r->row0 == 0)
        store_f32(m->r->part[one], m->r->whole_scale);
    return lost;
}

// ---- rows ------------------------------------------------------------------------------------

static bool encode(const codec *c, const transcode_rows *r, err *e)
{
    encode_options o = ENCODE_DEFAULTS;
    for (int i = 0; i < codec_written(c); i++)
        if (c->part[i].kind == PART_SCALES && r->type[i] == DT_F16 && c->part[i].type != DT_F16) {
            // What writes that type.
            o.search = c->form == CODEC_INT ? SEARCH_COMPAT : SEARCH_BEST;
            o.source = DT_F16;
        }
    o.row0 = r->row0;
    o.whole_scale = r->whole_scale;
    o.height = r->height;
    return c->encode(c, r->in, r->n, r->values, &o, r->part, e);
}

static void view_parts(const codec *c, const transcode_rows *r, part_view view[CODEC_MAX_PARTS])
{
    memset(view, 0, CODEC_MAX_PARTS * sizeof *view);
    for (int i = 0; i < codec_written(c); i++) {
        view[i] = part_at(r->part[i], r->type[i]);
        view[i].pitch = codec_part_pitch(c, i, r->height);
    }
}

static bool decode(const codec *c, const transcode_rows *r, err *e)
{
    part_view view[CODEC_MAX_PARTS];
    view_parts(c, r, view);
    return c->decode(c, r->in, r->n, view, r->room, e);
}

static bool same_block(const transcode_rows *r, int64_t row, int64_t rows, int64_t col,
                       int64_t cols)
{
    for (int64_t i = row; i < i64_min(row + rows, r->n); i++)
        for (int64_t k = col; k < i64_min(col + cols, r->in); k++)
            if (!(r->values[i * r->in + k] == r->room[i * r->in + k]))
                return false;
    return true;
}

// Blocks that do not decode to their values.
static int64_t count_lost(const codec *c, const transcode_rows *r)
{
    int64_t rows, cols, lost = 0;
    block_size(c, r->in, &rows, &cols);
    for (int64_t row = 0; row < r->n; row += rows)
        for (int64_t col = 0; col < r->in; col += cols)
            lost += !same_block(r, row, rows, col, cols);
    return lost;
}

static bool broken(const codec *c, const transcode_rows *r, err *e)
{
    return err_set(e, ERR_INTERNAL, "rows from %lld on: %s did not keep what it was found to hold",
                   (long long)r->row0, c->name);
}

// The blocks that are lost, as encoding makes them: what that decodes to is on the grid.
static bool encode_lost(const mover *m, err *e)
{
    const transcode_rows *r = m->r;
    part_view view[CODEC_MAX_PARTS];
    view_parts(m->c, r, view);
    if (!encode(m->c, r, e) || !decode(m->c, r, e) ||
        !m->c->scales(m->c, r->in, r->n, view, r->own_scales, e))
        return false;
    for (int64_t i = 0; i < r->n * m->blocks; i++)
        if (m->coded.scale[i] != m->coded.scale[i] &&
            !code_block(m, r->room, r->own_scales, i / m->blocks, i % m->blocks))
            return broken(m->c, r, e);
    return true;
}

// Integers in parts, which may be packed along the rows: all blocks first, then the words.
static bool move_integers(mover *m, int64_t *lost, err *e)
{
    const transcode_rows *r = m->r;
    part_room room[CODEC_MAX_PARTS] = {0};
    if (!coded_init(&m->coded, m->c, r->n, r->in, e))
        return false;
    *lost = code_blocks(m);
    bool ok = !*lost || !r->lossy || encode_lost(m, e);
    for (int i = 0; i < codec_written(m->c); i++)
        room[i] = (part_room){r->part[i], r->type[i], codec_part_pitch(m->c, i, r->height)};
    if (ok && (!*lost || r->lossy))
        coded_pack(m->c, &m->coded, room);
    coded_free(&m->coded);
    return ok;
}

bool transcode(const codec *c, const transcode_rows *r, int64_t *lost, err *e)
{
    mover m;
    *lost = 0;
    if (!codec_divides(c, r->in))
        return err_set(e, ERR_INPUT, "%s needs a multiple of %lld columns, the weight has %lld",
                       c->name, (long long)codec_multiple(c), (long long)r->in);
    if (!codec_all_finite(c, r->values, r->n, r->in, r->row0, e))
        return false;
    if (!open_mover(&m, c, r)) {
        if (!encode(c, r, e) || !decode(c, r, e))
            return false;
        *lost = count_lost(c, r);
        return true;
    }
    if (c->element == ELEMENT_INT) {
        if (!move_integers(&m, lost, e))
            return false;
    } else {
        *lost = move_blocks(&m);
        if (*lost && r->lossy && !encode(c, r, e))
            return false;
        if (*lost && r->lossy) // once more, over what encoding made of the blocks that are held
            (void)move_blocks(&m);
    }
    if (*lost && !r->lossy)
        return true;
    return decode(c, r, e) && (count_lost(c, r) <= *lost || broken(c, r, e));
}

// ---- what has to be known of a weight as a whole ---------------------------------------------

enum { GROUP = 16 }; // NVFP4's

// The powers of two that bring the scale s >= 0 onto E4M3; false where there are none.
static bool e4m3_shifts(float s, int *from, int *to)
{
    uint32_t u = f32_bits(s), odd = u & 0x7fffff;
    int low = -149; // s = odd x 2^low
    if (u >= 0x800000) {
        odd |= 0x800000;
        low += (int)(u >> 23) - 1;
    }
    if (odd == 0)
        return false;
    low += __builtin_ctz(odd);
    odd >>= __builtin_ctz(odd);
    *from = -9 - low;
    *to = (odd == 15 ? 7 : 8) - (low + 31 - __builtin_clz(odd));
    return odd < 16;
}

// By which numbers the scale of codes of these magnitudes (bits of a mask) can be multiplied, so
// that they become codes again.
typedef struct {
    int n;
    float by[8];
} factors;

static factors factors_of(uint32_t mask)
{
    factors f = {0};
    int top = 31 - __builtin_clz(mask);
    for (int code = 7; code > 0; code--) {
        float by = e2m1_to_f32((uint8_t)top) / e2m1_to_f32((uint8_t)code);
        bool all = true;
        for (int k = 1; k <= top; k++) {
            float other = e2m1_to_f32((uint8_t)k) / by;
            all = all && (!(mask >> k & 1) || e2m1_to_f32(f32_to_e2m1(other)) == other);
        }
        if (all)
            f.by[f.n++] = by;
    }
    return f;
}

// The magnitudes, but for 0, of the codes of a group on E2M1's grid.
static uint32_t magnitudes_of(const grid *g, const grid_block *b)
{
    uint8_t codes[GROUP / 2];
    uint32_t mask = 0;
    grid_codes(g, b, b->from, GROUP, codes);
    for (int i = 0; i < GROUP / 2; i++)
        mask |= 1u << (codes[i] & 7) | 1u << (codes[i] >> 4 & 7);
    return mask & ~1u;
}

static void count_group(const float *values, float source_scale, factors known[256],
                        transcode_census *to)
{
    const grid g = {.element = ELEMENT_E2M1, .bits = 4, .scale = DT_F32, .global = 1};
    grid_block b = {.from = values, .stride = GROUP, .rows = 1, .cols = GROUP,
                    .source_scale = source_scale};
    int from = INT_MAX / 2, end = INT_MIN / 2;
    uint32_t mask = grid_finds(&g, &b) ? magnitudes_of(&g, &b) : 0;
    if (!mask) // off the grid, or nothing but zeros
        return;
    if (!known[mask].n)
        known[mask] = factors_of(mask);
    for (int i = 0; i < known[mask].n; i++) {
        int first, last;
        if (!e4m3_shifts(b.scale * known[mask].by[i], &first, &last))
            continue;
        // Scales of neighbouring codes are less than 2^4 apart, what E4M3 spans is more.
        from = first < from ? first : from;
        end = last > end ? last : end;
    }
    from = from < -TRANSCODE_BIAS ? 0 : from + TRANSCODE_BIAS;
    end += TRANSCODE_BIAS;
    end = end < TRANSCODE_STEPS ? end : TRANSCODE_STEPS - 1;
    if (from <= end) {
        to->held[from]++;
        to->held[end + 1]--;
    }
}

static bool multiplies(const codec *c) { return codec_part_of(c, PART_GLOBAL) >= 0; }

void transcode_offer(const codec *c, transcode_census *to, float global, bool divides)
{
    bool as_it_is = divides != multiplies(c);
    float near = as_it_is ? global : 1 / global;
    for (int step = 0; step < (as_it_is ? 1 : 3); step++) {
        float offer = f32_from_bits(f32_bits(near) + (step == 1) - (step == 2));
        bool usable = offer >= 0x1p-126f && offer <= 0x1p126f;
        if (usable && to->n_offers < TRANSCODE_OFFERS)
            to->offer[to->n_offers++] = offer;
    }
}

static void count_offers(const codec *c, float scale, transcode_census *to)
{
    for (int i = 0; i < to->n_offers; i++) {
        float by = to->offer[i];
        float byte = e4m3_to_f32(f32_to_e4m3(multiplies(c) ? scale / by : scale * by));
        to->taken[i] += (multiplies(c) ? byte * by : byte / by) == scale;
    }
}

void transcode_count(const codec *c, const transcode_rows *r, transcode_census *to)
{
    int64_t n = r->n * r->in;
    float largest = reduce_max_abs(r->values, n);
    float scale = r->scales ? reduce_max_abs(r->scales, n) : 0;
    to->largest = largest > to->largest ? largest : to->largest;
    to->scale = scale > to->scale ? scale : to->scale;
    factors known[256] = {0};
    for (int64_t i = 0; c->whole == WHOLE_FUSED && i < n; i += GROUP) {
        count_group(r->values + i, r->scales ? r->scales[i] : 0, known, to);
        if (to->n_offers && r->scales && reduce_max_abs(r->values + i, GROUP) != 0)
            count_offers(c, r->scales[i], to);
    }
}

void transcode_add(const transcode_census *from, transcode_census *to)
{
    for (int i = 0; i <= TRANSCODE_STEPS; i++)
        to->held[i] += from->held[i];
    for (int i = 0; i < from->n_offers; i++)
        to->taken[i] += from->taken[i];
    to->largest = from->largest > to->largest ? from->largest : to->largest;
    to->scale = from->scale > to->scale ? from->scale : to->scale;
}

float transcode_whole_scale(const codec *c, const transcode_census *x)
{
    int64_t held = 0, most = 0;
    int best = 0, offer = -1;
    if (c->whole == WHOLE_WEIGHT && x->scale != 0)
        return x->scale;
    for (int i = 0; c->whole == WHOLE_FUSED && i < TRANSCODE_STEPS; i++) {
        held += x->held[i];
        best = held > 0 && held >= most ? i : best;
        most = held > most ? held : most;
    }
    for (int i = 0; i < x->n_offers; i++)
        if (x->taken[i] > 0 && x->taken[i] >= (offer < 0 ? most : x->taken[offer] + 1))
            offer = i;
    if (offer >= 0)
        return x->offer[offer];
    if (most == 0)
        return codec_whole_scale(c, x->largest, DT_F32);
    float divisor = f32_from_bits((uint32_t)(best - TRANSCODE_BIAS + 127) << 23);
    return multiplies(c) ? 1 / divisor : divisor;
}
