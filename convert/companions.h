// SPDX-License-Identifier: Apache-2.0
// The files that travel beside the tensors: which are copied, which are left behind. Copied:
// *.json *.jinja *.model *.txt LICENSE* README* up to 64 MiB. What is to be copied is read once at
// the start, so that a run fails before its long part and its identity covers these files too.
#ifndef SCRUPLE_CONVERT_COMPANIONS_H
#define SCRUPLE_CONVERT_COMPANIONS_H

#include "convert/output.h"
#include "formats/checkpoint.h"

typedef struct {
    char *name;
    uint64_t bytes;
    sha256_digest sha;
} companion;

typedef struct {
    companion *copied;     // by name
    char **left;           // likewise
    uint64_t n_copied, copied_cap, n_left, left_cap;
    uint64_t bytes;        // of the copied ones
} companions;

// Looks at the folder of a checkpoint; its shards, index, config.json, and what scruple writes
// itself (scruple.json, scruple-recipe.json, SHA256SUMS, experts.idx) belong to neither list. A
// single file without a config.json beside it has no companions: what else lies in its folder is
// not known to be its. Where weights are coded anew (`recoded`), other tools' descriptions of how
// they were (hf_quant_config.json and its like) are left behind.
MUST_USE bool companions_find(companions *c, const checkpoint *source, bool recoded, err *e);
void companions_free(companions *c);
// Stages the copied ones; ERR_INPUT where one has changed since companions_find.
MUST_USE bool companions_copy(const companions *c, const checkpoint *source, output *out, err *e);

#endif
