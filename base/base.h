// SPDX-License-Identifier: Apache-2.0
// The few words every file uses: fixed-width integers, attributes, integer helpers.
// Anything that needs a .c file does not belong here.
#ifndef SCRUPLE_BASE_BASE_H
#define SCRUPLE_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_arg) \
    __attribute__((format(printf, format_index, first_arg)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static inline int64_t i64_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t i64_max(int64_t a, int64_t b) { return a > b ? a : b; }
// a >= 0, b > 0.
// Least common multiple of two positive numbers; INT64_MAX where it is none.
static inline int64_t i64_lcm(int64_t a, int64_t b)
{
    int64_t x = a, y = b, out;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return __builtin_mul_overflow(a / x, b, &out) ? INT64_MAX : out;
}

static inline int64_t i64_ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

#endif
