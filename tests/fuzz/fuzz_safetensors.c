// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file. An input that begins as JSON does is the header's text alone,
// with as much data behind it as its largest number says; any other is a whole file.
#include <string.h>

#include "formats/safetensors.h"
#include "tests/fuzz/fuzz.h"

static void check_tensor(const tensor *t, const tensor *before, uint64_t at)
{
    uint64_t n = 1;
    size_t len = strlen(t->name);
    FUZZ_CHECK(len > 0 && len <= ST_MAX_NAME && t->file == 3);
    FUZZ_CHECK(t->type < DT_COUNT && t->rank >= 0 && t->rank <= TENSOR_MAX_RANK);
    for (int i = 0; i < t->rank; i++) {
        FUZZ_CHECK(t->shape[i] >= 0);
        n *= (uint64_t)t->shape[i];
    }
    FUZZ_CHECK((uint64_t)t->n_elements == n);
    FUZZ_CHECK(n * (uint64_t)dtype_bits(t->type) == t->bytes * 8);
    FUZZ_CHECK(t->offset == at);
    if (before && before->offset == t->offset && before->bytes == t->bytes)
        FUZZ_CHECK(strcmp(before->name, t->name) < 0);
}

static void check_header(const st_header *h, uint64_t data_bytes)
{
    uint64_t at = h->data_start;
    for (int64_t i = 0; i < h->n_tensors; i++) {
        check_tensor(&h->tensor[i], i ? &h->tensor[i - 1] : NULL, at);
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

static bool read_file(st_header *h, const uint8_t *bytes, size_t n, arena *a, err *e)
{
    in_file f;
    fuzz_file("x.safetensors", bytes, n, n);
    FUZZ_OK(in_open(&f, "x.safetensors", e), e);
    bool ok = st_read_header(h, &f, 3, a, e);
    in_close(&f);
    return ok;
}

FUZZ_TARGET(safetensors, 1 << 20)
{
    err e = ERR_INIT;
    arena a = {0};
    st_header h;
    uint64_t data_bytes;
    bool ok;
    if (n > 0 && strchr("{ \t\r\n", bytes[0]) && bytes[0]) {
        data_bytes = fuzz_largest_number((const char *)bytes, n, (uint64_t)1 << 60);
        ok = st_parse_header(&h, (const char *)bytes, n, data_bytes, 3, &a, &e);
    } else {
        ok = read_file(&h, bytes, n, &a, &e);
        data_bytes = n - (ok ? h.data_start : 0);
    }
    if (ok) {
        check_header(&h, data_bytes);
        check_round_trip(&h, data_bytes, &a);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!h.tensor && !h.n_tensors && !h.metadata && !h.n_metadata);
    }
    arena_free(&a);
}
