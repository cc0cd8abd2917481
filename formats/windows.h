// SPDX-License-Identifier: Apache-2.0
// Calibration and held-out input: text (plain, gzip, JSON lines with "text") or token ids, cut into
// windows of equal length for the forward pass. What is cut off is counted, never hidden.
#ifndef SCRUPLE_FORMATS_WINDOWS_H
#define SCRUPLE_FORMATS_WINDOWS_H

#include "base/hash.h"

typedef struct {
    int32_t *tokens;     // [n][len]
    int64_t n, len;
    int64_t *document;   // [n] its document's line, from 0, ascending; NULL where it is no JSONL
    int64_t n_input;     // ids in the input, before BOS was put in front of windows
    int64_t dropped;     // ids at ends that filled no window, and beyond the limit
    bool with_bos;       // every window begins with BOS
    sha256_digest sha;   // of tokens as int32 little-endian, row after row
} windows;

typedef struct {
    const char *text, *tokens; // exactly one: a text file, or a .npy of int32/int64 ids
    const char *model_dir;     // for the tokenizer and its BOS rule
    int64_t context;           // tokens a window, BOS included; at least 2
    int64_t max_tokens;        // of all windows together, 0: no limit
} windows_options;

// Text and [1][N] arrays are cut into windows, each beginning with BOS if tokenizer_config.json
// says so; the tail is dropped. An array of more rows is used row by row as it is. A file of lines
// that are JSON objects (*.jsonl, *.jsonl.gz) is cut document by document; blank lines are none.
// ERR_INPUT where not one window is filled, ERR_USAGE where max_tokens does not hold one. Of an
// array the model's tokenizer is read only where it has to name BOS.
MUST_USE bool windows_read(windows *out, const windows_options *o, err *e);
void windows_free(windows *w);

#endif
