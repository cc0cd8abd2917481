// SPDX-License-Identifier: Apache-2.0
// The reading half of saved_plan.h.
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/version.h"
#include "convert/saved_plan.h"

// ---- the first line --------------------------------------------------------------------------

static bool bad(const saved_plan *f, const char *what, err *e)
{
    return err_set(e, ERR_INPUT, "'%s' is no plan: %s", f->path, what);
}

static bool bad_member(const saved_plan *f, const char *key, const char *wanted, err *e)
{
    return err_set(e, ERR_INPUT, "'%s' is no plan: '%s' is missing or not %s", f->path, key,
                   wanted);
}

// Bytes up to the first newline into *line; units_at is behind it.
static bool read_head(saved_plan *f, char **line, size_t *len, err *e)
{
    enum { BLOCK = 64 << 10 };
    strbuf text = {0};
    uint64_t most = f->in.size < SAVED_PLAN_LARGEST_HEAD ? f->in.size : SAVED_PLAN_LARGEST_HEAD;
    char *block = mem_new(most < BLOCK ? most : BLOCK, 1, "a block", e);
    bool ok = block != NULL, found = false;
    while (ok && !found && text.len < most) {
        size_t n = most - text.len < BLOCK ? (size_t)(most - text.len) : BLOCK;
        ok = in_read(&f->in, text.len, block, n, e);
        const char *end = ok ? memchr(block, '\n', n) : NULL;
        found = end != NULL;
        strbuf_add(&text, block, found ? (size_t)(end - block) : n);
        ok = ok && strbuf_ok(&text, e);
    }
    if (ok && !found)
        ok = bad(f, "it has no first line", e);
    free(block);
    *line = text.text;
    *len = text.len;
    f->units_at = text.len + 1;
    return ok;
}

static bool take_path(saved_plan *f, const json *head, const char *key, char **path, err *e)
{
    const char *text = json_as_text(json_get(head, key)), *base = path_base(f->path);
    if (!text || !*text)
        return bad_member(f, key, "a path", e);
    strbuf s = {0};
    if (text[0] != '/')
        strbuf_add(&s, f->path, (size_t)(base - f->path));
    strbuf_puts(&s, text);
    if (!strbuf_ok(&s, e)) {
        strbuf_free(&s);
        return false;
    }
    *path = s.text;
    return true;
}

static bool take_small(saved_plan *f, const json *list, err *e)
{
    if (!list || json_type(list) != JSON_ARRAY)
        return bad_member(f, "small_files", "a list", e);
    for (const json *item = json_first(list); item; item = json_next(item)) {
        const char *name = json_as_text(json_get(item, "name"));
        const char *sha = json_as_text(json_get(item, "sha256"));
        strbuf s = {0};
        if (!name || !sha || json_len(item) != 2)
            return bad(f, "a small file has no name or digest", e);
        strbuf_printf(&s, "%s %s", name, sha);
        if (!strbuf_ok(&s, e) || !mem_grow((void **)&f->small, &f->small_cap, f->n_small + 1,
                                           sizeof *f->small, "small files", e)) {
            strbuf_free(&s);
            return false;
        }
        f->small[f->n_small++] = s.text;
    }
    return true;
}

static bool take_identity(saved_plan *f, const json *head, err *e)
{
    int64_t number;
    const char *format = json_as_text(json_get(head, "format"));
    const char *version = json_as_text(json_get(head, "version"));
    const char *id = json_as_text(json_get(head, "plan"));
    sha256_digest any;
    if (!format || strcmp(format, "scruple-plan") != 0)
        return bad(f, "its first line does not say \"format\": \"scruple-plan\"", e);
    if (!json_as_int(json_get(head, "format_version"), &number) || number != SAVED_PLAN_VERSION)
        return err_set(e, ERR_INPUT, "'%s' is a plan of another form than %d, the one that this "
                       "version reads", f->path, SAVED_PLAN_VERSION);
    if (!version || !id || !hex_to(id, any.b, sizeof any.b))
        return bad(f, "it has no version or no id", e);
    (void)hex_of(any.b, sizeof any.b, f->plan);
    f->version = strdup(version);
    return f->version || err_set(e, ERR_ENV, "no memory for a plan");
}

// For people; only that they are there and of their kind counts.
static bool take_rest(saved_plan *f, const json *head, err *e)
{
    int64_t number;
    const json *family = json_get(head, "family");
    static const char *const counts[] = {"units", "tensors", "bytes"};
    if (!family || (json_type(family) != JSON_NULL && !json_as_text(family)))
        return bad_member(f, "family", "a text or null", e);
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        if (!json_as_int(json_get(head, counts[i]), &number) || number < 0)
            return bad_member(f, counts[i], "a count", e);
    return true;
}

static bool take_head(saved_plan *f, const json *head, err *e)
{
    enum { MEMBERS = 13 }; // without statistics
    const char *command = json_as_text(json_get(head, "command"));
    const json *options = json_get(head, "options");
    if (json_type(head) != JSON_OBJECT)
        return bad(f, "its first line is no object", e);
    if (!take_identity(f, head, e))
        return false;
    if (!command || !options)
        return bad(f, "it has no command or no options", e);
    if (!order_parse(&f->order, command, options, e))
        return err_in(e, "'%s'", f->path);
    if (!take_path(f, head, "input", &f->input, e) || !take_path(f, head, "output", &f->output, e))
        return false;
    bool has = json_get(head, "statistics") != NULL;
    if (has != f->order.weighted)
        return bad(f, "its options and its paths do not agree on statistics", e);
    return (!has || take_path(f, head, "statistics", &f->statistics, e)) &&
           take_small(f, json_get(head, "small_files"), e) && take_rest(f, head, e) &&
           (json_len(head) == MEMBERS + has ||
            bad(f, "its first line has members that this version does not know", e));
}

bool saved_plan_open(saved_plan *f, const char *path, err *e)
{
    char *line = NULL;
    size_t len = 0;
    json *head = NULL;
    err why = ERR_INIT;
    *f = (saved_plan){.in = IN_FILE_CLOSED};
    f->path = strdup(path);
    bool ok = f->path ? in_open(&f->in, path, e) : err_set(e, ERR_ENV, "no memory for a path");
    if (ok && f->in.size > SAVED_PLAN_LARGEST)
        ok = err_set(e, ERR_INPUT, "'%s' has %llu bytes; a plan has at most %d", path,
                     (unsigned long long)f->in.size, SAVED_PLAN_LARGEST);
    ok = ok && read_head(f, &line, &len, e);
    if (ok && !json_parse(&head, line, len, "its first line", &why))
        ok = err_set(e, why.kind, "'%s' is no plan: %s", path, why.text);
    ok = ok && take_head(f, head, e);
    json_free(head);
    free(line);
    if (!ok)
        saved_plan_close(f);
    return ok;
}

void saved_plan_close(saved_plan *f)
{
    for (uint64_t i = 0; i < f->n_small; i++)
        free(f->small[i]);
    free(f->small);
    order_free(&f->order);
    free(f->input);
    free(f->output);
    free(f->statistics);
    free(f->version);
    free(f->path);
    in_close(&f->in);
    *f = (saved_plan){.in = IN_FILE_CLOSED};
}

// ---- is it this plan? ------------------------------------------------------------------------

static bool differs(const saved_plan *f, const char *how, err *e)
{
    return err_set(e, ERR_ENV, "'%s' is not the plan of this input: %s; make the plan again",
                   f->path, how);
}

// Where a member begins that byte `at` of a line lies in: a quote behind '{', '[' or ','.
static size_t member_at(const char *line, size_t at)
{
    while (at > 1 && !(line[at] == '"' && strchr("{[,", line[at - 1])))
        at--;
    return at;
}

// The tensor that byte `at` of a unit's line belongs to, quoted; the line is one that
// saved_plan_unit made, where these bytes can stand nowhere else.
static void name_tensor(const char *line, size_t at, strbuf *how)
{
    static const char begin[] = "{\"name\":";
    char text[STR_SHORT];
    for (size_t i = at + 1; i-- > 0;) {
        if (strncmp(line + i, begin, strlen(begin)) != 0)
            continue;
        const char *name = line + i + strlen(begin) + 1;
        size_t len = 0;
        while (name[len] && name[len] != '"')
            len += name[len] == '\\' && name[len + 1] ? 2u : 1u;
        strbuf_printf(how, ", tensor '%s'", str_short_n(name, len, text));
        return;
    }
}

// One member, or the beginning of a long one.
static const char *excerpt(const char *text, char buf[STR_SHORT])
{
    enum { MOST = 60 };
    size_t len = strcspn(text, ",}\n");
    return str_short_n(text, len < MOST ? len : MOST, buf);
}

// The tensors of a unit's line; the bytes that name them can stand nowhere else in it.
static const char *tensors_of(const char *line)
{
    const char *at = strstr(line, "\"tensors\":[");
    return at ? at : line + strlen(line);
}

// Says where the line of a unit and what the file has in its place part ways: at a tensor if one
// differs, since other numbers follow from the tensors.
static bool line_differs(const saved_plan *f, const saved_plan_facts *now, int64_t unit,
                         const char *line, const char *was, err *e)
{
    char old[STR_SHORT], new[STR_SHORT];
    strbuf how = {0};
    const char *is = tensors_of(line), *then = tensors_of(was);
    size_t at = 0;
    while (is[at] && is[at] == then[at])
        at++;
    if (!is[at] || !then[at]) {
        is = line;
        then = was;
        for (at = 0; is[at] && is[at] == then[at];)
            at++;
    }
    strbuf_printf(&how, "unit '%s'", now->plan->file[unit].name);
    if (!then[at]) {
        strbuf_puts(&how, at ? " is cut off in the file" : " is not in the file");
    } else {
        size_t begin = member_at(is, at);
        name_tensor(is, at, &how);
        strbuf_printf(&how, ": the file says %s, now it is %s", excerpt(then + begin, old),
                      excerpt(is + begin, new));
    }
    if (strbuf_ok(&how, e))
        (void)differs(f, how.text, e);
    strbuf_free(&how);
    return false;
}

static bool same_units(const saved_plan *f, const saved_plan_facts *now, err *e)
{
    strbuf line = {0};
    scratch block = {0};
    uint64_t at = f->units_at;
    bool ok = true;
    for (int64_t i = 0; ok && i < now->plan->n_files; i++) {
        strbuf_clear(&line);
        saved_plan_unit(now->plan, i, &line);
        strbuf_puts(&line, "\n");
        uint64_t left = f->in.size - at, n = left < line.len ? left : line.len;
        char *was = scratch_need(&block, n + 1, 1, "a line", e);
        ok = strbuf_ok(&line, e) && was && in_read(&f->in, at, was, n, e);
        if (ok) {
            was[n] = 0;
            ok = (n == line.len && memcmp(was, line.text, n) == 0) ||
                 line_differs(f, now, i, line.text, was, e);
        }
        at += n;
    }
    if (ok && at != f->in.size)
        ok = differs(f, "the file has more units", e);
    scratch_free(&block);
    strbuf_free(&line);
    return ok;
}

static bool same_small(const saved_plan *f, const saved_plan_facts *now, err *e)
{
    char hex[65];
    strbuf line = {0}, how = {0};
    bool ok = true;
    for (uint64_t i = 0; ok && i < now->n_small && i < f->n_small; i++) {
        strbuf_clear(&line);
        strbuf_printf(&line, "%s %s", now->small[i].name,
                      hex_of(now->small[i].sha.b, sizeof now->small[i].sha.b, hex));
        ok = strbuf_ok(&line, e);
        if (ok && strcmp(line.text, f->small[i]) != 0) {
            strbuf_printf(&how, "'%s' is not the file of then, or not in its place",
                          now->small[i].name);
            ok = strbuf_ok(&how, e) && differs(f, how.text, e);
        }
    }
    strbuf_free(&line);
    strbuf_free(&how);
    if (ok && now->n_small != f->n_small)
        ok = differs(f, "there are more small files, or fewer, than then", e);
    return ok;
}

bool saved_plan_check(const saved_plan *f, const saved_plan_facts *now, err *e)
{
    char hex[65];
    if (strcmp(f->version, SCRUPLE_VERSION) != 0)
        return err_set(e, ERR_ENV, "'%s' was made by scruple %s, this is %s; make the plan again",
                       f->path, f->version, SCRUPLE_VERSION);
    if (!same_units(f, now, e) || !same_small(f, now, e))
        return false;
    hex_of(now->plan->id.b, sizeof now->plan->id.b, hex);
    return strcmp(hex, f->plan) == 0 ||
           differs(f, "its options or its id were changed", e);
}
