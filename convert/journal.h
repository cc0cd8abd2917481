// SPDX-License-Identifier: Apache-2.0
// The journal of one run, a hidden file in the output folder: which plan it is, from which inputs,
// what it may replace, and a line for every file that is finished. While it is open it is locked,
// so that no two runs work in one folder. It decides nothing; output.h does.
//
// Lines of JSON. The first is written in one go with the file, the others are appended and synced
// one by one; a torn line at the end counts as not written.
#ifndef SCRUPLE_CONVERT_JOURNAL_H
#define SCRUPLE_CONVERT_JOURNAL_H

#include "base/hash.h"

#define JOURNAL_NAME ".scruple-journal"

typedef struct {
    char *name;
    uint64_t bytes;
    sha256_digest sha;
    char *note;           // what the writer wanted to remember about it; NULL: nothing
} journal_file;

typedef struct {
    char *path;
    int fd;               // -1 while closed
    bool locked;          // false where the file system has no locks
    char *plan;           // hex
    char **input;         // a line an input
    uint64_t n_inputs, inputs_cap;
    int64_t made_levels;  // folders that the run made, the output folder and its parents
    char **replaces;      // files of an older output that the run was allowed to replace
    uint64_t n_replaces, replaces_cap;
    journal_file *file;
    uint64_t n_files, files_cap;
} journal;

#define JOURNAL_CLOSED {.fd = -1}

// Adds a copy of `text` to one of the lists above.
MUST_USE bool journal_list_add(char ***list, uint64_t *n, uint64_t *cap, const char *text, err *e);
void journal_list_free(char **list, uint64_t n);
// Makes the file dir/.scruple-journal out of what `j` says, and locks it.
MUST_USE bool journal_create(journal *j, const char *dir, err *e);
// Reads and locks it (`look`: only reads). ERR_ENV where another process holds it or where it
// cannot be understood.
MUST_USE bool journal_read(journal *j, const char *dir, bool look, err *e);
journal_file *journal_find(const journal *j, const char *name); // NULL
// Notes a finished file; one of that name that was noted before counts no more.
MUST_USE bool journal_note(journal *j, const char *name, uint64_t bytes, const sha256_digest *sha,
                           const char *note, err *e);
// Takes a file off the list; its line stays, so whoever calls this removes the file itself.
void journal_drop(journal *j, journal_file *f);
void journal_remove(journal *j); // deletes the file, then as close
void journal_close(journal *j);

#endif
