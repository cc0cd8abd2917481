// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static bool harmless(uint32_t c)
{
    bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    bool separator = c == 0x2028 || c == 0x2029;
    bool direction = c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
                     (c >= 0x2066 && c <= 0x2069);
    return !control && !separator && !direction;
}

void print_safe(strbuf *out, const char *text)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len;) {
        uint32_t code;
        int n = utf8_decode(text + at, len - at, &code);
        if (n > 0 && harmless(code))
            strbuf_add(out, text + at, (size_t)n);
        else
            strbuf_puts(out, "?");
        at += n > 0 ? (size_t)n : 1;
    }
}

bool print_out(const strbuf *text, err *e)
{
    if (!strbuf_ok(text, e))
        return false;
    if (text->len)
        (void)fwrite(text->text, 1, text->len, stdout);
    return true;
}

void table_init(table *t, const char *align)
{
    assert(strlen(align) <= TABLE_COLUMNS);
    *t = (table){.align = align, .n_columns = (int)strlen(align)};
}

// Characters, not bytes. Wide ones (CJK) make a row look shifted, no more.
static size_t columns_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void table_text(table *t, const char *cell)
{
    size_t begin = t->cells.len;
    print_safe(&t->cells, cell);
    strbuf_add(&t->cells, "", 1);
    if (t->cells.failed)
        return;
    size_t width = columns_of(t->cells.text + begin);
    if (width > t->width[t->column])
        t->width[t->column] = width;
    t->column = (t->column + 1) % t->n_columns;
}

void table_printf(table *t, const char *format, ...)
{
    char cell[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(cell, sizeof cell, format, args);
    va_end(args);
    table_text(t, cell);
}

void table_end(table *t, int indent, strbuf *out)
{
    assert(t->column == 0);
    const char *cell = t->cells.text;
    const char *end = cell + t->cells.len;
    out->failed = out->failed || t->cells.failed;
    for (int c = 0; cell < end && !out->failed; c = (c + 1) % t->n_columns) {
        bool last = c + 1 == t->n_columns, right = t->align[c] == 'r';
        int padding = (int)(t->width[c] - columns_of(cell));
        strbuf_printf(out, "%*s", c == 0 ? indent : 2, "");
        if (right)
            strbuf_printf(out, "%*s", padding, "");
        strbuf_puts(out, cell);
        if (!right && !last)
            strbuf_printf(out, "%*s", padding, "");
        if (last)
            strbuf_puts(out, "\n");
        cell += strlen(cell) + 1;
    }
    strbuf_free(&t->cells);
    *t = (table){0};
}
