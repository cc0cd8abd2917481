// SPDX-License-Identifier: Apache-2.0
// The output folder of one run: decides what an existing folder means, keeps finished files under
// hidden staged names with a journal, and publishes them all in one go. Until then nothing has its
// final name; after a crash the same command finds the staged files and goes on.
//
//   absent or empty           run
//   our journal, same plan    resume: staged files are kept
//   complete, same plan       nothing to do
//   anything else             ERR_ENV, nothing touched; `force` replaces what our manifest lists
//   equal to or inside input  ERR_USAGE
#ifndef SCRUPLE_CONVERT_OUTPUT_H
#define SCRUPLE_CONVERT_OUTPUT_H

#include "base/hash.h"
#include "base/out.h"

typedef struct output output;

typedef struct {
    const char *dir;
    const char *input;         // path of the source
    const sha256_digest *plan; // names the run
    const char *inputs_state;  // one line that tells whether the inputs are the same as before a
                               // crash (sizes, times); compared, never published
    bool force;
    bool dry_run;              // judge the folder only
} output_order;

// *complete: the folder already holds the result of this very plan; *out is then NULL.
MUST_USE bool output_open(output **out, const output_order *o, bool *complete, err *e);
void output_close(output *o); // removes nothing: what is staged stays for the next run

// A file that an earlier run had finished; digest (may be NULL) is its SHA-256.
bool output_has(const output *o, const char *name, sha256_digest *digest);
// As out_open, under the staged name.
MUST_USE bool output_begin(output *o, out_file *f, const char *name, uint64_t size,
                           const void *header, uint64_t header_bytes, err *e);
// Finishes it, notes it in the journal.
MUST_USE bool output_end(output *o, out_file *f, const char *name, err *e);
MUST_USE bool output_small(output *o, const char *name, const void *bytes, size_t n, err *e);
// Path of a finished file, for reading it back (staged, or already renamed by a run that was
// interrupted while publishing); free it.
MUST_USE char *output_path(const output *o, const char *name, err *e);
// Writes SHA256SUMS over all staged files, then renames everything in the order of staging,
// SHA256SUMS last, and removes the journal and, with force, files of the replaced run that this one
// does not have.
MUST_USE bool output_publish(output *o, err *e);
// Gives up: removes staged files, the journal, and the folder where it was made by us.
void output_abandon(output *o);

#endif
