// SPDX-License-Identifier: Apache-2.0
#include "convert/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/out.h"
#include "base/sys.h"

enum { LARGEST_JOURNAL = 64 << 20 };

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

// ---- locks -----------------------------------------------------------------------------------

// Bytes of the header file that stand for the two locks.
typedef enum { LOCK_WORK, LOCK_OPENING } lock_byte;
typedef enum { LOCK_HELD, LOCK_BUSY, LOCK_NONE } lock_answer; // NONE: not in this file system

static lock_answer set_lock(int fd, lock_byte byte, short type, bool wait)
{
    struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int rc;
    do
        rc = fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &f);
    while (rc != 0 && errno == EINTR);
    if (rc == 0)
        return LOCK_HELD;
    return errno == EAGAIN || errno == EACCES ? LOCK_BUSY : LOCK_NONE;
}

static bool take_locks(journal *j, err *e)
{
    j->locked = set_lock(j->fd, LOCK_OPENING, F_WRLCK, true) == LOCK_HELD;
    if (!j->locked)
        return true;
    j->alone = set_lock(j->fd, LOCK_WORK, F_WRLCK, false) == LOCK_HELD;
    if (j->alone || (j->shared && set_lock(j->fd, LOCK_WORK, F_RDLCK, false) == LOCK_HELD))
        return true;
    return err_set(e, ERR_ENV, j->shared
                   ? "a whole run or a merge is at work in this folder: it holds the lock on '%s'"
                   : "another run is at work in this folder: it holds the lock on '%s'", j->path);
}

bool journal_lock(journal *j, const char *dir, bool shared, bool *gone, err *e)
{
    struct stat st;
    *gone = false;
    *j = (journal){.fd = -1, .shared = shared};
    j->path = path_join(dir, JOURNAL_NAME, e);
    bool ok = j->path != NULL;
    if (ok) {
        j->fd = sys_open(j->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
        *gone = j->fd < 0 && errno == ENOENT;
        ok = j->fd >= 0 || *gone || err_sys(e, "cannot open '%s'", j->path);
    }
    ok = ok && (*gone || take_locks(j, e));
    // Between opening and locking the other run may have finished and removed the file.
    if (ok && !*gone) {
        ok = fstat(j->fd, &st) == 0 || err_sys(e, "cannot look at '%s'", j->path);
        *gone = ok && st.st_nlink == 0;
    }
    if (!ok || *gone)
        journal_close(j);
    return ok;
}

void journal_opened(journal *j)
{
    if (!j->locked)
        return;
    if (j->shared && j->alone)
        (void)set_lock(j->fd, LOCK_WORK, F_RDLCK, false);
    j->alone = !j->shared;
    (void)set_lock(j->fd, LOCK_OPENING, F_UNLCK, false);
}

bool journal_seize(journal *j)
{
    if (!j->shared || !j->locked)
        return !j->shared;
    return set_lock(j->fd, LOCK_OPENING, F_WRLCK, true) == LOCK_HELD &&
           set_lock(j->fd, LOCK_WORK, F_WRLCK, false) == LOCK_HELD;
}

// ---- the header file -------------------------------------------------------------------------

bool journal_create(const journal *j, const char *dir, bool *lost, err *e)
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
    *lost = false;
    bool ok = strbuf_ok(&line, e) &&
              out_write_new(dir, JOURNAL_NAME, line.text, line.len, lost, e);
    strbuf_free(&line);
    return ok;
}

// ---- reading ---------------------------------------------------------------------------------

static bool read_texts(const json *array, char ***list, uint64_t *n, uint64_t *cap, bool names,
                       err *e)
{
    char shown[STR_SHORT];
    for (const json *item = json_first(array); item; item = json_next(item)) {
        const char *text = json_as_text(item);
        if (!text || (names && !file_note_is_plain(text)))
            return err_set(e, ERR_INPUT, "it lists '%s', which is no %s",
                           text ? str_short(text, shown) : "(no text)",
                           names ? "name of a file in this folder" : "text");
        if (!journal_list_add(list, n, cap, text, e))
            return false;
    }
    return true;
}

static bool read_header(journal *j, const char *line, size_t n, err *e)
{
    json *root = NULL;
    if (!json_parse(&root, line, n, JOURNAL_NAME, e))
        return false;
    const char *plan = json_as_text(json_get(root, "plan"));
    bool counted = json_as_int(json_get(root, "made_levels"), &j->made_levels) &&
                   j->made_levels >= 0;
    bool ok = plan && counted;
    if (!ok)
        err_set(e, ERR_INPUT, plan ? "its made_levels is missing or not a count"
                                   : "it names no plan");
    if (ok && !(j->plan = strdup(plan)))
        ok = err_set(e, ERR_ENV, "no memory for the journal");
    ok = ok &&
         read_texts(json_get(root, "inputs"), &j->input, &j->n_inputs, &j->inputs_cap, false, e) &&
         read_texts(json_get(root, "replaces"), &j->replaces, &j->n_replaces, &j->replaces_cap,
                    true, e);
    json_free(root);
    return ok;
}

bool journal_read(journal *j, const char *dir, err *e)
{
    char *text = NULL;
    size_t len = 0;
    err why = ERR_INIT;
    char *path = path_join(dir, JOURNAL_NAME, e);
    bool ok = path && file_read_all(path, LARGEST_JOURNAL, &text, &len, e);
    if (ok && !read_header(j, text, len, &why))
        ok = err_set(e, ERR_ENV, why.kind == ERR_ENV ? "'%s': %s" : "the journal '%s' cannot be "
                     "understood (%s); remove the folder or name another one", path, why.text);
    free(text);
    free(path);
    return ok;
}

// ---- finished files --------------------------------------------------------------------------

file_note *journal_find(const journal *j, const char *name)
{
    for (uint64_t i = 0; i < j->n_files; i++)
        if (strcmp(j->file[i].name, name) == 0)
            return &j->file[i];
    return NULL;
}

bool journal_put(journal *j, file_note *n, err *e)
{
    file_note *old = journal_find(j, n->name);
    if (old)
        journal_drop(j, old);
    if (!mem_grow((void **)&j->file, &j->files_cap, j->n_files + 1, sizeof *j->file, "the journal",
                  e)) {
        file_note_free(n);
        return false;
    }
    j->file[j->n_files++] = *n;
    *n = (file_note){0};
    return true;
}

void journal_drop(journal *j, file_note *f)
{
    file_note_free(f);
    size_t at = (size_t)(f - j->file);
    memmove(f, f + 1, (j->n_files - at - 1) * sizeof *f);
    j->n_files--;
}

bool journal_remove(journal *j, err *e)
{
    return !j->path || unlink(j->path) == 0 || errno == ENOENT ||
           err_sys(e, "cannot remove '%s'", j->path);
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
