// SPDX-License-Identifier: Apache-2.0
#include "cli/rules.h"

static bool choose_type(const rules_options *o, plan_options *out, err *e)
{
    if (!o->type)
        return true;
    if (!codec_from_user(o->type, &out->codec, e))
        return false;
    if (out->codec->form == CODEC_FLOAT)
        return err_set(e, ERR_USAGE, "--type %s is no quantized type; scruple convert --to bf16 "
                       "writes plain values", out->codec->name);
    out->scope = o->scope == 0 ? SCOPE_EXPERTS : SCOPE_ALL_LINEAR;
    return true;
}

// Who has a use for an option.
typedef struct {
    bool (*has)(const codec *c);
    bool (*own)(const recipe_rule *r); // rules that say it themselves, so that it is not theirs;
                                       // NULL: none can
    bool found;
    const codec *first;                // of the types that it is for; NULL: there are none
} use;

static void look(use *u, const codec *c)
{
    if (!c)
        return;
    u->found = u->found || u->has(c);
    u->first = u->first ? u->first : c;
}

static bool is_used(use *u, const recipe *rules, const plan_options *p)
{
    look(u, p->codec);
    look(u, p->fallback);
    for (int64_t i = 0; i < rules->n; i++) {
        const recipe_rule *r = &rules->rule[i];
        if (u->own && u->own(r))
            continue;
        look(u, r->codec);
        look(u, r->fallback);
    }
    return u->found;
}

static const char *name_of(const use *u)
{
    return u->first ? u->first->name : "rules that say it themselves";
}

static bool has_search(const recipe_rule *r) { return r->has_search; }
static bool has_signs(const recipe_rule *r) { return r->has_signs; }

void rules_warn(const rules_options *o, const order *what, const char *statistics, const events *v)
{
    use search = {codec_is_searched, has_search, false, NULL};
    use weighed = {codec_is_searched, NULL, false, NULL};
    if (o->search && !is_used(&search, &what->rules, &what->plan))
        event_warn(v, "--search %s has no effect with %s", order_searches[o->search],
                   name_of(&search));
    if (statistics && !is_used(&weighed, &what->rules, &what->plan))
        event_warn(v, "--stats has no effect with %s", name_of(&weighed));
}

static bool check_signs(const recipe *rules, const plan_options *p, err *e)
{
    use signs = {codec_has_signs, has_signs, false, NULL};
    return is_used(&signs, rules, p) ||
           err_set(e, ERR_USAGE, "--positive-scales has no effect with %s", name_of(&signs));
}

bool rules_choose(const rules_options *o, recipe *rules, plan_options *out, err *e)
{
    if (!o->type && !o->recipe && !o->tensor_type.n)
        return err_set(e, ERR_USAGE, "--type TYPE is missing (or --recipe FILE, or --tensor-type "
                       "PATTERN=TYPE)");
    for (uint64_t i = 0; i < o->tensor_type.n; i++)
        if (!recipe_add_option(rules, o->tensor_type.item[i], e))
            return false;
    if ((o->recipe && !recipe_read(rules, o->recipe, e)) || !choose_type(o, out, e) ||
        (o->fallback && !codec_from_user(o->fallback, &out->fallback, e)))
        return false;
    out->search = o->search == 0 ? SEARCH_BEST : SEARCH_COMPAT;
    out->positive_scales = o->positive_scales;
    return !o->positive_scales || check_signs(rules, out, e);
}
