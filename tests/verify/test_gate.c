// SPDX-License-Identifier: Apache-2.0
#include "tests/refused.h"
#include "tests/temp.h"
#include "tests/two_sides.h"
#include "verify/gate.h"

Suite *suite_gate(void);

static const char *dir;
static gate g;
static findings f;
static err e = ERR_INIT;

static void setup(void)
{
    dir = temp_dir_make();
    g = (gate){0};
    f = (findings){0};
}

static void teardown(void)
{
    gate_free(&g);
    findings_free(&f);
    temp_dir_remove(dir);
}

static const char *file_of(const char *text)
{
    temp_write(dir, "gate.json", text, strlen(text));
    return temp_path(dir, "gate.json");
}

// ---- files ----

START_TEST(reads_every_threshold)
{
    ASSERT_OK(gate_read(&g, file_of("{\"schema_version\": 1, \"exact\": false, "
                                    "\"exact_same_type\": true, "
                                    "\"min_sqnr_db\": -3, "
                                    "\"max_steps\": 0.5, \"max_mean_kld\": 1e-3, "
                                    "\"max_kld_p99\": 0.1, \"min_top1_agreement\": 0.97, "
                                    "\"max_nll_increase\": -0.25, \"min_router_agreement\": 0.9, "
                                    "\"min_router_agreement_large_margin\": 1}"), &e), e);
    static const double want[GATE_COUNT] = {0, 1, -3, 0.5, 1e-3, 0.1, 0.97, -0.25, 0.9, 1};
    for (int t = 0; t < GATE_COUNT; t++) {
        ck_assert(g.has[t]);
        ck_assert_double_eq(g.value[t], want[t]);
    }
    ck_assert_str_eq(g.name, "gate.json");
}
END_TEST

START_TEST(every_threshold_is_optional)
{
    ASSERT_OK(gate_read(&g, file_of("{}"), &e), e);
    for (int t = 0; t < GATE_COUNT; t++)
        ck_assert(!g.has[t]);
}
END_TEST

START_TEST(refuses_what_it_does_not_know)
{
    ASSERT_REFUSED(gate_read(&g, file_of("{\"max_mean_kdl\": 1}"), &refused),
                   "gate.json': no threshold is called 'max_mean_kdl'; did you mean "
                   "'max_mean_kld'?");
    ASSERT_REFUSED(gate_read(&g, file_of("{\"schema_version\": 2}"), &refused),
                   "schema_version must be 1");
    ASSERT_REFUSED(gate_read(&g, file_of("[1]"), &refused), "a gate file is one JSON object");
    ASSERT_REFUSED(gate_read(&g, file_of("{\"max_mean_kld\": "), &refused), "gate.json");
    ASSERT_REFUSED(gate_read(&g, file_of("{\"max_steps\": 1, \"max_steps\": 2}"), &refused),
                   "max_steps");
}
END_TEST

START_TEST(refuses_values_of_the_wrong_kind)
{
    ASSERT_REFUSED(gate_read(&g, file_of("{\"exact\": 1}"), &refused),
                   "exact must be true or false");
    ASSERT_REFUSED(gate_read(&g, file_of("{\"max_mean_kld\": \"0.1\"}"), &refused),
                   "max_mean_kld must be a number from 0 to 1e+30");
    ASSERT_REFUSED(gate_read(&g, file_of("{\"min_top1_agreement\": 97}"), &refused),
                   "min_top1_agreement must be a number from 0 to 1");
    ASSERT_REFUSED(gate_read(&g, file_of("{\"max_mean_kld\": -1}"), &refused), "max_mean_kld");
}
END_TEST

START_TEST(an_absent_file_is_said)
{
    ck_assert(!gate_read(&g, temp_path(dir, "absent.json"), &e));
    ck_assert_ptr_nonnull(strstr(e.text, "absent.json"));
}
END_TEST

// ---- judging ----

static void with(gate_threshold t, double value)
{
    g = (gate){.name = "test"};
    g.has[t] = true;
    g.value[t] = value;
}

static void expect(const parity *p, const logit_parity *l, const char *sentence)
{
    findings_free(&f);
    ASSERT_OK(gate_judge(&g, p, l, &f, &e), e);
    if (!sentence) {
        ck_assert_uint_eq(f.n, 0);
        ck_assert(findings_pass(&f));
        return;
    }
    ck_assert_uint_eq(f.n, 1);
    ck_assert_int_eq(f.item[0].kind, FINDING_GATE);
    ck_assert(!findings_pass(&f));
    if (!strstr(f.item[0].text, sentence))
        ck_abort_msg("'%s' does not say '%s'", f.item[0].text, sentence);
}

static void both(gate_threshold t, double missed, double met, const parity *p,
                 const logit_parity *l, const char *sentence)
{
    with(t, missed);
    expect(p, l, sentence);
    with(t, met);
    expect(p, l, NULL);
}

START_TEST(weights_meet_their_thresholds)
{
    weight_parity w = {.role = ROLE_EXPERT_DOWN, .layer = 3, .expert = 5,
                       .ref_codec = codec_find("bf16"), .cand_codec = codec_find("int4-g32"),
                       .sums = {.error = 1, .ref = 100, .max_steps = 1.5, .n = 10, .n_equal = 4}};
    parity p = {.weight = &w, .n = 1};
    both(GATE_MIN_SQNR_DB, 20.01, 20, &p, NULL,
         "layer 3, expert 5, down_proj: SQNR is 20.00 dB, the gate wants at least 20.01");
    both(GATE_MAX_STEPS, 1.4, 1.5, &p, NULL, "the largest error is 1.5 steps");
    both(GATE_EXACT, 1, 0, &p, NULL, "6 of 10 values differ");
    // ggml's blocks have no steps to count: such a gate cannot be met.
    w.cand_codec = codec_find("Q4_K");
    w.sums.max_steps = 0;
    with(GATE_MAX_STEPS, 100);
    expect(&p, NULL, "Q4_K has no steps to count, and the gate limits them");
    // A weight stored as the reference's is no business of SQNR and steps.
    w.cand_codec = w.ref_codec;
    with(GATE_MIN_SQNR_DB, 90);
    expect(&p, NULL, NULL);
}
END_TEST

START_TEST(logits_meet_their_thresholds)
{
    router_parity r[2] = {
        {.layer = 1, .n = 90, .n_same = 81, .third_n = {30, 30, 30}, .third_same = {22, 29, 30}},
        {.layer = 2, .n = 90, .n_same = 72, .third_n = {30, 30, 30}, .third_same = {20, 25, 27}}};
    logit_parity l = {.kld = {.mean = 0.02}, .kld_p99 = 0.3, .n_same_top = 95, .n_scored = 100,
                      .nll_difference = {.mean = 0.01}, .router = r, .n_routers = 2};
    both(GATE_MAX_MEAN_KLD, 0.019, 0.02, NULL, &l,
         "mean KLD is 0.02, the gate wants at most 0.019");
    both(GATE_MAX_KLD_P99, 0.29, 0.3, NULL, &l, "the 99th percentile of KLD is 0.3");
    both(GATE_MIN_TOP1_AGREEMENT, 0.951, 0.95, NULL, &l,
         "top-1 agreement is 0.95, the gate wants at least 0.951");
    both(GATE_MAX_NLL_INCREASE, 0.009, 0.01, NULL, &l, "the increase of NLL is 0.01");
    both(GATE_MIN_ROUTER_AGREEMENT, 0.86, 0.85, NULL, &l, "router agreement is 0.85");
    both(GATE_MIN_ROUTER_AGREEMENT_LARGE_MARGIN, 0.96, 0.95, NULL, &l,
         "router agreement at large margins is 0.95");
}
END_TEST

START_TEST(layers_alone_are_not_judged_by_logits)
{
    logit_parity l = {.n_tokens = 10};
    with(GATE_MIN_TOP1_AGREEMENT, 1);
    expect(NULL, &l, NULL);
}
END_TEST

START_TEST(ten_weights_are_named_the_others_counted)
{
    weight_parity w[13];
    for (int i = 0; i < 13; i++)
        w[i] = (weight_parity){.role = ROLE_EXPERT_UP, .layer = 0, .expert = i,
                               .ref_codec = codec_find("bf16"), .cand_codec = codec_find("bf16"),
                               .sums = {.n = 1}};
    parity p = {.weight = w, .n = 13};
    with(GATE_EXACT, 1);
    ASSERT_OK(gate_judge(&g, &p, NULL, &f, &e), e);
    ck_assert_uint_eq(f.n, 11);
    ck_assert_str_eq(f.item[10].text, "and 3 weights more");
}
END_TEST

START_TEST(a_remark_fails_nothing)
{
    ASSERT_OK(finding_add(&f, &e, FINDING_REMARK, "a %s", "word"), e);
    ck_assert(findings_pass(&f));
    ASSERT_OK(finding_add(&f, &e, FINDING_FATAL, "broken"), e);
    ck_assert(!findings_pass(&f));
    ck_assert_str_eq(f.item[0].text, "a word");
    ck_assert_str_eq(finding_kind_name(f.item[1].kind), "fatal");
}
END_TEST

START_TEST(equal_where_the_type_is_equal)
{
    weight_parity w = {.role = ROLE_ROUTER, .layer = 3, .expert = -1,
                       .ref_codec = codec_find("bf16"), .cand_codec = codec_find("bf16"),
                       .sums = {.n = 10, .n_equal = 9}};
    parity p = {.weight = &w, .n = 1};
    both(GATE_EXACT_SAME_TYPE, 1, 0, &p, NULL, "layer 3, router: 1 of 10 values differ");
    w.cand_codec = codec_find("f32");
    with(GATE_EXACT_SAME_TYPE, 1);
    expect(&p, NULL, NULL);
    // Its fatal finding is there already.
    w.cand_codec = w.ref_codec;
    w.broken = true;
    expect(&p, NULL, NULL);
    w = (weight_parity){.ref_codec = w.ref_codec, .cand_codec = w.ref_codec};
    p = (parity){.weight = &w, .n = 1, .n_copied = 3, .n_copied_unequal = 2,
                 .copied_unequal = "mtp.weight"};
    both(GATE_EXACT_SAME_TYPE, 1, 0, &p, NULL, "'mtp.weight' and 1 more of the tensors");
}
END_TEST

START_TEST(floors_by_type_hold_for_weights_of_that_type)
{
    ASSERT_OK(gate_read(&g, file_of("{\"min_sqnr_db\": {\"int4-g32\": 15, \"fp8-block\": 25}}"),
                        &e), e);
    weight_parity w = {.role = ROLE_Q, .layer = 0, .expert = -1,
                       .ref_codec = codec_find("bf16"), .cand_codec = codec_find("int4-g32"),
                       .sums = {.error = 1, .ref = 100, .n = 10}};
    parity p = {.weight = &w, .n = 1};
    expect(&p, NULL, NULL);
    w.cand_codec = codec_find("fp8-block");
    expect(&p, NULL, "layer 0, q_proj: SQNR is 20.00 dB, the gate wants at least 25 as fp8-block");
    w.cand_codec = codec_find("int4-g64");
    expect(&p, NULL, NULL);
    gate_free(&g);
    ASSERT_REFUSED(gate_read(&g, file_of("{\"min_sqnr_db\": {\"int5\": 15}}"), &refused),
                   "min_sqnr_db: no type is called 'int5'");
    ASSERT_REFUSED(gate_read(&g, file_of("{\"min_sqnr_db\": {\"f32\": true}}"), &refused),
                   "min_sqnr_db: f32 must be a number");
}
END_TEST

START_TEST(no_threshold_is_passed_over_unmeasured)
{
    with(GATE_MAX_MEAN_KLD, 1);
    ASSERT_FAILS(gate_is_measured(&g, true, true, false, &refused), ERR_USAGE,
                 "gate 'test' has max_mean_kld, which is not measured here: that takes --text");
    ASSERT_OK(gate_is_measured(&g, true, true, true, &e), e);
    with(GATE_MIN_ROUTER_AGREEMENT, 1);
    ASSERT_OK(gate_is_measured(&g, true, true, false, &e), e);
    ASSERT_FAILS(gate_is_measured(&g, true, false, false, &refused), ERR_USAGE, "min_router");
    with(GATE_MAX_STEPS, 1);
    ASSERT_FAILS(gate_is_measured(&g, false, false, false, &refused), ERR_USAGE,
                 "--level weights");
}
END_TEST

// ---- built in ----

static double floor_of(const char *type)
{
    int64_t i = 0;
    while (strcmp(codec_at(i)->name, type) != 0)
        i++;
    return g.sqnr[i];
}

static void one_int4(tiny *m) { tiny_make_int4(m, "model.layers.1.mlp.experts.2.up_proj"); }

static void one_fp8(tiny *m) { tiny_make_fp8_block(m, "model.layers.1.mlp.experts.2.up_proj"); }

static void built_in(void (*change)(tiny *m), const char *quantization, const char *type,
                     double sqnr)
{
    two_sides s;
    two_sides_open(&s, change, quantization);
    ASSERT_OK(gate_builtin(&g, s.ref.m, s.cand.m, &e), e);
    ck_assert_ptr_nonnull(strstr(g.name, type));
    ck_assert(g.has[GATE_MAX_MEAN_KLD]);
    if (sqnr > 0) {
        ck_assert_double_eq(floor_of(type), sqnr);
        ck_assert_double_eq(floor_of("bf16"), 48);
        ck_assert(!g.has[GATE_EXACT] && g.value[GATE_EXACT_SAME_TYPE] == 1);
    } else {
        ck_assert(g.has[GATE_EXACT] && !g.has[GATE_MIN_SQNR_DB]);
        ck_assert_double_eq(g.value[GATE_MAX_MEAN_KLD], 0);
    }
    two_sides_close(&s);
    gate_free(&g);
}

START_TEST(the_candidates_type_chooses_the_built_in_gate)
{
    built_in(NULL, NULL, "built-in: same types, identical", 0);
    built_in(one_int4, two_sides_int4, "int4-g32", 13);
    built_in(one_fp8, two_sides_fp8, "fp8-block", 24);
}
END_TEST

START_TEST(floors_follow_from_what_is_stored)
{
    static const struct {
        const char *name;
        gate_floors floors;
    } known[] = {
        {"f32", {144, 0.001, 0.98}},         {"f16", {48, 0.001, 0.98}},
        {"bf16", {48, 0.001, 0.98}},         {"Q8_0", {37, 0.005, 0.97}},
        {"Q8_K", {28, 0.005, 0.97}},         {"Q6_K", {25, 0.01, 0.95}},
        {"fp8-block", {24, 0.01, 0.95}},     {"fp8-channel", {24, 0.01, 0.95}},
        {"fp8-tensor", {24, 0.01, 0.95}},    {"fp8-scaled", {24, 0.01, 0.95}},
        {"mxfp8", {24, 0.01, 0.95}},         {"mxfp8-mlx", {24, 0.01, 0.95}},
        {"int8-g32", {10, 0.01, 0.95}},      {"int8-bytes", {10, 0.01, 0.95}},
        {"int8-gptq", {10, 0.01, 0.95}},     {"Q5_1", {22, 0.02, 0.93}},
        {"int6-mlx", {19, 0.02, 0.93}},      {"Q5_0", {19, 0.02, 0.93}},
        {"Q5_K", {19, 0.02, 0.93}},          {"int5-mlx", {13, 0.02, 0.93}},
        {"Q4_1", {16, 0.05, 0.9}},           {"Q4_K", {15, 0.05, 0.9}},
        {"Q4_0", {13, 0.05, 0.9}},           {"IQ4_NL", {13, 0.05, 0.9}},
        {"nvfp4-packed", {12, 0.05, 0.9}},   {"nvfp4-modelopt", {12, 0.05, 0.9}},
        {"nvfp4-mlx", {12, 0.05, 0.9}},      {"int4-g32", {13, 0.05, 0.9}},
        {"MXFP4", {11, 0.05, 0.9}},          {"int4-g64", {10, 0.05, 0.9}},
        {"NVFP4", {9, 0.05, 0.9}},           {"Q3_K", {9, 0.1, 0.85}},
        {"IQ4_XS", {8, 0.05, 0.9}},          {"int4-g128", {7, 0.05, 0.9}},
        {"mxfp4-packed", {9, 0.05, 0.9}},    {"mxfp4-blocks", {9, 0.05, 0.9}},
        {"mxfp4-deepseek", {9, 0.05, 0.9}},  {"mxfp4-mlx", {9, 0.05, 0.9}},
        {"int4-g32-asym", {0, 0.05, 0.9}},   {"int4-g16", {0, 0.05, 0.9}},
        {"int4-channel", {0, 0.05, 0.9}},    {"int4-awq", {0, 0.05, 0.9}},
        {"int4-gptq-v2", {0, 0.05, 0.9}},    {"int4-mlx", {0, 0.05, 0.9}},
        {"int4-zeros", {0, 0.05, 0.9}},      {"int3-gptq", {0, 0.1, 0.85}},
        {"Q2_K", {3, 0.3, 0.75}},            {"int2-gptq", {0, 0.3, 0.75}},
        {"Q2_0", {0, 1, 0.5}},               {"Q1_0", {0, 1, 0.5}},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        const codec *c = codec_find(known[i].name);
        ck_assert_msg(c != NULL, "%s", known[i].name);
        gate_floors floors = gate_floors_of(c);
        ck_assert_msg(memcmp(&floors, &known[i].floors, sizeof floors) == 0, "%s: %g %g %g",
                      known[i].name, floors.sqnr, floors.kld, floors.top1);
    }
    for (int64_t i = 0; i < codec_count(); i++) // or it asserts
        ck_assert(gate_floors_of(codec_at(i)).top1 > 0);
}
END_TEST

Suite *suite_gate(void)
{
    Suite *s = suite_create("gate");
    TCase *t = tcase_create("gate");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, reads_every_threshold);
    tcase_add_test(t, every_threshold_is_optional);
    tcase_add_test(t, refuses_what_it_does_not_know);
    tcase_add_test(t, refuses_values_of_the_wrong_kind);
    tcase_add_test(t, an_absent_file_is_said);
    tcase_add_test(t, weights_meet_their_thresholds);
    tcase_add_test(t, logits_meet_their_thresholds);
    tcase_add_test(t, equal_where_the_type_is_equal);
    tcase_add_test(t, floors_by_type_hold_for_weights_of_that_type);
    tcase_add_test(t, no_threshold_is_passed_over_unmeasured);
    tcase_add_test(t, layers_alone_are_not_judged_by_logits);
    tcase_add_test(t, ten_weights_are_named_the_others_counted);
    tcase_add_test(t, a_remark_fails_nothing);
    suite_add_tcase(s, t);
    t = tcase_create("built in"); // makes folders of its own
    tcase_add_test(t, the_candidates_type_chooses_the_built_in_gate);
    tcase_add_test(t, floors_follow_from_what_is_stored);
    suite_add_tcase(s, t);
    return s;
}
