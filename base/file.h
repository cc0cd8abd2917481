// SPDX-License-Identifier: Apache-2.0
// Input files, read with pread and never mapped: a file that shrinks is a sentence, not a SIGBUS.
// Two ways in: a path that a person typed (trusted), and a name that some file content gave
// (hostile: one path component, must stay inside its folder or follow the Hub cache's links).
// Writes nothing; that is out.h.
#ifndef SCRUPLE_BASE_FILE_H
#define SCRUPLE_BASE_FILE_H

#include "base/err.h"
#include "base/str.h"

typedef struct {
    int fd;        // -1 where closed
    char *name;    // for sentences
    uint64_t size;
    uint64_t dev, ino;
    int64_t mtime_ns;
} in_file;

#define IN_FILE_CLOSED {.fd = -1}

// Why a name out of file content may not be followed (see in_open_beneath); NULL where it may.
const char *name_refusal(const char *name);

// A path typed by a person: any symlink is followed; must be a regular file. Missing: ERR_INPUT.
MUST_USE bool in_open(in_file *f, const char *path, err *e);
// A name out of file content, looked up in `dir`. Refused (ERR_INPUT) unless it is one path
// component (no '/', '\\', ':', control byte, not "." or "..", at most 255 bytes). A symlink is
// followed only while every hop stays inside `dir`, or matches the Hub cache (snapshots/<rev>/x ->
// ../../blobs/<etag>, and from there one more hop to <cache>/blobs/...); else ERR_INPUT.
MUST_USE bool in_open_beneath(in_file *f, const char *dir, const char *name, err *e);
// Exactly n bytes from `offset`, or fails naming the file, the offset and what was missing.
MUST_USE bool in_read(const in_file *f, uint64_t offset, void *to, uint64_t n, err *e);
// Fails (ERR_INPUT) if size, time or identity changed since it was opened.
MUST_USE bool in_unchanged(const in_file *f, err *e);
void in_close(in_file *f);

// Whole small files; more than max_bytes is ERR_INPUT. NUL-terminated; free *text.
MUST_USE bool file_read_all(const char *path, uint64_t max_bytes, char **text, size_t *len, err *e);
MUST_USE bool file_read_beneath(const char *dir, const char *name, uint64_t max_bytes, char **text,
                                size_t *len, err *e);

typedef struct {
    char *name;
    uint64_t size;
    bool is_file; // regular, or a link to a regular file
} dir_entry;

// Entries of a folder without "." and "..", sorted by name (bytes). Free with dir_list_free.
MUST_USE bool dir_list(const char *dir, dir_entry **entries, int64_t *n, err *e);
void dir_list_free(dir_entry *entries, int64_t n);

// What a path leads to; PATH_OTHER: a device, a pipe, a link that leads nowhere.
typedef enum { PATH_NOTHING, PATH_FOLDER, PATH_FILE, PATH_OTHER } path_kind;
// Fails (ERR_ENV) where the system cannot tell: an I/O error does not mean that nothing is there.
MUST_USE bool path_find(const char *path, path_kind *kind, err *e);
// The same for a name in a folder.
MUST_USE bool path_find_in(const char *dir, const char *name, path_kind *kind, err *e);
// The same where an answer that is not needed to be right may be wrong.
bool path_is_dir(const char *path);
bool path_exists(const char *path);
// Whether `inner` is `outer` or lies inside it, links resolved; neither has to exist yet.
MUST_USE bool path_is_within(const char *inner, const char *outer, bool *within, err *e);
// Where a path leads: absolute, free of links, "." and ".."; the root is "". What does not exist
// yet counts as plain components. A new string; NULL with a sentence.
MUST_USE char *path_resolve(const char *path, err *e);
// True where the resolved path `inner` is `outer` or lies below it.
bool path_below(const char *inner, const char *outer);
// dir + "/" + name into a new string; NULL with a sentence when out of memory.
MUST_USE char *path_join(const char *dir, const char *name, err *e);
const char *path_base(const char *path); // behind the last '/', borrowed

#endif
