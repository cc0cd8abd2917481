// SPDX-License-Identifier: Apache-2.0
// What is measured between a reference and a candidate, each number defined once. Sums are binary64
// in the lanes of base/reduce.h: the same bits on any machine. Decides nothing; that is gate.h's.
#ifndef SCRUPLE_VERIFY_METRICS_H
#define SCRUPLE_VERIFY_METRICS_H

#include "base/base.h"

// Two rows of logits [n] over the same vocabulary.
typedef struct {
    double kld;      // nats, KL(reference || candidate) = sum p (log p - log q); never negative,
                     // exactly 0 for identical rows
    double lse_ref, lse_cand; // log(sum(exp(logits)))
    bool same_top;   // both have their largest logit at the same index (lowest of equals)
} logit_metrics;

logit_metrics metrics_of_logits(const float *ref, const float *cand, int64_t n);

// Sums over the elements of a matrix; add rows as they come, in order.
typedef struct {
    double error, ref, cand, dot; // sum of (c - r)^2, r^2, c^2, r c
    double max_abs, max_steps;    // largest |c - r|; largest |c - r| / step of the candidate there;
                                  // 0 beside an error: its steps are not known
    int64_t n, n_equal;           // elements; bit-equal ones (-0 and +0 differ)
} matrix_sums;

static inline bool metrics_has_steps(const matrix_sums *s)
{
    return s->error == 0 || s->max_steps > 0;
}

// steps: distance of neighbouring representable values at each candidate element, or NULL.
void metrics_add(matrix_sums *s, const float *ref, const float *cand, const float *steps,
                 int64_t n);
double metrics_relative_error(const matrix_sums *s); // sqrt(error / ref); 0 where both are 0
double metrics_sqnr_db(const matrix_sums *s);        // 10 log10(ref / error); infinity at 0 error
double metrics_cosine(const matrix_sums *s);         // 1 where both are 0

// The value at fraction q of sorted[n] (ascending), nearest rank: index ceil(q n) - 1. n > 0.
double metrics_percentile(const double *sorted, int64_t n, double q);

#endif
