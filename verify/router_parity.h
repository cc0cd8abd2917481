// SPDX-License-Identifier: Apache-2.0
// Do two models send the same tokens to the same experts? Watches both routers layer by layer and
// counts agreement, also by the reference's margin: with a large margin a set must not change, with
// a small one rounding may do it.
#ifndef SCRUPLE_VERIFY_ROUTER_PARITY_H
#define SCRUPLE_VERIFY_ROUTER_PARITY_H

#include "verify/forward.h"
#include "verify/logit_parity.h"

typedef struct {
    int64_t n_tokens, n_layers, top_k;
    int64_t *layer;      // [n_layers] MoE layers, ascending
    float *margin;       // [n_layers][n_tokens] of the reference
    uint16_t *n_shared;  // [n_layers][n_tokens] experts in both sets
    int32_t *chosen;     // [n_tokens][top_k] of the reference, of the layer at hand
} router_watch;

MUST_USE bool router_watch_init(router_watch *w, const model *ref, int64_t n_tokens, err *e);
void router_watch_free(router_watch *w);
uint64_t router_watch_bytes(const router_watch *w);
// which 0: the reference, comes first for a layer and its tokens; 1: the candidate.
MUST_USE bool router_watch_add(router_watch *w, int which, int64_t first_token, const routing *r,
                               err *e);
MUST_USE bool router_watch_end(const router_watch *w, router_parity **out, int64_t *n, err *e);

// Counts over all layers; layer is -1, thresholds of the thirds are 0 (they differ by layer).
router_parity router_parity_total(const logit_parity *l);

#endif
