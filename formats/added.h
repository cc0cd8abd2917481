// SPDX-License-Identifier: Apache-2.0
// The added_tokens of tokenizer.json: texts that become one id wherever they stand, found before
// (normalized: false) or after normalisation, leftmost first and longest of those. With the
// package's rules for single_word, lstrip and rstrip, including what they do to neighbours.
#ifndef SCRUPLE_FORMATS_ADDED_H
#define SCRUPLE_FORMATS_ADDED_H

#include "base/json.h"

typedef struct added added;

typedef struct {
    const char *content; // borrowed from the JSON tree
    int32_t id;
    bool single_word, lstrip, rstrip, normalized;
} added_token;

// A new list; tokens are put into it, then it is finished.
MUST_USE bool added_open(added **out, err *e);
void added_close(added *a);
// One member of "added_tokens". ERR_INPUT where a member is missing or of the wrong type.
MUST_USE bool added_read(added_token *out, const json *j, err *e);
// Puts a token; `form` is its content as it stands in the text it is looked for in: normalised
// where t->normalized. ERR_INPUT where another token has this form: the package then takes now
// the one, now the other.
MUST_USE bool added_put(added *a, const added_token *t, const char *form, size_t len, err *e);

// Takes one part of a text: an added token (id >= 0), or text between them (id -1, never empty).
typedef bool part_fn(void *to, const char *text, size_t len, int32_t id, err *e);
// Cuts text[0..len), valid UTF-8, by the tokens with this `normalized`.
MUST_USE bool added_cut(const added *a, bool normalized, const char *text, size_t len,
                        part_fn *take, void *to, err *e);

#endif
