// SPDX-License-Identifier: Apache-2.0
// Inside of content.h: counts what must not be in a tensor while its bytes go by in pieces of any
// size. Looks at bits, converts nothing; reads nothing itself.
#ifndef SCRUPLE_VERIFY_CONTENT_SCAN_H
#define SCRUPLE_VERIFY_CONTENT_SCAN_H

#include "base/bitscan.h"
#include "formats/checkpoint.h"
#include "quantize/blocks.h"

// How a tensor is looked at.
typedef enum {
    LOOK_NUMBERS,
    LOOK_ORDER,  // the group of each column (g_idx): all of them exist, or all are -1 (never set)
    LOOK_SHAPE   // (rows, columns) of packed codes (weight_shape): what lies beside it holds them
} content_look;

typedef struct {
    content_look look;
    dtype numbers;        // what the bytes are: E8M0 or E4M3 where a scale is stored as U8
    int64_t groups;       // order: that exist; shape: columns of the scales, 0: there are none
    int64_t rows, cols;   // order: cols of a slice; shape: of weight_packed, cols in words
} content_part;

// What tensor t of c is, by its name and by what stands beside it.
content_part content_part_of(const checkpoint *c, const tensor *t);
// Whether codes of 1 to 8 bits and scales as LOOK_SHAPE has them can be a weight of that shape.
bool content_shape_holds(const content_part *p, int64_t rows, int64_t cols);

typedef struct {
    uint64_t nan, infinite, zero; // zero: scales only
    uint64_t wrong;               // columns without a group; shapes
    uint64_t first;               // element of the first of them
    int64_t said[2];              // the first shape that is wrong
} content_counts;

enum { CONTENT_MAX_UNIT = 320 }; // bytes: more than the largest block has

// One tensor on its way.
typedef struct {
    content_part part;
    bool unset;            // the order of this slice is -1 so far
    bit_pattern bad;       // of an element that deserves a look
    uint64_t fraction;     // an element with all bits of bad.all is infinite where these are zero
    bool has_infinity;     // else it is NaN whatever they are
    uint64_t at;           // elements (shapes) so far
    const block_ops *blocks; // of a block type, looked at decoded, as F32; else NULL
    int unit;              // bytes of an element, or of a block
    unsigned char cut[CONTENT_MAX_UNIT]; // the beginning of one that two pieces share
    int n_cut;
} content_scan;

// False where there is nothing to look at: the type can hold neither NaN nor infinity nor a zero
// scale, or is a block type that this version does not decode.
bool content_scan_begin(content_scan *s, const tensor *t, const content_part *part);
// The next n bytes of the tensor.
void content_scan_add(content_scan *s, const void *bytes, uint64_t n, content_counts *counts);

#endif
