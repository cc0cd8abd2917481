// SPDX-License-Identifier: Apache-2.0
// The loops of base/reduce.c in the vectors of the compiler (gcc and clang). A template: reduce.c
// includes it once for every CPU level, having set
//   LANES        binary64 numbers a vector: 2, 4, 8
//   LEVEL(name)  the name of this level's form
//   TARGET       the target attribute
// The 8 lanes of the contract are 8 / LANES vectors; a rest below 8 elements goes to its lanes one
// by one. No include guard on purpose.
#ifndef LEVEL
#define LANES 2
#define LEVEL(name) name##_plain
#define TARGET
#endif
#include <string.h>

#include "base/base.h"

// Without it gcc -O2 keeps the accumulators in memory.
#ifdef __clang__
#define EACH_VECTOR _Pragma("unroll") for (int g = 0; g < 8 / LANES; g++)
#else
#define EACH_VECTOR _Pragma("GCC unroll 4") for (int g = 0; g < 8 / LANES; g++)
#endif

typedef double LEVEL(v64) __attribute__((vector_size(8 * LANES)));
typedef float LEVEL(v32) __attribute__((vector_size(4 * LANES)));
typedef int32_t LEVEL(vint) __attribute__((vector_size(4 * LANES)));
#define V64 LEVEL(v64)
#define V32 LEVEL(v32)
#define VINT LEVEL(vint)

static inline TARGET V32 LEVEL(load)(const float *x)
{
    V32 v;
    memcpy(&v, x, sizeof v);
    return v;
}

static inline TARGET V64 LEVEL(widen)(const float *x)
{
    return __builtin_convertvector(LEVEL(load)(x), V64);
}

static inline TARGET V64 LEVEL(load64)(const double *x)
{
    V64 v;
    memcpy(&v, x, sizeof v);
    return v;
}

// lanes[i mod 8] += VECTOR of the elements at `at`, SCALAR of element i.
#define ADD_LANES(VECTOR, SCALAR)                                                                 \
    V64 sum[8 / LANES];                                                                           \
    EACH_VECTOR sum[g] = LEVEL(load64)(lanes + g * LANES);                                        \
    int64_t i = 0;                                                                                \
    for (; i + 8 <= n; i += 8)                                                                    \
        EACH_VECTOR {                                                                             \
            int64_t at = i + g * LANES;                                                           \
            sum[g] += VECTOR;                                                                     \
        }                                                                                         \
    EACH_VECTOR memcpy(lanes + g * LANES, &sum[g], sizeof sum[g]);                                \
    for (; i < n; i++)                                                                            \
        lanes[i % 8] += SCALAR;

static inline double LEVEL(square)(double a)
{
    return a * a;
}

static inline TARGET V64 LEVEL(squares)(V64 a)
{
    return a * a;
}

static TARGET void LEVEL(add)(double *lanes, const float *x, int64_t n)
{
    ADD_LANES(LEVEL(widen)(x + at), (double)x[i])
}

static TARGET void LEVEL(add_f64)(double *lanes, const double *x, int64_t n)
{
    ADD_LANES(LEVEL(load64)(x + at), x[i])
}

static TARGET void LEVEL(add_dot)(double *lanes, const float *x, const float *y, int64_t n)
{
    ADD_LANES(LEVEL(widen)(x + at) * LEVEL(widen)(y + at), (double)x[i] * (double)y[i])
}

static TARGET void LEVEL(add_difference)(double *lanes, const float *x, const float *y, int64_t n)
{
    ADD_LANES(LEVEL(squares)(LEVEL(widen)(x + at) - LEVEL(widen)(y + at)),
              LEVEL(square)((double)x[i] - (double)y[i]))
}

// The largest of all bits & mask, read as floats; NaN never wins. At least -infinity.
static TARGET float LEVEL(max)(const float *x, int64_t n, int32_t mask)
{
    const V32 zero = {0};
    V32 best[8 / LANES];
    EACH_VECTOR best[g] = zero - __builtin_inff();
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        EACH_VECTOR {
            V32 v = (V32)((VINT)LEVEL(load)(x + i + g * LANES) & mask);
            VINT more = (VINT)(v > best[g]);
            best[g] = (V32)((more & (VINT)v) | (~more & (VINT)best[g]));
        }
    float all[16];
    EACH_VECTOR memcpy(all + g * LANES, &best[g], sizeof best[g]);
    int64_t rest = n - i;
    for (int64_t j = 0; j < rest; j++) {
        int32_t bits;
        memcpy(&bits, x + i + j, sizeof bits);
        bits &= mask;
        memcpy(all + 8 + j, &bits, sizeof bits);
    }
    float top = all[0];
    for (int64_t j = 1; j < 8 + rest; j++)
        top = all[j] > top ? all[j] : top;
    return top + 0.0f; // a zero without its sign: which one came first must not matter
}

// Whether one of the 8 k magnitudes from x on has bits above `most`: then its difference is
// negative.
static inline TARGET bool LEVEL(any_above)(const float *x, int k, int32_t most)
{
    const VINT zero = {0};
    const VINT magnitude = zero + 0x7fffffff, limit = zero + most;
    VINT differences = zero;
    for (int i = 0; i < 8 * k; i += 8)
        EACH_VECTOR differences |= limit - ((VINT)LEVEL(load)(x + i + g * LANES) & magnitude);
    int32_t lane[LANES], all = 0;
    memcpy(lane, &differences, sizeof lane);
    for (int j = 0; j < LANES; j++)
        all |= lane[j];
    return all < 0;
}

// The start of the first block of 8 with a magnitude whose bits are above `most` in it, as those of
// a NaN are, or of the rest below 8.
static TARGET int64_t LEVEL(skip_within)(const float *x, int64_t n, int32_t most)
{
    enum { MANY = 8 };
    int64_t i = 0;
    while (i + 8 * MANY <= n && !LEVEL(any_above)(x + i, MANY, most))
        i += 8 * MANY;
    while (i + 8 <= n && !LEVEL(any_above)(x + i, 1, most))
        i += 8;
    return i;
}

static TARGET void LEVEL(divide)(float *y, const double *x, double by, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        V32 q = __builtin_convertvector(LEVEL(load64)(x + i) / by, V32);
        memcpy(y + i, &q, sizeof q);
    }
    for (; i < n; i++)
        y[i] = (float)(x[i] / by);
}

static TARGET void LEVEL(add_energy)(double *energy, const float *x, double weight, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        V64 v = LEVEL(widen)(x + i);
        V64 sum = LEVEL(load64)(energy + i) + (weight * v) * v;
        memcpy(energy + i, &sum, sizeof sum);
    }
    for (; i < n; i++)
        energy[i] += (weight * (double)x[i]) * (double)x[i];
}

#undef ADD_LANES
#undef EACH_VECTOR
#undef V64
#undef V32
#undef VINT
