// SPDX-License-Identifier: Apache-2.0
// content_sums: files against SHA256SUMS, as `sha256sum -c` does it.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "verify/content_list.h"

#define SUMS_NAME "SHA256SUMS"

enum { MAX_LIST = 64 << 20, BLOCK = 1 << 20, HEX = 64 };

typedef enum { SUM_SAME, SUM_DIFFERS, SUM_MISSING } sum_verdict;

typedef struct {
    char *name; // in the list's text
    sha256_digest digest;
    sum_verdict verdict;
} sum_line;

typedef struct {
    const checkpoint *c;
    const events *v;
    char *text;
    sum_line *line;
    uint64_t n, cap;
    _Atomic uint64_t done; // bytes
    uint64_t total;
} sums;

// "<64 hexadecimal digits>  name" or "... *name", as sha256sum writes it; `text` is cut up.
static bool parse_line(sums *s, char *text, uint64_t number, err *e)
{
    char *name = text + HEX + 2;
    sum_line line = {0};
    if (strlen(text) <= HEX + 2 || text[HEX] != ' ' ||
        (text[HEX + 1] != ' ' && text[HEX + 1] != '*'))
        return err_set(e, ERR_INPUT, SUMS_NAME ", line %llu: expected a SHA-256, two spaces and a "
                       "name", (unsigned long long)number);
    text[HEX] = 0;
    if (!hex_to(text, line.digest.b, sizeof line.digest.b))
        return err_set(e, ERR_INPUT, SUMS_NAME ", line %llu: '%s' is no SHA-256",
                       (unsigned long long)number, text);
    line.name = str_starts(name, "./") ? name + 2 : name;
    if (strchr(line.name, '/')) {
        event_warn(s->v, "'%s' of " SUMS_NAME " lies in another folder and is not compared",
                   line.name);
        return true;
    }
    if (!mem_grow((void **)&s->line, &s->cap, s->n + 1, sizeof *s->line, "a list of sums", e))
        return false;
    s->line[s->n++] = line;
    return true;
}

static bool parse_list(sums *s, size_t len, err *e)
{
    uint64_t number = 0;
    if (memchr(s->text, 0, len))
        return err_set(e, ERR_INPUT, SUMS_NAME " holds a NUL byte");
    for (char *line = s->text; *line;) {
        char *end = line + strcspn(line, "\n");
        bool last = !*end;
        *end = 0;
        if (!parse_line(s, line, ++number, e))
            return false;
        line = last ? end : end + 1;
    }
    return true;
}

static sum_line *line_of(const sums *s, const char *name)
{
    for (uint64_t i = 0; i < s->n; i++)
        if (strcmp(s->line[i].name, name) == 0)
            return &s->line[i];
    return NULL;
}

// Warns of files that the list leaves out; where the checkpoint is one file, only that one stays.
static void meet_files(sums *s)
{
    for (int i = 0; i < checkpoint_n_files(s->c); i++)
        if (!line_of(s, checkpoint_file_name(s->c, i)))
            event_warn(s->v, "'%s' is not listed in " SUMS_NAME, checkpoint_file_name(s->c, i));
    if (checkpoint_is_folder(s->c))
        return;
    const sum_line *mine = line_of(s, checkpoint_file_name(s->c, 0));
    if (mine)
        s->line[0] = *mine;
    s->n = mine ? 1 : 0;
}

static bool hash_file(sums *s, const in_file *f, void *block, sha256_digest *out, err *e)
{
    sha256 *sha = sha256_new(e);
    if (!sha)
        return false;
    for (uint64_t at = 0; at < f->size;) {
        uint64_t n = f->size - at < BLOCK ? f->size - at : BLOCK;
        if (!event_go_on(s->v, e) || !in_read(f, at, block, n, e)) {
            sha256_free(sha);
            return false;
        }
        sha256_add(sha, block, (size_t)n);
        at += n;
        event_progress(s->v, "bytes", atomic_fetch_add(&s->done, n) + n, s->total);
    }
    sha256_end(sha, out);
    return in_unchanged(f, e);
}

static bool compare_line(sums *s, sum_line *line, void *block, err *e)
{
    in_file f = IN_FILE_CLOSED;
    sha256_digest found;
    path_kind kind;
    if (!path_find_in(checkpoint_dir(s->c), line->name, &kind, e))
        return false;
    if (kind == PATH_NOTHING) {
        line->verdict = SUM_MISSING;
        return true;
    }
    if (!in_open_beneath(&f, checkpoint_dir(s->c), line->name, e))
        return false;
    bool ok = hash_file(s, &f, block, &found, e);
    in_close(&f);
    if (ok && memcmp(&found, &line->digest, sizeof found) != 0)
        line->verdict = SUM_DIFFERS;
    return ok;
}

static bool compare_some(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    sums *s = ctx;
    (void)worker;
    void *block = mem_new_aligned(BLOCK, 1, "a block", e);
    bool ok = block != NULL;
    for (int64_t i = begin; ok && i < end; i++)
        ok = compare_line(s, &s->line[i], block, e);
    free(block);
    return ok;
}

// For the progress only.
static uint64_t bytes_of(const sums *s, const char *name)
{
    in_file f = IN_FILE_CLOSED;
    err ignored = ERR_INIT;
    if (!in_open_beneath(&f, checkpoint_dir(s->c), name, &ignored))
        return 0;
    uint64_t n = f.size;
    in_close(&f);
    return n;
}

static bool compare(sums *s, pool *p, content_findings *f, int64_t *n_compared, err *e)
{
    meet_files(s);
    for (uint64_t i = 0; i < s->n; i++)
        s->total += bytes_of(s, s->line[i].name);
    if (!pool_for(p, (int64_t)s->n, 1, compare_some, s, e))
        return false;
    for (uint64_t i = 0; i < s->n; i++) {
        const sum_line *line = &s->line[i];
        bool ok = true;
        if (line->verdict == SUM_DIFFERS)
            ok = content_add(f, line->name, e, "its SHA-256 differs from the one in " SUMS_NAME);
        else if (line->verdict == SUM_MISSING)
            ok = content_add(f, line->name, e, "is listed in " SUMS_NAME " and missing");
        if (!ok)
            return false;
    }
    *n_compared = (int64_t)s->n;
    return true;
}

bool content_sums(const checkpoint *c, pool *p, const events *v, content_findings *f,
                  int64_t *n_compared, err *e)
{
    sums s = {.c = c, .v = v};
    size_t len;
    *n_compared = 0;
    path_kind kind;
    if (!path_find_in(checkpoint_dir(c), SUMS_NAME, &kind, e))
        return false;
    if (kind == PATH_NOTHING)
        return true;
    bool ok = file_read_beneath(checkpoint_dir(c), SUMS_NAME, MAX_LIST, &s.text, &len, e) &&
              parse_list(&s, len, e) && compare(&s, p, f, n_compared, e);
    free(s.line);
    free(s.text);
    return ok;
}
