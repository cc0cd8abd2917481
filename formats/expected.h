// SPDX-License-Identifier: Apache-2.0
// What SHA-256 the files of an input should have, on the word of somebody else: a list that the
// user names (--expect), else SHA256SUMS in the checkpoint's folder, and for files that this leaves
// out the blob names of a Hub cache, which are the digests themselves. Reads lists and links;
// digests are computed by who reads the files anyway.
#ifndef SCRUPLE_FORMATS_EXPECTED_H
#define SCRUPLE_FORMATS_EXPECTED_H

#include "base/event.h"
#include "formats/checkpoint.h"

#define EXPECTED_SUMS_NAME "SHA256SUMS"

typedef struct {
    const char *by;        // "SHA256SUMS", "the name of its blob", the list's path; NULL: nobody
    sha256_digest digest;
} expected_sum;

typedef struct {
    const char *name;
    sha256_digest digest;
} expected_line;

// Zero-initialised is a valid empty one: nobody says anything.
typedef struct expected {
    expected_sum *file;    // [checkpoint_n_files]
    int64_t n_known;       // of them
    expected_line *other;  // names of the list that are no file of the checkpoint, in its order
    uint64_t n_other;
    const char *list;      // what the list is called: "SHA256SUMS", its path; NULL: there is none
    arena names;
} expected;

// `list` is what the user gave or NULL; names in it are relative to the checkpoint's folder. A list
// that is malformed or says two things of one name is ERR_INPUT with the line's number, and so is
// a file of the checkpoint that the user's list leaves out (SHA256SUMS: a warning). Names in other
// folders are a warning and not kept.
MUST_USE bool expected_find(expected *x, const checkpoint *c, const char *list, const events *v,
                            err *e);
void expected_free(expected *x);
// True where nobody says anything of the file.
bool expected_same(const expected *x, int file, const sha256_digest *found);
// As expected_same, with the sentence for those who refuse (ERR_INPUT): file, who said what, found.
MUST_USE bool expected_holds(const expected *x, const checkpoint *c, int file,
                             const sha256_digest *found, err *e);

#endif
