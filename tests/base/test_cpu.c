// SPDX-License-Identifier: Apache-2.0
#include <check.h>

#include "base/cpu.h"

Suite *suite_cpu(void);

START_TEST(names_read_back)
{
    for (int i = 0; i < CPU_LEVELS; i++) {
        cpu_level level = CPU_LEVELS;
        ck_assert(cpu_from_name(cpu_name((cpu_level)i), &level));
        ck_assert_int_eq((int)level, i);
    }
    cpu_level level = CPU_AVX2;
    ck_assert(!cpu_from_name("AVX3", &level));
    ck_assert_int_eq((int)level, CPU_PLAIN);
    ck_assert_str_eq(cpu_name(CPU_LEVELS), "unknown");
}
END_TEST

START_TEST(plain_is_everywhere_and_the_best_is_had)
{
    ck_assert(cpu_has(CPU_PLAIN));
    ck_assert(cpu_has(cpu_best()));
    ck_assert_int_eq((int)cpu_used(), (int)cpu_best());
    ck_assert(!cpu_has(CPU_AVX512) || cpu_has(CPU_AVX2));
}
END_TEST

START_TEST(a_choice_holds)
{
    err e = ERR_INIT;
    for (int i = 0; i < CPU_LEVELS; i++)
        if (cpu_has((cpu_level)i)) {
            ck_assert(cpu_use((cpu_level)i, &e));
            ck_assert_int_eq((int)cpu_used(), i);
        }
}
END_TEST

START_TEST(refuses_a_level_the_machine_lacks)
{
    err e = ERR_INIT;
    cpu_level foreign = cpu_has(CPU_NEON) ? CPU_AVX2 : CPU_NEON;
    cpu_level before = cpu_used();
    ck_assert(!cpu_use(foreign, &e));
    ck_assert_int_eq(e.kind, ERR_USAGE);
    ck_assert_int_eq((int)cpu_used(), (int)before);
}
END_TEST

// The compiler run-time library reads the same registers with code of its own.
START_TEST(agrees_with_the_compilers_runtime)
{
#if defined(__x86_64__)
    ck_assert_int_eq(cpu_has(CPU_AVX2), __builtin_cpu_supports("avx2") != 0 &&
                                            __builtin_cpu_supports("fma") != 0);
    ck_assert_int_eq(cpu_has(CPU_AVX512), __builtin_cpu_supports("avx512f") != 0 &&
                                              __builtin_cpu_supports("avx512bw") != 0 &&
                                              __builtin_cpu_supports("avx512dq") != 0 &&
                                              __builtin_cpu_supports("avx512vl") != 0);
#endif
}
END_TEST

Suite *suite_cpu(void)
{
    Suite *s = suite_create("cpu");
    TCase *c = tcase_create("levels");
    tcase_add_test(c, names_read_back);
    tcase_add_test(c, plain_is_everywhere_and_the_best_is_had);
    tcase_add_test(c, a_choice_holds);
    tcase_add_test(c, refuses_a_level_the_machine_lacks);
    tcase_add_test(c, agrees_with_the_compilers_runtime);
    suite_add_tcase(s, c);
    return s;
}
