// SPDX-License-Identifier: Apache-2.0
#include "convert/run.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "convert/run_parts.h"
#include "verify/metrics.h"

enum { COPY = 1 << 20 }; // bytes that come back from scratch at a time

// ---- results ---------------------------------------------------------------------------------

bool run_result_init(run_result *r, const plan *p, err *e)
{
    uint64_t sources = (uint64_t)checkpoint_count(p->source);
    *r = (run_result){0};
    r->resumed = mem_new((uint64_t)p->n_files, sizeof *r->resumed, "digests", e);
    r->tensor = mem_new((uint64_t)p->n_tensors, sizeof *r->tensor, "digests", e);
    r->record = mem_new((uint64_t)p->n_files, sizeof *r->record, "digests", e);
    r->header = mem_new((uint64_t)p->n_files, sizeof *r->header, "digests", e);
    r->changed = mem_new((uint64_t)p->n_tensors, sizeof *r->changed, "counts", e);
    r->loss = mem_new((uint64_t)p->n_tensors, sizeof *r->loss, "counts", e);
    r->source = mem_new(sources, sizeof *r->source, "digests", e);
    r->read = mem_new(sources, sizeof *r->read, "digests", e);
    r->file = mem_new((uint64_t)checkpoint_n_files(p->source), sizeof *r->file, "digests", e);
    r->whole = mem_new((uint64_t)checkpoint_n_files(p->source), sizeof *r->whole, "digests", e);
    bool ok = r->resumed && r->tensor && r->record && r->header && r->changed && r->loss &&
              r->source && r->read && r->file && r->whole;
    for (int64_t f = 0; ok && f < p->n_files; f++) {
        xxh128_of(p->file[f].header.text, p->file[f].header.len, &r->header[f]);
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
    free(r->loss);
    free(r->source);
    free(r->read);
    free(r->file);
    free(r->whole);
    *r = (run_result){0};
}

bool run_recall(const plan *p, output *out, run_result *r, err *e)
{
    for (int64_t f = 0; f < p->n_files; f++) {
        const char *name = p->file[f].name;
        bool known;
        if (!output_has(out, name, NULL))
            return err_set(e, ERR_ENV, "'%s' is not finished yet", name);
        if (!note_read(p, f, output_note(out, name), r, &known, e))
            return false;
        if (known)
            continue;
        output_reject(out, name);
        return err_set(e, ERR_ENV, "'%s' was finished without a note that can be understood and "
                       "was removed; it has to be made again", name);
    }
    return true;
}

bool run_recall_some(const plan *p, const output *out, run_result *r, err *e)
{
    for (int64_t f = 0; f < p->n_files; f++) {
        const char *name = p->file[f].name;
        bool known;
        if (output_has(out, name, NULL) && !note_read(p, f, output_note(out, name), r, &known, e))
            return false;
    }
    return true;
}

static bool is_stack(const plan *p, int64_t i)
{
    return p->model && model_account(p->model, i)->stacked;
}

bool run_source_ids(const plan *p, run_result *r, source_id *to, err *e)
{
    for (int64_t i = 0; i < checkpoint_count(p->source); i++) {
        if (r->read[i])
            continue;
        if (!is_stack(p, i))
            return err_set(e, ERR_INTERNAL, "tensor '%s' of the source was never read",
                           checkpoint_at(p->source, i)->name);
        // Several units read some of it, or one in another order.
        if (!checkpoint_tensor_digest(p->source, checkpoint_at(p->source, i), &r->source[i], e))
            return false;
        r->read[i] = true;
    }
    return source_ids_of(p->source, r->source, to, e);
}

void run_loss_add(run_loss *to, const run_loss *x)
{
    to->error += x->error;
    to->signal += x->signal;
    to->largest = x->largest > to->largest ? x->largest : to->largest;
}

double run_loss_db(const run_loss *x)
{
    return metrics_sqnr_db(&(matrix_sums){.error = x->error, .ref = x->signal});
}

// ---- tensors ---------------------------------------------------------------------------------

static void tell_progress(runner *r, uint64_t n)
{
    r->done += n;
    event_progress(r->options->events, "bytes", r->done, r->total);
}

bool runner_append(runner *r, const void *bytes, uint64_t n, err *e)
{
    if (!out_append(r->file, bytes, n, e))
        return false;
    tell_progress(r, n);
    return true;
}

// Piece by piece, so that each look after the first finds the bytes in a cache.
static bool move_block(runner *r, const plan_tensor *t, uint64_t offset, const uint8_t *bytes,
                       uint64_t n, xxh128 *sum, err *e)
{
    enum { PIECE = 128 << 10 };
    for (uint64_t at = 0; at < n; at += PIECE) {
        uint64_t some = n - at < PIECE ? n - at : PIECE;
        sums_bytes(r->sums, t->from->file, t->from->offset + offset + at, bytes + at, some);
        xxh128_add(sum, bytes + at, some);
        if (!out_append(r->file, bytes + at, some, e))
            return false;
    }
    return true;
}

static bool move_bytes(runner *r, const plan_tensor *t, xxh128 *sum, err *e)
{
    for (uint64_t left = t->from->bytes; left > 0;) {
        const void *bytes;
        uint64_t n;
        if (!event_go_on(r->options->events, e) || !stream_take(r->in, left, &bytes, &n, e))
            return false;
        if (n == 0)
            return err_set(e, ERR_INTERNAL, "the source ended inside tensor '%s'", t->from->name);
        if (!move_block(r, t, t->from->bytes - left, bytes, n, sum, e))
            return false;
        tell_progress(r, n);
        left -= n;
    }
    return true;
}

static bool move_tensor(runner *r, const plan_tensor *t, xxh128_digest *sum, err *e)
{
    xxh128 *x = xxh128_new(e);
    if (!x)
        return false;
    if (!move_bytes(r, t, x, e)) {
        xxh128_free(x);
        return false;
    }
    int64_t at = checkpoint_index(r->plan->source, t->from);
    xxh128_end(x, sum);
    r->result->source[at] = *sum;
    r->result->read[at] = true;
    return true;
}

static bool write_held(runner *r, const plan_tensor *t, xxh128_digest *sum, err *e)
{
    int64_t at = held_find(&r->held, t->source, t->part);
    assert(at >= 0);
    const held_part part = r->held.part[at];
    *sum = part.digest;
    bool ok = true;
    if (part.memory) {
        ok = runner_append(r, part.memory, part.bytes, e);
    } else {
        unsigned char *piece = mem_new(COPY, 1, "a block", e);
        ok = piece != NULL;
        for (uint64_t done = 0; ok && done < part.bytes;) {
            uint64_t n = part.bytes - done < COPY ? part.bytes - done : COPY;
            ok = event_go_on(r->options->events, e) &&
                 held_get(&r->held, (uint64_t)at, done, piece, n, e) &&
                 runner_append(r, piece, n, e);
            done += n;
        }
        free(piece);
    }
    held_drop(&r->held, (uint64_t)at);
    return ok;
}

static bool write_tensor(runner *r, int64_t index, err *e)
{
    const plan_tensor *t = &r->plan->tensor[index];
    xxh128_digest *sum = &r->result->tensor[index];
    if (t->from)
        return move_tensor(r, t, sum, e);
    if (t->stack)
        return write_stack(r, index, sum, e);
    return event_go_on(r->options->events, e) &&
           (t->starts ? code_weight(r, index, sum, e) : write_held(r, t, sum, e));
}

// ---- units -----------------------------------------------------------------------------------

// Zeros from a tensor's last byte to the next one's first, or to the end of the file: of GGUF.
static bool write_padding(runner *r, const plan_file *f, int64_t index, err *e)
{
    static const unsigned char zeros[4096];
    const tensor *t = &r->plan->tensor[index].to;
    bool last = index + 1 == f->first + f->n;
    uint64_t next = last ? f->bytes : r->plan->tensor[index + 1].to.offset;
    for (uint64_t at = t->offset + t->bytes, n; at < next; at += n) {
        n = next - at < sizeof zeros ? next - at : sizeof zeros;
        if (!runner_append(r, zeros, n, e))
            return false;
    }
    return true;
}

static bool write_tensors(runner *r, int64_t index, output *out, proof *p, err *e)
{
    const plan_file *f = &r->plan->file[index];
    if (!output_begin(out, r->file, f->name, f->bytes, f->header.text, f->header.len, e))
        return false;
    out_watched(r->file, proof_bytes, p);
    if (!out_write_behind(r->file, r->sizes.ring, false, e))
        return false;
    for (int64_t i = f->first; i < f->first + f->n; i++)
        if (plan_heads(&r->plan->tensor[i]) &&
            (!write_tensor(r, i, e) || (f->is_gguf && !write_padding(r, f, i, e))))
            return false;
    return out_settle(r->file, e);
}

static bool make_unit(runner *r, int64_t index, output *out, err *e)
{
    const plan *p = r->plan;
    const plan_file *f = &p->file[index];
    out_file file = OUT_FILE_CLOSED;
    strbuf note = {0};
    proof *proven = NULL;
    r->file = &file;
    bool ok = held_open(&r->held, p, f, r->sizes.held, r->options->scratch, e) &&
              proof_open(&proven, f, e) && write_tensors(r, index, out, proven, e);
    stacks_end_unit(&r->stacks, p->source, ok ? r->result : NULL);
    ok = ok && proof_end(proven, "as written", p->tensor + f->first, r->result->tensor + f->first,
                        r->result->record[index], e) &&
              checkpoint_unchanged(p->source, e) && note_write(p, index, r->result, &note, e) &&
              output_end(out, &file, f->name, note.text, e);
    if (!ok)
        out_discard(&file);
    proof_close(proven);
    held_close(&r->held);
    strbuf_free(&note);
    return ok;
}

// Which units of the slice are finished already; what their notes say.
static bool recall_units(runner *r, run_slice slice, const output *out, err *e)
{
    const plan *p = r->plan;
    for (int64_t f = slice.first; f < slice.first + slice.n; f++) {
        bool known = false;
        if (output_has(out, p->file[f].name, NULL) &&
            !note_read(p, f, output_note(out, p->file[f].name), r->result, &known, e))
            return false;
        r->result->resumed[f] = known;
    }
    return true;
}

static bool make_units(runner *r, run_slice slice, output *out, err *e)
{
    bool ok = true;
    for (int64_t f = slice.first; f < slice.first + slice.n; f++)
        r->total += r->plan->file[f].bytes - r->plan->file[f].header.len;
    for (int64_t f = slice.first; ok && f < slice.first + slice.n; f++) {
        const plan_file *file = &r->plan->file[f];
        if (r->result->resumed[f]) {
            event_note(r->options->events, "%s was finished by an earlier run", file->name);
            r->done += file->bytes - file->header.len;
        } else {
            ok = make_unit(r, f, out, e);
        }
    }
    return ok;
}

bool run_plan(const plan *p, const run_options *o, output *out, run_result *result, err *e)
{
    runner r = {.plan = p, .options = o, .result = result, .held = {.spill = SPILL_CLOSED}};
    run_slice slice = o->slice ? *o->slice : (run_slice){0, p->n_files};
    int threads = pool_threads(o->pool);
    uint64_t needed;
    source_walk walk;
    if (!run_sizes_of(p, threads, o->memory, true, &r.sizes, &needed, e) ||
        !recall_units(&r, slice, out, e))
        return false;
    const uint64_t batch = r.sizes.batch, values = r.sizes.worker * (uint64_t)threads;
    r.batch = mem_pages(batch, "a batch of rows", e);
    if (o->batch && o->batch < r.sizes.batch)
        r.sizes.batch = o->batch;
    if (o->held && o->held < r.sizes.held)
        r.sizes.held = o->held;
    walk_begin(&walk, p, result->resumed, slice, r.sizes.batch);
    const stream_options reading = {.memory = r.sizes.stream};
    r.stacks.memory = mem_new_aligned(r.sizes.slice, 1, "a slice of a stack", e);
    r.values = mem_pages(values, "decoded rows", e);
    bool ok = r.batch && r.values && r.stacks.memory &&
              sums_open(&r.sums, p->source, o->expected, e) &&
              stream_open(&r.in, walk_next, &walk, &reading, e) &&
              make_units(&r, slice, out, e);
    stream_close(r.in);
    sums_end(ok ? r.sums : NULL, p->source, result);
    sums_close(r.sums, p->source);
    mem_pages_free(r.batch, batch);
    free(r.stacks.memory);
    mem_pages_free(r.values, values);
    return ok;
}
