// SPDX-License-Identifier: Apache-2.0
// Negative log likelihoods (nats) of the tokens that follow, from logits.
#ifndef SCRUPLE_VERIFY_NLL_H
#define SCRUPLE_VERIFY_NLL_H

#include "base/pool.h"

// log(sum exp(logits)) - logits[target], in binary64.
double nll_of(const float *logits, int64_t vocab, int32_t target);

typedef struct {
    const int32_t *tokens;  // [n][len], the whole array
    int64_t len, vocab;
    int64_t first, count;   // tokens that the logits belong to, counted over the whole array
    const float *logits;    // [count][vocab]
    float *nll;             // [n][len - 1], the whole array; each value rounded once
} nll_args;

// Fills nll for those of the `count` tokens that have a successor in their window.
MUST_USE bool nll_fill(pool *p, const nll_args *a, err *e);

#endif
