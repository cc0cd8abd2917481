// SPDX-License-Identifier: Apache-2.0
// Makes one checkpoint out of another: plan, output folder, run, proof, small files, publishing.
// The one pipeline behind `convert` and `quantize`; what differs between them is in the options.
#ifndef SCRUPLE_CONVERT_MAKE_H
#define SCRUPLE_CONVERT_MAKE_H

#include "base/pool.h"
#include "convert/estimate.h"
#include "convert/run.h"
#include "convert/saved_plan.h"

typedef struct {
    const char *command;        // for the manifest
    const char *input, *output; // paths
    plan_options plan;
    bool needs_model;           // roles are needed, unless a GGUF's own types are enough
    // Importance of columns, see run.h; statistics: JSON for the manifest. Both may be NULL.
    bool (*importance)(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has,
                       err *e);
    // Asked of every coded weight before anything is made; NULL: of none.
    bool (*check_importance)(void *ctx, const model *m, const plan_tensor *t, err *e);
    void *ctx;
    const char *statistics;
    const char *options_json;   // the options that decide bytes, for the manifest
    bool refuse_changes;        // a value that would change: ERR_NO with counts (convert)
    bool count_changes;
    bool force, dry_run;
    output_mode mode;
    int64_t part, parts;        // OUTPUT_PART: which of how many, from 1 on
    const saved_plan *from;      // checked against the plan; may be NULL
    const char *save_plan;      // path of a plan file to write (replaced with `force`), even by a
    const order *order;         // dry run, and what it says; save_plan may be NULL
    const char *statistics_path;
    const char *expect;         // a list of SHA-256 that the input's files must have; NULL: what
                                // stands beside them (expected.h)
    bool read_back;             // finished files are read again from the medium and compared
    pool *pool;
    uint64_t memory;
    const events *events;
} make_options;

typedef struct {
    bool already_complete;      // nothing was done
    bool has_roles;             // bits, experts' bytes and role_bytes are known
    int64_t n_files, n_tensors, n_moved, n_coded; // tensors moved byte for byte and proven so
    int64_t n_cut, n_stacked;   // weights that were cut out of stacks, or put into some, as they
                                // are
    int64_t n_copied, n_left;   // other files of the source's folder
    int64_t changed_values, changed_tensors;
    int64_t blocks, changed_blocks; // of weights that were moved block by block,
    run_loss loss;                  //   and what that cost, with plan_options.lossy
    uint64_t bytes_before, bytes_after;           // tensor files
    uint64_t experts_before, experts_after;       // routed experts' tensors; 0 without a model
    double bits_before, bits_after, expert_bits_before, expert_bits_after; // a weight
    uint64_t memory_needed, disk_needed;
    estimate estimate;          // of a dry run
    uint64_t role_bytes[CLASS_COUNT];             // of the output, by class of role
    sha256_digest plan;
    run_slice slice;            // the units that were to be made or merged
    int64_t n_resumed;          // of them were finished before
} make_report;

MUST_USE bool make_checkpoint(const make_options *o, make_report *r, err *e);

// What a finished unit lost and must not: so many values or blocks of so many weights.
typedef struct {
    int64_t weights, changed;
} make_refusal;

// How far a run has come, by the notes in its folder; nothing is locked, made or changed.
typedef struct {
    bool published;             // complete: everything has its final name
    int64_t n_units, n_done;
    uint64_t bytes, bytes_done; // of the units
    bool *done;                 // [n_units]
    char **name;                // [n_units]
    int64_t *part;              // [n_units] with o->parts: which part each unit belongs to
    make_refusal *refused;      // [n_units]; zeros with losses allowed. With one such unit nothing
    int64_t n_refused;          //   of the run will be published
    const char *grid;           // the type on whose grid blocks are not; NULL: values would change
    sha256_digest plan;
} make_state;

MUST_USE bool make_look(const make_options *o, make_state *s, err *e);
void make_state_free(make_state *s);

#endif
