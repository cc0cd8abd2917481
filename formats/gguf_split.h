// SPDX-License-Identifier: Apache-2.0
// Split GGUF files: what a part says of the whole, and what the parts are called,
// "<prefix>-00001-of-00003.gguf" (from 1 on; split.no counts from 0). Opens nothing.
#ifndef SCRUPLE_FORMATS_GGUF_SPLIT_H
#define SCRUPLE_FORMATS_GGUF_SPLIT_H

#include "formats/gguf.h"

typedef struct {
    uint64_t no, count;  // count 1: not split
    uint64_t n_tensors;  // of all parts
} gguf_split;

// ERR_INPUT where a key is missing or makes no sense. A split.count of 0 is what merging leaves.
MUST_USE bool gguf_split_of(const gguf_header *h, gguf_split *out, err *e);

enum { GGUF_SET_NAME = 256 }; // bytes of a part's name with its NUL

typedef struct {
    char prefix[GGUF_SET_NAME];
    int count;
} gguf_set;

// The set of a file of that name which says `split` of itself; ERR_INPUT where the name is not the
// one that the part has to have.
MUST_USE bool gguf_set_of(gguf_set *out, const char *name, const gguf_split *split, err *e);
// The name of a part, from 0 on.
const char *gguf_set_name(const gguf_set *set, int part, char buf[GGUF_SET_NAME]);
// True where two names are those of parts of one set.
bool gguf_set_same(const char *a, const char *b);

#endif
