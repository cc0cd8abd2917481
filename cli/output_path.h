// SPDX-License-Identifier: Apache-2.0
// Where one output file goes: the rules every command with a file behind -o keeps. Output folders
// have more rules; those are convert/'s.
#ifndef SCRUPLE_CLI_OUTPUT_PATH_H
#define SCRUPLE_CLI_OUTPUT_PATH_H

#include "base/err.h"

typedef struct {
    char *dir, *name; // "a/b.npy" -> "a", "b.npy"; "b.npy" -> ".", "b.npy"
} output_path;

// Cuts a path at its last '/'; name is "" where it ends in one.
MUST_USE bool output_path_split(output_path *p, const char *path, err *e);
// As split, and fails before any work is done: ERR_USAGE where the path names no file, ERR_ENV
// where its folder is missing or something stands there that `force` does not allow to replace (a
// folder is never replaced).
MUST_USE bool output_path_open(output_path *p, const char *path, bool force, err *e);
// ERR_USAGE where the output is the model or lies inside its folder.
MUST_USE bool output_path_outside(const char *path, const char *model, err *e);
// ERR_USAGE where the output is the input file itself.
MUST_USE bool output_path_is_not(const output_path *p, const char *input, err *e);
void output_path_free(output_path *p);

#endif
