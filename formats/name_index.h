// SPDX-License-Identifier: Apache-2.0
// Finds names that lie somewhere else by number: 9 bytes a name, no copies, no worst case that a
// file could choose (names of one hash are ordered by their bytes). Fixed once it is built; for
// tables that grow there is strmap.
#ifndef SCRUPLE_FORMATS_NAME_INDEX_H
#define SCRUPLE_FORMATS_NAME_INDEX_H

#include "base/err.h"

typedef const char *(*name_at)(const void *names, int64_t i);

typedef struct {
    uint64_t *entry; // [n]: hash in the upper half, number in the lower, sorted
    uint32_t *first; // [2^bits + 1]: where the entries begin whose hash has these upper bits
    int bits;
    int64_t n;
} name_index;

// Over names 0..n-1, n < 2^32. *twice is the larger number of one that is there a second time, or
// -1. Takes 16 bytes a name while it works.
MUST_USE bool name_index_build(name_index *x, const void *names, int64_t n, name_at at,
                               int64_t *twice, err *e);
// The number of a name, -1 where there is none; `names` and `at` as they were built with.
int64_t name_index_find(const name_index *x, const void *names, name_at at, const char *name);
void name_index_free(name_index *x);

#endif
