// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/zip.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_zip(void);

static const char *dir;

static void set_up(void) { dir = temp_dir_make(); }
static void tear_down(void) { temp_dir_remove(dir); }

static void assert_member(zip_in *z, int64_t i, const void *bytes, size_t n)
{
    err e = ERR_INIT;
    void *got;
    uint64_t len;
    ASSERT_OK(zip_in_read(z, i, n, &got, &len, &e), e);
    ck_assert_uint_eq(len, n);
    ck_assert(n == 0 || memcmp(got, bytes, n) == 0);
    free(got);
}

START_TEST(reads_archives_of_zipfile)
{
    err e = ERR_INIT;
    zip_in *z;
    ASSERT_OK(zip_in_open(&z, "tests/data/zip/good.zip", &e), e);
    ck_assert_int_eq(zip_in_count(z), 2);
    ck_assert_str_eq(zip_in_name(z, 0), "one");
    ck_assert_int_eq(zip_in_find(z, "two"), 1);
    ck_assert_int_eq(zip_in_find(z, "three"), -1);
    assert_member(z, 1, "second content", 14);
    assert_member(z, 0, "first content", 13);
    assert_member(z, 0, "first content", 13);
    zip_in_close(z);
    zip_in_close(NULL);
}
END_TEST

START_TEST(reads_archives_in_memory)
{
    err e = ERR_INIT;
    zip_in *z;
    char *bytes;
    size_t n;
    ASSERT_OK(file_read_all("tests/data/zip/good.zip", 1 << 20, &bytes, &n, &e), e);
    ASSERT_OK(zip_in_open_bytes(&z, bytes, n, "x.zip", &e), e);
    ck_assert_int_eq(zip_in_count(z), 2);
    assert_member(z, zip_in_find(z, "two"), "second content", 14);
    zip_in_close(z);
    ASSERT_REFUSED(zip_in_open_bytes(&z, bytes, n - 1, "x.zip", &refused),
                   "'x.zip' is no zip archive that can be read");
    ck_assert_ptr_null(z);
    free(bytes);
    ASSERT_OK(file_read_all("tests/data/zip/twice.zip", 1 << 20, &bytes, &n, &e), e);
    ASSERT_REFUSED(zip_in_open_bytes(&z, bytes, n, "x.zip", &refused),
                   "'x.zip' has two members of the same name");
    free(bytes);
}
END_TEST

START_TEST(reads_archives_of_numpy)
{
    static const char *const paths[] = {"tests/data/zip/stored.npz", "tests/data/zip/deflated.npz"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        err e = ERR_INIT;
        zip_in *z;
        void *bytes;
        uint64_t n;
        ASSERT_OK(zip_in_open(&z, paths[i], &e), e);
        ck_assert_int_eq(zip_in_count(z), 2);
        ASSERT_OK(zip_in_read(z, zip_in_find(z, "a.npy"), 1000, &bytes, &n, &e), e);
        ck_assert_uint_eq(n, 128 + 6 * sizeof(float));
        ck_assert_mem_eq(bytes, "\x93NUMPY", 6);
        ck_assert(load_f32((const char *)bytes + n - 4) == 5.0f);
        free(bytes);
        ASSERT_REFUSED(zip_in_read(z, 1, 4127, &bytes, &n, &refused),
                       "'b.npy' has 4128 bytes, the most allowed here is 4127");
        ck_assert_ptr_null(bytes);
        zip_in_close(z);
    }
}
END_TEST

START_TEST(refuses_damaged_and_foreign_archives)
{
    static const struct {
        const char *name, *words;
    } bad[] = {
        {"none.zip", "No such file"},
        {"make.py", "is no zip archive that can be read"},
        {"truncated.zip", "is no zip archive that can be read"},
        {"twice.zip", "has two members of the same name"},
        {"encrypted.zip", "member 'two' is encrypted"},
        {"bzip2.zip", "member 'two' is packed by method 12"},
    };
    zip_in *z;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        ASSERT_REFUSED(zip_in_open(&z, temp_path("tests/data/zip", bad[i].name), &refused),
                       bad[i].words);
        ck_assert_ptr_null(z);
    }
}
END_TEST

START_TEST(refuses_members_that_are_not_what_their_header_says)
{
    err e = ERR_INIT;
    zip_in *z;
    void *bytes;
    uint64_t n;
    ASSERT_OK(zip_in_open(&z, "tests/data/zip/crc.zip", &e), e);
    ASSERT_REFUSED(zip_in_read(z, 1, 100, &bytes, &n, &refused), "'two': CRC error");
    zip_in_close(z);
    ASSERT_OK(zip_in_open(&z, "tests/data/zip/lie.zip", &e), e);
    ASSERT_REFUSED(zip_in_read(z, 1, UINT64_MAX, &bytes, &n, &refused),
                   "member 'two' cannot have 1073741824 bytes, 14 are stored");
    zip_in_close(z);
}
END_TEST

// n empty members called 00000 and so on, by the format's description (PKWARE's APPNOTE 4.3).
static void write_many(const char *name, uint32_t n)
{
    enum { LOCAL = 35, CENTRAL = 51, END = 56 + 20 + 22 };
    size_t size = (size_t)n * (LOCAL + CENTRAL) + END;
    unsigned char *all = calloc(1, size), *p = all + (size_t)n * LOCAL;
    ck_assert_ptr_nonnull(all);
    for (uint32_t i = 0; i < n; i++, p += CENTRAL) {
        unsigned char *local = all + (size_t)i * LOCAL;
        char digits[8];
        ck_assert_int_eq(snprintf(digits, sizeof digits, "%05u", i % 100000), 5);
        store_u32(local, 0x04034b50);
        store_u32(p, 0x02014b50);
        store_u16(local + 26, 5);
        store_u16(p + 28, 5);
        store_u32(p + 42, (uint32_t)(local - all));
        memcpy(local + 30, digits, 5);
        memcpy(p + 46, digits, 5);
    }
    store_u32(p, 0x06064b50); // zip64 end
    store_u64(p + 4, 44);
    store_u64(p + 24, n);
    store_u64(p + 32, n);
    store_u64(p + 40, (uint64_t)n * CENTRAL);
    store_u64(p + 48, (uint64_t)n * LOCAL);
    store_u32(p + 56, 0x07064b50); // where it is
    store_u64(p + 64, (uint64_t)n * (LOCAL + CENTRAL));
    store_u32(p + 72, 1);
    store_u32(p + 76, 0x06054b50);
    memset(p + 84, 0xff, 12); // counts, size and offset: look there
    temp_write(dir, name, all, size);
    free(all);
}

START_TEST(refuses_more_members_than_65535)
{
    err e = ERR_INIT;
    zip_in *z;
    write_many("most", 65535);
    ASSERT_OK(zip_in_open(&z, temp_path(dir, "most"), &e), e);
    ck_assert_int_eq(zip_in_find(z, "65534"), 65534);
    zip_in_close(z);
    write_many("more", 65536);
    ASSERT_REFUSED(zip_in_open(&z, temp_path(dir, "more"), &refused), "65536 members, at most");
}
END_TEST

typedef struct {
    uint64_t fail_at, asked;
} producer;

static unsigned char byte_at(uint64_t offset) { return (unsigned char)(offset * 2654435761u >> 9); }

static bool produce(void *ctx, uint64_t offset, void *to, uint64_t n, err *e)
{
    producer *p = ctx;
    ck_assert_uint_eq(offset, p->asked);
    for (uint64_t i = 0; i < n; i++)
        ((unsigned char *)to)[i] = byte_at(offset + i);
    p->asked += n;
    return p->asked <= p->fail_at || err_set(e, ERR_INPUT, "the source is damaged");
}

START_TEST(writes_the_same_bytes_whatever_the_time_and_zone)
{
    err e = ERR_INIT;
    sha256_digest digest[2];
    for (int i = 0; i < 2; i++) {
        producer a = {UINT64_MAX, 0}, b = a;
        zip_member members[] = {{"a.npy", 100, produce, &a}, {"b/c.npy", 70000, produce, &b}};
        ck_assert_int_eq(setenv("TZ", i ? "Asia/Tokyo" : "America/New_York", 1), 0);
        tzset();
        ASSERT_OK(zip_write(dir, "x.npz", members, 2, i, &e), e);
        ASSERT_OK(sha256_of_file(temp_path(dir, "x.npz"), &digest[i], &e), e);
        (void)umask(i ? 022 : 077);
    }
    ck_assert_mem_eq(&digest[0], &digest[1], sizeof digest[0]);
    ck_assert_int_eq(temp_count(dir), 1);
}
END_TEST

START_TEST(reads_back_what_it_wrote)
{
    enum { LONG = 3000001 };
    err e = ERR_INIT;
    zip_in *z;
    unsigned char *expected = malloc(LONG);
    ck_assert_ptr_nonnull(expected);
    for (size_t i = 0; i < LONG; i++)
        expected[i] = byte_at(i);
    producer a = {UINT64_MAX, 0}, b = a, c = a;
    zip_member members[] = {
        {"long", LONG, produce, &a}, {"empty", 0, produce, &b}, {"\xc3\xa9", 5, produce, &c}};
    ASSERT_OK(zip_write(dir, "x", members, 3, false, &e), e);
    ASSERT_OK(zip_in_open(&z, temp_path(dir, "x"), &e), e);
    ck_assert_int_eq(zip_in_count(z), 3);
    assert_member(z, 0, expected, LONG);
    assert_member(z, 1, "", 0);
    assert_member(z, zip_in_find(z, "\xc3\xa9"), expected, 5);
    zip_in_close(z);
    free(expected);
}
END_TEST

START_TEST(leaves_nothing_behind_when_writing_fails)
{
    producer a = {UINT64_MAX, 0}, b = {2000000, 0};
    zip_member members[] = {{"a", 10, produce, &a}, {"b", 9000000, produce, &b}};
    zip_member twice[] = {{"a", 10, produce, &a}, {"a", 10, produce, &a}};
    zip_member huge[] = {{"a", (uint64_t)1 << 60, produce, &a}};
    ASSERT_REFUSED(zip_write(dir, "x", members, 2, false, &refused),
                   "/x': the source is damaged");
    ck_assert_int_eq(temp_count(dir), 0);
    ASSERT_FAILS(zip_write(dir, "x", twice, 2, false, &refused), ERR_INTERNAL, "member 'a'");
    ASSERT_FAILS(zip_write(dir, "x", twice, 0, false, &refused), ERR_INTERNAL, "0 members");
    ASSERT_FAILS(zip_write(dir, "x", huge, 1, false, &refused), ERR_ENV, "bytes needed");
    ASSERT_FAILS(zip_write(temp_path(dir, "none"), "x", members, 1, false, &refused), ERR_ENV,
                 "No such file");
    ck_assert_int_eq(temp_count(dir), 0);

    struct rlimit limit = {70000, 70000};
    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    a = b = (producer){UINT64_MAX, 0};
    ASSERT_FAILS(zip_write(dir, "x", members, 2, false, &refused), ERR_ENV, "File too large");
    ck_assert_int_eq(temp_count(dir), 0);
}
END_TEST

START_TEST(replaces_only_when_told)
{
    err e = ERR_INIT;
    producer a = {UINT64_MAX, 0};
    zip_member members[] = {{"a", 10, produce, &a}};
    temp_write(dir, "x", "old", 3);
    ASSERT_FAILS(zip_write(dir, "x", members, 1, false, &refused), ERR_ENV, "exists already");
    ck_assert_int_eq(temp_count(dir), 1);
    a.asked = 0;
    ASSERT_OK(zip_write(dir, "x", members, 1, true, &e), e);
    ck_assert_int_eq(temp_count(dir), 1);
}
END_TEST

Suite *suite_zip(void)
{
    Suite *s = suite_create("zip");
    TCase *c = tcase_create("archives");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, reads_archives_of_zipfile);
    tcase_add_test(c, reads_archives_in_memory);
    tcase_add_test(c, reads_archives_of_numpy);
    tcase_add_test(c, refuses_damaged_and_foreign_archives);
    tcase_add_test(c, refuses_members_that_are_not_what_their_header_says);
    tcase_add_test(c, refuses_more_members_than_65535);
    tcase_add_test(c, writes_the_same_bytes_whatever_the_time_and_zone);
    tcase_add_test(c, reads_back_what_it_wrote);
    tcase_add_test(c, leaves_nothing_behind_when_writing_fails);
    tcase_add_test(c, replaces_only_when_told);
    suite_add_tcase(s, c);
    return s;
}
