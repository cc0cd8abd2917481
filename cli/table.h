// SPDX-License-Identifier: Apache-2.0
// Facts for people: columns that line up, and text out of files that cannot play tricks with a
// terminal. The form of what is printed here promises nothing; --json does.
#ifndef SCRUPLE_CLI_TABLE_H
#define SCRUPLE_CLI_TABLE_H

#include "base/str.h"

// Appends `text` with '?' for everything that is no printable UTF-8: control characters (also of
// the second set), invalid bytes, marks that reverse the direction of writing, line separators.
void print_safe(strbuf *out, const char *text);
// Writes a text to stdout. What fails here shows in command_close_stdout.
MUST_USE bool print_out(const strbuf *text, err *e);

enum { TABLE_COLUMNS = 12 };

// Rows are collected and printed at the end; or, where there may be millions, they are given twice:
// once to be measured, and again to be printed in between. Failures stick, as in strbuf.
typedef struct {
    const char *align; // a letter a column: 'l' or 'r'
    int n_columns, column; // of the cell that comes next
    size_t width[TABLE_COLUMNS];
    bool measuring;    // set by the caller for the first round: cells are not kept
    strbuf cells;      // NUL-separated
} table;

// Between columns stand two spaces; a last column aligned to the left is not padded.
void table_init(table *t, const char *align);
void table_text(table *t, const char *cell); // made safe
void table_printf(table *t, const char *format, ...) PRINTF_LIKE(2, 3);
// Appends the rows that are complete, each behind `indent` spaces, and forgets them.
void table_rows(table *t, int indent, strbuf *out);
// The same, and frees the table.
void table_end(table *t, int indent, strbuf *out);

#endif
