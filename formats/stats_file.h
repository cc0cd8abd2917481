// SPDX-License-Identifier: Apache-2.0
// Calibration statistics on disk: a safetensors file of raw binary64 sums and counts, one set a
// matrix input (the experts' of a layer together), with what they were made from in its metadata.
// Files merge by adding, in the order given. Layout: docs/statistics.md.
#ifndef SCRUPLE_FORMATS_STATS_FILE_H
#define SCRUPLE_FORMATS_STATS_FILE_H

#include "base/hash.h"
#include "base/str.h"
#include "formats/role.h"
#include "quantize/stats.h"

typedef struct {
    role role;        // under which the forward pass announces the input
    int64_t layer;
    stats sums;
} stats_set;

typedef struct {
    stats_set *set;   // by layer, then by role
    int64_t n;
    uint64_t cap;
    char *made_from;  // JSON array: one object a run that was added
} stats_file;

// The set of a role's input, added empty where it is not there yet. ERR_INPUT where the geometry
// differs from what is there.
MUST_USE bool stats_file_set(stats_file *f, role r, int64_t layer, int64_t n_experts, int64_t cols,
                             stats_set **out, err *e);
// NULL where there are none.
const stats *stats_file_find(const stats_file *f, role r, int64_t layer);
// a += b; sets that only b has are added. ERR_INPUT where a geometry differs or a sum passes what a
// file can hold; `a` is then neither of the two.
MUST_USE bool stats_file_merge(stats_file *a, const stats_file *b, err *e);
void stats_file_free(stats_file *f);

// Whether a file begins as one does: like safetensors, and it is no folder. ERR_INPUT only where it
// cannot be read.
MUST_USE bool stats_file_looks(const char *path, bool *is, err *e);
// digest (may be NULL): SHA-256 of the file. ERR_INPUT for everything but a whole file of this
// layout and version.
MUST_USE bool stats_file_read(stats_file *f, const char *path, sha256_digest *digest, err *e);
MUST_USE bool stats_file_write(const stats_file *f, const char *path, bool replace, err *e);

typedef struct {
    int64_t layer, n_experts, min, median, max, never_hit; // tokens an expert; of an even number
} stats_coverage;                                          // the upper median
// One a MoE layer, ascending; free *out.
MUST_USE bool stats_file_coverage(const stats_file *f, stats_coverage **out, int64_t *n, err *e);

#endif
