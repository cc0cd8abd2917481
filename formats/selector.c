// SPDX-License-Identifier: Apache-2.0
#include "formats/selector.h"

#include <stdlib.h>
#include <string.h>

#include "base/pattern.h"

typedef enum { TERM_CLASS, TERM_ROLE, TERM_LINEAR, TERM_LAYER, TERM_EXPERT, TERM_GLOB, TERM_REGEX,
               TERM_NAME } term_kind;

struct selector_term {
    term_kind kind;
    role_class class;
    role role;
    int64_t low, high;  // ranges, both ends included
    const char *text;   // globs and names
    pattern *regex;
};

enum { LARGEST_NUMBER = 1000000, STEPS_OF_REGEX = 100000 };

// ---- words -----------------------------------------------------------------------------------

// Plurals read better where there are many.
static const struct {
    const char *word;
    role_class class;
} plurals[] = {{"norms", CLASS_NORM}, {"embeddings", CLASS_EMBEDDING}};

static bool class_from_word(const char *word, role_class *out)
{
    for (size_t i = 0; i < COUNT_OF(plurals); i++) {
        if (strcmp(plurals[i].word, word) == 0) {
            *out = plurals[i].class;
            return true;
        }
    }
    for (int c = 0; c < CLASS_OTHER; c++) {
        if (strcmp(role_class_name((role_class)c), word) == 0) {
            *out = (role_class)c;
            return true;
        }
    }
    return false;
}

static const char *nearest_word(const char *word)
{
    const char *list[(int)ROLE_COUNT + (int)CLASS_OTHER + (int)COUNT_OF(plurals) + 1];
    size_t n = 0;
    list[n++] = "linear";
    for (int c = 0; c < CLASS_OTHER; c++)
        list[n++] = role_class_name((role_class)c);
    for (size_t i = 0; i < COUNT_OF(plurals); i++)
        list[n++] = plurals[i].word;
    for (int r = 0; r < ROLE_COUNT; r++)
        list[n++] = role_name((role)r);
    return str_nearest(word, list, n);
}

// ---- ranges ----------------------------------------------------------------------------------

static const char *skip_spaces(const char *p) { return p + strspn(p, " \t"); }

// Digits at *p, moved behind them.
static bool take_number(const char **p, int64_t *out)
{
    size_t n = strspn(*p, "0123456789");
    int64_t value = 0;
    if (n == 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        value = value * 10 + ((*p)[i] - '0');
        if (value > LARGEST_NUMBER)
            return false;
    }
    *p = skip_spaces(*p + n);
    *out = value;
    return true;
}

// What follows "layer" or "expert": an operator and a number, or a..b with or without '='.
static bool read_range(const char *p, int64_t *low, int64_t *high)
{
    char sign = *p == '<' || *p == '>' ? *p++ : '=';
    bool with_end = *p == '=';
    int64_t n;
    p = skip_spaces(p + with_end);
    *low = 0;
    *high = LARGEST_NUMBER;
    if (!take_number(&p, &n))
        return false;
    if (sign == '<')
        *high = with_end ? n : n - 1;
    else if (sign == '>')
        *low = with_end ? n : n + 1;
    else
        *low = *high = n;
    if (sign == '=' && p[0] == '.' && p[1] == '.') {
        p = skip_spaces(p + 2);
        if (!take_number(&p, high))
            return false;
    }
    return *p == 0 && *low <= *high;
}

// Whether the term begins like a range: the word, and behind it neither more of a word nor nothing.
static const char *behind_word(const char *text, const char *word)
{
    if (!str_starts(text, word))
        return NULL;
    const char *rest = skip_spaces(text + strlen(word));
    bool apart = rest > text + strlen(word);
    return *rest == '<' || *rest == '>' || *rest == '=' ||
                   (apart && *rest >= '0' && *rest <= '9')
               ? rest
               : NULL;
}

// ---- terms -----------------------------------------------------------------------------------

static bool bad_term(const char *term, const char *why, err *e)
{
    char s[STR_SHORT];
    return err_set(e, ERR_INPUT, "'%s' %s", str_short(term, s), why);
}

static bool read_word(selector_term *t, const char *word, err *e)
{
    t->text = word;
    if (strpbrk(word, "*?")) {
        t->kind = TERM_GLOB;
        return true;
    }
    if (strcmp(word, "linear") == 0) {
        t->kind = TERM_LINEAR;
        return true;
    }
    if (class_from_word(word, &t->class)) {
        t->kind = TERM_CLASS;
        return true;
    }
    if (role_from_name(word, &t->role)) {
        t->kind = TERM_ROLE;
        return true;
    }
    t->kind = TERM_NAME;
    const char *near = nearest_word(word);
    char s[STR_SHORT];
    const char *shown = str_short(word, s);
    return !near || err_set(e, ERR_INPUT, "'%s' is no role; did you mean '%s'? (a module that is "
                            "really called so: name:%s)", shown, near, shown);
}

static bool read_regex(selector_term *t, const char *regex, err *e)
{
    t->kind = TERM_REGEX;
    if (!*regex)
        return bad_term("re:", "has no regular expression behind the colon", e);
    if (!pattern_open(&t->regex, regex, e))
        return false;
    pattern_limit(t->regex, STEPS_OF_REGEX);
    return true;
}

static bool read_term(selector_term *t, const char *text, err *e)
{
    static const struct {
        const char *word;
        term_kind kind;
    } ranges[] = {{"layer", TERM_LAYER}, {"expert", TERM_EXPERT}};
    if (!*text)
        return err_set(e, ERR_INPUT, "a condition is missing");
    if (str_starts(text, "re:"))
        return read_regex(t, text + 3, e);
    for (size_t i = 0; i < COUNT_OF(ranges); i++) {
        const char *rest = behind_word(text, ranges[i].word);
        if (!rest)
            continue;
        t->kind = ranges[i].kind;
        return read_range(rest, &t->low, &t->high) ||
               bad_term(text, "is no range that holds anything; ranges look like layer<3, "
                        "layer>=58, layer=7, layer=3..5", e);
    }
    if (strpbrk(text, "<>="))
        return bad_term(text, "is neither a name nor a range; only layer and expert have ranges",
                        e);
    if (strchr(text, ','))
        return bad_term(text, "has a comma; one pattern a rule, or a list of patterns in a recipe",
                        e);
    return read_word(t, text, e);
}

// ---- patterns --------------------------------------------------------------------------------

// As many as there can be: one more than '&'.
static uint64_t count_terms(const char *text)
{
    uint64_t n = 1;
    for (; n < SELECTOR_MAX_TERMS && (text = strchr(text, '&')) != NULL; text++)
        n++;
    return n;
}

// A copy of text[begin, end) without the spaces behind it.
static char *cut(const char *text, size_t begin, size_t end, arena *a, err *e)
{
    while (end > begin && (text[end - 1] == ' ' || text[end - 1] == '\t'))
        end--;
    return arena_text(a, text + begin, end - begin, e);
}

static bool add_term(selector *s, size_t begin, size_t end, arena *a, err *e)
{
    if (s->n_terms == SELECTOR_MAX_TERMS)
        return err_set(e, ERR_INPUT, "more than %d conditions", SELECTOR_MAX_TERMS);
    const char *text = cut(s->text, begin, end, a, e);
    // Counted first: what was opened of a term that is refused is freed with the others.
    return text && read_term(&s->term[s->n_terms++], text, e);
}

static bool read_terms(selector *s, arena *a, err *e)
{
    size_t begin = strspn(s->text, " \t");
    if (str_starts(s->text + begin, "name:")) {
        s->term[0] = (selector_term){.kind = TERM_NAME, .text = s->text + begin + 5};
        s->n_terms = 1;
        return s->term[0].text[0] || bad_term("name:", "has no name behind the colon", e);
    }
    for (;;) {
        size_t end = begin + strcspn(s->text + begin, "&");
        if (!add_term(s, begin, end, a, e))
            return err_in(e, "character %zu", begin + 1);
        if (!s->text[end])
            return true;
        begin = end + 1 + strspn(s->text + end + 1, " \t");
    }
}

static selector_aim aim_of(const selector *s)
{
    selector_aim aim = SELECTOR_LOOSE;
    for (int i = 0; i < s->n_terms; i++) {
        term_kind k = s->term[i].kind;
        if (k == TERM_ROLE || k == TERM_NAME)
            return SELECTOR_EXACT;
        if (k == TERM_CLASS || k == TERM_LINEAR)
            aim = SELECTOR_CLASS;
    }
    return aim;
}

bool selector_parse(selector *s, const char *text, arena *a, err *e)
{
    char shown[STR_SHORT];
    *s = (selector){0};
    size_t len = strlen(text);
    if (len > SELECTOR_MAX_TEXT)
        return err_set(e, ERR_INPUT, "a pattern of %zu bytes, the limit is %d", len,
                       SELECTOR_MAX_TEXT);
    s->text = arena_text(a, text, len, e);
    s->term = s->text ? mem_new(count_terms(text), sizeof *s->term, "a pattern", e) : NULL;
    if (!s->term || !read_terms(s, a, e)) {
        selector_free(s);
        return err_in(e, "pattern '%s'", str_short(text, shown));
    }
    s->aim = aim_of(s);
    s->name = s->n_terms == 1 && s->term[0].kind == TERM_NAME ? s->term[0].text : NULL;
    return true;
}

void selector_free(selector *s)
{
    for (int i = 0; i < s->n_terms; i++)
        pattern_close(s->term[i].regex);
    free(s->term);
    *s = (selector){0};
}

// ---- matching --------------------------------------------------------------------------------

static bool found_in(const selector_term *t, const char *name, bool *yes, err *e)
{
    size_t begin, end;
    return pattern_find(t->regex, name, strlen(name), 0, yes, &begin, &end, e);
}

static bool term_matches(const selector_term *t, const selector_subject *of, bool *yes, err *e)
{
    switch (t->kind) {
    case TERM_CLASS: *yes = of->owned && role_class_of(of->role) == t->class; break;
    case TERM_ROLE: *yes = of->owned && of->role == t->role; break;
    case TERM_LINEAR: *yes = of->owned && role_is_linear(of->role); break;
    case TERM_LAYER: *yes = of->layer >= t->low && of->layer <= t->high; break;
    case TERM_EXPERT: *yes = of->expert >= t->low && of->expert <= t->high; break;
    case TERM_GLOB:
        *yes = glob_matches(t->text, of->module) || glob_matches(t->text, of->tensor);
        break;
    case TERM_NAME:
        *yes = strcmp(t->text, of->module) == 0 || strcmp(t->text, of->tensor) == 0;
        break;
    case TERM_REGEX:
        return found_in(t, of->module, yes, e) && (*yes || found_in(t, of->tensor, yes, e));
    }
    return true;
}

bool selector_matches(const selector *s, const selector_subject *of, bool *yes, err *e)
{
    *yes = true;
    for (int i = 0; *yes && i < s->n_terms; i++)
        if (!term_matches(&s->term[i], of, yes, e))
            return false;
    return true;
}

selector_subject selector_subject_of(const tensor_account *a, const tensor *t)
{
    if (!a->used)
        return (selector_subject){t->name, t->name, false, ROLE_COUNT, -1, -1};
    const weight *w = a->weight;
    const char *name = w->part[0]->name;
    // A bias lies in a module that is called after its matrix.
    const char *module = w->rank == 1 && strcmp(w->suffix, "weight") != 0 ? name : w->module;
    return (selector_subject){module, name, true, a->role, a->layer, a->expert};
}
