// SPDX-License-Identifier: Apache-2.0
#include "formats/imatrix.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/utf8.h"

#define SUMS ".in_sum2"
#define COUNTS ".counts"

enum { PIECE = 1 << 16, COUNTS_AT_ONCE = 256 }; // numbers read at a time
static const char what_it_is[] = "imatrix";
static const float MOST_TOKENS = 0x1p53f;

// ---- numbers ---------------------------------------------------------------------------------

// Numbers of the file, all finite and not negative; `first` counts from the beginning of the run.
static bool read_numbers(const imatrix *m, const imatrix_entry *x, const char *what, uint64_t at,
                         int64_t first, int64_t n, float *to, err *e)
{
    char name[STR_SHORT];
    if (!in_read(&m->in, at + (uint64_t)first * sizeof *to, to, (uint64_t)n * sizeof *to, e))
        return false;
    for (int64_t i = 0; i < n; i++)
        if (!(to[i] >= 0 && to[i] <= 0x1.fffffep127f))
            return err_set(e, ERR_INPUT, "entry '%s': %s %lld is %s", str_short(x->name, name),
                           what, (long long)(first + i),
                           to[i] < 0 ? "negative" : "not a finite number");
    return true;
}

static bool read_counts(const imatrix *m, const imatrix_entry *x, int64_t first, int64_t n,
                        float *count, err *e)
{
    char name[STR_SHORT];
    if (x->counts_at && !read_numbers(m, x, "count", x->counts_at, first, n, count, e))
        return false;
    for (int64_t i = 0; i < n; i++) {
        if (!x->counts_at) {
            count[i] = (float)x->calls;
            continue;
        }
        if (count[i] > MOST_TOKENS)
            return err_set(e, ERR_INPUT, "entry '%s': count %lld is above 2^53",
                           str_short(x->name, name), (long long)(first + i));
        // As lround rounds it; whole from 2^23 on.
        count[i] = (float)(int64_t)((double)count[i] + 0.5);
    }
    return true;
}

static bool check_numbers(const imatrix *m, err *e)
{
    float *block = mem_new(PIECE, sizeof *block, "an imatrix", e);
    bool ok = block != NULL;
    for (int64_t k = 0; ok && k < m->n; k++) {
        const imatrix_entry *x = &m->entry[k];
        for (int64_t i = 0; ok && x->counts_at && i < x->n_counts; i += PIECE)
            ok = read_counts(m, x, i, i64_min(PIECE, x->n_counts - i), block, e);
        for (int64_t i = 0; ok && i < x->n; i += PIECE)
            ok = read_numbers(m, x, "number", x->at, i, i64_min(PIECE, x->n - i), block, e);
    }
    free(block);
    return ok;
}

bool imatrix_unseen(const imatrix *m, const imatrix_entry *x, int64_t first, bool *unseen, err *e)
{
    float count;
    bool ok = read_counts(m, x, first / (x->n / x->n_counts), 1, &count, e);
    *unseen = ok && x->counts_at && count == 0;
    return ok || err_in_file(e, what_it_is, m->in.name);
}

// See imatrix_read.
static bool read_means(const imatrix *m, const imatrix_entry *x, int64_t first, int64_t n,
                       float *to, int64_t *unseen, err *e)
{
    float counts[COUNTS_AT_ONCE];
    int64_t slice = x->n / x->n_counts, last = (first + n - 1) / slice, base = 0, have = 0;
    *unseen = 0;
    if (!in_unchanged(&m->in, e) || !read_numbers(m, x, "number", x->at, first, n, to, e))
        return false;
    for (int64_t i = 0; i < n;) {
        int64_t of = (first + i) / slice, end = i64_min(n, (of + 1) * slice - first);
        if (of >= have) { // of grows
            base = of;
            have = i64_min(of + COUNTS_AT_ONCE, last + 1);
            if (!read_counts(m, x, base, have - base, counts, e))
                return false;
        }
        float count = counts[of - base];
        bool means = !x->counts_at && x->calls <= 0, none = !means && count == 0;
        *unseen += none ? end - i : 0;
        for (; i < end; i++)
            to[i] = none ? 1 : means ? to[i] : to[i] / count;
    }
    return true;
}

bool imatrix_read(const imatrix *m, const imatrix_entry *x, int64_t first, int64_t n, float *to,
                  int64_t *unseen, err *e)
{
    return read_means(m, x, first, n, to, unseen, e) || err_in_file(e, what_it_is, m->in.name);
}

// ---- entries ---------------------------------------------------------------------------------

static bool check_name(const char *name, size_t len, err *e)
{
    char text[STR_SHORT];
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return err_set(e, ERR_INPUT, "entry '%s': control byte 0x%02x in the name",
                           str_short_n(name, len, text), (unsigned)(unsigned char)name[i]);
    return utf8_is_valid(name, len) || err_set(e, ERR_INPUT, "the name of an entry is not UTF-8");
}

static bool add_entry(imatrix *m, const char *name, size_t len, imatrix_entry x, err *e)
{
    char text[STR_SHORT];
    bool fresh;
    if (!strmap_put(&m->names, name, len, m->n, &fresh, e))
        return false;
    if (!fresh)
        return err_set(e, ERR_INPUT, "entry '%s' is there twice", str_short_n(name, len, text));
    x.name = arena_text(&m->texts, name, len, e);
    if (!x.name || !mem_grow((void **)&m->entry, &m->cap, (uint64_t)m->n + 1, sizeof *m->entry,
                             "an imatrix", e))
        return false;
    m->entry[m->n++] = x;
    return true;
}

const imatrix_entry *imatrix_find(const imatrix *m, const char *name)
{
    int64_t at = strmap_get(&m->names, name, strlen(name));
    return at < 0 ? NULL : &m->entry[at];
}

// ---- GGUF ------------------------------------------------------------------------------------

static bool add_sums(imatrix *m, const gguf_header *h, const tensor *t, err *e)
{
    char name[STR_SHORT], counts[GGUF_MAX_NAME + sizeof COUNTS];
    size_t len = strlen(t->name) - strlen(SUMS);
    memcpy(counts, t->name, len);
    memcpy(counts + len, COUNTS, sizeof COUNTS);
    int64_t at = tensor_list_find(&h->list, counts);
    if (at < 0)
        return err_set(e, ERR_INPUT, "tensor '%s' has no '%s' beside it",
                       str_short(t->name, name), counts);
    tensor c;
    tensor_list_get(&h->list, at, &c);
    if (t->type != DT_F32 || c.type != DT_F32)
        return err_set(e, ERR_INPUT, "tensor '%s' is %s, expected F32",
                       str_short(t->type != DT_F32 ? t->name : c.name, name),
                       dtype_name(t->type != DT_F32 ? t->type : c.type));
    if (t->n_elements == 0 || c.n_elements == 0 || t->n_elements % c.n_elements != 0)
        return err_set(e, ERR_INPUT, "tensor '%s' has %lld elements and %lld counts, expected as "
                       "many for each count", str_short(t->name, name), (long long)t->n_elements,
                       (long long)c.n_elements);
    return add_entry(m, t->name, len,
                     (imatrix_entry){.n = t->n_elements, .n_counts = c.n_elements, .at = t->offset,
                                     .counts_at = c.offset}, e);
}

static bool add_tensor(imatrix *m, const gguf_header *h, const tensor *t, err *e)
{
    char name[STR_SHORT], sums[GGUF_MAX_NAME + sizeof SUMS];
    if (str_ends(t->name, SUMS) && t->name[strlen(SUMS)])
        return add_sums(m, h, t, e);
    if (!str_ends(t->name, COUNTS))
        return err_set(e, ERR_INPUT, "tensor '%s' is neither " SUMS " nor " COUNTS,
                       str_short(t->name, name));
    size_t len = strlen(t->name) - strlen(COUNTS);
    memcpy(sums, t->name, len);
    memcpy(sums + len, SUMS, sizeof SUMS);
    return tensor_list_find(&h->list, sums) >= 0 ||
           err_set(e, ERR_INPUT, "tensor '%s' has no '%s' beside it", str_short(t->name, name),
                   sums);
}

static bool list_gguf(imatrix *m, err *e)
{
    gguf_header h;
    char buf[STR_SHORT];
    uint64_t chunks;
    if (!gguf_list_header(&h, &m->in, 0, e))
        return false;
    const char *type = gguf_as_text(gguf_find(&h, "general.type"));
    bool ok = type && strcmp(type, "imatrix") == 0;
    if (!ok)
        err_set(e, ERR_INPUT, "it is a GGUF, but no imatrix: general.type is %s%s%s",
                type ? "'" : "", type ? str_short(type, buf) : "missing", type ? "'" : "");
    if (ok && gguf_as_u64(gguf_find(&h, "imatrix.chunk_count"), &chunks) && chunks <= INT32_MAX)
        m->chunks = (int64_t)chunks;
    for (int64_t i = 0; ok && i < h.n_tensors; i++) {
        tensor t;
        tensor_list_get(&h.list, i, &t);
        ok = add_tensor(m, &h, &t, e);
    }
    gguf_free(&h);
    return ok;
}

// ---- the older form --------------------------------------------------------------------------

// number of entries; each: length of the name, name, calls, numbers, these; then maybe the number
// of chunks, the length of a data set's name and that. Lengths and counts are 32 bits with a sign.
typedef struct {
    imatrix *m;
    uint64_t at;
    err *e;
} reader;

static bool take(reader *r, void *to, uint64_t n, const char *what)
{
    uint64_t left = r->m->in.size - r->at;
    if (n > left)
        return err_set(r->e, ERR_INPUT, "%s at byte %llu has %llu bytes, the file has %llu left",
                       what, (unsigned long long)r->at, (unsigned long long)n,
                       (unsigned long long)left);
    r->at += n;
    return in_read(&r->m->in, r->at - n, to, n, r->e);
}

static bool take_i32(reader *r, int32_t *to, const char *what)
{
    unsigned char b[4];
    if (!take(r, b, sizeof b, what))
        return false;
    uint32_t u = load_u32(b);
    memcpy(to, &u, sizeof u);
    return true;
}

static bool take_entry(reader *r)
{
    char name[IMATRIX_MAX_NAME];
    int32_t len, calls, n;
    uint64_t left;
    if (!take_i32(r, &len, "the length of a name"))
        return false;
    if (len < 1 || len > IMATRIX_MAX_NAME)
        return err_set(r->e, ERR_INPUT, "the name of entry %lld has %ld bytes, expected 1 to %d",
                       (long long)r->m->n + 1, (long)len, IMATRIX_MAX_NAME);
    if (!take(r, name, (uint64_t)len, "a name") || !check_name(name, (size_t)len, r->e) ||
        !take_i32(r, &calls, "the number of calls") || !take_i32(r, &n, "the number of numbers"))
        return false;
    left = r->m->in.size - r->at;
    if (n < 1 || (uint64_t)n * sizeof(float) > left)
        return err_set(r->e, ERR_INPUT, "entry %lld has %ld numbers, the file has room for %llu",
                       (long long)r->m->n + 1, (long)n,
                       (unsigned long long)(left / sizeof(float)));
    uint64_t at = r->at;
    r->at += (uint64_t)n * sizeof(float);
    return add_entry(r->m, name, (size_t)len,
                     (imatrix_entry){.n = n, .n_counts = 1, .at = at, .calls = calls}, r->e);
}

// Chunks, and the data set's name up to the end of the file.
static bool take_trailer(reader *r)
{
    int32_t chunks, len;
    if (r->at == r->m->in.size)
        return true;
    if (!take_i32(r, &chunks, "the number of chunks"))
        return false;
    r->m->chunks = chunks >= 0 ? chunks : -1;
    if (r->at == r->m->in.size)
        return true;
    if (!take_i32(r, &len, "the length of the data set's name"))
        return false;
    uint64_t left = r->m->in.size - r->at;
    return (len >= 0 && (uint64_t)len == left) ||
           err_set(r->e, ERR_INPUT, "the data set's name has %ld bytes, the file has %llu left",
                   (long)len, (unsigned long long)left);
}

static bool list_dat(imatrix *m, err *e)
{
    reader r = {m, 0, e};
    int32_t n;
    bool ok = take_i32(&r, &n, "the number of entries");
    if (ok && (n < 1 || n > IMATRIX_MAX_ENTRIES))
        ok = err_set(e, ERR_INPUT, "it has %ld entries, expected 1 to %d", (long)n,
                     IMATRIX_MAX_ENTRIES);
    for (int32_t i = 0; ok && i < n; i++)
        ok = take_entry(&r);
    return ok && take_trailer(&r);
}

// ---- doors -----------------------------------------------------------------------------------

// By the first 8 bytes: a GGUF's magic, or a plausible number of entries and length of a name. In a
// safetensors file the latter are the upper half of its header's length, zero.
static bool form_of(const in_file *in, imatrix_form *form, bool *is, err *e)
{
    unsigned char b[8];
    *is = false;
    *form = IMATRIX_DAT;
    if (in->size < sizeof b)
        return true;
    if (!in_read(in, 0, b, sizeof b, e))
        return false;
    uint32_t n = load_u32(b), len = load_u32(b + 4);
    if (memcmp(b, "GGUF", 4) == 0)
        *form = IMATRIX_GGUF;
    *is = *form == IMATRIX_GGUF ||
          (n >= 1 && n <= IMATRIX_MAX_ENTRIES && len >= 1 && len <= IMATRIX_MAX_NAME);
    return true;
}

bool imatrix_looks(const char *path, bool *is, err *e)
{
    in_file in = IN_FILE_CLOSED;
    imatrix_form form;
    *is = false;
    if (path_is_dir(path))
        return true;
    bool ok = in_open(&in, path, e) && form_of(&in, &form, is, e);
    in_close(&in);
    return ok;
}

bool imatrix_open(imatrix *m, const char *path, err *e)
{
    bool is;
    *m = (imatrix){.in = IN_FILE_CLOSED, .chunks = -1};
    bool ok = in_open(&m->in, path, e) && form_of(&m->in, &m->form, &is, e);
    if (ok && !is)
        ok = err_set(e, ERR_INPUT, "it begins like neither form of imatrix files");
    ok = ok && (m->form == IMATRIX_GGUF ? list_gguf(m, e) : list_dat(m, e)) && check_numbers(m, e);
    if (ok && m->n == 0)
        ok = err_set(e, ERR_INPUT, "it has no entries");
    if (ok)
        return true;
    imatrix_close(m);
    return err_in_file(e, what_it_is, path);
}

void imatrix_close(imatrix *m)
{
    in_close(&m->in);
    free(m->entry);
    strmap_free(&m->names);
    arena_free(&m->texts);
    *m = (imatrix){.in = IN_FILE_CLOSED};
}
