// SPDX-License-Identifier: Apache-2.0
#include "convert/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/out.h"

enum { LARGEST_JOURNAL = 256 << 20 };

bool journal_list_add(char ***list, uint64_t *n, uint64_t *cap, const char *text, err *e)
{
    if (!mem_grow((void **)list, cap, *n + 1, sizeof **list, "the journal", e))
        return false;
    char *copy = strdup(text);
    if (!copy)
        return err_set(e, ERR_ENV, "no memory for the journal");
    (*list)[(*n)++] = copy;
    return true;
}

void journal_list_free(char **list, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

// ---- the file --------------------------------------------------------------------------------

// Locks the open file; false where another process has it. A file system without locks leaves
// `locked` false.
static bool take_lock(journal *j, err *e)
{
    struct stat st;
    int rc;
    do
        rc = flock(j->fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno == EWOULDBLOCK)
        return err_set(e, ERR_ENV, "another run is at work in this folder: it holds the lock on "
                       "'%s'", j->path);
    j->locked = rc == 0;
    // Between opening and locking the other run may have finished and removed the file.
    if (fstat(j->fd, &st) == 0 && st.st_nlink == 0)
        return err_set(e, ERR_ENV, "another run has just finished in this folder; start again to "
                       "see what it left");
    return true;
}

static bool open_and_lock(journal *j, err *e)
{
    j->fd = open(j->path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (j->fd < 0)
        return err_sys(e, "cannot open '%s'", j->path);
    return take_lock(j, e);
}

static bool append_line(const journal *j, const strbuf *line, err *e)
{
    for (size_t put = 0; put < line->len;) {
        ssize_t n = write(j->fd, line->text + put, line->len - put);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_sys(e, "cannot write '%s'", j->path);
        put += (size_t)n;
    }
    return fdatasync(j->fd) == 0 || err_sys(e, "cannot write '%s'", j->path);
}

bool journal_create(journal *j, const char *dir, err *e)
{
    strbuf line = {0};
    json_writer w = {.out = &line};
    jw_object(&w, NULL);
    jw_text(&w, "plan", j->plan);
    jw_array(&w, "inputs");
    for (uint64_t i = 0; i < j->n_inputs; i++)
        jw_text(&w, NULL, j->input[i]);
    jw_array_end(&w);
    jw_int(&w, "made_levels", j->made_levels);
    jw_array(&w, "replaces");
    for (uint64_t i = 0; i < j->n_replaces; i++)
        jw_text(&w, NULL, j->replaces[i]);
    jw_array_end(&w);
    jw_object_end(&w);
    strbuf_puts(&line, "\n");
    j->path = path_join(dir, JOURNAL_NAME, e);
    bool ok = j->path && strbuf_ok(&line, e) &&
              out_write_file(dir, JOURNAL_NAME, line.text, line.len, false, NULL, e) &&
              open_and_lock(j, e);
    strbuf_free(&line);
    return ok;
}

// ---- reading ---------------------------------------------------------------------------------

// A name that the journal gives: one component that cannot lead out of the folder.
static bool plain_name(const char *name)
{
    return name && *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool read_texts(const json *array, char ***list, uint64_t *n, uint64_t *cap, bool names,
                       err *e)
{
    for (const json *item = json_first(array); item; item = json_next(item)) {
        const char *text = json_as_text(item);
        if (!text || (names && !plain_name(text)))
            return err_set(e, ERR_INPUT, "its first line lists what it cannot");
        if (!journal_list_add(list, n, cap, text, e))
            return false;
    }
    return true;
}

static bool read_first_line(journal *j, const char *line, size_t n, err *e)
{
    json *root = NULL;
    if (!json_parse(&root, line, n, JOURNAL_NAME, e))
        return false;
    const char *plan = json_as_text(json_get(root, "plan"));
    bool ok = plan && json_as_int(json_get(root, "made_levels"), &j->made_levels) &&
              j->made_levels >= 0;
    if (!ok)
        err_set(e, ERR_INPUT, "its first line names no plan");
    if (ok && !(j->plan = strdup(plan)))
        ok = err_set(e, ERR_ENV, "no memory for the journal");
    ok = ok &&
         read_texts(json_get(root, "inputs"), &j->input, &j->n_inputs, &j->inputs_cap, false, e) &&
         read_texts(json_get(root, "replaces"), &j->replaces, &j->n_replaces, &j->replaces_cap,
                    true, e);
    json_free(root);
    return ok;
}

// Puts a file on the list, or in the place of the one that has its name.
static bool put_file(journal *j, const char *name, uint64_t bytes, const sha256_digest *sha,
                     const char *note, err *e)
{
    journal_file new = {strdup(name), bytes, *sha, note ? strdup(note) : NULL};
    journal_file *old = journal_find(j, name);
    if (!new.name || (note && !new.note)) {
        err_set(e, ERR_ENV, "no memory for the journal");
    } else if (old) {
        journal_drop(j, old);
        old = NULL;
    }
    if (new.name && (!note || new.note) &&
        mem_grow((void **)&j->file, &j->files_cap, j->n_files + 1, sizeof *j->file, "the journal",
                 e)) {
        j->file[j->n_files++] = new;
        return true;
    }
    free(new.name);
    free(new.note);
    return false;
}

// A line that is no note is passed over: its file is then made again.
static bool read_note(journal *j, const char *line, size_t n, err *e)
{
    err ignored = ERR_INIT;
    json *root = NULL;
    int64_t bytes = 0;
    sha256_digest sha;
    if (!json_parse(&root, line, n, JOURNAL_NAME, &ignored))
        return true;
    const char *name = json_as_text(json_get(root, "file"));
    const char *hex = json_as_text(json_get(root, "sha256"));
    bool ok = true;
    if (plain_name(name) && hex && json_as_int(json_get(root, "bytes"), &bytes) && bytes >= 0 &&
        hex_to(hex, sha.b, sizeof sha.b))
        ok = put_file(j, name, (uint64_t)bytes, &sha, json_as_text(json_get(root, "note")), e);
    json_free(root);
    return ok;
}

static bool read_lines(journal *j, const char *text, size_t len, bool look, err *e)
{
    const char *end = memchr(text, '\n', len);
    if (!end || !read_first_line(j, text, (size_t)(end - text), e)) {
        if (!end)
            err_set(e, ERR_INPUT, "it has no line");
        else if (e->kind == ERR_ENV)
            return false;
        char why[sizeof e->text];
        memcpy(why, e->text, sizeof why);
        return err_set(e, ERR_ENV, "the journal '%s' cannot be understood (%s); remove the folder "
                       "or name another one", j->path, why);
    }
    size_t whole = (size_t)(end + 1 - text);
    while (whole < len && (end = memchr(text + whole, '\n', len - whole))) {
        size_t next = (size_t)(end + 1 - text);
        if (!read_note(j, text + whole, next - 1 - whole, e))
            return false;
        whole = next;
    }
    // Without the torn rest, so that the next line does not become a part of it.
    return look || whole == len || ftruncate(j->fd, (off_t)whole) == 0 ||
           err_sys(e, "cannot write '%s'", j->path);
}

bool journal_read(journal *j, const char *dir, bool look, err *e)
{
    char *text = NULL;
    size_t len = 0;
    *j = (journal)JOURNAL_CLOSED;
    j->path = path_join(dir, JOURNAL_NAME, e);
    bool ok = j->path && (look || open_and_lock(j, e)) &&
              file_read_all(j->path, LARGEST_JOURNAL, &text, &len, e) &&
              read_lines(j, text, len, look, e);
    free(text);
    if (!ok)
        journal_close(j);
    return ok;
}

// ---- notes -----------------------------------------------------------------------------------

journal_file *journal_find(const journal *j, const char *name)
{
    for (uint64_t i = 0; i < j->n_files; i++)
        if (strcmp(j->file[i].name, name) == 0)
            return &j->file[i];
    return NULL;
}

bool journal_note(journal *j, const char *name, uint64_t bytes, const sha256_digest *sha,
                  const char *note, err *e)
{
    char hex[65];
    strbuf line = {0};
    json_writer w = {.out = &line};
    jw_object(&w, NULL);
    jw_text(&w, "file", name);
    jw_int(&w, "bytes", (int64_t)bytes);
    jw_text(&w, "sha256", hex_of(sha->b, sizeof sha->b, hex));
    if (note)
        jw_text(&w, "note", note);
    jw_object_end(&w);
    strbuf_puts(&line, "\n");
    bool ok = strbuf_ok(&line, e) && put_file(j, name, bytes, sha, note, e) &&
              append_line(j, &line, e);
    strbuf_free(&line);
    return ok;
}

void journal_drop(journal *j, journal_file *f)
{
    free(f->name);
    free(f->note);
    size_t at = (size_t)(f - j->file);
    memmove(f, f + 1, (j->n_files - at - 1) * sizeof *f);
    j->n_files--;
}

void journal_remove(journal *j)
{
    if (j->path)
        (void)unlink(j->path);
    journal_close(j);
}

void journal_close(journal *j)
{
    if (j->fd >= 0)
        (void)close(j->fd);
    while (j->n_files)
        journal_drop(j, &j->file[j->n_files - 1]);
    free(j->file);
    journal_list_free(j->input, j->n_inputs);
    journal_list_free(j->replaces, j->n_replaces);
    free(j->plan);
    free(j->path);
    *j = (journal)JOURNAL_CLOSED;
}
