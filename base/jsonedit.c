// SPDX-License-Identifier: Apache-2.0
// json_set_member: one member of an object's text is set or removed, every other byte stays.
#include <string.h>

#include "base/json.h"
#include "base/jsonscan.h"

// Where the members of the outermost object stand: the wanted one and its neighbours.
struct members {
    size_t open;                       // behind '{'
    size_t close;                      // on '}'
    size_t key, value, value_end;      // of the wanted member
    size_t before_end;                 // end of the value before it
    size_t next_key;                   // key of the member behind it
    size_t last_lead;                  // behind the ',' or '{' in front of the last key
    size_t last_key, last_key_end, last_value, last_end;
    int64_t n;
    bool found, has_before, has_next;
};

static bool find_members(jsonscan *s, const char *key, struct members *m, err *e)
{
    size_t key_len = strlen(key);
    *m = (struct members){0};
    if (!js_expect(s, JS_OBJECT, "an object", e))
        return false;
    m->open = s->end;
    for (;;) {
        size_t lead = m->n ? m->last_end : m->open;
        if (!js_next(s, e))
            return false;
        if (s->kind == JS_OBJECT_END)
            break;
        bool wanted = s->value_len == key_len && memcmp(s->value, key, key_len) == 0;
        if (wanted && m->found)
            return err_set(e, ERR_INPUT, "bad JSON at byte %zu: key '%s' a second time", s->begin,
                           key);
        if (m->found && !m->has_next) {
            m->has_next = true;
            m->next_key = s->begin;
        }
        size_t before_end = m->last_end;
        m->last_lead = lead;
        m->last_key = s->begin;
        m->last_key_end = s->end;
        if (!js_skip(s, e))
            return false;
        m->last_value = s->begin;
        m->last_end = s->end;
        if (wanted) {
            m->found = true;
            m->has_before = m->n > 0;
            m->before_end = before_end;
            m->key = m->last_key;
            m->value = m->last_value;
            m->value_end = m->last_end;
        }
        m->n++;
    }
    m->close = s->begin;
    return js_expect(s, JS_END, "the end", e);
}

// The bytes between `from` and `to` that are no comma: the white space in front of a key.
static void add_without_comma(strbuf *out, const char *text, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (text[i] != ',')
            strbuf_add(out, text + i, 1);
}

static void add_member(strbuf *out, const char *text, const struct members *m, const char *key,
                       const char *value)
{
    if (m->n == 0) {
        strbuf_add(out, text, m->open);
        json_quote(out, key);
        strbuf_puts(out, ": ");
        strbuf_puts(out, value);
        return;
    }
    strbuf_add(out, text, m->last_end);
    strbuf_puts(out, ",");
    add_without_comma(out, text, m->last_lead, m->last_key);
    json_quote(out, key);
    strbuf_add(out, text + m->last_key_end, m->last_value - m->last_key_end);
    strbuf_puts(out, value);
}

bool json_set_member(const char *text, size_t len, const char *key, const char *value,
                     strbuf *out, err *e)
{
    jsonscan s;
    struct members m;
    js_init(&s, text, len, JS_MAX_DEPTH);
    bool ok = find_members(&s, key, &m, e);
    js_free(&s);
    if (!ok)
        return false;
    size_t rest = 0; // the text goes on from here
    if (m.found && value) {
        strbuf_add(out, text, m.value);
        strbuf_puts(out, value);
        rest = m.value_end;
    } else if (m.found && m.has_next) {
        strbuf_add(out, text, m.key);
        rest = m.next_key;
    } else if (m.found && m.has_before) {
        strbuf_add(out, text, m.before_end);
        rest = m.value_end;
    } else if (m.found) {
        strbuf_add(out, text, m.open);
        rest = m.close;
    } else if (value) {
        add_member(out, text, &m, key, value);
        rest = m.n ? m.last_end : m.open;
    }
    strbuf_add(out, text + rest, len - rest);
    return strbuf_ok(out, e);
}
