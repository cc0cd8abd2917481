// SPDX-License-Identifier: Apache-2.0
#include "base/option.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { LONGEST_NAME = 63, MAX_OPTIONS = 128 };

struct parser {
    const option_set *sets;
    size_t n_sets;
    int argc, at;
    char *const *argv;
    bool given[MAX_OPTIONS]; // by running number over all sets
    bool plain;              // behind "--"
    bool done;               // a flag that stands alone was seen
};

// One row, where its value goes, and its running number.
struct found {
    const option *o;
    void *field;
    size_t number;
};

static void *field_of(const option_set *s, const option *o) { return (char *)s->target + o->at; }

static bool is_argument(const option *o)
{
    return o->kind == OPTION_KIND_ARG || o->kind == OPTION_KIND_ARGS;
}

static bool has_name(const option *o, const char *name)
{
    if (o->name && strcmp(o->name, name) == 0)
        return true;
    for (size_t i = 0; i < OPTION_ALIASES && o->alias[i]; i++)
        if (strcmp(o->alias[i], name) == 0)
            return true;
    return false;
}

typedef bool (*wanted_fn)(const struct parser *p, const struct found *f, const void *what);

static bool find(const struct parser *p, wanted_fn wanted, const void *what, struct found *out)
{
    size_t number = 0;
    for (size_t s = 0; s < p->n_sets; s++)
        for (size_t i = 0; i < p->sets[s].n; i++, number++) {
            const option *o = &p->sets[s].row[i];
            struct found f = {o, field_of(&p->sets[s], o), number};
            if (wanted(p, &f, what)) {
                *out = f;
                return true;
            }
        }
    return false;
}

static bool named(const struct parser *p, const struct found *f, const void *name)
{
    (void)p;
    return has_name(f->o, name);
}

static bool lettered(const struct parser *p, const struct found *f, const void *letter)
{
    (void)p;
    return f->o->letter && f->o->letter == *(const char *)letter;
}

static bool free_argument(const struct parser *p, const struct found *f, const void *nothing)
{
    (void)nothing;
    return f->o->kind == OPTION_KIND_ARGS ||
           (f->o->kind == OPTION_KIND_ARG && !p->given[f->number]);
}

static bool missing(const struct parser *p, const struct found *f, const void *nothing)
{
    (void)nothing;
    return f->o->required && !p->given[f->number];
}

// How sentences call it: "option '--type'" or "argument MODEL".
static const char *title_of(const option *o, char buf[LONGEST_NAME + 32])
{
    if (is_argument(o))
        (void)snprintf(buf, LONGEST_NAME + 32, "argument %s", o->value);
    else
        (void)snprintf(buf, LONGEST_NAME + 32, "option '--%s'", o->name);
    return buf;
}

static bool list_add(text_list *list, const char *text, err *e)
{
    if (!mem_grow((void **)&list->item, &list->cap, list->n + 1, sizeof *list->item, "options", e))
        return false;
    list->item[list->n++] = text;
    return true;
}

static bool set_int(const option *o, int64_t *field, const char *text, const char *title, err *e)
{
    uint64_t value;
    bool negative = text[0] == '-';
    bool unbounded = o->min == 0 && o->max == 0;
    int64_t max = unbounded ? INT64_MAX : o->max;
    bool ok = str_to_u64(text + negative, INT64_MAX, &value);
    int64_t v = negative ? -(int64_t)value : (int64_t)value;
    if (ok && v >= o->min && v <= max) {
        *field = v;
        return true;
    }
    if (unbounded)
        return err_set(e, ERR_USAGE, "%s wants a whole number, not '%s'", title, text);
    return err_set(e, ERR_USAGE, "%s wants a whole number from %" PRId64 " to %" PRId64
                   ", not '%s'", title, o->min, max, text);
}

static bool set_bytes(const option *o, uint64_t *field, const char *text, const char *title,
                      err *e)
{
    uint64_t value;
    char least[24];
    if (!str_to_bytes(text, &value))
        return err_set(e, ERR_USAGE, "%s wants a size such as 512MiB or 2GiB, not '%s'", title,
                       text);
    if (value < (uint64_t)o->min)
        return err_set(e, ERR_USAGE, "%s wants at least %s, not '%s'", title,
                       str_human_bytes((uint64_t)o->min, least), text);
    *field = value;
    return true;
}

static bool set_seconds(const option *o, int64_t *field, const char *text, const char *title,
                        err *e)
{
    int64_t value;
    if (!str_to_seconds(text, &value))
        return err_set(e, ERR_USAGE, "%s wants a duration such as 90s, 1h30m or 1:30:00, not '%s'",
                       title, text);
    if (value < o->min)
        return err_set(e, ERR_USAGE, "%s wants at least %lld seconds, not '%s'", title,
                       (long long)o->min, text);
    *field = value;
    return true;
}

static bool set_real(const option *o, double *field, const char *text, const char *title, err *e)
{
    char *end;
    double v = strtod(text, &end);
    bool plain = *text && strspn(text, "0123456789+-.eE") == strlen(text); // no nan, inf, hex
    if (!plain || *end || !isfinite(v) || v < o->low || v > o->high)
        return err_set(e, ERR_USAGE, "%s wants a number from %g to %g, not '%s'", title, o->low,
                       o->high, text);
    *field = v;
    return true;
}

static bool set_choice(const option *o, int *field, const char *text, const char *title, err *e)
{
    strbuf all = {0};
    for (int i = 0; o->choices[i]; i++) {
        if (str_same_nocase(o->choices[i], text)) {
            *field = i;
            strbuf_free(&all);
            return true;
        }
        strbuf_printf(&all, "%s%s", i == 0 ? "" : o->choices[i + 1] ? ", " : " or ",
                      o->choices[i]);
    }
    if (strbuf_ok(&all, e))
        err_set(e, ERR_USAGE, "%s wants %s, not '%s'", title, all.text, text);
    strbuf_free(&all);
    return false;
}

static bool set_value(const struct found *f, const char *text, err *e)
{
    char buf[LONGEST_NAME + 32];
    const char *title = title_of(f->o, buf);
    switch (f->o->kind) {
    case OPTION_KIND_FLAG:
        *(bool *)f->field = true;
        return true;
    case OPTION_KIND_TEXT:
    case OPTION_KIND_ARG:
        *(const char **)f->field = text;
        return *text || err_set(e, ERR_USAGE, "%s is empty", title);
    case OPTION_KIND_INT:
        return set_int(f->o, f->field, text, title, e);
    case OPTION_KIND_BYTES:
        return set_bytes(f->o, f->field, text, title, e);
    case OPTION_KIND_SECONDS:
        return set_seconds(f->o, f->field, text, title, e);
    case OPTION_KIND_REAL:
        return set_real(f->o, f->field, text, title, e);
    case OPTION_KIND_CHOICE:
        return set_choice(f->o, f->field, text, title, e);
    case OPTION_KIND_LIST:
    case OPTION_KIND_WORDS:
    case OPTION_KIND_ARGS:
        if (!*text)
            return err_set(e, ERR_USAGE, "%s is empty", title);
        return list_add(f->field, text, e);
    }
    return err_set(e, ERR_INTERNAL, "%s has no kind", title);
}

// A value a person gave (not a preset).
static bool give(struct parser *p, const struct found *f, const char *text, err *e)
{
    char buf[LONGEST_NAME + 32];
    bool single = f->o->kind != OPTION_KIND_FLAG && f->o->kind != OPTION_KIND_LIST &&
                  f->o->kind != OPTION_KIND_WORDS && f->o->kind != OPTION_KIND_ARGS;
    if (single && p->given[f->number])
        return err_set(e, ERR_USAGE, "%s is given twice", title_of(f->o, buf));
    p->given[f->number] = true;
    p->done = p->done || f->o->alone;
    return set_value(f, text, e);
}

static bool looks_like_option(const char *word) { return word[0] == '-' && word[1] != 0; }

// The value of an option: what is attached to it (may be NULL), else the next word.
static bool take_value(struct parser *p, const struct found *f, const char *attached, err *e)
{
    char buf[LONGEST_NAME + 32];
    if (!attached) {
        const char *word = p->at < p->argc ? p->argv[p->at] : NULL;
        bool option_like = word && (f->o->kind == OPTION_KIND_WORDS ? looks_like_option(word)
                                                                    : str_starts(word, "--"));
        if (!word || option_like)
            return err_set(e, ERR_USAGE, "%s wants a value (%s)", title_of(f->o, buf),
                           f->o->value);
        attached = p->argv[p->at++];
    }
    if (!give(p, f, attached, e))
        return false;
    if (f->o->kind == OPTION_KIND_WORDS)
        while (p->at < p->argc && !looks_like_option(p->argv[p->at]))
            if (!give(p, f, p->argv[p->at++], e))
                return false;
    return true;
}

static bool unknown(const struct parser *p, const char *word, const char *name, err *e)
{
    const char *names[MAX_OPTIONS * (OPTION_ALIASES + 1)];
    size_t n = 0;
    for (size_t s = 0; s < p->n_sets; s++)
        for (size_t i = 0; i < p->sets[s].n; i++) {
            const option *o = &p->sets[s].row[i];
            if (o->name)
                names[n++] = o->name;
            for (size_t k = 0; k < OPTION_ALIASES && o->alias[k]; k++)
                names[n++] = o->alias[k];
        }
    const char *near = name ? str_nearest(name, names, n) : NULL;
    int len = (int)strcspn(word, "=");
    if (near)
        return err_set(e, ERR_USAGE, "unknown option '%.*s'; did you mean '--%s'?", len, word,
                       near);
    return err_set(e, ERR_USAGE, "unknown option '%.*s'", len, word);
}

static bool parse_long(struct parser *p, const char *word, err *e)
{
    char name[LONGEST_NAME + 1];
    size_t len = strcspn(word + 2, "=");
    const char *attached = word[2 + len] == '=' ? word + 2 + len + 1 : NULL;
    if (len > LONGEST_NAME)
        return unknown(p, word, NULL, e);
    for (size_t i = 0; i < len; i++)
        name[i] = word[2 + i];
    name[len] = 0;
    for (char *c = name; *c; c++)
        if (*c == '_')
            *c = '-';
    struct found f;
    if (!find(p, named, name, &f))
        return unknown(p, word, name, e);
    if (f.o->kind != OPTION_KIND_FLAG)
        return take_value(p, &f, attached, e);
    if (attached)
        return err_set(e, ERR_USAGE, "option '--%s' takes no value", f.o->name);
    return give(p, &f, "", e);
}

static bool parse_letters(struct parser *p, const char *word, err *e)
{
    for (const char *c = word + 1; *c; c++) {
        struct found f;
        if (!find(p, lettered, c, &f))
            return err_set(e, ERR_USAGE, "unknown option '-%c'", *c);
        if (f.o->kind != OPTION_KIND_FLAG)
            return take_value(p, &f, c[1] ? c + 1 : NULL, e);
        if (!give(p, &f, "", e))
            return false;
    }
    return true;
}

static bool parse_argument(struct parser *p, const char *word, err *e)
{
    struct found f;
    if (!find(p, free_argument, NULL, &f))
        return err_set(e, ERR_USAGE, "unexpected argument '%s'", word);
    return give(p, &f, word, e);
}

static bool set_presets(const struct parser *p, err *e)
{
    for (size_t s = 0; s < p->n_sets; s++)
        for (size_t i = 0; i < p->sets[s].n; i++) {
            const option *o = &p->sets[s].row[i];
            struct found f = {o, field_of(&p->sets[s], o), 0};
            if (o->preset && !set_value(&f, o->preset, e))
                return err_set(e, ERR_INTERNAL, "the default '%s' of '%s' does not parse",
                               o->preset, o->name);
        }
    return true;
}

bool options_parse(const option_set *sets, size_t n_sets, int argc, char *const *argv, err *e)
{
    struct parser p = {.sets = sets, .n_sets = n_sets, .argc = argc, .argv = argv};
    size_t all = 0;
    for (size_t s = 0; s < n_sets; s++)
        all += sets[s].n;
    assert(all <= MAX_OPTIONS);
    if (!set_presets(&p, e))
        return false;
    while (p.at < argc && !p.done) {
        const char *word = argv[p.at++];
        bool ok;
        if (p.plain || !looks_like_option(word)) {
            ok = parse_argument(&p, word, e);
        } else if (strcmp(word, "--") == 0) {
            p.plain = true;
            ok = true;
        } else {
            ok = word[1] == '-' ? parse_long(&p, word, e) : parse_letters(&p, word, e);
        }
        if (!ok)
            return false;
    }
    struct found f;
    char buf[LONGEST_NAME + 32];
    if (!p.done && find(&p, missing, NULL, &f))
        return err_set(e, ERR_USAGE, "%s is missing", title_of(f.o, buf));
    return true;
}

void options_free(const option_set *sets, size_t n_sets)
{
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++) {
            const option *o = &sets[s].row[i];
            if (o->kind == OPTION_KIND_LIST || o->kind == OPTION_KIND_WORDS ||
                o->kind == OPTION_KIND_ARGS) {
                text_list *list = field_of(&sets[s], o);
                free(list->item);
                *list = (text_list){0};
            }
        }
}
