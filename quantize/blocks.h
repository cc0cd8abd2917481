// SPDX-License-Identifier: Apache-2.0
// ggml's block types: rows of floats <-> rows of blocks, each block with its own scales. One table
// row a type; the code of a family of types is a template (blocks_<family>.h, see kernel_lanes.h)
// with one set a CPU level, all with equal bits. Knows rows of numbers only. Layouts and decoding:
// ggml-common.h and dequantize_row_* in ggml-quants.c of ggml.
#ifndef SCRUPLE_QUANTIZE_BLOCKS_H
#define SCRUPLE_QUANTIZE_BLOCKS_H

#include "base/cpu.h"
#include "base/dtype.h"
#include "quantize/codec.h"

typedef struct {
    const float *from;       // [n][in], finite, magnitudes at most block_ops.largest
    int64_t n, in;           // in: a multiple of the type's block
    const float *importance; // [in], or NULL: what ggml calls the importance matrix
    codec_search search;     // SEARCH_COMPAT: the bytes of ggml's quantize_<type> built without
                             // contraction; SEARCH_BEST: never a larger weighted error in a block
    uint8_t *to;             // [n][in / block][block bytes]
} block_rows;

typedef struct {
    dtype type;
    float largest;           // magnitude whose scale is still a finite number
    bool searched;           // search and importance decide its bytes
    // In ggml's order of evaluation: binary32, no contraction.
    void (*decode)(float *to, const uint8_t *from, int64_t blocks);
    void (*encode)(const block_rows *r); // NULL: this version only reads the type
} block_ops;

// The type's code at a level that cpu_has; NULL for types without.
const block_ops *block_ops_at(dtype type, cpu_level level);
const block_ops *block_ops_used(dtype type);

#endif
