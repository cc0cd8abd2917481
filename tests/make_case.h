// SPDX-License-Identifier: Apache-2.0
// The frame of tests that run whole conversions: a tiny model, an order for make_checkpoint that a
// test changes, and ears for what is said on the way. Failures end the test.
#ifndef SCRUPLE_TESTS_MAKE_CASE_H
#define SCRUPLE_TESTS_MAKE_CASE_H

#include "convert/make.h"
#include "tests/tiny_model.h"

typedef struct {
    char warned[4000], noted[4000];
    int progress;          // calls
    uint64_t done, total;  // of the last one
    int stop_at, touch_at; // at that call: ask to stop; flip a bit of the input. 0: never
} ears;

typedef struct {
    tiny t;
    char top[256], out[300], other[300]; // folders; out and other lie in top and are not made yet
    make_options order;    // quantize of t into out, to be completed
    make_report report;
} make_case;

extern make_case the;      // the one of the running test
extern ears heard;

void make_set_up(void);
void make_tear_down(void);
void make_use_qwen3(void); // writes the model
void make_quantize(const char *type, plan_scope scope, plan_layout layout);
void make_convert(plan_layout layout);
void make_runs(void);
// Refused before or during the work: nothing is left of it, not even the folder. The sentence,
// which holds the words; valid until the next one.
const char *make_fails(err_kind kind, const char *words);
// The folder that a run has just made comes out the same when it is stopped shortly before its end
// and gone on with, and in so many parts, the last one first.
void make_goes_on(const char *digest);
void make_in_parts(int64_t parts, const char *digest);
// sha256sum accepts SHA256SUMS, which lists everything else.
void make_sums_are_right(const char *dir);
void make_same_tensors(const char *a, const char *b);
void make_file_says(const char *dir, const char *name, const char *words);

// The steps of a run, one by one, so that something can happen between them; in the.out.
typedef struct {
    checkpoint *source;
    model *m;
    plan p;
    output *to;
    run_options with;
    run_result r;
} make_parts;

void make_open_parts(make_parts *k);
void make_close_parts(make_parts *k);
void make_give_up(make_parts *k); // and leaves nothing
// Every byte of the source is met once, whatever the size of a batch.
void make_walk_all(const make_parts *k);
// `text` with `from`, which is in it, as `to`; free it.
char *make_with_text(const char *text, const char *from, const char *to);

#endif
