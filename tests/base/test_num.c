// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/num.h"

Suite *suite_num(void);

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

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

// xorshift64*: the tests' own arguments, the same everywhere.
static uint64_t state = UINT64_C(88172645463325252);

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545F4914F6CDD1D);
}

static float next_float(float scale)
{
    return ((float)(next() >> 40) * 0x1p-23f - 1.0f) * scale;
}

// Distance in representable numbers; a huge one where signs differ.
static uint64_t steps(double a, double b)
{
    uint64_t p = bits_of(a), q = bits_of(b);
    if ((p ^ q) >> 63)
        return a == b ? 0 : UINT64_MAX;
    return p > q ? p - q : q - p;
}

typedef struct {
    const char *name;
    double (*f)(double);
    float (*g)(float);
} unary;

static const unary UNARY[] = {
    {"exp", num_exp, NULL},         {"log", num_log, NULL},
    {"expf", NULL, num_expf},       {"logf", NULL, num_logf},
    {"siluf", NULL, num_siluf},     {"sigmoidf", NULL, num_sigmoidf},
    {"softplusf", NULL, num_softplusf},
};

static void check_line(const char *name, uint64_t a, uint64_t b, uint64_t c)
{
    for (size_t i = 0; i < COUNT_OF(UNARY); i++)
        if (strcmp(name, UNARY[i].name) == 0) {
            if (UNARY[i].f)
                ck_assert_msg(steps(UNARY[i].f(from_bits(a)), from_bits(b)) <= 1, "%s(%a) = %a",
                              name, from_bits(a), UNARY[i].f(from_bits(a)));
            else
                ck_assert_msg(float_bits(UNARY[i].g(float_of((uint32_t)a))) == (uint32_t)b,
                              "%s(%a) = %a", name, (double)float_of((uint32_t)a),
                              (double)UNARY[i].g(float_of((uint32_t)a)));
            return;
        }
    if (strcmp(name, "pow") == 0) {
        double got = num_pow(from_bits(a), from_bits(b));
        ck_assert_msg(steps(got, from_bits(c)) <= 1, "pow(%a, %a) = %a", from_bits(a),
                      from_bits(b), got);
        return;
    }
    ck_assert_str_eq(name, "sincos");
    double s, co;
    num_sincos(from_bits(a), &s, &co);
    ck_assert_msg(steps(s, from_bits(b)) <= 1 || fabs(s - from_bits(b)) < 0x1p-90, "sin(%a) = %a",
                  from_bits(a), s);
    ck_assert_msg(steps(co, from_bits(c)) <= 1 || fabs(co - from_bits(c)) < 0x1p-90,
                  "cos(%a) = %a", from_bits(a), co);
}

// binary64 results within one representable number of the exact one, binary32 results equal to it.
START_TEST(agrees_with_exact_values)
{
    FILE *f = fopen("tests/data/num/golden.txt", "r");
    ck_assert_ptr_nonnull(f);
    char name[16];
    int n = 0;
    char line[128];
    while (fgets(line, sizeof line, f)) {
        uint64_t v[3] = {0};
        ck_assert_int_ge(sscanf(line, "%15s %" SCNx64 " %" SCNx64 " %" SCNx64, name, &v[0], &v[1],
                                &v[2]), 3);
        check_line(name, v[0], v[1], v[2]);
        n++;
    }
    fclose(f);
    ck_assert_int_ge(n, 1400);
}
END_TEST

START_TEST(edges_have_their_values)
{
    ck_assert(num_exp(0.0) == 1.0 && num_exp(-0.0) == 1.0);
    ck_assert(num_exp((double)INFINITY) == (double)INFINITY && num_exp(710.0) == (double)INFINITY);
    ck_assert(num_exp(-(double)INFINITY) == 0.0 && num_exp(-746.0) == 0.0);
    ck_assert(num_exp(-745.13) == 0x1p-1074);
    ck_assert(isnan(num_exp((double)NAN)) && isnan(num_log((double)NAN)));
    ck_assert(num_log(1.0) == 0.0 && !signbit(num_log(1.0)));
    ck_assert(num_log(0.0) == -(double)INFINITY && num_log(-0.0) == -(double)INFINITY);
    ck_assert(isnan(num_log(-1.0)) && num_log((double)INFINITY) == (double)INFINITY);
    ck_assert(num_pow(10000.0, 0.0) == 1.0 && num_pow(1.0, 1e300) == 1.0);
    ck_assert(num_pow(4.0, 0.5) == 2.0 && num_pow(2.0, -3.0) == 0.125);
    ck_assert(num_pow(2.0, 1e9) == (double)INFINITY && num_pow(2.0, -1e9) == 0.0);
    ck_assert(isnan(num_pow(-2.0, 2.0)) && isnan(num_pow(2.0, (double)NAN)));
    ck_assert(isnan(num_pow((double)NAN, 2.0)) && num_pow(0.0, 2.0) == 0.0);
    ck_assert(num_sqrt(2.0) == 0x1.6a09e667f3bcdp+0);
    ck_assert(num_sigmoidf(-INFINITY) == 0.0f && num_sigmoidf(INFINITY) == 1.0f);
    ck_assert(num_softplusf(-INFINITY) == 0.0f && num_softplusf(INFINITY) == INFINITY);
    ck_assert(isnan(num_softplusf(NAN)) && isnan(num_siluf(NAN)));
    double s, c;
    num_sincos(0.0, &s, &c);
    ck_assert(s == 0.0 && c == 1.0);
    num_sincos(0x1.0000000000001p30, &s, &c);
    ck_assert(isnan(s) && isnan(c));
    num_sincos((double)NAN, &s, &c);
    ck_assert(isnan(s) && isnan(c));
}
END_TEST

// Distance from a more precise value in units of the last place of a binary64 number of that size.
static double ulps(double got, long double exact)
{
    int e;
    frexp((double)exact, &e);
    return fabs((double)(((long double)got - exact) / ldexpl(1.0L, (e < -1021 ? -1021 : e) - 53)));
}

// The bounds of docs/numerics.md against the C library's long double functions (64 bits or more).
START_TEST(errors_stay_below_their_bounds)
{
    state = 77;
    for (int i = 0; i < 6000; i++) {
        double u = (double)(next() >> 11) * 0x1p-53, v = (double)(next() >> 11) * 0x1p-53, s, c;
        double x = u * 1450.0 - 740.0;
        x = x < 709.0 ? x : v * 2.0 - 1.0;
        ck_assert_msg(ulps(num_exp(x), expl((long double)x)) < 1.0, "exp(%a)", x);
        x = i % 2 ? ldexp(1.0 + u, (int)(v * 2000.0) - 1000) : 0.5 + u;
        ck_assert_msg(ulps(num_log(x), logl((long double)x)) < 0.51, "log(%a)", x);
        x = 1.0 + u * 1e7;
        ck_assert_msg(ulps(num_pow(x, -v), powl((long double)x, -(long double)v)) < 1.25,
                      "pow(%a, %a)", x, -v);
        x = i % 2 ? u * 163840.0 : (u - 0.5) * 20.0;
        num_sincos(x, &s, &c);
        ck_assert_msg(ulps(s, sinl((long double)x)) < 1.0, "sin(%a)", x);
        ck_assert_msg(ulps(c, cosl((long double)x)) < 1.0, "cos(%a)", x);
    }
}
END_TEST

// sin(x + y) by the addition theorem, far from zero: a slip in the reduction cannot cancel.
START_TEST(large_angles_keep_their_place)
{
    for (int i = 0; i < 20000; i++) {
        double x = (double)(next() >> 34); // whole numbers up to 2^30: x + 1 is exact
        double s, c, s1, c1, s2, c2;
        num_sincos(x, &s, &c);
        num_sincos(1.0, &s1, &c1);
        num_sincos(x + 1.0 <= 0x1p30 ? x + 1.0 : x, &s2, &c2);
        if (x + 1.0 <= 0x1p30) {
            ck_assert(fabs(s * c1 + c * s1 - s2) < 4e-16);
            ck_assert(fabs(c * c1 - s * s1 - c2) < 4e-16);
        }
    }
}
END_TEST

enum { MANY = 400000 };

// Values around every seam of exp, then random ones of all sizes.
static void fill(float *x, int n)
{
    static const float seams[] = {0.0f,     -0.0f,    1e-45f, -1e-45f, 1e-38f,   -1e-38f, 3.4e38f,
                                  -3.4e38f, 88.0f,    -88.0f, 103.9f,  -103.9f,  709.0f,  711.0f,
                                  -709.0f,  -745.0f,  -746.5f, 0.34657f, -0.34658f, 1.0f, -1.0f};
    for (int i = 0; i < n; i++)
        if (i < (int)COUNT_OF(seams))
            x[i] = seams[i];
        else if (i % 4 == 0) {
            x[i] = float_of((uint32_t)(next() >> 32));
            x[i] = isfinite(x[i]) ? x[i] : 1.0f;
        } else
            x[i] = next_float(i % 4 == 1 ? 2.0f : i % 4 == 2 ? 20.0f : 750.0f);
}

static void each_level(void (*check)(void))
{
    err e = ERR_INIT;
    for (int level = 0; level < CPU_LEVELS; level++)
        if (cpu_has((cpu_level)level)) {
            ck_assert(cpu_use((cpu_level)level, &e));
            check();
        }
}

static float *gate, *up, *want, *got;
static double *exps;

static void check_arrays(void)
{
    num_swiglu(got, gate, up, MANY);
    ck_assert(memcmp(got, want, MANY * sizeof *got) == 0);
    memcpy(got, gate, MANY * sizeof *got);
    num_swiglu(got, got, up, MANY); // in place
    ck_assert(memcmp(got, want, MANY * sizeof *got) == 0);
    for (int64_t n = 0; n < 40; n++) { // rests, unaligned; nothing behind the end is touched
        memset(got, 0x55, 64 * sizeof *got);
        num_swiglu(got + 1, gate + n, up + n, n);
        ck_assert(memcmp(got + 1, want + n, (size_t)n * sizeof *got) == 0);
        ck_assert_uint_eq(float_bits(got[0]), 0x55555555);
        ck_assert_uint_eq(float_bits(got[n + 1]), 0x55555555);
    }
    static double y[MANY];
    num_exp_shifted(y, gate, 3.25, MANY);
    ck_assert(memcmp(y, exps, MANY * sizeof *y) == 0);
    for (int64_t n = 0; n < 20; n++) {
        memset(y, 0x55, 32 * sizeof *y);
        num_exp_shifted(y, gate + n, 3.25, n);
        ck_assert(memcmp(y, exps + n, (size_t)n * sizeof *y) == 0);
        ck_assert_uint_eq(bits_of(y[n]), UINT64_C(0x5555555555555555));
    }
}

START_TEST(arrays_have_the_bits_of_the_scalar_functions)
{
    gate = calloc(4 * MANY, sizeof *gate);
    exps = calloc(MANY, sizeof *exps);
    ck_assert(gate && exps);
    up = gate + MANY;
    want = up + MANY;
    got = want + MANY;
    fill(gate, MANY);
    fill(up, MANY);
    for (int i = 0; i < MANY; i++) {
        want[i] = num_siluf(gate[i]) * up[i];
        exps[i] = num_exp((double)gate[i] - 3.25);
    }
    each_level(check_arrays);
    free(gate);
    free(exps);
}
END_TEST

static void check_nan(void)
{
    float x[11], y[11];
    double e[11];
    for (int i = 0; i < 11; i++)
        x[i] = i % 3 == 1 ? NAN : (float)i;
    num_swiglu(y, x, x, 11);
    num_exp_shifted(e, x, 0.0, 11);
    for (int i = 0; i < 11; i++) {
        ck_assert_int_eq(isnan(y[i]) != 0, i % 3 == 1);
        ck_assert_int_eq(isnan(e[i]) != 0, i % 3 == 1);
    }
}

START_TEST(arrays_keep_nan_where_it_is)
{
    each_level(check_nan);
}
END_TEST

static uint64_t mix(uint64_t h, uint64_t bits)
{
    return (h ^ bits) * UINT64_C(0x100000001b3); // FNV-1a, eight bytes at a time
}

// One number for all functions over 20000 arguments each: the same on every compiler and machine.
START_TEST(bits_are_those_of_every_other_build)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    state = 12345;
    for (int i = 0; i < 20000; i++) {
        double u = (double)(next() >> 11) * 0x1p-53;
        double s, c;
        num_sincos((u - 0.5) * 0x1p20, &s, &c);
        h = mix(mix(h, bits_of(s)), bits_of(c));
        h = mix(h, bits_of(num_exp(u * 1400.0 - 700.0)));
        h = mix(h, bits_of(num_log(u + 1e-9)));
        h = mix(h, bits_of(num_pow(u * 1e6 + 1.0, u - 1.0)));
        float x = next_float(i & 1 ? 100.0f : 4.0f);
        h = mix(h, float_bits(num_expf(x * 0.8f)));
        h = mix(h, float_bits(num_logf(fabsf(x) + 1e-30f)));
        h = mix(h, float_bits(num_sigmoidf(x)));
        h = mix(h, float_bits(num_softplusf(x)));
        h = mix(h, float_bits(num_siluf(x)));
    }
    ck_assert_msg(h == UINT64_C(0x7cb6a4ca89feeebf), "the hash is 0x%016" PRIx64, h);
}
END_TEST

Suite *suite_num(void)
{
    Suite *s = suite_create("num");
    TCase *c = tcase_create("functions");
    tcase_add_test(c, agrees_with_exact_values);
    tcase_add_test(c, errors_stay_below_their_bounds);
    tcase_add_test(c, edges_have_their_values);
    tcase_add_test(c, large_angles_keep_their_place);
    tcase_add_test(c, bits_are_those_of_every_other_build);
    tcase_add_test(c, arrays_have_the_bits_of_the_scalar_functions);
    tcase_add_test(c, arrays_keep_nan_where_it_is);
    suite_add_tcase(s, c);
    return s;
}
