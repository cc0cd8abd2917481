// SPDX-License-Identifier: Apache-2.0
// Confidence intervals of means over tokens that are not independent: seeded bootstrap over blocks
// of neighbouring windows, or over documents (Kuensch 1989; percentile interval, Efron 1979).
#ifndef SCRUPLE_VERIFY_BOOTSTRAP_H
#define SCRUPLE_VERIFY_BOOTSTRAP_H

#include "base/err.h"

enum { BOOTSTRAP_BLOCK = 4, BOOTSTRAP_RESAMPLES = 2000 };

typedef struct {
    double mean, low, high; // the 95 % interval
    int64_t n_blocks;       // resampled units; with one alone low and high are the mean
} interval;

// Mean of sum[i] / count[i] pooled: sum of sums / sum of counts, over n windows. document (may be
// NULL) [n] ascending: windows of one document form a block; else BOOTSTRAP_BLOCK windows do.
MUST_USE bool bootstrap_mean(interval *out, const double *sum, const int64_t *count,
                             const int64_t *document, int64_t n, uint64_t seed, err *e);

#endif
