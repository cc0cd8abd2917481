// SPDX-License-Identifier: Apache-2.0
#include "convert/order.h"

#include <string.h>

#include "convert/recipe_table.h"

const char *const order_forms[] = {"experts", "safetensors", "bf16", "f16", "f32", "gguf",
                                   NULL};
const char *const order_scopes[] = {"experts", "all-linear", NULL};
const char *const order_convert_scopes[] = {"stored", "experts", "all-linear", NULL};
const char *const order_searches[] = {"best", "compat", NULL};
const char *const order_layouts[] = {"plain", "experts", NULL};

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
    o->plan.layout = c->form == CODEC_BLOCKS ? LAYOUT_GGUF : LAYOUT_PLAIN;
    return true;
}

// ggml's types, too; NULL.
static const codec *target_of(const char *form)
{
    const codec *c = NULL;
    err no = ERR_INIT;
    for (int64_t i = 0; i < codec_count(); i++)
        if (codec_at(i)->form == CODEC_BLOCKS && codec_at(i)->encode &&
            str_same_nocase(form, codec_at(i)->name))
            return codec_at(i);
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

// ---- writing ---------------------------------------------------------------------------------

static int scope_index(plan_scope s)
{
    return s == SCOPE_STORED ? 0 : s == SCOPE_EXPERTS ? 1 : 2;
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
    return true;
}

static bool take_rules(reader *r, order *o)
{
    const json *found = take(r, "rules");
    return !found || recipe_read_rules(&o->rules, found, "the plan", r->e);
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
    return take_page(r, o) && take_statistics(r, o);
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
