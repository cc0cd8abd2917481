// SPDX-License-Identifier: Apache-2.0
// The written side of the proof: it knows the unit's header and the bytes at their offsets in the
// file, and nothing of where they came from.
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "convert/run_parts.h"
#include "formats/safetensors.h"

struct proof {
    const plan_file *file;
    arena names;
    st_header header;        // tensors in the order of their places
    strmap place;            // name -> index
    xxh128_digest *digest;   // [header.n_tensors] of what lies there
    int64_t tensor;          // the one that is passing; n_tensors behind all
    uint64_t at;             // the next byte expected
    xxh128 *sum, *record;    // of the tensor and the record that are passing
    xxh128_digest *records;  // [n_experts]
    int64_t n_records;       // complete ones
    bool out_of_order;
    err failure;             // the first, since the watch cannot say so
};

static bool begin_sum(proof *p, xxh128 **sum)
{
    if (p->failure.kind == ERR_NONE && !*sum)
        *sum = xxh128_new(&p->failure);
    return *sum != NULL;
}

// GGUF's tensors, as a safetensors header has them.
static bool read_gguf(proof *p, err *e)
{
    const plan_file *f = p->file;
    gguf_header g;
    if (!gguf_parse_header(&g, f->header.text, f->header.len, f->bytes, 0, e))
        return false;
    st_header *h = &p->header;
    *h = (st_header){.n_tensors = g.n_tensors, .data_start = g.data_start};
    h->tensor = arena_new(&p->names, (uint64_t)g.n_tensors, sizeof *h->tensor, e);
    bool ok = h->tensor != NULL;
    for (int64_t i = 0; ok && i < g.n_tensors; i++) {
        tensor *t = &h->tensor[i];
        tensor_list_get(&g.list, i, t);
        t->name = arena_text(&p->names, t->name, strlen(t->name), e);
        ok = t->name != NULL;
    }
    gguf_free(&g);
    return ok;
}

static bool read_header(proof *p, err *e)
{
    const plan_file *f = p->file;
    return f->is_gguf ? read_gguf(p, e)
                      : st_parse_header(&p->header, f->header.text + 8, f->header.len - 8,
                                        f->bytes - f->header.len, 0, &p->names, e);
}

bool proof_open(proof **out, const plan_file *f, err *e)
{
    *out = NULL;
    proof *p = mem_new(1, sizeof *p, "a proof", e);
    if (!p)
        return false;
    p->file = f;
    p->failure = (err)ERR_INIT;
    bool ok = read_header(p, e);
    p->at = p->header.data_start;
    uint64_t records = f->holds_experts ? (uint64_t)f->records.n_experts : 0;
    ok = ok &&
         (p->digest = mem_new((uint64_t)p->header.n_tensors, sizeof *p->digest, "digests", e)) &&
         (p->records = mem_new(records, sizeof *p->records, "digests", e));
    for (int64_t i = 0; ok && i < p->header.n_tensors; i++) {
        const tensor *t = &p->header.tensor[i];
        xxh128_of("", 0, &p->digest[i]); // what has no bytes never passes
        ok = strmap_put(&p->place, t->name, strlen(t->name), i, NULL, e);
    }
    if (ok)
        *out = p;
    else
        proof_close(p);
    return ok;
}

// Of the bytes [offset, offset + n): those inside [from, to) into *sum, which ends at `to`.
static bool pass(proof *p, xxh128 **sum, uint64_t from, uint64_t to, uint64_t offset,
                 const unsigned char *bytes, uint64_t n, xxh128_digest *out)
{
    uint64_t begin = offset > from ? offset : from;
    uint64_t end = offset + n < to ? offset + n : to;
    if (begin < end && begin_sum(p, sum))
        xxh128_add(*sum, bytes + (begin - offset), end - begin);
    if (end != to || !*sum)
        return false;
    xxh128_end(*sum, out);
    *sum = NULL;
    return true;
}

static void pass_records(proof *p, uint64_t offset, const unsigned char *bytes, uint64_t n)
{
    const pack_index_layer *r = &p->file->records;
    while (p->file->holds_experts && p->n_records < r->n_experts) {
        uint64_t from = r->first_record + (uint64_t)p->n_records * r->record_bytes;
        if (!pass(p, &p->record, from, from + r->record_bytes, offset, bytes, n,
                  &p->records[p->n_records]))
            return;
        p->n_records++;
    }
}

void proof_bytes(void *proof_, uint64_t offset, const void *bytes, uint64_t n)
{
    proof *p = proof_;
    p->out_of_order |= offset != p->at;
    p->at = offset + n;
    while (p->tensor < p->header.n_tensors) {
        const tensor *t = &p->header.tensor[p->tensor];
        if (t->bytes && !pass(p, &p->sum, t->offset, t->offset + t->bytes, offset, bytes, n,
                              &p->digest[p->tensor]))
            break;
        p->tensor++;
    }
    pass_records(p, offset, bytes, n);
}

static bool all_passed(proof *p)
{
    while (p->tensor < p->header.n_tensors && p->header.tensor[p->tensor].bytes == 0)
        p->tensor++;
    return !p->out_of_order && p->tensor == p->header.n_tensors &&
           (!p->file->holds_experts || p->n_records == p->file->records.n_experts);
}

bool proof_end(proof *p, const char *how, const plan_tensor *tensors,
               const xxh128_digest *expected, xxh128_digest *record, err *e)
{
    const plan_file *f = p->file;
    if (p->failure.kind != ERR_NONE) {
        *e = p->failure;
        return false;
    }
    if (!all_passed(p) || p->header.n_tensors != plan_count_written(tensors, f->n))
        return err_set(e, ERR_INTERNAL, "'%s' %s is not what its header says", f->name, how);
    for (int64_t i = 0; i < f->n; i++) {
        const tensor *to = plan_written(&tensors[i]);
        if (!plan_heads(&tensors[i]))
            continue;
        int64_t at = strmap_get(&p->place, to->name, strlen(to->name));
        if (at < 0 || memcmp(&p->digest[at], &expected[i], sizeof *expected) != 0)
            return err_set(e, ERR_INTERNAL, "'%s': tensor '%s' %s differs from %s", f->name,
                           to->name, how, tensors[i].from ? "its source" : "what was encoded");
    }
    if (f->holds_experts)
        memcpy(record, p->records, (size_t)f->records.n_experts * sizeof *record);
    return true;
}

void proof_close(proof *p)
{
    if (!p)
        return;
    xxh128_free(p->sum);
    xxh128_free(p->record);
    strmap_free(&p->place);
    arena_free(&p->names);
    free(p->digest);
    free(p->records);
    free(p);
}
