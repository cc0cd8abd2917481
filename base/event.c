// SPDX-License-Identifier: Apache-2.0
#include "base/event.h"

#include <stdarg.h>
#include <stdio.h>

#define FORMAT_LINE(line, format)                         \
    do {                                                  \
        va_list args;                                     \
        va_start(args, format);                           \
        (void)vsnprintf(line, sizeof line, format, args); \
        va_end(args);                                     \
    } while (0)

void event_warn(const events *v, const char *format, ...)
{
    char line[1024];
    if (!v || !v->warn)
        return;
    FORMAT_LINE(line, format);
    v->warn(v->ctx, line);
}

void event_note(const events *v, const char *format, ...)
{
    char line[1024];
    if (!v || !v->note)
        return;
    FORMAT_LINE(line, format);
    v->note(v->ctx, line);
}

void event_progress(const events *v, const char *what, uint64_t done, uint64_t total)
{
    if (v && v->progress)
        v->progress(v->ctx, what, done, total);
}

bool event_go_on(const events *v, err *e)
{
    if (v && v->stop && v->stop(v->ctx))
        return err_set(e, ERR_INTERRUPTED, "%s; give the same command again",
                       v->why ? v->why(v->ctx) : "stopped on request");
    return true;
}
