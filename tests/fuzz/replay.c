// SPDX-License-Identifier: Apache-2.0
// Runs all targets over their corpora without an engine:   replay [TARGET [FILE ...]]
// A crash, a sanitizer's report or a broken promise ends it; so does a target that
// accepts none of its inputs.
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#define TARGET(name) fuzz_one fuzz_##name;
#include "targets.h"
#undef TARGET

static const struct {
    const char *name;
    fuzz_one *run;
} targets[] = {
#define TARGET(name) {#name, fuzz_##name},
#include "targets.h"
#undef TARGET
};

static const char *current; // for the one line that tells which input it was

// Into a block of exactly its size, so that the sanitizer sees the end.
static bool run_file(fuzz_one *run, const char *path)
{
    FILE *f = fopen(path, "rb");
    long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    uint8_t *bytes = size >= 0 ? malloc((size_t)size + !size) : NULL;
    bool ok = bytes && fseek(f, 0, SEEK_SET) == 0 &&
              fread(bytes, 1, (size_t)size, f) == (size_t)size;
    current = path;
    if (ok)
        run(bytes, (size_t)size);
    else
        fprintf(stderr, "replay: cannot read '%s'\n", path);
    free(bytes);
    if (f)
        (void)fclose(f);
    return ok;
}

static int not_hidden(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static bool run_corpus(const char *name, fuzz_one *run)
{
    char dir[512], path[1024];
    struct dirent **entry = NULL;
    bool ok = true;
    (void)snprintf(dir, sizeof dir, "tests/fuzz/corpus/%s", name);
    int n = scandir(dir, &entry, not_hidden, alphasort);
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, entry[i]->d_name);
        ok = run_file(run, path) && ok;
        free(entry[i]);
    }
    free(entry);
    if (fuzz_accepted == 0)
        fprintf(stderr, "replay: no input in '%s' is accepted\n", dir);
    printf("%-12s %4d inputs, %3ld accepted\n", name, n < 0 ? 0 : n, fuzz_accepted);
    return ok && fuzz_accepted > 0;
}

// A signal handler may do no more than write.
static void say_input(void)
{
    static const char text[] = "replay: while running ";
    if (current && write(STDERR_FILENO, text, sizeof text - 1) > 0 &&
        write(STDERR_FILENO, current, strlen(current)) > 0)
        (void)!write(STDERR_FILENO, "\n", 1);
}

static void on_signal(int number)
{
    say_input();
    (void)raise(number); // now with its default, see SA_RESETHAND
}

void __asan_on_error(void); // called by the address sanitizer
void __asan_on_error(void) { say_input(); }

int main(int argc, char **argv)
{
    bool ok = true, found = argc < 2;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    (void)sigaction(SIGABRT, &action, NULL);
    (void)sigaction(SIGSEGV, &action, NULL);
    (void)sigaction(SIGFPE, &action, NULL);
    for (size_t t = 0; t < COUNT_OF(targets); t++) {
        if (argc >= 2 && strcmp(argv[1], targets[t].name) != 0)
            continue;
        found = true;
        fuzz_accepted = 0;
        fuzz_verbose = argc > 2;
        for (int i = 2; i < argc; i++)
            ok = run_file(targets[t].run, argv[i]) && ok;
        if (argc > 2)
            printf("%s: %d inputs, %ld accepted\n", argv[1], argc - 2, fuzz_accepted);
        if (argc <= 2)
            ok = run_corpus(targets[t].name, targets[t].run) && ok;
    }
    if (!found)
        fprintf(stderr, "replay: no target '%s'\n", argv[1]);
    current = NULL;
    return ok && found ? EXIT_SUCCESS : EXIT_FAILURE;
}
