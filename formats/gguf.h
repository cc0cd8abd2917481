// SPDX-License-Identifier: Apache-2.0
// The GGUF container, versions 2 and 3, little-endian: strict header reader and header writer. One
// file; what belongs together is checkpoint.h's (and gguf_split.h's). No count, length or offset
// is believed before it has been held against the file's size. Knows no key by its meaning but
// those that say where bytes lie (general.alignment). Differences from ggml's reader are listed in
// docs/gguf.md.
#ifndef SCRUPLE_FORMATS_GGUF_H
#define SCRUPLE_FORMATS_GGUF_H

#include "base/file.h"
#include "base/str.h"
#include "formats/tensor_list.h"

enum {
    GGUF_MAX_HEADER = 100000000, // bytes in front of the padding
    GGUF_MAX_VALUES = 1 << 16,   // key-values
    GGUF_MAX_KEY = 65535,        // bytes; the format's own limit
    GGUF_MAX_NAME = 63,          // bytes of a tensor's name; ggml's limit
    GGUF_MAX_RANK = 4,           // ggml's limit
    GGUF_ALIGNMENT = 32,         // where no general.alignment says otherwise
    GGUF_MAX_ALIGNMENT = 1 << 24 // so that padding stays small
};

// Types of values, by the format's numbers.
typedef enum {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_TEXT,
    GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64,
    GGUF_TYPES
} gguf_type;

// One key-value, as it is stored: an array is not taken apart.
typedef struct {
    const char *key;
    gguf_type type;     // of the value, or of the array's elements; never GGUF_ARRAY
    bool is_array;
    uint64_t n;         // elements of an array; else 1
    const void *bytes;  // little-endian, at any address. A text's own bytes, and behind them a NUL
                        // where it was read; of an array of texts each behind its 64-bit length
    uint64_t size;      // of them
} gguf_value;

typedef struct {
    tensor_list list;      // in the file's order, which is that of offsets; names indexed
    int64_t n_tensors;
    gguf_value *value;     // in the file's order
    int64_t n_values;
    char *text;            // which they point into
    uint32_t version;
    uint64_t alignment, data_start;
    uint64_t behind;       // bytes of the file behind the last tensor and its padding
} gguf_header;

// Checks the header of an open file and lists its tensors, offsets absolute; ne[0], the fastest,
// becomes the last dimension of a shape. ERR_INPUT for bad files. Takes at most twice the header.
MUST_USE bool gguf_list_header(gguf_header *out, const in_file *f, int file_index, err *e);
// The same for the first `len` bytes of a file of file_bytes, which hold the whole header.
MUST_USE bool gguf_parse_header(gguf_header *out, const void *bytes, uint64_t len,
                                uint64_t file_bytes, int file_index, err *e);
void gguf_free(gguf_header *h);

const gguf_value *gguf_find(const gguf_header *h, const char *key); // NULL; h may be NULL
// Of a whole number of any width that is not negative; false for anything else, NULL among it.
bool gguf_as_u64(const gguf_value *v, uint64_t *out);
// Of a text that was read: valid UTF-8 without NUL. NULL for anything else, NULL among it.
const char *gguf_as_text(const gguf_value *v);

const char *gguf_type_name(gguf_type t);        // "U32", "STRING"
bool gguf_holds(dtype t);                       // there is a ggml type for it
// What general.file_type means: "Q4_K_M"; NULL where the number is unknown.
const char *gguf_file_type_name(uint64_t file_type);

// Appends a header for tensors in data order (name, type, rank, shape are read; n_elements, offset
// and bytes are filled in, absolute: `out` begins the file where it was empty), padded so that the
// data begins behind it. Each tensor's bytes are followed by zeros up to the alignment, the last
// one's too: *file_bytes is where they end. The alignment is what general.alignment among the
// values says. What was written is read back by the strict reader: names twice, bad names, types
// and limits are ERR_INPUT. `out` then is as it was.
MUST_USE bool gguf_write_header(strbuf *out, tensor *tensors, int64_t n, const gguf_value *values,
                                int64_t n_values, uint64_t *file_bytes, err *e);

#endif
