// SPDX-License-Identifier: Apache-2.0
// Does a block of memory hold an element with a certain pattern of bits? NaN and infinity are
// patterns (all exponent bits set), zero is one (no bit but the sign set), so a block of any
// number type is searched without converting a value, at the speed of memory. Counts nothing and
// names no place: a caller looks closely at a block where something was found.
#ifndef SCRUPLE_BASE_BITSCAN_H
#define SCRUPLE_BASE_BITSCAN_H

#include "base/base.h"

typedef struct {
    int width;      // bytes of an element, little-endian: 1, 2, 4 or 8
    uint64_t all;   // searched: an element with all of these bits; 0: not searched
    uint64_t none;  // searched: an element with none of these; 0: not searched
} bit_pattern;

// n elements from any address.
bool bitscan(const bit_pattern *p, const void *elements, int64_t n);

#endif
