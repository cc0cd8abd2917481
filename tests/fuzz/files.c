// SPDX-License-Identifier: Apache-2.0
// The files of the fuzz targets: a handful in memory, under the interface of base/file.h. Linked in
// front of base/file.o and base/path.o, whose functions are made weak (Makefile), so that readers
// that take a path read these, as fast as from a buffer.
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/file.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

// Instead of the system's: the same input does the same each time, and a call is spared.
ssize_t getrandom(void *to, size_t n, unsigned flags)
{
    (void)flags;
    memset(to, 0x5a, n);
    return (ssize_t)n;
}

enum { MOST_FILES = 16, FIRST_FD = 1 << 20 };

static struct {
    const char *path;
    const void *bytes;
    size_t n;
    uint64_t size;
} files[MOST_FILES];
static int n_files;

void fuzz_file(const char *path, const void *bytes, size_t n, uint64_t size)
{
    FUZZ_CHECK(n_files < MOST_FILES && n <= size);
    files[n_files].path = path;
    files[n_files].bytes = bytes;
    files[n_files].n = n;
    files[n_files++].size = size;
}

void fuzz_files_clear(void) { n_files = 0; }

static int find(const char *path)
{
    for (int i = 0; i < n_files; i++)
        if (strcmp(files[i].path, path) == 0)
            return i;
    return -1;
}

bool in_open(in_file *f, const char *path, err *e)
{
    int i = find(path);
    *f = (in_file)IN_FILE_CLOSED;
    if (i < 0)
        return err_set(e, ERR_INPUT, "cannot open '%s': no such file", path);
    *f = (in_file){.fd = FIRST_FD + i, .name = strdup(path), .size = files[i].size};
    return f->name || err_set(e, ERR_ENV, "no memory for a file name");
}

bool in_open_beneath(in_file *f, const char *dir, const char *name, err *e)
{
    *f = (in_file)IN_FILE_CLOSED;
    if (!*name || strlen(name) > 255 || strchr(name, '/'))
        return err_set(e, ERR_INPUT, "the file name '%s' is refused", name);
    char *path = path_join(dir, name, e);
    bool ok = path && in_open(f, path, e);
    free(path);
    return ok;
}

bool in_read(const in_file *f, uint64_t offset, void *to, uint64_t n, err *e)
{
    int i = f->fd - FIRST_FD;
    FUZZ_CHECK(i >= 0 && i < n_files);
    if (offset > f->size || n > f->size - offset)
        return err_set(e, ERR_INPUT, "'%s' ends early: %llu bytes expected at offset %llu",
                       f->name, (unsigned long long)n, (unsigned long long)offset);
    uint64_t there = offset < files[i].n ? files[i].n - offset : 0;
    there = there < n ? there : n;
    if (there)
        memcpy(to, (const char *)files[i].bytes + offset, there);
    if (n > there)
        memset((char *)to + there, 0, n - there);
    return true;
}

bool in_unchanged(const in_file *f, err *e)
{
    (void)f;
    (void)e;
    return true;
}

void in_close(in_file *f)
{
    free(f->name);
    *f = (in_file)IN_FILE_CLOSED;
}

static bool read_all(in_file *f, uint64_t max_bytes, char **text, size_t *len, err *e)
{
    bool ok = f->size <= max_bytes ||
              err_set(e, ERR_INPUT, "'%s' has %llu bytes, the most allowed here is %llu", f->name,
                      (unsigned long long)f->size, (unsigned long long)max_bytes);
    char *bytes = ok ? mem_new(f->size + 1, 1, f->name, e) : NULL;
    ok = bytes && in_read(f, 0, bytes, f->size, e);
    if (ok) {
        *text = bytes;
        *len = (size_t)f->size;
    } else {
        free(bytes);
    }
    in_close(f);
    return ok;
}

bool file_read_all(const char *path, uint64_t max_bytes, char **text, size_t *len, err *e)
{
    in_file f;
    *text = NULL;
    *len = 0;
    return in_open(&f, path, e) && read_all(&f, max_bytes, text, len, e);
}

bool file_read_beneath(const char *dir, const char *name, uint64_t max_bytes, char **text,
                       size_t *len, err *e)
{
    in_file f;
    *text = NULL;
    *len = 0;
    return in_open_beneath(&f, dir, name, e) && read_all(&f, max_bytes, text, len, e);
}

// What a folder's file is called inside of it; NULL where it lies elsewhere.
static const char *inside(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

bool path_exists(const char *path) { return find(path) >= 0 || path_is_dir(path); }

bool path_find(const char *path, path_kind *kind, err *e)
{
    (void)e;
    *kind = find(path) >= 0 ? PATH_FILE : path_is_dir(path) ? PATH_FOLDER : PATH_NOTHING;
    return true;
}

bool path_find_in(const char *dir, const char *name, path_kind *kind, err *e)
{
    char *path = path_join(dir, name, e);
    bool ok = path && path_find(path, kind, e);
    free(path);
    return ok;
}

bool path_is_dir(const char *path)
{
    for (int i = 0; i < n_files; i++)
        if (inside(files[i].path, path))
            return true;
    return false;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const dir_entry *)a)->name, ((const dir_entry *)b)->name);
}

bool dir_list(const char *dir, dir_entry **entries, int64_t *n, err *e)
{
    *n = 0;
    *entries = mem_new(MOST_FILES, sizeof **entries, "a folder", e);
    if (!*entries)
        return false;
    for (int i = 0; i < n_files; i++) {
        const char *name = inside(files[i].path, dir);
        if (name)
            (*entries)[(*n)++] = (dir_entry){strdup(name), files[i].size, true};
    }
    qsort(*entries, (size_t)*n, sizeof **entries, compare_entries);
    return true;
}

void dir_list_free(dir_entry *entries, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        free(entries[i].name);
    free(entries);
}
