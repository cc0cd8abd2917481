// SPDX-License-Identifier: Apache-2.0
// Inside of content.h: how its parts put findings into the list, and what the one pass over the
// bytes gets from the others.
#ifndef SCRUPLE_VERIFY_CONTENT_LIST_H
#define SCRUPLE_VERIFY_CONTENT_LIST_H

#include "base/stream.h"
#include "formats/expected.h"
#include "verify/content.h"

MUST_USE bool content_add(content_findings *f, const char *subject, err *e, const char *format,
                          ...) PRINTF_LIKE(4, 5);
// The last component of a tensor's name, borrowed.
const char *content_last(const char *name);

// Memory to read ahead in.
static inline uint64_t content_ahead(const content_options *o)
{
    return o->memory < STREAM_ENOUGH ? o->memory : STREAM_ENOUGH;
}

// One expert's bytes and the digest that the pack's index lists for them.
typedef struct {
    int64_t layer, expert;
    int file;                   // of the checkpoint
    uint64_t offset, bytes;
    xxh128_digest listed, found;
    xxh128 *hash;               // while the pass is in it
} content_record;

typedef struct {
    content_record *item;       // by file and offset
    int64_t n;
} content_records;

// content_pack, and the records; empty where the index is a finding.
MUST_USE bool content_list_records(const checkpoint *c, content_findings *f, content_records *r,
                                   int64_t *n_records, err *e);
// A finding for each whose digest differs, by layer and expert.
MUST_USE bool content_compare_records(const checkpoint *c, content_records *r, content_findings *f,
                                      err *e);
void content_records_free(content_records *r);

// A finding for each file of the checkpoint whose sum differs; then the list's other files are
// looked for, read and compared. *n counts both.
MUST_USE bool content_compare_sums(const checkpoint *c, const content_options *o,
                                   const expected *x, const sha256_digest *found,
                                   content_findings *f, int64_t *n, err *e);

#endif
