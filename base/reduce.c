// SPDX-License-Identifier: Apache-2.0
#include "base/reduce.h"

#include <float.h>
#include <math.h>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/num.h"

// One level's loops (reduce_lanes.h). `lanes` are the 8 partial sums, +0 at the start.
typedef struct {
    void (*add)(double *lanes, const float *x, int64_t n);
    void (*add_f64)(double *lanes, const double *x, int64_t n);
    void (*add_dot)(double *lanes, const float *x, const float *y, int64_t n);
    void (*add_difference)(double *lanes, const float *x, const float *y, int64_t n);
    float (*max)(const float *x, int64_t n, int32_t mask);
    int64_t (*skip_within)(const float *x, int64_t n, int32_t most);
    void (*divide)(float *y, const double *x, double by, int64_t n);
    void (*add_energy)(double *energy, const float *x, double weight, int64_t n);
} kernels;

#define KERNELS(level)                                                                            \
    {                                                                                             \
        add_##level, add_f64_##level, add_dot_##level, add_difference_##level, max_##level,       \
            skip_within_##level, divide_##level, add_energy_##level                               \
    }

#define LANES 2
#define LEVEL(name) name##_plain
#define TARGET
#include "base/reduce_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET

#if defined(__x86_64__)
#define LANES 4
#define LEVEL(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#include "base/reduce_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET

#define LANES 8
#define LEVEL(name) name##_avx512
#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#include "base/reduce_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET
#endif

static const kernels *used(void)
{
    static const kernels plain = KERNELS(plain);
#if defined(__x86_64__)
    static const kernels avx2 = KERNELS(avx2), avx512 = KERNELS(avx512);
    switch (cpu_used()) {
    case CPU_AVX512:
        return &avx512;
    case CPU_AVX2:
        return &avx2;
    default:
        return &plain;
    }
#else
    return &plain; // on aarch64 its vectors are NEON's
#endif
}

double reduce_fold(const double lanes[8])
{
    double four[4], two[2];
    for (int j = 0; j < 4; j++)
        four[j] = lanes[j] + lanes[j + 4];
    for (int j = 0; j < 2; j++)
        two[j] = four[j] + four[j + 2];
    return two[0] + two[1];
}

double reduce_sum(const float *x, int64_t n)
{
    double lanes[8] = {0};
    used()->add(lanes, x, n);
    return reduce_fold(lanes);
}

double reduce_sum_f64(const double *x, int64_t n)
{
    double lanes[8] = {0};
    used()->add_f64(lanes, x, n);
    return reduce_fold(lanes);
}

double reduce_sum_squares(const float *x, int64_t n)
{
    return reduce_dot(x, x, n);
}

double reduce_dot(const float *x, const float *y, int64_t n)
{
    double lanes[8] = {0};
    used()->add_dot(lanes, x, y, n);
    return reduce_fold(lanes);
}

double reduce_sum_squared_difference(const float *x, const float *y, int64_t n)
{
    double lanes[8] = {0};
    used()->add_difference(lanes, x, y, n);
    return reduce_fold(lanes);
}

float reduce_max(const float *x, int64_t n)
{
    return used()->max(x, n, -1);
}

float reduce_max_abs(const float *x, int64_t n)
{
    float top = used()->max(x, n, INT32_MAX);
    return top > 0.0f ? top : 0.0f;
}

int64_t reduce_argmax(const float *x, int64_t n)
{
    float top = reduce_max(x, n);
    for (int64_t i = 0; i < n; i++)
        if (x[i] == top)
            return i;
    return 0; // nothing but NaN
}

int64_t reduce_first_beyond(const float *x, int64_t n, float largest)
{
    for (int64_t i = used()->skip_within(x, n, (int32_t)f32_bits(largest)); i < n; i++)
        if (!(fabsf(x[i]) <= largest))
            return i;
    return -1;
}

int64_t reduce_first_nonfinite(const float *x, int64_t n)
{
    return reduce_first_beyond(x, n, FLT_MAX);
}

// Exponentials are kept for rows up to this length and computed a second time for longer ones; a
// multiple of 8, so that pieces keep their elements in their lanes.
enum { PIECE = 2048 };

// sum of exp(x - max), lanes as everywhere; e gets the last piece's exponentials.
static double sum_exp(double *e, const float *x, double max, int64_t n)
{
    double lanes[8] = {0};
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t piece = i64_min(n - i, PIECE);
        num_exp_shifted(e, x + i, max, piece);
        used()->add_f64(lanes, e, piece);
    }
    return reduce_fold(lanes);
}

void reduce_softmax(float *x, int64_t n)
{
    double e[PIECE];
    double max = (double)reduce_max(x, n);
    double sum = sum_exp(e, x, max, n);
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t piece = i64_min(n - i, PIECE);
        if (n > PIECE)
            num_exp_shifted(e, x + i, max, piece);
        used()->divide(x + i, e, sum, piece);
    }
}

double reduce_log_sum_exp(const float *x, int64_t n)
{
    double e[PIECE];
    double max = (double)reduce_max(x, n);
    return num_log(sum_exp(e, x, max, n)) + max;
}

void reduce_add_energy(double *energy, const float *x, double weight, int64_t n)
{
    used()->add_energy(energy, x, weight, n);
}
