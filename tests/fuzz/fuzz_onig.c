// SPDX-License-Identifier: Apache-2.0
// The translation of a tokenizer's regular expressions into PCRE2's.
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "formats/onig.h"
#include "tests/fuzz/fuzz.h"

static void check_output(const strbuf *out)
{
    uint32_t code;
    FUZZ_CHECK(strlen(out->text) == out->len);
    for (size_t at = 0; at < out->len;) {
        int n = utf8_decode(out->text + at, out->len - at, &code);
        FUZZ_CHECK(n > 0);
        at += (size_t)n;
    }
}

FUZZ_TARGET(onig, 4 << 20)
{
    err e = ERR_INIT;
    arena a = {0};
    strbuf out = {0}, literal = {0};
    const char *regex = arena_text(&a, (const char *)bytes, n, &e);
    uint32_t code;
    bool valid = true; // as json_parse gives it
    for (size_t at = 0, len = strlen(regex); valid && at < len;) {
        int step = utf8_decode(regex + at, len - at, &code);
        valid = step > 0;
        at += (size_t)step;
    }
    if (valid && onig_translate(regex, &out, &e)) {
        fuzz_accept();
        if (*regex)
            check_output(&out);
    } else if (valid) {
        fuzz_refused(&e);
    }
    if (valid && onig_literal(regex, &literal, &e) && *regex)
        check_output(&literal);
    strbuf_free(&out);
    strbuf_free(&literal);
    arena_free(&a);
}
