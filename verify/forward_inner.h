// SPDX-License-Identifier: Apache-2.0
// Inside of the forward pass, for its own files only: the state, the memory plan, and the steps
// that forward.c strings together. Everyone else includes forward.h.
#ifndef SCRUPLE_VERIFY_FORWARD_INNER_H
#define SCRUPLE_VERIFY_FORWARD_INNER_H

#include "verify/forward.h"
#include "verify/linear.h"
#include "verify/rope.h"

// How the memory of a pass is cut. None of it changes a bit of the result.
typedef struct {
    int64_t group;          // windows that attention takes at a time
    int64_t block;          // tokens that router and feed-forward take at a time
    uint64_t weight_bytes;  // decoded rows of a weight at a time
    uint64_t ahead;         // for weights that are read ahead; 0: none are
    uint64_t work_floats;   // shared scratch of attention and feed-forward
    uint64_t worker_floats; // scratch of one worker
    uint64_t fixed;         // bytes that do not grow with the windows
    uint64_t per_window;    // bytes of one window: hidden states, routing
} forward_plan;

// The most comfortable plan whose fixed part leaves three quarters of `memory` to the windows, else
// the smallest there is.
void forward_plan_make(forward_plan *p, const arch *a, int64_t len, int threads, uint64_t memory);

struct forward {
    const model *m;
    const arch *a;
    forward_options o;
    forward_plan plan;
    linear lin;
    bool lin_ready;
    rope rope;
    int64_t n, len, tokens;        // windows, tokens of one, n * len
    int64_t first_window;          // the number of window 0 in sentences
    int64_t next_layer;            // that forward_layer has to be called with
    bool normed;                   // the final norm is done
    scratch hidden, in, delta;     // [tokens][hidden]: state, its norm, what a step adds to it
    scratch chosen, weight, margin, slots; // routing: [tokens][top_k] and [tokens]
    scratch work;                  // work_floats
    const weight **order;          // that matrices will be used in, for linear_expect
    uint64_t n_order, order_cap;
    scratch vector;                // one norm's or bias' weights
    scratch *worker;               // [threads] worker_floats each
};

// The weight of a role; ERR_INPUT with its name where the model has none.
MUST_USE bool forward_weight(const forward *f, const weight **w, role r, int64_t layer,
                             int64_t expert, err *e);
// y [m][out] = weight of role r (plus bias role b, ROLE_COUNT: none) times x [m][in].
typedef struct {
    role r, bias;
    int64_t layer, expert;
    const float *x;
    float *y;
    int64_t m;
} product;
MUST_USE bool forward_product(forward *f, const product *p, err *e);
// y [rows][n] = RMS norm of x (row stride x_row) by the vector of role r.
typedef struct {
    role r;
    int64_t layer;
    const float *x;
    float *y;
    int64_t x_row, y_row, rows, n;
    double eps;
} normalising;
MUST_USE bool forward_norm(forward *f, const normalising *p, err *e);
MUST_USE bool forward_announce(const forward *f, const activation *a, err *e);
// From now on the matrices are read ahead that the pass uses from the start of `layer` on, up to
// the next router, behind which nobody knows the experts yet ...
MUST_USE bool forward_expect_layer(forward *f, int64_t layer, err *e);
// ... those behind the routing of `layer`: the experts (end[x] - end[x - 1] tokens go to expert x),
// the shared expert, the next layers up to the next router ...
MUST_USE bool forward_expect_experts(forward *f, int64_t layer, const int64_t *end, err *e);
// ... and the head.
MUST_USE bool forward_expect_head(forward *f, err *e);
// The worker's own scratch of plan.worker_floats.
MUST_USE float *forward_worker(forward *f, int worker, err *e);

// Steps of a layer. They read f->in and write f->delta, all tokens.
MUST_USE bool forward_gqa(forward *f, int64_t layer, int64_t first_window, int64_t n, err *e);
MUST_USE bool forward_mla(forward *f, int64_t layer, int64_t first_window, int64_t n, err *e);
MUST_USE bool forward_dense(forward *f, int64_t layer, err *e);
MUST_USE bool forward_moe(forward *f, int64_t layer, err *e);

// Gated feed-forward of m <= plan.block tokens: y = W_down(silu(W_gate x) * W_up x). hold: scratch
// of 2 * m * inter.
typedef struct {
    role gate, up, down;
    int64_t layer, expert, inter;
    const float *x;      // [m][hidden]
    float *y;            // [m][hidden]
    const float *route;  // [m] for the announcements; NULL
    float *hold;
    int64_t m;
} gated;
MUST_USE bool forward_gated(forward *f, const gated *g, err *e);

// Floats of f->work that the steps need.
uint64_t forward_gqa_floats(const arch *a, uint64_t tokens);
uint64_t forward_mla_floats(const arch *a, uint64_t tokens);
uint64_t forward_ffn_floats(const arch *a, uint64_t tokens);
// Floats of one worker's scratch.
uint64_t forward_attend_floats(const arch *a, uint64_t len);

// Products and sums of sizes that stop at UINT64_MAX.
static inline uint64_t most_mul(uint64_t a, uint64_t b)
{
    uint64_t c;
    return size_mul(a, b, &c) ? c : UINT64_MAX;
}
static inline uint64_t most_add(uint64_t a, uint64_t b)
{
    uint64_t c;
    return size_add(a, b, &c) ? c : UINT64_MAX;
}

#endif
