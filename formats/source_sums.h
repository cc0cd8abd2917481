// SPDX-License-Identifier: Apache-2.0
// SHA-256 of the files a checkpoint consists of: the identity that outputs and statistics carry.
#ifndef SCRUPLE_FORMATS_SOURCE_SUMS_H
#define SCRUPLE_FORMATS_SOURCE_SUMS_H

#include "base/json.h"
#include "base/pool.h"
#include "formats/checkpoint.h"

// to[checkpoint_n_files]; one file a worker at a time.
MUST_USE bool source_sums(const checkpoint *c, pool *p, sha256_digest *to, err *e);
// Appends "files": [{name, bytes, sha256}].
void source_sums_write(json_writer *w, const checkpoint *c, const sha256_digest *sums);

#endif
