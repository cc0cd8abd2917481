// SPDX-License-Identifier: Apache-2.0
// The note of one finished file: a small hidden file beside the staged data that says which data
// they are, of how many bytes and which SHA-256, and what the run wants to know of them later. It
// is published behind the data, and only once: who comes second finds it there. A note that is
// torn, damaged or of another plan counts as not there. It decides nothing; output.h does.
//
// Two lines: a JSON object, and the XXH3-128 of the first line in hex.
#ifndef SCRUPLE_CONVERT_FILE_NOTE_H
#define SCRUPLE_CONVERT_FILE_NOTE_H

#include "base/hash.h"

typedef struct {
    char *name;          // the final name
    char *staged;        // the name that its data have now
    uint64_t bytes;
    sha256_digest sha;
    char *text;          // what the writer wanted to remember about it; NULL: nothing
} file_note;

// ".model.safetensors.note"; free it.
MUST_USE char *file_note_name(const char *name, err *e);
bool file_note_is_name(const char *file);
bool file_note_is_of(const char *file, const char *name); // file_note_name(name) is `file`
// A name that a file may give: one component that cannot lead out of the folder.
bool file_note_is_plain(const char *name);
// Publishes the note in `dir` under the plan's hex digest. *there: not `replace`, and one stands
// there already, good or not; nothing was written then.
MUST_USE bool file_note_write(const file_note *n, const char *dir, const char *plan,
                              bool replace, bool *there, err *e);
// Reads dir/file. *counts = false, and nothing to free, where it is not there or no note of this
// plan. Fails only without memory.
MUST_USE bool file_note_read(file_note *n, const char *dir, const char *file, const char *plan,
                             bool *counts, err *e);
void file_note_free(file_note *n);

#endif
