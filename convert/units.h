// SPDX-License-Identifier: Apache-2.0
// A plan as work: what each unit (output file) costs, and how the units are shared out over the
// tasks of a job array. Pure functions of the plan, so that tasks need not talk to each other.
#ifndef SCRUPLE_CONVERT_UNITS_H
#define SCRUPLE_CONVERT_UNITS_H

#include "convert/plan.h"
#include "convert/run.h"

typedef struct {
    uint64_t read, written; // bytes
    int64_t values;         // that are coded
    uint64_t memory;        // bytes of encoded parts that wait for their place at one time
    uint64_t weight;        // of all that in bytes of reading and writing, see unit_cost_of
} unit_cost;

// A coded value counts as much as so many bytes that are copied: 2 of a plain type, 4 of an FP8
// one, 24 of a searched int4 one.
unit_cost unit_cost_of(const plan *p, int64_t unit);

enum { UNITS_MOST_PARTS = 1000000 };

// part[n_files]: which of `parts` parts (from 1 on) each unit belongs to. Ascending, so that a part
// is a contiguous slice; the heaviest part is as light as whole units allow. Parts may be empty.
MUST_USE bool units_share(const plan *p, int64_t parts, int64_t *part, err *e);
// The units of one part.
MUST_USE bool units_slice(const plan *p, int64_t part, int64_t parts, run_slice *out, err *e);

#endif
