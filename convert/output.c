// SPDX-License-Identifier: Apache-2.0
#include "convert/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#define JOURNAL ".scruple-journal"
#define MANIFEST "scruple.json"
#define SUMS "SHA256SUMS"

enum { SMALL_FILE = 64 << 20 };

typedef struct {
    char *name;
    uint64_t bytes;
    sha256_digest sha;
} staged_file;

struct output {
    char *dir;
    bool made_dir, force;
    staged_file *file;
    uint64_t n_files, cap;
    char **replaced; // files that the manifest of the replaced run lists
    uint64_t n_replaced, replaced_cap;
};

// ---- names -----------------------------------------------------------------------------------

static char *staged_name(const char *name, err *e)
{
    strbuf s = {0};
    strbuf_printf(&s, ".%s.staged", name);
    if (strbuf_ok(&s, e))
        return s.text;
    strbuf_free(&s);
    return NULL;
}

static char *staged_path(const output *o, const char *name, err *e)
{
    char *staged = staged_name(name, e);
    char *path = staged ? path_join(o->dir, staged, e) : NULL;
    free(staged);
    return path;
}

char *output_path(const output *o, const char *name, err *e)
{
    char *path = staged_path(o, name, e);
    if (!path || path_exists(path))
        return path;
    free(path);
    return path_join(o->dir, name, e);
}

static staged_file *find_file(const output *o, const char *name)
{
    for (uint64_t i = 0; i < o->n_files; i++)
        if (strcmp(o->file[i].name, name) == 0)
            return &o->file[i];
    return NULL;
}

static bool add_file(output *o, const char *name, uint64_t bytes, const sha256_digest *sha, err *e)
{
    if (!mem_grow((void **)&o->file, &o->cap, o->n_files + 1, sizeof *o->file, "the output", e))
        return false;
    char *copy = strdup(name);
    if (!copy)
        return err_set(e, ERR_ENV, "no memory for a file name");
    o->file[o->n_files++] = (staged_file){copy, bytes, *sha};
    return true;
}

// ---- journal ---------------------------------------------------------------------------------

static bool append_line(const output *o, const char *line, size_t n, err *e)
{
    char *path = path_join(o->dir, JOURNAL, e);
    if (!path)
        return false;
    bool ok = false;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        err_sys(e, "cannot write '%s'", path);
    } else {
        ssize_t wrote = write(fd, line, n);
        if (wrote != (ssize_t)n || fdatasync(fd) != 0)
            err_sys(e, "cannot write '%s'", path);
        else
            ok = true;
        if (close(fd) != 0 && ok)
            ok = err_sys(e, "cannot write '%s'", path);
    }
    free(path);
    return ok;
}

static bool write_first_line(const output *o, const output_order *with, err *e)
{
    char hex[65];
    strbuf line = {0};
    json_writer w = {.out = &line};
    jw_object(&w, NULL);
    jw_text(&w, "plan", hex_of(with->plan->b, sizeof with->plan->b, hex));
    jw_text(&w, "inputs", with->inputs_state);
    jw_object_end(&w);
    strbuf_puts(&line, "\n");
    bool ok = strbuf_ok(&line, e) && append_line(o, line.text, line.len, e);
    strbuf_free(&line);
    return ok;
}

static bool note_file(const output *o, const staged_file *f, err *e)
{
    char hex[65];
    strbuf line = {0};
    json_writer w = {.out = &line};
    jw_object(&w, NULL);
    jw_text(&w, "file", f->name);
    jw_int(&w, "bytes", (int64_t)f->bytes);
    jw_text(&w, "sha256", hex_of(f->sha.b, sizeof f->sha.b, hex));
    jw_object_end(&w);
    strbuf_puts(&line, "\n");
    bool ok = strbuf_ok(&line, e) && append_line(o, line.text, line.len, e);
    strbuf_free(&line);
    return ok;
}

// A staged file counts only while it is there in full length; one that a crash during publishing
// already renamed counts under its final name.
static bool still_there(const output *o, const char *name, uint64_t bytes)
{
    err ignored = ERR_INIT;
    char *staged = staged_path(o, name, &ignored);
    char *final = path_join(o->dir, name, &ignored);
    in_file f = IN_FILE_CLOSED;
    bool there = false;
    if (staged && in_open(&f, staged, &ignored)) {
        there = f.size == bytes;
        in_close(&f);
    } else if (final && in_open(&f, final, &ignored)) {
        there = f.size == bytes;
        in_close(&f);
    }
    free(staged);
    free(final);
    return there;
}

static bool read_note(output *o, const char *line, size_t n, err *e)
{
    err ignored = ERR_INIT;
    json *j = NULL;
    int64_t bytes = 0;
    sha256_digest sha;
    if (!json_parse(&j, line, n, JOURNAL, &ignored))
        return true; // a torn last line: that file is made again
    const char *name = json_as_text(json_get(j, "file"));
    const char *hex = json_as_text(json_get(j, "sha256"));
    bool ok = true;
    if (name && hex && json_as_int(json_get(j, "bytes"), &bytes) &&
        hex_to(hex, sha.b, sizeof sha.b) && !find_file(o, name) &&
        still_there(o, name, (uint64_t)bytes))
        ok = add_file(o, name, (uint64_t)bytes, &sha, e);
    json_free(j);
    return ok;
}

// *same: the journal in the folder is of this plan, and what it noted was taken over.
static bool read_journal(output *o, const output_order *with, char *text, size_t len, err *e)
{
    char *end = memchr(text, '\n', len);
    json *j = NULL;
    char hex[65];
    if (!end || !json_parse(&j, text, (size_t)(end - text), JOURNAL, e))
        return err_set(e, ERR_ENV, "'%s' holds a journal that cannot be read; remove the folder "
                       "or name another one", o->dir);
    const char *plan = json_as_text(json_get(j, "plan"));
    const char *inputs = json_as_text(json_get(j, "inputs"));
    bool ok = true;
    if (!plan || strcmp(plan, hex_of(with->plan->b, sizeof with->plan->b, hex)) != 0)
        ok = err_set(e, ERR_ENV, "'%s' holds an unfinished run of another plan (%.16s..., this one "
                     "is %.16s...); remove the folder or name another one", o->dir,
                     plan ? plan : "?", hex);
    else if (!inputs || strcmp(inputs, with->inputs_state) != 0)
        ok = err_set(e, ERR_ENV, "'%s' holds an unfinished run of this plan, but the input has "
                     "changed since: was %s, is %s", o->dir, inputs ? inputs : "?",
                     with->inputs_state);
    json_free(j);
    for (char *line = end + 1; ok && line < text + len; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + len - line));
        if (!end)
            break;
        ok = read_note(o, line, (size_t)(end - line), e);
    }
    return ok;
}

// ---- what the folder means -------------------------------------------------------------------

// The manifest of a complete run: its plan, and the files it lists (into o->replaced).
static bool read_manifest(output *o, const char *text, size_t len, char plan[65], err *e)
{
    json *j = NULL;
    plan[0] = 0;
    if (!json_parse(&j, text, len, MANIFEST, e))
        return false;
    const char *id = json_as_text(json_get(j, "plan"));
    if (id && strlen(id) == 64)
        memcpy(plan, id, 65);
    bool ok = true;
    for (const json *f = json_first(json_get(j, "files")); ok && f; f = json_next(f)) {
        const char *name = json_as_text(f);
        if (!name || strchr(name, '/'))
            continue;
        ok = mem_grow((void **)&o->replaced, &o->replaced_cap, o->n_replaced + 1,
                      sizeof *o->replaced, "the output", e);
        if (ok && !(o->replaced[o->n_replaced++] = strdup(name)))
            ok = err_set(e, ERR_ENV, "no memory for a file name");
    }
    json_free(j);
    return ok;
}

static bool listed(const output *o, const char *name)
{
    if (strcmp(name, MANIFEST) == 0 || strcmp(name, SUMS) == 0)
        return true;
    for (uint64_t i = 0; i < o->n_replaced; i++)
        if (strcmp(o->replaced[i], name) == 0)
            return true;
    return false;
}

static bool judge_finished(output *o, const output_order *with, const dir_entry *entry,
                           int64_t n, bool *complete, err *e)
{
    char *text = NULL, plan[65] = "", hex[65];
    size_t len = 0;
    bool has_sums = false, ok = true;
    for (int64_t i = 0; i < n; i++) {
        has_sums |= strcmp(entry[i].name, SUMS) == 0;
        if (strcmp(entry[i].name, MANIFEST) == 0 && !text)
            ok = file_read_beneath(o->dir, MANIFEST, SMALL_FILE, &text, &len, e) &&
                 read_manifest(o, text, len, plan, e);
        if (!ok)
            break;
    }
    free(text);
    if (!ok)
        return err_in(e, "'%s'", o->dir);
    bool same = strcmp(plan, hex_of(with->plan->b, sizeof with->plan->b, hex)) == 0;
    if (same && has_sums && !with->force) {
        *complete = true;
        return true;
    }
    if (!with->force && plan[0])
        return err_set(e, ERR_ENV, "'%s' holds the output of another plan (%.16s..., this one is "
                       "%.16s...); --force replaces it", o->dir, plan, hex);
    for (int64_t i = 0; i < n; i++)
        if (!listed(o, entry[i].name))
            return err_set(e, ERR_ENV, "'%s' is not empty: it holds '%s', which no run of ours "
                           "made; name another folder%s", o->dir, entry[i].name,
                           plan[0] ? " (--force replaces only files that scruple.json lists)" : "");
    return true;
}

// A run that was to replace another one, interrupted: what may be replaced is still listed.
static bool read_replaced(output *o, const dir_entry *entry, int64_t n, err *e)
{
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        char *text = NULL, plan[65];
        size_t len = 0;
        if (strcmp(entry[i].name, MANIFEST) != 0)
            continue;
        ok = file_read_beneath(o->dir, MANIFEST, SMALL_FILE, &text, &len, e) &&
             read_manifest(o, text, len, plan, e);
        free(text);
    }
    return ok;
}

static bool judge_folder(output *o, const output_order *with, bool *complete, bool *resume,
                         err *e)
{
    dir_entry *entry = NULL;
    int64_t n = 0;
    bool ok = true, journal = false;
    if (!path_exists(o->dir))
        return true;
    if (!path_is_dir(o->dir))
        return err_set(e, ERR_ENV, "'%s' exists and is not a folder", o->dir);
    if (!dir_list(o->dir, &entry, &n, e))
        return false;
    for (int64_t i = 0; i < n; i++)
        journal |= strcmp(entry[i].name, JOURNAL) == 0;
    if (journal) {
        char *text = NULL;
        size_t len = 0;
        *resume = true;
        ok = file_read_beneath(o->dir, JOURNAL, SMALL_FILE, &text, &len, e) &&
             read_journal(o, with, text, len, e);
        free(text);
        ok = ok && read_replaced(o, entry, n, e);
    } else if (n > 0) {
        ok = judge_finished(o, with, entry, n, complete, e);
    }
    dir_list_free(entry, n);
    return ok;
}

bool output_open(output **out, const output_order *with, bool *complete, err *e)
{
    bool resume = false;
    *out = NULL;
    *complete = false;
    if (path_is_within(with->dir, with->input))
        return err_set(e, ERR_USAGE, "the output '%s' is the input '%s' or lies inside it",
                       with->dir, with->input);
    output *o = mem_new(1, sizeof *o, "the output", e);
    if (!o)
        return false;
    o->force = with->force;
    o->dir = strdup(with->dir);
    bool ok = o->dir ? judge_folder(o, with, complete, &resume, e)
                     : err_set(e, ERR_ENV, "no memory for a path");
    if (ok && !*complete && !with->dry_run) {
        o->made_dir = !path_exists(o->dir);
        ok = out_make_dir(o->dir, e) && (resume || write_first_line(o, with, e));
    }
    if (!ok || *complete) {
        output_close(o);
        return ok;
    }
    *out = o;
    return true;
}

void output_close(output *o)
{
    if (!o)
        return;
    for (uint64_t i = 0; i < o->n_files; i++)
        free(o->file[i].name);
    for (uint64_t i = 0; i < o->n_replaced; i++)
        free(o->replaced[i]);
    free(o->file);
    free(o->replaced);
    free(o->dir);
    free(o);
}

// ---- staging ---------------------------------------------------------------------------------

bool output_has(const output *o, const char *name, sha256_digest *digest)
{
    const staged_file *f = find_file(o, name);
    if (f && digest)
        *digest = f->sha;
    return f != NULL;
}

bool output_begin(output *o, out_file *f, const char *name, uint64_t size, const void *header,
                  uint64_t header_bytes, err *e)
{
    char *staged = staged_name(name, e);
    bool ok = staged && out_open(f, o->dir, staged, size, header, header_bytes, e);
    free(staged);
    return ok;
}

bool output_end(output *o, out_file *f, const char *name, err *e)
{
    sha256_digest sha;
    uint64_t bytes = f->at;
    // A staged file of an earlier attempt that the journal does not know is redone.
    return out_publish(f, true, &sha, e) && add_file(o, name, bytes, &sha, e) &&
           note_file(o, &o->file[o->n_files - 1], e);
}

bool output_small(output *o, const char *name, const void *bytes, size_t n, err *e)
{
    out_file f = OUT_FILE_CLOSED;
    if (output_has(o, name, NULL))
        return true;
    if (output_begin(o, &f, name, n, NULL, 0, e) && out_append(&f, bytes, n, e) &&
        output_end(o, &f, name, e))
        return true;
    out_discard(&f);
    return false;
}

// ---- publishing ------------------------------------------------------------------------------

static int by_file_name(const void *x, const void *y)
{
    const staged_file *const *a = x, *const *b = y;
    return strcmp((*a)->name, (*b)->name);
}

static bool stage_sums(output *o, err *e)
{
    strbuf text = {0};
    char hex[65];
    const staged_file **sorted = mem_new(o->n_files, sizeof *sorted, "the checksums", e);
    bool ok = sorted != NULL;
    if (ok) {
        for (uint64_t i = 0; i < o->n_files; i++)
            sorted[i] = &o->file[i];
        qsort(sorted, o->n_files, sizeof *sorted, by_file_name);
        for (uint64_t i = 0; i < o->n_files; i++)
            if (strcmp(sorted[i]->name, SUMS) != 0)
                strbuf_printf(&text, "%s  %s\n", hex_of(sorted[i]->sha.b, 32, hex),
                              sorted[i]->name);
        ok = strbuf_ok(&text, e) && output_small(o, SUMS, text.text, text.len, e);
    }
    free(sorted);
    strbuf_free(&text);
    return ok;
}

static bool rename_one(const output *o, const staged_file *f, err *e)
{
    char *staged = staged_path(o, f->name, e);
    bool ok = staged != NULL;
    if (ok && path_exists(staged))
        ok = out_publish_temp(staged, o->dir, f->name, o->force && listed(o, f->name), e);
    free(staged);
    return ok;
}

static void remove_in(const output *o, const char *name)
{
    err ignored = ERR_INIT;
    char *path = path_join(o->dir, name, &ignored);
    if (path)
        (void)unlink(path);
    free(path);
}

bool output_publish(output *o, err *e)
{
    if (!stage_sums(o, e))
        return false;
    // The old run's marks of completeness go first, so that no reader sees a mixture as whole.
    if (o->force && o->n_replaced)
        remove_in(o, SUMS);
    for (uint64_t i = 0; i < o->n_files; i++)
        if (!rename_one(o, &o->file[i], e))
            return false;
    for (uint64_t i = 0; o->force && i < o->n_replaced; i++)
        if (!find_file(o, o->replaced[i]))
            remove_in(o, o->replaced[i]);
    remove_in(o, JOURNAL);
    return true;
}

void output_abandon(output *o)
{
    err ignored = ERR_INIT;
    for (uint64_t i = 0; i < o->n_files; i++) {
        char *staged = staged_name(o->file[i].name, &ignored);
        if (staged)
            remove_in(o, staged);
        free(staged);
    }
    remove_in(o, JOURNAL);
    if (o->made_dir)
        (void)rmdir(o->dir);
    output_close(o);
}
