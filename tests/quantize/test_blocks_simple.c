// SPDX-License-Identifier: Apache-2.0
#include <check.h>

#include "tests/block_case.h"

Suite *suite_blocks_simple(void);

START_TEST(has_the_bytes_of_ggml)
{
    block_check_golden(DT_Q8_0, "23af4e8891a4df66d6de5a3b69cfbd6c", NULL,
                       "3ca6f145418ff1af9e3d31aa642526b3");
}
END_TEST

START_TEST(has_the_same_bytes_at_every_level)
{
    static float x[4 * 512];
    block_golden_input(x, COUNT_OF(x));
    for (size_t i = 512; i < COUNT_OF(x); i++) // huge and tiny ones, zeros, blocks of zeros
        x[i] *= i < 1024 ? 0x1p110f : i < 1536 ? 0x1p-140f : (float)(i % 3 == 0 && i < 1600);
    block_check_levels(DT_Q8_0, x, 4, 512);
}
END_TEST

Suite *suite_blocks_simple(void)
{
    Suite *s = suite_create("blocks_simple");
    TCase *c = tcase_create("blocks_simple");
    tcase_add_test(c, has_the_bytes_of_ggml);
    tcase_add_test(c, has_the_same_bytes_at_every_level);
    suite_add_tcase(s, c);
    return s;
}
