// SPDX-License-Identifier: Apache-2.0
// Row reductions of the numeric contract: 8 binary64 lanes, element i goes to lane i mod 8, lanes
// folded 4, 2, 1; no fused operation. The same bits at every CPU level.
#ifndef SCRUPLE_BASE_REDUCE_H
#define SCRUPLE_BASE_REDUCE_H

#include "base/base.h"

// Eight lanes to their sum, for sums that others collect in lanes.
double reduce_fold(const double lanes[8]);
double reduce_sum(const float *x, int64_t n);
double reduce_sum_f64(const double *x, int64_t n);
double reduce_sum_squares(const float *x, int64_t n);
double reduce_dot(const float *x, const float *y, int64_t n);
double reduce_sum_squared_difference(const float *x, const float *y, int64_t n);
// A NaN never wins; a zero result is +0. reduce_max: -inf where nothing but NaN (or nothing) is
// there; reduce_max_abs: 0; reduce_argmax: 0, and ties go to the lowest index.
float reduce_max(const float *x, int64_t n);
float reduce_max_abs(const float *x, int64_t n);
int64_t reduce_argmax(const float *x, int64_t n);
// The first whose magnitude is not at most `largest` (finite, not negative), as a NaN's is not; -1.
int64_t reduce_first_beyond(const float *x, int64_t n, float largest);
int64_t reduce_first_nonfinite(const float *x, int64_t n); // -1 where all are finite

// In place soft-max of one row: exp(x - max) in binary64, summed in lanes, each quotient rounded
// once to binary32. -inf entries become exactly 0; NaN, +inf or nothing but -inf make all NaN.
void reduce_softmax(float *x, int64_t n);
// log(sum(exp(x - max))) + max, binary64.
double reduce_log_sum_exp(const float *x, int64_t n);
// energy[j] += weight * (double)x[j] * (double)x[j], in that order of multiplication.
void reduce_add_energy(double *energy, const float *x, double weight, int64_t n);

#endif
