// SPDX-License-Identifier: Apache-2.0
// Whole folders for tests of what runs leave behind, and processes that are killed on the way.
// Failures end the test.
#ifndef SCRUPLE_TESTS_FOLDER_H
#define SCRUPLE_TESTS_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

// One digest for names and bytes of all files in a flat folder, hidden ones too; returns hex.
const char *folder_digest(const char *dir, char hex[65]);
// How many files have no hidden name; 0 where there is no such folder.
int folder_visible(const char *dir);
// How many have.
int folder_hidden(const char *dir);
bool folder_has(const char *dir, const char *name);
// The hidden name of a file's staged data, which has a token in it; "" where there are none. Good
// until the next call.
const char *folder_staged(const char *dir, const char *name);
// The whole file, NUL-terminated; free it.
char *folder_read(const char *dir, const char *name, size_t *len);
// Flips one bit of a file, `at` bytes from its start or, negative, from its end.
void folder_flip(const char *dir, const char *name, long at);
// Copies all files of a flat folder into a new one.
void folder_copy(const char *from, const char *to);
// Removes a flat folder where it is there.
void folder_remove(const char *dir);

// Runs body(ctx) in a process of its own and kills it (-9) in front of its n-th system call that
// changes the file system, from 1 on. False where it ended by itself before. Where processes may
// not be traced *traced is false and nothing was run.
bool killed_at(int n, void (*body)(void *ctx), void *ctx, bool *traced);

#endif
