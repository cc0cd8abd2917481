// SPDX-License-Identifier: Apache-2.0
// The options that commands share: every command has `common`, those with COMMAND_JSON and
// COMMAND_OUTPUT have more.
#ifndef SCRUPLE_CLI_SHARED_H
#define SCRUPLE_CLI_SHARED_H

#include "cli/command.h"

typedef struct {
    int64_t threads;
    uint64_t memory;
    int cpu;             // 0: the best there is, else cpu_level + 1
    int64_t progress_fd; // 0: none
    int64_t max_duration; // seconds; 0: none
    bool quiet, verbose, help;
} common_options;

typedef struct {
    bool force, dry_run;
} output_options;

typedef struct {
    bool json;
} json_options;

typedef struct {
    common_options common;
    output_options output;
    json_options json;
} shared_options;

enum { SHARED_SETS = 4 };

// The command's own table and the shared ones it has, as sets for options_parse and options_help.
// `own` is memory of c->options_size bytes. Returns the number of sets.
size_t shared_sets(const command *c, void *own, shared_options *shared,
                   option_set sets[SHARED_SETS]);

#endif
