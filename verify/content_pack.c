// SPDX-License-Identifier: Apache-2.0
// content_pack: experts.idx against the files beside it.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pack_reader.h"
#include "verify/content_list.h"

#define INDEX_NAME "experts.idx"

enum { BLOCK = 1 << 20 };

typedef struct {
    int64_t layer, expert;
    pack_record record;
    int file; // of the checkpoint
    bool differs;
} record_job;

typedef struct {
    const checkpoint *c;
    const events *v;
    const pack *pack;
    record_job *job;
    int64_t n;
    _Atomic uint64_t done; // bytes
    uint64_t total;
} records;

static int file_named(const checkpoint *c, const char *name)
{
    for (int i = 0; i < checkpoint_n_files(c); i++)
        if (strcmp(checkpoint_file_name(c, i), name) == 0)
            return i;
    return -1;
}

static int64_t count_records(const pack *p)
{
    int64_t n = 0;
    for (int64_t i = 0; i < pack_n_layers(p); i++)
        n += pack_layer_at(p, i)->n_experts;
    return n;
}

// A pack whose files are not the checkpoint's own is a finding; the list is then empty.
static bool list_records(records *r, content_findings *f, err *e)
{
    int64_t n = 0;
    r->job = mem_new((uint64_t)count_records(r->pack), sizeof *r->job, "a list of records", e);
    if (!r->job)
        return false;
    for (int64_t i = 0; i < pack_n_layers(r->pack); i++) {
        const pack_layer *layer = pack_layer_at(r->pack, i);
        for (int64_t x = 0; x < layer->n_experts; x++, n++) {
            record_job *j = &r->job[n];
            *j = (record_job){.layer = layer->layer, .expert = x};
            if (!pack_find(r->pack, j->layer, x, &j->record, e))
                return false;
            const char *name = pack_file_name(r->pack, j->record.file);
            j->file = file_named(r->c, name);
            if (j->file < 0)
                return content_add(f, INDEX_NAME, e, "names '%s', which is no file of this "
                                   "checkpoint", name);
            r->total += j->record.bytes;
        }
    }
    r->n = n;
    return true;
}

static bool hash_record(records *r, record_job *j, void *block, err *e)
{
    xxh128_digest found;
    xxh128 *x = xxh128_new(e);
    if (!x)
        return false;
    for (uint64_t at = 0; at < j->record.bytes;) {
        uint64_t n = j->record.bytes - at < BLOCK ? j->record.bytes - at : BLOCK;
        if (!event_go_on(r->v, e) ||
            !in_read(checkpoint_file(r->c, j->file), j->record.offset + at, block, n, e)) {
            xxh128_free(x);
            return false;
        }
        xxh128_add(x, block, (size_t)n);
        at += n;
        event_progress(r->v, "bytes", atomic_fetch_add(&r->done, n) + n, r->total);
    }
    xxh128_end(x, &found);
    j->differs = memcmp(&found, &j->record.digest, sizeof found) != 0;
    return true;
}

static bool hash_some(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    records *r = ctx;
    (void)worker;
    void *block = mem_new_aligned(BLOCK, 1, "a block", e);
    bool ok = block != NULL;
    for (int64_t i = begin; ok && i < end; i++)
        ok = hash_record(r, &r->job[i], block, e);
    free(block);
    return ok;
}

static bool compare_records(records *r, pool *p, content_findings *f, err *e)
{
    if (!list_records(r, f, e) || !pool_for(p, r->n, 1, hash_some, r, e))
        return false;
    for (int64_t i = 0; i < r->n; i++)
        if (r->job[i].differs &&
            !content_add(f, checkpoint_file_name(r->c, r->job[i].file), e,
                         "layer %lld, expert %lld: the bytes do not have the digest that "
                         INDEX_NAME " lists", (long long)r->job[i].layer,
                         (long long)r->job[i].expert))
            return false;
    return true;
}

bool content_pack(const checkpoint *c, pool *p, const events *v, bool with_records,
                  content_findings *f, int64_t *n_records, err *e)
{
    pack *k = NULL;
    *n_records = 0;
    path_kind kind;
    if (!path_find_in(checkpoint_dir(c), INDEX_NAME, &kind, e))
        return false;
    if (!checkpoint_is_folder(c) || kind == PATH_NOTHING)
        return true;
    if (!pack_open(&k, checkpoint_dir(c), e)) {
        size_t name = str_starts(e->text, INDEX_NAME ": ") ? strlen(INDEX_NAME ": ") : 0;
        return e->kind == ERR_INPUT && content_add(f, INDEX_NAME, e, "%s", e->text + name);
    }
    records r = {.c = c, .v = v, .pack = k};
    bool ok = !with_records || compare_records(&r, p, f, e);
    if (ok)
        *n_records = count_records(k);
    free(r.job);
    pack_close(k);
    return ok;
}
