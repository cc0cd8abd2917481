// SPDX-License-Identifier: Apache-2.0
// A weight: one logical matrix [out][in] (a vector is [1][n]) with all its companions, wherever
// they lie: tensors of its own, a slice of stacked tensors, some rows of them. Everything above
// formats/ speaks of weights; it reads its own rows as binary32. weight.c reads, weight_bind.c
// finds.
#ifndef SCRUPLE_FORMATS_WEIGHT_H
#define SCRUPLE_FORMATS_WEIGHT_H

#include "base/mem.h"
#include "formats/checkpoint.h"
#include "quantize/codec.h"

// Which part of a matrix that holds more than one weight is the weight.
typedef struct {
    int64_t slices, slice; // the tensors are [slices][...], ours is one; 0: they are not stacked
    int64_t rows;          // of the stored matrix; 0: the weight's own
    int64_t first, step;   // the weight's row r is row first + r x step of it: halves (step 1) or
                           // every second (2); 0: 1. Of a vector these are its elements
    bool transposed;       // it is stored [in][rows]; plain numbers only
} weight_view;

typedef struct {
    const checkpoint *from;
    const char *module;                   // "model.layers.3.mlp.experts.5.down_proj"
    const char *stored;                   // the path of its tensors: the module, or of the stack it
                                          // is cut from ("model.layers.3.mlp.experts.down_proj")
    const char *suffix;                   // of a vector's name behind the module: "bias"
    const codec *codec;
    const weight_view *view;              // NULL: the tensors are the weight
    int rank;                             // 1: a vector; 0: of any rank, a row is the last
                                          // dimension, and a part is as the weight
    int64_t out, in;
    int n_parts;
    uint8_t of[CODEC_MAX_PARTS];          // which of the codec's parts
    const tensor *part[CODEC_MAX_PARTS];  // is which tensor; the codes come first
} weight;

// ---- finding ---------------------------------------------------------------------------------

// What is asked for, and what the tensors do not tell.
typedef struct {
    const char *module;    // kept, not copied
    const char *stored;    // kept: where its tensors are, if that is not the module (a vector's:
                           // the whole name); NULL: it is
    const char *suffix;    // usually "weight"; "bias" etc. for plain tensors; "" where the module
                           // is the whole name
    int rank;              // 1: the tensor is a vector of `in` and out is 1
    int64_t out, in;
    const weight_view *view; // kept; NULL: none
    int gptq_format;       // codec.gptq_format, where a config says it; 0: it is not known
} weight_terms;

// Finds the codec of module's tensors from the tensors themselves (names, types, shapes): the first
// of the registry whose parts are just those that are there. A missing or misshapen companion is
// ERR_INPUT with its name; so is one that no codec with those codes has a part for: it would change
// what the weight means.
// A weight that is cut from a stack names the stack's tensors.
MUST_USE bool weight_bind_as(weight *w, const checkpoint *c, const weight_terms *t, err *e);
// The common case: tensors of its own, nothing but tensors to go by.
MUST_USE bool weight_bind(weight *w, const checkpoint *c, const char *module, const char *suffix,
                          int rank, int64_t out, int64_t in, err *e);

// The first tensor of any name that a weight of that module may have; NULL: there is none.
const tensor *weight_any_part(const checkpoint *c, const char *module);

// ---- reading ---------------------------------------------------------------------------------

// Rows [row, row + n) as binary32, row-major [n][in]. `s` is the caller's scratch for the stored
// bytes; any row is allowed. One read a part, or one a row of it where the rows do not lie
// together. Values that are not finite come as they are: what to do about them is the caller's
// policy. Thread-safe with own scratch.
MUST_USE bool weight_read_rows(const weight *w, int64_t row, int64_t n, float *to, scratch *s,
                               err *e);
uint64_t weight_stored_bytes(const weight *w);   // of all parts those that are the weight's
int64_t weight_elements(const weight *w);
// The type of plain numbers; DT_F32, which decoding gives, of all else.
dtype weight_plain_type(const weight *w);
// The type that its scales are stored in; DT_F32 where it has none.
dtype weight_scale_type(const weight *w);
// Ranges of rows that begin and end at multiples of it (or end with the weight) share no byte of
// any part that is more than one for all rows; `out` for codes that are stored transposed. Numbers
// that are stored transposed share none whatever the range.
int64_t weight_quantum(const weight *w);

// The stored form of rows in memory, for who brings the bytes there by another way than
// weight_read_rows (weight_ahead.h). The parts lie one behind the other, those that are the same
// for all rows first: they stay where they are whatever the rows.
typedef struct {
    uint64_t at, bytes;    // in memory
    uint64_t offset;       // in the tensor, of the first of so many runs of so many bytes,
    int64_t runs;          //   each `stride` behind the one before it
    uint64_t run_bytes, stride;
    int64_t pitch;         // in memory, from a row of the part to the next
    int64_t first, skip;   // row of the part (across: column) it begins with; weight rows, of
                           // packed rows bits, in front of the first row
    bool whole;            // one for all rows
    bool wanted;           // decoding needs it
} stored_part;

typedef struct {
    const weight *w;
    int64_t row, n;
    uint64_t bytes;        // of all parts
    stored_part part[CODEC_MAX_PARTS];
} stored_rows;

// ERR_ENV where the sizes overflow.
MUST_USE bool weight_lay_out(stored_rows *s, const weight *w, int64_t row, int64_t n, err *e);
// Small runs close to each other are better read with what lies between them: the bytes from the
// first run's beginning to the last one's end; 0 where each is to be read by itself.
uint64_t weight_part_span(const stored_part *p);
// Bytes [at, at + n) of the span, in whatever pieces, to where the part lies in memory.
void weight_part_gather(const stored_part *p, uint64_t at, const void *bytes, uint64_t n,
                        void *part);
// Reads the parts that decoding needs.
MUST_USE bool weight_fetch(const stored_rows *s, void *stored, err *e);
// Rows [row, row + n) out of those that are stored, as weight_read_rows.
MUST_USE bool weight_decode(const stored_rows *s, const void *stored, int64_t row, int64_t n,
                            float *to, err *e);
// The scale of each value of them; of a codec that has scales.
MUST_USE bool weight_scales(const stored_rows *s, const void *stored, int64_t row, int64_t n,
                            float *to, err *e);
// The same of any weight; *has = false where it has none, and of ggml's K-quants and their like.
MUST_USE bool weight_any_scales(const stored_rows *s, const void *stored, int64_t row, int64_t n,
                                float *to, bool *has, err *e);
// The same out of the slices of a stack that it lies in: slice[i] is what weight_slice_range says
// of part i.
void weight_gather(const stored_rows *s, const void *const slice[], void *stored);
// Rows [row, row + n) out of those that are stored as tensors of the weight's own would have them,
// [n][in] whatever the view: to[k] by the codec's parts. What there is once for all rows comes
// with row 0.
void weight_cut(const stored_rows *s, const void *stored, int64_t row, int64_t n,
                void *const to[]);

// Its global scale, which multiplies or divides; *has = false where it has none.
MUST_USE bool weight_global(const weight *w, float *scale, bool *divides, bool *has, err *e);

// For who reads a weight once from front to end, every part with all its bytes. True where any rows
// are one run of bytes in each part: all weights but those with every second row, or columns, of a
// stack.
bool weight_in_runs(const weight *w);
// Of such a weight: which bytes of part i come with rows [row, row + n). row is a multiple of
// weight_quantum, n too unless the range ends with the weight. A part that is whole comes with
// row 0.
void weight_part_range(const weight *w, int i, int64_t row, int64_t n, uint64_t *offset,
                       uint64_t *bytes);

// The whole slice of part i's tensor that the weight lies in.
void weight_slice_range(const weight *w, int i, uint64_t *offset, uint64_t *bytes);

// ---- the inside, for weight.c and weight_bind.c ----------------------------------------------

// How a part lies in its tensor.
typedef struct {
    int64_t row_block, col_block; // weight rows and columns an element; PART_WHOLE: all
    int64_t rows, cols;           // elements along the matrix's rows and columns
    bool across;                  // the tensor is [cols][rows]
    uint64_t base;                // where the slice begins in it
} part_place;

// False where the tensor's shape is none that the part can have.
bool weight_place(const weight *w, const codec_part *p, const tensor *t, part_place *to);
int64_t weight_stored_rows(const weight *w); // of the stored matrix

#endif
