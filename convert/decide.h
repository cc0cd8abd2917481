// SPDX-License-Identifier: Apache-2.0
// A recipe applied to a model: for every weight the rule that decides and the type that results.
// The rules come first, --type with --scope acts as the last one, what no rule decides is moved as
// it is. A rule or pattern that decides nothing is refused, most of them are typing errors: unless
// it is optional, or of a file and --tensor-type took its weights.
//
// What a rule reaches. Loose patterns (globs, regular expressions, ranges) mean linear weights
// (role_is_linear) only; routers, embeddings and heads have to be named by a class, a role or
// their whole name; vectors (norms, biases) and tensors without a role by a role or their whole
// name, and only to keep them. "keep" reaches everything that fits.
#ifndef SCRUPLE_CONVERT_DECIDE_H
#define SCRUPLE_CONVERT_DECIDE_H

#include "convert/plan.h"

typedef struct {
    int64_t rule;          // index; the number of rules for --type; -1: none
    const codec *codec;    // what it becomes; NULL: moved as it is
    codec_search search;   // SEARCH_BEST and false where they decide nothing
    bool positive_scales;
} decision;

// Decisions for the tensors of the checkpoint, [checkpoint_count], of a weight's tensors what the
// first weight gets that they are parts of; behind them one for each weight, [model_n_weights].
// free(*out). ERR_INPUT with the rule and the tensor.
MUST_USE bool decide(const plan_options *o, const checkpoint *c, const model *m, decision **out,
                     err *e);

#endif
