// SPDX-License-Identifier: Apache-2.0
// A weight: one logical matrix [out][in] (a vector is [1][n]) with all its companions, wherever
// they lie. Everything above formats/ speaks of weights; it reads its own rows as binary32.
#ifndef SCRUPLE_FORMATS_WEIGHT_H
#define SCRUPLE_FORMATS_WEIGHT_H

#include "base/mem.h"
#include "formats/checkpoint.h"
#include "quantize/codec.h"

typedef struct {
    const checkpoint *from;
    const char *module;                   // "model.layers.3.mlp.experts.5.down_proj"
    const codec *codec;
    int64_t out, in;
    const tensor *part[CODEC_MAX_PARTS];  // codec->n_parts of them
} weight;

// Finds the codec of module's tensors from the tensors themselves (names, types, shapes) and
// checks that it is [out][in]. A missing or misshapen companion is ERR_INPUT with its name.
// rank 1: the tensor is a vector of `in` and out is 1. `suffix`: usually "weight"; "bias" etc. for
// plain tensors; "" where the module is the whole name. `module` is kept, not copied.
// A companion that the codec found has no part for (zero points, global scales, a column order ...)
// is ERR_INPUT too: it would change what the weight means.
MUST_USE bool weight_bind(weight *w, const checkpoint *c, const char *module, const char *suffix,
                          int rank, int64_t out, int64_t in, err *e);
// Rows [row, row + n) as binary32, row-major [n][in]. `s` is the caller's scratch for the stored
// bytes; any row is allowed (block codecs read the block's scale row). One read a part. Values that
// are not finite come as they are: what to do about them is the caller's policy. Thread-safe with
// own scratch.
MUST_USE bool weight_read_rows(const weight *w, int64_t row, int64_t n, float *to, scratch *s,
                               err *e);
uint64_t weight_stored_bytes(const weight *w);   // all parts
int64_t weight_elements(const weight *w);

// The stored form of rows in memory, for who brings the bytes there by another way than
// weight_read_rows (weight_ahead.h). The parts lie one behind the other.
typedef struct {
    uint64_t at, bytes;    // in memory
    uint64_t offset;       // in the tensor
    uint64_t row_bytes;    // of one row of the part
    int64_t first, block;  // first row of the part; weight rows a row of it. 0: the part follows
                           // from the shape and is not read
} stored_part;

typedef struct {
    const weight *w;
    int64_t row, n;
    uint64_t bytes;        // of all parts
    stored_part part[CODEC_MAX_PARTS];
} stored_rows;

// ERR_ENV where the sizes overflow.
MUST_USE bool weight_lay_out(stored_rows *s, const weight *w, int64_t row, int64_t n, err *e);
// Writes the parts that are not read.
void weight_fill_fixed(const stored_rows *s, void *stored);
// Rows [row, row + n) out of those that are stored, as weight_read_rows.
MUST_USE bool weight_decode(const stored_rows *s, const void *stored, int64_t row, int64_t n,
                            float *to, err *e);
// For who reads a weight once from front to end, every part with all its bytes: which of part i
// come with rows [row, row + n). row is a multiple of the codec's row_quantum, n too unless the
// range ends with the weight. A part without rows (weight_shape) comes with row 0.
void weight_part_range(const weight *w, int i, int64_t row, int64_t n, uint64_t *offset,
                       uint64_t *bytes);

#endif
