// SPDX-License-Identifier: Apache-2.0
// Weights that arrive ahead of their use: who knows in which order rows will be wanted says so once
// and then takes their stored bytes in that order, while the next ones are being read
// (base/stream.h). Decodes nothing (weight_decode does) and keeps nothing that was taken.
#ifndef SCRUPLE_FORMATS_WEIGHT_AHEAD_H
#define SCRUPLE_FORMATS_WEIGHT_AHEAD_H

#include "formats/weight.h"

typedef struct {
    const weight *w;
    int64_t row, n;        // n > 0
} weight_rows;

typedef struct weight_ahead weight_ahead;

// rows [n], borrowed until close. `memory`: of what is read and not yet taken.
MUST_USE bool weight_ahead_open(weight_ahead **out, const weight_rows *rows, int64_t n,
                                uint64_t memory, err *e);
// How the next rows will be laid out in memory; NULL where all were taken.
const stored_rows *weight_ahead_next(const weight_ahead *a);
// Takes them: weight_ahead_next's `bytes` to `to`, which any weight_decode reads. The layout is
// gone; who needs it copies it before.
MUST_USE bool weight_ahead_take(weight_ahead *a, void *to, err *e);
void weight_ahead_close(weight_ahead *a); // at any point; NULL is fine

#endif
