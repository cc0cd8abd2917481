// SPDX-License-Identifier: Apache-2.0
#include "convert/run_parts.h"

void walk_begin(source_walk *w, const plan *p, const bool *resumed, run_slice slice,
                uint64_t batch)
{
    *w = (source_walk){.plan = p, .resumed = resumed, .batch = batch};
    w->file = slice.first;
    w->end_file = slice.first + slice.n;
    w->tensor = slice.n > 0 ? p->file[slice.first].first : 0;
}

static void range_of(const source_walk *w, const tensor *t, uint64_t offset, uint64_t n,
                     stream_range *out)
{
    *out = (stream_range){checkpoint_file(w->plan->source, t->file), t->offset + offset, n};
}

// The next part of the slice that a weight lies in; false behind the last one.
static bool next_slice(source_walk *w, const weight *s, stream_range *out)
{
    uint64_t offset, bytes;
    if (slice_is_shared(w->slice[slice_kind(s)], s))
        return false;
    weight_slice_range(s, w->part, &offset, &bytes);
    range_of(w, s->part[w->part], offset, bytes, out);
    if (++w->part == s->n_parts) {
        w->part = 0;
        w->slice[slice_kind(s)] = s;
    }
    return true;
}

// The next part of the batch at w->row; false behind the last batch.
static bool next_part(source_walk *w, const plan_tensor *t, stream_range *out)
{
    const weight *s = t->source;
    if (!weight_in_runs(s))
        return next_slice(w, s, out);
    if (w->row == s->out)
        return false;
    int64_t n = i64_min(run_batch_rows(t, w->batch), s->out - w->row);
    uint64_t offset, bytes;
    weight_part_range(s, w->part, w->row, n, &offset, &bytes);
    range_of(w, s->part[w->part], offset, bytes, out);
    if (++w->part == s->n_parts) {
        w->part = 0;
        w->row += n;
    }
    return true;
}

bool walk_next(void *walk, stream_range *out, bool *end, err *e)
{
    source_walk *w = walk;
    (void)e;
    *end = false;
    for (; w->file < w->end_file; w->file++) {
        const plan_file *f = &w->plan->file[w->file];
        if (w->tensor < f->first)
            w->tensor = f->first;
        for (; !w->resumed[w->file] && w->tensor < f->first + f->n; w->tensor++) {
            const plan_tensor *t = &w->plan->tensor[w->tensor];
            if (t->starts && next_part(w, t, out))
                return true;
            w->row = 0;
            if (!t->from)
                continue;
            range_of(w, t->from, 0, t->from->bytes, out);
            w->tensor++;
            return true;
        }
        w->slice[0] = w->slice[1] = NULL;
    }
    *end = true;
    return true;
}

bool unit_sources(const plan *p, int64_t file, bool (*fn)(void *ctx, const tensor *t), void *ctx)
{
    const plan_file *f = &p->file[file];
    for (int64_t i = f->first; i < f->first + f->n; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (t->from && !fn(ctx, t->from))
            return false;
        for (int k = 0; t->opens && k < t->source->n_parts; k++)
            if (!fn(ctx, t->source->part[k]))
                return false;
    }
    return true;
}
