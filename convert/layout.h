// SPDX-License-Identifier: Apache-2.0
// Where the tensors of a plan go: which file, in which order. plan.c's other half; nobody else
// calls it. Layouts are described in docs/expert-pack.md.
#ifndef SCRUPLE_CONVERT_LAYOUT_H
#define SCRUPLE_CONVERT_LAYOUT_H

#include "convert/plan.h"

// Names in the order of shards: "3" before "10", runs of digits compare as numbers.
int layout_natural_order(const char *a, const char *b);
// Orders p->tensor and cuts it into p->file (names and headers are not yet there). For expert
// shards the records' components are filled in but for their offsets.
MUST_USE bool layout_files(plan *p, err *e);
// Fills in the records' offsets once the headers are written.
MUST_USE bool layout_records(plan *p, err *e);

#endif
