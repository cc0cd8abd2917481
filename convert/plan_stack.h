// SPDX-License-Identifier: Apache-2.0
// Stacks that are written: tensors of the output that hold all experts of a layer, as gpt-oss has
// them. plan.c's help; nobody else calls it. A codec that is `stacked` holds the routed experts of
// all layers, in a family that has such stacks, or is refused; biases of the experts go with them.
#ifndef SCRUPLE_CONVERT_PLAN_STACK_H
#define SCRUPLE_CONVERT_PLAN_STACK_H

#include "convert/decide.h"
#include "convert/plan.h"

typedef struct {
    strmap names;          // -> index in `stack`
    plan_stack **stack;    // in the plan's arena
    uint64_t n, cap;
} plan_stacks;

// Whether experts are to be put into stacks; decided[model_n_weights], or NULL where nothing is.
// ERR_INPUT for a weight that such a codec does not hold, and for a family without such stacks.
MUST_USE bool plan_stacks_wanted(const plan *p, const decision *decided, bool *wanted, err *e);
// Makes a part of an expert's weight a piece of its stack. ERR_INPUT where pieces differ in type.
MUST_USE bool plan_stacks_add(plan_stacks *s, plan *p, plan_tensor *t, err *e);
void plan_stacks_free(plan_stacks *s);

#endif
