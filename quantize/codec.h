// SPDX-License-Identifier: Apache-2.0
// The codec registry: how a logical matrix [out][in] of binary32 becomes bytes and back. A codec
// says which parts (tensors) a weight consists of, their shapes, and encodes or decodes ranges of
// rows. It knows no file, no model and no tensor name beyond the parts' suffixes.
#ifndef SCRUPLE_QUANTIZE_CODEC_H
#define SCRUPLE_QUANTIZE_CODEC_H

#include "base/dtype.h"
#include "base/err.h"

enum { CODEC_MAX_PARTS = 4 };

typedef struct {
    const char *suffix;  // tensor name = module path + "." + suffix ("weight_packed")
    dtype type;          // as written
    uint32_t also;       // bit per dtype of safetensors also accepted when reading (1u << DT_F32)
    int rank;            // 2: rows x cols; 1: a vector of cols (weight_shape)
    int64_t row_block;   // weight rows per row of this part (1, 128); 0: one for the whole weight
    int64_t col_block;   // weight columns per column of this part (1, 8, 32, 128); 0: a fixed
    int64_t fixed_cols;  //   number of columns (1 for channel scales, 2 for weight_shape)
} codec_part;

typedef enum {
    CODEC_FLOAT, CODEC_FP8_BLOCK, CODEC_FP8_CHANNEL, CODEC_INT4_GROUP,
    CODEC_BLOCKS // ggml's types (blocks.h): in GGUF files only
} codec_form;

// How scales and codes are found. COMPAT: the bytes of the tool that the format comes from. BEST:
// the least weighted squared error we can find, never more than COMPAT's in any block.
typedef enum { SEARCH_COMPAT, SEARCH_BEST } codec_search;

typedef struct {
    codec_search search;
    bool positive_scales;     // int4: never a negative scale
    const float *importance;  // [in] > 0, or NULL: weights of the squared error
    int64_t row0;             // index of the first row given, for sentences about non-finite values
} encode_options;

#define ENCODE_DEFAULTS {SEARCH_BEST, false, NULL, 0}

typedef struct {
    const void *bytes; // at the part's row that belongs to the first weight row of the range
    dtype type;        // as found (see codec_part.also)
} part_view;

typedef struct codec {
    const char *name;      // "int4-g32"
    codec_form form;
    int n_parts;
    codec_part part[CODEC_MAX_PARTS];
    int64_t group;         // columns that share a scale: 32, 64, 128; FP8 blocks 128; of
                           // CODEC_BLOCKS the columns of a block; else 0
    int64_t row_quantum;   // encode and decode ranges begin at multiples of it (1 or 128)
    bool exact;            // holds every finite value of its own type: nothing is searched
    bool pow2;             // scales are powers of two
    // Rows [row0, row0 + n) of a weight [out][in]; row0 a multiple of row_quantum, n too unless the
    // range ends with the weight. Decoded value = code x scale as one binary32 product.
    bool (*decode)(const struct codec *c, int64_t in, int64_t n, const part_view *part, float *to,
                   err *e);
    // parts[i] as in part_view. NaN or infinity: ERR_INPUT naming row and column.
    bool (*encode)(const struct codec *c, int64_t in, int64_t n, const float *from,
                   const encode_options *o, void *const *part, err *e);
} codec;

// f32 f16 bf16 fp8-block fp8-block-pow2 fp8-channel int4-g32 int4-g64 int4-g128, and ggml's types
// by its names (Q8_0)
const codec *codec_find(const char *name);     // canonical names; NULL
int64_t codec_count(void);
const codec *codec_at(int64_t i);
// The type a user means ("W4A16", "FP8_BLOCK", "int4-g32", any case). ERR_USAGE for an unknown or
// not yet existing one, naming one that exists.
MUST_USE bool codec_from_user(const char *text, const codec **out, err *e);

// Whether a part is read from tensors of that type.
bool codec_part_reads(const codec_part *p, dtype type);
// Of a tensor whose own type says all, one of floats or blocks; NULL where none reads it.
const codec *codec_of_type(dtype type);
// Shape of part i of a weight [out][in]; returns its rank. Columns and rows are rounded up.
int codec_part_shape(const codec *c, int i, int64_t out, int64_t in, int64_t shape[2]);
uint64_t codec_part_bytes(const codec *c, int i, int64_t out, int64_t in);
uint64_t codec_part_row_bytes(const codec *c, int i, int64_t in, dtype type); // one row of the part
uint64_t codec_bytes(const codec *c, int64_t out, int64_t in);  // all parts
bool codec_divides(const codec *c, int64_t in);  // the group divides the columns
bool codec_is_searched(const codec *c); // search, signs and importance decide its bytes
// Parts whose content depends on the shape only (weight_shape): true and filled in.
bool codec_fixed_part(const codec *c, int i, int64_t out, int64_t in, void *to);

#endif
