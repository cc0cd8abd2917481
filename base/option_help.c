// SPDX-License-Identifier: Apache-2.0
// The talking half of option.h: usage line, help text and Markdown out of the same tables.
#include <string.h>

#include "base/option.h"

enum { WIDTH = 80, LEFT_MOST = 26 }; // columns of a line, and of its left part at most

static bool is_argument(const option *o)
{
    return o->kind == OPTION_KIND_ARG || o->kind == OPTION_KIND_ARGS;
}

// "-o, --output DIR", "    --force", "MODEL", "FILE..."
static void add_signature(const option *o, bool align, strbuf *out)
{
    if (is_argument(o)) {
        strbuf_puts(out, o->value);
        if (o->kind == OPTION_KIND_ARGS)
            strbuf_puts(out, "...");
        return;
    }
    if (o->letter)
        strbuf_printf(out, "-%c, ", o->letter);
    else if (align)
        strbuf_puts(out, "    ");
    strbuf_printf(out, "--%s", o->name);
    if (o->value)
        strbuf_printf(out, " %s", o->value);
    if (o->kind == OPTION_KIND_WORDS)
        strbuf_puts(out, "...");
}

static void add_choices(const option *o, strbuf *out)
{
    for (int i = 0; o->choices[i]; i++)
        strbuf_printf(out, "%s%s", i == 0 ? ": " : o->choices[i + 1] ? ", " : " or ",
                      o->choices[i]);
}

// What stands in brackets behind the help: default, other names.
static void add_remarks(const option *o, strbuf *out)
{
    const char *lead = " (";
    if (o->preset) {
        strbuf_printf(out, "%sdefault %s", lead, o->preset);
        lead = "; ";
    }
    if (o->kind == OPTION_KIND_LIST) {
        strbuf_printf(out, "%smay be given several times", lead);
        lead = "; ";
    }
    const char *also = "also ";
    if (is_argument(o) && o->letter) {
        strbuf_printf(out, "%s%s-%c", lead, also, o->letter);
        lead = ", ";
        also = "";
    }
    for (int i = is_argument(o) ? -1 : 0; i < OPTION_ALIASES; i++) {
        const char *name = i < 0 ? o->name : o->alias[i];
        if (!name)
            continue;
        strbuf_printf(out, "%s%s--%s", lead, also, name);
        lead = ", ";
        also = "";
    }
    if (lead[0] != ' ')
        strbuf_puts(out, ")");
}

static void add_meaning(const option *o, strbuf *out)
{
    strbuf_puts(out, o->help);
    if (o->kind == OPTION_KIND_CHOICE)
        add_choices(o, out);
    add_remarks(o, out);
}

void options_usage(const option_set *sets, size_t n_sets, strbuf *out)
{
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++) {
            const option *o = &sets[s].row[i];
            if (is_argument(o))
                strbuf_printf(out, o->required ? "%s%s " : "[%s%s] ", o->value,
                              o->kind == OPTION_KIND_ARGS ? "..." : "");
        }
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++) {
            const option *o = &sets[s].row[i];
            if (is_argument(o) || !o->required)
                continue;
            if (o->letter)
                strbuf_printf(out, "-%c %s ", o->letter, o->value);
            else
                strbuf_printf(out, "--%s %s ", o->name, o->value);
        }
    strbuf_puts(out, "[options]");
}

// Words of `text`, lines broken before column WIDTH, continuation lines begin at `left`.
static void add_wrapped(strbuf *out, const char *text, size_t left)
{
    size_t column = left;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (column > left && column + 1 + n > WIDTH) {
            strbuf_printf(out, "\n%*s", (int)left, "");
            column = left;
        } else if (column > left) {
            strbuf_puts(out, " ");
            column++;
        }
        strbuf_add(out, text, n);
        column += n;
        text += n + (text[n] == ' ');
    }
    strbuf_puts(out, "\n");
}

static void help_row(const option *o, size_t left, strbuf *out)
{
    strbuf meaning = {0};
    size_t begin = out->len;
    strbuf_puts(out, "  ");
    add_signature(o, true, out);
    size_t used = out->len - begin;
    if (used + 2 > left)
        strbuf_printf(out, "\n%*s", (int)left, "");
    else
        strbuf_printf(out, "%*s", (int)(left - used), "");
    add_meaning(o, &meaning);
    if (meaning.failed)
        out->failed = true;
    else
        add_wrapped(out, meaning.text, left);
    strbuf_free(&meaning);
}

// The column where meanings begin: behind the longest signature that is not too long.
static size_t left_width(const option_set *sets, size_t n_sets)
{
    size_t left = 0;
    strbuf text = {0};
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++) {
            strbuf_clear(&text);
            add_signature(&sets[s].row[i], true, &text);
            if (text.len > left && text.len <= LEFT_MOST)
                left = text.len;
        }
    strbuf_free(&text);
    return left + 4;
}

static size_t count_arguments(const option_set *sets, size_t n_sets)
{
    size_t n = 0;
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++)
            n += is_argument(&sets[s].row[i]);
    return n;
}

static size_t count_options(const option_set *set)
{
    return set->n - count_arguments(set, 1);
}

void options_help(const option_set *sets, size_t n_sets, strbuf *out)
{
    size_t left = left_width(sets, n_sets);
    if (count_arguments(sets, n_sets))
        strbuf_puts(out, "\nArguments:\n");
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++)
            if (is_argument(&sets[s].row[i]))
                help_row(&sets[s].row[i], left, out);
    for (size_t s = 0; s < n_sets; s++) {
        if (!count_options(&sets[s]))
            continue;
        strbuf_printf(out, "\n%s:\n", sets[s].title);
        for (size_t i = 0; i < sets[s].n; i++)
            if (!is_argument(&sets[s].row[i]))
                help_row(&sets[s].row[i], left, out);
    }
}

static void markdown_row(const option *o, strbuf *out)
{
    strbuf text = {0};
    strbuf_puts(out, "| `");
    add_signature(o, false, out);
    strbuf_puts(out, "` | ");
    add_meaning(o, &text);
    for (size_t i = 0; i < text.len; i++) {
        if (strchr("|<>*_", text.text[i]))
            strbuf_puts(out, "\\");
        strbuf_add(out, text.text + i, 1);
    }
    out->failed = out->failed || text.failed;
    strbuf_free(&text);
    strbuf_puts(out, " |\n");
}

void options_markdown(const option_set *sets, size_t n_sets, strbuf *out)
{
    if (count_arguments(sets, n_sets))
        strbuf_puts(out, "\n## Arguments\n\n| argument | meaning |\n|---|---|\n");
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++)
            if (is_argument(&sets[s].row[i]))
                markdown_row(&sets[s].row[i], out);
    for (size_t s = 0; s < n_sets; s++) {
        if (!count_options(&sets[s]))
            continue;
        strbuf_printf(out, "\n## %s\n\n| option | meaning |\n|---|---|\n", sets[s].title);
        for (size_t i = 0; i < sets[s].n; i++)
            if (!is_argument(&sets[s].row[i]))
                markdown_row(&sets[s].row[i], out);
    }
}
