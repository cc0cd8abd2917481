// SPDX-License-Identifier: Apache-2.0
#include "formats/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "formats/added.h"
#include "formats/bpe.h"
#include "formats/normalize.h"
#include "formats/pretokenize.h"
#include "formats/tokjson.h"

enum { MAX_FORMS = 8, MAX_FILE = 64 << 20 };

struct tokenizer {
    normal_form form[MAX_FORMS];
    int n_forms;
    added *added;
    strmap added_ids; // content -> id
    pretokenizer *pre;
    bpe *model;
    int32_t top, bos;
    strbuf normal[2]; // of one part of the text, in turns
};

static bool read_normalizer(tokenizer *t, const json *j, err *e)
{
    static const char *const names[] = {"NFC", "NFD", "NFKC", "NFKD"};
    static const char *const none[] = {NULL}, *const sequence[] = {"normalizers", NULL};
    const char *type;
    if (!tokjson_text(j, "type", "normalizer", &type, e))
        return false;
    if (strcmp(type, "Sequence") == 0) {
        const json *list = json_get(j, "normalizers");
        if (!tokjson_only(j, sequence, "normalizer Sequence", e))
            return false;
        if (!list || json_type(list) != JSON_ARRAY)
            return err_set(e, ERR_INPUT, "normalizer Sequence: 'normalizers' must be a list");
        for (const json *m = json_first(list); m; m = json_next(m))
            if (!read_normalizer(t, m, e))
                return false;
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(type, names[i]) != 0)
            continue;
        if (t->n_forms == MAX_FORMS)
            return err_set(e, ERR_INPUT, "normalizer: more than %d steps", MAX_FORMS);
        t->form[t->n_forms++] = (normal_form)i;
        return tokjson_only(j, none, "normalizer", e);
    }
    return err_set(e, ERR_INPUT,
                   "normalizer '%s' is not supported (known: Sequence, NFC, NFD, NFKC, NFKD)",
                   type);
}

// The text after normalisation: `text` itself where there is none, else borrowed from t until the
// next call.
static bool normalize(tokenizer *t, const char **text, size_t *len, err *e)
{
    for (int i = 0; i < t->n_forms; i++) {
        strbuf *to = &t->normal[i % 2];
        strbuf_clear(to);
        if (!normalize_text(t->form[i], *text, *len, to, e))
            return false;
        *text = to->len ? to->text : "";
        *len = to->len;
    }
    return true;
}

// The id that the package gives a token when it loads the file: the vocabulary's, else the next
// free one behind vocabulary and added tokens. `highest` is the highest added so far, -1: none.
static int64_t id_in_package(const tokenizer *t, const added_token *a, int64_t highest)
{
    int64_t id = bpe_id(t->model, a->content), size = bpe_size(t->model);
    if (id >= 0)
        return id;
    return highest >= size || (size == 0 && highest >= 0) ? highest + 1 : size;
}

static bool read_added_token(tokenizer *t, const json *j, int64_t *highest, err *e)
{
    added_token a;
    char name[STR_SHORT];
    bool fresh;
    if (!added_read(&a, j, e))
        return false;
    if (!*a.content)
        return true; // ignored by the package, too
    int64_t id = id_in_package(t, &a, *highest);
    if (id != a.id)
        return err_set(e, ERR_INPUT, "added token '%s' has id %d, but the vocabulary and the "
                       "tokens before it make it %lld", str_short(a.content, name), a.id,
                       (long long)id);
    if (a.id > BPE_MAX_ID)
        return err_set(e, ERR_INPUT, "added token '%s' has id %d, the limit is %d",
                       str_short(a.content, name), a.id, BPE_MAX_ID);
    if (!strmap_put(&t->added_ids, a.content, strlen(a.content), a.id, &fresh, e))
        return false;
    if (!fresh)
        return err_set(e, ERR_INPUT, "added token '%s' is there twice",
                       str_short(a.content, name));
    *highest = i64_max(*highest, a.id);
    t->top = a.id > t->top ? a.id : t->top;
    const char *form = a.content;
    size_t len = strlen(form);
    return (!a.normalized || normalize(t, &form, &len, e)) &&
           added_put(t->added, &a, form, len, e);
}

static bool read_added(tokenizer *t, const json *list, err *e)
{
    int64_t highest = -1;
    if (!added_open(&t->added, e))
        return false;
    if (!list || json_type(list) == JSON_NULL)
        return true;
    if (json_type(list) != JSON_ARRAY)
        return err_set(e, ERR_INPUT, "'added_tokens' must be a list");
    for (const json *m = json_first(list); m; m = json_next(m))
        if (!read_added_token(t, m, &highest, e))
            return false;
    return true;
}

static bool refuse_unless_null(const json *j, const char *key, err *e)
{
    const json *m = json_get(j, key);
    return !m || json_type(m) == JSON_NULL ||
           err_set(e, ERR_INPUT, "'%s' is set, which is not supported", key);
}

static bool read_parts(tokenizer *t, const json *j, err *e)
{
    // What post_processor and decoder do concerns special tokens and the way back.
    static const char *const known[] = {"version", "truncation", "padding", "added_tokens",
                                        "normalizer", "pre_tokenizer", "post_processor",
                                        "decoder", "model", NULL};
    const json *version = json_get(j, "version"), *normalizer = json_get(j, "normalizer");
    const char *text = version ? json_as_text(version) : NULL;
    if (!tokjson_only(j, known, "the file", e) || !refuse_unless_null(j, "truncation", e) ||
        !refuse_unless_null(j, "padding", e))
        return false;
    if (version && (!text || strcmp(text, "1.0") != 0))
        return err_set(e, ERR_INPUT, "version '%s' is not supported (known: 1.0)",
                       text ? text : "?");
    if (!bpe_open(&t->model, json_get(j, "model"), e) ||
        (normalizer && json_type(normalizer) != JSON_NULL &&
         !read_normalizer(t, normalizer, e)) ||
        !pretokenizer_open(&t->pre, json_get(j, "pre_tokenizer"), e))
        return false;
    t->top = bpe_top(t->model);
    return read_added(t, json_get(j, "added_tokens"), e);
}

// add_bos_token and bos_token, a text or an object with its content.
static bool read_bos(tokenizer *t, const json *config, err *e)
{
    const json *add = json_get(config, "add_bos_token"), *bos = json_get(config, "bos_token");
    bool wanted = false;
    if (add && json_type(add) != JSON_NULL && !json_as_bool(add, &wanted))
        return err_set(e, ERR_INPUT, "'add_bos_token' must be true or false");
    if (!wanted)
        return true;
    if (bos && json_type(bos) == JSON_OBJECT)
        bos = json_get(bos, "content");
    const char *text = bos ? json_as_text(bos) : NULL;
    if (!text)
        return err_set(e, ERR_INPUT, "'add_bos_token' is true, but there is no 'bos_token'");
    int64_t id = strmap_get(&t->added_ids, text, strlen(text));
    char name[STR_SHORT];
    t->bos = id >= 0 ? (int32_t)id : bpe_id(t->model, text);
    return t->bos >= 0 || err_set(e, ERR_INPUT, "the bos_token '%s' is no token of "
                                  "tokenizer.json", str_short(text, name));
}

typedef bool read_fn(tokenizer *t, const json *j, err *e);

static bool read_file(tokenizer *t, const char *dir, const char *name, read_fn *read, err *e)
{
    char *text = NULL, *path = path_join(dir, name, e);
    size_t len;
    json *j = NULL;
    bool ok = path && file_read_beneath(dir, name, MAX_FILE, &text, &len, e) &&
              json_parse(&j, text, len, path, e);
    if (ok && !read(t, j, e))
        ok = err_in(e, "%s", path);
    json_free(j);
    free(text);
    free(path);
    return ok;
}

static bool read_config(tokenizer *t, const char *dir, err *e)
{
    const char name[] = "tokenizer_config.json";
    path_kind kind;
    return path_find_in(dir, name, &kind, e) &&
           (kind == PATH_NOTHING || read_file(t, dir, name, read_bos, e));
}

bool tokenizer_open(tokenizer **out, const char *dir, err *e)
{
    *out = NULL;
    tokenizer *t = mem_new(1, sizeof *t, "a tokenizer", e);
    if (!t)
        return false;
    t->top = t->bos = -1;
    if (!read_file(t, dir, "tokenizer.json", read_parts, e) || !read_config(t, dir, e)) {
        tokenizer_close(t);
        return false;
    }
    *out = t;
    return true;
}

void tokenizer_close(tokenizer *t)
{
    if (!t)
        return;
    added_close(t->added);
    strmap_free(&t->added_ids);
    pretokenizer_close(t->pre);
    bpe_close(t->model);
    strbuf_free(&t->normal[0]);
    strbuf_free(&t->normal[1]);
    free(t);
}

typedef struct {
    tokenizer *t;
    id_list ids;
} encoding;

static bool take_piece(void *to, const char *piece, size_t len, err *e)
{
    encoding *c = to;
    return bpe_encode(c->t->model, piece, len, &c->ids, e);
}

// A part of the normalised text.
static bool take_normal(void *to, const char *text, size_t len, int32_t id, err *e)
{
    encoding *c = to;
    if (id >= 0)
        return id_list_add(&c->ids, &id, 1, e);
    return pretokenize(c->t->pre, text, len, take_piece, c, e);
}

// A part of the text as it came.
static bool take_raw(void *to, const char *text, size_t len, int32_t id, err *e)
{
    encoding *c = to;
    if (id >= 0)
        return id_list_add(&c->ids, &id, 1, e);
    return normalize(c->t, &text, &len, e) &&
           added_cut(c->t->added, true, text, len, take_normal, c, e);
}

static bool check_utf8(const char *text, size_t len, err *e)
{
    for (size_t at = 0; at < len;) {
        uint32_t code;
        int n = utf8_decode(text + at, len - at, &code);
        if (n == 0)
            return err_set(e, ERR_INPUT, "the text is not UTF-8 at byte %zu (0x%02x)", at,
                           (unsigned char)text[at]);
        at += (size_t)n;
    }
    return true;
}

bool tokenizer_encode(tokenizer *t, const char *text, size_t len, int32_t **ids, int64_t *n,
                      err *e)
{
    encoding c = {.t = t};
    *ids = NULL;
    *n = 0;
    // An empty list is a list, too: *ids is never NULL.
    bool ok = mem_grow((void **)&c.ids.v, &c.ids.cap, 1 + len / 4, sizeof *c.ids.v, "token ids",
                       e) &&
              check_utf8(text, len, e) &&
              added_cut(t->added, false, text, len, take_raw, &c, e);
    if (!ok) {
        free(c.ids.v);
        return false;
    }
    *ids = c.ids.v;
    *n = (int64_t)c.ids.n;
    return true;
}

int64_t tokenizer_vocab(const tokenizer *t) { return (int64_t)t->top + 1; }
int32_t tokenizer_bos(const tokenizer *t) { return t->bos; }
