// SPDX-License-Identifier: Apache-2.0
#include "convert/run.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { COPY_BLOCK = 4 << 20 };

// Encoded parts that wait for their place in the file.
typedef struct {
    const weight *source;
    int part;
    void *bytes;
} held_part;

typedef struct {
    const plan *plan;
    const run_options *options;
    run_result *result;
    out_file *file;
    held_part *held;
    uint64_t n_held, held_cap;
    scratch copy;
    xxh128 *record;      // of the record being written, or NULL
    int64_t record_expert;
    uint64_t done;       // tensor bytes, for progress
} writer;

// ---- results and budgets ---------------------------------------------------------------------

bool run_result_init(run_result *r, const plan *p, err *e)
{
    *r = (run_result){0};
    r->resumed = mem_new((uint64_t)p->n_files, sizeof *r->resumed, "digests", e);
    r->tensor = mem_new((uint64_t)p->n_tensors, sizeof *r->tensor, "digests", e);
    r->record = mem_new((uint64_t)p->n_files, sizeof *r->record, "digests", e);
    r->header = mem_new((uint64_t)p->n_files, sizeof *r->header, "digests", e);
    r->changed = mem_new((uint64_t)p->n_tensors, sizeof *r->changed, "counts", e);
    bool ok = r->resumed && r->tensor && r->record && r->header && r->changed;
    for (int64_t f = 0; ok && f < p->n_files; f++) {
        if (!p->file[f].holds_experts)
            continue;
        r->record[f] = mem_new((uint64_t)p->file[f].records.n_experts, sizeof **r->record,
                               "digests", e);
        ok = r->record[f] != NULL;
    }
    if (!ok)
        run_result_free(r, p);
    return ok;
}

void run_result_free(run_result *r, const plan *p)
{
    for (int64_t f = 0; r->record && f < p->n_files; f++)
        free(r->record[f]);
    free(r->record);
    free(r->resumed);
    free(r->tensor);
    free(r->header);
    free(r->changed);
    *r = (run_result){0};
}

// Rows a worker takes at a time: whole quanta, about a million values.
static int64_t rows_at_once(const codec *c, int64_t in)
{
    int64_t rows = (1 << 20) / (in > 0 ? in : 1);
    rows -= rows % c->row_quantum;
    return rows > c->row_quantum ? rows : c->row_quantum;
}

static uint64_t worker_bytes(const plan *p)
{
    uint64_t most = 0;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!t->starts)
            continue;
        // Values, their stored form (never wider than binary32), the check of exactness.
        uint64_t n = (uint64_t)(rows_at_once(t->codec, t->source->in) * t->source->in);
        if (n * 12 > most)
            most = n * 12;
    }
    return most;
}

bool run_fits(const plan *p, int threads, uint64_t memory, uint64_t *needed, err *e)
{
    *needed = plan_held_bytes(p) + worker_bytes(p) * (uint64_t)threads + COPY_BLOCK;
    if (*needed <= memory)
        return true;
    uint64_t mib = (*needed >> 20) + 1;
    return err_set(e, ERR_ENV, "this run needs %llu MiB with %d threads, --memory allows %llu MiB; "
                   "--memory %lluMiB would do", (unsigned long long)mib, threads,
                   (unsigned long long)(memory >> 20), (unsigned long long)mib);
}

// ---- encoding --------------------------------------------------------------------------------

typedef struct {
    const plan_tensor *t;
    const run_options *options;
    const float *importance;
    uint8_t *part[CODEC_MAX_PARTS];
    int64_t chunk;       // rows
    int64_t *changed;    // [chunks]
} coding;

static void part_pointers(const coding *c, int64_t row, void *at[CODEC_MAX_PARTS])
{
    const codec *k = c->t->codec;
    for (int i = 0; i < k->n_parts; i++) {
        int64_t block = k->part[i].row_block;
        uint64_t row_bytes = codec_part_row_bytes(k, i, c->t->source->in, k->part[i].type);
        at[i] = block == 0 ? c->part[i] : c->part[i] + (uint64_t)(row / block) * row_bytes;
    }
}

static int64_t count_changes(const float *a, const float *b, int64_t n)
{
    int64_t changed = 0;
    for (int64_t i = 0; i < n; i++)
        changed += f32_bits(a[i]) != f32_bits(b[i]);
    return changed;
}

static bool encode_rows(const coding *c, int64_t row, int64_t n, float *values, err *e)
{
    const weight *w = c->t->source;
    char where[MODEL_WHERE_TEXT];
    void *at[CODEC_MAX_PARTS];
    part_pointers(c, row, at);
    encode_options o = {c->t->search, c->t->positive_scales, c->importance, row};
    if (!c->t->codec->encode(c->t->codec, w->in, n, values, &o, at, e))
        return err_in(e, "%s (%s)", w->module,
                      role_where(c->t->role, c->t->layer, c->t->expert, where));
    if (!c->options->count_changes)
        return true;
    part_view view[CODEC_MAX_PARTS];
    for (int i = 0; i < c->t->codec->n_parts; i++)
        view[i] = (part_view){at[i], c->t->codec->part[i].type};
    float *back = values + n * w->in;
    if (!c->t->codec->decode(c->t->codec, w->in, n, view, back, e))
        return false;
    c->changed[row / c->chunk] = count_changes(values, back, n * w->in);
    return true;
}

static bool encode_chunk(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const coding *c = ctx;
    const weight *w = c->t->source;
    scratch stored = {0};
    bool ok = true;
    (void)worker;
    float *values = mem_new_aligned((uint64_t)(2 * c->chunk * w->in), sizeof *values, "a block of "
                                    "rows", e);
    if (!values)
        return false;
    for (int64_t k = begin; ok && k < end; k++) {
        int64_t row = k * c->chunk, n = i64_min(c->chunk, w->out - row);
        ok = weight_read_rows(w, row, n, values, &stored, e) && encode_rows(c, row, n, values, e);
    }
    scratch_free(&stored);
    free(values);
    return ok;
}

static bool hold(writer *w, const plan_tensor *t, int part, void *bytes, err *e)
{
    if (!mem_grow((void **)&w->held, &w->held_cap, w->n_held + 1, sizeof *w->held, "held parts",
                  e))
        return false;
    w->held[w->n_held++] = (held_part){t->source, part, bytes};
    return true;
}

// Encodes a whole weight; its parts are then held until their places in the file come.
static bool encode_weight(writer *w, int64_t index, err *e)
{
    const plan_tensor *t = &w->plan->tensor[index];
    const weight *src = t->source;
    const codec *k = t->codec;
    coding c = {.t = t, .options = w->options, .chunk = rows_at_once(k, src->in)};
    int64_t n_chunks = i64_ceil_div(src->out, c.chunk);
    bool ok = true, has = false;
    float *importance = mem_new((uint64_t)src->in, sizeof *importance, "importance", e);
    c.changed = mem_new((uint64_t)n_chunks, sizeof *c.changed, "counts", e);
    ok = importance && c.changed;
    for (int i = 0; ok && i < k->n_parts; i++) {
        void *bytes = mem_new(codec_part_bytes(k, i, src->out, src->in), 1, "encoded rows", e);
        ok = bytes != NULL;
        c.part[i] = bytes;
        if (ok && !hold(w, t, i, bytes, e)) {
            free(bytes);
            ok = false;
        }
        if (ok)
            (void)codec_fixed_part(k, i, src->out, src->in, bytes);
    }
    if (ok && w->options->importance)
        ok = w->options->importance(w->options->ctx, w->plan->model, t, importance,
                                    &has, e);
    c.importance = has ? importance : NULL;
    if (ok)
        ok = pool_for(w->options->pool, n_chunks, 1, encode_chunk, &c, e);
    for (int64_t i = 0; ok && i < n_chunks; i++)
        w->result->changed[index] += c.changed[i];
    free(importance);
    free(c.changed);
    return ok;
}

static void *take_held(writer *w, const weight *source, int part)
{
    for (uint64_t i = 0; i < w->n_held; i++) {
        if (w->held[i].source == source && w->held[i].part == part) {
            void *bytes = w->held[i].bytes;
            w->held[i] = w->held[--w->n_held];
            return bytes;
        }
    }
    return NULL;
}

// ---- writing ---------------------------------------------------------------------------------

static bool append(writer *w, xxh128 *sum, const void *bytes, uint64_t n, err *e)
{
    if (!out_append(w->file, bytes, n, e))
        return false;
    xxh128_add(sum, bytes, n);
    if (w->record)
        xxh128_add(w->record, bytes, n);
    w->done += n;
    event_progress(w->options->events, "bytes", w->done, w->plan->tensor_bytes);
    return true;
}

static bool move_tensor(writer *w, const plan_tensor *t, xxh128 *sum, err *e)
{
    void *block = scratch_need(&w->copy, COPY_BLOCK, 1, "a copy block", e);
    if (!block)
        return false;
    for (uint64_t at = 0; at < t->from->bytes;) {
        uint64_t n = t->from->bytes - at < COPY_BLOCK ? t->from->bytes - at : COPY_BLOCK;
        if (!event_go_on(w->options->events, e) ||
            !checkpoint_read(w->plan->source, t->from, at, block, n, e) ||
            !append(w, sum, block, n, e))
            return false;
        at += n;
    }
    return true;
}

static bool write_tensor(writer *w, int64_t index, err *e)
{
    const plan_tensor *t = &w->plan->tensor[index];
    xxh128 *sum = xxh128_new(e);
    if (!sum)
        return false;
    bool ok;
    if (t->from) {
        ok = move_tensor(w, t, sum, e);
    } else {
        ok = event_go_on(w->options->events, e) && (!t->starts || encode_weight(w, index, e));
        void *bytes = ok ? take_held(w, t->source, t->part) : NULL;
        assert(!ok || bytes);
        ok = ok && append(w, sum, bytes, t->to.bytes, e);
        free(bytes);
    }
    if (ok)
        xxh128_end(sum, &w->result->tensor[index]);
    else
        xxh128_free(sum);
    return ok;
}

static void end_record(writer *w, int64_t file)
{
    if (w->record)
        xxh128_end(w->record, &w->result->record[file][w->record_expert]);
    w->record = NULL;
}

// Opens the digest of a record where tensor `t` is the first of it, closes the one before.
static bool at_record(writer *w, int64_t file, const plan_tensor *t, err *e)
{
    const pack_index_layer *r = &w->plan->file[file].records;
    if (!w->plan->file[file].holds_experts)
        return true;
    uint64_t end = r->first_record + (uint64_t)r->n_experts * r->record_bytes;
    uint64_t inside = t->to.offset - r->first_record;
    if (t->to.offset < end && inside % r->record_bytes != 0)
        return true;
    end_record(w, file);
    if (t->to.offset >= end)
        return true;
    w->record_expert = (int64_t)(inside / r->record_bytes);
    w->record = xxh128_new(e);
    return w->record != NULL;
}

// What a run that resumes has to know of a finished file: "3:17 8:2" where 17 values of the weight
// that starts at the file's tensor 3 changed, 2 of that at 8.
static bool note_changes(const writer *w, const plan_file *f, strbuf *note, err *e)
{
    for (int64_t i = 0; i < f->n; i++)
        if (w->result->changed[f->first + i])
            strbuf_printf(note, "%s%lld:%lld", note->len ? " " : "", (long long)i,
                          (long long)w->result->changed[f->first + i]);
    return strbuf_ok(note, e);
}

static void take_changes(const char *note, const plan_file *f, int64_t *changed)
{
    while (note && *note) {
        char *end;
        long long i = strtoll(note, &end, 10);
        if (*end != ':' || i < 0 || i >= f->n)
            return;
        changed[f->first + i] = strtoll(end + 1, &end, 10);
        note = *end == ' ' ? end + 1 : end;
    }
}

static bool write_file(writer *w, int64_t index, output *out, err *e)
{
    const plan_file *f = &w->plan->file[index];
    out_file file = OUT_FILE_CLOSED;
    strbuf note = {0};
    w->file = &file;
    bool ok = output_begin(out, &file, f->name, f->bytes, f->header.text, f->header.len, e);
    for (int64_t i = f->first; ok && i < f->first + f->n; i++)
        ok = at_record(w, index, &w->plan->tensor[i], e) && write_tensor(w, i, e);
    if (ok)
        end_record(w, index);
    ok = ok && note_changes(w, f, &note, e) && output_end(out, &file, f->name, note.text, e);
    if (!ok)
        out_discard(&file);
    if (w->record)
        xxh128_free(w->record);
    w->record = NULL;
    strbuf_free(&note);
    return ok;
}

static void skip_file(writer *w, int64_t index, const output *out)
{
    const plan_file *f = &w->plan->file[index];
    event_note(w->options->events, "%s was finished by an earlier run", f->name);
    take_changes(output_note(out, f->name), f, w->result->changed);
    w->done += f->bytes - f->header.len;
}

bool run_plan(const plan *p, const run_options *o, output *out, run_result *r, err *e)
{
    writer w = {.plan = p, .options = o, .result = r};
    bool ok = true;
    for (int64_t f = 0; ok && f < p->n_files; f++) {
        xxh128_of(p->file[f].header.text, p->file[f].header.len, &r->header[f]);
        r->resumed[f] = output_has(out, p->file[f].name, NULL);
        if (r->resumed[f])
            skip_file(&w, f, out);
        else
            ok = write_file(&w, f, out, e);
    }
    for (uint64_t i = 0; i < w.n_held; i++)
        free(w.held[i].bytes);
    free(w.held);
    scratch_free(&w.copy);
    return ok;
}
