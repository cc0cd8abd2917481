// SPDX-License-Identifier: Apache-2.0
// One probe a switch: nearly every wrong setting still computes something fluent, so each fact of
// the family table and the config that the forward pass reads is turned, and the logits must move.
#include <check.h>

#include "tests/forward_case.h"

Suite *suite_switches(void);

enum { LEN = 24 };

static opened o;
static outcome right;

// The model's own facts, made writable: what a wrong table row or config would say.
static arch *facts(void)
{
    return (arch *)(uintptr_t)model_arch(o.m);
}

static void run(outcome *r)
{
    int32_t tokens[LEN];
    random_tokens(tokens, LEN, facts()->vocab, 17);
    run_model(r, o.m, tokens, 1, LEN, NULL, 64u << 20);
}

static void setup_nano(void)
{
    open_model(&o, "tests/data/nano");
    run(&right);
}

static void setup_qwen3(void)
{
    open_model(&o, "tests/data/qwen3_tiny");
    run(&right);
}

static void teardown(void)
{
    outcome_free(&right);
    close_model(&o);
}

static void assert_moved(double least)
{
    outcome wrong;
    run(&wrong);
    double moved = relative_difference(wrong.logits, right.logits, LEN * right.vocab);
    ck_assert_msg(moved > least, "the logits moved by %g only", moved);
    outcome_free(&wrong);
}

#define PROBE(name, change, least)  \
    START_TEST(name)                \
    {                               \
        change;                     \
        assert_moved(least);        \
    }                               \
    END_TEST

// DeepSeek
PROBE(pairs_of_the_rotation, facts()->rope = ROPE_HALF, 1e-2)
PROBE(stretched_frequencies, facts()->scaling = ROPE_PLAIN, 1e-2)
PROBE(where_the_ramp_begins, facts()->yarn_beta_fast = 2, 1e-4)
PROBE(factor_of_the_stretch, facts()->yarn_factor = 20, 1e-3)
PROBE(softmax_scale_of_yarn, facts()->yarn_mscale_all_dim = 0, 1e-2)
PROBE(amplitude_of_yarn, facts()->yarn_mscale = 2, 1e-2)
PROBE(base_of_the_frequencies, facts()->rope_theta = 1e6, 1e-2)
PROBE(score_of_the_router, facts()->score = SCORE_SOFTMAX, 1e-2)
PROBE(renormalised_weights, facts()->renorm = false, 1e-2)
PROBE(scale_of_the_weights, facts()->route_scale = 1, 1e-2)
PROBE(bias_of_the_choice, facts()->select_bias = false, 1e-3)
PROBE(groups_of_experts, facts()->n_group = 1, 1e-3)
PROBE(number_of_groups, facts()->topk_group = 3, 1e-3)
PROBE(score_of_a_group, facts()->group_score = GROUP_MAX, 1e-3)
PROBE(number_of_experts_a_token, facts()->top_k = 3, 1e-2)
PROBE(shared_expert, facts()->shared_inter = 0, 1e-2)
PROBE(eps_of_the_norms, facts()->norm_eps = 1e-5, 0)
PROBE(eps_of_the_latent_norms, facts()->lora_norm_eps = 1e-5, 0)
// Qwen3
PROBE(halves_of_the_rotation, facts()->rope = ROPE_PAIR, 1e-2)
PROBE(norms_of_the_heads, facts()->qk_norm = false, 1e-2)
PROBE(base_of_the_qwen_frequencies, facts()->rope_theta = 1e6, 1e-2)
PROBE(renormalised_softmax, facts()->renorm = false, 1e-2)
PROBE(score_of_the_qwen_router, facts()->score = SCORE_SIGMOID, 1e-2)
PROBE(eps_of_the_qwen_norms, facts()->norm_eps = 1e-5, 0)

START_TEST(nothing_turned_moves_nothing)
{
    outcome again;
    run(&again);
    assert_same_bits(&again, &right);
    outcome_free(&again);
}
END_TEST

Suite *suite_switches(void)
{
    Suite *s = suite_create("switches");
    TCase *d = tcase_create("deepseek_v3"), *q = tcase_create("qwen3_moe");
    tcase_add_checked_fixture(d, setup_nano, teardown);
    tcase_add_checked_fixture(q, setup_qwen3, teardown);
    tcase_add_test(d, nothing_turned_moves_nothing);
    tcase_add_test(d, pairs_of_the_rotation);
    tcase_add_test(d, stretched_frequencies);
    tcase_add_test(d, where_the_ramp_begins);
    tcase_add_test(d, factor_of_the_stretch);
    tcase_add_test(d, softmax_scale_of_yarn);
    tcase_add_test(d, amplitude_of_yarn);
    tcase_add_test(d, base_of_the_frequencies);
    tcase_add_test(d, score_of_the_router);
    tcase_add_test(d, renormalised_weights);
    tcase_add_test(d, scale_of_the_weights);
    tcase_add_test(d, bias_of_the_choice);
    tcase_add_test(d, groups_of_experts);
    tcase_add_test(d, number_of_groups);
    tcase_add_test(d, score_of_a_group);
    tcase_add_test(d, number_of_experts_a_token);
    tcase_add_test(d, shared_expert);
    tcase_add_test(d, eps_of_the_norms);
    tcase_add_test(d, eps_of_the_latent_norms);
    tcase_add_test(q, nothing_turned_moves_nothing);
    tcase_add_test(q, halves_of_the_rotation);
    tcase_add_test(q, norms_of_the_heads);
    tcase_add_test(q, base_of_the_qwen_frequencies);
    tcase_add_test(q, renormalised_softmax);
    tcase_add_test(q, score_of_the_qwen_router);
    tcase_add_test(q, eps_of_the_qwen_norms);
    suite_add_tcase(s, d);
    suite_add_tcase(s, q);
    return s;
}
