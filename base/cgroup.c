// SPDX-License-Identifier: Apache-2.0
#include "base/cgroup.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

// One kind of limit: its controller in v1, and how a group's folder tells it in either version.
typedef struct {
    const char *controller;
    uint64_t (*v1)(const char *folder);
    uint64_t (*v2)(const char *folder);
} limit_kind;

// These are not regular files with a size, so file.h does not read them.
static bool read_line(const char *folder, const char *name, char *line, size_t size)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, (int)size, f);
    if (f)
        (void)fclose(f);
    if (ok)
        line[strcspn(line, "\n")] = 0;
    return ok;
}

static uint64_t cores_of_quota(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return UINT64_MAX;
    return (uint64_t)(quota / period + (quota % period != 0));
}

static uint64_t cores_v2(const char *folder)
{
    char line[128];
    long long quota, period; // "max 100000" or "150000 100000"
    if (!read_line(folder, "cpu.max", line, sizeof line) ||
        sscanf(line, "%lld %lld", &quota, &period) != 2)
        return UINT64_MAX;
    return cores_of_quota(quota, period);
}

static uint64_t cores_v1(const char *folder)
{
    char line[128];
    if (!read_line(folder, "cpu.cfs_quota_us", line, sizeof line)) // -1: none
        return UINT64_MAX;
    long long quota = strtoll(line, NULL, 10);
    return read_line(folder, "cpu.cfs_period_us", line, sizeof line)
               ? cores_of_quota(quota, strtoll(line, NULL, 10))
               : UINT64_MAX;
}

static uint64_t bytes_in(const char *folder, const char *name)
{
    char line[128];
    uint64_t bytes;
    return read_line(folder, name, line, sizeof line) && str_to_u64(line, UINT64_MAX, &bytes)
               ? bytes
               : UINT64_MAX; // "max"
}

static uint64_t memory_v2(const char *folder) { return bytes_in(folder, "memory.max"); }

// Without a limit v1 shows the largest multiple of the page size.
static uint64_t memory_v1(const char *folder)
{
    uint64_t bytes = bytes_in(folder, "memory.limit_in_bytes");
    return bytes >= (uint64_t)1 << 62 ? UINT64_MAX : bytes;
}

// The smallest limit of the group and of those above it. Inside a container the group's path may
// name folders that cannot be seen there; then what remains visible counts.
static uint64_t least_upwards(const char *mount, const char *group,
                              uint64_t (*limit)(const char *))
{
    char folder[3072];
    uint64_t least = UINT64_MAX;
    int n = snprintf(folder, sizeof folder, "%s%s", mount, group);
    if (n < 0 || (size_t)n >= sizeof folder)
        return UINT64_MAX;
    for (;;) {
        uint64_t here = limit(folder);
        least = here < least ? here : least;
        char *slash = strrchr(folder + strlen(mount), '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

static bool names(const char *controllers, const char *controller)
{
    for (const char *p = controllers; *p;) {
        size_t n = strcspn(p, ",");
        if (n == strlen(controller) && memcmp(p, controller, n) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

static uint64_t least_limit(const limit_kind *kind, const char *self, const char *mount)
{
    char line[2048], at[1024], alone[64];
    uint64_t least = UINT64_MAX;
    (void)snprintf(alone, sizeof alone, "/%s", kind->controller);
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
        if (!v2 && !names(controllers, kind->controller))
            continue;
        const char *const where[] = {v2 ? "" : "/", v2 ? "/unified" : alone};
        for (int i = 0; i < 2; i++) {
            (void)snprintf(at, sizeof at, "%s%s%s", mount, where[i], i == 0 ? controllers : "");
            uint64_t here = least_upwards(at, group, v2 ? kind->v2 : kind->v1);
            least = here < least ? here : least;
        }
    }
    if (f)
        (void)fclose(f);
    return least;
}

int cgroup_cores(const char *self, const char *mount)
{
    static const limit_kind kind = {"cpu", cores_v1, cores_v2};
    uint64_t cores = least_limit(&kind, self, mount);
    return cores < INT_MAX ? (int)cores : INT_MAX;
}

uint64_t cgroup_memory(const char *self, const char *mount)
{
    static const limit_kind kind = {"memory", memory_v1, memory_v2};
    return least_limit(&kind, self, mount);
}
