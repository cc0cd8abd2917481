// SPDX-License-Identifier: Apache-2.0
// One named tensor of a checkpoint and where its bytes lie. A view: owns nothing.
#ifndef SCRUPLE_FORMATS_TENSOR_H
#define SCRUPLE_FORMATS_TENSOR_H

#include "base/dtype.h"

enum { TENSOR_MAX_RANK = 8 };

typedef struct {
    const char *name;             // in the arena of the checkpoint
    dtype type;
    int rank;
    int64_t shape[TENSOR_MAX_RANK]; // row-major
    int64_t n_elements;
    int file;                     // index into the checkpoint's files
    uint64_t offset, bytes;       // absolute in that file
} tensor;

// The shape as "[3,4]", a scalar's as "[]".
enum { TENSOR_SHAPE_TEXT = 176 };
const char *tensor_shape_text(const tensor *t, char buf[TENSOR_SHAPE_TEXT]);

#endif
