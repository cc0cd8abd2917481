// SPDX-License-Identifier: Apache-2.0
// A reference and a candidate for tests of verify/: tiny qwen3_moe models (hidden 64, 3 layers,
// 4 experts of 32), the candidate changed by the test and stored as it says. Failures end the test.
#ifndef SCRUPLE_TESTS_TWO_SIDES_H
#define SCRUPLE_TESTS_TWO_SIDES_H

#include "tests/forward_case.h"
#include "tests/tiny_model.h"

typedef struct {
    opened ref, cand;
} two_sides;

// The candidate has the same tensors, changed by `change` (may be NULL); quantization is the
// quantization_config of its config.json, or NULL.
void two_sides_open(two_sides *s, void (*change)(tiny *m), const char *quantization);
void two_sides_close(two_sides *s);
// The tensor's stored bytes, to be changed in place.
void *tiny_data(tiny *m, const char *name);

// For weights stored by tiny_make_int4, tiny_make_fp8_block.
extern const char two_sides_int4[], two_sides_fp8[];

#endif
