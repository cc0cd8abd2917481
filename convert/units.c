// SPDX-License-Identifier: Apache-2.0
#include "convert/units.h"

#include <stdlib.h>

static uint64_t bytes_a_value(const plan_tensor *t)
{
    switch (t->codec->form) {
    case CODEC_FLOAT:
    case CODEC_STORED: return 2;
    case CODEC_FP8_BLOCK:
    case CODEC_FP8_CHANNEL: return 4;
    case CODEC_MX: return 8;
    case CODEC_INT:
    case CODEC_TOOL:
    case CODEC_BLOCKS: return 24;
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
        held -= plan_goes_out(t);
    }
    c.weight = c.read + c.written + work;
    return c;
}

static uint64_t plus(uint64_t a, uint64_t b) { return a + b < a ? UINT64_MAX : a + b; }

// Fills parts in order, none above `most` but by a single unit; true where `parts` are enough.
static bool fill_parts(const plan *p, const uint64_t *weights, uint64_t most, int64_t parts,
                       int64_t *part)
{
    uint64_t load = 0;
    int64_t k = 1;
    for (int64_t f = 0; f < p->n_files; f++) {
        if (load && plus(load, weights[f]) > most) {
            k++;
            load = 0;
        }
        load = plus(load, weights[f]);
        part[f] = k;
    }
    return k <= parts;
}

bool units_share(const plan *p, int64_t parts, int64_t *part, err *e)
{
    uint64_t least = 0, most = 0;
    uint64_t *weights = mem_new((uint64_t)p->n_files, sizeof *weights, "costs", e);
    if (!weights)
        return false;
    for (int64_t f = 0; f < p->n_files; f++) {
        weights[f] = unit_cost_of(p, f).weight;
        least = weights[f] > least ? weights[f] : least;
        most = plus(most, weights[f]);
    }
    while (least < most) {
        uint64_t middle = least + (most - least) / 2;
        if (fill_parts(p, weights, middle, parts, part))
            most = middle;
        else
            least = middle + 1;
    }
    (void)fill_parts(p, weights, most, parts, part);
    free(weights);
    return true;
}

bool units_slice(const plan *p, int64_t part, int64_t parts, run_slice *out, err *e)
{
    *out = (run_slice){0, 0};
    int64_t *of = mem_new((uint64_t)p->n_files, sizeof *of, "parts", e);
    if (!of)
        return false;
    bool ok = units_share(p, parts, of, e);
    for (int64_t f = 0; ok && f < p->n_files; f++)
        if (of[f] == part && out->n++ == 0)
            out->first = f;
    free(of);
    return ok;
}
