// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file. An input that begins as JSON does is the header's text alone,
// with as much data behind it as its largest number says; any other is a whole file. What was
// accepted is what another JSON reader finds in the text, and the same listed as read.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

static void check_tensor(const tensor *t, uint64_t at)
{
    uint64_t n = 1;
    size_t len = strlen(t->name);
    FUZZ_CHECK(len > 0 && len <= ST_MAX_NAME && t->file == 3);
    FUZZ_CHECK(t->type < DT_SAFETENSORS && t->rank >= 0 && t->rank <= TENSOR_MAX_RANK);
    for (int i = 0; i < t->rank; i++) {
        FUZZ_CHECK(t->shape[i] >= 0);
        n *= (uint64_t)t->shape[i];
    }
    FUZZ_CHECK((uint64_t)t->n_elements == n);
    FUZZ_CHECK(n * (uint64_t)dtype_bits(t->type) == t->bytes * 8);
    FUZZ_CHECK(t->offset == at);
}

static void check_header(const st_header *h, uint64_t data_bytes)
{
    uint64_t at = h->data_start;
    for (int64_t i = 0; i < h->n_tensors; i++) {
        check_tensor(&h->tensor[i], at);
        at += h->tensor[i].bytes;
    }
    FUZZ_CHECK(at == h->data_start + data_bytes);
    for (int64_t i = 0; i < h->n_metadata; i++)
        for (int64_t k = 0; k < i; k++)
            FUZZ_CHECK(strcmp(h->metadata[i].key, h->metadata[k].key) != 0);
}

static bool same_tensor(const tensor *a, const tensor *b)
{
    return strcmp(a->name, b->name) == 0 && a->type == b->type && a->rank == b->rank &&
           memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0 &&
           a->n_elements == b->n_elements && a->bytes == b->bytes;
}

// Written and read again it is the same. The writer begins at 0, so offsets move by one number.
static void check_round_trip(st_header *h, uint64_t data_bytes, arena *a)
{
    err e = ERR_INIT;
    strbuf text = {0};
    st_header again;
    FUZZ_OK(st_write_header(&text, h->tensor, h->n_tensors, h->metadata, h->n_metadata, 64, &e),
            &e);
    FUZZ_CHECK(text.len % 64 == 0);
    FUZZ_OK(st_parse_header(&again, text.text + 8, text.len - 8, data_bytes, 3, a, &e), &e);
    FUZZ_CHECK(again.data_start == text.len && again.n_tensors == h->n_tensors &&
               again.n_metadata == h->n_metadata);
    for (int64_t i = 0; i < h->n_tensors; i++)
        FUZZ_CHECK(same_tensor(&h->tensor[i], &again.tensor[i]) &&
                   h->tensor[i].offset == again.tensor[i].offset);
    for (int64_t i = 0; i < h->n_metadata; i++)
        FUZZ_CHECK(strcmp(h->metadata[i].key, again.metadata[i].key) == 0 &&
                   strcmp(h->metadata[i].value, again.metadata[i].value) == 0);
    strbuf_free(&text);
}

static bool is_number(const json *j, uint64_t v)
{
    double d;
    return j && json_as_double(j, &d) && d == (double)v;
}

static void check_in_tree(const tensor *t, const json *root, uint64_t data_start)
{
    const json *j = json_get(root, t->name), *dim = json_first(json_get(j, "shape"));
    const json *offset = json_first(json_get(j, "data_offsets"));
    const char *type = json_as_text(json_get(j, "dtype"));
    FUZZ_CHECK(type && strcmp(type, dtype_name(t->type)) == 0);
    FUZZ_CHECK(json_len(json_get(j, "shape")) == t->rank);
    for (int i = 0; i < t->rank; i++, dim = json_next(dim))
        FUZZ_CHECK(is_number(dim, (uint64_t)t->shape[i]));
    FUZZ_CHECK(is_number(offset, t->offset - data_start) &&
               is_number(json_next(offset), t->offset + t->bytes - data_start));
}

// The header is written over the text that it is read from; so another reader of the same text.
static void check_against_tree(const st_header *h, const char *text, size_t len)
{
    err e = ERR_INIT;
    json *root = NULL;
    FUZZ_OK(json_parse(&root, text, len, "tree", &e), &e);
    const json *metadata = json_get(root, "__metadata__");
    FUZZ_CHECK(json_len(root) == h->n_tensors + (metadata != NULL));
    FUZZ_CHECK(json_len(metadata) == h->n_metadata);
    for (int64_t i = 0; i < h->n_tensors; i++)
        check_in_tree(&h->tensor[i], root, h->data_start);
    for (int64_t i = 0; i < h->n_metadata; i++) {
        const char *value = json_as_text(json_get(metadata, h->metadata[i].key));
        FUZZ_CHECK(value && strcmp(value, h->metadata[i].value) == 0);
    }
    json_free(root);
}

// Listed it is the same.
static void check_list(const st_header *h, const in_file *f)
{
    err e = ERR_INIT;
    st_header list;
    FUZZ_OK(st_list_header(&list, f, 3, &e), &e);
    FUZZ_CHECK(list.n_tensors == h->n_tensors && list.n_metadata == h->n_metadata);
    for (int64_t i = 0; i < h->n_tensors; i++) {
        tensor t;
        tensor_list_get(&list.list, i, &t);
        FUZZ_CHECK(same_tensor(&t, &h->tensor[i]) && t.offset == h->tensor[i].offset);
        FUZZ_CHECK(tensor_list_find(&list.list, t.name) == i);
    }
    FUZZ_CHECK(tensor_list_find(&list.list, "\x01") == -1);
    st_free_list(&list);
}

FUZZ_TARGET(safetensors, 1 << 20)
{
    err e = ERR_INIT;
    arena a = {0};
    st_header h;
    in_file f;
    bool alone = n > 0 && bytes[0] && strchr("{ \t\r\n", bytes[0]);
    uint64_t data_bytes = 0;
    uint8_t *file = NULL;
    if (alone) {
        data_bytes = fuzz_largest_number((const char *)bytes, n, (uint64_t)1 << 60);
        file = mem_new(8 + n, 1, "a file", &e);
        FUZZ_CHECK(file);
        store_u64(file, n);
        memcpy(file + 8, bytes, n);
        fuzz_file("x.safetensors", file, 8 + n, 8 + n + data_bytes);
    } else {
        fuzz_file("x.safetensors", bytes, n, n);
    }
    FUZZ_OK(in_open(&f, "x.safetensors", &e), &e);
    if (st_read_header(&h, &f, 3, &a, &e)) {
        fuzz_accept();
        data_bytes = f.size - h.data_start;
        check_header(&h, data_bytes);
        check_against_tree(&h, (const char *)(alone ? bytes : bytes + 8), h.data_start - 8);
        check_list(&h, &f);
        check_round_trip(&h, data_bytes, &a);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!h.tensor && !h.n_tensors && !h.metadata && !h.n_metadata && !h.list.text);
    }
    in_close(&f);
    arena_free(&a);
    free(file);
}
