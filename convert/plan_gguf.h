// SPDX-License-Identifier: Apache-2.0
// What is GGUF's in a plan: which tensors the container can hold, and its headers. plan.c's other
// half; nobody else calls it.
#ifndef SCRUPLE_CONVERT_PLAN_GGUF_H
#define SCRUPLE_CONVERT_PLAN_GGUF_H

#include "convert/plan.h"

// ERR_INPUT where a tensor has a type, a rank or a name that the layout's container does not have,
// with the first of them and how many there are.
MUST_USE bool plan_fits_container(const plan *p, err *e);
// Fills in a file's header and size and its tensors' places; `list` has room for them. A GGUF
// source's key-values go into the first file, general.file_type only where nothing is coded.
MUST_USE bool plan_gguf_header(plan *p, int64_t file, tensor *list, err *e);

#endif
