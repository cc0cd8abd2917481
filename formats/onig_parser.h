// SPDX-License-Identifier: Apache-2.0
// The two halves of onig.h's translation: onig_class.c reads characters, escapes and classes,
// onig.c groups, alternatives and quantifiers. For these two files only.
#ifndef SCRUPLE_FORMATS_ONIG_PARSER_H
#define SCRUPLE_FORMATS_ONIG_PARSER_H

#include "base/err.h"
#include "base/str.h"

enum { ONIG_MAX_DEPTH = 40 }; // of groups and classes; PCRE2 allows 250
#define ONIG_ANY UINT32_MAX

typedef struct {
    const char *regex, *at; // NUL-terminated
    int depth;
    bool fold;       // inside (?i
    uint32_t folded; // the letter just read under (?i, in lower case; 0: none, ONIG_ANY: not known
    err *e;
} onig_parser;

// Sets the sentence that names the construct at `at`; returns false.
bool onig_refuse(const onig_parser *p, const char *at, const char *what);
// One level deeper; the caller takes it back from p->depth.
bool onig_enter(onig_parser *p);
// Appends a code point that means itself, inside and outside of classes.
void onig_put_code(strbuf *out, uint32_t code);
// Reads one character at p->at that is no operator and appends it.
bool onig_parse_char(onig_parser *p, strbuf *out);
// At a backslash.
bool onig_parse_escape(onig_parser *p, strbuf *out);
// At a '[': appends a PCRE2 expression for exactly one character.
bool onig_parse_set(onig_parser *p, strbuf *out);

#endif
