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

// Its place in the list and, where it spills, in scratch: one of the same size that is free again,
// or one behind all others.
static bool find_place(held_store *h, const weight *source, int part, uint64_t bytes,
                       uint64_t *index, err *e)
{
    if (!mem_grow((void **)&h->part, &h->cap, h->n + 1, sizeof *h->part, "held parts", e))
        return false;
    bool spills = !fits(h->in_memory, bytes, h->limit);
    uint64_t i = spills ? 0 : h->n;
    while (i < h->n && (h->part[i].source || h->part[i].bytes != bytes))
        i++;
    uint64_t at = i < h->n ? h->part[i].at : h->spilled;
    if (i == h->n) {
        h->spilled += spills ? bytes : 0;
        h->n++;
    }
    h->in_memory += spills ? 0 : bytes;
    h->part[i] = (held_part){.source = source, .part = part, .bytes = bytes, .spills = spills,
                             .at = at};
    *index = i;
    return true;
}

// A place in scratch stays in the list, of no weight.
static void leave_place(held_store *h, uint64_t index)
{
    held_part *p = &h->part[index];
    if (p->spills) {
        p->source = NULL;
        return;
    }
    h->in_memory -= p->bytes;
    *p = h->part[--h->n];
}

static void leave_if_held(held_store *h, const plan_tensor *t)
{
    int64_t at = held_find(h, t->source, t->part);
    if (at >= 0)
        leave_place(h, (uint64_t)at);
}

// Walks through the unit as the run will; the bytes that will not fit into memory.
static bool measure(held_store *h, const plan *p, const plan_file *f, uint64_t *overflow, err *e)
{
    bool ok = true;
    uint64_t index;
    for (int64_t i = f->first; ok && i < f->first + f->n; i++) {
        const plan_tensor *t = &p->tensor[i];
        for (int k = 0; ok && t->starts && k < codec_written(t->codec); k++) {
            if (k == t->part && !t->stack)
                continue;
            uint64_t bytes = codec_part_bytes(t->codec, k, t->source->out, t->source->in);
            ok = find_place(h, t->source, k, bytes, &index, e);
        }
        // Pieces whose rows take turns go with the last one.
        bool waited = t->source && (t->stack ? plan_goes_out(t) > 0 : !t->starts);
        for (int turn = t->stack ? t->stack->turns : 1; ok && waited && turn > 0; turn--)
            leave_if_held(h, t - (turn - 1));
    }
    *overflow = h->spilled;
    h->n = h->in_memory = h->spilled = 0;
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
    if (!find_place(h, source, part, bytes, index, e))
        return false;
    held_part *p = &h->part[*index];
    if (p->spills || (p->memory = mem_new(bytes, 1, "encoded rows", e)))
        return true;
    leave_place(h, *index);
    return false;
}

bool held_put(held_store *h, uint64_t index, uint64_t offset, const void *bytes, uint64_t n,
              err *e)
{
    const held_part *p = &h->part[index];
    if (p->spills)
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
    if (p->spills)
        return spill_read(&h->spill, p->at + offset, to, n, e);
    memcpy(to, (const unsigned char *)p->memory + offset, n);
    return true;
}

void held_drop(held_store *h, uint64_t index)
{
    free(h->part[index].memory);
    leave_place(h, index);
}
