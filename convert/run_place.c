// SPDX-License-Identifier: Apache-2.0
// Stacks that are put together: expert after expert, of each in turns a row of every weight that
// shares the stack. The parts wait in the store until those that take turns are all there.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "convert/run_parts.h"

enum { STEP = 256 << 10, TURNS_MOST = 2 };

typedef struct {
    runner *r;
    const plan_stack *stack;
    xxh128 *sum;               // of the stack
    xxh128 *piece[TURNS_MOST]; // of each part as it comes out of the store
    uint64_t step;             // bytes of one part that are placed at a time: whole rows
    unsigned char *part;       // [step]
    unsigned char *placed;     // [turns * step]
} placing;

static void spread(unsigned char *to, const unsigned char *from, uint64_t bytes, uint64_t row,
                   uint64_t pitch)
{
    for (uint64_t at = 0; at < bytes; at += row, to += pitch)
        memcpy(to, from + at, row);
}

// Bytes [done, done + n) of the parts that take turns; at[turns] is where they wait.
static bool place_some(placing *x, const int64_t *at, uint64_t done, uint64_t n, err *e)
{
    const uint64_t row = x->stack->row, turns = (uint64_t)x->stack->turns;
    for (uint64_t k = 0; k < turns; k++) {
        if (!held_get(&x->r->held, (uint64_t)at[k], done, x->part, n, e))
            return false;
        xxh128_add(x->piece[k], x->part, n);
        spread(x->placed + k * row, x->part, n, row, turns * row);
    }
    xxh128_add(x->sum, x->placed, turns * n);
    return runner_append(x->r, x->placed, turns * n, e);
}

static bool came_as_it_went(placing *x, int turn, const held_part *part, err *e)
{
    xxh128_digest found;
    xxh128_end(x->piece[turn], &found);
    x->piece[turn] = NULL;
    return memcmp(&found, &part->digest, sizeof found) == 0 ||
           err_set(e, ERR_INTERNAL, "%s: what waited for its place in '%s' differs from what was "
                   "encoded", part->source->module, x->stack->to.name);
}

// Those that take turns, the first of which is t.
static bool place_expert(placing *x, const plan_tensor *t, err *e)
{
    held_store *h = &x->r->held;
    int64_t at[TURNS_MOST];
    int turns = x->stack->turns;
    for (int k = 0; k < turns; k++) {
        at[k] = held_find(h, t[k].source, t[k].part);
        assert(at[k] >= 0 && h->part[at[k]].bytes == t->to.bytes);
        if (!(x->piece[k] = xxh128_new(e)))
            return false;
    }
    for (uint64_t done = 0; done < t->to.bytes; done += x->step) {
        uint64_t left = t->to.bytes - done;
        if (!event_go_on(x->r->options->events, e) ||
            !place_some(x, at, done, left < x->step ? left : x->step, e))
            return false;
    }
    for (int k = 0; k < turns; k++) {
        if (!came_as_it_went(x, k, &h->part[at[k]], e))
            return false;
    }
    for (int k = 0; k < turns; k++)
        held_drop(h, (uint64_t)held_find(h, t[k].source, t[k].part));
    return true;
}

static uint64_t step_of(const plan_tensor *t)
{
    uint64_t row = t->stack->row, step = STEP / row > 1 ? STEP / row * row : row;
    return step < t->to.bytes ? step : t->to.bytes;
}

uint64_t stack_bytes(const plan_tensor *t) { return step_of(t) * (1 + (uint64_t)t->stack->turns); }

bool write_stack(runner *r, int64_t index, xxh128_digest *sum, err *e)
{
    const plan_tensor *first = &r->plan->tensor[index];
    const plan_stack *stack = first->stack;
    placing x = {.r = r, .stack = stack};
    assert(stack->turns <= TURNS_MOST && stack->row > 0);
    x.step = step_of(first);
    x.part = mem_new(x.step, 1, "rows of a stack", e);
    x.placed = x.part ? mem_new(x.step, (uint64_t)stack->turns, "rows of a stack", e) : NULL;
    bool ok = x.placed && (x.sum = xxh128_new(e));
    for (int64_t i = 0; ok && i < stack->n; i++) {
        xxh128_digest nothing;
        ok = !first[i].starts || code_weight(r, index + i, &nothing, e);
        if (ok && (i + 1) % stack->turns == 0)
            ok = place_expert(&x, &first[i + 1 - stack->turns], e);
    }
    if (ok) {
        xxh128_end(x.sum, sum);
        x.sum = NULL;
    }
    xxh128_free(x.sum);
    for (int k = 0; k < TURNS_MOST; k++)
        xxh128_free(x.piece[k]);
    free(x.part);
    free(x.placed);
    return ok;
}
