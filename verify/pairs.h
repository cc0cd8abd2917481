// SPDX-License-Identifier: Apache-2.0
// Inside of parity.h: the two sides of weights, whole and in their stored form, brought to memory
// batch by batch while the batch before is being compared.
#ifndef SCRUPLE_VERIFY_PAIRS_H
#define SCRUPLE_VERIFY_PAIRS_H

#include "formats/weight_ahead.h"

enum { PAIRS_AT_ONCE = 64 };

typedef struct {
    const weight *side[2];
} weight_pair;

// bytes NULL: it did not come ahead and is read row by row.
typedef struct {
    stored_rows rows;
    void *bytes;
} held_weight;

typedef struct {
    const weight_pair *pair;  // borrowed
    int64_t n, at, first;     // behind the present batch; its first
    uint64_t room;            // for one batch
    weight_rows *order;
    weight_ahead *ahead;      // NULL: nothing comes ahead
    char *bytes;
    held_weight held[PAIRS_AT_ONCE][2];
} pairs;

// With less than a few MiB of `memory` nothing is read ahead.
MUST_USE bool pairs_open(pairs *p, const weight_pair *pair, int64_t n, uint64_t memory, err *e);
// The next batch: pairs [first, first + *n), stored in p->held; *n = 0 behind the last one. A pair
// too large to be held is a batch of its own.
MUST_USE bool pairs_next(pairs *p, int64_t *n, err *e);
void pairs_close(pairs *p);
// What pairs_open takes beside `memory`.
uint64_t pairs_bytes(int64_t n);

#endif
