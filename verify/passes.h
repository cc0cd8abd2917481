// SPDX-License-Identifier: Apache-2.0
// One or two models over all windows of a token array, in as many groups of windows as the memory
// allows, layer after layer: what `forward`, `calibrate` and `verify` run. Two models go in step,
// so that their states and logits can be compared where they arise. How the windows are grouped
// never decides a bit. Keeps nothing: results go to the callbacks.
#ifndef SCRUPLE_VERIFY_PASSES_H
#define SCRUPLE_VERIFY_PASSES_H

#include "verify/forward.h"

enum { PASSES_MAX_MODELS = 2 };

typedef struct {
    int n_models;                              // 1 or 2
    const model *model[PASSES_MAX_MODELS];     // two: same hidden size, layers and vocabulary
    const char *name[PASSES_MAX_MODELS];       // put in front of a model's sentences; may be NULL
    const int32_t *tokens;                     // [n][len]
    int64_t n, len;
    pool *pool;                                // may be NULL
    uint64_t memory;                           // ceiling for all buffers of the run
    uint64_t held;                             // of it, what the caller keeps for itself
    const events *events;                      // may be NULL; told of "layer"
    // All may be NULL; `which` is the model's place. Windows and tokens are counted over the whole
    // array, groups come in order.
    bool (*on_activation)(void *ctx, int which, const activation *a, err *e);
    bool (*on_routing)(void *ctx, int which, int64_t first_window, const routing *r, err *e);
    // After each step, hidden[which] [n][len][hidden]: entry 0 behind the embedding, entry i behind
    // layer i - 1, the last (n_layers) behind the last layer and the final norm.
    bool (*on_hidden)(void *ctx, int64_t entry, int64_t first_window, int64_t n,
                      const float *const *hidden, err *e);
    // logits[which] [count][vocab] of tokens [first, first + count) of n * len. Without this
    // callback the head is not read.
    bool (*on_logits)(void *ctx, int64_t first, int64_t count, const float *const *logits,
                      err *e);
    void *ctx;
} passes;

// ERR_ENV naming the smallest ceiling where the memory does not hold one window; ERR_INPUT for a
// token outside a vocabulary, before anything is computed.
MUST_USE bool passes_run(const passes *p, err *e);
// All that passes_run refuses before it computes anything.
MUST_USE bool passes_check(const passes *p, err *e);

#endif
