// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"

// O_NONBLOCK: a pipe in the place of a file is refused, not waited for.
enum { OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK };

static bool cannot_open(const char *name, err *e)
{
    bool input = errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENAMETOOLONG;
    err_sys(e, "cannot open '%s'", name);
    if (input)
        e->kind = ERR_INPUT;
    return false;
}

static int64_t mtime_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

// Takes the descriptor over, also on failure.
static bool adopt(in_file *f, int fd, const char *name, err *e)
{
    struct stat st;
    char *copy = NULL;
    if (fstat(fd, &st) != 0) {
        err_sys(e, "cannot ask for the size of '%s'", name);
        goto failed;
    }
    if (!S_ISREG(st.st_mode)) {
        err_set(e, ERR_INPUT, "'%s' is %s, not a regular file", name,
                S_ISDIR(st.st_mode) ? "a folder" : "a pipe or device");
        goto failed;
    }
    copy = strdup(name);
    if (!copy) {
        err_set(e, ERR_ENV, "no memory for a file name");
        goto failed;
    }
    *f = (in_file){fd, copy, (uint64_t)st.st_size, st.st_dev, st.st_ino, mtime_of(&st)};
    return true;
failed:
    (void)close(fd);
    return false;
}

bool in_open(in_file *f, const char *path, err *e)
{
    *f = (in_file)IN_FILE_CLOSED;
    int fd = sys_open(path, OPEN_FLAGS, 0);
    return fd < 0 ? cannot_open(path, e) : adopt(f, fd, path, e);
}

const char *name_refusal(const char *name)
{
    size_t len = strlen(name);
    if (len == 0)
        return "it is empty";
    if (len > 255)
        return "it is longer than 255 bytes";
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return "it names a folder";
    if (strpbrk(name, "/\\:"))
        return "it holds one of / \\ :";
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return "it holds a control byte";
    return NULL;
}

static bool good_component(const char *name, const char *dir, err *e)
{
    const char *why = name_refusal(name);
    return !why || err_set(e, ERR_INPUT, "the file name '%s' given by a file in '%s' is refused: "
                           "%s, and only plain names inside that folder are followed",
                           name, dir, why);
}

// Opens a folder by a path free of links; a link that appears meanwhile is an error.
static int open_real_dir(const char *path)
{
    int fd = sys_open("/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    for (const char *p = path; fd >= 0 && *p;) {
        char part[256];
        p += *p == '/';
        size_t len = strcspn(p, "/");
        if (len == 0)
            continue;
        if (len >= sizeof part) {
            (void)close(fd);
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(part, p, len);
        part[len] = 0;
        p += len;
        int next = sys_openat(fd, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int number = errno;
        (void)close(fd);
        errno = number;
        fd = next;
    }
    return fd;
}

// Where links may lead: inside the model's folder, and where that is <cache>/<repo>/snapshots/
// <revision>[/...], as the Hugging Face cache makes it, to <repo>/blobs/<etag> and on to
// <cache>/blobs/... (guides/manage-cache of huggingface_hub).
typedef struct {
    char *inside;      // resolved
    char *repo_blobs;  // NULL where the folder is no snapshot
    char *cache_blobs; // NULL likewise
} allowed;

static void allowed_free(allowed *a)
{
    free(a->inside);
    free(a->repo_blobs);
    free(a->cache_blobs);
}

static bool allowed_init(allowed *a, const char *dir, err *e)
{
    static const char snapshots[] = "/snapshots/";
    *a = (allowed){.inside = path_resolve(dir, e)};
    if (!a->inside)
        return false;
    const char *at = NULL;
    for (const char *p = a->inside; (p = strstr(p, snapshots)); p++)
        at = p;
    if (!at)
        return true;
    char *repo = strndup(a->inside, (size_t)(at - a->inside));
    if (!repo)
        return err_set(e, ERR_ENV, "no memory for a path");
    a->repo_blobs = path_join(repo, "blobs", e);
    char *slash = strrchr(repo, '/');
    if (a->repo_blobs && slash) {
        *slash = 0;
        a->cache_blobs = path_join(repo, "blobs", e);
    }
    free(repo);
    return a->repo_blobs && (!slash || a->cache_blobs);
}

static bool may_lie_in(const allowed *a, const char *dir)
{
    return path_below(dir, a->inside) || (a->repo_blobs && strcmp(dir, a->repo_blobs) == 0) ||
           (a->cache_blobs && path_below(dir, a->cache_blobs));
}

static bool read_link(int dirfd, const char *name, char *to, size_t size, const char *shown, err *e)
{
    ssize_t n = readlinkat(dirfd, name, to, size);
    if (n < 0)
        return cannot_open(shown, e);
    if (n == 0 || (size_t)n == size)
        return err_set(e, ERR_INPUT, "'%s' is a symbolic link with a target too long", shown);
    to[n] = 0;
    return true;
}

// One hop of the link `from`/... with the text `target`: the folder it leads to (resolved) and the
// name in there (into `name`), if the policy allows both.
static char *hop(const allowed *a, const char *from, const char *target, char *name,
                 const char *shown, err *e)
{
    const char *base = path_base(target);
    size_t len = strlen(base);
    char *resolved = NULL, *folder = NULL, *joined = NULL;
    if (len == 0 || len > 255 || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        err_set(e, ERR_INPUT, "'%s' is a symbolic link to '%s', which is no file", shown, target);
        return NULL;
    }
    folder = strndup(target, (size_t)(base - target));
    if (!folder) {
        err_set(e, ERR_ENV, "no memory for a path");
        return NULL;
    }
    joined = target[0] == '/' ? strdup(folder) : path_join(from, folder, e);
    if (joined)
        resolved = path_resolve(joined, e);
    if (resolved && !may_lie_in(a, resolved)) {
        err_set(e, ERR_INPUT, "'%s' is a symbolic link to '%s', outside the folder '%s': only "
                "links inside it and those of a Hub cache are followed", shown, target, a->inside);
        free(resolved);
        resolved = NULL;
    }
    if (resolved)
        memcpy(name, base, len + 1);
    free(joined);
    free(folder);
    return resolved;
}

// The descriptor of the file, or -1 with a sentence.
static int open_links(const allowed *a, int dirfd, const char *name, const char *shown, err *e)
{
    enum { MOST_HOPS = 8 };
    char part[256], target[4096];
    char *at = NULL; // resolved folder of the present link; NULL: a->inside
    int folder = dirfd, fd = -1;
    memcpy(part, name, strlen(name) + 1);
    for (int hops = 0;; hops++) {
        fd = sys_openat(folder, part, OPEN_FLAGS | O_NOFOLLOW);
        if (fd >= 0)
            break;
        if (errno != ELOOP) {
            cannot_open(shown, e);
            break;
        }
        if (hops == MOST_HOPS) {
            err_set(e, ERR_INPUT, "'%s' is a symbolic link behind more than %d others", shown,
                    MOST_HOPS);
            break;
        }
        if (!read_link(folder, part, target, sizeof target, shown, e))
            break;
        char *next = hop(a, at ? at : a->inside, target, part, shown, e);
        free(at);
        at = next;
        if (!at)
            break;
        if (folder != dirfd)
            (void)close(folder);
        folder = open_real_dir(at);
        if (folder < 0) {
            cannot_open(shown, e);
            break;
        }
    }
    if (folder >= 0 && folder != dirfd)
        (void)close(folder);
    free(at);
    return fd;
}

bool in_open_beneath(in_file *f, const char *dir, const char *name, err *e)
{
    *f = (in_file)IN_FILE_CLOSED;
    if (!good_component(name, dir, e))
        return false;
    char *shown = path_join(dir, name, e);
    if (!shown)
        return false;
    allowed a = {0};
    bool ok = false;
    int dirfd = sys_open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (dirfd < 0) {
        cannot_open(dir, e);
    } else if (allowed_init(&a, dir, e)) {
        int fd = open_links(&a, dirfd, name, shown, e);
        ok = fd >= 0 && adopt(f, fd, shown, e);
    }
    if (dirfd >= 0)
        (void)close(dirfd);
    allowed_free(&a);
    free(shown);
    return ok;
}

bool in_read(const in_file *f, uint64_t offset, void *to, uint64_t n, err *e)
{
    enum { MOST_AT_ONCE = 1 << 30 };
    unsigned char *p = to;
    uint64_t end;
    if (!size_add(offset, n, &end) || end > INT64_MAX)
        return err_set(e, ERR_INPUT, "'%s': %llu bytes at offset %llu lie beyond any file", f->name,
                       (unsigned long long)n, (unsigned long long)offset);
    for (uint64_t got = 0; got < n;) {
        size_t want = n - got < MOST_AT_ONCE ? (size_t)(n - got) : MOST_AT_ONCE;
        ssize_t r = pread(f->fd, p + got, want, (off_t)(offset + got));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return err_sys(e, "cannot read '%s' at offset %llu", f->name,
                           (unsigned long long)(offset + got));
        if (r == 0)
            return err_set(e, ERR_INPUT,
                           "'%s' ends early: %llu bytes expected at offset %llu, %llu found",
                           f->name, (unsigned long long)n, (unsigned long long)offset,
                           (unsigned long long)got);
        got += (uint64_t)r;
    }
    return true;
}

bool in_unchanged(const in_file *f, err *e)
{
    struct stat st, named;
    if (fstat(f->fd, &st) != 0)
        return err_sys(e, "cannot ask for the size of '%s'", f->name);
    if ((uint64_t)st.st_size != f->size)
        return err_set(e, ERR_INPUT, "'%s' changed while it was read: %llu bytes before, %llu now",
                       f->name, (unsigned long long)f->size, (unsigned long long)st.st_size);
    if (mtime_of(&st) != f->mtime_ns)
        return err_set(e, ERR_INPUT, "'%s' changed while it was read: it was written to", f->name);
    int rc;
    do
        rc = stat(f->name, &named);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
        return err_sys(e, "cannot ask whether '%s' is still the same file", f->name);
    if (rc != 0 || named.st_dev != f->dev || named.st_ino != f->ino)
        return err_set(e, ERR_INPUT, "'%s' changed while it was read: the name is gone or means "
                       "another file now", f->name);
    return true;
}

void in_close(in_file *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    free(f->name);
    *f = (in_file)IN_FILE_CLOSED;
}

// Closes f.
static bool read_rest(in_file *f, uint64_t max_bytes, char **text, size_t *len, err *e)
{
    char *bytes = NULL;
    bool ok = false;
    if (f->size > max_bytes || f->size >= PTRDIFF_MAX) {
        err_set(e, ERR_INPUT, "'%s' has %llu bytes, the most allowed here is %llu", f->name,
                (unsigned long long)f->size, (unsigned long long)max_bytes);
        goto out;
    }
    bytes = mem_new(f->size + 1, 1, f->name, e);
    if (!bytes || !in_read(f, 0, bytes, f->size, e))
        goto out;
    *text = bytes;
    *len = (size_t)f->size;
    bytes = NULL;
    ok = true;
out:
    free(bytes);
    in_close(f);
    return ok;
}

bool file_read_all(const char *path, uint64_t max_bytes, char **text, size_t *len, err *e)
{
    in_file f;
    *text = NULL;
    *len = 0;
    return in_open(&f, path, e) && read_rest(&f, max_bytes, text, len, e);
}

bool file_read_beneath(const char *dir, const char *name, uint64_t max_bytes, char **text,
                       size_t *len, err *e)
{
    in_file f;
    *text = NULL;
    *len = 0;
    return in_open_beneath(&f, dir, name, e) && read_rest(&f, max_bytes, text, len, e);
}
