// SPDX-License-Identifier: Apache-2.0
// Unicode normal forms, as the tokenizers package computes them. normalize.c is the only file that
// includes utf8proc. Characters that are newer than the package's normaliser (unidata.h) stay as
// they are, as they do there. Not case folding, not accent stripping.
#ifndef SCRUPLE_FORMATS_NORMALIZE_H
#define SCRUPLE_FORMATS_NORMALIZE_H

#include "base/err.h"
#include "base/str.h"

typedef enum { NORMAL_NFC, NORMAL_NFD, NORMAL_NFKC, NORMAL_NFKD } normal_form;

// Appends the normal form of text[0..len), which must be valid UTF-8. Linear in len.
MUST_USE bool normalize_text(normal_form form, const char *text, size_t len, strbuf *out, err *e);

// The version of the library behind it, as base/libraries.h does for base/'s.
const char *utf8proc_library(char *buf);

#endif
