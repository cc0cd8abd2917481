// SPDX-License-Identifier: Apache-2.0
// Reference against candidate on the same tokens: divergence of the logits, agreement of routers
// and hidden states. Both models run in step (passes.h); nothing but a few bytes a token is kept.
#ifndef SCRUPLE_VERIFY_LOGIT_PARITY_H
#define SCRUPLE_VERIFY_LOGIT_PARITY_H

#include "base/pool.h"
#include "formats/model.h"
#include "formats/windows.h"
#include "verify/bootstrap.h"
#include "verify/metrics.h"

typedef struct {
    const model *ref, *cand;
    const windows *windows;
    pool *pool;
    uint64_t memory;
    const events *events;
    uint64_t seed;            // of the bootstrap
    bool layers_only;         // hidden states and routers, no logits
} logit_parity_options;

// One MoE layer's routers.
typedef struct {
    int64_t layer;
    int64_t n, n_same;        // tokens; those with the same set of experts
    int64_t n_shared;         // experts in both sets, over all tokens (of n x top_k)
    // By the reference's margin (score of the last chosen minus that of the first not chosen), in
    // thirds of the tokens: small, middle, large.
    int64_t third_n[3], third_same[3];
    double third_above[3];    // the smallest margin of the third
    double largest_lost;      // the largest margin with which a set still changed; 0 where none did
} router_parity;

// The hidden state behind a step: entry 0 the embedding, the last the final norm.
typedef struct {
    matrix_sums sums;
} hidden_parity;

typedef struct {
    int64_t n_tokens;
    // Logits; n_tokens 0 in here where layers_only.
    interval kld;
    double kld_median, kld_p99, kld_max;
    int64_t n_same_top, n_scored;      // tokens with logits compared
    interval nll_difference;           // candidate minus reference, nats a token
    double nll_ref, nll_cand;          // means over tokens that have a successor
    double *window_kld;                // [windows] sums over the window's tokens
    double *window_nll;                // [windows] sums of differences
    int64_t n_windows, window_tokens;
    router_parity *router;             // one a MoE layer, ascending
    int64_t n_routers;
    hidden_parity *hidden;             // [n_layers + 1]
    int64_t n_hidden;
} logit_parity;

// The same bits on any thread count and memory.
MUST_USE bool logit_parity_run(logit_parity *out, const logit_parity_options *o, err *e);
void logit_parity_free(logit_parity *p);

#endif
