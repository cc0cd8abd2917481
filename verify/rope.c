// SPDX-License-Identifier: Apache-2.0
#include "verify/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"

static const double PI = 3.14159265358979323846;

int64_t rope_dims(const arch *a)
{
    return a->mixer == MIXER_MLA ? a->qk_rope : a->head_dim;
}

// The pair (not yet whole) that turns `turns` times over the original context.
static double pair_of_turns(const arch *a, int64_t dims, double turns)
{
    return (double)dims * num_log(a->yarn_original / (turns * 2.0 * PI)) /
           (2.0 * num_log(a->rope_theta));
}

void rope_frequencies(const arch *a, int64_t dims, double *f)
{
    double low = 0.0, high = 0.0;
    if (a->scaling == ROPE_YARN) {
        low = fmax(floor(pair_of_turns(a, dims, a->yarn_beta_fast)), 0.0);
        high = fmin(ceil(pair_of_turns(a, dims, a->yarn_beta_slow)), (double)(dims - 1));
        if (low == high)
            high += 0.001;
    }
    for (int64_t j = 0; j < dims / 2; j++) {
        double plain = num_pow(a->rope_theta, -2.0 * (double)j / (double)dims);
        f[j] = plain;
        if (a->scaling == ROPE_YARN) {
            double ramp = fmin(fmax(((double)j - low) / (high - low), 0.0), 1.0);
            f[j] = plain / a->yarn_factor * ramp + plain * (1.0 - ramp);
        }
    }
}

static double mscale(double factor, double k)
{
    return factor > 1.0 ? 0.1 * k * num_log(factor) + 1.0 : 1.0;
}

double rope_amplitude(const arch *a)
{
    if (a->scaling != ROPE_YARN)
        return 1.0;
    if (a->yarn_attention_factor != 0.0)
        return a->yarn_attention_factor;
    if (a->yarn_mscale != 0.0 && a->yarn_mscale_all_dim != 0.0)
        return mscale(a->yarn_factor, a->yarn_mscale) /
               mscale(a->yarn_factor, a->yarn_mscale_all_dim);
    return mscale(a->yarn_factor, 1.0);
}

float rope_softmax_scale(const arch *a)
{
    if (a->mixer == MIXER_GQA)
        return (float)(1.0 / num_sqrt((double)a->head_dim));
    double scale = 1.0 / num_sqrt((double)(a->qk_nope + a->qk_rope));
    if (a->scaling == ROPE_YARN && a->yarn_mscale_all_dim != 0.0) {
        double m = mscale(a->yarn_factor, a->yarn_mscale_all_dim);
        scale *= m * m;
    }
    return (float)scale;
}

bool rope_init(rope *r, const arch *a, int64_t len, err *e)
{
    *r = (rope){.half = rope_dims(a) / 2, .len = len, .style = a->rope};
    uint64_t n = 0;
    if (!size_mul((uint64_t)len, (uint64_t)r->half, &n))
        return err_set(e, ERR_ENV, "rotary tables of %lld positions do not fit in memory",
                       (long long)len);
    double *f = mem_new((uint64_t)r->half, sizeof *f, "rotary frequencies", e);
    r->cos = f ? mem_new(n, sizeof *r->cos, "rotary tables", e) : NULL;
    r->sin = r->cos ? mem_new(n, sizeof *r->sin, "rotary tables", e) : NULL;
    bool ok = r->sin != NULL;
    if (ok) {
        rope_frequencies(a, 2 * r->half, f);
        double amplitude = rope_amplitude(a);
        for (int64_t t = 0; t < len; t++)
            for (int64_t j = 0; j < r->half; j++) {
                double s, c;
                num_sincos((double)t * f[j], &s, &c);
                r->cos[t * r->half + j] = (float)(c * amplitude);
                r->sin[t * r->half + j] = (float)(s * amplitude);
            }
    } else {
        rope_free(r);
    }
    free(f);
    return ok;
}

void rope_free(rope *r)
{
    free(r->cos);
    free(r->sin);
    *r = (rope){0};
}

void rope_turn(const rope *r, int64_t position, float *x)
{
    const float *cos_row = r->cos + position * r->half, *sin_row = r->sin + position * r->half;
    bool pair = r->style == ROPE_PAIR;
    int64_t step = pair ? 2 : 1, apart = pair ? 1 : r->half;
    for (int64_t j = 0; j < r->half; j++) {
        float a = x[j * step], b = x[j * step + apart];
        x[j * step] = a * cos_row[j] - b * sin_row[j];
        x[j * step + apart] = b * cos_row[j] + a * sin_row[j];
    }
}

typedef struct {
    const rope *rope;
    const rope_rows *rows;
} turn_job;

static bool turn_range(void *ctx, int64_t begin, int64_t end, int worker, err *e)
{
    const turn_job *j = ctx;
    const rope_rows *r = j->rows;
    (void)worker;
    (void)e;
    for (int64_t t = begin; t < end; t++)
        for (int64_t h = 0; h < r->heads; h++)
            rope_turn(j->rope, t % j->rope->len, r->x + t * r->token_row + h * r->head_row);
    return true;
}

bool rope_turn_rows(const rope *r, pool *p, const rope_rows *rows, err *e)
{
    turn_job j = {r, rows};
    return pool_for(p, rows->tokens, 64, turn_range, &j, e);
}
