// SPDX-License-Identifier: Apache-2.0
// Regular expressions over UTF-8 with Unicode properties, JIT where there is one, match limits
// always. pattern.c is the only file that includes PCRE2. Knows nothing of tokenizers.
#ifndef SCRUPLE_BASE_PATTERN_H
#define SCRUPLE_BASE_PATTERN_H

#include "base/err.h"

typedef struct pattern pattern;

// Unicode semantics for \d \s \w and classes (PCRE2_UCP). ERR_INPUT names the pattern and the spot.
MUST_USE bool pattern_open(pattern **out, const char *regex, err *e);
void pattern_close(pattern *p);
// Fewer steps a search than the limit that holds without: for patterns out of files that are held
// against many short texts.
void pattern_limit(pattern *p, uint32_t steps);
// First match at or behind `from` in valid UTF-8 text; *found false where there is none.
// ERR_INPUT where a match limit was exceeded. Not for two threads at once with one pattern.
MUST_USE bool pattern_find(pattern *p, const char *text, size_t len, size_t from, bool *found,
                           size_t *begin, size_t *end, err *e);
// Shell-style glob over a whole name: '*' any run of bytes, '?' one byte, no special '/' or '.'.
bool glob_matches(const char *glob, const char *name);

#endif
