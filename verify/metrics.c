// SPDX-License-Identifier: Apache-2.0
#include "verify/metrics.h"

#include <math.h>

#include "base/bytes.h"
#include "base/num.h"
#include "base/reduce.h"

enum { LANES = 8, PIECE = 2048 };

// sum of e * (ref - cand) into lanes; i counts from a multiple of 8.
static void add_products(double lanes[LANES], const double *e, const float *ref, const float *cand,
                         int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += e[i + j] * ((double)ref[i + j] - (double)cand[i + j]);
    for (int j = 0; i + j < n; j++)
        lanes[j] += e[i + j] * ((double)ref[i + j] - (double)cand[i + j]);
}

static void add_values(double lanes[LANES], const double *e, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += e[i + j];
    for (int j = 0; i + j < n; j++)
        lanes[j] += e[i + j];
}

// With e = exp(r - max r): sum p (log p - log q) = sum e (r - c) / sum e - (lse r - lse c).
logit_metrics metrics_of_logits(const float *ref, const float *cand, int64_t n)
{
    double e[PIECE], sums[LANES] = {0}, products[LANES] = {0};
    double max = (double)reduce_max(ref, n);
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t piece = i64_min(n - i, PIECE);
        num_exp_shifted(e, ref + i, max, piece);
        add_values(sums, e, piece);
        add_products(products, e, ref + i, cand + i, piece);
    }
    double sum = reduce_fold(sums);
    logit_metrics m = {.lse_ref = num_log(sum) + max, .lse_cand = reduce_log_sum_exp(cand, n)};
    m.kld = reduce_fold(products) / sum - (m.lse_ref - m.lse_cand);
    // The true value is never negative; rounding of nearly equal rows may go below by some 1e-15.
    if (m.kld < 0)
        m.kld = 0;
    m.same_top = reduce_argmax(ref, n) == reduce_argmax(cand, n);
    return m;
}

void metrics_add(matrix_sums *s, const float *ref, const float *cand, const float *steps,
                 int64_t n)
{
    s->error += reduce_sum_squared_difference(cand, ref, n);
    s->ref += reduce_sum_squares(ref, n);
    s->cand += reduce_sum_squares(cand, n);
    s->dot += reduce_dot(ref, cand, n);
    s->n += n;
    for (int64_t i = 0; i < n; i++) {
        if (f32_bits(ref[i]) == f32_bits(cand[i])) {
            s->n_equal++;
            continue;
        }
        double d = fabs((double)cand[i] - (double)ref[i]);
        if (d > s->max_abs)
            s->max_abs = d;
        if (steps && d > s->max_steps * (double)steps[i])
            s->max_steps = d / (double)steps[i];
    }
}

double metrics_relative_error(const matrix_sums *s)
{
    if (s->error == 0)
        return 0;
    return s->ref == 0 ? (double)INFINITY : num_sqrt(s->error / s->ref);
}

double metrics_sqnr_db(const matrix_sums *s)
{
    static const double LN10 = 2.302585092994046;
    if (s->error == 0)
        return (double)INFINITY;
    return s->ref == 0 ? -(double)INFINITY : 10 * (num_log(s->ref / s->error) / LN10);
}

double metrics_cosine(const matrix_sums *s)
{
    if (s->ref == 0 || s->cand == 0)
        return s->ref == s->cand ? 1 : 0;
    return s->dot / (num_sqrt(s->ref) * num_sqrt(s->cand));
}

double metrics_percentile(const double *sorted, int64_t n, double q)
{
    int64_t rank = (int64_t)ceil(q * (double)n);
    return sorted[i64_max(0, i64_min(rank, n) - 1)];
}
