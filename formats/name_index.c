// SPDX-License-Identifier: Apache-2.0
#include "formats/name_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"

static uint64_t hash_of(const char *name)
{
    xxh128_digest d;
    xxh128_of(name, strlen(name), &d);
    return load_u32(d.b);
}

// By the upper half: three passes of 11, 11 and 10 bits. The lower half stays in order, since it
// was in order before.
static void sort_by_hash(uint64_t *entry, uint64_t *other, int64_t n)
{
    static const struct {
        int shift, bits;
    } pass[] = {{32, 11}, {43, 11}, {54, 10}};
    enum { MOST_BUCKETS = 1 << 11 };
    uint32_t first[MOST_BUCKETS];
    for (size_t p = 0; p < COUNT_OF(pass); p++) {
        uint32_t mask = (1u << pass[p].bits) - 1, sum = 0;
        memset(first, 0, sizeof first);
        for (int64_t i = 0; i < n; i++)
            first[entry[i] >> pass[p].shift & mask]++;
        for (uint32_t b = 0; b <= mask; b++) {
            uint32_t here = first[b];
            first[b] = sum;
            sum += here;
        }
        for (int64_t i = 0; i < n; i++)
            other[first[entry[i] >> pass[p].shift & mask]++] = entry[i];
        uint64_t *swap = entry;
        entry = other;
        other = swap;
    }
    memcpy(other, entry, (size_t)n * sizeof *entry); // an odd number of passes ends in `other`
}

static void sort_few(uint64_t *entry, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        uint64_t x = entry[i];
        int64_t to = i;
        for (; to > 0 && entry[to - 1] > x; to--)
            entry[to] = entry[to - 1];
        entry[to] = x;
    }
}

typedef struct {
    const void *names;
    name_at at;
} source;

static int compare_names(const void *x, const void *y, void *ctx)
{
    const source *s = ctx;
    int64_t a = (int64_t)(*(const uint64_t *)x & UINT32_MAX);
    int64_t b = (int64_t)(*(const uint64_t *)y & UINT32_MAX);
    int order = strcmp(s->at(s->names, a), s->at(s->names, b));
    return order ? order : (a > b) - (a < b);
}

// Orders each run of one hash by the names; the number of one that is there twice, or -1.
static int64_t order_runs(name_index *x, source *s)
{
    for (int64_t begin = 0, end; begin < x->n; begin = end) {
        for (end = begin + 1; end < x->n && x->entry[end] >> 32 == x->entry[begin] >> 32;)
            end++;
        if (end - begin == 1)
            continue;
        qsort_r(x->entry + begin, (size_t)(end - begin), sizeof *x->entry, compare_names, s);
        for (int64_t i = begin + 1; i < end; i++) {
            int64_t before = (int64_t)(x->entry[i - 1] & UINT32_MAX);
            int64_t number = (int64_t)(x->entry[i] & UINT32_MAX);
            if (strcmp(s->at(s->names, before), s->at(s->names, number)) == 0)
                return number;
        }
    }
    return -1;
}

static uint32_t bucket_of(const name_index *x, uint64_t hash)
{
    return x->bits ? (uint32_t)hash >> (32 - x->bits) : 0;
}

// About 8 names a bucket, so that a search stays within a line or two of cache.
static bool cut_buckets(name_index *x, err *e)
{
    while ((x->n >> x->bits) > 8)
        x->bits++;
    uint32_t n = 1u << x->bits;
    x->first = mem_new((uint64_t)n + 1, sizeof *x->first, "names", e);
    if (!x->first)
        return false;
    for (int64_t i = 0; i < x->n; i++)
        x->first[bucket_of(x, x->entry[i] >> 32) + 1]++;
    for (uint32_t b = 0; b < n; b++)
        x->first[b + 1] += x->first[b];
    return true;
}

bool name_index_build(name_index *x, const void *names, int64_t n, name_at at, int64_t *twice,
                      err *e)
{
    enum { FEW = 64 };
    source s = {names, at};
    assert(n <= UINT32_MAX);
    *twice = -1;
    *x = (name_index){.entry = mem_new((uint64_t)n, sizeof *x->entry, "names", e), .n = n};
    if (!x->entry)
        return false;
    for (int64_t i = 0; i < n; i++)
        x->entry[i] = hash_of(at(names, i)) << 32 | (uint64_t)i;
    if (n <= FEW) {
        sort_few(x->entry, n);
    } else {
        uint64_t *other = mem_new((uint64_t)n, sizeof *other, "names", e);
        if (!other) {
            name_index_free(x);
            return false;
        }
        sort_by_hash(x->entry, other, n);
        free(other);
    }
    *twice = order_runs(x, &s);
    if (cut_buckets(x, e))
        return true;
    name_index_free(x);
    return false;
}

int64_t name_index_find(const name_index *x, const void *names, name_at at, const char *name)
{
    uint64_t hash = hash_of(name);
    if (x->n == 0)
        return -1;
    uint32_t bucket = bucket_of(x, hash);
    int64_t low = x->first[bucket], high = x->first[bucket + 1];
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int64_t number = (int64_t)(x->entry[middle] & UINT32_MAX);
        uint64_t there = x->entry[middle] >> 32;
        int order = there != hash ? (there < hash ? -1 : 1) : strcmp(at(names, number), name);
        if (order == 0)
            return number;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return -1;
}

void name_index_free(name_index *x)
{
    free(x->entry);
    free(x->first);
    *x = (name_index){0};
}
