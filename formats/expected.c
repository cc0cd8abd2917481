// SPDX-License-Identifier: Apache-2.0
#include "formats/expected.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LIST = 64 << 20, HEX = 64 };

typedef struct {
    expected *x;
    const checkpoint *c;
    const events *v;
    strmap files;          // base names of the checkpoint's
    strmap others;         // names of x->other
    uint64_t other_cap;
} finding;

// ---- a list, as sha256sum writes it ----------------------------------------------------------

static bool contradicts(const finding *f, const char *name, uint64_t number, err *e)
{
    char buf[STR_SHORT];
    return err_set(e, ERR_INPUT, "%s, line %llu: '%s' was listed before with another SHA-256",
                   f->x->list, (unsigned long long)number, str_short(name, buf));
}

static bool add_other(finding *f, const char *name, const sha256_digest *d, uint64_t number, err *e)
{
    expected *x = f->x;
    bool fresh;
    size_t len = strlen(name);
    if (!strmap_put(&f->others, name, len, (int64_t)x->n_other, &fresh, e))
        return false;
    if (!fresh) {
        int64_t before = strmap_get(&f->others, name, len);
        return memcmp(&x->other[before].digest, d, sizeof *d) == 0 ||
               contradicts(f, name, number, e);
    }
    if (!mem_grow((void **)&x->other, &f->other_cap, x->n_other + 1, sizeof *x->other,
                  "a list of sums", e))
        return false;
    const char *kept = arena_text(&x->names, name, len, e);
    if (kept)
        x->other[x->n_other++] = (expected_line){kept, *d};
    return kept != NULL;
}

static bool add_name(finding *f, const char *name, const sha256_digest *d, uint64_t number, err *e)
{
    int64_t file = strmap_get(&f->files, name, strlen(name));
    if (file < 0)
        return add_other(f, name, d, number, e);
    expected_sum *sum = &f->x->file[file];
    if (sum->by && memcmp(&sum->digest, d, sizeof *d) != 0)
        return contradicts(f, name, number, e);
    *sum = (expected_sum){f->x->list, *d};
    return true;
}

// "<64 hexadecimal digits>  name" or "... *name"; `text` is cut up.
static bool parse_line(finding *f, char *text, uint64_t number, err *e)
{
    char buf[STR_SHORT];
    sha256_digest digest;
    size_t len = strlen(text);
    if (len > 0 && text[len - 1] == '\r')
        text[--len] = 0;
    if (len == 0 || text[0] == '#')
        return true;
    if (len <= HEX + 2 || text[HEX] != ' ' || (text[HEX + 1] != ' ' && text[HEX + 1] != '*'))
        return err_set(e, ERR_INPUT, "%s, line %llu: expected a SHA-256, two spaces and a name",
                       f->x->list, (unsigned long long)number);
    text[HEX] = 0;
    if (!hex_to(text, digest.b, sizeof digest.b))
        return err_set(e, ERR_INPUT, "%s, line %llu: '%s' is no SHA-256", f->x->list,
                       (unsigned long long)number, text);
    const char *name = text + HEX + 2;
    name += str_starts(name, "./") ? 2 : 0;
    if (!*name)
        return err_set(e, ERR_INPUT, "%s, line %llu: './' names no file", f->x->list,
                       (unsigned long long)number);
    if (!strchr(name, '/'))
        return add_name(f, name, &digest, number, e);
    event_warn(f->v, "'%s' of %s lies in another folder and is not compared",
               str_short(name, buf), f->x->list);
    return true;
}

static bool parse_list(finding *f, char *text, size_t len, err *e)
{
    uint64_t number = 0;
    if (memchr(text, 0, len))
        return err_set(e, ERR_INPUT, "%s holds a NUL byte", f->x->list);
    for (char *line = text; *line;) {
        char *end = line + strcspn(line, "\n");
        bool last = !*end;
        *end = 0;
        if (!parse_line(f, line, ++number, e))
            return false;
        line = last ? end : end + 1;
    }
    return true;
}

// The user's list, or the folder's where there is one; *text NULL: neither.
static bool read_list(finding *f, const char *list, char **text, size_t *len, err *e)
{
    f->x->list = list ? arena_text(&f->x->names, list, strlen(list), e) : EXPECTED_SUMS_NAME;
    if (list)
        return f->x->list && file_read_all(list, MAX_LIST, text, len, e);
    const char *dir = checkpoint_dir(f->c);
    path_kind kind;
    if (!path_find_in(dir, EXPECTED_SUMS_NAME, &kind, e))
        return false;
    if (kind != PATH_NOTHING)
        return file_read_beneath(dir, EXPECTED_SUMS_NAME, MAX_LIST, text, len, e);
    f->x->list = NULL;
    return true;
}

static bool from_list(finding *f, const char *list, err *e)
{
    char *text = NULL;
    size_t len = 0;
    bool ok = read_list(f, list, &text, &len, e) && (!text || parse_list(f, text, len, e));
    free(text);
    for (int i = 0; ok && f->x->list && i < checkpoint_n_files(f->c); i++) {
        if (f->x->file[i].by)
            continue;
        if (list)
            ok = err_set(e, ERR_INPUT, "'%s' is not listed in %s",
                         checkpoint_file_name(f->c, i), list);
        else
            event_warn(f->v, "'%s' is not listed in " EXPECTED_SUMS_NAME,
                       checkpoint_file_name(f->c, i));
    }
    return ok;
}

// ---- a Hub cache -----------------------------------------------------------------------------

// Where the file is a link to blobs/<64 digits>, as the cache makes it of a file in LFS, the digits
// are its SHA-256. What the blob may be a link to in turn has other names.
static void from_link(expected_sum *sum, const char *path)
{
    char target[4096];
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n <= 0 || (size_t)n >= sizeof target - 1)
        return;
    target[n] = 0;
    const char *blob = path_base(target);
    if (strlen(blob) != HEX || blob == target)
        return;
    target[blob - target - 1] = 0;
    if (strcmp(path_base(target), "blobs") == 0 && hex_to(blob, sum->digest.b, sizeof sum->digest))
        sum->by = "the name of its blob";
}

// ---- both ------------------------------------------------------------------------------------

bool expected_find(expected *x, const checkpoint *c, const char *list, const events *v, err *e)
{
    finding f = {.x = x, .c = c, .v = v};
    int n = checkpoint_n_files(c);
    *x = (expected){0};
    x->file = mem_new((uint64_t)n, sizeof *x->file, "expected sums", e);
    bool ok = x->file != NULL;
    for (int i = 0; ok && i < n; i++) {
        const char *name = checkpoint_file_name(c, i);
        ok = strmap_put(&f.files, name, strlen(name), i, NULL, e);
    }
    ok = ok && from_list(&f, list, e);
    for (int i = 0; ok && i < n; i++) {
        if (!x->file[i].by)
            from_link(&x->file[i], checkpoint_file(c, i)->name);
        x->n_known += x->file[i].by != NULL;
    }
    strmap_free(&f.files);
    strmap_free(&f.others);
    if (!ok)
        expected_free(x);
    return ok;
}

void expected_free(expected *x)
{
    free(x->file);
    free(x->other);
    arena_free(&x->names);
    *x = (expected){0};
}

bool expected_same(const expected *x, int file, const sha256_digest *found)
{
    const expected_sum *sum = x->file ? &x->file[file] : NULL;
    return !sum || !sum->by || memcmp(&sum->digest, found, sizeof *found) == 0;
}

bool expected_holds(const expected *x, const checkpoint *c, int file, const sha256_digest *found,
                    err *e)
{
    char said[2 * sizeof found->b + 1], is[sizeof said];
    if (expected_same(x, file, found))
        return true;
    const expected_sum *sum = &x->file[file];
    return err_set(e, ERR_INPUT, "'%s' is not what it should be: its SHA-256 is %s, %s says %s",
                   checkpoint_file_name(c, file), hex_of(found->b, sizeof found->b, is), sum->by,
                   hex_of(sum->digest.b, sizeof sum->digest.b, said));
}
