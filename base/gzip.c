// SPDX-License-Identifier: Apache-2.0
#include "base/gzip.h"

#include <stdlib.h>
#include <zlib.h>

#include "base/file.h"
#include "base/libraries.h"
#include "base/mem.h"

enum { PIECE = 256 * 1024 };

typedef struct {
    in_file file;
    uint64_t at; // next byte to read
    unsigned char *piece;
    z_stream z;
    char *text;
    uint64_t len, cap, most;
} reader;

static bool more_input(reader *r, err *e)
{
    uint64_t left = r->file.size - r->at;
    uInt n = left < PIECE ? (uInt)left : PIECE;
    if (!in_read(&r->file, r->at, r->piece, n, e))
        return false;
    r->at += n;
    r->z.next_in = r->piece;
    r->z.avail_in = n;
    return true;
}

// Room for what comes next: up to one byte more than is allowed, which then tells.
static bool more_room(reader *r, err *e)
{
    uint64_t want = r->len + PIECE;
    want = want < r->most + 1 ? want : r->most + 1;
    if (r->len > r->most)
        return err_set(e, ERR_INPUT, "'%s' unpacks to more than the %llu bytes allowed here",
                       r->file.name, (unsigned long long)r->most);
    if (!mem_grow((void **)&r->text, &r->cap, want + 1, 1, r->file.name, e))
        return false;
    r->z.next_out = (unsigned char *)r->text + r->len;
    r->z.avail_out = (uInt)(want - r->len);
    return true;
}

static bool damaged(const reader *r, const char *what, err *e)
{
    return err_set(e, ERR_INPUT, "'%s' is damaged gzip near byte %llu: %s", r->file.name,
                   (unsigned long long)(r->at - r->z.avail_in), what);
}

static bool inflate_member(reader *r, err *e)
{
    for (;;) {
        if (r->z.avail_in == 0 && r->at < r->file.size && !more_input(r, e))
            return false;
        if (!more_room(r, e))
            return false;
        uInt room = r->z.avail_out;
        int rc = inflate(&r->z, Z_NO_FLUSH);
        r->len += room - r->z.avail_out;
        if (rc == Z_MEM_ERROR)
            return err_set(e, ERR_ENV, "no memory to unpack '%s'", r->file.name);
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
            return damaged(r, r->z.msg ? r->z.msg : "no such code", e);
        if (rc == Z_STREAM_END)
            return r->len <= r->most || more_room(r, e);
        if (r->z.avail_in == 0 && r->at == r->file.size && r->z.avail_out)
            return damaged(r, "the file ends inside a member", e);
    }
}

// Zero bytes up to the end of the file are padding, as gzip itself allows.
static bool skip_padding(reader *r, bool *end, err *e)
{
    uint64_t skipped = 0;
    *end = false;
    for (;;) {
        if (r->z.avail_in == 0 && r->at == r->file.size) {
            *end = true;
            return true;
        }
        if (r->z.avail_in == 0 && !more_input(r, e))
            return false;
        if (*r->z.next_in)
            break;
        r->z.next_in++;
        r->z.avail_in--;
        skipped++;
    }
    return skipped == 0 || damaged(r, "bytes behind the padding", e);
}

static bool inflate_all(reader *r, err *e)
{
    enum { GZIP_ONLY = 16 };
    bool ok, end = false;
    if (inflateInit2(&r->z, MAX_WBITS + GZIP_ONLY) != Z_OK)
        return err_set(e, ERR_ENV, "no memory to unpack '%s'", r->file.name);
    do
        ok = inflate_member(r, e) && skip_padding(r, &end, e) &&
             (end || inflateReset(&r->z) == Z_OK);
    while (ok && !end);
    (void)inflateEnd(&r->z);
    return ok;
}

static bool is_gzip(const in_file *f, bool *yes, err *e)
{
    unsigned char magic[2];
    *yes = false;
    if (f->size < 2)
        return true;
    if (!in_read(f, 0, magic, 2, e))
        return false;
    *yes = magic[0] == 0x1f && magic[1] == 0x8b;
    return true;
}

static bool read_plain(reader *r, err *e)
{
    if (r->file.size > r->most)
        return err_set(e, ERR_INPUT, "'%s' has %llu bytes, the most allowed here is %llu",
                       r->file.name, (unsigned long long)r->file.size,
                       (unsigned long long)r->most);
    r->text = mem_new(r->file.size + 1, 1, r->file.name, e);
    r->len = r->file.size;
    return r->text && in_read(&r->file, 0, r->text, r->len, e);
}

bool gzip_read_text(const char *path, uint64_t max_bytes, char **text, size_t *len, err *e)
{
    enum { HEADROOM = 1 << 20 }; // keeps the sums of sizes here from overflowing
    reader r = {.most = max_bytes < PTRDIFF_MAX - HEADROOM ? max_bytes : PTRDIFF_MAX - HEADROOM};
    bool packed, ok = false;
    *text = NULL;
    *len = 0;
    if (!in_open(&r.file, path, e))
        return false;
    if (!is_gzip(&r.file, &packed, e))
        goto out;
    if (packed)
        r.piece = mem_new_aligned(PIECE, 1, "reading a file", e);
    if (packed ? !r.piece || !inflate_all(&r, e) : !read_plain(&r, e))
        goto out;
    r.text[r.len] = 0;
    *text = r.text;
    *len = (size_t)r.len;
    r.text = NULL;
    ok = true;
out:
    free(r.text);
    free(r.piece);
    in_close(&r.file);
    return ok;
}

const char *zlib_library(char *buf)
{
    (void)buf;
    return zlibVersion();
}
