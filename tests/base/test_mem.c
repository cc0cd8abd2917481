// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "base/mem.h"
#include "tests/refused.h"

Suite *suite_mem(void);

START_TEST(sizes_are_added_and_multiplied_without_overflow)
{
    uint64_t out = 1;
    ck_assert(size_mul(1u << 31, 1u << 31, &out));
    ck_assert_uint_eq(out, (uint64_t)1 << 62);
    ck_assert(size_mul(UINT64_MAX, 1, &out));
    ck_assert(!size_mul(UINT64_MAX, 2, &out));
    ck_assert_uint_eq(out, 0);
    ck_assert(size_mul(UINT64_MAX, 0, &out));
    ck_assert(size_add(UINT64_MAX - 1, 1, &out));
    ck_assert_uint_eq(out, UINT64_MAX);
    ck_assert(!size_add(UINT64_MAX, 1, &out));
    ck_assert_uint_eq(out, 0);
}
END_TEST

START_TEST(rounds_up_to_any_multiple)
{
    uint64_t out = 1;
    ck_assert(size_round_up(0, 16384, &out));
    ck_assert_uint_eq(out, 0);
    ck_assert(size_round_up(1, 16384, &out));
    ck_assert_uint_eq(out, 16384);
    ck_assert(size_round_up(16384, 16384, &out));
    ck_assert_uint_eq(out, 16384);
    ck_assert(size_round_up(10, 7, &out));
    ck_assert_uint_eq(out, 14);
    ck_assert(size_round_up(UINT64_MAX, 1, &out));
    ck_assert_uint_eq(out, UINT64_MAX);
    ck_assert(!size_round_up(UINT64_MAX - 1, 16, &out));
    ck_assert_uint_eq(out, 0);
}
END_TEST

static bool all_are(const unsigned char *bytes, uint64_t n, unsigned char value)
{
    uint64_t same = 0;
    while (same < n && bytes[same] == value)
        same++;
    return same == n;
}

START_TEST(new_memory_is_zeroed_or_aligned)
{
    err e = ERR_INIT;
    unsigned char *zeroed = mem_new(1000, 3, "test", &e);
    unsigned char *aligned = mem_new_aligned(65, 1, "test", &e);
    void *none = mem_new(0, 8, "test", &e);
    void *none_aligned = mem_new_aligned(0, 8, "test", &e);
    ck_assert(zeroed && aligned && none && none_aligned);
    ck_assert(all_are(zeroed, 3000, 0));
    ck_assert_uint_eq((uintptr_t)aligned % 64, 0);
    memset(aligned, 1, 65);
    free(none_aligned);
    free(none);
    free(aligned);
    free(zeroed);
}
END_TEST

START_TEST(pages_are_zeroed_and_go_back)
{
    err e = ERR_INIT;
    for (uint64_t bytes = 0; bytes < 10 << 20; bytes = bytes * 7 + 1) {
        unsigned char *p = mem_pages(bytes, "test", &e);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 4096, 0);
        ck_assert(all_are(p, bytes, 0));
        memset(p, 1, bytes);
        mem_pages_free(p, bytes);
    }
    mem_pages_free(NULL, 1);
}
END_TEST

START_TEST(says_what_there_is_no_memory_for)
{
    scratch s = {0};
    arena a = {0};
    ASSERT_FAILS(mem_new(UINT64_MAX, 8, "scales", &refused), ERR_ENV, "no memory for scales");
    ASSERT_FAILS(mem_new((uint64_t)1 << 62, 1, "scales", &refused), ERR_ENV,
                 "scales: 4611686018427387904 bytes");
    ASSERT_FAILS(mem_new_aligned(UINT64_MAX, 1, "codes", &refused), ERR_ENV, "no memory for codes");
    ASSERT_FAILS(mem_new_aligned((uint64_t)1 << 62, 1, "codes", &refused), ERR_ENV, "codes: 46116");
    ASSERT_FAILS(mem_pages(UINT64_MAX, "pages", &refused), ERR_ENV, "no memory for pages: 18446");
    ASSERT_FAILS(mem_pages((uint64_t)1 << 62, "pages", &refused), ERR_ENV, "pages: 46116");
    ASSERT_FAILS(scratch_need(&s, UINT64_MAX, 2, "rows", &refused), ERR_ENV, "no memory for rows");
    ASSERT_FAILS(arena_new(&a, UINT64_MAX, 2, &refused), ERR_ENV, "no memory");
    ck_assert_ptr_null(a.last);
}
END_TEST

START_TEST(a_growing_array_keeps_what_is_in_it)
{
    err e = ERR_INIT;
    int *array = NULL;
    uint64_t cap = 0;
    for (int i = 0; i < 1000; i++) {
        ASSERT_OK(mem_grow((void **)&array, &cap, (uint64_t)i + 1, sizeof *array, "test", &e), e);
        ck_assert_uint_ge(cap, (uint64_t)i + 1);
        array[i] = i;
    }
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(array[i], i);
    uint64_t before = cap;
    ASSERT_FAILS(mem_grow((void **)&array, &cap, UINT64_MAX, sizeof *array, "names", &refused),
                 ERR_ENV, "no memory for names");
    ck_assert_uint_eq(cap, before);
    ck_assert_int_eq(array[999], 999);
    free(array);
}
END_TEST

START_TEST(scratch_grows_only_when_more_is_asked_for)
{
    err e = ERR_INIT;
    scratch s = {0};
    void *first = scratch_need(&s, 100, 4, "test", &e);
    ck_assert_ptr_nonnull(first);
    ck_assert_uint_eq((uintptr_t)first % 64, 0);
    ck_assert_ptr_eq(scratch_need(&s, 50, 8, "test", &e), first);
    ck_assert_ptr_eq(scratch_need(&s, 0, 8, "test", &e), first);
    unsigned char *more = scratch_need(&s, 100000, 4, "test", &e);
    ck_assert_ptr_nonnull(more);
    memset(more, 1, 400000);
    scratch_free(&s);
    ck_assert_ptr_null(s.bytes);
    ck_assert_uint_eq(s.cap, 0);
    scratch_free(&s);
}
END_TEST

START_TEST(an_arena_holds_pieces_of_all_sizes)
{
    static const uint64_t sizes[] = {1, 0, 15, 16, 17, 65536, 65537, 100, 1000000, 3};
    err e = ERR_INIT;
    arena a = {0};
    unsigned char *pieces[COUNT_OF(sizes)];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        pieces[i] = arena_new(&a, sizes[i], 1, &e);
        ck_assert_ptr_nonnull(pieces[i]);
        ck_assert_uint_eq((uintptr_t)pieces[i] % 16, 0);
        ck_assert(all_are(pieces[i], sizes[i], 0));
        memset(pieces[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        ck_assert(all_are(pieces[i], sizes[i], (unsigned char)(i + 1)));
    ck_assert_str_eq(arena_text(&a, "name and more", 4, &e), "name");
    ck_assert_uint_ge(a.bytes, 1131225);
    arena_free(&a);
    ck_assert_ptr_null(a.last);
    arena_free(&a);
}
END_TEST

Suite *suite_mem(void)
{
    Suite *s = suite_create("mem");
    TCase *c = tcase_create("memory");
    tcase_add_test(c, sizes_are_added_and_multiplied_without_overflow);
    tcase_add_test(c, rounds_up_to_any_multiple);
    tcase_add_test(c, new_memory_is_zeroed_or_aligned);
    tcase_add_test(c, pages_are_zeroed_and_go_back);
    tcase_add_test(c, says_what_there_is_no_memory_for);
    tcase_add_test(c, a_growing_array_keeps_what_is_in_it);
    tcase_add_test(c, scratch_grows_only_when_more_is_asked_for);
    tcase_add_test(c, an_arena_holds_pieces_of_all_sizes);
    suite_add_tcase(s, c);
    return s;
}
