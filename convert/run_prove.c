// SPDX-License-Identifier: Apache-2.0
// The second half of run.h: what was written is read back before anything gets its name.
#include <stdlib.h>
#include <string.h>

#include "convert/run.h"

enum { BLOCK = 4 << 20 };

// One file, read from front to end.
typedef struct {
    const in_file *in;
    uint64_t at;
    sha256 *sha;      // of the whole file where it was resumed, else NULL
    xxh128 *record;   // of the record that is being read, or NULL
    scratch block;
} proof;

// The digest of the next n bytes.
static bool read_next(proof *r, uint64_t n, xxh128_digest *out, err *e)
{
    void *block = scratch_need(&r->block, BLOCK, 1, "a block", e);
    xxh128 *sum = block ? xxh128_new(e) : NULL;
    if (!sum)
        return false;
    for (uint64_t left = n; left > 0;) {
        uint64_t piece = left < BLOCK ? left : BLOCK;
        if (!in_read(r->in, r->at, block, piece, e)) {
            xxh128_free(sum);
            return false;
        }
        xxh128_add(sum, block, piece);
        if (r->sha)
            sha256_add(r->sha, block, piece);
        if (r->record)
            xxh128_add(r->record, block, piece);
        r->at += piece;
        left -= piece;
    }
    xxh128_end(sum, out);
    return true;
}

static bool same_digest(const xxh128_digest *a, const xxh128_digest *b)
{
    return memcmp(a->b, b->b, sizeof a->b) == 0;
}

// Ends the digest of a record that is complete, begins the next one where tensor t opens it. A
// resumed file's record digests are taken over, the others compared.
static bool prove_record(const plan_file *f, proof *r, bool resumed, xxh128_digest *record, err *e)
{
    const pack_index_layer *l = &f->records;
    uint64_t inside = r->at - l->first_record, end = (uint64_t)l->n_experts * l->record_bytes;
    if (!f->holds_experts || r->at < l->first_record || inside > end ||
        inside % l->record_bytes != 0)
        return true;
    if (r->record) {
        xxh128_digest sum, *to = &record[inside / l->record_bytes - 1];
        xxh128_end(r->record, &sum);
        r->record = NULL;
        if (resumed)
            *to = sum;
        else if (!same_digest(to, &sum))
            return err_set(e, ERR_INTERNAL, "'%s': record %llu read back differs from what was "
                           "written", f->name, (unsigned long long)(inside / l->record_bytes - 1));
    }
    if (inside < end)
        r->record = xxh128_new(e);
    return inside == end || r->record;
}

static bool prove_tensor(const plan *p, const plan_file *f, int64_t i, proof *r, run_result *to,
                         bool resumed, err *e)
{
    const plan_tensor *t = &p->tensor[i];
    xxh128_digest back;
    if (!read_next(r, t->to.bytes, &back, e))
        return false;
    if (resumed && t->from && !checkpoint_tensor_digest(p->source, t->from, &to->tensor[i], e))
        return false;
    if (resumed && !t->from)
        to->tensor[i] = back; // the file's SHA-256 stands for it
    return same_digest(&to->tensor[i], &back) ||
           err_set(e, ERR_INTERNAL, "'%s': tensor '%s' read back differs from %s", f->name,
                   t->to.name, t->from ? "its source" : "what was written");
}

// A file that an earlier run finished must be what it was then; where it is not, that explains
// every other difference.
static bool prove_whole(const plan_file *f, proof *r, output *out, err *e)
{
    xxh128_digest rest;
    sha256_digest now, then;
    if (!read_next(r, f->bytes - r->at, &rest, e))
        return false;
    sha256_end(r->sha, &now);
    r->sha = NULL;
    if (output_has(out, f->name, &then) && memcmp(now.b, then.b, sizeof now.b) == 0)
        return true;
    output_reject(out, f->name);
    return err_set(e, ERR_ENV, "'%s', finished by an earlier run, has been damaged since and was "
                   "removed; the same command makes it again", f->name);
}

static bool prove_contents(const plan *p, int64_t index, proof *now, run_result *r, err *e)
{
    const plan_file *f = &p->file[index];
    bool resumed = r->resumed[index];
    xxh128_digest head;
    if (!read_next(now, f->header.len, &head, e))
        return false;
    if (!same_digest(&head, &r->header[index]))
        return err_set(e, ERR_INTERNAL, "'%s': the header read back differs from what was written",
                       f->name);
    for (int64_t i = f->first; i < f->first + f->n; i++)
        if (!prove_record(f, now, resumed, r->record[index], e) ||
            !prove_tensor(p, f, i, now, r, resumed, e))
            return false;
    return prove_record(f, now, resumed, r->record[index], e);
}

static bool prove_file(const plan *p, int64_t index, const in_file *in, output *out, run_result *r,
                       err *e)
{
    proof now = {.in = in, .sha = r->resumed[index] ? sha256_new(e) : NULL};
    bool ok = (!r->resumed[index] || now.sha) && prove_contents(p, index, &now, r, e);
    if (now.sha && (ok || e->kind == ERR_INTERNAL))
        ok = prove_whole(&p->file[index], &now, out, e) && ok;
    sha256_free(now.sha);
    if (now.record)
        xxh128_free(now.record);
    scratch_free(&now.block);
    return ok;
}

bool run_prove(const plan *p, const run_options *o, output *out, run_result *r, int64_t *moved,
               err *e)
{
    *moved = 0;
    for (int64_t f = 0; f < p->n_files; f++) {
        char *path = output_path(out, p->file[f].name, e);
        in_file in = IN_FILE_CLOSED;
        bool ok = path && event_go_on(o->events, e) && in_open(&in, path, e) &&
                  prove_file(p, f, &in, out, r, e);
        in_close(&in);
        free(path);
        if (!ok)
            return false;
    }
    for (int64_t i = 0; i < p->n_tensors; i++)
        *moved += p->tensor[i].from != NULL;
    return true;
}
