// SPDX-License-Identifier: Apache-2.0
// The files that travel beside the tensors: which are copied, which are made anew, which are left
// behind. Copied: *.json *.jinja *.model *.txt LICENSE* README* up to 64 MiB.
#ifndef SCRUPLE_CONVERT_COMPANIONS_H
#define SCRUPLE_CONVERT_COMPANIONS_H

#include "convert/output.h"
#include "formats/checkpoint.h"

typedef struct {
    char **copied, **left; // names, sorted
    uint64_t n_copied, n_left;
    uint64_t bytes;        // of the copied ones
} companions;

// Looks at the folder of a checkpoint; its shards, index, config.json, and what scruple writes
// itself (scruple.json, SHA256SUMS, experts.idx) belong to neither list.
MUST_USE bool companions_find(companions *c, const checkpoint *source, err *e);
void companions_free(companions *c);
// Stages the copied ones.
MUST_USE bool companions_copy(const companions *c, const checkpoint *source, output *out, err *e);

#endif
