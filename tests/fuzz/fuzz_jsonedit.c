// SPDX-License-Identifier: Apache-2.0
// One member of an object's text set or removed. The input: key, value (empty: remove), the object,
// separated by NUL bytes. Everything but that member must be what it was.
#include <string.h>

#include "base/json.h"
#include "base/jsonscan.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

static bool is_json(const char *text, size_t len)
{
    err e = ERR_INIT;
    jsonscan s;
    js_init(&s, text, len, JS_MAX_DEPTH - 1);
    bool ok = js_skip(&s, &e) && js_expect(&s, JS_END, "the end", &e);
    js_free(&s);
    return ok;
}

// The members of both texts in turn, `key` left out; how often it was there comes back.
static int members_but(jsonscan *s, const char *key, int64_t *n, strbuf *all)
{
    err e = ERR_INIT;
    int found = 0;
    *n = 0;
    FUZZ_OK(js_expect(s, JS_OBJECT, "an object", &e), &e);
    for (;;) {
        FUZZ_OK(js_next(s, &e), &e);
        if (s->kind == JS_OBJECT_END)
            return found;
        bool mine = s->value_len == strlen(key) && memcmp(s->value, key, s->value_len) == 0;
        size_t begin = s->begin, end = s->end;
        FUZZ_OK(js_skip(s, &e), &e);
        found += mine;
        if (mine)
            continue;
        strbuf_add(all, s->text + begin, end - begin);
        strbuf_add(all, s->text + s->begin, s->end - s->begin);
        ++*n;
    }
}

static int read_members(const char *text, size_t len, const char *key, int64_t *n, strbuf *all)
{
    jsonscan s;
    js_init(&s, text, len, JS_MAX_DEPTH);
    int found = members_but(&s, key, n, all);
    js_free(&s);
    return found;
}

FUZZ_TARGET(jsonedit, 1 << 20)
{
    fuzz_text k = fuzz_cut(&bytes, &n), v = fuzz_cut(&bytes, &n);
    arena a = {0};
    err e = ERR_INIT;
    strbuf out = {0}, before = {0}, behind = {0};
    const char *text = (const char *)bytes;
    const char *key = arena_text(&a, k.text, k.len, &e), *value = NULL;
    if (v.len) {
        value = arena_text(&a, v.text, v.len, &e);
        if (!is_json(v.text, v.len))
            goto out; // the caller's promise
    }
    if (!json_set_member(text, n, key, value, &out, &e)) {
        fuzz_refused(&e);
        goto out;
    }
    int64_t n_before, n_behind;
    fuzz_accept();
    int found = read_members(text, n, key, &n_before, &before);
    FUZZ_CHECK(found <= 1);
    found = read_members(out.text, out.len, key, &n_behind, &behind);
    // A key that is no UTF-8 is written with U+FFFD, so that it is another one.
    FUZZ_CHECK(found == (value != NULL) || n_behind == n_before + 1);
    if (n_behind == n_before)
        FUZZ_CHECK(before.len == behind.len &&
                   (!before.len || memcmp(before.text, behind.text, before.len) == 0));
out:
    strbuf_free(&out);
    strbuf_free(&before);
    strbuf_free(&behind);
    arena_free(&a);
}
