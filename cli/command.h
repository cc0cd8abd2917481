// SPDX-License-Identifier: Apache-2.0
// What a command is: a row of facts, an option table, a function. cmd_<name>.c defines
// `const command cmd_<name>`; one line in COMMANDS below makes it a part of the program, of its
// help and of the tests that hold docs/commands/ to the tables.
//
// A command prints facts to stdout, talks through context.events, and answers with bool and err:
// the kind of the error is the exit status (base/err.h). It neither exits nor prints its error.
#ifndef SCRUPLE_CLI_COMMAND_H
#define SCRUPLE_CLI_COMMAND_H

#include "base/event.h"
#include "base/option.h"
#include "base/pool.h"

// What run() gets beside its own options: the shared options, carried out.
typedef struct {
    pool *pool;           // NULL unless the command has COMMAND_POOL
    uint64_t memory;      // ceiling in bytes
    const events *events; // warnings, notes, progress, and whether to stop
    bool json;            // facts as JSON
    bool quiet, verbose;
    bool force, dry_run;  // COMMAND_OUTPUT
    int argc;             // the words as they were typed, without program name, for provenance
    char *const *argv;
} context;

enum {
    COMMAND_JSON = 1,   // prints facts: has --json
    COMMAND_OUTPUT = 2, // writes: has --force and --dry-run (its -o is in its own table)
    COMMAND_POOL = 4    // wants worker threads
};

typedef struct {
    const char *what, *line; // a few words, and what to type
} command_example;

typedef struct {
    const char *name;    // "ls"
    const char *group;   // "look", "make", "scale", "prove", "self"
    const char *summary; // one line for the overview, without full stop
    const char *about;   // paragraphs for help, lines broken below column 80, no '\n' at the end
    const char *usage;   // "MODEL --text FILE|--tokens FILE -o STATS", lines separated by '\n';
                         // NULL: made from the table
    const command_example *example;
    size_t n_examples;
    const option *table;
    size_t n_options, options_size; // sizeof the struct the table writes into
    unsigned flags;
    const char *no;      // what status 1 means; NULL where there is none
    bool (*run)(const context *c, const void *options, err *e);
} command;

#define COMMANDS(X) \
    X(ls)           \
    X(show)         \
    X(check)        \
    X(digest)       \
    X(explain)      \
    X(tokens)       \
    X(convert)      \
    X(survey)       \
    X(calibrate)    \
    X(quantize)     \
    X(run)          \
    X(status)       \
    X(merge)        \
    X(synth)        \
    X(forward)      \
    X(verify)       \
    X(bench)        \
    X(version)      \
    X(help)

#define COMMAND_DECLARE(name) extern const command cmd_##name;
COMMANDS(COMMAND_DECLARE)
#undef COMMAND_DECLARE

extern const command *const commands[]; // in the order of help
extern const size_t n_commands;

const command *command_find(const char *name); // NULL
// ERR_USAGE for a word that is no command, with the nearest one.
bool command_unknown(const char *name, err *e);
// Parses argv (argv[0] is the command's name), runs, says what went wrong; the exit status.
int command_main(const command *c, int argc, char *const *argv);
// Prints the sentence of an error as the program's last word; `name` NULL: of the program itself.
void command_complain(const char *name, const err *e);
// Closes stdout. A write that failed (full disk, closed pipe) shows here at the latest: ERR_ENV.
MUST_USE bool command_close_stdout(err *e);

#endif
