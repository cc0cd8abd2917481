// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share. A target is one file tests/fuzz/fuzz_<format>.c with one function
// that gives hostile bytes to the reader of a format and checks what must hold whatever they are:
// a refusal has a sentence and an allowed kind, what was accepted keeps the promises of its header.
// Beside it lie <format>.dict (words of the format) and corpus/<format>/ (seeds and past findings).
//
// Two programs are made of a target: with clang's libFuzzer (make fuzz), and without any of it a
// part of the replay of all corpora (make test). docs/testing.md tells how to use them.
#ifndef SCRUPLE_TESTS_FUZZ_FUZZ_H
#define SCRUPLE_TESTS_FUZZ_FUZZ_H

#include "base/err.h"

typedef void fuzz_one(const uint8_t *bytes, size_t n);

// Runs one input; memory allocated meanwhile, in sum, may be 64 times the input and `constant`
// bytes. Counted only where the address sanitizer is.
void fuzz_run(fuzz_one *one, const uint8_t *bytes, size_t n, size_t constant);

#ifdef FUZZ_ENGINE
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
#define FUZZ_TARGET(name, constant)                              \
    static void one(const uint8_t *bytes, size_t n);             \
    int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)   \
    {                                                            \
        fuzz_run(one, bytes, n, constant);                       \
        return 0;                                                \
    }                                                            \
    static void one(const uint8_t *bytes, size_t n)
#else
#define FUZZ_TARGET(name, constant)                              \
    static void one(const uint8_t *bytes, size_t n);             \
    void fuzz_##name(const uint8_t *bytes, size_t n);            \
    void fuzz_##name(const uint8_t *bytes, size_t n)             \
    {                                                            \
        fuzz_run(one, bytes, n, constant);                       \
    }                                                            \
    static void one(const uint8_t *bytes, size_t n)
#endif

// Ends the program with a sentence where a promise does not hold.
#define FUZZ_CHECK(holds)                                        \
    do {                                                         \
        if (!(holds))                                            \
            fuzz_broken(__FILE__, __LINE__, #holds);             \
    } while (0)
_Noreturn void fuzz_broken(const char *file, int line, const char *promise);

// A call that must succeed.
#define FUZZ_OK(call, e)                                         \
    do {                                                         \
        if (!(call))                                             \
            fuzz_failed(__FILE__, __LINE__, #call, e);           \
    } while (0)
_Noreturn void fuzz_failed(const char *file, int line, const char *call, const err *e);

// After a refusal: the kind is ERR_INPUT and the sentence one line of text.
void fuzz_refused(const err *e);
// The same where another kind is allowed, too.
void fuzz_refused_or(const err *e, err_kind also);

// To be called where the reader accepted an input: a corpus with none of these tests nothing.
void fuzz_accept(void);
extern long fuzz_accepted;
// Shows the sentences of refusals.
extern bool fuzz_verbose;

// The input up to the next NUL byte, and what comes behind it: several texts in one input.
typedef struct {
    const char *text;
    size_t len;
} fuzz_text;
fuzz_text fuzz_cut(const uint8_t **bytes, size_t *n);

// The largest number that is an element or a value of its own, as "F64" and "1" are not: what a
// header's tensors need as data, in most cases.
uint64_t fuzz_largest_number(const char *text, size_t len, uint64_t most);

// ---- files in memory (files.c), which take the place of those of base/file.h ----

// A file of `size` bytes that begins with the n given, which are borrowed; the rest is zeros. Its
// path is the name as given here: "model/config.json". Folders are what stands before slashes.
void fuzz_file(const char *path, const void *bytes, size_t n, uint64_t size);
// Forgets all.
void fuzz_files_clear(void);

#endif
