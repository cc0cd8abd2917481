// SPDX-License-Identifier: Apache-2.0
// What lies beside the fuzz targets: each has a dictionary that libFuzzer can read and a corpus,
// small enough for the repository, and nothing lies there that belongs to no target.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static dir_entry *entry;
static int64_t n_entries;

static void list_targets(void)
{
    err e = ERR_INIT;
    ck_assert_msg(dir_list("tests/fuzz", &entry, &n_entries, &e), "%s", e.text);
}

static void free_targets(void) { dir_list_free(entry, n_entries); }

// The format's name out of "fuzz_<format>.c"; false for other files.
static bool target_of(const char *file, char name[64])
{
    size_t n = strlen(file);
    if (!str_starts(file, "fuzz_") || !str_ends(file, ".c") || n - 7 >= 64)
        return false;
    memcpy(name, file + 5, n - 7);
    name[n - 7] = 0;
    return true;
}

static bool is_target(const char *name)
{
    char other[64];
    for (int64_t i = 0; i < n_entries; i++)
        if (target_of(entry[i].name, other) && strcmp(name, other) == 0)
            return true;
    return false;
}

START_TEST(every_target_has_a_corpus)
{
    char name[64], path[128];
    err e = ERR_INIT;
    uint64_t bytes = 0;
    int n_targets = 0;
    for (int64_t i = 0; i < n_entries; i++) {
        dir_entry *file;
        int64_t n;
        if (!target_of(entry[i].name, name))
            continue;
        n_targets++;
        (void)snprintf(path, sizeof path, "tests/fuzz/corpus/%s", name);
        ck_assert_msg(dir_list(path, &file, &n, &e), "%s", e.text);
        ck_assert_msg(n >= 5, "%s: %lld inputs", path, (long long)n);
        for (int64_t k = 0; k < n; k++)
            bytes += file[k].size;
        dir_list_free(file, n);
    }
    ck_assert_int_ge(n_targets, 10);
    ck_assert_msg(bytes < 1 << 20, "the corpora have %llu bytes", (unsigned long long)bytes);
}
END_TEST

// A line of a dictionary: "..." with \xHH, \\ and \" inside.
static bool is_word(const char *line)
{
    size_t n = strlen(line);
    if (n < 3 || line[0] != '"' || line[n - 1] != '"')
        return false;
    for (const char *p = line + 1; p < line + n - 1; p++) {
        if (*p == '"')
            return false;
        if (*p != '\\')
            continue;
        bool hex = p[1] == 'x' && strspn(p + 2, "0123456789abcdefABCDEF") >= 2;
        if (!hex && p[1] != '\\' && p[1] != '"')
            return false;
        p += hex ? 3 : 1;
    }
    return true;
}

START_TEST(every_target_has_a_dictionary)
{
    char name[64], path[128];
    err e = ERR_INIT;
    for (int64_t i = 0; i < n_entries; i++) {
        char *text, *rest = NULL;
        size_t len;
        int words = 0, limits = 0;
        if (!target_of(entry[i].name, name))
            continue;
        (void)snprintf(path, sizeof path, "tests/fuzz/%s.dict", name);
        ck_assert_msg(file_read_all(path, 1 << 20, &text, &len, &e), "%s", e.text);
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
            limits += str_starts(line, "# max_len=");
            if (line[0] == '#')
                continue;
            ck_assert_msg(is_word(line), "%s: %s", path, line);
            words++;
        }
        ck_assert_msg(words >= 8 && limits == 1, "%s: %d words, %d limits", path, words, limits);
        free(text);
    }
}
END_TEST

START_TEST(nothing_lies_there_without_a_target)
{
    char name[64];
    err e = ERR_INIT;
    dir_entry *folder;
    int64_t n;
    ck_assert_msg(dir_list("tests/fuzz/corpus", &folder, &n, &e), "%s", e.text);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(folder[i].is_file || is_target(folder[i].name), "%s", folder[i].name);
    dir_list_free(folder, n);
    for (int64_t i = 0; i < n_entries; i++) {
        size_t len = strlen(entry[i].name);
        if (!str_ends(entry[i].name, ".dict"))
            continue;
        ck_assert(len - 5 < sizeof name);
        memcpy(name, entry[i].name, len - 5);
        name[len - 5] = 0;
        ck_assert_msg(is_target(name), "%s", entry[i].name);
    }
}
END_TEST

Suite *suite_fuzz_inputs(void);
Suite *suite_fuzz_inputs(void)
{
    Suite *s = suite_create("fuzz_inputs");
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, list_targets, free_targets);
    tcase_add_test(c, every_target_has_a_corpus);
    tcase_add_test(c, every_target_has_a_dictionary);
    tcase_add_test(c, nothing_lies_there_without_a_target);
    suite_add_tcase(s, c);
    return s;
}
