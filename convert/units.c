// SPDX-License-Identifier: Apache-2.0
#include "convert/units.h"

#include <stdlib.h>

static uint64_t bytes_a_value(const plan_tensor *t)
{
    switch (t->codec->form) {
    case CODEC_FLOAT: return 2;
    case CODEC_FP8_BLOCK:
    case CODEC_FP8_CHANNEL: return 4;
    case CODEC_INT4_GROUP: return 24;
    }
    return 2;
}

unit_cost unit_cost_of(const plan *p, int64_t unit)
{
    const plan_file *f = &p->file[unit];
    unit_cost c = {.written = f->bytes};
    uint64_t held = 0, work = 0;
    for (int64_t i = f->first; i < f->first + f->n; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (t->from) {
            c.read += t->from->bytes;
            continue;
        }
        if (t->starts) {
            int64_t values = weight_elements(t->source);
            c.read += weight_stored_bytes(t->source);
            c.values += values;
            work += (uint64_t)values * bytes_a_value(t);
            held += codec_bytes(t->codec, t->source->out, t->source->in);
        }
        c.memory = held > c.memory ? held : c.memory;
        held -= t->to.bytes;
    }
    c.weight = c.read + c.written + work;
    return c;
}

// Weights, halved until their sum times the number of parts fits 64 bits with room for doubling.
static int scale_of(const plan *p)
{
    enum { MOST = 40 };
    int shift = 0;
    for (;; shift++) {
        uint64_t total = 0;
        for (int64_t f = 0; f < p->n_files && total >> MOST == 0; f++)
            total += unit_cost_of(p, f).weight >> shift;
        if (total >> MOST == 0)
            return shift;
    }
}

void units_share(const plan *p, int64_t parts, int64_t *part)
{
    int shift = scale_of(p);
    uint64_t total = 0, before = 0;
    for (int64_t f = 0; f < p->n_files; f++)
        total += unit_cost_of(p, f).weight >> shift;
    for (int64_t f = 0; f < p->n_files; f++) {
        uint64_t own = unit_cost_of(p, f).weight >> shift, middle = 2 * before + own;
        int64_t k = total ? (int64_t)(middle * (uint64_t)parts / (2 * total)) : 0;
        part[f] = i64_min(k, parts - 1) + 1;
        before += own;
    }
}

bool units_slice(const plan *p, int64_t part, int64_t parts, run_slice *out, err *e)
{
    *out = (run_slice){0, 0};
    int64_t *of = mem_new((uint64_t)p->n_files, sizeof *of, "parts", e);
    if (!of)
        return false;
    units_share(p, parts, of);
    for (int64_t f = 0; f < p->n_files; f++)
        if (of[f] == part && out->n++ == 0)
            out->first = f;
    free(of);
    return true;
}
