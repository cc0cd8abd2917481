// SPDX-License-Identifier: Apache-2.0
// The inside of make.h, in three files: make_prepare.c opens the source and makes the plan,
// make.c carries out, make_finish.c writes what lies beside the tensors. For these files only.
#ifndef SCRUPLE_CONVERT_MAKER_H
#define SCRUPLE_CONVERT_MAKER_H

#include "convert/companions.h"
#include "convert/make.h"
#include "formats/expected.h"
#include "formats/source_sums.h"

typedef struct {
    const make_options *options;
    make_report *report;
    checkpoint *source;
    model *model;
    plan plan;
    companions companions;
    char *config;              // the source's config.json, NULL where it has none
    size_t config_len;
    sha256_digest config_sha;
    strbuf edited;             // what the output's will be
    strbuf recipe;             // of the options, with the digests of all small files
    strbuf *input;             // a line an input file
    char **input_line;
    uint64_t n_inputs;
    output_file *file;         // [plan.n_files]
    uint64_t scratch;          // on disk, beside them
    plan_small *small;         // of the plan: config.json, copied files
    uint64_t n_small;
    output *out;
    run_result result;
    expected expected;         // SHA-256 of the source's files, on somebody's word
    source_id *source_id;
} maker;

// Opens the source, makes the plan and compares it with the one it has to be.
MUST_USE bool maker_prepare(maker *m, err *e);
// What make_prepare.c knows, as an order for the output folder. Borrows from m.
MUST_USE bool maker_order(maker *m, output_order *with, err *e);
// Writes the plan file that was asked for, unless it is there already.
MUST_USE bool maker_save_plan(maker *m, err *e);
// For the units of `slice` (NULL: all), which stays the caller's.
run_options maker_run_options(const maker *m, const run_slice *slice);
// The source's identity: by what the run has read, or (NULL) by reading all of it; its files are
// what somebody expects them to be.
MUST_USE bool maker_identify_source(maker *m, run_result *r, err *e);
// ERR_NO where values have changed that must not. Counts them.
MUST_USE bool maker_refuse_changes(maker *m, err *e);
// Small files, index, manifest, config, and publishing.
MUST_USE bool maker_finish(maker *m, err *e);
void maker_free(maker *m);

#endif
