// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "base/utf8.h"
#include "formats/onig.h"
#include "formats/onig_parser.h"
#include "formats/unidata.h"

bool onig_refuse(const onig_parser *p, const char *at, const char *what)
{
    char name[STR_SHORT];
    return err_set(p->e, ERR_INPUT,
                   "the pattern '%s' has %s at byte %td, which is not supported",
                   str_short(p->regex, name), what, at - p->regex);
}

bool onig_enter(onig_parser *p)
{
    return ++p->depth <= ONIG_MAX_DEPTH || onig_refuse(p, p->at, "groups nested too deep");
}

static bool is_alnum(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// A code point that means itself, inside and outside of classes.
void onig_put_code(strbuf *out, uint32_t code)
{
    char bytes[4];
    if (code < 0x80 && !is_alnum(code))
        strbuf_printf(out, "\\x{%x}", (unsigned)code);
    else
        strbuf_add(out, bytes, (size_t)utf8_encode(code, bytes));
}

static void put_range(strbuf *out, uint32_t first, uint32_t last)
{
    onig_put_code(out, first);
    if (last > first) {
        strbuf_puts(out, "-");
        onig_put_code(out, last);
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
static bool read_hex(onig_parser *p, int least, int most, uint32_t *code)
{
    const char *begin = p->at;
    *code = 0;
    int n = 0;
    for (; n < most && hex_digit(*p->at) >= 0; n++)
        *code = *code * 16 + (uint32_t)hex_digit(*p->at++);
    // Oniguruma goes wrong over nested classes that begin at U+0000.
    bool valid = n >= least && *code > 0 && *code <= 0x10ffff &&
                 (*code < 0xd800 || *code >= 0xe000);
    return valid || onig_refuse(p, begin, "a number that is no character's, or 0,");
}

// Behind "\x".
static bool read_hex_escape(onig_parser *p, uint32_t *code)
{
    const char *begin = p->at - 2;
    if (*p->at != '{')
        return read_hex(p, 1, 2, code) &&
               (*code < 0x80 || onig_refuse(p, begin, "a byte that is not ASCII"));
    p->at++;
    if (!read_hex(p, 1, 6, code))
        return false;
    return *p->at++ == '}' || onig_refuse(p, begin, "a hexadecimal escape without its '}'");
}

// Behind "\p" or "\P".
static bool read_property(onig_parser *p, bool negated, unit *u, strbuf *set)
{
    const char *begin = p->at - 2;
    char name[16];
    if (*p->at++ != '{')
        return onig_refuse(p, begin, "\\p without its '{'");
    if (*p->at == '^') {
        negated = !negated;
        p->at++;
    }
    size_t n = strcspn(p->at, "}");
    if (!p->at[n] || n == 0 || n >= sizeof name)
        return onig_refuse(p, begin, "a Unicode property that is unknown here");
    memcpy(name, p->at, n);
    name[n] = 0;
    p->at += n + 1;
    *u = (unit){.is_set = true, .negated = negated};
    return onig_property(name, set) ||
           onig_refuse(p, begin, "a Unicode property that is unknown here");
}

// Behind the backslash. A set's class inside is appended to `set`.
static bool read_escape(onig_parser *p, unit *u, strbuf *set)
{
    static const char controls[] = "tnvfrae", values[] = "\t\n\v\f\r\a\x1b";
    const char *begin = p->at - 1;
    char c = *p->at;
    *u = (unit){0};
    if (c == 0)
        return onig_refuse(p, begin, "a backslash behind which nothing follows");
    if ((unsigned char)c >= 0x80 || !is_alnum((unsigned char)c)) {
        int n = utf8_decode(p->at, strlen(p->at), &u->code);
        p->at += n;
        return n || onig_refuse(p, begin, "bytes that are not UTF-8");
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
        return onig_refuse(p, begin, "an escape that is unknown here");
    }
}

// One code point or escape at p->at.
static bool read_unit(onig_parser *p, unit *u, strbuf *set)
{
    if (*p->at == '\\') {
        p->at++;
        return read_escape(p, u, set);
    }
    *u = (unit){0};
    int n = utf8_decode(p->at, strlen(p->at), &u->code);
    if (n == 0)
        return onig_refuse(p, p->at, "bytes that are not UTF-8");
    p->at += n;
    return true;
}

// Under (?i only what folds one to one and in PCRE2 as in Oniguruma: ASCII, and no pair of letters
// that a single character folds to (ss ff fi fl st).
static bool fold_allows(onig_parser *p, const char *at, uint32_t code, bool in_class)
{
    if (!p->fold) {
        p->folded = 0;
        return true;
    }
    if (code >= 0x80)
        return onig_refuse(p, at, "a character outside of ASCII under (?i");
    if (in_class)
        return true;
    uint32_t before = p->folded, now = is_alnum(code) ? code | 0x20 : 0;
    p->folded = now;
    bool pair = ((before == 's' || before == ONIG_ANY) && (now == 's' || now == 't')) ||
                ((before == 'f' || before == ONIG_ANY) && (now == 'f' || now == 'i' || now == 'l'));
    return !pair || onig_refuse(p, at, "a pair of letters under (?i that one character folds to");
}

// [inside] or [^inside].
static void put_class(strbuf *out, bool negated, const strbuf *inside)
{
    strbuf_puts(out, negated ? "[^" : "[");
    strbuf_join(out, inside);
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
    strbuf_join(&c->others, inside);
    strbuf_puts(&c->others, behind);
    c->n_others++;
}

// Appends a PCRE2 expression for exactly one character of the set.
static void put_charset(strbuf *out, const charset *c)
{
    if (c->items.failed || c->others.failed) {
        out->failed = true;
        return;
    }
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

static bool parse_class(onig_parser *p, charset *into);

static bool class_item(onig_parser *p, charset *o)
{
    const char *begin = p->at;
    strbuf set = {0};
    unit first, last;
    bool ok = read_unit(p, &first, &set);
    bool range = ok && p->at[0] == '-' && p->at[1] != ']';
    bool inner = range || (p->at[0] != ']' && (o->items.len || o->n_others));
    if (ok && begin[0] == '-' && inner)
        ok = onig_refuse(p, begin, "'-' in the middle of a class");
    if (ok && p->fold && first.is_set)
        ok = onig_refuse(p, begin, "a set under (?i");
    if (ok && range) {
        p->at++;
        const char *end = p->at;
        ok = !first.is_set && *p->at != '[' && read_unit(p, &last, &set) && !last.is_set &&
             last.code >= first.code;
        if (!ok)
            ok = onig_refuse(p, begin, "a bad range");
        ok = ok && fold_allows(p, end, last.code, true);
    }
    ok = ok && (first.is_set || fold_allows(p, begin, first.code, true));
    if (ok && first.negated) {
        put_other(o, "[^", &set, "]");
    } else if (ok && first.is_set) {
        strbuf_join(&o->items, &set);
    } else if (ok) {
        put_range(&o->items, first.code, range ? last.code : first.code);
    }
    strbuf_free(&set);
    return ok;
}

// A negated class stands alone behind '&&': Oniguruma goes wrong over some unions with one, some
// negations of one, and some negated intersections.
static bool parse_operand(onig_parser *p, charset *o, bool behind_and)
{
    const char *begin = p->at;
    bool had_negated = false;
    while (*p->at && *p->at != ']' && !str_starts(p->at, "&&")) {
        bool negated = str_starts(p->at, "[^");
        if (had_negated || (negated && (!behind_and || p->at != begin)))
            return onig_refuse(p, p->at, "a negated class inside of another");
        had_negated = negated;
        if (str_starts(p->at, "[:"))
            return onig_refuse(p, p->at, "a POSIX bracket");
        if (*p->at == '[') {
            p->at++;
            if (!parse_class(p, o))
                return false;
        } else if (!class_item(p, o)) {
            return false;
        }
    }
    if (!*p->at)
        return onig_refuse(p, begin, "a class without its ']'");
    return p->at != begin || onig_refuse(p, begin, "an empty class");
}

// Behind '[': adds the class to a set. 'A&&B' is B where a look-ahead finds A, a negation is any
// character where a look-ahead does not find the class.
static bool parse_class(onig_parser *p, charset *into)
{
    strbuf ahead = {0};
    bool negated = *p->at == '^', ok = onig_enter(p);
    if (ok && negated && p->fold)
        ok = onig_refuse(p, p->at, "a negated class under (?i");
    p->at += negated;
    for (bool more = ok; more;) {
        charset o = {0};
        ok = parse_operand(p, &o, ahead.len > 0);
        more = ok && *p->at == '&';
        strbuf whole = {0};
        if (more && negated) {
            ok = more = onig_refuse(p, p->at, "'&&' in a negated class");
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
            strbuf_join(&into->items, &o.items);
            strbuf_join(&into->others, &o.others);
            into->n_others += o.n_others;
        }
        p->at += ok ? (more ? 2 : 1) : 0;
        strbuf_free(&whole);
        charset_free(&o);
    }
    p->folded = p->fold ? ONIG_ANY : 0;
    p->depth--;
    strbuf_free(&ahead);
    return ok;
}

bool onig_parse_escape(onig_parser *p, strbuf *out)
{
    const char *begin = p->at++;
    unit u;
    strbuf set = {0};
    bool ok = read_escape(p, &u, &set);
    if (ok && u.is_set && p->fold)
        ok = onig_refuse(p, begin, "a set under (?i");
    else if (ok && !u.is_set)
        ok = fold_allows(p, begin, u.code, false);
    if (ok && u.is_set) {
        put_class(out, u.negated, &set);
        p->folded = 0;
    } else if (ok) {
        onig_put_code(out, u.code);
    }
    strbuf_free(&set);
    return ok;
}

bool onig_parse_char(onig_parser *p, strbuf *out)
{
    const char *begin = p->at;
    unit u;
    if (!read_unit(p, &u, NULL) || !fold_allows(p, begin, u.code, false))
        return false;
    onig_put_code(out, u.code);
    return true;
}

bool onig_parse_set(onig_parser *p, strbuf *out)
{
    charset c = {0};
    p->at++;
    bool ok = parse_class(p, &c);
    put_charset(out, &c);
    charset_free(&c);
    return ok;
}
