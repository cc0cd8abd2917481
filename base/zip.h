// SPDX-License-Identifier: Apache-2.0
// Zip archives for npz files and evidence bundles. Same bytes everywhere: fixed time stamps, stored
// members, the caller's order. zip.c is the only file that includes libzip.
#ifndef SCRUPLE_BASE_ZIP_H
#define SCRUPLE_BASE_ZIP_H

#include "base/err.h"

typedef struct zip_in zip_in;
// Refuses encrypted members, duplicate names, more than 65,535 members.
MUST_USE bool zip_in_open(zip_in **out, const char *path, err *e);
// The same of an archive in memory, which stays in use until zip_in_close.
MUST_USE bool zip_in_open_bytes(zip_in **out, const void *bytes, uint64_t n, const char *name,
                                err *e);
void zip_in_close(zip_in *z);
const char *zip_in_path(const zip_in *z); // as given, borrowed
int64_t zip_in_count(const zip_in *z);
const char *zip_in_name(const zip_in *z, int64_t i); // borrowed
int64_t zip_in_find(const zip_in *z, const char *name); // -1
// The whole member, at most max_bytes; free *bytes. CRC is checked.
MUST_USE bool zip_in_read(zip_in *z, int64_t i, uint64_t max_bytes, void **bytes, uint64_t *n,
                          err *e);

// Members are given as (size, producer): the producer is called for pieces until `size` is there,
// so that an archive larger than memory can be written.
typedef bool (*zip_source)(void *ctx, uint64_t offset, void *to, uint64_t n, err *e);
typedef struct {
    const char *name;
    uint64_t size;
    zip_source read;
    void *ctx;
} zip_member;
// Writes dir/name by the protocol of out.h (temporary name, fsync, rename).
MUST_USE bool zip_write(const char *dir, const char *name, const zip_member *members, int64_t n,
                        bool replace, err *e);

#endif
