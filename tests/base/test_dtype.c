// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <string.h>

#include "base/dtype.h"

Suite *suite_dtype(void);

// The order and names of the safetensors crate's enum (0.6), each with its bits.
START_TEST(holds_the_types_of_safetensors_in_its_order)
{
    static const struct {
        const char *name;
        int bits;
    } expected[] = {
        {"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8},
        {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8},
        {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16}, {"I32", 32}, {"U32", 32},
        {"F32", 32}, {"C64", 64}, {"F64", 64}, {"I64", 64}, {"U64", 64},
    };
    ck_assert_uint_eq(COUNT_OF(expected), DT_COUNT);
    for (int t = 0; t < DT_COUNT; t++) {
        dtype found;
        ck_assert_str_eq(dtype_name((dtype)t), expected[t].name);
        ck_assert_int_eq(dtype_bits((dtype)t), expected[t].bits);
        ck_assert(dtype_from_name(expected[t].name, strlen(expected[t].name), &found));
        ck_assert_int_eq((int)found, t);
    }
}
END_TEST

START_TEST(refuses_other_names)
{
    static const char *const bad[] = {"", "f32", "F", "F3", "F322", "F8", "F8_E4M3F", "BF16 "};
    dtype found = DT_I64;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        ck_assert(!dtype_from_name(bad[i], strlen(bad[i]), &found));
    ck_assert(dtype_from_name("F16x", 3, &found)); // the length counts, not a NUL
    ck_assert_int_eq((int)found, DT_F16);
}
END_TEST

START_TEST(knows_which_types_have_plain_values)
{
    for (int t = 0; t < DT_COUNT; t++)
        ck_assert(dtype_is_float((dtype)t) ==
                  (t == DT_F64 || t == DT_F32 || t == DT_F16 || t == DT_BF16));
}
END_TEST

Suite *suite_dtype(void)
{
    Suite *s = suite_create("dtype");
    TCase *c = tcase_create("table");
    tcase_add_test(c, holds_the_types_of_safetensors_in_its_order);
    tcase_add_test(c, refuses_other_names);
    tcase_add_test(c, knows_which_types_have_plain_values);
    suite_add_tcase(s, c);
    return s;
}
