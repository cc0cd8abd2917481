// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

Suite *suite_err(void);

START_TEST(keeps_kind_when_context_is_added)
{
    err e = ERR_INIT;
    ck_assert(!err_set(&e, ERR_INPUT, "header says %d bytes, the file has %d", 900, 2));
    ck_assert(!err_in(&e, "shard '%s'", "x"));
    ck_assert_str_eq(e.text, "shard 'x': header says 900 bytes, the file has 2");
    ck_assert_int_eq(e.kind, ERR_INPUT);
}
END_TEST

START_TEST(a_file_is_named_once)
{
    err e = ERR_INIT;
    err_set(&e, ERR_INPUT, "entry 'a' is there twice");
    ck_assert(!err_in_file(&e, "imatrix", "x"));
    ck_assert_str_eq(e.text, "imatrix 'x': entry 'a' is there twice");
    err_set(&e, ERR_INPUT, "'%s' changed while it was read", "x\n");
    ck_assert(!err_in_file(&e, "imatrix", "x\n"));
    ck_assert_str_eq(e.text, "imatrix 'x?' changed while it was read");
    err_set(&e, ERR_ENV, "'xy' is another file");
    ck_assert(!err_in_file(&e, "imatrix", "x"));
    ck_assert_str_eq(e.text, "imatrix 'x': 'xy' is another file");
    ck_assert_int_eq(e.kind, ERR_ENV);
}
END_TEST

START_TEST(adds_the_systems_reason)
{
    err e = ERR_INIT;
    errno = ENOSPC;
    ck_assert(!err_sys(&e, "cannot write '%s'", "y"));
    ck_assert_str_eq(e.text, "cannot write 'y': No space left on device");
    ck_assert_int_eq(e.kind, ERR_ENV);
}
END_TEST

START_TEST(replaces_control_bytes_of_hostile_names)
{
    err e = ERR_INIT;
    err_set(&e, ERR_INPUT, "tensor '%s'", "a\033[2Jb\n");
    ck_assert_str_eq(e.text, "tensor 'a?[2Jb?'");
}
END_TEST

START_TEST(marks_a_sentence_that_does_not_fit)
{
    err e = ERR_INIT;
    char longest[2000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    err_set(&e, ERR_INPUT, "%s", longest);
    ck_assert_uint_eq(strlen(e.text), sizeof e.text - 1);
    ck_assert_str_eq(e.text + sizeof e.text - 4, "...");
}
END_TEST

// Context of n bytes in front of a sentence of `old` bytes, as one whole sentence would be cut.
static void context_fits_or_is_marked(size_t n, size_t old)
{
    enum { MOST = sizeof((err){0}.text) - 1 };
    err e = ERR_INIT;
    char before[MOST + 1], text[MOST + 1], whole[2 * MOST + 4];
    memset(before, 'b', n);
    before[n] = 0;
    memset(text, 't', old);
    text[old] = 0;
    err_set(&e, ERR_ENV, "%s", text);
    err_in(&e, "%s", before);
    int len = snprintf(whole, sizeof whole, "%s: %s", before, text);
    if (len > MOST)
        memcpy(whole + MOST - 3, "...", 4);
    if (n + 5 <= MOST) // a context that fills everything keeps its colon
        ck_assert_str_eq(e.text, whole);
    ck_assert_uint_eq(strlen(e.text), len < MOST ? (size_t)len : MOST);
    ck_assert_int_eq(e.kind, ERR_ENV);
}

START_TEST(context_is_put_in_front_of_sentences_of_any_length)
{
    static const size_t sizes[] = {0, 1, 7, 317, 318, 319, 320, 634, 635, 636, 637, 638, 639};
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        for (size_t k = 0; k < COUNT_OF(sizes); k++)
            context_fits_or_is_marked(sizes[i], sizes[k]);
}
END_TEST

Suite *suite_err(void)
{
    Suite *s = suite_create("err");
    TCase *c = tcase_create("sentences");
    tcase_add_test(c, keeps_kind_when_context_is_added);
    tcase_add_test(c, a_file_is_named_once);
    tcase_add_test(c, adds_the_systems_reason);
    tcase_add_test(c, replaces_control_bytes_of_hostile_names);
    tcase_add_test(c, marks_a_sentence_that_does_not_fit);
    tcase_add_test(c, context_is_put_in_front_of_sentences_of_any_length);
    suite_add_tcase(s, c);
    return s;
}
