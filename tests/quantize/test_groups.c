// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "quantize/kernels.h"
#include "quantize/number.h"
#include "tests/quantize/goldens.h"

Suite *suite_groups(void);

enum { ROWS = 24, COLS = 1024, ALL = ROWS * COLS };

static float w[ALL], importance[COLS];
static uint8_t codes[ALL], plain_codes[ALL], fp_scale[ALL / 16], plain_fp_scale[ALL / 16];
static uint16_t scale[ALL / 16], plain_scale[ALL / 16];
static int8_t zero[ALL / 16], plain_zero[ALL / 16];

static const dtype TYPES[] = {DT_BF16, DT_F16, DT_F32};
static const char *const NAMES[] = {"bf16", "f16", "f32"};

static void round_all(dtype type)
{
    static uint16_t half[ALL];
    if (type == DT_F32)
        return;
    ck_assert(row_from_f32(half, type, w, ALL) && row_to_f32(w, half, type, ALL));
}

// written.py's weight.
static void fill(dtype type)
{
    for (uint32_t i = 0; i < ALL; i++)
        w[i] = written_weight(i);
    round_all(type);
    for (uint32_t i = 0; i < COLS; i++)
        importance[i] = 0.01f + (float)(mix(i + 7) % 1000);
}

static int_groups int_case(int bits, bool zeros, int64_t n, codec_search search, dtype source)
{
    return (int_groups){.from = {.w = w, .n = n, .groups = ALL / n, .search = search,
                                 .source = source},
                        .bits = bits, .codes = codes, .scale = scale, .zero = zeros ? zero : NULL};
}

static fp_groups fp_case(fp_form form, codec_search search, dtype source)
{
    int64_t n = form == FP_NVFP4 ? 16 : 32;
    return (fp_groups){.from = {.w = w, .n = n, .groups = ALL / n, .search = search,
                                .source = source},
                       .form = form, .codes = codes, .scale = fp_scale};
}

static void check_integers(const char *type, dtype source, int bits, bool zeros, int64_t n,
                           const char *group)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s_int%d%s_%s", type, bits, zeros ? "_asym" : "", group);
    int_groups g = int_case(bits, zeros, n, SEARCH_COMPAT, source);
    EACH_LEVEL(level) {
        kernels_at(level)->int_rows(&g);
        check_written(name, "packed", codes, ALL * bits / 32, 4);
        check_written(name, "scale", scale, ALL / n, 2);
    }
}

START_TEST(integers_have_the_bytes_of_compressed_tensors)
{
    fill(TYPES[_i]);
    for (int bits = 4; bits <= 8; bits += 4)
        for (int zeros = 0; zeros < 2; zeros++) {
            check_integers(NAMES[_i], TYPES[_i], bits, zeros, 16, "g16");
            check_integers(NAMES[_i], TYPES[_i], bits, zeros, 32, "g32");
            check_integers(NAMES[_i], TYPES[_i], bits, zeros, 128, "g128");
            check_integers(NAMES[_i], TYPES[_i], bits, zeros, COLS, "channel");
        }
}
END_TEST

static void check_floats(const char *type, const char *kind, fp_groups g)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s_%s", type, kind);
    EACH_LEVEL(level) {
        kernels_at(level)->fp_rows(&g);
        check_written(name, "codes", codes, g.form == FP_MXFP8 ? ALL : ALL / 2, 1);
        check_written(name, "scale", fp_scale, g.from.groups, 1);
    }
}

START_TEST(fp4_and_mxfp8_have_the_bytes_of_compressed_tensors)
{
    fill(TYPES[_i]);
    check_floats(NAMES[_i], "mxfp4", fp_case(FP_MXFP4, SEARCH_COMPAT, TYPES[_i]));
    check_floats(NAMES[_i], "mxfp8", fp_case(FP_MXFP8, SEARCH_COMPAT, TYPES[_i]));
    float amax = 0;
    for (int64_t i = 0; i < ALL; i++)
        amax = fmaxf(amax, fabsf(w[i]));
    fp_groups g = fp_case(FP_NVFP4, SEARCH_COMPAT, TYPES[_i]);
    g.global = nvfp4_global(amax, TYPES[_i]);
    check_floats(NAMES[_i], "nvfp4", g);
    char name[64];
    (void)snprintf(name, sizeof name, "%s_nvfp4", NAMES[_i]);
    check_written(name, "global", &g.global, 1, 4);
}
END_TEST

// ---- BEST -------------------------------------------------------------------------------------

static const float E2M1[] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                             -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

// Weighted error of a group as it is stored.
static double int_error(const int_groups *g, int64_t group)
{
    double sum = 0;
    int half = 1 << (g->bits - 1);
    float s = bf16_to_f32(scale[group]), z = g->zero ? zero[group] : 0;
    for (int64_t i = group * g->from.n; i < (group + 1) * g->from.n; i++) {
        int code = (g->bits == 4 ? codes[i / 2] >> i % 2 * 4 & 15 : codes[i]) - half;
        double d = (double)w[i] - (double)(((float)code - z) * s);
        sum += (g->from.importance ? (double)importance[i % COLS] : 1) * d * d;
    }
    return sum;
}

static double fp_error(const fp_groups *g, int64_t group)
{
    double sum = 0;
    float s = g->form == FP_NVFP4 ? e4m3_to_f32(fp_scale[group]) / g->global
                                  : e8m0_to_f32(fp_scale[group]);
    for (int64_t i = group * g->from.n; i < (group + 1) * g->from.n; i++) {
        double d = (double)w[i] - (double)(E2M1[codes[i / 2] >> i % 2 * 4 & 15] * s);
        sum += (g->from.importance ? (double)importance[i % COLS] : 1) * d * d;
    }
    return sum;
}

// Rows with the same importance: the kernel takes it beside the weights.
static float *repeated_importance(void)
{
    static float all[ALL];
    for (int64_t i = 0; i < ALL; i++)
        all[i] = importance[i % COLS];
    return all;
}

// Both searches of one case: BEST is never worse and at most `share` of COMPAT altogether.
static void compare_int(int bits, bool zeros, int64_t n, bool weighted, dtype source, double share)
{
    static double compat[ALL / 16];
    int_groups g = int_case(bits, zeros, n, SEARCH_COMPAT, source);
    g.from.importance = weighted ? repeated_importance() : NULL;
    kernels_used()->int_rows(&g);
    for (int64_t i = 0; i < g.from.groups; i++)
        compat[i] = int_error(&g, i);
    g.from.search = SEARCH_BEST;
    kernels_used()->int_rows(&g);
    double sums[2] = {0, 0};
    for (int64_t i = 0; i < g.from.groups; i++) {
        double best = int_error(&g, i);
        ck_assert_double_le(best, compat[i] * (1 + 1e-5));
        sums[0] += i * n / COLS < 8 ? 0 : best; // the bell-shaped ones
        sums[1] += i * n / COLS < 8 ? 0 : compat[i];
    }
    ck_assert_msg(sums[0] < share * sums[1], "int%d%s g%d: %g of compat", bits,
                  zeros ? "-asym" : "", (int)n, sums[0] / sums[1]);
}

START_TEST(the_best_integers_are_never_worse_and_mostly_better)
{
    for (int type = 0; type < 3; type += 2) {
        fill(TYPES[type]);
        for (int weighted = 0; weighted < 2; weighted++)
            for (int zeros = 0; zeros < 2; zeros++) {
                compare_int(4, zeros, 32, weighted, TYPES[type], 0.92);
                compare_int(4, zeros, 128, weighted, TYPES[type], 0.91);
                compare_int(4, zeros, COLS, weighted, TYPES[type], 0.9);
                compare_int(8, zeros, 32, weighted, TYPES[type], 0.97);
                compare_int(8, zeros, COLS, weighted, TYPES[type], 0.995);
            }
    }
}
END_TEST

static void compare_fp(fp_groups g, bool weighted, double share)
{
    static double compat[ALL / 16];
    g.from.importance = weighted ? repeated_importance() : NULL;
    g.global = nvfp4_global(0.5f, DT_BF16);
    kernels_used()->fp_rows(&g);
    for (int64_t i = 0; i < g.from.groups; i++)
        compat[i] = fp_error(&g, i);
    g.from.search = SEARCH_BEST;
    kernels_used()->fp_rows(&g);
    double sums[2] = {0, 0};
    for (int64_t i = 0; i < g.from.groups; i++) {
        double best = fp_error(&g, i);
        ck_assert_double_le(best, compat[i] * (1 + 1e-5));
        sums[0] += i * g.from.n / COLS < 8 ? 0 : best;
        sums[1] += i * g.from.n / COLS < 8 ? 0 : compat[i];
    }
    ck_assert_msg(sums[0] < share * sums[1], "form %d: %g of compat", (int)g.form,
                  sums[0] / sums[1]);
}

START_TEST(the_best_fp4_is_never_worse_and_mostly_better)
{
    fill(DT_BF16);
    for (int weighted = 0; weighted < 2; weighted++) {
        compare_fp(fp_case(FP_MXFP4, SEARCH_COMPAT, DT_BF16), weighted, weighted ? 0.98 : 0.9995);
        compare_fp(fp_case(FP_NVFP4, SEARCH_COMPAT, DT_BF16), weighted, 0.85);
    }
}
END_TEST

// The least error of a group over all scale bytes, by division and the nearest code.
static double least_fp_error(const fp_groups *g, int64_t group)
{
    double least = HUGE_VAL;
    for (int code = g->form == FP_NVFP4; code < (g->form == FP_NVFP4 ? 127 : 255); code++) {
        float s = g->form == FP_NVFP4 ? e4m3_to_f32((uint8_t)code) / g->global
                                      : e8m0_to_f32((uint8_t)code);
        double sum = 0;
        for (int64_t i = group * g->from.n; i < (group + 1) * g->from.n; i++) {
            double d = (double)w[i] - (double)(e2m1_to_f32(f32_to_e2m1(w[i] / s)) * s);
            sum += (g->from.importance ? (double)importance[i % COLS] : 1) * d * d;
        }
        least = fmin(least, sum);
    }
    return least;
}

static double fp_excess(fp_groups g, bool weighted)
{
    double found = 0, least = 0;
    g.from.importance = weighted ? repeated_importance() : NULL;
    g.global = nvfp4_global(0.5f, DT_BF16);
    kernels_used()->fp_rows(&g);
    for (int64_t i = 8 * COLS / g.from.n; i < g.from.groups; i++) {
        found += fp_error(&g, i);
        least += least_fp_error(&g, i);
    }
    return found / least - 1;
}

START_TEST(the_best_fp4_is_what_all_scales_have_to_offer)
{
    fill(DT_BF16);
    for (int weighted = 0; weighted < 2; weighted++) {
        ck_assert_double_lt(fp_excess(fp_case(FP_MXFP4, SEARCH_BEST, DT_BF16), weighted), 1e-6);
        // Nearest to weights that have grown by the error's share of them, 0.7 %.
        ck_assert_double_lt(fp_excess(fp_case(FP_NVFP4, SEARCH_BEST, DT_BF16), weighted), 1e-2);
    }
}
END_TEST

// The least error of a group over all BF16 scales of three octaves and all zero points; of 4 bits,
// when the scale has grown so that weights do not shrink.
static double least_int_error(const int_groups *g, int64_t group)
{
    double least = HUGE_VAL, square = 0;
    float half = g->bits == 4 ? 8 : 128, amax = 0;
    int64_t begin = group * g->from.n, end = begin + g->from.n;
    for (int64_t i = begin; i < end; i++)
        amax = fmaxf(amax, fabsf(w[i]));
    uint16_t top = f32_to_bf16(amax * 2 / (half - 1));
    for (uint16_t bits = (uint16_t)(top - 384); bits < top; bits++)
        for (float z = g->zero ? -half : 0; z < (g->zero ? half : 1); z++)
            for (int sign = 1; sign >= (g->zero ? 1 : -1); sign -= 2) {
                float s = (float)sign * bf16_to_f32(bits);
                double sum = 0;
                for (int64_t i = begin; sum < least && i < end; i++) {
                    float x = w[i] / s + z;
                    x = x < -half ? -half : x > half - 1 ? half - 1 : x;
                    double d = (double)w[i] - (double)((x + 0x1.8p23f - 0x1.8p23f - z) * s);
                    sum += (g->from.importance ? (double)importance[i % COLS] : 1) * d * d;
                }
                least = fmin(least, sum);
            }
    for (int64_t i = begin; i < end; i++)
        square += (g->from.importance ? (double)importance[i % COLS] : 1) * w[i] * w[i];
    return g->bits == 4 ? least / (1 - least / square) : least;
}

static double int_excess(int bits, bool zeros, int64_t n, bool weighted)
{
    int_groups g = int_case(bits, zeros, n, SEARCH_BEST, DT_F32);
    double found = 0, least = 0;
    g.from.importance = weighted ? repeated_importance() : NULL;
    kernels_used()->int_rows(&g);
    for (int64_t i = 8 * COLS / n; i < g.from.groups; i += 1 + 256 / n) {
        found += int_error(&g, i);
        least += least_int_error(&g, i);
    }
    return found / least - 1;
}

START_TEST(the_best_integers_are_near_what_all_scales_have_to_offer)
{
    fill(DT_F32);
    for (int weighted = 0; weighted < 2; weighted++) {
        ck_assert_double_lt(int_excess(4, false, 32, weighted), 0.03);
        ck_assert_double_lt(int_excess(4, true, 32, weighted), 0.01);
        ck_assert_double_lt(int_excess(4, true, 128, weighted), 0.01);
        ck_assert_double_lt(int_excess(4, true, COLS, weighted), 0.03);
        ck_assert_double_lt(int_excess(4, false, COLS, weighted), 0.03);
        ck_assert_double_lt(int_excess(8, false, 32, weighted), 0.03);
        ck_assert_double_lt(int_excess(8, false, COLS, weighted), 0.03);
    }
}
END_TEST

// Groups of whole numbers of steps: all ranges of 1 to 15 with 0 in them, both ends used, every
// third time nothing else.
static void fill_steps(int64_t n, float step)
{
    float *to = w;
    memset(w, 0, sizeof w);
    for (int steps = 1; steps <= 15; steps++)
        for (int low = -steps; low <= 0; low++, to += n) {
            int span = (steps + low) % 3 ? steps : 1;
            for (int64_t i = 0; i < n; i++) {
                int some = i < 2 ? (int)i * span : (int)(mix((uint32_t)(to - w + i)) % 16);
                to[i] = step * (float)(low + some % (span + 1) * (steps / span));
            }
        }
}

START_TEST(whole_numbers_of_steps_keep_their_values)
{
    static const float STEPS[] = {0x1.fep-8f, 0x1.02p-126f, 0x1.9p100f};
    for (size_t k = 0; k < COUNT_OF(STEPS); k++)
        for (int weighted = 0; weighted < 2; weighted++) {
            int_groups g = int_case(4, true, 64, SEARCH_BEST, DT_F32);
            g.from.importance = weighted ? repeated_importance() : NULL;
            fill_steps(g.from.n, STEPS[k]);
            kernels_used()->int_rows(&g);
            for (int64_t i = 0; i < g.from.groups; i++)
                ck_assert_double_eq(int_error(&g, i), 0);
        }
}
END_TEST

// sum o w value over sum o w^2 of the bell-shaped groups.
static double kept_share(const int_groups *g)
{
    double product = 0, square = 0;
    for (int64_t i = 8 * COLS; i < ALL; i++) {
        int64_t group = i / g->from.n;
        double o = g->from.importance ? (double)importance[i % COLS] : 1;
        int code = (codes[i / 2] >> i % 2 * 4 & 15) - 8 - zero[group];
        product += o * (double)w[i] * code * (double)bf16_to_f32(scale[group]);
        square += o * (double)w[i] * (double)w[i];
    }
    return product / square;
}

START_TEST(codes_with_zero_points_do_not_shrink_the_weights)
{
    fill(DT_BF16);
    for (int weighted = 0; weighted < 2; weighted++)
        for (int64_t n = 32; n <= COLS; n *= 2) {
            int_groups g = int_case(4, true, n, SEARCH_BEST, DT_BF16);
            g.from.importance = weighted ? repeated_importance() : NULL;
            kernels_used()->int_rows(&g);
            // By least squares it would be 0.988 to 0.994. Some groups keep COMPAT's scale, and all
            // are rounded to BF16, up to 2^-9 either way.
            ck_assert_double_eq_tol(kept_share(&g), 1, 1.5e-3);
        }
}
END_TEST

static void same_int(int_groups g)
{
    kernels_at(CPU_PLAIN)->int_rows(&g);
    memcpy(plain_codes, codes, sizeof codes);
    memcpy(plain_scale, scale, sizeof scale);
    memcpy(plain_zero, zero, sizeof zero);
    EACH_LEVEL(level) {
        kernels_at(level)->int_rows(&g);
        ck_assert_mem_eq(codes, plain_codes, sizeof codes);
        ck_assert_mem_eq(scale, plain_scale, sizeof scale);
        ck_assert_mem_eq(zero, plain_zero, sizeof zero);
    }
}

static void same_fp(fp_groups g)
{
    kernels_at(CPU_PLAIN)->fp_rows(&g);
    memcpy(plain_codes, codes, sizeof codes);
    memcpy(plain_fp_scale, fp_scale, sizeof fp_scale);
    EACH_LEVEL(level) {
        kernels_at(level)->fp_rows(&g);
        ck_assert_mem_eq(codes, plain_codes, sizeof codes);
        ck_assert_mem_eq(fp_scale, plain_fp_scale, sizeof fp_scale);
    }
}

START_TEST(gives_the_same_bits_at_every_level)
{
    static const float SIZES[] = {1, 0x1p-140f, 0x1p-60f, 0x1p100f, 0x1p118f};
    for (size_t size = 0; size < COUNT_OF(SIZES); size++) {
        fill(DT_F32);
        for (int64_t i = 0; i < ALL; i++)
            w[i] = fminf(fmaxf(w[i] * SIZES[size], -0x1.fep127f), 0x1.fep127f);
        round_all(size % 2 ? DT_F32 : DT_BF16);
        dtype source = size % 2 ? DT_F32 : DT_BF16;
        for (int how = 0; how < 8; how++) {
            int_groups g = int_case(how & 1 ? 8 : 4, how & 2, how & 1 ? 64 : 32, SEARCH_BEST,
                                    source);
            g.from.importance = how & 4 ? repeated_importance() : NULL;
            g.positive = how & 4;
            same_int(g);
            if (g.bits == 4 && g.zero) { // more than is looked at together, and not a multiple
                g.from.n = 192;
                g.from.groups = ALL / g.from.n;
                same_int(g);
            }
            fp_groups f = fp_case(how & 1 ? FP_NVFP4 : FP_MXFP4, SEARCH_BEST, source);
            f.from.importance = g.from.importance;
            f.global = nvfp4_global(SIZES[size], source);
            same_fp(f);
        }
    }
}
END_TEST

Suite *suite_groups(void)
{
    Suite *s = suite_create("groups");
    TCase *c = tcase_create("compat");
    tcase_add_loop_test(c, integers_have_the_bytes_of_compressed_tensors, 0, 3);
    tcase_add_loop_test(c, fp4_and_mxfp8_have_the_bytes_of_compressed_tensors, 0, 3);
    suite_add_tcase(s, c);
    c = tcase_create("best");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, the_best_integers_are_never_worse_and_mostly_better);
    tcase_add_test(c, the_best_fp4_is_never_worse_and_mostly_better);
    tcase_add_test(c, the_best_fp4_is_what_all_scales_have_to_offer);
    tcase_add_test(c, the_best_integers_are_near_what_all_scales_have_to_offer);
    tcase_add_test(c, whole_numbers_of_steps_keep_their_values);
    tcase_add_test(c, codes_with_zero_points_do_not_shrink_the_weights);
    tcase_add_test(c, gives_the_same_bits_at_every_level);
    suite_add_tcase(s, c);
    return s;
}
