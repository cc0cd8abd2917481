// SPDX-License-Identifier: Apache-2.0
#include "base/out_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    BLOCKS = 4,
    PAGE = 4096,            // the alignment of O_DIRECT that every file system accepts
    LEAST_BLOCK = 64 << 10,
    MOST_BLOCK = 8 << 20,
    PIECE = 128 << 10       // that is hashed at a time
};

// Block k of the file lies at base + k * block and in slot k % BLOCKS. Counters only grow; a block
// is free when it has been written and hashed.
struct out_ring {
    out_ring_options o;
    uint64_t base;          // `begin` rounded down to a page
    unsigned char *memory, *slot[BLOCKS];
    uint64_t length[BLOCKS];
    uint64_t at;            // bytes in the block that is being filled, the appender's
    bool direct;            // the writer's; the appender's when that is gone
    uint64_t written_back;  // buffered: up to here the file is on the disk

    pthread_mutex_t lock;   // guards what follows
    pthread_cond_t changed;
    uint64_t filled, written, hashed;
    bool last;              // no block follows
    bool failed;
    err failure;
    pthread_t writer, hasher;
    bool has_writer, has_hasher;
};

uint64_t out_ring_block(uint64_t memory)
{
    uint64_t block = memory / BLOCKS / PAGE * PAGE;
    return block < LEAST_BLOCK ? LEAST_BLOCK : block > MOST_BLOCK ? MOST_BLOCK : block;
}

// ---- the threads -----------------------------------------------------------------------------

static void fail(out_ring *r, const err *failure)
{
    (void)pthread_mutex_lock(&r->lock);
    if (!r->failed)
        r->failure = *failure;
    r->failed = true;
    (void)pthread_cond_broadcast(&r->changed);
    (void)pthread_mutex_unlock(&r->lock);
}

// Waits for block number *done; false where there will be none.
static bool next_block(out_ring *r, const uint64_t *done)
{
    (void)pthread_mutex_lock(&r->lock);
    while (*done == r->filled && !r->last && !r->failed)
        (void)pthread_cond_wait(&r->changed, &r->lock);
    bool there = *done < r->filled && !r->failed;
    (void)pthread_mutex_unlock(&r->lock);
    return there;
}

static void block_done(out_ring *r, uint64_t *done)
{
    (void)pthread_mutex_lock(&r->lock);
    ++*done;
    (void)pthread_cond_broadcast(&r->changed);
    (void)pthread_mutex_unlock(&r->lock);
}

static bool set_direct(out_ring *r, bool on)
{
    int flags = fcntl(r->o.to.fd, F_GETFL);
    if (flags < 0 || fcntl(r->o.to.fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) != 0)
        return false;
    r->direct = on;
    return true;
}

// The kernel tells errors of write-out to the first one who asks, so they count here as well.
static bool write_out(const out_ring *r, uint64_t offset, uint64_t n, unsigned flags, err *e)
{
    if (n == 0 || sync_file_range(r->o.to.fd, (off_t)offset, (off_t)n, flags) == 0 ||
        (errno != EIO && errno != ENOSPC && errno != EDQUOT))
        return true;
    return out_cannot_write(r->o.to.dir, r->o.to.name, r->o.to.size, e);
}

// Bytes up to `end` have just gone into the page cache: the disk begins with them at once, and what
// lies OUT_DIRTY behind has to be there.
static bool bound_dirty(out_ring *r, uint64_t offset, uint64_t end, err *e)
{
    if (!write_out(r, offset, end - offset, SYNC_FILE_RANGE_WRITE, e))
        return false;
    if (end - r->base < OUT_DIRTY || end - OUT_DIRTY <= r->written_back)
        return true;
    uint64_t from = r->written_back, n = end - OUT_DIRTY - from;
    r->written_back += n;
    if (!write_out(r, from, n, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                   SYNC_FILE_RANGE_WAIT_AFTER, e))
        return false;
    (void)posix_fadvise(r->o.to.fd, (off_t)from, (off_t)n, POSIX_FADV_DONTNEED);
    return true;
}

// A file system may accept the flag and still refuse the alignment, or take a part whose end is
// none: the rest then goes through the page cache.
static bool write_direct(out_ring *r, const unsigned char *bytes, uint64_t n, uint64_t offset,
                         uint64_t *put, err *e)
{
    for (*put = 0; *put < n;) {
        ssize_t done = pwrite(r->o.to.fd, bytes + *put, n - *put, (off_t)(offset + *put));
        if (done > 0) {
            *put += (uint64_t)done;
            continue;
        }
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0 && errno == EINVAL && set_direct(r, false))
            return true;
        errno = done == 0 ? ENOSPC : errno;
        return out_cannot_write(r->o.to.dir, r->o.to.name,
                                r->o.to.size ? r->o.to.size : offset + n, e);
    }
    return true;
}

// The bytes [skip, n) of a block; where they are written past the page cache, only whole pages.
static bool write_block(out_ring *r, const unsigned char *bytes, uint64_t skip, uint64_t n,
                        uint64_t offset, err *e)
{
    uint64_t put = 0;
    if (r->direct && !write_direct(r, bytes, n / PAGE * PAGE, offset, &put, e))
        return false;
    if (r->direct)
        return true;
    put = put < skip ? skip : put; // the header comes last
    return out_write_at(&r->o.to, bytes + put, n - put, offset + put, e) &&
           bound_dirty(r, offset + put, offset + n, e);
}

static void *writer_main(void *arg)
{
    out_ring *r = arg;
    while (next_block(r, &r->written)) {
        uint64_t k = r->written;
        uint64_t skip = k == 0 ? r->o.begin - r->base : 0;
        err e = ERR_INIT;
        if (!write_block(r, r->slot[k % BLOCKS], skip, r->length[k % BLOCKS],
                         r->base + k * r->o.block, &e)) {
            fail(r, &e);
            break;
        }
        block_done(r, &r->written);
    }
    return NULL;
}

static void *hasher_main(void *arg)
{
    out_ring *r = arg;
    while (next_block(r, &r->hashed)) {
        uint64_t k = r->hashed;
        uint64_t skip = k == 0 ? r->o.begin - r->base : 0;
        const unsigned char *bytes = r->slot[k % BLOCKS] + skip;
        uint64_t n = r->length[k % BLOCKS] - skip;
        // Piece by piece, so that the second look finds the bytes in a cache.
        for (uint64_t at = 0; at < n; at += PIECE) {
            uint64_t some = n - at < PIECE ? n - at : PIECE;
            sha256_add(r->o.sha, bytes + at, some);
            if (*r->o.watch)
                (*r->o.watch)(*r->o.watch_ctx, r->base + k * r->o.block + skip + at, bytes + at,
                              some);
        }
        block_done(r, &r->hashed);
    }
    return NULL;
}

// ---- the appender ----------------------------------------------------------------------------

static bool start(out_ring *r, pthread_t *thread, void *(*run)(void *), bool *has, err *e)
{
    int number = pthread_create(thread, NULL, run, r);
    *has = number == 0;
    errno = number;
    return *has || err_sys(e, "cannot start a thread that writes '%s/%s'", r->o.to.dir,
                           r->o.to.name);
}

// Signals are for the thread that the command runs in.
static bool start_threads(out_ring *r, err *e)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = start(r, &r->writer, writer_main, &r->has_writer, e) &&
              start(r, &r->hasher, hasher_main, &r->has_hasher, e);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

bool out_ring_open(out_ring **out, const out_ring_options *o, err *e)
{
    *out = NULL;
    out_ring *r = mem_new(1, sizeof *r, "an output ring", e);
    if (!r)
        return false;
    r->o = *o;
    r->base = o->begin / PAGE * PAGE;
    r->written_back = r->base;
    r->at = o->begin - r->base;
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->changed, NULL);
    r->memory = mem_pages(BLOCKS * o->block, "an output ring", e);
    if (!r->memory) {
        out_ring_close(r);
        return false;
    }
    for (int i = 0; i < BLOCKS; i++)
        r->slot[i] = r->memory + (uint64_t)i * o->block;
    if (!o->buffered)
        (void)set_direct(r, true); // refused: through the page cache
    if (!start_threads(r, e)) {
        out_ring_close(r);
        return false;
    }
    *out = r;
    return true;
}

// Until block `filled` has a free slot.
static bool wait_for_slot(out_ring *r, err *e)
{
    (void)pthread_mutex_lock(&r->lock);
    for (;;) {
        uint64_t done = r->written < r->hashed ? r->written : r->hashed;
        if (r->failed || r->filled - done < BLOCKS)
            break;
        (void)pthread_cond_wait(&r->changed, &r->lock);
    }
    bool ok = !r->failed;
    if (!ok)
        *e = r->failure;
    (void)pthread_mutex_unlock(&r->lock);
    return ok;
}

static void hand_over(out_ring *r, bool last)
{
    (void)pthread_mutex_lock(&r->lock);
    if (r->at) {
        r->length[r->filled % BLOCKS] = r->at;
        r->filled++;
    }
    r->last = last;
    (void)pthread_cond_broadcast(&r->changed);
    (void)pthread_mutex_unlock(&r->lock);
    r->at = 0;
}

// The appender alone changes `filled`.
bool out_ring_append(out_ring *r, const void *bytes, uint64_t n, err *e)
{
    const unsigned char *p = bytes;
    while (n > 0) {
        if (!wait_for_slot(r, e))
            return false;
        uint64_t room = r->o.block - r->at, piece = n < room ? n : room;
        memcpy(r->slot[r->filled % BLOCKS] + r->at, p, piece);
        r->at += piece;
        p += piece;
        n -= piece;
        if (r->at == r->o.block)
            hand_over(r, false);
    }
    return true;
}

static void join(out_ring *r)
{
    if (r->has_writer)
        (void)pthread_join(r->writer, NULL);
    if (r->has_hasher)
        (void)pthread_join(r->hasher, NULL);
    r->has_writer = r->has_hasher = false;
}

bool out_ring_finish(out_ring *r, err *e)
{
    uint64_t rest = r->at, last = r->filled;
    hand_over(r, true);
    join(r);
    if (r->failed) {
        *e = r->failure;
        return false;
    }
    if (!r->direct)
        return true;
    if (!set_direct(r, false))
        return err_sys(e, "cannot change how '%s/%s' is written", r->o.to.dir, r->o.to.name);
    uint64_t whole = rest / PAGE * PAGE;
    return out_write_at(&r->o.to, r->slot[last % BLOCKS] + whole, rest - whole,
                        r->base + last * r->o.block + whole, e);
}

void out_ring_close(out_ring *r)
{
    if (!r)
        return;
    const err stopped = ERR_INIT;
    fail(r, &stopped);
    join(r);
    (void)pthread_cond_destroy(&r->changed);
    (void)pthread_mutex_destroy(&r->lock);
    mem_pages_free(r->memory, BLOCKS * r->o.block);
    free(r);
}
