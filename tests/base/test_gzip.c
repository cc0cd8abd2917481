// SPDX-License-Identifier: Apache-2.0
// Packed by zlib's own deflate, whose bytes are gzip's.
#include <stdlib.h>
#include <zlib.h>

#include "base/gzip.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_gzip(void);

enum { LONG = 1000000, ROOM = 1100000 };

static const char *dir;
static char *plain;           // [LONG] bytes
static unsigned char *packed; // [ROOM]

static void set_up(void)
{
    dir = temp_dir_make();
    plain = malloc(LONG);
    packed = malloc(ROOM);
    ck_assert(plain && packed);
    for (size_t i = 0; i < LONG; i++) // does not pack well: several pieces of input
        plain[i] = (char)(i * i * 2654435761u >> 17);
}

static void tear_down(void)
{
    free(packed);
    free(plain);
    temp_dir_remove(dir);
}

// Appends a member of n plain bytes; returns the new end.
static size_t pack(size_t at, const void *bytes, size_t n)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)n,
                  .next_out = packed + at, .avail_out = (uInt)(ROOM - at)};
    ck_assert_int_eq(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t end = at + z.total_out;
    ck_assert_int_eq(deflateEnd(&z), Z_OK);
    return end;
}

static void assert_reads(uint64_t max_bytes, const void *bytes, size_t n)
{
    err e = ERR_INIT;
    char *text;
    size_t len;
    ASSERT_OK(gzip_read_text(temp_path(dir, "a"), max_bytes, &text, &len, &e), e);
    ck_assert_uint_eq(len, n);
    ck_assert(memcmp(text, bytes, n) == 0);
    ck_assert_int_eq(text[n], 0);
    free(text);
}

static void assert_refuses(uint64_t max_bytes, const char *words)
{
    char *text;
    size_t len;
    ASSERT_REFUSED(gzip_read_text(temp_path(dir, "a"), max_bytes, &text, &len, &refused), words);
    ck_assert_ptr_null(text);
    ck_assert_uint_eq(len, 0);
}

START_TEST(reads_text_that_is_not_packed)
{
    temp_write(dir, "a", "plain", 5);
    assert_reads(5, "plain", 5);
    assert_reads(UINT64_MAX, "plain", 5);
    assert_refuses(4, "has 5 bytes, the most allowed here is 4");
    temp_write(dir, "a", "\x1f", 1);
    assert_reads(5, "\x1f", 1);
    temp_write(dir, "a", "", 0);
    assert_reads(0, "", 0);
}
END_TEST

START_TEST(unpacks_under_a_ceiling)
{
    temp_write(dir, "a", packed, pack(0, plain, LONG));
    assert_reads(LONG, plain, LONG);
    assert_reads(UINT64_MAX, plain, LONG);
    assert_refuses(LONG - 1, "unpacks to more than the 999999 bytes");
    assert_refuses(1, "unpacks to more than the 1 bytes");
    temp_write(dir, "a", packed, pack(0, "", 0));
    assert_reads(0, "", 0);
}
END_TEST

START_TEST(reads_all_members_and_padding)
{
    size_t end = pack(pack(pack(0, plain, 300000), "", 0), plain + 300000, LONG - 300000);
    temp_write(dir, "a", packed, end);
    assert_reads(LONG, plain, LONG);
    assert_refuses(LONG - 1, "unpacks to more than");
    memset(packed + end, 0, 512);
    temp_write(dir, "a", packed, end + 512);
    assert_reads(LONG, plain, LONG);
    packed[end + 100] = 'x';
    temp_write(dir, "a", packed, end + 512);
    assert_refuses(LONG, "bytes behind the padding");
    end = pack(0, plain, 10);
    packed[end] = 'x';
    temp_write(dir, "a", packed, end + 1);
    assert_refuses(LONG, "is damaged gzip");
}
END_TEST

START_TEST(refuses_truncated_files_wherever_they_end)
{
    size_t end = pack(pack(0, plain, 200), plain, 100);
    size_t first = pack(0, plain, 200);
    for (size_t n = 2; n < end; n++) {
        temp_write(dir, "a", packed, n);
        if (n == first)
            assert_reads(LONG, plain, 200);
        else
            assert_refuses(LONG, "is damaged gzip near byte");
    }
}
END_TEST

START_TEST(refuses_damaged_bytes)
{
    size_t end = pack(0, plain, 5000);
    for (size_t i = end - 8; i < end; i++) { // checksum and length
        packed[i] ^= 1;
        temp_write(dir, "a", packed, end);
        assert_refuses(LONG, "is damaged gzip");
        packed[i] ^= 1;
    }
    packed[1000] ^= 0xff;
    temp_write(dir, "a", packed, end);
    assert_refuses(LONG, "is damaged gzip");
}
END_TEST

START_TEST(a_bomb_stops_at_the_ceiling)
{
    char *zeros = calloc(1, 50000000);
    ck_assert_ptr_nonnull(zeros);
    temp_write(dir, "a", packed, pack(0, zeros, 50000000));
    assert_refuses(100000, "unpacks to more than the 100000 bytes");
    free(zeros);
}
END_TEST

Suite *suite_gzip(void)
{
    Suite *s = suite_create("gzip");
    TCase *c = tcase_create("text");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, reads_text_that_is_not_packed);
    tcase_add_test(c, unpacks_under_a_ceiling);
    tcase_add_test(c, reads_all_members_and_padding);
    tcase_add_test(c, refuses_truncated_files_wherever_they_end);
    tcase_add_test(c, refuses_damaged_bytes);
    tcase_add_test(c, a_bomb_stops_at_the_ceiling);
    suite_add_tcase(s, c);
    return s;
}
