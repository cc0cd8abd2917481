// SPDX-License-Identifier: Apache-2.0
#include "tests/forward_case.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

void open_model(opened *o, const char *path)
{
    err e = ERR_INIT;
    ck_assert_msg(checkpoint_open(&o->c, path, NULL, &e), "%s", e.text);
    ck_assert_msg(model_open(&o->m, o->c, NULL, &e), "%s", e.text);
}

void close_model(opened *o)
{
    model_close(o->m);
    checkpoint_close(o->c);
    *o = (opened){0};
}

void read_reference(npy *a, const char *path, const char *member)
{
    err e = ERR_INIT;
    zip_in *z;
    char name[512];
    (void)snprintf(name, sizeof name, "%s/reference.npz", path);
    ck_assert_msg(zip_in_open(&z, name, &e), "%s", e.text);
    ck_assert_msg(npz_read(a, z, member, &e), "%s", e.text);
    zip_in_close(z);
}

static bool keep_hidden(void *ctx, int64_t entry, int64_t first_window, int64_t n,
                        const float *const *hidden, err *e)
{
    outcome *r = ctx;
    int64_t window = r->len * r->hidden_size;
    (void)e;
    memcpy(r->hidden + (entry * r->n + first_window) * window, hidden[0],
           (size_t)(n * window) * sizeof(float));
    return true;
}

static bool keep_logits(void *ctx, int64_t first, int64_t count, const float *const *logits,
                        err *e)
{
    outcome *r = ctx;
    (void)e;
    memcpy(r->logits + first * r->vocab, logits[0], (size_t)(count * r->vocab) * sizeof(float));
    return true;
}

static bool keep_routing(void *ctx, int which, int64_t first_window, const routing *g, err *e)
{
    outcome *r = ctx;
    int64_t moe = 0;
    for (int64_t l = 0; l < g->layer; l++)
        moe += model_ffn(r->m, l) == FFN_MOE;
    (void)which;
    (void)e;
    int64_t at = (moe * r->n + first_window) * r->len;
    memcpy(r->router + at * r->top_k, g->chosen,
           (size_t)(g->n_tokens * r->top_k) * sizeof(int32_t));
    memcpy(r->margin + at, g->margin, (size_t)g->n_tokens * sizeof(float));
    return true;
}

void run_model(outcome *r, const model *m, const int32_t *tokens, int64_t n, int64_t len, pool *p,
               uint64_t memory)
{
    err e = ERR_INIT;
    const arch *a = model_arch(m);
    *r = (outcome){.m = m, .n = n, .len = len, .layers = a->n_layers, .hidden_size = a->hidden,
                   .vocab = a->vocab, .top_k = a->top_k};
    for (int64_t l = 0; l < a->n_layers; l++)
        r->moe_layers += model_ffn(m, l) == FFN_MOE;
    size_t t = (size_t)(n * len);
    r->hidden = calloc((size_t)(r->layers + 1) * t * (size_t)r->hidden_size, sizeof(float));
    r->logits = calloc(t * (size_t)r->vocab, sizeof(float));
    r->router = calloc((size_t)(r->moe_layers * r->top_k) * t + 1, sizeof(int32_t));
    r->margin = calloc((size_t)r->moe_layers * t + 1, sizeof(float));
    ck_assert(r->hidden && r->logits && r->router && r->margin);
    passes run = {.n_models = 1, .model = {m}, .tokens = tokens, .n = n, .len = len, .pool = p,
                  .memory = memory, .ctx = r, .on_hidden = keep_hidden, .on_logits = keep_logits,
                  .on_routing = keep_routing};
    ck_assert_msg(passes_run(&run, &e), "%s", e.text);
}

void outcome_free(outcome *r)
{
    free(r->hidden);
    free(r->logits);
    free(r->router);
    free(r->margin);
    *r = (outcome){0};
}

void assert_same_bits(const outcome *a, const outcome *b)
{
    size_t t = (size_t)(a->n * a->len);
    ck_assert_int_eq(a->n * a->len, b->n * b->len);
    ck_assert(memcmp(a->hidden, b->hidden,
                     (size_t)(a->layers + 1) * t * (size_t)a->hidden_size * 4) == 0);
    ck_assert(memcmp(a->logits, b->logits, t * (size_t)a->vocab * 4) == 0);
    ck_assert(memcmp(a->router, b->router, (size_t)(a->moe_layers * a->top_k) * t * 4) == 0);
    ck_assert(memcmp(a->margin, b->margin, (size_t)a->moe_layers * t * 4) == 0);
}

double relative_difference(const float *got, const float *want, int64_t n)
{
    double most = 0, largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double off = fabs((double)got[i] - (double)want[i]);
        most = off > most || isnan(off) ? off : most;
        largest = fmax(largest, fabs((double)want[i]));
    }
    return most / largest;
}

void random_tokens(int32_t *tokens, int64_t n, int64_t vocab, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = (int32_t)((seed >> 8) % (uint64_t)vocab);
    }
}

const char *shared_path(const char *name, char *buf, size_t size)
{
    const char *shared = getenv("SCRUPLE_SHARED");
    (void)snprintf(buf, size, "%s/%s", shared ? shared : "../shared", name);
    if (path_exists(buf))
        return buf;
    printf("skipped: '%s' is not there\n", buf);
    return NULL;
}
