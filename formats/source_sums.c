// SPDX-License-Identifier: Apache-2.0
#include "formats/source_sums.h"

#include <stdlib.h>

enum { BLOCK = 1 << 20 };

typedef struct {
    const checkpoint *source;
    const events *events;
    sha256_digest *to;
} summing;

static bool sum_file(const in_file *in, const events *v, uint8_t *block, sha256_digest *to,
                     err *e)
{
    sha256 *sha = sha256_new(e);
    if (!sha)
        return false;
    for (uint64_t done = 0; done < in->size;) {
        uint64_t piece = in->size - done < BLOCK ? in->size - done : BLOCK;
        if (!event_go_on(v, e) || !in_read(in, done, block, piece, e)) {
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
    for (int64_t f = begin; ok && f < end; f++)
        ok = sum_file(checkpoint_file(s->source, (int)f), s->events, block, &s->to[f], e);
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

bool source_ids_of(const checkpoint *c, const xxh128_digest *each, source_id *to, err *e)
{
    for (int f = 0; f < checkpoint_n_files(c); f++) {
        to[f] = (source_id){0};
        if (!checkpoint_file_digest(c, f, each, &to[f].content, e))
            return false;
    }
    return true;
}

bool source_ids(const checkpoint *c, const events *v, source_id *to, err *e)
{
    sha256_digest all;
    xxh128_digest *each = mem_new((uint64_t)checkpoint_count(c), sizeof *each, "digests", e);
    bool ok = each && checkpoint_digests(c, v, each, &all, e) && source_ids_of(c, each, to, e);
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
        jw_text(w, "digest", hex_of(ids[f].content.b, sizeof ids[f].content.b, hex));
        if (ids[f].checked)
            jw_text(w, "sha256", hex_of(ids[f].sha256.b, sizeof ids[f].sha256.b, hex));
        jw_object_end(w);
    }
    jw_array_end(w);
}
