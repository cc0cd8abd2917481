// SPDX-License-Identifier: Apache-2.0
// What a synthetic checkpoint is inside: planned by synth.c, written by synth_write.c. Nobody else
// includes it.
#ifndef SCRUPLE_CONVERT_SYNTH_PARTS_H
#define SCRUPLE_CONVERT_SYNTH_PARTS_H

#include "base/num.h"
#include "convert/synth.h"
#include "convert/synth_config.h"
#include "convert/synth_values.h"
#include "formats/config.h"

typedef struct {
    tensor t; // first, so that st_official_order compares these
    synth_recipe recipe;
} synth_tensor;

typedef struct {
    const char *name;
    int64_t first, n; // its tensors, in data order
    strbuf header;
    uint64_t bytes;   // the whole file
} synth_file;

struct synth {
    const synth_family *family;
    const codec *type;
    uint64_t seed;
    bool sparse;
    strbuf config_text;
    config config;
    synth_tensor *tensor;
    int64_t n_tensors;
    synth_file *file;
    int64_t n_files;
    uint64_t tensor_bytes, file_bytes;
    arena names;
};

#endif
