// SPDX-License-Identifier: Apache-2.0
// The strict header reader. The official reader's own order of checks is no matter here; what
// matters is that each refusal names the tensor, what was expected and what was found.
#include "formats/safetensors.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/jsonscan.h"

#define MAX_DIM (((int64_t)1 << 48) - 1) // the format's JSON schema
#define MAX_TENSOR_BYTES ((uint64_t)1 << 60)
enum {
    HEADER_DEPTH = 4, // {"name":{"shape":[ is 3
    LENGTH_BYTES = 8,
    // {"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]} without the brace: no tensor takes less,
    // so that a header within ST_MAX_HEADER has at most 2 million of them.
    LEAST_TENSOR_TEXT = 50,
    MOST_TEXT = 2 * ST_MAX_VALUE // of any string, so that none is decoded as long as the header
};

typedef struct {
    uint32_t key, value; // begins in the list's text
} pair_place;

typedef struct {
    jsonscan js;
    st_header *out;
    tensor_list *list;
    uint64_t data_bytes;
    pair_place *pair;
    uint64_t n_pairs, pair_cap;
    bool has_metadata;
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

// Puts the last token's text into the list; where it begins.
static uint32_t put_text(reader *r)
{
    return (uint32_t)(tensor_list_text(r->list, r->js.value, r->js.value_len) - r->list->text);
}

static bool add_value(reader *r, err *e)
{
    const jsonscan *s = &r->js;
    if (s->kind != JS_STRING) {
        char buf[STR_SHORT];
        return err_set(e, ERR_INPUT, "expected a string, found %s", found(s, buf));
    }
    if (s->value_len > ST_MAX_VALUE)
        return err_set(e, ERR_INPUT, "a value of %zu bytes: the limit is %d", s->value_len,
                       ST_MAX_VALUE);
    if (strlen(s->value) != s->value_len)
        return err_set(e, ERR_INPUT, "a NUL byte in the value");
    r->pair[r->n_pairs++].value = put_text(r);
    return true;
}

static const char *key_of(const void *ctx, int64_t i)
{
    const reader *r = ctx;
    return r->list->text + r->pair[i].key;
}

static bool check_keys(const reader *r, err *e)
{
    name_index keys;
    char buf[STR_SHORT];
    int64_t twice;
    if (!name_index_build(&keys, r, (int64_t)r->n_pairs, key_of, &twice, e))
        return false;
    name_index_free(&keys);
    return twice < 0 || err_set(e, ERR_INPUT, "__metadata__: key '%s' is there twice",
                                str_short(key_of(r, twice), buf));
}

static bool read_metadata(reader *r, err *e)
{
    jsonscan *s = &r->js;
    if (r->has_metadata)
        return err_set(e, ERR_INPUT, "__metadata__ is there twice");
    r->has_metadata = true;
    if (!js_expect(s, JS_OBJECT, "an object of strings", e))
        return err_in(e, "__metadata__");
    for (;;) {
        char buf[STR_SHORT];
        if (!js_next(s, e))
            return false;
        if (s->kind == JS_OBJECT_END)
            return check_keys(r, e);
        if (r->n_pairs == ST_MAX_METADATA)
            return err_set(e, ERR_INPUT, "__metadata__ has more than %d pairs", ST_MAX_METADATA);
        if (!check_name(s, "__metadata__: a key", e) ||
            !mem_grow((void **)&r->pair, &r->pair_cap, r->n_pairs + 1, sizeof *r->pair,
                      "metadata", e))
            return false;
        r->pair[r->n_pairs].key = put_text(r);
        if (!js_next(s, e))
            return false;
        if (!add_value(r, e))
            return err_in(e, "__metadata__: key '%s'",
                          str_short(key_of(r, (int64_t)r->n_pairs), buf));
    }
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
    tensor_list *l = r->list;
    char buf[STR_SHORT];
    if (!check_name(&r->js, "a tensor", e))
        return false;
    tensor t = {.name = tensor_list_text(l, r->js.value, r->js.value_len)};
    if (!read_fields(r, &t, e))
        return err_in(e, "tensor '%s'", str_short(t.name, buf));
    // A tensor that got so far had its brace and its least text: bound_tensors counted it, and its
    // record is shorter.
    tensor_list_add(l, &t);
    assert(l->used <= r->js.at);
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

static bool check_names(st_header *h, err *e)
{
    char buf[STR_SHORT];
    int64_t twice;
    return tensor_list_index(&h->list, &twice, e) &&
           (twice < 0 || err_set(e, ERR_INPUT, "tensor '%s' is there twice",
                                 str_short(tensor_list_name(&h->list, twice), buf)));
}

// Demands that the tensors cover the data: no hole, no overlap, no rest. Makes the offsets
// absolute.
static bool check_cover(st_header *h, uint64_t data_bytes, err *e)
{
    char buf[STR_SHORT];
    uint64_t at = 0;
    for (int64_t i = 0; i < h->list.n; i++) {
        tensor t;
        tensor_list_get(&h->list, i, &t);
        if (t.offset != at)
            return err_set(e, ERR_INPUT,
                           "tensor '%s' begins at byte %llu of the data, %s %llu: %s",
                           str_short(t.name, buf), (unsigned long long)t.offset,
                           i == 0 ? "expected" : "the one before it ends at",
                           (unsigned long long)at, t.offset > at ? "a hole" : "they overlap");
        at += t.bytes;
    }
    if (at != data_bytes)
        return err_set(e, ERR_INPUT, "the tensors end at byte %llu of the data, the file at %llu",
                       (unsigned long long)at, (unsigned long long)data_bytes);
    h->list.base = h->data_start;
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

// What the records leave of the text goes back. Nothing points into it yet.
static bool finish(reader *r, err *e)
{
    st_header *h = r->out;
    char *text = realloc(h->list.text, h->list.used ? h->list.used : 1);
    if (text)
        h->list.text = text;
    h->metadata = mem_new(r->n_pairs, sizeof *h->metadata, "metadata", e);
    if (!h->metadata)
        return false;
    h->n_tensors = h->list.n;
    h->n_metadata = (int64_t)r->n_pairs;
    for (uint64_t i = 0; i < r->n_pairs; i++)
        h->metadata[i] = (st_pair){h->list.text + r->pair[i].key,
                                   h->list.text + r->pair[i].value};
    return true;
}

// Takes `json` (from malloc) over.
static bool list_tensors(st_header *out, char *json, uint64_t len, uint64_t data_bytes,
                         int file_index, err *e)
{
    reader r = {.out = out, .list = &out->list, .data_bytes = data_bytes};
    *out = (st_header){.data_start = LENGTH_BYTES + len};
    bool ok = tensor_list_init(&out->list, json, bound_tensors(json, len), e);
    js_init(&r.js, json, len, HEADER_DEPTH);
    r.js.max_text = MOST_TEXT;
    ok = ok && (read_object(&r, e) || err_in(e, "header"));
    js_free(&r.js);
    out->list.file = file_index;
    // Names are numbered, so the order has to stand.
    ok = ok && finish(&r, e) && tensor_list_sort(&out->list, e) && check_names(out, e) &&
         check_cover(out, data_bytes, e);
    free(r.pair);
    if (!ok)
        st_free_list(out);
    return ok;
}

void st_free_list(st_header *h)
{
    free(h->metadata);
    tensor_list_free(&h->list);
    *h = (st_header){0};
}

static const char *copied(const char *text, arena *a, err *e)
{
    return arena_text(a, text, strlen(text), e);
}

// Everything of a list into the arena; the list is freed.
static bool into_arena(st_header *h, arena *a, err *e)
{
    st_header list = *h;
    bool ok = true;
    h->list = (tensor_list){0};
    h->tensor = arena_new(a, (uint64_t)h->n_tensors, sizeof *h->tensor, e);
    h->metadata = arena_new(a, (uint64_t)h->n_metadata, sizeof *h->metadata, e);
    ok = h->tensor && h->metadata;
    for (int64_t i = 0; ok && i < h->n_tensors; i++) {
        tensor_list_get(&list.list, i, &h->tensor[i]);
        ok = (h->tensor[i].name = copied(h->tensor[i].name, a, e)) != NULL;
    }
    for (int64_t i = 0; ok && i < h->n_metadata; i++)
        ok = (h->metadata[i].key = copied(list.metadata[i].key, a, e)) != NULL &&
             (h->metadata[i].value = copied(list.metadata[i].value, a, e)) != NULL;
    st_free_list(&list);
    if (!ok)
        *h = (st_header){0};
    return ok;
}

bool st_parse_header(st_header *out, const char *json, uint64_t len, uint64_t data_bytes,
                     int file_index, arena *a, err *e)
{
    *out = (st_header){0};
    if (len > ST_MAX_HEADER)
        return err_set(e, ERR_INPUT, "a header of %llu bytes: the limit is %d",
                       (unsigned long long)len, ST_MAX_HEADER);
    char *copy = mem_new(len, 1, "a safetensors header", e);
    if (!copy)
        return false;
    if (len)
        memcpy(copy, json, len);
    return list_tensors(out, copy, len, data_bytes, file_index, e) && into_arena(out, a, e);
}

bool st_list_header(st_header *out, const in_file *f, int file_index, err *e)
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
    if (!json)
        return false;
    if (!in_read(f, LENGTH_BYTES, json, len, e)) {
        free(json);
        return false;
    }
    return list_tensors(out, json, len, rest - len, file_index, e) || err_in(e, "'%s'", f->name);
}

bool st_read_header(st_header *out, const in_file *f, int file_index, arena *a, err *e)
{
    return st_list_header(out, f, file_index, e) && into_arena(out, a, e);
}
