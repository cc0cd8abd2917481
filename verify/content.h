// SPDX-License-Identifier: Apache-2.0
// Is what a checkpoint holds fit to be used? Looks at one checkpoint alone: values that are not
// finite, scales of zero, companions that are missing, files that differ from the SHA-256 that
// somebody lists for them, an expert pack's index that describes something else.
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

enum { CONTENT_MOST_NAMED = 10000 };

// In a fixed order, whatever the threads. Zero-initialised is a valid empty list. A hostile header
// can make a million of them: the first are named, the rest are counted.
typedef struct {
    content_finding *item;
    uint64_t n, cap;
    uint64_t more; // not named
    arena texts;
} content_findings;

void content_findings_free(content_findings *f);

// A packed or FP8 weight without its scale, a scale without its weight. Names and types only.
MUST_USE bool content_companions(const checkpoint *c, content_findings *f, err *e);
// The expert pack's index, where the checkpoint is a folder that has one: does it describe these
// files? *n_records is how many it lists, 0 without an index. An index that is wrong is a finding:
// the tensors can be read without it.
MUST_USE bool content_pack(const checkpoint *c, content_findings *f, int64_t *n_records, err *e);

typedef struct {
    pool *pool;           // may be NULL
    uint64_t memory;      // for what is read ahead
    const events *events; // may be NULL; told of "bytes"
    bool sha256;          // compare files with what formats/expected.h finds
    const char *expect;   // the user's list for that, or NULL
} content_options;

typedef struct {
    int64_t n_records;    // experts in the pack's index, all compared
    int64_t n_sums;       // files whose SHA-256 was compared
    int64_t n_unread;     // tensors of types that this version does not decode: read, not looked at
    dtype unread;         // the first of these types
} content_extent;

// Reads every file once from its first byte to its last and looks at all that the bytes can show:
// NaN, infinity and (scales) zero, counted per tensor; the digest of every record of an expert
// pack, whose index is held against the files as content_pack does; and, if asked for, SHA-256.
// Of the files that a list names beside the checkpoint's own, those in its folder are compared too,
// unless the checkpoint is one file. A list that cannot be read is ERR_INPUT.
MUST_USE bool content_full(const checkpoint *c, const content_options *o, content_findings *f,
                           content_extent *extent, err *e);

#endif
