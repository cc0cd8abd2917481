// SPDX-License-Identifier: Apache-2.0
// The lists' many forms are in tests/cli/check-sums.test; this is what convert builds on.
#include <stdio.h>

#include "formats/expected.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_expected(void);

#define MODEL "tests/data/nano/model.safetensors"
#define ONES "1111111111111111111111111111111111111111111111111111111111111111"

static const char *dir;
static checkpoint *c;
static sha256_digest is;

static void set_up(void)
{
    err e = ERR_INIT;
    dir = temp_dir_make();
    ASSERT_OK(checkpoint_open(&c, MODEL, NULL, &e), e);
    ASSERT_OK(sha256_of_file(MODEL, &is, &e), e);
}

static void tear_down(void)
{
    checkpoint_close(c);
    temp_dir_remove(dir);
}

static const char *list(const char *hex)
{
    char text[100];
    int n = snprintf(text, sizeof text, "%s  model.safetensors\n", hex);
    temp_write(dir, "list", text, (size_t)n);
    return temp_path(dir, "list");
}

START_TEST(knows_what_a_list_says_of_the_files)
{
    err e = ERR_INIT;
    char hex[65];
    expected x;
    ASSERT_OK(expected_find(&x, c, list(hex_of(is.b, sizeof is.b, hex)), NULL, &e), e);
    ck_assert_int_eq(x.n_known, 1);
    ASSERT_OK(expected_holds(&x, c, 0, &is, &e), e);
    expected_free(&x);
    ASSERT_OK(expected_find(&x, c, list(ONES), NULL, &e), e);
    ck_assert(!expected_same(&x, 0, &is));
    ASSERT_REFUSED(expected_holds(&x, c, 0, &is, &refused),
                   "'model.safetensors' is not what it should be: its SHA-256 is ");
    ASSERT_REFUSED(expected_holds(&x, c, 0, &is, &refused), "/list says " ONES);
    expected_free(&x);
}
END_TEST

START_TEST(nobody_says_anything_and_all_is_well)
{
    err e = ERR_INIT;
    expected x;
    ASSERT_OK(expected_find(&x, c, NULL, NULL, &e), e);
    ck_assert_int_eq(x.n_known, 0);
    ASSERT_OK(expected_holds(&x, c, 0, &is, &e), e);
    expected_free(&x);
    x = (expected){0};
    ASSERT_OK(expected_holds(&x, c, 0, &is, &e), e);
}
END_TEST

START_TEST(leaves_nothing_behind_where_it_fails)
{
    expected x;
    ASSERT_REFUSED(expected_find(&x, c, list("11"), NULL, &refused), "/list, line 1: expected a ");
    ck_assert_ptr_null(x.file);
    expected_free(&x);
}
END_TEST

Suite *suite_expected(void)
{
    Suite *s = suite_create("expected");
    TCase *t = tcase_create("expected");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, knows_what_a_list_says_of_the_files);
    tcase_add_test(t, nobody_says_anything_and_all_is_well);
    tcase_add_test(t, leaves_nothing_behind_where_it_fails);
    suite_add_tcase(s, t);
    return s;
}
