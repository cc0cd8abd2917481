// SPDX-License-Identifier: Apache-2.0
// Unicode normal forms: each is its own normal form, and decomposing what was composed is the same
// as decomposing.
#include <string.h>

#include "base/utf8.h"
#include "formats/normalize.h"
#include "tests/fuzz/fuzz.h"

static bool normal(normal_form form, const char *text, size_t len, strbuf *out)
{
    err e = ERR_INIT;
    uint32_t code;
    if (!normalize_text(form, text, len, out, &e)) {
        fuzz_refused(&e);
        return false;
    }
    for (size_t at = 0; at < out->len;) {
        int n = utf8_decode(out->text + at, out->len - at, &code);
        FUZZ_CHECK(n > 0);
        at += (size_t)n;
    }
    return true;
}

static bool same(const strbuf *a, const strbuf *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->text, b->text, a->len) == 0);
}

static void check_pair(normal_form composed, normal_form decomposed, const char *text, size_t len)
{
    strbuf c = {0}, d = {0}, again = {0};
    if (normal(composed, text, len, &c) && normal(decomposed, text, len, &d)) {
        fuzz_accept();
        FUZZ_CHECK(normal(composed, c.text ? c.text : "", c.len, &again) && same(&c, &again));
        strbuf_clear(&again);
        FUZZ_CHECK(normal(decomposed, d.text ? d.text : "", d.len, &again) && same(&d, &again));
        strbuf_clear(&again);
        FUZZ_CHECK(normal(decomposed, c.text ? c.text : "", c.len, &again) && same(&d, &again));
    }
    strbuf_free(&c);
    strbuf_free(&d);
    strbuf_free(&again);
}

FUZZ_TARGET(normalize, 1 << 20)
{
    check_pair(NORMAL_NFC, NORMAL_NFD, (const char *)bytes, n);
    check_pair(NORMAL_NFKC, NORMAL_NFKD, (const char *)bytes, n);
}
