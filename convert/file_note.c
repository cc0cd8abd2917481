// SPDX-License-Identifier: Apache-2.0
#include "convert/file_note.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/out.h"

#define NOTE_END ".note"

enum { LARGEST = 64 << 20, SUM_DIGITS = 32 };

char *file_note_name(const char *name, err *e)
{
    strbuf s = {0};
    strbuf_printf(&s, ".%s" NOTE_END, name);
    if (strbuf_ok(&s, e))
        return s.text;
    strbuf_free(&s);
    return NULL;
}

bool file_note_is_name(const char *file)
{
    return file[0] == '.' && strlen(file) > strlen("." NOTE_END) && str_ends(file, NOTE_END);
}

bool file_note_is_of(const char *file, const char *name)
{
    size_t len = strlen(name);
    return file[0] == '.' && strncmp(file + 1, name, len) == 0 &&
           strcmp(file + 1 + len, NOTE_END) == 0;
}

bool file_note_is_plain(const char *name)
{
    return name && *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static const char *sum_of(const char *text, size_t n, char hex[SUM_DIGITS + 1])
{
    xxh128_digest sum;
    xxh128_of(text, n, &sum);
    return hex_of(sum.b, sizeof sum.b, hex);
}

bool file_note_write(const file_note *n, const char *dir, const char *plan, bool replace,
                     bool *there, err *e)
{
    char hex[65];
    strbuf text = {0};
    json_writer w = {.out = &text};
    *there = false;
    jw_object(&w, NULL);
    jw_text(&w, "plan", plan);
    jw_text(&w, "file", n->name);
    jw_text(&w, "data", n->staged);
    jw_int(&w, "bytes", (int64_t)n->bytes);
    jw_text(&w, "sha256", hex_of(n->sha.b, sizeof n->sha.b, hex));
    if (n->text)
        jw_text(&w, "note", n->text);
    jw_object_end(&w);
    bool ok = strbuf_ok(&text, e);
    if (ok)
        strbuf_printf(&text, "\n%s\n", sum_of(text.text, text.len, hex));
    char *file = ok ? file_note_name(n->name, e) : NULL;
    ok = file && strbuf_ok(&text, e) &&
         (replace ? out_write_file(dir, file, text.text, text.len, true, NULL, e)
                  : out_write_new(dir, file, text.text, text.len, there, e));
    free(file);
    strbuf_free(&text);
    return ok;
}

// The first line, or NULL where the two lines do not fit each other.
static char *checked_line(char *text, size_t len, size_t *n)
{
    char hex[SUM_DIGITS + 1];
    char *end = memchr(text, '\n', len);
    if (!end || (size_t)(text + len - end) != SUM_DIGITS + 2 || text[len - 1] != '\n')
        return NULL;
    *n = (size_t)(end - text);
    return memcmp(end + 1, sum_of(text, *n, hex), SUM_DIGITS) == 0 ? text : NULL;
}

static bool take(file_note *n, const json *root, const char *file, const char *plan, bool *counts,
                 err *e)
{
    int64_t bytes = 0;
    const char *name = json_as_text(json_get(root, "file"));
    const char *staged = json_as_text(json_get(root, "data"));
    const char *hex = json_as_text(json_get(root, "sha256"));
    const char *of = json_as_text(json_get(root, "plan"));
    const char *text = json_as_text(json_get(root, "note"));
    *counts = file_note_is_plain(name) && file_note_is_of(file, name) && of &&
              strcmp(of, plan) == 0 &&
              file_note_is_plain(staged) && staged[0] == '.' && hex &&
              hex_to(hex, n->sha.b, sizeof n->sha.b) &&
              json_as_int(json_get(root, "bytes"), &bytes) && bytes >= 0;
    if (!*counts)
        return true;
    n->bytes = (uint64_t)bytes;
    n->name = strdup(name);
    n->staged = strdup(staged);
    n->text = text ? strdup(text) : NULL;
    return (n->name && n->staged && (!text || n->text)) ||
           err_set(e, ERR_ENV, "no memory for the note of '%s'", name);
}

bool file_note_read(file_note *n, const char *dir, const char *file, const char *plan,
                    bool *counts, err *e)
{
    char *text = NULL;
    size_t len = 0, line = 0;
    json *root = NULL;
    err ignored = ERR_INIT;
    *n = (file_note){0};
    *counts = false;
    bool ok = true;
    if (file_read_beneath(dir, file, LARGEST, &text, &len, &ignored) &&
        checked_line(text, len, &line) && json_parse(&root, text, line, file, &ignored))
        ok = take(n, root, file, plan, counts, e);
    json_free(root);
    free(text);
    if (!ok || !*counts)
        file_note_free(n);
    *counts = *counts && ok;
    return ok;
}

void file_note_free(file_note *n)
{
    free(n->name);
    free(n->staged);
    free(n->text);
    *n = (file_note){0};
}
