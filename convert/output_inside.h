// SPDX-License-Identifier: Apache-2.0
// The inside of output.h, in three files: output.c opens and closes, output_stage.c finishes files,
// output_publish.c gives them their names. For these files only.
#ifndef SCRUPLE_CONVERT_OUTPUT_INSIDE_H
#define SCRUPLE_CONVERT_OUTPUT_INSIDE_H

#include "convert/output_folder.h"

struct output {
    char *dir;
    journal journal;
    output_mode mode;
    char token[9];   // of this process, in its staged names
    bool opened;     // the folder is this run's
    bool publishing; // something of this run has its final name
};

// True where it is gone.
MUST_USE bool output_gone(const char *dir, const char *name, err *e);
// Both without complaint: what stays is found by the next run.
void output_remove(const char *dir, const char *name);
void output_remove_note(const output *o, const char *name);

#endif
