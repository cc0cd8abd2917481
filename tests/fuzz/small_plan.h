// SPDX-License-Identifier: Apache-2.0
// For targets that read what was written about a plan: a model of one layer and two experts in
// memory, and the plan of quantizing it. Made once.
#ifndef SCRUPLE_TESTS_FUZZ_SMALL_PLAN_H
#define SCRUPLE_TESTS_FUZZ_SMALL_PLAN_H

#include "convert/order.h"

typedef struct {
    order order;
    const checkpoint *source;
    plan plan;
} small_plan;

const small_plan *small_plan_get(void);

#endif
