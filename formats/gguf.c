// SPDX-License-Identifier: Apache-2.0
// The strict header reader. A header says nowhere how long it is: it is read in growing pieces, and
// walked through once to find its end; then the tensors, whose places depend on that, are checked.
#include "formats/gguf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "formats/gguf_table.h"

#define MAX_DIM (((uint64_t)1 << 48) - 1)
#define MAX_TENSOR_BYTES ((uint64_t)1 << 60)
enum {
    HEAD = 24,          // magic, version, two counts
    LEAST_VALUE = 14,   // length, a key of one byte, type, a value of one byte
    LEAST_TENSOR = 25,  // length, a name of one byte, rank, type, offset
    FIRST_READ = 64 << 10
};

typedef struct {
    const in_file *f;   // NULL: all there is lies in memory
    uint64_t file_bytes;
    char *text;
    uint64_t have;      // bytes of it; there is room for one more
    uint64_t at;        // the next one
    uint64_t n_tensors, n_values;
    bool file_named;    // in the sentence of a failure
} reader;

typedef struct {
    uint64_t key, value; // where they begin in the text
} place;

// ---- bytes -----------------------------------------------------------------------------------

static bool refuse_end(const reader *r, const char *what, uint64_t n, err *e)
{
    uint64_t left = r->file_bytes - r->at;
    if (n > left)
        return err_set(e, ERR_INPUT, "%s at byte %llu takes %llu bytes, the file has %llu left",
                       what, (unsigned long long)r->at, (unsigned long long)n,
                       (unsigned long long)left);
    return err_set(e, ERR_INPUT, "the header has more than %d bytes", GGUF_MAX_HEADER);
}

// Makes sure that the next n bytes are in memory.
static bool need(reader *r, const char *what, uint64_t n, err *e)
{
    uint64_t most = r->file_bytes < GGUF_MAX_HEADER ? r->file_bytes : GGUF_MAX_HEADER;
    if (n <= r->have - r->at)
        return true;
    if (n > most - r->at)
        return refuse_end(r, what, n, e);
    if (!r->f)
        return err_set(e, ERR_INPUT, "the header ends inside %s at byte %llu", what,
                       (unsigned long long)r->at);
    uint64_t end = r->have * 2 > FIRST_READ ? r->have * 2 : FIRST_READ;
    end = end > r->at + n ? end : r->at + n;
    end = end < most ? end : most;
    char *text = realloc(r->text, end + 1);
    if (!text)
        return err_set(e, ERR_ENV, "no memory for a GGUF header");
    r->text = text;
    r->file_named = true; // by in_read, where it fails
    if (!in_read(r->f, r->have, r->text + r->have, end - r->have, e))
        return false;
    r->file_named = false;
    r->have = end;
    return true;
}

static bool take_u32(reader *r, const char *what, uint32_t *v, err *e)
{
    if (!need(r, what, 4, e))
        return false;
    *v = load_u32(r->text + r->at);
    r->at += 4;
    return true;
}

static bool take_u64(reader *r, const char *what, uint64_t *v, err *e)
{
    if (!need(r, what, 8, e))
        return false;
    *v = load_u64(r->text + r->at);
    r->at += 8;
    return true;
}

// A length and as many bytes behind it: *at is where they begin.
static bool take_text(reader *r, const char *what, uint64_t *at, uint64_t *len, err *e)
{
    if (!take_u64(r, what, len, e) || !need(r, what, *len, e))
        return false;
    *at = r->at;
    r->at += *len;
    return true;
}

static bool check_name(const char *name, uint64_t len, uint64_t most, const char *what, err *e)
{
    char buf[STR_SHORT];
    if (len == 0)
        return err_set(e, ERR_INPUT, "%s with an empty name", what);
    if (len > most)
        return err_set(e, ERR_INPUT, "%s '%s': a name of %llu bytes, the limit is %llu", what,
                       str_short_n(name, len, buf), (unsigned long long)len,
                       (unsigned long long)most);
    for (uint64_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return err_set(e, ERR_INPUT, "%s '%s': control byte 0x%02x in the name", what,
                           str_short_n(name, len, buf), (unsigned char)name[i]);
    return utf8_is_valid(name, len) ||
           err_set(e, ERR_INPUT, "%s '%s': the name is no UTF-8", what,
                   str_short_n(name, len, buf));
}

// ---- key-values ------------------------------------------------------------------------------

static bool skip_texts(reader *r, uint64_t n, err *e)
{
    uint64_t at, len;
    for (uint64_t i = 0; i < n; i++)
        if (!take_text(r, "a string of an array", &at, &len, e))
            return false;
    return true;
}

static bool read_array(reader *r, gguf_value *v, uint64_t *at, err *e)
{
    uint32_t type;
    uint64_t size;
    if (!take_u32(r, "an array", &type, e) || !take_u64(r, "an array", &v->n, e))
        return false;
    if (type == GGUF_ARRAY)
        return err_set(e, ERR_INPUT, "an array of arrays");
    if (type >= GGUF_TYPES)
        return err_set(e, ERR_INPUT, "an array of the unknown type %u", type);
    v->type = (gguf_type)type;
    v->is_array = true;
    // A text has at least its length.
    uint64_t least = type == GGUF_TEXT ? 8 : gguf_type_bytes(v->type);
    if (!size_mul(v->n, least, &size))
        size = UINT64_MAX;
    *at = r->at;
    if (size > r->file_bytes - r->at)
        return err_set(e, ERR_INPUT, "an array of %llu elements of type %s at byte %llu, the file "
                       "has %llu bytes left", (unsigned long long)v->n, gguf_type_name(v->type),
                       (unsigned long long)r->at, (unsigned long long)(r->file_bytes - r->at));
    if (type == GGUF_TEXT) {
        if (!skip_texts(r, v->n, e))
            return false;
    } else {
        if (!need(r, "an array", size, e))
            return false;
        r->at += size;
    }
    v->size = r->at - *at;
    return true;
}

static bool read_text(reader *r, gguf_value *v, uint64_t *at, err *e)
{
    if (!take_text(r, "a string", at, &v->size, e))
        return false;
    if (v->size && memchr(r->text + *at, 0, v->size))
        return err_set(e, ERR_INPUT, "a NUL byte in the string");
    return utf8_is_valid(r->text + *at, v->size) ||
           err_set(e, ERR_INPUT, "the string is no UTF-8");
}

static bool read_value(reader *r, gguf_value *v, uint64_t *at, err *e)
{
    uint32_t type;
    if (!take_u32(r, "a value", &type, e))
        return false;
    if (type >= GGUF_TYPES)
        return err_set(e, ERR_INPUT, "the value has the unknown type %u", type);
    v->type = (gguf_type)type;
    v->n = 1;
    if (type == GGUF_ARRAY)
        return read_array(r, v, at, e);
    if (type == GGUF_TEXT)
        return read_text(r, v, at, e);
    v->size = gguf_type_bytes(v->type);
    if (!need(r, "a value", v->size, e))
        return false;
    *at = r->at;
    r->at += v->size;
    return true;
}

static bool read_key_value(reader *r, gguf_value *v, place *p, err *e)
{
    char buf[STR_SHORT];
    uint64_t len;
    if (!take_text(r, "a key", &p->key, &len, e) ||
        !check_name(r->text + p->key, len, GGUF_MAX_KEY, "key", e))
        return false;
    uint64_t end = p->key + len;
    if (!read_value(r, v, &p->value, e))
        return err_in(e, "key '%s'", str_short_n(r->text + p->key, len, buf));
    r->text[end] = 0; // the type stood there
    return true;
}

static const char *key_of(const void *header, int64_t i)
{
    return ((const gguf_header *)header)->value[i].key;
}

static bool check_keys(const gguf_header *h, err *e)
{
    name_index keys;
    char buf[STR_SHORT];
    int64_t twice;
    if (!name_index_build(&keys, h, h->n_values, key_of, &twice, e))
        return false;
    name_index_free(&keys);
    return twice < 0 || err_set(e, ERR_INPUT, "key '%s' is there twice",
                                str_short(h->value[twice].key, buf));
}

static bool find_alignment(gguf_header *h, err *e)
{
    const gguf_value *v = gguf_find(h, "general.alignment");
    uint64_t a = GGUF_ALIGNMENT;
    if (v && (v->is_array || v->type != GGUF_U32))
        return err_set(e, ERR_INPUT, "general.alignment is %s %s, expected a U32",
                       v->is_array ? "an array of" : "of type", gguf_type_name(v->type));
    if (v && (!gguf_as_u64(v, &a) || a == 0 || a > GGUF_MAX_ALIGNMENT || (a & (a - 1)) != 0))
        return err_set(e, ERR_INPUT, "general.alignment is %llu, expected a power of two up to %d",
                       (unsigned long long)a, GGUF_MAX_ALIGNMENT);
    h->alignment = a;
    return true;
}

static bool read_values(reader *r, gguf_value *value, place *p, err *e)
{
    for (uint64_t i = 0; i < r->n_values; i++)
        if (!read_key_value(r, &value[i], &p[i], e))
            return false;
    return true;
}

// ---- tensors ---------------------------------------------------------------------------------

// Walks over a tensor's fields without looking at them.
static bool skip_tensor(reader *r, err *e)
{
    char buf[STR_SHORT];
    uint64_t at, len;
    uint32_t rank;
    if (!take_text(r, "a tensor's name", &at, &len, e) ||
        !check_name(r->text + at, len, GGUF_MAX_NAME, "tensor", e))
        return false;
    if (!take_u32(r, "a tensor's rank", &rank, e) ||
        (rank > GGUF_MAX_RANK && !err_set(e, ERR_INPUT, "%u dimensions, the limit is %d", rank,
                                          GGUF_MAX_RANK)) ||
        !need(r, "the rest of a tensor", 8 * (uint64_t)rank + 12, e))
        return err_in(e, "tensor '%s'", str_short_n(r->text + at, len, buf));
    r->at += 8 * (uint64_t)rank + 12;
    return true;
}

// ne of a dimension; that of 0 gives 0 elements, but the others must still make a size that exists.
static bool read_shape(tensor *t, const char *ne, err *e)
{
    uint64_t n = 1, bytes;
    bool empty = false, fits = true;
    char shape[TENSOR_SHAPE_TEXT];
    for (int i = 0; i < t->rank; i++) {
        uint64_t dim = load_u64(ne + 8 * i);
        if (dim > MAX_DIM)
            return err_set(e, ERR_INPUT, "dimension %d is %lld, expected at most %llu", i,
                           (long long)dim, (unsigned long long)MAX_DIM);
        t->shape[t->rank - 1 - i] = (int64_t)dim;
        empty = empty || dim == 0;
        fits = fits && (dim == 0 || size_mul(n, dim, &n));
    }
    uint64_t block = (uint64_t)dtype_block(t->type);
    uint64_t row = t->rank ? (uint64_t)t->shape[t->rank - 1] : 1;
    if (row % block != 0)
        return err_set(e, ERR_INPUT, "%s %s: %s has blocks of %llu elements, a row has %llu",
                       dtype_name(t->type), tensor_shape_text(t, shape), dtype_name(t->type),
                       (unsigned long long)block, (unsigned long long)row);
    if (!fits || !size_mul(n / block, (uint64_t)dtype_block_bytes(t->type), &bytes) ||
        bytes > MAX_TENSOR_BYTES)
        return err_set(e, ERR_INPUT, "%s %s takes more than 2^60 bytes", dtype_name(t->type),
                       tensor_shape_text(t, shape));
    t->n_elements = empty ? 0 : (int64_t)n;
    t->bytes = empty ? 0 : bytes;
    return true;
}

static bool read_fields(const gguf_header *h, const char *p, uint64_t *expected,
                        uint64_t file_bytes, tensor *t, err *e)
{
    t->rank = (int)load_u32(p);
    const char *ne = p + 4, *behind = ne + 8 * t->rank;
    uint32_t id = load_u32(behind);
    if (!gguf_type_of_id(id, &t->type))
        return err_set(e, ERR_INPUT, "the type %u is unknown or was removed from the format", id);
    if (!read_shape(t, ne, e))
        return false;
    t->offset = load_u64(behind + 4);
    if (t->offset != *expected)
        return err_set(e, ERR_INPUT, "it begins at byte %llu of the data, expected %llu: %s",
                       (unsigned long long)t->offset, (unsigned long long)*expected,
                       t->offset > *expected ? "a hole, or another order" : "they overlap");
    uint64_t room = file_bytes > h->data_start ? file_bytes - h->data_start : 0;
    if (t->bytes > 0 && (t->offset > room || t->bytes > room - t->offset))
        return err_set(e, ERR_INPUT, "its %llu bytes at byte %llu of the data end behind the file, "
                       "which has %llu bytes of data: truncated?", (unsigned long long)t->bytes,
                       (unsigned long long)t->offset, (unsigned long long)room);
    // No overflow: the sum lies in the file, or is the last one again.
    *expected = (t->offset + t->bytes + h->alignment - 1) & ~(h->alignment - 1);
    return true;
}

// Each record is written over the fields that it comes from, which are always longer: a number of 8
// bytes takes at most as much, and 10 bytes of length and rank are left for what it adds.
static bool list_tensors(gguf_header *h, const reader *r, char *infos, int file_index, err *e)
{
    tensor_list *l = &h->list;
    char buf[STR_SHORT];
    uint64_t expected = 0;
    if (!tensor_list_init(l, infos, r->n_tensors, e))
        return false;
    for (uint64_t at = 0, i = 0; i < r->n_tensors; i++) {
        tensor t = {.file = file_index};
        uint64_t name = load_u64(infos + at);
        uint64_t fields = at + 8 + name;
        if (!read_fields(h, infos + fields, &expected, r->file_bytes, &t, e))
            return err_in(e, "tensor '%s'", str_short_n(infos + at + 8, name, buf));
        at = fields + 16 + 8 * (uint64_t)t.rank;
        t.name = tensor_list_text(l, infos + fields - name, name);
        tensor_list_add(l, &t);
        assert(l->used <= at);
    }
    h->n_tensors = l->n;
    l->file = file_index;
    l->base = h->data_start;
    uint64_t end = h->data_start + expected;
    h->behind = r->file_bytes > end ? r->file_bytes - end : 0;
    return true;
}

static bool check_names(gguf_header *h, err *e)
{
    char buf[STR_SHORT];
    int64_t twice;
    return tensor_list_index(&h->list, &twice, e) &&
           (twice < 0 || err_set(e, ERR_INPUT, "tensor '%s' is there twice",
                                 str_short(tensor_list_name(&h->list, twice), buf)));
}

// ---- the header ------------------------------------------------------------------------------

static bool read_head(reader *r, gguf_header *h, err *e)
{
    if (r->file_bytes < HEAD)
        return err_set(e, ERR_INPUT, "a file of %llu bytes, expected at least the %d of a GGUF "
                       "header", (unsigned long long)r->file_bytes, HEAD);
    if (!need(r, "the header", HEAD, e))
        return false;
    if (memcmp(r->text, "GGUF", 4) != 0)
        return err_set(e, ERR_INPUT, "no GGUF file: it does not begin with \"GGUF\"");
    h->version = load_u32(r->text + 4);
    if (h->version != 2 && h->version != 3) {
        uint32_t other = __builtin_bswap32(h->version);
        if (other >= 1 && other <= 0xffff)
            return err_set(e, ERR_INPUT, "a big-endian GGUF file (version %u); only little-endian "
                           "ones are read", other);
        return err_set(e, ERR_INPUT, "GGUF version %u: this program reads 2 and 3", h->version);
    }
    r->n_tensors = load_u64(r->text + 8);
    r->n_values = load_u64(r->text + 16);
    r->at = HEAD;
    uint64_t rest = r->file_bytes - HEAD;
    if (r->n_values > GGUF_MAX_VALUES)
        return err_set(e, ERR_INPUT, "the header says %llu key-values, the limit is %d",
                       (unsigned long long)r->n_values, GGUF_MAX_VALUES);
    if (r->n_values > rest / LEAST_VALUE)
        return err_set(e, ERR_INPUT, "the header says %llu key-values, the file has room "
                       "for at most %llu",
                       (unsigned long long)r->n_values, (unsigned long long)(rest / LEAST_VALUE));
    if (r->n_tensors > rest / LEAST_TENSOR)
        return err_set(e, ERR_INPUT, "the header says %llu tensors, the file has room for "
                       "at most %llu",
                       (unsigned long long)r->n_tensors,
                       (unsigned long long)(rest / LEAST_TENSOR));
    return true;
}

// Cuts the header's text in two: key-values in front of `cut`, with a byte more, and tensors up to
// `end`. What is shorter moves.
static bool cut_text(reader *r, uint64_t cut, uint64_t end, char **values, char **infos, err *e)
{
    bool values_move = cut < end - cut;
    uint64_t left = values_move ? end - cut : cut + 1;
    char *other = mem_new(values_move ? cut + 1 : end - cut, 1, "a GGUF header", e);
    if (!other)
        return false;
    memcpy(other, r->text + (values_move ? 0 : cut), values_move ? cut : end - cut);
    if (values_move)
        memmove(r->text, r->text + cut, left);
    char *text = realloc(r->text, left);
    if (!text) {
        free(other);
        return err_set(e, ERR_ENV, "no memory for a GGUF header");
    }
    r->text = NULL;
    *values = values_move ? other : text;
    *infos = values_move ? text : other;
    return true;
}

// Values point into their text, and strings get their NUL, for which there is the length of the
// next key, or one byte more.
static bool keep_values(gguf_header *h, const reader *r, const place *p, char *text, err *e)
{
    h->text = text;
    h->n_values = (int64_t)r->n_values;
    for (int64_t i = 0; i < h->n_values; i++) {
        gguf_value *v = &h->value[i];
        v->key = text + p[i].key;
        v->bytes = text + p[i].value;
        if (v->type == GGUF_TEXT && !v->is_array)
            text[p[i].value + v->size] = 0;
    }
    return check_keys(h, e) && find_alignment(h, e);
}

static bool read_header(gguf_header *h, reader *r, int file_index, err *e)
{
    char *infos = NULL, *text = NULL;
    if (!read_head(r, h, e))
        return false;
    place *p = mem_new(r->n_values, sizeof *p, "key-values", e);
    h->value = mem_new(r->n_values, sizeof *h->value, "key-values", e);
    bool ok = p && h->value && read_values(r, h->value, p, e);
    uint64_t values_end = r->at;
    for (uint64_t i = 0; ok && i < r->n_tensors; i++)
        ok = skip_tensor(r, e);
    uint64_t end = r->at;
    ok = ok && cut_text(r, values_end, end, &text, &infos, e);
    if (ok && keep_values(h, r, p, text, e)) {
        h->data_start = (end + h->alignment - 1) & ~(h->alignment - 1);
        // A list that could not begin has taken the text over all the same.
        ok = list_tensors(h, r, infos, file_index, e) && check_names(h, e);
    } else {
        free(infos);
        ok = false;
    }
    free(p);
    return ok;
}

static bool read_or_clear(gguf_header *out, reader *r, int file_index, err *e)
{
    *out = (gguf_header){0};
    bool ok = read_header(out, r, file_index, e);
    free(r->text);
    if (!ok)
        gguf_free(out);
    return ok;
}

bool gguf_list_header(gguf_header *out, const in_file *f, int file_index, err *e)
{
    reader r = {.f = f, .file_bytes = f->size};
    return read_or_clear(out, &r, file_index, e) || (!r.file_named && err_in(e, "'%s'", f->name));
}

bool gguf_parse_header(gguf_header *out, const void *bytes, uint64_t len, uint64_t file_bytes,
                       int file_index, err *e)
{
    reader r = {.file_bytes = file_bytes, .have = len};
    *out = (gguf_header){0};
    r.text = mem_new(len + 1, 1, "a GGUF header", e);
    if (!r.text)
        return false;
    memcpy(r.text, bytes, len);
    return read_or_clear(out, &r, file_index, e);
}

void gguf_free(gguf_header *h)
{
    tensor_list_free(&h->list);
    free(h->value);
    free(h->text);
    *h = (gguf_header){0};
}

// ---- values ----------------------------------------------------------------------------------

const gguf_value *gguf_find(const gguf_header *h, const char *key)
{
    for (int64_t i = 0; h && i < h->n_values; i++)
        if (strcmp(h->value[i].key, key) == 0)
            return &h->value[i];
    return NULL;
}

bool gguf_as_u64(const gguf_value *v, uint64_t *out)
{
    uint64_t bits = 0;
    bool is_signed;
    if (!v || v->is_array || !gguf_is_integer(v->type, &is_signed))
        return false;
    memcpy(&bits, v->bytes, v->size);
    if (is_signed && (bits >> (8 * v->size - 1) & 1))
        return false;
    *out = bits;
    return true;
}

const char *gguf_as_text(const gguf_value *v)
{
    return v && v->type == GGUF_TEXT && !v->is_array ? v->bytes : NULL;
}
