// SPDX-License-Identifier: Apache-2.0
// Calibration input. The first byte says what it is (text, JSON lines, an array), how long windows
// are, whether they begin with BOS and how many there may be; the rest is the file.
#include <string.h>

#include "formats/windows.h"
#include "tests/fuzz/fuzz.h"

enum { KIND = 3, CONTEXT_SHIFT = 2, WITH_BOS = 32, LIMITED = 64 };

static const char model[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":4,\"content\":\"<s>\",\"single_word\":false,"
    "\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}],"
    "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
    "\"trim_offsets\":true,\"use_regex\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,"
    "\"b\":1,\"ab\":2,\"\\u0120\":3},\"merges\":[\"a b\"]}}";
static const char bos[] = "{\"add_bos_token\":true,\"bos_token\":\"<s>\"}";

static void check(const windows *w, const windows_options *o, bool of_lines, bool of_text)
{
    FUZZ_CHECK(w->n > 0 && w->len >= 1 && w->tokens && w->dropped >= 0);
    FUZZ_CHECK(!of_text || w->len == o->context);
    FUZZ_CHECK(of_lines == (w->document != NULL));
    FUZZ_CHECK(!o->max_tokens || w->n * w->len <= o->max_tokens);
    int64_t own = w->with_bos ? w->len - 1 : w->len;
    FUZZ_CHECK(w->n * own + w->dropped == w->n_input || !of_text);
    for (int64_t i = 0; i < w->n * w->len; i++)
        FUZZ_CHECK(w->tokens[i] >= 0 && (!of_text || w->tokens[i] <= 4));
    for (int64_t i = 0; w->with_bos && i < w->n; i++)
        FUZZ_CHECK(w->tokens[i * w->len] == 4);
    for (int64_t i = 1; of_lines && i < w->n; i++)
        FUZZ_CHECK(w->document[i - 1] <= w->document[i]);
}

FUZZ_TARGET(windows, 16 << 20)
{
    static const char *const names[] = {"x.txt", "x.jsonl", "x.npy", "x.npy"};
    err e = ERR_INIT;
    windows w;
    if (n == 0)
        return;
    int how = *bytes, kind = how & KIND;
    windows_options o = {.text = kind < 2 ? names[kind] : NULL,
                         .tokens = kind < 2 ? NULL : names[kind], .model_dir = "m",
                         .context = 2 + (how >> CONTEXT_SHIFT & 7)};
    o.max_tokens = how & LIMITED ? 2 * o.context : 0;
    fuzz_file("m/tokenizer.json", model, sizeof model - 1, sizeof model - 1);
    if (how & WITH_BOS)
        fuzz_file("m/tokenizer_config.json", bos, sizeof bos - 1, sizeof bos - 1);
    fuzz_file(names[kind], bytes + 1, n - 1, n - 1);
    if (windows_read(&w, &o, &e)) {
        fuzz_accept();
        check(&w, &o, kind == 1, kind < 2);
        windows_free(&w);
    } else {
        fuzz_refused_or(&e, ERR_USAGE);
        FUZZ_CHECK(!w.tokens && !w.document);
    }
}
