// SPDX-License-Identifier: Apache-2.0
#include "formats/model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/config.h"
#include "formats/quant_config.h"

enum { NAME_BYTES = MODEL_STACK_NAME };

struct model {
    const checkpoint *from;
    config config;
    name_prefix prefix;
    quant_config quant;
    arena arena;             // weights and module names
    weight **slot;           // [n_layers + 1][ROLE_COUNT], row 0 is global; expert roles point to
                             // n_experts weights, the others to one; NULL where there is none
    tensor_account *account; // [checkpoint_count]
    bound_weight *bound;     // [n_bound]
    uint64_t bound_cap;
    int64_t n_bound;
    int64_t parameters, expert_parameters;
};

// ---- where things are ----

const char *role_where(role r, int64_t layer, int64_t expert, char buf[MODEL_WHERE_TEXT])
{
    if (layer < 0)
        (void)snprintf(buf, MODEL_WHERE_TEXT, "%s", role_label(r));
    else if (expert < 0)
        (void)snprintf(buf, MODEL_WHERE_TEXT, "layer %lld, %s", (long long)layer, role_label(r));
    else
        (void)snprintf(buf, MODEL_WHERE_TEXT, "layer %lld, expert %lld, %s", (long long)layer,
                       (long long)expert, role_label(r));
    return buf;
}

// Gate and up share a stack.
static const char *stack_label(const tensor_account *a)
{
    if (a->role == ROLE_EXPERT_GATE)
        return "gate_proj and up_proj";
    return a->role == ROLE_EXPERT_GATE_BIAS ? "gate_proj and up_proj biases" : role_label(a->role);
}

const char *model_where(const tensor_account *a, char buf[MODEL_WHERE_TEXT])
{
    if (!a->used) {
        (void)snprintf(buf, MODEL_WHERE_TEXT, "copied by the rule '%s'", a->rule);
        return buf;
    }
    char place[MODEL_WHERE_TEXT];
    if (a->stacked)
        (void)snprintf(place, sizeof place, "layer %lld, all experts, %s", (long long)a->layer,
                       stack_label(a));
    else
        role_where(a->role, a->layer, a->expert, place);
    const weight *w = a->weight;
    const char *suffix = a->part ? w->part[a->part]->name + strlen(w->stored) : "";
    if (a->part == 0)
        (void)snprintf(buf, MODEL_WHERE_TEXT, "%s", place);
    else
        (void)snprintf(buf, MODEL_WHERE_TEXT, "%.90s (%s)", place, suffix + (*suffix == '.'));
    return buf;
}

static weight **slot_of(const model *m, role r, int64_t layer)
{
    return &m->slot[(layer + 1) * ROLE_COUNT + (int64_t)r];
}

// ---- binding ----

// Puts place, and the config keys that the shape comes from, in front of weight_bind's sentence.
static bool explain(const model *m, const role_row *r, const weight_terms *t, const char *place,
                    err *e)
{
    char name[NAME_BYTES];
    bool there = t->stored && weight_any_part(m->from, t->stored);
    const char *const main_part[] = {r->suffix, "weight_packed", "qweight"};
    for (size_t i = 0; !t->stored && i < COUNT_OF(main_part); i++) {
        (void)snprintf(name, sizeof name, "%s.%s", t->module, main_part[i]);
        there = there || checkpoint_find(m->from, name);
    }
    strbuf shape = {0};
    if (there && t->stored) {
        config_dim_text(&m->config, DIM_EXPERTS, &shape);
        strbuf_puts(&shape, "; ");
    }
    if (there && r->rank == 2) {
        config_dim_text(&m->config, r->out, &shape);
        strbuf_puts(&shape, "; ");
    }
    if (there)
        config_dim_text(&m->config, r->in, &shape);
    if (there && !shape.failed)
        err_in(e, "%s, by config.json [%s]", place, shape.text);
    else
        err_in(e, "%s", place);
    strbuf_free(&shape);
    return false;
}

static bool take_account(model *m, const bound_weight *b, err *e)
{
    const weight *w = b->weight;
    if (!mem_grow((void **)&m->bound, &m->bound_cap, (uint64_t)m->n_bound + 1, sizeof *m->bound,
                  "the model's weights", e))
        return false;
    m->bound[m->n_bound] = *b;
    for (int p = 0; p < w->n_parts; p++) {
        int64_t i = checkpoint_index_of(m->from, w->part[p]->name);
        tensor_account *a = i < 0 ? NULL : &m->account[i];
        bool shared = a && a->used && a->stacked && w->view && a->layer == b->layer &&
                      a->part == p && a->first + a->n == m->n_bound;
        if (!a || (a->used && !shared))
            return err_set(e, ERR_INTERNAL, "tensor '%s' is bound to two roles", w->part[p]->name);
        if (!shared)
            *a = (tensor_account){.used = true, .stacked = w->view, .role = b->role,
                                  .layer = b->layer, .expert = w->view ? -1 : b->expert,
                                  .part = p, .weight = w, .first = m->n_bound};
        a->n++;
    }
    m->n_bound++;
    int64_t elements = weight_elements(w);
    m->parameters += elements;
    if (role_is_expert(b->role))
        m->expert_parameters += elements;
    return true;
}

static const char *template_name(model *m, const char *template, int64_t layer, int64_t expert,
                                 err *e)
{
    char name[NAME_BYTES];
    size_t len = family_name(name, sizeof name, template, &m->prefix, layer, expert);
    return arena_text(&m->arena, name, len, e);
}

// Where the weights of a row are in their stack: `t` is filled in but for the view's slice.
static bool find_stack(model *m, const role_row *r, const stack_row *s, int64_t layer,
                       weight_view *view, weight_terms *t, err *e)
{
    int64_t rows = r->rank == 1 ? t->in : t->out;
    *view = (weight_view){.slices = m->config.arch.n_experts,
                          .rows = rows * s->of,
                          .first = s->interleaved ? s->index : rows * s->index,
                          .step = s->interleaved ? s->of : 1};
    t->stored = template_name(m, s->module, layer, 0, e);
    view->transposed = r->rank == 2 && s->turned && t->stored &&
                       checkpoint_find(m->from, t->stored);
    return t->stored != NULL;
}

// All weights of a row in a layer: one, or one an expert.
static bool bind_row(model *m, const role_row *r, const stack_row *stack, int64_t layer, err *e)
{
    bool per_expert = role_is_expert(r->role);
    int64_t n = per_expert ? m->config.arch.n_experts : 1;
    weight_terms terms = {.suffix = r->suffix, .rank = r->rank,
                          .out = config_dim(&m->config, r->out),
                          .in = config_dim(&m->config, r->in),
                          .gptq_format = m->quant.gptq_format};
    weight_view in_stack;
    weight *w = arena_new(&m->arena, (uint64_t)n, sizeof *w, e);
    weight_view *view = stack ? arena_new(&m->arena, (uint64_t)n, sizeof *view, e) : NULL;
    if (!w || (stack && (!view || !find_stack(m, r, stack, layer, &in_stack, &terms, e))))
        return false;
    for (int64_t i = 0; i < n; i++) {
        bound_weight b = {r->role, layer, per_expert ? i : -1, &w[i]};
        terms.module = template_name(m, r->module, layer, i, e);
        if (!terms.module)
            return false;
        if (stack) {
            view[i] = in_stack;
            view[i].slice = i;
            terms.view = &view[i];
        }
        if (!weight_bind_as(&w[i], m->from, &terms, e)) {
            char place[MODEL_WHERE_TEXT];
            return explain(m, r, &terms, role_where(r->role, layer, b.expert, place), e);
        }
        if (!take_account(m, &b, e))
            return false;
    }
    weight **slot = slot_of(m, r->role, layer);
    assert(!*slot); // two rows of the table for one role in one layer
    *slot = w;
    return true;
}

// ---- stacked experts ----

// The first tensor that the experts of a layer have of their own, or share.
static const tensor *any_of_experts(const model *m, int64_t layer, bool shared)
{
    const family *f = m->config.family;
    for (const role_set *set = f->roles; set->row; set++)
        for (int i = 0; i < set->n; i++) {
            const role_row *r = &set->row[i];
            const stack_row *s = role_is_expert(r->role) ? family_stack(f, r->role) : NULL;
            char name[NAME_BYTES];
            if (!s)
                continue;
            family_name(name, sizeof name, shared ? s->module : r->module, &m->prefix, layer, 0);
            const tensor *t = weight_any_part(m->from, name);
            if (t)
                return t;
        }
    return NULL;
}

// Whether a layer's experts are stacked: its tensors tell, and where there are none the family.
static bool are_stacked(const model *m, int64_t layer, bool *stacked, err *e)
{
    const tensor *own = any_of_experts(m, layer, false), *shared = any_of_experts(m, layer, true);
    if (own && shared)
        return err_set(e, ERR_INPUT, "layer %lld has its experts twice: tensor '%s' stacks them, "
                       "and tensor '%s' is of one of them", (long long)layer, shared->name,
                       own->name);
    *stacked = shared || (!own && m->config.family->stacked);
    return true;
}

static bool bind_layer(model *m, int64_t layer, err *e)
{
    const family *f = m->config.family;
    layer_kind in = config_layer(&m->config, layer);
    bool stacked = false;
    if (in.mixture && !are_stacked(m, layer, &stacked, e))
        return false;
    for (const role_set *set = f->roles; set->row; set++) {
        for (int i = 0; i < set->n; i++) {
            const role_row *r = &set->row[i];
            const stack_row *stack = stacked && role_is_expert(r->role) ? family_stack(f, r->role)
                                                                        : NULL;
            if (role_row_in_layers(r) == (layer >= 0) && config_has_row(&m->config, r, in) &&
                !bind_row(m, r, stack, layer, e))
                return false;
        }
    }
    return true;
}

// ---- what the checkpoint looks like before anything is bound ----

static void choose_prefix(model *m)
{
    const family *f = m->config.family;
    const role_row *embedding = &f->roles[0].row[0];
    m->prefix = f->prefix[0];
    for (const name_prefix *p = f->prefix; p->body; p++) {
        char name[NAME_BYTES];
        size_t len = family_name(name, sizeof name, embedding->module, p, 0, 0);
        (void)snprintf(name + len, sizeof name - len, ".%s", embedding->suffix);
        if (checkpoint_find(m->from, name)) {
            m->prefix = *p;
            return;
        }
    }
}

// ---- tensors without a role ----

static bool refuse_leftover(const model *m, int64_t first, int64_t n, err *e)
{
    char short_name[STR_SHORT], more[64] = "", hint[160] = "";
    const char *name = checkpoint_at(m->from, first)->name;
    const arch *a = &m->config.arch;
    static const name_rule any_layer = {.pattern = "{m}layers.{x}.*"};
    if (n > 1)
        (void)snprintf(more, sizeof more, " (and %lld more)", (long long)(n - 1));
    if (family_rule_fits(&any_layer, &m->prefix, a->n_layers + a->n_extra_layers, INT32_MAX, name))
        (void)snprintf(hint, sizeof hint, "; config.json says %s %lld",
                       m->config.value[CF_LAYERS].path, (long long)a->n_layers);
    return err_set(e, ERR_INPUT, "tensor '%s'%s has no role in family %s and no rule accounts for "
                   "it%s", str_short(name, short_name), more, a->family, hint);
}

static bool account_for_the_rest(model *m, err *e)
{
    int64_t left = 0, first = -1;
    for (int64_t i = 0; i < checkpoint_count(m->from); i++) {
        tensor_account *account = &m->account[i];
        if (account->used)
            continue;
        *account = (tensor_account){.layer = -1, .expert = -1};
        account->rule = family_rule(m->config.family, &m->prefix, &m->config.arch,
                                    checkpoint_at(m->from, i)->name);
        if (!account->rule && left++ == 0)
            first = i;
    }
    return left == 0 || refuse_leftover(m, first, left, e);
}

// ---- config against tensors ----

static bool check_codecs(const model *m, err *e)
{
    const quant_config *q = &m->quant;
    char declared[200];
    quant_config_text(q, declared, sizeof declared);
    bool quantized = false;
    for (int64_t i = 0; i < checkpoint_count(m->from); i++) {
        const tensor_account *a = &m->account[i];
        // Floats and blocks say all by their own types.
        if (!a->used || a->part != 0 || a->weight->codec->form == CODEC_FLOAT ||
            a->weight->codec->form == CODEC_BLOCKS)
            continue;
        quantized = true;
        if (quant_config_declares(q, a->weight))
            continue;
        char place[MODEL_WHERE_TEXT];
        model_where(a, place);
        if (!q->method)
            return err_set(e, ERR_INPUT, "%s: tensor '%s' is stored as %s, but config.json has no "
                           "quantization_config", place, checkpoint_at(m->from, i)->name,
                           a->weight->codec->name);
        return err_set(e, ERR_INPUT, "%s: tensor '%s' is stored as %s, but config.json's "
                       "quantization_config declares %s", place, checkpoint_at(m->from, i)->name,
                       a->weight->codec->name,
                       q->n ? declared : "no weights");
    }
    if (q->n > 0 && !quantized)
        return err_set(e, ERR_INPUT, "config.json's quantization_config declares %s, but no weight "
                       "of the model is stored that way", declared);
    return true;
}

// ---- doors ----

static bool open_config(model *m, const checkpoint *beside, const events *v, err *e)
{
    char *text;
    size_t len;
    if (!file_read_beneath(checkpoint_dir(beside), "config.json", CONFIG_MAX_BYTES, &text, &len,
                           e))
        return false;
    bool done = config_init(&m->config, text, len, v, e);
    free(text);
    return done;
}

// How another checkpoint's weights are stored says nothing about these.
static bool bind_all(model *m, bool own_config, err *e)
{
    choose_prefix(m);
    if (own_config && !quant_config_read(&m->quant, &m->config, e))
        return false;
    for (int64_t layer = -1; layer < m->config.arch.n_layers; layer++)
        if (!bind_layer(m, layer, e))
            return false;
    return account_for_the_rest(m, e) && check_codecs(m, e);
}

static const char *architecture_of(const checkpoint *c)
{
    return gguf_as_text(gguf_find(checkpoint_gguf(c), "general.architecture"));
}

bool model_is_foreign(const checkpoint *c, bool *foreign, err *e)
{
    path_kind kind = PATH_NOTHING;
    *foreign = checkpoint_gguf(c) && architecture_of(c);
    if (*foreign || !checkpoint_gguf(c))
        return true;
    if (!path_find_in(checkpoint_dir(c), "config.json", &kind, e))
        return false;
    *foreign = kind == PATH_NOTHING;
    return true;
}

static bool refuse_foreign(const checkpoint *c, err *e)
{
    char buf[STR_SHORT];
    const char *architecture = architecture_of(c);
    return err_set(e, ERR_INPUT, "'%s' is a GGUF file %s%s%s: its tensors' names are bound to no "
                   "family by this version (ls, show, check, digest and convert --to safetensors, "
                   "gguf, bf16, f16, f32 and ggml's types need none)", checkpoint_path(c),
                   architecture ? "of the architecture '" : "without a config.json beside it",
                   architecture ? str_short(architecture, buf) : "", architecture ? "'" : "");
}

static bool open_with(model **out, const checkpoint *c, const checkpoint *beside, const events *v,
                      err *e)
{
    model *m = mem_new(1, sizeof *m, "a model", e);
    if (!m)
        return false;
    m->from = c;
    if (!open_config(m, beside, v, e))
        goto failed;
    uint64_t n_slots = (uint64_t)(m->config.arch.n_layers + 1) * ROLE_COUNT;
    m->slot = mem_new(n_slots, sizeof *m->slot, "the model's roles", e);
    m->account = m->slot ? mem_new((uint64_t)checkpoint_count(c), sizeof *m->account,
                                   "the tensors' roles", e) : NULL;
    if (!m->account || !bind_all(m, beside == c, e))
        goto failed;
    *out = m;
    return true;
failed:
    model_close(m);
    return false;
}

bool model_open(model **out, const checkpoint *c, const events *v, err *e)
{
    bool foreign;
    *out = NULL;
    return model_is_foreign(c, &foreign, e) && (!foreign || refuse_foreign(c, e)) &&
           open_with(out, c, c, v, e);
}

bool model_open_like(model **out, const checkpoint *c, const model *like, const events *v, err *e)
{
    bool foreign;
    *out = NULL;
    if (!model_is_foreign(c, &foreign, e))
        return false;
    if (!foreign || architecture_of(c))
        return model_open(out, c, v, e);
    event_warn(v, "'%s' has no config.json beside it; the one beside '%s' is taken for its",
               checkpoint_path(c), checkpoint_path(like->from));
    return open_with(out, c, like->from, NULL, e);
}

void model_close(model *m)
{
    if (!m)
        return;
    config_free(&m->config);
    arena_free(&m->arena);
    free(m->slot);
    free(m->account);
    free(m->bound);
    free(m);
}

const arch *model_arch(const model *m) { return &m->config.arch; }
const quant_config *quant_config_of(const model *m) { return &m->quant; }

const checkpoint *model_checkpoint(const model *m) { return m->from; }

ffn_kind model_ffn(const model *m, int64_t layer) { return m->config.ffn[layer]; }

const weight *model_weight(const model *m, role r, int64_t layer, int64_t expert)
{
    const arch *a = &m->config.arch;
    if (layer < -1 || layer >= a->n_layers)
        return NULL;
    if (r == ROLE_HEAD && a->tied_head)
        r = ROLE_EMBED;
    const weight *w = *slot_of(m, r, layer);
    if (!role_is_expert(r))
        return expert == -1 ? w : NULL;
    return w && expert >= 0 && expert < a->n_experts ? &w[expert] : NULL;
}

bool model_stack_of(const model *m, role r, int64_t layer, model_stack *out)
{
    const stack_row *s = family_stack(m->config.family, r);
    *out = (model_stack){.of = 0};
    if (!s)
        return false;
    out->of = s->of;
    out->index = s->index;
    out->interleaved = s->interleaved;
    family_name(out->name, sizeof out->name, s->module, &m->prefix, layer, 0);
    return true;
}

int64_t model_n_weights(const model *m) { return m->n_bound; }

const bound_weight *model_weight_at(const model *m, int64_t i) { return &m->bound[i]; }

const tensor_account *model_account(const model *m, int64_t tensor_index)
{
    return &m->account[tensor_index];
}

int64_t model_parameters(const model *m, bool experts_only)
{
    return experts_only ? m->expert_parameters : m->parameters;
}
