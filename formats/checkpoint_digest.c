// SPDX-License-Identifier: Apache-2.0
// Digests of a checkpoint's tensors, of one file's and of all: checkpoint.h's other half.
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/stream.h"
#include "formats/checkpoint.h"

enum { AHEAD = 16 << 20 }; // of memory, for what digests read ahead

// Tensors [next, end) in the files' order.
typedef struct {
    const checkpoint *c;
    int64_t next, end;
} tensor_walk;

static bool next_tensor(void *ctx, stream_range *out, bool *end, err *e)
{
    tensor_walk *w = ctx;
    (void)e;
    *end = w->next == w->end;
    if (!*end) {
        const tensor *t = checkpoint_at(w->c, w->next++);
        *out = (stream_range){checkpoint_file(w->c, t->file), t->offset, t->bytes};
    }
    return true;
}

// Progress over all tensors of a digest; NULL where nobody asks.
typedef struct {
    const events *v;
    uint64_t done, total;
} pace;

// `s` is at the tensor's first byte.
static bool digest_tensor(const tensor *t, stream *s, pace *p, xxh128_digest *out, err *e)
{
    char buf[STR_SHORT];
    xxh128 *x = xxh128_new(e);
    bool ok = x != NULL;
    for (uint64_t at = 0, n = 0; ok && at < t->bytes; at += n) {
        const void *bytes;
        ok = !p || event_go_on(p->v, e);
        if (!ok || !stream_take(s, t->bytes - at, &bytes, &n, e)) {
            ok = ok && err_in(e, "tensor '%s'", str_short(t->name, buf));
            break;
        }
        xxh128_add(x, bytes, (size_t)n);
        if (p) {
            p->done += n;
            event_progress(p->v, "bytes", p->done, p->total);
        }
    }
    if (ok)
        xxh128_end(x, out);
    else
        xxh128_free(x);
    return ok;
}

bool checkpoint_tensor_digest(const checkpoint *c, const tensor *t, xxh128_digest *out, err *e)
{
    int64_t i = checkpoint_index_of(c, t->name);
    tensor_walk walk = {c, i, i + 1};
    const stream_options o = {.memory = AHEAD, .readers = t->bytes < AHEAD / 4 ? 1 : 0};
    stream *s;
    *out = (xxh128_digest){0};
    bool ok = stream_open(&s, next_tensor, &walk, &o, e) && digest_tensor(t, s, NULL, out, e);
    stream_close(s);
    return ok;
}

typedef struct {
    const tensor *t;
    xxh128_digest digest;
} content;

static int compare_contents(const void *a, const void *b)
{
    return strcmp(((const content *)a)->t->name, ((const content *)b)->t->name);
}

static void add_line(sha256 *s, const content *item)
{
    char shape[TENSOR_SHAPE_TEXT], hex[2 * sizeof item->digest.b + 1];
    const char *part[] = {item->t->name, "\t", dtype_name(item->t->type), "\t",
                          tensor_shape_text(item->t, shape), "\t",
                          hex_of(item->digest.b, sizeof item->digest.b, hex), "\n"};
    for (size_t i = 0; i < COUNT_OF(part); i++)
        sha256_add(s, part[i], strlen(part[i]));
}

// Orders the items by name.
static bool digest_contents(content *item, int64_t n, sha256_digest *out, err *e)
{
    sha256 *s = sha256_new(e);
    if (!s)
        return false;
    if (n)
        qsort(item, (size_t)n, sizeof *item, compare_contents);
    for (int64_t i = 0; i < n; i++)
        add_line(s, &item[i]);
    sha256_end(s, out);
    return true;
}

bool checkpoint_file_digest(const checkpoint *c, int file, const xxh128_digest *each,
                            sha256_digest *out, err *e)
{
    int64_t first, n;
    checkpoint_file_tensors(c, file, &first, &n);
    content *item = mem_new((uint64_t)n, sizeof *item, "digests", e);
    if (!item)
        return false;
    for (int64_t i = 0; i < n; i++)
        item[i] = (content){checkpoint_at(c, first + i), each[first + i]};
    bool ok = digest_contents(item, n, out, e);
    free(item);
    return ok;
}

bool checkpoint_digest(const checkpoint *c, const events *v, sha256_digest *out, err *e)
{
    return checkpoint_digests(c, v, NULL, out, e);
}

bool checkpoint_digests(const checkpoint *c, const events *v, xxh128_digest *each,
                        sha256_digest *out, err *e)
{
    int64_t n = checkpoint_count(c);
    pace p = {.v = v};
    *out = (sha256_digest){0};
    tensor_walk walk = {c, 0, n};
    stream *ahead = NULL;
    content *item = mem_new((uint64_t)n, sizeof *item, "digests", e);
    bool ok = item != NULL;
    for (int64_t i = 0; ok && i < n; i++) {
        item[i].t = checkpoint_at(c, i);
        p.total += item[i].t->bytes;
    }
    // Read in the files' order, written down in the names'.
    ok = ok && stream_open(&ahead, next_tensor, &walk, &(stream_options){.memory = AHEAD}, e);
    for (int64_t i = 0; ok && i < n; i++)
        ok = digest_tensor(item[i].t, ahead, &p, &item[i].digest, e);
    stream_close(ahead);
    for (int64_t i = 0; each && ok && i < n; i++)
        each[i] = item[i].digest;
    ok = ok && checkpoint_unchanged(c, e) && digest_contents(item, n, out, e);
    free(item);
    return ok;
}
