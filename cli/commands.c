// SPDX-License-Identifier: Apache-2.0
// The command table. Which commands there are stands in command.h.
#include <string.h>

#include "cli/command.h"

#define COMMAND_ENTRY(name) &cmd_##name,
const command *const commands[] = {COMMANDS(COMMAND_ENTRY)};
const size_t n_commands = COUNT_OF(commands);

const command *command_find(const char *name)
{
    for (size_t i = 0; i < n_commands; i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

bool command_unknown(const char *name, err *e)
{
    const char *names[COUNT_OF(commands)];
    for (size_t i = 0; i < n_commands; i++)
        names[i] = commands[i]->name;
    const char *near = str_nearest(name, names, n_commands);
    if (name[0] == '-')
        return err_set(e, ERR_USAGE, "options stand behind the command: scruple COMMAND %s", name);
    if (near)
        return err_set(e, ERR_USAGE, "unknown command '%s'; did you mean '%s'?", name, near);
    return err_set(e, ERR_USAGE, "unknown command '%s'", name);
}
