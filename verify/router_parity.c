// SPDX-License-Identifier: Apache-2.0
#include "verify/router_parity.h"

#include <stdlib.h>
#include <string.h>

bool router_watch_init(router_watch *w, const model *ref, int64_t n_tokens, err *e)
{
    const arch *a = model_arch(ref);
    *w = (router_watch){.n_tokens = n_tokens, .top_k = a->top_k};
    w->layer = mem_new((uint64_t)a->n_layers, sizeof *w->layer, "layers", e);
    if (!w->layer)
        return false;
    for (int64_t i = 0; i < a->n_layers; i++)
        if (model_ffn(ref, i) == FFN_MOE)
            w->layer[w->n_layers++] = i;
    uint64_t n = (uint64_t)(w->n_layers * n_tokens);
    w->margin = mem_new(n, sizeof *w->margin, "router margins", e);
    w->n_shared = mem_new(n, sizeof *w->n_shared, "router agreement", e);
    w->chosen = mem_new((uint64_t)(n_tokens * a->top_k), sizeof *w->chosen, "chosen experts", e);
    if (w->margin && w->n_shared && w->chosen)
        return true;
    router_watch_free(w);
    return false;
}

void router_watch_free(router_watch *w)
{
    free(w->layer);
    free(w->margin);
    free(w->n_shared);
    free(w->chosen);
    *w = (router_watch){0};
}

uint64_t router_watch_bytes(const router_watch *w)
{
    uint64_t tokens = (uint64_t)w->n_tokens;
    return tokens * (uint64_t)w->n_layers * (sizeof *w->margin + sizeof *w->n_shared) +
           tokens * (uint64_t)w->top_k * sizeof *w->chosen;
}

// Both ascending.
static int64_t count_shared(const int32_t *a, const int32_t *b, int64_t k)
{
    int64_t n = 0;
    for (int64_t i = 0, j = 0; i < k && j < k;) {
        n += a[i] == b[j];
        if (a[i] == b[j]) {
            i++;
            j++;
        } else if (a[i] < b[j]) {
            i++;
        } else {
            j++;
        }
    }
    return n;
}

bool router_watch_add(router_watch *w, int which, int64_t first_token, const routing *r, err *e)
{
    int64_t at = 0;
    while (at < w->n_layers && w->layer[at] != r->layer)
        at++;
    if (at == w->n_layers || r->top_k != w->top_k || first_token + r->n_tokens > w->n_tokens)
        return err_set(e, ERR_INTERNAL, "a router of layer %lld was not expected",
                       (long long)r->layer);
    int32_t *chosen = w->chosen + first_token * w->top_k;
    if (which == 0) {
        memcpy(chosen, r->chosen, (size_t)(r->n_tokens * w->top_k) * sizeof *chosen);
        memcpy(w->margin + at * w->n_tokens + first_token, r->margin,
               (size_t)r->n_tokens * sizeof *r->margin);
        return true;
    }
    for (int64_t t = 0; t < r->n_tokens; t++)
        w->n_shared[at * w->n_tokens + first_token + t] =
            (uint16_t)count_shared(chosen + t * w->top_k, r->chosen + t * w->top_k, w->top_k);
    return true;
}

typedef struct {
    float margin;
    bool same;
} judged;

static int by_margin(const void *x, const void *y)
{
    const judged *a = x, *b = y;
    if (a->margin != b->margin)
        return a->margin < b->margin ? -1 : 1;
    return (int)a->same - (int)b->same;
}

static void judge_layer(const router_watch *w, int64_t at, judged *list, router_parity *to)
{
    *to = (router_parity){.layer = w->layer[at], .n = w->n_tokens};
    for (int64_t t = 0; t < w->n_tokens; t++) {
        int64_t shared = w->n_shared[at * w->n_tokens + t];
        list[t] = (judged){w->margin[at * w->n_tokens + t], shared == w->top_k};
        to->n_shared += shared;
        to->n_same += list[t].same;
        if (!list[t].same && (double)list[t].margin > to->largest_lost)
            to->largest_lost = (double)list[t].margin;
    }
    qsort(list, (size_t)w->n_tokens, sizeof *list, by_margin);
    for (int third = 0; third < 3; third++) {
        int64_t begin = w->n_tokens * third / 3, end = w->n_tokens * (third + 1) / 3;
        to->third_n[third] = end - begin;
        to->third_above[third] = begin < end ? (double)list[begin].margin : 0;
        for (int64_t i = begin; i < end; i++)
            to->third_same[third] += list[i].same;
    }
}

bool router_watch_end(const router_watch *w, router_parity **out, int64_t *n, err *e)
{
    judged *list = mem_new((uint64_t)w->n_tokens, sizeof *list, "router margins", e);
    *n = 0;
    *out = list ? mem_new((uint64_t)w->n_layers, sizeof **out, "router results", e) : NULL;
    if (*out)
        for (int64_t i = 0; i < w->n_layers; i++)
            judge_layer(w, i, list, &(*out)[(*n)++]);
    free(list);
    return *out != NULL;
}

router_parity router_parity_total(const logit_parity *l)
{
    router_parity all = {.layer = -1};
    for (int64_t i = 0; i < l->n_routers; i++) {
        const router_parity *r = &l->router[i];
        all.n += r->n;
        all.n_same += r->n_same;
        all.n_shared += r->n_shared;
        for (int third = 0; third < 3; third++) {
            all.third_n[third] += r->third_n[third];
            all.third_same[third] += r->third_same[third];
        }
        if (r->largest_lost > all.largest_lost)
            all.largest_lost = r->largest_lost;
    }
    return all;
}
