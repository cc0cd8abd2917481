// SPDX-License-Identifier: Apache-2.0
// The part of file.h that deals with names and folders, not with bytes.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sys.h"

char *path_join(const char *dir, const char *name, err *e)
{
    strbuf s = {0};
    strbuf_puts(&s, dir);
    if (s.len == 0 || s.text[s.len - 1] != '/')
        strbuf_puts(&s, "/");
    strbuf_puts(&s, name);
    if (!strbuf_ok(&s, e))
        strbuf_free(&s);
    return s.text;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// Errors that mean: there is nothing of that name.
static bool is_absence(int number)
{
    return number == ENOENT || number == ENOTDIR || number == ELOOP || number == ENAMETOOLONG;
}

static int stat_patiently(int dir, const char *name, struct stat *st, int flags)
{
    int rc;
    do
        rc = fstatat(dir, name, st, flags);
    while (rc != 0 && errno == EINTR);
    return rc;
}

static path_kind kind_of(const struct stat *st)
{
    return S_ISDIR(st->st_mode) ? PATH_FOLDER : S_ISREG(st->st_mode) ? PATH_FILE : PATH_OTHER;
}

bool path_find(const char *path, path_kind *kind, err *e)
{
    struct stat st;
    *kind = PATH_NOTHING;
    if (stat_patiently(AT_FDCWD, path, &st, 0) == 0) {
        *kind = kind_of(&st);
        return true;
    }
    if (is_absence(errno) && stat_patiently(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        *kind = kind_of(&st); // a link that leads nowhere, or what was made just now
        return true;
    }
    return is_absence(errno) || err_sys(e, "cannot tell what '%s' is", path);
}

bool path_find_in(const char *dir, const char *name, path_kind *kind, err *e)
{
    *kind = PATH_NOTHING;
    char *path = path_join(dir, name, e);
    bool ok = path && path_find(path, kind, e);
    free(path);
    return ok;
}

bool path_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

// Puts the link's text in front of what is left of the path.
static void put_in_front(strbuf *rest, size_t *at, const char *link, size_t len)
{
    strbuf next = {0};
    strbuf_add(&next, link, len);
    strbuf_puts(&next, "/");
    strbuf_puts(&next, rest->text + *at);
    strbuf_free(rest);
    *rest = next;
    *at = 0;
}

static void cut(strbuf *s, size_t len)
{
    s->len = len;
    s->text[len] = 0;
}

static bool start_path(strbuf *done, const char *path, err *e)
{
    char *here = NULL;
    if (path[0] != '/') {
        here = getcwd(NULL, 0);
        if (!here)
            return err_sys(e, "cannot tell the current folder");
    }
    strbuf_puts(done, here && strcmp(here, "/") != 0 ? here : "");
    free(here);
    return strbuf_ok(done, e);
}

static bool walk_path(strbuf *done, strbuf *rest, const char *path, err *e)
{
    enum { MOST_LINKS = 40, LONGEST_LINK = 4096 };
    char link[LONGEST_LINK];
    int links = 0;
    for (size_t at = 0; !rest->failed && rest->text[at];) {
        const char *part = rest->text + at;
        size_t len = strcspn(part, "/"), before = done->len;
        at += len + (part[len] == '/');
        if (len == 0 || (len == 1 && part[0] == '.'))
            continue;
        if (len == 2 && part[0] == '.' && part[1] == '.') {
            const char *slash = strrchr(done->text, '/');
            cut(done, slash ? (size_t)(slash - done->text) : 0);
            continue;
        }
        strbuf_puts(done, "/");
        strbuf_add(done, part, len);
        if (done->failed)
            break;
        ssize_t n = readlink(done->text, link, sizeof link);
        if (n < 0 && errno != EINVAL && !is_absence(errno))
            return err_sys(e, "cannot tell whether '%s' is a link", done->text);
        if (n <= 0)
            continue;
        if (++links > MOST_LINKS || n == LONGEST_LINK)
            return err_set(e, ERR_INPUT, "'%s' goes through too many or too long symbolic links",
                           path);
        put_in_front(rest, &at, link, (size_t)n);
        cut(done, link[0] == '/' ? 0 : before);
    }
    return strbuf_ok(done, e) && strbuf_ok(rest, e);
}

char *path_resolve(const char *path, err *e)
{
    strbuf done = {0}, rest = {0};
    strbuf_puts(&rest, path);
    if (!start_path(&done, path, e) || !walk_path(&done, &rest, path, e))
        strbuf_free(&done);
    strbuf_free(&rest);
    return done.text;
}

bool path_below(const char *inner, const char *outer)
{
    size_t n = strlen(outer);
    return strncmp(inner, outer, n) == 0 && (inner[n] == '/' || inner[n] == 0);
}

bool path_is_within(const char *inner, const char *outer, bool *within, err *e)
{
    char *a = path_resolve(inner, e);
    char *b = a ? path_resolve(outer, e) : NULL;
    bool ok = b != NULL;
    *within = ok && path_below(a, b);
    free(a);
    free(b);
    return ok;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const dir_entry *)a)->name, ((const dir_entry *)b)->name);
}

static bool add_entry(int fd, const char *name, dir_entry **list, uint64_t *cap, int64_t *n,
                      err *e)
{
    struct stat st;
    if (!mem_grow((void **)list, cap, (uint64_t)*n + 1, sizeof **list, "a list of files", e))
        return false;
    dir_entry entry = {0};
    if (stat_patiently(fd, name, &st, 0) == 0) {
        entry.is_file = S_ISREG(st.st_mode);
        entry.size = entry.is_file ? (uint64_t)st.st_size : 0;
    } else if (!is_absence(errno) && errno != EACCES) { // a link into a folder that is closed to us
        return err_sys(e, "cannot tell what '%s' is", name);
    }
    entry.name = strdup(name);
    if (!entry.name)
        return err_set(e, ERR_ENV, "no memory for a list of files");
    (*list)[(*n)++] = entry;
    return true;
}

bool dir_list(const char *dir, dir_entry **entries, int64_t *n, err *e)
{
    dir_entry *list = NULL;
    uint64_t cap = 0;
    int64_t count = 0;
    bool ok = false;
    *entries = NULL;
    *n = 0;
    int fd = sys_open(dir, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC, 0);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        bool input = errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
        err_sys(e, "cannot list the folder '%s'", dir);
        if (input)
            e->kind = ERR_INPUT;
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    for (;;) {
        errno = 0;
        const struct dirent *item = readdir(d);
        if (!item && errno == EINTR)
            continue;
        if (!item) {
            ok = errno == 0 || err_sys(e, "cannot list the folder '%s'", dir);
            break;
        }
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (!add_entry(dirfd(d), item->d_name, &list, &cap, &count, e))
            break;
    }
    (void)closedir(d);
    if (!ok) {
        dir_list_free(list, count);
        return false;
    }
    if (count)
        qsort(list, (size_t)count, sizeof *list, by_name);
    *entries = list;
    *n = count;
    return true;
}

void dir_list_free(dir_entry *entries, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        free(entries[i].name);
    free(entries);
}
