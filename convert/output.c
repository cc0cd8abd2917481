// SPDX-License-Identifier: Apache-2.0
#include "convert/output.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"
#include "convert/output_inside.h"

bool output_gone(const char *dir, const char *name, err *e)
{
    char *path = path_join(dir, name, e);
    bool ok = path && (unlink(path) == 0 || errno == ENOENT ||
                       err_sys(e, "cannot remove '%s'", path));
    free(path);
    return ok;
}

void output_remove(const char *dir, const char *name)
{
    err ignored = ERR_INIT;
    (void)!output_gone(dir, name, &ignored);
}

void output_remove_note(const output *o, const char *name)
{
    err ignored = ERR_INIT;
    char *file = file_note_name(name, &ignored);
    if (file)
        output_remove(o->dir, file);
    free(file);
}

// ---- opening ---------------------------------------------------------------------------------

// How many folders of a path are still to be made; *first is the nearest one that is there.
static bool missing_levels(const char *dir, int64_t *levels, char **first, err *e)
{
    *levels = 0;
    *first = path_resolve(dir, e);
    if (!*first)
        return false;
    for (;;) {
        path_kind kind = PATH_FOLDER;
        if (**first && !path_find(*first, &kind, e)) {
            free(*first);
            *first = NULL;
            return false;
        }
        if (kind != PATH_NOTHING)
            return true;
        *strrchr(*first, '/') = 0;
        ++*levels;
    }
}

// What a dry run can tell of the folder without making it.
static bool can_be_made(const char *dir, err *e)
{
    int64_t levels;
    char *first;
    if (!missing_levels(dir, &levels, &first, e))
        return false;
    const char *at = *first ? first : "/";
    path_kind kind;
    bool ok = path_find(at, &kind, e);
    if (ok && kind != PATH_FOLDER)
        ok = err_set(e, ERR_ENV, "cannot make the folder '%s': '%s' is a file", dir, at);
    else if (ok && access(at, W_OK | X_OK) != 0)
        ok = err_sys(e, "cannot write into the folder '%s'", at);
    free(first);
    return ok;
}

static bool enough_space(const output_order *with, const journal *j, err *e)
{
    uint64_t staged = 0, needed = with->bytes;
    if (with->mode == OUTPUT_PART) {
        needed = 0;
        for (uint64_t i = with->own_first; i < with->own_first + with->n_own; i++)
            if (!journal_find(j, with->file[i].name))
                needed += with->file[i].bytes;
        return needed == 0 || out_has_space(with->dir, needed + with->scratch, e);
    }
    for (uint64_t i = 0; i < j->n_files; i++)
        staged += j->file[i].bytes;
    return staged >= needed || out_has_space(with->dir, needed - staged + with->scratch, e);
}

static bool is_noted_data(const output *o, const char *staged)
{
    for (uint64_t i = 0; i < o->journal.n_files; i++)
        if (strcmp(o->journal.file[i].staged, staged) == 0)
            return true;
    return false;
}

static bool is_noted_file(const output *o, const char *file)
{
    for (uint64_t i = 0; i < o->journal.n_files; i++)
        if (file_note_is_of(file, o->journal.file[i].name))
            return true;
    return false;
}

// Whether a file that no note counts on may go. A process that is alone knows that nobody uses it,
// but for a journal that another one is just about to publish and that it would lock; where there
// are no locks, a whole run takes it that nobody does but the owners of temporary files that live,
// and a part leaves everything.
static bool is_leftover(const output *o, const char *name)
{
    long pid;
    if (!o->journal.alone && o->mode == OUTPUT_PART)
        return false;
    if (output_is_temporary(name, &pid)) {
        bool gone = pid <= 0 || pid == (long)getpid() ||
                    (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
        return gone || (o->journal.alone && !str_starts(name, "." JOURNAL_NAME "."));
    }
    return (output_is_staged(name) && !is_noted_data(o, name)) ||
           (file_note_is_name(name) && !is_noted_file(o, name));
}

// What killed processes left behind, and with `everything` also what is finished.
static bool remove_leftovers(const output *o, bool everything, err *e)
{
    dir_entry *entry;
    int64_t n;
    if (!dir_list(o->dir, &entry, &n, e))
        return false;
    bool ok = true;
    for (int64_t i = 0; i < n; i++)
        if (is_leftover(o, entry[i].name) ||
            (everything && (output_is_staged(entry[i].name) || file_note_is_name(entry[i].name))))
            ok = output_gone(o->dir, entry[i].name, e) && ok;
    dir_list_free(entry, n);
    return ok;
}

// Of a complete folder: notes that a kill at the very end of publishing left.
static bool sweep_notes(const output *o, err *e)
{
    dir_entry *entry;
    int64_t n;
    bool begun = false; // a run that replaces the folder
    if (o->mode == OUTPUT_PART)
        return true;
    if (!dir_list(o->dir, &entry, &n, e))
        return false;
    for (int64_t i = 0; i < n; i++)
        begun = begun || strcmp(entry[i].name, JOURNAL_NAME) == 0;
    for (int64_t i = 0; !begun && i < n; i++)
        if (file_note_is_name(entry[i].name))
            output_remove(o->dir, entry[i].name);
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

// Makes the folder and its journal, and locks it. *lost: another run was faster, or has been here
// and gone since the folder was judged.
static bool begin_journal(output *o, const output_order *with, bool *lost, err *e)
{
    journal *j = &o->journal, locked = JOURNAL_CLOSED;
    char hex[65], *first = NULL;
    j->plan = strdup(hex_of(with->plan->b, sizeof with->plan->b, hex));
    bool ok = j->plan || err_set(e, ERR_ENV, "no memory for the journal");
    for (uint64_t i = 0; ok && i < with->n_inputs; i++)
        ok = journal_list_add(&j->input, &j->n_inputs, &j->inputs_cap, with->inputs[i], e);
    ok = ok && missing_levels(with->dir, &j->made_levels, &first, e);
    free(first);
    if (!ok)
        return false;
    int64_t levels = j->made_levels;
    ok = out_make_dir(o->dir, e) && journal_create(j, o->dir, lost, e) &&
         (*lost || journal_lock(&locked, o->dir, o->mode == OUTPUT_PART, lost, e));
    if (!ok)
        remove_folders(o->dir, levels);
    if (!ok || *lost)
        return ok;
    ok = journal_read(&locked, o->dir, e);
    journal_close(j);
    *j = locked;
    return ok;
}

// Whether the folder that was found fresh still is, now that it is locked: another run may have
// come, finished and gone in between.
static bool still_fresh(const output *o, bool *fresh, err *e)
{
    dir_entry *entry;
    int64_t n;
    if (!dir_list(o->dir, &entry, &n, e))
        return false;
    *fresh = true;
    for (int64_t i = 0; i < n; i++) {
        bool known = entry[i].name[0] == '.';
        for (uint64_t k = 0; !known && k < o->journal.n_replaces; k++)
            known = strcmp(o->journal.replaces[k], entry[i].name) == 0;
        *fresh = *fresh && known;
    }
    dir_list_free(entry, n);
    return true;
}

// True where an earlier run was interrupted in the midst of publishing.
static bool has_published(const output *o)
{
    for (uint64_t i = 0; i < o->journal.n_files; i++) {
        err ignored = ERR_INIT;
        char *staged = path_join(o->dir, o->journal.file[i].staged, &ignored);
        bool there = staged && path_exists(staged);
        free(staged);
        if (!there)
            return true;
    }
    return false;
}

static bool choose_token(output *o, err *e)
{
    uint32_t number;
    if (!sys_random(&number, sizeof number))
        return err_sys(e, "cannot get a random number for a temporary name");
    (void)hex_of(&number, sizeof number, o->token);
    return true;
}

// Judges the folder and makes it this run's. *again: another run came in between.
static bool enter(output *o, const output_order *with, bool *complete, bool *again, err *e)
{
    folder_state state;
    *again = false;
    journal_close(&o->journal);
    if (!output_folder_judge(with, &state, &o->journal, e))
        return false;
    *complete = state == FOLDER_COMPLETE;
    if (*complete) // with a journal, which is locked: it is of no use any more
        return o->journal.fd < 0 || journal_remove(&o->journal, e);
    if (with->mode == OUTPUT_MERGE && state == FOLDER_FRESH)
        return err_set(e, ERR_ENV, "there is nothing to merge in '%s': no part has been run",
                       with->dir);
    if (with->mode == OUTPUT_LOOK)
        return true;
    if (!can_be_made(o->dir, e) || !enough_space(with, &o->journal, e))
        return false;
    if (with->dry_run || state == FOLDER_RESUMED)
        return true;
    bool fresh = true;
    if (!begin_journal(o, with, again, e) || (!*again && !still_fresh(o, &fresh, e)))
        return false;
    if (!fresh && !journal_remove(&o->journal, e))
        return false;
    *again = *again || !fresh;
    return true;
}

bool output_open(output **out, const output_order *with, bool *complete, err *e)
{
    enum { MOST_TRIES = 100 };
    bool again = true;
    *out = NULL;
    *complete = false;
    output *o = mem_new(1, sizeof *o, "the output", e);
    if (!o)
        return false;
    o->journal = (journal)JOURNAL_CLOSED;
    o->mode = with->mode;
    o->dir = strdup(with->dir);
    bool ok = o->dir ? choose_token(o, e) : err_set(e, ERR_ENV, "no memory for a path");
    for (int tries = 0; ok && again && tries < MOST_TRIES; tries++)
        ok = enter(o, with, complete, &again, e);
    if (ok && again)
        ok = err_set(e, ERR_ENV, "runs come and go in '%s'; start again", with->dir);
    bool touch = !with->dry_run && with->mode != OUTPUT_LOOK;
    if (ok && touch)
        ok = *complete ? sweep_notes(o, e) : remove_leftovers(o, false, e);
    if (!ok || *complete) {
        output_close(o);
        return ok;
    }
    journal_opened(&o->journal);
    o->publishing = has_published(o);
    o->opened = touch;
    *out = o;
    return true;
}

// Everything of a run that has published nothing.
static void clear_folder(output *o)
{
    err ignored = ERR_INIT;
    int64_t levels = o->journal.made_levels;
    // While anything of the run is left the journal must tell the next one whose it is.
    if (remove_leftovers(o, true, &ignored) && journal_remove(&o->journal, &ignored))
        remove_folders(o->dir, levels);
}

static bool has_notes(const output *o)
{
    err ignored = ERR_INIT;
    dir_entry *entry;
    int64_t n;
    bool has = false;
    if (!dir_list(o->dir, &entry, &n, &ignored))
        return true;
    for (int64_t i = 0; i < n; i++)
        has = has || file_note_is_name(entry[i].name);
    dir_list_free(entry, n);
    return has;
}

void output_close(output *o)
{
    if (!o)
        return;
    if (o->opened && o->journal.fd >= 0 && o->journal.n_files == 0 && !o->publishing &&
        journal_seize(&o->journal) && !has_notes(o))
        clear_folder(o);
    journal_close(&o->journal);
    free(o->dir);
    free(o);
}

void output_abandon(output *o)
{
    if (!o)
        return;
    if (o->opened && o->journal.fd >= 0 && !o->publishing && o->mode != OUTPUT_PART) {
        clear_folder(o);
        journal_close(&o->journal);
    }
    output_close(o);
}
