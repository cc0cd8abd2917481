// SPDX-License-Identifier: Apache-2.0
// A ring of blocks. Readers take blocks in the ring's order: under one lock a reader waits for the
// next block to be free and decides which pieces of which ranges go into it, then it reads them
// while the next reader plans the next block. The caller empties the blocks in the same order, so
// what it sees does not depend on how many readers there are or who is faster.
#include "base/stream.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    PAGE = 4096,            // what O_DIRECT wants of addresses, offsets and lengths
    SMALL = 256 << 10,      // ranges below go through the page cache
    LEAST_BLOCK = 256 << 10,
    MOST_BLOCK = 1 << 20,   // larger ones are slower: what was read is no longer in a cache
    FEW_BLOCKS = 32,        // of MOST_BLOCK each, below which blocks get smaller
    MOST_PIECES = 64,       // of a block
    READERS = 4,            // requests that a disk has at a time
    MOST_READERS = 8
};

typedef struct {
    const in_file *file;
    uint64_t offset, bytes;
    uint64_t at;            // in the block; where direct, as far into a page as the offset is
    bool direct;
} piece;

typedef enum { EMPTY, READING, FULL } block_state;

typedef struct {
    char *bytes;
    piece piece[MOST_PIECES];
    int n, good;            // pieces; how many of them were read
    block_state state;      // FULL until the caller gives it back
    bool last;              // nothing comes behind it
    err failure;            // behind the good pieces; ERR_NONE: none
} block;

typedef struct {
    stream *of;
    pthread_t thread;
    const in_file *file;    // that `direct` belongs to
    int direct;             // its second descriptor, with O_DIRECT; -1: the file is read buffered
    bool cannot_tell;       // what the page cache holds
} reader;

struct stream {
    stream_ranges next;
    void *ctx;
    bool buffered;
    char *memory;
    uint64_t memory_bytes, block_bytes;
    block *block;
    uint64_t n_blocks;
    reader reader[MOST_READERS];
    int n_readers;

    pthread_mutex_t planning; // guards what follows, and the calls of `next`
    uint64_t planned;         // blocks so far; the next one is planned % n_blocks
    stream_range now;         // what is left of the range that is being cut up
    bool now_direct;
    stream_range ahead;       // pulled while looking for what adjoins; empty: none
    bool ended;               // `next` gave its last, or failed
    bool over;                // the last block is planned
    err failure;              // its failure

    pthread_mutex_t lock;     // guards `state` of all blocks and `stop`
    pthread_cond_t emptied, filled;
    bool stop;

    // For the caller's thread alone.
    uint64_t taken;           // blocks it has given back
    uint64_t lent;            // blocks behind those that it has emptied and not given back yet
    bool has;                 // the next one is known to be full
    int at_piece;
    uint64_t at_byte;         // of that piece
};

// ---- planning --------------------------------------------------------------------------------

// The next range that is not empty into *r; an empty one where there is none.
static void pull(stream *s, stream_range *r)
{
    *r = s->ahead;
    s->ahead = (stream_range){0};
    while (r->bytes == 0 && !s->ended) {
        bool end = false;
        uint64_t past;
        if (!s->next(s->ctx, r, &end, &s->failure) || end) {
            s->ended = true;
        } else if (!size_add(r->offset, r->bytes, &past) || past > INT64_MAX) {
            err_set(&s->failure, ERR_INPUT, "'%s': %llu bytes at offset %llu lie beyond any file",
                    r->file->name, (unsigned long long)r->bytes, (unsigned long long)r->offset);
            s->ended = true;
        }
        if (s->ended)
            *r = (stream_range){0};
    }
}

// Makes `now` the longest run of adjoining ranges that a block may need. False: nothing is left.
static bool look_ahead(stream *s)
{
    bool fresh = s->now.bytes == 0;
    if (fresh)
        pull(s, &s->now);
    while (s->now.bytes && s->now.bytes < s->block_bytes) {
        stream_range more;
        pull(s, &more);
        if (more.bytes == 0 || more.file != s->now.file ||
            more.offset != s->now.offset + s->now.bytes) {
            s->ahead = more;
            break;
        }
        s->now.bytes += more.bytes;
    }
    if (fresh)
        s->now_direct = !s->buffered && s->now.bytes >= SMALL;
    return s->now.bytes > 0;
}

// Cuts the next pieces off. Where a direct piece fills the block, the next one begins at a page.
static void plan_block(stream *s, block *b)
{
    uint64_t used = 0;
    b->n = 0;
    b->failure = (err)ERR_INIT;
    b->last = false;
    while (b->n < MOST_PIECES) {
        if (!look_ahead(s)) {
            b->last = s->over = true;
            b->failure = s->failure;
            return;
        }
        uint64_t at = used;
        if (s->now_direct)
            at = (used + PAGE - 1) / PAGE * PAGE + s->now.offset % PAGE;
        if (at >= s->block_bytes)
            return;
        uint64_t n = s->now.bytes, room = s->block_bytes - at;
        if (n > room && b->n > 0 && room < SMALL)
            return; // better whole in the next one
        n = n < room ? n : room;
        b->piece[b->n++] = (piece){s->now.file, s->now.offset, n, at, s->now_direct};
        s->now.offset += n;
        s->now.bytes -= n;
        used = at + n;
    }
}

// ---- reading ---------------------------------------------------------------------------------

static void close_direct(reader *r)
{
    if (r->direct >= 0)
        (void)close(r->direct);
    r->direct = -1;
}

static void give_up_direct(reader *r, const in_file *f)
{
    close_direct(r);
    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
}

// A descriptor of its own: flags belong to the open file, and the caller's stays as it is.
static void open_direct(reader *r, const in_file *f)
{
    char path[40];
    close_direct(r);
    r->file = f;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", f->fd);
    r->direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (r->direct < 0)
        give_up_direct(r, f);
}

// Through the page cache, which keeps nothing of it: a file that is read once would only push out
// what others use.
static bool read_buffered(const piece *p, char *to, err *e)
{
    bool ok = in_read(p->file, p->offset, to, p->bytes, e);
    (void)posix_fadvise(p->file->fd, (off_t)p->offset, (off_t)p->bytes, POSIX_FADV_DONTNEED);
    return ok;
}

// Whether all of the piece lies in the page cache, as it does behind a download: then reading it
// from the disk again would be slower. Linux from 6.5 on tells, and of the user's own files only.
static bool is_cached(reader *r, const piece *p)
{
    enum { CACHESTAT = 451 }; // on every architecture; older headers do not name it
    struct { uint64_t offset, bytes; } range = {p->offset, p->bytes};
    struct { uint64_t cached, dirty, writeback, evicted, recently_evicted; } pages = {0};
    if (!r->cannot_tell && syscall(CACHESTAT, p->file->fd, &range, &pages, 0) != 0)
        r->cannot_tell = true;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t n = (p->offset + p->bytes + page - 1) / page - p->offset / page;
    return !r->cannot_tell && pages.cached >= n;
}

// The pages around the piece.
static bool read_direct(reader *r, const piece *p, char *room, err *e)
{
    uint64_t lead = p->offset % PAGE;
    uint64_t window = (lead + p->bytes + PAGE - 1) / PAGE * PAGE;
    char *to = room + p->at;
    ssize_t got;
    do
        got = pread(r->direct, to - lead, window, (off_t)(p->offset - lead));
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EINVAL) { // the file system wants more than PAGE, or never meant it
        give_up_direct(r, p->file);
        return read_buffered(p, to, e);
    }
    if (got < 0)
        return err_sys(e, "cannot read '%s' at offset %llu", p->file->name,
                       (unsigned long long)p->offset);
    uint64_t have = (uint64_t)got > lead ? (uint64_t)got - lead : 0;
    // Behind a short read offsets are odd; what it left is little, or an error that in_read tells.
    return have >= p->bytes ||
           in_read(p->file, p->offset + have, to + have, p->bytes - have, e);
}

static bool read_piece(reader *r, const piece *p, char *room, err *e)
{
    if (!p->direct || is_cached(r, p))
        return in_read(p->file, p->offset, room + p->at, p->bytes, e);
    if (r->file != p->file)
        open_direct(r, p->file);
    return r->direct < 0 ? read_buffered(p, room + p->at, e) : read_direct(r, p, room, e);
}

// The next block, planned; NULL where there is none or the stream is closed.
static block *next_block(stream *s)
{
    block *b = &s->block[s->planned % s->n_blocks];
    if (s->over)
        return NULL;
    (void)pthread_mutex_lock(&s->lock);
    while (b->state != EMPTY && !s->stop)
        (void)pthread_cond_wait(&s->emptied, &s->lock);
    bool stop = s->stop;
    b->state = READING;
    (void)pthread_mutex_unlock(&s->lock);
    if (stop)
        return NULL;
    plan_block(s, b);
    s->planned++;
    return b;
}

static void *reader_main(void *arg)
{
    reader *r = arg;
    stream *s = r->of;
    for (;;) {
        (void)pthread_mutex_lock(&s->planning);
        block *b = next_block(s);
        (void)pthread_mutex_unlock(&s->planning);
        if (!b)
            break;
        err failure = ERR_INIT;
        for (b->good = 0; b->good < b->n; b->good++)
            if (!read_piece(r, &b->piece[b->good], b->bytes, &failure))
                break;
        if (b->good < b->n)
            b->failure = failure;
        (void)pthread_mutex_lock(&s->lock);
        b->state = FULL;
        (void)pthread_cond_signal(&s->filled);
        (void)pthread_mutex_unlock(&s->lock);
    }
    close_direct(r);
    return NULL;
}

// ---- for the caller --------------------------------------------------------------------------

static bool start_readers(stream *s, int n, err *e)
{
    sigset_t all, before;
    int number = 0;
    (void)sigfillset(&all); // signals are for the thread that the command runs in
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (number == 0 && s->n_readers < n) {
        reader *r = &s->reader[s->n_readers];
        *r = (reader){.of = s, .direct = -1};
        number = pthread_create(&r->thread, NULL, reader_main, r);
        s->n_readers += number == 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (s->n_readers > 0)
        return true; // fewer readers are slower and nothing else
    errno = number;
    return err_sys(e, "cannot start a thread that reads");
}

static bool take_memory(stream *s, uint64_t memory, err *e)
{
    memory = memory < STREAM_LEAST ? STREAM_LEAST : memory;
    uint64_t bytes = memory / FEW_BLOCKS / PAGE * PAGE;
    bytes = bytes < LEAST_BLOCK ? LEAST_BLOCK : bytes;
    s->block_bytes = bytes > MOST_BLOCK ? MOST_BLOCK : bytes;
    s->n_blocks = memory / s->block_bytes;
    s->memory_bytes = s->n_blocks * s->block_bytes;
    s->block = mem_new(s->n_blocks, sizeof *s->block, "blocks to read into", e);
    if (!s->block)
        return false;
    s->memory = mem_pages(s->memory_bytes, "blocks to read into", e);
    if (!s->memory)
        return false;
    for (uint64_t i = 0; i < s->n_blocks; i++)
        s->block[i].bytes = s->memory + i * s->block_bytes;
    return true;
}

bool stream_open(stream **out, stream_ranges next, void *ctx, const stream_options *o, err *e)
{
    *out = NULL;
    assert(o->readers >= 0 && o->readers <= MOST_READERS);
    stream *s = mem_new(1, sizeof *s, "a stream", e);
    if (!s)
        return false;
    s->next = next;
    s->ctx = ctx;
    s->buffered = o->buffered;
    (void)pthread_mutex_init(&s->planning, NULL); // with default attributes these cannot fail on
    (void)pthread_mutex_init(&s->lock, NULL);     // Linux
    (void)pthread_cond_init(&s->emptied, NULL);
    (void)pthread_cond_init(&s->filled, NULL);
    if (!take_memory(s, o->memory, e) || !start_readers(s, o->readers ? o->readers : READERS, e)) {
        stream_close(s);
        return false;
    }
    *out = s;
    return true;
}

// Block number k behind those given back, full. Waits for it.
static block *full_block(stream *s, uint64_t k)
{
    block *b = &s->block[(s->taken + k) % s->n_blocks];
    (void)pthread_mutex_lock(&s->lock);
    while (b->state != FULL)
        (void)pthread_cond_wait(&s->filled, &s->lock);
    (void)pthread_mutex_unlock(&s->lock);
    return b;
}

static void give_back(stream *s, uint64_t n)
{
    (void)pthread_mutex_lock(&s->lock);
    for (uint64_t k = 0; k < n; k++)
        s->block[(s->taken + k) % s->n_blocks].state = EMPTY;
    (void)pthread_cond_signal(&s->emptied); // one reader at most waits, the others for it
    (void)pthread_mutex_unlock(&s->lock);
    s->taken += n;
}

// The block that the caller is at, full; those before it go back.
static block *present(stream *s)
{
    if (s->lent)
        give_back(s, s->lent);
    s->lent = 0;
    block *b = s->has ? &s->block[s->taken % s->n_blocks] : full_block(s, 0);
    if (!s->has) {
        s->has = true;
        s->at_piece = 0;
        s->at_byte = 0;
    }
    return b;
}

// Moves on behind the caller's block, which stays his until the next call.
static void leave(stream *s)
{
    s->lent++;
    s->has = false;
}

bool stream_take(stream *s, uint64_t most, const void **bytes, uint64_t *n, err *e)
{
    assert(most > 0);
    *bytes = NULL;
    *n = 0;
    for (;;) {
        block *b = present(s);
        const piece *p = &b->piece[s->at_piece];
        if (s->at_piece < b->good && s->at_byte < p->bytes) {
            *n = p->bytes - s->at_byte < most ? p->bytes - s->at_byte : most;
            *bytes = b->bytes + p->at + s->at_byte;
            s->at_byte += *n;
            return true;
        }
        if (s->at_piece < b->good) {
            s->at_piece++;
            s->at_byte = 0;
        } else if (b->failure.kind != ERR_NONE) {
            *e = b->failure;
            return false;
        } else if (b->last) {
            return true;
        } else {
            leave(s);
        }
    }
}

const void *stream_lend(stream *s, uint64_t n)
{
    block *b = present(s);
    uint64_t k = 0, byte = s->at_byte;
    int i = s->at_piece;
    const char *from = NULL, *next = NULL;
    for (;;) {
        if (i == b->good) {
            // The ring's first block does not lie behind its last one.
            if (b->last || b->failure.kind != ERR_NONE || b + 1 == s->block + s->n_blocks)
                return NULL;
            b = full_block(s, ++k);
            i = 0;
            continue;
        }
        const piece *p = &b->piece[i];
        uint64_t some = p->bytes - byte < n ? p->bytes - byte : n;
        const char *at = b->bytes + p->at + byte;
        if (some) {
            if (next && at != next)
                return NULL;
            from = from ? from : at;
            next = at + some;
            n -= some;
        }
        if (n == 0) {
            byte += some;
            break;
        }
        i++;
        byte = 0;
    }
    s->lent = k;
    s->at_piece = i;
    s->at_byte = byte;
    return from;
}

bool stream_read(stream *s, void *to, uint64_t n, err *e)
{
    const void *bytes;
    uint64_t some;
    for (char *p = to; n; p += some, n -= some) {
        if (!stream_take(s, n, &bytes, &some, e))
            return false;
        if (some == 0)
            return err_set(e, ERR_INTERNAL, "a stream ended %llu bytes early",
                           (unsigned long long)n);
        memcpy(p, bytes, some);
    }
    return true;
}

void stream_close(stream *s)
{
    if (!s)
        return;
    (void)pthread_mutex_lock(&s->lock);
    s->stop = true;
    (void)pthread_cond_broadcast(&s->emptied);
    (void)pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->n_readers; i++)
        (void)pthread_join(s->reader[i].thread, NULL);
    (void)pthread_cond_destroy(&s->filled);
    (void)pthread_cond_destroy(&s->emptied);
    (void)pthread_mutex_destroy(&s->lock);
    (void)pthread_mutex_destroy(&s->planning);
    mem_pages_free(s->memory, s->memory_bytes);
    free(s->block);
    free(s);
}
