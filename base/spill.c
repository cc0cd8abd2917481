// SPDX-License-Identifier: Apache-2.0
#include "base/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/out.h"
#include "base/sys.h"

// For file systems that cannot make a file without a name: named for a moment.
static int open_named(const char *dir, err *e)
{
    char *name = out_temp_path(dir, SPILL_NAME, e);
    if (!name)
        return -1;
    int fd = sys_open(name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        err_sys(e, "cannot make a scratch file in '%s'", dir);
    else
        (void)unlink(name);
    free(name);
    return fd;
}

bool spill_open(spill *s, const char *dir, uint64_t size, err *e)
{
    *s = (spill){.fd = -1, .dir = dir, .size = size};
    if (!out_has_space(dir, size, e))
        return false;
    s->fd = sys_open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (s->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        s->fd = open_named(dir, e);
    else if (s->fd < 0)
        err_sys(e, "cannot make a scratch file in '%s'", dir);
    if (s->fd < 0)
        return false;
    if (size == 0 || out_preallocate(s->fd, size))
        return true;
    err_sys(e, "cannot reserve %llu bytes of scratch in '%s'", (unsigned long long)size, dir);
    spill_close(s);
    return false;
}

void spill_close(spill *s)
{
    if (s->fd >= 0)
        (void)close(s->fd);
    s->fd = -1;
}

static bool outside(const spill *s, uint64_t offset, uint64_t n, err *e)
{
    if (n <= s->size && offset <= s->size - n)
        return false;
    err_set(e, ERR_INTERNAL, "%llu bytes at %llu of a scratch file of %llu",
            (unsigned long long)n, (unsigned long long)offset, (unsigned long long)s->size);
    return true;
}

bool spill_write(spill *s, uint64_t offset, const void *bytes, uint64_t n, err *e)
{
    const char *from = bytes;
    if (outside(s, offset, n, e))
        return false;
    while (n > 0) {
        ssize_t did = pwrite(s->fd, from, n, (off_t)offset);
        if (did < 0 && errno == EINTR)
            continue;
        if (did <= 0)
            return err_sys(e, "cannot write scratch in '%s'", s->dir);
        from += did;
        offset += (uint64_t)did;
        n -= (uint64_t)did;
    }
    return true;
}

bool spill_read(const spill *s, uint64_t offset, void *to, uint64_t n, err *e)
{
    char *at = to;
    if (outside(s, offset, n, e))
        return false;
    while (n > 0) {
        ssize_t did = pread(s->fd, at, n, (off_t)offset);
        if (did < 0 && errno == EINTR)
            continue;
        if (did < 0)
            return err_sys(e, "cannot read scratch in '%s'", s->dir);
        if (did == 0)
            return err_set(e, ERR_ENV, "scratch in '%s' ends early", s->dir);
        at += did;
        offset += (uint64_t)did;
        n -= (uint64_t)did;
    }
    return true;
}
