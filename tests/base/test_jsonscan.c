// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonscan.h"

Suite *suite_jsonscan(void);

static bool scan_all(const char *text, size_t len, int depth, int *tokens, err *e)
{
    jsonscan s;
    bool ok;
    js_init(&s, text, len, depth);
    *tokens = 0;
    do {
        ok = js_next(&s, e);
        ++*tokens;
    } while (ok && s.kind != JS_END);
    js_free(&s);
    return ok;
}

static const char *const good[] = {
    "0", "-0", "-1.5e+10", "1E5", "true", "false", "null", "\"\"", "[]", "{}", " [ 1 , 2 ] ",
    "{\"a\":{\"b\":[{},[],null]}}", "\"\\u00e4\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\xc3\xa4\xf0\x9f\x98\x80\"", "\"\x7f\"", "[\"\\u0000\"]", "\r\n\t 12 \n"};

START_TEST(accepts_what_the_standard_allows)
{
    err e = ERR_INIT;
    int n;
    ck_assert_msg(scan_all(good[_i], strlen(good[_i]), 8, &n, &e), "%s: %s", good[_i], e.text);
}
END_TEST

static const char *const bad[] = {
    "", " ", "01", "-", "+1", "1.", ".5", "1e", "1e+", "0x10", "tru", "truex", "nul", "NaN",
    "Infinity", "'a'", "\"a", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\ud800\"",
    "\"\\udc00\"", "\"\\ud800\\u0041\"", "\"\\ud800\\ud800\"", "\"\x01\"", "\"\n\"", "\"\xff\"",
    "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "\"\xc3", "[", "[1",
    "[1,", "[1,]", "[,1]", "[1 2]", "[1}", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,",
    "{\"a\":1,}", "{a:1}", "{\"a\" 1}", "{1:2}", "{\"a\":1]", "{\"a\",1}", "1 2", "{} x", "]", "}",
    ",", ":", "\xef\xbb\xbf{}", "// c\n1", "[1]]", "\"a\"\"b\"", "[1]\v"};

START_TEST(refuses_what_the_standard_forbids)
{
    err e = ERR_INIT;
    int n;
    // An exact copy on the heap, so that one byte too far is seen by the address sanitizer.
    size_t len = strlen(bad[_i]);
    char *copy = malloc(len ? len : 1);
    memcpy(copy, bad[_i], len);
    ck_assert_msg(!scan_all(copy, len, 8, &n, &e), "accepted: %s", bad[_i]);
    ck_assert_int_eq(e.kind, ERR_INPUT);
    ck_assert_msg(strncmp(e.text, "bad JSON at byte ", 17) == 0, "%s", e.text);
    free(copy);
}
END_TEST

START_TEST(refuses_a_nul_byte_outside_of_strings)
{
    err e = ERR_INIT;
    int n;
    ck_assert(!scan_all("1\0", 2, 8, &n, &e));
    ck_assert_str_eq(e.text, "bad JSON at byte 1: expected nothing behind the value, "
                             "found byte 0x00");
}
END_TEST

START_TEST(counts_depth_and_stops_at_the_limit)
{
    err e = ERR_INIT;
    int n;
    ck_assert(scan_all("[[[[1]]]]", 9, 4, &n, &e));
    ck_assert_int_eq(n, 10);
    ck_assert(!scan_all("[[[[[1]]]]]", 11, 4, &n, &e));
    ck_assert_str_eq(e.text, "bad JSON at byte 4: nested deeper than 4 levels");
}
END_TEST

START_TEST(survives_a_hundred_thousand_brackets)
{
    err e = ERR_INIT;
    int n;
    char *deep = malloc(100000);
    memset(deep, '[', 100000);
    ck_assert(!scan_all(deep, 100000, JS_MAX_DEPTH, &n, &e));
    free(deep);
}
END_TEST

START_TEST(decodes_escapes_and_reports_spans)
{
    err e = ERR_INIT;
    jsonscan s;
    const char *text = "{ \"k\\u0041\" : [\"x\\u0000y\", 12.5, -7 ] }";
    js_init(&s, text, strlen(text), 4);
    ck_assert(js_expect(&s, JS_OBJECT, "an object", &e));
    ck_assert(js_expect(&s, JS_KEY, "a key", &e));
    ck_assert_str_eq(s.value, "kA");
    ck_assert_uint_eq(s.begin, 2);
    ck_assert_uint_eq(s.end, 11);
    ck_assert(js_expect(&s, JS_ARRAY, "an array", &e));
    ck_assert(js_expect(&s, JS_STRING, "a string", &e));
    ck_assert_uint_eq(s.value_len, 3);
    ck_assert_mem_eq(s.value, "x\0y", 4);
    ck_assert(js_expect(&s, JS_NUMBER, "a number", &e));
    ck_assert_uint_eq(s.value_len, 4);
    ck_assert_mem_eq(s.value, "12.5", 4);
    uint64_t v;
    ck_assert(!js_u64(&s, &v));
    ck_assert(!js_expect(&s, JS_STRING, "a name", &e));
    ck_assert_str_eq(e.text, "bad JSON at byte 33: expected a name, found a number");
    js_free(&s);
}
END_TEST

START_TEST(reads_unsigned_integers_exactly)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {{"0", true, 0}, {"18446744073709551615", true, UINT64_MAX},
                 {"18446744073709551616", false, 0}, {"-1", false, 0}, {"1.0", false, 0},
                 {"1e2", false, 0}, {"9007199254740993", true, 9007199254740993u},
                 {"true", false, 0}, {"\"1\"", false, 0}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        err e = ERR_INIT;
        jsonscan s;
        uint64_t v;
        js_init(&s, cases[i].text, strlen(cases[i].text), 1);
        ck_assert(js_next(&s, &e));
        ck_assert_int_eq(js_u64(&s, &v), cases[i].ok);
        ck_assert_uint_eq(v, cases[i].value);
        js_free(&s);
    }
}
END_TEST

START_TEST(skips_whole_values)
{
    err e = ERR_INIT;
    jsonscan s;
    const char *text = "[{\"a\":[1,{\"b\":2}]}, 5, \"x\"]";
    js_init(&s, text, strlen(text), 8);
    ck_assert(js_next(&s, &e));
    ck_assert(js_skip(&s, &e));
    ck_assert_uint_eq(s.begin, 1);
    ck_assert_uint_eq(s.end, 18);
    ck_assert(js_skip(&s, &e));
    ck_assert(js_expect(&s, JS_STRING, "a string", &e));
    ck_assert(!js_skip(&s, &e));
    js_free(&s);
}
END_TEST

static const struct {
    const char *text, *value, *result;
} edits[] = {
    {"{\"a\": 1, \"k\": [1, 2], \"z\": 1e-06}", "7", "{\"a\": 1, \"k\": 7, \"z\": 1e-06}"},
    {"{\"a\": 1}", "7", "{\"a\": 1,\"k\": 7}"},
    {"{\"a\":1}\n", "7", "{\"a\":1,\"k\":7}\n"},
    {"{\n  \"b\": 0,\n  \"a\": 1.0\n}\n", "{}", "{\n  \"b\": 0,\n  \"a\": 1.0,\n  \"k\": {}\n}\n"},
    {"{}", "7", "{\"k\": 7}"},
    {"{ }", "7", "{\"k\": 7 }"},
    {"{\"k\": 1, \"b\": 2}", NULL, "{\"b\": 2}"},
    {"{\"a\": 1, \"k\": 2}", NULL, "{\"a\": 1}"},
    {"{\"a\": 1, \"k\": 2, \"b\": 3}", NULL, "{\"a\": 1, \"b\": 3}"},
    {"{\n  \"k\": 2\n}", NULL, "{}"},
    {"{\"a\": {\"k\": 1}}", NULL, "{\"a\": {\"k\": 1}}"},
    {"{\"\\u006b\": 1}", "2", "{\"\\u006b\": 2}"}};

START_TEST(edits_one_member_and_keeps_every_other_byte)
{
    err e = ERR_INIT;
    strbuf out = {0};
    ck_assert_msg(json_set_member(edits[_i].text, strlen(edits[_i].text), "k", edits[_i].value,
                                  &out, &e), "%s", e.text);
    ck_assert_str_eq(out.text, edits[_i].result);
    strbuf_free(&out);
}
END_TEST

START_TEST(refuses_to_edit_what_is_ambiguous_or_no_object)
{
    static const char *const texts[] = {"{\"k\":1,\"k\":2}", "[1]", "{\"k\":1} x", "{\"k\":"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        err e = ERR_INIT;
        strbuf out = {0};
        ck_assert(!json_set_member(texts[i], strlen(texts[i]), "k", "1", &out, &e));
        ck_assert_int_eq(e.kind, ERR_INPUT);
        ck_assert_uint_eq(out.len, 0);
        strbuf_free(&out);
    }
}
END_TEST

Suite *suite_jsonscan(void)
{
    Suite *s = suite_create("jsonscan");
    TCase *c = tcase_create("scan");
    tcase_add_loop_test(c, accepts_what_the_standard_allows, 0, COUNT_OF(good));
    tcase_add_loop_test(c, refuses_what_the_standard_forbids, 0, COUNT_OF(bad));
    tcase_add_test(c, refuses_a_nul_byte_outside_of_strings);
    tcase_add_test(c, counts_depth_and_stops_at_the_limit);
    tcase_add_test(c, survives_a_hundred_thousand_brackets);
    tcase_add_test(c, decodes_escapes_and_reports_spans);
    tcase_add_test(c, reads_unsigned_integers_exactly);
    tcase_add_test(c, skips_whole_values);
    suite_add_tcase(s, c);
    c = tcase_create("edit");
    tcase_add_loop_test(c, edits_one_member_and_keeps_every_other_byte, 0, COUNT_OF(edits));
    tcase_add_test(c, refuses_to_edit_what_is_ambiguous_or_no_object);
    suite_add_tcase(s, c);
    return s;
}
