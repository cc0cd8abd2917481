// SPDX-License-Identifier: Apache-2.0
#include "convert/survey.h"

#include <stdlib.h>

#include "base/reduce.h"
#include "convert/fused.h"

// Rows a task encodes: whole blocks of every codec.
enum { CHUNK = 128 };

// One weight in memory, and a cell for each (codec, search, chunk).
typedef struct {
    const survey_options *options;
    survey *to;
    const weight *w;
    dtype type;
    float *values;            // [out][in]
    float *importance;        // [in], or NULL
    float *amax;              // [chunks]
    float own_amax, fused_amax;
    dtype fused_type;
    int64_t chunks;
    double *power;            // [chunks]
    double *error;            // [codecs][2][chunks]
    scratch *room;            // [threads], decoded rows and encoded parts
    scratch *read;            // [threads]
} surveyor;

static int64_t rows_of(const surveyor *s, int64_t chunk)
{
    return i64_min(CHUNK, s->w->out - chunk * CHUNK);
}

// ---- a weight into memory --------------------------------------------------------------------

static bool read_chunks(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    surveyor *s = ctx;
    for (int64_t i = begin; i < end; i++) {
        float *to = s->values + i * CHUNK * s->w->in;
        int64_t n = rows_of(s, i) * s->w->in;
        if (!weight_read_rows(s->w, i * CHUNK, rows_of(s, i), to, &s->read[worker], e))
            return false;
        if (reduce_first_nonfinite(to, n) >= 0)
            return err_set(e, ERR_INPUT, "%s has values that are not finite", s->w->module);
        s->amax[i] = reduce_max_abs(to, n);
    }
    return true;
}

static bool read_weight(surveyor *s, const weight *w, float *amax, err *e)
{
    s->w = w;
    s->chunks = i64_ceil_div(w->out, CHUNK);
    if (!pool_for(s->options->pool, s->chunks, 1, read_chunks, s, e))
        return false;
    for (int64_t i = 0; i < s->chunks; i++)
        *amax = s->amax[i] > *amax ? s->amax[i] : *amax;
    return true;
}

// Leaves `w` in memory, and what is known of it and of those that it is joined with.
static bool open_weight(surveyor *s, const bound_weight *a, err *e)
{
    const weight *with[FUSED_MOST];
    int n = fused_with(s->options->model, a->role, a->layer, a->expert, with);
    s->own_amax = s->fused_amax = 0;
    s->type = s->fused_type = weight_plain_type(a->weight);
    for (int k = 0; k < n; k++) {
        if (with[k] == a->weight)
            continue;
        if (!read_weight(s, with[k], &s->fused_amax, e))
            return false;
        s->fused_type = weight_plain_type(with[k]) == s->type ? s->fused_type : DT_F32;
    }
    if (!read_weight(s, a->weight, &s->own_amax, e))
        return false;
    s->fused_amax = s->own_amax > s->fused_amax ? s->own_amax : s->fused_amax;
    return true;
}

// ---- encoded and decoded ---------------------------------------------------------------------

static double weighted(const surveyor *s, const float *a, const float *b, int64_t rows)
{
    int64_t in = s->w->in;
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = a + r * in, *y = b ? b + r * in : NULL;
        if (!s->importance) {
            sum += y ? reduce_sum_squared_difference(x, y, in) : reduce_sum_squares(x, in);
            continue;
        }
        for (int64_t j = 0; j < in; j++) {
            double d = (double)x[j] - (y ? (double)y[j] : 0);
            sum += (double)s->importance[j] * (d * d);
        }
    }
    return sum;
}

// Bytes of a worker's room: decoded rows, then each part at a multiple of 64.
static uint64_t room_bytes(const survey *to, int64_t rows, int64_t in)
{
    uint64_t most = 0, values = (uint64_t)(rows * in) * sizeof(float);
    for (int64_t k = 0; k < to->n; k++) {
        uint64_t bytes = 0;
        for (int i = 0; i < codec_written(to->row[k].codec); i++)
            bytes += (codec_part_bytes(to->row[k].codec, i, rows, in) + 63) / 64 * 64;
        most = bytes > most ? bytes : most;
    }
    return (values + 63) / 64 * 64 + most;
}

static bool code_rows(const surveyor *s, const codec *c, codec_search search, int64_t chunk,
                      float *back, err *e)
{
    int64_t rows = rows_of(s, chunk), in = s->w->in;
    const bool fused = c->whole == WHOLE_FUSED;
    uint64_t values = (uint64_t)(rows * in) * sizeof *back;
    unsigned char *at = (unsigned char *)back + (values + 63) / 64 * 64;
    void *part[CODEC_MAX_PARTS] = {0};
    part_view view[CODEC_MAX_PARTS] = {0};
    encode_options o = ENCODE_DEFAULTS; // row0 0: each chunk is coded as if it began the weight
    o.search = search;
    o.importance = s->importance;
    o.source = s->type;
    o.whole_scale = codec_whole_scale(c, fused ? s->fused_amax : s->own_amax,
                                      fused ? s->fused_type : s->type);
    for (int i = 0; i < codec_written(c); i++) {
        part[i] = at;
        view[i] = part_at(at, codec_written_type(c, i, search, o.source));
        view[i].pitch = codec_part_pitch(c, i, rows);
        (void)codec_fixed_part(c, i, rows, in, at);
        at += (codec_part_bytes(c, i, rows, in) + 63) / 64 * 64;
    }
    return c->encode(c, in, rows, s->values + chunk * CHUNK * in, &o, part, e) &&
           c->decode(c, in, rows, view, back, e);
}

static bool code_chunks(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    surveyor *s = ctx;
    for (int64_t i = begin; i < end; i++) {
        int64_t chunk = i % s->chunks, cell = i / s->chunks;
        const survey_row *row = &s->to->row[cell / 2];
        codec_search search = (codec_search)(cell % 2);
        float *back = s->room[worker].bytes;
        const float *from = s->values + chunk * CHUNK * s->w->in;
        if (cell == 0)
            s->power[chunk] = weighted(s, from, NULL, rows_of(s, chunk));
        if (!codec_fits(row->codec, s->w->out, s->w->in) ||
            (!row->searched && search == SEARCH_COMPAT))
            continue;
        if (!code_rows(s, row->codec, search, chunk, back, e))
            return err_in(e, "%s as %s", s->w->module, row->codec->name);
        s->error[i] = weighted(s, from, back, rows_of(s, chunk));
    }
    return true;
}

static void add_weight(surveyor *s)
{
    double power = reduce_sum_f64(s->power, s->chunks);
    for (int64_t k = 0; k < s->to->n; k++) {
        survey_row *row = &s->to->row[k];
        if (!codec_fits(row->codec, s->w->out, s->w->in)) {
            row->n_skipped++;
            continue;
        }
        double error[2];
        for (int search = 0; search < 2; search++) {
            error[search] = reduce_sum_f64(s->error + (k * 2 + search) * s->chunks, s->chunks);
            row->error[search] += row->searched || search == SEARCH_BEST ? error[search] : 0;
        }
        row->power += power;
        row->n_weights++;
        row->elements += (uint64_t)weight_elements(s->w);
        row->bytes += codec_bytes(row->codec, s->w->out, s->w->in);
        if (!row->searched)
            continue;
        row->n_worse += error[SEARCH_BEST] > error[SEARCH_COMPAT];
        double ratio = error[SEARCH_BEST] / error[SEARCH_COMPAT];
        if (error[SEARCH_COMPAT] > 0 && (!row->worst || ratio > row->worst_ratio)) {
            row->worst = s->w;
            row->worst_ratio = ratio;
        }
    }
}

static bool survey_one(surveyor *s, const bound_weight *a, float *importance, err *e)
{
    const survey_options *o = s->options;
    bool has = false;
    if (!open_weight(s, a, e))
        return false;
    const weighed what = {s->w, a->role, a->layer, a->expert};
    if (o->importance && !weighing_at(o->importance, &what, importance, &has, e))
        return false;
    s->importance = has ? importance : NULL;
    if (!pool_for(o->pool, s->to->n * 2 * s->chunks, 1, code_chunks, s, e))
        return false;
    add_weight(s);
    return true;
}

// ---- all weights -----------------------------------------------------------------------------

static bool is_in_scope(const survey_options *o, role r)
{
    return role_is_linear(r) && (o->scope != SCOPE_EXPERTS || role_is_expert(r));
}

// In the order of tensors; those of a stack one behind the other.
static int64_t list_weights(const survey_options *o, const bound_weight **list)
{
    int64_t n = 0;
    for (int64_t i = 0; i < checkpoint_count(model_checkpoint(o->model)); i++) {
        const tensor_account *a = model_account(o->model, i);
        for (int64_t k = a->first; a->used && a->part == 0 && k < a->first + a->n; k++)
            if (is_in_scope(o, model_weight_at(o->model, k)->role))
                list[n++] = model_weight_at(o->model, k);
    }
    return n;
}

static bool open_rooms(surveyor *s, int64_t values, int64_t chunks, uint64_t room, err *e)
{
    const survey_options *o = s->options;
    uint64_t threads = (uint64_t)pool_threads(o->pool), cells = (uint64_t)(s->to->n * 2 * chunks);
    // What is read of a weight's rows is no more than they are decoded.
    uint64_t least = (uint64_t)values * sizeof(float) + cells * sizeof(double) + threads * room * 2;
    if (least > o->memory)
        return err_set(e, ERR_ENV, "%llu bytes of memory do not hold the largest weight and its "
                       "codes: the smallest ceiling that does is %llu",
                       (unsigned long long)o->memory, (unsigned long long)least);
    s->values = mem_new_aligned((uint64_t)values, sizeof *s->values, "a weight", e);
    s->amax = s->values ? mem_new((uint64_t)chunks, sizeof *s->amax, "maxima", e) : NULL;
    s->power = s->amax ? mem_new((uint64_t)chunks, sizeof *s->power, "sums", e) : NULL;
    s->error = s->power ? mem_new(cells, sizeof *s->error, "sums", e) : NULL;
    s->read = s->error ? mem_new(threads, sizeof *s->read, "rooms", e) : NULL;
    s->room = s->read ? mem_new(threads, sizeof *s->room, "rooms", e) : NULL;
    for (uint64_t i = 0; s->room && i < threads; i++)
        if (!scratch_need(&s->room[i], room, 1, "rows", e))
            return false;
    return s->room != NULL;
}

static void close_rooms(surveyor *s)
{
    for (int i = 0; i < pool_threads(s->options->pool); i++) {
        if (s->read)
            scratch_free(&s->read[i]);
        if (s->room)
            scratch_free(&s->room[i]);
    }
    free(s->read);
    free(s->room);
    free(s->values);
    free(s->amax);
    free(s->power);
    free(s->error);
}

static bool survey_all(surveyor *s, const bound_weight *const *list, int64_t n, err *e)
{
    int64_t widest = 1, values = 1, rows = 1;
    for (int64_t i = 0; i < n; i++) {
        const weight *with[FUSED_MOST] = {list[i]->weight};
        int k = fused_with(s->options->model, list[i]->role, list[i]->layer, list[i]->expert, with);
        do {
            const weight *w = with[k > 0 ? --k : 0];
            widest = i64_max(widest, w->in);
            rows = i64_max(rows, w->out);
            values = i64_max(values, weight_elements(w));
        } while (k > 0);
    }
    uint64_t room = room_bytes(s->to, i64_min(rows, CHUNK), widest);
    float *importance = mem_new((uint64_t)widest, sizeof *importance, "importance", e);
    bool ok = importance && open_rooms(s, values, i64_ceil_div(rows, CHUNK), room, e);
    for (int64_t i = 0; ok && i < n; i++) {
        ok = event_go_on(s->options->events, e) && survey_one(s, list[i], importance, e);
        event_progress(s->options->events, "weights", (uint64_t)i + 1, (uint64_t)n);
    }
    close_rooms(s);
    free(importance);
    return ok;
}

bool survey_weights(survey *out, const codec *const *codecs, int64_t n, const survey_options *o,
                    err *e)
{
    surveyor s = {.options = o, .to = out};
    int64_t n_list = 0;
    *out = (survey){.n = n};
    const bound_weight **list =
        mem_new((uint64_t)model_n_weights(o->model), sizeof *list, "a list of weights", e);
    out->row = list ? mem_new((uint64_t)n, sizeof *out->row, "a survey", e) : NULL;
    bool ok = out->row != NULL;
    for (int64_t i = 0; ok && i < n; i++)
        out->row[i] = (survey_row){.codec = codecs[i], .searched = codec_is_searched(codecs[i])};
    out->n_in_scope = ok ? list_weights(o, list) : 0;
    n_list = o->most ? i64_min(o->most, out->n_in_scope) : out->n_in_scope;
    // The middle of each of n_list equal stretches.
    for (int64_t i = 0; i < n_list; i++)
        list[i] = list[(2 * i + 1) * out->n_in_scope / (2 * n_list)];
    out->n_weights = n_list;
    if (ok && n_list == 0)
        ok = err_set(e, ERR_INPUT, "the model has no weights of that scope");
    ok = ok && survey_all(&s, list, n_list, e);
    free(list);
    if (!ok)
        survey_free(out);
    return ok;
}

void survey_free(survey *s)
{
    free(s->row);
    *s = (survey){0};
}
