// SPDX-License-Identifier: Apache-2.0
// What an existing output folder means for a run (the table in output.h), and the hidden names that
// runs use in it. Judges; changes nothing. output.c's other half.
#ifndef SCRUPLE_CONVERT_OUTPUT_FOLDER_H
#define SCRUPLE_CONVERT_OUTPUT_FOLDER_H

#include "convert/journal.h"
#include "convert/output.h"

#define OUTPUT_SUMS "SHA256SUMS"

typedef enum { FOLDER_FRESH, FOLDER_RESUMED, FOLDER_COMPLETE } folder_state;

// *j: FOLDER_RESUMED: the journal, open and locked (not with dry_run; journal_opened is still to
// come), with the files that are still there as they were noted; FOLDER_FRESH: only `replaces` is
// filled in. Close it in any case.
MUST_USE bool output_folder_judge(const output_order *with, folder_state *state, journal *j,
                                  err *e);
// Whether the data of a note are there still: staged in full length, or, after a crash in the midst
// of publishing, under the final name. With `hash` small ones, and those under their final names,
// also have to have their digest.
bool output_folder_holds(const char *dir, const file_note *n, bool hash);

// ".model.safetensors.<token>.staged"; every process has a token of its own. Free it.
MUST_USE char *output_staged_name(const char *name, const char *token, err *e);
bool output_is_staged(const char *name);
// The same with another end: data that differ from those of the note that came first.
#define OUTPUT_DIFFERS_END ".differs"
// A temporary file that base/out.h made in this folder for a staged file, a note or the journal, or
// that stood there for scratch or an estimate; *pid is the process that did.
bool output_is_temporary(const char *name, long *pid);
// What NFS and FUSE call a file that has lost its name while some process holds it open, such as
// scratch of a part that is at work on another host. Not to be touched: it goes by itself.
bool output_is_nameless(const char *name);

#endif
