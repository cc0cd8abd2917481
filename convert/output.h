// SPDX-License-Identifier: Apache-2.0
// The output folder of one run, which one process carries out or many: keeps finished files under
// hidden staged names, each with a note, and publishes them all in one go. Until then nothing has
// its final name; after a crash the same command finds the staged files and goes on. What a folder
// that is there already means:
//
//   absent or empty           run (a merge: ERR_ENV, as there is nothing to merge)
//   our journal, same plan    resume: staged files are kept (ERR_ENV where an input changed)
//   complete, same plan       nothing to do (a journal that is left beside it goes)
//   anything else             ERR_ENV, nothing touched; `force` replaces what our manifest lists
//   equal to or inside input  ERR_USAGE
//
// A file may be finished by two processes: with the same bytes the first one's stays, with other
// bytes both are kept and every run in this folder answers ERR_INTERNAL from then on.
#ifndef SCRUPLE_CONVERT_OUTPUT_H
#define SCRUPLE_CONVERT_OUTPUT_H

#include "base/hash.h"
#include "base/out.h"

typedef struct output output;

typedef struct {
    const char *name;
    uint64_t bytes;
} output_file;

typedef enum {
    OUTPUT_WHOLE, // everything, by one process: excludes all others
    OUTPUT_PART,  // some files, beside other parts; never published
    OUTPUT_MERGE, // the rest, once the parts are done: excludes all others
    OUTPUT_LOOK   // nothing: how far it is. Touches and locks nothing, asks for no space
} output_mode;

typedef struct {
    const char *dir;
    const char *input;          // path of the source
    const sha256_digest *plan;  // names the run
    const char *const *inputs;  // a line an input that tells whether it is the same as before a
    uint64_t n_inputs;          // crash (size, time, digest); compared, never published
    const output_file *file;    // the tensor files that there will be: a folder is complete only
    uint64_t n_files;           // with all of them at their sizes
    uint64_t own_first, n_own;  // OUTPUT_PART: which of these this part makes
    uint64_t bytes;             // of all that the run will write
    uint64_t scratch;           // that it needs beside that while it works
    output_mode mode;
    bool force;                 // does not make a complete folder of this plan anew in parts
    bool dry_run;               // judge only: touches and locks nothing
} output_order;

// *complete: the folder already holds the result of this very plan; *out is then NULL. Where it is
// to be written, the space is asked for (less what is staged already) before anything is made.
MUST_USE bool output_open(output **out, const output_order *o, bool *complete, err *e);
// What is finished stays for the next run; where nothing is, this gives up (output_abandon), unless
// others are at work.
void output_close(output *o);

// A file that is finished, by this run or an earlier one; digest (may be NULL) is its SHA-256.
bool output_has(const output *o, const char *name, sha256_digest *digest);
// What was noted with it, or NULL; lives until the file is begun anew.
const char *output_note(const output *o, const char *name);
// As out_open, under the staged name.
MUST_USE bool output_begin(output *o, out_file *f, const char *name, uint64_t size,
                           const void *header, uint64_t header_bytes, err *e);
// Finishes it; notes it with `note` (may be NULL), a text for a run that resumes or merges.
MUST_USE bool output_end(output *o, out_file *f, const char *name, const char *note, err *e);
MUST_USE bool output_small(output *o, const char *name, const void *bytes, size_t n, err *e);
// Path of a finished file, for reading it back (staged, or already renamed by a run that was
// interrupted while publishing); free it.
MUST_USE char *output_path(const output *o, const char *name, err *e);
// Removes a finished file that turned out to be damaged: the same command makes it again.
void output_reject(output *o, const char *name);
// Writes SHA256SUMS over all finished files, then renames everything: shards, small files,
// experts.idx, the shard index, config.json, SHA256SUMS. Removes, with force, files of the replaced
// run that this one does not have, and the journal.
MUST_USE bool output_publish(output *o, err *e);
// Gives up: removes staged files, the journal, and the folders that were made by the run. Where
// publishing had begun, and of a part, nothing that is finished is removed.
void output_abandon(output *o);

#endif
