// SPDX-License-Identifier: Apache-2.0
// What has to be known of a whole weight before its first row is encoded: the scale that all of it
// has, and shares with the weights that runtimes join it with. The weights are read for it once
// more than otherwise, in batches, in the memory that the run has.
#include "base/reduce.h"
#include "convert/fused.h"
#include "convert/run_parts.h"
#include "quantize/transcode.h"

typedef struct {
    runner *r;
    stored_rows stored;
    int64_t row, rows, chunk;
    float *most;              // [tasks]
    scratch room;             // for them
    const plan_tensor *moved; // the weight is moved into another form, block by block
    const transcode_census *offers;
    transcode_census *census; // [tasks]
    scratch census_room;
} scan;

static bool count_rows(const scan *s, int64_t row, int64_t n, float *values, transcode_census *to,
                       err *e)
{
    const int64_t in = s->stored.w->in;
    bool scaled;
    float *scales = values + n * in;
    if (!weight_any_scales(&s->stored, s->r->batch, row, n, scales, &scaled, e))
        return false;
    const transcode_rows x = {.in = in, .n = n, .values = values,
                              .scales = scaled ? scales : NULL};
    transcode_count(s->moved->codec, &x, to);
    return true;
}

static bool scan_rows(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const scan *s = ctx;
    float *values = (float *)(void *)(s->r->values + (uint64_t)worker * s->r->sizes.worker);
    for (int64_t i = begin; i < end; i++) {
        int64_t row = s->row + i * s->chunk, n = i64_min(s->chunk, s->row + s->rows - row);
        if (!weight_decode(&s->stored, s->r->batch, row, n, values, e))
            return false;
        if (s->moved)
            s->census[i] = *s->offers;
        if (s->moved && !count_rows(s, row, n, values, &s->census[i], e))
            return false;
        s->most[i] = reduce_max_abs(values, n * s->stored.w->in);
    }
    return true;
}

// As many rows as fit beside nothing else.
static bool lay_out(scan *s, const weight *w, err *e)
{
    int64_t quantum = weight_quantum(w);
    for (s->rows = w->out - s->row;; s->rows = i64_max(s->rows / 2 / quantum, 1) * quantum) {
        if (!weight_lay_out(&s->stored, w, s->row, s->rows, e))
            return false;
        if (s->stored.bytes <= s->r->sizes.batch)
            return true;
        if (s->rows <= quantum)
            return err_set(e, ERR_ENV, "%s: %lld rows do not fit into what --memory leaves for a "
                           "batch", w->module, (long long)s->rows);
    }
}

static bool scan_weight(scan *s, const weight *w, float *amax, transcode_census *census, err *e)
{
    for (s->row = 0; s->row < w->out; s->row += s->rows) {
        const held_slice *held = &s->r->stacks.held[slice_kind(w)];
        bool at_hand = !weight_in_runs(w) && slice_is_shared(held->of, w);
        if (!event_go_on(s->r->options->events, e) || !lay_out(s, w, e) ||
            (!at_hand && !weight_fetch(&s->stored, s->r->batch, e)))
            return false;
        if (at_hand)
            weight_gather(&s->stored, held->part, s->r->batch);
        int64_t tasks = i64_ceil_div(s->rows, s->chunk);
        s->most = scratch_need(&s->room, (uint64_t)tasks, sizeof *s->most, "maxima", e);
        if (s->moved)
            s->census = scratch_need(&s->census_room, (uint64_t)tasks, sizeof *s->census,
                                     "counts", e);
        if (!s->most || (s->moved && !s->census) ||
            !pool_for(s->r->options->pool, tasks, 1, scan_rows, s, e))
            return false;
        for (int64_t i = 0; i < tasks; i++) {
            *amax = s->most[i] > *amax ? s->most[i] : *amax;
            if (s->moved)
                transcode_add(&s->census[i], census);
        }
    }
    return true;
}

// What the sources themselves have.
static bool offer_globals(const codec *c, const weight *const *with, int n, transcode_census *to,
                          err *e)
{
    for (int k = 0; k < n; k++) {
        float scale;
        bool divides, has;
        if (!weight_global(with[k], &scale, &divides, &has, e))
            return false;
        if (has)
            transcode_offer(c, to, scale, divides);
    }
    return true;
}

bool whole_scale(runner *r, const plan_tensor *t, float *scale, err *e)
{
    const codec *c = t->codec;
    const weight *with[FUSED_MOST] = {t->source};
    scan s = {.r = r, .chunk = run_chunk_rows(t), .moved = t->exact ? t : NULL};
    transcode_census census = {0};
    float amax = 0;
    int n = 0;
    if (c->whole == WHOLE_FUSED && t->owned)
        n = fused_with(r->plan->model, t->role, t->layer, t->expert, with);
    dtype type = weight_plain_type(with[0]);
    bool ok = !t->exact || offer_globals(c, with, n ? n : 1, &census, e);
    const transcode_census offers = census;
    s.offers = &offers;
    ok = ok && scan_weight(&s, with[0], &amax, &census, e);
    for (int k = 1; ok && k < n; k++) {
        ok = scan_weight(&s, with[k], &amax, &census, e);
        type = weight_plain_type(with[k]) == type ? type : DT_F32;
    }
    *scale = 0;
    if (ok)
        *scale = t->exact ? transcode_whole_scale(c, &census) : codec_whole_scale(c, amax, type);
    scratch_free(&s.room);
    scratch_free(&s.census_room);
    return ok;
}
