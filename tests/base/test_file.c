// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_file(void);

static const char *dir;

static void set_up(void) { dir = temp_dir_make(); }
static void tear_down(void) { temp_dir_remove(dir); }

static void assert_opens(const char *folder, const char *name, const char *content)
{
    err e = ERR_INIT;
    char *text;
    size_t len;
    ASSERT_OK(file_read_beneath(folder, name, 100, &text, &len, &e), e);
    ck_assert_str_eq(text, content);
    ck_assert_uint_eq(len, strlen(content));
    free(text);
}

START_TEST(reads_exactly_what_was_asked)
{
    err e = ERR_INIT;
    in_file f;
    char got[4] = "";
    temp_write(dir, "a", "0123456789", 10);
    ck_assert(in_open(&f, temp_path(dir, "a"), &e));
    ck_assert_uint_eq(f.size, 10);
    ck_assert(in_read(&f, 3, got, 3, &e));
    ck_assert_str_eq(got, "345");
    ck_assert(in_read(&f, 10, got, 0, &e));
    ck_assert(in_unchanged(&f, &e));
    ASSERT_REFUSED(in_read(&f, 8, got, 3, &refused),
                   "ends early: 3 bytes expected at offset 8, 2 found");
    ASSERT_REFUSED(in_read(&f, UINT64_MAX, got, 3, &refused), "beyond any file");
    in_close(&f);
    ck_assert_int_eq(f.fd, -1);
    in_close(&f);
}
END_TEST

START_TEST(follows_any_link_that_a_person_typed)
{
    err e = ERR_INIT;
    in_file f;
    temp_mkdir(dir, "elsewhere");
    temp_write(dir, "elsewhere/a", "x", 1);
    temp_symlink("elsewhere/a", dir, "link");
    ck_assert(in_open(&f, temp_path(dir, "link"), &e));
    in_close(&f);
}
END_TEST

START_TEST(says_which_file_is_missing_or_no_file)
{
    in_file f;
    ASSERT_REFUSED(in_open(&f, temp_path(dir, "none"), &refused), "/none': No such file");
    ck_assert_int_eq(f.fd, -1);
    ck_assert_ptr_null(f.name);
    ASSERT_REFUSED(in_open(&f, dir, &refused), "is a folder, not a regular file");
    ck_assert_int_eq(mkfifo(temp_path(dir, "pipe"), 0600), 0);
    ASSERT_REFUSED(in_open(&f, temp_path(dir, "pipe"), &refused), "is a pipe or device");
    ASSERT_REFUSED(in_open_beneath(&f, dir, "pipe", &refused), "is a pipe or device");
}
END_TEST

START_TEST(calls_a_forbidden_file_a_matter_of_the_environment)
{
    in_file f;
    temp_write(dir, "a", "x", 1);
    ck_assert_int_eq(chmod(temp_path(dir, "a"), 0), 0);
    ck_assert_int_eq(chmod(dir, 0755), 0);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    ASSERT_FAILS(in_open(&f, temp_path(dir, "a"), &refused), ERR_ENV, "Permission denied");
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(notices_that_a_file_changed_meanwhile)
{
    err e = ERR_INIT;
    in_file f;
    temp_write(dir, "a", "0123456789", 10);
    ck_assert(in_open(&f, temp_path(dir, "a"), &e));
    ck_assert_int_eq(truncate(temp_path(dir, "a"), 9), 0);
    ASSERT_REFUSED(in_unchanged(&f, &refused), "10 bytes before, 9 now");
    in_close(&f);

    ck_assert(in_open(&f, temp_path(dir, "a"), &e));
    struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    ck_assert_int_eq(utimensat(AT_FDCWD, temp_path(dir, "a"), times, 0), 0);
    ASSERT_REFUSED(in_unchanged(&f, &refused), "was written to");
    in_close(&f);

    ck_assert(in_open(&f, temp_path(dir, "a"), &e));
    temp_write(dir, "b", "012345678", 9);
    ck_assert_int_eq(rename(temp_path(dir, "b"), temp_path(dir, "a")), 0);
    ASSERT_REFUSED(in_unchanged(&f, &refused), "means another file now");
    in_close(&f);
}
END_TEST

START_TEST(refuses_names_that_are_not_one_plain_component)
{
    in_file f;
    char longest[257] = {0};
    memset(longest, 'a', 256);
    static const char *const bad[] = {"", ".", "..", "a/b", "/etc/passwd", "../../etc/passwd",
                                      "a\\b", "c:x", "a\nb", "a\177b"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        ASSERT_REFUSED(in_open_beneath(&f, dir, bad[i], &refused), "is refused");
    ASSERT_REFUSED(in_open_beneath(&f, dir, longest, &refused), "longer than 255 bytes");
    ASSERT_REFUSED(in_open_beneath(&f, dir, longest + 1, &refused), "No such file");
}
END_TEST

START_TEST(follows_links_inside_the_folder)
{
    temp_mkdir(dir, "model");
    temp_mkdir(dir, "model/sub");
    temp_write(dir, "model/sub/real", "inside", 6);
    temp_symlink("sub/real", dir, "model/one");
    temp_symlink("one", dir, "model/two");
    temp_symlink(temp_path(dir, "model/sub/real"), dir, "model/absolute");
    temp_symlink("sub", dir, "model/again");
    temp_symlink("again/real", dir, "model/through");
    temp_symlink("model", dir, "alias");
    assert_opens(temp_path(dir, "model"), "one", "inside");
    assert_opens(temp_path(dir, "model"), "two", "inside");
    assert_opens(temp_path(dir, "model"), "absolute", "inside");
    assert_opens(temp_path(dir, "model"), "through", "inside");
    assert_opens(temp_path(dir, "alias"), "two", "inside"); // the folder itself was typed
}
END_TEST

START_TEST(refuses_links_that_leave_the_folder)
{
    in_file f;
    const char *model = temp_path(dir, "model");
    temp_mkdir(dir, "model");
    temp_mkdir(dir, "model2");
    temp_mkdir(dir, "blobs");
    temp_write(dir, "secret", "x", 1);
    temp_write(dir, "model2/x", "x", 1);
    temp_write(dir, "blobs/x", "x", 1);
    temp_symlink("../secret", dir, "model/up");
    temp_symlink("/etc/passwd", dir, "model/absolute");
    temp_symlink("../model2/x", dir, "model/neighbour");
    temp_symlink("../blobs/x", dir, "model/blob"); // not a cache: no snapshots above
    temp_symlink("..", dir, "model/out");
    temp_symlink("out/secret", dir, "model/through");
    temp_symlink("up", dir, "model/twice");
    temp_symlink("loop", dir, "model/loop");
    temp_symlink("nothing", dir, "model/dangling");
    ASSERT_REFUSED(in_open_beneath(&f, model, "up", &refused),
                   "a symbolic link to '../secret', outside");
    ASSERT_REFUSED(in_open_beneath(&f, model, "absolute", &refused), "'/etc/passwd', outside");
    ASSERT_REFUSED(in_open_beneath(&f, model, "neighbour", &refused), "outside");
    ASSERT_REFUSED(in_open_beneath(&f, model, "blob", &refused), "outside");
    ASSERT_REFUSED(in_open_beneath(&f, model, "out", &refused), "no file");
    ASSERT_REFUSED(in_open_beneath(&f, model, "through", &refused), "outside");
    ASSERT_REFUSED(in_open_beneath(&f, model, "twice", &refused), "'../secret', outside");
    ASSERT_REFUSED(in_open_beneath(&f, model, "loop", &refused), "behind more than");
    ASSERT_REFUSED(in_open_beneath(&f, model, "dangling", &refused), "No such file");
}
END_TEST

START_TEST(follows_the_hub_caches_links)
{
    in_file f;
    const char *const folders[] = {
        "hub", "hub/blobs", "hub/blobs/ab", "hub/m", "hub/m/blobs", "hub/m/snapshots",
        "hub/m/snapshots/r1", "hub/m/snapshots/r1/sub", "hub/other", "hub/other/blobs"};
    for (size_t i = 0; i < COUNT_OF(folders); i++)
        temp_mkdir(dir, folders[i]);
    temp_write(dir, "hub/m/blobs/e1", "one hop", 7);
    temp_write(dir, "hub/blobs/ab/x2", "two hops", 8);
    temp_write(dir, "hub/other/blobs/e3", "x", 1);
    temp_write(dir, "hub/secret", "x", 1);
    temp_symlink("../../blobs/e1", dir, "hub/m/snapshots/r1/a");
    temp_symlink("../../../blobs/e1", dir, "hub/m/snapshots/r1/sub/a");
    temp_symlink("../../blobs/e2", dir, "hub/m/snapshots/r1/b");
    temp_symlink("../../blobs/ab/x2", dir, "hub/m/blobs/e2");
    temp_symlink("../../../other/blobs/e3", dir, "hub/m/snapshots/r1/c");
    temp_symlink("../../blobs/e4", dir, "hub/m/snapshots/r1/d");
    temp_symlink("../../secret", dir, "hub/m/blobs/e4");
    const char *snapshot = temp_path(dir, "hub/m/snapshots/r1");
    assert_opens(snapshot, "a", "one hop");
    assert_opens(snapshot, "b", "two hops");
    ASSERT_REFUSED(in_open_beneath(&f, snapshot, "c", &refused),
                   "'../../../other/blobs/e3', outside");
    ASSERT_REFUSED(in_open_beneath(&f, snapshot, "d", &refused), "'../../secret', outside");
    assert_opens(temp_path(dir, "hub/m/snapshots/r1/sub"), "a", "one hop");
}
END_TEST

START_TEST(reads_small_files_whole_under_a_ceiling)
{
    err e = ERR_INIT;
    char *text;
    size_t len;
    temp_write(dir, "a", "12345", 5);
    temp_write(dir, "empty", "", 0);
    ck_assert(file_read_all(temp_path(dir, "a"), 5, &text, &len, &e));
    ck_assert_str_eq(text, "12345");
    free(text);
    ASSERT_REFUSED(file_read_all(temp_path(dir, "a"), 4, &text, &len, &refused),
                   "has 5 bytes, the most allowed here is 4");
    ck_assert_ptr_null(text);
    ck_assert(file_read_all(temp_path(dir, "empty"), 5, &text, &len, &e));
    ck_assert_str_eq(text, "");
    free(text);
}
END_TEST

START_TEST(lists_a_folder_sorted_by_bytes)
{
    err e = ERR_INIT;
    dir_entry *list;
    int64_t n;
    temp_write(dir, "b", "12", 2);
    temp_write(dir, "B", "", 0);
    temp_mkdir(dir, "a");
    temp_symlink("b", dir, "c");
    temp_symlink("nothing", dir, ".d");
    ck_assert(dir_list(dir, &list, &n, &e));
    ck_assert_int_eq(n, 5);
    ck_assert_str_eq(list[0].name, ".d");
    ck_assert(!list[0].is_file);
    ck_assert_str_eq(list[1].name, "B");
    ck_assert_str_eq(list[2].name, "a");
    ck_assert(!list[2].is_file);
    ck_assert_str_eq(list[3].name, "b");
    ck_assert_uint_eq(list[3].size, 2);
    ck_assert_str_eq(list[4].name, "c");
    ck_assert(list[4].is_file);
    ck_assert_uint_eq(list[4].size, 2);
    dir_list_free(list, n);
    ck_assert(dir_list(temp_path(dir, "a"), &list, &n, &e));
    ck_assert_int_eq(n, 0);
    dir_list_free(list, n);
    ASSERT_REFUSED(dir_list(temp_path(dir, "none"), &list, &n, &refused), "cannot list the folder");
}
END_TEST

static bool within(const char *inner, const char *outer)
{
    err e = ERR_INIT;
    bool answer;
    ASSERT_OK(path_is_within(inner, outer, &answer, &e), e);
    return answer;
}

START_TEST(knows_what_lies_inside_what)
{
    temp_mkdir(dir, "in");
    temp_mkdir(dir, "in/sub");
    temp_symlink("in/sub", dir, "link");
    temp_symlink("in/later", dir, "dangling");
    const char *in = temp_path(dir, "in");
    ck_assert(within(in, in));
    ck_assert(within(in, "/"));
    ck_assert(within(temp_path(dir, "in/"), in));
    ck_assert(within(temp_path(dir, "in/new/deep"), in));
    ck_assert(within(temp_path(dir, "link/new"), in));
    ck_assert(within(temp_path(dir, "dangling"), in));
    ck_assert(within(temp_path(dir, "in2/../in/x"), in));
    ck_assert(!within(temp_path(dir, "in2"), in));
    ck_assert(!within(dir, in));
    ck_assert(!within(temp_path(dir, "in/../x"), in));
    ck_assert_int_eq(chdir(in), 0);
    ck_assert(within("new", in));
    ck_assert(within(".", "../in"));
    ck_assert(!within("../x", "."));
    ck_assert(!within("", "sub"));
}
END_TEST

START_TEST(tells_what_a_path_leads_to)
{
    static const struct {
        const char *name;
        path_kind kind;
    } cases[] = {{"a", PATH_FILE},       {"sub", PATH_FOLDER},    {"to_a", PATH_FILE},
                 {"to_sub", PATH_FOLDER}, {"nowhere", PATH_OTHER}, {"none", PATH_NOTHING},
                 {"a/b", PATH_NOTHING},   {"round", PATH_OTHER}};
    err e = ERR_INIT;
    path_kind kind;
    temp_write(dir, "a", "x", 1);
    temp_mkdir(dir, "sub");
    temp_symlink("a", dir, "to_a");
    temp_symlink("sub", dir, "to_sub");
    temp_symlink("later", dir, "nowhere");
    temp_symlink("round", dir, "round");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        ASSERT_OK(path_find_in(dir, cases[i].name, &kind, &e), e);
        ck_assert_msg(kind == cases[i].kind, "%s", cases[i].name);
    }
    ASSERT_OK(path_find("/dev/null", &kind, &e), e);
    ck_assert_int_eq(kind, PATH_OTHER);
}
END_TEST

START_TEST(joins_and_splits_paths)
{
    err e = ERR_INIT;
    char *a = path_join("x", "y", &e), *b = path_join("x/", "y", &e);
    ck_assert_str_eq(a, "x/y");
    ck_assert_str_eq(b, "x/y");
    ck_assert_str_eq(path_base(a), "y");
    ck_assert_str_eq(path_base("y"), "y");
    free(a);
    free(b);
    temp_symlink("nothing", dir, "dangling");
    ck_assert(path_exists(temp_path(dir, "dangling")));
    ck_assert(!path_exists(temp_path(dir, "none")));
    ck_assert(path_is_dir(dir));
    ck_assert(!path_is_dir(temp_path(dir, "dangling")));
}
END_TEST

Suite *suite_file(void)
{
    Suite *s = suite_create("file");
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, reads_exactly_what_was_asked);
    tcase_add_test(c, follows_any_link_that_a_person_typed);
    tcase_add_test(c, says_which_file_is_missing_or_no_file);
    tcase_add_test(c, calls_a_forbidden_file_a_matter_of_the_environment);
    tcase_add_test(c, notices_that_a_file_changed_meanwhile);
    tcase_add_test(c, refuses_names_that_are_not_one_plain_component);
    tcase_add_test(c, follows_links_inside_the_folder);
    tcase_add_test(c, refuses_links_that_leave_the_folder);
    tcase_add_test(c, follows_the_hub_caches_links);
    tcase_add_test(c, reads_small_files_whole_under_a_ceiling);
    tcase_add_test(c, lists_a_folder_sorted_by_bytes);
    tcase_add_test(c, knows_what_lies_inside_what);
    tcase_add_test(c, tells_what_a_path_leads_to);
    tcase_add_test(c, joins_and_splits_paths);
    suite_add_tcase(s, c);
    return s;
}
