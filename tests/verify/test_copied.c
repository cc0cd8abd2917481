// SPDX-License-Identifier: Apache-2.0
// What travels along, and what had to be decoded on the way.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "formats/weight.h"
#include "quantize/number.h"
#include "tests/refused.h"
#include "tests/tiny_model.h"
#include "verify/copied.h"

Suite *suite_copied(void);

enum { OUT = 200, IN = 640 }; // two batches of rows

static tiny ref;
static checkpoint *a;
static float value[OUT * IN];

static void set_up(void)
{
    err e = ERR_INIT;
    scratch s = {0};
    weight w;
    tiny_init(&ref);
    tiny_add(&ref, "m.weight", DT_BF16, 2, OUT, IN, NULL);
    tiny_make_fp8_block(&ref, "m");
    tiny_add(&ref, "plain.weight", DT_F32, 2, OUT, IN, value);
    tiny_write(&ref, "{}");
    ASSERT_OK(checkpoint_open(&a, ref.dir, NULL, &e), e);
    ASSERT_OK(weight_bind(&w, a, "m", "weight", 2, OUT, IN, &e), e);
    ASSERT_OK(weight_read_rows(&w, 0, OUT, value, &s, &e), e);
    scratch_free(&s);
}

static void tear_down(void)
{
    checkpoint_close(a);
    tiny_free(&ref);
}

// A candidate's tensor of that type and shape, with the reference's values but one, against `name`
// of the reference.
static bool is_same(const char *name, dtype type, int64_t out, int64_t in, int64_t other)
{
    static unsigned char bytes[OUT * IN * 4];
    static float x[OUT * IN];
    err e = ERR_INIT;
    tiny t;
    checkpoint *b;
    bool same;
    memcpy(x, value, sizeof x);
    if (other >= 0)
        x[other] = x[other] * 1.25f + 1;
    ck_assert(row_from_f32(bytes, type, x, OUT * IN));
    tiny_init(&t);
    tiny_add(&t, name, type, 2, out, in, bytes);
    tiny_write(&t, "{}");
    ASSERT_OK(checkpoint_open(&b, t.dir, NULL, &e), e);
    ASSERT_OK(copied_same(a, checkpoint_find(a, name), b, checkpoint_find(b, name), NULL, &same,
                          &e), e);
    checkpoint_close(b);
    tiny_free(&t);
    return same;
}

START_TEST(codes_may_arrive_decoded_and_rounded)
{
    ck_assert(is_same("m.weight", DT_F32, OUT, IN, -1));
    ck_assert(is_same("m.weight", DT_BF16, OUT, IN, -1));
    ck_assert(is_same("m.weight", DT_F16, OUT, IN, -1));
    ck_assert(!is_same("m.weight", DT_F32, OUT, IN, 0));
    ck_assert(!is_same("m.weight", DT_BF16, OUT, IN, OUT * IN - 1));
    ck_assert(!is_same("m.weight", DT_BF16, IN, OUT, -1));
}
END_TEST

START_TEST(plain_numbers_arrive_as_they_are)
{
    err e = ERR_INIT;
    bool same;
    const tensor *t = checkpoint_find(a, "plain.weight");
    ASSERT_OK(copied_same(a, t, a, t, NULL, &same, &e), e);
    ck_assert(same);
    memset(value, 0, sizeof value); // as they were when it was written
    ck_assert(is_same("plain.weight", DT_F32, OUT, IN, -1));
    ck_assert(!is_same("plain.weight", DT_F32, OUT, IN, 5));
    ck_assert(!is_same("plain.weight", DT_BF16, OUT, IN, -1));
}
END_TEST

Suite *suite_copied(void)
{
    Suite *s = suite_create("copied");
    TCase *c = tcase_create("copied");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, codes_may_arrive_decoded_and_rounded);
    tcase_add_test(c, plain_numbers_arrive_as_they_are);
    suite_add_tcase(s, c);
    return s;
}
