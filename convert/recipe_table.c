// SPDX-License-Identifier: Apache-2.0
#include "convert/recipe_table.h"

#include <stdlib.h>
#include <string.h>

// A weight and what it becomes. Moved: codec is NULL.
typedef struct {
    role role;
    int64_t layer, expert;
    const codec *codec;
    codec_search search;
    bool positive_scales;
} row;

// A role that is called like its class comes last: as a pattern its name means the class, and what
// else is in that has been decided by then.
static int order_of(role r)
{
    bool is_class = strcmp(role_name(r), role_class_name(role_class_of(r))) == 0;
    return (int)r + (is_class ? (int)ROLE_COUNT : 0);
}

static int by_place(const void *x, const void *y)
{
    const row *a = x, *b = y;
    if (a->role != b->role)
        return order_of(a->role) < order_of(b->role) ? -1 : 1;
    if (a->layer != b->layer)
        return a->layer < b->layer ? -1 : 1;
    return (a->expert > b->expert) - (a->expert < b->expert);
}

static bool same_type(const row *a, const row *b)
{
    return a->codec == b->codec && a->search == b->search &&
           a->positive_scales == b->positive_scales;
}

// One row a weight: its first part stands for it.
static row *collect(const plan *p, int64_t *n, err *e)
{
    row *list = mem_new((uint64_t)p->n_tensors, sizeof *list, "the recipe", e);
    *n = 0;
    for (int64_t i = 0; list && i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        if (!t->owned || t->part != 0)
            continue;
        // Weights that are kept; but what is to be in stacks has to be asked for.
        const codec *c = plan_weight(p, t)->codec;
        bool in_stacks = c->stacked && (t->stack || (t->from && t->expert < 0));
        c = in_stacks ? c : t->cut ? NULL : t->codec;
        list[(*n)++] = (row){t->role, t->layer, t->expert, c, t->search, t->positive_scales};
    }
    if (list)
        qsort(list, (size_t)*n, sizeof *list, by_place);
    return list;
}

// The end of the rows from `at` on that agree in role (and layer, where within_layer) and in type.
static int64_t run_end(const row *list, int64_t n, int64_t at, bool within_layer)
{
    int64_t end = at + 1;
    while (end < n && list[end].role == list[at].role && same_type(&list[end], &list[at]) &&
           (!within_layer || list[end].layer == list[at].layer))
        end++;
    return end;
}

static int64_t layer_begin(const row *list, int64_t at)
{
    while (at > 0 && list[at - 1].role == list[at].role && list[at - 1].layer == list[at].layer)
        at--;
    return at;
}

static bool ends_layer(const row *list, int64_t n, int64_t end)
{
    return end == n || list[end].role != list[end - 1].role ||
           list[end].layer != list[end - 1].layer;
}

static void add_range(strbuf *s, const char *what, int64_t from, int64_t to)
{
    strbuf_printf(s, " & %s=%lld", what, (long long)from);
    if (to != from)
        strbuf_printf(s, "..%lld", (long long)to);
}

// The rows [at, end) as a pattern that fits them and no other weight.
static void name_rows(const row *list, int64_t n, int64_t at, int64_t end, strbuf *pattern)
{
    const row *first = &list[at], *last = &list[end - 1];
    bool whole_role = (at == 0 || list[at - 1].role != first->role) &&
                      (end == n || list[end].role != first->role);
    strbuf_clear(pattern);
    strbuf_puts(pattern, role_name(first->role));
    if (whole_role)
        return;
    add_range(pattern, "layer", first->layer, last->layer);
    if (layer_begin(list, at) != at || !ends_layer(list, n, end))
        add_range(pattern, "expert", first->expert, last->expert);
}

// Longest runs of whole layers; a layer whose experts differ is cut into runs of experts.
static int64_t next_rows(const row *list, int64_t n, int64_t at)
{
    int64_t end = run_end(list, n, at, false);
    if (layer_begin(list, at) != at)
        return run_end(list, n, at, true);
    if (ends_layer(list, n, end))
        return end;
    int64_t whole = layer_begin(list, end);
    return whole > at ? whole : run_end(list, n, at, true);
}

bool recipe_table(const plan *p, strbuf *out, err *e)
{
    int64_t n;
    strbuf pattern = {0};
    json_writer w = {.out = out, .indent = 2};
    row *list = collect(p, &n, e);
    bool ok = list != NULL;
    recipe_write_begin(&w, "What each weight became. Works as --recipe for the same model.");
    for (int64_t at = 0; ok && at < n;) {
        int64_t end = next_rows(list, n, at);
        name_rows(list, n, at, end, &pattern);
        ok = strbuf_ok(&pattern, e);
        if (ok)
            recipe_write_rule(&w, pattern.text, list[at].codec, list[at].search,
                              list[at].positive_scales);
        at = end;
    }
    recipe_write_end(&w);
    strbuf_free(&pattern);
    free(list);
    return ok && strbuf_ok(out, e);
}
