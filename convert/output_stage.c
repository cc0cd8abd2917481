// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "convert/output_inside.h"

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
        output_remove(o->dir, mine->staged);
        file_note_free(mine);
        *mine = first;
        return true;
    }
    if (counts) {
        output_remove(o->dir, first.staged);
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
        output_remove(o->dir, old->staged);
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
    path_kind kind = PATH_NOTHING;
    if (f && !path_find_in(o->dir, f->staged, &kind, e))
        return NULL;
    return path_join(o->dir, kind != PATH_NOTHING ? f->staged : name, e);
}

void output_reject(output *o, const char *name)
{
    file_note *f = journal_find(&o->journal, name);
    if (!f)
        return;
    output_remove_note(o, name);
    output_remove(o->dir, f->staged);
    journal_drop(&o->journal, f);
}
