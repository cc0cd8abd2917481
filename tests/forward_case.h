// SPDX-License-Identifier: Apache-2.0
// What a test needs to run a model over tokens and look at everything that came out. Failures end
// the test.
#ifndef SCRUPLE_TESTS_FORWARD_CASE_H
#define SCRUPLE_TESTS_FORWARD_CASE_H

#include "formats/npy.h"
#include "verify/passes.h"

typedef struct {
    checkpoint *c;
    model *m;
} opened;

void open_model(opened *o, const char *path);
void close_model(opened *o);
// A member of path/reference.npz.
void read_reference(npy *a, const char *path, const char *member);

// Everything of one run, for the whole array of windows.
typedef struct {
    const model *m;
    int64_t n, len, layers, hidden_size, vocab, moe_layers, top_k;
    float *hidden;    // [layers + 1][n][len][hidden_size]
    float *logits;    // [n][len][vocab]
    int32_t *router;  // [moe_layers][n][len][top_k]
    float *margin;    // [moe_layers][n][len]
} outcome;

void run_model(outcome *r, const model *m, const int32_t *tokens, int64_t n, int64_t len, pool *p,
               uint64_t memory);
void outcome_free(outcome *r);
void assert_same_bits(const outcome *a, const outcome *b);
// The largest difference, relative to the largest of `want`.
double relative_difference(const float *got, const float *want, int64_t n);
// Token ids in [0, vocab) that depend on the seed only.
void random_tokens(int32_t *tokens, int64_t n, int64_t vocab, uint32_t seed);
// $SCRUPLE_SHARED or ../shared, where `name` is in it; else NULL, and "skipped: ..." is printed.
const char *shared_path(const char *name, char *buf, size_t size);

#endif
