// SPDX-License-Identifier: Apache-2.0
#include "convert/order.h"

#include <stdio.h>
#include <string.h>

#include "convert/recipe_table.h"

const char *const order_forms[] = {"experts", "safetensors", "bf16", "f16", "f32", "gguf",
                                   NULL};
const char *const order_scopes[] = {"experts", "all-linear", NULL};
const char *const order_convert_scopes[] = {"stored", "experts", "all-linear", NULL};
const char *const order_searches[] = {"best", "compat", NULL};
const char *const order_layouts[] = {"plain", "experts", "gguf", NULL};

const char *order_command(const order *o) { return o->quantize ? "quantize" : "convert"; }

bool order_needs_model(const order *o)
{
    return o->quantize || o->plan.layout == LAYOUT_EXPERTS || o->plan.codec;
}

// A type of codes: weights are moved into it, ggml's types in a GGUF.
static bool set_codes(order *o, const codec *c)
{
    o->plan.codec = c;
    o->plan.exact = true;
    o->plan.scope = SCOPE_STORED;
    o->plan.layout = codec_held_by(c) == HOLDER_GGUF ? LAYOUT_GGUF : LAYOUT_PLAIN;
    return true;
}

static const codec *target_of(const char *form)
{
    const codec *c = NULL;
    err no = ERR_INIT;
    return codec_from_user(form, &c, &no) && c->form != CODEC_FLOAT ? c : NULL;
}

bool order_set_form(order *o, const char *form, err *e)
{
    int i = 0;
    const codec *codes = target_of(form);
    while (order_forms[i] && !str_same_nocase(form, order_forms[i]))
        i++;
    if (codes)
        return set_codes(o, codes);
    if (!order_forms[i]) {
        const char *near = str_nearest(form, order_forms, COUNT_OF(order_forms) - 1);
        if (!near) // another name of a plain type, or what is said of types
            return codec_from_user(form, &codes, e) && order_set_form(o, codes->name, e);
        return err_set(e, ERR_USAGE, "--to '%s' does not exist in this version; there are experts, "
                       "safetensors, gguf, bf16, f16, f32 and the types of codes that scruple "
                       "writes; did you mean '%s'?", form, near);
    }
    if (i == 0)
        o->plan.layout = LAYOUT_EXPERTS;
    if (strcmp(order_forms[i], "gguf") == 0)
        o->plan.layout = LAYOUT_GGUF;
    else if (i > 1) {
        o->plan.scope = SCOPE_MATRICES;
        o->plan.codec = codec_find(order_forms[i]);
    }
    return true;
}

void order_set_scope(order *o, int scope)
{
    static const plan_scope scopes[] = {SCOPE_STORED, SCOPE_EXPERTS, SCOPE_ALL_LINEAR};
    o->plan.scope = scopes[scope];
}

// ---- which container -------------------------------------------------------------------------

// The types that are asked for, in pairs that do not go into one container.
typedef struct {
    const codec *codec[3];  // by holder: the first one of it,
    char by[3][RECIPE_RULE_TEXT]; //   and who asks for it
    const codec *stacked;   // the first one that stacks experts, and who asks for that
    char stacked_by[RECIPE_RULE_TEXT];
} wanted;

static void tell_who(char to[RECIPE_RULE_TEXT], const char *by, const recipe_rule *r)
{
    if (r)
        (void)recipe_rule_text(r, to);
    else
        (void)snprintf(to, RECIPE_RULE_TEXT, "%s", by);
}

static void want(wanted *w, const codec *c, const char *by, const recipe_rule *r)
{
    codec_holder h = c ? codec_held_by(c) : HOLDER_ANY;
    if (c && c->stacked && !w->stacked) {
        w->stacked = c;
        tell_who(w->stacked_by, by, r);
    }
    if (h == HOLDER_ANY || w->codec[h])
        return;
    w->codec[h] = c;
    tell_who(w->by[h], by, r);
}

// All experts of a layer fall back, or none.
static bool can_fall_back(const plan_options *p, const recipe *rules, err *e)
{
    const codec *to = p->fallback && p->fallback->stacked ? p->fallback : NULL;
    for (int64_t i = 0; rules && !to && i < rules->n; i++)
        if (rules->rule[i].fallback && rules->rule[i].fallback->stacked)
            to = rules->rule[i].fallback;
    return !to || err_set(e, ERR_USAGE, "%s holds the routed experts of all layers, or none: it is "
                          "no type to fall back on", to->name);
}

bool order_set_layout(plan_options *p, const recipe *rules, const plan_layout *asked, err *e)
{
    wanted w = {0};
    if (!can_fall_back(p, rules, e))
        return false;
    want(&w, p->codec, "--type", NULL);
    want(&w, p->fallback, "--fallback", NULL);
    for (int64_t i = 0; rules && i < rules->n; i++) {
        want(&w, rules->rule[i].codec, NULL, &rules->rule[i]);
        want(&w, rules->rule[i].fallback, NULL, &rules->rule[i]);
    }
    const codec *gguf = w.codec[HOLDER_GGUF], *other = w.codec[HOLDER_SAFETENSORS];
    const char *by = w.by[HOLDER_GGUF], *other_by = w.by[HOLDER_SAFETENSORS];
    if (gguf && other)
        return err_set(e, ERR_USAGE, "%s (%s) is a type of GGUF files, %s (%s) one of safetensors: "
                       "one output cannot hold both", gguf->name, by, other->name, other_by);
    if (gguf && asked && *asked != LAYOUT_GGUF)
        return err_set(e, ERR_USAGE, "%s (%s) is a type of GGUF files, --layout %s writes "
                       "safetensors", gguf->name, by, order_layouts[*asked]);
    if (other && asked && *asked == LAYOUT_GGUF)
        return err_set(e, ERR_USAGE, "%s (%s) is a type of safetensors, --layout gguf has none for "
                       "it", other->name, other_by);
    if (w.stacked && asked && *asked == LAYOUT_EXPERTS)
        return err_set(e, ERR_USAGE, "%s (%s) puts all experts of a layer into one tensor, an "
                       "expert pack has them one by one: --layout plain", w.stacked->name,
                       w.stacked_by);
    if (asked || gguf || w.stacked)
        p->layout = asked ? *asked : gguf ? LAYOUT_GGUF : LAYOUT_PLAIN;
    return true;
}

bool order_set_page(plan_options *p, uint64_t page, err *e)
{
    p->page = page ? page : p->page;
    return !page || p->layout == LAYOUT_EXPERTS ||
           err_set(e, ERR_USAGE, "--page is for expert packs only");
}

bool order_set_alignment(plan_options *p, uint64_t alignment, err *e)
{
    p->alignment = alignment;
    return !alignment || p->layout == LAYOUT_GGUF ||
           err_set(e, ERR_USAGE, "--gguf-alignment is for GGUF outputs only");
}

// ---- writing ---------------------------------------------------------------------------------

static int scope_index(plan_scope s)
{
    return s == SCOPE_STORED ? 0 : s == SCOPE_EXPERTS ? 1 : 2;
}

// Where files are cut and tensors begin, as far as somebody asked for it.
static void write_places(const plan_options *p, json_writer *w)
{
    if (p->shard_bytes != PLAN_SHARD_BYTES)
        jw_int(w, "shard_bytes", (int64_t)p->shard_bytes);
    if (p->shard_tensors)
        jw_int(w, "shard_tensors", p->shard_tensors);
    if (p->alignment)
        jw_int(w, "alignment", (int64_t)p->alignment);
}

static void write_convert(const order *o, json_writer *w)
{
    const plan_options *p = &o->plan;
    jw_text(w, "to", p->codec                      ? p->codec->name
                     : p->layout == LAYOUT_EXPERTS ? "experts"
                     : p->layout == LAYOUT_GGUF    ? "gguf"
                                                   : "safetensors");
    if (p->layout == LAYOUT_EXPERTS)
        jw_int(w, "page", (int64_t)p->page);
    if (p->exact)
        jw_text(w, "scope", order_convert_scopes[scope_index(p->scope)]);
    if (p->codec)
        jw_bool(w, "allow_lossy", o->allow_lossy);
    write_places(p, w);
}

static void write_types(const order *o, json_writer *w)
{
    const plan_options *p = &o->plan;
    jw_text(w, "type", p->codec ? p->codec->name : NULL);
    jw_text(w, "scope", order_scopes[p->scope == SCOPE_ALL_LINEAR]);
    jw_text(w, "search", order_searches[p->search == SEARCH_COMPAT]);
    jw_bool(w, "positive_scales", p->positive_scales);
    jw_text(w, "fallback", p->fallback ? p->fallback->name : NULL);
    if (o->rules.n)
        recipe_write_rules(&o->rules, w, "rules");
}

static void write_layout(const order *o, json_writer *w)
{
    const plan_options *p = &o->plan;
    char hex[65];
    jw_text(w, "layout", order_layouts[p->layout]);
    if (p->layout == LAYOUT_EXPERTS)
        jw_int(w, "page", (int64_t)p->page);
    write_places(p, w);
    if (o->weighted)
        jw_text(w, "statistics", hex_of(o->statistics.b, sizeof o->statistics.b, hex));
}

void order_write(const order *o, json_writer *w, const char *key)
{
    jw_object(w, key);
    if (o->quantize) {
        write_types(o, w);
        write_layout(o, w);
    } else {
        write_convert(o, w);
    }
    jw_object_end(w);
}

void order_write_settled(const order *o, json_writer *w, const char *key)
{
    jw_object(w, key);
    if (o->quantize) {
        jw_text(w, "recipe", RECIPE_TABLE_NAME);
        write_layout(o, w);
    } else {
        write_convert(o, w);
    }
    jw_object_end(w);
}

void order_free(order *o)
{
    recipe_free(&o->rules);
    *o = (order)ORDER_DEFAULTS;
}

// ---- reading ---------------------------------------------------------------------------------

// Members are counted as they are taken, so that none stays that nobody knows.
typedef struct {
    const json *object;
    int64_t taken;
    err *e;
} reader;

static const json *take(reader *r, const char *key)
{
    const json *value = json_get(r->object, key);
    r->taken += value != NULL;
    return value;
}

static bool bad(reader *r, const char *key)
{
    return err_set(r->e, ERR_INPUT, "the options have no '%s' that makes sense", key);
}

static bool take_choice(reader *r, const char *key, const char *const *list, int *which)
{
    const char *text = json_as_text(take(r, key));
    *which = 0;
    while (text && list[*which] && strcmp(text, list[*which]) != 0)
        ++*which;
    return (text && list[*which]) || bad(r, key);
}

static bool take_bool(reader *r, const char *key, bool *value)
{
    return json_as_bool(take(r, key), value) || bad(r, key);
}

static bool take_codec(reader *r, const char *key, bool or_null, const codec **value)
{
    const json *found = take(r, key);
    const char *name = json_as_text(found);
    *value = name ? codec_find(name) : NULL;
    return *value || (or_null && found && json_type(found) == JSON_NULL) || bad(r, key);
}

static bool take_page(reader *r, order *o)
{
    int64_t page;
    if (o->plan.layout != LAYOUT_EXPERTS)
        return true;
    if (!json_as_int(take(r, "page"), &page) || page < PLAN_LEAST_PAGE ||
        page > PLAN_LARGEST_PAGE || (page & (page - 1)) != 0)
        return bad(r, "page");
    o->plan.page = (uint64_t)page;
    return true;
}

// A whole number from `least` to `most` where the key is there.
static bool take_number(reader *r, const char *key, int64_t least, int64_t most, int64_t *value)
{
    const json *found = take(r, key);
    return !found || (json_as_int(found, value) && *value >= least && *value <= most) ||
           bad(r, key);
}

static bool take_places(reader *r, order *o)
{
    plan_options *p = &o->plan;
    int64_t bytes = (int64_t)p->shard_bytes, alignment = 0;
    if (!take_number(r, "shard_bytes", 1, INT64_MAX, &bytes) ||
        !take_number(r, "shard_tensors", 1, INT64_MAX, &p->shard_tensors) ||
        !take_number(r, "alignment", PLAN_LEAST_ALIGNMENT, GGUF_MAX_ALIGNMENT, &alignment))
        return false;
    p->shard_bytes = (uint64_t)bytes;
    p->alignment = (uint64_t)alignment;
    bool fine = (alignment & (alignment - 1)) == 0 && (!alignment || p->layout == LAYOUT_GGUF);
    return fine || bad(r, "alignment");
}

static bool take_statistics(reader *r, order *o)
{
    const json *found = take(r, "statistics");
    const char *hex = json_as_text(found);
    o->weighted = found != NULL;
    return !found || (hex && hex_to(hex, o->statistics.b, sizeof o->statistics.b)) ||
           bad(r, "statistics");
}

// As write_convert has it, where a user may write it otherwise.
static bool is_written_form(const char *form)
{
    for (int i = 0; order_forms[i]; i++)
        if (strcmp(form, order_forms[i]) == 0)
            return true;
    return codec_find(form) && codec_find(form)->form != CODEC_FLOAT;
}

static bool parse_convert(reader *r, order *o)
{
    const char *form = json_as_text(take(r, "to"));
    int scope;
    err no = ERR_INIT;
    if (!form || !is_written_form(form) || !order_set_form(o, form, &no))
        return bad(r, "to");
    if (!take_page(r, o))
        return false;
    if (o->plan.exact) {
        if (!take_choice(r, "scope", order_convert_scopes, &scope))
            return false;
        order_set_scope(o, scope);
    }
    if (o->plan.codec && !take_bool(r, "allow_lossy", &o->allow_lossy))
        return false;
    o->plan.lossy = o->plan.exact && o->allow_lossy;
    return take_places(r, o);
}

static bool take_rules(reader *r, order *o)
{
    const json *found = take(r, "rules");
    return !found || recipe_read_rules(&o->rules, found, "the plan", r->e);
}

static bool check_layout(reader *r, order *o)
{
    if (order_set_layout(&o->plan, &o->rules, &o->plan.layout, r->e))
        return true;
    r->e->kind = ERR_INPUT;
    return false;
}

static bool parse_quantize(reader *r, order *o)
{
    int scope, search, layout;
    o->quantize = true;
    if (!take_codec(r, "type", true, &o->plan.codec) ||
        !take_choice(r, "scope", order_scopes, &scope) ||
        !take_choice(r, "search", order_searches, &search) ||
        !take_bool(r, "positive_scales", &o->plan.positive_scales) ||
        !take_codec(r, "fallback", true, &o->plan.fallback) ||
        !take_rules(r, o) || !take_choice(r, "layout", order_layouts, &layout))
        return false;
    if (o->plan.codec)
        o->plan.scope = scope == 0 ? SCOPE_EXPERTS : SCOPE_ALL_LINEAR;
    o->plan.search = search == 0 ? SEARCH_BEST : SEARCH_COMPAT;
    o->plan.layout = (plan_layout)layout;
    if (o->plan.codec ? o->plan.codec->form == CODEC_FLOAT : o->rules.n == 0)
        return bad(r, "type");
    return check_layout(r, o) && take_page(r, o) && take_places(r, o) && take_statistics(r, o);
}

bool order_parse(order *o, const char *command, const json *options, err *e)
{
    reader r = {options, 0, e};
    *o = (order)ORDER_DEFAULTS;
    bool quantize = strcmp(command, "quantize") == 0;
    if (!quantize && strcmp(command, "convert") != 0)
        return err_set(e, ERR_INPUT, "there is no command '%s' that makes checkpoints", command);
    if (json_type(options) != JSON_OBJECT)
        return err_set(e, ERR_INPUT, "the options are no object");
    return (quantize ? parse_quantize(&r, o) : parse_convert(&r, o)) &&
           (r.taken == json_len(options) ||
            err_set(e, ERR_INPUT, "the options have members that this version does not know"));
}
