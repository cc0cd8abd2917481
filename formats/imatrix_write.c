// SPDX-License-Identifier: Apache-2.0
// The writing half of imatrix.h.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/out.h"
#include "formats/imatrix.h"
#include "formats/llama_names.h"

// An entry: a weight and the set of its input.
typedef struct {
    const char *name;
    const stats_set *set;
} entry;

typedef struct {
    entry *list;
    int64_t n;
    arena names;
    uint32_t chunks, chunk_size; // windows of all runs; tokens of one (the first run's)
    strbuf datasets;             // texts, each behind its 64-bit length
    uint64_t n_datasets;
    const char *dataset;         // of the last run
} writing;

// ---- which weights take the input of a set ---------------------------------------------------

static const role takers[][3] = {
    {ROLE_Q, ROLE_K, ROLE_V},
    {ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_COUNT},
    {ROLE_SHARED_GATE, ROLE_SHARED_UP, ROLE_COUNT},
    {ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_COUNT},
};

static bool add_entry(writing *w, const stats_set *s, role r, err *e)
{
    char name[LLAMA_NAME_TEXT];
    if (!llama_weight_name(r, s->layer, name))
        return err_set(e, ERR_INPUT, "llama.cpp has no name for the weight '%s'", role_name(r));
    w->list[w->n].set = s;
    w->list[w->n].name = arena_text(&w->names, name, strlen(name), e);
    return w->list[w->n++].name != NULL;
}

static bool add_set(writing *w, const stats_file *f, const stats_set *s, err *e)
{
    for (size_t i = 0; i < COUNT_OF(takers); i++) {
        if (takers[i][0] != s->role)
            continue;
        for (size_t k = 0; k < COUNT_OF(takers[i]) && takers[i][k] != ROLE_COUNT; k++)
            if (!add_entry(w, s, takers[i][k], e))
                return false;
        return true;
    }
    // Latent attention: beside kv_a there is q_a, or q where queries have no rank.
    if (s->role == ROLE_KV_A &&
        !add_entry(w, s, stats_file_find(f, ROLE_Q_B, s->layer) ? ROLE_Q_A : ROLE_Q, e))
        return false;
    return add_entry(w, s, s->role, e);
}

static int by_name(const void *x, const void *y)
{
    return strcmp(((const entry *)x)->name, ((const entry *)y)->name);
}

static bool is_empty(const stats *s)
{
    for (int64_t i = 0; i < s->n_experts; i++)
        if (s->count[i] > 0 && s->weight_sum[i] > 0)
            return false;
    return true;
}

static bool list_entries(writing *w, const stats_file *f, imatrix_form form, err *e)
{
    enum { MOST = 3 }; // weights a set
    w->list = mem_new((uint64_t)f->n * MOST, sizeof *w->list, "an imatrix", e);
    if (!w->list)
        return false;
    for (int64_t i = 0; i < f->n; i++)
        if ((form == IMATRIX_GGUF || !is_empty(&f->set[i].sums)) &&
            !add_set(w, f, &f->set[i], e))
            return false;
    qsort(w->list, (size_t)w->n, sizeof *w->list, by_name);
    return w->n > 0 || err_set(e, ERR_INPUT, "there are no statistics to write");
}

// ---- what they were made from ----------------------------------------------------------------

static uint32_t number_of(const json *run, const char *key)
{
    int64_t n;
    return json_as_int(json_get(run, key), &n) && n > 0 && n <= INT32_MAX ? (uint32_t)n : 0;
}

// A run's data set has no name that we know, but its tokens have a digest.
static bool add_run(writing *w, const json *run, err *e)
{
    const char *sha = json_as_text(json_get(run, "tokens_sha256"));
    strbuf text = {0};
    unsigned char len[8];
    uint32_t size = number_of(run, "context");
    w->chunk_size = w->chunk_size ? w->chunk_size : size;
    w->chunks = (uint32_t)i64_min((int64_t)w->chunks + number_of(run, "windows"), INT32_MAX);
    strbuf_printf(&text, "tokens of SHA-256 %s", sha ? sha : "unknown");
    bool ok = strbuf_ok(&text, e);
    if (ok) {
        store_u64(len, text.len);
        strbuf_add(&w->datasets, (const char *)len, sizeof len);
        strbuf_add(&w->datasets, text.text, text.len);
        w->n_datasets++;
        w->dataset = arena_text(&w->names, text.text, text.len, e);
        ok = w->dataset && strbuf_ok(&w->datasets, e);
    }
    strbuf_free(&text);
    return ok;
}

static bool describe(writing *w, const stats_file *f, err *e)
{
    json *root = NULL;
    const char *from = f->made_from ? f->made_from : "[]";
    bool ok = json_parse(&root, from, strlen(from), "made_from", e);
    for (const json *run = json_first(root); ok && run; run = json_next(run))
        ok = add_run(w, run, e);
    json_free(root);
    w->chunk_size = w->chunk_size ? w->chunk_size : 512; // llama.cpp divides by it
    w->dataset = w->dataset ? w->dataset : "";
    return ok;
}

// ---- numbers ---------------------------------------------------------------------------------

// A count as it is written, 0 where there is no mean.
static float count_of(const stats *s, int64_t expert)
{
    return s->weight_sum[expert] > 0 ? (float)s->count[expert] : 0;
}

// Means of x^2 times `times`; `unseen` where there are none.
static bool numbers_of(const entry *x, int64_t expert, float times, float unseen, float *to, err *e)
{
    const stats *s = &x->set->sums;
    const double *energy = s->energy + expert * s->cols;
    bool none = count_of(s, expert) == 0;
    for (int64_t j = 0; j < s->cols; j++) {
        to[j] = unseen;
        double v = none ? 0 : energy[j] / s->weight_sum[expert] * (double)times;
        if (v > 0x1.fffffep127)
            return err_set(e, ERR_INPUT, "'%s': column %lld of expert %lld is %g, more than "
                           "binary32 holds", x->name, (long long)j, (long long)expert, v);
        if (!none)
            to[j] = (float)v;
    }
    return true;
}

static bool append_numbers(out_file *o, const entry *x, const float *times, float unseen, err *e)
{
    const stats *s = &x->set->sums;
    float *row = mem_new((uint64_t)s->cols, sizeof *row, "an imatrix", e);
    bool ok = row != NULL;
    for (int64_t i = 0; ok && i < s->n_experts; i++)
        ok = numbers_of(x, i, times ? *times : count_of(s, i), unseen, row, e) &&
             out_append(o, row, (uint64_t)s->cols * sizeof *row, e);
    free(row);
    return ok;
}

// ---- GGUF ------------------------------------------------------------------------------------

static bool list_tensors(writing *w, tensor *t, err *e)
{
    static const char *const ends[] = {".in_sum2", ".counts"};
    for (int64_t i = 0; i < 2 * w->n; i++) {
        const stats *s = &w->list[i / 2].set->sums;
        strbuf name = {0};
        strbuf_printf(&name, "%s%s", w->list[i / 2].name, ends[i % 2]);
        t[i] = (tensor){.type = DT_F32, .rank = 2,
                        .shape = {s->n_experts, i % 2 ? 1 : s->cols}};
        t[i].name = strbuf_ok(&name, e) ? arena_text(&w->names, name.text, name.len, e) : NULL;
        strbuf_free(&name);
        if (!t[i].name)
            return false;
    }
    return true;
}

static bool pad_to(out_file *o, uint64_t at, err *e)
{
    static const char zeros[GGUF_ALIGNMENT];
    return at == o->at || out_append(o, zeros, at - o->at, e);
}

static bool append_counts(out_file *o, const stats *s, err *e)
{
    bool ok = true;
    for (int64_t i = 0; ok && i < s->n_experts; i++) {
        float count = count_of(s, i);
        ok = out_append(o, &count, sizeof count, e);
    }
    return ok;
}

static bool write_gguf(writing *w, const char *dir, const char *base, bool replace, err *e)
{
    const gguf_value v[] = {
        {"general.type", GGUF_TEXT, false, 1, "imatrix", strlen("imatrix")},
        {"imatrix.datasets", GGUF_TEXT, true, w->n_datasets,
         w->datasets.text ? w->datasets.text : "", w->datasets.len},
        {"imatrix.chunk_count", GGUF_U32, false, 1, &w->chunks, sizeof w->chunks},
        {"imatrix.chunk_size", GGUF_U32, false, 1, &w->chunk_size, sizeof w->chunk_size}};
    tensor *t = mem_new(2 * (uint64_t)w->n, sizeof *t, "an imatrix", e);
    strbuf header = {0};
    out_file o = OUT_FILE_CLOSED;
    uint64_t bytes;
    bool ok = t && list_tensors(w, t, e) &&
              gguf_write_header(&header, t, 2 * w->n, v, COUNT_OF(v), &bytes, e) &&
              out_open(&o, dir, base, bytes, header.text, header.len, e);
    for (int64_t i = 0; ok && i < w->n; i++)
        ok = pad_to(&o, t[2 * i].offset, e) && append_numbers(&o, &w->list[i], NULL, 0, e) &&
             pad_to(&o, t[2 * i + 1].offset, e) && append_counts(&o, &w->list[i].set->sums, e);
    ok = ok && pad_to(&o, bytes, e) && out_publish(&o, replace, NULL, e);
    if (!ok)
        out_discard(&o);
    strbuf_free(&header);
    free(t);
    return ok;
}

// ---- the older form --------------------------------------------------------------------------

static bool append_i32(out_file *o, int64_t v, err *e)
{
    unsigned char b[4];
    store_u32(b, (uint32_t)v);
    return out_append(o, b, sizeof b, e);
}

static bool append_entry(const writing *w, out_file *o, const entry *x, err *e)
{
    const stats *s = &x->set->sums;
    int64_t most = 0, n = s->n_experts * s->cols;
    for (int64_t i = 0; i < s->n_experts; i++)
        most = i64_max(most, count_of(s, i) > 0 ? s->count[i] : 0);
    int64_t calls = i64_min((most - 1) / w->chunk_size + 1, INT32_MAX);
    float times = (float)calls;
    if (n > INT32_MAX)
        return err_set(e, ERR_INPUT, "'%s' has %lld numbers, this form holds %d", x->name,
                       (long long)n, INT32_MAX);
    return append_i32(o, (int64_t)strlen(x->name), e) &&
           out_append(o, x->name, strlen(x->name), e) && append_i32(o, calls, e) &&
           append_i32(o, n, e) && append_numbers(o, x, &times, times, e);
}

static bool write_dat(const writing *w, const char *dir, const char *base, bool replace, err *e)
{
    out_file o = OUT_FILE_CLOSED;
    bool ok = out_open(&o, dir, base, 0, NULL, 0, e) && append_i32(&o, w->n, e);
    for (int64_t i = 0; ok && i < w->n; i++)
        ok = append_entry(w, &o, &w->list[i], e);
    ok = ok && append_i32(&o, w->chunks, e) && append_i32(&o, (int64_t)strlen(w->dataset), e) &&
         out_append(&o, w->dataset, strlen(w->dataset), e) && out_publish(&o, replace, NULL, e);
    if (!ok)
        out_discard(&o);
    return ok;
}

bool imatrix_write(const stats_file *f, const char *path, imatrix_form form, bool replace, err *e)
{
    writing w = {0};
    strbuf dir = {0};
    const char *base = path_base(path);
    strbuf_add(&dir, path, (size_t)(base - path));
    if (dir.len == 0)
        strbuf_puts(&dir, ".");
    bool ok = strbuf_ok(&dir, e) && list_entries(&w, f, form, e) && describe(&w, f, e) &&
              (form == IMATRIX_GGUF ? write_gguf(&w, dir.text, base, replace, e)
                                    : write_dat(&w, dir.text, base, replace, e));
    free(w.list);
    strbuf_free(&w.datasets);
    arena_free(&w.names);
    strbuf_free(&dir);
    return ok;
}
