// SPDX-License-Identifier: Apache-2.0
// Scale search of symmetric int4 groups: which BF16 scale and which codes -8..7 stand for a group
// of weights. Knows groups of floats only: no rows, parts or files.
//
// Rules that hold for every search:
//   code = clamp(RNE(w / s), -8, 7), the quotient rounded to binary32 first;
//   a group of zeros has scale 1; a scale is a normal BF16 number: where the best one would be
//   smaller, it is 2^-126.
#ifndef SCRUPLE_QUANTIZE_SEARCH_H
#define SCRUPLE_QUANTIZE_SEARCH_H

#include "quantize/codec.h"

enum { SEARCH_MAX_GROUP = 128 };

// The groups of one row. w [n], n a multiple of group (a multiple of 32, at most
// SEARCH_MAX_GROUP), all finite; importance [n] or NULL. scale [n / group] BF16 bits;
// code [n], each in -8..7.
void search_int4(const encode_options *o, int64_t group, const float *w, int64_t n,
                 uint16_t *scale, int8_t *code);

#endif
