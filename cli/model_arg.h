// SPDX-License-Identifier: Apache-2.0
// The row of an option table that names the checkpoint, alike in all commands that take one.
#ifndef SCRUPLE_CLI_MODEL_ARG_H
#define SCRUPLE_CLI_MODEL_ARG_H

#include "base/option.h"

#define MODEL_ARG(T, field)                                                                  \
    {                                                                                        \
        OPTION_ARG(T, field), .name = "input", .letter = 'i', .value = "MODEL",              \
            .required = true,                                                                \
            .help = "a safetensors file, or a folder with one or many shards",               \
            .alias = {"model", "input-path", "in-dir"}                                       \
    }

#endif
