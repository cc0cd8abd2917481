// SPDX-License-Identifier: Apache-2.0
// A folder of its own for a test, and small ways to fill it. Failures end the test.
#ifndef SCRUPLE_TESTS_TEMP_H
#define SCRUPLE_TESTS_TEMP_H

#include <stddef.h>

// A new empty folder below $TMPDIR or /tmp; its path is returned until the next call. Make it in
// a checked fixture or in the test itself, never before Check forks.
const char *temp_dir_make(void);
// Folders made from now on lie in memory where the system has a place for that and TMPDIR names no
// other: for tests that sync hundreds of files.
void temp_prefer_memory(void);
// Removes it with all that is in it; links are not followed.
void temp_dir_remove(const char *dir);
// dir + "/" + name good until temp_dir_remove.
const char *temp_path(const char *dir, const char *name);
// Writes dir/name; makes no folders.
void temp_write(const char *dir, const char *name, const void *bytes, size_t n);
void temp_mkdir(const char *dir, const char *name);
void temp_symlink(const char *target, const char *dir, const char *name);
// How many entries the folder has, "." and ".." apart.
int temp_count(const char *dir);

#endif
