// SPDX-License-Identifier: Apache-2.0
// The constants that the scalar (num.c) and the array (num_lanes.h) exponential share. Nobody else
// needs them.
#ifndef SCRUPLE_BASE_NUM_PARTS_H
#define SCRUPLE_BASE_NUM_PARTS_H

#include "base/base.h"

#define LOG2_E 0x1.71547652b82fep+0
// ln 2 = LN2_HIGH + LN2_LOW to 2^-98; the 11 low bits of LN2_HIGH are zero, so that k * LN2_HIGH is
// exact for every exponent k of binary64.
#define LN2_HIGH 0x1.62e42fefa3800p-1
#define LN2_LOW 0x1.ef35793c76730p-45

// x + ROUND_MAGIC has x, rounded to an integer (ties to even), in its low mantissa bits for
// |x| <= 2^51; subtracting the constant again leaves that integer as a number.
#define ROUND_MAGIC 0x1.8p+52
#define ROUND_MAGIC_BITS UINT64_C(0x4338000000000000)

// Beyond these arguments exp is infinite respectively 0 (below half of the least subnormal).
#define EXP_HIGH 710.0
#define EXP_LOW (-746.0)
// 2^n is multiplied as 2^a * 2^b, a + b = n, each in range as a number: the first product is exact,
// the second rounds to a subnormal where it must. Two exponent biases of 1023 go in at once.
#define EXP_BIAS UINT64_C(2046)

// exp(r) = 1 + r + r^2 (1/2! + r/3! + ... + r^11/13!) for |r| <= ln(2)/2: what is left out is below
// 2^-57 of the result. Highest power first.
enum { EXP_TERMS = 12 };
static const double EXP_C[EXP_TERMS] = {
    1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
    1.0 / 362880.0,     1.0 / 40320.0,     1.0 / 5040.0,     1.0 / 720.0,
    1.0 / 120.0,        1.0 / 24.0,        1.0 / 6.0,        1.0 / 2.0,
};

#endif
