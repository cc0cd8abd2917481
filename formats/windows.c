// SPDX-License-Identifier: Apache-2.0
#include "formats/windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/gzip.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/npy.h"
#include "formats/tokenizer.h"

static const uint64_t LARGEST_TEXT = 8ull << 30;

typedef struct {
    windows *to;
    const windows_options *options;
    int32_t bos;         // -1: none
    uint64_t cap, document_cap; // elements
    int64_t most;        // windows
} cutter;

// Cuts ids into windows behind those that are there.
static bool cut(cutter *c, const int32_t *ids, int64_t n, int64_t document, err *e)
{
    windows *w = c->to;
    int64_t own = c->bos >= 0 ? w->len - 1 : w->len; // ids of the input a window
    w->n_input += n;
    int64_t more = n / own;
    if (more > c->most - w->n)
        more = c->most - w->n;
    w->dropped += n - more * own;
    if (more == 0)
        return true;
    if (!mem_grow((void **)&w->tokens, &c->cap, (uint64_t)((w->n + more) * w->len),
                  sizeof *w->tokens, "windows", e))
        return false;
    if (document >= 0 && !mem_grow((void **)&w->document, &c->document_cap,
                                   (uint64_t)(w->n + more), sizeof *w->document, "windows", e))
        return false;
    for (int64_t i = 0; i < more; i++, w->n++) {
        int32_t *row = w->tokens + w->n * w->len;
        if (c->bos >= 0)
            *row++ = c->bos;
        memcpy(row, ids + i * own, (size_t)own * sizeof *ids);
        if (document >= 0)
            w->document[w->n] = document;
    }
    return true;
}

static bool cut_text(cutter *c, tokenizer *t, const char *text, size_t len, int64_t document,
                     err *e)
{
    int32_t *ids = NULL;
    int64_t n = 0;
    bool ok = tokenizer_encode(t, text, len, &ids, &n, e) || err_in(e, "'%s'", c->options->text);
    ok = ok && cut(c, ids, n, document, e);
    free(ids);
    return ok;
}

static bool cut_line(cutter *c, tokenizer *t, const char *line, size_t len, int64_t number, err *e)
{
    json *j = NULL;
    if (!json_parse(&j, line, len, c->options->text, e))
        return err_in(e, "line %lld", (long long)number + 1);
    const char *text = json_as_text(json_get(j, "text"));
    bool ok = text ? cut_text(c, t, text, strlen(text), number, e)
                   : err_set(e, ERR_INPUT, "'%s' line %lld: no member \"text\" that is a string",
                             c->options->text, (long long)number + 1);
    json_free(j);
    return ok;
}

static bool is_blank(const char *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

static bool cut_lines(cutter *c, tokenizer *t, const char *text, size_t len, err *e)
{
    int64_t number = 0;
    for (size_t at = 0; at < len; number++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        if (!is_blank(text + at, n) && !cut_line(c, t, text + at, n, number, e))
            return false;
        at += n + 1;
    }
    return true;
}

static bool from_text(cutter *c, err *e)
{
    const char *path = c->options->text;
    tokenizer *t = NULL;
    char *text = NULL;
    size_t len = 0;
    bool ok = tokenizer_open(&t, c->options->model_dir, e) &&
              gzip_read_text(path, LARGEST_TEXT, &text, &len, e);
    if (ok) {
        c->bos = tokenizer_bos(t);
        bool lines = str_ends(path, ".jsonl") || str_ends(path, ".jsonl.gz");
        ok = lines ? cut_lines(c, t, text, len, e) : cut_text(c, t, text, len, -1, e);
    }
    free(text);
    tokenizer_close(t);
    return ok;
}

// int64 ids are narrowed; what does not fit is refused by the forward pass as any unknown id.
static bool to_int32(const npy *a, int32_t **out, const char *path, err *e)
{
    *out = mem_new((uint64_t)a->n, sizeof **out, "token ids", e);
    if (!*out)
        return false;
    for (int64_t i = 0; i < a->n; i++) {
        int64_t id = a->type == NPY_I32 ? ((const int32_t *)a->data)[i]
                                        : ((const int64_t *)a->data)[i];
        if (id < 0 || id > INT32_MAX)
            return err_set(e, ERR_INPUT, "'%s': element %lld is %lld, which is no token id", path,
                           (long long)i, (long long)id);
        (*out)[i] = (int32_t)id;
    }
    return true;
}

// True where tokenizer_config.json is there and asks for BOS, or is not what it should be: then the
// tokenizer says so.
static bool bos_is_asked_for(const char *dir, bool *asked, err *e)
{
    enum { LARGEST_CONFIG = 64 << 20 };
    char *path = path_join(dir, "tokenizer_config.json", e), *text = NULL;
    size_t len;
    json *j = NULL;
    *asked = false;
    path_kind kind = PATH_NOTHING;
    bool ok = path && path_find(path, &kind, e);
    if (kind != PATH_NOTHING) {
        ok = file_read_all(path, LARGEST_CONFIG, &text, &len, e) &&
             json_parse(&j, text, len, path, e);
        const json *add = ok ? json_get(j, "add_bos_token") : NULL;
        bool no = false;
        *asked = add && json_type(add) != JSON_NULL && (!json_as_bool(add, &no) || no);
    }
    json_free(j);
    free(text);
    free(path);
    return ok;
}

static bool bos_of(cutter *c, err *e)
{
    tokenizer *t = NULL;
    bool asked;
    if (!bos_is_asked_for(c->options->model_dir, &asked, e))
        return false;
    if (!asked)
        return true;
    if (!tokenizer_open(&t, c->options->model_dir, e))
        return false;
    c->bos = tokenizer_bos(t);
    tokenizer_close(t);
    return true;
}

static bool use_rows(cutter *c, const npy *a, const int32_t *ids, err *e)
{
    windows *w = c->to;
    w->len = a->shape[1];
    w->n_input = a->n;
    if (w->len < 2)
        return err_set(e, ERR_INPUT, "'%s' has rows of %lld tokens; at least 2 are needed",
                       c->options->tokens, (long long)w->len);
    int64_t n = a->shape[0];
    if (c->options->max_tokens > 0)
        n = i64_min(n, c->options->max_tokens / w->len);
    w->dropped = a->n - n * w->len;
    w->tokens = mem_new((uint64_t)(n * w->len), sizeof *w->tokens, "windows", e);
    if (!w->tokens)
        return false;
    memcpy(w->tokens, ids, (size_t)(n * w->len) * sizeof *ids);
    w->n = n;
    return true;
}

static bool from_npy(cutter *c, err *e)
{
    const char *path = c->options->tokens;
    npy a = {0};
    int32_t *ids = NULL;
    if (!npy_read(&a, path, e))
        return false;
    bool ok = true;
    if ((a.type != NPY_I32 && a.type != NPY_I64) || a.rank < 1 || a.rank > 2)
        ok = err_set(e, ERR_INPUT, "'%s' must hold int32 or int64 ids, [n][len] or one row; it has "
                     "rank %d", path, a.rank);
    ok = ok && to_int32(&a, &ids, path, e);
    if (ok && a.rank == 2 && a.shape[0] > 1)
        ok = use_rows(c, &a, ids, e);
    else if (ok)
        ok = bos_of(c, e) && cut(c, ids, a.n, -1, e);
    free(ids);
    npy_free(&a);
    return ok;
}

bool windows_read(windows *out, const windows_options *o, err *e)
{
    windows w = {.len = o->context};
    cutter c = {.to = &w, .options = o, .bos = -1};
    *out = (windows){0};
    if (o->context < 2)
        return err_set(e, ERR_USAGE, "a window needs at least 2 tokens, not %lld",
                       (long long)o->context);
    c.most = o->max_tokens > 0 ? o->max_tokens / o->context : INT64_MAX / o->context;
    bool ok = o->text ? from_text(&c, e) : from_npy(&c, e);
    w.with_bos = c.bos >= 0 && ok;
    if (ok && w.n == 0 && o->max_tokens > 0 && o->max_tokens < w.len)
        ok = err_set(e, ERR_USAGE, "a limit of %lld tokens does not hold one window of %lld",
                     (long long)o->max_tokens, (long long)w.len);
    else if (ok && w.n == 0)
        ok = err_set(e, ERR_INPUT, "'%s' gives %lld tokens, which fill no window of %lld",
                     o->text ? o->text : o->tokens, (long long)w.n_input, (long long)w.len);
    ok = ok && sha256_of(w.tokens, (size_t)(w.n * w.len) * sizeof *w.tokens, &w.sha, e);
    if (!ok) {
        windows_free(&w);
        return false;
    }
    *out = w;
    return true;
}

void windows_free(windows *w)
{
    free(w->tokens);
    free(w->document);
    *w = (windows){0};
}
