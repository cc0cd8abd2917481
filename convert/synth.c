// SPDX-License-Identifier: Apache-2.0
#include "convert/synth.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/layout.h"
#include "convert/synth_config.h"
#include "convert/synth_parts.h"

// ---- tensors out of rows of the family table -------------------------------------------------

// All tensors of a row in one layer, or outside of layers: a name's template and, for every part of
// the codec, the tensor without its name.
typedef struct {
    const role_row *row;
    int64_t layer, copies;     // copies: one an expert
    const char *module;    // template
    int n_parts;
    const char *suffix[CODEC_MAX_PARTS];
    synth_tensor part[CODEC_MAX_PARTS];
} row_tensors;

typedef bool (*row_visitor)(synth *s, const row_tensors *r, err *e);

static synth_recipe recipe_of(const role_row *r, int64_t in)
{
    if (r->role == ROLE_COUNT ? r->rank == 1 : role_class_of(r->role) == CLASS_NORM)
        return (synth_recipe){SYNTH_NORMAL, 1, 0.1};
    if (r->rank == 1)
        return (synth_recipe){SYNTH_NORMAL, 0, 0.02};
    // So that sums over a row of normal activations stay normal.
    return (synth_recipe){SYNTH_NORMAL, 0, 1 / num_sqrt((double)in)};
}

static bool set_shape(synth_tensor *t, dtype type, int rank, const int64_t *shape, err *e)
{
    uint64_t elements = 1, bits = 0;
    bool fits = true;
    t->t = (tensor){.type = type, .rank = rank};
    for (int i = 0; i < rank; i++) {
        fits = fits && size_mul(elements, (uint64_t)shape[i], &elements);
        t->t.shape[i] = shape[i];
    }
    if (!fits || !size_mul(elements, (uint64_t)dtype_bits(type), &bits) || bits / 8 > INT64_MAX)
        return err_set(e, ERR_USAGE, "these sizes make a tensor of more than 2^63 bytes");
    t->t.n_elements = (int64_t)elements;
    t->t.bytes = bits / 8;
    return true;
}

// All experts' rows in one tensor, under its first role.
static bool describe_stack(const synth *s, const role_row *r, const stack_row *stack,
                           row_tensors *out, err *e)
{
    int64_t experts = s->config.arch.n_experts, in = config_dim(&s->config, r->in);
    int64_t rows = config_dim(&s->config, r->out) * stack->of;
    int64_t flat[2] = {experts, in * stack->of};
    int64_t shape[3] = {experts, stack->turned ? in : rows, stack->turned ? rows : in};
    out->module = stack->module;
    out->n_parts = stack->index == 0;
    out->suffix[0] = "";
    out->part[0].recipe = recipe_of(r, in);
    return r->rank == 1 ? set_shape(&out->part[0], DT_BF16, 2, flat, e)
                        : set_shape(&out->part[0], DT_BF16, 3, shape, e);
}

static bool describe_row(const synth *s, const role_row *r, int64_t layer, int64_t in_times,
                         row_tensors *out, err *e)
{
    bool is_role = r->role != ROLE_COUNT;
    int64_t rows = config_dim(&s->config, r->out), in = config_dim(&s->config, r->in) * in_times;
    const codec *c = is_role && r->rank == 2 && role_is_linear(r->role) ? s->type : NULL;
    synth_recipe making = recipe_of(r, in);
    const family *f = s->config.family;
    const stack_row *stack = is_role && f->stacked ? family_stack(f, r->role) : NULL;
    *out = (row_tensors){.row = r, .layer = layer, .copies = 1, .module = r->module};
    if (stack)
        return describe_stack(s, r, stack, out, e);
    if (is_role && role_is_expert(r->role))
        out->copies = s->config.arch.n_experts;
    if (!c || c->form == CODEC_FLOAT) {
        dtype plain = is_role && r->role == ROLE_ROUTER_SELECT_BIAS ? DT_F32 : DT_BF16;
        out->n_parts = 1;
        out->suffix[0] = r->suffix;
        out->part[0].recipe = making;
        return set_shape(&out->part[0], plain, r->rank,
                         r->rank == 2 ? (int64_t[2]){rows, in} : (int64_t[2]){in, 0}, e);
    }
    assert(c->form == CODEC_FP8_BLOCK && c->n_parts == 2);
    out->n_parts = 2;
    for (int i = 0; i < 2; i++) {
        int64_t shape[2];
        int rank = codec_part_shape(c, i, rows, in, shape);
        out->suffix[i] = c->part[i].suffix;
        making.kind = i == 0 ? SYNTH_CODES : SYNTH_SCALES;
        out->part[i].recipe = making;
        if (!set_shape(&out->part[i], c->part[i].type, rank, shape, e))
            return false;
    }
    return true;
}

static bool visit_row(synth *s, const role_row *r, int64_t layer, int64_t in_times,
                      row_visitor visit, err *e)
{
    row_tensors tensors;
    return describe_row(s, r, layer, in_times, &tensors, e) && visit(s, &tensors, e);
}

// Rows of the family's table for a layer, or with layer -1 those outside of layers.
static bool visit_layer(synth *s, int64_t layer, layer_kind in, row_visitor visit, err *e)
{
    for (const role_set *set = s->config.family->roles; set->row; set++)
        for (int i = 0; i < set->n; i++)
            if (role_row_in_layers(&set->row[i]) == (layer >= 0) &&
                config_has_row(&s->config, &set->row[i], in) &&
                !visit_row(s, &set->row[i], layer, 1, visit, e))
                return false;
    return true;
}

static bool visit_all(synth *s, row_visitor visit, err *e)
{
    const arch *a = &s->config.arch;
    for (int64_t layer = -1; layer < a->n_layers; layer++)
        if (!visit_layer(s, layer, config_layer(&s->config, layer), visit, e))
            return false;
    for (int64_t layer = a->n_layers; layer < a->n_layers + a->n_extra_layers; layer++) {
        if (!visit_layer(s, layer, (layer_kind){.mixture = true}, visit, e))
            return false;
        for (int i = 0; i < s->family->n_mtp; i++)
            if (!visit_row(s, &s->family->mtp[i].row, layer, s->family->mtp[i].in_times, visit, e))
                return false;
    }
    return true;
}

static bool add_bytes(synth *s, const row_tensors *r, err *e)
{
    for (int i = 0; i < r->n_parts; i++) {
        uint64_t bytes;
        if (!size_mul(r->part[i].t.bytes, (uint64_t)r->copies, &bytes) ||
            !size_add(s->tensor_bytes, bytes, &s->tensor_bytes) || s->tensor_bytes > INT64_MAX)
            return err_set(e, ERR_USAGE, "these sizes make more than 2^63 bytes");
    }
    s->n_tensors += r->n_parts * r->copies;
    return true;
}

static bool add_tensors(synth *s, const row_tensors *r, err *e)
{
    char name[256];
    for (int64_t i = 0; i < r->copies; i++) {
        size_t len = family_name(name, sizeof name, r->module, &s->config.family->prefix[0],
                                 r->layer, i);
        for (int k = 0; k < r->n_parts; k++) {
            size_t suffix = strlen(r->suffix[k]);
            assert(len + suffix + 2 <= sizeof name); // templates are ours and short
            size_t dot = suffix > 0;
            name[len] = '.';
            memcpy(name + len + dot, r->suffix[k], suffix + 1);
            synth_tensor *t = &s->tensor[s->n_tensors++];
            *t = r->part[k];
            t->t.name = arena_text(&s->names, name, len + dot + suffix, e);
            if (!t->t.name)
                return false;
        }
    }
    return true;
}

// ---- the config, and how many experts make a size --------------------------------------------

static bool read_config(synth *s, const synth_options *o, int64_t experts, err *e)
{
    synth_config_options with = {.published = o->published,
                                 .fp8 = s->type->form == CODEC_FP8_BLOCK,
                                 .layers = o->layers,
                                 .experts = experts,
                                 .seed = o->seed,
                                 .set = o->set,
                                 .n_set = o->n_set};
    strbuf_clear(&s->config_text);
    config_free(&s->config);
    s->tensor_bytes = 0;
    s->n_tensors = 0;
    if (synth_config_write(s->family, &with, &s->config_text, e) &&
        config_init(&s->config, s->config_text.text, s->config_text.len, NULL, e) &&
        visit_all(s, add_bytes, e))
        return true;
    e->kind = e->kind == ERR_INPUT ? ERR_USAGE : e->kind; // the config is made of options
    return false;
}

// Bytes are a linear function of the number of experts: two points make the line.
static bool choose_experts(synth *s, const synth_options *o, int64_t *experts, err *e)
{
    *experts = o->experts;
    if (o->size == 0)
        return true;
    if (o->experts)
        return err_set(e, ERR_USAGE, "a size and a number of experts exclude each other");
    if (!read_config(s, o, 0, e))
        return false;
    int64_t some = s->config.arch.n_experts, step = s->config.arch.n_group;
    uint64_t with_some = s->tensor_bytes;
    if (!read_config(s, o, 2 * some, e))
        return false;
    uint64_t one = (s->tensor_bytes - with_some) / (uint64_t)some;
    uint64_t none = with_some - one * (uint64_t)some;
    if (one == 0)
        return err_set(e, ERR_USAGE, "a model without layers of experts has one size only");
    *experts = o->size > none ? (int64_t)((o->size - none) / one) / step * step : 0;
    if (*experts < 1)
        return err_set(e, ERR_USAGE, "%llu bytes hold no expert: without experts the tensors have "
                       "%llu, and one more in every layer has %llu", (unsigned long long)o->size,
                       (unsigned long long)none, (unsigned long long)one);
    return true;
}

// ---- files -----------------------------------------------------------------------------------

static int natural(const void *a, const void *b)
{
    return layout_natural_order(((const synth_tensor *)a)->t.name,
                                ((const synth_tensor *)b)->t.name);
}

static bool new_file(synth *s, uint64_t *cap, int64_t first, int64_t n, err *e)
{
    if (!mem_grow((void **)&s->file, cap, (uint64_t)s->n_files + 1, sizeof *s->file, "shards", e))
        return false;
    s->file[s->n_files++] = (synth_file){.first = first, .n = n};
    return true;
}

static bool cut(synth *s, uint64_t shard_bytes, err *e)
{
    uint64_t cap = 0, bytes = 0;
    int64_t first = 0;
    for (int64_t i = 0; i < s->n_tensors; i++) {
        uint64_t more = s->tensor[i].t.bytes;
        if (i > first && bytes + more > shard_bytes) {
            if (!new_file(s, &cap, first, i - first, e))
                return false;
            first = i;
            bytes = 0;
        }
        bytes += more;
    }
    return new_file(s, &cap, first, s->n_tensors - first, e);
}

static bool finish_file(synth *s, int64_t index, tensor *list, err *e)
{
    static const st_pair format = {"format", "pt"};
    synth_file *f = &s->file[index];
    synth_tensor *tensors = &s->tensor[f->first];
    strbuf name = {0};
    if (s->n_files == 1)
        strbuf_puts(&name, "model.safetensors");
    else
        strbuf_printf(&name, "model-%05lld-of-%05lld.safetensors", (long long)index + 1,
                      (long long)s->n_files);
    f->name = strbuf_ok(&name, e) ? arena_text(&s->names, name.text, name.len, e) : NULL;
    strbuf_free(&name);
    qsort(tensors, (size_t)f->n, sizeof *tensors, st_official_order);
    for (int64_t i = 0; i < f->n; i++)
        list[i] = tensors[i].t;
    if (!f->name || !st_write_header(&f->header, list, f->n, &format, 1, 8, e))
        return false;
    f->bytes = f->header.len;
    for (int64_t i = 0; i < f->n; i++) {
        tensors[i].t = list[i];
        f->bytes += list[i].bytes;
    }
    s->file_bytes += f->bytes;
    return true;
}

static bool lay_out(synth *s, const synth_options *o, err *e)
{
    int64_t n = s->n_tensors;
    s->tensor = mem_new((uint64_t)n, sizeof *s->tensor, "tensors", e);
    s->n_tensors = 0;
    if (!s->tensor || !visit_all(s, add_tensors, e))
        return false;
    assert(s->n_tensors == n);
    qsort(s->tensor, (size_t)n, sizeof *s->tensor, natural);
    tensor *list = mem_new((uint64_t)n, sizeof *list, "headers", e);
    bool ok = list && cut(s, o->shard_bytes, e);
    for (int64_t i = 0; ok && i < s->n_files; i++)
        ok = finish_file(s, i, list, e);
    free(list);
    return ok;
}

static bool is_stacked(const char *name)
{
    for (int i = 0; i < family_count(); i++)
        if (strcmp(family_at(i)->facts.family, name) == 0)
            return family_at(i)->stacked;
    return false;
}

static bool make(synth *s, const synth_options *o, err *e)
{
    int64_t experts;
    s->family = synth_family_find(o->family, e);
    if (!s->family)
        return false;
    s->seed = o->seed;
    s->sparse = o->sparse;
    s->type = o->type ? o->type : codec_find(s->family->type);
    if (strcmp(s->type->name, "fp8-block") != 0 && strcmp(s->type->name, "bf16") != 0)
        return err_set(e, ERR_USAGE, "synthetic weights are bf16 or fp8-block, not %s; quantize "
                       "makes the others", s->type->name);
    if (s->type->form == CODEC_FP8_BLOCK && is_stacked(s->family->family))
        return err_set(e, ERR_USAGE, "synthetic %s is bf16 only: its experts lie in stacks",
                       s->family->family);
    if (o->shard_bytes == 0)
        return err_set(e, ERR_USAGE, "a shard of 0 bytes holds nothing");
    return choose_experts(s, o, &experts, e) && read_config(s, o, experts, e) && lay_out(s, o, e);
}

bool synth_plan(synth **out, const synth_options *o, err *e)
{
    *out = NULL;
    synth *s = mem_new(1, sizeof *s, "a synthetic model", e);
    if (!s)
        return false;
    if (!make(s, o, e)) {
        synth_free(s);
        return false;
    }
    *out = s;
    return true;
}

void synth_free(synth *s)
{
    if (!s)
        return;
    for (int64_t i = 0; i < s->n_files; i++)
        strbuf_free(&s->file[i].header);
    free(s->file);
    free(s->tensor);
    config_free(&s->config);
    strbuf_free(&s->config_text);
    arena_free(&s->names);
    free(s);
}

synth_facts synth_tell(const synth *s)
{
    return (synth_facts){.arch = &s->config.arch,
                         .type = s->type->name,
                         .n_tensors = s->n_tensors,
                         .n_files = s->n_files,
                         .tensor_bytes = s->tensor_bytes,
                         .file_bytes = s->file_bytes};
}
