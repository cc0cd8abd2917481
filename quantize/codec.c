// SPDX-License-Identifier: Apache-2.0
#include "quantize/codec.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/reduce.h"
#include "base/str.h"
#include "quantize/blocks.h"
#include "quantize/codec_forms.h"
#include "quantize/number.h"

#define ALSO(type) (1u << (type))

#define FLOAT_CODEC(label, dt)                                                                  \
    {                                                                                           \
        .name = label, .form = CODEC_FLOAT, .n_parts = 1,                                       \
        .part = {{.suffix = "weight", .type = dt, .rank = 2, .row_block = 1, .col_block = 1}},  \
        .row_quantum = 1, .exact = true, .decode = float_decode, .encode = float_encode         \
    }

#define FP8_BLOCK_CODEC(label, power)                                                           \
    {                                                                                           \
        .name = label, .form = CODEC_FP8_BLOCK, .n_parts = 2,                                   \
        .part = {{.suffix = "weight", .type = DT_F8_E4M3, .rank = 2, .row_block = 1,            \
                  .col_block = 1},                                                              \
                 {.suffix = "weight_scale_inv", .type = DT_F32, .also = ALSO(DT_BF16),          \
                  .rank = 2, .row_block = 128, .col_block = 128}},                              \
        .group = 128, .row_quantum = 128, .pow2 = power, .decode = fp8_block_decode,            \
        .encode = fp8_block_encode                                                              \
    }

#define INT4_CODEC(label, columns)                                                              \
    {                                                                                           \
        .name = label, .form = CODEC_INT4_GROUP, .n_parts = 3,                                  \
        .part = {{.suffix = "weight_packed", .type = DT_I32, .rank = 2, .row_block = 1,         \
                  .col_block = 8},                                                              \
                 {.suffix = "weight_scale", .type = DT_BF16,                                    \
                  .also = ALSO(DT_F16) | ALSO(DT_F32), .rank = 2, .row_block = 1,               \
                  .col_block = columns},                                                        \
                 {.suffix = "weight_shape", .type = DT_I64, .also = ALSO(DT_I32), .rank = 1,   \
                  .fixed_cols = 2}},                                                            \
        .group = columns, .row_quantum = 1, .decode = int4_decode, .encode = int4_encode        \
    }

#define BLOCK_CODEC(label, dt, columns)                                                         \
    {                                                                                           \
        .name = label, .form = CODEC_BLOCKS, .n_parts = 1,                                      \
        .part = {{.suffix = "weight", .type = dt, .rank = 2, .row_block = 1, .col_block = 1}},  \
        .group = columns, .row_quantum = 1, .decode = blocks_decode, .encode = blocks_encode    \
    }

static const codec registry[] = {
    FLOAT_CODEC("f32", DT_F32),
    FLOAT_CODEC("f16", DT_F16),
    FLOAT_CODEC("bf16", DT_BF16),
    FP8_BLOCK_CODEC("fp8-block", false),
    FP8_BLOCK_CODEC("fp8-block-pow2", true),
    {
        .name = "fp8-channel", .form = CODEC_FP8_CHANNEL, .n_parts = 2,
        .part = {{.suffix = "weight", .type = DT_F8_E4M3, .rank = 2, .row_block = 1,
                  .col_block = 1},
                 {.suffix = "weight_scale", .type = DT_F32,
                  .also = ALSO(DT_BF16) | ALSO(DT_F16), .rank = 2, .row_block = 1,
                  .fixed_cols = 1}},
        .row_quantum = 1, .decode = fp8_channel_decode, .encode = fp8_channel_encode
    },
    INT4_CODEC("int4-g32", 32),
    INT4_CODEC("int4-g64", 64),
    INT4_CODEC("int4-g128", 128),
    BLOCK_CODEC("Q8_0", DT_Q8_0, 32),
    BLOCK_CODEC("IQ4_NL", DT_IQ4_NL, 32),
    BLOCK_CODEC("IQ4_XS", DT_IQ4_XS, 256),
    BLOCK_CODEC("MXFP4", DT_MXFP4, 32),
    BLOCK_CODEC("NVFP4", DT_NVFP4, 64),
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

int codec_part_shape(const codec *c, int i, int64_t out, int64_t in, int64_t shape[2])
{
    const codec_part *p = &c->part[i];
    int64_t cols = p->col_block ? i64_ceil_div(in, p->col_block) : p->fixed_cols;
    if (p->rank == 1) {
        shape[0] = cols;
        shape[1] = 1;
    } else {
        shape[0] = p->row_block ? i64_ceil_div(out, p->row_block) : 1;
        shape[1] = cols;
    }
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
    const codec_part *p = &c->part[i];
    int64_t cols = p->col_block ? i64_ceil_div(in, p->col_block) : p->fixed_cols;
    return bytes_of(type, (uint64_t)cols);
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
    for (int i = 0; i < c->n_parts; i++)
        if (!size_add(sum, codec_part_bytes(c, i, out, in), &sum))
            return UINT64_MAX;
    return sum;
}

bool codec_divides(const codec *c, int64_t in)
{
    bool whole = c->form == CODEC_INT4_GROUP || c->form == CODEC_BLOCKS;
    return !whole || in % c->group == 0;
}

bool codec_is_searched(const codec *c)
{
    return c->form == CODEC_INT4_GROUP ||
           (c->form == CODEC_BLOCKS && block_ops_used(c->part[0].type)->searched);
}

bool codec_fixed_part(const codec *c, int i, int64_t out, int64_t in, void *to)
{
    if (c->part[i].row_block != 0)
        return false;
    store_u64(to, (uint64_t)out);
    store_u64((unsigned char *)to + 8, (uint64_t)in);
    return true;
}

bool codec_accepts(const codec *c, const part_view *part, err *e)
{
    for (int i = 0; i < c->n_parts; i++) {
        const codec_part *p = &c->part[i];
        if (p->row_block == 0 || part[i].type == p->type || (p->also & ALSO(part[i].type)))
            continue;
        return err_set(e, ERR_INPUT, "%s: part '%s' is %s, expected %s", c->name, p->suffix,
                       dtype_name(part[i].type), dtype_name(p->type));
    }
    return true;
}

bool codec_all_finite(const codec *c, const float *from, int64_t n, int64_t in, int64_t row0,
                      err *e)
{
    int64_t at = reduce_first_nonfinite(from, n * in);
    if (at < 0)
        return true;
    bool nan = from[at] != from[at];
    return err_set(e, ERR_INPUT, "row %lld, column %lld is %s, which %s cannot hold",
                   (long long)(row0 + at / in), (long long)(at % in),
                   nan ? "not a number" : "infinite", c->name);
}

float codec_scale_at(const part_view *scale, int64_t i)
{
    const unsigned char *p = scale->bytes;
    if (scale->type == DT_F32)
        return load_f32(p + 4 * i);
    uint16_t bits = load_u16(p + 2 * i);
    return scale->type == DT_BF16 ? bf16_to_f32(bits) : f16_to_f32(bits);
}
