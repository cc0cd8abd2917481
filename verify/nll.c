// SPDX-License-Identifier: Apache-2.0
#include "verify/nll.h"

#include "base/reduce.h"

double nll_of(const float *logits, int64_t vocab, int32_t target)
{
    return reduce_log_sum_exp(logits, vocab) - (double)logits[target];
}

static bool fill_range(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const nll_args *a = ctx;
    (void)worker;
    (void)e;
    for (int64_t i = begin; i < end; i++) {
        int64_t t = a->first + i, window = t / a->len, at = t % a->len;
        if (at + 1 < a->len)
            a->nll[window * (a->len - 1) + at] =
                (float)nll_of(a->logits + i * a->vocab, a->vocab, a->tokens[t + 1]);
    }
    return true;
}

bool nll_fill(pool *p, const nll_args *a, err *e)
{
    nll_args copy = *a;
    return pool_for(p, a->count, 8, fill_range, &copy, e);
}
