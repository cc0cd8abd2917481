// SPDX-License-Identifier: Apache-2.0
// How `convert` and `quantize` tell what they made, or with --dry-run would make.
#ifndef SCRUPLE_CLI_MADE_H
#define SCRUPLE_CLI_MADE_H

#include "cli/command.h"
#include "convert/make.h"

// Runs make_checkpoint with the command's context and prints the report to stdout.
MUST_USE bool made_and_told(const context *c, make_options *o, err *e);

#endif
