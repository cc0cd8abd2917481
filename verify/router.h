// SPDX-License-Identifier: Apache-2.0
// Which experts a token goes to, and with what weight. One token at a time, from the router's
// logits; the product that made them is the caller's. Scores in binary64 inside, rounded once to
// binary32; sums and comparisons of scores in binary32 as the reference code has them; ties go to
// the lowest index.
#ifndef SCRUPLE_VERIFY_ROUTER_H
#define SCRUPLE_VERIFY_ROUTER_H

#include "base/err.h"
#include "formats/model.h"

typedef struct {
    const arch *arch;
    const float *select_bias; // [n_experts]; NULL: none. Takes part in the choice only
} router;

// ERR_INPUT where groups do not divide the experts or leave fewer than top_k to choose from.
MUST_USE bool router_check(const arch *a, err *e);

// scores [n_experts]: finite logits in, scores (softmax or sigmoid) out. choice: scratch of
// [2 * n_experts]. chosen [top_k] ascending, share [top_k] in its order:
// scores / (their sum + renorm_eps) where the family renormalises, times route_scale.
// *margin: choice score of the last chosen minus that of the best not chosen within the allowed
// groups, infinity where there is none.
void router_choose(const router *r, float *scores, float *choice, int32_t *chosen, float *share,
                   float *margin);

#endif
