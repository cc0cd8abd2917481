// SPDX-License-Identifier: Apache-2.0
// `scruple show` for a GGUF without a family: what its key-values tell, and types and bytes of its
// tensors.
#ifndef SCRUPLE_CLI_SHOW_GGUF_H
#define SCRUPLE_CLI_SHOW_GGUF_H

#include "cli/command.h"
#include "formats/checkpoint.h"

MUST_USE bool show_gguf(const context *ctx, const checkpoint *c, err *e);

#endif
