// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonscan.h"
#include "base/libraries.h"
#include "base/utf8.h"

enum {
    MAX_BYTES = 64 << 20,
    MAX_VALUES = 4 << 20, // about 400 MB of tree; the largest tokenizer.json known has 2.3 million
    MAX_NUMBER = 63       // cJSON's own buffer
};

// What the pull parser knows about one open container, for the search of duplicate keys.
struct strict {
    jsonscan scan;
    strmap keys;    // "<number of the object>\0<key>"
    strbuf key;
    uint64_t open[JS_MAX_DEPTH + 1]; // number of the object at each depth
    uint64_t n_objects, n_values;
};

static bool check_key(struct strict *c, err *e)
{
    bool fresh;
    const jsonscan *s = &c->scan;
    if (memchr(s->value, 0, s->value_len))
        return err_set(e, ERR_INPUT, "bad JSON at byte %zu: a key holds a NUL character",
                       s->begin);
    strbuf_clear(&c->key);
    strbuf_add(&c->key, &c->open[s->depth], sizeof c->open[0]);
    strbuf_add(&c->key, s->value, s->value_len);
    if (!strbuf_ok(&c->key, e) || !strmap_put(&c->keys, c->key.text, c->key.len, 0, &fresh, e))
        return false;
    return fresh || err_set(e, ERR_INPUT, "bad JSON at byte %zu: key '%s' a second time", s->begin,
                            s->value);
}

static bool check_number(const jsonscan *s, err *e)
{
    char text[MAX_NUMBER + 1];
    if (s->value_len > MAX_NUMBER)
        return err_set(e, ERR_INPUT, "bad JSON at byte %zu: a number of more than %d characters",
                       s->begin, MAX_NUMBER);
    memcpy(text, s->value, s->value_len);
    text[s->value_len] = 0;
    if (!isfinite(strtod(text, NULL)))
        return err_set(e, ERR_INPUT, "bad JSON at byte %zu: number %s is out of range", s->begin,
                       text);
    return true;
}

static bool check_token(struct strict *c, err *e)
{
    const jsonscan *s = &c->scan;
    switch (s->kind) {
    case JS_KEY:
        return check_key(c, e);
    case JS_OBJECT:
        c->open[s->depth] = c->n_objects++;
        break;
    case JS_STRING:
        if (memchr(s->value, 0, s->value_len))
            return err_set(e, ERR_INPUT, "bad JSON at byte %zu: a string holds a NUL character",
                           s->begin);
        break;
    case JS_NUMBER:
        if (!check_number(s, e))
            return false;
        break;
    case JS_OBJECT_END:
    case JS_ARRAY_END:
    case JS_END:
        return true;
    default:
        break;
    }
    if (++c->n_values > MAX_VALUES)
        return err_set(e, ERR_INPUT, "bad JSON at byte %zu: more than %d values", s->begin,
                       MAX_VALUES);
    return true;
}

static bool check_text(const char *text, size_t len, err *e)
{
    struct strict c = {.n_objects = 0};
    js_init(&c.scan, text, len, JS_MAX_DEPTH);
    bool ok;
    do
        ok = js_next(&c.scan, e) && check_token(&c, e);
    while (ok && c.scan.kind != JS_END);
    js_free(&c.scan);
    strmap_free(&c.keys);
    strbuf_free(&c.key);
    return ok;
}

bool json_parse(json **out, const char *text, size_t len, const char *name, err *e)
{
    *out = NULL;
    if (len > MAX_BYTES)
        return err_set(e, ERR_INPUT, "%s: %zu bytes of JSON, the limit is %d", name, len,
                       MAX_BYTES);
    if (!check_text(text, len, e))
        return err_in(e, "%s", name);
    *out = cJSON_ParseWithLengthOpts(text, len, NULL, 0);
    // What the pull parser accepts cJSON accepts too, so this is memory.
    return *out || err_set(e, ERR_ENV, "%s: no memory for its JSON tree", name);
}

void json_free(json *j) { cJSON_Delete(j); }

json_kind json_type(const json *j)
{
    if (cJSON_IsBool(j))
        return JSON_BOOL;
    if (cJSON_IsNumber(j))
        return JSON_NUMBER;
    if (cJSON_IsString(j))
        return JSON_STRING;
    if (cJSON_IsArray(j))
        return JSON_ARRAY;
    if (cJSON_IsObject(j))
        return JSON_OBJECT;
    return JSON_NULL;
}

static const json *member(const json *object, const char *key, size_t len)
{
    if (!cJSON_IsObject(object))
        return NULL;
    for (const json *j = object->child; j; j = j->next)
        if (strncmp(j->string, key, len) == 0 && j->string[len] == 0)
            return j;
    return NULL;
}

const json *json_get(const json *object, const char *key)
{
    return member(object, key, strlen(key));
}

const json *json_path(const json *j, const char *dotted)
{
    while (j) {
        size_t n = strcspn(dotted, ".");
        j = member(j, dotted, n);
        if (!dotted[n])
            break;
        dotted += n + 1;
    }
    return j;
}

int64_t json_len(const json *j)
{
    int64_t n = 0;
    for (const json *c = json_first(j); c; c = c->next)
        n++;
    return n;
}

const json *json_first(const json *j)
{
    return cJSON_IsArray(j) || cJSON_IsObject(j) ? j->child : NULL;
}

const json *json_next(const json *j) { return j->next; }

const char *json_key(const json *j) { return j->string; }

bool json_as_int(const json *j, int64_t *out)
{
    const double limit = 9007199254740992.0; // 2^53: from here on the binary64 may be a rounded one
    *out = 0;
    if (!cJSON_IsNumber(j) || !(fabs(j->valuedouble) < limit) ||
        j->valuedouble != (double)(int64_t)j->valuedouble)
        return false;
    *out = (int64_t)j->valuedouble;
    return true;
}

bool json_as_double(const json *j, double *out)
{
    *out = cJSON_IsNumber(j) ? j->valuedouble : 0;
    return cJSON_IsNumber(j);
}

bool json_as_bool(const json *j, bool *out)
{
    *out = cJSON_IsTrue(j);
    return cJSON_IsBool(j);
}

const char *json_as_text(const json *j) { return cJSON_IsString(j) ? j->valuestring : NULL; }

// Comma, line and key in front of a value or container.
static void jw_lead(json_writer *w, const char *key)
{
    if (w->depth) {
        if (!w->fresh)
            strbuf_puts(w->out, ",");
        if (w->indent)
            strbuf_printf(w->out, "\n%*s", w->indent * w->depth, "");
    }
    w->fresh = false;
    if (!key)
        return;
    json_quote(w->out, key);
    strbuf_puts(w->out, w->indent ? ": " : ":");
}

static void jw_open(json_writer *w, const char *key, const char *bracket)
{
    jw_lead(w, key);
    strbuf_puts(w->out, bracket);
    w->depth++;
    w->fresh = true;
}

static void jw_close(json_writer *w, const char *bracket)
{
    w->depth--;
    if (!w->fresh && w->indent)
        strbuf_printf(w->out, "\n%*s", w->indent * w->depth, "");
    strbuf_puts(w->out, bracket);
    w->fresh = false;
}

void jw_object(json_writer *w, const char *key) { jw_open(w, key, "{"); }
void jw_object_end(json_writer *w) { jw_close(w, "}"); }
void jw_array(json_writer *w, const char *key) { jw_open(w, key, "["); }
void jw_array_end(json_writer *w) { jw_close(w, "]"); }

void jw_raw(json_writer *w, const char *key, const char *json_text)
{
    jw_lead(w, key);
    strbuf_puts(w->out, json_text);
}

void jw_null(json_writer *w, const char *key) { jw_raw(w, key, "null"); }

void jw_bool(json_writer *w, const char *key, bool value)
{
    jw_raw(w, key, value ? "true" : "false");
}

void jw_text(json_writer *w, const char *key, const char *value)
{
    if (!value) {
        jw_null(w, key);
        return;
    }
    jw_lead(w, key);
    json_quote(w->out, value);
}

void jw_int(json_writer *w, const char *key, int64_t value)
{
    jw_lead(w, key);
    strbuf_printf(w->out, "%lld", (long long)value);
}

void jw_double(json_writer *w, const char *key, double value)
{
    char text[32];
    if (!isfinite(value)) {
        jw_null(w, key);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    jw_raw(w, key, text);
}

static void number_value(json_writer *w, const char *key, const json *j)
{
    int64_t whole;
    double x;
    if (json_as_int(j, &whole))
        jw_int(w, key, whole);
    else
        jw_double(w, key, json_as_double(j, &x) ? x : NAN);
}

// No deeper than json_parse lets a text be.
void jw_value(json_writer *w, const char *key, const json *j)
{
    json_kind kind = j ? json_type(j) : JSON_NULL;
    bool yes;
    switch (kind) {
    case JSON_NULL: jw_null(w, key); return;
    case JSON_BOOL: jw_bool(w, key, json_as_bool(j, &yes) && yes); return;
    case JSON_NUMBER: number_value(w, key, j); return;
    case JSON_STRING: jw_text(w, key, json_as_text(j)); return;
    case JSON_ARRAY: jw_array(w, key); break;
    case JSON_OBJECT: jw_object(w, key); break;
    }
    for (const json *m = json_first(j); m; m = json_next(m))
        jw_value(w, kind == JSON_OBJECT ? json_key(m) : NULL, m);
    if (kind == JSON_OBJECT)
        jw_object_end(w);
    else
        jw_array_end(w);
}

void json_quote(strbuf *out, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    size_t len = strlen(text), at = 0;
    strbuf_puts(out, "\"");
    while (at < len) {
        size_t plain = at; // runs of what stands for itself, as nearly everything does
        while (text[plain] >= 0x20 && text[plain] < 0x7f && text[plain] != '"' &&
               text[plain] != '\\')
            plain++;
        strbuf_add(out, text + at, plain - at);
        at = plain;
        if (at == len)
            break;
        unsigned char c = (unsigned char)text[at];
        uint32_t code;
        int n = utf8_decode(text + at, len - at, &code);
        const char *hit = strchr(from, (char)c);
        if (n == 0) {
            strbuf_puts(out, "\xef\xbf\xbd"); // no UTF-8 (a path, say): the replacement character
            n = 1;
        } else if (hit) {
            strbuf_add(out, (const char[]){'\\', to[hit - from]}, 2);
        } else if (c < 0x20 || c == 0x7f) {
            strbuf_add(out, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        } else {
            strbuf_add(out, text + at, (size_t)n);
        }
        at += (size_t)n;
    }
    strbuf_puts(out, "\"");
}

const char *cjson_library(char *buf)
{
    (void)buf;
    return cJSON_Version();
}
