// SPDX-License-Identifier: Apache-2.0
// The safetensors container: strict header reader and header writer. One file; sets of files are
// checkpoint.h's. Every range is checked before anything is read or allocated from it. Differences
// from the official reader (all stricter) are listed in docs/safetensors.md.
//
// Two ways to have a header: listed, in less than twice its text at the peak and a fraction of it
// afterwards, or read, with a `tensor` for each in an arena.
#ifndef SCRUPLE_FORMATS_SAFETENSORS_H
#define SCRUPLE_FORMATS_SAFETENSORS_H

#include "base/file.h"
#include "base/mem.h"
#include "formats/tensor_list.h"

enum {
    ST_MAX_HEADER = 100000000,   // as the official reader
    ST_MAX_NAME = 1024,          // of a tensor or a metadata key, decoded
    ST_MAX_VALUE = 1 << 20,      // of the metadata
    ST_MAX_METADATA = 1 << 16    // pairs
};

typedef struct {
    const char *key, *value;
} st_pair;

typedef struct {
    tensor *tensor;        // read ones; by offset, empty ones first; `file` is the given index
    tensor_list list;      // listed ones, in the same order
    int64_t n_tensors;
    st_pair *metadata;
    int64_t n_metadata;
    uint64_t data_start;   // 8 + header length
} st_header;

// Checks the header of an open file and lists its tensors, offsets absolute, names indexed.
// ERR_INPUT for bad files.
MUST_USE bool st_list_header(st_header *out, const in_file *f, int file_index, err *e);
void st_free_list(st_header *h); // of st_list_header
// The same, and reads them; everything lives in `a`.
MUST_USE bool st_read_header(st_header *out, const in_file *f, int file_index, arena *a, err *e);
// The same for header text that is in memory (the `len` bytes behind the length) with data_bytes
// bytes of tensors behind it.
MUST_USE bool st_parse_header(st_header *out, const char *json, uint64_t len, uint64_t data_bytes,
                              int file_index, arena *a, err *e);

// Appends a header for tensors in data order (name, type, rank, shape are read; n_elements, offset
// and bytes are filled in, absolute: `out` begins the file where it was empty). The data start is
// a multiple of `align` (8 or a page), padded with spaces. metadata order is kept;
// {"format","pt"} is the caller's to give. What was written is read back by the strict reader:
// names twice, bad names, sizes and limits are ERR_INPUT. `out` then is as it was.
MUST_USE bool st_write_header(strbuf *out, tensor *tensors, int64_t n, const st_pair *metadata,
                              int64_t n_metadata, uint64_t align, err *e);
// The official writer's order: type descending, then name ascending.
void st_sort_official(tensor *tensors, int64_t n);
// The same as a comparison for qsort, of tensors or of structs that begin with one.
int st_official_order(const void *a, const void *b);

#endif
