// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/pattern.h"

Suite *suite_pattern(void);

static pattern *opened(const char *regex)
{
    err e = ERR_INIT;
    pattern *p;
    ck_assert_msg(pattern_open(&p, regex, &e), "%s", e.text);
    return p;
}

static void finds(const char *regex, const char *text, size_t from, size_t begin, size_t end)
{
    err e = ERR_INIT;
    pattern *p = opened(regex);
    bool found;
    size_t b, n;
    ck_assert_msg(pattern_find(p, text, strlen(text), from, &found, &b, &n, &e), "%s", e.text);
    ck_assert_msg(found, "'%s' not found in '%s'", regex, text);
    ck_assert_uint_eq(b, begin);
    ck_assert_uint_eq(n, end);
    pattern_close(p);
}

START_TEST(knows_unicode_properties)
{
    finds("\\p{L}+", "12 \xc3\xa4\xce\xb2 x", 0, 3, 7);
    finds("\\d+", "\xd9\xa3\xd9\xa4", 0, 0, 4);   // Arabic digits
    finds("\\s", "a\xe3\x80\x80", 0, 1, 4);       // ideographic space
    finds("(?i:'S)", "it's", 0, 2, 4);
    finds(".+", "\ra\xe2\x80\xa8" "b\nc", 0, 0, 6); // '.' stops at \n only
}
END_TEST

START_TEST(searches_from_a_place_with_what_stands_before_in_view)
{
    finds("(?<=a)b", "abab", 2, 3, 4);
    finds("(?<=a)b", "ab", 1, 1, 2);
    finds("\\s+(?!\\S)|\\s+", "a   b", 1, 1, 3);
    finds("x*", "aaa", 3, 3, 3);
}
END_TEST

START_TEST(says_when_there_is_no_match)
{
    err e = ERR_INIT;
    pattern *p = opened("b");
    bool found = true;
    size_t b, n;
    ck_assert(pattern_find(p, "ab", 2, 2, &found, &b, &n, &e) && !found);
    ck_assert(pattern_find(p, "ab", 2, 3, &found, &b, &n, &e) && !found);
    pattern_close(p);
}
END_TEST

START_TEST(names_pattern_and_spot_of_a_bad_one)
{
    err e = ERR_INIT;
    pattern *p;
    ck_assert(!pattern_open(&p, "a(b", &e));
    ck_assert_ptr_null(p);
    ck_assert_int_eq(e.kind, ERR_INPUT);
    ck_assert_str_eq(e.text, "pattern 'a(b', byte 3: missing closing parenthesis");
    ck_assert(!pattern_open(&p, "\xff", &e));
    ck_assert_int_eq(e.kind, ERR_INPUT);
}
END_TEST

START_TEST(gives_up_on_catastrophic_patterns)
{
    err e = ERR_INIT;
    pattern *p = opened("^(a|a?)+$");
    char text[64];
    memset(text, 'a', 40);
    text[40] = 'b';
    bool found;
    size_t b, n;
    ck_assert(!pattern_find(p, text, 41, 0, &found, &b, &n, &e));
    ck_assert_int_eq(e.kind, ERR_INPUT);
    ck_assert(strstr(e.text, "match limit exceeded") != NULL);
    pattern_close(p);
}
END_TEST

START_TEST(takes_a_megabyte_of_spaces)
{
    err e = ERR_INIT;
    size_t len = 1 << 20;
    char *text = malloc(len);
    memset(text, ' ', len);
    text[len - 1] = 'x';
    pattern *p = opened("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\s+(?!\\S)|\\s+");
    bool found;
    size_t b, n;
    ck_assert_msg(pattern_find(p, text, len, 0, &found, &b, &n, &e), "%s", e.text);
    ck_assert_uint_eq(b, 0);
    ck_assert_uint_eq(n, len - 2);
    pattern_close(p);
    free(text);
}
END_TEST

START_TEST(goes_on_in_the_interpreter_where_the_jit_stack_is_too_small)
{
    err e = ERR_INIT;
    size_t len = 200 * 1000;
    char *text = malloc(len);
    memset(text, 'a', len);
    pattern *p = opened("(?:(a)|b)*c|a");
    bool found;
    size_t b, n;
    ck_assert_msg(pattern_find(p, text, len, len - 60000, &found, &b, &n, &e), "%s", e.text);
    ck_assert(found);
    ck_assert_uint_eq(b, len - 60000);
    ck_assert_uint_eq(n, b + 1);
    pattern_close(p);
    free(text);
}
END_TEST

static const struct {
    const char *glob, *name;
    bool matches;
} globs[] = {
    {"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a.b/c", true}, {"a*", "abc", true},
    {"*c", "abc", true}, {"*b", "abc", false}, {"a?c", "abc", true}, {"a?c", "ac", false},
    {"*.experts.*.down", "m.1.experts.12.down", true}, {"**a**", "bab", true},
    {"a*b*c", "a-b-b-c", true}, {"a*b*c", "a-c-b", false}, {"?", "", false}, {"*?", "", false},
    {"*?*", "x", true}, {"[a]", "[a]", true}, {"A", "a", false}, {"*ab", "aab", true}};

START_TEST(matches_globs_over_whole_names)
{
    ck_assert_int_eq(glob_matches(globs[_i].glob, globs[_i].name), globs[_i].matches);
}
END_TEST

START_TEST(globs_do_not_explode)
{
    char name[10001], glob[2001];
    memset(name, 'a', 10000);
    name[10000] = 0;
    for (int i = 0; i < 1000; i++)
        memcpy(glob + 2 * i, "*a", 2);
    glob[1999] = 'b';
    glob[2000] = 0;
    ck_assert(!glob_matches(glob, name));
}
END_TEST

Suite *suite_pattern(void)
{
    Suite *s = suite_create("pattern");
    TCase *c = tcase_create("regex");
    tcase_add_test(c, knows_unicode_properties);
    tcase_add_test(c, searches_from_a_place_with_what_stands_before_in_view);
    tcase_add_test(c, says_when_there_is_no_match);
    tcase_add_test(c, names_pattern_and_spot_of_a_bad_one);
    tcase_add_test(c, gives_up_on_catastrophic_patterns);
    tcase_add_test(c, takes_a_megabyte_of_spaces);
    tcase_add_test(c, goes_on_in_the_interpreter_where_the_jit_stack_is_too_small);
    suite_add_tcase(s, c);
    c = tcase_create("glob");
    tcase_add_loop_test(c, matches_globs_over_whole_names, 0, COUNT_OF(globs));
    tcase_add_test(c, globs_do_not_explode);
    suite_add_tcase(s, c);
    return s;
}
