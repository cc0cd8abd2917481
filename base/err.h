// SPDX-License-Identifier: Apache-2.0
// One failure, one sentence. A function that can fail returns bool (or a pointer), takes `err *e`
// last, and on failure leaves its outputs zeroed and one complete sentence in `e`: what failed,
// what was expected, what was found. A caller that knows more puts its context in front (err_in).
//
// The kind is the exit status the failure leads to; nothing below cli/ prints or exits.
// No allocation, no thread-local state: an err lives on the caller's stack, one per worker.
#ifndef SCRUPLE_BASE_ERR_H
#define SCRUPLE_BASE_ERR_H

#include "base/base.h"

typedef enum {
    ERR_NONE = 0,
    ERR_NO = 1,          // the answer is no: verification failed, a value would change
    ERR_USAGE = 2,       // the command line makes no sense
    ERR_INPUT = 3,       // corrupt, hostile or unsupported input
    ERR_ENV = 4,         // space, memory, permission, I/O, an output folder of something else
    ERR_INTERRUPTED = 5, // stopped cleanly; the same command resumes
    ERR_INTERNAL = 6     // a broken promise of ours
} err_kind;

typedef struct {
    err_kind kind;
    char text[640];
} err;

#define ERR_INIT {ERR_NONE, {0}}

// Sets the sentence; always returns false, so `return err_set(e, ...)`. Overwrites what was there.
// Control bytes (hostile names) are replaced by '?', a text that does not fit ends in "...".
bool err_set(err *e, err_kind kind, const char *format, ...) PRINTF_LIKE(3, 4);
// The same with ERR_ENV and ": " strerror(errno) appended.
bool err_sys(err *e, const char *format, ...) PRINTF_LIKE(2, 3);
// Puts "context: " in front of the sentence that is there and keeps its kind; returns false.
bool err_in(err *e, const char *format, ...) PRINTF_LIKE(2, 3);
// The same with "what 'name': "; only "what " where the sentence begins with the name already.
bool err_in_file(err *e, const char *what, const char *name);

#endif
