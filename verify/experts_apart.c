// SPDX-License-Identifier: Apache-2.0
#include "verify/experts_apart.h"

#include <stdlib.h>

#include "base/reduce.h"

enum { ROWS = 8 }; // evenly over the matrix
static const double SUSPICIOUS = 0.1;
// Unrelated matrices of one size are about equally far from each other; an exchanged expert is
// much nearer to where it came from.
static const double MUCH_NEARER = 0.5;

static bool read_sample(const weight *w, float *to, scratch *s, err *e)
{
    for (int64_t i = 0; i < ROWS; i++)
        if (!weight_read_rows(w, i * w->out / ROWS, 1, to + i * w->in, s, e))
            return false;
    return true;
}

bool experts_apart(const model *ref, const model *cand, const weight_parity *w, findings *f,
                   err *e)
{
    if (!(w->sums.error > SUSPICIOUS * w->sums.ref))
        return true;
    const weight *mine = model_weight(cand, w->role, w->layer, w->expert);
    int64_t n = ROWS * mine->in, nearest = -1;
    double least = 0, own = 0;
    scratch s = {0};
    float *sample = mem_new((uint64_t)n, sizeof *sample, "sample rows", e);
    float *theirs = mem_new((uint64_t)n, sizeof *theirs, "sample rows", e);
    bool ok = sample && theirs && read_sample(mine, sample, &s, e);
    for (int64_t x = 0; ok && x < model_arch(ref)->n_experts; x++) {
        ok = read_sample(model_weight(ref, w->role, w->layer, x), theirs, &s, e);
        double distance = ok ? reduce_sum_squared_difference(sample, theirs, n) : 0;
        if (x == w->expert)
            own = distance;
        if (nearest < 0 || distance < least) {
            least = distance;
            nearest = x;
        }
    }
    char where[MODEL_WHERE_TEXT];
    (void)role_where(w->role, w->layer, w->expert, where);
    if (ok && least < MUCH_NEARER * own)
        ok = finding_add(f, e, FINDING_FATAL, "%s: nearer to the reference's expert %lld than to "
                         "its own; were they exchanged?", where, (long long)nearest);
    else if (ok && least < own)
        ok = finding_add(f, e, FINDING_FATAL, "%s: as far from its own reference as from other "
                         "experts' (the nearest is expert %lld; relative error %.3g)", where,
                         (long long)nearest, metrics_relative_error(&w->sums));
    free(sample);
    free(theirs);
    scratch_free(&s);
    return ok;
}
