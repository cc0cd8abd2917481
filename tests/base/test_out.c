// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/out.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_out(void);

static const char *dir;

static void set_up(void) { dir = temp_dir_make(); }
static void tear_down(void) { temp_dir_remove(dir); }

static void assert_content(const char *name, const void *bytes, size_t n)
{
    err e = ERR_INIT;
    char *text;
    size_t len;
    ASSERT_OK(file_read_all(temp_path(dir, name), 1 << 24, &text, &len, &e), e);
    ck_assert_uint_eq(len, n);
    ck_assert_mem_eq(text, bytes, n);
    free(text);
}

static void assert_digest(const sha256_digest *digest, const void *bytes, size_t n)
{
    err e = ERR_INIT;
    sha256_digest expected;
    ASSERT_OK(sha256_of(bytes, n, &expected, &e), e);
    ck_assert_mem_eq(digest, &expected, sizeof expected);
}

// Pieces on both sides of the buffer's size, with and without a size known before.
START_TEST(writes_what_was_appended_and_its_digest)
{
    static const size_t pieces[] = {1, 0, 7, 65535, 65536, 3, 65537, 100, 65436, 200000, 5};
    enum { HEADER = 10, LONGEST = 600000 };
    err e = ERR_INIT;
    unsigned char *bytes = malloc(LONGEST);
    ck_assert_ptr_nonnull(bytes);
    size_t n = HEADER;
    for (size_t i = 0; i < LONGEST; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 11);
    for (size_t i = 0; i < COUNT_OF(pieces); i++)
        n += pieces[i];
    for (int known = 0; known < 2; known++) {
        out_file o;
        sha256_digest digest;
        size_t at = HEADER;
        const char *name = known ? "known" : "unknown";
        ASSERT_OK(out_open(&o, dir, name, known ? n : 0, bytes, HEADER, &e), e);
        for (size_t i = 0; i < COUNT_OF(pieces); at += pieces[i++])
            ASSERT_OK(out_append(&o, bytes + at, pieces[i], &e), e);
        ck_assert(!path_exists(temp_path(dir, name)));
        ck_assert_uint_eq(o.at, n);
        ASSERT_OK(out_publish(&o, false, &digest, &e), e);
        ck_assert_int_eq(o.fd, -1);
        assert_content(name, bytes, n);
        assert_digest(&digest, bytes, n);
    }
    ck_assert_int_eq(temp_count(dir), 2);
    free(bytes);
}
END_TEST

START_TEST(has_a_hidden_temporary_name_of_full_size_and_zeros_for_a_header)
{
    err e = ERR_INIT;
    out_file o;
    struct stat st;
    char first[4] = "xxx";
    ASSERT_OK(out_open(&o, dir, "a", 100000, "HEAD", 4, &e), e);
    const char *temp = path_base(o.temp);
    ck_assert_int_eq(strncmp(temp, ".a.", 3), 0);
    ck_assert_str_eq(temp + strlen(temp) - 5, ".part");
    ck_assert_int_eq(stat(o.temp, &st), 0);
    ck_assert_int_eq(st.st_size, 100000);
    in_file f;
    ASSERT_OK(in_open(&f, o.temp, &e), e);
    ASSERT_OK(in_read(&f, 0, first, 4, &e), e);
    ck_assert_mem_eq(first, "\0\0\0\0", 4);
    in_close(&f);
    out_discard(&o);
    ck_assert_int_eq(temp_count(dir), 0);
    out_discard(&o);
}
END_TEST

START_TEST(replaces_only_when_told)
{
    err e = ERR_INIT;
    sha256_digest digest;
    ASSERT_OK(out_write_file(dir, "a", "old", 3, false, &digest, &e), e);
    assert_digest(&digest, "old", 3);
    ASSERT_FAILS(out_write_file(dir, "a", "new", 3, false, &digest, &refused), ERR_ENV,
                 "/a' exists already and is not replaced");
    assert_content("a", "old", 3);
    ck_assert_int_eq(temp_count(dir), 1);
    ASSERT_OK(out_write_file(dir, "a", "new", 3, true, NULL, &e), e);
    assert_content("a", "new", 3);
    ASSERT_OK(out_write_file(dir, "empty", NULL, 0, true, &digest, &e), e);
    assert_digest(&digest, "", 0);
    assert_content("empty", "", 0);
    ck_assert_int_eq(temp_count(dir), 2);
    temp_mkdir(dir, "folder");
    ASSERT_FAILS(out_write_file(dir, "folder", "x", 1, true, NULL, &refused), ERR_ENV, "folder");
    ck_assert_int_eq(temp_count(dir), 3);
}
END_TEST

START_TEST(tells_whether_the_name_was_taken)
{
    err e = ERR_INIT;
    bool taken;
    ASSERT_OK(out_write_new(dir, "a", "one", 3, &taken, &e), e);
    ck_assert(!taken);
    ASSERT_OK(out_write_new(dir, "a", "two", 3, &taken, &e), e);
    ck_assert(taken);
    assert_content("a", "one", 3);
    ck_assert_int_eq(temp_count(dir), 1);
    ASSERT_FAILS(out_write_new(temp_path(dir, "none"), "a", "x", 1, &taken, &refused), ERR_ENV,
                 "none");
    ck_assert(!taken);
}
END_TEST

START_TEST(a_count_that_does_not_fit_is_an_internal_error)
{
    err e = ERR_INIT;
    out_file o;
    ASSERT_OK(out_open(&o, dir, "a", 10, "HEAD", 4, &e), e);
    ASSERT_OK(out_append(&o, "12345", 5, &e), e);
    ASSERT_FAILS(out_publish(&o, false, NULL, &refused), ERR_INTERNAL,
                 "9 bytes written, 10 announced");
    ASSERT_OK(out_open(&o, dir, "a", 10, "HEAD", 4, &e), e);
    ASSERT_FAILS(out_append(&o, "1234567", 7, &refused), ERR_INTERNAL, "7 bytes at offset 4");
    ASSERT_FAILS(out_append(&o, "1", 1, &refused), ERR_INTERNAL, "closed");
    ASSERT_FAILS(out_publish(&o, false, NULL, &refused), ERR_INTERNAL, "closed");
    ASSERT_FAILS(out_open(&o, dir, "a", 3, "HEAD", 4, &refused), ERR_INTERNAL, "a header of 4");
    ck_assert_int_eq(temp_count(dir), 0);
}
END_TEST

START_TEST(asks_for_space_before_it_begins)
{
    err e = ERR_INIT;
    out_file o;
    ASSERT_FAILS(out_open(&o, dir, "a", (uint64_t)1 << 60, NULL, 0, &refused), ERR_ENV,
                 "1152921504606846976 bytes needed");
    ASSERT_FAILS(out_has_space(temp_path(dir, "not/yet"), UINT64_MAX, &refused), ERR_ENV, "free");
    ASSERT_OK(out_has_space(temp_path(dir, "not/yet"), 1, &e), e);
    ASSERT_FAILS(out_open(&o, temp_path(dir, "none"), "a", 3, NULL, 0, &refused), ERR_ENV,
                 "cannot make a file in");
    ck_assert_int_eq(temp_count(dir), 0);
}
END_TEST

// A limit on the size of files fails the same calls as a full disk, at a place of our choice.
START_TEST(leaves_nothing_behind_when_writing_fails)
{
    err e = ERR_INIT;
    out_file o;
    static char bytes[100000];
    struct rlimit limit = {70000, 70000};
    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ASSERT_FAILS(out_open(&o, dir, "a", 100000, NULL, 0, &refused), ERR_ENV, "File too large");
    ck_assert_int_eq(temp_count(dir), 0);
    ASSERT_OK(out_open(&o, dir, "a", 0, NULL, 0, &e), e); // a large append
    ASSERT_FAILS(out_append(&o, bytes, 100000, &refused), ERR_ENV, "File too large");
    ck_assert_int_eq(temp_count(dir), 0);
    ASSERT_OK(out_open(&o, dir, "a", 0, NULL, 0, &e), e); // a small one, flushed at the end
    ASSERT_OK(out_append(&o, bytes, 60000, &e), e);
    ASSERT_OK(out_append(&o, bytes, 60000, &e), e);
    ASSERT_FAILS(out_publish(&o, false, NULL, &refused), ERR_ENV, "File too large");
    ck_assert_int_eq(temp_count(dir), 0);
}
END_TEST

// ---- written behind ----

// Every fsync of the process passes here: the protocol's cost is part of what is tested.
static atomic_int syncs;

int fsync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    atomic_fetch_add(&syncs, 1);
    return (int)syscall(SYS_fdatasync, fd);
}

typedef struct {
    unsigned char *bytes;
    uint64_t begin, at;
} witness;

static void look(void *ctx, uint64_t offset, const void *bytes, uint64_t n)
{
    witness *w = ctx;
    ck_assert_uint_eq(offset, w->at);
    memcpy(w->bytes + (offset - w->begin), bytes, n);
    w->at += n;
}

// A file of `n` bytes behind `header` ones, in pieces that fit nothing.
static void write_behind(const char *name, uint64_t header, uint64_t n, bool known, bool buffered)
{
    err e = ERR_INIT;
    out_file o;
    sha256_digest digest;
    unsigned char *bytes = malloc(header + n), *seen = malloc(n + 1);
    ck_assert(bytes && seen);
    witness w = {seen, header, header};
    for (uint64_t i = 0; i < header + n; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    ASSERT_OK(out_open(&o, dir, name, known ? header + n : 0, bytes, header, &e), e);
    out_watched(&o, look, &w);
    ASSERT_OK(out_write_behind(&o, OUT_BEHIND_LEAST, buffered, &e), e);
    uint64_t piece = 1;
    for (uint64_t at = 0; at < n; at += piece) {
        piece = piece * 7 % 150001 + 1;
        piece = piece < n - at ? piece : n - at;
        ASSERT_OK(out_append(&o, bytes + header + at, piece, &e), e);
    }
    ASSERT_OK(out_settle(&o, &e), e);
    ck_assert_uint_eq(w.at, header + n);
    ck_assert_mem_eq(seen, bytes + header, n);
    atomic_store(&syncs, 0);
    ASSERT_OK(out_publish(&o, false, &digest, &e), e);
    ck_assert_int_eq(atomic_load(&syncs), 2); // the file, the folder
    assert_content(name, bytes, header + n);
    assert_digest(&digest, bytes, header + n);
    free(bytes);
    free(seen);
}

// Headers and ends on and beside pages and blocks (64 KiB), the page cache or none.
START_TEST(written_behind_a_file_is_the_same)
{
    static const uint64_t headers[] = {0, 10, 5000, 65536, 200000};
    static const uint64_t sizes[] = {0, 1, 65537, 262144 + 4096, 700001};
    char name[40];
    for (size_t i = 0; i < COUNT_OF(headers); i++)
        for (size_t k = 0; k < COUNT_OF(sizes); k++)
            for (int how = 0; how < 2; how++) {
                (void)snprintf(name, sizeof name, "%zu-%zu-%d", i, k, how);
                write_behind(name, headers[i], sizes[k], (i + k) % 2, how);
            }
    ck_assert_int_eq(temp_count(dir), COUNT_OF(headers) * COUNT_OF(sizes) * 2);
}
END_TEST

START_TEST(a_small_file_is_not_written_behind)
{
    err e = ERR_INIT;
    out_file o;
    ASSERT_OK(out_open(&o, dir, "a", 65536, NULL, 0, &e), e);
    ASSERT_OK(out_write_behind(&o, OUT_BEHIND_LEAST, false, &e), e);
    ck_assert_ptr_null(o.ring);
    out_discard(&o);
    ASSERT_OK(out_open(&o, dir, "a", 65537, NULL, 0, &e), e);
    ASSERT_OK(out_append(&o, "x", 1, &e), e);
    ASSERT_FAILS(out_write_behind(&o, OUT_BEHIND_LEAST, false, &refused), ERR_INTERNAL,
                 "written already");
    out_discard(&o);
    ASSERT_OK(out_open(&o, dir, "a", 65537, NULL, 0, &e), e);
    ASSERT_OK(out_write_behind(&o, 0, false, &e), e);
    ck_assert_ptr_nonnull(o.ring);
    out_discard(&o);
    ck_assert_int_eq(temp_count(dir), 0);
}
END_TEST

// The header's place is zeros until the end, and giving up at any point leaves nothing.
START_TEST(written_behind_the_header_comes_last)
{
    static unsigned char bytes[1000000];
    static const char zeros[5000];
    err e = ERR_INIT;
    out_file o;
    in_file f;
    char first[5000];
    memset(bytes, 7, sizeof bytes);
    for (int buffered = 0; buffered < 2; buffered++) {
        ASSERT_OK(out_open(&o, dir, "a", 5000 + sizeof bytes, bytes, 5000, &e), e);
        ASSERT_OK(out_write_behind(&o, OUT_BEHIND_LEAST, buffered, &e), e);
        ASSERT_OK(out_append(&o, bytes, sizeof bytes, &e), e);
        ASSERT_OK(out_settle(&o, &e), e);
        ASSERT_OK(in_open(&f, o.temp, &e), e);
        ASSERT_OK(in_read(&f, 0, first, sizeof first, &e), e);
        ck_assert_mem_eq(first, zeros, sizeof first);
        in_close(&f);
        out_discard(&o);
        ASSERT_OK(out_open(&o, dir, "a", 5000 + sizeof bytes, bytes, 5000, &e), e);
        ASSERT_OK(out_write_behind(&o, OUT_BEHIND_LEAST, buffered, &e), e);
        ASSERT_OK(out_append(&o, bytes, 600000, &e), e);
        out_discard(&o); // with threads at work
    }
    ASSERT_OK(out_open(&o, dir, "a", sizeof bytes, NULL, 0, &e), e);
    ASSERT_OK(out_write_behind(&o, OUT_BEHIND_LEAST, false, &e), e);
    ASSERT_OK(out_append(&o, bytes, 600000, &e), e);
    ASSERT_FAILS(out_publish(&o, false, NULL, &refused), ERR_INTERNAL, "600000 bytes written");
    ck_assert_int_eq(temp_count(dir), 0);
}
END_TEST

// Errors of the threads are told by what comes next, with the same sentence, and only once.
START_TEST(written_behind_a_failure_is_told_later)
{
    static char bytes[3000000];
    err e = ERR_INIT;
    out_file o;
    struct rlimit limit = {700000, 700000};
    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int buffered = 0; buffered < 2; buffered++) {
        ASSERT_OK(out_open(&o, dir, "a", 0, "HEAD", 4, &e), e);
        ASSERT_OK(out_write_behind(&o, OUT_BEHIND_LEAST, buffered, &e), e);
        ASSERT_FAILS(out_append(&o, bytes, sizeof bytes, &refused), ERR_ENV, "File too large");
        ck_assert_int_eq(temp_count(dir), 0);
        ASSERT_FAILS(out_append(&o, bytes, 1, &refused), ERR_INTERNAL, "closed");
        // The last block's, when nothing is appended any more.
        ASSERT_OK(out_open(&o, dir, "a", 0, "HEAD", 4, &e), e);
        ASSERT_OK(out_write_behind(&o, OUT_BEHIND_LEAST, buffered, &e), e);
        ASSERT_OK(out_append(&o, bytes, 701000, &e), e);
        ASSERT_FAILS(out_publish(&o, false, NULL, &refused), ERR_ENV, "File too large");
        ck_assert_int_eq(temp_count(dir), 0);
    }
}
END_TEST

static bool mount_here(const char *type, const char *options)
{
    bool ok = unshare(CLONE_NEWNS) == 0 &&
              mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
              mount("none", dir, type, 0, options) == 0;
    if (!ok)
        (void)printf("skipped: a test that mounts %s: %s\n", type, strerror(errno));
    return ok;
}

START_TEST(says_how_much_a_full_disk_lacks)
{
    static char bytes[300000];
    err e = ERR_INIT;
    out_file o;
    if (!mount_here("tmpfs", "size=256k"))
        return;
    ASSERT_FAILS(out_open(&o, dir, "a", 300000, NULL, 0, &refused), ERR_ENV,
                 "300000 bytes needed, 262144 free");
    ASSERT_OK(out_open(&o, dir, "a", 0, NULL, 0, &e), e);
    ASSERT_FAILS(out_append(&o, bytes, 300000, &refused), ERR_ENV,
                 "/a', which needs 300000 bytes: No space left");
    ck_assert_int_eq(temp_count(dir), 0);
    ASSERT_OK(out_open(&o, dir, "a", 200000, NULL, 0, &e), e);
    ck_assert(!out_has_space(dir, 100000, &refused)); // it is really taken
    ASSERT_OK(out_append(&o, bytes, 200000, &e), e);
    ASSERT_OK(out_publish(&o, false, NULL, &e), e);
    assert_content("a", bytes, 200000);
    ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
}
END_TEST

// Where there is no O_DIRECT, and where space ends inside a block.
START_TEST(written_behind_memory_and_full_disks_do_as_well)
{
    static char bytes[600000];
    err e = ERR_INIT;
    out_file o;
    for (int k = 0; k < 2; k++) {
        if (!mount_here(k ? "ramfs" : "tmpfs", k ? NULL : "size=1m"))
            return;
        write_behind("b", 5000, 700001, true, false);
        ck_assert_int_eq(unlink(temp_path(dir, "b")), 0);
        if (k == 0) {
            ASSERT_OK(out_open(&o, dir, "a", 0, NULL, 0, &e), e);
            ASSERT_OK(out_write_behind(&o, OUT_BEHIND_LEAST, false, &e), e);
            ASSERT_OK(out_append(&o, bytes, sizeof bytes, &e), e);
            bool more = out_append(&o, bytes, sizeof bytes, &refused);
            ck_assert(!more || !out_publish(&o, false, NULL, &refused));
            ck_assert_int_eq(refused.kind, ERR_ENV);
            ck_assert_ptr_nonnull(strstr(refused.text, "no space for"));
            ck_assert_int_eq(temp_count(dir), 0);
        }
        ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
    }
}
END_TEST

START_TEST(does_without_preallocation_where_there_is_none)
{
    err e = ERR_INIT;
    out_file o;
    if (!mount_here("ramfs", NULL))
        return;
    ASSERT_OK(out_open(&o, dir, "a", 5, "HEAD", 4, &e), e);
    ck_assert_int_eq(fallocate(o.fd, 0, 0, 5), -1);
    ck_assert_int_eq(errno, EOPNOTSUPP);
    ASSERT_OK(out_append(&o, "x", 1, &e), e);
    ASSERT_OK(out_publish(&o, false, NULL, &e), e);
    assert_content("a", "HEADx", 5);
    ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
}
END_TEST

START_TEST(makes_folders_and_their_parents)
{
    err e = ERR_INIT;
    ASSERT_OK(out_make_dir(temp_path(dir, "a/b/c"), &e), e);
    ck_assert(path_is_dir(temp_path(dir, "a/b/c")));
    ASSERT_OK(out_make_dir(temp_path(dir, "a/b/c/"), &e), e);
    ASSERT_OK(out_make_dir(temp_path(dir, "a//b/./d"), &e), e);
    ck_assert(path_is_dir(temp_path(dir, "a/b/d")));
    temp_write(dir, "file", "x", 1);
    ASSERT_FAILS(out_make_dir(temp_path(dir, "file"), &refused), ERR_ENV, "a file has that name");
    ASSERT_FAILS(out_make_dir(temp_path(dir, "file/x"), &refused), ERR_ENV, "a file has that");
    ck_assert_int_eq(chdir(dir), 0);
    ASSERT_OK(out_make_dir("relative/x", &e), e);
    ck_assert(path_is_dir(temp_path(dir, "relative/x")));
    ASSERT_OK(out_write_file(".", "here", "x", 1, false, NULL, &e), e);
    assert_content("here", "x", 1);
}
END_TEST

Suite *suite_out(void)
{
    Suite *s = suite_create("out");
    TCase *c = tcase_create("output files");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, writes_what_was_appended_and_its_digest);
    tcase_add_test(c, has_a_hidden_temporary_name_of_full_size_and_zeros_for_a_header);
    tcase_add_test(c, replaces_only_when_told);
    tcase_add_test(c, tells_whether_the_name_was_taken);
    tcase_add_test(c, a_count_that_does_not_fit_is_an_internal_error);
    tcase_add_test(c, asks_for_space_before_it_begins);
    tcase_add_test(c, leaves_nothing_behind_when_writing_fails);
    tcase_add_test(c, says_how_much_a_full_disk_lacks);
    tcase_add_test(c, does_without_preallocation_where_there_is_none);
    tcase_add_test(c, makes_folders_and_their_parents);
    suite_add_tcase(s, c);
    c = tcase_create("written behind");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, written_behind_a_file_is_the_same);
    tcase_add_test(c, a_small_file_is_not_written_behind);
    tcase_add_test(c, written_behind_the_header_comes_last);
    tcase_add_test(c, written_behind_a_failure_is_told_later);
    tcase_add_test(c, written_behind_memory_and_full_disks_do_as_well);
    suite_add_tcase(s, c);
    return s;
}
