// SPDX-License-Identifier: Apache-2.0
#include "formats/weight.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

// ---- names ----

enum { NAME_MAX_BYTES = 1200 }; // a safetensors name has at most 1024
enum { FIXED_BYTES = 64 };       // holds any part whose content follows from the shape

// module + "." + suffix; false where that is longer than any tensor's name.
static bool join(char buf[NAME_MAX_BYTES], const char *module, const char *suffix)
{
    size_t m = strlen(module), s = strlen(suffix);
    if (m + s + 2 > NAME_MAX_BYTES)
        return false;
    memcpy(buf, module, m);
    if (s) {
        buf[m] = '.';
        memcpy(buf + m + 1, suffix, s + 1);
    } else {
        buf[m] = 0;
    }
    return true;
}

static const tensor *find(const checkpoint *c, const char *module, const char *suffix)
{
    char name[NAME_MAX_BYTES];
    return join(name, module, suffix) ? checkpoint_find(c, name) : NULL;
}

static bool refuse_missing(const char *module, const char *suffix, const char *why, err *e)
{
    char a[STR_SHORT];
    return err_set(e, ERR_INPUT, "tensor '%s%s%s' is missing%s", str_short(module, a),
                   *suffix ? "." : "", suffix, why);
}

// Every tensor that may stand beside a weight in published checkpoints. One that the codec found
// does not have as a part changes what the weight means: refused, never ignored.
static const struct {
    const char *suffix, *what;
} companions[] = {
    {"weight", "a plain weight"},
    {"weight_packed", "packed codes"},
    {"weight_scale_inv", "FP8 block scales"},
    {"weight_scale", "scales"},
    {"weight_shape", "the shape of packed codes"},
    {"weight_zero_point", "zero points of asymmetric codes"},
    {"weight_g_idx", "a column order (actorder)"},
    {"weight_global_scale", "a global scale (NVFP4)"},
    {"weight_scale_2", "a global scale (NVFP4)"},
    {"weight_blocks", "MXFP4 blocks"},
    {"weight_bitmask", "a sparse weight"},
    {"input_scale", "a static activation scale"},
    {"input_global_scale", "a static activation scale (NVFP4)"},
    {"scale", "E8M0 scales"},
    {"qweight", "GPTQ or AWQ codes"},
    {"qzeros", "GPTQ or AWQ zero points"},
    {"scales", "GPTQ or AWQ scales"},
    {"g_idx", "a GPTQ column order"},
};

static bool refuse_strangers(const weight *w, err *e)
{
    for (size_t i = 0; i < COUNT_OF(companions); i++) {
        const tensor *t = find(w->from, w->module, companions[i].suffix);
        for (int p = 0; t && p < w->codec->n_parts; p++)
            if (w->part[p] == t)
                t = NULL;
        if (t)
            return err_set(e, ERR_INPUT,
                           "tensor '%s' (%s) stands beside a weight stored as %s, which has none; "
                           "this combination is not supported by this version", t->name,
                           companions[i].what, w->codec->name);
    }
    return true;
}

// ---- shapes ----

static bool check_shape(const tensor *t, int rank, const int64_t *shape, err *e)
{
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = t->shape[i] == shape[i];
    if (same)
        return true;
    char found[TENSOR_SHAPE_TEXT], wanted[TENSOR_SHAPE_TEXT], name[STR_SHORT];
    tensor expected = {.rank = rank};
    memcpy(expected.shape, shape, (size_t)rank * sizeof *shape);
    return err_set(e, ERR_INPUT, "tensor '%s' has shape %s, expected %s",
                   str_short(t->name, name), tensor_shape_text(t, found),
                   tensor_shape_text(&expected, wanted));
}

static bool check_type(const tensor *t, const codec_part *part, err *e)
{
    if (codec_part_reads(part, t->type))
        return true;
    char name[STR_SHORT];
    return err_set(e, ERR_INPUT, "tensor '%s' has type %s, expected %s", str_short(t->name, name),
                   dtype_name(t->type), dtype_name(part->type));
}

// A part whose content follows from the shape (weight_shape) has to hold just that.
static bool check_fixed_part(const weight *w, int i, err *e)
{
    unsigned char expected[FIXED_BYTES], found[FIXED_BYTES];
    const tensor *t = w->part[i];
    if (!codec_fixed_part(w->codec, i, w->out, w->in, expected))
        return true;
    if (t->bytes > sizeof found)
        return err_set(e, ERR_INTERNAL, "a fixed part of %s is larger than expected",
                       w->codec->name);
    if (!checkpoint_read(w->from, t, 0, found, t->bytes, e))
        return false;
    int64_t pair[2] = {0, 0};
    if (t->type == DT_I32) { // some writers store 32-bit integers
        int32_t narrow[2] = {0, 0};
        memcpy(narrow, found, sizeof narrow);
        pair[0] = narrow[0];
        pair[1] = narrow[1];
    } else {
        memcpy(pair, found, sizeof pair);
    }
    if (pair[0] == w->out && pair[1] == w->in)
        return true;
    char name[STR_SHORT];
    return err_set(e, ERR_INPUT, "tensor '%s' says [%lld,%lld], the weight is [%lld,%lld]",
                   str_short(t->name, name), (long long)pair[0], (long long)pair[1],
                   (long long)w->out, (long long)w->in);
}

// ---- detection ----

static bool bind_plain(weight *w, const tensor *t, int rank, err *e)
{
    w->codec = codec_of_type(t->type);
    char name[STR_SHORT];
    if (!w->codec)
        return err_set(e, ERR_INPUT,
                       "tensor '%s' has type %s, which this version does not read as a weight",
                       str_short(t->name, name), dtype_name(t->type));
    w->part[0] = t;
    int64_t shape[2] = {w->out, w->in};
    return rank == 1 ? check_shape(t, 1, &w->in, e) : check_shape(t, 2, shape, e);
}

// All parts of the codec, the first of which is there.
static bool bind_parts(weight *w, err *e)
{
    char why[80];
    (void)snprintf(why, sizeof why, ": the weight is stored as %s", w->codec->name);
    for (int i = 0; i < w->codec->n_parts; i++) {
        const codec_part *part = &w->codec->part[i];
        w->part[i] = find(w->from, w->module, part->suffix);
        if (!w->part[i])
            return refuse_missing(w->module, part->suffix, why, e);
        int64_t shape[2];
        int rank = codec_part_shape(w->codec, i, w->out, w->in, shape);
        if (!check_type(w->part[i], part, e) || !check_shape(w->part[i], rank, shape, e) ||
            !check_fixed_part(w, i, e))
            return false;
    }
    return true;
}

static bool bind_fp8(weight *w, const tensor *t, err *e)
{
    char name[STR_SHORT];
    if (find(w->from, w->module, "weight_scale_inv"))
        w->codec = codec_find("fp8-block");
    else if (find(w->from, w->module, "weight_scale"))
        w->codec = codec_find("fp8-channel");
    else
        return err_set(e, ERR_INPUT,
                       "tensor '%s' has type F8_E4M3, but neither its weight_scale_inv nor its "
                       "weight_scale is there", str_short(t->name, name));
    return bind_parts(w, e);
}

static bool bind_packed(weight *w, const tensor *t, err *e)
{
    char name[STR_SHORT];
    if (t->type != DT_I32)
        return err_set(e, ERR_INPUT,
                       "tensor '%s' has type %s: of packed weights this version reads int4 in I32 "
                       "words only (not NVFP4 or MXFP4)", str_short(t->name, name),
                       dtype_name(t->type));
    const tensor *scale = find(w->from, w->module, "weight_scale");
    if (!scale)
        return refuse_missing(w->module, "weight_scale", ": the weight has packed codes", e);
    int64_t groups = scale->rank == 2 ? scale->shape[1] : 0;
    int64_t group = groups > 0 && w->in % groups == 0 ? w->in / groups : 0;
    char codec_name[32], shape[TENSOR_SHAPE_TEXT];
    (void)snprintf(codec_name, sizeof codec_name, "int4-g%lld", (long long)group);
    w->codec = codec_find(codec_name);
    if (!w->codec)
        return err_set(e, ERR_INPUT,
                       "tensor '%s' has shape %s: for %lld input columns this version reads groups "
                       "of 32, 64 or 128", str_short(scale->name, name),
                       tensor_shape_text(scale, shape), (long long)w->in);
    return bind_parts(w, e);
}

static bool bind_weight(weight *w, int rank, err *e)
{
    const tensor *plain = find(w->from, w->module, "weight");
    const tensor *packed = find(w->from, w->module, "weight_packed");
    const tensor *gptq = find(w->from, w->module, "qweight");
    char name[STR_SHORT];
    bool done;
    if (plain && plain->type == DT_F8_E4M3 && rank == 2)
        done = bind_fp8(w, plain, e);
    else if (plain)
        done = bind_plain(w, plain, rank, e);
    else if (packed && rank == 2)
        done = bind_packed(w, packed, e);
    else if (gptq)
        done = err_set(e, ERR_INPUT, "tensor '%s' holds GPTQ or AWQ codes, which "
                       "this version does not read", str_short(gptq->name, name));
    else
        done = refuse_missing(w->module, "weight", "", e);
    return done && refuse_strangers(w, e);
}

bool weight_bind(weight *w, const checkpoint *c, const char *module, const char *suffix, int rank,
                 int64_t out, int64_t in, err *e)
{
    assert(rank == 2 || (rank == 1 && out == 1));
    *w = (weight){.from = c, .module = module, .out = out, .in = in};
    bool done;
    if (strcmp(suffix, "weight") == 0) {
        done = bind_weight(w, rank, e);
    } else {
        const tensor *t = find(c, module, suffix);
        done = t ? bind_plain(w, t, rank, e) : refuse_missing(module, suffix, "", e);
    }
    if (!done)
        *w = (weight){0};
    return done;
}

// ---- rows ----

// Where the rows [row, row + n) of the weight lie in part i.
static void range_of(const weight *w, int i, int64_t row, int64_t n, stored_part *r)
{
    const codec_part *part = &w->codec->part[i];
    const tensor *t = w->part[i];
    r->block = part->row_block;
    if (r->block == 0) { // one for the whole weight; FIXED_BYTES is room for a fixed part
        r->first = 0;
        r->offset = 0;
        r->row_bytes = t->bytes;
        r->bytes = t->bytes < FIXED_BYTES ? FIXED_BYTES : t->bytes;
        return;
    }
    r->first = row / r->block;
    r->row_bytes = codec_part_row_bytes(w->codec, i, w->in, t->type);
    r->offset = (uint64_t)r->first * r->row_bytes;
    r->bytes = (uint64_t)((row + n - 1) / r->block - r->first + 1) * r->row_bytes;
}

void weight_part_range(const weight *w, int i, int64_t row, int64_t n, uint64_t *offset,
                       uint64_t *bytes)
{
    stored_part r;
    assert(row >= 0 && n > 0 && row <= w->out - n && row % w->codec->row_quantum == 0);
    range_of(w, i, row, n, &r);
    *offset = r.offset;
    *bytes = r.block ? r.bytes : row == 0 ? w->part[i]->bytes : 0;
}

bool weight_lay_out(stored_rows *s, const weight *w, int64_t row, int64_t n, err *e)
{
    assert(row >= 0 && n > 0 && row <= w->out - n);
    *s = (stored_rows){.w = w, .row = row, .n = n};
    for (int i = 0; i < w->codec->n_parts; i++) {
        range_of(w, i, row, n, &s->part[i]);
        s->part[i].at = s->bytes;
        if (!size_add(s->bytes, s->part[i].bytes, &s->bytes) ||
            !size_round_up(s->bytes, 64, &s->bytes))
            return err_set(e, ERR_ENV, "no memory for %lld rows of '%s'", (long long)n, w->module);
    }
    return true;
}

// weight_bind has checked what such a part holds.
void weight_fill_fixed(const stored_rows *s, void *stored)
{
    const weight *w = s->w;
    for (int i = 0; i < w->codec->n_parts; i++)
        (void)codec_fixed_part(w->codec, i, w->out, w->in, (char *)stored + s->part[i].at);
}

// Decodes rows that lie in one block of the codec, or begin at one.
static bool decode_rows(const stored_rows *s, const unsigned char *stored, int64_t row, int64_t n,
                        float *to, err *e)
{
    const weight *w = s->w;
    part_view view[CODEC_MAX_PARTS];
    for (int i = 0; i < w->codec->n_parts; i++) {
        const stored_part *r = &s->part[i];
        uint64_t skip = r->block ? (uint64_t)(row / r->block - r->first) * r->row_bytes : 0;
        view[i] = (part_view){stored + r->at + skip, w->part[i]->type};
    }
    return w->codec->decode(w->codec, w->in, n, view, to, e) || err_in(e, "weight '%s'", w->module);
}

bool weight_decode(const stored_rows *s, const void *stored, int64_t row, int64_t n, float *to,
                   err *e)
{
    assert(row >= s->row && n >= 0 && row + n <= s->row + s->n);
    // Decoding does not know where in the weight its rows lie; a range that begins inside a block
    // is decoded in two steps, so that each begins with its own scale row.
    int64_t inside = row % s->w->codec->row_quantum;
    int64_t head = inside ? i64_min(n, s->w->codec->row_quantum - inside) : n;
    return decode_rows(s, stored, row, head, to, e) &&
           (head == n ||
            decode_rows(s, stored, row + head, n - head, to + head * s->w->in, e));
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
    if (!stored)
        return false;
    weight_fill_fixed(&rows, stored);
    for (int i = 0; i < w->codec->n_parts; i++) {
        const stored_part *p = &rows.part[i];
        if (p->block && !checkpoint_read(w->from, w->part[i], p->offset, stored + p->at, p->bytes,
                                         e))
            return false;
    }
    return weight_decode(&rows, stored, row, n, to, e);
}

uint64_t weight_stored_bytes(const weight *w)
{
    uint64_t bytes = 0;
    for (int i = 0; i < w->codec->n_parts; i++)
        bytes += w->part[i]->bytes;
    return bytes;
}

int64_t weight_elements(const weight *w) { return w->out * w->in; }
