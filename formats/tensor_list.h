// SPDX-License-Identifier: Apache-2.0
// Many tensors in little memory. A header of 95 MiB can name 1.8 million; as `tensor`s they would
// take twice its size. Here each is a packed record, and records are written over the very text
// that they were read from, which is always longer. Names stay where they are and are borrowed.
#ifndef SCRUPLE_FORMATS_TENSOR_LIST_H
#define SCRUPLE_FORMATS_TENSOR_LIST_H

#include "formats/name_index.h"
#include "formats/tensor.h"

typedef struct {
    char *text;        // records, one behind the other
    uint64_t used;     // bytes of it
    uint32_t *at;      // [n]: where each begins
    uint64_t most;     // places in `at`
    int64_t n;
    bool ordered;      // so far each has come behind the one before it
    uint64_t last;     // place of the last one
    uint64_t base;     // added to each offset
    int file;
    name_index names;
} tensor_list;

// For at most `most` tensors; takes `text` (from malloc) over, which the caller goes on reading in
// front of what is written.
MUST_USE bool tensor_list_init(tensor_list *l, char *text, uint64_t most, err *e);
void tensor_list_free(tensor_list *l);
// Puts a text at the end of what is used, with its NUL, and returns it. It may stand further behind
// in the list's own text.
char *tensor_list_text(tensor_list *l, const char *text, size_t len);
// Adds the tensor whose name was the last text. Its offset is taken without `base`.
void tensor_list_add(tensor_list *l, const tensor *t);
void tensor_list_get(const tensor_list *l, int64_t i, tensor *out);
const char *tensor_list_name(const tensor_list *l, int64_t i);
// Orders by offset; where several begin at one place those without bytes come first, and otherwise
// the text's order stays. At most 24 bytes a tensor while it works.
MUST_USE bool tensor_list_sort(tensor_list *l, err *e);
// Makes `names` for the order that stands; *twice as name_index_build's.
MUST_USE bool tensor_list_index(tensor_list *l, int64_t *twice, err *e);
int64_t tensor_list_find(const tensor_list *l, const char *name); // -1

#endif
