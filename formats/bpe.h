// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding as the "model" of a byte-level tokenizer.json describes it: a piece of text
// becomes its bytes, and the neighbouring pair with the lowest rank is merged, the leftmost of
// equals first, until none is left. n log n in the length of the piece, and 44 bytes of memory for
// each of its bytes.
//
// Refused by name: other models, dropout, prefixes and suffixes of subwords, ids above 2^24, an id
// or a token that is there twice, merges of absent tokens, and byte_fallback or unk_token where
// they could play a role (a byte without a token).
#ifndef SCRUPLE_FORMATS_BPE_H
#define SCRUPLE_FORMATS_BPE_H

#include "base/json.h"

typedef struct bpe bpe;

enum { BPE_MAX_ID = 1 << 24, BPE_MAX_PIECE = 4 << 20 };

// A growing list of ids; free v.
typedef struct {
    int32_t *v;
    uint64_t n, cap;
} id_list;

MUST_USE bool id_list_add(id_list *l, const int32_t *ids, uint64_t n, err *e);

// `model` is the value of "model". Nothing of it is kept.
MUST_USE bool bpe_open(bpe **out, const json *model, err *e);
void bpe_close(bpe *b);
// Appends the ids of one piece. A byte that has no token is left out, as the package does it.
// ERR_INPUT for a piece of more than BPE_MAX_PIECE bytes. Not for two threads at once.
MUST_USE bool bpe_encode(bpe *b, const char *piece, size_t len, id_list *out, err *e);
// The id of a token as it is written in the vocabulary; -1 where absent.
int32_t bpe_id(const bpe *b, const char *token);
int64_t bpe_size(const bpe *b); // tokens
int32_t bpe_top(const bpe *b);  // highest id, -1 where there is no token

#endif
