// SPDX-License-Identifier: Apache-2.0
#include "formats/shards.h"

#include <stdlib.h>
#include <string.h>

#include "base/jsonscan.h"

enum { INDEX_DEPTH = 4 };

typedef struct {
    shard_index *x;
    jsonscan js;
    strmap shards; // file name -> number, in order of appearance
    uint64_t cap_shards;
    bool has_metadata, has_map;
} reader;

static bool is_word(const jsonscan *s, const char *word)
{
    return s->value_len == strlen(word) && memcmp(s->value, word, s->value_len) == 0;
}

static const char *name_of(const void *ctx, int64_t i)
{
    const shard_index *x = ctx;
    return x->texts.text + x->entry[i].name;
}

static bool read_metadata(reader *r, err *e)
{
    jsonscan *s = &r->js;
    bool had = false;
    if (!js_expect(s, JS_OBJECT, "an object", e))
        return err_in(e, "metadata");
    for (;;) {
        if (!js_next(s, e))
            return false;
        if (s->kind == JS_OBJECT_END)
            return true;
        bool total = is_word(s, "total_size");
        if (total && had)
            return err_set(e, ERR_INPUT, "metadata: total_size is there twice");
        had = had || total;
        if (!js_skip(s, e))
            return false;
        if (total && s->kind == JS_NUMBER)
            r->x->has_total = js_u64(s, &r->x->total_size);
    }
}

// The shard's number; -1 with a sentence.
static int shard_number(reader *r, err *e)
{
    jsonscan *s = &r->js;
    shard_index *x = r->x;
    char buf[STR_SHORT];
    bool fresh;
    if (strlen(s->value) != s->value_len) {
        err_set(e, ERR_INPUT, "a NUL byte in the shard's name");
        return -1;
    }
    int64_t known = strmap_get(&r->shards, s->value, s->value_len);
    if (known >= 0)
        return (int)known;
    if (name_refusal(s->value)) {
        err_set(e, ERR_INPUT, "it is said to be in '%s', and that name is refused: %s, and only "
                "plain names inside the folder are followed", str_short(s->value, buf),
                name_refusal(s->value));
        return -1;
    }
    if (!str_ends(s->value, ".safetensors")) {
        err_set(e, ERR_INPUT, "it is said to be in '%s', which is no .safetensors file",
                str_short(s->value, buf));
        return -1;
    }
    const char *name = arena_text(&x->a, s->value, s->value_len, e);
    if (!name || !strmap_put(&r->shards, s->value, s->value_len, x->n_shards, &fresh, e) ||
        !mem_grow((void **)&x->shard, &r->cap_shards, (uint64_t)x->n_shards + 1,
                  sizeof *x->shard, "the shards' names", e))
        return -1;
    x->shard[x->n_shards] = name;
    return x->n_shards++;
}

// Takes the last key as the name of a tensor, which is then entry number n_entries.
static bool read_name(reader *r, err *e)
{
    const jsonscan *s = &r->js;
    shard_index *x = r->x;
    char buf[STR_SHORT];
    if (x->n_entries == SHARD_INDEX_MAX_TENSORS)
        return err_set(e, ERR_INPUT, "weight_map has more than %d tensors",
                       SHARD_INDEX_MAX_TENSORS);
    if (s->value_len > ST_MAX_NAME || strlen(s->value) != s->value_len)
        return err_set(e, ERR_INPUT, "weight_map: '%s' is no tensor's name: it has %zu bytes, %s",
                       str_short(s->value, buf), s->value_len,
                       s->value_len > ST_MAX_NAME ? "and the limit is 1024"
                                                  : "and a NUL among them");
    if (!mem_grow((void **)&x->entry, &x->cap_entries, (uint64_t)x->n_entries + 1,
                  sizeof *x->entry, "the index", e))
        return false;
    x->entry[x->n_entries] = (shard_entry){.name = (uint32_t)x->texts.len};
    strbuf_add(&x->texts, s->value, s->value_len + 1);
    return strbuf_ok(&x->texts, e);
}

static bool read_map(reader *r, err *e)
{
    shard_index *x = r->x;
    char buf[STR_SHORT];
    int64_t twice;
    if (!js_expect(&r->js, JS_OBJECT, "an object", e))
        return err_in(e, "weight_map");
    for (;;) {
        if (!js_next(&r->js, e))
            return false;
        if (r->js.kind == JS_OBJECT_END)
            break;
        if (!read_name(r, e))
            return false;
        shard_entry *entry = &x->entry[x->n_entries];
        if (!js_expect(&r->js, JS_STRING, "the name of a shard", e) ||
            (entry->shard = shard_number(r, e)) < 0)
            return err_in(e, "weight_map: tensor '%s'",
                          str_short(x->texts.text + entry->name, buf));
        x->n_entries++;
    }
    if (!name_index_build(&x->names, x, x->n_entries, name_of, &twice, e))
        return false;
    return twice < 0 || err_set(e, ERR_INPUT, "weight_map: tensor '%s' is there twice",
                                str_short(name_of(x, twice), buf));
}

static bool read_index(reader *r, err *e)
{
    jsonscan *s = &r->js;
    if (!js_expect(s, JS_OBJECT, "an object with a weight_map", e))
        return false;
    for (;;) {
        bool ok;
        if (!js_next(s, e))
            return false;
        if (s->kind == JS_OBJECT_END)
            break;
        bool map = is_word(s, "weight_map"), metadata = is_word(s, "metadata");
        if ((map && r->has_map) || (metadata && r->has_metadata))
            return err_set(e, ERR_INPUT, "%s is there twice", map ? "weight_map" : "metadata");
        r->has_map = r->has_map || map;
        r->has_metadata = r->has_metadata || metadata;
        ok = map ? read_map(r, e) : metadata ? read_metadata(r, e) : js_skip(s, e);
        if (!ok)
            return false;
    }
    if (!js_expect(s, JS_END, "nothing behind the object", e))
        return false;
    if (!r->has_map)
        return err_set(e, ERR_INPUT, "weight_map is missing");
    return r->x->n_entries > 0 || err_set(e, ERR_INPUT, "weight_map names no tensor");
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Numbers follow the names' order from here on, whatever order the index has.
static bool sort_shards(reader *r, err *e)
{
    shard_index *x = r->x;
    int *number = mem_new((uint64_t)x->n_shards, sizeof *number, "the shards' names", e);
    if (!number)
        return false;
    qsort(x->shard, (size_t)x->n_shards, sizeof *x->shard, compare_names);
    for (int i = 0; i < x->n_shards; i++)
        number[strmap_get(&r->shards, x->shard[i], strlen(x->shard[i]))] = i;
    for (int64_t i = 0; i < x->n_entries; i++)
        x->entry[i].shard = number[x->entry[i].shard];
    free(number);
    return true;
}

bool shard_index_parse(shard_index *x, const char *text, size_t len, err *e)
{
    reader r = {.x = x};
    *x = (shard_index){0};
    if (len > SHARD_INDEX_MAX_BYTES)
        return err_set(e, ERR_INPUT, "an index of %zu bytes: the limit is %d", len,
                       SHARD_INDEX_MAX_BYTES);
    js_init(&r.js, text, len, INDEX_DEPTH);
    bool ok = read_index(&r, e) && sort_shards(&r, e);
    js_free(&r.js);
    strmap_free(&r.shards);
    if (!ok)
        shard_index_free(x);
    return ok;
}

void shard_index_free(shard_index *x)
{
    free(x->shard);
    free(x->entry);
    strbuf_free(&x->texts);
    name_index_free(&x->names);
    arena_free(&x->a);
    *x = (shard_index){0};
}

bool shard_index_meets(shard_index *x, const char *name, int shard, err *e)
{
    char buf[STR_SHORT], here[STR_SHORT], there[STR_SHORT];
    int64_t i = name_index_find(&x->names, x, name_of, name);
    if (i < 0)
        return err_set(e, ERR_INPUT, "tensor '%s' is in shard '%s', and the index does not name it",
                       str_short(name, buf), str_short(x->shard[shard], here));
    if (x->entry[i].shard != shard && x->entry[i].seen)
        return err_set(e, ERR_INPUT, "tensor '%s' is in two shards, '%s' and '%s'",
                       str_short(name, buf), str_short(x->shard[x->entry[i].shard], there),
                       str_short(x->shard[shard], here));
    if (x->entry[i].shard != shard)
        return err_set(e, ERR_INPUT, "tensor '%s' is in shard '%s', the index says '%s'",
                       str_short(name, buf), str_short(x->shard[shard], here),
                       str_short(x->shard[x->entry[i].shard], there));
    x->entry[i].seen = true;
    return true;
}

bool shard_index_all_met(const shard_index *x, err *e)
{
    char buf[STR_SHORT], name[STR_SHORT];
    for (int64_t i = 0; i < x->n_entries; i++)
        if (!x->entry[i].seen)
            return err_set(e, ERR_INPUT,
                           "the index says that tensor '%s' is in shard '%s', which does not hold "
                           "it", str_short(name_of(x, i), buf),
                           str_short(x->shard[x->entry[i].shard], name));
    return true;
}

int64_t shard_index_expects(const shard_index *x, int shard)
{
    int64_t n = 0;
    for (int64_t i = 0; i < x->n_entries; i++)
        n += x->entry[i].shard == shard;
    return n;
}
