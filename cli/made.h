// SPDX-License-Identifier: Apache-2.0
// How `convert` and `quantize` tell what they made, or with --dry-run would make.
#ifndef SCRUPLE_CLI_MADE_H
#define SCRUPLE_CLI_MADE_H

#include "cli/command.h"
#include "convert/make.h"

#define EXPECT_OPTION(T, field)                                                                 \
    {                                                                                           \
        OPTION_TEXT(T, field), .name = "expect", .value = "FILE",                               \
            .help = "SHA-256 of the input's tensor files, as sha256sum writes them; names are " \
                    "relative to MODEL"                                                         \
    }
#define READ_BACK_OPTION(T, field)                                                              \
    {                                                                                           \
        OPTION_FLAG(T, field), .name = "read-back",                                             \
            .help = "read the finished files from the disk again and compare them before they " \
                    "get their names"                                                           \
    }

// Runs make_checkpoint with the command's context and prints the report to stdout.
MUST_USE bool made_and_told(const context *c, make_options *o, err *e);

#endif
