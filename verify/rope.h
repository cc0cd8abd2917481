// SPDX-License-Identifier: Apache-2.0
// Rotary positions: frequencies (plain and YaRN), the tables of one context length, and the turn
// itself. Angles and sines in binary64, each table entry rounded once to binary32, the turn in
// binary32. Sources: RoPE (arXiv 2104.09864), YaRN (arXiv 2309.00071) as DeepSeek configures it.
// Refuses nothing: the dimensions come checked out of the model.
#ifndef SCRUPLE_VERIFY_ROPE_H
#define SCRUPLE_VERIFY_ROPE_H

#include "base/pool.h"
#include "formats/model.h"

typedef struct {
    int64_t half, len;   // pairs a head, positions
    float *cos, *sin;    // [len][half]; owned
    rope_style style;
} rope;

// How many of a head's elements turn: all of a GQA head, the tail of an MLA head. Even.
int64_t rope_dims(const arch *a);
// The angle a position of pair j: f [dims / 2].
//   plain  f_j = theta^(-2j / dims)
//   YaRN   f_j / factor * ramp_j + f_j * (1 - ramp_j), ramp from 0 at the pair that turns
//          beta_fast times in the original context to 1 at the one that turns beta_slow times
void rope_frequencies(const arch *a, int64_t dims, double *f);
// What YaRN multiplies cosines and sines by: the config's attention_factor, or
// m(mscale) / m(mscale_all_dim) where both are there, else m(1); m(k) = 0.1 k ln factor + 1.
double rope_amplitude(const arch *a);
// The scores' factor: (width of a query head)^-1/2, for MLA with YaRN times m(mscale_all_dim)^2.
float rope_softmax_scale(const arch *a);

MUST_USE bool rope_init(rope *r, const arch *a, int64_t len, err *e);
void rope_free(rope *r);
// Turns x [2 * half] in place: (a, b) -> (a cos - b sin, b cos + a sin), pairs by the style.
void rope_turn(const rope *r, int64_t position, float *x);

typedef struct {
    float *x;                    // head h of token t lies at
    int64_t token_row, head_row; //   x + t * token_row + h * head_row, 2 * half elements
    int64_t tokens, heads;       // whole windows of rope.len tokens
} rope_rows;

MUST_USE bool rope_turn_rows(const rope *r, pool *p, const rope_rows *rows, err *e);

#endif
