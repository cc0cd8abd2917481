// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "convert/run_parts.h"

// Where a part goes that is to wait while `in_memory` bytes do: the same answer when the unit's
// scratch is measured and when it is used.
static bool fits(uint64_t in_memory, uint64_t bytes, uint64_t limit)
{
    return bytes <= limit && in_memory <= limit - bytes;
}

static void measure_out(held_store *h, const plan_tensor *t)
{
    int64_t at = held_find(h, t->source, t->part);
    if (at < 0)
        return;
    h->in_memory -= h->part[at].at ? 0 : h->part[at].bytes; // at: whether it spills, in here
    h->part[at] = h->part[--h->n];
}

// Walks through the unit as the run will; the bytes that will not fit into memory.
static bool measure(held_store *h, const plan *p, const plan_file *f, uint64_t *overflow, err *e)
{
    bool ok = true;
    *overflow = 0;
    for (int64_t i = f->first; ok && i < f->first + f->n; i++) {
        const plan_tensor *t = &p->tensor[i];
        for (int k = 0; ok && t->starts && k < codec_written(t->codec); k++) {
            if (k == t->part && !t->stack)
                continue;
            uint64_t bytes = codec_part_bytes(t->codec, k, t->source->out, t->source->in);
            ok = mem_grow((void **)&h->part, &h->cap, h->n + 1, sizeof *h->part, "held parts", e);
            if (!ok)
                break;
            bool spills = !fits(h->in_memory, bytes, h->limit);
            h->part[h->n++] = (held_part){t->source, k, bytes, NULL, spills, {{0}}};
            h->in_memory += spills ? 0 : bytes;
            *overflow += spills ? bytes : 0;
        }
        // Pieces whose rows take turns go with the last one.
        bool waited = t->source && (t->stack ? plan_goes_out(t) > 0 : !t->starts);
        for (int turn = t->stack ? t->stack->turns : 1; ok && waited && turn > 0; turn--)
            measure_out(h, t - (turn - 1));
    }
    h->n = 0;
    h->in_memory = 0;
    return ok;
}

bool held_overflow(const plan *p, const plan_file *f, uint64_t limit, uint64_t *bytes, err *e)
{
    held_store h = {.limit = limit, .spill = SPILL_CLOSED};
    bool ok = measure(&h, p, f, bytes, e);
    held_close(&h);
    return ok;
}

bool held_open(held_store *h, const plan *p, const plan_file *f, uint64_t limit, const char *dir,
               err *e)
{
    uint64_t overflow;
    *h = (held_store){.limit = limit, .spill = SPILL_CLOSED};
    if (measure(h, p, f, &overflow, e) &&
        (overflow == 0 || spill_open(&h->spill, dir ? dir : ".", overflow, e)))
        return true;
    held_close(h);
    return false;
}

void held_close(held_store *h)
{
    for (uint64_t i = 0; i < h->n; i++)
        free(h->part[i].memory);
    free(h->part);
    spill_close(&h->spill);
    *h = (held_store){.spill = SPILL_CLOSED};
}

bool held_add(held_store *h, const weight *source, int part, uint64_t bytes, uint64_t *index,
              err *e)
{
    held_part new = {.source = source, .part = part, .bytes = bytes};
    if (!mem_grow((void **)&h->part, &h->cap, h->n + 1, sizeof *h->part, "held parts", e))
        return false;
    if (fits(h->in_memory, bytes, h->limit)) {
        new.memory = mem_new(bytes, 1, "encoded rows", e);
        if (!new.memory)
            return false;
        h->in_memory += bytes;
    } else {
        new.at = h->spilled;
        h->spilled += bytes;
    }
    *index = h->n;
    h->part[h->n++] = new;
    return true;
}

bool held_put(held_store *h, uint64_t index, uint64_t offset, const void *bytes, uint64_t n,
              err *e)
{
    const held_part *p = &h->part[index];
    if (!p->memory)
        return spill_write(&h->spill, p->at + offset, bytes, n, e);
    memcpy((unsigned char *)p->memory + offset, bytes, n);
    return true;
}

int64_t held_find(const held_store *h, const weight *source, int part)
{
    for (uint64_t i = 0; i < h->n; i++)
        if (h->part[i].source == source && h->part[i].part == part)
            return (int64_t)i;
    return -1;
}

bool held_get(const held_store *h, uint64_t index, uint64_t offset, void *to, uint64_t n, err *e)
{
    const held_part *p = &h->part[index];
    if (!p->memory)
        return spill_read(&h->spill, p->at + offset, to, n, e);
    memcpy(to, (const unsigned char *)p->memory + offset, n);
    return true;
}

void held_drop(held_store *h, uint64_t index)
{
    held_part *p = &h->part[index];
    if (p->memory)
        h->in_memory -= p->bytes;
    free(p->memory);
    *p = h->part[--h->n];
}
