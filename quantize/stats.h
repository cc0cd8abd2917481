// SPDX-License-Identifier: Apache-2.0
// Arithmetic of calibration statistics: energies of input columns, and the importance weights that
// searches use. Knows no file and no forward pass; formats/stats_file.h stores it.
#ifndef SCRUPLE_QUANTIZE_STATS_H
#define SCRUPLE_QUANTIZE_STATS_H

#include "base/err.h"

// One accumulator for the inputs of n_experts matrices that take the same columns (experts of one
// layer), or of one matrix (n_experts 1, weights 1). All sums are raw binary64, added in the order
// of tokens, so that files merge by adding.
typedef struct {
    int64_t n_experts, cols;
    double *energy;        // [n_experts][cols] sum of w^2 x^2, w the routing weight
    double *weight_sum;    // [n_experts] sum of w^2
    double *weight_sq_sum; // [n_experts] sum of w^4
    int64_t *count;        // [n_experts] tokens
} stats;

MUST_USE bool stats_init(stats *s, int64_t n_experts, int64_t cols, err *e);
void stats_free(stats *s);
// x [rows][cols]; route [rows] or NULL (all 1).
void stats_add(stats *s, int64_t expert, const float *x, const float *route, int64_t rows);
// a += b, same geometry (ERR_INPUT where not).
MUST_USE bool stats_merge(stats *a, const stats *b, err *e);

// The layer's mean energy a column: sum over experts of energy / sum of weight_sum. [cols]; all 1
// where nothing was ever seen. flat: the mean over the columns in every column (prior of down).
void stats_prior(const stats *s, bool flat, double *prior);
// e = (n_eff own + n prior) / (n_eff + n), own = energy / weight_sum, n = cols,
// n_eff = weight_sum^2 / weight_sq_sum (0 where the expert never was hit). [cols], positive:
// zeros are lifted to the smallest positive normal relative to the largest. algorithms: 1.4c.
void stats_importance(const stats *s, int64_t expert, const double *prior, float *importance);
// The same out of means of x^2 that others have made, finite and not negative: scaled by a power of
// two so that the largest lies in [1, 2), zeros lifted; all 1 where all are 0. In place, [cols].
void stats_importance_of_means(float *means, int64_t cols);

#endif
