// SPDX-License-Identifier: Apache-2.0
#include "convert/decide.h"

#include <stdlib.h>
#include <string.h>

// The patterns of all rules in a row. Whole names are looked up, the others are tried in order.
typedef struct {
    const recipe_rule *rule;
    const selector *pattern;
    int64_t rule_index;
    bool seen;             // a weight that it reaches fits
} entry;

// What is decided about: a weight, or a tensor that no weight has.
typedef struct {
    tensor_account account; // of a stack's tensor: the weight's own
    const tensor *tensor;
    int64_t at;             // of its decision
} item;

typedef struct {
    const plan_options *options;
    const checkpoint *source;
    const model *model;
    item *item;            // [n_items] in the order of tensors
    int64_t n_items;
    entry *entry;          // [n]
    int64_t n;
    int64_t *scan;         // [n_scan] entries that are no whole names
    int64_t n_scan, n_unseen; // of the scanned ones that matter
    strmap names;          // whole name -> entry
    bool *decided;         // [rules] at least one weight
    bool *overridden;      // [rules] of the file that lost a weight to --tensor-type
} decider;

static int64_t n_rules(const plan_options *o) { return o->rules ? o->rules->n : 0; }

// Options are there to override what a file says.
static bool overrides(const entry *by, const entry *x) { return !by->rule->file && x->rule->file; }

static bool index_name(decider *d, int64_t at, err *e)
{
    entry *x = &d->entry[at];
    const char *name = x->pattern->name;
    bool fresh;
    if (!strmap_put(&d->names, name, strlen(name), at, &fresh, e))
        return false;
    // A name that was there before fits nothing any more.
    x->seen = !fresh && overrides(&d->entry[strmap_get(&d->names, name, strlen(name))], x);
    d->overridden[x->rule_index] |= x->seen;
    return true;
}

static bool index_rules(decider *d, err *e)
{
    uint64_t n = d->options->rules ? (uint64_t)d->options->rules->n_patterns : 0;
    d->entry = mem_new(n, sizeof *d->entry, "rules", e);
    d->scan = mem_new(n, sizeof *d->scan, "rules", e);
    d->decided = mem_new((uint64_t)n_rules(d->options), sizeof *d->decided, "rules", e);
    d->overridden = mem_new((uint64_t)n_rules(d->options), sizeof *d->overridden, "rules", e);
    if (!d->entry || !d->scan || !d->decided || !d->overridden)
        return false;
    for (int64_t r = 0; r < n_rules(d->options); r++) {
        const recipe_rule *rule = &d->options->rules->rule[r];
        for (int64_t p = 0; p < rule->n_patterns; p++) {
            const selector *s = &rule->pattern[p];
            d->entry[d->n] = (entry){rule, s, r, false};
            if (s->name && !index_name(d, d->n, e))
                return false;
            if (!s->name)
                d->scan[d->n_scan++] = d->n;
            d->n_unseen += !s->name && !rule->optional;
            d->n++;
        }
    }
    return true;
}

static bool list_items(decider *d, err *e)
{
    int64_t n = checkpoint_count(d->source);
    d->item = mem_new((uint64_t)(n + model_n_weights(d->model)), sizeof *d->item, "decisions", e);
    for (int64_t i = 0; d->item && i < n; i++) {
        const tensor_account *a = model_account(d->model, i);
        const tensor *t = checkpoint_at(d->source, i);
        if (!a->used)
            d->item[d->n_items++] = (item){*a, t, i};
        for (int64_t k = a->first; a->used && a->part == 0 && k < a->first + a->n; k++) {
            const bound_weight *b = model_weight_at(d->model, k);
            item *one = &d->item[d->n_items++];
            *one = (item){*a, t, n + k};
            one->account.role = b->role;
            one->account.layer = b->layer;
            one->account.expert = b->expert;
            one->account.weight = b->weight;
        }
    }
    return d->item != NULL;
}

static void decider_free(decider *d)
{
    free(d->item);
    free(d->entry);
    free(d->scan);
    free(d->decided);
    free(d->overridden);
    strmap_free(&d->names);
}

// ---- which rule ------------------------------------------------------------------------------

static bool is_vector(const tensor_account *a) { return a->weight->rank == 1; }

// Whether a rule whose pattern fits means this tensor, see decide.h.
static bool reaches(const entry *x, const tensor_account *a)
{
    if (!x->rule->codec)
        return true;
    if (!a->used || is_vector(a))
        return x->pattern->aim == SELECTOR_EXACT;
    return role_is_linear(a->role) || x->pattern->aim != SELECTOR_LOOSE;
}

static int64_t take_name(decider *d, const char *name, int64_t *best)
{
    int64_t at = d->names.n ? strmap_get(&d->names, name, strlen(name)) : -1;
    if (at < 0)
        return -1;
    d->entry[at].seen = true;
    if (*best < 0 || at < *best)
        *best = at;
    return at;
}

static void note_loss(decider *d, int64_t to, int64_t loser)
{
    if (loser >= 0 && overrides(&d->entry[to], &d->entry[loser]))
        d->overridden[d->entry[loser].rule_index] = true;
}

// The first entry that decides; -1: none. Later ones are tried until each has fitted once, so that
// those which never do can be named.
static bool find_entry(decider *d, const tensor_account *a, const tensor *t, int64_t *best, err *e)
{
    selector_subject subject = selector_subject_of(a, t);
    char text[RECIPE_RULE_TEXT];
    *best = -1;
    int64_t module = take_name(d, subject.module, best), name = take_name(d, subject.tensor, best);
    for (int64_t i = 0; i < d->n_scan; i++) {
        int64_t at = d->scan[i];
        entry *x = &d->entry[at];
        bool late = *best >= 0 && at > *best, yes;
        if (late && d->n_unseen == 0)
            break;
        if ((late && x->seen) || !reaches(x, a))
            continue;
        if (!selector_matches(x->pattern, &subject, &yes, e))
            return err_in(e, "%s", recipe_rule_text(x->rule, text));
        if (!yes)
            continue;
        d->n_unseen -= !x->seen && !x->rule->optional;
        x->seen = true;
        if (late)
            note_loss(d, *best, at);
        else
            *best = at;
    }
    if (*best >= 0) {
        note_loss(d, *best, module);
        note_loss(d, *best, name);
    }
    return true;
}

// ---- which type ------------------------------------------------------------------------------

static bool in_scope(const plan_options *o, const tensor_account *a)
{
    if (!a->used)
        return false;
    switch (o->scope) {
    case SCOPE_NONE: return false;
    case SCOPE_EXPERTS: return role_is_expert(a->role) && !is_vector(a);
    case SCOPE_ALL_LINEAR: return role_is_linear(a->role);
    case SCOPE_MATRICES: return !is_vector(a);
    case SCOPE_STORED: return !is_vector(a) && a->weight->codec->form != CODEC_FLOAT;
    }
    return false;
}

// The codec asked for, or the fall-back where its group does not divide the columns.
static const codec *dividing(const plan_options *o, const codec *c, const codec *fallback,
                             const weight *w, bool by_rule, err *e)
{
    if (codec_fits(c, w->out, w->in))
        return c;
    if (fallback && codec_fits(fallback, w->out, w->in))
        return fallback;
    bool rows = codec_divides(c, w->in);
    if (o->exact || (c->stacked && !fallback)) // of all experts in one type: no fall-back helps
        err_set(e, ERR_INPUT, "%s: %s needs %s that are a multiple of %lld, it has %lld", w->module,
                c->name, rows ? "rows" : "columns",
                (long long)(rows ? codec_row_multiple(c) : codec_multiple(c)),
                (long long)(rows ? w->out : w->in));
    else if (fallback)
        err_set(e, ERR_INPUT, "%s: neither %s nor the fall-back %s divides its %lld columns",
                w->module, c->name, fallback->name, (long long)w->in);
    else if (rows)
        err_set(e, ERR_INPUT, "%s: %s needs rows that are a multiple of %lld, it has %lld; "
                "--fallback TYPE%s names the type for such tensors", w->module, c->name,
                (long long)codec_row_multiple(c), (long long)w->out,
                by_rule ? " or a rule's 'fallback'" : "");
    else
        err_set(e, ERR_INPUT, "%s: %s needs columns that are a multiple of %lld, it has %lld; "
                "--fallback TYPE%s names the type for such tensors", w->module, c->name,
                (long long)codec_multiple(c), (long long)w->in,
                by_rule ? " or a rule's 'fallback'" : "");
    return NULL;
}

static void settle(decision *d, const weight *w, const codec *c, codec_search search, bool positive)
{
    bool searched = codec_is_searched(c) && c != w->codec;
    d->codec = c != w->codec ? c : NULL;
    d->search = searched ? search : SEARCH_BEST;
    d->positive_scales = searched && positive;
}

static bool by_rule(const decider *d, const entry *x, const tensor_account *a, const tensor *t,
                    decision *out, err *e)
{
    const plan_options *o = d->options;
    const recipe_rule *r = x->rule;
    char text[RECIPE_RULE_TEXT], s[STR_SHORT];
    out->rule = x->rule_index;
    d->decided[x->rule_index] = true;
    if (!r->codec)
        return true;
    if (!a->used)
        return err_set(e, ERR_INPUT, "%s: '%s' belongs to no role of the model ('%s'), it can only "
                       "be kept", recipe_rule_text(r, text), str_short(t->name, s), a->rule);
    if (is_vector(a))
        return err_set(e, ERR_INPUT, "%s: '%s' is a vector, it can only be kept",
                       recipe_rule_text(r, text), str_short(t->name, s));
    const codec *c = dividing(o, r->codec, r->fallback ? r->fallback : o->fallback, a->weight,
                              true, e);
    if (!c)
        return err_in(e, "%s", recipe_rule_text(r, text));
    settle(out, a->weight, c, r->has_search ? r->search : o->search,
           r->has_signs ? r->positive_scales : o->positive_scales);
    return true;
}

static bool by_scope(const plan_options *o, const tensor_account *a, decision *out, err *e)
{
    if (!in_scope(o, a))
        return true;
    const codec *c = dividing(o, o->codec, o->fallback, a->weight, false, e);
    if (!c)
        return false;
    out->rule = n_rules(o);
    settle(out, a->weight, c, o->search, o->positive_scales);
    return true;
}

static bool decide_one(decider *d, const item *one, decision *out, err *e)
{
    const tensor_account *a = &one->account;
    const tensor *t = one->tensor;
    int64_t at;
    *out = (decision){.rule = -1};
    if (!find_entry(d, a, t, &at, e))
        return false;
    return at >= 0 ? by_rule(d, &d->entry[at], a, t, out, e) : by_scope(d->options, a, out, e);
}

// ---- rules that decide nothing ---------------------------------------------------------------

typedef struct {
    int64_t fitting, matrices, reached; // tensors that fit; of these matrices; of these reached
    int64_t first, first_matrix;        // the first item of them
    const char *within;                 // a name that holds the pattern's text
} trace;

static void note(int64_t i, int64_t *n, int64_t *first)
{
    if ((*n)++ == 0)
        *first = i;
}

static bool follow(const decider *d, const entry *x, trace *out, err *e)
{
    *out = (trace){0};
    for (int64_t i = 0; i < d->n_items; i++) {
        const tensor_account *a = &d->item[i].account;
        selector_subject subject = selector_subject_of(a, d->item[i].tensor);
        bool yes;
        if (!selector_matches(x->pattern, &subject, &yes, e))
            return false;
        if (!out->within && strstr(subject.module, x->pattern->text))
            out->within = subject.module;
        if (!yes)
            continue;
        note(i, &out->fitting, &out->first);
        if (a->used && !is_vector(a))
            note(i, &out->matrices, &out->first_matrix);
        out->reached += reaches(x, a);
    }
    return true;
}

static bool refuse_unseen(const decider *d, const entry *x, err *e)
{
    char text[RECIPE_RULE_TEXT], s[STR_SHORT], p[STR_SHORT];
    trace t;
    if (!follow(d, x, &t, e))
        return false;
    const char *pattern = str_short(x->pattern->text, p);
    const char *first = d->item[t.matrices ? t.first_matrix : t.first].tensor->name;
    if (!t.fitting && t.within)
        err_set(e, ERR_INPUT, "'%s' is no whole name; it stands in '%s', which *%s* would match",
                pattern, str_short(t.within, s), pattern);
    else if (!t.fitting)
        err_set(e, ERR_INPUT, "no tensor of this model fits '%s'", pattern);
    else if (t.reached)
        err_set(e, ERR_INPUT, "'%s' is named by an earlier rule already", pattern);
    else if (t.matrices)
        err_set(e, ERR_INPUT, "'%s' fits no linear weight; what it fits (%lld, the first is '%s') "
                "has to be named by its role, '%s', or its whole name", pattern,
                (long long)t.matrices, str_short(first, s),
                role_name(d->item[t.first_matrix].account.role));
    else
        err_set(e, ERR_INPUT, "what '%s' fits can only be kept: vectors, and tensors without a "
                "role (%lld, the first is '%s')", pattern, (long long)t.fitting,
                str_short(first, s));
    return err_in(e, "%s decides nothing", recipe_rule_text(x->rule, text));
}

// A rule lost all that this pattern of it fits. To --tensor-type: that is what it is for.
static bool refuse_shadowed(const decider *d, const decision *list, const entry *x, err *e)
{
    char text[RECIPE_RULE_TEXT], other[RECIPE_RULE_TEXT], s[STR_SHORT];
    const recipe_rule *rule = d->options->rules->rule;
    int64_t first = -1;
    for (int64_t i = 0; i < d->n_items; i++) {
        const item *one = &d->item[i];
        selector_subject subject = selector_subject_of(&one->account, one->tensor);
        bool yes;
        if (!reaches(x, &one->account))
            continue;
        if (!selector_matches(x->pattern, &subject, &yes, e))
            return false;
        if (yes && x->rule->file && !rule[list[one->at].rule].file)
            return true;
        first = yes && first < 0 ? i : first;
    }
    return err_set(e, ERR_INPUT, "%s decides nothing: earlier rules have decided all that it fits, "
                   "'%s' for one by %s", recipe_rule_text(x->rule, text),
                   str_short(d->item[first].tensor->name, s),
                   recipe_rule_text(&rule[list[d->item[first].at].rule], other));
}

// Every pattern must fit something, every rule must decide something.
static bool refuse_idle(const decider *d, const decision *list, err *e)
{
    for (int64_t i = 0; i < d->n; i++) {
        const entry *x = &d->entry[i];
        if (x->rule->optional)
            continue;
        if (!x->seen)
            return refuse_unseen(d, x, e);
        if (!d->decided[x->rule_index] && !d->overridden[x->rule_index] &&
            !refuse_shadowed(d, list, x, e))
            return false;
    }
    return true;
}

bool decide(const plan_options *o, const checkpoint *c, const model *m, decision **out, err *e)
{
    decider d = {.options = o, .source = c, .model = m};
    int64_t n = checkpoint_count(c);
    *out = NULL;
    decision *list = mem_new((uint64_t)(n + model_n_weights(m)), sizeof *list, "decisions", e);
    bool ok = list && index_rules(&d, e) && list_items(&d, e);
    for (int64_t i = 0; ok && i < d.n_items; i++)
        ok = decide_one(&d, &d.item[i], &list[d.item[i].at], e);
    for (int64_t i = 0; ok && i < n; i++)
        if (model_account(m, i)->used)
            list[i] = list[n + model_account(m, i)->first];
    ok = ok && refuse_idle(&d, list, e);
    decider_free(&d);
    if (ok)
        *out = list;
    else
        free(list);
    return ok;
}
