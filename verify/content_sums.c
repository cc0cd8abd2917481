// SPDX-License-Identifier: Apache-2.0
// Files against a list of their SHA-256, as `sha256sum -c` does it.
#include <stdlib.h>
#include <string.h>

#include "verify/content_list.h"

typedef struct {
    const in_file *file;
    bool given;
} whole_file;

static bool one_range(void *ctx, stream_range *out, bool *end, err *e)
{
    whole_file *w = ctx;
    (void)e;
    *end = w->given;
    *out = (stream_range){w->file, 0, w->file->size};
    w->given = true;
    return true;
}

static bool hash_file(const in_file *f, const content_options *o, sha256_digest *out, err *e)
{
    whole_file w = {.file = f};
    stream *s = NULL;
    sha256 *sha = sha256_new(e);
    const void *bytes;
    uint64_t n = 1;
    const stream_options ahead = {.memory = content_ahead(o)};
    bool ok = sha && stream_open(&s, one_range, &w, &ahead, e);
    while (ok && n > 0) {
        ok = event_go_on(o->events, e) && stream_take(s, UINT64_MAX, &bytes, &n, e);
        if (ok)
            sha256_add(sha, bytes, (size_t)n);
    }
    stream_close(s);
    if (!ok) {
        sha256_free(sha);
        return false;
    }
    sha256_end(sha, out);
    return in_unchanged(f, e);
}

static bool compare_other(const checkpoint *c, const content_options *o, const expected *x,
                          const expected_line *line, content_findings *f, err *e)
{
    in_file file = IN_FILE_CLOSED;
    sha256_digest found;
    path_kind kind;
    if (!path_find_in(checkpoint_dir(c), line->name, &kind, e))
        return false;
    if (kind == PATH_NOTHING)
        return content_add(f, line->name, e, "is listed in %s and missing", x->list);
    bool ok = in_open_beneath(&file, checkpoint_dir(c), line->name, e) &&
              hash_file(&file, o, &found, e);
    in_close(&file);
    if (ok && memcmp(&found, &line->digest, sizeof found) != 0)
        ok = content_add(f, line->name, e, "its SHA-256 differs from the one in %s", x->list);
    return ok;
}

bool content_compare_sums(const checkpoint *c, const content_options *o, const expected *x,
                          const sha256_digest *found, content_findings *f, int64_t *n, err *e)
{
    *n = x->n_known;
    for (int i = 0; i < checkpoint_n_files(c); i++) {
        const char *by = x->file[i].by;
        bool listed = x->list && by == x->list;
        if (!expected_same(x, i, &found[i]) &&
            !content_add(f, checkpoint_file_name(c, i), e, "its SHA-256 differs from %s%s",
                         listed ? "the one in " : "", by))
            return false;
    }
    if (!checkpoint_is_folder(c))
        return true;
    for (uint64_t i = 0; i < x->n_other; i++)
        if (!compare_other(c, o, x, &x->other[i], f, e))
            return false;
    *n += (int64_t)x->n_other;
    return true;
}
