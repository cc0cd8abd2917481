// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/cgroup.h"
#include "tests/temp.h"

Suite *suite_cgroup(void);

static void put(const char *dir, const char *name, const char *text)
{
    temp_write(dir, name, text, strlen(text));
}

START_TEST(finds_the_least_cpu_quota)
{
    const char *dir = temp_dir_make();
    const char *self = temp_path(dir, "self");
    temp_mkdir(dir, "a");
    temp_mkdir(dir, "a/b");
    temp_mkdir(dir, "cpu");
    put(dir, "self", "0::/a/b\n");
    ck_assert_int_eq(cgroup_cores(self, dir), INT_MAX);
    put(dir, "cpu.max", "max 100000\n");
    put(dir, "a/cpu.max", "250000 100000\n");
    ck_assert_int_eq(cgroup_cores(self, dir), 3);
    put(dir, "a/b/cpu.max", "20000 100000\n");
    ck_assert_int_eq(cgroup_cores(self, dir), 1);
    put(dir, "self", "0::/not/visible/here\n"); // the container's own root is the mount
    put(dir, "cpu.max", "400000 100000\n");
    ck_assert_int_eq(cgroup_cores(self, dir), 4);
    put(dir, "self", "9:name=systemd:/\n5:cpuacct,cpu:/\n3:cpuset:/\n");
    put(dir, "cpu/cpu.cfs_quota_us", "-1\n");
    put(dir, "cpu/cpu.cfs_period_us", "100000\n");
    ck_assert_int_eq(cgroup_cores(self, dir), INT_MAX);
    put(dir, "cpu/cpu.cfs_quota_us", "700000\n");
    ck_assert_int_eq(cgroup_cores(self, dir), 7);
    put(dir, "self", "garbage\n1:x\n");
    ck_assert_int_eq(cgroup_cores(self, dir), INT_MAX);
    ck_assert_int_eq(cgroup_cores(temp_path(dir, "none"), dir), INT_MAX);
    temp_dir_remove(dir);
}
END_TEST

START_TEST(finds_the_least_memory_limit)
{
    const char *dir = temp_dir_make();
    const char *self = temp_path(dir, "self");
    temp_mkdir(dir, "job");
    temp_mkdir(dir, "job/step");
    temp_mkdir(dir, "memory");
    temp_mkdir(dir, "memory/box");
    put(dir, "self", "0::/job/step\n");
    ck_assert_uint_eq(cgroup_memory(self, dir), UINT64_MAX);
    put(dir, "job/memory.max", "1073741824\n");
    put(dir, "job/step/memory.max", "max\n");
    ck_assert_uint_eq(cgroup_memory(self, dir), 1073741824);
    put(dir, "job/step/memory.max", "536870912\n");
    ck_assert_uint_eq(cgroup_memory(self, dir), 536870912);
    put(dir, "self", "7:memory:/box\n");
    put(dir, "memory/memory.limit_in_bytes", "9223372036854771712\n"); // none
    ck_assert_uint_eq(cgroup_memory(self, dir), UINT64_MAX);
    put(dir, "memory/box/memory.limit_in_bytes", "268435456\n");
    ck_assert_uint_eq(cgroup_memory(self, dir), 268435456);
    temp_dir_remove(dir);
}
END_TEST

Suite *suite_cgroup(void)
{
    Suite *s = suite_create("cgroup");
    TCase *c = tcase_create("limits");
    tcase_add_test(c, finds_the_least_cpu_quota);
    tcase_add_test(c, finds_the_least_memory_limit);
    suite_add_tcase(s, c);
    return s;
}
