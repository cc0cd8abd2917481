// SPDX-License-Identifier: Apache-2.0
// Is what a checkpoint holds fit to be used? Looks at one checkpoint alone: values that are not
// finite, scales of zero, companions that are missing, files that differ from their SHA256SUMS, an
// expert pack's index that describes something else.
// Knows no family and no reference; what only a comparison can show is not found here.
#ifndef SCRUPLE_VERIFY_CONTENT_H
#define SCRUPLE_VERIFY_CONTENT_H

#include "base/event.h"
#include "base/pool.h"
#include "formats/checkpoint.h"

typedef struct {
    const char *subject; // name of a tensor or a file
    const char *what;    // "3 NaN, the first at element 17"
} content_finding;

// In a fixed order, whatever the threads. Zero-initialised is a valid empty list.
typedef struct {
    content_finding *item;
    uint64_t n, cap;
    arena texts;
} content_findings;

void content_findings_free(content_findings *f);

// A packed or FP8 weight without its scale, a scale without its weight. Names and types only.
MUST_USE bool content_companions(const checkpoint *c, content_findings *f, err *e);
// Reads every tensor that can hold NaN, infinity or (scales) zero; counts each per tensor.
MUST_USE bool content_values(const checkpoint *c, pool *p, const events *v, content_findings *f,
                             err *e);
// Compares files with SHA256SUMS in the checkpoint's folder: all that it lists, or, where the
// checkpoint is one file, that one. *n_compared is 0 where there is no such list; files of the
// checkpoint that it does not list are a warning. A list that cannot be read is ERR_INPUT.
MUST_USE bool content_sums(const checkpoint *c, pool *p, const events *v, content_findings *f,
                           int64_t *n_compared, err *e);
// The expert pack's index, where the checkpoint is a folder that has one: does it describe these
// files? With `records`, also the digest of every expert's record. *n_records is how many it lists,
// 0 without an index. An index that is wrong is a finding: the tensors can be read without it.
MUST_USE bool content_pack(const checkpoint *c, pool *p, const events *v, bool records,
                           content_findings *f, int64_t *n_records, err *e);

#endif
