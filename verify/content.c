// SPDX-License-Identifier: Apache-2.0
#include "verify/content.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "verify/content_list.h"

void content_findings_free(content_findings *f)
{
    arena_free(&f->texts);
    free(f->item);
    *f = (content_findings){0};
}

bool content_add(content_findings *f, const char *subject, err *e, const char *format, ...)
{
    char what[512];
    va_list args;
    if (f->n == CONTENT_MOST_NAMED) {
        f->more++;
        return true;
    }
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (!mem_grow((void **)&f->item, &f->cap, f->n + 1, sizeof *f->item, "findings", e))
        return false;
    content_finding one = {arena_text(&f->texts, subject, strlen(subject), e),
                           arena_text(&f->texts, what, strlen(what), e)};
    if (!one.subject || !one.what)
        return false;
    f->item[f->n++] = one;
    return true;
}

// ---- companions ------------------------------------------------------------------------------

// The last components of names that belong together. Which ones there are at all is counted first:
// a header with a million weights and no scale is not searched a million times.
typedef enum { LAST_SCALE_INV, LAST_SCALE, LAST_BARE_SCALE, LAST_WEIGHT, LAST_PACKED,
               LAST_COUNT } last_kind;

static const char *const last_names[LAST_COUNT] = {"weight_scale_inv", "weight_scale", "scale",
                                                   "weight", "weight_packed"};

typedef struct {
    const checkpoint *c;
    bool has[LAST_COUNT];
    strbuf name;
} neighbours;

static last_kind kind_of(const char *name)
{
    const char *last = content_last(name);
    int k = 0;
    while (k < LAST_COUNT && strcmp(last, last_names[k]) != 0)
        k++;
    return (last_kind)k;
}

// True where one of the kinds [begin, end) stands beside `t`.
static bool has_beside(neighbours *n, const tensor *t, last_kind begin, last_kind end)
{
    const char *dot = strrchr(t->name, '.');
    size_t lead = dot ? (size_t)(dot + 1 - t->name) : 0;
    for (int k = (int)begin; k < (int)end; k++) {
        if (!n->has[k])
            continue;
        strbuf_clear(&n->name);
        strbuf_add(&n->name, t->name, lead);
        strbuf_puts(&n->name, last_names[k]);
        if (!n->name.failed && checkpoint_index_of(n->c, n->name.text) >= 0)
            return true;
    }
    return false;
}

const char *content_last(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static bool check_companion(neighbours *n, const tensor *t, content_findings *f, err *e)
{
    last_kind k = kind_of(t->name);
    bool packed = k == LAST_PACKED, fp8 = k == LAST_WEIGHT && t->type == DT_F8_E4M3;
    bool scale = k == LAST_SCALE_INV || k == LAST_SCALE;
    if ((packed || fp8) && !has_beside(n, t, LAST_SCALE_INV, LAST_WEIGHT))
        return content_add(f, t->name, e, "is stored as %s and has no weight_scale%s beside it",
                           packed ? "packed codes" : "F8_E4M3",
                           packed ? "" : "_inv or weight_scale");
    if (scale && !has_beside(n, t, LAST_WEIGHT, LAST_COUNT))
        return content_add(f, t->name, e, "is a scale without a weight beside it");
    return true;
}

bool content_companions(const checkpoint *c, content_findings *f, err *e)
{
    neighbours n = {.c = c};
    tensor t;
    bool ok = true;
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        checkpoint_get(c, i, &t);
        last_kind k = kind_of(t.name);
        if (k < LAST_COUNT)
            n.has[k] = true;
    }
    for (int64_t i = 0; ok && i < checkpoint_count(c); i++) {
        checkpoint_get(c, i, &t);
        ok = check_companion(&n, &t, f, e);
    }
    ok = ok && strbuf_ok(&n.name, e);
    strbuf_free(&n.name);
    return ok;
}
