// SPDX-License-Identifier: Apache-2.0
// Weights that are cut from stacks: the slice that is in memory, and the digests of stacks, which a
// unit reads piece by piece.
#include "convert/run_parts.h"

#include <stdlib.h>

bool slice_is_shared(const weight *a, const weight *b)
{
    bool shared = a && a->view && b->view && a->n_parts == b->n_parts &&
                  a->view->slice == b->view->slice;
    for (int i = 0; shared && i < a->n_parts; i++)
        shared = a->part[i] == b->part[i];
    return shared;
}

bool stack_sum_at(stacks *s, const tensor *t, uint64_t offset, uint64_t n, xxh128 **to, err *e)
{
    uint64_t i = 0;
    *to = NULL;
    while (i < s->n && s->sum[i].tensor != t)
        i++;
    if (i == s->n) {
        if (!mem_grow((void **)&s->sum, &s->cap, s->n + 1, sizeof *s->sum, "digests", e))
            return false;
        s->sum[s->n++] = (stack_sum){.tensor = t, .sum = xxh128_new(e)};
        if (!s->sum[i].sum)
            return false;
    }
    stack_sum *one = &s->sum[i];
    if (one->at != offset) {
        xxh128_free(one->sum);
        one->sum = NULL;
    }
    one->at += n;
    *to = one->sum;
    return true;
}

void stacks_end_unit(stacks *s, const checkpoint *c, run_result *r)
{
    for (uint64_t i = 0; i < s->n; i++) {
        stack_sum *one = &s->sum[i];
        if (r && one->sum && one->at == one->tensor->bytes) {
            int64_t at = checkpoint_index(c, one->tensor);
            xxh128_end(one->sum, &r->source[at]);
            r->read[at] = true;
        } else {
            xxh128_free(one->sum);
        }
    }
    free(s->sum);
    *s = (stacks){.memory = s->memory};
}

bool slice_take(runner *r, const weight *w, err *e)
{
    stacks *s = &r->stacks;
    held_slice *held = &s->held[slice_kind(w)];
    unsigned char *to = s->memory + (slice_kind(w) ? r->sizes.slice_vector : 0);
    if (weight_in_runs(w) || slice_is_shared(held->of, w))
        return true;
    for (int i = 0; i < w->n_parts; i++) {
        uint64_t offset, bytes;
        xxh128 *sum;
        weight_slice_range(w, i, &offset, &bytes);
        if (!event_go_on(r->options->events, e) || !stream_read(r->in, to, bytes, e) ||
            !stack_sum_at(s, w->part[i], offset, bytes, &sum, e))
            return false;
        if (sum)
            xxh128_add(sum, to, bytes);
        held->part[i] = to;
        to += (bytes + 63) / 64 * 64;
    }
    held->of = w;
    return true;
}
