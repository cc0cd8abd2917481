// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "tests/refused.h"
#include "tests/two_sides.h"
#include "verify/report.h"

Suite *suite_logit_parity(void);

enum { WINDOWS = 9, LEN = 12, TOKENS = WINDOWS * LEN, VOCAB = 16, HIDDEN = 64 };

static two_sides s;
static int32_t tokens[TOKENS];
static int64_t document[WINDOWS] = {0, 0, 1, 1, 1, 2, 3, 3, 4};
static windows w;
static err e = ERR_INIT;

static void half_of_an_expert(tiny *m)
{
    uint16_t *x = tiny_data(m, "model.layers.1.mlp.experts.2.up_proj.weight");
    for (int i = 0; i < 32 * 64 / 2; i++)
        x[i] = (uint16_t)(x[i] ^ 0x8000);
}

static void setup(void)
{
    two_sides_open(&s, half_of_an_expert, NULL);
    random_tokens(tokens, TOKENS, VOCAB, 11);
    w = (windows){.tokens = tokens, .n = WINDOWS, .len = LEN};
}

static void teardown(void)
{
    two_sides_close(&s);
}

static logit_parity run(const model *ref, const model *cand, pool *workers, uint64_t memory,
                        bool layers_only)
{
    logit_parity p;
    logit_parity_options o = {.ref = ref, .cand = cand, .windows = &w, .pool = workers,
                              .memory = memory, .seed = 1, .layers_only = layers_only};
    ASSERT_OK(logit_parity_run(&p, &o, &e), e);
    return p;
}

START_TEST(a_model_equals_itself_exactly)
{
    logit_parity p = run(s.ref.m, s.ref.m, NULL, 64u << 20, false);
    ck_assert_double_eq(p.kld.mean, 0);
    ck_assert_double_eq(p.kld.low, 0);
    ck_assert_double_eq(p.kld.high, 0);
    ck_assert_double_eq(p.kld_max, 0);
    ck_assert_int_eq(p.n_scored, TOKENS);
    ck_assert_int_eq(p.n_same_top, TOKENS);
    ck_assert_double_eq(p.nll_difference.mean, 0);
    ck_assert_int_eq(p.n_routers, 3);
    for (int64_t i = 0; i < p.n_routers; i++)
        ck_assert_int_eq(p.router[i].n_same, TOKENS);
    ck_assert_int_eq(p.n_hidden, 4);
    for (int64_t i = 0; i < p.n_hidden; i++)
        ck_assert_int_eq(p.hidden[i].sums.n_equal, (int64_t)TOKENS * HIDDEN);
    logit_parity_free(&p);
}
END_TEST

static void enormous(tiny *m)
{
    uint16_t *up = tiny_data(m, "model.layers.1.mlp.experts.2.up_proj.weight");
    for (int i = 0; i < 32 * 64; i++)
        up[i] = 0x7f00; // 1.7e38
}

START_TEST(the_side_that_overflows_is_named)
{
    logit_parity p;
    teardown();
    two_sides_open(&s, enormous, NULL);
    logit_parity_options o = {.ref = s.ref.m, .cand = s.cand.m, .windows = &w,
                              .memory = 64u << 20};
    ASSERT_REFUSED(logit_parity_run(&p, &o, &refused), "candidate: layer 1: the state of token");
    o.ref = s.cand.m;
    o.cand = s.ref.m;
    ASSERT_REFUSED(logit_parity_run(&p, &o, &refused), "reference: layer 1: the state of token");
    ck_assert_ptr_null(p.hidden);
}
END_TEST

static double plain_lse(const float *x)
{
    double sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += exp((double)x[i]);
    return log(sum);
}

// Everything again from two separate forward passes, by the definitions.
START_TEST(numbers_are_those_of_two_separate_passes)
{
    outcome a, b;
    logit_parity p = run(s.ref.m, s.cand.m, NULL, 64u << 20, false);
    run_model(&a, s.ref.m, tokens, WINDOWS, LEN, NULL, 64u << 20);
    run_model(&b, s.cand.m, tokens, WINDOWS, LEN, NULL, 64u << 20);
    double kld = 0, largest = 0, nll[2] = {0, 0};
    int64_t same = 0;
    for (int t = 0; t < TOKENS; t++) {
        const float *x = a.logits + t * VOCAB, *y = b.logits + t * VOCAB;
        double lx = plain_lse(x), ly = plain_lse(y), one = 0;
        int top[2] = {0, 0};
        for (int i = 0; i < VOCAB; i++) {
            one += exp((double)x[i] - lx) * (((double)x[i] - lx) - ((double)y[i] - ly));
            top[0] = x[i] > x[top[0]] ? i : top[0];
            top[1] = y[i] > y[top[1]] ? i : top[1];
        }
        same += top[0] == top[1];
        kld += one / TOKENS;
        largest = fmax(largest, one);
        if (t % LEN + 1 < LEN) {
            nll[0] += (lx - (double)x[tokens[t + 1]]) / (WINDOWS * (LEN - 1));
            nll[1] += (ly - (double)y[tokens[t + 1]]) / (WINDOWS * (LEN - 1));
        }
    }
    ck_assert_double_gt(kld, 1e-4);
    ck_assert_double_eq_tol(p.kld.mean, kld, 1e-12);
    ck_assert_double_eq_tol(p.kld_max, largest, 1e-12);
    ck_assert_int_eq(p.n_same_top, same);
    ck_assert_double_eq_tol(p.nll_ref, nll[0], 1e-12);
    ck_assert_double_eq_tol(p.nll_cand, nll[1], 1e-12);
    ck_assert_double_eq_tol(p.nll_difference.mean, nll[1] - nll[0], 1e-12);
    for (int layer = 0; layer < 3; layer++) {
        int64_t agree = 0;
        for (int t = 0; t < TOKENS; t++)
            agree += memcmp(a.router + (layer * TOKENS + t) * 2,
                            b.router + (layer * TOKENS + t) * 2, 2 * sizeof(int32_t)) == 0;
        ck_assert_int_eq(p.router[layer].n_same, agree);
    }
    ck_assert_int_eq(p.router[1].n_same, TOKENS); // routed before the changed expert
    ck_assert_double_eq(p.hidden[1].sums.error, 0);
    ck_assert_double_gt(p.hidden[2].sums.error, 0);
    outcome_free(&a);
    outcome_free(&b);
    logit_parity_free(&p);
}
END_TEST

static void assert_same(const logit_parity *a, const logit_parity *b)
{
    ck_assert_mem_eq(&a->kld, &b->kld, sizeof a->kld);
    ck_assert_mem_eq(&a->nll_difference, &b->nll_difference, sizeof a->nll_difference);
    ck_assert_double_eq(a->kld_median, b->kld_median);
    ck_assert_double_eq(a->kld_p99, b->kld_p99);
    ck_assert_int_eq(a->n_same_top, b->n_same_top);
    ck_assert_mem_eq(a->window_kld, b->window_kld, WINDOWS * sizeof(double));
    ck_assert_mem_eq(a->hidden, b->hidden, 4 * sizeof *a->hidden);
    ck_assert_mem_eq(a->router, b->router, 3 * sizeof *a->router);
}

START_TEST(memory_and_threads_decide_no_bit)
{
    pool *workers;
    logit_parity want = run(s.ref.m, s.cand.m, NULL, 64u << 20, false);
    logit_parity_options o = {.ref = s.ref.m, .cand = s.cand.m, .windows = &w, .memory = 1};
    logit_parity none;
    ASSERT_FAILS(logit_parity_run(&none, &o, &refused), ERR_ENV, "smallest ceiling");
    uint64_t least = strtoull(strrchr(refused.text, ' '), NULL, 10);
    ck_assert_uint_gt(least, 1);
    logit_parity got = run(s.ref.m, s.cand.m, NULL, least, false);
    assert_same(&got, &want);
    logit_parity_free(&got);
    ASSERT_OK(pool_open(&workers, 3, &e), e);
    got = run(s.ref.m, s.cand.m, workers, 64u << 20, false);
    assert_same(&got, &want);
    pool_close(workers);
    logit_parity_free(&got);
    logit_parity_free(&want);
}
END_TEST

START_TEST(documents_are_the_blocks_where_there_are_some)
{
    logit_parity p = run(s.ref.m, s.cand.m, NULL, 64u << 20, false);
    ck_assert_int_eq(p.kld.n_blocks, 3); // 4, 4 and 1 windows
    logit_parity_free(&p);
    w.document = document;
    p = run(s.ref.m, s.cand.m, NULL, 64u << 20, false);
    ck_assert_int_eq(p.kld.n_blocks, 5);
    logit_parity_free(&p);
}
END_TEST

START_TEST(layers_alone_do_without_logits)
{
    logit_parity p = run(s.ref.m, s.cand.m, NULL, 64u << 20, true);
    ck_assert_int_eq(p.n_scored, 0);
    ck_assert_ptr_null(p.window_kld);
    ck_assert_int_eq(p.n_tokens, TOKENS);
    ck_assert_double_gt(p.hidden[3].sums.error, 0);
    ck_assert_int_eq(p.n_routers, 3);
    logit_parity_free(&p);
}
END_TEST

// ---- the report ----

START_TEST(reports_hold_every_number_as_it_was_measured)
{
    sha256_digest sum = {{0}};
    char made_by[] = "{\"tool\": \"x\"}";
    gate g = {.name = "test"};
    findings f = {0};
    logit_parity l = run(s.ref.m, s.cand.m, NULL, 64u << 20, false);
    parity p;
    parity_options o = {.memory = 64u << 20};
    ASSERT_OK(parity_weights(&p, s.ref.m, s.cand.m, &o, &f, &e), e);
    ASSERT_OK(finding_add(&f, &e, FINDING_GATE, "a \"quoted\" sentence"), e);
    report r = {.ref = {.name = "a", .model = s.ref.m, .sums = &sum},
                .cand = {.name = "b", .model = s.cand.m, .sums = &sum, .manifest = made_by},
                .gate = &g, .findings = &f, .parity = &p, .logits = &l, .windows = &w, .seed = 7};
    strbuf text = {0};
    json *j = NULL;
    double number;
    const char *word;
    ASSERT_OK(report_json(&r, &text, &e), e);
    ASSERT_OK(json_parse(&j, text.text, text.len, "report", &e), e);
    const json *logits = json_get(j, "logits");
    ck_assert(json_as_double(json_get(json_get(logits, "kld"), "mean"), &number));
    ck_assert_double_eq(number, l.kld.mean);
    ck_assert(json_as_double(json_get(logits, "kld_max"), &number));
    ck_assert_double_eq(number, l.kld_max);
    word = json_as_text(json_get(j, "verdict"));
    ck_assert_str_eq(word, "fail");
    int64_t i = 0;
    for (const json *x = json_first(json_get(j, "windows")); x; x = json_next(x), i++) {
        ck_assert(json_as_double(json_get(x, "kld_sum"), &number));
        ck_assert_double_eq(number, l.window_kld[i]);
    }
    ck_assert_int_eq(i, WINDOWS);
    ck_assert_ptr_null(strstr(text.text, "/tmp"));
    json_free(j);
    text.len = 0;
    ASSERT_OK(report_markdown(&r, &text, &e), e);
    ck_assert_ptr_nonnull(strstr(text.text, "- gate: a \"quoted\" sentence"));
    ck_assert_ptr_nonnull(strstr(text.text, "**FAIL** (gate: test)"));
    ck_assert_ptr_nonnull(strstr(text.text, "layer 1, expert 2, up_proj"));
    ck_assert_ptr_null(strstr(text.text, "/tmp"));
    strbuf_free(&text);
    parity_free(&p);
    logit_parity_free(&l);
    findings_free(&f);
}
END_TEST

Suite *suite_logit_parity(void)
{
    Suite *suite = suite_create("logit_parity");
    TCase *t = tcase_create("logit_parity");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_model_equals_itself_exactly);
    tcase_add_test(t, the_side_that_overflows_is_named);
    tcase_add_test(t, numbers_are_those_of_two_separate_passes);
    tcase_add_test(t, memory_and_threads_decide_no_bit);
    tcase_add_test(t, documents_are_the_blocks_where_there_are_some);
    tcase_add_test(t, layers_alone_do_without_logits);
    tcase_add_test(t, reports_hold_every_number_as_it_was_measured);
    suite_add_tcase(suite, t);
    return suite;
}
