// SPDX-License-Identifier: Apache-2.0
#include "verify/attend.h"

#include <string.h>

#include "base/gemm.h"
#include "base/reduce.h"

// One row of raw products to probabilities: keys 0 .. t, the rest exact zeros.
static void softmax_row(float *row, int64_t t, int64_t keys, float scale)
{
    for (int64_t s = 0; s <= t; s++)
        row[s] *= scale;
    reduce_softmax(row, t + 1);
    memset(row + t + 1, 0, (size_t)(keys - t - 1) * sizeof *row);
}

bool attend(const attend_args *a, float *scores, err *e)
{
    for (int64_t first = 0; first < a->len; first += ATTEND_TILE) {
        int64_t rows = i64_min(ATTEND_TILE, a->len - first), keys = first + rows;
        gemm_args qk = {.y = scores, .y_row = keys, .x = a->q + first * a->q_row,
                        .x_row = a->q_row, .w = a->k, .w_row = a->k_row, .w_col = 1,
                        .m = rows, .n = keys, .k = a->qk_dim};
        if (!event_go_on(a->events, e) || !gemm(&qk, NULL, e))
            return false;
        for (int64_t r = 0; r < rows; r++)
            softmax_row(scores + r * keys, first + r, keys, a->scale);
        gemm_args pv = {.y = a->o + first * a->o_row, .y_row = a->o_row, .x = scores,
                        .x_row = keys, .w = a->v, .w_row = 1, .w_col = a->v_row,
                        .m = rows, .n = a->v_dim, .k = keys};
        if (!gemm(&pv, NULL, e))
            return false;
    }
    return true;
}
