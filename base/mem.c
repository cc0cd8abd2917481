// SPDX-License-Identifier: Apache-2.0
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool size_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    if (!__builtin_mul_overflow(a, b, out))
        return true;
    *out = 0;
    return false;
}

bool size_add(uint64_t a, uint64_t b, uint64_t *out)
{
    if (!__builtin_add_overflow(a, b, out))
        return true;
    *out = 0;
    return false;
}

bool size_round_up(uint64_t a, uint64_t to, uint64_t *out)
{
    uint64_t rest = a % to;
    if (rest == 0) {
        *out = a;
        return true;
    }
    return size_add(a, to - rest, out);
}

static bool bytes_for(uint64_t n, size_t size, const char *what, uint64_t *bytes, err *e)
{
    if (!size_mul(n, size, bytes) || *bytes > PTRDIFF_MAX)
        return err_set(e, ERR_ENV, "no memory for %s: %llu times %zu bytes", what,
                       (unsigned long long)n, size);
    if (*bytes == 0)
        *bytes = 1;
    return true;
}

void *mem_new(uint64_t n, size_t size, const char *what, err *e)
{
    uint64_t bytes;
    if (!bytes_for(n, size, what, &bytes, e))
        return NULL;
    void *p = calloc(1, bytes);
    if (!p)
        err_set(e, ERR_ENV, "no memory for %s: %llu bytes", what, (unsigned long long)bytes);
    return p;
}

void *mem_new_aligned(uint64_t n, size_t size, const char *what, err *e)
{
    uint64_t bytes;
    void *p = NULL;
    if (!bytes_for(n, size, what, &bytes, e))
        return NULL;
    if (!size_round_up(bytes, 64, &bytes) || posix_memalign(&p, 64, bytes) != 0) {
        err_set(e, ERR_ENV, "no memory for %s: %llu bytes", what, (unsigned long long)bytes);
        return NULL;
    }
    return p;
}

void *mem_pages(uint64_t bytes, const char *what, err *e)
{
    void *p = bytes > PTRDIFF_MAX ? MAP_FAILED
                                  : mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        err_set(e, ERR_ENV, "no memory for %s: %llu bytes", what, (unsigned long long)bytes);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    (void)madvise(p, bytes, MADV_HUGEPAGE); // refused: small pages do as well
#endif
    return p;
}

void mem_pages_free(void *p, uint64_t bytes)
{
    if (p)
        (void)munmap(p, bytes ? bytes : 1);
}

bool mem_grow(void **array, uint64_t *cap, uint64_t need, size_t size, const char *what, err *e)
{
    if (need <= *cap)
        return true;
    uint64_t want = *cap < 8 ? 8 : *cap;
    while (want < need)
        if (!size_mul(want, 2, &want))
            return err_set(e, ERR_ENV, "no memory for %s", what);
    uint64_t bytes;
    if (!bytes_for(want, size, what, &bytes, e))
        return false;
    void *p = realloc(*array, bytes);
    if (!p)
        return err_set(e, ERR_ENV, "no memory for %s: %llu bytes", what,
                       (unsigned long long)bytes);
    *array = p;
    *cap = want;
    return true;
}

void *scratch_need(scratch *s, uint64_t n, size_t size, const char *what, err *e)
{
    uint64_t bytes;
    if (!bytes_for(n, size, what, &bytes, e))
        return NULL;
    if (bytes <= s->cap)
        return s->bytes;
    scratch_free(s);
    s->bytes = mem_new_aligned(bytes, 1, what, e);
    s->cap = s->bytes ? bytes : 0;
    return s->bytes;
}

void scratch_free(scratch *s)
{
    free(s->bytes);
    *s = (scratch){0};
}

struct arena_block {
    struct arena_block *before;
    size_t used, size;
    _Alignas(16) unsigned char data[];
};

enum { ARENA_BLOCK = 64 * 1024 };

void *arena_new(arena *a, uint64_t n, size_t size, err *e)
{
    uint64_t bytes;
    if (!bytes_for(n, size, "an arena", &bytes, e))
        return NULL;
    bytes = (bytes + 15) & ~(uint64_t)15;
    struct arena_block *b = a->last;
    if (!b || b->size - b->used < bytes) {
        size_t room = bytes > ARENA_BLOCK ? (size_t)bytes : ARENA_BLOCK;
        b = malloc(sizeof *b + room);
        if (!b) {
            err_set(e, ERR_ENV, "no memory: %zu bytes", room);
            return NULL;
        }
        b->before = a->last;
        b->used = 0;
        b->size = room;
        a->last = b;
    }
    void *p = b->data + b->used;
    b->used += bytes;
    a->bytes += bytes;
    memset(p, 0, bytes);
    return p;
}

char *arena_text(arena *a, const char *text, size_t len, err *e)
{
    char *p = arena_new(a, (uint64_t)len + 1, 1, e);
    if (p)
        memcpy(p, text, len);
    return p;
}

void arena_free(arena *a)
{
    for (struct arena_block *b = a->last; b;) {
        struct arena_block *before = b->before;
        free(b);
        b = before;
    }
    *a = (arena){0};
}
