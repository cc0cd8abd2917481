// SPDX-License-Identifier: Apache-2.0
// tokenizer.json, tokenizer_config.json and a text, separated by NUL bytes. Ids are bounded by a
// limit of the format's reader (2^24), whose tables would be all that is measured here: inputs with
// numbers above 65,536 are left out.
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "formats/tokenizer.h"
#include "tests/fuzz/fuzz.h"

static bool is_utf8(const char *text, size_t len)
{
    uint32_t code;
    for (size_t at = 0; at < len;) {
        int n = utf8_decode(text + at, len - at, &code);
        if (n == 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

// Twice, for the second time comes out of a cache.
static void encode(tokenizer *t, fuzz_text text)
{
    err e = ERR_INIT;
    int32_t *ids, *again;
    int64_t n, m;
    if (!tokenizer_encode(t, text.text, text.len, &ids, &n, &e)) {
        fuzz_refused(&e); // not UTF-8, or a match limit
        FUZZ_CHECK(!ids && n == 0);
        return;
    }
    FUZZ_CHECK(is_utf8(text.text, text.len));
    FUZZ_CHECK(ids && n >= 0);
    for (int64_t i = 0; i < n; i++)
        FUZZ_CHECK(ids[i] >= 0 && ids[i] < tokenizer_vocab(t));
    FUZZ_OK(tokenizer_encode(t, text.text, text.len, &again, &m, &e), &e);
    FUZZ_CHECK(n == m && memcmp(ids, again, (size_t)n * sizeof *ids) == 0);
    free(ids);
    free(again);
}

FUZZ_TARGET(tokenizer, 16 << 20)
{
    err e = ERR_INIT;
    tokenizer *t;
    fuzz_text model = fuzz_cut(&bytes, &n), config = fuzz_cut(&bytes, &n);
    fuzz_text text = {(const char *)bytes, n};
    if (fuzz_largest_number(model.text, model.len, (uint64_t)1 << 62) > 65536)
        return;
    fuzz_file("m/tokenizer.json", model.text, model.len, model.len);
    if (config.len)
        fuzz_file("m/tokenizer_config.json", config.text, config.len, config.len);
    if (!tokenizer_open(&t, "m", &e)) {
        fuzz_refused(&e);
        FUZZ_CHECK(!t);
        return;
    }
    FUZZ_CHECK(tokenizer_bos(t) >= -1 && tokenizer_bos(t) < tokenizer_vocab(t));
    fuzz_accept();
    encode(t, text);
    tokenizer_close(t);
}
