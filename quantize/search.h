// SPDX-License-Identifier: Apache-2.0
// Scale search of symmetric int4 groups: which BF16 scale and which codes -8..7 stand for a group
// of weights. Knows groups of floats only: no rows, parts or files.
//
// Rules that hold for every search:
//   code = clamp(RNE(w / s), -8, 7), the quotient rounded to binary32 first;
//   a group of zeros has scale 1; a scale is a normal BF16 number: where the best one would be
//   smaller, it is 2^-126.
// SEARCH_COMPAT: s = BF16(amax / 7.5), positive: the rule of compressed-tensors. The scales are
// byte-equal to its. The codes are the nearest ones, while compressed-tensors rounds the quotient
// to the weight's own type first: for a BF16 weight about one code in a hundred moves by a step,
// never to a smaller error (tests/quantize/test_search.c holds both against the real package).
// SEARCH_BEST: the BF16 scale, of either sign, with the least sum of importance x squared error
// (search_kernel.h says how); positive_scales keeps to positive ones. Never worse than
// SEARCH_COMPAT beyond the rounding of a binary32 sum. Importance is relative: a common factor
// changes nothing but ties, a power of two nothing at all.
#ifndef SCRUPLE_QUANTIZE_SEARCH_H
#define SCRUPLE_QUANTIZE_SEARCH_H

#include "quantize/codec.h"

enum { SEARCH_MAX_GROUP = 128 };

typedef struct {
    const float *w;          // [n] finite
    const float *importance; // [n] >= 0, or NULL: all 1
    int64_t n;               // a multiple of 16, at most SEARCH_MAX_GROUP
    bool absmax;
    bool positive;
    uint16_t scale;          // out: BF16 bits
    int8_t *code;            // out: [n], each in -8..7
} search_group;

// Fills in scale and code of one group, with the instructions of cpu_used().
void search_int4(search_group *g);

#endif
