// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/reduce.h"
#include "convert/run_parts.h"
#include "quantize/transcode.h"

// A batch of rows of one weight, and the digests that run over all of its batches.
typedef struct {
    runner *r;
    const plan_tensor *t;
    int direct;                          // the part that is appended as it is made; -1: none
    const float *importance;
    float whole_scale;
    int64_t row, rows, chunk;            // the batch; rows a task
    int64_t *changed;                    // [tasks]
    run_loss *loss;                      // [rows] of the batch, where blocks are moved
    stored_rows stored;                  // the batch in the runner's memory
    const void *read[CODEC_MAX_PARTS];   // what came from the source of each part
    uint64_t read_bytes[CODEC_MAX_PARTS];
    xxh128 *own[CODEC_MAX_PARTS];        // of the stored parts, but for stacks
    xxh128 *source[CODEC_MAX_PARTS];     // the same, of the batch; NULL: of what is not its own
    uint8_t *rows_at;                    // in that memory
    const uint8_t *stored_at;            // there, or where the stream lends them
    uint8_t *encoded[CODEC_MAX_PARTS];   // the batch's rows of each part
    const uint8_t *ready[CODEC_MAX_PARTS];  // what is handed on after the batch, and how much
    uint64_t ready_bytes[CODEC_MAX_PARTS];
    xxh128 *sum[CODEC_MAX_PARTS];        // of the encoded parts
    uint64_t held[CODEC_MAX_PARTS];      // their places, but for the direct part
} coding;

// ---- tasks: digests of what was read, then chunks of rows ------------------------------------

static int64_t count_changes(const float *a, const float *b, int64_t n)
{
    int64_t changed = 0;
    for (int64_t i = 0; i < n; i++)
        changed += f32_bits(a[i]) != f32_bits(b[i]);
    return changed;
}

static void encoded_at(const coding *c, int64_t row, void *at[CODEC_MAX_PARTS])
{
    const codec *k = c->t->codec;
    for (int i = 0; i < codec_written(k); i++)
        at[i] = c->encoded[i] + codec_part_offset(k, i, c->t->source->in, row - c->row);
}

static bool at_weight(const coding *c, err *e)
{
    const weight *w = c->t->source;
    char where[MODEL_WHERE_TEXT];
    return c->t->owned ? err_in(e, "%s (%s)", w->module,
                                role_where(c->t->role, c->t->layer, c->t->expert, where))
                       : err_in(e, "%s", w->module);
}

static bool encode_rows(const coding *c, int64_t row, int64_t n, float *values, int64_t *changed,
                        err *e)
{
    const weight *w = c->t->source;
    const codec *k = c->t->codec;
    void *at[CODEC_MAX_PARTS];
    encoded_at(c, row, at);
    encode_options o = {c->t->search, c->t->positive_scales, c->importance, row,
                        weight_plain_type(w), c->whole_scale, w->out};
    if (!k->encode(k, w->in, n, values, &o, at, e))
        return at_weight(c, e);
    if (!c->r->options->count_changes)
        return true;
    part_view view[CODEC_MAX_PARTS] = {0};
    for (int i = 0; i < codec_written(k); i++) {
        view[i] = part_at(at[i], codec_written_type(k, i, o.search, o.source));
        view[i].pitch = codec_part_pitch(k, i, w->out);
    }
    float *back = values + n * w->in;
    if (!k->decode(k, w->in, n, view, back, e))
        return false;
    *changed = count_changes(values, back, n * w->in);
    return true;
}

static void measure_rows(const transcode_rows *x, run_loss *to)
{
    for (int64_t i = 0; i < x->n; i++) {
        const float *a = x->values + i * x->in, *b = x->room + i * x->in;
        to[i] = (run_loss){reduce_sum_squared_difference(a, b, x->in),
                           reduce_sum_squares(a, x->in), 0};
        for (int64_t k = 0; k < x->in; k++) {
            float d = a[k] > b[k] ? a[k] - b[k] : b[k] - a[k];
            to[i].largest = d > to[i].largest ? d : to[i].largest;
        }
    }
}

// Moves them block by block.
static bool move_rows(const coding *c, int64_t row, int64_t n, float *values, int64_t *lost,
                      err *e)
{
    const weight *w = c->t->source;
    const bool lossy = c->r->plan->options.lossy;
    float *scales = values + n * w->in;
    void *at[CODEC_MAX_PARTS];
    dtype type[CODEC_MAX_PARTS];
    bool scaled;
    encoded_at(c, row, at);
    for (int i = 0; i < codec_written(c->t->codec); i++) {
        plan_tensor part = *c->t;
        part.part = i;
        type[i] = plan_part_type(&part);
    }
    if (!weight_any_scales(&c->stored, c->stored_at, row, n, scales, &scaled, e))
        return false;
    const transcode_rows x = {.in = w->in, .n = n, .values = values,
                              .scales = scaled ? scales : NULL, .room = scales + n * w->in,
                              .own_scales = scales + 2 * n * w->in, .height = w->out,
                              .row0 = row, .whole_scale = c->whole_scale, .type = type,
                              .lossy = lossy, .part = at};
    if (!transcode(c->t->codec, &x, lost, e))
        return at_weight(c, e);
    if (lossy)
        measure_rows(&x, c->loss + (row - c->row));
    return true;
}

static bool work(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const coding *c = ctx;
    const weight *w = c->t->source;
    float *values = (float *)(void *)(c->r->values + (uint64_t)worker * c->r->sizes.worker);
    for (int64_t i = begin; i < end; i++) {
        if (i < w->n_parts) {
            if (c->source[i])
                xxh128_add(c->source[i], c->read[i], c->read_bytes[i]);
            continue;
        }
        int64_t k = i - w->n_parts;
        int64_t row = c->row + k * c->chunk, n = i64_min(c->chunk, c->row + c->rows - row);
        if (c->t->cut) {
            void *at[CODEC_MAX_PARTS];
            encoded_at(c, row, at);
            weight_cut(&c->stored, c->stored_at, row, n, at);
            continue;
        }
        if (!weight_decode(&c->stored, c->stored_at, row, n, values, e) ||
            !(c->t->exact ? move_rows : encode_rows)(c, row, n, values, &c->changed[k], e))
            return false;
    }
    return true;
}

// ---- batches ---------------------------------------------------------------------------------

static bool read_batch(coding *c, err *e)
{
    const weight *w = c->t->source;
    if (!weight_lay_out(&c->stored, w, c->row, c->rows, e))
        return false;
    c->stored_at = c->rows_at;
    if (!weight_in_runs(w)) {
        weight_gather(&c->stored, c->r->stacks.held[slice_kind(w)].part, c->rows_at);
        return true;
    }
    // What is one for all rows comes with the first batch and stays where it is.
    for (int i = 0; i < w->n_parts; i++) {
        uint64_t offset;
        weight_part_range(w, i, c->row, c->rows, &offset, &c->read_bytes[i]);
        void *to = c->rows_at + c->stored.part[i].at;
        c->read[i] = to;
        c->source[i] = c->own[i];
        if (w->view && !stack_sum_at(&c->r->stacks, w->part[i], offset, c->read_bytes[i],
                                     &c->source[i], e))
            return false;
        if (!c->read_bytes[i])
            continue;
        const void *lent = w->n_parts == 1 ? stream_lend(c->r->in, c->read_bytes[i]) : NULL;
        if (lent)
            c->read[i] = c->stored_at = lent;
        else if (!stream_read(c->r->in, to, c->read_bytes[i], e))
            return false;
    }
    return true;
}

// Where the batch's rows of part i lie in the part.
static uint64_t part_offset(const coding *c, int i)
{
    return codec_part_offset(c->t->codec, i, c->t->source->in, c->row);
}

// Parts that wait in memory are encoded in their place, the others in the batch's memory: those
// across, which are handed on with the last rows, in front of the stored rows, the rest behind.
static void place_parts(coding *c)
{
    const codec *k = c->t->codec;
    int64_t out = c->t->source->out, in = c->t->source->in;
    uint8_t *front = c->r->batch, *behind = c->rows_at + c->stored.bytes;
    for (int i = 0; i < codec_written(k); i++) {
        bool across = k->part[i].across;
        uint64_t bytes = codec_part_bytes(k, i, across ? out : c->rows, in);
        uint8_t *memory = i == c->direct ? NULL : c->r->held.part[c->held[i]].memory;
        uint8_t **room = across ? &front : &behind;
        uint8_t *at = memory ? memory + (across ? 0 : part_offset(c, i)) : *room;
        if (!memory)
            *room += (bytes + 63) / 64 * 64;
        // What there is once for the whole weight comes with the first rows.
        bool ready = across ? c->row + c->rows == out : !codec_part_whole(k, i) || c->row == 0;
        c->encoded[i] = at + (across ? part_offset(c, i) : 0);
        c->ready[i] = at;
        c->ready_bytes[i] = ready ? bytes : 0;
        (void)codec_fixed_part(k, i, out, in, at);
    }
    c->loss = (run_loss *)(void *)behind;
}

static bool hand_on(coding *c, err *e)
{
    const codec *k = c->t->codec;
    for (int i = 0; i < codec_written(k); i++) {
        uint64_t n = c->ready_bytes[i], at = k->part[i].across ? 0 : part_offset(c, i);
        xxh128_add(c->sum[i], c->ready[i], n);
        if (i == c->direct) {
            if (!runner_append(c->r, c->ready[i], n, e))
                return false;
        } else if (!c->r->held.part[c->held[i]].memory &&
                   !held_put(&c->r->held, c->held[i], at, c->ready[i], n, e)) {
            return false;
        }
    }
    return true;
}

static bool code_batches(coding *c, int64_t *changed, run_loss *loss, err *e)
{
    const weight *w = c->t->source;
    int64_t most = run_batch_rows(c->t, c->r->sizes.batch);
    for (c->row = 0; c->row < w->out; c->row += c->rows) {
        c->rows = i64_min(most, w->out - c->row);
        int64_t chunks = i64_ceil_div(c->rows, c->chunk);
        if (!event_go_on(c->r->options->events, e) || !read_batch(c, e))
            return false;
        place_parts(c);
        if (!pool_for(c->r->options->pool, w->n_parts + chunks, 1, work, c, e) ||
            !hand_on(c, e))
            return false;
        for (int64_t i = 0; i < chunks; i++)
            *changed += c->changed[i];
        for (int64_t i = 0; c->t->exact && c->r->plan->options.lossy && i < c->rows; i++)
            run_loss_add(loss, &c->loss[i]);
    }
    return true;
}

// ---- a weight --------------------------------------------------------------------------------

static bool open_coding(coding *c, err *e)
{
    const weight *w = c->t->source;
    const codec *k = c->t->codec;
    int64_t chunks = i64_ceil_div(run_batch_rows(c->t, c->r->sizes.batch), c->chunk);
    c->changed = mem_new((uint64_t)chunks, sizeof *c->changed, "counts", e);
    if (!c->changed)
        return false;
    for (int i = 0; !w->view && i < w->n_parts; i++)
        if (!(c->own[i] = xxh128_new(e)))
            return false;
    for (int i = 0; i < codec_written(k); i++)
        if (!(c->sum[i] = xxh128_new(e)) ||
            (i != c->direct &&
             !held_add(&c->r->held, w, i, codec_part_bytes(k, i, w->out, w->in), &c->held[i], e)))
            return false;
    return true;
}

static void end_sums(coding *c, xxh128_digest *sum)
{
    const weight *w = c->t->source;
    for (int i = 0; !w->view && i < w->n_parts; i++) {
        int64_t at = checkpoint_index(c->r->plan->source, w->part[i]);
        xxh128_end(c->own[i], &c->r->result->source[at]);
        c->r->result->read[at] = true;
        c->own[i] = NULL;
    }
    for (int i = 0; i < codec_written(c->t->codec); i++) {
        xxh128_end(c->sum[i], i == c->direct ? sum : &c->r->held.part[c->held[i]].digest);
        c->sum[i] = NULL;
    }
}

bool code_weight(runner *r, int64_t index, xxh128_digest *sum, err *e)
{
    coding c = {.r = r, .t = &r->plan->tensor[index]};
    c.direct = c.t->stack ? -1 : c.t->part;
    const run_options *o = r->options;
    bool has = false;
    c.chunk = run_chunk_rows(c.t);
    c.rows_at = r->batch + run_across_bytes(c.t);
    float *importance = mem_new((uint64_t)c.t->source->in, sizeof *importance, "importance", e);
    bool ok = importance && open_coding(&c, e) && slice_take(r, c.t->source, e);
    if (ok && o->importance && !c.t->cut)
        ok = o->importance(o->ctx, r->plan->model, c.t, importance, &has, e);
    c.importance = has ? importance : NULL;
    if (ok && c.t->codec->whole && !c.t->cut)
        ok = whole_scale(r, c.t, &c.whole_scale, e);
    ok = ok && code_batches(&c, &r->result->changed[index], &r->result->loss[index], e);
    if (ok)
        end_sums(&c, sum);
    for (int i = 0; i < CODEC_MAX_PARTS; i++) {
        xxh128_free(c.own[i]);
        xxh128_free(c.sum[i]);
    }
    free(importance);
    free(c.changed);
    return ok;
}
