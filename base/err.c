// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Names out of hostile files end up in sentences on terminals: no control bytes, no DEL.
static void make_printable(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
}

static void finish(char *text, size_t size, int wanted)
{
    if (wanted >= 0 && (size_t)wanted >= size)
        memcpy(text + size - 4, "...", 4);
    make_printable(text);
}

bool err_set(err *e, err_kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    finish(e->text, sizeof e->text, wanted);
    e->kind = kind;
    return false;
}

bool err_sys(err *e, const char *format, ...)
{
    int number = errno;
    char what[sizeof e->text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    char reason[128] = "unknown error";
    const char *text = strerror_r(number, reason, sizeof reason); // the GNU form returns the text
    return err_set(e, ERR_ENV, "%s: %s", what, text);
}

bool err_in(err *e, const char *format, ...)
{
    char before[sizeof e->text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(before, sizeof before, format, args);
    va_end(args);
    char old[sizeof e->text];
    memcpy(old, e->text, sizeof old);
    return err_set(e, e->kind, "%s: %s", before, old);
}
