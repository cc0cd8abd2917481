// SPDX-License-Identifier: Apache-2.0
#include "verify/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool finding_add(findings *f, err *e, finding_kind kind, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++) // names out of files may hold anything
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
    if (!mem_grow((void **)&f->item, &f->cap, f->n + 1, sizeof *f->item, "findings", e))
        return false;
    const char *copy = arena_text(&f->texts, text, strlen(text), e);
    if (!copy)
        return false;
    f->item[f->n++] = (finding){kind, copy};
    return true;
}

bool findings_pass(const findings *f)
{
    for (uint64_t i = 0; i < f->n; i++)
        if (f->item[i].kind != FINDING_REMARK)
            return false;
    return true;
}

const char *finding_kind_name(finding_kind k)
{
    static const char *const names[] = {"fatal", "gate", "remark"};
    return names[k];
}

void findings_free(findings *f)
{
    free(f->item);
    arena_free(&f->texts);
    *f = (findings){0};
}
