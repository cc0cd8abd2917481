// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "verify/steps.h"

Suite *suite_steps(void);

// A weight of tests/data/stored, with its steps beside a reference of ones.
typedef struct {
    checkpoint *c;
    weight w;
    int64_t n, zero_row, zero_col;
    float *values, *steps, *reference;
    unsigned char *bytes;
} stepped;

static void open_steps(stepped *s, const char *module, int64_t out, int64_t in)
{
    err e = ERR_INIT;
    stored_rows rows;
    ck_assert_msg(checkpoint_open(&s->c, "tests/data/stored/stored.safetensors", NULL, &e), "%s",
                  e.text);
    weight_terms t = {.module = module, .suffix = "weight", .rank = 2, .out = out, .in = in,
                      .gptq_format = 1};
    ck_assert_msg(weight_bind_as(&s->w, s->c, &t, &e), "%s", e.text);
    ck_assert_msg(weight_lay_out(&rows, &s->w, 0, out, &e), "%s", e.text);
    s->n = out * in;
    s->bytes = malloc(rows.bytes);
    s->values = malloc((size_t)s->n * sizeof(float));
    s->steps = malloc((size_t)s->n * sizeof(float));
    s->reference = malloc((size_t)s->n * sizeof(float));
    for (int64_t i = 0; i < s->n; i++)
        s->reference[i] = 1;
    ck_assert_msg(weight_fetch(&rows, s->bytes, &e), "%s", e.text);
    ck_assert_msg(weight_decode(&rows, s->bytes, 0, out, s->values, &e), "%s", e.text);
    steps_args a = {.w = &s->w, .row = 0, .n = out, .values = s->values,
                    .reference = s->reference, .held = &rows, .stored = s->bytes};
    ck_assert_msg(steps_fill(&a, s->steps, &s->zero_row, &s->zero_col, &e), "%s", e.text);
    for (int64_t i = 0; i < s->n; i++)
        ck_assert(s->steps[i] > 0);
}

static void close_steps(stepped *s)
{
    free(s->bytes);
    free(s->values);
    free(s->steps);
    free(s->reference);
    checkpoint_close(s->c);
}

// Groups of 16 hold every code of E2M1 in order: 0 to 6, then their negatives.
static void check_neighbours(const stepped *s)
{
    for (int64_t i = 0; i < s->n; i++)
        if (i % 8 < 7 && isfinite(s->values[i + 1]) && s->values[i + 1] != s->values[i])
            ck_assert_float_eq(fabsf(s->values[i + 1] - s->values[i]), s->steps[i]);
}

START_TEST(a_step_of_fp4_is_the_way_to_the_next_code)
{
    stepped s;
    open_steps(&s, "mxfp4.every", 255, 32);
    ck_assert_int_eq(s.zero_row, -1);
    check_neighbours(&s);
    close_steps(&s);
    open_steps(&s, "nvfp4.every", 16, 256);
    ck_assert_int_eq(s.zero_row, 0); // of E4M3's scales the first is 0
    ck_assert_int_eq(s.zero_col, 0);
    check_neighbours(&s);
    close_steps(&s);
}
END_TEST

START_TEST(a_step_of_integers_is_their_scale)
{
    static const struct {
        const char *module;
        int64_t out, in;
    } cases[] = {{"int4.zeros.order", 17, 128}, {"gptq.3", 64, 128}, {"awq", 40, 96},
                 {"int8.bytes.zeros", 19, 96}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        stepped s;
        open_steps(&s, cases[i].module, cases[i].out, cases[i].in);
        ck_assert_int_eq(s.zero_row, -1);
        for (int64_t k = 0; k < s.n; k++) { // but for two roundings
            float codes = s.values[k] / s.steps[k];
            ck_assert_float_le(fabsf(codes - rintf(codes)), 0x1p-22f * fabsf(codes));
        }
        close_steps(&s);
    }
}
END_TEST

Suite *suite_steps(void)
{
    Suite *s = suite_create("steps");
    TCase *t = tcase_create("steps");
    tcase_add_test(t, a_step_of_fp4_is_the_way_to_the_next_code);
    tcase_add_test(t, a_step_of_integers_is_their_scale);
    suite_add_tcase(s, t);
    return s;
}
