// SPDX-License-Identifier: Apache-2.0
#include "convert/plan_stack.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

// ---- whether there are any -------------------------------------------------------------------

static bool is_matrix(const bound_weight *b) { return b->weight->rank != 1; }

// The codec that somebody asks for; NULL: nobody does.
static const codec *asked_for(const plan *p, const decision *decided)
{
    const plan_options *o = &p->options;
    if (o->codec && o->codec->stacked)
        return o->codec;
    for (int64_t i = 0; o->rules && i < o->rules->n; i++)
        if (o->rules->rule[i].codec && o->rules->rule[i].codec->stacked)
            return o->rules->rule[i].codec;
    for (int64_t k = 0; k < model_n_weights(p->model); k++)
        if (decided[k].codec && decided[k].codec->stacked)
            return decided[k].codec;
    return NULL;
}

static bool has_stacks(const plan *p, const bound_weight *b, const codec *c, model_stack *in,
                       err *e)
{
    if (model_stack_of(p->model, b->role, b->layer, in) && (in->of == 1 || in->interleaved))
        return true;
    return err_set(e, ERR_INPUT, "%s is all experts of a layer in one tensor, gate's and up's rows "
                   "in turns, as gpt-oss has them; family %s does not (mxfp4-packed and "
                   "mxfp4-deepseek hold the same values)", c->name,
                   model_arch(p->model)->family);
}

static bool fits(const plan *p, const bound_weight *b, const codec *is, const codec *c, err *e)
{
    model_stack in;
    if (!role_is_expert(b->role))
        return !is->stacked ||
               err_set(e, ERR_INPUT, "'%s' is no routed expert: %s holds those only",
                       b->weight->module, is->name);
    return has_stacks(p, b, c, &in, e) &&
           (is == c ||
            err_set(e, ERR_INPUT, "'%s' would be %s: %s holds the routed experts of all layers, "
                    "or none", b->weight->module, is->name, c->name));
}

static const codec *becomes(const plan *p, const decision *decided, int64_t k)
{
    return decided[k].codec ? decided[k].codec : model_weight_at(p->model, k)->weight->codec;
}

bool plan_stacks_wanted(const plan *p, const decision *decided, bool *wanted, err *e)
{
    *wanted = false;
    const codec *c = decided ? asked_for(p, decided) : NULL;
    int64_t n = c ? model_n_weights(p->model) : 0;
    for (int64_t k = 0; k < n; k++)
        *wanted = *wanted || becomes(p, decided, k) == c;
    for (int64_t k = 0; *wanted && k < n; k++) {
        const bound_weight *b = model_weight_at(p->model, k);
        if (is_matrix(b) && !fits(p, b, becomes(p, decided, k), c, e))
            return false;
    }
    assert(!*wanted || p->options.layout == LAYOUT_PLAIN); // order.h sees to it
    return true;
}

// ---- which -----------------------------------------------------------------------------------

static const char *stack_name(plan *p, const plan_tensor *t, const model_stack *in, err *e)
{
    char name[MODEL_STACK_NAME + 16];
    const char *suffix = t->source->rank == 1 ? "" : t->codec->part[t->part].suffix;
    size_t len = strlen(in->name), more = strlen(suffix);
    assert(len + more < sizeof name);
    memcpy(name, in->name, len);
    memcpy(name + len, suffix, more);
    return arena_text(&p->names, name, len + more, e);
}

// Of all experts, as the first piece has it.
static bool shape_stack(plan_stack *s, const plan_tensor *t, int64_t experts, err *e)
{
    const codec_part *part = &t->codec->part[t->part];
    tensor *to = &s->to;
    bool vector = t->source->rank == 1;
    assert(vector || part->row_block == 1);
    s->row = vector ? (uint64_t)dtype_block_bytes(t->to.type)
                    : codec_part_row_bytes(t->codec, t->part, t->source->in, t->to.type);
    s->n = experts * s->turns;
    to->type = t->to.type;
    to->shape[to->rank++] = experts;
    to->shape[to->rank++] = t->to.shape[0] * s->turns;
    if (!vector)
        to->shape[to->rank++] = t->to.shape[1];
    if (!vector && part->split) {
        to->shape[to->rank - 1] /= part->split;
        to->shape[to->rank++] = part->split;
    }
    to->n_elements = 1;
    for (int i = 0; i < to->rank; i++)
        to->n_elements *= to->shape[i];
    return size_mul(t->to.bytes, (uint64_t)s->n, &to->bytes) ||
           err_set(e, ERR_INPUT, "'%s' would be larger than any file", to->name);
}

static plan_stack *find(plan_stacks *s, plan *p, const plan_tensor *t, const model_stack *in,
                        err *e)
{
    const char *name = stack_name(p, t, in, e);
    int64_t at = name ? strmap_get(&s->names, name, strlen(name)) : -1;
    if (!name || at >= 0)
        return name ? s->stack[at] : NULL;
    plan_stack *one = arena_new(&p->names, 1, sizeof *one, e);
    if (!one || !mem_grow((void **)&s->stack, &s->cap, s->n + 1, sizeof *s->stack, "stacks", e) ||
        !strmap_put(&s->names, name, strlen(name), (int64_t)s->n, NULL, e))
        return NULL;
    *one = (plan_stack){.to = {.name = name}, .turns = in->of};
    s->stack[s->n++] = one;
    return shape_stack(one, t, model_arch(p->model)->n_experts, e) ? one : NULL;
}

bool plan_stacks_add(plan_stacks *s, plan *p, plan_tensor *t, err *e)
{
    const bound_weight b = {t->role, t->layer, t->expert, t->source};
    model_stack in;
    if (!has_stacks(p, &b, t->codec, &in, e) || !(t->stack = find(s, p, t, &in, e)))
        return false;
    t->piece = t->expert * in.of + in.index;
    return t->to.type == t->stack->to.type ||
           err_set(e, ERR_INPUT, "'%s' is %s, other experts' are %s: '%s' holds all of them",
                   t->to.name, dtype_name(t->to.type), dtype_name(t->stack->to.type),
                   t->stack->to.name);
}

void plan_stacks_free(plan_stacks *s)
{
    strmap_free(&s->names);
    free(s->stack);
    *s = (plan_stacks){0};
}
