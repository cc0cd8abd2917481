// SPDX-License-Identifier: Apache-2.0
// Recipe files and --tensor-type: what is read, what is refused and how that is said.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/recipe.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_recipe(void);

static recipe r;

static void set_up(void) { r = (recipe){0}; }
static void tear_down(void) { recipe_free(&r); }

static bool parse(const char *text, err *e)
{
    return recipe_parse(&r, text, strlen(text), "r.json", e);
}

static void parse_rules(const char *rules)
{
    char text[1024];
    err e = ERR_INIT;
    (void)snprintf(text, sizeof text, "{\"schema_version\": 1, \"rules\": [%s]}", rules);
    ASSERT_OK(parse(text, &e), e);
}

START_TEST(rules_are_read_in_order_with_all_they_say)
{
    parse_rules("{\"match\": \"experts.down & layer<3\", \"type\": \"INT4-g32\", \"search\": "
                "\"compat\", \"positive_scales\": true, \"fallback\": \"bf16\", \"optional\": "
                "true, \"comment\": \"why\"}, "
                "{\"type\": \"keep\", \"match\": [\"router\", \"norms\"]}");
    ck_assert_int_eq(r.n, 2);
    ck_assert_ptr_eq(r.rule[0].codec, codec_find("int4-g32"));
    ck_assert_ptr_eq(r.rule[0].fallback, codec_find("bf16"));
    ck_assert(r.rule[0].has_search && r.rule[0].search == SEARCH_COMPAT);
    ck_assert(r.rule[0].has_signs && r.rule[0].positive_scales && r.rule[0].optional);
    ck_assert_int_eq(r.rule[0].n_patterns, 1);
    ck_assert_ptr_null(r.rule[1].codec);
    ck_assert(!r.rule[1].has_search && !r.rule[1].has_signs && !r.rule[1].optional);
    ck_assert_int_eq(r.rule[1].n_patterns, 2);
    ck_assert_str_eq(r.rule[1].pattern[1].text, "norms");
    char text[RECIPE_RULE_TEXT];
    ck_assert_str_eq(recipe_rule_text(&r.rule[0], text), "rule 1 of 'r.json' (experts.down & "
                                                         "layer<3)");
    ck_assert_str_eq(recipe_rule_text(&r.rule[1], text), "rule 2 of 'r.json' (router, ...)");
}
END_TEST

START_TEST(options_stand_in_front_of_the_file)
{
    err e = ERR_INIT;
    char text[RECIPE_RULE_TEXT];
    ASSERT_OK(recipe_add_option(&r, "layer=7=W4A16", &e), e);
    ASSERT_OK(recipe_add_option(&r, "attention = keep", &e), e);
    parse_rules("{\"match\": \"experts\", \"type\": \"fp8-channel\"}");
    ck_assert_int_eq(r.n, 3);
    ck_assert_str_eq(r.rule[0].pattern[0].text, "layer=7");
    ck_assert_ptr_eq(r.rule[0].codec, codec_find("int4-g128"));
    ck_assert_str_eq(recipe_rule_text(&r.rule[0], text), "--tensor-type layer=7=int4-g128");
    ck_assert_ptr_null(r.rule[1].codec);
    ck_assert_int_eq(r.rule[2].number, 1);
}
END_TEST

START_TEST(options_that_are_none_are_usage_errors)
{
    static const struct {
        const char *text, *words;
    } list[] = {
        {"experts", "--tensor-type 'experts': PATTERN=TYPE is wanted"},
        {"=int4-g32", "PATTERN=TYPE is wanted"},
        {"experts=", "PATTERN=TYPE is wanted"},
        {"experts=int5", "unknown type 'int5'"},
        {"expert.down=int4-g32", "did you mean 'experts.down'?"},
        {"layer<3=x", "unknown type 'x'"},
        {"embedd\xe0=bf16", "it is not UTF-8"},
    };
    for (size_t i = 0; i < COUNT_OF(list); i++)
        ASSERT_FAILS(recipe_add_option(&r, list[i].text, &refused), ERR_USAGE, list[i].words);
}
END_TEST

START_TEST(a_file_that_is_no_recipe_is_refused)
{
    static const struct {
        const char *text, *words;
    } list[] = {
        {"", "r.json"},
        {"[]", "recipe 'r.json': a recipe is one JSON object"},
        {"{\"rules\": []}", "'schema_version' must be there and be 1"},
        {"{\"schema_version\": 2, \"rules\": []}", "'schema_version' must be there and be 1"},
        {"{\"schema_version\": 1}", "'rules' is missing"},
        {"{\"schema_version\": 1, \"rules\": {}}", "'rules' must be a list"},
        {"{\"schema_version\": 1, \"ruels\": []}",
         "no key is called 'ruels'; did you mean 'rules'?"},
        {"{\"schema_version\": 1, \"rules\": [], \"rules\": []}", "rules"},
        {"{\"schema_version\": 1, \"rules\": [], \"comment\": 1}", "'comment' must be a text"},
        {"{\"schema_version\": 1, \"rules\": []} x", "r.json"},
    };
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        ASSERT_REFUSED(parse(list[i].text, &refused), list[i].words);
        recipe_free(&r);
    }
}
END_TEST

START_TEST(a_bad_rule_is_refused_with_its_number)
{
    static const struct {
        const char *rule, *words;
    } list[] = {
        {"7", "recipe 'r.json': rule 2: a rule is a JSON object"},
        {"{\"type\": \"keep\"}", "rule 2: 'match' is missing"},
        {"{\"match\": \"experts\"}", "rule 2: 'type' is missing"},
        {"{\"match\": \"experts\", \"typ\": \"keep\"}",
         "no key is called 'typ'; did you mean 'type'?"},
        {"{\"match\": \"experts\", \"zzzz\": 1}", "no key is called 'zzzz'"},
        {"{\"match\": 3, \"type\": \"keep\"}", "'match' must be a pattern or a list of patterns"},
        {"{\"match\": [], \"type\": \"keep\"}", "'match' must be a pattern or a list of patterns"},
        {"{\"match\": [\"experts\", 1], \"type\": \"keep\"}", "'match' must hold patterns only"},
        {"{\"match\": \"layer<\", \"type\": \"keep\"}", "rule 2: pattern 'layer<': character 1:"},
        {"{\"match\": \"experts\", \"type\": 4}", "'type' must be a text"},
        {"{\"match\": \"experts\", \"type\": \"int3\"}", "rule 2: 'type': unknown type 'int3'"},
        {"{\"match\": \"experts\", \"type\": \"int4-g32\", \"search\": \"mse\"}",
         "'search' is 'best' or 'compat', not 'mse'"},
        {"{\"match\": \"experts\", \"type\": \"int4-g32\", \"search\": 1}",
         "'search' must be a text"},
        {"{\"match\": \"experts\", \"type\": \"int4-g32\", \"optional\": 1}",
         "'optional' must be true or false"},
        {"{\"match\": \"experts\", \"type\": \"fp8-channel\", \"search\": \"best\"}",
         "'search' has no effect with type 'fp8-channel'"},
        {"{\"match\": \"experts\", \"type\": \"keep\", \"positive_scales\": true}",
         "'positive_scales' has no effect with type 'keep'"},
        {"{\"match\": \"experts\", \"type\": \"bf16\", \"fallback\": \"f32\"}",
         "'fallback' has no effect with type 'bf16'"},
        {"{\"match\": \"experts\", \"type\": \"int4-g32\", \"fallback\": \"keep\"}",
         "'fallback' must be a type"},
    };
    char text[512];
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        (void)snprintf(text, sizeof text, "{\"schema_version\": 1, \"rules\": [{\"match\": "
                       "\"dense\", \"type\": \"keep\"}, %s]}", list[i].rule);
        ASSERT_REFUSED(parse(text, &refused), list[i].words);
        recipe_free(&r);
    }
}
END_TEST

// A list of n patterns in one rule.
static void many(strbuf *s, int n, const char *pattern)
{
    strbuf_clear(s);
    strbuf_puts(s, "{\"schema_version\": 1, \"rules\": [{\"type\": \"keep\", \"match\": [");
    for (int i = 0; i < n; i++)
        strbuf_printf(s, "%s\"%s\"", i ? "," : "", pattern);
    strbuf_puts(s, "]}]}");
}

START_TEST(limits_hold_at_the_limit_and_not_above)
{
    strbuf s = {0};
    err e = ERR_INIT;
    many(&s, RECIPE_MAX_REGEXES, "re:a");
    ASSERT_OK(recipe_parse(&r, s.text, s.len, "r", &e), e);
    recipe_free(&r);
    many(&s, RECIPE_MAX_REGEXES + 1, "re:a");
    ASSERT_REFUSED(recipe_parse(&r, s.text, s.len, "r", &refused),
                   "more than 1000 regular expressions");
    recipe_free(&r);
    many(&s, RECIPE_MAX_PATTERNS, "*");
    ASSERT_OK(recipe_parse(&r, s.text, s.len, "r", &e), e);
    recipe_free(&r);
    many(&s, RECIPE_MAX_PATTERNS + 1, "*");
    ASSERT_REFUSED(recipe_parse(&r, s.text, s.len, "r", &refused), "more than 100000 patterns");
    recipe_free(&r);
    ASSERT_REFUSED(recipe_parse(&r, s.text, RECIPE_MAX_BYTES + 1, "r", &refused),
                   "the limit is 8388608");
    strbuf_free(&s);
}
END_TEST

START_TEST(files_are_read)
{
    static const char text[] = "{\"schema_version\": 1, \"rules\": []}";
    const char *dir = temp_dir_make();
    char path[300];
    err e = ERR_INIT;
    temp_write(dir, "r.json", text, strlen(text));
    (void)snprintf(path, sizeof path, "%s/r.json", dir);
    ASSERT_OK(recipe_read(&r, path, &e), e);
    ck_assert_int_eq(r.n, 0);
    (void)snprintf(path, sizeof path, "%s/s.json", dir);
    ASSERT_REFUSED(recipe_read(&r, path, &refused), "s.json");
    temp_dir_remove(dir);
}
END_TEST

START_TEST(what_is_written_can_be_read)
{
    strbuf s = {0};
    err e = ERR_INIT;
    json_writer w = {.out = &s, .indent = 2};
    recipe_write_begin(&w, "a \"comment\"");
    recipe_write_rule(&w, "experts & layer=3", codec_find("int4-g64"), SEARCH_COMPAT, true);
    recipe_write_rule(&w, "shared", codec_find("fp8-block"), SEARCH_BEST, false);
    recipe_write_rule(&w, "router", NULL, SEARCH_BEST, false);
    recipe_write_end(&w);
    ck_assert_str_eq(s.text,
        "{\n  \"schema_version\": 1,\n  \"comment\": \"a \\\"comment\\\"\",\n  \"rules\": [\n"
        "    {\"match\":\"experts & layer=3\",\"type\":\"int4-g64\",\"search\":\"compat\","
        "\"positive_scales\":true},\n"
        "    {\"match\":\"shared\",\"type\":\"fp8-block\"},\n"
        "    {\"match\":\"router\",\"type\":\"keep\"}\n  ]\n}\n");
    ASSERT_OK(recipe_parse(&r, s.text, s.len, "r", &e), e);
    ck_assert_int_eq(r.n, 3);
    ck_assert(r.rule[0].positive_scales && r.rule[0].search == SEARCH_COMPAT);
    strbuf_free(&s);
}
END_TEST

Suite *suite_recipe(void)
{
    Suite *s = suite_create("recipe");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, rules_are_read_in_order_with_all_they_say);
    tcase_add_test(c, options_stand_in_front_of_the_file);
    tcase_add_test(c, options_that_are_none_are_usage_errors);
    tcase_add_test(c, a_file_that_is_no_recipe_is_refused);
    tcase_add_test(c, a_bad_rule_is_refused_with_its_number);
    tcase_add_test(c, limits_hold_at_the_limit_and_not_above);
    tcase_add_test(c, files_are_read);
    tcase_add_test(c, what_is_written_can_be_read);
    suite_add_tcase(s, c);
    return s;
}
