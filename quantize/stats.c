// SPDX-License-Identifier: Apache-2.0
#include "quantize/stats.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/reduce.h"

bool stats_init(stats *s, int64_t n_experts, int64_t cols, err *e)
{
    *s = (stats){.n_experts = n_experts, .cols = cols};
    uint64_t experts = (uint64_t)n_experts, cells;
    if (!size_mul(experts, (uint64_t)cols, &cells)) {
        *s = (stats){0};
        return err_set(e, ERR_ENV, "no memory for statistics of %lld experts, %lld columns",
                       (long long)n_experts, (long long)cols);
    }
    s->energy = mem_new(cells, sizeof *s->energy, "statistics", e);
    s->weight_sum = mem_new(experts, sizeof *s->weight_sum, "statistics", e);
    s->weight_sq_sum = mem_new(experts, sizeof *s->weight_sq_sum, "statistics", e);
    s->count = mem_new(experts, sizeof *s->count, "statistics", e);
    if (s->energy && s->weight_sum && s->weight_sq_sum && s->count)
        return true;
    stats_free(s);
    return false;
}

void stats_free(stats *s)
{
    free(s->energy);
    free(s->weight_sum);
    free(s->weight_sq_sum);
    free(s->count);
    *s = (stats){0};
}

void stats_add(stats *s, int64_t expert, const float *x, const float *route, int64_t rows)
{
    double *energy = s->energy + expert * s->cols;
    for (int64_t row = 0; row < rows; row++) {
        double weight = route ? (double)route[row] * (double)route[row] : 1.0;
        reduce_add_energy(energy, x + row * s->cols, weight, s->cols);
        s->weight_sum[expert] += weight;
        s->weight_sq_sum[expert] += weight * weight;
    }
    s->count[expert] += rows;
}

bool stats_merge(stats *a, const stats *b, err *e)
{
    if (a->n_experts != b->n_experts || a->cols != b->cols)
        return err_set(e, ERR_INPUT,
                       "statistics of %lld experts, %lld columns do not add to those of %lld "
                       "experts, %lld columns",
                       (long long)b->n_experts, (long long)b->cols, (long long)a->n_experts,
                       (long long)a->cols);
    for (int64_t i = 0; i < a->n_experts * a->cols; i++)
        a->energy[i] += b->energy[i];
    for (int64_t i = 0; i < a->n_experts; i++) {
        a->weight_sum[i] += b->weight_sum[i];
        a->weight_sq_sum[i] += b->weight_sq_sum[i];
        a->count[i] += b->count[i];
    }
    return true;
}

void stats_prior(const stats *s, bool flat, double *prior)
{
    double seen = 0;
    for (int64_t i = 0; i < s->n_experts; i++)
        seen += s->weight_sum[i];
    for (int64_t j = 0; j < s->cols; j++) {
        double energy = 0;
        for (int64_t i = 0; i < s->n_experts; i++)
            energy += s->energy[i * s->cols + j];
        prior[j] = seen > 0 ? energy / seen : 1.0;
    }
    if (!flat)
        return;
    double mean = reduce_sum_f64(prior, s->cols) / (double)s->cols;
    for (int64_t j = 0; j < s->cols; j++)
        prior[j] = mean;
}

void stats_importance(const stats *s, int64_t expert, const double *prior, float *importance)
{
    const double *energy = s->energy + expert * s->cols;
    double n = (double)s->cols, own_share = 0, own_scale = 0;
    if (s->weight_sum[expert] > 0 && s->weight_sq_sum[expert] > 0) {
        own_share = s->weight_sum[expert] * s->weight_sum[expert] / s->weight_sq_sum[expert];
        own_scale = 1.0 / s->weight_sum[expert];
    }
    double largest = 0;
    for (int64_t j = 0; j < s->cols; j++) {
        double blend = (own_share * (energy[j] * own_scale) + n * prior[j]) / (own_share + n);
        largest = blend > largest ? blend : largest;
    }
    // The power of two that brings the largest into [1, 2), so that the rest fits binary32.
    uint64_t exponent = f64_bits(largest) >> 52;
    exponent = exponent < 1 ? 1 : exponent > 2045 ? 2045 : exponent;
    double factor = f64_from_bits((2046 - exponent) << 52);
    for (int64_t j = 0; j < s->cols; j++) {
        double blend = (own_share * (energy[j] * own_scale) + n * prior[j]) / (own_share + n);
        float value = (float)(blend * factor);
        importance[j] = largest == 0 ? 1.0f : value < 0x1p-126f ? 0x1p-126f : value;
    }
}

void stats_importance_of_means(float *means, int64_t cols)
{
    float largest = 0;
    for (int64_t j = 0; j < cols; j++)
        largest = means[j] > largest ? means[j] : largest;
    // Two steps, since the factor of the smallest numbers is none itself.
    int exponent = (int)(f32_bits(largest) >> 23), half = (127 - exponent) / 2;
    float a = f32_from_bits((uint32_t)(127 + half) << 23);
    float b = f32_from_bits((uint32_t)(127 + 127 - exponent - half) << 23);
    for (int64_t j = 0; j < cols; j++) {
        float value = means[j] * a * b;
        means[j] = largest == 0 ? 1.0f : value < 0x1p-126f ? 0x1p-126f : value;
    }
}
