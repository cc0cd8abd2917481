// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "convert/output_inside.h"

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
        path_kind staged, final;
        if (!path_find_in(o->dir, o->journal.file[i].staged, &staged, e) ||
            !path_find_in(o->dir, name, &final, e))
            return false;
        bool ok = true, waits = staged != PATH_NOTHING, stands = final != PATH_NOTHING;
        if (waits && stands && !may_replace(o, name))
            ok = err_set(e, ERR_ENV, "'%s' holds a '%s' that appeared while the run was at "
                         "work; remove it and run the same command again", o->dir, name);
        if (!waits && !stands)
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
    path_kind kind;
    bool ok = staged && path_find(staged, &kind, e);
    if (ok && kind != PATH_NOTHING) {
        ok = out_publish_temp(staged, o->dir, f->name, may_replace(o, f->name), e);
        o->publishing |= ok;
    }
    free(staged);
    return ok;
}

// Files of the replaced run that this one does not have.
static bool remove_replaced(const output *o, err *e)
{
    bool ok = true, any = false;
    for (uint64_t i = 0; ok && i < o->journal.n_replaces; i++)
        if (!journal_find(&o->journal, o->journal.replaces[i])) {
            ok = output_gone(o->dir, o->journal.replaces[i], e);
            any = true;
        }
    return ok && (!any || out_sync_dir(o->dir, e));
}

static bool remove_notes(const output *o, err *e)
{
    bool ok = true;
    for (uint64_t i = 0; ok && i < o->journal.n_files; i++) {
        char *note = file_note_name(o->journal.file[i].name, e);
        ok = note && output_gone(o->dir, note, e);
        free(note);
    }
    return ok;
}

// Each step is durable before the next: a crash may keep later removals and lose earlier ones.
bool output_publish(output *o, err *e)
{
    if (!stage_sums(o, e) || !way_is_free(o, e))
        return false;
    // The old run's mark of completeness goes first, so that no reader sees a mixture as whole.
    if (may_replace(o, OUTPUT_SUMS) && !o->publishing &&
        (!output_gone(o->dir, OUTPUT_SUMS, e) || !out_sync_dir(o->dir, e)))
        return false;
    sort_files(o, by_rank);
    for (uint64_t i = 0; i < o->journal.n_files; i++)
        if (!rename_one(o, &o->journal.file[i], e))
            return false;
    // Without the journal the folder is complete; what a kill leaves of the notes is swept later.
    bool ok = remove_replaced(o, e) && journal_remove(&o->journal, e) &&
              out_sync_dir(o->dir, e) && remove_notes(o, e);
    if (ok)
        journal_close(&o->journal);
    return ok;
}
