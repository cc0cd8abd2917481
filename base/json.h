// SPDX-License-Identifier: Apache-2.0
// JSON for config-class files (config.json, tokenizer.json, gates, reports): a strict tree behind
// typed getters, and a writer. Not for safetensors headers and index files, which go through the
// pull parser (jsonscan.h). json.c is the only file that includes cJSON.
//
// Stricter than cJSON: valid UTF-8, no duplicate keys, depth <= 64, nothing behind the value, size
// <= 64 MiB, at most 4 Mi values, no NUL characters in strings, no numbers outside of binary64,
// keys compared by case, integers must be exact.
#ifndef SCRUPLE_BASE_JSON_H
#define SCRUPLE_BASE_JSON_H

#include "base/err.h"
#include "base/str.h"

typedef struct cJSON json; // opaque
typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_kind;

// `name` is used in sentences ("config.json: ..."). Errors are ERR_INPUT. Free with json_free.
MUST_USE bool json_parse(json **out, const char *text, size_t len, const char *name, err *e);
void json_free(json *j);

json_kind json_type(const json *j);
// NULL where absent or not an object. Walks the members: iterate where there are thousands.
const json *json_get(const json *object, const char *key);
const json *json_path(const json *j, const char *dotted);  // "text_config.rope_scaling.factor"
int64_t json_len(const json *j);                           // members or elements, 0 for others
const json *json_first(const json *j);                     // iterate members/elements in order
const json *json_next(const json *j);
const char *json_key(const json *member);                  // borrowed

// A value as ...: false where the type does not fit (out then zeroed). No sentence: the caller
// knows the name. json_as_int wants an integral number with |v| < 2^53.
MUST_USE bool json_as_int(const json *j, int64_t *out);
MUST_USE bool json_as_double(const json *j, double *out);
MUST_USE bool json_as_bool(const json *j, bool *out);
const char *json_as_text(const json *j); // NULL where not a string; borrowed

// Writer: appends to a strbuf, commas and indentation by itself (indent 0: compact, one line).
// Keys are NULL inside arrays and for the outermost value. Numbers are written so that they read
// back to the same binary64 (shortest form that does).
typedef struct {
    strbuf *out;
    int indent, depth;
    bool fresh; // nothing yet inside the innermost container
} json_writer;

void jw_object(json_writer *w, const char *key);
void jw_object_end(json_writer *w);
void jw_array(json_writer *w, const char *key);
void jw_array_end(json_writer *w);
void jw_text(json_writer *w, const char *key, const char *value); // NULL value: null
void jw_int(json_writer *w, const char *key, int64_t value);
void jw_double(json_writer *w, const char *key, double value);    // non-finite: null
void jw_bool(json_writer *w, const char *key, bool value);
void jw_null(json_writer *w, const char *key);
void jw_raw(json_writer *w, const char *key, const char *json_text); // already JSON
void jw_value(json_writer *w, const char *key, const json *j);       // as it was read; NULL: null
void json_quote(strbuf *out, const char *text); // "..." with escapes

#endif
