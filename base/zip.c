// SPDX-License-Identifier: Apache-2.0
#include "base/zip.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include "base/file.h"
#include "base/libraries.h"
#include "base/mem.h"
#include "base/out.h"
#include "base/sys.h"

enum { MOST_MEMBERS = 65535 };

struct zip_in {
    char *name; // of the archive, for sentences
    zip_t *zip;
    int64_t n;
};

// libzip's reason alone; the caller puts the names in front. Damage is the file's fault; memory and
// reading are the environment's.
static bool zip_failed(zip_error_t *cause, err *e)
{
    int code = zip_error_code_zip(cause);
    bool ours = code == ZIP_ER_MEMORY ||
                (code == ZIP_ER_READ && zip_error_code_system(cause) != 0);
    return err_set(e, ours ? ERR_ENV : ERR_INPUT, "%s", zip_error_strerror(cause));
}

static bool code_failed(int code, err *e)
{
    zip_error_t cause;
    zip_error_init_with_code(&cause, code);
    zip_failed(&cause, e);
    zip_error_fini(&cause);
    return false;
}

static bool member_failed(const char *archive, const char *member, zip_error_t *cause, err *e)
{
    zip_failed(cause, e);
    return err_in(e, "'%s': member '%s'", archive, member);
}

static bool check_member(zip_in *z, int64_t i, err *e)
{
    zip_stat_t st;
    const zip_uint64_t wanted = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(z->zip, (zip_uint64_t)i, 0, &st) != 0)
        return member_failed(z->name, "?", zip_get_error(z->zip), e);
    if ((st.valid & wanted) != wanted)
        return err_set(e, ERR_INPUT, "'%s': member %lld has no complete header", z->name,
                       (long long)i);
    if (st.encryption_method != ZIP_EM_NONE)
        return err_set(e, ERR_INPUT, "'%s': member '%s' is encrypted", z->name, st.name);
    if (st.comp_method != ZIP_CM_STORE && st.comp_method != ZIP_CM_DEFLATE)
        return err_set(e, ERR_INPUT, "'%s': member '%s' is packed by method %u, and only stored "
                       "and deflated members are read", z->name, st.name, st.comp_method);
    return true;
}

static bool not_opened(const zip_in *z, int code, err *e)
{
    if (code == ZIP_ER_EXISTS)
        return err_set(e, ERR_INPUT, "'%s' has two members of the same name", z->name);
    code_failed(code, e);
    return err_in(e, "'%s' is no zip archive that can be read", z->name);
}

// The flag checks the directory against the members' own headers, and finds duplicate names.
enum { OPEN_FLAGS = ZIP_CHECKCONS };

static bool open_descriptor(zip_in *z, int fd, err *e)
{
    int code;
    int mine = dup(fd); // libzip takes it over where it succeeds
    if (mine < 0)
        return err_sys(e, "cannot open '%s'", z->name);
    z->zip = zip_fdopen(mine, OPEN_FLAGS, &code);
    if (z->zip)
        return true;
    (void)close(mine);
    return not_opened(z, code, e);
}

static bool open_bytes(zip_in *z, const void *bytes, uint64_t n, err *e)
{
    zip_error_t cause;
    zip_error_init(&cause);
    zip_source_t *source = zip_source_buffer_create(bytes, n, 0, &cause);
    z->zip = source ? zip_open_from_source(source, OPEN_FLAGS, &cause) : NULL;
    if (!z->zip) {
        zip_source_free(source);
        not_opened(z, zip_error_code_zip(&cause), e);
    }
    zip_error_fini(&cause);
    return z->zip != NULL;
}

// A new handle with nothing open yet.
static zip_in *new_handle(const char *name, err *e)
{
    zip_in *z = mem_new(1, sizeof *z, "a zip archive", e);
    if (z && !(z->name = strdup(name))) {
        err_set(e, ERR_ENV, "no memory for a file name");
        free(z);
        z = NULL;
    }
    return z;
}

// Takes the handle over.
static bool check_archive(zip_in **out, zip_in *z, bool opened, err *e)
{
    bool ok = opened;
    if (ok) {
        z->n = (int64_t)zip_get_num_entries(z->zip, 0);
        ok = z->n <= MOST_MEMBERS || err_set(e, ERR_INPUT, "'%s' has %lld members, at most %d are "
                                             "read", z->name, (long long)z->n, MOST_MEMBERS);
    }
    for (int64_t i = 0; ok && i < z->n; i++)
        ok = check_member(z, i, e);
    if (ok)
        *out = z;
    else
        zip_in_close(z);
    return ok;
}

bool zip_in_open(zip_in **out, const char *path, err *e)
{
    in_file f;
    *out = NULL;
    if (!in_open(&f, path, e))
        return false;
    zip_in *z = new_handle(path, e);
    bool ok = z && check_archive(out, z, open_descriptor(z, f.fd, e), e);
    in_close(&f);
    return ok;
}

bool zip_in_open_bytes(zip_in **out, const void *bytes, uint64_t n, const char *name, err *e)
{
    *out = NULL;
    zip_in *z = new_handle(name, e);
    return z && check_archive(out, z, open_bytes(z, bytes, n, e), e);
}

void zip_in_close(zip_in *z)
{
    if (!z)
        return;
    if (z->zip)
        zip_discard(z->zip);
    free(z->name);
    free(z);
}

const char *zip_in_path(const zip_in *z) { return z->name; }

int64_t zip_in_count(const zip_in *z) { return z->n; }

const char *zip_in_name(const zip_in *z, int64_t i)
{
    return zip_get_name(z->zip, (zip_uint64_t)i, 0);
}

int64_t zip_in_find(const zip_in *z, const char *name)
{
    return (int64_t)zip_name_locate(z->zip, name, 0);
}

// A size in a header costs memory before a byte is read: deflate packs at most 1032 to 1.
static bool size_is_possible(const zip_stat_t *st)
{
    uint64_t most = st->comp_size;
    if (st->comp_method == ZIP_CM_STORE)
        return st->size == st->comp_size;
    return !size_mul(most, 1100, &most) || st->size <= most;
}

// The bytes and then the end, where libzip compares the checksum.
static bool read_member(zip_file_t *f, unsigned char *to, const zip_stat_t *st, const char *archive,
                        err *e)
{
    unsigned char excess;
    uint64_t got = 0;
    zip_int64_t r = 1;
    while (r > 0 && got < st->size) {
        r = zip_fread(f, to + got, st->size - got);
        got += r > 0 ? (uint64_t)r : 0;
    }
    if (r > 0)
        r = zip_fread(f, &excess, 1);
    if (r < 0)
        return member_failed(archive, st->name, zip_file_get_error(f), e);
    return (r == 0 && got == st->size) ||
           err_set(e, ERR_INPUT, "'%s': member '%s' has not the %llu bytes its header says",
                   archive, st->name, (unsigned long long)st->size);
}

bool zip_in_read(zip_in *z, int64_t i, uint64_t max_bytes, void **bytes, uint64_t *n, err *e)
{
    zip_stat_t st;
    *bytes = NULL;
    *n = 0;
    if (zip_stat_index(z->zip, (zip_uint64_t)i, 0, &st) != 0)
        return member_failed(z->name, "?", zip_get_error(z->zip), e);
    if (st.size > max_bytes)
        return err_set(e, ERR_INPUT, "'%s': member '%s' has %llu bytes, the most allowed here is "
                       "%llu", z->name, st.name, (unsigned long long)st.size,
                       (unsigned long long)max_bytes);
    if (!size_is_possible(&st))
        return err_set(e, ERR_INPUT, "'%s': member '%s' cannot have %llu bytes, %llu are stored",
                       z->name, st.name, (unsigned long long)st.size,
                       (unsigned long long)st.comp_size);
    unsigned char *to = mem_new_aligned(st.size, 1, st.name, e);
    if (!to)
        return false;
    zip_file_t *f = zip_fopen_index(z->zip, (zip_uint64_t)i, 0);
    bool ok = f ? read_member(f, to, &st, z->name, e)
                : member_failed(z->name, st.name, zip_get_error(z->zip), e);
    if (f)
        (void)zip_fclose(f);
    if (!ok) {
        free(to);
        return false;
    }
    *bytes = to;
    *n = st.size;
    return true;
}

// One member on its way into an archive: libzip asks in small pieces, the producer is asked in
// large ones.
enum { PIECE = 1 << 20 };

typedef struct {
    const zip_member *member;
    unsigned char *piece; // [PIECE], shared: libzip reads one member after the other
    uint64_t at, in_piece, taken;
    err *failure;
    zip_error_t error;
} feed;

static zip_int64_t feed_read(feed *s, unsigned char *to, uint64_t n)
{
    uint64_t given = 0;
    while (given < n) {
        if (s->taken == s->in_piece) {
            uint64_t left = s->member->size - s->at;
            uint64_t want = left < PIECE ? left : PIECE;
            if (want == 0)
                break;
            if (!s->member->read(s->member->ctx, s->at, s->piece, want, s->failure)) {
                zip_error_set(&s->error, ZIP_ER_READ, 0);
                return -1;
            }
            s->at += want;
            s->in_piece = want;
            s->taken = 0;
        }
        uint64_t part = s->in_piece - s->taken;
        part = part < n - given ? part : n - given;
        memcpy(to + given, s->piece + s->taken, part);
        s->taken += part;
        given += part;
    }
    return (zip_int64_t)given;
}

static zip_int64_t feed_call(void *ctx, void *data, zip_uint64_t n, zip_source_cmd_t command)
{
    feed *s = ctx;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        s->at = s->in_piece = s->taken = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return feed_read(s, data, n);
    case ZIP_SOURCE_STAT: {
        zip_stat_t *st = data;
        zip_stat_init(st);
        st->size = st->comp_size = s->member->size;
        st->comp_method = ZIP_CM_STORE;
        st->valid = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
        return sizeof *st;
    }
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&s->error, data, n);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                              ZIP_SOURCE_SUPPORTS, -1);
    default:
        zip_error_set(&s->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

// Everything that could differ from run to run is set: time, attributes, packing.
static bool add_member(zip_t *zip, feed *s)
{
    enum { DOS_DATE_1980_01_01 = 1 << 5 | 1 };
    const zip_uint32_t rw_r_r = (zip_uint32_t)0100644 << 16;
    zip_source_t *source = zip_source_function(zip, feed_call, s);
    zip_int64_t at = source ? zip_file_add(zip, s->member->name, source, ZIP_FL_ENC_UTF_8) : -1;
    if (at < 0) {
        zip_source_free(source);
        return false;
    }
    zip_uint64_t i = (zip_uint64_t)at;
    return zip_set_file_compression(zip, i, ZIP_CM_STORE, 0) == 0 &&
           zip_file_set_dostime(zip, i, 0, DOS_DATE_1980_01_01, 0) == 0 &&
           zip_file_set_external_attributes(zip, i, 0, ZIP_OPSYS_UNIX, rw_r_r) == 0;
}

static bool add_members(zip_t *zip, feed *feeds, int64_t n, err *failure, err *e)
{
    for (int64_t i = 0; i < n; i++) {
        feeds[i].failure = failure;
        if (!add_member(zip, &feeds[i])) {
            bool memory = zip_error_code_zip(zip_get_error(zip)) == ZIP_ER_MEMORY;
            return err_set(e, memory ? ERR_ENV : ERR_INTERNAL, "member '%s': %s",
                           feeds[i].member->name, zip_strerror(zip));
        }
    }
    return true;
}

// Fills the file `temp`, which does not exist yet.
static bool fill(const char *temp, feed *feeds, int64_t n, err *e)
{
    int code;
    err failure = ERR_INIT; // the producer's
    if (!openssl_ready(e))
        return false;
    zip_t *zip = zip_open(temp, ZIP_CREATE | ZIP_EXCL, &code);
    if (!zip) {
        code_failed(code, e);
        e->kind = ERR_ENV;
        return false;
    }
    if (add_members(zip, feeds, n, &failure, e)) {
        if (zip_close(zip) == 0)
            return true;
        if (failure.kind != ERR_NONE)
            *e = failure;
        else
            err_set(e, ERR_ENV, "%s", zip_strerror(zip));
    }
    zip_discard(zip);
    return false;
}

static bool sync_file(const char *path, err *e)
{
    int fd = sys_open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(e, "cannot open '%s'", path);
    bool ok = sys_fsync(fd) == 0 || err_sys(e, "cannot make '%s' durable", path);
    (void)close(fd);
    return ok;
}

static feed *feeds_new(const zip_member *members, int64_t n, unsigned char *piece, err *e)
{
    feed *feeds = mem_new((uint64_t)n, sizeof *feeds, "zip members", e);
    for (int64_t i = 0; feeds && i < n; i++) {
        feeds[i] = (feed){.member = &members[i], .piece = piece};
        zip_error_init(&feeds[i].error);
    }
    return feeds;
}

static bool enough_space(const char *dir, const zip_member *members, int64_t n, err *e)
{
    enum { HEADERS = 256 }; // local, central and zip64 ones, names apart
    uint64_t total = HEADERS;
    for (int64_t i = 0; i < n; i++)
        if (!size_add(total, HEADERS + 2 * strlen(members[i].name), &total) ||
            !size_add(total, members[i].size, &total))
            return err_set(e, ERR_INTERNAL, "a zip archive of more than 2^64 bytes");
    return out_has_space(dir, total, e);
}

bool zip_write(const char *dir, const char *name, const zip_member *members, int64_t n,
               bool replace, err *e)
{
    bool ok = false;
    char *temp = NULL;
    feed *feeds = NULL;
    if (n < 1 || n > MOST_MEMBERS)
        return err_set(e, ERR_INTERNAL, "'%s/%s': a zip archive of %lld members", dir, name,
                       (long long)n);
    unsigned char *piece = mem_new_aligned(PIECE, 1, "a zip archive", e);
    if (!piece || !enough_space(dir, members, n, e))
        goto out;
    feeds = feeds_new(members, n, piece, e);
    temp = feeds ? out_temp_path(dir, name, e) : NULL;
    if (!temp)
        goto out;
    if (!fill(temp, feeds, n, e)) {
        err_in(e, "writing '%s/%s'", dir, name);
        goto out;
    }
    if (!sync_file(temp, e)) {
        (void)unlink(temp);
        goto out;
    }
    ok = out_publish_temp(temp, dir, name, replace, e);
out:
    for (int64_t i = 0; feeds && i < n; i++)
        zip_error_fini(&feeds[i].error);
    free(feeds);
    free(temp);
    free(piece);
    return ok;
}

const char *libzip_library(char *buf)
{
    (void)buf;
    return zip_libzip_version();
}
