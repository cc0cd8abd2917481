// SPDX-License-Identifier: Apache-2.0
// The regular expressions of tokenizer.json are written for Oniguruma (6.9.10 in the tokenizers
// package); base/pattern.h is PCRE2. This translates the part of Oniguruma's syntax that splits
// text in published tokenizers into a PCRE2 pattern of the same meaning, down to the Unicode
// version of \p{...}, and refuses the rest by name. Matches nothing itself.
//
// Known: literals, escapes \t \n \v \f \r \a \e \xHH \x{H} \uHHHH and of punctuation, '.', \s \d
// \S \D, \p{..} \P{..} \p{^..} (general categories except C, Cn, Co, Cs, Mn, Mc, and the scripts
// Han, Hiragana, Katakana, Hangul), classes with ranges, negation, classes in classes and '&&',
// groups ( (?: (?= (?! (?<= (?<! (?i: and a leading (?i), '|', ^ $ (of lines, as Oniguruma
// always reads them), quantifiers * + ? {n} {n,} {,m} {n,m}, lazy and possessive.
// (?i is known over ASCII only, where no multi-character folding ("ss" for U+00DF) can play in.
//
// Refused: back references, named groups, atomic groups (Oniguruma's differ), conditions, calls,
// \w \W (one thing inside of a class to Oniguruma, another outside), \b \B \A \z \Z \G \K \R \X \h,
// POSIX brackets, negated classes inside of classes except alone behind '&&', '&&' in negated
// classes, quantified assertions, repeats of what can be empty, look-behind of variable length.
#ifndef SCRUPLE_FORMATS_ONIG_H
#define SCRUPLE_FORMATS_ONIG_H

#include "base/err.h"
#include "base/str.h"

// Appends the PCRE2 form of an Oniguruma pattern. ERR_INPUT names the construct and its byte.
MUST_USE bool onig_translate(const char *regex, strbuf *out, err *e);
// Appends the pattern that matches `text` and nothing else.
MUST_USE bool onig_literal(const char *text, strbuf *out, err *e);
// Appends the inside of a character class of Oniguruma's \p{name}; false where it is not known.
bool onig_property(const char *name, strbuf *out);
// Appends the inside of a character class of Rust's \w: Alphabetic, M, Nd, Pc and Join_Control.
void onig_rust_word(strbuf *out);

#endif
