// SPDX-License-Identifier: Apache-2.0
// A unit's note is {"note":1,"records":"hex","sources":"hex","changed":[[tensor,values], ...]} with
// digests one behind the other: XXH3-128 of the records, and of the source tensors in the
// order of unit_sources, all zeros for a stack that the unit did not read whole; `changed` by the
// unit's own tensors, increasing. Where a loss was measured an entry is [tensor, blocks, squared
// error, squared values, largest difference].
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/run_parts.h"

enum { NOTE_VERSION = 1 };

// ---- writing ---------------------------------------------------------------------------------

typedef struct {
    const checkpoint *source;
    const run_result *from;
    strbuf *hex;
    run_result *to;          // reading: out of bytes, `at` counts
    const xxh128_digest *bytes;
    uint64_t at;
} source_list;

static bool write_source(void *ctx, const tensor *t)
{
    const source_list *l = ctx;
    static const xxh128_digest unknown;
    char hex[33];
    int64_t i = checkpoint_index(l->source, t);
    strbuf_puts(l->hex, hex_of(l->from->read[i] ? l->from->source[i].b : unknown.b, 16, hex));
    return true;
}

bool note_write(const plan *p, int64_t file, const run_result *r, strbuf *out, err *e)
{
    const plan_file *f = &p->file[file];
    char hex[33];
    strbuf text = {0};
    source_list list = {.source = p->source, .from = r, .hex = &text};
    json_writer w = {.out = out};
    jw_object(&w, NULL);
    jw_int(&w, "note", NOTE_VERSION);
    for (int64_t i = 0; f->holds_experts && i < f->records.n_experts; i++)
        strbuf_puts(&text, hex_of(r->record[file][i].b, 16, hex));
    jw_text(&w, "records", text.len ? text.text : "");
    strbuf_clear(&text);
    (void)unit_sources(p, file, write_source, &list);
    jw_text(&w, "sources", text.len ? text.text : "");
    jw_array(&w, "changed");
    for (int64_t i = 0; i < f->n; i++) {
        const run_loss *loss = &r->loss[f->first + i];
        if (!r->changed[f->first + i] && loss->signal == 0)
            continue;
        jw_array(&w, NULL);
        jw_int(&w, NULL, i);
        jw_int(&w, NULL, r->changed[f->first + i]);
        if (p->options.lossy) {
            jw_double(&w, NULL, loss->error);
            jw_double(&w, NULL, loss->signal);
            jw_double(&w, NULL, (double)loss->largest);
        }
        jw_array_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    bool ok = strbuf_ok(&text, e) && strbuf_ok(out, e);
    strbuf_free(&text);
    return ok;
}

// ---- reading ---------------------------------------------------------------------------------

static bool count_source(void *ctx, const tensor *t)
{
    (void)t;
    ++*(uint64_t *)ctx;
    return true;
}

static bool take_source(void *ctx, const tensor *t)
{
    source_list *l = ctx;
    static const xxh128_digest unknown;
    int64_t i = checkpoint_index(l->source, t);
    const xxh128_digest *one = &l->bytes[l->at++];
    if (memcmp(one, &unknown, sizeof unknown) == 0)
        return true;
    l->to->source[i] = *one;
    l->to->read[i] = true;
    return true;
}

// n digests of `size` bytes; *bytes is NULL where the text is something else.
static bool read_hex(const json *j, uint64_t n, size_t size, void **bytes, err *e)
{
    const char *text = json_as_text(j);
    *bytes = NULL;
    if (!text || strlen(text) != 2 * n * size)
        return true;
    *bytes = mem_new(n, size, "a note", e);
    if (!*bytes)
        return false;
    if (hex_to(text, *bytes, n * size))
        return true;
    free(*bytes);
    *bytes = NULL;
    return true;
}

static bool read_loss(const json *j, run_loss *to)
{
    double largest;
    if (!json_as_double(j, &to->error) || !json_as_double(j = json_next(j), &to->signal) ||
        !json_as_double(json_next(j), &largest))
        return false;
    to->largest = (float)largest;
    return to->error >= 0 && to->signal >= 0 && largest >= 0 && largest <= FLT_MAX;
}

// With `to` NULL only looks whether the list is one.
static bool read_changed(const json *list, const plan *p, const plan_file *f, run_result *to)
{
    bool lossy = p->options.lossy;
    int64_t before = -1;
    if (!list || json_type(list) != JSON_ARRAY)
        return false;
    for (const json *j = json_first(list); j; j = json_next(j)) {
        int64_t i, n;
        run_loss loss = {0};
        const json *first = json_first(j);
        if (json_type(j) != JSON_ARRAY || json_len(j) != (lossy ? 5 : 2) ||
            !json_as_int(first, &i) || !json_as_int(json_next(first), &n) || i <= before ||
            i >= f->n || n < !lossy || (lossy && !read_loss(json_next(json_next(first)), &loss)))
            return false;
        if (to) {
            to->changed[f->first + i] = n;
            to->loss[f->first + i] = loss;
        }
        before = i;
    }
    return true;
}

static bool read_members(const plan *p, int64_t file, const json *root, run_result *r,
                         bool *known, err *e)
{
    const plan_file *f = &p->file[file];
    uint64_t records = f->holds_experts ? (uint64_t)f->records.n_experts : 0, sources = 0;
    void *record = NULL, *source = NULL;
    int64_t version;
    (void)unit_sources(p, file, count_source, &sources);
    bool ok = read_hex(json_get(root, "records"), records, 16, &record, e) &&
              read_hex(json_get(root, "sources"), sources, 16, &source, e);
    *known = ok && record && source && json_type(root) == JSON_OBJECT && json_len(root) == 4 &&
             json_as_int(json_get(root, "note"), &version) && version == NOTE_VERSION &&
             read_changed(json_get(root, "changed"), p, f, NULL);
    if (*known) {
        source_list list = {.source = p->source, .to = r, .bytes = source};
        if (records)
            memcpy(r->record[file], record, records * sizeof(xxh128_digest));
        (void)unit_sources(p, file, take_source, &list);
        memset(r->changed + f->first, 0, (size_t)f->n * sizeof *r->changed);
        memset(r->loss + f->first, 0, (size_t)f->n * sizeof *r->loss);
        (void)read_changed(json_get(root, "changed"), p, f, r);
    }
    free(record);
    free(source);
    return ok;
}

bool note_read(const plan *p, int64_t file, const char *text, run_result *r, bool *known, err *e)
{
    json *root = NULL;
    err bad = ERR_INIT;
    *known = false;
    if (!text)
        return true;
    if (!json_parse(&root, text, strlen(text), "a note", &bad)) {
        if (bad.kind != ERR_ENV)
            return true;
        *e = bad;
        return false;
    }
    bool ok = read_members(p, file, root, r, known, e);
    json_free(root);
    return ok;
}
