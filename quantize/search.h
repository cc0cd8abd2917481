// SPDX-License-Identifier: Apache-2.0
// SEARCH_BEST of symmetric int4 groups: which BF16 scale and which codes -8..7 stand for a group of
// weights. Knows groups of floats only: no rows, parts or files.
//
//   code = clamp(RNE(w / S), -8, 7), the quotient rounded to binary32 first, for the S of either
//   sign whose codes have the least sum of importance x squared error under their own scale
//   (search_kernel.h says how); `positive` keeps to positive ones;
//   scale = BF16 of that under which sum importance x w x value is sum importance x w^2: a little
//   more than least squares, which shrinks (docs/decisions.md); never below 2^-126;
//   a group of zeros has scale 1.
// Never worse than the nearest codes under BF16(amax / 7.5), which is SEARCH_COMPAT's scale
// (groups.h), beyond the rounding of a binary32 sum. Importance is relative: a common factor
// changes nothing but ties, a power of two nothing at all.
#ifndef SCRUPLE_QUANTIZE_SEARCH_H
#define SCRUPLE_QUANTIZE_SEARCH_H

#include "quantize/codec.h"

enum { SEARCH_MAX_GROUP = 128 };

typedef struct {
    const float *w;          // [n] finite
    const float *importance; // [n] >= 0, or NULL: all 1
    int64_t n;               // a multiple of 16, at most SEARCH_MAX_GROUP
    bool positive;
    dtype stored;            // DT_F16: groups of values under binary16 scales are known; else BF16
    float by;                // out: S
    uint16_t scale;          // out: BF16 bits
    int8_t *code;            // out: [n], each in -8..7
} search_group;

#endif
