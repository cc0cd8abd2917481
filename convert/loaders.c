// SPDX-License-Identifier: Apache-2.0
#include "convert/loaders.h"

// Layers that are no part of the model proper (multi-token prediction) keep their form, and one
// quantization_config cannot describe two.
static void warn_of_copied(const plan *p, const events *v)
{
    const char *first = NULL;
    int64_t n = 0;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (t->owned || t->to.type != DT_F8_E4M3)
            continue;
        first = first ? first : t->to.name;
        n++;
    }
    if (n)
        event_warn(v, "tensors that belong to no layer of the model are copied as they are, %lld "
                   "of them in FP8 (the first is '%s'): the new config.json does not describe "
                   "them", (long long)n, first);
}

static void warn_of_decoded(const plan *p, const events *v)
{
    const plan_tensor *first = NULL;
    int64_t n = 0;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (t->owned || !t->source)
            continue;
        first = n++ ? first : t;
    }
    if (n)
        event_warn(v, "%lld weight%s to no layer of the model and %s stored in FP8, which GGUF "
                   "does not have: decoded to %s (the first is '%s')", (long long)n,
                   n == 1 ? " belongs" : "s belong", n == 1 ? "is" : "are",
                   dtype_name(first->to.type), first->to.name);
}

static const codec *codec_of(const plan *p, const plan_tensor *t)
{
    return t->source ? t->codec : plan_weight(p, t)->codec;
}

static bool is_expert(const plan_tensor *t)
{
    return t->owned && role_is_expert(t->role) && role_is_linear(t->role);
}

// transformers and vLLM keep the experts of a layer in fused tensors with one scheme.
static bool warn_of_mixed_layer(const plan *p, int64_t layer, const events *v)
{
    const codec *one = NULL, *other = NULL;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!is_expert(t) || t->layer != layer)
            continue;
        one = one ? one : codec_of(p, t);
        other = codec_of(p, t) != one ? codec_of(p, t) : other;
    }
    if (other)
        event_warn(v, "the experts of layer %lld (and perhaps others) are stored in two types, %s "
                   "and %s: loaders that fuse a layer's experts (transformers, vLLM) do not read "
                   "that, some without saying so", (long long)layer, one->name, other->name);
    return other != NULL;
}

// transformers also takes one scheme of a compressed-tensors config for the experts of all layers;
// plain experts beside FP8 it reads.
static void warn_of_mixed_experts(const plan *p, const events *v)
{
    const plan_tensor *first = NULL;
    for (int64_t layer = 0; layer < model_arch(p->model)->n_layers; layer++)
        if (warn_of_mixed_layer(p, layer, v))
            return;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!is_expert(t))
            continue;
        first = first ? first : t;
        const codec *a = codec_of(p, first), *b = codec_of(p, t);
        bool plain = a->form == CODEC_FLOAT || b->form == CODEC_FLOAT;
        bool packed = a->form == CODEC_INT || b->form == CODEC_INT || a->form == CODEC_MX ||
                      b->form == CODEC_MX;
        if (a == b || (plain && !packed))
            continue;
        event_warn(v, "the routed experts are stored as %s in layer %lld and as %s in layer %lld: "
                   "transformers takes one type for the experts of all layers and does not read "
                   "that", a->name, (long long)first->layer, b->name, (long long)t->layer);
        return;
    }
}

// The last row or column of blocks may be cut off by the matrix's end. transformers derives the
// size of a block from the shapes, which is right only where it is a single one or none is cut.
static void warn_of_ragged_blocks(const plan *p, const events *v)
{
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!t->starts || t->codec->form != CODEC_FP8_BLOCK)
            continue;
        const weight *w = t->source;
        const int64_t side = t->codec->group;
        if ((w->out <= side || w->out % side == 0) && (w->in <= side || w->in % side == 0))
            continue;
        event_warn(v, "'%s' (and perhaps others) is %lld x %lld, no whole number of blocks of "
                   "%lld: DeepSeek's own form, but transformers up to 5.24 decodes it wrongly or "
                   "refuses it on a CPU", w->module, (long long)w->out, (long long)w->in,
                   (long long)side);
        return;
    }
}

static bool is_unusual(const plan_tensor *t)
{
    role_class c = t->owned ? role_class_of(t->role) : CLASS_OTHER;
    return t->codec->form != CODEC_FLOAT && (c == CLASS_ROUTER || c == CLASS_EMBEDDING);
}

static bool has_zeros_of_gptq_1(const plan_tensor *t)
{
    return t->codec->gptq_format == 1 && t->codec->zero == 0;
}

static bool is_kv_b_of_mlx(const plan_tensor *t)
{
    return t->owned && t->role == ROLE_KV_B && t->codec->config == CONFIG_MLX;
}

static bool is_expert_of_fbgemm(const plan_tensor *t)
{
    return is_expert(t) && t->codec->config == CONFIG_FBGEMM;
}

// Weights that some loader does not read in their form; the first of each kind is named.
static const struct {
    bool (*is)(const plan_tensor *t);
    const char *why;
} unread[] = {
    {is_unusual, "few loaders read routers and embeddings that are not plain, and some take the "
                 "codes for weights without saying so"},
    {has_zeros_of_gptq_1, "GPTQModel loads weights with zero points only in GPTQ's second form "
                          "(int4-gptq-v2-...)"},
    {is_kv_b_of_mlx, "mlx-lm takes this matrix apart and quantizes it once more, from affine codes "
                     "with a loss, and refuses mxfp4, mxfp8 and nvfp4; --tensor-type "
                     "attention.kv_b=keep leaves it as it is"},
    {is_expert_of_fbgemm, "transformers up to 5.24 takes the codes of routed experts in fbgemm's "
                          "form for weights without saying so (it stacks experts before it looks "
                          "for linear layers); fp8-channel holds the same and is read"},
};

static void warn_of_unread(const plan *p, const events *v)
{
    for (size_t k = 0; k < COUNT_OF(unread); k++) {
        int64_t i = 0;
        while (i < p->n_tensors && !(p->tensor[i].starts && unread[k].is(&p->tensor[i])))
            i++;
        if (i < p->n_tensors)
            event_warn(v, "'%s' is stored as %s: %s", p->tensor[i].source->module,
                       p->tensor[i].codec->name, unread[k].why);
    }
}

static void warn_of_single_experts(const plan *p, const events *v)
{
    const arch *a = model_arch(p->model);
    for (int64_t i = 0; a->loads_stacks_only && i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!is_expert(t) || t->expert < 0 || t->stack)
            continue;
        event_warn(v, "'%s' is of one expert: transformers up to 5.24 loads the experts of family "
                   "%s in stacks only, and makes up those that it does not find",
                   t->to.name, a->family);
        return;
    }
}

// Codes of other formats are integers to a GGUF, which has no words for their scales.
static void warn_of_codes(const plan *p, const events *v)
{
    const plan_tensor *first = NULL;
    int64_t n = 0;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const tensor *t = &p->tensor[i].to;
        bool whole = t->type == DT_I8 || t->type == DT_I16 || t->type == DT_I32 ||
                     t->type == DT_I64;
        if (!p->tensor[i].from || !whole || t->rank < 2)
            continue;
        first = n++ ? first : &p->tensor[i];
    }
    if (n)
        event_warn(v, "'%s'%s %s stored as integers, which no reader of GGUFs takes for a weight; "
                   "--to Q8_0 and its like make weights of them", first->to.name,
                   n > 1 ? " and others" : "", n > 1 ? "are" : "is");
}

void loaders_warn(const plan *p, const events *v)
{
    if (p->options.layout == LAYOUT_GGUF && !checkpoint_gguf(p->source))
        warn_of_codes(p, v);
    if (p->model)
        warn_of_single_experts(p, v);
    if (!p->model || (p->options.scope == SCOPE_NONE && !p->options.rules))
        return;
    if (p->options.layout == LAYOUT_GGUF) {
        event_warn(v, "the GGUF keeps the names of the source and says no architecture: llama.cpp "
                   "does not load it");
        warn_of_decoded(p, v);
        return;
    }
    warn_of_copied(p, v);
    warn_of_mixed_experts(p, v);
    warn_of_ragged_blocks(p, v);
    warn_of_unread(p, v);
}
