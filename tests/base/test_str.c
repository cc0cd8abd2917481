// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "tests/refused.h"

Suite *suite_str(void);

START_TEST(a_string_grows_by_bytes_text_and_formats)
{
    err e = ERR_INIT;
    strbuf s = {0};
    ASSERT_OK(strbuf_ok(&s, &e), e);
    strbuf_puts(&s, "a");
    strbuf_add(&s, "b\0c", 3);
    strbuf_add(&s, NULL, 0);
    strbuf_printf(&s, "%d-%s", 42, "x");
    ASSERT_OK(strbuf_ok(&s, &e), e);
    ck_assert_uint_eq(s.len, 8);
    ck_assert_mem_eq(s.text, "ab\0c42-x", 9);
    strbuf_clear(&s);
    ck_assert_uint_eq(s.len, 0);
    ck_assert_str_eq(s.text, "");
    for (int i = 0; i < 10000; i++)
        strbuf_printf(&s, "%05d", i);
    ck_assert_uint_eq(s.len, 50000);
    ck_assert_str_eq(s.text + 49990, "0999809999");
    strbuf_free(&s);
    ck_assert_ptr_null(s.text);
    strbuf_clear(&s);
}
END_TEST

START_TEST(a_failure_to_grow_sticks)
{
    strbuf s = {0};
    strbuf_puts(&s, "kept");
    strbuf_add(&s, NULL, SIZE_MAX - 2);
    strbuf_puts(&s, "lost");
    strbuf whole = {0};
    strbuf_puts(&whole, "a");
    strbuf_join(&whole, &s); // what is not all there does not count as all there in another text
    ASSERT_FAILS(strbuf_ok(&whole, &refused), ERR_ENV, "no memory for text");
    strbuf_free(&whole);
    ASSERT_FAILS(strbuf_ok(&s, &refused), ERR_ENV, "no memory for text");
    ck_assert_str_eq(s.text, "kept");
    strbuf_free(&s);
    ck_assert(!s.failed);
}
END_TEST

START_TEST(compares_beginnings_and_ends)
{
    ck_assert(str_starts("model.layers", "model."));
    ck_assert(str_starts("x", ""));
    ck_assert(!str_starts("mod", "model"));
    ck_assert(str_ends("a.weight", ".weight"));
    ck_assert(str_ends("a", ""));
    ck_assert(!str_ends("weight", ".weight"));
    ck_assert(str_same_nocase("W4a16", "w4A16"));
    ck_assert(!str_same_nocase("w4", "w4a16"));
}
END_TEST

START_TEST(finds_the_nearest_word_only_where_it_is_near)
{
    static const char *const words[] = {"--threads", "--memory", "--text", "--tokens", "-o"};
    static const struct {
        const char *typed, *meant;
    } cases[] = {
        {"--thread", "--threads"}, {"--memroy", "--memory"}, {"--test", "--text"},
        {"--tokens", "--tokens"},  {"--verify", NULL},       {"-p", "-o"},
        {"", NULL},                {"--tets", "--text"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *found = str_nearest(cases[i].typed, words, COUNT_OF(words));
        ck_assert_pstr_eq(found, cases[i].meant);
    }
    char longest[100] = {0};
    memset(longest, 'x', sizeof longest - 1);
    ck_assert_ptr_null(str_nearest(longest, words, COUNT_OF(words)));
    ck_assert_ptr_null(str_nearest("x", NULL, 0));
}
END_TEST

START_TEST(reads_numbers_that_are_nothing_but_digits)
{
    uint64_t v = 7;
    ck_assert(str_to_u64("0", 10, &v));
    ck_assert_uint_eq(v, 0);
    ck_assert(str_to_u64("18446744073709551615", UINT64_MAX, &v));
    ck_assert_uint_eq(v, UINT64_MAX);
    ck_assert(str_to_u64("10", 10, &v));
    static const char *const bad[] = {"", "11", "-1", "+1", " 1", "1 ", "0x1", "1e1", "1.0",
                                      "18446744073709551616", "99999999999999999999"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        v = 7;
        ck_assert(!str_to_u64(bad[i], 10, &v));
        ck_assert_uint_eq(v, 0);
    }
    ck_assert(!str_to_u64("18446744073709551616", UINT64_MAX, &v));
}
END_TEST

START_TEST(reads_sizes_with_binary_units)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"1000", 1000},      {"0", 0},          {"10B", 10},
        {"64M", 64u << 20},  {"64m", 64u << 20}, {"512KiB", 512u << 10},
        {"512kib", 512u << 10}, {"2GB", (uint64_t)2 << 30}, {"2GiB", (uint64_t)2 << 30},
        {"16777215T", (uint64_t)16777215 << 40},
    };
    static const char *const bad[] = {"", "M", "GiB", "1.5G", "-1", "1 G", "1GiBs", "1KK", "1X",
                                      "10iB", "1BB", "16777216T", "99999999999999999999999999"};
    uint64_t v;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        ck_assert_msg(str_to_bytes(good[i].text, &v), "%s", good[i].text);
        ck_assert_uint_eq(v, good[i].bytes);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        ck_assert_msg(!str_to_bytes(bad[i], &v), "%s", bad[i]);
        ck_assert_uint_eq(v, 0);
    }
}
END_TEST

START_TEST(reads_durations)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } good[] = {{"0", 0}, {"90", 90}, {"90s", 90}, {"15m", 900}, {"1h30m", 5400},
                {"2d", 172800}, {"1d1s", 86401}, {"1:30:00", 5400}, {"100:00:01", 360001}};
    static const char *const bad[] = {"", "s", "1.5h", "-1", "1h30", "30m1h", "1h1h", "1H", "1 h",
                                      "1:00", "1:60:00", "1:00:60", "1:00:00:00", ":::",
                                      "9999999999999999999", "99999999999999999999999d"};
    int64_t v;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        ck_assert_msg(str_to_seconds(good[i].text, &v), "%s", good[i].text);
        ck_assert_int_eq(v, good[i].seconds);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        ck_assert_msg(!str_to_seconds(bad[i], &v), "%s", bad[i]);
        ck_assert_int_eq(v, 0);
    }
}
END_TEST

START_TEST(writes_sizes_for_people)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},          {999, "999 B"},         {1000, "1.0 kB"},
        {4901234, "4.9 MB"}, {99949, "99.9 kB"},     {99950, "100 kB"},
        {999499, "999 kB"},  {999500, "1.0 MB"},     {123456789012, "123 GB"},
        {UINT64_MAX, "18.4 EB"},
    };
    char buf[24];
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        ck_assert_str_eq(str_human_bytes(cases[i].bytes, buf), cases[i].text);
}
END_TEST

START_TEST(a_map_finds_every_name_again)
{
    enum { N = 20000 };
    err e = ERR_INIT;
    strmap m = {0};
    char name[64];
    bool fresh;
    ck_assert_int_eq(strmap_get(&m, "x", 1), -1);
    for (int i = 0; i < N; i++) {
        int len = snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.weight", i / 64, i);
        ASSERT_OK(strmap_put(&m, name, (size_t)len, i, &fresh, &e), e);
        ck_assert(fresh);
    }
    for (int i = 0; i < N; i++) {
        int len = snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.weight", i / 64, i);
        ck_assert_int_eq(strmap_get(&m, name, (size_t)len), i);
        ck_assert_int_eq(strmap_get(&m, name, (size_t)len - 1), -1);
    }
    ASSERT_OK(strmap_put(&m, name, strlen(name), 7, &fresh, &e), e);
    ck_assert(!fresh);
    ck_assert_int_eq(strmap_get(&m, name, strlen(name)), N - 1);
    ASSERT_OK(strmap_put(&m, name, strlen(name), 7, NULL, &e), e);
    ck_assert_uint_eq(m.n, N);
    strmap_free(&m);
    ck_assert_int_eq(strmap_get(&m, "x", 1), -1);
    strmap_free(&m);
}
END_TEST

START_TEST(a_map_tells_names_apart_by_all_their_bytes)
{
    err e = ERR_INIT;
    strmap m = {0};
    char zeros[40] = {0};
    for (int i = 0; i < 40; i++) // lengths alone
        ASSERT_OK(strmap_put(&m, zeros, (size_t)i, i, NULL, &e), e);
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(strmap_get(&m, zeros, (size_t)i), i);
    for (size_t at = 0; at < 40; at++) { // one bit anywhere
        zeros[at] = (char)0x80;
        ck_assert_int_eq(strmap_get(&m, zeros, 40), -1);
        zeros[at] = 0;
    }
    strmap_free(&m);
}
END_TEST

Suite *suite_str(void)
{
    Suite *s = suite_create("str");
    TCase *c = tcase_create("text");
    tcase_add_test(c, a_string_grows_by_bytes_text_and_formats);
    tcase_add_test(c, a_failure_to_grow_sticks);
    tcase_add_test(c, compares_beginnings_and_ends);
    tcase_add_test(c, finds_the_nearest_word_only_where_it_is_near);
    tcase_add_test(c, reads_numbers_that_are_nothing_but_digits);
    tcase_add_test(c, reads_sizes_with_binary_units);
    tcase_add_test(c, reads_durations);
    tcase_add_test(c, writes_sizes_for_people);
    tcase_add_test(c, a_map_finds_every_name_again);
    tcase_add_test(c, a_map_tells_names_apart_by_all_their_bytes);
    suite_add_tcase(s, c);
    return s;
}
