// SPDX-License-Identifier: Apache-2.0
// Which weights runtimes join to one matrix: these have to share what a codec has once a weight.
#ifndef SCRUPLE_CONVERT_FUSED_H
#define SCRUPLE_CONVERT_FUSED_H

#include "formats/model.h"

enum { FUSED_MOST = 3 };

// The weights that `r` of that layer and expert is joined with, itself among them, in to[]: those
// that the model has and that have as many columns. Their number; 0: it stands alone.
int fused_with(const model *m, role r, int64_t layer, int64_t expert,
               const weight *to[FUSED_MOST]);

#endif
