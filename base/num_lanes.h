// SPDX-License-Identifier: Apache-2.0
// The array forms of base/num.c, several elements side by side, in the vectors of the compiler
// (gcc and clang). A template: num.c includes it once for every CPU level, having set
//   LANES        binary64 numbers a vector: 2, 4, 8
//   LEVEL(name)  the name of this level's form
//   TARGET       the target attribute
// Every lane does the operations of the scalar functions in num.c in their order, without branches,
// so all levels and the scalar functions give the same bits. No include guard on purpose.
#ifndef LEVEL
#define LANES 2
#define LEVEL(name) name##_plain
#define TARGET
#endif
#include <string.h>

#include "base/num_parts.h"

#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef double LEVEL(v64) __attribute__((vector_size(8 * LANES)));
typedef uint64_t LEVEL(vbits) __attribute__((vector_size(8 * LANES)));
typedef float LEVEL(v32) __attribute__((vector_size(4 * LANES)));
#define V64 LEVEL(v64)
#define VBITS LEVEL(vbits)
#define V32 LEVEL(v32)

static inline TARGET V64 LEVEL(choose)(VBITS mask, V64 yes, V64 no)
{
    return (V64)((mask & (VBITS)yes) | (~mask & (VBITS)no));
}

// num_exp of every lane.
static inline TARGET V64 LEVEL(exp)(V64 x)
{
    const V64 zero = {0};
    const V64 high = zero + EXP_HIGH, low = zero + EXP_LOW;
    x = LEVEL(choose)((VBITS)(x > high), high, x);
    x = LEVEL(choose)((VBITS)(x < low), low, x);
    V64 t = x * LOG2_E + ROUND_MAGIC;
    V64 k = t - ROUND_MAGIC;
    V64 r = (x - k * LN2_HIGH) - k * LN2_LOW;
    V64 q = zero + EXP_C[0];
    UNROLL for (int i = 1; i < EXP_TERMS; i++)
        q = q * r + EXP_C[i];
    V64 p = 1.0 + (r + (r * r) * q);
    VBITS n = (VBITS)t - (ROUND_MAGIC_BITS - EXP_BIAS);
    VBITS half = n >> 1;
    return (p * (V64)(half << 52)) * (V64)((n - half) << 52);
}

static inline TARGET V32 LEVEL(swiglu_vector)(V32 gate, V32 up)
{
    V64 x = __builtin_convertvector(gate, V64);
    V64 silu = x * (1.0 / (1.0 + LEVEL(exp)(-x)));
    return __builtin_convertvector(silu, V32) * up;
}

// Both loops finish a rest below LANES in a vector filled up with zeros.
static TARGET void LEVEL(swiglu)(float *y, const float *gate, const float *up, int64_t n)
{
    int64_t i = 0;
    V32 g, u;
    for (; i + LANES <= n; i += LANES) {
        memcpy(&g, gate + i, sizeof g);
        memcpy(&u, up + i, sizeof u);
        g = LEVEL(swiglu_vector)(g, u);
        memcpy(y + i, &g, sizeof g);
    }
    if (i == n)
        return;
    size_t rest = (size_t)(n - i) * sizeof *y;
    g = u = (V32){0};
    memcpy(&g, gate + i, rest);
    memcpy(&u, up + i, rest);
    g = LEVEL(swiglu_vector)(g, u);
    memcpy(y + i, &g, rest);
}

static TARGET void LEVEL(exp_shifted)(double *y, const float *x, double shift, int64_t n)
{
    int64_t i = 0;
    V32 v;
    V64 e;
    for (; i + LANES <= n; i += LANES) {
        memcpy(&v, x + i, sizeof v);
        e = LEVEL(exp)(__builtin_convertvector(v, V64) - shift);
        memcpy(y + i, &e, sizeof e);
    }
    if (i == n)
        return;
    v = (V32){0};
    memcpy(&v, x + i, (size_t)(n - i) * sizeof *x);
    e = LEVEL(exp)(__builtin_convertvector(v, V64) - shift);
    memcpy(y + i, &e, (size_t)(n - i) * sizeof *y);
}

#undef UNROLL
#undef V64
#undef VBITS
#undef V32
