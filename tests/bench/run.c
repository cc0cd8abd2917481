// SPDX-License-Identifier: Apache-2.0
// Runs a command for scripts/bench and writes what it cost into FILE: wall seconds, CPU seconds,
// peak resident KiB. A small process of its own, since Linux counts the memory of whoever started
// a command into the command's peak, and Python is larger than some of what is measured.
//
//     run FILE COMMAND [WORD...]
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec * 1e-6; }

int main(int argc, char **argv)
{
    struct timespec begin, end;
    struct rusage used;
    int status;
    FILE *to = argc > 2 ? fopen(argv[1], "w") : NULL;
    if (!to) {
        fprintf(stderr, "usage: run FILE COMMAND [WORD...]\n");
        return 2;
    }
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) != child) {
        perror("run");
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    fprintf(to, "%.6f %.6f %ld\n",
            (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9,
            seconds(used.ru_utime) + seconds(used.ru_stime), used.ru_maxrss);
    if (fclose(to) != 0)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
