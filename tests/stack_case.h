// SPDX-License-Identifier: Apache-2.0
// Tiny models of every family and layout with stacked experts: first with the experts one by one,
// then with the same experts stacked.
#ifndef SCRUPLE_TESTS_STACK_CASE_H
#define SCRUPLE_TESTS_STACK_CASE_H

#include "tests/tiny_model.h"

typedef struct {
    const char *config;
    const char *before, *behind; // the number of the layer in the experts' path
    void (*make)(tiny *m);
    int first, last;             // layers with experts
    bool biases;
    const char *stored;          // codec of the experts; NULL: bf16
    tiny_stacking how;
} stack_case;

// Halves in both families that are computed, Llama 4's turned ones, gpt-oss as BF16 and as
// published.
enum { STACK_QWEN3, STACK_DEEPSEEK, STACK_LLAMA4, STACK_GPT_OSS, STACK_BLOCKS, STACK_CASES };
extern const stack_case stack_cases[STACK_CASES];

void stack_case_make(const stack_case *k, tiny *t);  // one by one
void stack_case_stack(const stack_case *k, tiny *t); // and then stacked
void stack_case_layer(const stack_case *k, tiny *t, int layer); // only the experts of this layer
char *stack_case_config(const stack_case *k);        // free it

#endif
