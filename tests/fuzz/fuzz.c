// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The address sanitizer's, where it is linked.
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *))
    __attribute__((weak));

// PCRE2's, said to be absent: compiling to machine code costs more than the few searches that an
// input makes, and the interpreter gives the same answers.
int pcre2_jit_compile_8(void *code, uint32_t options);
int pcre2_jit_compile_8(void *code, uint32_t options)
{
    (void)code;
    (void)options;
    return -45; // PCRE2_ERROR_JIT_BADOPTION
}

static struct {
    bool counting, installed;
    size_t allocated, most, input;
} memory;

long fuzz_accepted;
bool fuzz_verbose;

void fuzz_accept(void) { fuzz_accepted++; }

void fuzz_broken(const char *file, int line, const char *promise)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, promise);
    abort();
}

void fuzz_failed(const char *file, int line, const char *call, const err *e)
{
    fprintf(stderr, "%s:%d: %s failed: %s\n", file, line, call, e->text);
    abort();
}

static void on_malloc(const volatile void *p, size_t n)
{
    (void)p;
    if (!memory.counting)
        return;
    if (n > memory.most - memory.allocated) {
        memory.counting = false;
        fprintf(stderr, "an input of %zu bytes allocates %zu bytes and then %zu: more than %zu\n",
                memory.input, memory.allocated, n, memory.most);
        abort();
    }
    memory.allocated += n;
}

static void on_free(const volatile void *p) { (void)p; }

void fuzz_run(fuzz_one *one, const uint8_t *bytes, size_t n, size_t constant)
{
    if (!memory.installed && __sanitizer_install_malloc_and_free_hooks)
        (void)__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    memory.installed = true;
    memory.input = n;
    memory.allocated = 0;
    memory.most = 64 * n + constant;
    memory.counting = true;
    one(bytes, n);
    memory.counting = false;
    fuzz_files_clear();
}

void fuzz_refused_or(const err *e, err_kind also)
{
    size_t len = strlen(e->text);
    if (fuzz_verbose)
        fprintf(stderr, "refused (%d): %s\n", (int)e->kind, e->text);
    FUZZ_CHECK(e->kind == ERR_INPUT || e->kind == also);
    FUZZ_CHECK(len >= 8 && len < sizeof e->text);
    for (size_t i = 0; i < len; i++)
        FUZZ_CHECK((unsigned char)e->text[i] >= 0x20 && e->text[i] != 0x7f);
}

void fuzz_refused(const err *e) { fuzz_refused_or(e, ERR_INPUT); }

fuzz_text fuzz_cut(const uint8_t **bytes, size_t *n)
{
    const uint8_t *end = *n ? memchr(*bytes, 0, *n) : NULL;
    fuzz_text t = {(const char *)*bytes, end ? (size_t)(end - *bytes) : *n};
    size_t used = t.len + (end != NULL);
    *bytes += used;
    *n -= used;
    return t;
}

uint64_t fuzz_largest_number(const char *text, size_t len, uint64_t most)
{
    uint64_t largest = 0;
    for (size_t i = 0; i < len;) {
        uint64_t v = 0;
        size_t begin = i;
        for (; i < len && text[i] >= '0' && text[i] <= '9'; i++)
            v = v <= most ? v * 10 + (uint64_t)(text[i] - '0') : v;
        char before = begin > 0 ? text[begin - 1] : 'x';
        bool alone = before == '[' || before == ',' || before == ':' || before == ' ';
        if (alone && v <= most && v > largest)
            largest = v;
        i += i == begin;
    }
    return largest;
}
