// SPDX-License-Identifier: Apache-2.0
#include "cli/help.h"

#include <ctype.h>
#include <string.h>

#include "base/version.h"
#include "cli/shared.h"

static const struct {
    const char *name, *title;
} groups[] = {{"look", "Look at a checkpoint"},
              {"make", "Make one out of another"},
              {"scale", "Scale it out"},
              {"prove", "Prove what it is worth"},
              {"self", "About scruple"}};

static const struct {
    int status;
    const char *meaning;
} statuses[] = {{0, "done, or yes"},
                {2, "the command line makes no sense"},
                {3, "bad input: corrupt, hostile or unsupported"},
                {4, "environment: space, memory, permission, input and output"},
                {5, "interrupted; the same command goes on"},
                {6, "a broken promise of scruple: please report it"}};

// Calls `line` for status 0, 1 (where the command has one), 2 and so on.
static void each_status(const command *c, void (*line)(strbuf *, int, const char *), strbuf *out)
{
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        line(out, statuses[i].status, statuses[i].meaning);
        if (statuses[i].status == 0 && c->no)
            line(out, 1, c->no);
    }
}

static void text_status(strbuf *out, int status, const char *meaning)
{
    strbuf_printf(out, "  %d  %s\n", status, meaning);
}

static void markdown_status(strbuf *out, int status, const char *meaning)
{
    strbuf_printf(out, "| %d | %s |\n", status, meaning);
}

// The usage lines, the first behind `lead`, the others behind `next`.
static void add_usage(const command *c, const char *lead, const char *next, strbuf *out)
{
    if (!c->usage) {
        shared_options shared;
        option_set sets[SHARED_SETS];
        size_t n = shared_sets(c, NULL, &shared, sets);
        strbuf_printf(out, "%sscruple %s ", lead, c->name);
        options_usage(sets, n, out);
        strbuf_puts(out, "\n");
        return;
    }
    for (const char *line = c->usage; *line;) {
        size_t n = strcspn(line, "\n");
        strbuf_printf(out, "%sscruple %s %.*s [options]\n", lead, c->name, (int)n, line);
        line += n + (line[n] == '\n');
        lead = next;
    }
}

static void each_group(void (*head)(strbuf *, const char *),
                       void (*line)(strbuf *, const command *), strbuf *out)
{
    for (size_t g = 0; g < COUNT_OF(groups); g++) {
        bool any = false;
        for (size_t i = 0; i < n_commands; i++) {
            if (strcmp(commands[i]->group, groups[g].name) != 0)
                continue;
            if (!any)
                head(out, groups[g].title);
            any = true;
            line(out, commands[i]);
        }
    }
}

static void text_head(strbuf *out, const char *title) { strbuf_printf(out, "\n%s\n", title); }

static void text_line(strbuf *out, const command *c)
{
    strbuf_printf(out, "  %-10s %s\n", c->name, c->summary);
}

static void markdown_head(strbuf *out, const char *title)
{
    strbuf_printf(out, "\n## %s\n\n| command | what it does |\n|---|---|\n", title);
}

static void markdown_line(strbuf *out, const command *c)
{
    strbuf_printf(out, "| [`%s`](%s.md) | %s |\n", c->name, c->name, c->summary);
}

void help_overview(strbuf *out)
{
    strbuf_puts(out, "usage: scruple COMMAND [arguments] [options]\n\n"
                     "scruple " SCRUPLE_VERSION ": a toolkit for Mixture-of-Experts checkpoints\n");
    each_group(text_head, text_line, out);
    strbuf_puts(out, "\nscruple help COMMAND, or scruple COMMAND --help, says more about one.\n"
                     "stdout is data, stderr is talk, the exit status is the verdict.\n");
}

void help_overview_markdown(strbuf *out)
{
    strbuf_puts(out, "# Commands\n\nMade by `make docs` from the tables in `cli/`. What the exit "
                     "statuses mean is in\n[exit-status.md](../exit-status.md).\n");
    each_group(markdown_head, markdown_line, out);
}

void help_command(const command *c, strbuf *out)
{
    shared_options shared;
    option_set sets[SHARED_SETS];
    size_t n = shared_sets(c, NULL, &shared, sets);
    add_usage(c, "usage: ", "       ", out);
    strbuf_printf(out, "\n%s\n", c->about);
    options_help(sets, n, out);
    if (c->n_examples)
        strbuf_puts(out, "\nExamples:\n");
    for (size_t i = 0; i < c->n_examples; i++)
        strbuf_printf(out, "  %s:\n    %s\n", c->example[i].what, c->example[i].line);
    strbuf_puts(out, "\nExit status:\n");
    each_status(c, text_status, out);
}

void help_command_markdown(const command *c, strbuf *out)
{
    shared_options shared;
    option_set sets[SHARED_SETS];
    size_t n = shared_sets(c, NULL, &shared, sets);
    strbuf_printf(out, "# scruple %s\n\n%c%s.\n\n```\n", c->name,
                  toupper((unsigned char)c->summary[0]), c->summary + 1);
    add_usage(c, "", "", out);
    strbuf_printf(out, "```\n\n%s\n", c->about);
    options_markdown(sets, n, out);
    if (c->n_examples)
        strbuf_puts(out, "\n## Examples\n");
    for (size_t i = 0; i < c->n_examples; i++)
        strbuf_printf(out, "\n%s:\n\n```\n%s\n```\n", c->example[i].what, c->example[i].line);
    strbuf_puts(out, "\n## Exit status\n\n| status | meaning |\n|---|---|\n");
    each_status(c, markdown_status, out);
}
