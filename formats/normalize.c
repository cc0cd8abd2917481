// SPDX-License-Identifier: Apache-2.0
#include "formats/normalize.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "formats/unidata.h"

// A list of code points; utf8proc's type is signed.
struct codes {
    int32_t *v;
    uint64_t n, cap;
};

struct work {
    normal_form form;
    struct codes source, canonical, sorted; // of one run
    strbuf *out;
};

static bool codes_need(struct codes *c, uint64_t n, err *e)
{
    return mem_grow((void **)&c->v, &c->cap, n, sizeof *c->v, "a text's code points", e);
}

static bool is_composing(normal_form f) { return f == NORMAL_NFC || f == NORMAL_NFKC; }
static bool is_compatible(normal_form f) { return f == NORMAL_NFKC || f == NORMAL_NFKD; }

// Every code point below is in normal form whatever surrounds it, except that it may compose with
// one that follows.
static uint32_t plain_limit(normal_form f) { return f == NORMAL_NFC ? 0x300 : 0x80; }

static bool is_unnormalised(int32_t code)
{
    int low = 0, high = unidata_n_unnormalised;
    while (low < high) {
        int middle = (low + high) / 2;
        if ((int64_t)unidata_unnormalised[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < unidata_n_unnormalised && (int64_t)unidata_unnormalised[low].first <= code;
}

const char *utf8proc_library(char *buf)
{
    (void)buf;
    return utf8proc_version();
}

static int combining_class(int32_t code) { return utf8proc_get_property(code)->combining_class; }

static bool decompose(struct work *w, const int32_t *code, uint64_t n, err *e)
{
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (is_compatible(w->form))
        options |= UTF8PROC_COMPAT;
    struct codes *to = &w->canonical;
    to->n = 0;
    for (uint64_t i = 0; i < n; i++) {
        enum { LONGEST = 18 }; // U+FDFA in compatibility forms
        if (!codes_need(to, to->n + LONGEST, e))
            return false;
        utf8proc_ssize_t more =
            utf8proc_decompose_char(code[i], to->v + to->n, LONGEST, options, NULL);
        if (more < 0 || more > LONGEST)
            return err_set(e, ERR_INTERNAL, "utf8proc cannot decompose U+%04X", (unsigned)code[i]);
        to->n += (uint64_t)more;
    }
    return true;
}

// Stable order of one run of marks by combining class, by counting: utf8proc's own order is
// quadratic in the length of the run.
static bool order_marks(struct work *w, int32_t *mark, uint64_t n, err *e)
{
    uint64_t begin[257] = {0};
    bool ordered = true;
    for (uint64_t i = 0; i < n; i++) {
        begin[combining_class(mark[i]) + 1]++;
        ordered = ordered && (i == 0 || combining_class(mark[i - 1]) <= combining_class(mark[i]));
    }
    if (ordered)
        return true;
    if (!codes_need(&w->sorted, n, e))
        return false;
    for (int c = 0; c < 256; c++)
        begin[c + 1] += begin[c];
    for (uint64_t i = 0; i < n; i++)
        w->sorted.v[begin[combining_class(mark[i])]++] = mark[i];
    memcpy(mark, w->sorted.v, n * sizeof *mark);
    return true;
}

static bool canonical_order(struct work *w, err *e)
{
    struct codes *c = &w->canonical;
    for (uint64_t i = 0; i < c->n;) {
        uint64_t end = i;
        while (end < c->n && combining_class(c->v[end]) != 0)
            end++;
        if (end - i > 1 && !order_marks(w, c->v + i, end - i, e))
            return false;
        i = end + 1;
    }
    return true;
}

static void put_codes(strbuf *out, const int32_t *code, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        char bytes[4];
        strbuf_add(out, bytes, (size_t)utf8_encode((uint32_t)code[i], bytes));
    }
}

static bool normalize_segment(struct work *w, const int32_t *code, uint64_t n, err *e)
{
    if (!decompose(w, code, n, e) || !canonical_order(w, e))
        return false;
    struct codes *c = &w->canonical;
    if (is_composing(w->form)) {
        utf8proc_ssize_t left = utf8proc_normalize_utf32(c->v, (utf8proc_ssize_t)c->n,
                                                         UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (left < 0 || (uint64_t)left > c->n)
            return err_set(e, ERR_INTERNAL, "utf8proc cannot compose %llu code points",
                           (unsigned long long)c->n);
        c->n = (uint64_t)left;
    }
    put_codes(w->out, c->v, c->n);
    return true;
}

// What the package does not know is a starter that neither decomposes nor composes: the normal
// form of a run is that of the segments between such characters.
static bool normalize_run(struct work *w, err *e)
{
    const struct codes *s = &w->source;
    uint64_t begin = 0;
    for (uint64_t i = 0; i <= s->n; i++) {
        if (i < s->n && !is_unnormalised(s->v[i]))
            continue;
        if (i > begin && !normalize_segment(w, s->v + begin, i - begin, e))
            return false;
        if (i < s->n)
            put_codes(w->out, s->v + i, 1);
        begin = i + 1;
    }
    return true;
}

// Reads one run into w->source: code points from `at` up to the next plain one. *at moves.
static bool read_run(struct work *w, const char *text, size_t len, size_t *at, err *e)
{
    while (*at < len) {
        uint32_t code;
        int n = utf8_decode(text + *at, len - *at, &code);
        if (n == 0)
            return err_set(e, ERR_INPUT, "byte %zu of the text is not UTF-8", *at);
        if (code < plain_limit(w->form))
            break;
        if (!codes_need(&w->source, w->source.n + 1, e))
            return false;
        w->source.v[w->source.n++] = (int32_t)code;
        *at += (size_t)n;
    }
    return true;
}

static bool normalize_all(struct work *w, const char *text, size_t len, err *e)
{
    // text[0..copied) is done; `before` is where the code point in front of `at` begins.
    size_t copied = 0, before = 0, at = 0;
    while (at < len) {
        uint32_t code;
        int n = utf8_decode(text + at, len - at, &code);
        if (n == 0)
            return err_set(e, ERR_INPUT, "byte %zu of the text is not UTF-8", at);
        if (code < plain_limit(w->form)) {
            before = at;
            at += (size_t)n;
            continue;
        }
        // The plain code point in front belongs to the run: the two may compose.
        size_t begin = at > copied ? before : at;
        strbuf_add(w->out, text + copied, begin - copied);
        w->source.n = 0;
        if (begin < at) {
            (void)utf8_decode(text + begin, at - begin, &code);
            if (!codes_need(&w->source, 1, e))
                return false;
            w->source.v[w->source.n++] = (int32_t)code;
        }
        if (!read_run(w, text, len, &at, e) || !normalize_run(w, e))
            return false;
        copied = at;
    }
    strbuf_add(w->out, text + copied, len - copied);
    return strbuf_ok(w->out, e);
}

bool normalize_text(normal_form form, const char *text, size_t len, strbuf *out, err *e)
{
    struct work w = {.form = form, .out = out};
    bool ok = normalize_all(&w, text, len, e);
    free(w.source.v);
    free(w.canonical.v);
    free(w.sorted.v);
    return ok;
}
