// SPDX-License-Identifier: Apache-2.0
// The header writer: compact JSON as the official one writes it, metadata first, fields in the
// order dtype, shape, data_offsets, spaces behind.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/utf8.h"
#include "formats/safetensors.h"

int st_official_order(const void *a, const void *b)
{
    const tensor *x = a, *y = b;
    if (x->type != y->type)
        return x->type > y->type ? -1 : 1;
    return strcmp(x->name, y->name);
}

void st_sort_official(tensor *tensors, int64_t n)
{
    qsort(tensors, (size_t)n, sizeof *tensors, st_official_order);
}

// Places a tensor at *at, an offset into the data, and moves on.
static bool place(tensor *t, uint64_t *at, err *e)
{
    uint64_t n = 1, bits = 0, end = 0;
    bool fits = true;
    for (int i = 0; i < t->rank; i++)
        fits = fits && size_mul(n, (uint64_t)t->shape[i], &n);
    if (!fits || !size_mul(n, (uint64_t)dtype_bits(t->type), &bits) ||
        !size_add(*at, bits / 8, &end) || end > INT64_MAX) {
        char buf[STR_SHORT];
        return err_set(e, ERR_INPUT, "tensor '%s': its shape makes no size",
                       str_short(t->name, buf));
    }
    t->n_elements = (int64_t)n;
    t->offset = *at;
    t->bytes = bits / 8;
    *at = end;
    return true;
}

// json_quote puts U+FFFD in the place of what is not UTF-8, and a name must not change.
static bool add_text(strbuf *out, const char *text, err *e)
{
    char buf[STR_SHORT];
    if (!utf8_is_valid(text, strlen(text)))
        return err_set(e, ERR_INPUT, "'%s' is not UTF-8: it cannot stand in a header",
                       str_short(text, buf));
    json_quote(out, text);
    return true;
}

static bool add_tensor(strbuf *out, const tensor *t, err *e)
{
    char shape[TENSOR_SHAPE_TEXT];
    if (!add_text(out, t->name, e))
        return false;
    strbuf_printf(out, ":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%llu,%llu]}",
                  dtype_name(t->type), tensor_shape_text(t, shape), (unsigned long long)t->offset,
                  (unsigned long long)(t->offset + t->bytes));
    return true;
}

static bool add_object(strbuf *out, const tensor *tensors, int64_t n, const st_pair *metadata,
                       int64_t n_metadata, err *e)
{
    strbuf_puts(out, n_metadata ? "{\"__metadata__\":{" : "{");
    for (int64_t i = 0; i < n_metadata; i++) {
        strbuf_puts(out, i ? "," : "");
        if (!add_text(out, metadata[i].key, e))
            return false;
        strbuf_puts(out, ":");
        if (!add_text(out, metadata[i].value, e))
            return false;
    }
    if (n_metadata)
        strbuf_puts(out, n ? "}," : "}");
    for (int64_t i = 0; i < n; i++) {
        strbuf_puts(out, i ? "," : "");
        if (!add_tensor(out, &tensors[i], e))
            return false;
    }
    strbuf_puts(out, "}");
    return strbuf_ok(out, e);
}

static bool read_back(const strbuf *out, size_t begin, uint64_t data_bytes, err *e)
{
    arena a = {0};
    st_header h;
    bool ok = st_parse_header(&h, out->text + begin + 8, out->len - begin - 8, data_bytes, 0, &a,
                              e);
    arena_free(&a);
    return ok;
}

bool st_write_header(strbuf *out, tensor *tensors, int64_t n, const st_pair *metadata,
                     int64_t n_metadata, uint64_t align, err *e)
{
    char blank[64];
    assert(align >= 8 && (align & (align - 1)) == 0);
    memset(blank, ' ', sizeof blank);
    size_t begin = out->len;
    uint64_t data_bytes = 0, padded = 0;
    for (int64_t i = 0; i < n; i++)
        if (!place(&tensors[i], &data_bytes, e))
            return false;
    strbuf_add(out, "\0\0\0\0\0\0\0\0", 8);
    if (!add_object(out, tensors, n, metadata, n_metadata, e) ||
        !size_round_up(out->len - begin, align, &padded))
        goto fail;
    for (uint64_t left = begin + padded - out->len; left > 0;) {
        size_t piece = left < sizeof blank ? (size_t)left : sizeof blank;
        strbuf_add(out, blank, piece);
        left -= piece;
    }
    if (!strbuf_ok(out, e) || !read_back(out, begin, data_bytes, e))
        goto fail;
    store_u64(out->text + begin, padded - 8);
    for (int64_t i = 0; i < n; i++)
        tensors[i].offset += padded;
    return true;
fail:
    if (!out->failed) {
        out->len = begin;
        out->text[begin] = 0;
    }
    return false;
}
