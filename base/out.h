// SPDX-License-Identifier: Apache-2.0
// Output files that are whole or absent: temporary name in the same folder, preallocated at full
// size (no space is known at second 0), data first, header last, fsync, rename without replacing,
// fsync of the folder. SHA-256 is computed in file order on the way. Nothing half-written ever has
// its final name. Which file comes before which is the caller's order.
//
// A large file can be written behind its caller's back (out_write_behind): appended bytes are
// copied into a ring of blocks, which one thread writes past the page cache (O_DIRECT) where the
// file system takes part and another one hashes. The bytes of a file are the same either way.
#ifndef SCRUPLE_BASE_OUT_H
#define SCRUPLE_BASE_OUT_H

#include "base/err.h"
#include "base/hash.h"

// Sees the bytes behind the header as they go to the file, in file order, block by block. Called
// by one thread at a time, not always the caller's; never after out_publish has returned.
typedef void (*out_watch)(void *ctx, uint64_t offset, const void *bytes, uint64_t n);

typedef struct {
    int fd;
    char *dir, *name, *temp;
    void *header;          // written last, hashed first
    uint64_t header_bytes;
    uint64_t size, at;     // whole file; next byte to append
    sha256 *sha;
    unsigned char *buffer; // small appends gather here; large ones are written directly
    uint64_t buffered;
    out_watch watch;       // may be NULL
    void *watch_ctx;
    struct out_ring *ring; // where it is written behind
} out_file;

#define OUT_FILE_CLOSED {.fd = -1}

// Creates dir/.<name>.<pid>.<random>.part and preallocates `size` bytes (0: unknown, grows).
// `header` (may be NULL) is copied: the first header_bytes of the file; appending begins after it.
MUST_USE bool out_open(out_file *o, const char *dir, const char *name, uint64_t size,
                       const void *header, uint64_t header_bytes, err *e);
// Both between out_open and the first append. Each of the ring's four blocks has a quarter of
// `memory`, in whole KiB up to 8 MiB and from 64 KiB on; files that fit into one block are written
// as without, at no cost. `buffered`: never O_DIRECT (tests, comparisons); write-out is then begun
// early, so that at most OUT_DIRTY bytes wait in the page cache. On failure the file is discarded.
enum { OUT_BEHIND_LEAST = 256 << 10, OUT_BEHIND_MOST = 32 << 20, OUT_DIRTY = 128 << 20 };
MUST_USE bool out_write_behind(out_file *o, uint64_t memory, bool buffered, err *e);
void out_watched(out_file *o, out_watch watch, void *ctx);
// The next n bytes, in file order. On failure the file is discarded; one of writing behind may be
// told by a later append or by out_publish.
MUST_USE bool out_append(out_file *o, const void *bytes, uint64_t n, err *e);
// Everything appended so far is in the file and hashed, and the watch has seen it.
MUST_USE bool out_settle(out_file *o, err *e);
// Header, fsync, rename (refuses to replace unless `replace`), fsync of the folder.
// digest (may be NULL) receives the file's SHA-256. Fails with ERR_INTERNAL where a size was given
// and another number of bytes was written. On failure nothing stays behind.
MUST_USE bool out_publish(out_file *o, bool replace, sha256_digest *digest, err *e);
void out_discard(out_file *o); // removes the temporary file; safe on a closed one

// The three steps for a small file.
MUST_USE bool out_write_file(const char *dir, const char *name, const void *bytes, uint64_t n,
                             bool replace, sha256_digest *digest, err *e);
// Where several processes may write it: *taken and success where the name was another's already.
MUST_USE bool out_write_new(const char *dir, const char *name, const void *bytes, uint64_t n,
                            bool *taken, err *e);
// Makes a folder (parents too); one that exists is fine.
MUST_USE bool out_make_dir(const char *dir, err *e);
// ERR_ENV where the file system of `dir` (or of the nearest parent that exists) has less than
// `bytes` free.
MUST_USE bool out_has_space(const char *dir, uint64_t bytes, err *e);

// Makes the names in a folder durable: what was made, renamed and removed there.
MUST_USE bool out_sync_dir(const char *dir, err *e);

// Reserves `size` bytes for an open file; false with errno.
MUST_USE bool out_preallocate(int fd, uint64_t size);

// The protocol's ends for writers that fill the temporary file themselves (libzip): a name for it,
// and, once the file is synced and closed, its publication. `temp` is gone after both outcomes.
MUST_USE char *out_temp_path(const char *dir, const char *name, err *e);
MUST_USE bool out_publish_temp(const char *temp, const char *dir, const char *name, bool replace,
                               err *e);

#endif
