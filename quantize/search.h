// SPDX-License-Identifier: Apache-2.0
// SEARCH_BEST of symmetric int4 groups: which BF16 scale and which codes -8..7 stand for a group of
// weights. Knows groups of floats only: no rows, parts or files.
//
//   code = clamp(RNE(w / s), -8, 7), the quotient rounded to binary32 first;
//   a group of zeros has scale 1; a scale is a normal BF16 number: where the best one would be
//   smaller, it is 2^-126.
//   s is the BF16 scale, of either sign, with the least sum of importance x squared error
// (search_kernel.h says how); `positive` keeps to positive ones. Never worse than the nearest codes
// under BF16(amax / 7.5), which is SEARCH_COMPAT's scale (groups.h), beyond the rounding of a
// binary32 sum. Importance is relative: a common factor changes nothing but ties, a power of two
// nothing at all.
#ifndef SCRUPLE_QUANTIZE_SEARCH_H
#define SCRUPLE_QUANTIZE_SEARCH_H

#include "quantize/codec.h"

enum { SEARCH_MAX_GROUP = 128 };

typedef struct {
    const float *w;          // [n] finite
    const float *importance; // [n] >= 0, or NULL: all 1
    int64_t n;               // a multiple of 16, at most SEARCH_MAX_GROUP
    bool positive;
    uint16_t scale;          // out: BF16 bits
    int8_t *code;            // out: [n], each in -8..7
} search_group;

#endif
