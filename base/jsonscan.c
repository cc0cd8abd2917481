// SPDX-License-Identifier: Apache-2.0
#include "base/jsonscan.h"

#include <assert.h>
#include <string.h>

#include "base/utf8.h"

// What may come next. The stack remembers '{' or '[' for each open container.
enum {
    WANT_VALUE,        // at the start, behind ':' and behind ',' in an array
    WANT_FIRST_VALUE,  // behind '[': a value or ']'
    WANT_FIRST_KEY,    // behind '{': a key or '}'
    WANT_KEY,          // behind ',' in an object
    WANT_COMMA_OR_END, // behind a value inside a container
    WANT_NOTHING       // behind the outermost value
};

void js_init(jsonscan *s, const char *text, size_t len, int max_depth)
{
    assert(max_depth >= 1 && max_depth <= JS_MAX_DEPTH);
    *s = (jsonscan){.text = text, .len = len, .max_depth = max_depth, .max_text = SIZE_MAX,
                    .state = WANT_VALUE};
}

void js_free(jsonscan *s)
{
    strbuf_free(&s->decoded);
    *s = (jsonscan){0};
}

static const char *kind_name(js_kind kind)
{
    static const char *const names[] = {
        [JS_END] = "the end", [JS_OBJECT] = "an object", [JS_OBJECT_END] = "'}'",
        [JS_ARRAY] = "an array", [JS_ARRAY_END] = "']'", [JS_KEY] = "a key",
        [JS_STRING] = "a string", [JS_NUMBER] = "a number", [JS_TRUE] = "true",
        [JS_FALSE] = "false", [JS_NULL] = "null"};
    return names[kind];
}

static bool bad_at(size_t at, const char *what, err *e)
{
    return err_set(e, ERR_INPUT, "bad JSON at byte %zu: %s", at, what);
}

// Expected something else than what stands at s->at.
static bool unexpected(const jsonscan *s, const char *expected, err *e)
{
    if (s->at >= s->len)
        return err_set(e, ERR_INPUT, "bad JSON at byte %zu: expected %s, the text ends", s->at,
                       expected);
    unsigned char c = (unsigned char)s->text[s->at];
    if (c > 0x20 && c < 0x7f)
        return err_set(e, ERR_INPUT, "bad JSON at byte %zu: expected %s, found '%c'", s->at,
                       expected, c);
    return err_set(e, ERR_INPUT, "bad JSON at byte %zu: expected %s, found byte 0x%02x", s->at,
                   expected, c);
}

static void skip_space(jsonscan *s)
{
    size_t at = s->at, len = s->len;
    const char *text = s->text;
    while (at < len && (text[at] == ' ' || text[at] == '\n' || text[at] == '\r' ||
                        text[at] == '\t'))
        at++;
    s->at = at;
}

// Bytes of a string that stand for themselves.
static bool is_plain(unsigned char c) { return c >= 0x20 && c < 0x80 && c != '"' && c != '\\'; }

static bool read_hex4(const jsonscan *s, size_t at, uint32_t *out)
{
    *out = 0;
    if (s->len - at < 4)
        return false;
    for (size_t i = at; i < at + 4; i++) {
        char c = s->text[i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A') + 10;
        else
            return false;
        *out = *out << 4 | digit;
    }
    return true;
}

// s->at is behind "\u". A high surrogate must be followed by its low one.
static bool read_unicode_escape(jsonscan *s, err *e)
{
    size_t begin = s->at - 2;
    uint32_t code, low;
    if (!read_hex4(s, s->at, &code))
        return bad_at(begin, "\\u wants four hexadecimal digits", e);
    s->at += 4;
    if (code >= 0xdc00 && code < 0xe000)
        return bad_at(begin, "lone surrogate", e);
    if (code >= 0xd800 && code < 0xdc00) {
        if (s->len - s->at < 6 || s->text[s->at] != '\\' || s->text[s->at + 1] != 'u' ||
            !read_hex4(s, s->at + 2, &low) || low < 0xdc00 || low >= 0xe000)
            return bad_at(begin, "lone surrogate", e);
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        s->at += 6;
    }
    char bytes[4];
    strbuf_add(&s->decoded, bytes, (size_t)utf8_encode(code, bytes));
    return true;
}

static bool read_escape(jsonscan *s, err *e)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->at + 1 >= s->len)
        return bad_at(s->at, "the text ends inside a string", e);
    char c = s->text[s->at + 1];
    s->at += 2;
    if (c == 'u')
        return read_unicode_escape(s, e);
    const char *hit = c ? strchr(from, c) : NULL;
    if (!hit)
        return bad_at(s->at - 2, "unknown escape in a string", e);
    strbuf_add(&s->decoded, &to[hit - from], 1);
    return true;
}

// s->at is on the opening quote; leaves it behind the closing one.
static bool read_string(jsonscan *s, err *e)
{
    strbuf_clear(&s->decoded);
    s->at++;
    size_t run = s->at; // begin of the bytes that are copied as they are
    for (;;) {
        const char *p = s->text + s->at, *end = s->text + s->len;
        while (p < end && is_plain((unsigned char)*p))
            p++;
        s->at = (size_t)(p - s->text);
        if (p == end)
            return bad_at(s->begin, "a string without end", e);
        unsigned char c = (unsigned char)*p;
        if (c >= 0x80) {
            uint32_t code;
            int n = utf8_decode(s->text + s->at, s->len - s->at, &code);
            if (n == 0)
                return bad_at(s->at, "invalid UTF-8 in a string", e);
            s->at += (size_t)n;
            continue;
        }
        if (c < 0x20)
            return bad_at(s->at, "a control byte in a string", e);
        if (s->at - run > s->max_text || s->decoded.len > s->max_text - (s->at - run))
            return err_set(e, ERR_INPUT, "bad JSON at byte %zu: a string of more than %zu bytes",
                           s->begin, s->max_text);
        strbuf_add(&s->decoded, s->text + run, s->at - run);
        if (c == '"')
            break;
        if (!read_escape(s, e))
            return false;
        run = s->at;
    }
    s->at++;
    s->value = s->decoded.text;
    s->value_len = s->decoded.len;
    return strbuf_ok(&s->decoded, e);
}

static size_t digits(const jsonscan *s, size_t at)
{
    while (at < s->len && s->text[at] >= '0' && s->text[at] <= '9')
        at++;
    return at;
}

static bool read_number(jsonscan *s, err *e)
{
    size_t at = s->at + (s->text[s->at] == '-');
    size_t whole = at;
    at = digits(s, at);
    if (at == whole)
        return bad_at(s->begin, "a number without digits", e);
    if (s->text[whole] == '0' && at - whole > 1)
        return bad_at(s->begin, "a number with a leading zero", e);
    if (at < s->len && s->text[at] == '.') {
        size_t fraction = ++at;
        at = digits(s, at);
        if (at == fraction)
            return bad_at(s->begin, "a number without digits behind the point", e);
    }
    if (at < s->len && (s->text[at] == 'e' || s->text[at] == 'E')) {
        at++;
        if (at < s->len && (s->text[at] == '+' || s->text[at] == '-'))
            at++;
        size_t exponent = at;
        at = digits(s, at);
        if (at == exponent)
            return bad_at(s->begin, "a number without digits in its exponent", e);
    }
    s->value = s->text + s->begin;
    s->value_len = at - s->begin;
    s->at = at;
    return true;
}

static bool read_word(jsonscan *s, const char *word, js_kind kind, err *e)
{
    size_t n = strlen(word);
    if (s->len - s->at < n || memcmp(s->text + s->at, word, n) != 0)
        return unexpected(s, "a value", e);
    s->at += n;
    s->kind = kind;
    return true;
}

static void after_value(jsonscan *s)
{
    s->state = s->depth ? WANT_COMMA_OR_END : WANT_NOTHING;
    s->end = s->at;
}

static bool open_container(jsonscan *s, char c, err *e)
{
    if (s->depth >= s->max_depth)
        return err_set(e, ERR_INPUT, "bad JSON at byte %zu: nested deeper than %d levels", s->at,
                       s->max_depth);
    s->stack[s->depth++] = (unsigned char)c;
    s->kind = c == '{' ? JS_OBJECT : JS_ARRAY;
    s->state = c == '{' ? WANT_FIRST_KEY : WANT_FIRST_VALUE;
    s->end = ++s->at;
    return true;
}

static bool read_value(jsonscan *s, err *e)
{
    char c = s->text[s->at];
    bool ok;
    if (c == '{' || c == '[')
        return open_container(s, c, e);
    if (c == '"') {
        s->kind = JS_STRING;
        ok = read_string(s, e);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        s->kind = JS_NUMBER;
        ok = read_number(s, e);
    } else if (c == 't') {
        ok = read_word(s, "true", JS_TRUE, e);
    } else if (c == 'f') {
        ok = read_word(s, "false", JS_FALSE, e);
    } else if (c == 'n') {
        ok = read_word(s, "null", JS_NULL, e);
    } else {
        return unexpected(s, "a value", e);
    }
    if (ok)
        after_value(s);
    return ok;
}

static bool read_key(jsonscan *s, err *e)
{
    if (s->text[s->at] != '"')
        return unexpected(s, "a key", e);
    if (!read_string(s, e))
        return false;
    s->kind = JS_KEY;
    s->end = s->at;
    skip_space(s);
    if (s->at >= s->len || s->text[s->at] != ':')
        return unexpected(s, "':' behind a key", e);
    s->at++;
    s->state = WANT_VALUE;
    return true;
}

static bool close_container(jsonscan *s)
{
    s->depth--;
    s->kind = s->stack[s->depth] == '{' ? JS_OBJECT_END : JS_ARRAY_END;
    s->at++;
    after_value(s);
    return true;
}

// Behind a value inside a container. On a comma: goes on to what must follow it.
static bool take_comma(jsonscan *s, bool *closed, err *e)
{
    bool object = s->stack[s->depth - 1] == '{';
    char c = s->text[s->at];
    *closed = c == (object ? '}' : ']');
    if (*closed)
        return true;
    if (c != ',')
        return unexpected(s, object ? "',' or '}'" : "',' or ']'", e);
    s->at++;
    skip_space(s);
    s->state = object ? WANT_KEY : WANT_VALUE;
    if (s->at >= s->len)
        return unexpected(s, object ? "a key" : "a value", e);
    return true;
}

bool js_next(jsonscan *s, err *e)
{
    s->value = NULL;
    s->value_len = 0;
    skip_space(s);
    if (s->state == WANT_NOTHING) {
        if (s->at < s->len)
            return unexpected(s, "nothing behind the value", e);
        s->kind = JS_END;
        s->begin = s->end = s->at;
        return true;
    }
    if (s->at >= s->len)
        return unexpected(s, s->depth == 0                 ? "a value"
                             : s->stack[s->depth - 1] == '{' ? "'}'" : "']'", e);
    if (s->state == WANT_COMMA_OR_END) {
        bool closed;
        if (!take_comma(s, &closed, e))
            return false;
        if (closed) {
            s->begin = s->at;
            return close_container(s);
        }
    }
    s->begin = s->at;
    char c = s->text[s->at];
    if ((s->state == WANT_FIRST_KEY && c == '}') || (s->state == WANT_FIRST_VALUE && c == ']'))
        return close_container(s);
    if (s->state == WANT_FIRST_KEY || s->state == WANT_KEY)
        return read_key(s, e);
    return read_value(s, e);
}

bool js_expect(jsonscan *s, js_kind kind, const char *what, err *e)
{
    if (!js_next(s, e))
        return false;
    if (s->kind == kind)
        return true;
    return err_set(e, ERR_INPUT, "bad JSON at byte %zu: expected %s, found %s", s->begin, what,
                   kind_name(s->kind));
}

bool js_skip(jsonscan *s, err *e)
{
    if (!js_next(s, e))
        return false;
    if (s->kind == JS_OBJECT_END || s->kind == JS_ARRAY_END || s->kind == JS_KEY ||
        s->kind == JS_END)
        return err_set(e, ERR_INPUT, "bad JSON at byte %zu: expected a value, found %s", s->begin,
                       kind_name(s->kind));
    size_t begin = s->begin;
    if (s->kind == JS_OBJECT || s->kind == JS_ARRAY)
        for (int outside = s->depth - 1; s->depth > outside;)
            if (!js_next(s, e))
                return false;
    s->begin = begin;
    return true;
}

bool js_u64(const jsonscan *s, uint64_t *out)
{
    uint64_t v = 0;
    *out = 0;
    if (s->kind != JS_NUMBER || !s->value)
        return false;
    for (size_t i = 0; i < s->value_len; i++) {
        char c = s->value[i];
        if (c < '0' || c > '9' || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(c - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}
