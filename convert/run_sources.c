// SPDX-License-Identifier: Apache-2.0
// The source's files as wholes: SHA-256 on the way where a run happens to read them from front to
// end, by a second read where somebody expects one and it did not.
#include <stdlib.h>

#include "convert/run_parts.h"
#include "formats/expected.h"

// ---- on the way ------------------------------------------------------------------------------

enum { PIECE = 64 << 10 };

// Reads the file's bytes up to `end`: what the reading of tensors leaves out.
static bool catch_up(file_sum *s, uint64_t end, err *e)
{
    unsigned char *piece = mem_new(PIECE, 1, "a header", e);
    bool ok = piece != NULL;
    while (ok && s->at < end) {
        uint64_t n = end - s->at < PIECE ? end - s->at : PIECE;
        ok = in_read(s->file, s->at, piece, n, e);
        if (ok)
            sha256_add(s->sha, piece, n);
        s->at += n;
    }
    free(piece);
    return ok;
}

static bool begin_file(file_sum *s, const checkpoint *c, int file, err *e)
{
    uint64_t start = checkpoint_data_start(c, file);
    s->file = checkpoint_file(c, file);
    s->most_padding = checkpoint_gguf(c) ? checkpoint_gguf(c)->alignment : 0;
    s->sha = sha256_new(e);
    // A GGUF without tensors may end in front of its data.
    return s->sha && catch_up(s, start < s->file->size ? start : s->file->size, e);
}

// True where `offset` is the next byte, or padding lies between and was read, too.
static bool reaches(file_sum *s, uint64_t offset)
{
    err e = ERR_INIT;
    return offset == s->at ||
           (offset > s->at && offset - s->at < s->most_padding && catch_up(s, offset, &e));
}

bool sums_open(file_sum **out, const checkpoint *c, const expected *x, err *e)
{
    *out = NULL;
    if (!x || x->n_known == 0)
        return true;
    *out = mem_new((uint64_t)checkpoint_n_files(c), sizeof **out, "digests", e);
    if (!*out)
        return false;
    for (int f = 0; f < checkpoint_n_files(c); f++)
        if (x->file[f].by && !begin_file(&(*out)[f], c, f, e)) {
            sums_close(*out, c);
            *out = NULL;
            return false;
        }
    return true;
}

void sums_bytes(file_sum *sums, int file, uint64_t offset, const void *bytes, uint64_t n)
{
    file_sum *s = sums ? &sums[file] : NULL;
    if (!s || !s->sha)
        return;
    if (reaches(s, offset)) {
        sha256_add(s->sha, bytes, n);
        s->at += n;
    } else {
        sha256_free(s->sha);
        s->sha = NULL;
    }
}

void sums_end(file_sum *sums, const checkpoint *c, run_result *r)
{
    for (int f = 0; sums && f < checkpoint_n_files(c); f++) {
        if (!sums[f].sha || !reaches(&sums[f], sums[f].file->size))
            continue;
        sha256_end(sums[f].sha, &r->file[f]);
        sums[f].sha = NULL;
        r->whole[f] = true;
    }
}

void sums_close(file_sum *sums, const checkpoint *c)
{
    for (int f = 0; sums && f < checkpoint_n_files(c); f++)
        sha256_free(sums[f].sha);
    free(sums);
}

// ---- afterwards ------------------------------------------------------------------------------

typedef struct {
    const checkpoint *source;
    const expected *x;
    const bool *whole;
    int file;
} unread;

static bool is_unread(const unread *u, int f) { return u->x->file[f].by && !u->whole[f]; }

static bool next_unread(void *ctx, stream_range *out, bool *end, err *e)
{
    unread *u = ctx;
    (void)e;
    while (u->file < checkpoint_n_files(u->source) && !is_unread(u, u->file))
        u->file++;
    *end = u->file == checkpoint_n_files(u->source);
    if (*end)
        return true;
    const in_file *in = checkpoint_file(u->source, u->file++);
    *out = (stream_range){in, 0, in->size};
    return true;
}

static bool sum_next(stream *in, uint64_t n, const events *v, sha256_digest *to, err *e)
{
    sha256 *sha = sha256_new(e);
    if (!sha)
        return false;
    for (uint64_t left = n; left > 0;) {
        const void *bytes;
        uint64_t some;
        if (!event_go_on(v, e) || !stream_take(in, left, &bytes, &some, e)) {
            sha256_free(sha);
            return false;
        }
        sha256_add(sha, bytes, some);
        left -= some;
        event_progress(v, "bytes", n - left, n);
    }
    sha256_end(sha, to);
    return true;
}

static bool read_unread(const plan *p, const run_options *o, run_result *r, const expected *x,
                        err *e)
{
    unread u = {p->source, x, r->whole, 0};
    run_sizes sizes;
    uint64_t needed;
    stream *in = NULL;
    if (!run_sizes_of(p, pool_threads(o->pool), o->memory, true, &sizes, &needed, e))
        return false;
    bool *wanted = mem_new((uint64_t)checkpoint_n_files(p->source), sizeof *wanted, "digests", e);
    if (!wanted)
        return false;
    for (int f = 0; f < checkpoint_n_files(p->source); f++)
        wanted[f] = is_unread(&u, f);
    const stream_options reading = {.memory = sizes.stream};
    bool ok = stream_open(&in, next_unread, &u, &reading, e);
    for (int f = 0; ok && f < checkpoint_n_files(p->source); f++)
        ok = !wanted[f] ||
             sum_next(in, checkpoint_file(p->source, f)->size, o->events, &r->file[f], e);
    stream_close(in);
    for (int f = 0; ok && f < checkpoint_n_files(p->source); f++)
        r->whole[f] |= wanted[f];
    free(wanted);
    return ok && checkpoint_unchanged(p->source, e);
}

bool run_expected(const plan *p, const run_options *o, const expected *x, run_result *r,
                  source_id *to, err *e)
{
    if (x->n_known == 0)
        return true;
    if (!read_unread(p, o, r, x, e))
        return false;
    for (int f = 0; f < checkpoint_n_files(p->source); f++) {
        if (!x->file[f].by)
            continue;
        if (!expected_holds(x, p->source, f, &r->file[f], e))
            return false;
        to[f].checked = true;
        to[f].sha256 = r->file[f];
    }
    return true;
}
