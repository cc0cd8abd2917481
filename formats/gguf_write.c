// SPDX-License-Identifier: Apache-2.0
// The header writer: version 3, key-values and tensors in the order given.
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "formats/gguf_table.h"

static void add_u32(strbuf *out, uint32_t v)
{
    char b[4];
    store_u32(b, v);
    strbuf_add(out, b, sizeof b);
}

static void add_u64(strbuf *out, uint64_t v)
{
    char b[8];
    store_u64(b, v);
    strbuf_add(out, b, sizeof b);
}

static void add_text(strbuf *out, const char *text, uint64_t len)
{
    add_u64(out, len);
    strbuf_add(out, text, len);
}

static void add_value(strbuf *out, const gguf_value *v)
{
    add_text(out, v->key, strlen(v->key));
    if (v->is_array) {
        add_u32(out, GGUF_ARRAY);
        add_u32(out, v->type);
        add_u64(out, v->n);
    } else {
        add_u32(out, v->type);
        if (v->type == GGUF_TEXT)
            add_u64(out, v->size);
    }
    strbuf_add(out, v->bytes, v->size);
}

// Elements and bytes; sizes that are none are left to the strict reader.
static void measure(tensor *t)
{
    uint64_t n = 1, bytes = 0;
    bool fits = true;
    for (int i = 0; i < t->rank; i++)
        fits = fits && size_mul(n, (uint64_t)t->shape[i], &n);
    fits = fits && dtype_bytes(t->type, n, &bytes);
    t->n_elements = fits ? (int64_t)n : 0;
    t->bytes = fits ? bytes : 0;
}

static bool add_tensor(strbuf *out, const tensor *t, err *e)
{
    uint32_t id;
    char buf[STR_SHORT];
    if (!gguf_id_of_type(t->type, &id))
        return err_set(e, ERR_INPUT, "tensor '%s' has type %s, which GGUF does not have",
                       str_short(t->name, buf), dtype_name(t->type));
    add_text(out, t->name, strlen(t->name));
    add_u32(out, (uint32_t)t->rank);
    for (int i = t->rank - 1; i >= 0; i--)
        add_u64(out, (uint64_t)t->shape[i]);
    add_u32(out, id);
    add_u64(out, t->offset);
    return true;
}

// Values and tensors, without the padding. Offsets count from the data.
static bool add_header(strbuf *out, tensor *tensors, int64_t n, const gguf_value *values,
                       int64_t n_values, uint64_t align, uint64_t *data_bytes, err *e)
{
    strbuf_add(out, "GGUF", 4);
    add_u32(out, 3);
    add_u64(out, (uint64_t)n);
    add_u64(out, (uint64_t)n_values);
    for (int64_t i = 0; i < n_values; i++)
        add_value(out, &values[i]);
    *data_bytes = 0;
    for (int64_t i = 0; i < n; i++) {
        measure(&tensors[i]);
        tensors[i].offset = *data_bytes;
        if (!add_tensor(out, &tensors[i], e))
            return false;
        if (!size_add(*data_bytes, tensors[i].bytes, data_bytes) ||
            !size_round_up(*data_bytes, align, data_bytes) || *data_bytes > INT64_MAX)
            return err_set(e, ERR_INPUT, "the tensors are larger than a file can be");
    }
    return strbuf_ok(out, e);
}

// What the reader takes the alignment for: it refuses what is none.
static uint64_t alignment_of(const gguf_value *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (strcmp(values[i].key, "general.alignment") == 0) {
            uint64_t a;
            return gguf_as_u64(&values[i], &a) && a > 0 ? a : GGUF_ALIGNMENT;
        }
    return GGUF_ALIGNMENT;
}

static void pad(strbuf *out, uint64_t n)
{
    static const char zeros[4096];
    for (uint64_t piece; n > 0; n -= piece) {
        piece = n < sizeof zeros ? n : sizeof zeros;
        strbuf_add(out, zeros, piece);
    }
}

bool gguf_write_header(strbuf *out, tensor *tensors, int64_t n, const gguf_value *values,
                       int64_t n_values, uint64_t *file_bytes, err *e)
{
    size_t begin = out->len;
    uint64_t align = alignment_of(values, n_values), data_bytes, padded = 0;
    gguf_header back = {0};
    *file_bytes = 0;
    bool ok = add_header(out, tensors, n, values, n_values, align, &data_bytes, e) &&
              size_round_up(out->len - begin, align, &padded);
    if (ok)
        pad(out, begin + padded - out->len);
    ok = ok && strbuf_ok(out, e) &&
         gguf_parse_header(&back, out->text + begin, padded, padded + data_bytes, 0, e);
    gguf_free(&back);
    if (ok) {
        *file_bytes = padded + data_bytes;
        for (int64_t i = 0; i < n; i++)
            tensors[i].offset += padded;
    } else if (!out->failed) {
        out->len = begin;
        out->text[begin] = 0;
    }
    return ok;
}
