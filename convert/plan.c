// SPDX-License-Identifier: Apache-2.0
#include "convert/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "convert/decide.h"
#include "convert/layout.h"
#include "convert/plan_gguf.h"

// ---- which tensors there will be -------------------------------------------------------------

static plan_tensor *new_tensor(plan *p, uint64_t *cap, err *e)
{
    if (!mem_grow((void **)&p->tensor, cap, (uint64_t)p->n_tensors + 1, sizeof *p->tensor,
                  "the plan", e))
        return NULL;
    plan_tensor *t = &p->tensor[p->n_tensors++];
    *t = (plan_tensor){.layer = -1, .expert = -1};
    return t;
}

static void take_account(plan_tensor *t, const tensor_account *a)
{
    if (!a || !a->used)
        return;
    t->owned = true;
    t->role = a->role;
    t->layer = a->layer;
    t->expert = a->expert;
    t->part = a->part;
}

static bool add_coded(plan *p, uint64_t *cap, const tensor_account *a, const decision *d, err *e)
{
    const weight *w = a->weight;
    const codec *c = d->codec;
    for (int part = 0; part < codec_written(c); part++) {
        plan_tensor *t = new_tensor(p, cap, e);
        if (!t)
            return false;
        take_account(t, a);
        t->source = w;
        t->codec = c;
        t->search = d->search;
        t->positive_scales = d->positive_scales;
        t->part = part;
        strbuf name = {0};
        strbuf_printf(&name, "%s.%s", w->module, c->part[part].suffix);
        t->to.name = strbuf_ok(&name, e) ? arena_text(&p->names, name.text, name.len, e) : NULL;
        strbuf_free(&name);
        if (!t->to.name)
            return false;
        t->to.type = codec_written_type(c, part, d->search, weight_plain_type(w));
        int64_t shape[2];
        t->to.rank = codec_part_shape(c, part, w->out, w->in, shape);
        memcpy(t->to.shape, shape, sizeof shape);
        t->to.n_elements = t->to.rank == 2 ? shape[0] * shape[1] : shape[0];
        t->to.bytes = codec_part_bytes(c, part, w->out, w->in);
    }
    return true;
}

// Of a tensor without a role: what it becomes; NULL in *codec: it is moved.
static bool decode_alone(const plan *p, const tensor *t, const codec **from, const codec **to,
                         err *e)
{
    char name[STR_SHORT];
    bool matrix = t->rank > 1 || dtype_is_block(t->type);
    *from = codec_of_type(t->type);
    *to = NULL;
    if (!*from && dtype_is_block(t->type))
        return err_set(e, ERR_INPUT, "tensor '%s' has type %s, which this version does not decode",
                       str_short(t->name, name), dtype_name(t->type));
    if (*from && matrix && *from != p->options.codec)
        *to = p->options.codec;
    return true;
}

// A tensor of its own type, whatever its rank: rows are its last dimension. One without elements
// only changes its type.
static bool add_alone(plan *p, plan_tensor *t, const codec *from, const codec *to, err *e)
{
    t->to.type = to->part[0].type;
    if (t->from->n_elements == 0)
        return true;
    weight *w = arena_new(&p->names, 1, sizeof *w, e);
    if (!w)
        return false;
    int64_t in = t->from->rank ? t->from->shape[t->from->rank - 1] : 1;
    *w = (weight){.from = p->source, .module = t->from->name, .codec = from,
                  .out = t->from->n_elements / in, .in = in, .n_parts = 1, .part = {t->from}};
    t->source = w;
    t->codec = to;
    t->search = SEARCH_BEST;
    t->from = NULL;
    t->to.bytes = codec_part_bytes(to, 0, w->out, w->in);
    return true;
}

static bool collect_tensors(plan *p, const decision *decided, err *e)
{
    uint64_t cap = 0;
    for (int64_t i = 0; i < checkpoint_count(p->source); i++) {
        const tensor_account *a = p->model ? model_account(p->model, i) : NULL;
        const codec *from = NULL, *to = NULL;
        if (decided && decided[i].codec) {
            // The weight's other stored parts make no tensors of their own.
            if (a->part == 0 && !add_coded(p, &cap, a, &decided[i], e))
                return false;
            continue;
        }
        plan_tensor *t = new_tensor(p, &cap, e);
        if (!t)
            return false;
        take_account(t, a);
        t->from = checkpoint_at(p->source, i);
        t->to = *t->from;
        if (!p->model && p->options.codec && !decode_alone(p, t->from, &from, &to, e))
            return false;
        if (to && !add_alone(p, t, from, to, e))
            return false;
    }
    return true;
}

static bool choose_tensors(plan *p, err *e)
{
    decision *decided = NULL;
    bool ok = !p->model || (p->options.scope == SCOPE_NONE && !p->options.rules) ||
              decide(&p->options, p->source, p->model, &decided, e);
    ok = ok && collect_tensors(p, decided, e);
    free(decided);
    return ok;
}

// ---- names of shards, headers, identity ------------------------------------------------------

static bool name_files(plan *p, err *e)
{
    const char *ending = p->options.layout == LAYOUT_GGUF ? "gguf" : "safetensors";
    for (int64_t f = 0; f < p->n_files; f++) {
        strbuf name = {0};
        if (p->n_files == 1)
            strbuf_printf(&name, "model.%s", ending);
        else
            strbuf_printf(&name, "model-%05lld-of-%05lld.%s", (long long)f + 1,
                          (long long)p->n_files, ending);
        p->file[f].name = strbuf_ok(&name, e) ? arena_text(&p->names, name.text, name.len, e)
                                              : NULL;
        strbuf_free(&name);
        if (!p->file[f].name)
            return false;
    }
    return true;
}

static void describe_components(const plan_file *f, strbuf *out)
{
    static const char *const projections[] = {"gate", "up", "down"};
    for (int64_t i = 0; i < f->records.n_components; i++)
        if (f->records.component[i].in_record)
            strbuf_printf(out, "%s%s.%s", out->len ? "," : "",
                          projections[f->records.component[i].projection],
                          f->records.component[i].suffix);
}

// The metadata of an expert shard is a hint for readers; experts.idx and the offsets are the fact.
static bool write_one_header(plan *p, plan_file *f, tensor *list, err *e)
{
    strbuf number[4] = {0}, components = {0};
    st_pair pairs[7] = {{"format", "pt"}};
    int64_t n_pairs = 1;
    bool ok = false;
    if (f->holds_experts) {
        strbuf_printf(&number[0], "%lld", (long long)f->records.layer);
        strbuf_printf(&number[1], "%lld", (long long)f->records.n_experts);
        strbuf_printf(&number[2], "%llu", (unsigned long long)f->records.record_bytes);
        strbuf_printf(&number[3], "%llu", (unsigned long long)p->options.page);
        describe_components(f, &components);
        strbuf_puts(&components, "");
        for (int i = 0; i < 4; i++)
            if (!strbuf_ok(&number[i], e))
                goto out;
        if (!strbuf_ok(&components, e))
            goto out;
        pairs[n_pairs++] = (st_pair){"moe.layout", "expert-record-1"};
        pairs[n_pairs++] = (st_pair){"moe.layer", number[0].text};
        pairs[n_pairs++] = (st_pair){"moe.num_experts", number[1].text};
        pairs[n_pairs++] = (st_pair){"moe.record_bytes", number[2].text};
        pairs[n_pairs++] = (st_pair){"moe.page", number[3].text};
        pairs[n_pairs++] = (st_pair){"moe.components", components.text};
    }
    for (int64_t i = 0; i < f->n; i++)
        list[i] = p->tensor[f->first + i].to;
    uint64_t align = p->options.layout == LAYOUT_EXPERTS ? p->options.page : 8;
    if (!st_write_header(&f->header, list, f->n, pairs, n_pairs, align, e))
        goto out;
    f->bytes = f->header.len;
    for (int64_t i = 0; i < f->n; i++) {
        p->tensor[f->first + i].to = list[i];
        f->bytes += list[i].bytes;
    }
    ok = true;
out:
    for (int i = 0; i < 4; i++)
        strbuf_free(&number[i]);
    strbuf_free(&components);
    return ok;
}

static bool write_headers(plan *p, err *e)
{
    int64_t most = 0;
    for (int64_t f = 0; f < p->n_files; f++)
        most = i64_max(most, p->file[f].n);
    tensor *list = mem_new((uint64_t)most, sizeof *list, "the plan's headers", e);
    bool ok = list != NULL;
    for (int64_t f = 0; ok && f < p->n_files; f++) {
        p->file[f].is_gguf = p->options.layout == LAYOUT_GGUF;
        ok = p->file[f].is_gguf ? plan_gguf_header(p, f, list, e)
                                : write_one_header(p, &p->file[f], list, e);
    }
    free(list);
    return ok;
}

// Which part of a coded weight comes first depends on the layout: alignment may put scales in front
// of codes. A weight whose parts lie in two files would start in both.
static bool mark_starts(plan *p, const plan_file *f, err *e)
{
    strmap seen = {0};
    bool ok = true;
    for (int64_t i = f->first; ok && i < f->first + f->n; i++) {
        plan_tensor *t = &p->tensor[i];
        if (t->source)
            ok = strmap_put(&seen, t->source->module, strlen(t->source->module), i, &t->starts, e);
    }
    strmap_free(&seen);
    return ok;
}

static bool mark_and_sum(plan *p, err *e)
{
    for (int64_t f = 0; f < p->n_files; f++)
        if (!mark_starts(p, &p->file[f], e))
            return false;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        p->tensor_bytes += t->to.bytes;
        if (t->owned && role_class_of(t->role) == CLASS_EXPERTS)
            p->expert_bytes += t->to.bytes;
    }
    return true;
}

// Headers say all of names, types, shapes, places and pages; beside them count the way from source
// to output, weight by weight, and the rest of the options.
static bool identify(plan *p, err *e)
{
    strbuf line = {0};
    sha256 *sha = sha256_new(e);
    if (!sha)
        return false;
    strbuf_printf(&line, "scruple %s plan 1\nrecipe %s\n", SCRUPLE_VERSION, p->options.recipe);
    for (int64_t f = 0; f < p->n_files; f++) {
        const plan_file *file = &p->file[f];
        strbuf_printf(&line, "file %s %zu %llu\n", file->name, file->header.len,
                      (unsigned long long)file->bytes);
        strbuf_add(&line, file->header.text, file->header.len);
        for (int64_t i = file->first; i < file->first + file->n; i++) {
            const plan_tensor *t = &p->tensor[i];
            if (t->from)
                strbuf_puts(&line, "moved\n");
            else
                strbuf_printf(&line, "%s<-%s %s%s\n", t->codec->name, t->source->codec->name,
                              recipe_search_name(t->search), t->positive_scales ? " +" : "");
        }
        if (!line.failed)
            sha256_add(sha, line.text, line.len);
        strbuf_clear(&line);
    }
    bool ok = strbuf_ok(&line, e);
    if (ok)
        sha256_end(sha, &p->id);
    else
        sha256_free(sha);
    strbuf_free(&line);
    return ok;
}

bool plan_make(plan *out, const checkpoint *source, const model *m, const plan_options *o, err *e)
{
    plan p = {.options = *o, .source = source, .model = m};
    *out = (plan){0};
    if (o->layout == LAYOUT_EXPERTS &&
        (o->page < PLAN_LEAST_PAGE || o->page > PLAN_LARGEST_PAGE ||
         (o->page & (o->page - 1)) != 0))
        return err_set(e, ERR_USAGE, "a page is a power of two from %d to %d, not %llu",
                       PLAN_LEAST_PAGE, PLAN_LARGEST_PAGE, (unsigned long long)o->page);
    if (o->alignment && (o->alignment < PLAN_LEAST_ALIGNMENT ||
                         o->alignment > GGUF_MAX_ALIGNMENT ||
                         (o->alignment & (o->alignment - 1)) != 0))
        return err_set(e, ERR_USAGE, "a GGUF's alignment is a power of two from %d to %d, not %llu",
                       PLAN_LEAST_ALIGNMENT, GGUF_MAX_ALIGNMENT, (unsigned long long)o->alignment);
    if (o->shard_bytes == 0)
        return err_set(e, ERR_USAGE, "a shard of 0 bytes holds nothing");
    assert(m || (o->layout != LAYOUT_EXPERTS && !o->rules &&
                 (o->scope == SCOPE_NONE || o->scope == SCOPE_MATRICES)));
    assert((o->scope == SCOPE_NONE) == !o->codec);
    if (!choose_tensors(&p, e) || !plan_fits_container(&p, e) || !layout_files(&p, e) ||
        !name_files(&p, e) || !write_headers(&p, e) || !layout_records(&p, e) ||
        !mark_and_sum(&p, e) || !identify(&p, e)) {
        plan_free(&p);
        return false;
    }
    *out = p;
    return true;
}

void plan_free(plan *p)
{
    for (int64_t f = 0; f < p->n_files; f++)
        strbuf_free(&p->file[f].header);
    free(p->file);
    free(p->tensor);
    arena_free(&p->names);
    *p = (plan){0};
}

uint64_t plan_held_bytes(const plan *p)
{
    uint64_t held = 0, most = 0;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!t->source)
            continue;
        // The part that comes first goes out as it is made.
        if (t->starts)
            held += codec_bytes(t->codec, t->source->out, t->source->in);
        held -= t->to.bytes;
        if (held > most)
            most = held;
    }
    return most;
}
