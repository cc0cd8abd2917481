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

static const codec *codec_of(const plan *p, const plan_tensor *t)
{
    return t->source ? t->codec : model_weight(p->model, t->role, t->layer, t->expert)->codec;
}

// transformers and vLLM keep the experts of a layer in fused tensors with one scheme. The
// projections may differ where a fall-back was needed.
static void warn_of_mixed_experts(const plan *p, const events *v)
{
    const model *m = p->model;
    for (int64_t layer = 0; layer < model_arch(m)->n_layers; layer++) {
        const codec *one = NULL, *other = NULL;
        for (int64_t i = 0; i < p->n_tensors; i++) {
            const plan_tensor *t = &p->tensor[i];
            if (!t->owned || t->layer != layer || role_class_of(t->role) != CLASS_EXPERTS)
                continue;
            one = one ? one : codec_of(p, t);
            other = codec_of(p, t) != one ? codec_of(p, t) : other;
        }
        if (!other)
            continue;
        event_warn(v, "the experts of layer %lld (and perhaps others) are stored in two types, %s "
                   "and %s: loaders that fuse a layer's experts (transformers, vLLM) do not read "
                   "that, some without saying so", (long long)layer, one->name, other->name);
        return;
    }
}

// The last row or column of blocks may be cut off by the matrix's end. transformers derives the
// size of a block from the shapes, which is right only where it is a single one or none is cut.
static void warn_of_ragged_blocks(const plan *p, const events *v)
{
    enum { BLOCK = 128 };
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!t->starts || t->codec->form != CODEC_FP8_BLOCK)
            continue;
        const weight *w = t->source;
        if ((w->out <= BLOCK || w->out % BLOCK == 0) && (w->in <= BLOCK || w->in % BLOCK == 0))
            continue;
        event_warn(v, "'%s' (and perhaps others) is %lld x %lld, no whole number of blocks of 128: "
                   "DeepSeek's own form, but transformers up to 5.24 decodes it wrongly or "
                   "refuses it on a CPU", w->module, (long long)w->out, (long long)w->in);
        return;
    }
}

void loaders_warn(const plan *p, const events *v)
{
    if (p->options.scope == SCOPE_NONE)
        return;
    warn_of_copied(p, v);
    warn_of_mixed_experts(p, v);
    warn_of_ragged_blocks(p, v);
}
