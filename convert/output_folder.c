// SPDX-License-Identifier: Apache-2.0
#include "convert/output_folder.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/spill.h"
#include "convert/estimate.h"
#include "convert/manifest.h"

#define STAGED_END ".staged"
#define TEMPORARY_END ".part"

// Files up to this size are hashed again before a run that resumes relies on them; larger ones are
// when their proof reads them.
enum { SMALL_FILE = 16 << 20 };

// ---- hidden names ----------------------------------------------------------------------------

char *output_staged_name(const char *name, const char *token, err *e)
{
    strbuf s = {0};
    strbuf_printf(&s, ".%s.%s" STAGED_END, name, token);
    if (strbuf_ok(&s, e))
        return s.text;
    strbuf_free(&s);
    return NULL;
}

bool output_is_staged(const char *name) { return name[0] == '.' && str_ends(name, STAGED_END); }

static bool is_differing(const char *name)
{
    return name[0] == '.' && str_ends(name, OUTPUT_DIFFERS_END);
}

// ".<name>.<pid>.<16 hex digits>.part", the name being a staged one's, a note's, the journal's, or
// one of those that never become a file.
bool output_is_temporary(const char *name, long *pid)
{
    enum { DIGITS = 16 };
    uint64_t number = 0;
    size_t len = strlen(name), tail = 1 + DIGITS + strlen(TEMPORARY_END);
    *pid = 0;
    if (name[0] != '.' || len <= tail || !str_ends(name, TEMPORARY_END) ||
        name[len - tail] != '.' || strspn(name + len - tail + 1, "0123456789abcdef") < DIGITS)
        return false;
    char *head = strndup(name + 1, len - tail - 1); // "<name>.<pid>"
    char *dot = head ? strrchr(head, '.') : NULL;
    bool is = dot && str_to_u64(dot + 1, INT32_MAX, &number);
    if (is) {
        *dot = 0;
        is = output_is_staged(head) || file_note_is_name(head) ||
             strcmp(head, JOURNAL_NAME) == 0 || strcmp(head, SPILL_NAME) == 0 ||
             strcmp(head, ESTIMATE_NAME) == 0;
        *pid = (long)number;
    }
    free(head);
    return is;
}

bool output_is_nameless(const char *name)
{
    static const char *const begin[] = {".nfs", ".fuse_hidden"};
    for (size_t i = 0; i < COUNT_OF(begin); i++) {
        const char *number = name + strlen(begin[i]);
        if (str_starts(name, begin[i]) && *number && !number[strspn(number, "0123456789abcdef")])
            return true;
    }
    return false;
}

// ---- a folder without a journal --------------------------------------------------------------

static const dir_entry *find_entry(const dir_entry *entry, int64_t n, const char *name)
{
    for (int64_t i = 0; i < n; i++)
        if (strcmp(entry[i].name, name) == 0)
            return &entry[i];
    return NULL;
}

// NULL, or what of the complete output is not there.
static const char *missing_file(const output_order *with, const manifest_facts *m,
                                const dir_entry *entry, int64_t n)
{
    for (uint64_t i = 0; i < m->n_files; i++) {
        const dir_entry *f = find_entry(entry, n, m->file[i]);
        if (!f || !f->is_file)
            return m->file[i];
    }
    for (uint64_t i = 0; i < with->n_files; i++) {
        const dir_entry *f = find_entry(entry, n, with->file[i].name);
        if (!f || !f->is_file || f->size != with->file[i].bytes)
            return with->file[i].name;
    }
    return find_entry(entry, n, OUTPUT_SUMS) ? NULL : OUTPUT_SUMS;
}

// ERR_ENV for the first file that is neither listed by the manifest (may be NULL) nor a leftover.
static bool only_listed(const output_order *with, const manifest_facts *m, const dir_entry *entry,
                        int64_t n, err *e)
{
    for (int64_t i = 0; i < n; i++) {
        long pid;
        bool known = output_is_temporary(entry[i].name, &pid) ||
                     output_is_nameless(entry[i].name) || file_note_is_name(entry[i].name);
        for (uint64_t k = 0; !known && m && entry[i].is_file && k < m->n_files; k++)
            known = strcmp(m->file[k], entry[i].name) == 0;
        if (known)
            continue;
        return err_set(e, ERR_ENV, "'%s' is not empty: it holds '%s', which no run of ours made; "
                       "name another folder%s", with->dir, entry[i].name,
                       with->force ? " (--force replaces only files that scruple.json lists)" : "");
    }
    return true;
}

static bool judge_manifest(const output_order *with, const manifest_facts *m,
                           const dir_entry *entry, int64_t n, folder_state *state, journal *j,
                           err *e)
{
    char hex[65];
    hex_of(with->plan->b, sizeof with->plan->b, hex);
    bool same = strcmp(m->plan, hex) == 0;
    const char *missing = same ? missing_file(with, m, entry, n) : NULL;
    if (same && !missing && (!with->force || with->mode != OUTPUT_WHOLE)) {
        *state = FOLDER_COMPLETE;
        return true;
    }
    if (!with->force && missing)
        return err_set(e, ERR_ENV, "'%s' holds the output of this plan, but '%s' is missing or not "
                       "of its size; --force makes it again", with->dir, missing);
    if (!with->force)
        return err_set(e, ERR_ENV, "'%s' holds the output of another plan (%.16s..., this one is "
                       "%.16s...); --force replaces it", with->dir, m->plan, hex);
    if (!only_listed(with, m, entry, n, e))
        return false;
    for (uint64_t i = 0; i < m->n_files; i++)
        if (!journal_list_add(&j->replaces, &j->n_replaces, &j->replaces_cap, m->file[i], e))
            return false;
    return true;
}

static bool judge_finished(const output_order *with, const dir_entry *entry, int64_t n,
                           folder_state *state, journal *j, err *e)
{
    manifest_facts m;
    bool ours = false;
    if (find_entry(entry, n, MANIFEST_NAME) && !manifest_read(&m, with->dir, &ours, e))
        return false;
    if (!ours)
        return only_listed(with, NULL, entry, n, e);
    bool ok = judge_manifest(with, &m, entry, n, state, j, e);
    manifest_facts_free(&m);
    return ok;
}

// ---- a folder with a journal -----------------------------------------------------------------

// The sentence's end: which input is not as it was; empty where all are.
static void describe_change(const output_order *with, const journal *j, strbuf *out)
{
    for (uint64_t i = 0; i < with->n_inputs || i < j->n_inputs; i++) {
        const char *is = i < with->n_inputs ? with->inputs[i] : "not there";
        const char *was = i < j->n_inputs ? j->input[i] : "not there";
        if (strcmp(is, was) == 0)
            continue;
        strbuf_printf(out, "it was '%s', it is '%s'", was, is);
        return;
    }
}

static bool same_run(const output_order *with, const journal *j, err *e)
{
    char hex[65];
    strbuf change = {0};
    hex_of(with->plan->b, sizeof with->plan->b, hex);
    describe_change(with, j, &change);
    bool same = strcmp(j->plan, hex) == 0, ok = strbuf_ok(&change, e);
    const char *what = change.text ? change.text : "";
    if (ok && !same)
        ok = err_set(e, ERR_ENV, "'%s' holds an unfinished run of another plan (%.16s..., this one "
                     "is %.16s...)%s%s; remove the folder or name another one", with->dir, j->plan,
                     hex, *what ? ", and an input differs: " : "", what);
    else if (ok && *what)
        ok = err_set(e, ERR_ENV, "'%s' holds an unfinished run of this plan, but an input has "
                     "changed since: %s; remove the folder or name another one", with->dir, what);
    strbuf_free(&change);
    return ok;
}

static bool has_digest(const char *path, const sha256_digest *sha)
{
    err ignored = ERR_INIT;
    sha256_digest found;
    return sha256_of_file(path, &found, &ignored) && memcmp(found.b, sha->b, sizeof found.b) == 0;
}

bool output_folder_holds(const char *dir, const file_note *n, bool hash)
{
    err ignored = ERR_INIT;
    char *staged = path_join(dir, n->staged, &ignored);
    char *final = path_join(dir, n->name, &ignored);
    in_file in = IN_FILE_CLOSED;
    bool there = false;
    if (staged && in_open(&in, staged, &ignored))
        there = in.size == n->bytes &&
                (!hash || n->bytes > SMALL_FILE || has_digest(staged, &n->sha));
    else if (final && in_open(&in, final, &ignored))
        there = in.size == n->bytes && (!hash || has_digest(final, &n->sha));
    in_close(&in);
    free(staged);
    free(final);
    return there;
}

static bool in_replaces(const journal *j, const char *name)
{
    for (uint64_t i = 0; i < j->n_replaces; i++)
        if (strcmp(j->replaces[i], name) == 0)
            return true;
    return false;
}

// A part relies only on its own files.
static bool is_relied_on(const output_order *with, const char *name)
{
    if (with->mode != OUTPUT_PART)
        return with->mode != OUTPUT_LOOK;
    for (uint64_t i = with->own_first; i < with->own_first + with->n_own; i++)
        if (strcmp(with->file[i].name, name) == 0)
            return true;
    return false;
}

static bool take_note(const output_order *with, const char *file, journal *j, err *e)
{
    file_note n;
    bool counts;
    if (!file_note_read(&n, with->dir, file, j->plan, &counts, e))
        return false;
    if (counts && output_folder_holds(with->dir, &n, is_relied_on(with, n.name)))
        return journal_put(j, &n, e);
    if (counts)
        file_note_free(&n);
    return true;
}

// Anything that is not the run's, or that must not be.
static bool refuse_entry(const output_order *with, const char *name, const journal *j, err *e)
{
    long pid;
    if (is_differing(name))
        return err_set(e, ERR_INTERNAL, "'%s' holds '%s': two runs of this plan made one file with "
                       "different bytes; either an input is not the same everywhere, or a promise "
                       "of scruple is broken; keep the folder for a report, or remove it to begin "
                       "anew", with->dir, name);
    return strcmp(name, JOURNAL_NAME) == 0 || output_is_staged(name) || file_note_is_name(name) ||
           output_is_temporary(name, &pid) || output_is_nameless(name) ||
           journal_find(j, name) || in_replaces(j, name) ||
           err_set(e, ERR_ENV, "'%s' holds an unfinished run of this plan and also '%s', which "
                   "that run did not make; remove it", with->dir, name);
}

// Everything is there under its final name, and nothing waits: a run that found the folder empty
// made its journal after another one had come, finished and gone, and has not seen that yet, or
// never did; or a run was killed just before it would have removed its journal.
static bool is_over(const output_order *with, const dir_entry *entry, int64_t n, const journal *j)
{
    folder_state state = FOLDER_FRESH;
    err ignored = ERR_INIT;
    journal none = JOURNAL_CLOSED;
    for (int64_t i = 0; i < n; i++)
        if (output_is_staged(entry[i].name))
            return false;
    bool over = !j->n_replaces && find_entry(entry, n, MANIFEST_NAME) &&
                judge_finished(with, entry, n, &state, &none, &ignored);
    over = over && state == FOLDER_COMPLETE;
    journal_close(&none);
    return over;
}

static bool judge_unfinished(const output_order *with, folder_state *state, journal *j, err *e)
{
    dir_entry *entry = NULL;
    int64_t n = 0;
    *state = FOLDER_RESUMED;
    if (!journal_read(j, with->dir, e) || !same_run(with, j, e) ||
        !dir_list(with->dir, &entry, &n, e))
        return false;
    bool ok = true, over = is_over(with, entry, n, j);
    for (int64_t i = 0; ok && !over && i < n; i++)
        ok = !file_note_is_name(entry[i].name) || take_note(with, entry[i].name, j, e);
    for (int64_t i = 0; ok && !over && i < n; i++)
        ok = refuse_entry(with, entry[i].name, j, e);
    if (over)
        *state = FOLDER_COMPLETE;
    dir_list_free(entry, n);
    return ok;
}

// ---- the verdict -----------------------------------------------------------------------------

static bool judge_place(const output_order *with, bool *there, err *e)
{
    bool within;
    path_kind kind;
    *there = false;
    if (!path_is_within(with->dir, with->input, &within, e) || !path_find(with->dir, &kind, e))
        return false;
    if (within)
        return err_set(e, ERR_USAGE, "the output '%s' is the input '%s' or lies inside it",
                       with->dir, with->input);
    if (kind == PATH_NOTHING)
        return true;
    *there = true;
    return kind == PATH_FOLDER ||
           err_set(e, ERR_ENV, "'%s' exists and is not a folder", with->dir);
}

static bool is_gone(const char *dir)
{
    err ignored = ERR_INIT;
    path_kind kind;
    return path_find(dir, &kind, &ignored) && kind == PATH_NOTHING;
}

// A listing is no moment: a name that another process gives meanwhile may be in it twice or not at
// all, and files that it tells of may be gone.
static bool has_moved(const char *dir, const dir_entry *entry, int64_t n)
{
    dir_entry *now = NULL;
    int64_t n_now = 0;
    err ignored = ERR_INIT;
    if (!dir_list(dir, &now, &n_now, &ignored))
        return is_gone(dir);
    bool same = n == n_now;
    for (int64_t i = 0; same && i < n; i++)
        same = strcmp(entry[i].name, now[i].name) == 0 && entry[i].size == now[i].size;
    dir_list_free(now, n_now);
    return !same;
}

// One look at the folder. *again: it changed meanwhile.
static bool judge_once(const output_order *with, folder_state *state, journal *j, bool *again,
                       err *e)
{
    dir_entry *entry = NULL;
    int64_t n = 0;
    bool locks = !with->dry_run && with->mode != OUTPUT_LOOK, held = false;
    bool listed = dir_list(with->dir, &entry, &n, e), ok = listed;
    if (ok && !find_entry(entry, n, JOURNAL_NAME)) {
        ok = judge_finished(with, entry, n, state, j, e);
    } else if (ok) {
        held = locks;
        ok = (!locks || journal_lock(j, with->dir, with->mode == OUTPUT_PART, again, e)) &&
             (*again || judge_unfinished(with, state, j, e));
    }
    if (!ok && !held && (listed ? has_moved(with->dir, entry, n) : is_gone(with->dir))) {
        *e = (err)ERR_INIT;
        ok = *again = true;
    }
    dir_list_free(entry, n);
    return ok;
}

bool output_folder_judge(const output_order *with, folder_state *state, journal *j, err *e)
{
    enum { MOST_LOOKS = 100 }; // others come and go
    bool again = true;
    *j = (journal)JOURNAL_CLOSED;
    for (int looks = 0; again && looks < MOST_LOOKS; looks++) {
        bool there;
        again = false;
        *state = FOLDER_FRESH;
        journal_close(j);
        if (!judge_place(with, &there, e))
            return false;
        if (there && !judge_once(with, state, j, &again, e)) {
            journal_close(j);
            return false;
        }
    }
    return !again || err_set(e, ERR_ENV, "runs come and go in '%s'; start again", with->dir);
}
