// SPDX-License-Identifier: Apache-2.0
// Writing behind, a part of out.h: a ring of blocks between the one that appends and two threads,
// one that writes and one that hashes. A block is free again when both are done with it. Knows
// neither names nor publication; the header and what follows the last multiple of 4 KiB are written
// through the page cache when all else is done.
#ifndef SCRUPLE_BASE_OUT_RING_H
#define SCRUPLE_BASE_OUT_RING_H

#include "base/out.h"

typedef struct {
    int fd;
    const char *dir, *name; // borrowed, for sentences
    uint64_t size;          // of the whole file, 0 where unknown
} out_target;

typedef struct out_ring out_ring;

typedef struct {
    out_target to;
    uint64_t begin;         // offset of the first byte appended
    uint64_t block;         // bytes, a multiple of 4 KiB
    bool buffered;
    sha256 *sha;            // borrowed; the ring's alone until out_ring_finish or _close
    const out_watch *watch; // set before the first append, or NULL in there
    void *const *watch_ctx;
} out_ring_options;

uint64_t out_ring_block(uint64_t memory); // its size, out of the memory of all blocks
MUST_USE bool out_ring_open(out_ring **out, const out_ring_options *o, err *e);
MUST_USE bool out_ring_append(out_ring *r, const void *bytes, uint64_t n, err *e);
// Everything appended is in the file and hashed, the threads are gone, O_DIRECT is off.
MUST_USE bool out_ring_finish(out_ring *r, err *e);
void out_ring_close(out_ring *r); // at any point; NULL is fine

// out.c's: all n bytes, or the sentence of out_cannot_write.
MUST_USE bool out_write_at(const out_target *to, const void *bytes, uint64_t n, uint64_t offset,
                           err *e);
// With errno of the failed call. Always false.
bool out_cannot_write(const char *dir, const char *name, uint64_t needed, err *e);

#endif
