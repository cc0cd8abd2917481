// SPDX-License-Identifier: Apache-2.0
// Which codec a weight's tensors are. The registry's rows are tried against what is there; what
// fits best and yet not is what sentences are about.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "formats/weight.h"

// ---- names ----

enum { NAME_MAX_BYTES = 1200, SHAPE_BYTES = 64 }; // a safetensors name has at most 1024

// module + "." + suffix; false where that is longer than any tensor's name.
static bool join(char buf[NAME_MAX_BYTES], const char *module, const char *suffix)
{
    size_t m = strlen(module), s = strlen(suffix), dot = *suffix && *suffix != '_';
    if (m + s + dot + 1 > NAME_MAX_BYTES)
        return false;
    memcpy(buf, module, m);
    buf[m] = '.';
    memcpy(buf + m + dot, suffix, s + 1);
    return true;
}

static const tensor *find(const checkpoint *c, const char *module, const char *suffix)
{
    char name[NAME_MAX_BYTES];
    return join(name, module, suffix) ? checkpoint_find(c, name) : NULL;
}

// Every tensor that may stand beside a weight in published checkpoints. One that a codec has no
// part for changes what the weight means: refused, never ignored.
static const struct {
    const char *suffix, *what;
} companions[] = {
    {"weight", "a plain weight"},
    {"", "a plain weight"},
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
    {"activation_scale", "a static activation scale"},
    {"input_scale_ub", "a bound of activation scales"},
    {"input_global_scale", "a static activation scale (NVFP4)"},
    {"scale", "E8M0 scales"},
    {"qweight", "GPTQ or AWQ codes"},
    {"qzeros", "GPTQ or AWQ zero points"},
    {"scales", "GPTQ, AWQ or MLX scales"},
    {"biases", "MLX biases"},
    {"g_idx", "a GPTQ column order"},
    {"blocks", "MXFP4 blocks"},
    {"_scale_inv", "FP8 block scales"},
    {"_blocks", "MXFP4 blocks"},
    {"_scales", "MXFP4 scales"},
};

enum { N_COMPANIONS = COUNT_OF(companions) };

typedef struct {
    weight *w;
    const tensor *there[N_COMPANIONS];
    int here[N_COMPANIONS], n_here; // those that are there
    int gptq_format;                // of the terms
} around;

static void look_around(around *f)
{
    for (int i = 0; i < N_COMPANIONS; i++) {
        f->there[i] = find(f->w->from, f->w->stored, companions[i].suffix);
        if (f->there[i])
            f->here[f->n_here++] = i;
    }
}

static const tensor *named(const around *f, const char *suffix, uint32_t *used)
{
    for (int k = 0; suffix && k < f->n_here; k++)
        if (strcmp(companions[f->here[k]].suffix, suffix) == 0) {
            *used |= 1u << f->here[k];
            return f->there[f->here[k]];
        }
    return NULL;
}

static bool refuse_missing(const weight *w, const char *suffix, const char *why, err *e)
{
    char a[STR_SHORT];
    bool whole = w->stored != w->module && strcmp(suffix, "weight") == 0; // stacks have no suffix
    const char *dot = !whole && *suffix && *suffix != '_' ? "." : "";
    return err_set(e, ERR_INPUT, "tensor '%s%s%s' is missing%s", str_short(w->stored, a), dot,
                   whole ? "" : suffix, why);
}

// ---- fitting ----

// How far a codec got.
typedef enum {
    FIT_NOT,   // other codes than these
    FIT_TYPE,  // the codes' type is right,
    FIT_CODES, // and their shape,
    FIT_PARTS, // and all of the parts are there, of their types, and nothing else,
    FIT_ALL    // and their shapes are right
} fit;

typedef struct {
    const codec *codec;
    fit fit;
    bool sound; // what is there has the right shapes
    int missing, strangers, mistyped; // parts, companions, parts
    int lacks, other, wrong, misshapen; // the first of each: the codec's part, a companion, and
                                        // twice the weight's part
} trial;

// The parts of a codec that are there; 1 << companion of each in *used.
static void take_parts(around *f, const codec *c, trial *t, uint32_t *used)
{
    weight *w = f->w;
    w->codec = c;
    w->n_parts = 0;
    *used = 0;
    for (int i = 0; i < c->n_parts; i++) {
        const codec_part *p = &c->part[i];
        const tensor *one = named(f, p->suffix, used);
        for (int k = 0; !one && k < PART_MAX_NAMES; k++)
            one = named(f, p->named[k], used);
        if (one) {
            w->of[w->n_parts] = (uint8_t)i;
            w->part[w->n_parts++] = one;
        } else if (i == 0) {
            return; // other codes
        } else if (!p->optional && t->missing++ == 0) {
            t->lacks = i;
        }
    }
}

// A part whose rows are chosen one by one, or in halves, has whole elements there.
static bool view_cuts(const weight *w, const codec_part *p, const part_place *place)
{
    const weight_view *v = w->view;
    bool all = !v || (v->first == 0 && v->step < 2);
    if (p->rank < 2 || all)
        return true;
    if (p->packing == PACKED_ROWS)
        return v->step < 2;
    return v->step < 2 ? place->row_block == PART_WHOLE || v->first % place->row_block == 0
                       : place->row_block == 1 || place->row_block == PART_WHOLE;
}

static int part_of(const weight *w, part_kind kind)
{
    for (int i = 0; i < w->n_parts; i++)
        if (w->codec->part[w->of[i]].kind == kind)
            return i;
    return -1;
}

// Zero points and biases stand beside scales.
static bool beside_scales(const weight *w, int i, const part_place *place)
{
    part_kind kind = w->codec->part[w->of[i]].kind;
    int scales = part_of(w, PART_SCALES);
    return scales < 0 || (kind != PART_ZEROS && kind != PART_BIASES) ||
           place[i].cols == place[scales].cols;
}

static bool shapes_fit(const weight *w, trial *t)
{
    part_place place[CODEC_MAX_PARTS];
    for (int i = 0; i < w->n_parts; i++) {
        const codec_part *p = &t->codec->part[w->of[i]];
        t->misshapen = i;
        if (!weight_place(w, p, w->part[i], &place[i]) || !view_cuts(w, p, &place[i]))
            return false;
    }
    for (int i = 0; i < w->n_parts; i++) {
        t->misshapen = i;
        if (!beside_scales(w, i, place))
            return false;
    }
    return true;
}

// Wrong types, and companions that are no parts.
static void look_for_wrong(const around *f, uint32_t used, trial *t)
{
    const weight *w = f->w;
    for (int i = 0; i < w->n_parts; i++)
        if (!codec_part_reads(&t->codec->part[w->of[i]], w->part[i]->type) && t->mistyped++ == 0)
            t->wrong = i;
    for (int k = 0; k < f->n_here; k++)
        if (!(used >> f->here[k] & 1) && t->strangers++ == 0)
            t->other = f->here[k];
}

static trial try_codec(around *f, const codec *c)
{
    trial t = {.codec = c};
    part_place place;
    uint32_t used = 0;
    if ((c->gptq_format && f->gptq_format && c->gptq_format != f->gptq_format) ||
        (f->w->view && f->w->view->transposed && c->form != CODEC_FLOAT))
        return t;
    take_parts(f, c, &t, &used);
    const weight *w = f->w;
    if (w->n_parts == 0 || w->of[0] != 0 || !codec_part_reads(&c->part[0], w->part[0]->type))
        return t;
    t.fit = FIT_TYPE;
    if (!weight_place(w, &c->part[0], w->part[0], &place))
        return t;
    t.fit = FIT_CODES;
    look_for_wrong(f, used, &t);
    t.sound = shapes_fit(w, &t);
    if (t.missing || t.mistyped || t.strangers)
        return t;
    t.fit = t.sound ? FIT_ALL : FIT_PARTS;
    return t;
}

// Where there are no scales nothing tells the size of groups: the row without one is meant.
static bool is_more_general(const trial *t, const trial *best)
{
    return best->codec->form == CODEC_INT && t->codec->form == CODEC_STORED && t->missing &&
           t->codec->part[t->lacks].kind == PART_SCALES;
}

// Of those that got equally far: the one in whose way least is, and what is not there rather than
// what is of another type or too much; then the one that has the shapes of what is there; of other
// shapes the last, which is the most general.
static bool is_better(const trial *t, const trial *best)
{
    if (t->fit != best->fit)
        return t->fit > best->fit;
    int a = t->missing + t->strangers + t->mistyped;
    int b = best->missing + best->strangers + best->mistyped;
    if (t->fit == FIT_CODES && a == b && t->missing == best->missing &&
        t->strangers == best->strangers)
        return t->sound != best->sound ? t->sound : is_more_general(t, best);
    if (t->fit == FIT_CODES)
        return a != b ? a < b : t->missing > best->missing ||
                                (t->missing == best->missing && t->strangers < best->strangers);
    return t->fit == FIT_PARTS;
}

// ---- sentences ----

static bool refuse_shape(const tensor *t, int rank, const int64_t *shape, err *e)
{
    char found[TENSOR_SHAPE_TEXT], wanted[TENSOR_SHAPE_TEXT], name[STR_SHORT];
    tensor expected = {.rank = rank};
    memcpy(expected.shape, shape, (size_t)rank * sizeof *shape);
    return err_set(e, ERR_INPUT, "tensor '%s' has shape %s, expected %s",
                   str_short(t->name, name), tensor_shape_text(t, found),
                   tensor_shape_text(&expected, wanted));
}

// The shape that the scales have; packed rows are fewer.
static bool refuse_beside(const weight *w, int i, err *e)
{
    const codec_part *p = &w->codec->part[w->of[i]];
    const tensor *t = w->part[i], *scales = w->part[part_of(w, PART_SCALES)];
    int64_t shape[TENSOR_MAX_RANK];
    memcpy(shape, scales->shape, sizeof shape);
    if (p->packing == PACKED_ROWS && scales->rank >= 2)
        shape[scales->rank - (p->across ? 1 : 2)] =
            codec_packed(w->codec, t->type, weight_stored_rows(w));
    return refuse_shape(t, scales->rank, shape, e);
}

// The shape that a part of the weight's own would have, under the view.
static bool refuse_part_shape(const weight *w, int i, err *e)
{
    const codec_part *p = &w->codec->part[w->of[i]];
    char shape[TENSOR_SHAPE_TEXT], name[STR_SHORT];
    const tensor *t = w->part[i];
    part_place place;
    if (weight_place(w, p, t, &place) && !view_cuts(w, p, &place))
        return err_set(e, ERR_INPUT, "tensor '%s' %s: the rows of it that are the weight's begin "
                       "or end inside one of its elements", str_short(t->name, name),
                       tensor_shape_text(t, shape));
    if (p->kind == PART_ZEROS || p->kind == PART_BIASES)
        return refuse_beside(w, i, e);
    if (p->found)
        return err_set(e, ERR_INPUT, "tensor '%s' has shape %s: that is no scale a tensor, row or "
                       "group of %s columns of a weight of [%lld,%lld]", str_short(t->name, name),
                       tensor_shape_text(t, shape),
                       w->codec->element == ELEMENT_INT ? "equally many"
                                                        : "16, 32, 64 or 128 (rows and)",
                       (long long)weight_stored_rows(w), (long long)w->in);
    int64_t want[4] = {0}, *part = want;
    int rank = 0;
    if (w->view && w->view->slices)
        want[rank++] = w->view->slices;
    part = want + rank;
    if (w->rank == 1) {
        want[rank++] = w->view && w->view->rows ? w->view->rows : w->in;
        return refuse_shape(t, rank, want, e);
    }
    rank += codec_part_shape(w->codec, w->of[i], weight_stored_rows(w), w->in, part);
    if (w->view && w->view->transposed) {
        int64_t rows = part[0];
        part[0] = part[1];
        part[1] = rows;
    }
    if (p->split) {
        want[rank] = p->split;
        want[rank - 1] /= p->split;
        rank++;
    }
    return refuse_shape(t, rank, want, e);
}

static bool refuse_parts(const around *f, const trial *t, err *e)
{
    const weight *w = f->w;
    char name[STR_SHORT], why[80];
    const codec_part *p = &t->codec->part[t->lacks];
    if (f->n_here > 1) {
        (void)snprintf(why, sizeof why, ": the weight is stored as %s", t->codec->name);
        return refuse_missing(w, p->suffix, why, e);
    }
    return err_set(e, ERR_INPUT, "tensor '%s' has type %s, but nothing that goes with such codes "
                   "is there (%s, for one)", str_short(w->part[0]->name, name),
                   dtype_name(w->part[0]->type), p->suffix);
}

static bool refuse_stranger(const weight *w, const tensor *t, const char *what, err *e)
{
    return err_set(e, ERR_INPUT, "tensor '%s' (%s) stands beside a weight stored as %s, which has "
                   "none; this combination is not supported by this version", t->name, what,
                   w->codec->name);
}

static bool refuse(around *f, const trial *best, err *e)
{
    char name[STR_SHORT];
    if (best->fit == FIT_NOT) {
        const tensor *t = f->n_here ? f->there[f->here[0]] : NULL;
        return t ? err_set(e, ERR_INPUT, "tensor '%s' has type %s, which this version does not "
                           "read as a weight", str_short(t->name, name), dtype_name(t->type))
                 : refuse_missing(f->w, "weight", "", e);
    }
    trial again = try_codec(f, best->codec); // its parts are the weight's again
    const weight *w = f->w;
    if (again.fit != FIT_CODES)
        return refuse_part_shape(w, again.fit == FIT_TYPE ? 0 : again.misshapen, e);
    if (again.missing)
        return refuse_parts(f, &again, e);
    if (again.strangers)
        return refuse_stranger(w, f->there[again.other], companions[again.other].what, e);
    return err_set(e, ERR_INPUT, "tensor '%s' has type %s, expected %s",
                   str_short(w->part[again.wrong]->name, name),
                   dtype_name(w->part[again.wrong]->type),
                   dtype_name(w->codec->part[w->of[again.wrong]].type));
}

// ---- what a part says ----

// weight_shape has to hold just the shape.
static bool check_shape_part(const weight *w, int i, err *e)
{
    unsigned char said[SHAPE_BYTES];
    const tensor *t = w->part[i];
    int64_t pair[2] = {0, 0}, n = t->type == DT_I32 ? 4 : 8;
    uint64_t at = w->view && w->view->slices ? (uint64_t)(w->view->slice * 2 * n) : 0;
    if (!checkpoint_read(w->from, t, at, said, (uint64_t)(2 * n), e))
        return false;
    for (int k = 0; k < 2; k++) {
        int32_t narrow; // some writers store 32-bit integers
        if (n == 4) {
            memcpy(&narrow, said + 4 * k, sizeof narrow);
            pair[k] = narrow;
        } else {
            memcpy(&pair[k], said + 8 * k, sizeof pair[k]);
        }
    }
    if (pair[0] == weight_stored_rows(w) && pair[1] == w->in)
        return true;
    char name[STR_SHORT];
    return err_set(e, ERR_INPUT, "tensor '%s' says [%lld,%lld], the weight is [%lld,%lld]",
                   str_short(t->name, name), (long long)pair[0], (long long)pair[1],
                   (long long)weight_stored_rows(w), (long long)w->in);
}

static bool check_what_parts_say(const weight *w, err *e)
{
    for (int i = 0; i < w->n_parts; i++)
        if (w->codec->part[w->of[i]].kind == PART_SHAPE && !check_shape_part(w, i, e))
            return false;
    return true;
}

// ---- doors ----

// A tensor whose elements are the weight's.
static bool bind_plain(weight *w, const tensor *t, int rank, err *e)
{
    char name[STR_SHORT];
    part_place place;
    w->codec = codec_of_type(t->type);
    if (!w->codec)
        return err_set(e, ERR_INPUT,
                       "tensor '%s' has type %s, which this version does not read as a weight",
                       str_short(t->name, name), dtype_name(t->type));
    w->part[0] = t;
    w->n_parts = 1;
    int64_t stacked = w->view && w->view->slices;
    if (rank == 1 && !w->view && (t->rank != 1 || t->shape[0] != w->in))
        return refuse_shape(t, 1, &w->in, e);
    bool fits = t->rank == rank + stacked && weight_place(w, &w->codec->part[0], t, &place);
    return fits || refuse_part_shape(w, 0, e);
}

static bool refuse_gptq(const weight *w, err *e)
{
    return err_set(e, ERR_INPUT, "'%s' is stored as GPTQ, in one of two formats that differ in "
                   "their zero points: only config.json's quantization_config tells which",
                   w->stored);
}

static bool bind_coded(weight *w, int gptq_format, err *e)
{
    around f = {.w = w, .gptq_format = gptq_format};
    trial best = {0};
    look_around(&f);
    for (int64_t i = 0; i < codec_count(); i++) {
        if (codec_at(i)->form == CODEC_TOOL)
            continue; // what these write is read by others
        trial t = try_codec(&f, codec_at(i));
        if (t.fit == FIT_ALL)
            return t.codec->gptq_format && !gptq_format ? refuse_gptq(w, e)
                                                        : check_what_parts_say(w, e);
        if (is_better(&t, &best))
            best = t;
    }
    return refuse(&f, &best, e);
}

// A vector has no companions.
static bool is_alone(const weight *w, err *e)
{
    for (int i = 0; i < N_COMPANIONS; i++) {
        const tensor *t = find(w->from, w->stored, companions[i].suffix);
        if (t && t != w->part[0])
            return refuse_stranger(w, t, companions[i].what, e);
    }
    return true;
}

// n: of the weight, out of so many.
static bool view_is_sound(const weight_view *v, int64_t n)
{
    int64_t step = v->step ? v->step : 1, rows = v->rows ? v->rows : n;
    return v->slices >= 0 && v->slice >= 0 && (v->slice < v->slices || v->slices == 0) &&
           v->first >= 0 && step >= 1 && step <= 2 && v->first + (n - 1) * step < rows;
}

bool weight_bind_as(weight *w, const checkpoint *c, const weight_terms *t, err *e)
{
    assert(t->rank == 2 || (t->rank == 1 && t->out == 1));
    assert(!t->view || view_is_sound(t->view, t->rank == 1 ? t->in : t->out));
    *w = (weight){.from = c, .module = t->module, .stored = t->stored ? t->stored : t->module,
                  .suffix = t->suffix, .view = t->view, .rank = t->rank, .out = t->out,
                  .in = t->in};
    const char *suffix = t->stored ? "" : t->suffix;
    const tensor *one = find(c, w->stored, suffix);
    bool weights = strcmp(t->suffix, "weight") == 0, done;
    if (weights && t->rank == 2)
        done = bind_coded(w, t->gptq_format, e);
    else
        done = one ? bind_plain(w, one, t->rank, e) && (!weights || is_alone(w, e))
                   : refuse_missing(w, suffix, "", e);
    if (!done)
        *w = (weight){0};
    return done;
}

const tensor *weight_any_part(const checkpoint *c, const char *module)
{
    for (int i = 0; i < N_COMPANIONS; i++) {
        const tensor *t = find(c, module, companions[i].suffix);
        if (t)
            return t;
    }
    return NULL;
}

bool weight_bind(weight *w, const checkpoint *c, const char *module, const char *suffix, int rank,
                 int64_t out, int64_t in, err *e)
{
    return weight_bind_as(w, c,
                          &(weight_terms){.module = module, .suffix = suffix, .rank = rank,
                                          .out = out, .in = in}, e);
}
