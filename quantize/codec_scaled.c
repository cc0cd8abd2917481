// SPDX-License-Identifier: Apache-2.0
// Decoding of every form that is codes with scales: E4M3, E2M1 and integers of 2 to 8 bits, with a
// scale (zero point, bias) a tensor, row, group of columns or block, whatever the parts are called
// and however they lie; a codec's row says it. Work goes span by span of a row: the span's scales
// as binary32, then one kernel a group. Codes across (GPTQ, AWQ) are put straight first, 16 rows of
// a span at a time: 32-bit words of a stream along the columns, transposed, are a row's stream.
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "quantize/codec_forms.h"
#include "quantize/kernels.h"
#include "quantize/number.h"

enum { SPAN = 1024, MOST_GROUPS = SPAN + 2, ROWS = 16, MOST_BITS = 8 };

// A part as it was found.
typedef struct {
    const unsigned char *bytes; // NULL: there is none
    dtype type;                 // of its values
    bool across;
    part_packing packing;
    int64_t row_block, col_block;
    int64_t skip, pitch, width; // bytes from row to row and of an element
} laid;

typedef struct {
    const codec *c;
    const kernels *use;
    int64_t in, groups, group;  // columns of a group
    laid codes, scales, zeros, biases, order; // order: NULL where columns / group says the same
    float global;
    bool divides;               // scales are divided by it
} stored;

typedef struct {
    int64_t row, col, n;        // of the rows asked for
    int64_t first, groups;      // that its columns belong to
    float scale[MOST_GROUPS], zero[MOST_GROUPS], bias[MOST_GROUPS];
    uint8_t code[SPAN + MOST_BITS];
} span;

static laid lay(const codec *c, part_kind kind, const part_view *part, int64_t in)
{
    int i = codec_part_of(c, kind);
    if (i < 0 || !part[i].bytes)
        return (laid){0};
    const codec_part *p = &c->part[i];
    laid l = {.bytes = part[i].bytes, .across = p->across, .packing = p->packing,
              .skip = part[i].skip, .row_block = part[i].row_block, .col_block = part[i].col_block};
    bool wraps = part[i].type == DT_U8 && (p->type == DT_F8_E8M0 || p->type == DT_F8_E4M3);
    l.type = wraps ? p->type : part[i].type;
    if (!l.row_block)
        l.row_block = p->row_block ? p->row_block : PART_WHOLE;
    if (!l.col_block)
        l.col_block = p->col_block ? p->col_block : PART_WHOLE;
    l.width = dtype_block_bytes(part[i].type);
    if (part[i].pitch)
        l.pitch = part[i].pitch;
    else if (p->packing == PACKED_COLUMNS && !p->across)
        l.pitch = (int64_t)codec_part_row_bytes(c, i, in, part[i].type);
    else if (!p->across)
        l.pitch = (l.col_block >= in ? 1 : i64_ceil_div(in, l.col_block)) * l.width;
    return l;
}

static int32_t order_at(const laid *order, int64_t col)
{
    return (int32_t)load_u32(order->bytes + 4 * col);
}

static bool refuse_order(const stored *x, int64_t col, err *e)
{
    return err_set(e, ERR_INPUT, "%s: column %lld belongs to group %ld, there are %lld", x->c->name,
                   (long long)col, (long)order_at(&x->order, col), (long long)x->groups);
}

// Every group has to exist. An order of -1 throughout is none: that is how it stands before it is
// set.
static bool check_order(stored *x, err *e)
{
    bool plain = true, unset = x->in > 0 && order_at(&x->order, 0) == -1;
    for (int64_t i = 0; i < x->in; i++) {
        int32_t at = order_at(&x->order, i);
        plain = plain && at == i / x->group;
        if (unset && at != -1)
            return refuse_order(x, 0, e);
        if (!unset && (at < 0 || at >= x->groups))
            return refuse_order(x, i, e);
    }
    if (plain || unset)
        x->order = (laid){0};
    return true;
}

static bool open_stored(stored *x, const codec *c, int64_t in, const part_view *part, err *e)
{
    if (!codec_accepts(c, part, e))
        return false;
    if (c->group && c->form != CODEC_FP8_BLOCK && in % c->group)
        return err_set(e, ERR_INPUT, "%s needs a multiple of %lld columns, the weight has %lld",
                       c->name, (long long)c->group, (long long)in);
    *x = (stored){.c = c, .use = kernels_used(), .in = in, .global = 1};
    x->codes = lay(c, PART_CODES, part, in);
    x->scales = lay(c, PART_SCALES, part, in);
    x->zeros = lay(c, PART_ZEROS, part, in);
    x->biases = lay(c, PART_BIASES, part, in);
    x->order = lay(c, PART_ORDER, part, in);
    laid one = lay(c, PART_GLOBAL, part, in);
    if (!one.bytes) {
        one = lay(c, PART_DIVISOR, part, in);
        x->divides = one.bytes != NULL;
    }
    if (one.bytes && !row_to_f32(&x->global, one.bytes, one.type, 1))
        return err_set(e, ERR_INTERNAL, "%s: a global scale of no number", c->name);
    x->group = in > 0 ? i64_min(x->scales.col_block, in) : 1;
    x->groups = i64_ceil_div(in, x->group);
    return !x->order.bytes || check_order(x, e);
}

// ---- scales, zero points, biases --------------------------------------------------------------

static void fill(const laid *l, int64_t row, int64_t first, int64_t n, float *to)
{
    bool known = true;
    int64_t at = (l->skip + row) / l->row_block;
    if (!l->across)
        known = row_to_f32(to, l->bytes + at * l->pitch + first * l->width, l->type, n);
    for (int64_t i = 0; l->across && i < n; i++)
        known = known && row_to_f32(to + i, l->bytes + (first + i) * l->pitch + at * l->width,
                                    l->type, 1);
    assert(known); // codec_accepts has looked at the type
    (void)known;
}

// The code of row `row` out of a stream along the rows.
static uint32_t zero_across(const stored *x, const unsigned char *p, int64_t row)
{
    int bits = x->c->bits;
    int64_t bit = x->zeros.skip + row * bits;
    uint32_t mask = (1u << bits) - 1;
    if (x->c->eights)
        return load_u32(p + bit / 32 * 4) >> eights_shift[bit / 4 % 8] & mask;
    if (32 % bits == 0) {
        // Zero points less 1 were made by subtracting from whole words.
        uint32_t word = load_u32(p + bit / 32 * 4);
        word += x->c->gptq_format == 1 ? UINT32_MAX / mask : 0;
        return word >> bit % 32 & mask;
    }
    uint32_t two = p[bit / 8];
    if (bit % 8 + bits > 8)
        two |= (uint32_t)p[bit / 8 + 1] << 8;
    return ((two >> bit % 8) + (x->c->gptq_format == 1)) & mask;
}

static void fill_zeros(const stored *x, int64_t row, int64_t first, int64_t n, float *to)
{
    const laid *z = &x->zeros;
    const unsigned char *p = z->bytes;
    int bits = x->c->bits;
    for (int64_t i = 0; i < n; i++) {
        int64_t g = first + i;
        if (!p) {
            to[i] = (float)x->c->zero;
        } else if (z->across) {
            to[i] = (float)zero_across(x, p + g * z->pitch, row);
        } else if (z->packing == PACKED_ROWS) { // CT's: 4 and 8 bits, which no word splits
            int64_t bit = z->skip + row * bits;
            to[i] = (float)(load_u32(p + bit / 32 * z->pitch + 4 * g) >> bit % 32 &
                            ((1u << bits) - 1));
        } else {
            int64_t at = (z->skip + row) / z->row_block;
            to[i] = (float)(x->c->zero + (int8_t)p[at * z->pitch + g]);
        }
    }
}

static void fill_groups(const stored *x, span *s, int64_t first, int64_t n)
{
    s->first = first;
    s->groups = n;
    fill(&x->scales, s->row, first, n, s->scale);
    if (x->divides)
        for (int64_t i = 0; i < n; i++)
            s->scale[i] /= x->global;
    else if (x->global != 1)
        for (int64_t i = 0; i < n; i++)
            s->scale[i] *= x->global;
    if (x->c->element == ELEMENT_INT)
        fill_zeros(x, s->row, first, n, s->zero);
    if (x->biases.bytes)
        fill(&x->biases, s->row, first, n, s->bias);
}

// The groups of the span's columns; where columns have an order, all of them if there is room.
static void load_groups(const stored *x, span *s)
{
    int64_t first = s->col / x->group, end = (s->col + s->n - 1) / x->group + 1;
    if (!x->order.bytes)
        fill_groups(x, s, first, end - first);
    else if (x->groups <= MOST_GROUPS)
        fill_groups(x, s, 0, x->groups);
}

// Index in the span's arrays of a column's group.
static int64_t group_of(const stored *x, span *s, int64_t col)
{
    if (!x->order.bytes)
        return col / x->group - s->first;
    int64_t at = order_at(&x->order, col);
    if (x->groups <= MOST_GROUPS)
        return at;
    fill_groups(x, s, at, 1);
    return 0;
}

// ---- codes ------------------------------------------------------------------------------------

static void unpack(uint8_t *to, const uint8_t *from, int bits, int64_t n)
{
    uint8_t mask = (uint8_t)((1u << bits) - 1);
    for (int64_t i = 0; i < n; i += 8, from += bits) { // 8 codes are `bits` bytes
        int64_t some = i64_min(8, n - i);
        uint64_t word = 0;
        memcpy(&word, from, (size_t)((some * bits + 7) / 8));
        for (int k = 0; k < 8; k++)
            to[i + k] = (uint8_t)(word >> k * bits) & mask;
    }
}

// Rows [row, row + n) of the columns of a span, n at most ROWS, as streams of their own, or as a
// byte a code (AWQ). Where in `to` the first one begins.
static const uint8_t *straighten(const stored *x, int64_t row, int64_t n, int64_t col, int64_t cols,
                                 uint8_t to[ROWS + 8][SPAN])
{
    const laid *l = &x->codes;
    int bits = x->c->bits;
    if (x->c->eights) { // whole words
        int64_t begin = l->skip / 4 + row, first = begin / 8;
        x->use->split_eights(to[0], SPAN, l->bytes + col * l->pitch + 4 * first, l->pitch,
                             i64_ceil_div(begin + n, 8) - first, cols);
        return to[begin % 8];
    }
    int64_t first = col * bits / 32, words = i64_ceil_div(cols * bits, 32);
    for (int64_t w = 0; w < words; w++) {
        const unsigned char *p = l->bytes + (first + w) * l->pitch + (l->skip + row) * 4;
        for (int64_t i = 0; i < n; i++)
            memcpy(&to[i][4 * w], p + 4 * i, 4);
    }
    return to[0];
}

// n codes of a group from the from-th of the span on.
static void decode_group(const stored *x, const span *s, int64_t g, const uint8_t *code, int bits,
                         int64_t from, int64_t n, float *to)
{
    float scale = s->scale[g];
    switch (x->c->element) {
    case ELEMENT_E4M3:
        x->use->from_e4m3(to, code + from, scale, n);
        break;
    case ELEMENT_E2M1:
        x->use->from_e2m1(to, code + from / 2, scale, n);
        break;
    case ELEMENT_INT:
    case ELEMENT_ITSELF:
        if (bits == 4)
            x->use->from_u4(to, code + from / 2, s->zero[g], scale, n);
        else if (bits < 8)
            x->use->from_bits(to, code + from / 8 * bits, code + i64_ceil_div(s->n * bits, 8), bits,
                              s->zero[g], scale, n);
        else
            x->use->from_u8(to, code + from, x->codes.type == DT_I8 ? 0x80 : 0, s->zero[g], scale,
                            n);
        break;
    }
    if (x->biases.bytes)
        x->use->add_bias(to, s->bias[g], n);
}

static void decode_span(const stored *x, span *s, const uint8_t *code, float *to)
{
    // AWQ's codes have been put straight a byte each.
    int bits = x->c->eights ? 8 : x->c->bits;
    bool cut = bits < 8 && (x->order.bytes || x->group * bits % 8 != 0 ||
                            (bits != 4 && x->group % 8 != 0)); // groups that begin inside a byte
    if (cut && x->c->element == ELEMENT_INT && x->groups > 1) {
        unpack(s->code, code, bits, s->n);
        code = s->code;
        bits = 8;
    }
    load_groups(x, s);
    for (int64_t i = 0; i < s->n;) {
        int64_t col = s->col + i, g = group_of(x, s, col);
        int64_t left = x->order.bytes ? 1 : x->group - col % x->group;
        int64_t n = i64_min(left, s->n - i);
        decode_group(x, s, g, code, bits, i, n, to + i);
        i += n;
    }
}

bool scaled_decode(const codec *c, int64_t in, int64_t n, const part_view *part, float *to, err *e)
{
    stored x;
    span s;
    uint8_t straight[ROWS + 8][SPAN];
    if (!open_stored(&x, c, in, part, e))
        return false;
    // Row by row, as memory likes it, but for codes that have to be put straight together.
    int64_t most = x.codes.across ? ROWS : 1;
    for (int64_t block = 0; block < n; block += most) {
        int64_t rows = i64_min(most, n - block);
        for (int64_t col = 0; col < in; col += SPAN) {
            s.col = col;
            s.n = i64_min(SPAN, in - col);
            const uint8_t *code =
                x.codes.across ? straighten(&x, block, rows, col, s.n, straight)
                               : x.codes.bytes + block * x.codes.pitch + col * c->bits / 8;
            for (int64_t i = 0; i < rows; i++) {
                s.row = block + i;
                decode_span(&x, &s, code + i * SPAN, to + s.row * in + col);
            }
        }
    }
    return true;
}

bool scaled_scales(const codec *c, int64_t in, int64_t n, const part_view *part, float *to, err *e)
{
    stored x;
    span s;
    if (!open_stored(&x, c, in, part, e))
        return false;
    for (s.row = 0; s.row < n; s.row++)
        for (s.col = 0; s.col < in; s.col += SPAN) {
            s.n = i64_min(SPAN, in - s.col);
            load_groups(&x, &s);
            for (int64_t i = 0, some; i < s.n; i += some) {
                int64_t col = s.col + i;
                float scale = s.scale[group_of(&x, &s, col)];
                some = x.order.bytes ? 1 : i64_min(x.group - col % x.group, s.n - i);
                for (int64_t k = 0; k < some; k++)
                    to[s.row * in + col + k] = scale;
            }
        }
    return true;
}
