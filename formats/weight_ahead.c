// SPDX-License-Identifier: Apache-2.0
#include "formats/weight_ahead.h"

#include <stdlib.h>

#include "base/stream.h"

// Where in the order somebody is: part `part` of item `at`.
typedef struct {
    const weight_rows *rows;
    int64_t n, at, run;
    int part;
    stored_rows now; // of item `at`, where part > 0 or run > 0
} walk;

struct weight_ahead {
    walk reading;    // the stream's own
    const weight_rows *rows;
    int64_t n, taken;
    stored_rows next;
    stream *s;
};

// The parts that are read, item after item.
static bool next_part(void *ctx, stream_range *out, bool *end, err *e)
{
    walk *w = ctx;
    for (; w->at < w->n; w->at++, w->part = 0) {
        const weight_rows *r = &w->rows[w->at];
        if (w->part == 0 && w->run == 0 && !weight_lay_out(&w->now, r->w, r->row, r->n, e))
            return false;
        for (; w->part < r->w->n_parts; w->part++, w->run = 0) {
            const stored_part *p = &w->now.part[w->part];
            const tensor *t = r->w->part[w->part];
            if (!p->wanted || w->run == p->runs)
                continue;
            uint64_t offset = p->offset + (uint64_t)w->run * p->stride, span = weight_part_span(p);
            *out = (stream_range){checkpoint_file(r->w->from, t->file), t->offset + offset,
                                  span ? span : p->run_bytes};
            w->run = span ? p->runs : w->run + 1;
            return true;
        }
    }
    *end = true;
    return true;
}

static bool lay_out_next(weight_ahead *a, err *e)
{
    a->next = (stored_rows){0};
    if (a->taken == a->n)
        return true;
    const weight_rows *r = &a->rows[a->taken];
    return weight_lay_out(&a->next, r->w, r->row, r->n, e);
}

bool weight_ahead_open(weight_ahead **out, const weight_rows *rows, int64_t n, uint64_t memory,
                       err *e)
{
    *out = NULL;
    weight_ahead *a = mem_new(1, sizeof *a, "what is read ahead", e);
    if (!a)
        return false;
    a->reading = (walk){.rows = rows, .n = n};
    a->rows = rows;
    a->n = n;
    if (!lay_out_next(a, e) ||
        !stream_open(&a->s, next_part, &a->reading, &(stream_options){.memory = memory}, e)) {
        weight_ahead_close(a);
        return false;
    }
    *out = a;
    return true;
}

const stored_rows *weight_ahead_next(const weight_ahead *a)
{
    return a->taken < a->n ? &a->next : NULL;
}

static bool take_part(stream *s, const stored_part *p, char *to, err *e)
{
    uint64_t span = weight_part_span(p), n;
    if (!span)
        return stream_read(s, to, p->bytes, e);
    for (uint64_t at = 0; at < span; at += n) {
        const void *bytes;
        if (!stream_take(s, span - at, &bytes, &n, e))
            return false;
        if (n == 0)
            return err_set(e, ERR_INTERNAL, "the stream of weights ended early");
        weight_part_gather(p, at, bytes, n, to);
    }
    return true;
}

bool weight_ahead_take(weight_ahead *a, void *to, err *e)
{
    for (int i = 0; i < a->next.w->n_parts; i++) {
        const stored_part *p = &a->next.part[i];
        if (p->wanted && !take_part(a->s, p, (char *)to + p->at, e))
            return false;
    }
    a->taken++;
    return lay_out_next(a, e);
}

void weight_ahead_close(weight_ahead *a)
{
    if (!a)
        return;
    stream_close(a->s);
    free(a);
}
