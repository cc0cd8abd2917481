// SPDX-License-Identifier: Apache-2.0
// The model's own tokenizer.json: byte-level BPE with its normaliser, pre-tokenizer regexes and
// added tokens. Ids equal those of the Hugging Face tokenizers package, without special tokens
// added. A component it does not know is refused by name, never approximated.
#ifndef SCRUPLE_FORMATS_TOKENIZER_H
#define SCRUPLE_FORMATS_TOKENIZER_H

#include "base/err.h"

typedef struct tokenizer tokenizer;

// Reads tokenizer.json (and tokenizer_config.json where present) in `dir`.
MUST_USE bool tokenizer_open(tokenizer **out, const char *dir, err *e);
void tokenizer_close(tokenizer *t);
// UTF-8 text (ERR_INPUT with the offset where it is not) to ids; free *ids.
MUST_USE bool tokenizer_encode(tokenizer *t, const char *text, size_t len, int32_t **ids,
                               int64_t *n, err *e);
int64_t tokenizer_vocab(const tokenizer *t);  // highest id + 1
// BOS that tokenizer_config.json asks for (add_bos_token and bos_token); -1: none.
int32_t tokenizer_bos(const tokenizer *t);

#endif
