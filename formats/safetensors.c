// SPDX-License-Identifier: Apache-2.0
// The strict header reader. The official reader's own order of checks is no matter here; what
// matters is that each refusal names the tensor, what was expected and what was found.
#include "formats/safetensors.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/jsonscan.h"

#define MAX_DIM (((int64_t)1 << 48) - 1) // the format's JSON schema
#define MAX_TENSOR_BYTES ((uint64_t)1 << 60)
enum {
    HEADER_DEPTH = 4, // {"name":{"shape":[ is 3
    LENGTH_BYTES = 8,
    // {"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]} without the brace: no tensor takes less,
    // so that a header within ST_MAX_HEADER has at most 2 million of them.
    LEAST_TENSOR_TEXT = 50
};

typedef struct {
    jsonscan js;
    st_header *out;
    uint64_t max_tensors, data_bytes;
    uint64_t pair_cap;
    st_pair *pair;    // grows on the heap, goes to the arena when it is complete
    strmap keys;      // of the metadata
    bool has_metadata;
    int file;
    arena *a;
} reader;

static bool is_word(const jsonscan *s, const char *word)
{
    return s->value_len == strlen(word) && memcmp(s->value, word, s->value_len) == 0;
}

// The last token as it stands in the text, for sentences.
static const char *found(const jsonscan *s, char buf[STR_SHORT])
{
    return str_short_n(s->text + s->begin, s->end - s->begin, buf);
}

static bool check_name(const jsonscan *s, const char *what, err *e)
{
    if (s->value_len == 0)
        return err_set(e, ERR_INPUT, "%s with an empty name", what);
    if (s->value_len > ST_MAX_NAME)
        return err_set(e, ERR_INPUT, "%s with a name of %zu bytes: the limit is %d", what,
                       s->value_len, ST_MAX_NAME);
    for (size_t i = 0; i < s->value_len; i++) {
        unsigned char c = (unsigned char)s->value[i];
        if (c < 0x20 || c == 0x7f) {
            char buf[STR_SHORT];
            return err_set(e, ERR_INPUT, "%s '%s': control byte 0x%02x in the name", what,
                           str_short(s->value, buf), c);
        }
    }
    return true;
}

static bool add_pair(reader *r, const char *key, err *e)
{
    const jsonscan *s = &r->js;
    st_header *h = r->out;
    if (s->kind != JS_STRING) {
        char buf[STR_SHORT];
        return err_set(e, ERR_INPUT, "expected a string, found %s", found(s, buf));
    }
    if (s->value_len > ST_MAX_VALUE)
        return err_set(e, ERR_INPUT, "a value of %zu bytes: the limit is %d", s->value_len,
                       ST_MAX_VALUE);
    if (strlen(s->value) != s->value_len)
        return err_set(e, ERR_INPUT, "a NUL byte in the value");
    const char *value = arena_text(r->a, s->value, s->value_len, e);
    if (!value || !mem_grow((void **)&r->pair, &r->pair_cap, (uint64_t)h->n_metadata + 1,
                            sizeof *r->pair, "metadata", e))
        return false;
    r->pair[h->n_metadata++] = (st_pair){key, value};
    return true;
}

static bool read_metadata(reader *r, err *e)
{
    jsonscan *s = &r->js;
    st_header *h = r->out;
    if (r->has_metadata)
        return err_set(e, ERR_INPUT, "__metadata__ is there twice");
    r->has_metadata = true;
    if (!js_expect(s, JS_OBJECT, "an object of strings", e))
        return err_in(e, "__metadata__");
    for (;;) {
        char buf[STR_SHORT];
        bool fresh;
        if (!js_next(s, e))
            return false;
        if (s->kind == JS_OBJECT_END)
            break;
        if (h->n_metadata == ST_MAX_METADATA)
            return err_set(e, ERR_INPUT, "__metadata__ has more than %d pairs", ST_MAX_METADATA);
        if (!check_name(s, "__metadata__: a key", e) ||
            !strmap_put(&r->keys, s->value, s->value_len, h->n_metadata, &fresh, e))
            return false;
        if (!fresh)
            return err_set(e, ERR_INPUT, "__metadata__: key '%s' is there twice",
                           str_short(s->value, buf));
        const char *key = arena_text(r->a, s->value, s->value_len, e);
        if (!key || !js_next(s, e))
            return false;
        if (!add_pair(r, key, e))
            return err_in(e, "__metadata__: key '%s'", str_short(key, buf));
    }
    h->metadata = arena_new(r->a, (uint64_t)h->n_metadata, sizeof *h->metadata, e);
    if (!h->metadata)
        return false;
    if (h->n_metadata)
        memcpy(h->metadata, r->pair, (size_t)h->n_metadata * sizeof *h->metadata);
    return true;
}

static bool read_dtype(jsonscan *s, tensor *t, err *e)
{
    char buf[STR_SHORT];
    if (!js_next(s, e))
        return false;
    if (s->kind != JS_STRING || !dtype_from_name(s->value, s->value_len, &t->type))
        return err_set(e, ERR_INPUT, "dtype %s is unknown: expected one as \"BF16\" or \"F32\"",
                       found(s, buf));
    return true;
}

static bool read_shape(jsonscan *s, tensor *t, err *e)
{
    if (!js_expect(s, JS_ARRAY, "an array of dimensions", e))
        return err_in(e, "shape");
    for (;;) {
        char buf[STR_SHORT];
        uint64_t dim;
        if (!js_next(s, e))
            return false;
        if (s->kind == JS_ARRAY_END)
            return true;
        if (t->rank == TENSOR_MAX_RANK)
            return err_set(e, ERR_INPUT, "shape has more than %d dimensions", TENSOR_MAX_RANK);
        if (s->kind != JS_NUMBER || !js_u64(s, &dim) || dim > (uint64_t)MAX_DIM)
            return err_set(e, ERR_INPUT,
                           "dimension %d of the shape is %s: expected a whole number of at most "
                           "%lld", t->rank, found(s, buf), (long long)MAX_DIM);
        t->shape[t->rank++] = (int64_t)dim;
    }
}

// Leaves the range relative to the data in offset and bytes.
static bool read_offsets(jsonscan *s, tensor *t, err *e)
{
    uint64_t end[2];
    if (!js_expect(s, JS_ARRAY, "an array of two offsets", e))
        return err_in(e, "data_offsets");
    for (int i = 0; i < 2; i++) {
        char buf[STR_SHORT];
        if (!js_next(s, e))
            return false;
        if (s->kind != JS_NUMBER || !js_u64(s, &end[i]))
            return err_set(e, ERR_INPUT, "data_offsets: expected two whole numbers, found %s",
                           found(s, buf));
    }
    if (!js_expect(s, JS_ARRAY_END, "the end of data_offsets behind two numbers", e))
        return err_in(e, "data_offsets");
    if (end[1] < end[0])
        return err_set(e, ERR_INPUT, "data_offsets [%llu,%llu] run backwards",
                       (unsigned long long)end[0], (unsigned long long)end[1]);
    t->offset = end[0];
    t->bytes = end[1] - end[0];
    return true;
}

// Elements and bytes of a shape. A dimension of 0 gives 0 elements, but the others must still make
// a size that exists: a reader that multiplies in another order would overflow.
static bool count_elements(tensor *t, uint64_t *bytes, err *e)
{
    char shape[TENSOR_SHAPE_TEXT];
    uint64_t n = 1, bits;
    bool empty = false, fits = true;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] == 0)
            empty = true;
        else
            fits = fits && size_mul(n, (uint64_t)t->shape[i], &n);
    }
    if (!fits || !size_mul(n, (uint64_t)dtype_bits(t->type), &bits) ||
        bits / 8 > MAX_TENSOR_BYTES)
        return err_set(e, ERR_INPUT, "%s %s takes more than 2^60 bytes", dtype_name(t->type),
                       tensor_shape_text(t, shape));
    if (empty)
        n = bits = 0;
    if (bits % 8 != 0)
        return err_set(e, ERR_INPUT, "%s %s takes %llu bits, which is no whole number of bytes",
                       dtype_name(t->type), tensor_shape_text(t, shape),
                       (unsigned long long)bits);
    t->n_elements = (int64_t)n;
    *bytes = bits / 8;
    return true;
}

static bool check_range(const reader *r, tensor *t, err *e)
{
    char shape[TENSOR_SHAPE_TEXT];
    uint64_t bytes = 0;
    if (!count_elements(t, &bytes, e))
        return false;
    unsigned long long begin = t->offset, end = t->offset + t->bytes;
    if (bytes != t->bytes)
        return err_set(e, ERR_INPUT, "%s %s takes %llu bytes, data_offsets [%llu,%llu] hold %llu",
                       dtype_name(t->type), tensor_shape_text(t, shape),
                       (unsigned long long)bytes, begin, end, (unsigned long long)t->bytes);
    if (end > r->data_bytes)
        return err_set(e, ERR_INPUT,
                       "data_offsets [%llu,%llu] end behind the file, which has %llu bytes of "
                       "data: truncated?", begin, end, (unsigned long long)r->data_bytes);
    return true;
}

static bool read_fields(reader *r, tensor *t, err *e)
{
    static const char *const name[] = {"dtype", "shape", "data_offsets"};
    jsonscan *s = &r->js;
    char buf[STR_SHORT];
    bool have[COUNT_OF(name)] = {false};
    if (!js_expect(s, JS_OBJECT, "an object with dtype, shape and data_offsets", e))
        return false;
    for (;;) {
        size_t field = 0;
        if (!js_next(s, e))
            return false;
        if (s->kind == JS_OBJECT_END)
            break;
        while (field < COUNT_OF(name) && !is_word(s, name[field]))
            field++;
        if (field == COUNT_OF(name))
            return err_set(e, ERR_INPUT,
                           "unknown field %s: expected dtype, shape and data_offsets only",
                           found(s, buf));
        if (have[field])
            return err_set(e, ERR_INPUT, "field '%s' is there twice", name[field]);
        have[field] = true;
        if (!(field == 0   ? read_dtype(s, t, e)
              : field == 1 ? read_shape(s, t, e)
                           : read_offsets(s, t, e)))
            return false;
    }
    for (size_t i = 0; i < COUNT_OF(name); i++)
        if (!have[i])
            return err_set(e, ERR_INPUT, "field '%s' is missing", name[i]);
    return check_range(r, t, e);
}

static bool read_tensor(reader *r, err *e)
{
    char buf[STR_SHORT];
    if (!check_name(&r->js, "a tensor", e))
        return false;
    const char *name = arena_text(r->a, r->js.value, r->js.value_len, e);
    if (!name)
        return false;
    tensor t = {.name = name, .file = r->file};
    if (!read_fields(r, &t, e))
        return err_in(e, "tensor '%s'", str_short(name, buf));
    // A tensor that got so far had its brace and its least text: bound_tensors counted it.
    assert((uint64_t)r->out->n_tensors < r->max_tensors);
    r->out->tensor[r->out->n_tensors++] = t;
    return true;
}

// An upper bound of the tensors in a text, and for honest files their number: braces but one.
static uint64_t bound_tensors(const char *json, uint64_t len)
{
    uint64_t most = len / LEAST_TENSOR_TEXT, braces = 0;
    const char *end = json + len;
    for (const char *p = json; braces <= most; p++, braces++) {
        p = memchr(p, '{', (size_t)(end - p));
        if (!p)
            break;
    }
    return braces == 0 ? 0 : braces - 1 < most ? braces - 1 : most;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The exact answer, for headers with two equal hashes.
static bool check_names(const st_header *h, err *e)
{
    uint64_t n = (uint64_t)h->n_tensors;
    const char **name = mem_new(n, sizeof *name, "tensor names", e);
    if (!name)
        return false;
    for (uint64_t i = 0; i < n; i++)
        name[i] = h->tensor[i].name;
    qsort(name, n, sizeof *name, compare_names);
    bool ok = true;
    for (uint64_t i = 1; ok && i < n; i++) {
        char buf[STR_SHORT];
        if (strcmp(name[i - 1], name[i]) == 0)
            ok = err_set(e, ERR_INPUT, "tensor '%s' is there twice", str_short(name[i], buf));
    }
    free(name);
    return ok;
}

// Sorted hashes need a tenth of a hash map's memory and have no worst case that a file could
// choose.
static bool check_duplicates(const st_header *h, err *e)
{
    uint64_t n = (uint64_t)h->n_tensors;
    uint64_t *hash = mem_new(n, sizeof *hash, "tensor names", e);
    if (!hash)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        xxh128_digest d;
        xxh128_of(h->tensor[i].name, strlen(h->tensor[i].name), &d);
        hash[i] = load_u64(d.b);
    }
    qsort(hash, n, sizeof *hash, compare_u64);
    bool all_differ = true;
    for (uint64_t i = 1; all_differ && i < n; i++)
        all_differ = hash[i - 1] != hash[i];
    free(hash);
    return all_differ || check_names(h, e);
}

// What tensors are sorted by. Most comparisons end in here, without a look at the name.
typedef struct {
    uint64_t offset, bytes, name_head; // first 8 bytes, big-endian
    tensor *t;
} place;

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    if (x->name_head != y->name_head)
        return x->name_head < y->name_head ? -1 : 1;
    return strcmp(x->t->name, y->t->name);
}

static place place_of(tensor *t)
{
    place p = {t->offset, t->bytes, 0, t};
    for (int i = 0; i < 8 && t->name[i]; i++)
        p.name_head |= (uint64_t)(unsigned char)t->name[i] << (56 - 8 * i);
    return p;
}

// Puts tensor from[i] in place i, along the cycles of the permutation; uses `from` up.
static void permute(tensor *t, uint32_t *from, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        tensor first = t[i];
        uint32_t to = i;
        for (uint32_t next = from[to]; next != i; next = from[to]) {
            t[to] = t[next];
            from[to] = to;
            to = next;
        }
        t[to] = first;
        from[to] = to;
    }
}

static bool sort_places(st_header *h, err *e)
{
    bool sorted = true;
    for (int64_t i = 1; sorted && i < h->n_tensors; i++) {
        place x = place_of(&h->tensor[i - 1]), y = place_of(&h->tensor[i]);
        sorted = compare_places(&x, &y) <= 0;
    }
    if (sorted)
        return true;
    uint32_t n = (uint32_t)h->n_tensors; // at most ST_MAX_HEADER / LEAST_TENSOR_TEXT
    place *order = mem_new(n, sizeof *order, "tensors' places", e);
    uint32_t *from = mem_new(n, sizeof *from, "tensors' places", e);
    if (order && from) {
        for (uint32_t i = 0; i < n; i++)
            order[i] = place_of(&h->tensor[i]);
        qsort(order, n, sizeof *order, compare_places);
        for (uint32_t i = 0; i < n; i++)
            from[i] = (uint32_t)(order[i].t - h->tensor);
        permute(h->tensor, from, n);
        sorted = true;
    }
    free(order);
    free(from);
    return sorted;
}

// Demands that the tensors cover the data: no hole, no overlap, no rest. Makes the offsets
// absolute.
static bool check_cover(st_header *h, uint64_t data_bytes, err *e)
{
    char buf[STR_SHORT];
    uint64_t at = 0;
    for (int64_t i = 0; i < h->n_tensors; i++) {
        tensor *t = &h->tensor[i];
        if (t->offset != at)
            return err_set(e, ERR_INPUT,
                           "tensor '%s' begins at byte %llu of the data, %s %llu: %s",
                           str_short(t->name, buf), (unsigned long long)t->offset,
                           i == 0 ? "expected" : "the one before it ends at",
                           (unsigned long long)at,
                           t->offset > at ? "a hole" : "they overlap");
        at += t->bytes;
        t->offset += h->data_start;
    }
    if (at != data_bytes)
        return err_set(e, ERR_INPUT, "the tensors end at byte %llu of the data, the file at %llu",
                       (unsigned long long)at, (unsigned long long)data_bytes);
    return true;
}

static bool read_object(reader *r, err *e)
{
    jsonscan *s = &r->js;
    if (!js_expect(s, JS_OBJECT, "an object of tensors", e))
        return false;
    for (;;) {
        if (!js_next(s, e))
            return false;
        if (s->kind == JS_OBJECT_END)
            return js_expect(s, JS_END, "nothing behind the object", e);
        if (!(is_word(s, "__metadata__") ? read_metadata(r, e) : read_tensor(r, e)))
            return false;
    }
}

bool st_parse_header(st_header *out, const char *json, uint64_t len, uint64_t data_bytes,
                     int file_index, arena *a, err *e)
{
    reader r = {.out = out, .data_bytes = data_bytes, .file = file_index, .a = a};
    *out = (st_header){.data_start = LENGTH_BYTES + len};
    if (len > ST_MAX_HEADER) {
        *out = (st_header){0};
        return err_set(e, ERR_INPUT, "a header of %llu bytes: the limit is %d",
                       (unsigned long long)len, ST_MAX_HEADER);
    }
    r.max_tensors = bound_tensors(json, len);
    out->tensor = arena_new(a, r.max_tensors, sizeof *out->tensor, e);
    js_init(&r.js, json, len, HEADER_DEPTH);
    bool ok = out->tensor && (read_object(&r, e) || err_in(e, "header"));
    js_free(&r.js);
    strmap_free(&r.keys);
    free(r.pair);
    ok = ok && check_duplicates(out, e) && sort_places(out, e) && check_cover(out, data_bytes, e);
    if (!ok)
        *out = (st_header){0};
    return ok;
}

bool st_read_header(st_header *out, const in_file *f, int file_index, arena *a, err *e)
{
    unsigned char first[LENGTH_BYTES];
    *out = (st_header){0};
    if (f->size < LENGTH_BYTES)
        return err_set(e, ERR_INPUT, "'%s': a file of %llu bytes, expected at least the %d of a "
                       "header length", f->name, (unsigned long long)f->size, LENGTH_BYTES);
    if (!in_read(f, 0, first, LENGTH_BYTES, e))
        return false;
    uint64_t len = load_u64(first), rest = f->size - LENGTH_BYTES;
    if (len > ST_MAX_HEADER)
        return err_set(e, ERR_INPUT, "'%s': a header of %llu bytes: the limit is %d", f->name,
                       (unsigned long long)len, ST_MAX_HEADER);
    if (len > rest)
        return err_set(e, ERR_INPUT, "'%s': header says %llu bytes, the file has %llu left",
                       f->name, (unsigned long long)len, (unsigned long long)rest);
    // Copied once and never read twice: what was checked is what is used.
    char *json = mem_new(len, 1, "a safetensors header", e);
    bool ok = json && in_read(f, LENGTH_BYTES, json, len, e);
    if (ok && !st_parse_header(out, json, len, rest - len, file_index, a, e))
        ok = err_in(e, "'%s'", f->name);
    free(json);
    return ok;
}
