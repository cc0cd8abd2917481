// SPDX-License-Identifier: Apache-2.0
// The codec registry: how a logical matrix [out][in] of binary32 becomes bytes and back. A codec
// says which parts (tensors) a weight consists of, their shapes, and encodes or decodes ranges of
// rows. It knows no file, no model and no tensor name beyond the parts' suffixes.
#ifndef SCRUPLE_QUANTIZE_CODEC_H
#define SCRUPLE_QUANTIZE_CODEC_H

#include "base/dtype.h"
#include "base/err.h"

enum { CODEC_MAX_PARTS = 6, PART_MAX_NAMES = 3 };

// A weight is value = (code - zero) x scale, or code x scale + bias; each of these is a part, or is
// implied. How a part lies is data: what follows, in a codec's row.
typedef enum {
    PART_CODES,
    PART_SCALES,
    PART_ZEROS,      // codes that stand for 0; implied (codec.zero) where there is no such part
    PART_BIASES,
    PART_GLOBAL,     // one number that scales are multiplied by
    PART_DIVISOR,    // one number that scales are divided by
    PART_ORDER,      // the group of each column; where absent, column / columns of a group
    PART_SHAPE,      // (out, in), in numbers; decoding does not need it
    PART_ACTIVATION  // about a runtime's activations, not about the weight: kept, never asked
} part_kind;

typedef enum {
    PACKED_NOT,      // an element a row_block x col_block
    PACKED_COLUMNS,  // the codes along a weight's row are a little-endian stream of bits
    PACKED_ROWS      // the codes along its column are
} part_packing;

typedef struct {
    const char *suffix;  // tensor name = module path + "." + suffix ("weight_packed"); one that
                         // begins with '_' follows without the dot, "" is the path itself
    const char *named[PART_MAX_NAMES]; // names also read
    dtype type;          // as written; what a byte of type U8 holds, where U8 is in `also`
    uint32_t also;       // bit per dtype of safetensors also accepted when reading (1u << DT_F32)
    part_kind kind;
    part_packing packing;
    int rank;            // 2: rows x cols; 1: a vector of cols (weight_shape); 0: one number
    int64_t row_block;   // weight rows per row of this part (1, 128); 0: one for the whole weight
    int64_t col_block;   // weight columns per column of this part (1, 32, 128); 0: a fixed
    int64_t fixed_cols;  //   number of columns (1 for channel scales, 2 for weight_shape)
    int64_t split;       // the last dimension is stored as two, of cols / split and split
    bool across;         // stored transposed: [cols][rows]
    bool found;          // row_block and col_block follow from the tensor's shape
    bool optional;       // may be absent
    bool wrapped;        // written as U8, whatever its bytes are
} codec_part;

typedef enum {
    CODEC_FLOAT, CODEC_FP8_BLOCK, CODEC_FP8_CHANNEL, CODEC_INT,
    CODEC_MX,     // E2M1 or E4M3 with a byte of scale a group
    CODEC_BLOCKS, // ggml's types (blocks.h): in GGUF files only
    CODEC_STORED, // codes and scales as other tools store them: read, not written
    CODEC_TOOL    // such a form in groups that can be asked for: written. What was written is read
                  // by the row of CODEC_STORED
} codec_form;

// Whether something has to be known of the whole weight before a row is encoded.
typedef enum {
    WHOLE_NOT,
    WHOLE_WEIGHT, // one scale for all
    WHOLE_FUSED   // one that weights which runtimes join (gate and up; q, k, v) have to share
} codec_whole;

// Whose quantization_config describes what is written: what a tool's own files have in config.json.
typedef enum {
    CONFIG_NONE,     // nobody's: plain numbers, ggml's blocks, what is only read
    CONFIG_COMPRESSED_TENSORS,
    CONFIG_FP8,      // DeepSeek's
    CONFIG_FBGEMM,
    CONFIG_MODELOPT,
    CONFIG_GPTQ,
    CONFIG_AWQ,
    CONFIG_MLX,
    CONFIG_MXFP4     // gpt-oss'
} codec_config;

// What a code says.
typedef enum {
    ELEMENT_ITSELF,  // a number, or ggml's blocks
    ELEMENT_E4M3, ELEMENT_E2M1,
    ELEMENT_INT      // an unsigned number, or I8; a step is as large anywhere
} codec_element;

// How scales and codes are found. COMPAT: the bytes of the tool that the format comes from. BEST:
// the least weighted squared error we can find, never more than COMPAT's in any block.
typedef enum { SEARCH_COMPAT, SEARCH_BEST } codec_search;

typedef struct {
    codec_search search;
    bool positive_scales;     // integers without zero points: never a negative scale
    const float *importance;  // [in] > 0, or NULL: weights of the squared error
    int64_t row0;             // index of the first row given, for sentences about values; what is
                              // there once for all rows is written with row 0
    dtype source;             // BF16 or F16: what all values are of, and what COMPAT computes in
                              // where the format's own tool does; all else is binary32
    float whole_scale;        // codec_whole_scale of the weight, where the codec has one
    int64_t height;           // rows of the weight that parts across have room for; 0: those given
} encode_options;

#define ENCODE_DEFAULTS {SEARCH_BEST, false, NULL, 0, DT_F32, 0, 0}

// A part of a range of rows in memory. Fields that are 0 are as the codec's row says.
typedef struct {
    const void *bytes; // at the part's row that belongs to the first weight row of the range; of
                       // parts across, in their first row; NULL: this optional part is absent
    dtype type;        // as found (see codec_part.also)
    int64_t row_block, col_block; // as found; PART_WHOLE: all
    int64_t skip;      // weight rows (packed rows: bits) between `bytes` and the first row
    int64_t pitch;     // bytes from a row of a part across to the next
    int64_t step;      // of floats across: columns of the part from a weight row to the next
} part_view;

#define PART_WHOLE INT64_MAX

static inline part_view part_at(const void *bytes, dtype type)
{
    return (part_view){.bytes = bytes, .type = type};
}

typedef struct codec {
    const char *name;      // "int4-g32"
    codec_form form;
    codec_config config;
    int n_parts;
    codec_part part[CODEC_MAX_PARTS];
    codec_element element;
    int bits;              // of a code
    int zero;              // ELEMENT_INT: the code of 0 where no part says it, or (CODEC_TOOL)
                           // where what the part says is always the same
    int gptq_format;       // 1: PART_ZEROS holds the zero point less 1; 2: itself; else 0. Only a
                           // config tells the two apart
    bool eights;           // codes across lie 8 a word in the order 0 2 4 6 1 3 5 7 (AWQ)
    int64_t group;         // columns that share a scale: 16, 32, 64, 128; FP8 blocks' side; of
                           // CODEC_BLOCKS the columns of a block; 0: as found, or none
    int64_t row_quantum;   // encode ranges begin at multiples of it (1, 8, 32 or 128)
    bool exact;            // holds every finite value of its own type: nothing is searched
    codec_whole whole;
    bool pow2;             // scales are powers of two
    bool stacked;          // written in a family's stacks only: a part is one tensor of all the
                           // experts of a layer
    // Rows [row0, row0 + n) of a weight [out][in]. Decoded value = (code - zero) x scale as one
    // binary32 product, scale and global scale made one (one rounding) before; + bias as one sum.
    bool (*decode)(const struct codec *c, int64_t in, int64_t n, const part_view *part, float *to,
                   err *e);
    // The scale of each value [n][in], as decode has it; NULL for forms without.
    bool (*scales)(const struct codec *c, int64_t in, int64_t n, const part_view *part, float *to,
                   err *e);
    // row0 a multiple of row_quantum, n too unless the range ends with the weight; parts[i] as in
    // part_view; of parts across, options say how long their rows are. NaN or infinity: ERR_INPUT
    // naming row and column. NULL: this version only reads the type.
    bool (*encode)(const struct codec *c, int64_t in, int64_t n, const float *from,
                   const encode_options *o, void *const *part, err *e);
} codec;

// f32 f16 bf16 fp8-block fp8-block32-e8m0 fp8-channel int4-g32 int4-g64 int4-g128, ggml's types by
// its names (Q8_0), and what is only read: codec.c has the list, docs/stored-types.md what each is.
// Where several rows fit a weight's tensors the first one is it.
const codec *codec_find(const char *name);     // canonical names; NULL
int64_t codec_count(void);
const codec *codec_at(int64_t i);
// The type a user means ("W4A16", "FP8_BLOCK", "int4-g32", any case). ERR_USAGE for an unknown or
// not yet existing one, naming one that exists.
MUST_USE bool codec_from_user(const char *text, const codec **out, err *e);

int codec_part_of(const codec *c, part_kind kind); // its index, -1
bool codec_part_reads(const codec_part *p, dtype type); // from tensors of that type
// Of a tensor whose own type says all, one of floats or blocks; NULL where none reads it.
const codec *codec_of_type(dtype type);
int codec_part_width(dtype type);                  // bits of an element of a part with codes
int64_t codec_packed(const codec *c, dtype type, int64_t n); // elements that n codes take
// Shape of part i of a weight [out][in], 1 where its rank has no dimension; returns its rank.
// Columns and rows are rounded up.
int codec_part_shape(const codec *c, int i, int64_t out, int64_t in, int64_t shape[2]);
uint64_t codec_part_bytes(const codec *c, int i, int64_t out, int64_t in);
uint64_t codec_part_row_bytes(const codec *c, int i, int64_t in, dtype type); // one row of the part
uint64_t codec_bytes(const codec *c, int64_t out, int64_t in);  // all parts
int64_t codec_multiple(const codec *c);          // what columns have to be a multiple of: the group
bool codec_divides(const codec *c, int64_t in);  // they are
int64_t codec_row_multiple(const codec *c);      // what rows have to be one of: codes of a word
bool codec_fits(const codec *c, int64_t out, int64_t in); // both hold
// Which container holds what the codec writes.
typedef enum { HOLDER_ANY, HOLDER_SAFETENSORS, HOLDER_GGUF } codec_holder;
codec_holder codec_held_by(const codec *c);
bool codec_is_searched(const codec *c); // search and importance decide its bytes
bool codec_has_signs(const codec *c);   // BEST makes negative scales, unless positive_scales
// The parts that are written, the first ones: all but optional ones.
int codec_written(const codec *c);
// What the codec needs of a weight as a whole, from its largest magnitude and the type of its
// numbers: the scale of fp8-tensor, the global one of NVFP4. 0 where it needs nothing.
float codec_whole_scale(const codec *c, float amax, dtype source);
// Whether part i is one for all rows; else where the rows of it begin that belong to weight rows
// from `row` on, a multiple of row_quantum; of parts across, in each of their rows.
bool codec_part_whole(const codec *c, int i);
uint64_t codec_part_offset(const codec *c, int i, int64_t in, int64_t row);
// Of a part across that holds `rows` weight rows: bytes from a row of it to the next. 0: of others.
int64_t codec_part_pitch(const codec *c, int i, int64_t rows);
// The type that part i is written in: COMPAT's integer scales, and MLX's scales and biases, are F16
// where the source is, E8M0 is written as U8, as are all bytes of MLX's scales.
dtype codec_written_type(const codec *c, int i, codec_search search, dtype source);
// Parts whose content depends on the shape only (weight_shape, g_idx): true and filled in.
bool codec_fixed_part(const codec *c, int i, int64_t out, int64_t in, void *to);

#endif
