// SPDX-License-Identifier: Apache-2.0
#include "cli/show_gguf.h"

#include <stdio.h>

#include "base/bytes.h"
#include "base/json.h"
#include "cli/table.h"

typedef struct {
    int64_t tensors;
    uint64_t elements, bytes; // of a hostile file's tensors they may pass 2^64 and begin anew
} type_row;

typedef struct {
    const checkpoint *c;
    const gguf_header *h;
    const char *architecture, *name; // may be NULL
    type_row row[DT_COUNT], all;
    uint64_t file_bytes;
} facts;

// Behind "<architecture>.": what says how large a model is.
static const struct {
    const char *label, *key;
} counts[] = {
    {"layers", "block_count"},
    {"hidden", "embedding_length"},
    {"vocabulary", "vocab_size"},
    {"context", "context_length"},
    {"heads", "attention.head_count"},
    {"experts", "expert_count"},
    {"a token", "expert_used_count"},
    {"width", "expert_feed_forward_length"},
    {"dense", "feed_forward_length"},
};

static bool architecture_value(const facts *f, const char *key, uint64_t *value)
{
    char name[256];
    if (!f->architecture)
        return false;
    int n = snprintf(name, sizeof name, "%s.%s", f->architecture, key);
    return n > 0 && (size_t)n < sizeof name && gguf_as_u64(gguf_find(f->h, name), value);
}

static void collect(facts *f)
{
    f->h = checkpoint_gguf(f->c);
    f->architecture = gguf_as_text(gguf_find(f->h, "general.architecture"));
    f->name = gguf_as_text(gguf_find(f->h, "general.name"));
    for (int64_t i = 0; i < checkpoint_count(f->c); i++) {
        const tensor *t = checkpoint_at(f->c, i);
        type_row *both[] = {&f->row[t->type], &f->all};
        for (int k = 0; k < 2; k++) {
            both[k]->tensors++;
            both[k]->elements += (uint64_t)t->n_elements;
            both[k]->bytes += t->bytes;
        }
    }
    for (int i = 0; i < checkpoint_n_files(f->c); i++)
        f->file_bytes += checkpoint_file(f->c, i)->size;
}

static double bits(const type_row *r)
{
    return r->elements ? (double)r->bytes * 8 / (double)r->elements : 0;
}

// ---- text ------------------------------------------------------------------------------------

static void add_line(strbuf *out, const char *label, const char *text)
{
    strbuf_printf(out, "%-12s", label);
    print_safe(out, text);
    strbuf_puts(out, "\n");
}

static void add_types(const facts *f, strbuf *out)
{
    static const char *const head[] = {"type", "tensors", "elements", "bytes", "bits an element"};
    table t;
    char human[24];
    table_init(&t, "lrrrr");
    for (size_t i = 0; i < COUNT_OF(head); i++)
        table_text(&t, head[i]);
    for (int i = 0; i < DT_COUNT; i++) {
        const type_row *r = &f->row[i];
        if (r->tensors == 0)
            continue;
        table_text(&t, dtype_name((dtype)i));
        table_printf(&t, "%lld", (long long)r->tensors);
        table_printf(&t, "%llu", (unsigned long long)r->elements);
        table_text(&t, str_human_bytes(r->bytes, human));
        table_printf(&t, "%.3f", bits(r));
    }
    strbuf_puts(out, "\n");
    table_end(&t, 0, out);
}

static void as_text(const facts *f, strbuf *out)
{
    char human[24];
    uint64_t value;
    if (f->architecture)
        add_line(out, "family", f->architecture);
    if (f->name)
        add_line(out, "name", f->name);
    if (gguf_as_u64(gguf_find(f->h, "general.file_type"), &value)) {
        const char *name = gguf_file_type_name(value);
        strbuf_printf(out, "file type   %s (%llu)\n", name ? name : "unknown",
                      (unsigned long long)value);
    }
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        if (architecture_value(f, counts[i].key, &value))
            strbuf_printf(out, "%-12s%llu\n", counts[i].label, (unsigned long long)value);
    strbuf_printf(out, "container   GGUF version %u, %lld key-values, alignment %llu\n",
                  f->h->version, (long long)f->h->n_values, (unsigned long long)f->h->alignment);
    add_types(f, out);
    strbuf_printf(out, "\nfiles       %d, %s\n", checkpoint_n_files(f->c),
                  str_human_bytes(f->file_bytes, human));
    strbuf_printf(out, "tensors     %lld, %llu elements, %.3f bits an element\n",
                  (long long)f->all.tensors, (unsigned long long)f->all.elements, bits(&f->all));
}

// ---- JSON ------------------------------------------------------------------------------------

static int64_t signed_of(const gguf_value *v)
{
    uint64_t bits = 0;
    memcpy(&bits, v->bytes, v->size);
    int shift = 64 - 8 * (int)v->size;
    return (int64_t)(bits << shift) >> shift;
}

static void value_json(const gguf_value *v, json_writer *w)
{
    char digits[24];
    uint64_t natural;
    if (v->is_array) {
        jw_object(w, v->key);
        jw_text(w, "array", gguf_type_name(v->type));
        jw_int(w, "length", (int64_t)v->n);
        jw_object_end(w);
    } else if (gguf_as_u64(v, &natural)) {
        jw_raw(w, v->key, str_decimal(natural, digits));
    } else if (v->type == GGUF_TEXT) {
        jw_text(w, v->key, gguf_as_text(v));
    } else if (v->type == GGUF_BOOL) {
        jw_bool(w, v->key, *(const unsigned char *)v->bytes != 0);
    } else if (v->type == GGUF_F32) {
        jw_double(w, v->key, (double)load_f32(v->bytes));
    } else if (v->type == GGUF_F64) {
        jw_double(w, v->key, load_f64(v->bytes));
    } else {
        jw_int(w, v->key, signed_of(v));
    }
}

static void as_json(const facts *f, strbuf *out)
{
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "container", "gguf");
    jw_int(&w, "gguf_version", f->h->version);
    jw_int(&w, "alignment", (int64_t)f->h->alignment);
    jw_text(&w, "architecture", f->architecture);
    jw_int(&w, "files", checkpoint_n_files(f->c));
    jw_int(&w, "file_bytes", (int64_t)f->file_bytes);
    jw_int(&w, "tensor_bytes", (int64_t)f->all.bytes);
    jw_int(&w, "tensors", f->all.tensors);
    jw_int(&w, "elements", (int64_t)f->all.elements);
    jw_array(&w, "types");
    for (int i = 0; i < DT_COUNT; i++) {
        const type_row *r = &f->row[i];
        if (r->tensors == 0)
            continue;
        jw_object(&w, NULL);
        jw_text(&w, "type", dtype_name((dtype)i));
        jw_int(&w, "tensors", r->tensors);
        jw_int(&w, "elements", (int64_t)r->elements);
        jw_int(&w, "bytes", (int64_t)r->bytes);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object(&w, "key_values");
    for (int64_t i = 0; i < f->h->n_values; i++)
        value_json(&f->h->value[i], &w);
    jw_object_end(&w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

bool show_gguf(const context *ctx, const checkpoint *c, err *e)
{
    facts f = {.c = c};
    strbuf out = {0};
    collect(&f);
    (ctx->json ? as_json : as_text)(&f, &out);
    bool ok = print_out(&out, e);
    strbuf_free(&out);
    return ok;
}
