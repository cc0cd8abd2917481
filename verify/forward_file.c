// SPDX-License-Identifier: Apache-2.0
#include "verify/forward_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/out.h"
#include "base/reduce.h"
#include "base/spill.h"
#include "base/zip.h"
#include "verify/nll.h"
#include "verify/passes.h"

enum { LOGITS, NLL, HIDDEN, ROUTER };

typedef struct {
    forward_member is;
    char file_name[16];      // "logits.npy"
    strbuf header;
    spill data;
} part;

typedef struct {
    const forward_file *f;
    const arch *a;
    int n;
    part part[FORWARD_FILE_MEMBERS];
    part *by_kind[FORWARD_FILE_MEMBERS]; // NULL where not wanted
    float *nll;
} writing;

static int64_t moe_layers_before(const model *m, int64_t layer)
{
    int64_t n = 0;
    for (int64_t l = 0; l < layer; l++)
        n += model_ffn(m, l) == FFN_MOE;
    return n;
}

static bool describe(const forward_file *f, int kind, forward_member *m, err *e)
{
    const arch *a = model_arch(f->m);
    if (f->n < 1 || f->len < 1)
        return err_set(e, ERR_INPUT, "there are no tokens: %lld windows of %lld", (long long)f->n,
                       (long long)f->len);
    int64_t n_moe = moe_layers_before(f->m, a->n_layers);
    switch (kind) {
    case LOGITS:
        *m = (forward_member){"logits", NPY_F32, 3, {f->n, f->len, a->vocab}, 0};
        break;
    case NLL:
        *m = (forward_member){"nll", NPY_F32, 2, {f->n, f->len - 1}, 0};
        break;
    case HIDDEN:
        *m = (forward_member){"hidden", NPY_F32, 4, {a->n_layers + 1, f->n, f->len, a->hidden}, 0};
        break;
    default:
        *m = (forward_member){"router", NPY_I32, 4, {n_moe, f->n, f->len, a->top_k}, 0};
        break;
    }
    m->bytes = (uint64_t)npy_type_bytes(m->type);
    for (int i = 0; i < m->rank; i++)
        if (!size_mul(m->bytes, (uint64_t)m->shape[i], &m->bytes))
            return err_set(e, ERR_ENV, "the %s of %lld windows of %lld tokens are too large to "
                           "write", m->name, (long long)f->n, (long long)f->len);
    return true;
}

static bool wanted(const forward_file *f, int kind)
{
    return kind == NLL || (kind == LOGITS ? f->logits : f->activations);
}

bool forward_file_members(const forward_file *f, int *n,
                          forward_member member[FORWARD_FILE_MEMBERS], err *e)
{
    *n = 0;
    for (int kind = 0; kind < FORWARD_FILE_MEMBERS; kind++)
        if (wanted(f, kind) && !describe(f, kind, &member[(*n)++], e))
            return false;
    return true;
}

static bool open_parts(writing *w, err *e)
{
    const forward_file *f = w->f;
    uint64_t total = 0;
    for (int kind = 0; kind < FORWARD_FILE_MEMBERS; kind++) {
        if (!wanted(f, kind))
            continue;
        part *p = &w->part[w->n++];
        w->by_kind[kind] = p;
        if (!describe(f, kind, &p->is, e) ||
            !npy_header(&p->header, p->is.type, p->is.rank, p->is.shape, e) ||
            !size_add(total, p->is.bytes, &total))
            return false;
        (void)snprintf(p->file_name, sizeof p->file_name, "%s.npy", p->is.name);
    }
    if (total > UINT64_MAX / 2 || !out_has_space(f->dir, 2 * total, e))
        return false;
    for (int i = 0; i < w->n; i++)
        if (!spill_open(&w->part[i].data, f->dir, w->part[i].is.bytes, e))
            return false;
    w->nll = mem_new((uint64_t)(f->n * (f->len - 1)), sizeof *w->nll, "likelihoods", e);
    return w->nll != NULL;
}

static void close_parts(writing *w)
{
    for (int i = 0; i < w->n; i++) {
        spill_close(&w->part[i].data);
        strbuf_free(&w->part[i].header);
    }
    free(w->nll);
}

// Elements [first, first + n) of a part, 4 bytes each.
static bool put(part *p, int64_t first, const void *from, int64_t n, err *e)
{
    return !p || spill_write(&p->data, 4 * (uint64_t)first, from, 4 * (uint64_t)n, e);
}

static bool on_logits(void *ctx, int64_t first, int64_t count, const float *const *logits, err *e)
{
    writing *w = ctx;
    nll_args a = {.tokens = w->f->tokens, .len = w->f->len, .vocab = w->a->vocab, .first = first,
                  .count = count, .logits = logits[0], .nll = w->nll};
    return put(w->by_kind[LOGITS], first * w->a->vocab, logits[0], count * w->a->vocab, e) &&
           nll_fill(w->f->pool, &a, e);
}

static bool on_hidden(void *ctx, int64_t entry, int64_t first_window, int64_t n,
                      const float *const *hidden, err *e)
{
    writing *w = ctx;
    int64_t window = w->f->len * w->a->hidden;
    return put(w->by_kind[HIDDEN], (entry * w->f->n + first_window) * window, hidden[0],
               n * window, e);
}

static bool on_routing(void *ctx, int which, int64_t first_window, const routing *r, err *e)
{
    writing *w = ctx;
    int64_t window = w->f->len * r->top_k, moe = moe_layers_before(w->f->m, r->layer);
    (void)which;
    return put(w->by_kind[ROUTER], (moe * w->f->n + first_window) * window, r->chosen,
               r->n_tokens * r->top_k, e);
}

static bool compute(writing *w, err *e)
{
    const forward_file *f = w->f;
    int64_t n_nll = f->n * (f->len - 1);
    passes p = {.n_models = 1, .model = {f->m}, .tokens = f->tokens, .n = f->n, .len = f->len,
                .pool = f->pool, .memory = f->memory, .events = f->events, .ctx = w,
                .held = 8 * (uint64_t)(f->n * f->len), // tokens and likelihoods
                .on_logits = on_logits,
                .on_hidden = f->activations ? on_hidden : NULL,
                .on_routing = f->activations ? on_routing : NULL};
    return passes_run(&p, e) && put(w->by_kind[NLL], 0, w->nll, n_nll, e);
}

static bool read_part(void *ctx, uint64_t offset, void *to, uint64_t n, err *e)
{
    const part *p = ctx;
    char *at = to;
    if (offset < p->header.len) {
        uint64_t some = p->header.len - offset < n ? p->header.len - offset : n;
        memcpy(at, p->header.text + offset, some);
        at += some;
        offset += some;
        n -= some;
    }
    return n == 0 || spill_read(&p->data, offset - p->header.len, at, n, e);
}

static bool assemble(writing *w, err *e)
{
    zip_member member[FORWARD_FILE_MEMBERS];
    for (int i = 0; i < w->n; i++) {
        part *p = &w->part[i];
        member[i] = (zip_member){p->file_name, p->header.len + p->is.bytes, read_part, p};
    }
    return zip_write(w->f->dir, w->f->name, member, w->n, w->f->replace, e);
}

bool forward_file_write(const forward_file *f, double *mean_nll, err *e)
{
    writing w = {.f = f, .a = model_arch(f->m)};
    for (int i = 0; i < FORWARD_FILE_MEMBERS; i++)
        w.part[i].data = (spill)SPILL_CLOSED;
    *mean_nll = 0.0;
    bool ok = open_parts(&w, e) && compute(&w, e) && assemble(&w, e);
    int64_t n = f->n * (f->len - 1);
    if (ok && n > 0)
        *mean_nll = reduce_sum(w.nll, n) / (double)n;
    close_parts(&w);
    return ok;
}
