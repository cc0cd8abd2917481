// SPDX-License-Identifier: Apache-2.0
#include "formats/onig.h"

#include <string.h>

#include "base/utf8.h"
#include "formats/onig_parser.h"

enum { MAX_REPEAT = 1000 }; // in {n,m}; PCRE2 allows 65535

static void insert(strbuf *s, size_t where, const char *text)
{
    size_t n = strlen(text), tail = s->len - where;
    strbuf_add(s, text, n);
    if (s->failed)
        return;
    memmove(s->text + where + n, s->text + where, tail);
    memcpy(s->text + where, text, n);
}

static bool parse_alternatives(onig_parser *p, strbuf *out, bool *empty);

// What an atom is, for the quantifier behind it.
typedef struct {
    bool empty;     // can match nothing
    bool assertion; // matches nothing ever
    bool single;    // matches one character
} atom;

// Behind '('.
static bool parse_group(onig_parser *p, strbuf *out, atom *a)
{
    static const char *const heads[] = {"?:", "?=", "?!", "?<=", "?<!", "?i:"};
    const char *begin = p->at - 1;
    bool outer_fold = p->fold;
    size_t i = 0;
    while (i < COUNT_OF(heads) && !str_starts(p->at, heads[i]))
        i++;
    if (i == COUNT_OF(heads) && *p->at == '?')
        return onig_refuse(p, begin, "a kind of group that is unknown here");
    // A plain group captures; nothing can ask for what it captured.
    const char *head = i < COUNT_OF(heads) ? heads[i] : "?:";
    p->at += i < COUNT_OF(heads) ? strlen(head) : 0;
    a->assertion = strchr("=!", head[strlen(head) - 1]) != NULL;
    p->fold = p->fold || strcmp(head, "?i:") == 0;
    strbuf_printf(out, "(%s", head);
    if (!onig_enter(p) || !parse_alternatives(p, out, &a->empty))
        return false;
    p->depth--;
    if (*p->at++ != ')')
        return onig_refuse(p, begin, "a group without its ')'");
    strbuf_puts(out, ")");
    a->empty = a->empty || a->assertion;
    p->fold = outer_fold;
    p->folded = ONIG_ANY;
    return true;
}

// {n} {n,} {,m} {n,m} at p->at; *is_one false (and nothing read) where the brace means itself.
static bool read_interval(onig_parser *p, bool *is_one, int *low, int *high)
{
    const char *s = p->at + 1;
    int n[2] = {-1, -1};
    bool comma = false;
    *is_one = false;
    for (; *s && *s != '}'; s++) {
        if (*s == ',' && !comma) {
            comma = true;
        } else if (*s >= '0' && *s <= '9') {
            int *v = &n[comma];
            *v = (*v < 0 ? 0 : *v) * 10 + (*s - '0');
            if (*v > MAX_REPEAT)
                return onig_refuse(p, p->at, "a repeat of more than 1000");
        } else {
            return true;
        }
    }
    if (!*s || (n[0] < 0 && n[1] < 0))
        return true;
    *is_one = true;
    *low = n[0] < 0 ? 0 : n[0];
    *high = comma ? n[1] : *low; // -1: no upper bound
    if (*high >= 0 && *high < *low)
        return onig_refuse(p, p->at, "a repeat whose bounds are the wrong way round");
    p->at = s + 1;
    return true;
}

static bool parse_atom(onig_parser *p, strbuf *out, atom *a)
{
    const char *begin = p->at;
    *a = (atom){.single = true};
    switch (*p->at) {
    case '(':
        p->at++;
        a->single = false;
        return parse_group(p, out, a);
    case '[':
        return onig_parse_set(p, out);
    case '\\':
        return onig_parse_escape(p, out);
    case '.':
        p->at++;
        p->folded = p->fold ? ONIG_ANY : 0;
        strbuf_puts(out, "[^\\x{a}]");
        return true;
    case '^':
    case '$':
        *a = (atom){.empty = true, .assertion = true};
        strbuf_add(out, p->at++, 1);
        return true;
    case '*':
    case '+':
    case '?':
        return onig_refuse(p, begin, "a quantifier behind nothing");
    default: {
        bool interval;
        int low, high;
        if (*begin == '{' && !read_interval(p, &interval, &low, &high))
            return false;
        if (p->at != begin)
            return onig_refuse(p, begin, "a quantifier behind nothing");
        return onig_parse_char(p, out);
    }
    }
}

// What follows a quantifier out[begin..) of low to high repeats: lazy, possessive, or nothing.
// Oniguruma's {n,m}+ is not possessive: it repeats the repetition.
static bool parse_suffix(onig_parser *p, strbuf *out, size_t begin, bool interval, atom *a)
{
    const char *at = p->at;
    int low, high;
    bool again;
    if (interval && *at == '+') {
        if (a->empty)
            return onig_refuse(p, at, "a repeat of what can be empty");
        insert(out, begin, "(?:");
        strbuf_puts(out, ")+");
        p->at++;
    } else if (*at == '?' || (*at == '+' && !interval)) {
        strbuf_add(out, p->at++, 1);
    }
    again = *p->at && strchr("*+?", *p->at);
    if (!again && *p->at == '{' && !read_interval(p, &again, &low, &high))
        return false;
    return !again || onig_refuse(p, at, "a quantifier behind a quantifier");
}

// The quantifier at p->at, if there is one, behind the atom out[begin..).
static bool parse_quantifier(onig_parser *p, strbuf *out, size_t begin, atom *a)
{
    const char *at = p->at;
    int low = *at == '+', high = *at == '?' ? 1 : -1;
    bool interval = false;
    if (*at == '{' && !read_interval(p, &interval, &low, &high))
        return false;
    if (!interval && (!*at || !strchr("*+?", *at)))
        return true;
    if (a->assertion)
        return onig_refuse(p, at, "a quantifier behind an assertion");
    if (a->empty && high != 1)
        return onig_refuse(p, at, "a repeat of what can be empty");
    if (interval && low == high && *p->at == '?')
        return onig_refuse(p, at, "a quantifier behind a quantifier");
    p->folded = p->fold ? ONIG_ANY : p->folded;
    a->empty = a->empty || low == 0;
    if (interval && low == 1 && a->single && *p->at == '+') {
        // Any number of characters is a number of runs of one to m, and PCRE2 needs no stack here.
        p->at++;
        strbuf_puts(out, "+");
        if (*p->at && strchr("*+?{", *p->at))
            return onig_refuse(p, at, "a quantifier behind a quantifier");
        return true;
    }
    if (!interval)
        strbuf_add(out, p->at++, 1);
    else if (high < 0)
        strbuf_printf(out, "{%d,}", low);
    else
        strbuf_printf(out, "{%d,%d}", low, high);
    return parse_suffix(p, out, begin, interval, a);
}

static bool parse_branch(onig_parser *p, strbuf *out, bool *empty)
{
    *empty = true;
    while (*p->at && *p->at != '|' && *p->at != ')') {
        atom a;
        size_t begin = out->len;
        if (!parse_atom(p, out, &a) || !parse_quantifier(p, out, begin, &a))
            return false;
        *empty = *empty && a.empty;
    }
    return true;
}

static bool parse_alternatives(onig_parser *p, strbuf *out, bool *empty)
{
    uint32_t before = p->folded;
    *empty = false;
    for (;;) {
        bool branch;
        p->folded = before;
        if (!parse_branch(p, out, &branch))
            return false;
        *empty = *empty || branch;
        if (*p->at != '|')
            return true;
        p->at++;
        strbuf_puts(out, "|");
    }
}

bool onig_translate(const char *regex, strbuf *out, err *e)
{
    onig_parser p = {.regex = regex, .at = regex, .e = e};
    strbuf_puts(out, "(?m)");
    if (str_starts(regex, "(?i)")) {
        strbuf_puts(out, "(?i)");
        p.fold = true;
        p.at += 4;
    }
    bool empty;
    if (!parse_alternatives(&p, out, &empty))
        return false;
    if (*p.at)
        return onig_refuse(&p, p.at, "a ')' without its group");
    return strbuf_ok(out, e);
}

bool onig_literal(const char *text, strbuf *out, err *e)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        uint32_t code;
        int n = utf8_decode(text + i, len - i, &code);
        if (n == 0)
            return err_set(e, ERR_INPUT, "a pattern is not UTF-8 at byte %zu", i);
        onig_put_code(out, code);
        i += (size_t)n;
    }
    return strbuf_ok(out, e);
}
