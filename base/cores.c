// SPDX-License-Identifier: Apache-2.0
// How many threads are worth starting: the affinity mask and the control groups' CPU quota, of
// which containers have one or the other.
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"
#include "base/str.h"

// These are not regular files with a size, so file.h does not read them.
static bool read_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, (int)size, f);
    if (f)
        (void)fclose(f);
    return ok;
}

static int cores_of_quota(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return INT_MAX;
    long long cores = quota / period + (quota % period != 0);
    return cores < INT_MAX ? (int)cores : INT_MAX;
}

static int quota_v2(const char *folder)
{
    char path[4096], line[128];
    long long quota, period;
    (void)snprintf(path, sizeof path, "%s/cpu.max", folder); // "max 100000" or "150000 100000"
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lld %lld", &quota, &period) != 2)
        return INT_MAX;
    return cores_of_quota(quota, period);
}

static int quota_v1(const char *folder)
{
    char path[4096], line[128];
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder); // -1: none
    if (!read_line(path, line, sizeof line))
        return INT_MAX;
    long long quota = strtoll(line, NULL, 10);
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    return read_line(path, line, sizeof line) ? cores_of_quota(quota, strtoll(line, NULL, 10))
                                              : INT_MAX;
}

// The smallest quota of the group and of those above it. Inside a container the group's path may
// name folders that cannot be seen there; then what remains visible counts.
static int quota_upwards(const char *mount, const char *group, int (*quota)(const char *))
{
    char folder[3072];
    int least = INT_MAX;
    int n = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (n < 0 || (size_t)n >= sizeof folder)
        return INT_MAX;
    for (;;) {
        int q = quota(folder);
        least = q < least ? q : least;
        char *slash = strrchr(folder + strlen(mount), '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

static bool names_cpu(const char *controllers)
{
    for (const char *p = controllers; *p;) {
        size_t n = strcspn(p, ",");
        if (n == 3 && memcmp(p, "cpu", 3) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

int cores_by_quota(const char *self, const char *mount)
{
    char line[2048], at[1024];
    int least = INT_MAX;
    FILE *f = fopen(self, "re");
    while (f && fgets(line, sizeof line, f)) { // "4:cpu,cpuacct:/group" (v1), "0::/group" (v2)
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        controllers++;
        *group++ = 0;
        bool v2 = *controllers == 0;
        if (!v2 && !names_cpu(controllers))
            continue;
        const char *const where[] = {v2 ? "" : "/", v2 ? "/unified" : "/cpu"};
        (void)snprintf(at, sizeof at, "%s%s%s", mount, where[0], controllers);
        int q = quota_upwards(at, group, v2 ? quota_v2 : quota_v1);
        least = q < least ? q : least;
        (void)snprintf(at, sizeof at, "%s%s", mount, where[1]);
        q = quota_upwards(at, group, v2 ? quota_v2 : quota_v1);
        least = q < least ? q : least;
    }
    if (f)
        (void)fclose(f);
    return least;
}

static int cores_by_affinity(void)
{
    enum { MOST = 1 << 16 };
    for (int n = 1024; n <= MOST; n *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        if (!set)
            return 1;
        size_t size = CPU_ALLOC_SIZE((size_t)n);
        int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (count > 0)
            return count;
    }
    return 1;
}

int pool_cores(void)
{
    int cores = cores_by_affinity();
    int quota = cores_by_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    return cores < quota ? cores : quota;
}
