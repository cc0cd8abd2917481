// SPDX-License-Identifier: Apache-2.0
#include "tests/temp.h"

#include <check.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct path_note {
    struct path_note *before;
    char path[];
} *paths;

const char *temp_dir_make(void)
{
    static char path[4096];
    const char *where = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/scruple-test-XXXXXX", where ? where : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(path));
    return path;
}

void temp_prefer_memory(void)
{
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK | X_OK) == 0)
        ck_assert_int_eq(setenv("TMPDIR", "/dev/shm", 1), 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

void temp_dir_remove(const char *dir)
{
    ck_assert_int_eq(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    while (paths) {
        struct path_note *before = paths->before;
        free(paths);
        paths = before;
    }
}

const char *temp_path(const char *dir, const char *name)
{
    struct path_note *note = malloc(sizeof *note + strlen(dir) + strlen(name) + 2);
    ck_assert_ptr_nonnull(note);
    note->before = paths;
    paths = note;
    (void)snprintf(note->path, strlen(dir) + strlen(name) + 2, "%s/%s", dir, name);
    return note->path;
}

void temp_write(const char *dir, const char *name, const void *bytes, size_t n)
{
    FILE *f = fopen(temp_path(dir, name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

void temp_mkdir(const char *dir, const char *name)
{
    ck_assert_int_eq(mkdir(temp_path(dir, name), 0777), 0);
}

void temp_symlink(const char *target, const char *dir, const char *name)
{
    ck_assert_int_eq(symlink(target, temp_path(dir, name)), 0);
}

int temp_count(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    for (const struct dirent *item; (item = readdir(d));)
        n += strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0;
    ck_assert_int_eq(closedir(d), 0);
    return n;
}
