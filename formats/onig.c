// SPDX-License-Identifier: Apache-2.0
#include "formats/onig.h"

#include <string.h>

#include "base/utf8.h"
#include "formats/unidata.h"

enum {
    MAX_DEPTH = 40,   // of groups and classes; PCRE2 allows 250
    MAX_REPEAT = 1000 // in {n,m}; PCRE2 allows 65535
};
#define ANY UINT32_MAX

typedef struct {
    const char *regex, *at; // NUL-terminated
    int depth;
    bool fold;       // inside (?i
    uint32_t folded; // the letter just read under (?i, in lower case; 0: none, ANY: not known
    err *e;
} parser;

static bool refuse(const parser *p, const char *at, const char *what)
{
    return err_set(p->e, ERR_INPUT, "the pattern '%s' has %s at byte %td, which is not supported",
                   p->regex, what, at - p->regex);
}

static bool enter(parser *p)
{
    return ++p->depth <= MAX_DEPTH || refuse(p, p->at, "groups nested too deep");
}

static void insert(strbuf *s, size_t where, const char *text)
{
    size_t n = strlen(text), tail = s->len - where;
    strbuf_add(s, text, n);
    if (s->failed)
        return;
    memmove(s->text + where + n, s->text + where, tail);
    memcpy(s->text + where, text, n);
}

static bool is_alnum(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// A code point that means itself, inside and outside of classes.
static void put_code(strbuf *out, uint32_t code)
{
    char bytes[4];
    if (code < 0x80 && !is_alnum(code))
        strbuf_printf(out, "\\x{%x}", (unsigned)code);
    else
        strbuf_add(out, bytes, (size_t)utf8_encode(code, bytes));
}

static void put_range(strbuf *out, uint32_t first, uint32_t last)
{
    put_code(out, first);
    if (last > first) {
        strbuf_puts(out, "-");
        put_code(out, last);
    }
}

// What `name` has gained since the oldest Unicode that PCRE2 may know; a first letter alone names
// all its categories.
static void put_newer(strbuf *out, const char *name)
{
    for (int i = 0; i < unidata_n_since_14; i++) {
        const unidata_class *c = &unidata_since_14[i];
        bool group = name[1] == 0 && c->name[0] == name[0] && strlen(c->name) == 2;
        if (group || strcmp(c->name, name) == 0)
            put_range(out, c->first, c->last);
    }
}

bool onig_property(const char *name, strbuf *out)
{
    // Left out are C, Cn, Co, Cs, Mn and Mc: they lost members since, and \p only gains here.
    static const char *const categories[] = {
        "L",  "M",  "N",  "P",  "S",  "Z",  "Lu", "Ll", "Lt", "Lm", "Lo", "Me", "Nd", "Nl", "No",
        "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc",
        "Cf"};
    static const char *const scripts[] = {"Han", "Hiragana", "Katakana", "Hangul"};
    for (size_t i = 0; i < COUNT_OF(categories); i++) {
        if (strcmp(name, categories[i]) == 0) {
            strbuf_printf(out, "\\p{%s}", name);
            put_newer(out, name);
            return true;
        }
    }
    for (size_t i = 0; i < COUNT_OF(scripts); i++) {
        if (strcmp(name, scripts[i]) == 0) {
            strbuf_printf(out, "\\p{sc:%s}", name); // plain \p{Han} is the script's extensions
            put_newer(out, name);
            return true;
        }
    }
    return false;
}

void onig_rust_word(strbuf *out)
{
    static const char *const gained[] = {"L", "M", "Nd", "Nl", "Pc"};
    strbuf_puts(out, "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}");
    for (size_t i = 0; i < COUNT_OF(gained); i++)
        put_newer(out, gained[i]);
}

// The inside of a class for \s: White_Space, which PCRE2's \s exceeds by U+180E.
static const char space_class[] = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}"
                                  "\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}";

// What an escape or a character stands for: one code point, or a set with or without negation.
typedef struct {
    bool is_set, negated;
    uint32_t code;
} unit;

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// Up to `most` hex digits at p->at, at least `least`.
static bool read_hex(parser *p, int least, int most, uint32_t *code)
{
    const char *begin = p->at;
    *code = 0;
    int n = 0;
    for (; n < most && hex_digit(*p->at) >= 0; n++)
        *code = *code * 16 + (uint32_t)hex_digit(*p->at++);
    // Oniguruma goes wrong over nested classes that begin at U+0000.
    bool valid = n >= least && *code > 0 && *code <= 0x10ffff &&
                 (*code < 0xd800 || *code >= 0xe000);
    return valid || refuse(p, begin, "a number that is no character's, or 0,");
}

// Behind "\x".
static bool read_hex_escape(parser *p, uint32_t *code)
{
    const char *begin = p->at - 2;
    if (*p->at != '{')
        return read_hex(p, 1, 2, code) &&
               (*code < 0x80 || refuse(p, begin, "a byte that is not ASCII"));
    p->at++;
    if (!read_hex(p, 1, 6, code))
        return false;
    return *p->at++ == '}' || refuse(p, begin, "a hexadecimal escape without its '}'");
}

// Behind "\p" or "\P".
static bool read_property(parser *p, bool negated, unit *u, strbuf *set)
{
    const char *begin = p->at - 2;
    char name[16];
    if (*p->at++ != '{')
        return refuse(p, begin, "\\p without its '{'");
    if (*p->at == '^') {
        negated = !negated;
        p->at++;
    }
    size_t n = strcspn(p->at, "}");
    if (!p->at[n] || n == 0 || n >= sizeof name)
        return refuse(p, begin, "a Unicode property that is unknown here");
    memcpy(name, p->at, n);
    name[n] = 0;
    p->at += n + 1;
    *u = (unit){.is_set = true, .negated = negated};
    return onig_property(name, set) || refuse(p, begin, "a Unicode property that is unknown here");
}

// Behind the backslash. A set's class inside is appended to `set`.
static bool read_escape(parser *p, unit *u, strbuf *set)
{
    static const char controls[] = "tnvfrae", values[] = "\t\n\v\f\r\a\x1b";
    const char *begin = p->at - 1;
    char c = *p->at;
    *u = (unit){0};
    if (c == 0)
        return refuse(p, begin, "a backslash behind which nothing follows");
    if ((unsigned char)c >= 0x80 || !is_alnum((unsigned char)c)) {
        int n = utf8_decode(p->at, strlen(p->at), &u->code);
        p->at += n;
        return n || refuse(p, begin, "bytes that are not UTF-8");
    }
    p->at++;
    const char *control = strchr(controls, c);
    if (control) {
        u->code = (uint32_t)values[control - controls];
        return true;
    }
    switch (c) {
    case 's':
    case 'S':
        *u = (unit){.is_set = true, .negated = c == 'S'};
        strbuf_puts(set, space_class);
        return true;
    case 'd':
    case 'D':
        *u = (unit){.is_set = true, .negated = c == 'D'};
        return onig_property("Nd", set);
    case 'p':
    case 'P':
        return read_property(p, c == 'P', u, set);
    case 'x':
        return read_hex_escape(p, &u->code);
    case 'u':
        return read_hex(p, 4, 4, &u->code);
    default:
        return refuse(p, begin, "an escape that is unknown here");
    }
}

// One code point or escape at p->at.
static bool read_unit(parser *p, unit *u, strbuf *set)
{
    if (*p->at == '\\') {
        p->at++;
        return read_escape(p, u, set);
    }
    *u = (unit){0};
    int n = utf8_decode(p->at, strlen(p->at), &u->code);
    if (n == 0)
        return refuse(p, p->at, "bytes that are not UTF-8");
    p->at += n;
    return true;
}

// Under (?i only what folds one to one and in PCRE2 as in Oniguruma: ASCII, and no pair of letters
// that a single character folds to (ss ff fi fl st).
static bool fold_allows(parser *p, const char *at, uint32_t code, bool in_class)
{
    if (!p->fold) {
        p->folded = 0;
        return true;
    }
    if (code >= 0x80)
        return refuse(p, at, "a character outside of ASCII under (?i");
    if (in_class)
        return true;
    uint32_t before = p->folded, now = is_alnum(code) ? code | 0x20 : 0;
    p->folded = now;
    bool pair = ((before == 's' || before == ANY) && (now == 's' || now == 't')) ||
                ((before == 'f' || before == ANY) && (now == 'f' || now == 'i' || now == 'l'));
    return !pair || refuse(p, at, "a pair of letters under (?i that one character folds to");
}

// [inside] or [^inside].
static void put_class(strbuf *out, bool negated, const strbuf *inside)
{
    strbuf_puts(out, negated ? "[^" : "[");
    strbuf_add(out, inside->text, inside->len);
    strbuf_puts(out, "]");
}

// A set of characters: the text inside of a PCRE2 class, and what does not fit into one as
// alternatives, "|A|B".
typedef struct {
    strbuf items, others;
    int n_others;
} charset;

static void charset_free(charset *c)
{
    strbuf_free(&c->items);
    strbuf_free(&c->others);
}

static void put_other(charset *c, const char *before, const strbuf *inside, const char *behind)
{
    strbuf_puts(&c->others, "|");
    strbuf_puts(&c->others, before);
    strbuf_add(&c->others, inside->text, inside->len);
    strbuf_puts(&c->others, behind);
    c->n_others++;
}

// Appends a PCRE2 expression for exactly one character of the set.
static void put_charset(strbuf *out, const charset *c)
{
    if (!c->n_others) {
        put_class(out, false, &c->items);
        return;
    }
    size_t bar = c->items.len ? 0 : 1; // the first of the others begins with "|"
    bool group = c->items.len || c->n_others > 1;
    strbuf_puts(out, group ? "(?:" : "");
    if (c->items.len)
        put_class(out, false, &c->items);
    strbuf_add(out, c->others.text + bar, c->others.len - bar);
    strbuf_puts(out, group ? ")" : "");
}

static bool parse_class(parser *p, charset *into);

static bool class_item(parser *p, charset *o)
{
    const char *begin = p->at;
    strbuf set = {0};
    unit first, last;
    bool ok = read_unit(p, &first, &set);
    bool range = ok && p->at[0] == '-' && p->at[1] != ']';
    bool inner = range || (p->at[0] != ']' && (o->items.len || o->n_others));
    if (ok && begin[0] == '-' && inner)
        ok = refuse(p, begin, "'-' in the middle of a class");
    if (ok && p->fold && first.is_set)
        ok = refuse(p, begin, "a set under (?i");
    if (ok && range) {
        p->at++;
        const char *end = p->at;
        ok = !first.is_set && *p->at != '[' && read_unit(p, &last, &set) && !last.is_set &&
             last.code >= first.code;
        if (!ok)
            ok = refuse(p, begin, "a bad range");
        ok = ok && fold_allows(p, end, last.code, true);
    }
    ok = ok && (first.is_set || fold_allows(p, begin, first.code, true));
    if (ok && first.negated) {
        put_other(o, "[^", &set, "]");
    } else if (ok && first.is_set) {
        strbuf_add(&o->items, set.text, set.len);
    } else if (ok) {
        put_range(&o->items, first.code, range ? last.code : first.code);
    }
    strbuf_free(&set);
    return ok;
}

// A negated class stands alone behind '&&': Oniguruma goes wrong over some unions with one, some
// negations of one, and some negated intersections.
static bool parse_operand(parser *p, charset *o, bool behind_and)
{
    const char *begin = p->at;
    bool had_negated = false;
    while (*p->at && *p->at != ']' && !str_starts(p->at, "&&")) {
        bool negated = str_starts(p->at, "[^");
        if (had_negated || (negated && (!behind_and || p->at != begin)))
            return refuse(p, p->at, "a negated class inside of another");
        had_negated = negated;
        if (str_starts(p->at, "[:"))
            return refuse(p, p->at, "a POSIX bracket");
        if (*p->at == '[') {
            p->at++;
            if (!parse_class(p, o))
                return false;
        } else if (!class_item(p, o)) {
            return false;
        }
    }
    if (!*p->at)
        return refuse(p, begin, "a class without its ']'");
    return p->at != begin || refuse(p, begin, "an empty class");
}

// Behind '[': adds the class to a set. 'A&&B' is B where a look-ahead finds A, a negation is any
// character where a look-ahead does not find the class.
static bool parse_class(parser *p, charset *into)
{
    strbuf ahead = {0};
    bool negated = *p->at == '^', ok = enter(p);
    if (ok && negated && p->fold)
        ok = refuse(p, p->at, "a negated class under (?i");
    p->at += negated;
    for (bool more = ok; more;) {
        charset o = {0};
        ok = parse_operand(p, &o, ahead.len > 0);
        more = ok && *p->at == '&';
        strbuf whole = {0};
        if (more && negated) {
            ok = more = refuse(p, p->at, "'&&' in a negated class");
        } else if (more) {
            strbuf_puts(&ahead, "(?=");
            put_charset(&ahead, &o);
            strbuf_puts(&ahead, ")");
        } else if (ok && negated && !o.n_others) {
            put_other(into, "[^", &o.items, "]");
        } else if (ok && negated) {
            put_charset(&whole, &o);
            put_other(into, "(?:(?!", &whole, ")[\\x{0}-\\x{10ffff}])");
        } else if (ok && ahead.len) {
            put_charset(&ahead, &o);
            put_other(into, "(?:", &ahead, ")");
        } else if (ok) {
            strbuf_add(&into->items, o.items.text, o.items.len);
            strbuf_add(&into->others, o.others.text, o.others.len);
            into->n_others += o.n_others;
        }
        p->at += ok ? (more ? 2 : 1) : 0;
        strbuf_free(&whole);
        charset_free(&o);
    }
    p->folded = p->fold ? ANY : 0;
    p->depth--;
    strbuf_free(&ahead);
    return ok;
}

static bool parse_alternatives(parser *p, strbuf *out, bool *empty);

// What an atom is, for the quantifier behind it.
typedef struct {
    bool empty;     // can match nothing
    bool assertion; // matches nothing ever
    bool single;    // matches one character
} atom;

// Behind '('.
static bool parse_group(parser *p, strbuf *out, atom *a)
{
    static const char *const heads[] = {"?:", "?=", "?!", "?<=", "?<!", "?i:"};
    const char *begin = p->at - 1;
    bool outer_fold = p->fold;
    size_t i = 0;
    while (i < COUNT_OF(heads) && !str_starts(p->at, heads[i]))
        i++;
    if (i == COUNT_OF(heads) && *p->at == '?')
        return refuse(p, begin, "a kind of group that is unknown here");
    // A plain group captures; nothing can ask for what it captured.
    const char *head = i < COUNT_OF(heads) ? heads[i] : "?:";
    p->at += i < COUNT_OF(heads) ? strlen(head) : 0;
    a->assertion = strchr("=!", head[strlen(head) - 1]) != NULL;
    p->fold = p->fold || strcmp(head, "?i:") == 0;
    strbuf_printf(out, "(%s", head);
    if (!enter(p) || !parse_alternatives(p, out, &a->empty))
        return false;
    p->depth--;
    if (*p->at++ != ')')
        return refuse(p, begin, "a group without its ')'");
    strbuf_puts(out, ")");
    a->empty = a->empty || a->assertion;
    p->fold = outer_fold;
    p->folded = ANY;
    return true;
}

static bool parse_escape(parser *p, strbuf *out)
{
    const char *begin = p->at++;
    unit u;
    strbuf set = {0};
    bool ok = read_escape(p, &u, &set);
    if (ok && u.is_set && p->fold)
        ok = refuse(p, begin, "a set under (?i");
    else if (ok && !u.is_set)
        ok = fold_allows(p, begin, u.code, false);
    if (ok && u.is_set) {
        put_class(out, u.negated, &set);
        p->folded = 0;
    } else if (ok) {
        put_code(out, u.code);
    }
    strbuf_free(&set);
    return ok;
}

// {n} {n,} {,m} {n,m} at p->at; *is_one false (and nothing read) where the brace means itself.
static bool read_interval(parser *p, bool *is_one, int *low, int *high)
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
                return refuse(p, p->at, "a repeat of more than 1000");
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
        return refuse(p, p->at, "a repeat whose bounds are the wrong way round");
    p->at = s + 1;
    return true;
}

static bool parse_atom(parser *p, strbuf *out, atom *a)
{
    const char *begin = p->at;
    *a = (atom){.single = true};
    switch (*p->at) {
    case '(':
        p->at++;
        a->single = false;
        return parse_group(p, out, a);
    case '[': {
        charset c = {0};
        p->at++;
        bool ok = parse_class(p, &c);
        put_charset(out, &c);
        charset_free(&c);
        return ok;
    }
    case '\\':
        return parse_escape(p, out);
    case '.':
        p->at++;
        p->folded = p->fold ? ANY : 0;
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
        return refuse(p, begin, "a quantifier behind nothing");
    default: {
        unit u;
        bool interval;
        int low, high;
        if (*begin == '{' && !read_interval(p, &interval, &low, &high))
            return false;
        if (p->at != begin)
            return refuse(p, begin, "a quantifier behind nothing");
        if (!read_unit(p, &u, NULL) || !fold_allows(p, begin, u.code, false))
            return false;
        put_code(out, u.code);
        return true;
    }
    }
}

// What follows a quantifier out[begin..) of low to high repeats: lazy, possessive, or nothing.
// Oniguruma's {n,m}+ is not possessive: it repeats the repetition.
static bool parse_suffix(parser *p, strbuf *out, size_t begin, bool interval, atom *a)
{
    const char *at = p->at;
    int low, high;
    bool again;
    if (interval && *at == '+') {
        if (a->empty)
            return refuse(p, at, "a repeat of what can be empty");
        insert(out, begin, "(?:");
        strbuf_puts(out, ")+");
        p->at++;
    } else if (*at == '?' || (*at == '+' && !interval)) {
        strbuf_add(out, p->at++, 1);
    }
    again = *p->at && strchr("*+?", *p->at);
    if (!again && *p->at == '{' && !read_interval(p, &again, &low, &high))
        return false;
    return !again || refuse(p, at, "a quantifier behind a quantifier");
}

// The quantifier at p->at, if there is one, behind the atom out[begin..).
static bool parse_quantifier(parser *p, strbuf *out, size_t begin, atom *a)
{
    const char *at = p->at;
    int low = *at == '+', high = *at == '?' ? 1 : -1;
    bool interval = false;
    if (*at == '{' && !read_interval(p, &interval, &low, &high))
        return false;
    if (!interval && (!*at || !strchr("*+?", *at)))
        return true;
    if (a->assertion)
        return refuse(p, at, "a quantifier behind an assertion");
    if (a->empty && high != 1)
        return refuse(p, at, "a repeat of what can be empty");
    if (interval && low == high && *p->at == '?')
        return refuse(p, at, "a quantifier behind a quantifier");
    p->folded = p->fold ? ANY : p->folded;
    a->empty = a->empty || low == 0;
    if (interval && low == 1 && a->single && *p->at == '+') {
        // Any number of characters is a number of runs of one to m, and PCRE2 needs no stack here.
        p->at++;
        strbuf_puts(out, "+");
        if (*p->at && strchr("*+?{", *p->at))
            return refuse(p, at, "a quantifier behind a quantifier");
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

static bool parse_branch(parser *p, strbuf *out, bool *empty)
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

static bool parse_alternatives(parser *p, strbuf *out, bool *empty)
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
    parser p = {.regex = regex, .at = regex, .e = e};
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
        return refuse(&p, p.at, "a ')' without its group");
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
        put_code(out, code);
        i += (size_t)n;
    }
    return strbuf_ok(out, e);
}
