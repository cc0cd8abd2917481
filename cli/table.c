// SPDX-License-Identifier: Apache-2.0
#include "cli/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

// How many bytes from the first on are printable ASCII.
static size_t plain_bytes(const char *text)
{
    size_t n = 0;
    while (text[n] >= 0x20 && text[n] < 0x7f)
        n++;
    return n;
}

void print_safe(strbuf *out, const char *text)
{
    size_t at = plain_bytes(text);
    strbuf_add(out, text, at);
    if (!text[at])
        return;
    for (size_t len = at + strlen(text + at); at < len;) {
        uint32_t code;
        int n = utf8_decode(text + at, len - at, &code);
        if (n > 0 && utf8_is_harmless(code))
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
static size_t columns_of(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

void table_text(table *t, const char *cell)
{
    size_t begin = t->cells.len, width = plain_bytes(cell);
    bool plain = !cell[width];
    if (!t->measuring || !plain) {
        print_safe(&t->cells, cell);
        strbuf_add(&t->cells, "", 1);
        if (t->cells.failed)
            return;
    }
    if (!plain)
        width = columns_of(t->cells.text + begin, t->cells.len - 1 - begin);
    if (width > t->width[t->column])
        t->width[t->column] = width;
    t->column = (t->column + 1) % t->n_columns;
    if (t->measuring && !plain)
        strbuf_clear(&t->cells);
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

static void add_spaces(strbuf *out, size_t n)
{
    static const char spaces[] = "                                                                ";
    for (; n >= sizeof spaces; n -= sizeof spaces - 1)
        strbuf_add(out, spaces, sizeof spaces - 1);
    strbuf_add(out, spaces, n);
}

void table_rows(table *t, int indent, strbuf *out)
{
    assert(t->column == 0 || t->cells.failed);
    const char *cell = t->cells.text;
    const char *end = cell + t->cells.len;
    out->failed = out->failed || t->cells.failed;
    for (int c = 0; cell < end && !out->failed; c = (c + 1) % t->n_columns) {
        bool last = c + 1 == t->n_columns, right = t->align[c] == 'r';
        size_t len = strlen(cell), padding = t->width[c] - columns_of(cell, len);
        add_spaces(out, (c == 0 ? (size_t)indent : 2) + (right ? padding : 0));
        strbuf_add(out, cell, len);
        if (!right && !last)
            add_spaces(out, padding);
        if (last)
            strbuf_add(out, "\n", 1);
        cell += len + 1;
    }
    strbuf_clear(&t->cells);
}

void table_end(table *t, int indent, strbuf *out)
{
    table_rows(t, indent, out);
    strbuf_free(&t->cells);
    *t = (table){0};
}
