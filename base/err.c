// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

// Names out of hostile files end up in sentences on terminals: what plays tricks there, and what is
// no UTF-8, becomes '?'.
static void make_printable(char *text)
{
    size_t len = strlen(text), to = 0;
    for (size_t at = 0; at < len;) {
        uint32_t code;
        int n = utf8_decode(text + at, len - at, &code);
        if (n > 0 && utf8_is_harmless(code)) {
            memmove(text + to, text + at, (size_t)n);
            to += (size_t)n;
        } else {
            text[to++] = '?';
        }
        at += n > 0 ? (size_t)n : 1;
    }
    text[to] = 0;
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

static bool put_before(err *e, const char *before, const char *between)
{
    enum { MOST = sizeof e->text - 1 };
    size_t n = strlen(before), gap = strlen(between), old = strlen(e->text);
    bool fits = n + gap + old <= MOST;
    n = n < MOST - gap ? n : MOST - gap;
    old = old < MOST - gap - n ? old : MOST - gap - n;
    memmove(e->text + n + gap, e->text, old);
    memcpy(e->text, before, n);
    memcpy(e->text + n, between, gap);
    e->text[n + gap + old] = 0;
    if (!fits)
        memcpy(e->text + MOST - 3, "...", 3);
    return false;
}

bool err_in(err *e, const char *format, ...)
{
    char before[sizeof e->text];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(before, sizeof before, format, args);
    va_end(args);
    make_printable(before);
    return put_before(e, before, ": ");
}

bool err_in_file(err *e, const char *what, const char *name)
{
    char quoted[sizeof e->text];
    (void)snprintf(quoted, sizeof quoted, "'%s'", name);
    make_printable(quoted);
    if (strncmp(e->text, quoted, strlen(quoted)) == 0)
        return put_before(e, what, " ");
    return err_in(e, "%s '%s'", what, name);
}
