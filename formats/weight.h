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
// Which bytes of part i rows [row, row + n) need; row is a multiple of the codec's row_quantum, n
// too unless the range ends with the weight, so that ranges one behind the other cover the part. A
// part without rows (weight_shape) belongs to row 0.
void weight_part_range(const weight *w, int i, int64_t row, int64_t n, uint64_t *offset,
                       uint64_t *bytes);
// As weight_read_rows, out of memory: part[i] is what weight_part_range told of a range that begins
// at row `first` (a multiple of row_quantum) and reaches to row + n or further.
MUST_USE bool weight_decode_rows(const weight *w, int64_t first, const void *const *part,
                                 int64_t row, int64_t n, float *to, err *e);
uint64_t weight_stored_bytes(const weight *w);   // all parts
int64_t weight_elements(const weight *w);

#endif
