// SPDX-License-Identifier: Apache-2.0
#include "convert/output.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "convert/output_folder.h"

struct output {
    char *dir;
    journal journal;
    output_mode mode;
    char token[9];   // of this process, in its staged names
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
    uint64_t staged = 0, needed = with->bytes;
    if (with->mode == OUTPUT_PART) {
        needed = 0;
        for (uint64_t i = with->own_first; i < with->own_first + with->n_own; i++)
            if (!journal_find(j, with->file[i].name))
                needed += with->file[i].bytes;
        return out_has_space(with->dir, needed, e);
    }
    for (uint64_t i = 0; i < j->n_files; i++)
        staged += j->file[i].bytes;
    return staged >= needed || out_has_space(with->dir, needed - staged, e);
}

static void remove_in(const char *dir, const char *name)
{
    err ignored = ERR_INIT;
    char *path = path_join(dir, name, &ignored);
    if (path)
        (void)unlink(path);
    free(path);
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
    err ignored = ERR_INIT;
    bool is = false;
    for (uint64_t i = 0; !is && i < o->journal.n_files; i++) {
        char *own = file_note_name(o->journal.file[i].name, &ignored);
        is = own && strcmp(own, file) == 0;
        free(own);
    }
    return is;
}

// Whether a file that no note counts on may go. A process that is alone knows that nobody uses it;
// where there are no locks, a whole run takes it that nobody does but the owners of temporary files
// that live, and a part leaves everything.
static bool is_leftover(const output *o, const char *name)
{
    long pid;
    if (!o->journal.alone && o->mode == OUTPUT_PART)
        return false;
    if (output_is_temporary(name, &pid))
        return o->journal.alone || pid <= 0 || pid == (long)getpid() ||
               (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
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
    for (int64_t i = 0; i < n; i++)
        if (is_leftover(o, entry[i].name) ||
            (everything && (output_is_staged(entry[i].name) || file_note_is_name(entry[i].name))))
            remove_in(o->dir, entry[i].name);
    dir_list_free(entry, n);
    return true;
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
            remove_in(o->dir, entry[i].name);
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
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
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
    if (*complete)
        return true;
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
    if (!fresh)
        journal_remove(&o->journal);
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
    (void)remove_leftovers(o, true, &ignored);
    journal_remove(&o->journal);
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

// ---- staging ---------------------------------------------------------------------------------

bool output_has(const output *o, const char *name, sha256_digest *digest)
{
    const file_note *f = journal_find(&o->journal, name);
    if (f && digest)
        *digest = f->sha;
    return f != NULL;
}

const char *output_note(const output *o, const char *name)
{
    const file_note *f = journal_find(&o->journal, name);
    return f ? f->text : NULL;
}

bool output_begin(output *o, out_file *f, const char *name, uint64_t size, const void *header,
                  uint64_t header_bytes, err *e)
{
    char *staged = output_staged_name(name, o->token, e);
    bool ok = staged && out_open(f, o->dir, staged, size, header, header_bytes, e);
    free(staged);
    return ok;
}

static void remove_note(const output *o, const char *name)
{
    err ignored = ERR_INIT;
    char *file = file_note_name(name, &ignored);
    if (file)
        remove_in(o->dir, file);
    free(file);
}

// Two results of one file: nobody may go on as if one of them were right.
static bool keep_both(const output *o, const file_note *mine, const file_note *first, err *e)
{
    char hex[2][65];
    strbuf other = {0};
    strbuf_printf(&other, ".%s.%s" OUTPUT_DIFFERS_END, mine->name, o->token);
    char *from = path_join(o->dir, mine->staged, e);
    char *to = from && strbuf_ok(&other, e) ? path_join(o->dir, other.text, e) : NULL;
    if (to && rename(from, to) != 0)
        err_sys(e, "cannot rename '%s'", from);
    else if (to)
        err_set(e, ERR_INTERNAL, "'%s' was made twice with different bytes: SHA-256 %s in '%s/%s', "
                "%s in '%s'; both are kept: either an input is not the same everywhere, or a "
                "promise of scruple is broken", mine->name, hex_of(first->sha.b, 32, hex[0]),
                o->dir, first->staged, hex_of(mine->sha.b, 32, hex[1]), other.text);
    free(from);
    free(to);
    strbuf_free(&other);
    return false;
}

// Another process has a note for the file already. The same bytes: one of them is enough; a note
// that does not count, or whose data are no longer whole, makes way. *mine is then what holds.
static bool settle(output *o, file_note *mine, err *e)
{
    file_note first;
    bool counts, there;
    char *file = file_note_name(mine->name, e);
    bool ok = file && file_note_read(&first, o->dir, file, o->journal.plan, &counts, e);
    free(file);
    if (!ok)
        return false;
    if (counts && memcmp(first.sha.b, mine->sha.b, sizeof first.sha.b) != 0) {
        keep_both(o, mine, &first, e);
        file_note_free(&first);
        return false;
    }
    if (counts && output_folder_holds(o->dir, &first, true)) {
        remove_in(o->dir, mine->staged);
        file_note_free(mine);
        *mine = first;
        return true;
    }
    if (counts) {
        remove_in(o->dir, first.staged);
        file_note_free(&first);
    }
    return file_note_write(mine, o->dir, o->journal.plan, true, &there, e);
}

// Notes a file whose data stand under the staged name of this process.
static bool note_finished(output *o, file_note *n, err *e)
{
    bool there;
    file_note *old = journal_find(&o->journal, n->name); // of this very run, which makes it anew
    if (old && strcmp(old->staged, n->staged) != 0)
        remove_in(o->dir, old->staged);
    return file_note_write(n, o->dir, o->journal.plan, old != NULL, &there, e) &&
           (!there || settle(o, n, e));
}

bool output_end(output *o, out_file *f, const char *name, const char *text, err *e)
{
    file_note n = {.name = strdup(name),
              .staged = output_staged_name(name, o->token, e),
              .text = text ? strdup(text) : NULL,
              .bytes = f->at};
    bool ok = n.staged && ((n.name && (!text || n.text)) ||
                           err_set(e, ERR_ENV, "no memory for the note of '%s'", name));
    ok = ok && out_publish(f, true, &n.sha, e) && note_finished(o, &n, e) &&
         journal_put(&o->journal, &n, e);
    file_note_free(&n);
    return ok;
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
    const file_note *f = journal_find(&o->journal, name);
    char *path = f ? path_join(o->dir, f->staged, e) : NULL;
    if (f && (!path || path_exists(path)))
        return path;
    free(path);
    return path_join(o->dir, name, e);
}

void output_reject(output *o, const char *name)
{
    file_note *f = journal_find(&o->journal, name);
    if (!f)
        return;
    remove_note(o, name);
    remove_in(o->dir, f->staged);
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
    const file_note *a = x, *b = y;
    int by = rank_of(a->name) - rank_of(b->name);
    return by != 0 ? by : strcmp(a->name, b->name);
}

static int by_file_name(const void *x, const void *y)
{
    return strcmp(((const file_note *)x)->name, ((const file_note *)y)->name);
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
        const file_note *f = &o->journal.file[i];
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
        char *staged = path_join(o->dir, o->journal.file[i].staged, e);
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

static bool rename_one(output *o, const file_note *f, err *e)
{
    char *staged = path_join(o->dir, f->staged, e);
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
    // Without the journal the folder is complete; what a kill leaves of the notes is swept later.
    journal_remove(&o->journal);
    for (uint64_t i = 0; i < o->journal.n_files; i++)
        remove_note(o, o->journal.file[i].name);
    journal_close(&o->journal);
    return true;
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
