// SPDX-License-Identifier: Apache-2.0
// To be preloaded: counts the allocations of a process, libraries' too, and lets the n-th fail.
// Allocations are calls of malloc, calloc, realloc, aligned_alloc, posix_memalign, memalign and
// mmap; what the C library allocates for strdup, fopen or qsort comes through malloc as well.
//
//   FAULT_AT=N        the N-th fails (0 or absent: none); N counts all threads together
//   FAULT_STICKY=1    and all after it
//   FAULT_SEEN=FILE   the number of allocations so far, 8 bytes, and as many for those that failed;
//                     kept up to date, so a crash does not lose it
//   FAULT_STACKS=FILE one 8-byte number an allocation: a digest of the calls that led to it
//
// Where the program is built with AddressSanitizer, its allocator stays behind this one. What the
// sanitizer itself asks for is not counted: it looks at a thread's stack with pthread_getattr_np,
// which allocates, and ends the process where that fails.
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEPTH = 24, MOST = 1 << 20 };

typedef struct {
    uint64_t seen, failed;
} counters;

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void (*free)(void *);
    int (*pthread_getattr_np)(pthread_t, pthread_attr_t *);
} real;

static counters own, *count = &own;
static uint64_t *stacks;
static uint64_t at;
static bool sticky, ready;
static __thread bool inside; // what looking at a stack allocates is not counted

// dlsym itself may allocate before the real functions are known.
static _Alignas(16) unsigned char early[1 << 14];
static size_t early_used;

static void *early_new(size_t n)
{
    size_t bytes = (n + 15) & ~(size_t)15;
    if (bytes > sizeof early - early_used)
        return NULL;
    void *p = early + early_used;
    early_used += bytes;
    return p;
}

static bool is_early(const void *p)
{
    return (uintptr_t)p >= (uintptr_t)early && (uintptr_t)p < (uintptr_t)early + sizeof early;
}

// The C library's documented way to make a function pointer out of dlsym's object pointer.
#define FIND(name) (*(void **)&real.name = dlsym(RTLD_NEXT, #name))

static void find(void)
{
    static bool finding;
    if (real.free || finding)
        return;
    finding = true;
    FIND(malloc);
    FIND(calloc);
    FIND(realloc);
    FIND(aligned_alloc);
    FIND(memalign);
    FIND(posix_memalign);
    FIND(pthread_getattr_np);
    FIND(free);
    finding = false;
}

static void *map_file(const char *variable, size_t bytes)
{
    const char *path = getenv(variable);
    int fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    if (fd < 0)
        return NULL;
    void *p = MAP_FAILED;
    if (ftruncate(fd, (off_t)bytes) == 0)
        p = (void *)syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0L);
    (void)close(fd);
    return p == MAP_FAILED ? NULL : p;
}

__attribute__((constructor)) static void begin(void)
{
    find();
    const char *n = getenv("FAULT_AT");
    at = n ? strtoull(n, NULL, 10) : 0;
    sticky = getenv("FAULT_STICKY") != NULL;
    counters *shared = map_file("FAULT_SEEN", sizeof *shared);
    if (shared)
        count = shared;
    stacks = map_file("FAULT_STACKS", MOST * sizeof *stacks);
    if (stacks) {
        void *frame[2];
        (void)backtrace(frame, 2); // loads the unwinder, which allocates
    }
    ready = true;
}

static uint64_t digest_of_stack(void)
{
    void *frame[DEPTH];
    uint64_t sum = 1469598103934665603U;
    inside = true;
    int n = backtrace(frame, DEPTH);
    inside = false;
    for (int i = 0; i < n; i++)
        sum = (sum ^ (uint64_t)(uintptr_t)frame[i]) * 1099511628211U;
    return sum;
}

// True where this allocation is to fail.
static bool fails(void)
{
    if (!ready || inside)
        return false;
    uint64_t n = __atomic_add_fetch(&count->seen, 1, __ATOMIC_RELAXED);
    if (stacks && n <= MOST)
        stacks[n - 1] = digest_of_stack();
    if (at == 0 || n < at || (n > at && !sticky))
        return false;
    (void)__atomic_add_fetch(&count->failed, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n)
{
    find();
    if (!real.malloc)
        return early_new(n);
    return fails() ? NULL : real.malloc(n);
}

void *calloc(size_t n, size_t size)
{
    find();
    if (!real.calloc)
        return early_new(n * size); // of zeros
    return fails() ? NULL : real.calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    find();
    if (is_early(p)) {
        void *q = malloc(n);
        if (q)
            memcpy(q, p, n < (size_t)(early + sizeof early - (unsigned char *)p)
                             ? n
                             : (size_t)(early + sizeof early - (unsigned char *)p));
        return q;
    }
    return fails() ? NULL : real.realloc(p, n);
}

void *aligned_alloc(size_t to, size_t n)
{
    find();
    return fails() ? NULL : real.aligned_alloc(to, n);
}

void *memalign(size_t to, size_t n)
{
    find();
    return fails() ? NULL : real.memalign(to, n);
}

int posix_memalign(void **p, size_t to, size_t n)
{
    find();
    return fails() ? ENOMEM : real.posix_memalign(p, to, n);
}

void *mmap(void *address, size_t n, int protection, int flags, int fd, off_t offset)
{
    if (fails())
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, n, protection, flags, fd, offset);
}

void free(void *p)
{
    find();
    if (!is_early(p) && real.free)
        real.free(p);
}

int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    find();
    bool outer = inside;
    inside = true;
    int error = real.pthread_getattr_np(thread, attributes);
    inside = outer;
    return error;
}
