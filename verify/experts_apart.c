// SPDX-License-Identifier: Apache-2.0
#include "verify/experts_apart.h"

#include <stdlib.h>
#include <string.h>

#include "base/reduce.h"

// Of each matrix, evenly over it; columns from the first.
enum { ROWS = 8, MOST_COLUMNS = 512, NAMED = 20 };
static const double SUSPICIOUS = 0.1;
// Unrelated matrices of one size are about equally far from each other; an exchanged expert is much
// nearer to where it came from.
static const double CLEARLY = 0.5;

typedef struct {
    const model *ref, *cand;
    const weight_parity *group;
    int64_t n, columns, values; // experts; of a row; of a sample
    float *row, *theirs, *mine; // [in]; [n][values] of the reference; [values]
    int64_t *nearest;           // [n]; -1: its own, or nobody looked
    bool *clear;                // [n]
    scratch stored;
} samples;

uint64_t experts_apart_bytes(const model *ref)
{
    const arch *a = model_arch(ref);
    int64_t in = i64_max(a->hidden, a->moe_inter);
    int64_t values = ROWS * i64_min(in, MOST_COLUMNS);
    // The stored row of a block codec with its scales is below 8 bytes a value.
    return (uint64_t)((a->n_experts + 1) * (values + 16) + 3 * in) * sizeof(float);
}

static bool suspicious(const weight_parity *w)
{
    return !w->broken && w->sums.error > SUSPICIOUS * w->sums.ref;
}

static bool read_sample(samples *s, const weight *w, float *to, err *e)
{
    for (int64_t i = 0; i < ROWS; i++) {
        if (!weight_read_rows(w, i * w->out / ROWS, 1, s->row, &s->stored, e))
            return false;
        memcpy(to + i * s->columns, s->row, (size_t)s->columns * sizeof *to);
    }
    return true;
}

static bool room_for(samples *s, int64_t in, err *e)
{
    s->columns = i64_min(in, MOST_COLUMNS);
    s->values = ROWS * s->columns;
    s->row = mem_new((uint64_t)in, sizeof *s->row, "sample rows", e);
    s->mine = mem_new((uint64_t)s->values, sizeof *s->mine, "sample rows", e);
    s->theirs = mem_new((uint64_t)(s->n * s->values), sizeof *s->theirs, "sample rows", e);
    s->nearest = mem_new((uint64_t)s->n, sizeof *s->nearest, "nearest experts", e);
    s->clear = mem_new((uint64_t)s->n, sizeof *s->clear, "nearest experts", e);
    return s->row && s->mine && s->theirs && s->nearest && s->clear;
}

// Fills nearest and clear for expert i.
static bool look(samples *s, int64_t i, err *e)
{
    const weight_parity *w = &s->group[i];
    int64_t nearest = -1;
    double least = 0, own = 0;
    if (!read_sample(s, model_weight(s->cand, w->role, w->layer, w->expert), s->mine, e))
        return false;
    for (int64_t k = 0; k < s->n; k++) {
        double distance = reduce_sum_squared_difference(s->mine, s->theirs + k * s->values,
                                                        s->values);
        if (k == i)
            own = distance;
        if (nearest < 0 || distance < least) {
            least = distance;
            nearest = k;
        }
    }
    if (nearest != i && least < own) {
        s->nearest[i] = nearest;
        s->clear[i] = least < CLEARLY * own;
    }
    return true;
}

static bool say(const samples *s, int64_t i, findings *f, int64_t *said, err *e)
{
    const weight_parity *w = &s->group[i];
    int64_t k = s->nearest[i];
    if (k < 0)
        return true;
    bool exchanged = s->nearest[k] == i && s->clear[i] && s->clear[k];
    if ((exchanged && k < i) || (*said)++ > NAMED)
        return true;
    if (*said > NAMED)
        return finding_add(f, e, FINDING_FATAL, "and more experts that are nearer to another one "
                           "than to their own");
    if (exchanged)
        return finding_add(f, e, FINDING_FATAL, "layer %lld, experts %lld and %lld, %s: look "
                           "exchanged, each is nearer to the other one of the reference than to "
                           "its own", (long long)w->layer, (long long)w->expert,
                           (long long)s->group[k].expert, role_label(w->role));
    char where[MODEL_WHERE_TEXT];
    (void)role_where(w->role, w->layer, w->expert, where);
    if (s->clear[i])
        return finding_add(f, e, FINDING_FATAL, "%s: nearer to the reference's expert %lld than "
                           "to its own", where, (long long)s->group[k].expert);
    return finding_add(f, e, FINDING_FATAL, "%s: as far from its own reference as from other "
                       "experts' (the nearest is expert %lld; relative error %.3g)", where,
                       (long long)s->group[k].expert, metrics_relative_error(&w->sums));
}

bool experts_apart(const model *ref, const model *cand, const weight_parity *group, int64_t n,
                   int64_t *said, findings *f, err *e)
{
    samples s = {.ref = ref, .cand = cand, .group = group, .n = n};
    bool any = false, ok = true;
    for (int64_t i = 0; i < n; i++)
        any = any || suspicious(&group[i]);
    if (!any)
        return true;
    ok = room_for(&s, model_weight(ref, group->role, group->layer, group->expert)->in, e);
    for (int64_t i = 0; ok && i < n; i++) {
        s.nearest[i] = -1;
        ok = read_sample(&s, model_weight(ref, group->role, group->layer, group[i].expert),
                         s.theirs + i * s.values, e);
    }
    for (int64_t i = 0; ok && i < n; i++)
        ok = !suspicious(&group[i]) || look(&s, i, e);
    for (int64_t i = 0; ok && i < n; i++)
        ok = say(&s, i, f, said, e);
    free(s.row);
    free(s.mine);
    free(s.theirs);
    free(s.nearest);
    free(s.clear);
    scratch_free(&s.stored);
    return ok;
}
