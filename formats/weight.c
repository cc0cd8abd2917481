// SPDX-License-Identifier: Apache-2.0
#include "formats/weight.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "quantize/number.h"
#include "quantize/transcode.h"

// ---- how parts lie ---------------------------------------------------------------------------

static const weight_view no_view = {0};

static const weight_view *view_of(const weight *w) { return w->view ? w->view : &no_view; }

static int64_t step_of(const weight *w) { return view_of(w)->step ? view_of(w)->step : 1; }

int64_t weight_stored_rows(const weight *w)
{
    return view_of(w)->rows ? view_of(w)->rows : w->out;
}

// The block of which `extent` has n, ragged at the end; 0: none. Integers know any size that
// divides, floats those that anybody uses.
static int64_t found_block(const codec *c, int64_t extent, int64_t n)
{
    static const int64_t used[] = {1, 16, 32, 64, 128};
    if (n == 1)
        return PART_WHOLE;
    if (c->element == ELEMENT_INT)
        return n > 0 && extent % n == 0 ? extent / n : 0;
    for (size_t i = 0; i < COUNT_OF(used); i++)
        if (i64_ceil_div(extent, used[i]) == n)
            return used[i];
    return 0;
}

// Whether n elements are `extent` rows or columns of the weight; *block as found.
static bool covers(const weight *w, const codec_part *p, dtype type, bool rows, int64_t extent,
                   int64_t n, int64_t *block)
{
    *block = 1;
    if (p->packing == (rows ? PACKED_ROWS : PACKED_COLUMNS))
        return n == codec_packed(w->codec, type, extent);
    if (p->found) {
        *block = found_block(w->codec, extent, n);
        return *block != 0;
    }
    *block = rows ? p->row_block : p->col_block;
    if (*block) // FP8's blocks alone are ragged
        return n == i64_ceil_div(extent, *block) && (rows || codec_divides(w->codec, extent));
    *block = PART_WHOLE;
    return n == (rows ? 1 : p->fixed_cols);
}

bool weight_place(const weight *w, const codec_part *p, const tensor *t, part_place *to)
{
    const weight_view *v = view_of(w);
    int64_t dim[TENSOR_MAX_RANK + 2] = {0};
    int n = t->rank;
    memcpy(dim, t->shape, (size_t)n * sizeof *dim);
    if (w->rank == 0) {
        dim[0] = w->out;
        dim[1] = w->in;
        n = 2;
    }
    *to = (part_place){.row_block = PART_WHOLE, .col_block = PART_WHOLE, .rows = 1,
                       .across = p->across || v->transposed};
    if (v->slices) {
        if (n == 0 || dim[0] != v->slices)
            return false;
        memmove(dim, dim + 1, (size_t)--n * sizeof *dim);
        to->base = (uint64_t)v->slice * (t->bytes / (uint64_t)v->slices);
    }
    if (p->split && n == 3) {
        if (dim[2] != p->split)
            return false;
        dim[--n - 1] *= p->split;
    }
    bool one = n == 0 || (n <= 2 && dim[0] == 1 && (n == 1 || dim[1] == 1));
    if (p->rank < 2) {
        to->cols = p->col_block ? w->in : p->fixed_cols;
        return to->cols == 1 ? one : n == 1 && dim[0] == to->cols;
    }
    if (n < 2 && p->kind == PART_SCALES && (one || !to->across)) { // a scale a row, or one
        dim[1] = 1;
        dim[0] = n == 0 ? 1 : dim[0];
    } else if (n == 1 && w->rank == 1) {
        to->cols = dim[0];
        to->row_block = to->col_block = 1;
        to->across = v->rows != 0; // one by one
        return dim[0] == (v->rows ? v->rows : w->in);
    } else if (n != 2) {
        return false;
    }
    to->rows = to->across ? dim[1] : dim[0];
    to->cols = to->across ? dim[0] : dim[1];
    return covers(w, p, t->type, true, weight_stored_rows(w), to->rows, &to->row_block) &&
           covers(w, p, t->type, false, w->in, to->cols, &to->col_block);
}

static const codec_part *part_of(const weight *w, int i) { return &w->codec->part[w->of[i]]; }

int64_t weight_quantum(const weight *w)
{
    int64_t quantum = 1;
    for (int i = 0; i < w->n_parts; i++) {
        const codec_part *p = part_of(w, i);
        part_place place;
        (void)weight_place(w, p, w->part[i], &place);
        if (p->rank < 2 || (place.row_block == PART_WHOLE && p->packing != PACKED_ROWS))
            continue;
        if (place.across && w->codec->form == CODEC_FLOAT)
            continue;
        if (place.across)
            return w->out > 0 ? w->out : 1;
        int64_t rows = place.row_block;
        if (p->packing == PACKED_ROWS)
            rows = codec_part_width(w->part[i]->type); // codes of so many words are whole
        int64_t both = i64_lcm(quantum, rows);
        if (both >= w->out)
            return i64_max(w->out, 1);
        quantum = both;
    }
    return quantum;
}

// Where the rows [row, row + n) of the weight lie in part i.
static void range_of(const weight *w, int i, int64_t row, int64_t n, stored_part *r)
{
    const codec_part *p = part_of(w, i);
    const tensor *t = w->part[i];
    int64_t width = dtype_block_bytes(t->type), step = step_of(w);
    int64_t begin = w->rank == 1 ? 0 : view_of(w)->first + row * step;
    int64_t last = begin + (n - 1) * step, end;
    part_place place;
    (void)weight_place(w, p, t, &place);
    *r = (stored_part){.runs = 1, .wanted = p->kind != PART_SHAPE && p->kind != PART_ACTIVATION,
                       .whole = place.row_block == PART_WHOLE};
    if (p->packing == PACKED_ROWS) {
        int64_t bits = w->codec->bits, element = codec_part_width(t->type);
        r->first = begin * bits / element;
        end = i64_ceil_div((last + 1) * bits, element);
        r->skip = begin * bits - r->first * element;
    } else {
        r->first = begin / place.row_block;
        end = last / place.row_block + 1;
        r->skip = begin - r->first * place.row_block;
    }
    if (dtype_is_block(t->type)) { // ggml's rows of blocks
        r->pitch = (int64_t)codec_part_row_bytes(w->codec, w->of[i], w->in, t->type);
    } else {
        r->pitch = (place.across ? end - r->first : place.cols) * width;
    }
    if (w->rank == 1) {
        bool some = place.across;
        r->pitch = some ? step * width : r->pitch;
        r->offset = some ? (uint64_t)(view_of(w)->first * width) : 0;
        r->run_bytes = (uint64_t)(some ? ((w->in - 1) * step + 1) * width : r->pitch);
    } else if (place.across) {
        r->runs = place.cols;
        r->stride = (uint64_t)(place.rows * width);
        r->offset = (uint64_t)(r->first * width);
        r->run_bytes = (uint64_t)r->pitch;
    } else if (step > 1 && !r->whole) {
        r->runs = n;
        r->stride = (uint64_t)(step * r->pitch);
        r->offset = (uint64_t)(begin * r->pitch);
        r->run_bytes = (uint64_t)r->pitch;
    } else {
        r->offset = (uint64_t)(r->first * r->pitch);
        r->run_bytes = (uint64_t)((end - r->first) * r->pitch);
    }
    r->offset += place.base;
    r->bytes = r->run_bytes * (uint64_t)r->runs;
    if (r->runs > 1 && r->stride == r->run_bytes) {
        r->run_bytes = r->bytes;
        r->runs = 1;
    }
}

bool weight_in_runs(const weight *w)
{
    bool runs = !w->view || step_of(w) == 1;
    for (int i = 0; runs && w->view && i < w->n_parts; i++) {
        part_place place;
        (void)weight_place(w, part_of(w, i), w->part[i], &place);
        runs = w->rank == 1 || !place.across;
    }
    return runs;
}

void weight_slice_range(const weight *w, int i, uint64_t *offset, uint64_t *bytes)
{
    int64_t slices = view_of(w)->slices ? view_of(w)->slices : 1;
    *bytes = w->part[i]->bytes / (uint64_t)slices;
    *offset = (uint64_t)view_of(w)->slice * *bytes;
}

void weight_part_range(const weight *w, int i, int64_t row, int64_t n, uint64_t *offset,
                       uint64_t *bytes)
{
    stored_part r;
    assert(weight_in_runs(w) && row >= 0 && n > 0 && row <= w->out - n);
    range_of(w, i, row, n, &r);
    assert(r.runs == 1);
    *offset = r.offset;
    *bytes = r.whole && row > 0 ? 0 : r.bytes;
}

// ---- rows ------------------------------------------------------------------------------------

bool weight_lay_out(stored_rows *s, const weight *w, int64_t row, int64_t n, err *e)
{
    assert(row >= 0 && n > 0 && row <= w->out - n);
    *s = (stored_rows){.w = w, .row = row, .n = n};
    for (int i = 0; i < w->n_parts; i++)
        range_of(w, i, row, n, &s->part[i]);
    for (int whole = 1; whole >= 0; whole--)
        for (int i = 0; i < w->n_parts; i++) {
            if (s->part[i].whole != (bool)whole)
                continue;
            s->part[i].at = s->bytes;
            if (!size_add(s->bytes, s->part[i].bytes, &s->bytes) ||
                !size_round_up(s->bytes, 64, &s->bytes))
                return err_set(e, ERR_ENV, "no memory for %lld rows of '%s'", (long long)n,
                               w->module);
        }
    return true;
}

// A disk reads whole pages anyway, and the page cache moves bytes faster than calls are made.
uint64_t weight_part_span(const stored_part *p)
{
    enum { SMALL = 4096, MOST_WASTE = 4 };
    bool close = p->runs > 1 && p->run_bytes < SMALL && p->stride <= MOST_WASTE * p->run_bytes;
    return close ? (uint64_t)(p->runs - 1) * p->stride + p->run_bytes : 0;
}

void weight_part_gather(const stored_part *p, uint64_t at, const void *bytes, uint64_t n,
                        void *part)
{
    unsigned char *to = part;
    for (uint64_t run = at / p->stride; run * p->stride < at + n; run++) {
        uint64_t begin = run * p->stride, end = begin + p->run_bytes;
        uint64_t from = begin > at ? begin : at, until = end < at + n ? end : at + n;
        if (from < until)
            memcpy(to + run * p->run_bytes + (from - begin),
                   (const unsigned char *)bytes + (from - at), until - from);
    }
}

static bool fetch_span(const weight *w, int i, const stored_part *p, unsigned char *to, err *e)
{
    enum { PIECE = 256 << 10 };
    uint64_t span = weight_part_span(p), n;
    unsigned char *piece = mem_new(span < PIECE ? span : PIECE, 1, "stored rows", e);
    bool ok = piece != NULL;
    for (uint64_t at = 0; ok && at < span; at += n) {
        n = span - at < PIECE ? span - at : PIECE;
        ok = checkpoint_read(w->from, w->part[i], p->offset + at, piece, n, e);
        if (ok)
            weight_part_gather(p, at, piece, n, to);
    }
    free(piece);
    return ok;
}

static bool fetch_runs(const weight *w, int i, const stored_part *p, unsigned char *to, err *e)
{
    for (int64_t k = 0; k < p->runs; k++)
        if (!checkpoint_read(w->from, w->part[i], p->offset + (uint64_t)k * p->stride,
                             to + (uint64_t)k * p->run_bytes, p->run_bytes, e))
            return false;
    return true;
}

bool weight_fetch(const stored_rows *s, void *stored, err *e)
{
    for (int i = 0; i < s->w->n_parts; i++) {
        const stored_part *p = &s->part[i];
        unsigned char *to = (unsigned char *)stored + p->at;
        if (p->wanted && !(weight_part_span(p) ? fetch_span : fetch_runs)(s->w, i, p, to, e))
            return false;
    }
    return true;
}

void weight_gather(const stored_rows *s, const void *const slice[], void *stored)
{
    for (int i = 0; i < s->w->n_parts; i++) {
        const stored_part *p = &s->part[i];
        uint64_t base, bytes;
        weight_slice_range(s->w, i, &base, &bytes);
        const unsigned char *from = (const unsigned char *)slice[i] + (p->offset - base);
        unsigned char *to = (unsigned char *)stored + p->at;
        for (uint64_t k = 0; k < (uint64_t)p->runs; k++)
            memcpy(to + k * p->run_bytes, from + k * p->stride, p->run_bytes);
    }
}

// What the codec is given for rows [row, row + n).
static void views_of(const stored_rows *s, const void *stored, int64_t row, int64_t n,
                     part_view view[CODEC_MAX_PARTS])
{
    const weight *w = s->w;
    memset(view, 0, CODEC_MAX_PARTS * sizeof *view);
    for (int i = 0; i < w->n_parts; i++) {
        const stored_part *all = &s->part[i];
        stored_part some;
        part_place place;
        range_of(w, i, row, n, &some);
        (void)weight_place(w, part_of(w, i), w->part[i], &place);
        int64_t width = dtype_block_bytes(w->part[i]->type);
        int64_t ahead = place.across ? (some.first - all->first) * width
                        : step_of(w) > 1 && !all->whole ? (row - s->row) * all->pitch
                                                        : (some.first - all->first) * all->pitch;
        view[w->of[i]] = (part_view){.bytes = (const unsigned char *)stored + all->at + ahead,
                                     .type = w->part[i]->type,
                                     .row_block = place.row_block,
                                     .col_block = place.col_block,
                                     .skip = some.skip,
                                     .pitch = place.across ? all->pitch : 0,
                                     .step = w->rank == 1 ? 1 : step_of(w)};
    }
}

bool weight_decode(const stored_rows *s, const void *stored, int64_t row, int64_t n, float *to,
                   err *e)
{
    part_view view[CODEC_MAX_PARTS];
    const codec *c = s->w->codec;
    assert(row >= s->row && n >= 0 && row + n <= s->row + s->n);
    if (n == 0)
        return true;
    views_of(s, stored, row, n, view);
    return c->decode(c, s->w->in, n, view, to, e) || err_in(e, "weight '%s'", s->w->module);
}

bool weight_scales(const stored_rows *s, const void *stored, int64_t row, int64_t n, float *to,
                   err *e)
{
    part_view view[CODEC_MAX_PARTS];
    const codec *c = s->w->codec;
    assert(row >= s->row && n > 0 && row + n <= s->row + s->n && c->scales);
    views_of(s, stored, row, n, view);
    return c->scales(c, s->w->in, n, view, to, e) || err_in(e, "weight '%s'", s->w->module);
}

bool weight_any_scales(const stored_rows *s, const void *stored, int64_t row, int64_t n, float *to,
                       bool *has, err *e)
{
    part_view view[CODEC_MAX_PARTS];
    assert(row >= s->row && n > 0 && row + n <= s->row + s->n);
    views_of(s, stored, row, n, view);
    return transcode_scales(s->w->codec, s->w->in, n, view, to, has, e) ||
           err_in(e, "weight '%s'", s->w->module);
}

// Numbers that are stored across: to[r][c] = from[c][r], `step` bytes from r to r and `pitch` from
// c to c. Tile by tile, so that both sides go along lines of memory.
typedef struct {
    const unsigned char *from;
    int64_t step, pitch;
    unsigned char *to;
    int64_t rows, cols;
} across;

enum { TILE = 64 };

__attribute__((always_inline)) // so that the width is a constant
static inline void turn_tile(const across *a, int64_t row, int64_t col, size_t width)
{
    unsigned char tile[TILE][TILE * 4];
    int64_t rows = i64_min(TILE, a->rows - row), cols = i64_min(TILE, a->cols - col);
    for (int64_t c = 0; c < cols; c++) {
        const unsigned char *line = a->from + (col + c) * a->pitch + row * a->step;
        for (int64_t r = 0; r < rows; r++)
            memcpy(tile[c] + (size_t)r * width, line + r * a->step, width);
    }
    for (int64_t r = 0; r < rows; r++) {
        unsigned char *line = a->to + (size_t)((row + r) * a->cols + col) * width;
        for (int64_t c = 0; c < cols; c++)
            memcpy(line + (size_t)c * width, tile[c] + (size_t)r * width, width);
    }
}

static void turn(const across *a, int64_t width)
{
    for (int64_t row = 0; row < a->rows; row += TILE)
        for (int64_t col = 0; col < a->cols; col += TILE) {
            if (width == 2)
                turn_tile(a, row, col, 2);
            else
                turn_tile(a, row, col, 4);
        }
}

void weight_cut(const stored_rows *s, const void *stored, int64_t row, int64_t n,
                void *const to[])
{
    const weight *w = s->w;
    part_view view[CODEC_MAX_PARTS];
    views_of(s, stored, row, n, view);
    for (int i = 0; i < w->n_parts; i++) {
        int k = w->of[i];
        int64_t width = dtype_block_bytes(w->part[i]->type);
        if (view[k].pitch)
            turn(&(across){view[k].bytes, step_of(w) * width, view[k].pitch, to[k], n, w->in},
                 width);
        else if (s->part[i].wanted && (row == 0 || !s->part[i].whole))
            memcpy(to[k], view[k].bytes, codec_part_bytes(w->codec, k, n, w->in));
    }
}

bool weight_global(const weight *w, float *scale, bool *divides, bool *has, err *e)
{
    stored_rows s;
    part_view view[CODEC_MAX_PARTS];
    int at = codec_part_of(w->codec, PART_GLOBAL);
    *divides = at < 0;
    if (at < 0)
        at = codec_part_of(w->codec, PART_DIVISOR);
    *has = at >= 0 && w->out > 0;
    if (!*has)
        return true;
    if (!weight_lay_out(&s, w, 0, 1, e))
        return false;
    unsigned char *stored = mem_new(s.bytes, 1, "a row", e);
    bool ok = stored && weight_fetch(&s, stored, e);
    if (ok) {
        views_of(&s, stored, 0, 1, view);
        ok = row_to_f32(scale, view[at].bytes, view[at].type, 1) ||
             err_set(e, ERR_INTERNAL, "'%s': a global scale of no number", w->module);
    }
    free(stored);
    return ok;
}

bool weight_read_rows(const weight *w, int64_t row, int64_t n, float *to, scratch *s, err *e)
{
    assert(row >= 0 && n >= 0 && row <= w->out - n);
    stored_rows rows;
    if (n == 0)
        return true;
    if (!weight_lay_out(&rows, w, row, n, e))
        return false;
    unsigned char *stored = scratch_need(s, rows.bytes, 1, "the stored bytes of rows", e);
    return stored && weight_fetch(&rows, stored, e) && weight_decode(&rows, stored, row, n, to, e);
}

uint64_t weight_stored_bytes(const weight *w)
{
    uint64_t bytes = 0;
    for (int i = 0; i < w->n_parts; i++) {
        stored_part r = {.bytes = w->part[i]->bytes};
        part_place place = {0};
        if (w->view && w->out > 0)
            range_of(w, i, 0, w->out, &r);
        if (w->view)
            (void)weight_place(w, part_of(w, i), w->part[i], &place);
        // What lies in between is not the weight's.
        bytes += place.across && w->codec->form == CODEC_FLOAT
                     ? (uint64_t)(weight_elements(w) * dtype_block_bytes(w->part[i]->type))
                     : r.bytes;
    }
    return bytes;
}

dtype weight_plain_type(const weight *w)
{
    return w->codec->form == CODEC_FLOAT ? w->part[0]->type : DT_F32;
}

dtype weight_scale_type(const weight *w)
{
    for (int i = 0; i < w->n_parts; i++)
        if (part_of(w, i)->kind == PART_SCALES)
            return w->part[i]->type;
    return transcode_block_scale_type(w->codec);
}

int64_t weight_elements(const weight *w) { return w->out * w->in; }
