// SPDX-License-Identifier: Apache-2.0
#include "verify/bootstrap.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"

typedef struct {
    double sum, count;
} block;

static int64_t make_blocks(block *to, const double *sum, const int64_t *count,
                           const int64_t *document, int64_t n)
{
    int64_t k = 0;
    for (int64_t i = 0; i < n; i++) {
        bool starts = i == 0 || (document ? document[i] != document[i - 1]
                                          : i % BOOTSTRAP_BLOCK == 0);
        if (starts)
            to[k++] = (block){0, 0};
        to[k - 1].sum += sum[i];
        to[k - 1].count += (double)count[i];
    }
    return k;
}

static double resample(const block *b, int64_t k, rng *r)
{
    double sum = 0, count = 0;
    for (int64_t i = 0; i < k; i++) {
        const block *one = &b[rng_below(r, (uint64_t)k)];
        sum += one->sum;
        count += one->count;
    }
    return count > 0 ? sum / count : 0;
}

static int ascending(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

bool bootstrap_mean(interval *out, const double *sum, const int64_t *count,
                    const int64_t *document, int64_t n, uint64_t seed, err *e)
{
    *out = (interval){0};
    block *b = mem_new((uint64_t)n, sizeof *b, "bootstrap blocks", e);
    double *means = mem_new(BOOTSTRAP_RESAMPLES, sizeof *means, "bootstrap means", e);
    bool ok = b && means;
    if (ok) {
        double all = 0, tokens = 0;
        int64_t k = make_blocks(b, sum, count, document, n);
        for (int64_t i = 0; i < k; i++) {
            all += b[i].sum;
            tokens += b[i].count;
        }
        rng r;
        rng_seed(&r, seed);
        for (int i = 0; i < BOOTSTRAP_RESAMPLES; i++)
            means[i] = resample(b, k, &r);
        qsort(means, BOOTSTRAP_RESAMPLES, sizeof *means, ascending);
        out->mean = tokens > 0 ? all / tokens : 0;
        // 2.5 % of the resamples lie below, 2.5 % above.
        out->low = k > 1 ? means[BOOTSTRAP_RESAMPLES * 25 / 1000] : out->mean;
        out->high = k > 1 ? means[BOOTSTRAP_RESAMPLES - 1 - BOOTSTRAP_RESAMPLES * 25 / 1000]
                          : out->mean;
        out->n_blocks = k;
    }
    free(b);
    free(means);
    return ok;
}
