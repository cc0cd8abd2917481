// SPDX-License-Identifier: Apache-2.0
// Tiny checkpoints, written and bound to their families. Failures end the test.
#ifndef SCRUPLE_TESTS_MODEL_CASE_H
#define SCRUPLE_TESTS_MODEL_CASE_H

#include "formats/model.h"
#include "tests/tiny_model.h"

// Both are the caller's.
void model_case_open_path(const char *path, checkpoint **c, model **m);
void model_case_open(tiny *t, const char *config, checkpoint **c, model **m);
// The model does not bind, with these words.
void model_case_refuses(tiny *t, const char *config, const char *words);

#endif
