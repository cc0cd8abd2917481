// SPDX-License-Identifier: Apache-2.0
// The forward pass of a token array as an npz file: `logits` float32 [n][len][vocab], `nll` float32
// [n][len - 1] (nats, of the tokens that follow), and where asked for the activations, `hidden`
// float32 [layers + 1][n][len][hidden] (entry 0 behind the embedding, entry i behind layer i - 1,
// the last behind the last layer and the final norm) and `router` int32 [MoE layers][n][len][k],
// ascending. Larger than memory is fine: the parts gather in nameless scratch files in the output's
// folder, which therefore needs twice the file's size for a while.
#ifndef SCRUPLE_VERIFY_FORWARD_FILE_H
#define SCRUPLE_VERIFY_FORWARD_FILE_H

#include "formats/npy.h"
#include "verify/forward.h"

typedef struct {
    const model *m;
    const int32_t *tokens;   // [n][len]
    int64_t n, len;
    bool logits, activations;
    pool *pool;              // may be NULL
    uint64_t memory;
    const events *events;
    const char *dir, *name;  // the file to make
    bool replace;            // one that is there already
} forward_file;

// Member i of the file-to-be. Returns their number.
enum { FORWARD_FILE_MEMBERS = 4 };
typedef struct {
    const char *name;        // without ".npy"
    npy_type type;
    int rank;
    int64_t shape[NPY_MAX_RANK];
    uint64_t bytes;          // of the data
} forward_member;
MUST_USE bool forward_file_members(const forward_file *f, int *n,
                                   forward_member member[FORWARD_FILE_MEMBERS], err *e);

// *mean_nll (nats a token; 0 where windows have one token): over all of nll. On failure nothing is
// left behind.
MUST_USE bool forward_file_write(const forward_file *f, double *mean_nll, err *e);

#endif
