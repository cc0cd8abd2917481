// SPDX-License-Identifier: Apache-2.0
// The only main(): the process's surroundings, and which command was asked for.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "base/sys.h"
#include "cli/command.h"
#include "cli/talk.h"

static void on_signal(int number)
{
    (void)number;
    talk_request_stop();
}

// The first signal asks to stop cleanly, a second one ends the process; calls that it interrupts go
// on (libraries do not all begin them again). A closed pipe and a file size limit are errors of a
// write, not ends of the process.
static void set_signals(void)
{
    static const int stop[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < COUNT_OF(stop); i++) {
        struct sigaction old;
        // nohup and background jobs of simple shells have asked for some to be ignored.
        if (sigaction(stop[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(stop[i], &action, NULL);
    }
    action = (struct sigaction){.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &action, NULL);
    (void)sigaction(SIGXFSZ, &action, NULL);
}

// A file opened later must never become stdin, stdout or stderr. What stands in for a closed
// stdout is not writable, so the loss shows.
static bool hold_standard_descriptors(err *e)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && sys_open("/dev/null", O_RDONLY, 0) < 0)
            return err_sys(e, "cannot open /dev/null in the place of a closed descriptor");
    return true;
}

int main(int argc, char **argv)
{
    static char help_word[] = "help", version_word[] = "version";
    char *standing[] = {help_word, NULL};
    err e = ERR_INIT;
    set_signals();
    if (!hold_standard_descriptors(&e)) {
        command_complain(NULL, &e);
        return (int)e.kind;
    }
    if (argc < 2) {
        err_set(&e, ERR_USAGE, "a command is missing");
        command_complain(NULL, &e);
        return ERR_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return command_main(&cmd_help, 1, standing);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        standing[0] = version_word;
        return command_main(&cmd_version, 1, standing);
    }
    const command *c = command_find(name);
    if (c)
        return command_main(c, argc - 1, argv + 1);
    command_unknown(name, &e);
    command_complain(NULL, &e);
    return ERR_USAGE;
}
