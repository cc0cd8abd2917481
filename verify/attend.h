// SPDX-License-Identifier: Apache-2.0
// Causal soft-max attention of one head over one window, on plain arrays. Knows no model: which
// rows are queries, keys and values, and what was turned or normed, is the mixers' business.
//
// For a token t: score_s = (q_t . k_s by gemm) * scale in binary32, s = 0 .. t; p = soft-max of
// those t + 1 scores (reduce_softmax); o_t = sum over s of p_s v_s by gemm, blocks of 256 keys
// counted from key 0, keys behind t entering as exact zeros. Queries go in tiles of ATTEND_TILE
// counted from token 0, whatever the memory, so nothing else decides a bit.
#ifndef SCRUPLE_VERIFY_ATTEND_H
#define SCRUPLE_VERIFY_ATTEND_H

#include "base/event.h"

enum { ATTEND_TILE = 64 };

typedef struct {
    const float *q, *k; // element (t, d) at q[t * q_row + d], [len][qk_dim]
    const float *v;     // [len][v_dim]
    float *o;           // [len][v_dim]; overwritten
    int64_t q_row, k_row, v_row, o_row;
    int64_t len, qk_dim, v_dim;
    float scale;
    const events *events; // asked between two tiles whether to stop; may be NULL
} attend_args;

// scores: the caller's scratch of ATTEND_TILE * len. Runs in the calling thread.
MUST_USE bool attend(const attend_args *a, float *scores, err *e);

#endif
