// SPDX-License-Identifier: Apache-2.0
// The reference forward pass, step by step: begin (embedding), layer after layer, head. Weights are
// streamed row block by row block and expert by expert; what stays in memory is the hidden state of
// the windows given. All numbers follow docs/numerics.md: the same bits on any thread count and
// CPU.
#ifndef SCRUPLE_VERIFY_FORWARD_H
#define SCRUPLE_VERIFY_FORWARD_H

#include "base/event.h"
#include "base/pool.h"
#include "formats/model.h"

// What the pass announces. x is the input of that role's matrix; gate and up share one
// announcement under the gate's role, q/k/v under ROLE_Q, q_a and kv_a under ROLE_KV_A.
typedef struct {
    role role;
    int64_t layer, expert;   // expert -1 where there is none
    const float *x;          // [rows][cols]
    int64_t rows, cols;
    const float *route;      // [rows] routing weights, NULL for non-experts
} activation;

// The router's decision of one layer for all tokens of the pass.
typedef struct {
    int64_t layer, n_tokens, top_k;
    const int32_t *chosen;   // [n_tokens][top_k] ascending
    const float *weight;     // [n_tokens][top_k] in the order of chosen
    const float *margin;     // [n_tokens] selection score of the last chosen minus the best not
                             // chosen among the allowed groups (infinity where there is none)
} routing;

typedef struct {
    pool *pool;                                        // may be NULL
    uint64_t memory;                                   // ceiling for the pass's own buffers
    const events *events;
    bool (*on_activation)(void *ctx, const activation *a, err *e); // tokens in order; may be NULL
    bool (*on_routing)(void *ctx, const routing *r, err *e);       // may be NULL
    void *ctx;
} forward_options;

typedef struct forward forward;

// ERR_INPUT, naming what is missing, for a family that is bound but whose pass this version does
// not compute: for who wants to know before long work. forward_open asks, too.
MUST_USE bool forward_is_computed(const model *m, err *e);
MUST_USE bool forward_open(forward **out, const model *m, const forward_options *o, err *e);
void forward_close(forward *f);
// How many windows of `len` tokens one pass can hold under o->memory with o->pool's threads; 0
// where not even one fits. *least: the memory that one window needs.
int64_t forward_windows(const model *m, int64_t len, const forward_options *o, uint64_t *least);
// The role under which the input of r's matrix is announced: ROLE_EXPERT_UP -> ROLE_EXPERT_GATE,
// ROLE_Q_A -> ROLE_KV_A, ROLE_K -> ROLE_Q (with latent attention ROLE_Q -> ROLE_KV_A); r itself
// for the others.
role forward_announced_as(const arch *a, role r);

// tokens int32 [n][len], each window attends to itself only. ERR_INPUT for an id outside the
// vocabulary, naming window and position.
MUST_USE bool forward_begin(forward *f, const int32_t *tokens, int64_t n, int64_t len, err *e);
// Sentences number windows from `first` on: for passes over a part of a larger array.
void forward_number_windows(forward *f, int64_t first);
MUST_USE bool forward_layer(forward *f, int64_t layer, err *e); // 0 .. n_layers-1 in order
MUST_USE bool forward_final_norm(forward *f, err *e);           // after the last layer
const float *forward_hidden(const forward *f); // [n][len][hidden] of the last finished step
// Logits of tokens [first, first + count) of n*len, row-major [count][vocab]; after final_norm.
MUST_USE bool forward_logits(forward *f, int64_t first, int64_t count, float *logits, err *e);

#endif
