// SPDX-License-Identifier: Apache-2.0

#include "base/spill.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_spill(void);

START_TEST(keeps_what_was_written_where_it_was_written)
{
    err e = ERR_INIT;
    spill s;
    char got[12];
    const char *dir = temp_dir_make();
    ASSERT_OK(spill_open(&s, dir, 12, &e), e);
    ASSERT_OK(spill_write(&s, 8, "wxyz", 4, &e), e);
    ASSERT_OK(spill_write(&s, 0, "abcd", 4, &e), e);
    ASSERT_OK(spill_read(&s, 0, got, 12, &e), e);
    ck_assert_mem_eq(got, "abcd\0\0\0\0wxyz", 12);
    spill_close(&s);
    spill_close(&s);
    temp_dir_remove(dir);
}
END_TEST

START_TEST(has_no_name_in_the_folder)
{
    err e = ERR_INIT;
    spill s;
    const char *dir = temp_dir_make();
    ASSERT_OK(spill_open(&s, dir, 1 << 20, &e), e);
    ck_assert_int_eq(temp_count(dir), 0);
    spill_close(&s);
    temp_dir_remove(dir);
}
END_TEST

START_TEST(refuses_what_does_not_fit)
{
    err e = ERR_INIT;
    spill s;
    char got[4];
    const char *dir = temp_dir_make();
    ASSERT_FAILS(spill_open(&s, dir, UINT64_MAX / 4, &refused), ERR_ENV, "bytes needed");
    ASSERT_FAILS(spill_open(&s, "/nonexistent/folder", 4, &refused), ERR_ENV, "scratch file");
    ASSERT_OK(spill_open(&s, dir, 4, &e), e);
    ASSERT_FAILS(spill_write(&s, 1, "abcd", 4, &refused), ERR_INTERNAL, "4 bytes at 1");
    ASSERT_FAILS(spill_read(&s, UINT64_MAX, got, 4, &refused), ERR_INTERNAL, "scratch");
    spill_close(&s);
    temp_dir_remove(dir);
}
END_TEST

Suite *suite_spill(void)
{
    Suite *s = suite_create("spill");
    TCase *c = tcase_create("spill");
    tcase_add_test(c, keeps_what_was_written_where_it_was_written);
    tcase_add_test(c, has_no_name_in_the_folder);
    tcase_add_test(c, refuses_what_does_not_fit);
    suite_add_tcase(s, c);
    return s;
}
