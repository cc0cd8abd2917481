// SPDX-License-Identifier: Apache-2.0
#include "convert/plan_gguf.h"

#include <stdlib.h>
#include <string.h>

#define SPLIT_KEYS "split."

static const char alignment_key[] = "general.alignment", file_type_key[] = "general.file_type",
                  version_key[] = "general.quantization_version";

// ---- what a container can hold ---------------------------------------------------------------

static bool has_type(const plan *p, const tensor *t)
{
    return p->options.layout == LAYOUT_GGUF ? gguf_holds(t->type) : !dtype_is_block(t->type);
}

static bool has_rank(const plan *p, const tensor *t)
{
    return p->options.layout != LAYOUT_GGUF || t->rank <= GGUF_MAX_RANK;
}

static bool has_name(const plan *p, const tensor *t)
{
    return p->options.layout != LAYOUT_GGUF || strlen(t->name) <= GGUF_MAX_NAME;
}

// The first tensor that fails, and how many do.
static const plan_tensor *first_without(const plan *p, bool (*has)(const plan *, const tensor *),
                                        int64_t *n)
{
    const plan_tensor *first = NULL;
    *n = 0;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        if (has(p, &p->tensor[i].to))
            continue;
        if ((*n)++ == 0)
            first = &p->tensor[i];
    }
    return first;
}

// What can be done about a tensor whose type the container does not have.
static const char *remedy(const plan *p, const plan_tensor *t)
{
    if (p->options.layout != LAYOUT_GGUF)
        return "; --to gguf keeps them, --to bf16, f16 or f32 decodes them";
    if (!p->model || (p->options.scope == SCOPE_NONE && !p->options.rules))
        return "";
    return t->owned ? "; a wider --scope or a rule gives it another type"
                    : "; it belongs to no layer of the model, so no rule gives it another type";
}

bool plan_fits_container(const plan *p, err *e)
{
    char name[STR_SHORT], shape[TENSOR_SHAPE_TEXT];
    int64_t n;
    const plan_tensor *t = first_without(p, has_type, &n);
    if (t)
        return err_set(e, ERR_INPUT, "%s has no type for %lld tensor%s, the first is '%s' (%s)%s",
                       p->options.layout == LAYOUT_GGUF ? "GGUF" : "safetensors", (long long)n,
                       n == 1 ? "" : "s", str_short(t->to.name, name), dtype_name(t->to.type),
                       remedy(p, t));
    t = first_without(p, has_rank, &n);
    if (t)
        return err_set(e, ERR_INPUT, "GGUF has at most %d dimensions, %lld tensor%s more, the "
                       "first is '%s' %s", GGUF_MAX_RANK, (long long)n, n == 1 ? " has" : "s have",
                       str_short(t->to.name, name), tensor_shape_text(&t->to, shape));
    t = first_without(p, has_name, &n);
    return !t || err_set(e, ERR_INPUT, "GGUF has at most %d bytes for a tensor's name, %lld name%s "
                         "longer, the first is '%s'", GGUF_MAX_NAME, (long long)n,
                         n == 1 ? " is" : "s are", str_short(t->to.name, name));
}

// ---- headers ---------------------------------------------------------------------------------

typedef struct {
    uint16_t no, count;
    int32_t n_tensors;
    uint32_t alignment, version;
} own_values;

enum { OWN_VALUES = 5 };

static bool codes_blocks(const plan *p)
{
    for (int64_t i = 0; i < p->n_tensors; i++)
        if (p->tensor[i].source && p->tensor[i].codec->form == CODEC_BLOCKS)
            return true;
    return false;
}

// What stays of the source's values in that file of the output. A file's type says what most of its
// tensors are: of others it would be wrong.
static bool keeps(const plan *p, const gguf_value *v, int64_t file, bool coded)
{
    bool aligns = strcmp(v->key, alignment_key) == 0;
    if (str_starts(v->key, SPLIT_KEYS) || (aligns && p->options.alignment) ||
        (coded && strcmp(v->key, file_type_key) == 0))
        return false;
    return file == 0 || aligns;
}

static gguf_value u32_value(const char *key, const uint32_t *v)
{
    return (gguf_value){key, GGUF_U32, false, 1, v, sizeof *v};
}

static int64_t list_values(const plan *p, int64_t file, const own_values *s, gguf_value *list)
{
    const gguf_header *source = checkpoint_gguf(p->source);
    bool coded = codes_blocks(p);
    int64_t n = 0;
    for (int64_t i = 0; source && i < source->n_values; i++)
        if (keeps(p, &source->value[i], file, coded))
            list[n++] = source->value[i];
    if (p->options.alignment)
        list[n++] = u32_value(alignment_key, &s->alignment);
    if (file == 0 && coded && !gguf_find(source, version_key))
        list[n++] = u32_value(version_key, &s->version);
    if (p->n_files > 1) {
        list[n++] = (gguf_value){SPLIT_KEYS "no", GGUF_U16, false, 1, &s->no, sizeof s->no};
        list[n++] = (gguf_value){SPLIT_KEYS "count", GGUF_U16, false, 1, &s->count,
                                 sizeof s->count};
        list[n++] = (gguf_value){SPLIT_KEYS "tensors.count", GGUF_I32, false, 1, &s->n_tensors,
                                 sizeof s->n_tensors};
    }
    return n;
}

bool plan_gguf_header(plan *p, int64_t file, tensor *list, err *e)
{
    enum { QUANTIZATION_VERSION = 2 }; // of ggml's blocks: the one that readers have
    plan_file *f = &p->file[file];
    const gguf_header *source = checkpoint_gguf(p->source);
    if (p->n_files > UINT16_MAX || p->n_tensors > INT32_MAX)
        return err_set(e, ERR_INPUT, "%lld files with %lld tensors: a split GGUF has at most %d "
                       "and %d", (long long)p->n_files, (long long)p->n_tensors, UINT16_MAX,
                       INT32_MAX);
    const own_values s = {(uint16_t)file, (uint16_t)p->n_files, (int32_t)p->n_tensors,
                          (uint32_t)p->options.alignment, QUANTIZATION_VERSION};
    gguf_value *values = mem_new((uint64_t)(source ? source->n_values : 0) + OWN_VALUES,
                                 sizeof *values, "key-values", e);
    if (!values)
        return false;
    for (int64_t i = 0; i < f->n; i++)
        list[i] = p->tensor[f->first + i].to;
    bool ok = gguf_write_header(&f->header, list, f->n, values,
                                list_values(p, file, &s, values), &f->bytes, e);
    for (int64_t i = 0; ok && i < f->n; i++)
        p->tensor[f->first + i].to = list[i];
    free(values);
    return ok;
}
