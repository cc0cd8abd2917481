// SPDX-License-Identifier: Apache-2.0
#include "quantize/codec.h"

#include <float.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/reduce.h"
#include "base/str.h"
#include "quantize/blocks.h"
#include "quantize/codec_forms.h"
#include "quantize/groups.h"
#include "quantize/number.h"

#define ALSO(type) (1u << (type))

#define FLOAT_CODEC(label, dt)                                                                  \
    {                                                                                           \
        .name = label, .form = CODEC_FLOAT, .n_parts = 1,                                       \
        .part = {{.suffix = "weight", .named = {""}, .type = dt, .rank = 2, .row_block = 1,     \
                  .col_block = 1}},                                                             \
        .row_quantum = 1, .exact = true, .decode = float_decode, .encode = float_encode         \
    }

// Parts that several rows have.
#define ANY_FLOAT (ALSO(DT_F32) | ALSO(DT_BF16) | ALSO(DT_F16))
#define E4M3_CODES                                                                              \
    {.suffix = "weight", .named = {""}, .type = DT_F8_E4M3, .rank = 2, .row_block = 1,          \
     .col_block = 1}
#define CODES(name, dt) /* packed, or a byte each */                                            \
    {.suffix = name, .type = dt, .packing = PACKED_COLUMNS, .rank = 2, .row_block = 1}
#define SCALES(name, dt, types, ...)                                                            \
    {.suffix = name, .kind = PART_SCALES, .type = dt, .also = types, .rank = 2, __VA_ARGS__}
#define ONE(name, what, may_lack, ...) /* one number; other names of it */                      \
    {.suffix = name, .kind = what, .type = DT_F32, .also = ANY_FLOAT, .rank = 1,                \
     .fixed_cols = 1, .optional = may_lack, .named = {__VA_ARGS__}}
#define SHAPE_PART                                                                              \
    {.suffix = "weight_shape", .kind = PART_SHAPE, .type = DT_I64, .also = ALSO(DT_I32),        \
     .rank = 1, .fixed_cols = 2}
#define INPUT_SCALE                                                                             \
    ONE("input_scale", PART_ACTIVATION, true, "activation_scale", "input_scale_ub")
#define INPUT_GLOBAL ONE("input_global_scale", PART_ACTIVATION, true, NULL)
#define ORDER(name)                                                                             \
    {.suffix = name, .kind = PART_ORDER, .type = DT_I32, .rank = 1, .col_block = 1,             \
     .optional = true}
#define GROUPED(columns) .row_block = 1, .col_block = columns, .found = true

#define FP8_SCALE_NAMES {"weight_scale_inv", "scale", "_scale_inv"}

#define FP8_BLOCK_CODEC(label, side, dt, power, other)                                          \
    {                                                                                           \
        .name = label, .form = CODEC_FP8_BLOCK, .config = CONFIG_FP8,                           \
        .element = ELEMENT_E4M3, .bits = 8, .n_parts = 2,                                       \
        .part = {E4M3_CODES,                                                                    \
                 SCALES("weight_scale_inv", dt, 0, .row_block = side, .col_block = side,        \
                        .named = {"_scale_inv", other})},                                       \
        .group = side, .row_quantum = side, .pow2 = power, .decode = scaled_decode,             \
        .scales = scaled_scales, .encode = fp8_block_encode                                     \
    }
#define FP8_BLOCKS(label, side)                                                                 \
    FP8_BLOCK_CODEC(label, side, DT_F32, false, NULL),                                          \
    FP8_BLOCK_CODEC(label "-pow2", side, DT_F32, true, NULL),                                   \
    FP8_BLOCK_CODEC(label "-bf16", side, DT_BF16, false, NULL),                                 \
    FP8_BLOCK_CODEC(label "-e8m0", side, DT_F8_E8M0, true, "scale")

// compressed-tensors' pack-quantized as we write it: nothing optional.
#define INT_CODEC(label, width, parts, columns, ...)                                            \
    {                                                                                           \
        .name = label, .form = CODEC_INT, .config = CONFIG_COMPRESSED_TENSORS,                  \
        .element = ELEMENT_INT, .bits = width,                                                  \
        .zero = 1 << (width - 1), .n_parts = parts,                                             \
        .part = {CODES("weight_packed", DT_I32),                                                \
                 SCALES("weight_scale", DT_BF16, ALSO(DT_F16) | ALSO(DT_F32), .row_block = 1,   \
                        __VA_ARGS__),                                                           \
                 SHAPE_PART,                                                                    \
                 {.suffix = "weight_zero_point", .kind = PART_ZEROS, .type = DT_I32, .rank = 2, \
                  .packing = PACKED_ROWS, __VA_ARGS__}},                                        \
        .group = columns, .row_quantum = (parts) == 4 ? 32 / (width) : 1,                       \
        .decode = scaled_decode, .scales = scaled_scales, .encode = int_encode                  \
    }
#define INT_GROUPS(width, columns)                                                              \
    INT_CODEC("int" #width "-g" #columns, width, 3, columns, .col_block = columns),             \
    INT_CODEC("int" #width "-g" #columns "-asym", width, 4, columns, .col_block = columns)
#define INT_CODECS(width)                                                                       \
    INT_GROUPS(width, 32), INT_GROUPS(width, 64), INT_GROUPS(width, 128),                       \
    INT_GROUPS(width, 16), INT_GROUPS(width, 256), INT_GROUPS(width, 512),                      \
    INT_GROUPS(width, 1024), INT_CODEC("int" #width "-channel", width, 3, 0, .fixed_cols = 1),  \
    INT_CODEC("int" #width "-channel-asym", width, 4, 0, .fixed_cols = 1)

#define STORED(label, kind, width, ...)                                                         \
    {                                                                                           \
        .name = label, .form = CODEC_STORED, .element = kind, .bits = width, .row_quantum = 1,  \
        .decode = scaled_decode, .scales = scaled_scales, __VA_ARGS__                           \
    }

// compressed-tensors' pack-quantized, any group or a scale a row.
#define CT_PACKED(label, width, parts, zeros)                                                   \
    STORED(label, ELEMENT_INT, width, .zero = 1 << (width - 1), .n_parts = parts,               \
           .part = {CODES("weight_packed", DT_I32),                                             \
                    SCALES("weight_scale", DT_BF16, ANY_FLOAT, GROUPED(128)), SHAPE_PART,       \
                    ORDER("weight_g_idx"), INPUT_GLOBAL, zeros})
#define NO_PART {.suffix = NULL}
#define CT_PACKED_ZEROS                                                                         \
    {.suffix = "weight_zero_point", .kind = PART_ZEROS, .type = DT_I32, .rank = 2,              \
     .packing = PACKED_ROWS, .col_block = 128, .found = true}

#define BLOCK_FORM(label, dt, columns, how)                                                     \
    {                                                                                           \
        .name = label, .form = CODEC_BLOCKS, .n_parts = 1,                                      \
        .part = {{.suffix = "weight", .type = dt, .rank = 2, .row_block = 1, .col_block = 1}},  \
        .group = columns, .row_quantum = 1, .decode = blocks_decode, .encode = how              \
    }
#define MX_CODEC(label, kind, width, columns, ...)                                              \
    {                                                                                           \
        .name = label, .form = CODEC_MX, .element = kind, .bits = width, .group = columns,      \
        .row_quantum = 1, .decode = scaled_decode, .scales = scaled_scales,                     \
        .encode = mx_encode, __VA_ARGS__                                                        \
    }

#define BLOCK_CODEC(label, dt, columns) BLOCK_FORM(label, dt, columns, blocks_encode)
#define BLOCK_READER(label, dt, columns) BLOCK_FORM(label, dt, columns, NULL)

#define E4M3_SCALES(name, in_bytes)                                                             \
    SCALES(name, DT_F8_E4M3, ALSO(DT_U8), .row_block = 1, .col_block = 16,                      \
           .wrapped = in_bytes)
#define E8M0_SCALES(name, other)                                                                \
    SCALES(name, DT_F8_E8M0, ALSO(DT_U8), .row_block = 1, .col_block = 32, .named = {other},    \
           .wrapped = true)

#define ZEROS_ACROSS                                                                            \
    {.suffix = "qzeros", .kind = PART_ZEROS, .type = DT_I32, .packing = PACKED_ROWS, .rank = 2, \
     .col_block = 128, .found = true, .across = true}
#define SCALES_ACROSS SCALES("scales", DT_F16, ANY_FLOAT, GROUPED(128), .across = true)
#define GPTQ_CODEC(label, width, format)                                                        \
    STORED(label, ELEMENT_INT, width, .gptq_format = format, .n_parts = 4,                      \
           .part = {{.suffix = "qweight", .type = DT_I32, .packing = PACKED_COLUMNS, .rank = 2, \
                     .row_block = 1, .across = true},                                           \
                    ZEROS_ACROSS, SCALES_ACROSS, ORDER("g_idx")})
#define GPTQ_CODECS(width)                                                                      \
    GPTQ_CODEC("int" #width "-gptq", width, 1), GPTQ_CODEC("int" #width "-gptq-v2", width, 2)
#define MLX_CODEC(width)                                                                        \
    STORED("int" #width "-mlx", ELEMENT_INT, width, .n_parts = 3,                               \
           .part = {CODES("weight", DT_U32), SCALES("scales", DT_BF16, ANY_FLOAT, GROUPED(64)), \
                    {.suffix = "biases", .kind = PART_BIASES, .type = DT_BF16,                  \
                     .also = ANY_FLOAT, .rank = 2, GROUPED(64)}})

// As the rows above them store, in groups of a size, or a scale a row, and with or without zero
// points.
#define TOOL_CODEC(label, width, columns, ...)                                                  \
    {                                                                                           \
        .name = label, .form = CODEC_TOOL, .element = ELEMENT_INT, .bits = width,               \
        .group = columns, .decode = scaled_decode, .scales = scaled_scales,                     \
        .encode = tools_encode, __VA_ARGS__                                                     \
    }
#define GPTQ_FORM(label, width, format, nothing, columns, ...)                                  \
    TOOL_CODEC(label, width, columns, .config = CONFIG_GPTQ, .zero = nothing,                   \
               .gptq_format = format, .row_quantum = 32 / (width), .n_parts = 4,                \
               .part = {{.suffix = "qweight", .type = DT_I32, .packing = PACKED_COLUMNS,        \
                         .rank = 2, .row_block = 1, .across = true},                            \
                        {.suffix = "qzeros", .kind = PART_ZEROS, .type = DT_I32, .rank = 2,     \
                         .packing = PACKED_ROWS, .across = true, __VA_ARGS__},                  \
                        SCALES("scales", DT_F16, 0, .row_block = 1, .across = true,             \
                               __VA_ARGS__),                                                    \
                        {.suffix = "g_idx", .kind = PART_ORDER, .type = DT_I32, .rank = 1,      \
                         .col_block = 1}})
#define AWQ_FORM(label, columns, ...)                                                           \
    TOOL_CODEC(label, 4, columns, .config = CONFIG_AWQ, .eights = true, .row_quantum = 8,       \
               .n_parts = 3,                                                                    \
               .part = {{.suffix = "qweight", .type = DT_I32, .packing = PACKED_ROWS,           \
                         .rank = 2, .col_block = 1, .across = true},                            \
                        {.suffix = "qzeros", .kind = PART_ZEROS, .type = DT_I32, .rank = 2,     \
                         .packing = PACKED_ROWS, .across = true, __VA_ARGS__},                  \
                        SCALES("scales", DT_F16, 0, .row_block = 1, .across = true,             \
                               __VA_ARGS__)})
#define MLX_FORM(width, columns)                                                                \
    TOOL_CODEC("int" #width "-mlx-g" #columns, width, columns, .config = CONFIG_MLX,            \
               .row_quantum = 1, .n_parts = 3,                                                  \
               .part = {CODES("weight", DT_U32),                                                \
                        SCALES("scales", DT_BF16, ALSO(DT_F16), .row_block = 1,                 \
                               .col_block = columns),                                           \
                        {.suffix = "biases", .kind = PART_BIASES, .type = DT_BF16,              \
                         .also = ALSO(DT_F16), .rank = 2, .row_block = 1,                       \
                         .col_block = columns}})
#define GPTQ_PAIR(width, version, format, size, columns, ...)                                   \
    GPTQ_FORM("int" #width "-gptq" version size, width, format, 1 << (width - 1), columns,      \
              __VA_ARGS__),                                                                     \
    GPTQ_FORM("int" #width "-gptq" version size "-asym", width, format, 0, columns, __VA_ARGS__)
#define GPTQ_FORMS(width, version, format)                                                      \
    GPTQ_PAIR(width, version, format, "-g32", 32, .col_block = 32),                             \
    GPTQ_PAIR(width, version, format, "-g64", 64, .col_block = 64),                             \
    GPTQ_PAIR(width, version, format, "-g128", 128, .col_block = 128),                          \
    GPTQ_PAIR(width, version, format, "-channel", 0, .fixed_cols = 1)

static const codec registry[] = {
    FLOAT_CODEC("f32", DT_F32),
    FLOAT_CODEC("f16", DT_F16),
    FLOAT_CODEC("bf16", DT_BF16),
    FP8_BLOCKS("fp8-block", 128),
    FP8_BLOCKS("fp8-block32", 32),
    {
        .name = "fp8-channel", .form = CODEC_FP8_CHANNEL, .config = CONFIG_COMPRESSED_TENSORS,
        .element = ELEMENT_E4M3, .bits = 8, .n_parts = 2,
        .part = {E4M3_CODES,
                 SCALES("weight_scale", DT_F32, ANY_FLOAT, .row_block = 1, .fixed_cols = 1)},
        .row_quantum = 1, .decode = scaled_decode, .scales = scaled_scales,
        .encode = fp8_channel_encode
    },
    {
        // The same tensors, so they are read as the row above; fbgemm's config describes them.
        .name = "fp8-fbgemm", .form = CODEC_FP8_CHANNEL, .config = CONFIG_FBGEMM,
        .element = ELEMENT_E4M3, .bits = 8, .n_parts = 2,
        .part = {E4M3_CODES,
                 SCALES("weight_scale", DT_F32, 0, .row_block = 1, .fixed_cols = 1)},
        .row_quantum = 1, .decode = scaled_decode, .scales = scaled_scales,
        .encode = fp8_channel_encode
    },
    INT_CODECS(4),
    INT_CODECS(8),
    // FP8 as anybody stores it: a scale a tensor, row, group or block.
    {
        .name = "fp8-tensor", .form = CODEC_FP8_CHANNEL, .config = CONFIG_COMPRESSED_TENSORS,
        .element = ELEMENT_E4M3, .bits = 8, .n_parts = 3,
        .part = {E4M3_CODES,
                 ONE("weight_scale", PART_SCALES, false, "weight_scale_inv", "scale",
                     "_scale_inv"),
                 INPUT_SCALE},
        .row_quantum = 1, .whole = WHOLE_WEIGHT, .decode = scaled_decode, .scales = scaled_scales,
        .encode = fp8_tensor_encode
    },
    MX_CODEC("mxfp8", ELEMENT_E4M3, 8, 32, .config = CONFIG_COMPRESSED_TENSORS, .n_parts = 2,
             .part = {E4M3_CODES,
                      SCALES("weight_scale", DT_F8_E8M0, ALSO(DT_U8), .row_block = 1,
                             .col_block = 32, .named = FP8_SCALE_NAMES, .wrapped = true)}),
    STORED("fp8-scaled", ELEMENT_E4M3, 8, .n_parts = 3,
           .part = {E4M3_CODES,
                    SCALES("weight_scale", DT_F32, ANY_FLOAT | ALSO(DT_F8_E8M0), .row_block = 128,
                           .col_block = 128, .found = true, .named = FP8_SCALE_NAMES),
                    INPUT_SCALE}),
    // compressed-tensors' integers.
    CT_PACKED("int4", 4, 5, NO_PART),
    CT_PACKED("int4-zeros", 4, 6, CT_PACKED_ZEROS),
    CT_PACKED("int8", 8, 5, NO_PART),
    CT_PACKED("int8-zeros", 8, 6, CT_PACKED_ZEROS),
    STORED("int8-bytes", ELEMENT_INT, 8, .zero = 128, .n_parts = 4,
           .part = {CODES("weight", DT_I8),
                    SCALES("weight_scale", DT_BF16, ANY_FLOAT, GROUPED(128)),
                    {.suffix = "weight_zero_point", .kind = PART_ZEROS, .type = DT_I8, .rank = 2,
                     .optional = true, GROUPED(128)},
                    INPUT_SCALE}),
    // Four-bit floats: compressed-tensors, ModelOpt, gpt-oss, DeepSeek-V4.
    MX_CODEC("nvfp4-packed", ELEMENT_E2M1, 4, 16, .config = CONFIG_COMPRESSED_TENSORS,
             .n_parts = 4, .whole = WHOLE_FUSED,
             .part = {CODES("weight_packed", DT_U8), E4M3_SCALES("weight_scale", false),
                      ONE("weight_global_scale", PART_DIVISOR, false, NULL), INPUT_GLOBAL}),
    MX_CODEC("nvfp4-modelopt", ELEMENT_E2M1, 4, 16, .config = CONFIG_MODELOPT, .n_parts = 4,
             .whole = WHOLE_FUSED,
             .part = {CODES("weight", DT_U8), E4M3_SCALES("weight_scale", false),
                      {.suffix = "weight_scale_2", .kind = PART_GLOBAL, .type = DT_F32,
                       .also = ANY_FLOAT, .fixed_cols = 1}, INPUT_SCALE}),
    MX_CODEC("mxfp4-packed", ELEMENT_E2M1, 4, 32, .config = CONFIG_COMPRESSED_TENSORS,
             .n_parts = 3,
             .part = {CODES("weight_packed", DT_U8), E8M0_SCALES("weight_scale", NULL),
                      INPUT_GLOBAL}),
    MX_CODEC("mxfp4-blocks", ELEMENT_E2M1, 4, 32, .config = CONFIG_MXFP4, .stacked = true,
             .n_parts = 2,
             .part = {{.suffix = "_blocks", .named = {"blocks"}, .type = DT_U8, .rank = 2,
                       .packing = PACKED_COLUMNS, .row_block = 1, .split = 16},
                      E8M0_SCALES("_scales", "scales")}),
    MX_CODEC("mxfp4-deepseek", ELEMENT_E2M1, 4, 32, .config = CONFIG_FP8, .pow2 = true,
             .n_parts = 2,
             .part = {CODES("weight", DT_I8),
                      SCALES("weight_scale_inv", DT_F8_E8M0, ALSO(DT_U8), .row_block = 1,
                             .col_block = 32, .named = {"scale"})}),
    GPTQ_CODECS(2), GPTQ_CODECS(3), GPTQ_CODECS(4), GPTQ_CODECS(8),
    STORED("int4-awq", ELEMENT_INT, 4, .eights = true, .n_parts = 3,
           .part = {{.suffix = "qweight", .type = DT_I32, .packing = PACKED_ROWS, .rank = 2,
                     .col_block = 1, .across = true},
                    ZEROS_ACROSS, SCALES_ACROSS}),
    MLX_CODEC(2), MLX_CODEC(3), MLX_CODEC(4), MLX_CODEC(5), MLX_CODEC(6), MLX_CODEC(8),
    MX_CODEC("mxfp4-mlx", ELEMENT_E2M1, 4, 32, .config = CONFIG_MLX, .n_parts = 2,
             .part = {CODES("weight", DT_U32), E8M0_SCALES("scales", NULL)}),
    MX_CODEC("nvfp4-mlx", ELEMENT_E2M1, 4, 16, .config = CONFIG_MLX, .n_parts = 2,
             .part = {CODES("weight", DT_U32), E4M3_SCALES("scales", true)}),
    MX_CODEC("mxfp8-mlx", ELEMENT_E4M3, 8, 32, .config = CONFIG_MLX, .n_parts = 2,
             .part = {CODES("weight", DT_U32), E8M0_SCALES("scales", NULL)}),
    GPTQ_FORMS(4, "", 1), GPTQ_FORMS(4, "-v2", 2), GPTQ_FORMS(8, "", 1), GPTQ_FORMS(8, "-v2", 2),
    AWQ_FORM("int4-awq-g32", 32, .col_block = 32), AWQ_FORM("int4-awq-g64", 64, .col_block = 64),
    AWQ_FORM("int4-awq-g128", 128, .col_block = 128),
    AWQ_FORM("int4-awq-channel", 0, .fixed_cols = 1),
    MLX_FORM(4, 32), MLX_FORM(4, 64), MLX_FORM(4, 128),
    MLX_FORM(8, 32), MLX_FORM(8, 64), MLX_FORM(8, 128),
    BLOCK_CODEC("Q4_0", DT_Q4_0, 32),
    BLOCK_CODEC("Q4_1", DT_Q4_1, 32),
    BLOCK_CODEC("Q5_0", DT_Q5_0, 32),
    BLOCK_CODEC("Q5_1", DT_Q5_1, 32),
    BLOCK_CODEC("Q8_0", DT_Q8_0, 32),
    BLOCK_CODEC("IQ4_NL", DT_IQ4_NL, 32),
    BLOCK_CODEC("IQ4_XS", DT_IQ4_XS, 256),
    BLOCK_CODEC("MXFP4", DT_MXFP4, 32),
    BLOCK_CODEC("NVFP4", DT_NVFP4, 64),
    BLOCK_CODEC("Q2_K", DT_Q2_K, 256),
    BLOCK_CODEC("Q3_K", DT_Q3_K, 256),
    BLOCK_CODEC("Q4_K", DT_Q4_K, 256),
    BLOCK_CODEC("Q5_K", DT_Q5_K, 256),
    BLOCK_CODEC("Q6_K", DT_Q6_K, 256),
    BLOCK_READER("Q8_K", DT_Q8_K, 256),
    BLOCK_READER("Q1_0", DT_Q1_0, 128),
    BLOCK_READER("Q2_0", DT_Q2_0, 64),
};

int64_t codec_count(void) { return (int64_t)COUNT_OF(registry); }

const codec *codec_at(int64_t i)
{
    return i >= 0 && i < codec_count() ? &registry[i] : NULL;
}

const codec *codec_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(registry); i++)
        if (strcmp(registry[i].name, name) == 0)
            return &registry[i];
    return NULL;
}

int codec_part_of(const codec *c, part_kind kind)
{
    for (int i = 0; i < c->n_parts; i++)
        if (c->part[i].kind == kind)
            return i;
    return -1;
}

bool codec_part_reads(const codec_part *p, dtype type)
{
    return type == p->type || (type < DT_SAFETENSORS && (p->also & ALSO(type)));
}

const codec *codec_of_type(dtype type)
{
    for (size_t i = 0; i < COUNT_OF(registry); i++)
        if ((registry[i].form == CODEC_FLOAT || registry[i].form == CODEC_BLOCKS) &&
            registry[i].part[0].type == type)
            return &registry[i];
    return NULL;
}

int codec_part_width(dtype type) { return (int)(8 * dtype_block_bytes(type)); }

int64_t codec_packed(const codec *c, dtype type, int64_t n)
{
    int64_t width = codec_part_width(type);
    return n / width * c->bits + i64_ceil_div(n % width * c->bits, width);
}

static int64_t part_cols(const codec *c, const codec_part *p, dtype type, int64_t in)
{
    if (p->packing == PACKED_COLUMNS)
        return codec_packed(c, type, in);
    return p->col_block ? i64_ceil_div(in, p->col_block) : p->fixed_cols;
}

int codec_part_shape(const codec *c, int i, int64_t out, int64_t in, int64_t shape[2])
{
    const codec_part *p = &c->part[i];
    int64_t cols = part_cols(c, p, p->type, in), rows = 1;
    if (p->packing == PACKED_ROWS)
        rows = codec_packed(c, p->type, out);
    else if (p->row_block)
        rows = i64_ceil_div(out, p->row_block);
    shape[0] = p->rank < 2 || p->across ? cols : rows;
    shape[1] = p->rank < 2 ? 1 : p->across ? rows : cols;
    return p->rank;
}

// UINT64_MAX where there is no such number.
static uint64_t bytes_of(dtype type, uint64_t elements)
{
    uint64_t bytes;
    return dtype_bytes(type, elements, &bytes) ? bytes : UINT64_MAX;
}

uint64_t codec_part_row_bytes(const codec *c, int i, int64_t in, dtype type)
{
    return bytes_of(type, (uint64_t)part_cols(c, &c->part[i], type, in));
}

uint64_t codec_part_bytes(const codec *c, int i, int64_t out, int64_t in)
{
    int64_t shape[2];
    codec_part_shape(c, i, out, in, shape);
    uint64_t elements;
    return size_mul((uint64_t)shape[0], (uint64_t)shape[1], &elements)
           ? bytes_of(c->part[i].type, elements) : UINT64_MAX;
}

uint64_t codec_bytes(const codec *c, int64_t out, int64_t in)
{
    uint64_t sum = 0;
    for (int i = 0; i < codec_written(c); i++)
        if (!size_add(sum, codec_part_bytes(c, i, out, in), &sum))
            return UINT64_MAX;
    return sum;
}

int64_t codec_multiple(const codec *c)
{
    if (c->form == CODEC_TOOL && c->group == 0)
        return 32; // whole words of codes
    if (c->form == CODEC_INT && c->group == 0)
        return 16; // a scale a row: what int_encode takes at a time
    return c->group == 0 || c->form == CODEC_FP8_BLOCK ? 1 : c->group; // FP8's edges are ragged
}

bool codec_divides(const codec *c, int64_t in) { return in % codec_multiple(c) == 0; }

int64_t codec_row_multiple(const codec *c)
{
    bool words = false;
    for (int i = 0; i < c->n_parts; i++)
        words = words || (c->part[i].packing == PACKED_ROWS && c->part[i].across);
    return words ? 32 / c->bits : 1;
}

bool codec_fits(const codec *c, int64_t out, int64_t in)
{
    return codec_divides(c, in) && out % codec_row_multiple(c) == 0;
}

codec_holder codec_held_by(const codec *c)
{
    if (c->form == CODEC_FLOAT)
        return HOLDER_ANY;
    return c->form == CODEC_BLOCKS ? HOLDER_GGUF : HOLDER_SAFETENSORS;
}

bool codec_has_signs(const codec *c)
{
    return (c->form == CODEC_INT && codec_part_of(c, PART_ZEROS) < 0) ||
           (c->form == CODEC_TOOL && c->zero);
}

bool codec_is_searched(const codec *c)
{
    return c->form == CODEC_INT || c->form == CODEC_TOOL || (c->form == CODEC_MX && c->bits == 4) ||
           (c->form == CODEC_BLOCKS && block_ops_used(c->part[0].type)->searched);
}

int codec_written(const codec *c)
{
    int n = c->n_parts;
    while (n > 1 && c->part[n - 1].optional)
        n--;
    return n;
}

float codec_whole_scale(const codec *c, float amax, dtype source)
{
    if (c->whole == WHOLE_FUSED)
        return codec_part_of(c, PART_GLOBAL) >= 0 ? nvfp4_factor(amax)
                                                  : nvfp4_global(amax, source);
    return c->whole == WHOLE_WEIGHT ? fp8_scale(amax, false) : 0;
}

bool codec_part_whole(const codec *c, int i)
{
    return !c->part[i].row_block && c->part[i].packing != PACKED_ROWS;
}

uint64_t codec_part_offset(const codec *c, int i, int64_t in, int64_t row)
{
    const codec_part *p = &c->part[i];
    if (codec_part_whole(c, i))
        return 0;
    int64_t before = p->packing == PACKED_ROWS ? codec_packed(c, p->type, row) : row / p->row_block;
    return (uint64_t)before * (p->across ? (uint64_t)dtype_block_bytes(p->type)
                                         : codec_part_row_bytes(c, i, in, p->type));
}

int64_t codec_part_pitch(const codec *c, int i, int64_t rows)
{
    const codec_part *p = &c->part[i];
    if (!p->across)
        return 0;
    int64_t n = p->packing == PACKED_ROWS ? codec_packed(c, p->type, rows)
                                          : i64_ceil_div(rows, p->row_block);
    return n * dtype_block_bytes(p->type);
}

dtype codec_written_type(const codec *c, int i, codec_search search, dtype source)
{
    if (c->part[i].wrapped)
        return DT_U8;
    part_kind kind = c->part[i].kind;
    bool follows = c->form == CODEC_INT && kind == PART_SCALES && search == SEARCH_COMPAT;
    follows |= c->form == CODEC_TOOL && (kind == PART_SCALES || kind == PART_BIASES);
    return follows && source == DT_F16 ? DT_F16 : c->part[i].type;
}

bool codec_fixed_part(const codec *c, int i, int64_t out, int64_t in, void *to)
{
    if (c->form == CODEC_TOOL && c->part[i].kind == PART_ORDER) {
        int64_t group = c->group ? c->group : in;
        for (int64_t k = 0; k < in; k++)
            store_u32((unsigned char *)to + 4 * k, (uint32_t)(k / group));
        return true;
    }
    if (c->part[i].kind != PART_SHAPE)
        return false;
    store_u64(to, (uint64_t)out);
    store_u64((unsigned char *)to + 8, (uint64_t)in);
    return true;
}

bool codec_accepts(const codec *c, const part_view *part, err *e)
{
    for (int i = 0; i < c->n_parts; i++) {
        const codec_part *p = &c->part[i];
        if (!part[i].bytes || codec_part_reads(p, part[i].type))
            continue;
        return err_set(e, ERR_INPUT, "%s: part '%s' is %s, expected %s", c->name, p->suffix,
                       dtype_name(part[i].type), dtype_name(p->type));
    }
    return true;
}

bool codec_within(const codec *c, const float *from, int64_t n, int64_t in, float largest,
                  int64_t row0, err *e)
{
    int64_t at = reduce_first_beyond(from, n * in, largest);
    if (at < 0)
        return true;
    long long row = (long long)(row0 + at / in), column = (long long)(at % in);
    if (from[at] - from[at] != 0) // of infinities and NaN only
        return err_set(e, ERR_INPUT, "row %lld, column %lld is %s, which %s cannot hold", row,
                       column, from[at] != from[at] ? "not a number" : "infinite", c->name);
    return err_set(e, ERR_INPUT, "row %lld, column %lld: %.9g is too large for %s", row, column,
                   (double)from[at], c->name);
}

bool codec_all_finite(const codec *c, const float *from, int64_t n, int64_t in, int64_t row0,
                      err *e)
{
    return codec_within(c, from, n, in, FLT_MAX, row0, e);
}
