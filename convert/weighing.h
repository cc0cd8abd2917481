// SPDX-License-Identifier: Apache-2.0
// What weights the error of a search: calibration statistics of ours, or an imatrix of llama.cpp,
// told apart by the file's content. How make.h asks for the importance of a weight's columns, and
// what scruple.json says of where it comes from.
#ifndef SCRUPLE_CONVERT_WEIGHING_H
#define SCRUPLE_CONVERT_WEIGHING_H

#include "base/event.h"
#include "base/str.h"
#include "convert/calibrate.h"
#include "convert/plan.h"
#include "formats/imatrix.h"

typedef struct {
    bool has_imatrix;      // else `file`
    stats_file file;
    imatrix imatrix;
    sha256_digest sha;     // of the file
    strbuf description;    // JSON object for the manifest
    importance_source source;
    const events *const *events; // where to warn; NULL: nowhere
    int64_t warned;        // weights that an imatrix knows nothing of
} weighing;

// Reads the file. *w stays where it is until it is closed.
MUST_USE bool weighing_open(weighing *w, const char *path, err *e);
void weighing_close(weighing *w); // also of a zeroed one
// A weight and the place it is bound to.
typedef struct {
    const weight *weight;
    role role;
    int64_t layer, expert;
} weighed;

// Importance of the weight's columns, to[in]. w->source.model is the model.
//
// Statistics: ERR_INPUT where they know nothing of a weight that is coded. An imatrix: the entry of
// the weight's own name, else of llama.cpp's for its role, of experts their slice; ERR_INPUT where
// its size does not fit. As in llama-quantize a weight without an entry is searched unweighted, and
// a slice whose count is 0 by ones.
MUST_USE bool weighing_at(weighing *w, const weighed *t, float *to, bool *has, err *e);
// The same for make_options.importance, with a weighing as ctx; has nothing for types whose bytes
// importance does not decide.
MUST_USE bool weighing_of(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has,
                          err *e);
// For make_options.check_importance, before anything is made: the same refusals, and warnings of
// weights that an imatrix has no entry or no tokens for.
MUST_USE bool weighing_check(void *ctx, const model *m, const plan_tensor *t, err *e);

#endif
