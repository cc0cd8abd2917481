// SPDX-License-Identifier: Apache-2.0
// RMS norm as every family here has it: y = w x / sqrt(mean(x^2) + eps), the mean in binary64
// lanes (base/reduce.h), each result rounded once. Knows no model.
#ifndef SCRUPLE_VERIFY_NORM_H
#define SCRUPLE_VERIFY_NORM_H

#include "base/pool.h"

typedef struct {
    float *y;          // [rows][n], row stride y_row
    const float *x;    // [rows][n], row stride x_row; the same as y is allowed
    int64_t y_row, x_row;
    const float *w;    // [n]
    int64_t rows, n;   // n > 0
    double eps;
} rms_norm_args;

MUST_USE bool rms_norm(pool *p, const rms_norm_args *a, err *e);

#endif
