// SPDX-License-Identifier: Apache-2.0
// Experts that changed places: an expert of the candidate that is nearer to another expert of the
// reference than to its own. Judges by a sample of rows; how far a weight is from its own is
// parity.h's.
#ifndef SCRUPLE_VERIFY_EXPERTS_APART_H
#define SCRUPLE_VERIFY_EXPERTS_APART_H

#include "verify/parity.h"

// `group` [n]: all experts of one layer and projection, ascending. Looks only where a weight's own
// squared error exceeds a tenth of its energy (int4 has a hundredth). Adds a fatal finding for each
// such expert, one for two that took each other's place; *said counts them over several calls, and
// behind the twentieth they are no longer named.
MUST_USE bool experts_apart(const model *ref, const model *cand, const weight_parity *group,
                            int64_t n, int64_t *said, findings *f, err *e);
// The memory it takes at most.
uint64_t experts_apart_bytes(const model *ref);

#endif
