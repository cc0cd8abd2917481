// SPDX-License-Identifier: Apache-2.0
// The identity of the files a checkpoint consists of, which outputs and statistics carry: SHA-256
// of the whole file, or one that can be had in whatever order its tensors are read.
#ifndef SCRUPLE_FORMATS_SOURCE_SUMS_H
#define SCRUPLE_FORMATS_SOURCE_SUMS_H

#include "base/json.h"
#include "base/pool.h"
#include "formats/checkpoint.h"

// to[checkpoint_n_files]; one file a worker at a time. Stops where `v` (may be NULL) asks for it.
MUST_USE bool source_sums(const checkpoint *c, pool *p, const events *v, sha256_digest *to,
                          err *e);
// Appends "files": [{name, bytes, sha256}].
void source_sums_write(json_writer *w, const checkpoint *c, const sha256_digest *sums);

typedef struct {
    sha256_digest content; // of its tensors: what checkpoint_digest says of the file alone
    bool checked;          // the whole file was compared with a SHA-256 that was expected of it:
    sha256_digest sha256;  // this one
} source_id;

// to[checkpoint_n_files], out of the digests of all tensors, each[checkpoint_count].
MUST_USE bool source_ids_of(const checkpoint *c, const xxh128_digest *each, source_id *to, err *e);
// The same by reading everything once.
MUST_USE bool source_ids(const checkpoint *c, const events *v, source_id *to, err *e);
// Appends "files": [{name, bytes, digest}], and sha256 where that was checked.
void source_ids_write(json_writer *w, const checkpoint *c, const source_id *ids);

#endif
