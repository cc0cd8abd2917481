// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <string.h>

#include "formats/role.h"

Suite *suite_role(void);

START_TEST(every_role_has_its_own_name_a_label_and_a_class)
{
    for (int r = 0; r < ROLE_COUNT; r++) {
        ck_assert_ptr_nonnull(role_name((role)r));
        ck_assert_ptr_nonnull(role_label((role)r));
        ck_assert_ptr_nonnull(role_class_name(role_class_of((role)r)));
        role back;
        ck_assert(role_from_name(role_name((role)r), &back));
        ck_assert_int_eq(back, r); // the first of that name: names do not repeat
    }
    role none;
    ck_assert(!role_from_name("experts.sideways", &none));
}
END_TEST

START_TEST(every_class_has_a_name)
{
    for (int c = 0; c < CLASS_COUNT; c++)
        ck_assert_uint_gt(strlen(role_class_name((role_class)c)), 0);
}
END_TEST

START_TEST(linear_roles_are_the_projections_and_nothing_that_must_stay_exact)
{
    ck_assert(role_is_linear(ROLE_EXPERT_DOWN) && role_is_linear(ROLE_KV_A));
    ck_assert(role_is_linear(ROLE_SHARED_UP) && role_is_linear(ROLE_FFN_GATE));
    for (int r = 0; r < ROLE_COUNT; r++) {
        role_class c = role_class_of((role)r);
        if (c == CLASS_ROUTER || c == CLASS_NORM || c == CLASS_EMBEDDING || c == CLASS_HEAD)
            ck_assert(!role_is_linear((role)r));
        if (c == CLASS_EXPERTS || c == CLASS_SHARED || c == CLASS_DENSE)
            ck_assert_int_eq(role_is_linear((role)r), strstr(role_name((role)r), ".bias") == NULL);
        ck_assert_int_eq(role_is_expert((role)r), c == CLASS_EXPERTS);
    }
    ck_assert(!role_is_linear(ROLE_Q_BIAS));
}
END_TEST

Suite *suite_role(void)
{
    Suite *s = suite_create("role");
    TCase *c = tcase_create("table");
    tcase_add_test(c, every_role_has_its_own_name_a_label_and_a_class);
    tcase_add_test(c, every_class_has_a_name);
    tcase_add_test(c, linear_roles_are_the_projections_and_nothing_that_must_stay_exact);
    suite_add_tcase(s, c);
    return s;
}
