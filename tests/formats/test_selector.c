// SPDX-License-Identifier: Apache-2.0
// The pattern language: what each kind of condition fits, and what malformed patterns are told.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/selector.h"
#include "tests/refused.h"

Suite *suite_selector(void);

static arena texts;

static void set_up(void) { texts = (arena){0}; }
static void tear_down(void) { arena_free(&texts); }

static const selector_subject down = {"model.layers.3.mlp.experts.12.down_proj",
                                      "model.layers.3.mlp.experts.12.down_proj.weight", true,
                                      ROLE_EXPERT_DOWN, 3, 12};
static const selector_subject router = {"model.layers.3.mlp.gate", "model.layers.3.mlp.gate.weight",
                                        true, ROLE_ROUTER, 3, -1};
static const selector_subject norm = {"model.norm", "model.norm.weight", true, ROLE_FINAL_NORM, -1,
                                      -1};
static const selector_subject bias = {"model.layers.0.self_attn.q_proj.bias",
                                      "model.layers.0.self_attn.q_proj.bias", true, ROLE_Q_BIAS, 0,
                                      -1};
static const selector_subject draft = {"model.layers.61.eh_proj.weight",
                                       "model.layers.61.eh_proj.weight", false, ROLE_COUNT, -1, -1};

static bool fits(const char *text, const selector_subject *of)
{
    selector s;
    err e = ERR_INIT;
    bool yes;
    ASSERT_OK(selector_parse(&s, text, &texts, &e), e);
    ASSERT_OK(selector_matches(&s, of, &yes, &e), e);
    selector_free(&s);
    return yes;
}

typedef struct {
    const char *pattern;
    const selector_subject *of;
    bool yes;
} a_case;

static void check_cases(const a_case *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fits(list[i].pattern, list[i].of) == list[i].yes, "'%s' and %s",
                      list[i].pattern, list[i].of->tensor);
}

START_TEST(roles_and_classes_name_what_a_tensor_is_for)
{
    static const a_case list[] = {
        {"experts", &down, true},         {"experts.down", &down, true},
        {"experts.up", &down, false},     {"linear", &down, true},
        {"shared", &down, false},         {"router", &router, true},
        {"linear", &router, false},       {"norm", &norm, true},
        {"norms", &norm, true},           {"norm.final", &norm, true},
        {"embeddings", &norm, false},     {"attention", &bias, true},
        {"attention.q", &bias, false},    {"attention.q.bias", &bias, true},
        {"linear", &bias, false},         {"experts", &draft, false},
    };
    check_cases(list, COUNT_OF(list));
}
END_TEST

START_TEST(ranges_hold_their_ends)
{
    static const a_case list[] = {
        {"layer<3", &down, false},        {"layer<4", &down, true},
        {"layer<=3", &down, true},        {"layer>3", &down, false},
        {"layer>=3", &down, true},        {"layer=3", &down, true},
        {"layer = 3", &down, true},       {"layer 3", &down, true},
        {"layer=1..3", &down, true},      {"layer 3..5", &down, true},
        {"layer=4..5", &down, false},     {"layer=3 .. 5", &down, true},
        {"expert<12", &down, false},      {"expert>=12", &down, true},
        {"expert=12", &down, true},       {"layer>=0", &norm, false},
        {"expert>=0", &router, false},    {"layer>=0", &draft, false},
    };
    check_cases(list, COUNT_OF(list));
}
END_TEST

START_TEST(globs_fit_whole_modules_or_whole_tensor_names)
{
    static const a_case list[] = {
        {"*.down_proj", &down, true},            {"*.down_proj.weight", &down, true},
        {"*down*", &down, true},                 {"*down", &down, false},
        {"*.experts.1?.*", &down, true},         {"model.*.experts.?.*", &down, false},
        {"*", &draft, true},                     {"*eh_proj*", &draft, true},
    };
    check_cases(list, COUNT_OF(list));
}
END_TEST

START_TEST(regular_expressions_are_found_anywhere)
{
    static const a_case list[] = {
        {"re:down", &down, true},                       {"re:^down", &down, false},
        {"re:experts\\.\\d+\\.(up|down)_proj$", &down, true},
        {"re:down_proj\\.weight$", &down, true},        {"re: down", &down, false},
        {"re:^model\\.norm$", &norm, true},
    };
    check_cases(list, COUNT_OF(list));
}
END_TEST

START_TEST(names_are_whole_names)
{
    static const a_case list[] = {
        {"model.norm", &norm, true},                   {"model.norm.weight", &norm, true},
        {"name:model.norm", &norm, true},              {"  name:model.norm", &norm, true},
        {"model.nor", &norm, false},                   {"name:model.norm & experts", &norm, false},
        {"name:*norm", &norm, false},
    };
    check_cases(list, COUNT_OF(list));
}
END_TEST

START_TEST(conditions_must_all_hold)
{
    static const a_case list[] = {
        {"experts & layer<4", &down, true},            {"experts&layer<4&expert>3", &down, true},
        {"experts & layer<3", &down, false},           {" router  &  *.gate ", &router, true},
        {"re:mlp & layer=3", &router, true},           {"router & experts", &router, false},
    };
    check_cases(list, COUNT_OF(list));
}
END_TEST

START_TEST(a_pattern_knows_how_clearly_it_aims)
{
    static const struct {
        const char *text;
        selector_aim aim;
        const char *name;
    } list[] = {
        {"*", SELECTOR_LOOSE, NULL},          {"re:x & layer<3", SELECTOR_LOOSE, NULL},
        {"router & layer<3", SELECTOR_CLASS, NULL}, {"linear", SELECTOR_CLASS, NULL},
        {"norm.q & *", SELECTOR_EXACT, NULL}, {"model.norm", SELECTOR_EXACT, "model.norm"},
        {"model.norm & layer<3", SELECTOR_EXACT, NULL}, {"name:a&b", SELECTOR_EXACT, "a&b"},
    };
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        selector s;
        err e = ERR_INIT;
        ASSERT_OK(selector_parse(&s, list[i].text, &texts, &e), e);
        ck_assert_int_eq(s.aim, list[i].aim);
        ck_assert_str_eq(s.text, list[i].text);
        ck_assert_msg((s.name == NULL) == (list[i].name == NULL), "%s", list[i].text);
        if (s.name)
            ck_assert_str_eq(s.name, list[i].name);
        selector_free(&s);
    }
}
END_TEST

START_TEST(malformed_patterns_are_told_where_and_what)
{
    static const struct {
        const char *text, *words;
    } list[] = {
        {"", "character 1: a condition is missing"},
        {"experts &", "character 10: a condition is missing"},
        {"experts & & layer<3", "character 11: a condition is missing"},
        {"experts.dwn", "'experts.dwn' is no role; did you mean 'experts.down'?"},
        {"layer<3 & atention", "character 11: 'atention' is no role; did you mean 'attention'?"},
        {"layer<", "'layer<' is no range that holds anything"},
        {"layer<0", "'layer<0' is no range"},
        {"layer=5..3", "is no range"},
        {"layer=3..", "is no range"},
        {"layer=3x", "is no range"},
        {"layer=99999999999999999999", "is no range"},
        {"expert=-1", "is no range"},
        {"layers<3", "only layer and expert have ranges"},
        {"experts, shared", "has a comma"},
        {"re:", "has no regular expression"},
        {"re:(", "missing closing parenthesis"},
        {"name:", "has no name"},
        {"*&*&*&*&*&*&*&*&*&*&*&*&*&*&*&*&*", "more than 16 conditions"},
    };
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        selector s;
        ASSERT_REFUSED(selector_parse(&s, list[i].text, &texts, &refused), list[i].words);
        ck_assert_ptr_null(s.term);
    }
}
END_TEST

START_TEST(a_pattern_has_a_largest_length)
{
    char text[SELECTOR_MAX_TEXT + 2];
    selector s;
    err e = ERR_INIT;
    memset(text, '*', sizeof text);
    text[SELECTOR_MAX_TEXT] = 0;
    ASSERT_OK(selector_parse(&s, text, &texts, &e), e);
    selector_free(&s);
    text[SELECTOR_MAX_TEXT] = '*';
    text[SELECTOR_MAX_TEXT + 1] = 0;
    ASSERT_REFUSED(selector_parse(&s, text, &texts, &refused), "a pattern of 4097 bytes");
}
END_TEST

START_TEST(a_regular_expression_that_takes_too_long_is_refused)
{
    selector s;
    err e = ERR_INIT;
    bool yes;
    ASSERT_OK(selector_parse(&s, "re:^(.*)*$x", &texts, &e), e);
    ASSERT_REFUSED(selector_matches(&s, &down, &yes, &refused), "match limit");
    selector_free(&s);
}
END_TEST

Suite *suite_selector(void)
{
    Suite *s = suite_create("selector");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, roles_and_classes_name_what_a_tensor_is_for);
    tcase_add_test(c, ranges_hold_their_ends);
    tcase_add_test(c, globs_fit_whole_modules_or_whole_tensor_names);
    tcase_add_test(c, regular_expressions_are_found_anywhere);
    tcase_add_test(c, names_are_whole_names);
    tcase_add_test(c, conditions_must_all_hold);
    tcase_add_test(c, a_pattern_knows_how_clearly_it_aims);
    tcase_add_test(c, malformed_patterns_are_told_where_and_what);
    tcase_add_test(c, a_pattern_has_a_largest_length);
    tcase_add_test(c, a_regular_expression_that_takes_too_long_is_refused);
    suite_add_tcase(s, c);
    return s;
}
