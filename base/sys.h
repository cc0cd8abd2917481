// SPDX-License-Identifier: Apache-2.0
// System calls that begin again where a signal interrupted them. Everything else about them is the
// system's: results, errno. pread and pwrite are repeated where they are used, since those loops
// take short counts too.
#ifndef SCRUPLE_BASE_SYS_H
#define SCRUPLE_BASE_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

int sys_open(const char *path, int flags, mode_t mode);
int sys_openat(int dir, const char *path, int flags);
int sys_fsync(int fd);
int sys_fdatasync(int fd);
// An interrupted close has closed the descriptor, so that counts as success.
int sys_close(int fd);
// n random bytes, at most 256; false with errno.
bool sys_random(void *to, size_t n);
// Seconds of a clock that never goes back; what it counts from means nothing.
double sys_seconds(void);
double sys_thread_seconds(void); // that the calling thread has had a processor

#endif
