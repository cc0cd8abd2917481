// SPDX-License-Identifier: Apache-2.0
// How many threads are worth starting: the affinity mask and the control groups' CPU quota, of
// which containers have one or the other.
#include <sched.h>

#include "base/cgroup.h"
#include "base/pool.h"

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
    int cores = cores_by_affinity(), quota = cgroup_cores(CGROUP_SELF, CGROUP_MOUNT);
    return cores < quota ? cores : quota;
}
