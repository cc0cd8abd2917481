// SPDX-License-Identifier: Apache-2.0
// --part, by hand and by the variables of schedulers.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/part.h"
#include "tests/refused.h"

Suite *suite_part(void);

// Variables as "NAME=value NAME=value", the only ones that are set.
static void environment(const char *variables)
{
    static const char *const all[] = {
        "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT", "JOB_COMPLETION_INDEX",
        "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", "PBS_ARRAY_INDEX", "PBS_ARRAYID",
        "SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"};
    char text[600];
    for (size_t i = 0; i < COUNT_OF(all); i++)
        ck_assert_int_eq(unsetenv(all[i]), 0);
    (void)snprintf(text, sizeof text, "%s", variables);
    for (char *at = text; *at;) {
        size_t len = strcspn(at, " ");
        char *next = at + len + (at[len] == ' ');
        at[len] = 0;
        char *equal = strchr(at, '=');
        *equal = 0;
        ck_assert_int_eq(setenv(at, equal + 1, 1), 0);
        at = next;
    }
}

static void is(const char *variables, const char *text, int64_t parts, int64_t part, int64_t of)
{
    err e = ERR_INIT;
    int64_t i, n;
    environment(variables);
    ASSERT_OK(part_choose(text, parts, &i, &n, &e), e);
    ck_assert_int_eq(i, part);
    ck_assert_int_eq(n, of);
}

static void is_not(const char *variables, const char *text, int64_t parts, const char *words)
{
    int64_t i, n;
    environment(variables);
    ASSERT_FAILS(part_choose(text, parts, &i, &n, &refused), ERR_USAGE, words);
}

START_TEST(parts_by_hand)
{
    is("", "1/1", 0, 1, 1);
    is("", "3/8", 0, 3, 8);
    is("", "3/8", 8, 3, 8);
    is("", "1000000/1000000", 0, 1000000, 1000000);
    is_not("", "3/8", 9, "--part 3/8 and --parts 9 contradict");
    static const char *const bad[] = {"", "/", "1", "0/8", "9/8", "1/", "/8", "-1/8", "1/-8",
                                      "1/8/2", " 1/8", "1/ 8", "+1/8", "1.0/8", "a/b",
                                      "99999999999/99999999999"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        is_not("", bad[i], 0, "--part is 'auto' or i/N");
    is_not("", "1/1000001", 0, "too many");
}
END_TEST

START_TEST(slurm_says_the_row)
{
    is("SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=7 "
       "SLURM_ARRAY_TASK_COUNT=8", "auto", 0, 1, 8);
    is("SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=7 "
       "SLURM_ARRAY_TASK_STEP=2 SLURM_ARRAY_TASK_COUNT=4", "AUTO", 0, 4, 4);
    // A list with gaps is no row; with --parts the ids are the parts.
    is_not("SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=9 "
           "SLURM_ARRAY_TASK_COUNT=4", "auto", 0, "SLURM_ARRAY_TASK_ID is 7 in an array from 3 to "
           "9 of another number of tasks");
    is("SLURM_ARRAY_TASK_ID=7 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=9 "
       "SLURM_ARRAY_TASK_COUNT=4", "auto", 16, 7, 16);
    is_not("SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=7 "
           "SLURM_ARRAY_TASK_COUNT=8", "auto", 8, "is 0, but the parts of 8 have the ids 1 to 8");
    is_not("SLURM_ARRAY_TASK_ID=9 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=8 "
           "SLURM_ARRAY_TASK_COUNT=8", "auto", 0, "not one even row");
    is_not("SLURM_ARRAY_TASK_ID=2", "auto", 0, "SLURM_ARRAY_TASK_MIN is not; say how many");
    is_not("SLURM_ARRAY_TASK_ID=x", "auto", 0, "SLURM_ARRAY_TASK_ID is 'x', which is no number");
    is_not("SLURM_ARRAY_TASK_ID=2 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=4 "
           "SLURM_ARRAY_TASK_STEP=0 SLURM_ARRAY_TASK_COUNT=4", "auto", 0, "not one even row");
}
END_TEST

START_TEST(sge_says_the_row)
{
    is("SGE_TASK_ID=5 SGE_TASK_FIRST=1 SGE_TASK_LAST=9 SGE_TASK_STEPSIZE=4", "auto", 0, 2, 3);
    is("SGE_TASK_ID=5 SGE_TASK_FIRST=5 SGE_TASK_LAST=5 SGE_TASK_STEPSIZE=1", "auto", 9, 5, 9);
    is_not("SGE_TASK_ID=undefined SGE_TASK_FIRST=undefined", "auto", 0, "finds no task");
    is_not("SGE_TASK_ID=2 SGE_TASK_FIRST=1", "auto", 0, "SGE_TASK_LAST is not");
}
END_TEST

START_TEST(indices_begin_at_zero)
{
    is("JOB_COMPLETION_INDEX=0", "auto", 4, 1, 4);
    is("JOB_COMPLETION_INDEX=3", "auto", 4, 4, 4);
    is_not("JOB_COMPLETION_INDEX=4", "auto", 4, "is 4, but the parts of 4 have the ids 0 to 3");
    is_not("JOB_COMPLETION_INDEX=1", "auto", 0, "nothing says how many parts there are; give "
           "--parts N");
    is("AWS_BATCH_JOB_ARRAY_INDEX=9 AWS_BATCH_JOB_ARRAY_SIZE=10", "auto", 0, 10, 10);
    is("AWS_BATCH_JOB_ARRAY_INDEX=9", "auto", 12, 10, 12);
    is_not("AWS_BATCH_JOB_ARRAY_INDEX=9", "auto", 0, "AWS_BATCH_JOB_ARRAY_SIZE is not");
}
END_TEST

START_TEST(ids_of_pbs_begin_at_one)
{
    is("PBS_ARRAY_INDEX=1", "auto", 3, 1, 3);
    is("PBS_ARRAYID=3", "auto", 3, 3, 3);
    is_not("PBS_ARRAY_INDEX=0", "auto", 3, "have the ids 1 to 3");
    is_not("PBS_ARRAYID=1", "auto", 0, "give --parts N");
}
END_TEST

START_TEST(nothing_is_guessed)
{
    is_not("", "auto", 4, "none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX, "
           "AWS_BATCH_JOB_ARRAY_INDEX, PBS_ARRAY_INDEX, PBS_ARRAYID and SGE_TASK_ID is set");
    is_not("SLURM_ARRAY_TASK_ID=", "auto", 4, "none of");
    is_not("JOB_COMPLETION_INDEX=1 PBS_ARRAYID=2", "auto", 4,
           "both JOB_COMPLETION_INDEX and PBS_ARRAYID are set");
}
END_TEST

Suite *suite_part(void)
{
    Suite *s = suite_create("part");
    TCase *c = tcase_create("part");
    tcase_add_test(c, parts_by_hand);
    tcase_add_test(c, slurm_says_the_row);
    tcase_add_test(c, sge_says_the_row);
    tcase_add_test(c, indices_begin_at_zero);
    tcase_add_test(c, ids_of_pbs_begin_at_one);
    tcase_add_test(c, nothing_is_guessed);
    suite_add_tcase(s, c);
    return s;
}
