// SPDX-License-Identifier: Apache-2.0
// Scratch on disk: a file without a name, for results that outgrow memory before the file they
// belong into can be put together. It is gone with the process, however that ends.
#ifndef SCRUPLE_BASE_SPILL_H
#define SCRUPLE_BASE_SPILL_H

#include "base/err.h"

typedef struct {
    int fd;
    const char *dir;  // borrowed, for sentences
    uint64_t size;
} spill;

#define SPILL_CLOSED {.fd = -1}
#define SPILL_NAME "spill" // of its temporary name, for a moment, where a file must have one

// `size` bytes in the file system of `dir`, reserved at once: no space is known now (ERR_ENV).
MUST_USE bool spill_open(spill *s, const char *dir, uint64_t size, err *e);
void spill_close(spill *s); // safe on a closed one
// n bytes at `offset`, inside the size. What was never written reads as zeros.
MUST_USE bool spill_write(spill *s, uint64_t offset, const void *bytes, uint64_t n, err *e);
MUST_USE bool spill_read(const spill *s, uint64_t offset, void *to, uint64_t n, err *e);

#endif
