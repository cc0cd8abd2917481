// SPDX-License-Identifier: Apache-2.0
// Which names out of file content are followed, and where links may lead: docs/limits.md, "Paths".
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/temp.h"

Suite *suite_follow(void);

#define N50 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define N250 N50 N50 N50 N50 N50
#define HUB "cache/models--m/snapshots/rev"
#define OUTSIDE "only links inside it and those of a Hub cache are followed"
#define HOLDS "it holds one of / \\ :"
#define CONTROL "it holds a control byte"

static const char *dir;

// Folders and files of one byte, 'i' where it may be read and 's' where it is secret.
static void set_up(void)
{
    static const char *const folder[] = {
        "model", "model/sub", "model/sub/deep", "model2", "model.evil", "cache", "cache/blobs",
        "cache/blobs/ab", "cache/models--m", "cache/models--m/blobs", "cache/models--m/blobs/sub",
        "cache/models--m/snapshots", HUB, HUB "/sub", "cache/models--m/snapshots/old",
        "cache/models--n", "cache/models--n/blobs", "cache/models--m/refs"};
    static const char *const inside[] = {
        "model/real", "model/.hidden", "model/with space", "model/m\xc3\xa9l",
        "model/" N250 "12345",
        "model/sub/real", "model/sub/deep/real", "cache/models--m/blobs/e1", "cache/blobs/ab/xet",
        HUB "/copied"};
    static const char *const secret[] = {
        "secret", "model2/x", "model.evil/x", "cache/x", "cache/models--m/x",
        "cache/models--m/blobs/sub/x", "cache/models--n/blobs/e9", "cache/models--m/refs/main",
        "cache/models--m/snapshots/old/x"};
    dir = temp_dir_make();
    for (size_t i = 0; i < COUNT_OF(folder); i++)
        temp_mkdir(dir, folder[i]);
    for (size_t i = 0; i < COUNT_OF(inside); i++)
        temp_write(dir, inside[i], "i", 1);
    for (size_t i = 0; i < COUNT_OF(secret); i++)
        temp_write(dir, secret[i], "s", 1);
    ck_assert_int_eq(mkfifo(temp_path(dir, "model/pipe"), 0600), 0);
    temp_symlink("../../blobs/ab/xet", dir, "cache/models--m/blobs/e2");
    temp_symlink("../../../secret", dir, "cache/models--m/blobs/e3");
    temp_symlink("../../models--n/blobs/e9", dir, "cache/models--m/blobs/e4");
    temp_symlink("../../blobs/e5", dir, "cache/models--m/blobs/e5"); // to nothing
    temp_symlink("../../secret", dir, "cache/blobs/out");
    temp_symlink("../../blobs/out", dir, "cache/models--m/blobs/e6");
    temp_symlink("model", dir, "alias");
    temp_symlink("models--m", dir, "cache/linked");
}

static void tear_down(void) { temp_dir_remove(dir); }

typedef struct {
    const char *folder, *name;
    const char *target; // NULL: no link is made
    const char *words;  // of the refusal; NULL: the file is read
} follow_case;

static const follow_case names[] = {
    {"model", "real", NULL, NULL},
    {"model", ".hidden", NULL, NULL},
    {"model", "with space", NULL, NULL},
    {"model", "m\xc3\xa9l", NULL, NULL},
    {"model", N250 "12345", NULL, NULL},
    {"alias", "real", NULL, NULL},
    {"model/", "real", NULL, NULL},
    {"model/../model/./", "real", NULL, NULL},
    {"model", "", NULL, "it is empty"},
    {"model", ".", NULL, "it names a folder"},
    {"model", "..", NULL, "it names a folder"},
    {"model", "./real", NULL, HOLDS},
    {"model", "../secret", NULL, HOLDS},
    {"model", "sub/real", NULL, HOLDS},
    {"model", "sub/../real", NULL, HOLDS},
    {"model", "/etc/passwd", NULL, HOLDS},
    {"model", "//etc/passwd", NULL, HOLDS},
    {"model", "real/", NULL, HOLDS},
    {"model", "..\\secret", NULL, HOLDS},
    {"model", "\\\\server\\share", NULL, HOLDS},
    {"model", "C:real", NULL, HOLDS},
    {"model", "real:stream", NULL, HOLDS},
    {"model", "file:///etc/passwd", NULL, HOLDS},
    {"model", "re\nal", NULL, CONTROL},
    {"model", "\x1b[2J", NULL, CONTROL},
    {"model", "real\x7f", NULL, CONTROL},
    {"model", N250 "123456", NULL, "it is longer than 255 bytes"},
    {"model", "%2e%2e%2fsecret", NULL, "No such file"},
    {"model", "..%00", NULL, "No such file"},
    {"model", "...", NULL, "No such file"},
    {"model", "sub", NULL, "is a folder, not a regular file"},
    {"model", "pipe", NULL, "is a pipe or device, not a regular file"},
    {"nowhere", "real", NULL, "No such file"},
    {"model/real", "real", NULL, "Not a directory"},
};

static const follow_case links[] = {
    {"model", "l", "real", NULL},
    {"model", "l", "./real", NULL},
    {"model", "l", "sub/real", NULL},
    {"model", "l", "sub/deep/../real", NULL},
    {"model", "l", "../model/real", NULL},
    {"model/sub", "l", "deep/real", NULL},
    {"alias", "l", "sub/real", NULL},
    {"model/sub", "l", "../real", OUTSIDE},
    {"model", "l", "../secret", OUTSIDE},
    {"model", "l", "sub/../../secret", OUTSIDE},
    {"model", "l", "../model2/x", OUTSIDE},
    {"model", "l", "../model.evil/x", OUTSIDE}, // a name that begins as the folder's
    {"model", "l", "/etc/passwd", OUTSIDE},
    {"model", "l", "/proc/self/environ", OUTSIDE},
    {"model", "l", "/proc/self/exe", OUTSIDE},
    {"model", "l", "/proc/self/fd/0", OUTSIDE},
    {"model", "l", "/proc/self/root/etc/passwd", OUTSIDE},
    {"model", "l", "/proc/self/cwd/Makefile", OUTSIDE},
    {"model", "l", "/dev/zero", OUTSIDE},
    {"model", "l", "/dev/stdin", OUTSIDE},
    {"model", "l", "l", "behind more than 8 others"},
    {"model", "l", "nothing", "No such file"},
    {"model", "l", "nowhere/real", "No such file"},
    {"model", "l", "real/x", "Not a directory"},
    {"model", "l", "sub", "is a folder, not a regular file"},
    {"model", "l", "sub/", "which is no file"},
    {"model", "l", ".", "which is no file"},
    {"model", "l", "..", "which is no file"},
    {"model", "l", "sub/..", "which is no file"},
    {"model", "l", "pipe", "is a pipe or device"},
    {"model", "l", "../cache/blobs/ab/xet", OUTSIDE}, // this folder is no snapshot
    // The Hub cache: one hop, two hops, and copies where links cannot be.
    {HUB, "copied", NULL, NULL},
    {HUB, "l", "../../blobs/e1", NULL},
    {HUB, "l", "../../blobs/e2", NULL},
    {HUB "/sub", "l", "../../../blobs/e1", NULL},
    {HUB "/sub", "l", "../../../blobs/e2", NULL},
    {"cache/linked/snapshots/rev", "l", "../../blobs/e1", NULL},
    {HUB, "l", "copied", NULL},
    {HUB, "l", "../../blobs/e3", OUTSIDE},
    {HUB, "l", "../../blobs/e4", OUTSIDE}, // a second hop to another model's blobs
    {HUB, "l", "../../blobs/e5", "No such file"},
    {HUB, "l", "../../blobs/e6", OUTSIDE}, // a third hop, out of the shared blobs
    {HUB, "l", "../../blobs/sub/x", OUTSIDE},
    {HUB, "l", "../../../models--n/blobs/e9", OUTSIDE},
    {HUB, "l", "../../refs/main", OUTSIDE},
    {HUB, "l", "../old/x", OUTSIDE},
    {HUB, "l", "../../x", OUTSIDE},
    {HUB, "l", "../../../x", OUTSIDE},
    {HUB, "l", "../../blobs/../x", OUTSIDE},
    {HUB, "l", "../../../../secret", OUTSIDE},
    {HUB, "l", "../../blobs", OUTSIDE},
};

// True where the case ends as it should.
static bool judge(const follow_case *c)
{
    err e = ERR_INIT;
    in_file f;
    char folder[4096], byte = 0;
    (void)snprintf(folder, sizeof folder, "%s/%s", dir, c->folder);
    if (c->target)
        ck_assert_int_eq(symlink(c->target, temp_path(folder, c->name)), 0);
    bool ok = in_open_beneath(&f, folder, c->name, &e);
    bool right = c->words ? !ok && e.kind == ERR_INPUT && strstr(e.text, c->words)
                          : ok && in_read(&f, 0, &byte, 1, &e) && byte == 'i';
    if (!right)
        (void)fprintf(stderr, "%s/%s -> %s: %s\n", c->folder, c->name,
                      c->target ? c->target : "(a file)", ok ? "was read" : e.text);
    in_close(&f);
    if (c->target)
        ck_assert_int_eq(unlink(temp_path(folder, c->name)), 0);
    return right;
}

static void judge_all(const follow_case *list, size_t n)
{
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++)
        wrong += !judge(&list[i]);
    ck_assert_msg(wrong == 0, "%zu of %zu cases end otherwise", wrong, n);
}

START_TEST(names_are_one_plain_component) { judge_all(names, COUNT_OF(names)); }
END_TEST

START_TEST(links_stay_inside_or_follow_the_hub_cache) { judge_all(links, COUNT_OF(links)); }
END_TEST

START_TEST(eight_links_behind_each_other_are_followed_and_nine_are_not)
{
    char name[16], target[16];
    for (int i = 1; i <= 9; i++) {
        (void)snprintf(name, sizeof name, "chain%d", i);
        (void)snprintf(target, sizeof target, "chain%d", i - 1);
        temp_symlink(i == 1 ? "real" : target, temp_path(dir, "model"), name);
    }
    ck_assert(judge(&(follow_case){"model", "chain8", NULL, NULL}));
    ck_assert(judge(&(follow_case){"model", "chain9", NULL, "behind more than 8 others"}));
}
END_TEST

START_TEST(a_link_that_changes_while_it_is_read_is_noticed)
{
    err e = ERR_INIT;
    in_file f;
    const char *model = temp_path(dir, "model");
    temp_symlink("real", model, "l");
    ck_assert(in_open_beneath(&f, model, "l", &e));
    ck_assert_msg(in_unchanged(&f, &e), "%s", e.text);
    ck_assert_int_eq(unlink(temp_path(model, "l")), 0);
    temp_symlink("sub/real", model, "l");
    ck_assert(!in_unchanged(&f, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "the name is gone or means another file now"));
    in_close(&f);
}
END_TEST

Suite *suite_follow(void)
{
    Suite *s = suite_create("follow");
    TCase *c = tcase_create("policy");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, names_are_one_plain_component);
    tcase_add_test(c, links_stay_inside_or_follow_the_hub_cache);
    tcase_add_test(c, eight_links_behind_each_other_are_followed_and_nine_are_not);
    tcase_add_test(c, a_link_that_changes_while_it_is_read_is_noticed);
    suite_add_tcase(s, c);
    return s;
}
