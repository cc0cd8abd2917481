// SPDX-License-Identifier: Apache-2.0
// GGUF files. The first byte says how many zeros follow the given bytes: 2^n, with its lower four
// bits as n, or none (few, since a header may reach into them). With its highest bit the rest, cut
// at the 16-bit number that follows, is a folder with two parts of a split file; else it is one
// file. What was accepted keeps its promises, is the same from memory, and the same written and
// read again.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"
#include "formats/checkpoint.h"
#include "tests/fuzz/fuzz.h"

static void check_tensor(const tensor *t, uint64_t at, const gguf_header *h, uint64_t size)
{
    uint64_t n = 1, bytes;
    size_t len = strlen(t->name);
    FUZZ_CHECK(len > 0 && len <= GGUF_MAX_NAME && utf8_is_valid(t->name, len));
    FUZZ_CHECK(t->file == 3 && gguf_holds(t->type));
    FUZZ_CHECK(t->rank >= 0 && t->rank <= GGUF_MAX_RANK);
    for (int i = 0; i < t->rank; i++) {
        FUZZ_CHECK(t->shape[i] >= 0);
        n *= (uint64_t)t->shape[i];
    }
    FUZZ_CHECK((uint64_t)t->n_elements == n);
    FUZZ_CHECK(dtype_bytes(t->type, n, &bytes) && bytes == t->bytes);
    FUZZ_CHECK(t->offset == at && at % h->alignment == 0);
    FUZZ_CHECK(t->bytes == 0 || (t->offset <= size && t->bytes <= size - t->offset));
}

static void check_header(const gguf_header *h, uint64_t size)
{
    uint64_t at = h->data_start;
    FUZZ_CHECK(h->list.n == h->n_tensors);
    for (int64_t i = 0; i < h->n_tensors; i++) {
        tensor t;
        tensor_list_get(&h->list, i, &t);
        check_tensor(&t, at, h, size);
        at = (at + t.bytes + h->alignment - 1) / h->alignment * h->alignment;
        FUZZ_CHECK(tensor_list_find(&h->list, t.name) == i);
    }
    FUZZ_CHECK(h->behind == (size > at ? size - at : 0));
    FUZZ_CHECK(tensor_list_find(&h->list, "\x01") == -1);
    for (int64_t i = 0; i < h->n_values; i++) {
        const gguf_value *v = &h->value[i];
        uint64_t number;
        FUZZ_CHECK(gguf_find(h, v->key) == v);
        FUZZ_CHECK(*v->key && v->type < GGUF_TYPES && v->type != GGUF_ARRAY);
        FUZZ_CHECK(v->is_array || v->n == 1);
        FUZZ_CHECK(!gguf_as_text(v) || strlen(gguf_as_text(v)) == v->size);
        FUZZ_CHECK(!gguf_as_text(v) || !gguf_as_u64(v, &number));
    }
}

static void check_same(const gguf_header *a, const gguf_header *b)
{
    FUZZ_CHECK(a->n_tensors == b->n_tensors && a->n_values == b->n_values);
    FUZZ_CHECK(a->alignment == b->alignment);
    for (int64_t i = 0; i < a->n_tensors; i++) {
        tensor t, u;
        tensor_list_get(&a->list, i, &t);
        tensor_list_get(&b->list, i, &u);
        FUZZ_CHECK(strcmp(t.name, u.name) == 0 && t.type == u.type && t.rank == u.rank);
        FUZZ_CHECK(memcmp(t.shape, u.shape, sizeof t.shape) == 0 && t.bytes == u.bytes);
        FUZZ_CHECK(t.offset - a->data_start == u.offset - b->data_start);
    }
    for (int64_t i = 0; i < a->n_values; i++) {
        const gguf_value *v = &a->value[i], *w = &b->value[i];
        FUZZ_CHECK(strcmp(v->key, w->key) == 0 && v->type == w->type && v->n == w->n);
        FUZZ_CHECK(v->is_array == w->is_array && v->size == w->size);
        FUZZ_CHECK(memcmp(v->bytes, w->bytes, v->size) == 0);
    }
}

static void check_from_memory(const gguf_header *h, const uint8_t *bytes, size_t n, uint64_t size)
{
    err e = ERR_INIT;
    gguf_header again;
    uint64_t len = size < h->data_start ? size : h->data_start; // may reach into the zeros
    uint8_t *text = calloc(1, len);
    FUZZ_CHECK(text);
    memcpy(text, bytes, n < len ? n : len);
    FUZZ_OK(gguf_parse_header(&again, text, len, size, 3, &e), &e);
    FUZZ_CHECK(again.data_start == h->data_start && again.behind == h->behind);
    check_same(h, &again);
    gguf_free(&again);
    free(text);
}

// A version 2 becomes a 3, and zeros behind the last tensor are as many as they should be.
static void check_round_trip(const gguf_header *h)
{
    err e = ERR_INIT;
    strbuf out = {0};
    gguf_header again;
    uint64_t bytes;
    if (h->alignment > 4096)
        return; // slow, and no other way
    tensor *t = calloc((size_t)h->n_tensors + 1, sizeof *t);
    FUZZ_CHECK(t);
    for (int64_t i = 0; i < h->n_tensors; i++)
        tensor_list_get(&h->list, i, &t[i]);
    FUZZ_OK(gguf_write_header(&out, t, h->n_tensors, h->value, h->n_values, &bytes, &e), &e);
    FUZZ_OK(gguf_parse_header(&again, out.text, out.len, bytes, 3, &e), &e);
    FUZZ_CHECK(again.behind == 0 && again.data_start == h->data_start);
    check_same(h, &again);
    gguf_free(&again);
    free(t);
    strbuf_free(&out);
}

static void read_one(const uint8_t *bytes, size_t n, uint64_t size)
{
    err e = ERR_INIT;
    gguf_header h;
    in_file f;
    fuzz_file("x.gguf", bytes, n, size);
    FUZZ_OK(in_open(&f, "x.gguf", &e), &e);
    if (gguf_list_header(&h, &f, 3, &e)) {
        fuzz_accept();
        check_header(&h, size);
        check_from_memory(&h, bytes, n, size);
        check_round_trip(&h);
        gguf_free(&h);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!h.list.text && !h.value && !h.text && !h.n_tensors && !h.n_values);
    }
    in_close(&f);
}

static void take_line(void *ctx, const char *line)
{
    (void)ctx;
    FUZZ_CHECK(*line);
}

static void read_set(const uint8_t *bytes, size_t n, size_t cut, uint64_t zeros)
{
    err e = ERR_INIT;
    checkpoint *c;
    events v = {.warn = take_line, .note = take_line};
    cut = cut < n ? cut : n;
    fuzz_file("m/x-00001-of-00002.gguf", bytes, cut, cut + zeros);
    fuzz_file("m/x-00002-of-00002.gguf", bytes + cut, n - cut, n - cut + zeros);
    if (!checkpoint_open(&c, "m", &v, &e)) {
        fuzz_refused(&e);
        FUZZ_CHECK(!c);
        return;
    }
    fuzz_accept();
    FUZZ_CHECK(checkpoint_gguf(c) && checkpoint_n_files(c) == 2);
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        const tensor *t = checkpoint_at(c, i);
        FUZZ_CHECK(checkpoint_index_of(c, t->name) == i && checkpoint_find(c, t->name) == t);
        FUZZ_CHECK(t->bytes == 0 || t->offset + t->bytes <= checkpoint_file(c, t->file)->size);
    }
    checkpoint_close(c);
}

FUZZ_TARGET(gguf, 1 << 20)
{
    if (n == 0)
        return;
    uint64_t zeros = bytes[0] & 0xf ? (uint64_t)1 << (bytes[0] & 0xf) : 0;
    if (!(bytes[0] & 0x80))
        read_one(bytes + 1, n - 1, n - 1 + zeros);
    else if (n >= 3)
        read_set(bytes + 3, n - 3, load_u16(bytes + 1), zeros);
}
