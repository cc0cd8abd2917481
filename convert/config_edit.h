// SPDX-License-Identifier: Apache-2.0
// The quantization_config that tells other people's loaders what a plan wrote, spliced into the
// source's config.json; every other byte of it stays. Forms and readers:
// docs/quantization-config.md.
#ifndef SCRUPLE_CONVERT_CONFIG_EDIT_H
#define SCRUPLE_CONVERT_CONFIG_EDIT_H

#include "convert/plan.h"

// Appends the new config.json. Where the plan codes nothing the text is copied as it is. ERR_INPUT
// where one config cannot describe all tensors (a source that is quantized otherwise already).
MUST_USE bool config_edit(const plan *p, const char *source, size_t len, strbuf *out, err *e);

#endif
