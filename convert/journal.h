// SPDX-License-Identifier: Apache-2.0
// What a run leaves in its output folder for runs after it and beside it: a hidden header file that
// says which plan it is, from which inputs and what it may replace, and a note for every file that
// is finished (file_note.h). Both are published whole and never written again, so any number of
// processes, on any hosts that share the folder, can add to it. It decides nothing; output.h does.
//
// Locks lie on the header file (fcntl, open file description): one that whoever is at work holds,
// alone or shared with others, and one for the short time of opening and cleaning up. A file system
// without locks leaves `locked` false.
#ifndef SCRUPLE_CONVERT_JOURNAL_H
#define SCRUPLE_CONVERT_JOURNAL_H

#include "convert/file_note.h"

#define JOURNAL_NAME ".scruple-journal"

typedef struct {
    char *path;
    int fd;               // -1 while closed
    bool locked;          // false where the file system has no locks
    bool shared;          // locked together with others
    bool alone;           // no other process is at work, for now
    char *plan;           // hex
    char **input;         // a line an input
    uint64_t n_inputs, inputs_cap;
    int64_t made_levels;  // folders that the run made, the output folder and its parents
    char **replaces;      // files of an older output that the run was allowed to replace
    uint64_t n_replaces, replaces_cap;
    file_note *file;           // finished ones that count
    uint64_t n_files, files_cap;
} journal;

#define JOURNAL_CLOSED {.fd = -1}

// Adds a copy of `text` to one of the lists above.
MUST_USE bool journal_list_add(char ***list, uint64_t *n, uint64_t *cap, const char *text, err *e);
void journal_list_free(char **list, uint64_t n);
// Makes the file dir/.scruple-journal out of what `j` says. *lost: somebody else's came first.
MUST_USE bool journal_create(const journal *j, const char *dir, bool *lost, err *e);
// Opens the file and locks it, alone or `shared`; nobody else opens it until journal_opened.
// *gone: whoever had it has finished, or it was never there; *j is then closed. ERR_ENV where
// another process excludes this one.
MUST_USE bool journal_lock(journal *j, const char *dir, bool shared, bool *gone, err *e);
// The end of opening: others may come.
void journal_opened(journal *j);
// Reads what the header says; ERR_ENV where it cannot be understood. With j->fd < 0: looks only.
MUST_USE bool journal_read(journal *j, const char *dir, err *e);
// True where no other process is at work; then nobody can open it either until it is closed.
bool journal_seize(journal *j);

file_note *journal_find(const journal *j, const char *name); // NULL
// Takes over *n, in the place of the one that has its name.
MUST_USE bool journal_put(journal *j, file_note *n, err *e);
// Takes a file off the list; the files themselves stay.
void journal_drop(journal *j, file_note *f);
MUST_USE bool journal_remove(journal *j, err *e); // deletes the header file
void journal_close(journal *j);

#endif
