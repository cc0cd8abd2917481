// SPDX-License-Identifier: Apache-2.0
#include "verify/pairs.h"

#include <stdlib.h>

#include "base/stream.h"

uint64_t pairs_bytes(int64_t n)
{
    return (uint64_t)n * (sizeof(weight_pair) + 2 * sizeof(weight_rows)) + sizeof(pairs);
}

// Fills held[2] and its size. False: such a pair is not held.
static bool lay_out(const pairs *p, int64_t i, held_weight held[2], uint64_t *bytes)
{
    err too_large = ERR_INIT;
    *bytes = 0;
    for (int k = 0; k < 2; k++) {
        const weight *w = p->pair[i].side[k];
        held[k] = (held_weight){0};
        if (w->out == 0 || !weight_lay_out(&held[k].rows, w, 0, w->out, &too_large) ||
            !size_add(*bytes, held[k].rows.bytes, bytes))
            return false;
    }
    return *bytes <= p->room;
}

bool pairs_open(pairs *p, const weight_pair *pair, int64_t n, uint64_t memory, err *e)
{
    held_weight held[2];
    uint64_t bytes;
    int64_t n_order = 0;
    *p = (pairs){.pair = pair, .n = n, .room = memory / 2};
    if (p->room < STREAM_LEAST)
        return true;
    p->order = mem_new(2 * (uint64_t)n, sizeof *p->order, "the order of weights", e);
    p->bytes = mem_new_aligned(p->room, 1, "stored weights", e);
    if (!p->order || !p->bytes)
        goto failed;
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 2 && lay_out(p, i, held, &bytes); k++)
            p->order[n_order++] = (weight_rows){pair[i].side[k], 0, pair[i].side[k]->out};
    if (weight_ahead_open(&p->ahead, p->order, n_order, memory - p->room, e))
        return true;
failed:
    pairs_close(p);
    return false;
}

bool pairs_next(pairs *p, int64_t *n, err *e)
{
    uint64_t used = 0;
    p->first = p->at;
    for (*n = 0; *n < PAIRS_AT_ONCE && p->at + *n < p->n; ++*n) {
        held_weight *held = p->held[*n];
        uint64_t bytes;
        bool hold = lay_out(p, p->at + *n, held, &bytes) && p->ahead;
        if (hold ? used + bytes > p->room : *n > 0 && p->ahead)
            break;
        for (int k = 0; hold && k < 2; k++) {
            held[k].bytes = p->bytes + used;
            used += held[k].rows.bytes;
            if (!weight_ahead_take(p->ahead, held[k].bytes, e))
                return false;
        }
        if (!hold && p->ahead) {
            ++*n;
            break;
        }
    }
    p->at += *n;
    return true;
}

void pairs_close(pairs *p)
{
    weight_ahead_close(p->ahead);
    free(p->order);
    free(p->bytes);
    *p = (pairs){0};
}
