// SPDX-License-Identifier: Apache-2.0
// content_full: one pass over the bytes of all files, in their order on disk. Own threads read
// ahead (base/stream.h); looking for special values and XXH3 run at the speed of memory, so one
// thread does both, and only SHA-256, which is slower than a good disk, gets a second one.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "verify/content_list.h"
#include "verify/content_scan.h"

typedef struct {
    const checkpoint *c;
    const content_options *o;
    content_counts *counts;     // [checkpoint_count]
    content_records records;
    expected sums;
    sha256_digest *found;       // [checkpoint_n_files]
    uint64_t done, total;       // bytes

    // Where the pass is.
    int file;
    uint64_t at;                // first byte of the chunk
    const unsigned char *chunk;
    uint64_t n;
    int64_t tensor, record;     // the first that does not end before the chunk
    content_scan scan;          // of that tensor, where it has begun
    bool scanning;
    sha256 *sha;                // of the file; NULL: nobody asks
} pass;

// ---- one chunk -------------------------------------------------------------------------------

// The part of [begin, begin + bytes) that the chunk has: *from in the chunk, its length.
static uint64_t common(const pass *p, uint64_t begin, uint64_t bytes, uint64_t *from)
{
    uint64_t end = begin + bytes < p->at + p->n ? begin + bytes : p->at + p->n;
    uint64_t start = begin > p->at ? begin : p->at;
    *from = start - p->at;
    return start < end ? end - start : 0;
}

static void look_at_values(pass *p)
{
    for (; p->tensor < checkpoint_count(p->c); p->tensor++) {
        const tensor *t = checkpoint_at(p->c, p->tensor);
        uint64_t from, n = 0;
        if (t->file > p->file || (t->file == p->file && t->offset >= p->at + p->n))
            return;
        if (t->file == p->file)
            n = common(p, t->offset, t->bytes, &from);
        if (n > 0 && t->offset >= p->at) {
            content_part part = content_part_of(p->c, t);
            p->scanning = content_scan_begin(&p->scan, t, &part);
        }
        if (n > 0 && p->scanning)
            content_scan_add(&p->scan, p->chunk + from, n, &p->counts[p->tensor]);
        if (t->file == p->file && t->offset + t->bytes > p->at + p->n)
            return;
    }
}

// Records of a hostile index may lie in each other, so those behind `record` may end before it.
static bool hash_records(pass *p, err *e)
{
    for (int64_t i = p->record; i < p->records.n; i++) {
        content_record *r = &p->records.item[i];
        uint64_t from, end = r->offset + r->bytes;
        if (r->file > p->file || (r->file == p->file && r->offset >= p->at + p->n))
            break;
        if (r->file < p->file || end <= p->at) {
            p->record += i == p->record;
            continue;
        }
        if (!r->hash && !(r->hash = xxh128_new(e)))
            return false;
        uint64_t n = common(p, r->offset, r->bytes, &from);
        xxh128_add(r->hash, p->chunk + from, (size_t)n);
        if (end <= p->at + p->n) {
            xxh128_end(r->hash, &r->found);
            r->hash = NULL;
        }
    }
    return true;
}

// Two jobs on the same bytes.
static bool do_job(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    pass *p = ctx;
    bool ok = true;
    (void)worker;
    for (int64_t job = begin; ok && job < end; job++) {
        if (job == 1) {
            sha256_add(p->sha, p->chunk, (size_t)p->n);
        } else {
            look_at_values(p);
            ok = hash_records(p, e);
        }
    }
    return ok;
}

// ---- the pass --------------------------------------------------------------------------------

typedef struct {
    const checkpoint *c;
    int next;
} whole_files;

static bool next_file(void *ctx, stream_range *out, bool *end, err *e)
{
    whole_files *w = ctx;
    (void)e;
    *end = w->next == checkpoint_n_files(w->c);
    if (!*end) {
        const in_file *f = checkpoint_file(w->c, w->next++);
        *out = (stream_range){f, 0, f->size};
    }
    return true;
}

static bool read_file(pass *p, stream *s, err *e)
{
    uint64_t size = checkpoint_file(p->c, p->file)->size;
    for (p->at = 0; p->at < size; p->at += p->n) {
        const void *bytes;
        if (!event_go_on(p->o->events, e) || !stream_take(s, size - p->at, &bytes, &p->n, e))
            return false;
        if (p->n == 0)
            return err_set(e, ERR_INTERNAL, "the stream of all files ended early");
        p->chunk = bytes;
        if (!pool_for(p->o->pool, p->sha ? 2 : 1, 1, do_job, p, e))
            return false;
        p->done += p->n;
        event_progress(p->o->events, "bytes", p->done, p->total);
    }
    return true;
}

static bool read_all(pass *p, err *e)
{
    whole_files files = {.c = p->c};
    stream *s;
    const stream_options o = {.memory = content_ahead(p->o)};
    if (!stream_open(&s, next_file, &files, &o, e))
        return false;
    bool ok = true;
    for (p->file = 0; ok && p->file < checkpoint_n_files(p->c); p->file++) {
        bool wanted = p->sums.file && p->sums.file[p->file].by;
        ok = (!wanted || (p->sha = sha256_new(e)) != NULL) && read_file(p, s, e);
        if (ok && p->sha)
            sha256_end(p->sha, &p->found[p->file]);
        else
            sha256_free(p->sha);
        p->sha = NULL;
    }
    stream_close(s);
    return ok && checkpoint_unchanged(p->c, e);
}

static bool add_wrong(content_findings *f, const checkpoint *c, const tensor *t,
                      const content_counts *n, err *e)
{
    content_part p = content_part_of(c, t);
    if (p.look == LOOK_ORDER)
        return content_add(f, t->name, e, "%" PRIu64 " column%s of groups that do not exist (there "
                           "are %lld), the first at element %" PRIu64, n->wrong,
                           n->wrong == 1 ? "" : "s", (long long)p.groups, n->first);
    return content_add(f, t->name, e, "says [%lld,%lld], which codes of [%lld,%lld] words%s cannot "
                       "be", (long long)n->said[0], (long long)n->said[1], (long long)p.rows,
                       (long long)p.cols, p.groups ? " with these scales" : "");
}

static bool add_counts(content_findings *f, const tensor *t, const content_counts *n, err *e)
{
    strbuf what = {0};
    const char *lead = "";
    if (n->nan) {
        strbuf_printf(&what, "%" PRIu64 " NaN", n->nan);
        lead = ", ";
    }
    if (n->infinite) {
        strbuf_printf(&what, "%s%" PRIu64 " infinite", lead, n->infinite);
        lead = ", ";
    }
    if (n->zero)
        strbuf_printf(&what, "%s%" PRIu64 " zero scale%s", lead, n->zero, n->zero == 1 ? "" : "s");
    bool ok = strbuf_ok(&what, e) &&
              content_add(f, t->name, e, "%s, the first at element %" PRIu64, what.text,
                          n->first);
    strbuf_free(&what);
    return ok;
}

static bool report(pass *p, content_findings *f, content_extent *extent, err *e)
{
    bool ok = content_compare_records(p->c, &p->records, f, e) &&
              (!p->o->sha256 || content_compare_sums(p->c, p->o, &p->sums, p->found, f,
                                                     &extent->n_sums, e));
    for (int64_t i = 0; ok && i < checkpoint_count(p->c); i++) {
        const content_counts *n = &p->counts[i];
        if (n->nan || n->infinite || n->zero)
            ok = add_counts(f, checkpoint_at(p->c, i), n, e);
        else if (n->wrong)
            ok = add_wrong(f, p->c, checkpoint_at(p->c, i), n, e);
        dtype type = checkpoint_at(p->c, i)->type;
        if (dtype_is_block(type) && !block_ops_used(type) && extent->n_unread++ == 0)
            extent->unread = type;
    }
    return ok;
}

bool content_full(const checkpoint *c, const content_options *o, content_findings *f,
                  content_extent *extent, err *e)
{
    pass p = {.c = c, .o = o};
    *extent = (content_extent){0};
    p.counts = mem_new((uint64_t)checkpoint_count(c), sizeof *p.counts, "counts", e);
    p.found = mem_new((uint64_t)checkpoint_n_files(c), sizeof *p.found, "sums", e);
    for (int i = 0; i < checkpoint_n_files(c); i++)
        p.total += checkpoint_file(c, i)->size;
    bool ok = p.counts && p.found &&
              (!o->sha256 || expected_find(&p.sums, c, o->expect, o->events, e)) &&
              content_list_records(c, f, &p.records, &extent->n_records, e) && read_all(&p, e) &&
              report(&p, f, extent, e);
    content_records_free(&p.records);
    expected_free(&p.sums);
    free(p.found);
    free(p.counts);
    return ok;
}
