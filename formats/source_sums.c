// SPDX-License-Identifier: Apache-2.0
#include "formats/source_sums.h"

#include <stdlib.h>

typedef struct {
    const checkpoint *source;
    sha256_digest *to;
} summing;

static bool sum_file(const in_file *in, uint8_t *block, uint64_t size, sha256_digest *to, err *e)
{
    sha256 *sha = sha256_new(e);
    if (!sha)
        return false;
    for (uint64_t at = 0; at < in->size;) {
        uint64_t n = in->size - at < size ? in->size - at : size;
        if (!in_read(in, at, block, n, e)) {
            sha256_free(sha);
            return false;
        }
        sha256_add(sha, block, n);
        at += n;
    }
    sha256_end(sha, to);
    return in_unchanged(in, e);
}

static bool sum_files(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    enum { BLOCK = 1 << 20 };
    const summing *s = ctx;
    (void)worker;
    uint8_t *block = mem_new(BLOCK, 1, "a block", e);
    bool ok = block != NULL;
    for (int64_t f = begin; ok && f < end; f++)
        ok = sum_file(checkpoint_file(s->source, (int)f), block, BLOCK, &s->to[f], e);
    free(block);
    return ok;
}

bool source_sums(const checkpoint *c, pool *p, sha256_digest *to, err *e)
{
    summing s = {c, to};
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
