// SPDX-License-Identifier: Apache-2.0
#include "base/out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/out_ring.h"
#include "base/sys.h"

enum { BUFFER = 64 * 1024 }; // appends smaller than this are gathered

static bool is_full(int number) { return number == ENOSPC || number == EDQUOT; }

// With errno of the failed call.
bool out_cannot_write(const char *dir, const char *name, uint64_t needed, err *e)
{
    if (!is_full(errno))
        return err_sys(e, "cannot write '%s/%s'", dir, name);
    return err_sys(e, "no space for '%s/%s', which needs %llu bytes", dir, name,
                   (unsigned long long)needed);
}

char *out_temp_path(const char *dir, const char *name, err *e)
{
    uint64_t number;
    char *temp = NULL;
    if (!sys_random(&number, sizeof number)) {
        err_sys(e, "cannot get a random number for a temporary name");
        return NULL;
    }
    strbuf s = {0};
    strbuf_printf(&s, ".%s.%ld.%016llx.part", name, (long)getpid(), (unsigned long long)number);
    if (strbuf_ok(&s, e))
        temp = path_join(dir, s.text, e);
    strbuf_free(&s);
    return temp;
}

bool out_has_space(const char *dir, uint64_t bytes, err *e)
{
    struct statvfs fs;
    uint64_t available;
    char *at = path_resolve(dir, e);
    if (!at)
        return false;
    int rc;
    while ((rc = statvfs(*at ? at : "/", &fs)) != 0 && (errno == EINTR || (errno == ENOENT && *at)))
        if (errno == ENOENT)
            *strrchr(at, '/') = 0;
    free(at);
    if (rc != 0)
        return err_sys(e, "cannot ask for the space free in '%s'", dir);
    if (fs.f_blocks == 0) // file systems without a size of their own (ramfs, some networks')
        return true;
    if (!size_mul(fs.f_bavail, fs.f_frsize, &available))
        available = UINT64_MAX;
    return bytes <= available ||
           err_set(e, ERR_ENV, "no space in '%s': %llu bytes needed, %llu free", dir,
                   (unsigned long long)bytes, (unsigned long long)available);
}

// fallocate and not posix_fallocate, which writes a byte into every block where the file system
// cannot do it; there the file is merely given its length.
bool out_preallocate(int fd, uint64_t size)
{
    int rc;
    if (size > INT64_MAX) {
        errno = EFBIG;
        return false;
    }
    do
        rc = fallocate(fd, 0, 0, (off_t)size);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
        do
            rc = ftruncate(fd, (off_t)size);
        while (rc != 0 && errno == EINTR);
    return rc == 0;
}

static bool open_temp(out_file *o, err *e)
{
    enum { MOST_TRIES = 16 };
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        char *temp = out_temp_path(o->dir, o->name, e);
        if (!temp)
            return false;
        o->fd = sys_open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (o->fd >= 0) {
            o->temp = temp;
            return true;
        }
        int number = errno;
        free(temp);
        errno = number;
        if (number != EEXIST)
            break;
    }
    return err_sys(e, "cannot make a file in '%s'", o->dir);
}

bool out_open(out_file *o, const char *dir, const char *name, uint64_t size, const void *header,
              uint64_t header_bytes, err *e)
{
    *o = (out_file)OUT_FILE_CLOSED;
    if (size && header_bytes > size)
        return err_set(e, ERR_INTERNAL, "'%s/%s': a header of %llu bytes in a file of %llu", dir,
                       name, (unsigned long long)header_bytes, (unsigned long long)size);
    o->dir = strdup(dir);
    o->name = strdup(name);
    o->header = mem_new(header_bytes, 1, "a header", e);
    o->buffer = mem_new_aligned(BUFFER, 1, "an output buffer", e);
    if (!o->dir || !o->name || !o->header || !o->buffer) {
        err_set(e, ERR_ENV, "no memory to write '%s/%s'", dir, name);
        goto failed;
    }
    o->sha = sha256_new(e);
    if (!o->sha || !out_has_space(dir, size, e) || !open_temp(o, e))
        goto failed;
    if (size && !out_preallocate(o->fd, size)) {
        out_cannot_write(dir, name, size, e);
        goto failed;
    }
    if (header_bytes) {
        memcpy(o->header, header, header_bytes);
        sha256_add(o->sha, header, header_bytes);
    }
    o->header_bytes = header_bytes;
    o->size = size;
    o->at = header_bytes;
    return true;
failed:
    out_discard(o);
    return false;
}

bool out_write_at(const out_target *to, const void *bytes, uint64_t n, uint64_t offset, err *e)
{
    enum { MOST_AT_ONCE = 1 << 30 };
    const unsigned char *p = bytes;
    for (uint64_t put = 0; put < n;) {
        size_t want = n - put < MOST_AT_ONCE ? (size_t)(n - put) : MOST_AT_ONCE;
        ssize_t r = pwrite(to->fd, p + put, want, (off_t)(offset + put));
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            errno = r == 0 ? ENOSPC : errno;
            return out_cannot_write(to->dir, to->name, to->size ? to->size : offset + n, e);
        }
        put += (uint64_t)r;
    }
    return true;
}

static out_target target_of(const out_file *o)
{
    return (out_target){o->fd, o->dir, o->name, o->size};
}

// Bytes behind the header on their way to the file.
static bool put_at(const out_file *o, const void *bytes, uint64_t n, uint64_t offset, err *e)
{
    const out_target to = target_of(o);
    if (o->watch && n)
        o->watch(o->watch_ctx, offset, bytes, n);
    return out_write_at(&to, bytes, n, offset, e);
}

static bool flush(out_file *o, err *e)
{
    uint64_t n = o->buffered;
    o->buffered = 0;
    return put_at(o, o->buffer, n, o->at - n, e);
}

static bool settle(out_file *o, err *e)
{
    if (!o->ring)
        return flush(o, e);
    if (!out_ring_finish(o->ring, e))
        return false;
    out_ring_close(o->ring);
    o->ring = NULL;
    return true;
}

bool out_settle(out_file *o, err *e)
{
    if (o->fd < 0)
        return err_set(e, ERR_INTERNAL, "an output file is settled that is closed");
    if (settle(o, e))
        return true;
    out_discard(o);
    return false;
}

void out_watched(out_file *o, out_watch watch, void *ctx)
{
    o->watch = watch;
    o->watch_ctx = ctx;
}

bool out_write_behind(out_file *o, uint64_t memory, bool buffered, err *e)
{
    uint64_t block = out_ring_block(memory);
    if (o->fd < 0)
        return err_set(e, ERR_INTERNAL, "an output file is written behind that is closed");
    if (o->ring || o->at != o->header_bytes)
        return err_set(e, ERR_INTERNAL, "'%s/%s' is written already", o->dir, o->name);
    if (o->size && o->size - o->header_bytes <= block)
        return true;
    const out_ring_options with = {.to = target_of(o),
                                   .begin = o->header_bytes,
                                   .block = block,
                                   .buffered = buffered,
                                   .sha = o->sha,
                                   .watch = &o->watch,
                                   .watch_ctx = &o->watch_ctx};
    if (out_ring_open(&o->ring, &with, e))
        return true;
    out_discard(o);
    return false;
}

static bool append(out_file *o, const void *bytes, uint64_t n, err *e)
{
    uint64_t end;
    if (o->fd < 0)
        return err_set(e, ERR_INTERNAL, "bytes for an output file that is closed");
    if (!size_add(o->at, n, &end) || end > INT64_MAX || (o->size && end > o->size))
        return err_set(e, ERR_INTERNAL, "'%s/%s': %llu bytes at offset %llu, but the file has %llu",
                       o->dir, o->name, (unsigned long long)n, (unsigned long long)o->at,
                       (unsigned long long)o->size);
    if (o->ring) {
        if (!out_ring_append(o->ring, bytes, n, e))
            return false;
        o->at = end;
        return true;
    }
    sha256_add(o->sha, bytes, n);
    if (n > BUFFER - o->buffered && !flush(o, e))
        return false;
    if (n >= BUFFER) {
        if (!put_at(o, bytes, n, o->at, e))
            return false;
    } else if (n) {
        memcpy(o->buffer + o->buffered, bytes, n);
        o->buffered += n;
    }
    o->at = end;
    return true;
}

bool out_append(out_file *o, const void *bytes, uint64_t n, err *e)
{
    if (append(o, bytes, n, e))
        return true;
    out_discard(o);
    return false;
}

// Without RENAME_NOREPLACE in the file system, a second link does the same.
static int rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    return link(from, to) == 0 ? unlink(from) : -1;
}

bool out_sync_dir(const char *dir, err *e)
{
    int fd = sys_open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(e, "cannot open the folder '%s'", dir);
    // EINVAL: a file system on which folders need no sync of their own.
    bool ok = sys_fsync(fd) == 0 || errno == EINVAL ||
              err_sys(e, "cannot make the folder '%s' durable", dir);
    (void)close(fd);
    return ok;
}

// *taken: a file has the name already, and is not to be replaced.
static bool publish_temp(const char *temp, const char *dir, const char *name, bool replace,
                         bool *taken, err *e)
{
    *taken = false;
    char *final = path_join(dir, name, e);
    if (!final)
        return false;
    bool ok = (replace ? rename(temp, final) : rename_new(temp, final)) == 0;
    *taken = !ok && errno == EEXIST;
    if (*taken)
        err_set(e, ERR_ENV, "'%s' exists already and is not replaced", final);
    else if (!ok)
        err_sys(e, "cannot give '%s' its name", final);
    if (!ok) {
        (void)unlink(temp);
    } else if (!out_sync_dir(dir, e)) {
        (void)unlink(final);
        ok = false;
    }
    free(final);
    return ok;
}

bool out_publish_temp(const char *temp, const char *dir, const char *name, bool replace, err *e)
{
    bool taken;
    return publish_temp(temp, dir, name, replace, &taken, e);
}

static bool finish_data(out_file *o, err *e)
{
    if (o->fd < 0)
        return err_set(e, ERR_INTERNAL, "an output file is published that is closed");
    if (o->size && o->at != o->size)
        return err_set(e, ERR_INTERNAL, "'%s/%s': %llu bytes written, %llu announced", o->dir,
                       o->name, (unsigned long long)o->at, (unsigned long long)o->size);
    const out_target to = target_of(o);
    if (!settle(o, e) || !out_write_at(&to, o->header, o->header_bytes, 0, e))
        return false;
    if (sys_fsync(o->fd) != 0)
        return out_cannot_write(o->dir, o->name, o->at, e);
    int fd = o->fd;
    o->fd = -1;
    return sys_close(fd) == 0 || out_cannot_write(o->dir, o->name, o->at, e);
}

static bool publish(out_file *o, bool replace, sha256_digest *digest, bool *taken, err *e)
{
    sha256_digest mine;
    bool ok = false;
    *taken = false;
    if (digest)
        memset(digest, 0, sizeof *digest);
    if (!finish_data(o, e))
        goto out;
    sha256_end(o->sha, &mine);
    o->sha = NULL;
    ok = publish_temp(o->temp, o->dir, o->name, replace, taken, e);
    free(o->temp); // gone, whatever happened
    o->temp = NULL;
    if (ok && digest)
        *digest = mine;
out:
    out_discard(o);
    return ok;
}

bool out_publish(out_file *o, bool replace, sha256_digest *digest, err *e)
{
    bool taken;
    return publish(o, replace, digest, &taken, e);
}

void out_discard(out_file *o)
{
    out_ring_close(o->ring); // before what its threads work on
    if (o->fd >= 0)
        (void)close(o->fd);
    if (o->temp)
        (void)unlink(o->temp);
    sha256_free(o->sha);
    free(o->buffer);
    free(o->header);
    free(o->temp);
    free(o->name);
    free(o->dir);
    *o = (out_file)OUT_FILE_CLOSED;
}

bool out_write_file(const char *dir, const char *name, const void *bytes, uint64_t n, bool replace,
                    sha256_digest *digest, err *e)
{
    out_file o;
    if (digest)
        memset(digest, 0, sizeof *digest);
    return out_open(&o, dir, name, n, NULL, 0, e) && out_append(&o, bytes, n, e) &&
           out_publish(&o, replace, digest, e);
}

bool out_write_new(const char *dir, const char *name, const void *bytes, uint64_t n, bool *taken,
                   err *e)
{
    out_file o;
    *taken = false;
    return (out_open(&o, dir, name, n, NULL, 0, e) && out_append(&o, bytes, n, e) &&
            publish(&o, false, NULL, taken, e)) || *taken;
}

static bool make_one(const char *path, bool *made, err *e)
{
    path_kind kind;
    *made = mkdir(path, 0777) == 0;
    int number = errno;
    if (*made)
        return true;
    if (!path_find(path, &kind, e))
        return false;
    if (kind == PATH_FOLDER) // whatever mkdir said: /proc, automounts and closed folders say much
        return true;
    if (number == EEXIST)
        return err_set(e, ERR_ENV, "cannot make the folder '%s': a file has that name", path);
    errno = number;
    return err_sys(e, "cannot make the folder '%s'", path);
}

bool out_make_dir(const char *dir, err *e)
{
    char *path = strdup(dir), *parent = NULL;
    bool ok = path != NULL;
    if (!ok)
        err_set(e, ERR_ENV, "no memory for a path");
    for (size_t at = 0; ok && path[at];) {
        at += strspn(path + at, "/");
        at += strcspn(path + at, "/");
        char after = path[at];
        bool made;
        path[at] = 0;
        ok = make_one(path, &made, e);
        if (ok && made) {
            parent = path_join(path, "..", e);
            ok = parent && out_sync_dir(parent, e);
            free(parent);
        }
        path[at] = after;
    }
    free(path);
    return ok;
}
