// SPDX-License-Identifier: Apache-2.0
// Reading ahead: byte ranges of files, known in their order before, are read by own threads while
// the caller works on what came before. Large ranges go past the page cache (O_DIRECT) where the
// file system takes part and the cache does not have them already, small ones through it. The
// caller sees one sequence of bytes, the ranges one behind the other; who knows what lies where is
// the caller. Writes nothing; that is out.h.
#ifndef SCRUPLE_BASE_STREAM_H
#define SCRUPLE_BASE_STREAM_H

#include "base/file.h"

typedef struct {
    const in_file *file;   // open as long as the stream
    uint64_t offset, bytes;
} stream_range;

// The next range, in the order of reading; *end = true where there is none. Called by one thread at
// a time, not the caller's own, ahead of the bytes that the caller has seen. Ranges of one file
// that follow each other without a gap are read as one; an empty one is skipped.
typedef bool (*stream_ranges)(void *ctx, stream_range *out, bool *end, err *e);

typedef struct {
    uint64_t memory;       // of all blocks together; less than STREAM_LEAST counts as that
    bool buffered;         // never O_DIRECT (tests, comparisons)
    int readers;           // threads; 0: as many as pay
} stream_options;

// STREAM_ENOUGH hides a disk behind even work; more is for who takes much at a time.
enum { STREAM_LEAST = 2 << 20, STREAM_ENOUGH = 32 << 20 };

typedef struct stream stream;

// Begins to read. An error of a range, or of reading it, is told when the caller comes to it, and
// again at every later call.
MUST_USE bool stream_open(stream **out, stream_ranges next, void *ctx, const stream_options *o,
                          err *e);
// The next 1 .. most bytes in place; they are valid until the next call. *n = 0: nothing is left.
MUST_USE bool stream_take(stream *s, uint64_t most, const void **bytes, uint64_t *n, err *e);
// The next n > 0 bytes in place, as stream_take; NULL where they do not lie in one piece of memory
// or cannot be read: then they are still to come, and stream_read has them or says why not.
const void *stream_lend(stream *s, uint64_t n);
// Exactly the next n bytes; ERR_INTERNAL where fewer are left.
MUST_USE bool stream_read(stream *s, void *to, uint64_t n, err *e);
void stream_close(stream *s); // at any point; NULL is fine

#endif
