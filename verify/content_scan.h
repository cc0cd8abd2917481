// SPDX-License-Identifier: Apache-2.0
// Inside of content.h: counts what must not be in a tensor while its bytes go by in pieces of any
// size. Looks at bits, converts nothing; reads nothing itself.
#ifndef SCRUPLE_VERIFY_CONTENT_SCAN_H
#define SCRUPLE_VERIFY_CONTENT_SCAN_H

#include "base/bitscan.h"
#include "formats/tensor.h"
#include "quantize/blocks.h"

typedef struct {
    uint64_t nan, infinite, zero; // zero: scales only
    uint64_t first;               // element of the first of them
} content_counts;

enum { CONTENT_MAX_UNIT = 320 }; // bytes: more than the largest block has

// One tensor on its way.
typedef struct {
    bit_pattern bad;       // of an element that deserves a look
    uint64_t fraction;     // an element with all bits of bad.all is infinite where these are zero
    bool has_infinity;     // else it is NaN whatever they are
    uint64_t at;           // elements so far
    const block_ops *blocks; // of a block type, looked at decoded, as F32; else NULL
    int unit;              // bytes of an element, or of a block
    unsigned char cut[CONTENT_MAX_UNIT]; // the beginning of one that two pieces share
    int n_cut;
} content_scan;

// False where the type can hold neither NaN nor infinity nor a zero scale, or is a block type that
// this version does not decode.
bool content_scan_begin(content_scan *s, const tensor *t);
// The next n bytes of the tensor.
void content_scan_add(content_scan *s, const void *bytes, uint64_t n, content_counts *counts);

#endif
