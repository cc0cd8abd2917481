// SPDX-License-Identifier: Apache-2.0
// A record: the name with its NUL, one byte of type, one of rank, then the dimensions, the offset
// and the bytes as numbers of 7 bits a byte, the lowest first.
#include "formats/tensor_list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

bool tensor_list_init(tensor_list *l, char *text, uint64_t most, err *e)
{
    *l = (tensor_list){.text = text, .most = most, .ordered = true};
    l->at = mem_new(most, sizeof *l->at, "tensors", e);
    return l->at != NULL;
}

void tensor_list_free(tensor_list *l)
{
    free(l->text);
    free(l->at);
    name_index_free(&l->names);
    *l = (tensor_list){0};
}

char *tensor_list_text(tensor_list *l, const char *text, size_t len)
{
    char *to = l->text + l->used;
    memmove(to, text, len);
    to[len] = 0;
    l->used += len + 1;
    return to;
}

static unsigned char *put_number(unsigned char *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (unsigned char)(v | 0x80);
    *p++ = (unsigned char)v;
    return p;
}

static const unsigned char *get_number(const unsigned char *p, uint64_t *out)
{
    uint64_t v = *p & 0x7f;
    for (int shift = 7; *p++ & 0x80; shift += 7)
        v |= (uint64_t)(*p & 0x7f) << shift;
    *out = v;
    return p;
}

// Offsets are those of a file, below 2^63.
static uint64_t place(uint64_t offset, uint64_t bytes) { return offset << 1 | (bytes != 0); }

void tensor_list_add(tensor_list *l, const tensor *t)
{
    unsigned char *p = (unsigned char *)l->text + l->used;
    assert((uint64_t)l->n < l->most);
    assert(t->name >= l->text && t->name < l->text + l->used);
    l->at[l->n++] = (uint32_t)(t->name - l->text);
    *p++ = (unsigned char)t->type;
    *p++ = (unsigned char)t->rank;
    for (int i = 0; i < t->rank; i++)
        p = put_number(p, (uint64_t)t->shape[i]);
    p = put_number(put_number(p, t->offset), t->bytes);
    l->used = (uint64_t)(p - (unsigned char *)l->text);
    uint64_t here = place(t->offset, t->bytes);
    l->ordered = l->ordered && here >= l->last;
    l->last = here;
}

const char *tensor_list_name(const tensor_list *l, int64_t i) { return l->text + l->at[i]; }

void tensor_list_get(const tensor_list *l, int64_t i, tensor *out)
{
    assert(i >= 0 && i < l->n);
    const char *name = tensor_list_name(l, i);
    const unsigned char *p = (const unsigned char *)name + strlen(name) + 1;
    *out = (tensor){.name = name, .type = (dtype)p[0], .rank = p[1], .n_elements = 1,
                    .file = l->file};
    p += 2;
    for (int d = 0; d < out->rank; d++) {
        uint64_t dim;
        p = get_number(p, &dim);
        out->shape[d] = (int64_t)dim;
        // The product fits: it was checked, dimensions of 0 left out.
        out->n_elements *= (int64_t)dim;
    }
    p = get_number(p, &out->offset);
    (void)get_number(p, &out->bytes);
    out->offset += l->base;
}

typedef struct {
    uint64_t *key, *other_key;
    uint32_t *from, *other_from;
} columns;

// One stable pass by the 11 bits from `shift` on; nothing moves where all have the same.
static void sort_pass(columns *c, int64_t n, int shift)
{
    enum { BUCKETS = 1 << 11 };
    uint32_t first[BUCKETS] = {0}, sum = 0;
    for (int64_t i = 0; i < n; i++)
        first[c->key[i] >> shift & (BUCKETS - 1)]++;
    if (first[c->key[0] >> shift & (BUCKETS - 1)] == (uint32_t)n)
        return;
    for (int b = 0; b < BUCKETS; b++) {
        uint32_t here = first[b];
        first[b] = sum;
        sum += here;
    }
    for (int64_t i = 0; i < n; i++) {
        uint32_t to = first[c->key[i] >> shift & (BUCKETS - 1)]++;
        c->other_key[to] = c->key[i];
        c->other_from[to] = c->from[i];
    }
    *c = (columns){c->other_key, c->key, c->other_from, c->from};
}

bool tensor_list_sort(tensor_list *l, err *e)
{
    enum { KEY_BITS = 64, PASS_BITS = 11 };
    static const char what[] = "tensors' places";
    uint64_t n = (uint64_t)l->n;
    if (l->ordered)
        return true;
    columns c = {mem_new(n, sizeof *c.key, what, e), mem_new(n, sizeof *c.key, what, e),
                 mem_new(n, sizeof *c.from, what, e), mem_new(n, sizeof *c.from, what, e)};
    bool ok = c.key && c.other_key && c.from && c.other_from;
    for (int64_t i = 0; ok && i < l->n; i++) {
        tensor t;
        tensor_list_get(l, i, &t);
        c.key[i] = place(t.offset - l->base, t.bytes);
        c.from[i] = l->at[i];
    }
    for (int shift = 0; ok && shift < KEY_BITS; shift += PASS_BITS)
        sort_pass(&c, l->n, shift);
    if (ok)
        memcpy(l->at, c.from, n * sizeof *l->at);
    l->ordered = ok;
    free(c.key);
    free(c.other_key);
    free(c.from);
    free(c.other_from);
    return ok;
}

static const char *name_of(const void *list, int64_t i) { return tensor_list_name(list, i); }

bool tensor_list_index(tensor_list *l, int64_t *twice, err *e)
{
    return name_index_build(&l->names, l, l->n, name_of, twice, e);
}

int64_t tensor_list_find(const tensor_list *l, const char *name)
{
    return name_index_find(&l->names, l, name_of, name);
}
