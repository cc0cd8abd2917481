// SPDX-License-Identifier: Apache-2.0
// A plan as a file, for job scripts and people: one JSON object a line, first what was ordered and
// where it lies, then a line a unit with its cost and its tensors' places. The same plan gives the
// same bytes; paths are relative to the plan file's folder and no part of the plan's identity.
// Form: docs/plan.md.
//
// Nothing in such a file is trusted: whoever reads one makes the plan again from the input and
// refuses where a line differs (saved_plan_check).
#ifndef SCRUPLE_CONVERT_SAVED_PLAN_H
#define SCRUPLE_CONVERT_SAVED_PLAN_H

#include "base/file.h"
#include "convert/order.h"

enum { SAVED_PLAN_VERSION = 1, SAVED_PLAN_LARGEST = 256 << 20, SAVED_PLAN_LARGEST_HEAD = 16 << 20 };

// The small files of an input that count for its plan.
typedef struct {
    const char *name;
    sha256_digest sha;
} plan_small;

typedef struct {
    const order *order;
    const char *input, *output, *statistics; // paths; the last may be NULL
    const plan_small *small;
    uint64_t n_small;
    const plan *plan;
} saved_plan_facts;

// The line of one unit, without its newline.
void saved_plan_unit(const plan *p, int64_t unit, strbuf *out);
// Writes `path`, whole or not at all; ERR_ENV where it is there and not `replace`.
MUST_USE bool saved_plan_save(const saved_plan_facts *f, const char *path, bool replace, err *e);

typedef struct {
    char *path;
    in_file in;
    uint64_t units_at;      // offset of the first unit's line
    order order;
    char *version;          // of the program that wrote it
    char *input, *output, *statistics; // paths that lead from here; the last may be NULL
    char plan[65];          // hex
    char **small;           // "name sha256"
    uint64_t n_small, small_cap;
} saved_plan;

// Reads the first line. ERR_INPUT for everything that saved_plan_save does not write.
MUST_USE bool saved_plan_open(saved_plan *f, const char *path, err *e);
void saved_plan_close(saved_plan *f); // also of a zeroed one with in.fd = -1
// ERR_ENV where the plan made now is not the one of the file, naming what differs first.
MUST_USE bool saved_plan_check(const saved_plan *f, const saved_plan_facts *now, err *e);

#endif
