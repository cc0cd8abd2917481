// SPDX-License-Identifier: Apache-2.0
// Small GGUF files for tests, made by the writer. Failures end the test.
#ifndef SCRUPLE_TESTS_GGUF_CASE_H
#define SCRUPLE_TESTS_GGUF_CASE_H

#include "formats/gguf.h"

// A file with one F32 tensor, valued 1, 2, ...; general.name is "case".
typedef struct {
    const char *name;         // of the file
    uint16_t no, count;       // of a split file; count 0: not split
    int32_t total;
    const char *tensor;
    int64_t elements;
    const char *architecture; // NULL: none
} gguf_case;

void gguf_case_write(const char *dir, const gguf_case *c);
void gguf_case_f32(const char *dir, const char *file, const char *tensor, int64_t elements);
void gguf_case_part(const char *dir, const char *file, uint16_t no, uint16_t count, int32_t total,
                    const char *tensor, int64_t elements);
// A file with these tensors, whose bytes follow each other in `data` without padding.
void gguf_case_tensors(const char *dir, const char *file, tensor *t, int64_t n,
                       const gguf_value *values, int64_t n_values, const void *data);

#endif
