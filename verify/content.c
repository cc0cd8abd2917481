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

// The tensor beside `t` whose last name component is `last`.
static bool has_beside(const checkpoint *c, const tensor *t, const char *last, strbuf *name)
{
    const char *dot = strrchr(t->name, '.');
    strbuf_clear(name);
    if (dot)
        strbuf_add(name, t->name, (size_t)(dot + 1 - t->name));
    strbuf_puts(name, last);
    return !name->failed && checkpoint_find(c, name->text) != NULL;
}

static bool has_one_of(const checkpoint *c, const tensor *t, const char *const *last,
                       strbuf *name)
{
    for (; *last; last++)
        if (has_beside(c, t, *last, name))
            return true;
    return false;
}

const char *content_last(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

bool content_companions(const checkpoint *c, content_findings *f, err *e)
{
    static const char *const scales[] = {"weight_scale_inv", "weight_scale", "scale", NULL};
    static const char *const weights[] = {"weight", "weight_packed", NULL};
    strbuf name = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < checkpoint_count(c); i++) {
        const tensor *t = checkpoint_at(c, i);
        const char *last = content_last(t->name);
        bool packed = strcmp(last, "weight_packed") == 0;
        bool fp8 = strcmp(last, "weight") == 0 && t->type == DT_F8_E4M3;
        bool scale = strcmp(last, "weight_scale_inv") == 0 || strcmp(last, "weight_scale") == 0;
        if ((packed || fp8) && !has_one_of(c, t, scales, &name))
            ok = content_add(f, t->name, e, "is stored as %s and has no weight_scale%s beside it",
                             packed ? "packed codes" : "F8_E4M3",
                             packed ? "" : "_inv or weight_scale");
        else if (scale && !has_one_of(c, t, weights, &name))
            ok = content_add(f, t->name, e, "is a scale without a weight beside it");
    }
    ok = ok && strbuf_ok(&name, e);
    strbuf_free(&name);
    return ok;
}
