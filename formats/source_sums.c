// SPDX-License-Identifier: Apache-2.0
#include "formats/source_sums.h"

#include <stdlib.h>

enum { BLOCK = 1 << 20 };

typedef struct {
    const checkpoint *source;
    const events *events;
    sha256_digest *to;
} summing;

// SHA-256 of n bytes from `offset`.
static bool sum_range(const in_file *in, uint64_t offset, uint64_t n, const events *v,
                      uint8_t *block, sha256_digest *to, err *e)
{
    sha256 *sha = sha256_new(e);
    if (!sha)
        return false;
    for (uint64_t done = 0; done < n;) {
        uint64_t piece = n - done < BLOCK ? n - done : BLOCK;
        if (!event_go_on(v, e) || !in_read(in, offset + done, block, piece, e)) {
            sha256_free(sha);
            return false;
        }
        sha256_add(sha, block, piece);
        done += piece;
    }
    sha256_end(sha, to);
    return in_unchanged(in, e);
}

static bool sum_files(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const summing *s = ctx;
    (void)worker;
    uint8_t *block = mem_new(BLOCK, 1, "a block", e);
    bool ok = block != NULL;
    for (int64_t f = begin; ok && f < end; f++) {
        const in_file *in = checkpoint_file(s->source, (int)f);
        ok = sum_range(in, 0, in->size, s->events, block, &s->to[f], e);
    }
    free(block);
    return ok;
}

bool source_sums(const checkpoint *c, pool *p, const events *v, sha256_digest *to, err *e)
{
    summing s = {c, v, to};
    return pool_for(p, checkpoint_n_files(c), 1, sum_files, &s, e);
}

void source_sums_write(json_writer *w, const checkpoint *c, const sha256_digest *sums)
{
    char hex[65];
    jw_array(w, "files");
    for (int f = 0; f < checkpoint_n_files(c); f++) {
        jw_object(w, NULL);
        jw_text(w, "name", checkpoint_file_name(c, f));
        jw_int(w, "bytes", (int64_t)checkpoint_file(c, f)->size);
        jw_text(w, "sha256", hex_of(sums[f].b, sizeof sums[f].b, hex));
        jw_object_end(w);
    }
    jw_array_end(w);
}

// ---- identities that do not depend on the order of reading ------------------------------------

bool source_id_of(const checkpoint *c, int file, const sha256_digest *each, source_id *to, err *e)
{
    sha256_digest header;
    *to = (source_id){0};
    uint8_t *block = mem_new(BLOCK, 1, "a block", e);
    bool ok = block && sum_range(checkpoint_file(c, file), 0,
                                 checkpoint_header(c, file)->data_start, NULL, block,
                                 &header, e);
    free(block);
    sha256 *sha = ok ? sha256_new(e) : NULL;
    if (!sha)
        return false;
    sha256_add(sha, header.b, sizeof header.b);
    for (int64_t i = 0; i < checkpoint_count(c); i++) // by file, then in the order wanted
        if (checkpoint_at(c, i)->file == file)
            sha256_add(sha, each[i].b, sizeof each[i].b);
    sha256_end(sha, &to->tensors);
    return true;
}

static bool sum_tensors(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const summing *s = ctx;
    (void)worker;
    uint8_t *block = mem_new(BLOCK, 1, "a block", e);
    bool ok = block != NULL;
    for (int64_t i = begin; ok && i < end; i++) {
        const tensor *t = checkpoint_at(s->source, i);
        ok = sum_range(checkpoint_file(s->source, t->file), t->offset, t->bytes, s->events, block,
                       &s->to[i], e);
    }
    free(block);
    return ok;
}

bool source_ids(const checkpoint *c, pool *p, const events *v, source_id *to, err *e)
{
    sha256_digest *each = mem_new((uint64_t)checkpoint_count(c), sizeof *each, "digests", e);
    summing s = {c, v, each};
    bool ok = each && pool_for(p, checkpoint_count(c), 1, sum_tensors, &s, e);
    for (int f = 0; ok && f < checkpoint_n_files(c); f++)
        ok = source_id_of(c, f, each, &to[f], e);
    free(each);
    return ok;
}

void source_ids_write(json_writer *w, const checkpoint *c, const source_id *ids)
{
    char hex[65];
    jw_array(w, "files");
    for (int f = 0; f < checkpoint_n_files(c); f++) {
        jw_object(w, NULL);
        jw_text(w, "name", checkpoint_file_name(c, f));
        jw_int(w, "bytes", (int64_t)checkpoint_file(c, f)->size);
        jw_text(w, "tensors_sha256", hex_of(ids[f].tensors.b, sizeof ids[f].tensors.b, hex));
        if (ids[f].checked)
            jw_text(w, "sha256", hex_of(ids[f].sha256.b, sizeof ids[f].sha256.b, hex));
        jw_object_end(w);
    }
    jw_array_end(w);
}
