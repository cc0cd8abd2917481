// SPDX-License-Identifier: Apache-2.0
// An order made ready for make.h: its options as text, its statistics read. What `convert` and
// `quantize` do by their own options and `run`, `status` and `merge` by a plan file begins here.
#ifndef SCRUPLE_CONVERT_JOB_H
#define SCRUPLE_CONVERT_JOB_H

#include "convert/make.h"
#include "convert/weighing.h"

typedef struct {
    order order;
    saved_plan plan;     // open where the job comes from one
    bool weighs;
    weighing weights;    // where it does
    strbuf options;      // JSON
    make_options make;   // points into the job: use it where it stands
} job;

typedef struct {
    const char *input, *output, *statistics;
} job_paths;

// Statistics (NULL: none) are read at once, their digest goes into the order. The job borrows the
// order's rules: *o is freed after it.
MUST_USE bool job_from_order(job *j, const order *o, const job_paths *paths, err *e);
// Paths that are not NULL stand for those that the plan file names. ERR_ENV where the statistics
// are not those of the plan.
MUST_USE bool job_from_plan(job *j, const char *path, const job_paths *instead, err *e);
void job_close(job *j);

#endif
