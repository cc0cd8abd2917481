// SPDX-License-Identifier: Apache-2.0
#include "convert/output_folder.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "convert/manifest.h"

#define STAGED_END ".staged"
#define TEMPORARY_END ".part"

// Files up to this size are hashed again before a run that resumes relies on them; larger ones are
// when their proof reads them.
enum { SMALL_FILE = 64 << 20 };

// ---- hidden names ----------------------------------------------------------------------------

char *output_staged_name(const char *name, err *e)
{
    strbuf s = {0};
    strbuf_printf(&s, ".%s" STAGED_END, name);
    if (strbuf_ok(&s, e))
        return s.text;
    strbuf_free(&s);
    return NULL;
}

char *output_staged_path(const char *dir, const char *name, err *e)
{
    char *staged = output_staged_name(name, e);
    char *path = staged ? path_join(dir, staged, e) : NULL;
    free(staged);
    return path;
}

bool output_is_staged(const char *name) { return name[0] == '.' && str_ends(name, STAGED_END); }

// ".<name>.<pid>.<16 hex digits>.part", the name being a staged one's or the journal's.
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
        is = output_is_staged(head) || strcmp(head, JOURNAL_NAME) == 0;
        *pid = (long)number;
    }
    free(head);
    return is;
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
        bool known = output_is_temporary(entry[i].name, &pid);
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
    if (same && !missing && !with->force) {
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

// A noted file counts while its staged file is there in full length, or, after a crash in the midst
// of publishing, a file with its digest under the final name.
static bool still_there(const char *dir, const journal_file *f)
{
    err ignored = ERR_INIT;
    char *staged = output_staged_path(dir, f->name, &ignored);
    char *final = path_join(dir, f->name, &ignored);
    in_file in = IN_FILE_CLOSED;
    bool there = false;
    if (staged && in_open(&in, staged, &ignored))
        there = in.size == f->bytes && (f->bytes > SMALL_FILE || has_digest(staged, &f->sha));
    else if (final && in_open(&in, final, &ignored))
        there = in.size == f->bytes && has_digest(final, &f->sha);
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

static bool judge_unfinished(const output_order *with, const dir_entry *entry, int64_t n,
                             journal *j, err *e)
{
    if (!journal_read(j, with->dir, with->dry_run, e) || !same_run(with, j, e))
        return false;
    for (uint64_t i = j->n_files; i-- > 0;)
        if (!still_there(with->dir, &j->file[i]))
            journal_drop(j, &j->file[i]);
    for (int64_t i = 0; i < n; i++) {
        long pid;
        const char *name = entry[i].name;
        if (strcmp(name, JOURNAL_NAME) == 0 || output_is_staged(name) || journal_find(j, name) ||
            in_replaces(j, name) || output_is_temporary(name, &pid))
            continue;
        return err_set(e, ERR_ENV, "'%s' holds an unfinished run of this plan and also '%s', which "
                       "that run did not make; remove it", with->dir, name);
    }
    return true;
}

// ---- the verdict -----------------------------------------------------------------------------

bool output_folder_judge(const output_order *with, folder_state *state, journal *j, err *e)
{
    dir_entry *entry = NULL;
    int64_t n = 0;
    *state = FOLDER_FRESH;
    *j = (journal)JOURNAL_CLOSED;
    bool within;
    path_kind kind;
    if (!path_is_within(with->dir, with->input, &within, e) || !path_find(with->dir, &kind, e))
        return false;
    if (within)
        return err_set(e, ERR_USAGE, "the output '%s' is the input '%s' or lies inside it",
                       with->dir, with->input);
    if (kind == PATH_NOTHING)
        return true;
    if (kind != PATH_FOLDER)
        return err_set(e, ERR_ENV, "'%s' exists and is not a folder", with->dir);
    if (!dir_list(with->dir, &entry, &n, e))
        return false;
    bool ok;
    if (find_entry(entry, n, JOURNAL_NAME)) {
        *state = FOLDER_RESUMED;
        ok = judge_unfinished(with, entry, n, j, e);
    } else {
        ok = judge_finished(with, entry, n, state, j, e);
    }
    dir_list_free(entry, n);
    return ok;
}
