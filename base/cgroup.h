// SPDX-License-Identifier: Apache-2.0
// What control groups (v1, v2) allow this process: a container's walls, which neither sysconf nor
// the affinity mask shows. Reads limits; what to do about them is the caller's.
#ifndef SCRUPLE_BASE_CGROUP_H
#define SCRUPLE_BASE_CGROUP_H

#include <stdint.h>

#define CGROUP_SELF "/proc/self/cgroup"
#define CGROUP_MOUNT "/sys/fs/cgroup"

// The CPU quota in whole cores, rounded up; INT_MAX where none is set. `self` is CGROUP_SELF and
// `mount` CGROUP_MOUNT, or a test's copies.
int cgroup_cores(const char *self, const char *mount);
// The memory limit in bytes; UINT64_MAX where none is set.
uint64_t cgroup_memory(const char *self, const char *mount);

#endif
