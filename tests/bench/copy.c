// SPDX-License-Identifier: Apache-2.0
// The ceiling that scripts/bench measures against: how fast this machine copies, or reads, the same
// files when nobody looks at the bytes. O_DIRECT on both sides, several threads with a block each,
// preallocated files, fsync of files and folder. Shares no code with the program it judges.
//
//     copy read THREADS FILE...          copy copy THREADS DIR FILE...
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 8 << 20, SECTOR = 4096, MOST_THREADS = 64 };

typedef struct {
    int from, to; // to -1: only read
    int64_t size, first_block;
} item;

static item *items;
static int n_items;
static int64_t n_blocks;
static atomic_llong next_block;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *work(void *unused)
{
    (void)unused;
    void *block = aligned_alloc(SECTOR, BLOCK);
    if (!block)
        die("memory");
    for (;;) {
        int64_t b = atomic_fetch_add(&next_block, 1);
        if (b >= n_blocks)
            break;
        int i = n_items - 1;
        while (items[i].first_block > b)
            i--;
        int64_t at = (b - items[i].first_block) * BLOCK;
        int64_t n = items[i].size - at < BLOCK ? items[i].size - at : BLOCK;
        size_t whole = ((size_t)n + SECTOR - 1) / SECTOR * SECTOR; // the file is cut afterwards
        if (pread(items[i].from, block, whole, at) != n)
            die("read");
        if (items[i].to >= 0 && pwrite(items[i].to, block, whole, at) != (ssize_t)whole)
            die("write");
    }
    free(block);
    return NULL;
}

static void open_item(item *x, const char *path, const char *dir)
{
    struct stat st;
    char to[4096];
    x->from = open(path, O_RDONLY | O_DIRECT);
    if (x->from < 0 || fstat(x->from, &st) != 0)
        die(path);
    x->size = st.st_size;
    x->to = -1;
    x->first_block = n_blocks;
    n_blocks += (x->size + BLOCK - 1) / BLOCK;
    if (!dir)
        return;
    const char *base = strrchr(path, '/');
    (void)snprintf(to, sizeof to, "%s/%s", dir, base ? base + 1 : path);
    x->to = open(to, O_WRONLY | O_CREAT | O_EXCL | O_DIRECT, 0666);
    if (x->to < 0 || (x->size && fallocate(x->to, 0, 0, x->size) != 0))
        die(to);
}

int main(int argc, char **argv)
{
    int copying = argc > 1 && strcmp(argv[1], "copy") == 0, first = copying ? 4 : 3;
    long threads = argc > first ? strtol(argv[2], NULL, 10) : 0;
    pthread_t id[MOST_THREADS];
    if (threads < 1 || threads > MOST_THREADS || (!copying && strcmp(argv[1], "read") != 0)) {
        fprintf(stderr, "usage: copy read THREADS FILE... | copy copy THREADS DIR FILE...\n");
        return 2;
    }
    n_items = argc - first;
    items = calloc((size_t)n_items, sizeof *items);
    if (!items)
        die("memory");
    for (int i = 0; i < n_items; i++)
        open_item(&items[i], argv[first + i], copying ? argv[3] : NULL);
    for (long i = 0; i < threads; i++)
        if (pthread_create(&id[i], NULL, work, NULL) != 0)
            die("thread");
    for (long i = 0; i < threads; i++)
        pthread_join(id[i], NULL);
    for (int i = 0; i < n_items && copying; i++)
        if (ftruncate(items[i].to, items[i].size) != 0 || fsync(items[i].to) != 0)
            die("finish");
    int dir = copying ? open(argv[3], O_RDONLY | O_DIRECTORY) : -1;
    if (copying && (dir < 0 || fsync(dir) != 0))
        die(argv[3]);
    return 0;
}
