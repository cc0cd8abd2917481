// SPDX-License-Identifier: Apache-2.0
#include "verify/norm.h"

#include "base/num.h"
#include "base/reduce.h"

static bool norm_rows(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const rms_norm_args *a = ctx;
    (void)worker;
    (void)e;
    for (int64_t r = begin; r < end; r++) {
        const float *x = a->x + r * a->x_row;
        float *y = a->y + r * a->y_row;
        double mean = reduce_sum_squares(x, a->n) / (double)a->n;
        double scale = 1.0 / num_sqrt(mean + a->eps);
        for (int64_t i = 0; i < a->n; i++)
            y[i] = (float)((double)x[i] * scale * (double)a->w[i]);
    }
    return true;
}

bool rms_norm(pool *p, const rms_norm_args *a, err *e)
{
    rms_norm_args copy = *a;
    return pool_for(p, a->rows, 64, norm_rows, &copy, e);
}
