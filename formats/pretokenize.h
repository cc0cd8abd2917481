// SPDX-License-Identifier: Apache-2.0
// The pre_tokenizer of tokenizer.json: cuts text into the pieces that byte-pair encoding works on.
// Known: Split (by a regular expression or a fixed text, all five behaviours, inverted or not),
// Digits, ByteLevel, and Sequences of them. ByteLevel must come last: the encoding behind it is of
// bytes. Everything else is refused by name.
#ifndef SCRUPLE_FORMATS_PRETOKENIZE_H
#define SCRUPLE_FORMATS_PRETOKENIZE_H

#include "base/json.h"

typedef struct pretokenizer pretokenizer;

// `part` is the value of "pre_tokenizer". Nothing of it is kept.
MUST_USE bool pretokenizer_open(pretokenizer **out, const json *part, err *e);
void pretokenizer_close(pretokenizer *p);

// Takes one piece, never an empty one; false stops and `e` says why.
typedef bool piece_fn(void *to, const char *piece, size_t len, err *e);
// Calls take() for the pieces of text[0..len), valid UTF-8, in order. ERR_INPUT where a pattern
// exceeds its limits. Not for two threads at once with one pretokenizer.
MUST_USE bool pretokenize(pretokenizer *p, const char *text, size_t len, piece_fn *take, void *to,
                          err *e);

#endif
