// SPDX-License-Identifier: Apache-2.0
// Elementary functions of our own, so that no libm decides a bit: binary64 inside, fixed operation
// order, no contraction. The float forms round the binary64 result once. Error bounds and tests:
// docs/numerics.md. NaN in, NaN out.
#ifndef SCRUPLE_BASE_NUM_H
#define SCRUPLE_BASE_NUM_H

#include "base/base.h"

double num_exp(double x);
double num_log(double x);              // x <= 0: -inf or NaN
double num_pow(double x, double y);    // x > 0
void num_sincos(double x, double *s, double *c); // |x| <= 2^30, NaN beyond
double num_sqrt(double x);             // the correctly rounded instruction

float num_expf(float x);
float num_logf(float x);
float num_sigmoidf(float x);           // 1 / (1 + exp(-x))
float num_softplusf(float x);          // log(1 + exp(x))
float num_siluf(float x);              // x * sigmoid(x), the product in binary64

// y[i] = silu(gate[i]) * up[i], silu rounded to binary32 before the product. In place allowed.
void num_swiglu(float *y, const float *gate, const float *up, int64_t n);
// y[i] = exp(x[i] - shift), difference and result in binary64.
void num_exp_shifted(double *y, const float *x, double shift, int64_t n);

#endif
