// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>

#include "tests/refused.h"
#include "tests/stack_case.h"
#include "tests/two_sides.h"
#include "verify/parity.h"
#include "verify/structure.h"

Suite *suite_parity(void);

static two_sides s;
static findings f;
static parity p;
static err e = ERR_INIT;
static const uint64_t ENOUGH = 64u << 20;

static void setup(void)
{
    f = (findings){0};
    p = (parity){0};
}

static void teardown(void)
{
    parity_free(&p);
    findings_free(&f);
    two_sides_close(&s);
}

static void compare(void (*change)(tiny *m), const char *quantization)
{
    parity_options o = {.memory = ENOUGH};
    two_sides_open(&s, change, quantization);
    ASSERT_OK(structure_compare(s.ref.m, s.cand.m, &f, &e), e);
    ASSERT_OK(parity_weights(&p, s.ref.m, s.cand.m, &o, &f, &e), e);
}

static const weight_parity *found(role r, int64_t layer, int64_t expert)
{
    for (int64_t i = 0; i < p.n; i++)
        if (p.weight[i].role == r && p.weight[i].layer == layer && p.weight[i].expert == expert)
            return &p.weight[i];
    ck_abort_msg("no such weight");
    return NULL;
}

static void one_finding(uint64_t i, finding_kind kind, const char *words)
{
    ck_assert_uint_lt(i, f.n);
    ck_assert_int_eq(f.item[i].kind, kind);
    if (!strstr(f.item[i].text, words))
        ck_abort_msg("'%s' does not say '%s'", f.item[i].text, words);
}

// ---- values ----

START_TEST(a_model_equals_itself)
{
    compare(NULL, NULL);
    ck_assert_uint_eq(f.n, 0);
    ck_assert_int_eq(p.n, checkpoint_count(s.ref.c));
    matrix_sums all;
    int64_t n;
    const weight_parity *worst;
    parity_of_class(&p, CLASS_COUNT, &all, &n, &worst);
    ck_assert_int_eq(n, p.n);
    ck_assert_int_eq(all.n_equal, all.n);
    ck_assert_double_eq(all.error, 0);
    ck_assert_double_eq(all.max_steps, 0);
}
END_TEST

static void half_a_step(tiny *m)
{
    uint16_t *x = tiny_data(m, "model.layers.1.mlp.experts.2.up_proj.weight");
    x[5] = 0x3f81;      // 1 + 2^-7
}

START_TEST(one_changed_value_is_measured)
{
    compare(half_a_step, NULL);
    ck_assert_uint_eq(f.n, 0);
    const weight_parity *w = found(ROLE_EXPERT_UP, 1, 2);
    ck_assert_int_eq(w->sums.n - w->sums.n_equal, 1);
    // The step of BF16 in [1, 2) is 2^-7.
    ck_assert_double_eq(w->sums.max_steps, w->sums.max_abs * 128);
    ck_assert_double_eq(w->sums.error, w->sums.max_abs * w->sums.max_abs);
    const weight_parity *worst;
    matrix_sums all;
    int64_t n;
    parity_of_class(&p, CLASS_EXPERTS, &all, &n, &worst);
    ck_assert_ptr_eq(worst, w);
    ck_assert_int_eq(n, 36);
}
END_TEST

static void all_int4(tiny *m)
{
    for (int i = 0; i < 36; i++) {
        static const char *const name[] = {"gate", "up", "down"};
        char module[100];
        (void)snprintf(module, sizeof module, "model.layers.%d.mlp.experts.%d.%s_proj", i / 12,
                       i / 3 % 4, name[i % 3]);
        tiny_make_int4(m, module);
    }
}

START_TEST(int4_errs_by_steps_of_its_own_scale)
{
    compare(all_int4, two_sides_int4);
    ck_assert_uint_eq(f.n, 0);
    for (int64_t x = 0; x < 4; x++) {
        const weight_parity *w = found(ROLE_EXPERT_DOWN, 0, x);
        ck_assert_str_eq(w->ref_codec->name, "bf16");
        ck_assert_str_eq(w->cand_codec->name, "int4-g32");
        ck_assert_double_gt(metrics_sqnr_db(&w->sums), 15);
        ck_assert_double_gt(w->sums.max_steps, 0.4);
        ck_assert_double_lt(w->sums.max_steps, 3); // clipped values err by more than half a step
    }
    ck_assert_double_eq(found(ROLE_Q, 0, -1)->sums.error, 0);
}
END_TEST

static void one_fp8(tiny *m) { tiny_make_fp8_block(m, "model.layers.1.mlp.experts.2.up_proj"); }

START_TEST(fp8_errs_by_half_a_step_at_most)
{
    compare(one_fp8, two_sides_fp8);
    const weight_parity *w = found(ROLE_EXPERT_UP, 1, 2);
    ck_assert_double_gt(w->sums.max_steps, 0.4);
    ck_assert_double_le(w->sums.max_steps, 0.5 + 1e-5); // the decoded value is rounded to binary32
    ck_assert_double_gt(metrics_sqnr_db(&w->sums), 24);
}
END_TEST

START_TEST(threads_decide_no_bit)
{
    compare(all_int4, two_sides_int4);
    for (int threads = 2; threads <= 7; threads += 5) {
        pool *workers;
        parity again;
        findings none = {0};
        ASSERT_OK(pool_open(&workers, threads, &e), e);
        parity_options o = {.pool = workers, .memory = ENOUGH};
        ASSERT_OK(parity_weights(&again, s.ref.m, s.cand.m, &o, &none, &e), e);
        ck_assert_int_eq(again.n, p.n);
        for (int64_t i = 0; i < p.n; i++)
            ck_assert_mem_eq(&again.weight[i].sums, &p.weight[i].sums, sizeof p.weight[i].sums);
        parity_free(&again);
        findings_free(&none);
        pool_close(workers);
    }
}
END_TEST

// ---- damage ----

static void one_nan(tiny *m)
{
    uint16_t *x = tiny_data(m, "model.layers.1.mlp.experts.2.up_proj.weight");
    x[3 * 64 + 9] = 0x7fc0;
}

START_TEST(a_value_that_is_not_finite_is_named)
{
    compare(one_nan, NULL);
    ck_assert_uint_eq(f.n, 1);
    one_finding(0, FINDING_FATAL, "layer 1, expert 2, up_proj: the candidate has a value that is "
                "not finite (nan) in row 3, column 9 of 'model.layers.1.mlp.experts.2.up_proj'");
}
END_TEST

static void one_negative_nan(tiny *m)
{
    uint16_t *x = tiny_data(m, "model.layers.1.mlp.experts.2.up_proj.weight");
    x[3 * 64 + 9] = 0xffc0;
}

// Which sign 0 x infinity has depends on the processor; a report must not.
START_TEST(the_sign_of_a_nan_is_not_told)
{
    compare(one_negative_nan, NULL);
    ck_assert_uint_eq(f.n, 1);
    one_finding(0, FINDING_FATAL, "not finite (nan) in row 3, column 9");
}
END_TEST

START_TEST(a_reference_that_is_not_finite_is_bad_input)
{
    parity_options o = {.memory = ENOUGH};
    two_sides_open(&s, one_nan, NULL);
    ASSERT_REFUSED(parity_weights(&p, s.cand.m, s.ref.m, &o, &f, &refused),
                   "layer 1, expert 2, up_proj: the reference has a value that is not finite");
}
END_TEST

static void nan_scale(tiny *m)
{
    all_int4(m);
    uint16_t *x = tiny_data(m, "model.layers.2.mlp.experts.3.down_proj.weight_scale");
    x[7] = 0x7fc0; // one group a row
}

START_TEST(a_scale_that_is_not_finite_is_named)
{
    compare(nan_scale, two_sides_int4);
    ck_assert_uint_eq(f.n, 1);
    one_finding(0, FINDING_FATAL, "layer 2, expert 3, down_proj: the candidate has a value that is "
                "not finite (nan) in row 7, column 0");
}
END_TEST

static void zero_scale(tiny *m)
{
    all_int4(m);
    uint16_t *x = tiny_data(m, "model.layers.2.mlp.experts.3.gate_proj.weight_scale");
    x[2 * 11 + 1] = 0; // two groups a row
}

START_TEST(a_zero_scale_over_values_is_named)
{
    compare(zero_scale, two_sides_int4);
    ck_assert_uint_eq(f.n, 1);
    one_finding(0, FINDING_FATAL, "layer 2, expert 3, gate_proj: a scale is zero over values that "
                "are not (row 11, columns from 32 of 'model.layers.2.mlp.experts.3.gate_proj')");
}
END_TEST

static void zero_fp8_scale(tiny *m)
{
    one_fp8(m);
    memset(tiny_data(m, "model.layers.1.mlp.experts.2.up_proj.weight_scale_inv"), 0, 4);
}

START_TEST(a_zero_scale_of_fp8_is_named)
{
    compare(zero_fp8_scale, two_sides_fp8);
    one_finding(0, FINDING_FATAL, "layer 1, expert 2, up_proj: a scale is zero over values that "
                "are not (row 0, columns from 0");
}
END_TEST

static void exchange(tiny *m)
{
    size_t bytes = 64 * 32 * 2;
    char *a = tiny_data(m, "model.layers.2.mlp.experts.1.down_proj.weight");
    char *b = tiny_data(m, "model.layers.2.mlp.experts.3.down_proj.weight");
    char *keep = malloc(bytes);
    ck_assert_ptr_nonnull(keep);
    memcpy(keep, a, bytes);
    memcpy(a, b, bytes);
    memcpy(b, keep, bytes);
    free(keep);
}

static void exchange_and_quantize(tiny *m)
{
    exchange(m);
    all_int4(m);
}

START_TEST(exchanged_experts_are_both_named)
{
    for (int quantized = 0; quantized < 2; quantized++) {
        compare(quantized ? exchange_and_quantize : exchange,
                quantized ? two_sides_int4 : NULL);
        ck_assert_uint_eq(f.n, 1);
        one_finding(0, FINDING_FATAL, "layer 2, experts 1 and 3, down_proj: look exchanged");
        if (!quantized) {
            teardown();
            setup();
        }
    }
}
END_TEST

static void put_in_the_place_of(tiny *m, int from, int to)
{
    char name[2][100];
    for (int i = 0; i < 2; i++)
        (void)snprintf(name[i], sizeof name[i], "model.layers.0.mlp.experts.%d.up_proj.weight",
                       i ? to : from);
    memcpy(tiny_data(m, name[1]), tiny_data(m, name[0]), 64 * 32 * 2);
}

static void one_twice(tiny *m) { put_in_the_place_of(m, 2, 0); }

START_TEST(an_expert_in_the_place_of_another_is_named)
{
    compare(one_twice, NULL);
    ck_assert_uint_eq(f.n, 1);
    one_finding(0, FINDING_FATAL, "layer 0, expert 0, up_proj: nearer to the reference's expert 2 "
                "than to its own");
}
END_TEST

// Squares of numbers of so many sizes are not summed exactly.
static void of_all_sizes(tiny *m)
{
    uint16_t *x = tiny_data(m, "model.layers.1.mlp.experts.2.up_proj.weight");
    for (int i = 0; i < 64 * 32; i++)
        x[i] = (uint16_t)(0x3000 + i * 2749 % 4096);
}

START_TEST(memory_decides_no_bit)
{
    compare(of_all_sizes, NULL);
    parity_options o = {.memory = 1000};
    parity again;
    findings none = {0};
    ASSERT_FAILS(parity_weights(&again, s.ref.m, s.cand.m, &o, &none, &refused), ERR_ENV,
                 "1000 bytes of memory do not hold what comparing weights takes");
    o.memory = strtoull(strrchr(refused.text, ' '), NULL, 10);
    ASSERT_OK(parity_weights(&again, s.ref.m, s.cand.m, &o, &none, &e), e);
    ck_assert_int_eq(again.n, p.n);
    for (int64_t i = 0; i < p.n; i++)
        ck_assert_mem_eq(&again.weight[i].sums, &p.weight[i].sums, sizeof p.weight[i].sums);
    parity_free(&again);
    findings_free(&none);
}
END_TEST

// Llama 4's experts one by one, and (both sides) stacked and turned: the same sums, however many
// rows of the turned ones are read together.
static void open_llama4(opened *o, bool stacked)
{
    const stack_case *k = &stack_cases[STACK_LLAMA4];
    tiny m;
    tiny_init(&m);
    stack_case_make(k, &m);
    if (stacked)
        stack_case_stack(k, &m);
    char *config = stack_case_config(k);
    tiny_write(&m, config);
    free(config);
    open_model(o, m.dir);
    tiny_free(&m);
}

START_TEST(rows_of_turned_stacks_are_read_as_memory_allows)
{
    static const uint64_t more[] = {0, 1000, 30 * 1000, 300 * 1000, 3000 * 1000, 48 << 20};
    parity_options o = {.memory = ENOUGH};
    open_llama4(&s.ref, false);
    open_llama4(&s.cand, true);
    ASSERT_OK(parity_weights(&p, s.ref.m, s.ref.m, &o, &f, &e), e);
    o.memory = 1000;
    ASSERT_FAILS(parity_weights(&(parity){0}, s.ref.m, s.cand.m, &o, &f, &refused), ERR_ENV,
                 "1000 bytes of memory");
    uint64_t least = strtoull(strrchr(refused.text, ' '), NULL, 10);
    for (size_t k = 0; k < 2 * COUNT_OF(more); k++) {
        parity again;
        o.memory = least + more[k / 2];
        ASSERT_OK(parity_weights(&again, k % 2 ? s.ref.m : s.cand.m, s.cand.m, &o, &f, &e), e);
        ck_assert_int_eq(again.n, p.n);
        for (int64_t i = 0; i < p.n; i++)
            ck_assert_mem_eq(&again.weight[i].sums, &p.weight[i].sums, sizeof p.weight[i].sums);
        parity_free(&again);
    }
    ck_assert_uint_eq(f.n, 0);
}
END_TEST

static void broken_everywhere(tiny *m)
{
    for (int i = 0; i < m->n; i++)
        if (m->item[i].t.type == DT_BF16)
            memset(m->item[i].data, 0xff, 2);
}

START_TEST(twenty_broken_weights_are_named_the_others_counted)
{
    char more[80];
    compare(broken_everywhere, NULL);
    ck_assert_uint_eq(f.n, 21);
    (void)snprintf(more, sizeof more, "and %lld weights more", (long long)p.n - 20);
    one_finding(20, FINDING_FATAL, more);
    for (int64_t i = 0; i < p.n; i++)
        ck_assert(p.weight[i].broken);
}
END_TEST

// ---- structure ----

static void another_norm(tiny *m)
{
    tiny_shape other = {"model.", "", false, 1, false};
    tiny_free(m);
    tiny_init(m);
    tiny_qwen3_moe(m, &other);
}

static void open_with(void (*change)(tiny *m), const char *key, const char *value)
{
    tiny m;
    tiny_shape shape = TINY_SHAPE;
    two_sides_open(&s, NULL, NULL);
    close_model(&s.cand);
    tiny_init(&m);
    tiny_qwen3_moe(&m, &shape);
    if (change)
        change(&m);
    char *config = tiny_config_with(tiny_qwen3_moe_config, key, value);
    tiny_write(&m, config);
    open_model(&s.cand, m.dir);
    free(config);
    tiny_free(&m);
}

START_TEST(models_of_other_shape_cannot_be_compared)
{
    open_with(NULL, "num_experts_per_tok", "3");
    ASSERT_REFUSED(structure_compare(s.ref.m, s.cand.m, &f, &refused),
                   "the two are not of one shape: top_k is 2 in the reference, 3 in the candidate");
    close_model(&s.cand);
    two_sides again = s;
    open_with(NULL, "rope_theta", "5000");
    close_model(&again.ref);
    ASSERT_OK(structure_compare(s.ref.m, s.cand.m, &f, &e), e);
    ck_assert_uint_eq(f.n, 1);
    one_finding(0, FINDING_FATAL,
                "config.json: rope_theta is 1000000 in the reference, 5000 in the candidate");
}
END_TEST

START_TEST(a_missing_counterpart_is_named)
{
    open_with(another_norm, "mlp_only_layers", "[1]"); // layer 1 dense in the candidate
    ASSERT_OK(structure_compare(s.ref.m, s.cand.m, &f, &e), e);
    ck_assert_uint_gt(f.n, 12);
    int missing = 0, extra = 0;
    for (uint64_t i = 0; i < f.n; i++) {
        ck_assert_int_eq(f.item[i].kind, FINDING_FATAL);
        const char *text = f.item[i].text;
        missing += strcmp(text, "layer 1, expert 3, down_proj is missing in the candidate") == 0;
        extra += strstr(text, "layer 1, ") &&
                 strstr(text, "down_proj is in the candidate, but not in the reference");
    }
    ck_assert_int_eq(missing, 1);
    ck_assert_int_eq(extra, 1);
}
END_TEST

Suite *suite_parity(void)
{
    Suite *suite = suite_create("parity");
    TCase *t = tcase_create("parity");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_model_equals_itself);
    tcase_add_test(t, one_changed_value_is_measured);
    tcase_add_test(t, int4_errs_by_steps_of_its_own_scale);
    tcase_add_test(t, fp8_errs_by_half_a_step_at_most);
    tcase_add_test(t, threads_decide_no_bit);
    tcase_add_test(t, a_value_that_is_not_finite_is_named);
    tcase_add_test(t, the_sign_of_a_nan_is_not_told);
    tcase_add_test(t, a_reference_that_is_not_finite_is_bad_input);
    tcase_add_test(t, a_scale_that_is_not_finite_is_named);
    tcase_add_test(t, a_zero_scale_over_values_is_named);
    tcase_add_test(t, a_zero_scale_of_fp8_is_named);
    tcase_add_test(t, exchanged_experts_are_both_named);
    tcase_add_test(t, an_expert_in_the_place_of_another_is_named);
    tcase_add_test(t, memory_decides_no_bit);
    tcase_add_test(t, rows_of_turned_stacks_are_read_as_memory_allows);
    tcase_add_test(t, twenty_broken_weights_are_named_the_others_counted);
    tcase_add_test(t, models_of_other_shape_cannot_be_compared);
    tcase_add_test(t, a_missing_counterpart_is_named);
    suite_add_tcase(suite, t);
    return suite;
}
