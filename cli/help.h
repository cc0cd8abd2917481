// SPDX-License-Identifier: Apache-2.0
// Help out of the command table: for the terminal, and as the pages of docs/commands/.
#ifndef SCRUPLE_CLI_HELP_H
#define SCRUPLE_CLI_HELP_H

#include "cli/command.h"

void help_overview(strbuf *out);
void help_command(const command *c, strbuf *out);
void help_overview_markdown(strbuf *out);              // docs/commands/README.md
void help_command_markdown(const command *c, strbuf *out); // docs/commands/<name>.md

#endif
