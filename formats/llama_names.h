// SPDX-License-Identifier: Apache-2.0
// What llama.cpp calls the matrices of a model: "blk.3.ffn_down_exps.weight", experts of a layer
// together. Names only; which tensors are turned, permuted or split on the way there is not
// known here.
#ifndef SCRUPLE_FORMATS_LLAMA_NAMES_H
#define SCRUPLE_FORMATS_LLAMA_NAMES_H

#include "base/str.h"
#include "formats/role.h"

enum { LLAMA_NAME_TEXT = 64 };

// The name of a role's weight; layer -1 for global roles. NULL for roles that are no matrices.
const char *llama_weight_name(role r, int64_t layer, char buf[LLAMA_NAME_TEXT]);
// The name that the weight of one expert had in files from before experts lay together
// ("blk.3.ffn_gate.5.weight"); NULL for other roles.
const char *llama_expert_name(role r, int64_t layer, int64_t expert, char buf[LLAMA_NAME_TEXT]);

#endif
