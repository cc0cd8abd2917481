// SPDX-License-Identifier: Apache-2.0
// llama.cpp's imatrix files: for the input of a matrix the mean of x^2 in each column, in slices of
// their own for stacked experts. Two forms, told apart by content: a GGUF (general.type "imatrix",
// <name>.in_sum2 and <name>.counts, both F32), and the older one, a list of entries without a
// magic. Everything is checked when a file is opened, numbers too; numbers are read when they are
// asked for, so that memory holds the list of entries only. Writing: imatrix_write.c.
#ifndef SCRUPLE_FORMATS_IMATRIX_H
#define SCRUPLE_FORMATS_IMATRIX_H

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "formats/gguf.h"
#include "formats/stats_file.h"

enum {
    IMATRIX_MAX_ENTRIES = 1 << 20, // of the older form; a GGUF's number of tensors is bounded there
    IMATRIX_MAX_NAME = 1024        // bytes, likewise
};
typedef enum { IMATRIX_GGUF, IMATRIX_DAT } imatrix_form;

typedef struct {
    const char *name;         // of the weight: "blk.3.ffn_down_exps.weight"
    int64_t n, n_counts;      // numbers; counts, each of n / n_counts numbers in a row
    uint64_t at, counts_at;   // in the file; counts_at 0: one count,
    int64_t calls;            //   this one; 0 and less: the numbers are means
} imatrix_entry;

typedef struct {
    in_file in;
    imatrix_form form;
    imatrix_entry *entry;
    int64_t n;
    uint64_t cap;
    int64_t chunks;           // -1: not said
    strmap names;
    arena texts;
} imatrix;

// Whether a file begins like one of the two forms; ERR_INPUT only where it cannot be read. A file
// of scruple calibrate never does.
MUST_USE bool imatrix_looks(const char *path, bool *is, err *e);
// ERR_INPUT for everything but a whole file of one of the forms: numbers and counts are finite and
// not negative, no name is there twice. Left behind in *m: an open file, imatrix_close.
MUST_USE bool imatrix_open(imatrix *m, const char *path, err *e);
void imatrix_close(imatrix *m); // also of {.in = IN_FILE_CLOSED}

const imatrix_entry *imatrix_find(const imatrix *m, const char *name); // NULL
// Means first to first + n of an entry, as llama-quantize makes them: a number divided by its
// count, in binary32; 1 where the count is 0. *unseen: how many are such. ERR_INPUT where the file
// has changed.
MUST_USE bool imatrix_read(const imatrix *m, const imatrix_entry *x, int64_t first, int64_t n,
                           float *to, int64_t *unseen, err *e);
// Whether number `first` belongs to a count of 0.
MUST_USE bool imatrix_unseen(const imatrix *m, const imatrix_entry *x, int64_t first, bool *unseen,
                             err *e);

// Statistics as an imatrix under llama.cpp's names: means of x^2 (weighted as our sums are) times
// counts of tokens. Latent attention's kv_b gets one entry under its own name. An expert that saw
// no tokens has count 0, in the older form means of 1; a set without tokens is left out of that.
// ERR_INPUT where a number is beyond binary32. Written whole or not at all.
MUST_USE bool imatrix_write(const stats_file *f, const char *path, imatrix_form form, bool replace,
                            err *e);

#endif
