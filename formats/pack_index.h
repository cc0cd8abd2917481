// SPDX-License-Identifier: Apache-2.0
// Writes experts.idx, the small binary index of an expert pack (docs/expert-pack.md). Takes
// descriptions, gives bytes; reads nothing. pack_reader.h reads it, standing on base/ alone.
#ifndef SCRUPLE_FORMATS_PACK_INDEX_H
#define SCRUPLE_FORMATS_PACK_INDEX_H

#include "base/str.h"
#include "formats/pack_reader.h"

typedef struct {
    const char *name;          // "model-00002-of-00003.safetensors"
    uint64_t bytes;            // whole file
    uint64_t data_start;       // a multiple of the page
    xxh128_digest header;      // of the file's first data_start bytes
} pack_index_file;

// One tensor of every expert of a layer: expert e's lies at offset + e * stride of the file.
typedef struct {
    pack_projection projection;
    const char *suffix;        // "weight_packed"
    dtype type;
    int rank;                  // 0 to 2
    int64_t shape[2];
    bool in_record;            // else in the tail behind the records
    uint64_t offset, stride, bytes;
} pack_index_component;

typedef struct {
    int64_t layer;             // as the model counts
    int64_t file;              // index into the files
    int64_t n_experts;
    uint64_t first_record;     // offset of record 0; record e follows at + e * record_bytes
    uint64_t record_bytes;
    const pack_index_component *component;
    int64_t n_components;
    const xxh128_digest *digest; // [n_experts] of the records' bytes
} pack_index_layer;

typedef struct {
    uint64_t page;
    const pack_index_file *file;
    int64_t n_files;
    const pack_index_layer *layer; // ascending
    int64_t n_layers;
} pack_index;

// Appends the whole file to `out`. ERR_INTERNAL for a description that contradicts itself.
MUST_USE bool pack_index_write(strbuf *out, const pack_index *p, err *e);

#endif
