// SPDX-License-Identifier: Apache-2.0
// Inside of gguf.h: the format's numbers for types, of values and of tensors, for its reader and
// its writer. Tables of facts, nothing else.
#ifndef SCRUPLE_FORMATS_GGUF_TABLE_H
#define SCRUPLE_FORMATS_GGUF_TABLE_H

#include "formats/gguf.h"

uint64_t gguf_type_bytes(gguf_type t);                // of one value; 0: texts and arrays
bool gguf_is_integer(gguf_type t, bool *is_signed);
bool gguf_type_of_id(uint32_t id, dtype *out);        // ggml's number of a tensor type
bool gguf_id_of_type(dtype t, uint32_t *id);

#endif
