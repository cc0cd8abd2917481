// SPDX-License-Identifier: Apache-2.0
// Where the Unicode versions of our libraries differ from those of the Hugging Face tokenizers
// package, whose ids are the reference. unidata.c is written by scripts/oracle/unicode_tables.py.
// Not a character database: only the differences that decide token ids.
#ifndef SCRUPLE_FORMATS_UNIDATA_H
#define SCRUPLE_FORMATS_UNIDATA_H

#include "base/base.h"

typedef struct {
    uint32_t first, last;
} unidata_range;

// Code points that Unicode assigned after version 14 (PCRE2 10.42, the oldest we build with) and
// that the package's regular expressions know (Unicode 16): general category, or script. One
// range may be listed under both. Sorted.
typedef struct {
    uint32_t first, last;
    char name[12]; // "Lo", "Han"
} unidata_class;

extern const unidata_class unidata_since_14[];
extern const int unidata_n_since_14;

// Code points that a newer Unicode decomposes or reorders, and that the package's normaliser
// (Unicode 9) takes for unassigned: it leaves them alone, and nothing moves or composes past them.
// Sorted.
extern const unidata_range unidata_unnormalised[];
extern const int unidata_n_unnormalised;

#endif
