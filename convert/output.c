// SPDX-License-Identifier: Apache-2.0
#include "convert/output.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "convert/output_folder.h"

struct output {
    char *dir;
    journal journal;
    bool opened;     // the folder is this run's
    bool publishing; // something of this run has its final name
};

// ---- opening ---------------------------------------------------------------------------------

// How many folders of a path are still to be made; *first is the nearest one that is there.
static bool missing_levels(const char *dir, int64_t *levels, char **first, err *e)
{
    *levels = 0;
    *first = path_resolve(dir, e);
    if (!*first)
        return false;
    while (**first && !path_exists(*first)) {
        *strrchr(*first, '/') = 0;
        ++*levels;
    }
    return true;
}

// What a dry run can tell of the folder without making it.
static bool can_be_made(const char *dir, err *e)
{
    int64_t levels;
    char *first;
    if (!missing_levels(dir, &levels, &first, e))
        return false;
    const char *at = *first ? first : "/";
    bool ok = true;
    if (!path_is_dir(at))
        ok = err_set(e, ERR_ENV, "cannot make the folder '%s': '%s' is a file", dir, at);
    else if (access(at, W_OK | X_OK) != 0)
        ok = err_sys(e, "cannot write into the folder '%s'", at);
    free(first);
    return ok;
}

static bool enough_space(const output_order *with, const journal *j, err *e)
{
    uint64_t staged = 0;
    for (uint64_t i = 0; i < j->n_files; i++)
        staged += j->file[i].bytes;
    return staged >= with->bytes || out_has_space(with->dir, with->bytes - staged, e);
}

static void remove_in(const char *dir, const char *name)
{
    err ignored = ERR_INIT;
    char *path = path_join(dir, name, &ignored);
    if (path)
        (void)unlink(path);
    free(path);
}

// Temporary files that a killed process left behind, and with staged_too finished ones. With the
// lock no other process of this run lives; without, its number must not be in use.
static bool remove_leftovers(const output *o, bool staged_too, err *e)
{
    dir_entry *entry;
    int64_t n;
    if (!dir_list(o->dir, &entry, &n, e))
        return false;
    for (int64_t i = 0; i < n; i++) {
        long pid;
        if (staged_too && output_is_staged(entry[i].name))
            remove_in(o->dir, entry[i].name);
        if (!output_is_temporary(entry[i].name, &pid))
            continue;
        bool dead = pid <= 0 || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
        if (o->journal.locked || dead || pid == (long)getpid())
            remove_in(o->dir, entry[i].name);
    }
    dir_list_free(entry, n);
    return true;
}

static void remove_folders(const char *dir, int64_t levels)
{
    err ignored = ERR_INIT;
    char *path = path_resolve(dir, &ignored);
    for (; path && *path && levels > 0 && rmdir(path) == 0; levels--)
        *strrchr(path, '/') = 0;
    free(path);
}

static bool begin_journal(output *o, const output_order *with, err *e)
{
    journal *j = &o->journal;
    char hex[65], *first = NULL;
    j->plan = strdup(hex_of(with->plan->b, sizeof with->plan->b, hex));
    bool ok = j->plan || err_set(e, ERR_ENV, "no memory for the journal");
    for (uint64_t i = 0; ok && i < with->n_inputs; i++)
        ok = journal_list_add(&j->input, &j->n_inputs, &j->inputs_cap, with->inputs[i], e);
    ok = ok && missing_levels(with->dir, &j->made_levels, &first, e);
    free(first);
    if (!ok)
        return false;
    if (out_make_dir(o->dir, e) && journal_create(j, o->dir, e))
        return true;
    remove_folders(o->dir, j->made_levels);
    return false;
}

// True where an earlier run was interrupted in the midst of publishing.
static bool has_published(const output *o)
{
    for (uint64_t i = 0; i < o->journal.n_files; i++) {
        err ignored = ERR_INIT;
        char *staged = output_staged_path(o->dir, o->journal.file[i].name, &ignored);
        bool there = staged && path_exists(staged);
        free(staged);
        if (!there)
            return true;
    }
    return false;
}

bool output_open(output **out, const output_order *with, bool *complete, err *e)
{
    folder_state state = FOLDER_FRESH;
    *out = NULL;
    *complete = false;
    output *o = mem_new(1, sizeof *o, "the output", e);
    if (!o)
        return false;
    o->journal = (journal)JOURNAL_CLOSED;
    o->dir = strdup(with->dir);
    bool ok = o->dir ? output_folder_judge(with, &state, &o->journal, e)
                     : err_set(e, ERR_ENV, "no memory for a path");
    *complete = ok && state == FOLDER_COMPLETE;
    if (ok && !*complete)
        ok = can_be_made(o->dir, e) && enough_space(with, &o->journal, e);
    if (ok && !*complete && !with->dry_run)
        ok = (state == FOLDER_RESUMED || begin_journal(o, with, e)) &&
             remove_leftovers(o, false, e);
    if (!ok || *complete) {
        output_close(o);
        return ok;
    }
    o->publishing = has_published(o);
    o->opened = !with->dry_run;
    *out = o;
    return true;
}

// Everything of a run that has published nothing.
static void clear_folder(output *o)
{
    err ignored = ERR_INIT;
    int64_t levels = o->journal.made_levels;
    (void)remove_leftovers(o, true, &ignored);
    journal_remove(&o->journal);
    remove_folders(o->dir, levels);
}

void output_close(output *o)
{
    if (!o)
        return;
    if (o->opened && o->journal.fd >= 0 && o->journal.n_files == 0 && !o->publishing)
        clear_folder(o);
    journal_close(&o->journal);
    free(o->dir);
    free(o);
}

// ---- staging ---------------------------------------------------------------------------------

bool output_has(const output *o, const char *name, sha256_digest *digest)
{
    const journal_file *f = journal_find(&o->journal, name);
    if (f && digest)
        *digest = f->sha;
    return f != NULL;
}

const char *output_note(const output *o, const char *name)
{
    const journal_file *f = journal_find(&o->journal, name);
    return f ? f->note : NULL;
}

bool output_begin(output *o, out_file *f, const char *name, uint64_t size, const void *header,
                  uint64_t header_bytes, err *e)
{
    char *staged = output_staged_name(name, e);
    bool ok = staged && out_open(f, o->dir, staged, size, header, header_bytes, e);
    free(staged);
    return ok;
}

bool output_end(output *o, out_file *f, const char *name, const char *note, err *e)
{
    sha256_digest sha;
    uint64_t bytes = f->at;
    // A staged file of an earlier attempt that the journal does not know is replaced.
    return out_publish(f, true, &sha, e) && journal_note(&o->journal, name, bytes, &sha, note, e);
}

bool output_small(output *o, const char *name, const void *bytes, size_t n, err *e)
{
    out_file f = OUT_FILE_CLOSED;
    sha256_digest sha, there;
    if (!sha256_of(bytes, n, &sha, e))
        return false;
    if (output_has(o, name, &there) && memcmp(sha.b, there.b, sizeof sha.b) == 0)
        return true;
    if (output_begin(o, &f, name, n, NULL, 0, e) && out_append(&f, bytes, n, e) &&
        output_end(o, &f, name, NULL, e))
        return true;
    out_discard(&f);
    return false;
}

char *output_path(const output *o, const char *name, err *e)
{
    char *path = output_staged_path(o->dir, name, e);
    if (!path || path_exists(path))
        return path;
    free(path);
    return path_join(o->dir, name, e);
}

static void remove_staged(const output *o, const char *name)
{
    err ignored = ERR_INIT;
    char *staged = output_staged_name(name, &ignored);
    if (staged)
        remove_in(o->dir, staged);
    free(staged);
}

void output_reject(output *o, const char *name)
{
    journal_file *f = journal_find(&o->journal, name);
    if (!f)
        return;
    remove_staged(o, name);
    journal_drop(&o->journal, f);
}

// ---- publishing ------------------------------------------------------------------------------

// A reader that sees the last file sees everything.
static int rank_of(const char *name)
{
    static const char *const last[] = {"experts.idx", "model.safetensors.index.json",
                                       "config.json", OUTPUT_SUMS};
    for (size_t i = 0; i < COUNT_OF(last); i++)
        if (strcmp(name, last[i]) == 0)
            return 2 + (int)i;
    return str_ends(name, ".safetensors") ? 0 : 1;
}

static int by_rank(const void *x, const void *y)
{
    const journal_file *a = x, *b = y;
    int by = rank_of(a->name) - rank_of(b->name);
    return by != 0 ? by : strcmp(a->name, b->name);
}

static int by_file_name(const void *x, const void *y)
{
    return strcmp(((const journal_file *)x)->name, ((const journal_file *)y)->name);
}

static void sort_files(const output *o, int (*order)(const void *, const void *))
{
    if (o->journal.n_files)
        qsort(o->journal.file, o->journal.n_files, sizeof *o->journal.file, order);
}

static bool stage_sums(output *o, err *e)
{
    strbuf text = {0};
    char hex[65];
    sort_files(o, by_file_name);
    for (uint64_t i = 0; i < o->journal.n_files; i++) {
        const journal_file *f = &o->journal.file[i];
        if (strcmp(f->name, OUTPUT_SUMS) != 0)
            strbuf_printf(&text, "%s  %s\n", hex_of(f->sha.b, sizeof f->sha.b, hex), f->name);
    }
    bool ok = strbuf_ok(&text, e) && output_small(o, OUTPUT_SUMS, text.text, text.len, e);
    strbuf_free(&text);
    return ok;
}

static bool may_replace(const output *o, const char *name)
{
    for (uint64_t i = 0; i < o->journal.n_replaces; i++)
        if (strcmp(o->journal.replaces[i], name) == 0)
            return true;
    return false;
}

// Before anything gets its final name: nothing may stand in the way.
static bool way_is_free(output *o, err *e)
{
    for (uint64_t i = 0; i < o->journal.n_files; i++) {
        const char *name = o->journal.file[i].name;
        char *staged = output_staged_path(o->dir, name, e);
        char *final = staged ? path_join(o->dir, name, e) : NULL;
        bool ok = final != NULL;
        bool waits = ok && path_exists(staged), stands = ok && path_exists(final);
        free(staged);
        free(final);
        if (ok && waits && stands && !may_replace(o, name))
            ok = err_set(e, ERR_ENV, "'%s' holds a '%s' that appeared while the run was at "
                         "work; remove it and run the same command again", o->dir, name);
        if (ok && !waits && !stands)
            ok = err_set(e, ERR_ENV, "'%s' no longer holds what was finished of '%s'; the same "
                         "command makes it again", o->dir, name);
        if (!ok)
            return false;
        o->publishing |= !waits;
    }
    return true;
}

static bool rename_one(output *o, const journal_file *f, err *e)
{
    char *staged = output_staged_path(o->dir, f->name, e);
    bool ok = staged != NULL;
    if (ok && path_exists(staged)) {
        ok = out_publish_temp(staged, o->dir, f->name, may_replace(o, f->name), e);
        o->publishing |= ok;
    }
    free(staged);
    return ok;
}

bool output_publish(output *o, err *e)
{
    if (!stage_sums(o, e) || !way_is_free(o, e))
        return false;
    // The old run's mark of completeness goes first, so that no reader sees a mixture as whole.
    if (may_replace(o, OUTPUT_SUMS) && !o->publishing)
        remove_in(o->dir, OUTPUT_SUMS);
    sort_files(o, by_rank);
    for (uint64_t i = 0; i < o->journal.n_files; i++)
        if (!rename_one(o, &o->journal.file[i], e))
            return false;
    for (uint64_t i = 0; i < o->journal.n_replaces; i++)
        if (!journal_find(&o->journal, o->journal.replaces[i]))
            remove_in(o->dir, o->journal.replaces[i]);
    journal_remove(&o->journal);
    return true;
}

void output_abandon(output *o)
{
    if (!o)
        return;
    if (o->opened && o->journal.fd >= 0 && !o->publishing)
        clear_folder(o);
    output_close(o);
}
