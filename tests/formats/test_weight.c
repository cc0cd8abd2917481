// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "formats/weight.h"
#include "quantize/number.h"
#include "tests/gguf_case.h"
#include "tests/refused.h"
#include "tests/temp.h"
#include "tests/tiny_model.h"

Suite *suite_weight(void);

static tiny m;
static checkpoint *c;

static void setup(void)
{
    c = NULL;
    tiny_init(&m);
}

static void teardown(void)
{
    checkpoint_close(c);
    tiny_free(&m);
}

static void open_it(void)
{
    err e = ERR_INIT;
    tiny_write(&m, "{}");
    ASSERT_OK(checkpoint_open(&c, m.dir, NULL, &e), e);
}

static weight bound(const char *module, int64_t out, int64_t in)
{
    weight w;
    err e = ERR_INIT;
    ASSERT_OK(weight_bind(&w, c, module, "weight", 2, out, in, &e), e);
    ck_assert_str_eq(w.module, module);
    return w;
}

static void assert_unbound(const char *module, int64_t out, int64_t in, const char *words)
{
    weight w;
    ASSERT_REFUSED(weight_bind(&w, c, module, "weight", 2, out, in, &refused), words);
    ck_assert_ptr_null(w.codec);
}

static float *rows_of(const weight *w, int64_t row, int64_t n)
{
    err e = ERR_INIT;
    scratch s = {0};
    float *to = malloc((size_t)(n * w->in + 1) * sizeof *to);
    ck_assert_ptr_nonnull(to);
    ASSERT_OK(weight_read_rows(w, row, n, to, &s, &e), e);
    scratch_free(&s);
    return to;
}

// Every range of rows has to be the same part of the whole, bit by bit.
static void assert_ranges_agree(const weight *w, const float *whole)
{
    const int64_t start[] = {0, 1, 127, 128, 129, 200, 255, 256, 299};
    const int64_t count[] = {0, 1, 2, 127, 128, 129, 300};
    for (size_t i = 0; i < COUNT_OF(start); i++) {
        for (size_t k = 0; k < COUNT_OF(count); k++) {
            if (start[i] > w->out)
                continue;
            int64_t n = i64_min(count[k], w->out - start[i]);
            float *part = rows_of(w, start[i], n);
            ck_assert_mem_eq(part, whole + start[i] * w->in, (size_t)(n * w->in) * sizeof *part);
            free(part);
        }
    }
}

START_TEST(reads_plain_matrices_and_vectors)
{
    float values[6] = {1, -2, 0.5f, 3, NAN, INFINITY};
    uint16_t half[2] = {0x3c00, 0xc000}; // 1, -2
    tiny_add(&m, "a.weight", DT_F32, 2, 3, 2, values);
    tiny_add(&m, "n.weight", DT_F16, 1, 2, 0, half);
    tiny_add(&m, "a.bias", DT_F32, 1, 3, 0, values);
    tiny_add(&m, "plain", DT_F32, 1, 3, 0, values);
    open_it();
    weight w = bound("a", 3, 2);
    ck_assert_str_eq(w.codec->name, "f32");
    ck_assert_uint_eq(weight_stored_bytes(&w), 24);
    ck_assert_int_eq(weight_elements(&w), 6);
    float *read = rows_of(&w, 1, 2); // not finite: passed on as it is
    ck_assert_mem_eq(read, values + 2, 16);
    free(read);
    err e = ERR_INIT;
    ASSERT_OK(weight_bind(&w, c, "n", "weight", 1, 1, 2, &e), e);
    read = rows_of(&w, 0, 1);
    ck_assert_float_eq(read[0], 1);
    ck_assert_float_eq(read[1], -2);
    free(read);
    ASSERT_OK(weight_bind(&w, c, "a", "bias", 1, 1, 3, &e), e);
    ck_assert_str_eq(w.part[0]->name, "a.bias");
    ASSERT_OK(weight_bind(&w, c, "plain", "", 1, 1, 3, &e), e);
    ck_assert_str_eq(w.part[0]->name, "plain");
}
END_TEST

// Codes and scales of a [300][200] weight in FP8 blocks: 3 x 2 scales, ragged on both sides.
static void add_fp8(const char *module, bool bf16_scales)
{
    static uint8_t code[300 * 200];
    float scale[6] = {1, 0.5f, 2, 0.25f, 3, 0.125f};
    uint16_t narrow[6];
    for (int i = 0; i < 300 * 200; i++)
        code[i] = (uint8_t)(i * 37 % 251 & 0x7e); // never NaN
    for (int i = 0; i < 6; i++)
        narrow[i] = f32_to_bf16(scale[i]);
    char name[100];
    (void)snprintf(name, sizeof name, "%s.weight", module);
    tiny_add(&m, name, DT_F8_E4M3, 2, 300, 200, code);
    (void)snprintf(name, sizeof name, "%s.weight_scale_inv", module);
    tiny_add(&m, name, bf16_scales ? DT_BF16 : DT_F32, 2, 3, 2,
             bf16_scales ? (const void *)narrow : scale);
}

START_TEST(reads_fp8_blocks_at_any_row_with_scales_in_another_shard)
{
    add_fp8("a", false);
    add_fp8("b", true);
    tiny_put_in_shard(&m, "a.weight_scale_inv", 1);
    open_it();
    weight w = bound("a", 300, 200), v = bound("b", 300, 200);
    ck_assert_str_eq(w.codec->name, "fp8-block");
    ck_assert_int_ne(w.part[0]->file, w.part[1]->file);
    float *whole = rows_of(&w, 0, 300), *other = rows_of(&v, 0, 300);
    const float scale[6] = {1, 0.5f, 2, 0.25f, 3, 0.125f};
    for (int r = 0; r < 300; r++)
        for (int k = 0; k < 200; k++) {
            int i = r * 200 + k;
            float expected = e4m3_to_f32((uint8_t)(i * 37 % 251 & 0x7e)) *
                             scale[r / 128 * 2 + k / 128];
            ck_assert(f32_bits(whole[i]) == f32_bits(expected));
        }
    ck_assert_mem_eq(whole, other, 300 * 200 * sizeof *whole);
    assert_ranges_agree(&w, whole);
    free(whole);
    free(other);
}
END_TEST

START_TEST(reads_fp8_channels)
{
    uint8_t code[6] = {0x38, 0x40, 0xb8, 0x7f, 0x01, 0x7e}; // 1 2 -1 NaN 2^-9 448
    float scale[3] = {2, 0.5f, 1};
    tiny_add(&m, "a.weight", DT_F8_E4M3, 2, 3, 2, code);
    tiny_add(&m, "a.weight_scale", DT_F32, 2, 3, 1, scale);
    open_it();
    weight w = bound("a", 3, 2);
    ck_assert_str_eq(w.codec->name, "fp8-channel");
    float *read = rows_of(&w, 0, 3);
    ck_assert_float_eq(read[0], 2);
    ck_assert_float_eq(read[1], 4);
    ck_assert_float_eq(read[2], -0.5f);
    ck_assert_float_nan(read[3]);
    ck_assert_float_eq(read[4], 0.001953125f);
    ck_assert_float_eq(read[5], 448);
    assert_ranges_agree(&w, read);
    free(read);
}
END_TEST

// A [3][64] weight whose codes count up: -8 .. 7 over and over; one scale a group.
static void add_int4(const char *module, int64_t group, dtype shape_type)
{
    uint32_t words[3 * 8];
    uint16_t scale[3 * 4]; // the smallest group asked for is 16
    int64_t wide[2] = {3, 64};
    int32_t narrow[2] = {3, 64};
    for (int i = 0; i < 24; i++)
        words[i] = i % 2 ? 0xfedcba98 : 0x76543210; // formats.md 2.3: -8 .. -1, then 0 .. 7
    for (int i = 0; i < 12; i++)
        scale[i] = f32_to_bf16((float)(i + 1));
    char name[100];
    (void)snprintf(name, sizeof name, "%s.weight_packed", module);
    tiny_add(&m, name, DT_I32, 2, 3, 8, words);
    (void)snprintf(name, sizeof name, "%s.weight_scale", module);
    tiny_add(&m, name, DT_BF16, 2, 3, 64 / group, scale);
    (void)snprintf(name, sizeof name, "%s.weight_shape", module);
    tiny_add(&m, name, shape_type, 1, 2, 0, shape_type == DT_I32 ? (void *)narrow : wide);
}

START_TEST(reads_int4_groups)
{
    add_int4("a", 32, DT_I64);
    add_int4("b", 64, DT_I32);
    open_it();
    weight w = bound("a", 3, 64);
    ck_assert_str_eq(w.codec->name, "int4-g32");
    float *read = rows_of(&w, 0, 3);
    for (int i = 0; i < 3 * 64; i++)
        ck_assert_float_eq(read[i], (float)(i % 16 - 8) * (float)(i / 32 + 1));
    assert_ranges_agree(&w, read);
    free(read);
    w = bound("b", 3, 64);
    ck_assert_str_eq(w.codec->name, "int4-g64");
    read = rows_of(&w, 2, 1);
    for (int i = 0; i < 64; i++)
        ck_assert_float_eq(read[i], (float)(i % 16 - 8) * 3);
    free(read);
}
END_TEST

START_TEST(names_what_is_missing)
{
    uint8_t code[4] = {0};
    tiny_add(&m, "f.weight", DT_F8_E4M3, 2, 2, 2, code);
    add_int4("p", 32, DT_I64);
    tiny_drop(&m, "p.weight_scale");
    add_int4("q", 32, DT_I64);
    tiny_drop(&m, "q.weight_shape");
    add_int4("r", 64, DT_I64);
    tiny_drop(&m, "r.weight_shape");
    add_int4("z", 64, DT_I64);
    tiny_add(&m, "z.weight_zero_point", DT_I32, 2, 1, 1, &(int32_t){0});
    tiny_drop(&m, "z.weight_scale");
    open_it();
    assert_unbound("none", 2, 2, "tensor 'none.weight' is missing");
    assert_unbound("f", 2, 2, "tensor 'f.weight' has type F8_E4M3, but nothing that goes with such "
                              "codes is there (weight_scale_inv, for one)");
    assert_unbound("p", 3, 64, "tensor 'p.weight_scale' is missing");
    assert_unbound("q", 3, 64, "tensor 'q.weight_shape' is missing: the weight is stored as "
                               "int4-g32");
    assert_unbound("r", 3, 64, "tensor 'r.weight_shape' is missing: the weight is stored as "
                               "int4-g64");
    // Without scales nothing tells the size of groups.
    assert_unbound("z", 3, 64, "tensor 'z.weight_scale' is missing: the weight is stored as "
                               "int4-zeros");
    weight w;
    ASSERT_REFUSED(weight_bind(&w, c, "f", "bias", 1, 1, 2, &refused), "'f.bias' is missing");
}
END_TEST

START_TEST(names_shapes_that_do_not_fit)
{
    tiny_add(&m, "a.weight", DT_F32, 2, 3, 2, NULL);
    tiny_add(&m, "v.weight", DT_F32, 1, 6, 0, NULL);
    add_fp8("f", false);
    tiny_drop(&m, "f.weight_scale_inv");
    tiny_add(&m, "f.weight_scale_inv", DT_F32, 2, 2, 2, NULL);
    add_int4("p", 32, DT_I64);
    int64_t lie[2] = {3, 60};
    tiny_drop(&m, "p.weight_shape");
    tiny_add(&m, "p.weight_shape", DT_I64, 1, 2, 0, lie);
    add_int4("q", 32, DT_I64);
    tiny_drop(&m, "q.weight_scale");
    tiny_add(&m, "q.weight_scale", DT_BF16, 2, 3, 5, NULL);
    open_it();
    assert_unbound("a", 2, 3, "tensor 'a.weight' has shape [3,2], expected [2,3]");
    assert_unbound("v", 1, 6, "tensor 'v.weight' has shape [6], expected [1,6]");
    assert_unbound("f", 300, 200, "'f.weight_scale_inv' has shape [2,2]: that is no scale a "
                                  "tensor, row or group of 16, 32, 64 or 128 (rows and) columns "
                                  "of a weight of [300,200]");
    assert_unbound("p", 3, 64, "tensor 'p.weight_shape' says [3,60], the weight is [3,64]");
    assert_unbound("q", 3, 64, "'q.weight_scale' has shape [3,5]: that is no scale a tensor, "
                               "row or group of equally many columns of a weight of [3,64]");
    assert_unbound("q", 4, 64, "tensor 'q.weight_packed' has shape [3,8], expected [4,8]");
    weight w;
    ASSERT_REFUSED(weight_bind(&w, c, "a", "weight", 1, 1, 6, &refused), "[3,2], expected [6]");
}
END_TEST

START_TEST(refuses_companions_and_types_it_does_not_know)
{
    uint8_t bytes[64] = {0};
    tiny_add(&m, "i.weight", DT_I8, 2, 2, 2, bytes);
    tiny_add(&m, "u.weight_packed", DT_I16, 2, 2, 2, bytes);
    tiny_add(&m, "g.qweight", DT_I32, 2, 2, 2, bytes);
    tiny_add(&m, "two.weight", DT_BF16, 2, 2, 2, NULL);
    tiny_add(&m, "two.weight_packed", DT_I32, 2, 2, 2, bytes);
    tiny_add(&m, "s.weight", DT_F8_E4M3, 2, 2, 2, bytes);
    tiny_add(&m, "s.weight_scale", DT_F32, 2, 2, 1, bytes);
    tiny_add(&m, "s.weight_zero_point", DT_I8, 2, 2, 1, bytes);
    tiny_add(&m, "v.weight", DT_BF16, 1, 2, 0, bytes);
    tiny_add(&m, "v.weight_scale", DT_BF16, 1, 1, 0, bytes);
    add_int4("z", 32, DT_I64);
    tiny_add(&m, "z.weight_bitmask", DT_U8, 2, 1, 2, bytes);
    add_int4("o", 32, DT_I64);
    tiny_add(&m, "o.weight_g_idx", DT_I32, 1, 4, 0, bytes);
    add_int4("x", 32, DT_I64);
    tiny_drop(&m, "x.weight_scale");
    tiny_add(&m, "x.weight_scale", DT_U8, 2, 3, 2, bytes);
    tiny_add(&m, "n.weight", DT_F8_E4M3, 1, 2, 0, bytes);
    open_it();
    assert_unbound("i", 2, 2, "tensor 'i.weight' has type I8");
    assert_unbound("u", 2, 2, "tensor 'u.weight_packed' has type I16");
    assert_unbound("g", 2, 2, "tensor 'g.qweight' has shape [2,2]");
    assert_unbound("two", 2, 2, "'two.weight_packed' (packed codes) stands beside a weight stored "
                                "as bf16");
    assert_unbound("s", 2, 2, "'s.weight_zero_point' (zero points of asymmetric codes) stands "
                              "beside a weight stored as fp8-channel");
    assert_unbound("z", 3, 64, "'z.weight_bitmask' (a sparse weight)");
    assert_unbound("o", 3, 64, "tensor 'o.weight_g_idx' has shape [4], expected [64]");
    assert_unbound("x", 3, 64, "tensor 'x.weight_scale' has type U8, expected BF16");
    weight w;
    ASSERT_REFUSED(weight_bind(&w, c, "n", "weight", 1, 1, 2, &refused), "has type F8_E4M3");
    ASSERT_REFUSED(weight_bind(&w, c, "v", "weight", 1, 1, 2, &refused),
                   "'v.weight_scale' (scales) stands beside");
}
END_TEST

// ---- views: stacked, halves, every second row, transposed -------------------------------------

static weight seen(const char *module, const char *suffix, int rank, int64_t out, int64_t in,
                   const weight_view *v)
{
    weight w;
    err e = ERR_INIT;
    weight_terms t = {.module = module, .suffix = suffix, .rank = rank, .out = out, .in = in,
                      .view = v};
    ASSERT_OK(weight_bind_as(&w, c, &t, &e), e);
    return w;
}

enum { EXPERTS = 3, WIDTH = 20, HIDDEN = 70 }; // gate and up have WIDTH rows each

static float stacked_value(int64_t expert, int64_t row, int64_t col)
{
    return (float)((expert * 37 + row * 11 + col * 5) % 251 - 125);
}

// Gate or up of each expert, whose rows lie as the view says.
static void check_view(const char *module, weight_view v)
{
    for (v.slice = 0; v.slice < EXPERTS; v.slice++) {
        weight w = seen(module, "weight", 2, WIDTH, HIDDEN, &v);
        float *all = rows_of(&w, 0, WIDTH);
        for (int64_t i = 0; i < WIDTH * HIDDEN; i++)
            ck_assert_float_eq(all[i], stacked_value(v.slice, v.first + i / HIDDEN * v.step,
                                                     i % HIDDEN));
        for (int64_t row = 0; row < WIDTH; row += 3) {
            int64_t n = i64_min(1 + row % 7, WIDTH - row);
            float *some = rows_of(&w, row, n);
            ck_assert_mem_eq(some, all + row * HIDDEN, (size_t)(n * HIDDEN) * sizeof *some);
            free(some);
        }
        free(all);
        ck_assert_uint_eq(weight_stored_bytes(&w), HIDDEN * WIDTH * 2);
    }
}

// Runs of a part, out of a span that comes in pieces of any size.
START_TEST(small_runs_come_with_what_lies_between)
{
    enum { RUNS = 7, RUN = 6, STRIDE = 10, SPAN = (RUNS - 1) * STRIDE + RUN };
    const stored_part p = {.runs = RUNS, .run_bytes = RUN, .stride = STRIDE};
    unsigned char span[SPAN], got[RUNS * RUN];
    ck_assert_uint_eq(weight_part_span(&p), SPAN);
    for (int i = 0; i < SPAN; i++)
        span[i] = (unsigned char)i;
    for (uint64_t piece = 1; piece <= SPAN; piece++) {
        memset(got, 0xff, sizeof got);
        for (uint64_t at = 0; at < SPAN; at += piece)
            weight_part_gather(&p, at, span + at, SPAN - at < piece ? SPAN - at : piece, got);
        for (int i = 0; i < RUNS * RUN; i++)
            ck_assert_int_eq(got[i], i / RUN * STRIDE + i % RUN);
    }
    // One run, large ones, and those far from each other are read as they are.
    ck_assert_uint_eq(weight_part_span(&(stored_part){.runs = 1, .run_bytes = 6}), 0);
    ck_assert_uint_eq(weight_part_span(&(stored_part){.runs = 2, .run_bytes = 4096,
                                                      .stride = 8192}), 0);
    ck_assert_uint_eq(weight_part_span(&(stored_part){.runs = 2, .run_bytes = 6, .stride = 25}),
                      0);
}
END_TEST

START_TEST(reads_plain_experts_out_of_stacks)
{
    static uint16_t rows[EXPERTS * 2 * WIDTH * HIDDEN], across[EXPERTS * 2 * WIDTH * HIDDEN];
    for (int64_t e = 0; e < EXPERTS; e++)
        for (int64_t r = 0; r < 2 * WIDTH; r++)
            for (int64_t k = 0; k < HIDDEN; k++) {
                uint16_t x = f32_to_bf16(stacked_value(e, r, k));
                rows[(e * 2 * WIDTH + r) * HIDDEN + k] = x;
                across[(e * HIDDEN + k) * 2 * WIDTH + r] = x;
            }
    const int64_t q[] = {EXPERTS, 2 * WIDTH, HIDDEN}, l[] = {EXPERTS, HIDDEN, 2 * WIDTH};
    const int64_t biases[] = {EXPERTS * HIDDEN, 2 * WIDTH};
    tiny_add_shaped(&m, "q.gate_up_proj", DT_BF16, 3, q, rows);
    tiny_add_shaped(&m, "l.gate_up_proj", DT_BF16, 3, l, across);
    tiny_add_shaped(&m, "l.gate_up_proj_bias", DT_BF16, 2, biases, across);
    open_it();
    for (int up = 0; up < 2; up++) {
        check_view("q.gate_up_proj", (weight_view){EXPERTS, 0, 2 * WIDTH, up * WIDTH, 1, false});
        check_view("q.gate_up_proj", (weight_view){EXPERTS, 0, 2 * WIDTH, up, 2, false});
        check_view("l.gate_up_proj", (weight_view){EXPERTS, 0, 2 * WIDTH, up * WIDTH, 1, true});
        check_view("l.gate_up_proj", (weight_view){EXPERTS, 0, 2 * WIDTH, up, 2, true});
        for (int step = 1; step <= 2; step++) { // biases
            weight_view v = {EXPERTS * HIDDEN, HIDDEN + 4, 2 * WIDTH,
                             step == 1 ? up * WIDTH : up, step, false};
            weight w = seen("l.gate_up_proj", "_bias", 1, 1, WIDTH, &v);
            float *x = rows_of(&w, 0, 1);
            for (int64_t i = 0; i < WIDTH; i++)
                ck_assert_float_eq(x[i], stacked_value(1, v.first + i * step, 4));
            free(x);
        }
    }
    weight w;
    weight_view wrong = {EXPERTS + 1, 0, 2 * WIDTH, 0, 1, false};
    weight_terms t = {.module = "q.gate_up_proj", .suffix = "weight", .rank = 2, .out = WIDTH,
                      .in = HIDDEN, .view = &wrong};
    ASSERT_REFUSED(weight_bind_as(&w, c, &t, &refused),
                   "'q.gate_up_proj' has shape [3,40,70], expected [4,40,70]");
    t.module = "l.gate_up_proj";
    wrong = (weight_view){EXPERTS, 0, 2 * WIDTH + 1, 0, 1, true};
    ASSERT_REFUSED(weight_bind_as(&w, c, &t, &refused), "[3,70,40], expected [3,70,41]");
    t = (weight_terms){.module = "l.gate_up_proj", .suffix = "_bias", .rank = 1, .out = 1,
                       .in = WIDTH, .view = &wrong};
    ASSERT_REFUSED(weight_bind_as(&w, c, &t, &refused), "[210,40], expected [3,41]");
}
END_TEST

START_TEST(reads_fp8_experts_out_of_stacks)
{
    enum { E = 2, ROWS = 256, IN = 130 }; // of gate and up; blocks are ragged at the right
    static uint8_t code[E * 2 * ROWS * IN];
    static float scale[E * 4 * 2], one[E] = {0.5f, 2};
    for (size_t i = 0; i < sizeof code; i++)
        code[i] = (uint8_t)(i * 37 % 251 & 0x7e);
    for (size_t i = 0; i < COUNT_OF(scale); i++)
        scale[i] = (float)(i + 1);
    const int64_t shape[] = {E, 2 * ROWS, IN}, blocks[] = {E, 4, 2}, ones[] = {E, 1, 1};
    tiny_add_shaped(&m, "b.gate_up_proj", DT_F8_E4M3, 3, shape, code);
    tiny_add_shaped(&m, "b.gate_up_proj_scale_inv", DT_F32, 3, blocks, scale);
    tiny_add_shaped(&m, "t.gate_up_proj", DT_F8_E4M3, 3, shape, code);
    tiny_add_shaped(&m, "t.gate_up_proj_scale_inv", DT_F32, 3, ones, one);
    open_it();
    for (int64_t e = 0; e < E; e++)
        for (int64_t up = 0; up < 2; up++) {
            weight_view v = {E, e, 2 * ROWS, up * ROWS, 1, false};
            weight b = seen("b.gate_up_proj", "weight", 2, ROWS, IN, &v);
            weight t = seen("t.gate_up_proj", "weight", 2, ROWS, IN, &v);
            ck_assert_str_eq(b.codec->name, "fp8-block");
            ck_assert_str_eq(t.codec->name, "fp8-tensor");
            float *x = rows_of(&b, 0, ROWS), *y = rows_of(&t, 0, ROWS);
            for (int64_t i = 0; i < ROWS * IN; i++) {
                int64_t row = v.first + i / IN, col = i % IN;
                float plain = e4m3_to_f32(code[(e * 2 * ROWS + row) * IN + col]);
                ck_assert_float_eq(x[i], plain * scale[e * 8 + row / 128 * 2 + col / 128]);
                ck_assert_float_eq(y[i], plain * one[e]);
            }
            assert_ranges_agree(&b, x);
            free(x);
            free(y);
        }
    // Halves that begin inside a block, every second row of blocks, codes transposed.
    static const weight_view wrong[] = {{E, 0, 2 * ROWS, 100, 1, false},
                                        {E, 0, 2 * ROWS, 1, 2, false}};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        weight w;
        weight_terms t = {.module = "b.gate_up_proj", .suffix = "weight", .rank = 2, .out = 200,
                          .in = IN, .view = &wrong[i]};
        ASSERT_REFUSED(weight_bind_as(&w, c, &t, &refused),
                       "'b.gate_up_proj_scale_inv' [2,4,2]: the rows of it that are the weight's "
                       "begin or end inside");
    }
    weight w;
    weight_view across = {E, 0, IN, 0, 1, true};
    weight_terms t = {.module = "b.gate_up_proj", .suffix = "weight", .rank = 2, .out = IN,
                      .in = 2 * ROWS, .view = &across};
    ASSERT_REFUSED(weight_bind_as(&w, c, &t, &refused), "has type F8_E4M3");
}
END_TEST

// Blocks of a GGUF are weights like others; stacked tensors and types without a decoder are none.
START_TEST(reads_blocks_of_a_gguf)
{
    enum { OUT = 3, IN = 64 };
    static unsigned char data[OUT * 2 * 34 * 3 + 36];
    float expected[OUT * IN];
    err e = ERR_INIT;
    tensor t[] = {{.name = "a.weight", .type = DT_Q8_0, .rank = 2, .shape = {OUT, IN}},
                  {.name = "b.weight", .type = DT_Q8_0, .rank = 1, .shape = {IN}},
                  {.name = "c.weight", .type = DT_Q8_0, .rank = 3, .shape = {1, OUT, IN}},
                  {.name = "d.weight", .type = DT_Q8_1, .rank = 2, .shape = {1, 32}}};
    for (int i = 0; i < OUT * IN; i++) {
        unsigned char *block = data + i / 32 * 34;
        float scale = 0.5f * (float)(i / 32 + 1);
        store_u16(block, f32_to_f16(scale));
        block[2 + i % 32] = (unsigned char)(i - 100);
        expected[i] = scale * (float)(signed char)(unsigned char)(i - 100);
    }
    gguf_case_tensors(m.dir, "x.gguf", t, 4, NULL, 0, data);
    ASSERT_OK(checkpoint_open(&c, temp_path(m.dir, "x.gguf"), NULL, &e), e);
    weight w = bound("a", OUT, IN);
    ck_assert_str_eq(w.codec->name, "Q8_0");
    float *whole = rows_of(&w, 0, OUT);
    ck_assert_mem_eq(whole, expected, sizeof expected);
    assert_ranges_agree(&w, whole);
    free(whole);
    weight v;
    ASSERT_OK(weight_bind(&v, c, "b", "weight", 1, 1, IN, &e), e);
    assert_unbound("a", OUT, IN + 32, "tensor 'a.weight' has shape [3,64], expected [3,96]");
    assert_unbound("c", OUT, IN, "tensor 'c.weight' has shape [1,3,64], expected [3,64]");
    assert_unbound("d", 1, 32, "tensor 'd.weight' has type Q8_1, which this version does not read "
                   "as a weight");
}
END_TEST

// No type of ggml's is among those that a companion may have.
START_TEST(blocks_are_no_companions)
{
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *k = codec_at(i);
        for (int p = 0; p < k->n_parts; p++)
            for (int type = DT_SAFETENSORS; type < DT_COUNT; type++)
                ck_assert(codec_part_reads(&k->part[p], (dtype)type) ==
                          (k->form == CODEC_BLOCKS && k->part[p].type == (dtype)type));
    }
    ck_assert_ptr_eq(codec_of_type(DT_BF16), codec_find("bf16"));
    ck_assert_ptr_eq(codec_of_type(DT_Q8_0), codec_find("Q8_0"));
    ck_assert_ptr_null(codec_of_type(DT_F8_E4M3));
    ck_assert_ptr_null(codec_of_type(DT_I32));
}
END_TEST

Suite *suite_weight(void)
{
    Suite *s = suite_create("weight");
    TCase *t = tcase_create("bind and read");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, reads_plain_matrices_and_vectors);
    tcase_add_test(t, reads_fp8_blocks_at_any_row_with_scales_in_another_shard);
    tcase_add_test(t, reads_fp8_channels);
    tcase_add_test(t, reads_int4_groups);
    tcase_add_test(t, names_what_is_missing);
    tcase_add_test(t, names_shapes_that_do_not_fit);
    tcase_add_test(t, refuses_companions_and_types_it_does_not_know);
    tcase_add_test(t, reads_blocks_of_a_gguf);
    tcase_add_test(t, blocks_are_no_companions);
    tcase_add_test(t, small_runs_come_with_what_lies_between);
    tcase_add_test(t, reads_plain_experts_out_of_stacks);
    tcase_add_test(t, reads_fp8_experts_out_of_stacks);
    suite_add_tcase(s, t);
    return s;
}
