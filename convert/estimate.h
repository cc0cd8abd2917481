// SPDX-License-Identifier: Apache-2.0
// How long a plan will take on this machine: reading, writing and coding are tried out for about a
// second, and what the plan has to do is divided by the rates. Arithmetic, never a promise; decides
// nothing and leaves nothing behind.
#ifndef SCRUPLE_CONVERT_ESTIMATE_H
#define SCRUPLE_CONVERT_ESTIMATE_H

#include "base/pool.h"
#include "convert/run.h"

#define ESTIMATE_NAME "scruple-estimate" // of the temporary file that is written

typedef struct {
    uint64_t read, written;       // bytes that the plan has to move
    int64_t coded;                // values it has to code
    double read_rate, write_rate; // bytes a second; 0: nothing was tried
    double code_rate;             // values a second on all threads; 0: nothing to code
    bool shared;                  // one device reads and writes
    double seconds;               // all together
} estimate;

typedef struct {
    const char *output; // folder that is to be written; it need not be there
    run_slice slice;    // of the plan's units
    pool *pool;
    const events *events;
} estimate_options;

// Of the units of the slice. Fails where reading the source, writing beside the output or coding
// fails: so would the run.
MUST_USE bool estimate_plan(estimate *out, const plan *p, const estimate_options *o, err *e);

#endif
