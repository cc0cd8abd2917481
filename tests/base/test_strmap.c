// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

Suite *suite_strmap(void);

// What an attacker can compute when the hash has no key: names of one corner of the table.
static uint64_t unkeyed(const char *name, size_t len)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)name[i]) * 1099511628211u;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

START_TEST(names_made_to_collide_cost_no_more_than_others)
{
    err e = ERR_INIT;
    strmap m = {0};
    char name[32];
    enum { NAMES = 100000, CORNER = 1 << 18, SLICE = 64 };
    clock_t begin = clock();
    for (int64_t i = 0, found = 0; found < NAMES; i++) {
        size_t n = (size_t)snprintf(name, sizeof name, "%lld", (long long)i);
        if ((unkeyed(name, n) & (CORNER - 1)) >= CORNER / SLICE)
            continue;
        ck_assert(strmap_put(&m, name, n, found++, NULL, &e));
    }
    ck_assert_double_lt((double)(clock() - begin) / CLOCKS_PER_SEC, 3);
    strmap_free(&m);
}
END_TEST

START_TEST(shortens_long_names_between_characters)
{
    char text[601], buf[STR_SHORT];
    ck_assert_str_eq(str_short("model.embed_tokens.weight", buf), "model.embed_tokens.weight");
    ck_assert_str_eq(str_short_n("model.embed_tokens.weight", 5, buf), "model");
    ck_assert_str_eq(str_short_n("", 0, buf), "");
    memset(text, 'x', 600);
    text[600] = 0;
    memcpy(text + 596, ".end", 4);
    const char *s = str_short(text, buf);
    ck_assert_uint_eq(strlen(s), STR_SHORT - 1);
    ck_assert(str_starts(s, "xxx"));
    ck_assert_ptr_nonnull(strstr(s, "x...x"));
    ck_assert(str_ends(s, "x.end"));
    for (int i = 0; i < 600; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    text[0] = 'a';
    text[1] = 'b';
    text[599] = 'c'; // now both cuts would fall into a character for one of the two parities
    s = str_short(text, buf);
    const char *dots = strstr(s, "...");
    ck_assert_ptr_nonnull(dots);
    ck_assert_int_eq((unsigned char)dots[-1], 0xa4);
    ck_assert_int_eq((unsigned char)dots[3], 0xc3);
}
END_TEST

Suite *suite_strmap(void)
{
    Suite *s = suite_create("strmap");
    TCase *c = tcase_create("hostile names");
    tcase_add_test(c, names_made_to_collide_cost_no_more_than_others);
    tcase_add_test(c, shortens_long_names_between_characters);
    suite_add_tcase(s, c);
    return s;
}
