// SPDX-License-Identifier: Apache-2.0
// The frame of tests of output folders: a run of two shards, a config and a manifest, told what to
// do by a test. Failures end the test.
#ifndef SCRUPLE_TESTS_OUTPUT_CASE_H
#define SCRUPLE_TESTS_OUTPUT_CASE_H

#include "convert/output.h"

typedef struct {
    const char *first; // content of the first shard
    const sha256_digest *plan;
    const char *input_line;
    bool force, dry_run, fewer; // fewer: one shard only
    output_mode mode;
} run;

#define RUN {.first = "first shard", .plan = &plan_a, .input_line = "model: 5 bytes"}

extern char top[256], dir[300], input[300]; // dir and input lie in top; dir is not made yet
extern const sha256_digest plan_a, plan_b;
extern const output_file two[2], one[1];

void output_set_up(void);
void output_tear_down(void);
output_order order_of(const run *r);
// Finishes one file with a note, unless it is finished.
bool stage(output *o, const char *name, const char *text, err *e);
// All files, and publishing.
bool go(output *o, const run *r, err *e);
bool run_all(const run *r, bool *complete, err *e);
void run_well(const run *r, bool expect_complete);
// The first shard stands, then the process is gone.
void begin_and_stop(const run *r);
// Refused with that kind and these words, and nothing in the folder is touched.
void refuses_as(const run *r, err_kind kind, const char *words);
void refuses(const run *r, const char *words); // with status 4
void holds_result(const run *r);

#endif
