// SPDX-License-Identifier: Apache-2.0
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

int sys_open(const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = open(path, flags, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int sys_openat(int dir, const char *path, int flags)
{
    int fd;
    do
        fd = openat(dir, path, flags);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int sys_fsync(int fd)
{
    int rc;
    do
        rc = fsync(fd);
    while (rc != 0 && errno == EINTR);
    return rc;
}

int sys_fdatasync(int fd)
{
    int rc;
    do
        rc = fdatasync(fd);
    while (rc != 0 && errno == EINTR);
    return rc;
}

int sys_close(int fd)
{
    int rc = close(fd);
    return rc != 0 && errno == EINTR ? 0 : rc;
}

bool sys_random(void *to, size_t n)
{
    ssize_t got;
    do
        got = getrandom(to, n, 0);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)n;
}

static double seconds_of(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double sys_seconds(void) { return seconds_of(CLOCK_MONOTONIC); }

double sys_thread_seconds(void) { return seconds_of(CLOCK_THREAD_CPUTIME_ID); }
