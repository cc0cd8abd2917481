// SPDX-License-Identifier: Apache-2.0
// Strict JSON pull parser: iterative, allocates only one scratch for escaped strings, remembers
// byte positions. For safetensors headers, index files, and edits that keep every other byte.
// Rejects: anything RFC 8259 rejects, invalid UTF-8, lone surrogates, depth over the given limit,
// bytes other than white space behind the value. Duplicate keys are the caller's to refuse.
#ifndef SCRUPLE_BASE_JSONSCAN_H
#define SCRUPLE_BASE_JSONSCAN_H

#include "base/err.h"
#include "base/str.h"

typedef enum {
    JS_END, JS_OBJECT, JS_OBJECT_END, JS_ARRAY, JS_ARRAY_END,
    JS_KEY, JS_STRING, JS_NUMBER, JS_TRUE, JS_FALSE, JS_NULL
} js_kind;

enum { JS_MAX_DEPTH = 64 };

typedef struct {
    const char *text; // borrowed
    size_t len, at;
    int depth, max_depth;
    size_t max_text; // bytes of a decoded string; js_init sets no limit
    unsigned char stack[JS_MAX_DEPTH];
    unsigned char state;
    js_kind kind;      // of the last token
    size_t begin, end; // its span in text
    const char *value; // KEY, STRING: decoded, NUL-terminated copy; NUMBER: the digits. Borrowed,
    size_t value_len;  // valid until the next call; a decoded string may hold NUL bytes
    strbuf decoded;
} jsonscan;

void js_init(jsonscan *s, const char *text, size_t len, int max_depth);
void js_free(jsonscan *s);
// Next token; ERR_INPUT with the byte offset on bad text. JS_END once, behind the value.
MUST_USE bool js_next(jsonscan *s, err *e);
// As js_next, and fails unless the token is of that kind; `what` names what was expected.
MUST_USE bool js_expect(jsonscan *s, js_kind kind, const char *what, err *e);
// Skips the value that comes next, whatever it is; begin and end are then the whole value's.
MUST_USE bool js_skip(jsonscan *s, err *e);
// The last token as an unsigned integer: digits only, no sign, fraction, exponent, leading zero.
MUST_USE bool js_u64(const jsonscan *s, uint64_t *out);

// Copies an object's text with the top-level member `key` set to `value` (JSON text; NULL removes
// it); every other byte stays. A new member goes last, indented like the others.
MUST_USE bool json_set_member(const char *text, size_t len, const char *key, const char *value,
                              strbuf *out, err *e);

#endif
