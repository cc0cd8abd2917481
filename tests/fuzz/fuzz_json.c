// SPDX-License-Identifier: Apache-2.0
// The pull parser, the tree that stands on it and on cJSON, and the writer. What the tree accepts
// the pull parser accepts, too; a tree written and read again is the same.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/jsonscan.h"
#include "tests/fuzz/fuzz.h"

// The digits are no text of their own: nothing ends them.
static void check_number(const jsonscan *s, uint64_t v)
{
    char digits[24];
    FUZZ_CHECK(s->value_len > 0 && s->value_len < sizeof digits);
    memcpy(digits, s->value, s->value_len);
    digits[s->value_len] = 0;
    FUZZ_CHECK(strtoull(digits, NULL, 10) == v);
}

static bool scan(const char *text, size_t len, int depth)
{
    err e = ERR_INIT;
    jsonscan s;
    size_t end = 0;
    bool ok;
    js_init(&s, text, len, depth);
    do {
        ok = js_next(&s, &e);
        if (!ok)
            break;
        FUZZ_CHECK(s.begin >= end && s.end >= s.begin && s.end <= len);
        FUZZ_CHECK(s.depth >= 0 && s.depth <= depth);
        end = s.end;
        uint64_t v;
        if (s.kind == JS_STRING || s.kind == JS_KEY)
            FUZZ_CHECK(s.value && s.value[s.value_len] == 0 && s.value_len + 2 <= s.end - s.begin);
        else if (s.kind == JS_NUMBER && js_u64(&s, &v))
            check_number(&s, v);
    } while (s.kind != JS_END);
    if (!ok)
        fuzz_refused(&e);
    js_free(&s);
    // Skipped as one value it is the same text.
    js_init(&s, text, len, depth);
    bool skipped = js_skip(&s, &e);
    if (skipped)
        FUZZ_CHECK(s.begin < s.end && s.depth == 0 && s.end <= len);
    FUZZ_CHECK((skipped && js_expect(&s, JS_END, "the end", &e)) == ok);
    js_free(&s);
    return ok;
}

static void write(json_writer *w, const json *j)
{
    const char *key = json_key(j);
    double d;
    bool b;
    switch (json_type(j)) {
    case JSON_NULL: jw_null(w, key); break;
    case JSON_BOOL: FUZZ_CHECK(json_as_bool(j, &b)); jw_bool(w, key, b); break;
    case JSON_NUMBER: FUZZ_CHECK(json_as_double(j, &d)); jw_double(w, key, d); break;
    case JSON_STRING: jw_text(w, key, json_as_text(j)); break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        json_type(j) == JSON_ARRAY ? jw_array(w, key) : jw_object(w, key);
        for (const json *m = json_first(j); m; m = json_next(m)) {
            if (json_key(m) && !strchr(json_key(m), '.'))
                FUZZ_CHECK(json_get(j, json_key(m)) == m && json_path(j, json_key(m)) == m);
            write(w, m);
        }
        json_type(j) == JSON_ARRAY ? jw_array_end(w) : jw_object_end(w);
    }
}

static bool same(const json *a, const json *b)
{
    double x = 0, y = 0;
    bool p = false, q = false;
    int64_t i = 0, k = 0;
    if (json_type(a) != json_type(b) || json_len(a) != json_len(b) ||
        json_as_double(a, &x) != json_as_double(b, &y) || x != y ||
        json_as_int(a, &i) != json_as_int(b, &k) || i != k ||
        json_as_bool(a, &p) != json_as_bool(b, &q) || p != q || !json_key(a) != !json_key(b) ||
        (json_key(a) && strcmp(json_key(a), json_key(b)) != 0))
        return false;
    if (json_as_text(a))
        return strcmp(json_as_text(a), json_as_text(b)) == 0;
    const json *m = json_first(a), *o = json_first(b);
    for (; m && o; m = json_next(m), o = json_next(o))
        if (!same(m, o))
            return false;
    return !m && !o;
}

static void check_round_trip(const json *j, int indent)
{
    err e = ERR_INIT;
    strbuf text = {0};
    json *again = NULL;
    json_writer w = {.out = &text, .indent = indent};
    write(&w, j);
    FUZZ_OK(strbuf_ok(&text, &e) && json_parse(&again, text.text, text.len, "again", &e), &e);
    FUZZ_CHECK(same(j, again));
    json_free(again);
    strbuf_free(&text);
}

// The tree is allowed 20 times its text and more: 64 bytes a value of two bytes. The text of a
// number may grow when it is written ("1e9" to "1000000000"), and indents add.
FUZZ_TARGET(json, 1 << 20)
{
    err e = ERR_INIT;
    json *j = NULL;
    bool scanned = scan((const char *)bytes, n, JS_MAX_DEPTH);
    if (scan((const char *)bytes, n, 4))
        FUZZ_CHECK(scanned);
    if (!json_parse(&j, (const char *)bytes, n, "x.json", &e)) {
        fuzz_refused(&e);
        FUZZ_CHECK(!j);
        return;
    }
    fuzz_accept();
    FUZZ_CHECK(scanned);
    check_round_trip(j, 0);
    if (n < 512)
        check_round_trip(j, 1);
    json_free(j);
}
