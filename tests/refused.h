// SPDX-License-Identifier: Apache-2.0
// Assertions about failures: the call gets &refused, and the sentence must hold the words.
#ifndef SCRUPLE_TESTS_REFUSED_H
#define SCRUPLE_TESTS_REFUSED_H

#include <check.h>
#include <string.h>

#include "base/err.h"

__attribute__((unused)) // by who only asks what succeeds
static err refused;

#define ASSERT_FAILS(call, expected_kind, words)                       \
    do {                                                               \
        refused = (err)ERR_INIT;                                       \
        if (call)                                                      \
            ck_abort_msg("%s succeeded", #call);                       \
        if (refused.kind != expected_kind)                             \
            ck_abort_msg("kind %d: %s", (int)refused.kind, refused.text); \
        if (!strstr(refused.text, words))                              \
            ck_abort_msg("'%s' does not say '%s'", refused.text, words); \
    } while (0)

#define ASSERT_REFUSED(call, words) ASSERT_FAILS(call, ERR_INPUT, words)

#define ASSERT_OK(call, e)                                      \
    do {                                                        \
        if (!(call))                                            \
            ck_abort_msg("%s failed: %s", #call, (e).text);     \
    } while (0)

#endif
