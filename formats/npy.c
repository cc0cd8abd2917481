// SPDX-License-Identifier: Apache-2.0
// A parser for the one literal that NumPy writes, no evaluator: quoted keys, True or False, a tuple
// of whole numbers. Format: numpy/lib/_format_impl.py (versions 1.0, 2.0, 3.0).
#include "formats/npy.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/out.h"

enum {
    MAGIC_BYTES = 6, // "\x93NUMPY", then major, minor, header length (2 or 4 bytes)
    MOST_PREFIX = 12,
    MAX_HEADER = 10000, // as NumPy
    HEADER_ALIGN = 64
};
#define MAX_MEMBER ((uint64_t)4 << 30) // of an npz: what a zip without extensions can hold
static const char magic[MAGIC_BYTES + 1] = "\x93NUMPY";

static const struct {
    const char *descr;
    int bytes;
} table[] = {
    [NPY_F32] = {"<f4", 4},
    [NPY_F64] = {"<f8", 8},
    [NPY_I32] = {"<i4", 4},
    [NPY_I64] = {"<i8", 8},
    [NPY_U8] = {"|u1", 1},
};

int npy_type_bytes(npy_type t) { return table[t].bytes; }

void npy_free(npy *a)
{
    free(a->data);
    *a = (npy){0};
}

// ---- the header ------------------------------------------------------------------------------

typedef struct {
    const char *at, *end;
} cursor;

static void skip_space(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n'))
        c->at++;
}

static bool take(cursor *c, char what)
{
    skip_space(c);
    if (c->at == c->end || *c->at != what)
        return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

// 'text' or "text" without escapes; false where there is none or it does not fit.
static bool take_quoted(cursor *c, char *buf, size_t size)
{
    skip_space(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    const char *begin = c->at + 1;
    const char *quote = memchr(begin, *c->at, (size_t)(c->end - begin));
    if (!quote || (size_t)(quote - begin) >= size || memchr(begin, '\\', (size_t)(quote - begin)))
        return false;
    memcpy(buf, begin, (size_t)(quote - begin));
    buf[quote - begin] = 0;
    c->at = quote + 1;
    return true;
}

static bool take_dimension(cursor *c, int64_t *out)
{
    uint64_t v = 0;
    skip_space(c);
    const char *begin = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (!size_mul(v, 10, &v) || !size_add(v, (uint64_t)(*c->at - '0'), &v))
            return false;
    if (c->at == begin || (*begin == '0' && c->at - begin > 1) || v > INT64_MAX)
        return false;
    if (c->at < c->end && *c->at == 'L') // Python 2 wrote its long integers so
        c->at++;
    *out = (int64_t)v;
    return true;
}

static bool take_descr(cursor *c, npy *out, err *e)
{
    char descr[16];
    if (!take_quoted(c, descr, sizeof descr))
        return err_set(e, ERR_INPUT, "descr is not a plain type: structures and objects are not "
                       "read");
    for (size_t t = 0; t < COUNT_OF(table); t++) {
        if (strcmp(descr, table[t].descr) == 0) {
            out->type = (npy_type)t;
            return true;
        }
    }
    return err_set(e, ERR_INPUT, "type '%s' is not read: expected <f4, <f8, <i4, <i8 or |u1",
                   descr);
}

static bool take_order(cursor *c, err *e)
{
    if (take_word(c, "False"))
        return true;
    if (take_word(c, "True"))
        return err_set(e, ERR_INPUT, "the array is in Fortran order: expected C order");
    return err_set(e, ERR_INPUT, "fortran_order: expected True or False");
}

static bool take_shape(cursor *c, npy *out, err *e)
{
    static const char bad[] = "shape: expected a tuple of whole numbers";
    if (!take(c, '('))
        return err_set(e, ERR_INPUT, bad);
    while (!take(c, ')')) {
        if (out->rank == NPY_MAX_RANK)
            return err_set(e, ERR_INPUT, "shape has more than %d dimensions", NPY_MAX_RANK);
        if (!take_dimension(c, &out->shape[out->rank]))
            return err_set(e, ERR_INPUT, bad);
        out->rank++;
        // (3,) is a tuple and (3) is a number
        if (!take(c, ',') && (out->rank == 1 || !(c->at < c->end && *c->at == ')')))
            return err_set(e, ERR_INPUT, bad);
    }
    return true;
}

static bool parse_dict(npy *out, cursor *c, err *e)
{
    static const char *const key[] = {"descr", "fortran_order", "shape"};
    bool have[COUNT_OF(key)] = {false};
    if (!take(c, '{'))
        return err_set(e, ERR_INPUT, "expected a header in braces");
    while (!take(c, '}')) {
        char name[16];
        size_t k = 0;
        if (!take_quoted(c, name, sizeof name) || !take(c, ':'))
            return err_set(e, ERR_INPUT, "expected a quoted key and ':' in the header");
        while (k < COUNT_OF(key) && strcmp(name, key[k]) != 0)
            k++;
        if (k == COUNT_OF(key))
            return err_set(e, ERR_INPUT, "unknown key '%s' in the header", name);
        if (have[k])
            return err_set(e, ERR_INPUT, "key '%s' is there twice", name);
        have[k] = true;
        if (!(k == 0   ? take_descr(c, out, e)
              : k == 1 ? take_order(c, e)
                       : take_shape(c, out, e)))
            return false;
        if (!take(c, ',') && !(c->at < c->end && *c->at == '}'))
            return err_set(e, ERR_INPUT, "expected ',' or '}' in the header");
    }
    for (size_t k = 0; k < COUNT_OF(key); k++)
        if (!have[k])
            return err_set(e, ERR_INPUT, "key '%s' is missing", key[k]);
    skip_space(c);
    return c->at == c->end || err_set(e, ERR_INPUT, "bytes behind the header's closing brace");
}

// n and the bytes that the data must have.
static bool count(npy *out, uint64_t *bytes, err *e)
{
    uint64_t n = 1;
    bool empty = false, fits = true;
    for (int i = 0; i < out->rank; i++) {
        empty = empty || out->shape[i] == 0;
        fits = fits && (out->shape[i] == 0 || size_mul(n, (uint64_t)out->shape[i], &n));
    }
    if (!fits || !size_mul(n, (uint64_t)table[out->type].bytes, bytes) || *bytes > INT64_MAX)
        return err_set(e, ERR_INPUT, "the shape takes more than 2^63 bytes");
    if (empty)
        n = *bytes = 0;
    out->n = (int64_t)n;
    return true;
}

// Type, shape and n from the `have` first bytes of a file of `size`; *start is where its data
// begins. Everything is checked, the length of the data too.
static bool parse_head(npy *out, const void *bytes, uint64_t have, uint64_t size, uint64_t *start,
                       err *e)
{
    const unsigned char *p = bytes;
    uint64_t length, prefix, data = 0;
    if (have < MOST_PREFIX || memcmp(p, magic, MAGIC_BYTES) != 0)
        return err_set(e, ERR_INPUT, "not a .npy file: expected \\x93NUMPY at its beginning");
    unsigned major = p[MAGIC_BYTES], minor = p[MAGIC_BYTES + 1];
    if (major < 1 || major > 3 || minor != 0)
        return err_set(e, ERR_INPUT, "version %u.%u of .npy is not read: expected 1.0, 2.0 or 3.0",
                       major, minor);
    length = major == 1 ? load_u16(p + MAGIC_BYTES + 2) : load_u32(p + MAGIC_BYTES + 2);
    prefix = major == 1 ? 10 : MOST_PREFIX;
    if (length > MAX_HEADER)
        return err_set(e, ERR_INPUT, "a header of %llu bytes: the limit is %d",
                       (unsigned long long)length, MAX_HEADER);
    if (length > size - prefix)
        return err_set(e, ERR_INPUT, "header says %llu bytes, the file has %llu left",
                       (unsigned long long)length, (unsigned long long)(size - prefix));
    assert(have >= prefix + length);
    cursor c = {(const char *)p + prefix, (const char *)p + prefix + length};
    if (!parse_dict(out, &c, e) || !count(out, &data, e))
        return false;
    *start = prefix + length;
    if (data != size - *start)
        return err_set(e, ERR_INPUT, "the shape takes %llu bytes, the file has %llu",
                       (unsigned long long)data, (unsigned long long)(size - *start));
    return true;
}

// ---- reading ---------------------------------------------------------------------------------

bool npy_parse(npy *out, const void *bytes, uint64_t n, const char *name, err *e)
{
    uint64_t start = 0;
    *out = (npy){0};
    if (!parse_head(out, bytes, n, n, &start, e)) {
        *out = (npy){0};
        return err_in(e, "'%s'", name);
    }
    out->data = mem_new_aligned(n - start, 1, name, e);
    if (!out->data) {
        *out = (npy){0};
        return false;
    }
    memcpy(out->data, (const char *)bytes + start, n - start);
    return true;
}

bool npy_read(npy *out, const char *path, err *e)
{
    char head[MOST_PREFIX + MAX_HEADER];
    in_file f;
    bool ok = false;
    *out = (npy){0};
    if (!in_open(&f, path, e))
        return false;
    uint64_t n = f.size < sizeof head ? f.size : sizeof head, start = 0;
    if (!in_read(&f, 0, head, n, e))
        goto out;
    if (!parse_head(out, head, n, f.size, &start, e)) {
        err_in(e, "'%s'", path);
        goto out;
    }
    out->data = mem_new_aligned(f.size - start, 1, path, e);
    ok = out->data && in_read(&f, start, out->data, f.size - start, e);
out:
    in_close(&f);
    if (!ok)
        npy_free(out);
    return ok;
}

bool npz_read(npy *out, zip_in *z, const char *member, err *e)
{
    strbuf name = {0};
    void *bytes = NULL;
    uint64_t n = 0, start = 0;
    bool ok = false;
    *out = (npy){0};
    strbuf_printf(&name, "%s.npy", member);
    if (!strbuf_ok(&name, e))
        goto out;
    int64_t i = zip_in_find(z, name.text);
    if (i < 0) {
        err_set(e, ERR_INPUT, "'%s' has no array '%s'", zip_in_path(z), member);
        goto out;
    }
    if (!zip_in_read(z, i, MAX_MEMBER, &bytes, &n, e))
        goto out;
    if (!parse_head(out, bytes, n, n, &start, e)) {
        err_in(e, "'%s': '%s'", zip_in_path(z), name.text);
        goto out;
    }
    // In place: logits are large, and a second copy of them would be, too.
    memmove(bytes, (char *)bytes + start, n - start);
    out->data = bytes;
    bytes = NULL;
    ok = true;
out:
    free(bytes);
    strbuf_free(&name);
    if (!ok)
        npy_free(out);
    return ok;
}

// ---- writing ---------------------------------------------------------------------------------

bool npy_header(strbuf *out, npy_type type, int rank, const int64_t *shape, err *e)
{
    assert(rank >= 0 && rank <= NPY_MAX_RANK);
    strbuf dict = {0};
    strbuf_printf(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                  table[type].descr);
    for (int i = 0; i < rank; i++)
        strbuf_printf(&dict, i ? ", %lld" : "%lld", (long long)shape[i]);
    strbuf_puts(&dict, rank == 1 ? ",), }" : "), }");
    while (!dict.failed && (10 + dict.len + 1) % HEADER_ALIGN != 0)
        strbuf_puts(&dict, " ");
    strbuf_puts(&dict, "\n");
    unsigned char prefix[10] = {0};
    memcpy(prefix, magic, MAGIC_BYTES);
    prefix[MAGIC_BYTES] = 1;
    store_u16(prefix + MAGIC_BYTES + 2, (uint16_t)dict.len);
    bool ok = strbuf_ok(&dict, e);
    if (ok) {
        strbuf_add(out, prefix, sizeof prefix);
        strbuf_add(out, dict.text, dict.len);
        ok = strbuf_ok(out, e);
    }
    strbuf_free(&dict);
    return ok;
}

bool npy_write(const char *dir, const char *name, npy_type type, int rank, const int64_t *shape,
               const void *data, bool replace, err *e)
{
    strbuf header = {0};
    npy array = {.type = type, .rank = rank};
    uint64_t bytes = 0;
    out_file o = OUT_FILE_CLOSED;
    memcpy(array.shape, shape, (size_t)rank * sizeof *shape);
    bool ok = npy_header(&header, type, rank, shape, e) && count(&array, &bytes, e) &&
              out_open(&o, dir, name, header.len + bytes, header.text, header.len, e) &&
              out_append(&o, data, bytes, e) && out_publish(&o, replace, NULL, e);
    out_discard(&o);
    strbuf_free(&header);
    return ok;
}
