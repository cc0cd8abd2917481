// SPDX-License-Identifier: Apache-2.0
// content_pack: experts.idx against the files beside it.
#include <stdlib.h>
#include <string.h>

#include "formats/pack_reader.h"
#include "verify/content_list.h"

#define INDEX_NAME "experts.idx"

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

// A pack whose files are not the checkpoint's own is a finding; *same is then false.
static bool same_files(const checkpoint *c, const pack *p, content_findings *f, bool *same, err *e)
{
    *same = true;
    for (int64_t i = 0; *same && i < pack_n_layers(p); i++) {
        pack_record first;
        if (pack_layer_at(p, i)->n_experts == 0)
            continue;
        if (!pack_find(p, pack_layer_at(p, i)->layer, 0, &first, e))
            return false;
        const char *name = pack_file_name(p, first.file);
        *same = file_named(c, name) >= 0;
        if (!*same && !content_add(f, INDEX_NAME, e, "names '%s', which is no file of this "
                                   "checkpoint", name))
            return false;
    }
    return true;
}

static int by_place(const void *x, const void *y)
{
    const content_record *a = x, *b = y;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

static int by_expert(const void *x, const void *y)
{
    const content_record *a = x, *b = y;
    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    return (a->expert > b->expert) - (a->expert < b->expert);
}

static bool list_records(const checkpoint *c, const pack *p, content_records *r, err *e)
{
    r->item = mem_new((uint64_t)count_records(p), sizeof *r->item, "a list of records", e);
    if (!r->item)
        return false;
    for (int64_t i = 0; i < pack_n_layers(p); i++) {
        const pack_layer *layer = pack_layer_at(p, i);
        for (int64_t x = 0; x < layer->n_experts; x++) {
            pack_record k;
            if (!pack_find(p, layer->layer, x, &k, e))
                return false;
            r->item[r->n++] = (content_record){.layer = layer->layer,
                                               .expert = x,
                                               .file = file_named(c, pack_file_name(p, k.file)),
                                               .offset = k.offset,
                                               .bytes = k.bytes,
                                               .listed = k.digest};
            xxh128_of("", 0, &r->item[r->n - 1].found); // of a record that never begins
        }
    }
    qsort(r->item, (size_t)r->n, sizeof *r->item, by_place);
    return true;
}

// r NULL: only the index.
static bool look(const checkpoint *c, content_findings *f, content_records *r, int64_t *n_records,
                 err *e)
{
    pack *p = NULL;
    bool same;
    *n_records = 0;
    path_kind kind;
    if (!path_find_in(checkpoint_dir(c), INDEX_NAME, &kind, e))
        return false;
    if (!checkpoint_is_folder(c) || kind == PATH_NOTHING)
        return true;
    if (!pack_open(&p, checkpoint_dir(c), e)) {
        size_t name = str_starts(e->text, INDEX_NAME ": ") ? strlen(INDEX_NAME ": ") : 0;
        return e->kind == ERR_INPUT && content_add(f, INDEX_NAME, e, "%s", e->text + name);
    }
    bool ok = same_files(c, p, f, &same, e) && (!same || !r || list_records(c, p, r, e));
    if (ok)
        *n_records = count_records(p);
    pack_close(p);
    return ok;
}

bool content_pack(const checkpoint *c, content_findings *f, int64_t *n_records, err *e)
{
    return look(c, f, NULL, n_records, e);
}

bool content_list_records(const checkpoint *c, content_findings *f, content_records *r,
                          int64_t *n_records, err *e)
{
    *r = (content_records){0};
    return look(c, f, r, n_records, e);
}

bool content_compare_records(const checkpoint *c, content_records *r, content_findings *f, err *e)
{
    if (r->n > 0)
        qsort(r->item, (size_t)r->n, sizeof *r->item, by_expert);
    for (int64_t i = 0; i < r->n; i++) {
        const content_record *k = &r->item[i];
        if (memcmp(&k->found, &k->listed, sizeof k->found) != 0 &&
            !content_add(f, checkpoint_file_name(c, k->file), e,
                         "layer %lld, expert %lld: the bytes do not have the digest that "
                         INDEX_NAME " lists", (long long)k->layer, (long long)k->expert))
            return false;
    }
    return true;
}

void content_records_free(content_records *r)
{
    for (int64_t i = 0; i < r->n; i++)
        xxh128_free(r->item[i].hash);
    free(r->item);
    *r = (content_records){0};
}
