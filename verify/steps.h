// SPDX-License-Identifier: Apache-2.0
// How far apart neighbouring representable values are where a candidate's values lie: |scale| for
// integers, |scale| times the spacing of E4M3 or E2M1 for those, the type's own spacing for plain
// types; infinite for ggml's blocks, whose steps nothing here knows. An error in steps tells a
// wrong code from a coarse grid.
#ifndef SCRUPLE_VERIFY_STEPS_H
#define SCRUPLE_VERIFY_STEPS_H

#include "formats/weight.h"

typedef struct {
    const weight *w;
    int64_t row, n;
    const float *values;    // [n][in] what w decodes to
    const float *reference; // [n][in]; a scale of zero over a value of it that is not zero is told
    const stored_rows *held; // these and maybe other rows of w, stored in `stored`
    const void *stored;
} steps_args;

// steps [n][in]; never zero. *zero_row (-1: none), *zero_col: where the first such scale begins.
MUST_USE bool steps_fill(const steps_args *a, float *steps, int64_t *zero_row, int64_t *zero_col,
                         err *e);

#endif
