// SPDX-License-Identifier: Apache-2.0
// Sizes and memory: checked arithmetic for every size that comes from a file, allocations that
// fail with a sentence, and an arena for what lives as long as its handle. Never aborts.
#ifndef SCRUPLE_BASE_MEM_H
#define SCRUPLE_BASE_MEM_H

#include "base/err.h"

// *out = a * b (a + b); false on overflow, *out is then 0. The only way sizes from files are
// combined.
MUST_USE bool size_mul(uint64_t a, uint64_t b, uint64_t *out);
MUST_USE bool size_add(uint64_t a, uint64_t b, uint64_t *out);
// Rounds up to a multiple of `to` (a power of two or not, > 0); false on overflow.
MUST_USE bool size_round_up(uint64_t a, uint64_t to, uint64_t *out);

// Zeroed memory for n objects of `size` bytes; NULL and a sentence naming `what` on failure or
// overflow. n == 0 gives a valid pointer. Free with free().
MUST_USE void *mem_new(uint64_t n, size_t size, const char *what, err *e);
// As mem_new, not zeroed, 64-byte aligned (cache line, widest vector). Free with free().
MUST_USE void *mem_new_aligned(uint64_t n, size_t size, const char *what, err *e);
// Pages of its own for one large buffer, zeroed, huge ones where the system has them: fewer of them
// to map, to look up and to pin for the disk. Free with mem_pages_free and the same `bytes`, which
// gives them back to the system. NULL and a sentence naming `what` on failure.
MUST_USE void *mem_pages(uint64_t bytes, const char *what, err *e);
void mem_pages_free(void *p, uint64_t bytes); // NULL is fine
// Grows *array (n objects of `size` bytes, capacity *cap) so that `need` fit; doubles.
MUST_USE bool mem_grow(void **array, uint64_t *cap, uint64_t need, size_t size, const char *what,
                       err *e);

// One buffer that is used again and again: grows when asked for more, contents are not kept.
// Zero-initialised is a valid empty one. 64-byte aligned.
typedef struct {
    void *bytes;
    uint64_t cap;
} scratch;

MUST_USE void *scratch_need(scratch *s, uint64_t n, size_t size, const char *what, err *e);
void scratch_free(scratch *s);

// Bump allocator: everything goes at once. Zero-initialised is a valid empty arena.
typedef struct {
    struct arena_block *last;
    uint64_t bytes; // handed out, for budgets
} arena;

MUST_USE void *arena_new(arena *a, uint64_t n, size_t size, err *e); // zeroed, 16-byte aligned
MUST_USE char *arena_text(arena *a, const char *text, size_t len, err *e); // NUL-terminated copy
void arena_free(arena *a);

#endif
