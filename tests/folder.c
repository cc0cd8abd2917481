// SPDX-License-Identifier: Apache-2.0
#include "tests/folder.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/out.h"
#include "tests/temp.h"

static int64_t list(const char *dir, dir_entry **entry)
{
    int64_t n;
    err e = ERR_INIT;
    if (!dir_list(dir, entry, &n, &e))
        ck_abort_msg("%s", e.text);
    return n;
}

char *folder_read(const char *dir, const char *name, size_t *len)
{
    err e = ERR_INIT;
    char *text, *path = path_join(dir, name, &e);
    if (!file_read_all(path, 1 << 30, &text, len, &e))
        ck_abort_msg("%s", e.text);
    free(path);
    return text;
}

const char *folder_digest(const char *dir, char hex[65])
{
    dir_entry *entry;
    int64_t n = list(dir, &entry);
    err e = ERR_INIT;
    sha256 *all = sha256_new(&e);
    sha256_digest sum;
    for (int64_t i = 0; i < n; i++) {
        size_t len;
        char *bytes = folder_read(dir, entry[i].name, &len);
        sha256_digest one;
        ck_assert(sha256_of(bytes, len, &one, &e));
        sha256_add(all, entry[i].name, strlen(entry[i].name) + 1);
        sha256_add(all, one.b, sizeof one.b);
        free(bytes);
    }
    dir_list_free(entry, n);
    sha256_end(all, &sum);
    return hex_of(sum.b, sizeof sum.b, hex);
}

static int count(const char *dir, bool hidden)
{
    dir_entry *entry;
    int found = 0;
    if (!path_is_dir(dir))
        return 0;
    int64_t n = list(dir, &entry);
    for (int64_t i = 0; i < n; i++)
        found += (entry[i].name[0] == '.') == hidden;
    dir_list_free(entry, n);
    return found;
}

int folder_visible(const char *dir) { return count(dir, false); }

int folder_hidden(const char *dir) { return count(dir, true); }

bool folder_has(const char *dir, const char *name)
{
    err e = ERR_INIT;
    char *path = path_join(dir, name, &e);
    bool has = path_exists(path);
    free(path);
    return has;
}

const char *folder_staged(const char *dir, const char *name)
{
    static char staged[300];
    char begin[280];
    dir_entry *entry;
    int64_t n = list(dir, &entry);
    (void)snprintf(begin, sizeof begin, ".%s.", name);
    staged[0] = 0;
    for (int64_t i = 0; i < n; i++)
        if (str_starts(entry[i].name, begin) && str_ends(entry[i].name, ".staged"))
            (void)snprintf(staged, sizeof staged, "%s", entry[i].name);
    dir_list_free(entry, n);
    return staged;
}

void folder_flip(const char *dir, const char *name, long at)
{
    size_t len;
    char *bytes = folder_read(dir, name, &len);
    ck_assert_uint_gt(len, 0);
    bytes[at < 0 ? (long)len + at : at] ^= 1;
    temp_write(dir, name, bytes, len);
    free(bytes);
}

void folder_copy(const char *from, const char *to)
{
    dir_entry *entry;
    int64_t n = list(from, &entry);
    err e = ERR_INIT;
    ck_assert(out_make_dir(to, &e));
    for (int64_t i = 0; i < n; i++) {
        size_t len;
        char *bytes = folder_read(from, entry[i].name, &len);
        temp_write(to, entry[i].name, bytes, len);
        free(bytes);
    }
    dir_list_free(entry, n);
}

void folder_remove(const char *dir)
{
    dir_entry *entry;
    if (!path_is_dir(dir))
        return;
    int64_t n = list(dir, &entry);
    for (int64_t i = 0; i < n; i++) {
        err e = ERR_INIT;
        char *path = path_join(dir, entry[i].name, &e);
        ck_assert_int_eq(unlink(path), 0);
        free(path);
    }
    dir_list_free(entry, n);
    ck_assert_int_eq(rmdir(dir), 0);
}

// ---- processes that are killed ----

static bool changes_files(const struct __ptrace_syscall_info *info)
{
    static const long changing[] = {
        SYS_write, SYS_pwrite64, SYS_fsync, SYS_fdatasync, SYS_fallocate, SYS_ftruncate,
        SYS_renameat2, SYS_unlinkat, SYS_mkdirat,
#ifdef SYS_rename
        SYS_rename, SYS_unlink, SYS_mkdir, SYS_rmdir,
#endif
#ifdef SYS_renameat
        SYS_renameat,
#endif
    };
    long number = (long)info->entry.nr;
    if (number == SYS_openat)
        return info->entry.args[2] & O_CREAT;
    for (size_t i = 0; i < COUNT_OF(changing); i++)
        if (number == changing[i])
            return true;
    return false;
}

// True once the child stands in front of its n-th change, false where it has ended.
static bool follow(pid_t child, int n)
{
    int status;
    for (int seen = 0;;) {
        struct __ptrace_syscall_info info;
        if (ptrace(PTRACE_SYSCALL, child, NULL, NULL) != 0 || waitpid(child, &status, 0) != child)
            ck_abort_msg("the traced process is lost");
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the process failed: %d",
                          status);
            return false;
        }
        if (WSTOPSIG(status) != (SIGTRAP | 0x80))
            continue;
        long got = ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info);
        if (got > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY && changes_files(&info) && ++seen == n)
            return true;
    }
}

bool killed_at(int n, void (*body)(void *ctx), void *ctx, bool *traced)
{
    int status;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        (void)raise(SIGSTOP);
        body(ctx);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    *traced = WIFSTOPPED(status);
    if (!*traced)
        return false;
    *traced = ptrace(PTRACE_SETOPTIONS, child, NULL,
                     (void *)(uintptr_t)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) == 0;
    bool stopped = *traced && follow(child, n);
    if (stopped || !*traced) {
        (void)kill(child, SIGKILL);
        (void)waitpid(child, &status, 0);
    }
    return stopped;
}
