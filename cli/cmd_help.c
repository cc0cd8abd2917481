// SPDX-License-Identifier: Apache-2.0
// scruple help: the overview, or what one command takes.
#include <stdio.h>

#include "cli/help.h"

typedef struct {
    const char *command;
    bool markdown;
} help_options;

static const option table[] = {
    {OPTION_ARG(help_options, command), .value = "COMMAND", .help = "the command to explain"},
    {OPTION_FLAG(help_options, markdown), .name = "markdown",
     .help = "as the pages in docs/commands are written"},
};

static const command_example examples[] = {
    {"All commands", "scruple help"},
    {"One of them", "scruple help quantize"},
};

static bool run(const context *c, const void *options, err *e)
{
    const help_options *o = options;
    const command *about = o->command ? command_find(o->command) : NULL;
    strbuf text = {0};
    (void)c;
    if (o->command && !about)
        return command_unknown(o->command, e);
    if (about)
        (o->markdown ? help_command_markdown : help_command)(about, &text);
    else
        (o->markdown ? help_overview_markdown : help_overview)(&text);
    bool ok = strbuf_ok(&text, e);
    if (ok)
        (void)fputs(text.text, stdout);
    strbuf_free(&text);
    return ok;
}

const command cmd_help = {
    .name = "help",
    .group = "self",
    .summary = "print this overview, or what one command takes",
    .about = "Without COMMAND: the list of commands. With it: usage, options with their\n"
             "defaults, examples and exit statuses, as COMMAND --help prints them.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = table,
    .n_options = COUNT_OF(table),
    .options_size = sizeof(help_options),
    .run = run,
};
