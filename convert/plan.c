// SPDX-License-Identifier: Apache-2.0
#include "convert/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"
#include "convert/decide.h"
#include "convert/layout.h"
#include "convert/plan_gguf.h"
#include "convert/plan_stack.h"
#include "quantize/transcode.h"

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

dtype plan_part_type(const plan_tensor *t)
{
    if (t->cut)
        return t->source->part[t->part]->type;
    if (t->exact)
        return transcode_written_type(t->codec, t->part, weight_scale_type(t->source));
    return codec_written_type(t->codec, t->part, t->search, weight_plain_type(t->source));
}

static bool name_part(plan *p, plan_tensor *t, err *e)
{
    const weight *w = t->source;
    const codec_part *part = &t->codec->part[t->part];
    // One that follows a whole name has another one that follows a module.
    const char *suffix = w->rank == 1          ? w->suffix
                         : *part->suffix == '_' ? part->named[0]
                                                : part->suffix;
    strbuf name = {0};
    strbuf_printf(&name, "%s.%s", w->module, suffix);
    t->to.name = strbuf_ok(&name, e) ? arena_text(&p->names, name.text, name.len, e) : NULL;
    strbuf_free(&name);
    return t->to.name != NULL;
}

// The parts of a weight that is coded, or cut from its stack as it is.
static bool add_parts(plan *p, uint64_t *cap, const bound_weight *b, const decision *d, bool cut,
                      err *e)
{
    const weight *w = b->weight;
    const codec *c = cut ? w->codec : d->codec;
    for (int part = 0; part < codec_written(c); part++) {
        plan_tensor *t = new_tensor(p, cap, e);
        if (!t)
            return false;
        t->owned = true;
        t->role = b->role;
        t->layer = b->layer;
        t->expert = b->expert;
        t->source = w;
        t->cut = cut;
        t->codec = c;
        t->search = cut ? SEARCH_BEST : d->search;
        t->positive_scales = !cut && d->positive_scales;
        t->part = part;
        t->exact = !cut && p->options.exact;
        if (!name_part(p, t, e))
            return false;
        t->to.type = plan_part_type(t);
        int64_t shape[2] = {w->in, 0};
        t->to.rank = w->rank == 1 ? 1 : codec_part_shape(c, part, w->out, w->in, shape);
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
    if (p->options.scope == SCOPE_STORED)
        matrix = dtype_is_block(t->type);
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
    t->exact = p->options.exact;
    t->from = NULL;
    t->to.bytes = codec_part_bytes(to, 0, w->out, w->in);
    return true;
}

// Whether parts of a slice are what the codec's own parts would be.
static bool can_be_cut(const weight *w, err *e)
{
    bool can = w->n_parts == codec_written(w->codec);
    for (int i = 0; can && i < w->n_parts; i++) {
        const codec_part *part = &w->codec->part[i];
        can = w->of[i] == i && !part->found &&
              dtype_bits(w->part[i]->type) == dtype_bits(part->type);
    }
    return can || err_set(e, ERR_INPUT, "'%s' is stored as %s in the stack '%s': this version does "
                          "not cut that out as it is (quantize it, or convert --to safetensors, "
                          "which keeps stacks)", w->module, w->codec->name, w->stored);
}

// All weights of a stack, each as tensors of its own.
static bool add_stack(plan *p, uint64_t *cap, const tensor_account *a, const decision *decided,
                      err *e)
{
    for (int64_t k = a->first; k < a->first + a->n; k++) {
        const bound_weight *b = model_weight_at(p->model, k);
        bool cut = !decided || !decided[k].codec;
        if ((cut && !can_be_cut(b->weight, e)) ||
            !add_parts(p, cap, b, decided ? &decided[k] : NULL, cut, e))
            return false;
    }
    return true;
}

// All weights of a tensor, or the one, as pieces of stacks.
static bool add_pieces(plan *p, uint64_t *cap, plan_stacks *stacks, const tensor_account *a,
                       const decision *decided, err *e)
{
    for (int64_t k = a->first; k < a->first + a->n; k++) {
        const bound_weight *b = model_weight_at(p->model, k);
        bool cut = !decided[k].codec;
        int64_t first = p->n_tensors;
        if ((cut && !can_be_cut(b->weight, e)) || !add_parts(p, cap, b, &decided[k], cut, e))
            return false;
        for (int64_t i = first; i < p->n_tensors; i++)
            if (!plan_stacks_add(stacks, p, &p->tensor[i], e))
                return false;
    }
    return true;
}

// Stacks fall apart all or none, so that a layer's experts are stored alike. `decided`: of weights.
static bool stacks_fall_apart(const plan *p, const decision *decided)
{
    bool apart = p->options.layout == LAYOUT_EXPERTS || p->options.rules;
    for (int64_t k = 0; decided && !apart && k < model_n_weights(p->model); k++)
        apart = decided[k].codec && role_is_expert(model_weight_at(p->model, k)->role);
    return apart;
}

static bool add_moved(plan *p, uint64_t *cap, int64_t i, const tensor_account *a, err *e)
{
    const codec *from = NULL, *to = NULL;
    plan_tensor *t = new_tensor(p, cap, e);
    if (!t)
        return false;
    take_account(t, a);
    t->from = checkpoint_at(p->source, i);
    t->to = *t->from;
    if (!p->model && p->options.codec && !decode_alone(p, t->from, &from, &to, e))
        return false;
    return !to || add_alone(p, t, from, to, e);
}

// ---- weights of no role that a GGUF has no type for ----

// FP8 of layers that are no part of the model proper (multi-token prediction). No rule reaches
// them, so that the container decides: they are decoded.
typedef struct {
    weight **of;  // [checkpoint_count], by the tensor of codes; NULL in it: none
    bool *taken;  // [checkpoint_count] another part of one
} loose_weights;

static bool find_loose(plan *p, int64_t i, loose_weights *l, err *e)
{
    const tensor *t = checkpoint_at(p->source, i);
    err other = ERR_INIT;
    if (model_account(p->model, i)->used || t->type != DT_F8_E4M3 || t->rank != 2 ||
        !str_ends(t->name, ".weight"))
        return true;
    const char *module = arena_text(&p->names, t->name, strlen(t->name) - strlen(".weight"), e);
    weight *w = module ? arena_new(&p->names, 1, sizeof *w, e) : NULL;
    if (!w)
        return false;
    if (!weight_bind(w, p->source, module, "weight", 2, t->shape[0], t->shape[1], &other)) {
        *e = other.kind == ERR_ENV ? other : *e;
        return other.kind != ERR_ENV; // moved, and refused by its name
    }
    l->of[i] = w;
    for (int k = 1; k < w->n_parts; k++)
        l->taken[checkpoint_index(p->source, w->part[k])] = true;
    return true;
}

// To be freed in any case.
static bool find_all_loose(plan *p, loose_weights *l, err *e)
{
    int64_t n = checkpoint_count(p->source);
    *l = (loose_weights){0};
    if (!p->model || p->options.layout != LAYOUT_GGUF || !(p->options.codec || p->options.rules))
        return true;
    l->of = mem_new((uint64_t)n, sizeof *l->of, "the plan", e);
    l->taken = mem_new((uint64_t)n, sizeof *l->taken, "the plan", e);
    bool ok = l->of && l->taken;
    for (int64_t i = 0; ok && i < n; i++)
        ok = find_loose(p, i, l, e);
    return ok;
}

// As BF16, which costs a rounding; where nothing may be lost, as binary32.
static bool add_loose(plan *p, uint64_t *cap, const weight *w, err *e)
{
    plan_tensor *t = new_tensor(p, cap, e);
    if (!t)
        return false;
    t->source = w;
    t->codec = codec_find(p->options.exact ? "f32" : "bf16");
    t->search = SEARCH_BEST;
    t->to = *w->part[0];
    t->to.type = t->codec->part[0].type;
    t->to.bytes = codec_part_bytes(t->codec, 0, w->out, w->in);
    return true;
}

// ---- all of them ----

// What becomes of one tensor of the source. `apart`: stacks fall apart; `stacks` (NULL: there are
// none) takes what experts become. A weight is added with its first part.
static bool collect_tensor(plan *p, uint64_t *cap, int64_t i, const decision *of_weights,
                           bool apart, plan_stacks *stacks, err *e)
{
    const tensor_account *a = p->model ? model_account(p->model, i) : NULL;
    bool used = a && a->used, decided = false;
    for (int64_t k = 0; used && of_weights && k < a->n; k++)
        decided |= of_weights[a->first + k].codec != NULL;
    if (used && stacks && role_is_expert(a->role) && (decided || !a->stacked))
        return a->part != 0 || add_pieces(p, cap, stacks, a, of_weights, e);
    if (used && a->stacked && apart && !stacks)
        return a->part != 0 || add_stack(p, cap, a, of_weights, e);
    if (used && !a->stacked && decided)
        return a->part != 0 || add_parts(p, cap, model_weight_at(p->model, a->first),
                                         &of_weights[a->first], false, e);
    return add_moved(p, cap, i, a, e);
}

static bool collect_tensors(plan *p, const decision *decided, const loose_weights *loose, err *e)
{
    uint64_t cap = 0;
    int64_t n = checkpoint_count(p->source);
    const decision *of_weights = decided ? decided + n : NULL;
    bool apart = p->model && stacks_fall_apart(p, of_weights), stacked;
    plan_stacks stacks = {0};
    bool ok = plan_stacks_wanted(p, of_weights, &stacked, e);
    for (int64_t i = 0; ok && i < n; i++) {
        if (loose->of && loose->taken[i])
            continue;
        ok = loose->of && loose->of[i]
                 ? add_loose(p, &cap, loose->of[i], e)
                 : collect_tensor(p, &cap, i, of_weights, apart, stacked ? &stacks : NULL, e);
    }
    plan_stacks_free(&stacks);
    return ok;
}

// A moving that moves nothing was not what was meant, unless all is there already.
static bool moves_something(const plan *p, err *e)
{
    const codec *c = p->options.codec;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        bool there = !p->model && t->to.type == c->part[0].type;
        if (p->model && plan_weight(p, t))
            there = plan_weight(p, t)->codec == c;
        if (t->exact || there)
            return true;
    }
    return err_set(e, ERR_INPUT, "no weight of this checkpoint is stored in codes that could "
                   "become %s (--scope experts and --scope all-linear take plain numbers, too)",
                   c->name);
}

static bool choose_tensors(plan *p, err *e)
{
    decision *decided = NULL;
    loose_weights loose = {0};
    bool ok = !p->model || (p->options.scope == SCOPE_NONE && !p->options.rules) ||
              decide(&p->options, p->source, p->model, &decided, e);
    ok = ok && find_all_loose(p, &loose, e) && collect_tensors(p, decided, &loose, e) &&
         (!p->options.exact || moves_something(p, e));
    free(decided);
    free(loose.of);
    free(loose.taken);
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

static int64_t list_written(const plan *p, const plan_file *f, tensor *list)
{
    int64_t n = 0;
    for (int64_t i = f->first; i < f->first + f->n; i++)
        if (plan_heads(&p->tensor[i]))
            list[n++] = *plan_written(&p->tensor[i]);
    return n;
}

// The same list, by now with the tensors' places in the file.
static void take_places(plan *p, const plan_file *f, const tensor *list)
{
    for (int64_t i = f->first; i < f->first + f->n; i++) {
        plan_tensor *t = &p->tensor[i];
        if (!t->stack) {
            t->to = *list++;
            continue;
        }
        plan_stack *s = t->stack;
        if (plan_heads(t))
            s->to = *list++;
        uint64_t expert = (uint64_t)(t->piece / s->turns), turn = (uint64_t)(t->piece % s->turns);
        t->to.offset = s->to.offset + expert * (uint64_t)s->turns * t->to.bytes + turn * s->row;
    }
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
    int64_t n = list_written(p, f, list);
    uint64_t align = p->options.layout == LAYOUT_EXPERTS ? p->options.page : 8;
    if (!st_write_header(&f->header, list, n, pairs, n_pairs, align, e))
        goto out;
    f->bytes = f->header.len;
    for (int64_t i = 0; i < n; i++)
        f->bytes += list[i].bytes;
    take_places(p, f, list);
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
    strmap weights = {0}, tensors = {0};
    bool ok = true;
    for (int64_t i = f->first; ok && i < f->first + f->n; i++) {
        plan_tensor *t = &p->tensor[i];
        if (!t->source)
            continue;
        const weight *w = t->source;
        const tensor *first = w->part[0];
        ok = strmap_put(&weights, (const char *)&w, sizeof w, i, &t->starts, e) &&
             (!t->starts ||
              strmap_put(&tensors, (const char *)&first, sizeof first, i, &t->opens, e));
    }
    strmap_free(&weights);
    strmap_free(&tensors);
    return ok;
}

// Whether all pieces of the stack that begins here stand behind one another.
static bool is_whole(const plan *p, int64_t first)
{
    const plan_tensor *t = &p->tensor[first];
    int64_t n = t->stack->n, k = 0;
    while (k < n && first + k < p->n_tensors && t[k].stack == t->stack && t[k].piece == k)
        k++;
    return k == n;
}

static bool mark_and_sum(plan *p, err *e)
{
    for (int64_t f = 0; f < p->n_files; f++)
        if (!mark_starts(p, &p->file[f], e))
            return false;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        assert(!t->stack || !plan_heads(t) || is_whole(p, i));
        p->tensor_bytes += t->to.bytes;
        if (t->owned && role_class_of(t->role) == CLASS_EXPERTS)
            p->expert_bytes += t->to.bytes;
    }
    p->n_written = plan_count_written(p->tensor, p->n_tensors);
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
            if (t->from || t->cut)
                strbuf_puts(&line, t->cut ? "cut\n" : "moved\n");
            else
                strbuf_printf(&line, "%s<-%s %s%s\n", t->codec->name, t->source->codec->name,
                              t->exact ? "exact" : recipe_search_name(t->search),
                              t->positive_scales ? " +" : "");
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
    bool of_types = o->scope == SCOPE_MATRICES || o->scope == SCOPE_STORED;
    assert(m || (o->layout != LAYOUT_EXPERTS && !o->rules && (o->scope == SCOPE_NONE || of_types)));
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

const weight *plan_weight(const plan *p, const plan_tensor *t)
{
    if (t->source || !t->owned)
        return t->source;
    bool stack = role_is_expert(t->role) && t->expert < 0;
    return model_weight(p->model, t->role, t->layer, stack ? 0 : t->expert);
}

int64_t plan_count_written(const plan_tensor *t, int64_t n)
{
    int64_t written = 0;
    for (int64_t i = 0; i < n; i++)
        written += plan_heads(&t[i]);
    return written;
}

uint64_t plan_goes_out(const plan_tensor *t)
{
    if (!t->stack)
        return t->to.bytes;
    uint64_t turns = (uint64_t)t->stack->turns;
    return ((uint64_t)t->piece + 1) % turns == 0 ? turns * t->to.bytes : 0;
}

uint64_t plan_held_bytes(const plan *p)
{
    uint64_t held = 0, most = 0;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!t->source)
            continue;
        // The part that comes first goes out as it is made, unless it is a piece of a stack.
        if (t->starts)
            held += codec_bytes(t->codec, t->source->out, t->source->in);
        if (t->stack && held > most)
            most = held;
        held -= plan_goes_out(t);
        if (held > most)
            most = held;
    }
    return most;
}
