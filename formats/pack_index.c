// SPDX-License-Identifier: Apache-2.0
#include "formats/pack_index.h"

#include <string.h>

enum { HEADER = 96 };

static void put_u32(strbuf *out, uint64_t v)
{
    uint32_t narrow = (uint32_t)v;
    strbuf_add(out, &narrow, sizeof narrow);
}

static void put_u64(strbuf *out, uint64_t v) { strbuf_add(out, &v, sizeof v); }

// A text into the string region; its place into the table.
static void put_text(strbuf *table, strbuf *strings, const char *text)
{
    put_u32(table, strings->len);
    put_u32(table, strlen(text));
    strbuf_puts(strings, text);
}

static bool consistent(const pack_index *p, err *e)
{
    for (int64_t i = 0; i < p->n_layers; i++) {
        const pack_index_layer *l = &p->layer[i];
        uint64_t inside = 0;
        for (int64_t c = 0; c < l->n_components; c++)
            inside += l->component[c].in_record ? l->component[c].bytes : 0;
        if (l->file < 0 || l->file >= p->n_files || l->n_experts < 1 || !l->digest ||
            inside != l->record_bytes || (i > 0 && l->layer <= p->layer[i - 1].layer))
            return err_set(e, ERR_INTERNAL, "experts.idx: layer %lld is described inconsistently",
                           (long long)l->layer);
    }
    return true;
}

static void put_files(const pack_index *p, strbuf *body, strbuf *strings)
{
    for (int64_t i = 0; i < p->n_files; i++) {
        put_text(body, strings, p->file[i].name);
        put_u64(body, p->file[i].bytes);
        put_u64(body, p->file[i].data_start);
        strbuf_add(body, p->file[i].header.b, sizeof p->file[i].header.b);
        put_u64(body, 0);
    }
}

static void put_layers(const pack_index *p, strbuf *body)
{
    uint64_t component = 0, record = 0;
    for (int64_t i = 0; i < p->n_layers; i++) {
        const pack_index_layer *l = &p->layer[i];
        put_u32(body, (uint64_t)l->layer);
        put_u32(body, (uint64_t)l->file);
        put_u32(body, (uint64_t)l->n_experts);
        put_u32(body, (uint64_t)l->n_components);
        put_u32(body, component);
        put_u32(body, 0);
        put_u64(body, record);
        put_u64(body, l->first_record);
        put_u64(body, l->record_bytes);
        put_u64(body, 0);
        component += (uint64_t)l->n_components;
        record += (uint64_t)l->n_experts;
    }
}

static void put_component(const pack_index_component *c, strbuf *body, strbuf *strings)
{
    put_u32(body, c->projection);
    put_u32(body, c->in_record);
    put_text(body, strings, c->suffix);
    put_text(body, strings, dtype_name(c->type));
    put_u32(body, (uint64_t)c->rank);
    put_u32(body, 0);
    put_u64(body, c->rank ? (uint64_t)c->shape[0] : 0);
    put_u64(body, c->rank == 2 ? (uint64_t)c->shape[1] : 0);
    put_u64(body, c->offset);
    put_u64(body, c->stride);
    put_u64(body, c->bytes);
}

static void put_records(const pack_index *p, strbuf *body)
{
    for (int64_t i = 0; i < p->n_layers; i++) {
        const pack_index_layer *l = &p->layer[i];
        for (int64_t x = 0; x < l->n_experts; x++) {
            put_u64(body, l->first_record + (uint64_t)x * l->record_bytes);
            put_u64(body, l->record_bytes);
            strbuf_add(body, l->digest[x].b, sizeof l->digest[x].b);
        }
    }
}

static void put_header(const pack_index *p, const strbuf *body, uint64_t strings, strbuf *out)
{
    size_t start = out->len;
    uint64_t components = 0, records = 0;
    xxh128_digest sum;
    for (int64_t i = 0; i < p->n_layers; i++) {
        components += (uint64_t)p->layer[i].n_components;
        records += (uint64_t)p->layer[i].n_experts;
    }
    strbuf_add(out, "SCRUPLEX", 8);
    put_u32(out, 1);
    put_u32(out, HEADER);
    put_u64(out, HEADER + body->len);
    put_u64(out, p->page);
    put_u32(out, (uint64_t)p->n_files);
    put_u32(out, (uint64_t)p->n_layers);
    put_u32(out, components);
    put_u32(out, 0);
    put_u64(out, records);
    put_u64(out, strings);
    xxh128_of(body->text, body->len, &sum);
    strbuf_add(out, sum.b, sizeof sum.b);
    if (out->failed)
        return;
    xxh128_of(out->text + start, out->len - start, &sum);
    strbuf_add(out, sum.b, sizeof sum.b);
}

bool pack_index_write(strbuf *out, const pack_index *p, err *e)
{
    strbuf body = {0}, strings = {0};
    if (!consistent(p, e))
        return false;
    put_files(p, &body, &strings);
    put_layers(p, &body);
    for (int64_t i = 0; i < p->n_layers; i++)
        for (int64_t c = 0; c < p->layer[i].n_components; c++)
            put_component(&p->layer[i].component[c], &body, &strings);
    put_records(p, &body);
    strbuf_add(&body, strings.text, strings.len);
    bool ok = strbuf_ok(&strings, e) && strbuf_ok(&body, e);
    if (ok) {
        put_header(p, &body, strings.len, out);
        strbuf_add(out, body.text, body.len);
        ok = strbuf_ok(out, e);
    }
    strbuf_free(&body);
    strbuf_free(&strings);
    return ok;
}
