// SPDX-License-Identifier: Apache-2.0
// Reading back, for `--read-back`: what the medium returns is compared with what was written.
#include <stdlib.h>
#include <string.h>

#include "convert/run_parts.h"

typedef struct {
    const in_file *in;
    const events *events;
    stream *bytes;
    sha256 *sha;      // of the whole file
    proof *proof;
    bool asked;       // for its only range
} back;

static bool whole_file(void *ctx, stream_range *out, bool *end, err *e)
{
    back *b = ctx;
    (void)e;
    *end = b->asked;
    b->asked = true;
    if (!*end)
        *out = (stream_range){b->in, 0, b->in->size};
    return true;
}

static bool refuse_header(const plan_file *f, err *e)
{
    return err_set(e, ERR_INTERNAL, "'%s': the header read back differs from what was written",
                   f->name);
}

static bool read_file(back *b, const plan_file *f, err *e)
{
    const void *bytes;
    uint64_t n, at = 0;
    xxh128_digest sum, expected;
    xxh128 *header = xxh128_new(e);
    if (!header)
        return false;
    for (; at < f->bytes; at += n) {
        uint64_t most = at < f->header.len ? f->header.len - at : f->bytes - at;
        if (!event_go_on(b->events, e) || !stream_take(b->bytes, most, &bytes, &n, e)) {
            xxh128_free(header);
            return false;
        }
        sha256_add(b->sha, bytes, n);
        if (at < f->header.len)
            xxh128_add(header, bytes, n);
        else
            proof_bytes(b->proof, at, bytes, n);
    }
    xxh128_end(header, &sum);
    xxh128_of(f->header.text, f->header.len, &expected);
    return memcmp(&sum, &expected, sizeof sum) == 0 || refuse_header(f, e);
}

// A file that an earlier run finished must be what it was then.
static bool as_finished(back *b, const plan_file *f, output *out, err *e)
{
    sha256_digest now, then;
    sha256_end(b->sha, &now);
    b->sha = NULL;
    if (output_has(out, f->name, &then) && memcmp(now.b, then.b, sizeof now.b) == 0)
        return true;
    output_reject(out, f->name);
    return err_set(e, ERR_ENV, "'%s', finished by an earlier run, has been damaged since and was "
                   "removed; the same command makes it again", f->name);
}

static bool compare(const plan *p, int64_t index, back *b, output *out, run_result *r, err *e)
{
    const plan_file *f = &p->file[index];
    bool ok = read_file(b, f, e);
    if (r->resumed[index]) // whose digests of tensors are not known
        return (ok || e->kind == ERR_INTERNAL) && as_finished(b, f, out, e) && ok;
    return ok && proof_end(b->proof, "read back", p->tensor + f->first, r->tensor + f->first,
                           r->record[index], e);
}

static bool read_back(const plan *p, int64_t index, back b, uint64_t memory, output *out,
                      run_result *r, err *e)
{
    const plan_file *f = &p->file[index];
    const in_file *in = b.in;
    const stream_options reading = {.memory = memory};
    if (in->size != f->bytes)
        return err_set(e, ERR_INTERNAL, "'%s': %llu bytes read back, %llu were written", f->name,
                       (unsigned long long)in->size, (unsigned long long)f->bytes);
    bool ok = (b.sha = sha256_new(e)) && proof_open(&b.proof, f, e) &&
              stream_open(&b.bytes, whole_file, &b, &reading, e) &&
              compare(p, index, &b, out, r, e);
    stream_close(b.bytes);
    proof_close(b.proof);
    sha256_free(b.sha);
    return ok;
}

bool run_read_back(const plan *p, const run_options *o, output *out, run_result *r, err *e)
{
    run_slice slice = o->slice ? *o->slice : (run_slice){0, p->n_files};
    run_sizes sizes;
    uint64_t needed;
    if (!run_sizes_of(p, pool_threads(o->pool), o->memory, true, &sizes, &needed, e))
        return false;
    for (int64_t f = slice.first; f < slice.first + slice.n; f++) {
        char *path = output_path(out, p->file[f].name, e);
        in_file in = IN_FILE_CLOSED;
        bool ok = path && in_open(&in, path, e) &&
                  read_back(p, f, (back){.in = &in, .events = o->events}, sizes.stream, out, r, e);
        in_close(&in);
        free(path);
        if (!ok)
            return false;
    }
    return true;
}
