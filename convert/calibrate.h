// SPDX-License-Identifier: Apache-2.0
// Collects calibration statistics: runs the reference forward pass over windows of tokens and adds
// up what it announces. The forward pass does not know that it is watched by statistics.
#ifndef SCRUPLE_CONVERT_CALIBRATE_H
#define SCRUPLE_CONVERT_CALIBRATE_H

#include "base/event.h"
#include "base/pool.h"
#include "formats/model.h"
#include "formats/stats_file.h"
#include "formats/windows.h"

typedef struct {
    const model *model;
    const windows *windows;
    pool *pool;
    uint64_t memory;
    const events *events;
} calibrate_options;

// Fills *out (free with stats_file_free). The sums do not depend on threads or memory. ERR_ENV
// where `memory` does not hold the sums and one window, naming the smallest ceiling that does.
MUST_USE bool calibrate(stats_file *out, const calibrate_options *o, err *e);
// What calibrate refuses before it computes anything; *bytes: of all sums that it would collect.
MUST_USE bool calibrate_check(const calibrate_options *o, uint64_t *bytes, err *e);

// Importance weights out of statistics, for the quantizer's searches.
typedef struct {
    const stats_file *file;
    const model *model;
} importance_source;

// to[in] for the columns of a matrix. *has = false where the file has no set for it. ERR_INPUT
// where the set does not fit the model.
MUST_USE bool importance_of(const importance_source *s, role r, int64_t layer, int64_t expert,
                            int64_t in, float *to, bool *has, err *e);
// Whether importance_of would have something to say, without the arithmetic.
MUST_USE bool importance_has(const importance_source *s, role r, int64_t layer, int64_t expert,
                             int64_t in, bool *has, err *e);

#endif
