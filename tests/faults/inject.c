// SPDX-License-Identifier: Apache-2.0
// Runs a program and lets its n-th system call go wrong: the process is killed in front of it, gets
// a signal, or the call fails or moves fewer bytes than asked for. A seccomp filter stops the
// program at the calls in question only, so a run costs little more than without a tracer. All
// threads count together, in the order in which their calls begin.
//
//   inject [--class all|io|space|length|read|memory] [--at N] [--do WHAT] [--sticky]
//          [--timeout SECONDS] [--out FILE] [--err FILE] -- PROGRAM ARGUMENT...
//
// WHAT: count (nothing goes wrong), kill, term, int, eio, enospc, eintr, enomem, short (half of the
// bytes), one (one byte), eof (none). --sticky: that call and all after it; eintr and short every
// second one, since none would be no progress. Prints one line of JSON. Status 77 where processes
// cannot be traced. Calls that write to stderr never fail, or nobody would hear.
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CANNOT_TRACE = 77 };

#if !defined(__x86_64__)

int main(void)
{
    (void)fprintf(stderr, "inject: written for x86-64\n");
    return CANNOT_TRACE;
}

#else

enum { LENGTH = 1, READ = 2, PATH_0 = 4, PATH_1 = 8, FD = 16, SPACE = 32, MEMORY = 64, IO = 128 };

typedef struct {
    long number;
    const char *name;
    int traits;
} call;

// LENGTH: argument 2 is a count of bytes that may come out smaller, READ: even none; PATH_n, FD:
// what to name it by; SPACE: fails on a full disk.
static const call calls[] = {
#define CALL(name, traits) {SYS_##name, #name, traits},
    CALL(read, IO | FD | LENGTH | READ) CALL(pread64, IO | FD | LENGTH | READ)
    CALL(write, IO | FD | LENGTH | SPACE) CALL(pwrite64, IO | FD | LENGTH | SPACE)
    CALL(readv, IO | FD) CALL(preadv, IO | FD) CALL(preadv2, IO | FD)
    CALL(writev, IO | FD | SPACE) CALL(pwritev, IO | FD | SPACE) CALL(pwritev2, IO | FD | SPACE)
    CALL(open, IO | PATH_0 | SPACE) CALL(creat, IO | PATH_0 | SPACE)
    CALL(openat, IO | PATH_1 | SPACE) CALL(openat2, IO | PATH_1 | SPACE)
    CALL(close, IO | FD) CALL(stat, IO | PATH_0) CALL(lstat, IO | PATH_0) CALL(fstat, IO | FD)
    CALL(newfstatat, IO | PATH_1) CALL(statx, IO | PATH_1) CALL(statfs, IO | PATH_0)
    CALL(fstatfs, IO | FD) CALL(access, IO | PATH_0) CALL(faccessat, IO | PATH_1)
    CALL(faccessat2, IO | PATH_1) CALL(readlink, IO | PATH_0) CALL(readlinkat, IO | PATH_1)
    CALL(getcwd, IO) CALL(chdir, IO | PATH_0) CALL(getdents64, IO | FD) CALL(lseek, IO | FD)
    CALL(fsync, IO | FD | SPACE) CALL(fdatasync, IO | FD | SPACE)
    CALL(sync_file_range, IO | FD | SPACE) CALL(fallocate, IO | FD | SPACE)
    CALL(ftruncate, IO | FD | SPACE) CALL(truncate, IO | PATH_0 | SPACE)
    CALL(rename, IO | PATH_0 | SPACE) CALL(renameat, IO | PATH_1 | SPACE)
    CALL(renameat2, IO | PATH_1 | SPACE) CALL(link, IO | PATH_0 | SPACE)
    CALL(linkat, IO | PATH_1 | SPACE) CALL(symlink, IO | PATH_0 | SPACE)
    CALL(symlinkat, IO | PATH_0 | SPACE) CALL(unlink, IO | PATH_0) CALL(unlinkat, IO | PATH_1)
    CALL(mkdir, IO | PATH_0 | SPACE) CALL(mkdirat, IO | PATH_1 | SPACE) CALL(rmdir, IO | PATH_0)
    CALL(chmod, IO | PATH_0) CALL(fchmod, IO | FD) CALL(utimensat, IO | PATH_1)
    CALL(flock, IO | FD) CALL(fcntl, IO | FD) CALL(ioctl, IO | FD) CALL(dup, IO | FD)
    CALL(fadvise64, IO | FD) CALL(readahead, IO | FD) CALL(copy_file_range, IO | FD | SPACE)
    CALL(io_setup, IO) CALL(io_submit, IO) CALL(io_getevents, IO) CALL(getrandom, IO)
    CALL(mmap, MEMORY) CALL(mremap, MEMORY) CALL(mprotect, MEMORY) CALL(brk, MEMORY)
    CALL(clone, MEMORY) CALL(clone3, MEMORY)
#undef CALL
};
enum { CALLS = sizeof calls / sizeof *calls };

typedef enum { COUNT, KILL, SIGNAL, FAIL, HALF, ONE, NOTHING } deed;

typedef struct {
    int traits;       // which calls count; 0: all
    long at;          // from 1 on; 0: never
    deed what;
    int number;       // of the signal or error
    bool sticky;
    int timeout;      // seconds
    const char *out, *err;
    char **program;
} job;

typedef struct {
    job j;
    pid_t main;
    bool began;       // main() was reached
    long seen;
    long hits;
    long skipped;     // could not be made to go wrong that way
    const char *name; // of the call that was hit first
    char what[300];   // path or descriptor
    struct timespec hit_at, end_at;
    int status;       // of waitpid
    bool timed_out;
} run;

static const call *call_of(long number)
{
    for (size_t i = 0; i < CALLS; i++)
        if (calls[i].number == number)
            return &calls[i];
    return NULL;
}

// ---- the traced process ----

static bool filter(const job *j)
{
    struct sock_filter code[CALLS + 6];
    unsigned short n = 0;
    const struct sock_filter trap = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, nr));
    if (j->traits) {
        size_t wanted = 1;
        for (size_t i = 0; i < CALLS; i++)
            wanted += (calls[i].traits & j->traits) != 0;
        for (size_t i = 0; i < CALLS; i++)
            if (calls[i].traits & j->traits) {
                code[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                       (unsigned)calls[i].number,
                                                       (unsigned char)(wanted - n + 1), 0);
                n++;
            }
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigaction, 1, 0);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    code[n++] = trap;
    struct sock_fprog program = {.len = n, .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void redirect(const char *path, int to)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    if (path && (fd < 0 || dup2(fd, to) < 0 || close(fd) != 0))
        _exit(126);
}

static void become(const job *j)
{
    redirect(j->out, 1);
    redirect(j->err, 2);
    // A shell that runs things in the background has them ignore SIGINT.
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGHUP, SIG_DFL);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(CANNOT_TRACE);
    (void)raise(SIGSTOP);
    if (!filter(j))
        _exit(CANNOT_TRACE);
    (void)execv(j->program[0], j->program);
    _exit(127);
}

// ---- what goes wrong ----

static void read_text(pid_t pid, unsigned long long address, char *text, size_t room)
{
    // A page at most, so that a name at the end of a mapping is read too.
    size_t n = 4096 - address % 4096;
    struct iovec mine = {text, n < room - 1 ? n : room - 1};
    struct iovec theirs = {(void *)(uintptr_t)address, mine.iov_len};
    ssize_t got = process_vm_readv(pid, &mine, 1, &theirs, 1, 0);
    text[got > 0 ? got : 0] = '\0';
    for (char *c = text; *c; c++)
        if (*c < ' ' || *c == '"' || *c == '\\' || *c == 127)
            *c = '?';
}

static void name_it(run *r, pid_t pid, const call *c, const struct user_regs_struct *regs)
{
    char link[64];
    r->name = c ? c->name : "other";
    if (!c)
        (void)snprintf(r->what, sizeof r->what, "%lld", (long long)regs->orig_rax);
    else if (c->traits & (PATH_0 | PATH_1))
        read_text(pid, c->traits & PATH_0 ? regs->rdi : regs->rsi, r->what, sizeof r->what);
    else if (c->traits & FD) {
        (void)snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, (int)regs->rdi);
        ssize_t n = readlink(link, r->what, sizeof r->what - 1);
        r->what[n > 0 ? n : 0] = '\0';
    }
}

static bool is_direct(pid_t pid, int fd)
{
    char path[64], line[200];
    unsigned flags = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)pid, fd);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "flags: %o", &flags) == 1)
            break;
    if (f)
        (void)fclose(f);
    return flags & O_DIRECT;
}

// A smaller count, or the same where it cannot be smaller. Direct transfers stay whole blocks.
static unsigned long long shorter(const run *r, pid_t pid, const struct user_regs_struct *regs)
{
    unsigned long long n = regs->rdx, block = 1;
    if (is_direct(pid, (int)regs->rdi))
        block = 4096;
    if (n <= block)
        return n;
    unsigned long long half = n / 2 / block * block;
    return r->j.what == ONE || half == 0 ? block : half;
}

static bool set(pid_t pid, const struct user_regs_struct *regs)
{
    return ptrace(PTRACE_SETREGS, pid, NULL, regs) == 0;
}

static bool shorten(run *r, pid_t pid, const call *c, struct user_regs_struct *regs)
{
    if (!c || !(c->traits & LENGTH))
        return false;
    if (r->j.what == NOTHING) {
        if (!(c->traits & READ))
            return false;
        regs->orig_rax = (unsigned long long)-1;
        regs->rax = 0;
        return set(pid, regs);
    }
    unsigned long long n = shorter(r, pid, regs);
    if (n == regs->rdx)
        return false;
    regs->rdx = n;
    return set(pid, regs);
}

static void hit(run *r, pid_t pid, struct user_regs_struct *regs)
{
    const call *c = call_of((long)regs->orig_rax);
    bool done = true;
    if (!r->name)
        name_it(r, pid, c, regs);
    if (r->hits == 0)
        (void)clock_gettime(CLOCK_MONOTONIC, &r->hit_at);
    switch (r->j.what) {
    case COUNT:
        break;
    case KILL:
        done = kill(r->main, SIGKILL) == 0;
        break;
    case SIGNAL:
        done = kill(r->main, r->j.number) == 0;
        break;
    case FAIL:
        // brk fails by answering with an end that lies lower than the one asked for.
        regs->rax = regs->orig_rax == SYS_brk ? 0 : (unsigned long long)-(long long)r->j.number;
        regs->orig_rax = (unsigned long long)-1;
        done = set(pid, regs);
        break;
    case HALF:
    case ONE:
    case NOTHING:
        done = shorten(r, pid, c, regs);
        break;
    }
    r->hits += done;
    r->skipped += !done;
}

// A stop of the filter: counts, and does what is due. False where nothing more is.
static void at_call(run *r, pid_t pid)
{
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
        return; // it has been killed meanwhile
    const call *c = call_of((long)regs.orig_rax);
    if (!r->began && regs.orig_rax == SYS_rt_sigaction && (int)regs.rdi == SIGPIPE) {
        r->began = true; // the handlers of SIGINT, SIGTERM and SIGHUP stand
        if (r->j.traits || r->j.what == SIGNAL)
            return;
    }
    if (!r->began && (r->j.traits || r->j.what == SIGNAL))
        return;
    if (r->j.traits && (!c || !(c->traits & r->j.traits)))
        return;
    bool to_stderr = c && (c->traits & FD) && (int)regs.rdi == 2;
    r->seen++;
    if (r->j.at == 0 || r->seen < r->j.at || (to_stderr && r->j.what >= FAIL))
        return;
    bool every_second = r->j.what == HALF || r->j.what == ONE ||
                        (r->j.what == FAIL && r->j.number == EINTR);
    if (r->seen == r->j.at ||
        (r->j.sticky && (!every_second || (r->seen - r->j.at) % 2 == 0)))
        hit(r, pid, &regs);
}

// ---- the tracer ----

static run *timed; // the run that a timeout ends

static void on_alarm(int number)
{
    (void)number;
    timed->timed_out = true;
    (void)kill(timed->main, SIGKILL);
}

static void follow(run *r)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;) {
        if (pid < 0)
            continue;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == r->main) {
                r->status = status;
                (void)clock_gettime(CLOCK_MONOTONIC, &r->end_at);
            }
            continue;
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        if (event == PTRACE_EVENT_SECCOMP)
            at_call(r, pid);
        if (event || signal == SIGSTOP || signal == SIGTRAP)
            signal = 0;
        (void)ptrace(PTRACE_CONT, pid, NULL, (void *)(uintptr_t)(unsigned)signal);
    }
}

static bool trace(run *r)
{
    int status;
    r->main = fork();
    if (r->main == 0)
        become(&r->j);
    if (r->main < 0 || waitpid(r->main, &status, 0) != r->main || !WIFSTOPPED(status))
        return false;
    uintptr_t options = PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE | PTRACE_O_TRACESECCOMP;
    if (ptrace(PTRACE_SETOPTIONS, r->main, NULL, (void *)options) != 0 ||
        ptrace(PTRACE_CONT, r->main, NULL, NULL) != 0)
        return false;
    timed = r;
    struct sigaction action = {.sa_handler = on_alarm};
    (void)sigaction(SIGALRM, &action, NULL);
    (void)alarm((unsigned)r->j.timeout);
    follow(r);
    return !(WIFEXITED(r->status) && WEXITSTATUS(r->status) == CANNOT_TRACE);
}

static void print(const run *r)
{
    double ms = r->hits ? (double)(r->end_at.tv_sec - r->hit_at.tv_sec) * 1e3 +
                              (double)(r->end_at.tv_nsec - r->hit_at.tv_nsec) / 1e6
                        : 0;
    (void)printf("{\"seen\": %ld, \"hits\": %ld, \"skipped\": %ld, \"call\": \"%s\", "
                 "\"what\": \"%s\", \"exit\": %d, \"signal\": %d, \"timed_out\": %d, "
                 "\"after_ms\": %.1f}\n",
                 r->seen, r->hits, r->skipped, r->name ? r->name : "", r->what,
                 WIFEXITED(r->status) ? WEXITSTATUS(r->status) : -1,
                 WIFSIGNALED(r->status) ? WTERMSIG(r->status) : 0, r->timed_out, ms);
}

// ---- words ----

static bool deed_of(const char *word, job *j)
{
    static const struct {
        const char *word;
        deed what;
        int number;
    } known[] = {{"count", COUNT, 0}, {"kill", KILL, 0}, {"term", SIGNAL, SIGTERM},
                 {"int", SIGNAL, SIGINT}, {"eio", FAIL, EIO}, {"enospc", FAIL, ENOSPC},
                 {"eintr", FAIL, EINTR}, {"enomem", FAIL, ENOMEM}, {"short", HALF, 0},
                 {"one", ONE, 0}, {"eof", NOTHING, 0}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].word, word) == 0) {
            j->what = known[i].what;
            j->number = known[i].number;
            return true;
        }
    return false;
}

static bool class_of(const char *word, int *traits)
{
    static const struct {
        const char *word;
        int traits;
    } known[] = {{"all", 0}, {"io", IO}, {"space", SPACE}, {"length", LENGTH}, {"read", READ},
                 {"memory", MEMORY}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].word, word) == 0) {
            *traits = known[i].traits;
            return true;
        }
    return false;
}

static bool understand(int n, char **word, job *j)
{
    *j = (job){.timeout = 20};
    for (int i = 1; i < n; i++) {
        const char *next = i + 1 < n ? word[i + 1] : NULL;
        if (strcmp(word[i], "--") == 0) {
            j->program = word + i + 1;
            return next != NULL;
        }
        if (strcmp(word[i], "--sticky") == 0) {
            j->sticky = true;
            continue;
        }
        bool ok = next != NULL;
        if (ok && strcmp(word[i], "--class") == 0)
            ok = class_of(next, &j->traits);
        else if (ok && strcmp(word[i], "--do") == 0)
            ok = deed_of(next, j);
        else if (ok && strcmp(word[i], "--at") == 0)
            j->at = strtol(next, NULL, 10);
        else if (ok && strcmp(word[i], "--timeout") == 0)
            j->timeout = (int)strtol(next, NULL, 10);
        else if (ok && strcmp(word[i], "--out") == 0)
            j->out = next;
        else if (ok && strcmp(word[i], "--err") == 0)
            j->err = next;
        else
            ok = false;
        if (!ok)
            return false;
        i++;
    }
    return false;
}

int main(int argc, char **argv)
{
    run r = {0};
    if (!understand(argc, argv, &r.j)) {
        (void)fprintf(stderr, "inject: see the head of tests/faults/inject.c\n");
        return 2;
    }
    if (!trace(&r)) {
        (void)fprintf(stderr, "inject: processes cannot be traced here\n");
        return CANNOT_TRACE;
    }
    print(&r);
    return 0;
}

#endif
