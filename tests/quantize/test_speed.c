// SPDX-License-Identifier: Apache-2.0
#include <check.h>

#include "quantize/speed.h"
#include "tests/refused.h"

Suite *suite_speed(void);

static bool stop(void *ctx) { return *(const bool *)ctx; }

START_TEST(measures_a_codec_and_copying_and_stops_when_asked)
{
    bool asked = false;
    const events v = {.stop = stop, .ctx = &asked};
    speed_bench *b;
    codec_speed speed;
    double copy;
    err e = ERR_INIT;
    ASSERT_OK(speed_open(&b, 0.001, &v, &e), e);
    ASSERT_OK(speed_of(b, codec_find("fp8-block"), SEARCH_BEST, NULL, &speed, &e), e);
    ASSERT_OK(speed_of_copy(b, NULL, &copy, &e), e);
    // A matrix that took a minute, or no time at all, was not measured.
    ck_assert(speed.encode > 1e6 && speed.encode < 1e13);
    ck_assert(speed.decode > 1e6 && speed.decode < 1e13);
    ck_assert(copy > 1e6 && copy < 1e13);
    asked = true;
    ASSERT_FAILS(speed_of_copy(b, NULL, &copy, &refused), ERR_INTERRUPTED, "stopped");
    speed_close(b);
}
END_TEST

Suite *suite_speed(void)
{
    Suite *s = suite_create("speed");
    TCase *c = tcase_create("speed");
    tcase_add_test(c, measures_a_codec_and_copying_and_stops_when_asked);
    suite_add_tcase(s, c);
    return s;
}
