// SPDX-License-Identifier: Apache-2.0
// Carries out a plan, unit (output file) by unit: reading ahead, work and writing behind go on at
// the same time, each byte is read once and written once, and is hashed both times. Moved tensors
// are handed through; weights in scope are read in batches of rows, decoded and encoded on all
// threads, and what belongs further behind (block scales, shapes) is held until its place comes.
// Decides nothing about bytes: that is the plan's. Results depend neither on threads nor on memory.
//
// Proof: what goes to the plan's addresses is hashed there, on its way to the file, and must equal
// what was read or encoded; a unit that differs is never finished (ERR_INTERNAL). Whether the
// medium kept it is the question of run_read_back.
#ifndef SCRUPLE_CONVERT_RUN_H
#define SCRUPLE_CONVERT_RUN_H

#include "base/pool.h"
#include "convert/output.h"
#include "convert/plan.h"
#include "formats/source_sums.h"

typedef struct {
    int64_t first, n;       // units
} run_slice;

typedef struct {
    pool *pool;
    uint64_t memory;        // what may be resident of the whole process
    const events *events;
    // Importance of a weight's columns into to[in], or *has = false; NULL: none at all.
    bool (*importance)(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has,
                       err *e);
    void *ctx;
    bool count_changes;     // compare what was coded with what its bytes decode to
    // Files that it knows are hashed as wholes where they are read in order, for run_expected;
    // NULL: none.
    const struct expected *expected;
    const run_slice *slice; // the units to make; NULL: all
    uint64_t batch, held;   // ceilings on what is read together and what waits in memory, below
                            // what `memory` allows (tests); 0: none
    const char *scratch;    // a folder for what outgrows memory, usually the output's; NULL: the
                            // current one
} run_options;

// What a weight lost: sums of squares over its values, and the largest difference.
typedef struct {
    double error, signal;
    float largest;
} run_loss;

void run_loss_add(run_loss *to, const run_loss *x);
double run_loss_db(const run_loss *x); // values over error; infinite where there is none

typedef struct {
    bool *resumed;          // [n_files] finished by an earlier run
    xxh128_digest *tensor;  // [n_tensors] of the bytes written; not of resumed files.
                            // Of a stack at its first piece
    xxh128_digest **record; // [n_files][n_experts], NULL for files without records
    xxh128_digest *header;  // [n_files]
    int64_t *changed;       // [n_tensors] with count_changes: values of a weight (noted at its
                            // starting part) that do not come back as they were; of a weight that
                            // is moved into a codec its blocks
    run_loss *loss;         // [n_tensors] of such a weight, with plan_options.lossy
    xxh128_digest *source;  // [checkpoint_count] of the bytes of each source tensor that was read
    bool *read;             // [checkpoint_count] whether it was
    sha256_digest *file;    // [checkpoint_n_files] of each whole file of the source,
    bool *whole;            //   where it is known
} run_result;

MUST_USE bool run_result_init(run_result *r, const plan *p, err *e);
void run_result_free(run_result *r, const plan *p);

// ERR_ENV where `memory` is too small, naming the smallest ceiling that would do; *needed is that
// ceiling, in bytes.
MUST_USE bool run_fits(const plan *p, int threads, uint64_t memory, uint64_t *needed, err *e);
// Bytes of scratch on disk, beside the units themselves, that the slice takes at most at a time.
MUST_USE bool run_scratch(const plan *p, run_slice slice, int threads, uint64_t memory,
                          uint64_t *bytes, err *e);
// Makes the units of the slice that `out` does not have already; of those that it has, the result
// is filled in from their notes.
MUST_USE bool run_plan(const plan *p, const run_options *o, output *out, run_result *r, err *e);
// Fills in the result for every unit that the run itself did not make: record digests, source
// tensors, counts of changes, out of the notes that other runs or parts left with their units.
// ERR_ENV where a unit is not finished, or its note is none (the unit is then rejected).
MUST_USE bool run_recall(const plan *p, output *out, run_result *r, err *e);
// The same of those units that are finished and whose notes are understood; the others stay as they
// are. Changes nothing in the folder.
MUST_USE bool run_recall_some(const plan *p, const output *out, run_result *r, err *e);
// Identities of the source's files, [checkpoint_n_files], out of what was read. Stacked tensors
// that no unit has read from front to end are read once more. ERR_INTERNAL where another tensor is
// not known: units are missing.
MUST_USE bool run_source_ids(const plan *p, run_result *r, source_id *to, err *e);
// Compares the source's files with what is expected of them (ERR_INPUT with the file, who says so,
// what was found). Those that the run has not read from front to end are read once more. Fills in
// what to[checkpoint_n_files] says of whole files.
MUST_USE bool run_expected(const plan *p, const run_options *o, const struct expected *x,
                           run_result *r, source_id *to, err *e);
// Reads every finished unit of the slice back from the medium, header and all, and compares it with
// what was written (ERR_INTERNAL where a byte differs); a resumed one with the SHA-256 that it was
// finished with (ERR_ENV, and it is rejected).
MUST_USE bool run_read_back(const plan *p, const run_options *o, output *out, run_result *r,
                            err *e);

#endif
