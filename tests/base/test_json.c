// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

Suite *suite_json(void);

static json *parsed(const char *text)
{
    err e = ERR_INIT;
    json *j;
    ck_assert_msg(json_parse(&j, text, strlen(text), "t.json", &e), "%s", e.text);
    return j;
}

static void refused(const char *text, size_t len, const char *sentence)
{
    err e = ERR_INIT;
    json *j;
    ck_assert_msg(!json_parse(&j, text, len, "t.json", &e), "accepted: %s", text);
    ck_assert_ptr_null(j);
    ck_assert_int_eq(e.kind, ERR_INPUT);
    ck_assert_str_eq(e.text, sentence);
}

START_TEST(finds_members_by_case_and_by_path)
{
    json *j = parsed("{\"Wq\":1,\"wq\":2,\"a\":{\"b\":{\"c\":[10,20]}},\"n\":null}");
    int64_t v;
    ck_assert(json_as_int(json_get(j, "wq"), &v) && v == 2);
    ck_assert_ptr_null(json_get(j, "WQ"));
    ck_assert_int_eq(json_len(json_path(j, "a.b.c")), 2);
    ck_assert_ptr_null(json_path(j, "a.x.c"));
    ck_assert_ptr_null(json_path(j, "a.b.c.d"));
    ck_assert_ptr_null(json_get(json_path(j, "a.b.c"), "d"));
    ck_assert_int_eq(json_type(json_get(j, "n")), JSON_NULL);
    ck_assert_int_eq(json_len(j), 4);
    const json *m = json_first(j);
    ck_assert_str_eq(json_key(m), "Wq");
    ck_assert_str_eq(json_key(json_next(m)), "wq");
    ck_assert_ptr_null(json_first(m));
    json_free(j);
}
END_TEST

START_TEST(gives_a_value_only_as_what_it_is)
{
    json *j = parsed("[1.5, 3.0, 9007199254740991, 9007199254740992, 9007199254740993, true,"
                     "\"x\", 1e3, -0.0, -9007199254740991]");
    static const struct {
        bool ok;
        int64_t value;
    } want[] = {{false, 0}, {true, 3}, {true, 9007199254740991}, {false, 0}, {false, 0},
                {false, 0}, {false, 0}, {true, 1000}, {true, 0}, {true, -9007199254740991}};
    size_t i = 0;
    for (const json *v = json_first(j); v; v = json_next(v), i++) {
        int64_t got;
        ck_assert_int_eq(json_as_int(v, &got), want[i].ok);
        ck_assert_int_eq(got, want[i].value);
    }
    bool flag;
    double d;
    const json *v = json_first(j);
    ck_assert(json_as_double(v, &d) && d == 1.5);
    ck_assert(!json_as_bool(v, &flag) && !flag);
    ck_assert_ptr_null(json_as_text(v));
    ck_assert(!json_as_int(NULL, &(int64_t){0}) && !json_as_text(NULL));
    json_free(j);
}
END_TEST

START_TEST(refuses_what_cjson_would_take)
{
    refused("{\"a\":1,\"a\":2}", 13, "t.json: bad JSON at byte 7: key 'a' a second time");
    refused("{\"a\":1,\"\\u0061\":2}", 18, "t.json: bad JSON at byte 7: key 'a' a second time");
    refused("[1] x", 5, "t.json: bad JSON at byte 4: expected nothing behind the value, found 'x'");
    refused("\"\xff\"", 3, "t.json: bad JSON at byte 1: invalid UTF-8 in a string");
    refused("\"a\\u0000b\"", 10, "t.json: bad JSON at byte 0: a string holds a NUL character");
    refused("{\"\\u0000\":1}", 12, "t.json: bad JSON at byte 1: a key holds a NUL character");
    refused("1e999", 5, "t.json: bad JSON at byte 0: number 1e999 is out of range");
    refused("\xef\xbb\xbf{}", 5, "t.json: bad JSON at byte 0: expected a value, found byte 0xef");
    char number[81];
    memset(number, '1', 80);
    number[80] = 0;
    refused(number, 80, "t.json: bad JSON at byte 0: a number of more than 63 characters");
}
END_TEST

START_TEST(allows_the_same_key_in_different_objects)
{
    json_free(parsed("[{\"a\":1,\"b\":{\"a\":{\"a\":1}},\"c\":2},{\"a\":1}]"));
}
END_TEST

START_TEST(refuses_65_levels_and_takes_64)
{
    char text[131];
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    text[130] = 0;
    refused(text, 130, "t.json: bad JSON at byte 64: nested deeper than 64 levels");
    err e = ERR_INIT;
    json *j;
    ck_assert(json_parse(&j, text + 1, 128, "t.json", &e));
    json_free(j);
}
END_TEST

START_TEST(refuses_more_than_64_mib_before_reading)
{
    refused("", ((size_t)64 << 20) + 1, "t.json: 67108865 bytes of JSON, the limit is 67108864");
}
END_TEST

static void write_all(json_writer *w)
{
    jw_object(w, NULL);
    jw_text(w, "s", "\"\\\n\x01\x7f\xc3\xa4\xff");
    jw_text(w, "none", NULL);
    jw_int(w, "i", -42);
    jw_array(w, "a");
    jw_bool(w, NULL, true);
    jw_null(w, NULL);
    jw_array(w, NULL);
    jw_array_end(w);
    jw_array_end(w);
    jw_object(w, "o");
    jw_object_end(w);
    jw_raw(w, "r", "[1]");
    jw_double(w, "nan", (double)NAN);
    jw_object_end(w);
}

START_TEST(writes_compact_text)
{
    strbuf out = {0};
    json_writer w = {.out = &out};
    write_all(&w);
    ck_assert_str_eq(out.text, "{\"s\":\"\\\"\\\\\\n\\u0001\\u007f\xc3\xa4\xef\xbf\xbd\","
                               "\"none\":null,\"i\":-42,\"a\":[true,null,[]],\"o\":{},"
                               "\"r\":[1],\"nan\":null}");
    json_free(parsed(out.text));
    strbuf_free(&out);
}
END_TEST

START_TEST(writes_indented_text)
{
    strbuf out = {0};
    json_writer w = {.out = &out, .indent = 2};
    write_all(&w);
    ck_assert_str_eq(out.text,
                     "{\n  \"s\": \"\\\"\\\\\\n\\u0001\\u007f\xc3\xa4\xef\xbf\xbd\",\n"
                     "  \"none\": null,\n  \"i\": -42,\n  \"a\": [\n    true,\n    null,\n    []\n"
                     "  ],\n  \"o\": {},\n  \"r\": [1],\n  \"nan\": null\n}");
    strbuf_free(&out);
}
END_TEST

START_TEST(writes_what_was_read)
{
    static const char text[] = "{\"a\":[1,-2.5,true,null,{}],\"b\":{\"c\":\"\\u0001\",\"d\":[]},"
                               "\"e\":false}";
    json *j = parsed(text);
    strbuf out = {0};
    json_writer w = {.out = &out};
    jw_value(&w, NULL, j);
    ck_assert_str_eq(out.text, text);
    strbuf_clear(&out);
    w = (json_writer){.out = &out};
    jw_value(&w, NULL, json_get(j, "absent"));
    ck_assert_str_eq(out.text, "null");
    strbuf_free(&out);
    json_free(j);
}
END_TEST

START_TEST(writes_doubles_that_read_back_the_same)
{
    static const double values[] = {0.1, 1.0 / 3, 1e22, 123456789012345678.0, DBL_MAX, DBL_MIN,
                                    5e-324, 4.35, -0.0, 2.2250738585072011e-308, 0.1 + 0.2};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        strbuf out = {0};
        json_writer w = {.out = &out};
        jw_double(&w, NULL, values[i]);
        json *j = parsed(out.text);
        double back;
        ck_assert(json_as_double(j, &back));
        ck_assert_msg(memcmp(&back, &values[i], sizeof back) == 0, "%s", out.text);
        json_free(j);
        strbuf_free(&out);
    }
    strbuf out = {0};
    json_writer w = {.out = &out};
    jw_double(&w, NULL, 0.1);
    ck_assert_str_eq(out.text, "0.1");
    strbuf_free(&out);
}
END_TEST

Suite *suite_json(void)
{
    Suite *s = suite_create("json");
    TCase *c = tcase_create("tree");
    tcase_add_test(c, finds_members_by_case_and_by_path);
    tcase_add_test(c, gives_a_value_only_as_what_it_is);
    tcase_add_test(c, refuses_what_cjson_would_take);
    tcase_add_test(c, allows_the_same_key_in_different_objects);
    tcase_add_test(c, refuses_65_levels_and_takes_64);
    tcase_add_test(c, refuses_more_than_64_mib_before_reading);
    suite_add_tcase(s, c);
    c = tcase_create("writer");
    tcase_add_test(c, writes_compact_text);
    tcase_add_test(c, writes_indented_text);
    tcase_add_test(c, writes_what_was_read);
    tcase_add_test(c, writes_doubles_that_read_back_the_same);
    suite_add_tcase(s, c);
    return s;
}
