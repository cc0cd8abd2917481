// SPDX-License-Identifier: Apache-2.0
// Carries out a plan, file by file in file order: moved tensors are copied in blocks, weights in
// scope are read, decoded and encoded row block by row block on all threads, and what belongs
// further behind (block scales, shapes) is held until its place comes. Decides nothing about
// bytes: that is the plan's.
#ifndef SCRUPLE_CONVERT_RUN_H
#define SCRUPLE_CONVERT_RUN_H

#include "base/pool.h"
#include "convert/output.h"
#include "convert/plan.h"

typedef struct {
    pool *pool;
    uint64_t memory;
    const events *events;
    // Importance of a weight's columns into to[in], or *has = false; NULL: none at all.
    bool (*importance)(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has,
                       err *e);
    void *ctx;
    bool count_changes;     // compare what was coded with what its bytes decode to
} run_options;

typedef struct {
    bool *resumed;          // [n_files] finished by an earlier run
    xxh128_digest *tensor;  // [n_tensors] of the bytes written; not of resumed files
    xxh128_digest **record; // [n_files][n_experts], NULL for files without records
    xxh128_digest *header;  // [n_files]
    int64_t *changed;       // [n_tensors] with count_changes: values of a weight (noted at its
                            // starting part) that do not come back as they were
} run_result;

MUST_USE bool run_result_init(run_result *r, const plan *p, err *e);
void run_result_free(run_result *r, const plan *p);

// ERR_ENV where `memory` is too small, naming the smallest ceiling that would do.
MUST_USE bool run_fits(const plan *p, int threads, uint64_t memory, uint64_t *needed, err *e);
// Writes all files of the plan into `out`, except those that it has already.
MUST_USE bool run_plan(const plan *p, const run_options *o, output *out, run_result *r, err *e);
// Reads every finished file back, header and all, and compares the tensors that were moved with
// their source and the others with what was encoded (ERR_INTERNAL where a byte differs). A resumed
// file is compared with the SHA-256 it was finished with (ERR_ENV, and it is rejected), and its
// records' digests are filled in. *moved: how many tensors were moved.
MUST_USE bool run_prove(const plan *p, const run_options *o, output *out, run_result *r,
                        int64_t *moved, err *e);

#endif
