// SPDX-License-Identifier: Apache-2.0
// Elementary functions in binary64 from additions, multiplications, divisions and bit operations
// alone, each in the order written. Series are Taylor's with exactly known coefficients, so long
// that truncation is far below rounding; error bounds and how they were measured: docs/numerics.md.
#include "base/num.h"

#include <float.h>
#include <math.h>

#include "base/cpu.h"

// x87 arithmetic would round twice.
_Static_assert(FLT_EVAL_METHOD == 0, "expressions must be evaluated in their own type");

#define LANES 2
#define LEVEL(name) name##_plain
#define TARGET
#include "base/num_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET

#if defined(__x86_64__)
#define LANES 4
#define LEVEL(name) name##_avx2
#define TARGET __attribute__((target("avx2,fma,f16c")))
#include "base/num_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET

#define LANES 8
#define LEVEL(name) name##_avx512
#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#include "base/num_lanes.h"
#undef LANES
#undef LEVEL
#undef TARGET
#endif

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// A number as an unevaluated sum: high is the sum rounded to binary64, low what that leaves over.
typedef struct {
    double high, low;
} pair;

// a + b exactly, |a| >= |b| or a == 0 (Dekker 1971).
static pair sum_ordered(double a, double b)
{
    double high = a + b;
    return (pair){high, b - (high - a)};
}

// a + b exactly, any order (Knuth, The Art of Computer Programming 2, 4.2.2).
static pair sum_any(double a, double b)
{
    double high = a + b;
    double part = high - a;
    return (pair){high, (a - (high - part)) + (b - part)};
}

// a * b exactly (Dekker 1971), both below 2^996 and the product not near underflow: halves of 26
// and 27 bits have exact products.
static pair product(double a, double b)
{
    const double splitter = 0x1p27 + 1;
    double ca = splitter * a, cb = splitter * b;
    double a1 = ca - (ca - a), b1 = cb - (cb - b);
    double a2 = a - a1, b2 = b - b1;
    double high = a * b;
    return (pair){high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2};
}

// exp(x + more), |more| far below 1 (0 for exp itself).
static double exp_of(double x, double more)
{
    x = x > EXP_HIGH ? EXP_HIGH : x; // a NaN stays
    x = x < EXP_LOW ? EXP_LOW : x;
    double t = x * LOG2_E + ROUND_MAGIC;
    double k = t - ROUND_MAGIC;
    double r = (x - k * LN2_HIGH) - k * LN2_LOW;
    r += more;
    double q = EXP_C[0];
    for (int i = 1; i < EXP_TERMS; i++)
        q = q * r + EXP_C[i];
    double p = 1.0 + (r + (r * r) * q);
    uint64_t n = bits_of(t) - (ROUND_MAGIC_BITS - EXP_BIAS);
    uint64_t half = n >> 1;
    return (p * from_bits(half << 52)) * from_bits((n - half) << 52);
}

double num_exp(double x)
{
    return exp_of(x, 0.0);
}

// log(x) for finite x > 0 as a pair, to about 2^-64 of the result: x = 2^e m with m in
// [sqrt(1/2), sqrt(2)), f = m - 1, s = f / (2 + f), log m = 2 atanh s
// = 2s + 2s (z/3 + z^2/5 + z^3/7 + ...), z = s^2 <= 0.0295.
static pair log_of(double x)
{
    uint64_t bits = bits_of(x);
    double e = -1023.0;
    if (bits >> 52 == 0) { // subnormal
        bits = bits_of(x * 0x1p54);
        e -= 54.0;
    }
    e += (double)(bits >> 52);
    double m = from_bits((bits & UINT64_C(0xfffffffffffff)) | UINT64_C(0x3ff) << 52);
    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        e += 1.0;
    }
    double f = m - 1.0; // exact

    pair d = sum_ordered(2.0, f);
    double s = f / d.high;
    pair back = product(s, d.high);
    double s_low = (((f - back.high) - back.low) - s * d.low) / d.high;

    pair z = product(s, s);
    z.low += 2.0 * s * s_low;
    double t = 1.0 / 25.0;
    for (int i = 23; i >= 5; i -= 2)
        t = t * z.high + 1.0 / i;
    t *= z.high; // z/5 + z^2/7 + ...
    pair c = sum_ordered(0x1.5555555555555p-2, t);
    c.low += 0x1.5555555555555p-56; // 1/3 in two parts
    pair u = product(z.high, c.high); // z (1/3 + z/5 + ...)
    u.low += z.high * c.low + z.low * c.high;
    pair v = product(2.0 * s, u.high);
    v.low += 2.0 * (s * u.low + s_low * u.high);

    pair log_m = sum_ordered(2.0 * s, v.high);
    log_m.low += v.low + 2.0 * s_low;
    pair sum = sum_any(e * LN2_HIGH, log_m.high);
    sum.low += log_m.low + e * LN2_LOW;
    return sum_ordered(sum.high, sum.low);
}

double num_log(double x)
{
    if (x < 0.0 || isnan(x))
        return NAN;
    if (x == 0.0)
        return -INFINITY;
    if (isinf(x))
        return x;
    return log_of(x).high;
}

double num_pow(double x, double y)
{
    if (x == 1.0 || y == 0.0)
        return 1.0;
    if (!(x > 0.0) || isinf(x) || isnan(y))
        return num_exp(y * num_log(x));
    pair l = log_of(x);
    double power = y * l.high;
    if (!(power > EXP_LOW && power < EXP_HIGH))
        return num_exp(power);
    pair p = product(y, l.high);
    return exp_of(p.high, p.low + y * l.low);
}

// x - n pi/2 as a pair, |x| <= 2^30, n the nearest integer to x / (pi/2), its last two bits in
// *quarter. pi/2 is cut into three parts of at most 23 bits, on grids of 2^-22, 2^-45 and 2^-68, so
// that their products with n (30 bits) are exact, and so are the first two differences; the rest
// has 53 bits from 2^-69 on. The sum is right to 2^-90.
static pair reduce_angle(double x, unsigned *quarter)
{
    double t = x * 0x1.45f306dc9c883p-1 + ROUND_MAGIC;
    double n = t - ROUND_MAGIC;
    *quarter = (unsigned)(bits_of(t) & 3);
    double r = (x - n * 0x1.921fb4p+0) - n * 0x1.4442dp-24;
    pair sum = sum_any(r, -(n * 0x1.84698p-48));
    sum.low -= n * 0x1.3198a2e037073p-69;
    return sum_ordered(sum.high, sum.low);
}

// sin and cos for |r| <= pi/4, low the tail of the argument: sin(r + low) = sin r + low cos r.
static double sin_of(double r, double low)
{
    double z = r * r;
    double q = 1.0 / 355687428096000.0; // 17!
    q = q * z - 1.0 / 1307674368000.0;
    q = q * z + 1.0 / 6227020800.0;
    q = q * z - 1.0 / 39916800.0;
    q = q * z + 1.0 / 362880.0;
    q = q * z - 1.0 / 5040.0;
    q = q * z + 1.0 / 120.0;
    q = q * z - 1.0 / 6.0;
    return r + (r * z * q + low * (1.0 - 0.5 * z));
}

static double cos_of(double r, double low)
{
    double z = r * r;
    double q = 1.0 / 20922789888000.0; // 16!
    q = q * z - 1.0 / 87178291200.0;
    q = q * z + 1.0 / 479001600.0;
    q = q * z - 1.0 / 3628800.0;
    q = q * z + 1.0 / 40320.0;
    q = q * z - 1.0 / 720.0;
    q = q * z + 1.0 / 24.0;
    double half = 0.5 * z;
    double w = 1.0 - half;
    return w + (((1.0 - w) - half) + (z * z * q - r * low));
}

void num_sincos(double x, double *s, double *c)
{
    if (!(fabs(x) <= 0x1p30)) {
        *s = *c = NAN;
        return;
    }
    unsigned quarter;
    pair r = reduce_angle(x, &quarter);
    double sine = sin_of(r.high, r.low), cosine = cos_of(r.high, r.low);
    double a = quarter & 1 ? cosine : sine;
    double b = quarter & 1 ? sine : cosine;
    *s = quarter & 2 ? -a : a;
    *c = (quarter + 1) & 2 ? -b : b;
}

double num_sqrt(double x)
{
    return sqrt(x);
}

float num_expf(float x)
{
    return (float)num_exp((double)x);
}

float num_logf(float x)
{
    return (float)num_log((double)x);
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + num_exp(-x));
}

float num_sigmoidf(float x)
{
    return (float)sigmoid((double)x);
}

// max(x, 0) + log(1 + t), t = exp(-|x|) <= 1; the quotient gives back what 1 + t has rounded away.
float num_softplusf(float x)
{
    double t = num_exp(-fabs((double)x));
    double u = 1.0 + t;
    double tail = num_log(u) - ((u - 1.0) - t) / u;
    return (float)((x > 0.0f ? (double)x : 0.0) + tail);
}

float num_siluf(float x)
{
    return (float)((double)x * sigmoid((double)x));
}

void num_swiglu(float *y, const float *gate, const float *up, int64_t n)
{
    switch (cpu_used()) {
#if defined(__x86_64__)
    case CPU_AVX512:
        swiglu_avx512(y, gate, up, n);
        return;
    case CPU_AVX2:
        swiglu_avx2(y, gate, up, n);
        return;
#endif
    default:
        swiglu_plain(y, gate, up, n);
    }
}

void num_exp_shifted(double *y, const float *x, double shift, int64_t n)
{
    switch (cpu_used()) {
#if defined(__x86_64__)
    case CPU_AVX512:
        exp_shifted_avx512(y, x, shift, n);
        return;
    case CPU_AVX2:
        exp_shifted_avx2(y, x, shift, n);
        return;
#endif
    default:
        exp_shifted_plain(y, x, shift, n);
    }
}
