// SPDX-License-Identifier: Apache-2.0
// Calibration statistics at work: how make.h asks for the importance of a weight's columns, and
// what scruple.json says of the statistics.
#ifndef SCRUPLE_CONVERT_WEIGHING_H
#define SCRUPLE_CONVERT_WEIGHING_H

#include "base/str.h"
#include "convert/calibrate.h"
#include "convert/plan.h"

typedef struct {
    stats_file file;
    sha256_digest sha;     // of the file
    strbuf description;    // JSON object for the manifest
    importance_source source;
} weighing;

// Reads the file. *w stays where it is until it is closed.
MUST_USE bool weighing_open(weighing *w, const char *path, err *e);
void weighing_close(weighing *w); // also of a zeroed one
// For make_options.importance, with a weighing as ctx: to[in]. ERR_INPUT where the statistics know
// nothing of a weight that is coded.
MUST_USE bool weighing_of(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has,
                          err *e);

#endif
