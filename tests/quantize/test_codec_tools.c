// SPDX-License-Identifier: Apache-2.0
// Integers as GPTQ, AWQ and MLX store them: packing, the bytes of their own code, the searches.
#include <check.h>
#include <math.h>

#include "base/bytes.h"
#include "quantize/coded.h"
#include "quantize/kernels.h"
#include "quantize/number.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"

Suite *suite_codec_tools(void);

enum { ROWS = 32, COLS = 1024, ALL = ROWS * COLS, LONG = 9 };

static float w[ALL], back[ALL], other[ALL], importance[COLS];
static uint8_t part_bytes[CODEC_MAX_PARTS][4 * ALL], again[CODEC_MAX_PARTS][4 * ALL];
static coded_rows coded;

static const codec *tool_codec(int64_t i)
{
    const codec *c = codec_at(i);
    return c && c->form == CODEC_TOOL ? c : NULL;
}

// tools.py's weight.
static void fill(dtype type)
{
    static uint16_t half[ALL];
    for (uint32_t i = 0; i < ALL; i++)
        w[i] = written_weight(i < 24 * COLS ? i : i - 16 * COLS);
    if (type != DT_F32)
        ck_assert(row_from_f32(half, type, w, ALL) && row_to_f32(w, half, type, ALL));
    for (uint32_t i = 0; i < COLS; i++)
        importance[i] = 0.01f + (float)(mix(i + 7) % 1000);
}

static encode_options options_of(codec_search search, dtype source)
{
    return (encode_options){.search = search, .source = source, .height = ROWS};
}

// In ranges of 8 and 24 rows, as workers share a weight.
static void encode(const codec *c, encode_options o, uint8_t to[CODEC_MAX_PARTS][4 * ALL])
{
    err e = ERR_INIT;
    for (int64_t row = 0; row < ROWS; row += row ? 24 : 8) {
        void *at[CODEC_MAX_PARTS];
        for (int i = 0; i < c->n_parts; i++)
            at[i] = to[i] + codec_part_offset(c, i, COLS, row);
        o.row0 = row;
        ASSERT_OK(c->encode(c, COLS, row ? 24 : 8, w + row * COLS, &o, at, &e), e);
    }
    for (int i = 0; i < c->n_parts; i++)
        (void)codec_fixed_part(c, i, ROWS, COLS, to[i]);
}

static void decode(const codec *c, const codec *as, const encode_options *o, float *to)
{
    part_view view[CODEC_MAX_PARTS];
    err e = ERR_INIT;
    for (int i = 0; i < c->n_parts; i++) {
        view[i] = part_at(part_bytes[i], codec_written_type(c, i, o->search, o->source));
        view[i].pitch = codec_part_pitch(c, i, ROWS);
        view[i].row_block = c->part[i].kind == PART_ZEROS ? 0 : c->part[i].row_block;
        view[i].col_block = c->part[i].kind == PART_SCALES || c->part[i].kind == PART_BIASES ||
                                    c->part[i].kind == PART_ZEROS
                                ? c->group ? c->group : PART_WHOLE
                                : c->part[i].col_block;
    }
    ASSERT_OK(as->decode(as, COLS, ROWS, view, to, &e), e);
}

// ---- packing ----------------------------------------------------------------------------------

// Codes 0 to 7 along the columns, then along the rows, as formats' documents have them.
static void pack_eight(const codec *c, bool along_rows, uint32_t word[ROWS * COLS / 8])
{
    err e = ERR_INIT;
    part_room room[CODEC_MAX_PARTS] = {0};
    ASSERT_OK(coded_init(&coded, c, 8, 128, &e), e);
    for (int64_t i = 0; i < 8 * 128; i++)
        coded.code[i] = (uint8_t)((along_rows ? i / 128 : i) % 8);
    for (int64_t i = 0; i < 8 * coded.groups; i++)
        coded.scale[i] = 1;
    for (int64_t i = 0; coded.zero && i < 8 * coded.groups; i++)
        coded.zero[i] = 8;
    for (int i = 0; i < c->n_parts; i++)
        room[i] = (part_room){i ? again[i] : (void *)word, c->part[i].type,
                              codec_part_pitch(c, i, 8)};
    coded_pack(c, &coded, room);
    coded_free(&coded);
}

START_TEST(packs_the_documented_words)
{
    static uint32_t word[ROWS * COLS / 8];
    pack_eight(codec_find("int4-gptq-g128"), false, word);
    ck_assert_uint_eq(word[0], 0x76543210);
    ck_assert_uint_eq(load_u32(again[1]), 0x77777777);
    pack_eight(codec_find("int4-gptq-v2-g128"), false, word);
    ck_assert_uint_eq(word[127], 0x76543210);
    ck_assert_uint_eq(load_u32(again[1]), 0x88888888);
    pack_eight(codec_find("int8-gptq-g128"), false, word);
    ck_assert_uint_eq(word[0], 0x03020100);
    ck_assert_uint_eq(word[8], 0x07060504);
    ck_assert_uint_eq(load_u32(again[1]), 0x07070707);
    pack_eight(codec_find("int4-awq-g128"), true, word);
    ck_assert_uint_eq(word[0], 0x75316420);
    ck_assert_uint_eq(load_u32(again[1]), 0x88888888);
    pack_eight(codec_find("int4-mlx-g64"), false, word);
    ck_assert_uint_eq(word[0], 0x76543210);
}
END_TEST

// The packer writes compressed-tensors' words, too: its own encoder's, from its codes.
START_TEST(packs_the_words_of_compressed_tensors)
{
    static const char *const NAMES[] = {"int4-g32-asym", "int8-g64-asym", "int4-channel"};
    fill(DT_F32);
    for (size_t k = 0; k < COUNT_OF(NAMES); k++) {
        const codec *c = codec_find(NAMES[k]);
        part_room room[CODEC_MAX_PARTS] = {0};
        err e = ERR_INIT;
        encode(c, options_of(SEARCH_COMPAT, DT_F32), part_bytes);
        ASSERT_OK(coded_init(&coded, c, ROWS, COLS, &e), e);
        int zeros = codec_part_of(c, PART_ZEROS);
        int64_t per = 32 / c->bits, mask = (1 << c->bits) - 1;
        for (int64_t i = 0; i < ALL; i++)
            coded.code[i] = (uint8_t)(load_u32(part_bytes[0] + i / per * 4) >>
                                      i % per * c->bits & mask);
        for (int64_t i = 0; i < ROWS * coded.groups; i++) {
            int64_t row = i / coded.groups, g = i % coded.groups;
            coded.scale[i] = bf16_to_f32(load_u16(part_bytes[1] + 2 * i));
            if (zeros >= 0)
                coded.zero[i] = (uint8_t)(load_u32(part_bytes[zeros] +
                                                   4 * (row / per * coded.groups + g)) >>
                                              row % per * c->bits & mask);
        }
        for (int i = 0; i < c->n_parts; i++)
            room[i] = (part_room){again[i], c->part[i].type, 0};
        coded_pack(c, &coded, room);
        for (int i = 0; i < c->n_parts; i++)
            if (c->part[i].kind != PART_SHAPE)
                ck_assert_mem_eq(again[i], part_bytes[i], codec_part_bytes(c, i, ROWS, COLS));
        coded_free(&coded);
    }
}
END_TEST

START_TEST(fills_in_g_idx)
{
    const codec *c = codec_find("int4-gptq-g32");
    unsigned char to[4 * 96];
    ck_assert(codec_fixed_part(c, 3, 8, 96, to));
    for (uint32_t i = 0; i < 96; i++)
        ck_assert_uint_eq(load_u32(to + 4 * i), i / 32);
    ck_assert(codec_fixed_part(codec_find("int4-gptq-channel"), 3, 8, 96, to));
    ck_assert_uint_eq(load_u32(to + 4 * 95), 0);
}
END_TEST

// ---- compat -----------------------------------------------------------------------------------

START_TEST(compat_has_the_bytes_of_each_tool)
{
    static const dtype TYPES[] = {DT_BF16, DT_F16, DT_F32};
    static const char *const SOURCES[] = {"bf16", "f16", "f32"};
    static const char *const NAMES[] = {
        "int4-gptq-g128", "int4-gptq-v2-g32", "int4-gptq-v2-g64-asym", "int8-gptq-channel",
        "int8-gptq-v2-g32-asym", "int4-gptq-v2-channel-asym", "int4-awq-g128", "int4-awq-g32",
        "int4-awq-channel", "int4-mlx-g64", "int4-mlx-g32", "int8-mlx-g128"};
    fill(TYPES[_i]);
    for (size_t k = 0; k < COUNT_OF(NAMES); k++) {
        const codec *c = codec_find(NAMES[k]);
        if (TYPES[_i] == DT_F32 && codec_part_of(c, PART_BIASES) >= 0)
            continue; // scales of binary32: we write BF16
        encode_options o = options_of(SEARCH_COMPAT, TYPES[_i]);
        encode(c, o, part_bytes);
        for (int i = 0; i < c->n_parts; i++) {
            char name[64], path[96];
            int width = (int)dtype_block_bytes(codec_written_type(c, i, o.search, o.source));
            (void)snprintf(name, sizeof name, "%s_%s_%s", SOURCES[_i], c->name,
                           c->part[i].suffix);
            uint64_t digest = 0;
            for (int64_t v = 0; v < (int64_t)codec_part_bytes(c, i, ROWS, COLS) / width; v++)
                digest_add(&digest, (uint64_t)v,
                           width == 4 ? load_u32(part_bytes[i] + 4 * v)
                                      : load_u16(part_bytes[i] + 2 * v));
            (void)snprintf(path, sizeof path, "tests/data/codecs/tools.txt");
            ck_assert_msg(digest == golden_digest_in(path, name), "%s differs", name);
        }
    }
}
END_TEST

// Row 3 has nothing below 0: GPTQModel's zero point is 0 there, which its first format borrows for.
START_TEST(the_first_format_has_no_zero_point_of_0)
{
    fill(DT_BF16);
    const codec *c = codec_find("int4-gptq-g32-asym");
    const codec *second = codec_find("int4-gptq-v2-g32-asym");
    for (int search = SEARCH_COMPAT; search <= SEARCH_BEST; search++) {
        encode_options o = options_of((codec_search)search, DT_BF16);
        encode(c, o, part_bytes);
        for (int64_t i = 0; i < COLS / 32 * ROWS; i++) {
            uint32_t word = load_u32(part_bytes[1] + i / 8 * 4);
            if ((word >> i % 8 * 4 & 15) == 15)
                ck_abort_msg("row %d has a zero point of 0", (int)(i % ROWS));
        }
        encode(second, o, again);
        ck_assert_uint_eq(load_u32(again[1]) >> 12 & 15, 0);
        ck_assert_uint_eq(load_u32(part_bytes[1]) >> 12 & 15, 0); // 1, less 1
        decode(c, c, &o, back);
        for (int64_t i = 3 * COLS; i < 4 * COLS; i++) {
            float step = f16_to_f32(load_u16(part_bytes[2] + (i % COLS / 32 * ROWS + 3) * 2));
            float d = w[i] - back[i];
            if (search == SEARCH_COMPAT && !(d < 0.6f * step && d > -0.6f * step))
                ck_abort_msg("%g of a step of %g", (double)d, (double)step);
        }
    }
}
END_TEST

// ---- both searches ----------------------------------------------------------------------------

START_TEST(ranges_of_rows_and_levels_agree_in_every_byte)
{
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = tool_codec(i);
        for (int search = SEARCH_COMPAT; c && search <= SEARCH_BEST; search++) {
            encode_options o = options_of((codec_search)search, DT_F16);
            o.importance = i % 2 ? importance : NULL;
            fill(DT_F16);
            EACH_LEVEL(level) {
                err e = ERR_INIT;
                void *all[CODEC_MAX_PARTS];
                ASSERT_OK(cpu_use(level, &e), e);
                encode(c, o, level ? again : part_bytes);
                for (int p = 0; p < c->n_parts; p++) {
                    if (level)
                        ck_assert_mem_eq(again[p], part_bytes[p],
                                         codec_part_bytes(c, p, ROWS, COLS));
                    all[p] = again[p];
                }
                ASSERT_OK(c->encode(c, COLS, ROWS, w, &o, all, &e), e);
                for (int p = 0; p < c->n_parts; p++)
                    if (c->part[p].kind != PART_ORDER)
                        ck_assert_mem_eq(again[p], part_bytes[p],
                                         codec_part_bytes(c, p, ROWS, COLS));
            }
        }
    }
}
END_TEST

// The row that reads it when it comes from a file.
static const codec *reader_of(const codec *c)
{
    static const char *const NAMES[] = {"int4-gptq", "int8-gptq", "int4-gptq-v2", "int8-gptq-v2",
                                        "int4-awq", "int4-mlx", "int8-mlx"};
    for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
        const codec *r = codec_find(NAMES[i]);
        if (r->bits == c->bits && r->gptq_format == c->gptq_format && r->eights == c->eights &&
            codec_part_of(r, PART_BIASES) == codec_part_of(c, PART_BIASES))
            return r;
    }
    return NULL;
}

START_TEST(what_is_written_decodes_as_what_is_read)
{
    fill(DT_BF16);
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = tool_codec(i);
        if (!c)
            continue;
        encode_options o = options_of(SEARCH_COMPAT, DT_BF16);
        encode(c, o, part_bytes);
        decode(c, c, &o, back);
        decode(c, reader_of(c), &o, other);
        ck_assert_mem_eq(back, other, sizeof back);
    }
}
END_TEST

static double error_of(const float *x, int64_t from, int64_t n, bool weighted)
{
    double sum = 0;
    for (int64_t i = from; i < from + n; i++) {
        double d = (double)w[i] - (double)x[i];
        sum += d * d * (weighted ? (double)importance[i % COLS] : 1);
    }
    return sum;
}

// A binary32 sum of 1,024 squares in 16 lanes is within 2^-18 of the exact one.
START_TEST(best_is_no_worse_in_any_group_and_better_on_average)
{
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = tool_codec(i);
        for (int weighted = 0; c && weighted < 2; weighted++) {
            encode_options o = options_of(SEARCH_COMPAT, DT_BF16);
            double before = 0, after = 0;
            int64_t n = c->group ? c->group : COLS;
            fill(DT_BF16);
            o.importance = weighted ? importance : NULL;
            encode(c, o, part_bytes);
            decode(c, c, &o, other);
            o.search = SEARCH_BEST;
            encode(c, o, part_bytes);
            decode(c, c, &o, back);
            for (int64_t at = 0; at < ALL; at += n) {
                double compat = error_of(other, at, n, weighted);
                double best = error_of(back, at, n, weighted);
                if (!(best <= compat * (1 + 0x1p-17)))
                    ck_abort_msg("%s, group %d: %g, compat %g", c->name, (int)(at / n), best,
                                 compat);
                if (at >= LONG * COLS) {
                    before += compat;
                    after += best;
                }
            }
            ck_assert_msg(after < 0.99 * before, "%s: %g of %g", c->name, after, before);
        }
    }
}
END_TEST

// The least error of a group over 48 scales and 16 fractions of a step: that of the codes' own
// scale and bias of least squares, when both have grown so that weights do not shrink.
static double least_affine_error(int64_t at, int64_t n, bool weighted)
{
    float min = w[at], max = w[at];
    double least = 0, o_sum = 0, w_sum = 0, ww = 0;
    for (int64_t i = at; i < at + n; i++) {
        double o = weighted ? (double)importance[i % COLS] : 1, x = (double)w[i];
        min = w[i] < min ? w[i] : min;
        max = w[i] > max ? w[i] : max;
        o_sum += o;
        w_sum += o * x;
        ww += o * x * x;
    }
    float scale = (max - min) / 10;
    for (int k = 0; k < 48; k++, scale /= 1.02f)
        for (int fraction = 0; fraction < 16; fraction++) {
            float from = 0.5f * (max + min) - scale * (7 + (float)fraction / 16);
            double q_sum = 0, qq = 0, qw = 0;
            for (int64_t i = at; i < at + n; i++) {
                float x = (w[i] - from) / scale;
                double o = weighted ? (double)importance[i % COLS] : 1;
                double q = x < 0 ? 0 : x > 15 ? 15 : (double)(x + 0x1.8p23f - 0x1.8p23f);
                q_sum += o * q;
                qq += o * q * q;
                qw += o * q * (double)w[i];
            }
            double cov = qw - q_sum * w_sum / o_sum, var = qq - q_sum * q_sum / o_sum;
            double left = ww - w_sum * w_sum / o_sum - (var > 0 ? cov * cov / var : 0);
            least = !k && !fraction ? left : left < least ? left : least;
        }
    return least / (1 - least / ww);
}

START_TEST(best_mlx_is_near_what_all_pairs_have_to_offer)
{
    static const char *const NAMES[] = {"int4-mlx-g32", "int4-mlx-g64", "int4-mlx-g128"};
    for (size_t k = 0; k < COUNT_OF(NAMES); k++)
        for (int weighted = 0; weighted < 2; weighted++) {
            const codec *c = codec_find(NAMES[k]);
            encode_options o = options_of(SEARCH_BEST, DT_BF16);
            double found = 0, least = 0;
            fill(DT_BF16);
            o.importance = weighted ? importance : NULL;
            encode(c, o, part_bytes);
            decode(c, c, &o, back);
            for (int64_t at = LONG * COLS; at < 24 * COLS; at += 5 * c->group) {
                found += error_of(back, at, c->group, weighted);
                least += least_affine_error(at, c->group, weighted);
            }
            ck_assert_msg(found < 1.04 * least, "%s: %g of %g", c->name, found, least);
        }
}
END_TEST

// Where BF16 and binary16 tell apart no biases that are near to each other by a step's measure.
START_TEST(groups_far_from_0_are_no_worse_than_compat_and_come_back)
{
    static const float FAR[] = {0.1f, -0.2f, 1, -40};
    const codec *c = codec_find("int4-mlx-g64");
    for (int k = 0; k < 8; k++) {
        dtype source = k % 2 ? DT_F16 : DT_F32;
        encode_options o = options_of(SEARCH_COMPAT, source);
        fill(DT_F32);
        for (int64_t i = 0; i < ALL; i++)
            w[i] = f16_to_f32(f32_to_f16(0.02f * w[i] + FAR[k / 2]));
        encode(c, o, part_bytes);
        decode(c, c, &o, other);
        o.search = SEARCH_BEST;
        encode(c, o, part_bytes);
        decode(c, c, &o, back);
        for (int64_t at = 0; at < ALL; at += c->group)
            ck_assert_double_le(error_of(back, at, c->group, false),
                                error_of(other, at, c->group, false) * (1 + 0x1p-17));
        memcpy(w, back, sizeof w);
        encode(c, o, part_bytes);
        decode(c, c, &o, other);
        ck_assert_mem_eq(other, back, sizeof back);
    }
}
END_TEST

// With binary16's scales no group of weights that are no smaller than usual is worse than under
// BF16's. Those lie up to 2^-8 beside the scale that does not shrink the weights, which is larger
// than that of least squares by the error's share: 2 x 2^-8 of the error either way.
START_TEST(best_gptq_is_as_good_as_compressed_tensors)
{
    static const char *const NAMES[][2] = {{"int4-gptq-g32", "int4-g32"},
                                           {"int4-gptq-v2-g128", "int4-g128"}};
    fill(DT_BF16);
    for (size_t k = 0; k < COUNT_OF(NAMES); k++) {
        const codec *c = codec_find(NAMES[k][0]), *ct = codec_find(NAMES[k][1]);
        encode_options o = options_of(SEARCH_BEST, DT_BF16);
        encode(ct, o, part_bytes);
        decode(ct, ct, &o, other);
        encode(c, o, part_bytes);
        decode(c, c, &o, back);
        for (int64_t at = LONG * COLS; at < ALL; at += c->group)
            ck_assert(error_of(back, at, c->group, false) <=
                      error_of(other, at, c->group, false) * (1 + 0x1p-7));
    }
}
END_TEST

START_TEST(encodes_what_it_decoded_to_the_same_values)
{
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = tool_codec(i);
        if (!c)
            continue;
        encode_options o = options_of(SEARCH_BEST, DT_BF16);
        fill(DT_BF16);
        encode(c, o, part_bytes);
        decode(c, c, &o, back);
        memcpy(w, back, sizeof w);
        encode(c, o, part_bytes);
        decode(c, c, &o, other);
        for (int64_t k = 0; k < ALL; k++)
            if (back[k] != other[k])
                ck_abort_msg("%s: row %d, column %d is %a, was %a", c->name, (int)(k / COLS),
                             (int)(k % COLS), (double)other[k], (double)back[k]);
    }
}
END_TEST

START_TEST(keeps_scales_positive_where_that_is_asked)
{
    encode_options o = options_of(SEARCH_BEST, DT_BF16);
    const codec *c = codec_find("int4-gptq-g32");
    fill(DT_BF16);
    int64_t negative[2] = {0, 0};
    for (int positive = 0; positive < 2; positive++) {
        o.positive_scales = positive;
        encode(c, o, part_bytes);
        for (int64_t i = 0; i < ROWS * COLS / 32; i++)
            negative[positive] += load_u16(part_bytes[2] + 2 * i) >> 15;
    }
    ck_assert(negative[0] > 0 && negative[1] == 0);
}
END_TEST

START_TEST(scales_stay_numbers_at_both_ends)
{
    static const float LEVELS[] = {0x1p-149f, 0x1p-140f, 0x1p-30f, 0x1p-20f, 0x1p11f};
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = tool_codec(i);
        for (size_t k = 0; c && k < COUNT_OF(LEVELS); k++)
            for (int search = SEARCH_COMPAT; search <= SEARCH_BEST; search++) {
                encode_options o = options_of((codec_search)search, DT_F32);
                for (uint32_t at = 0; at < ALL; at++)
                    w[at] = LEVELS[k] * (float)(int)(mix(at) % 15 - 7 * (at / COLS % 2));
                encode(c, o, part_bytes);
                decode(c, c, &o, back);
                for (int64_t at = 0; at < ALL; at++)
                    if (!(back[at] < 0x1p127f && back[at] > -0x1p127f))
                        ck_abort_msg("%s: %g at %g", c->name, (double)back[at], (double)w[at]);
            }
    }
}
END_TEST

// ---- refusals ---------------------------------------------------------------------------------

START_TEST(refuses_columns_and_numbers_that_it_cannot_hold)
{
    void *part[CODEC_MAX_PARTS];
    encode_options o = ENCODE_DEFAULTS;
    for (int i = 0; i < CODEC_MAX_PARTS; i++)
        part[i] = part_bytes[i];
    fill(DT_F32);
    const codec *c = codec_find("int4-gptq-g64");
    ASSERT_REFUSED(c->encode(c, 96, 8, w, &o, part, &refused),
                   "int4-gptq-g64 needs a multiple of 64 columns, the weight has 96");
    const codec *row = codec_find("int4-awq-channel");
    ASSERT_REFUSED(row->encode(row, 48, 8, w, &o, part, &refused),
                   "int4-awq-channel needs a multiple of 32 columns, the weight has 48");
    w[130] = (float)INFINITY;
    ASSERT_REFUSED(c->encode(c, 64, 8, w, &o, part, &refused), "row 2, column 2 is infinite");
    w[130] = -65536;
    ASSERT_REFUSED(c->encode(c, 64, 8, w, &o, part, &refused),
                   "row 2, column 2: -65536 is too large for int4-gptq-g64");
    c = codec_find("int4-mlx-g32");
    w[130] = 0x1p127f;
    ASSERT_REFUSED(c->encode(c, 64, 8, w, &o, part, &refused), "row 2, column 2: 1.7");
    c = codec_find("int4-gptq-g64");
    ck_assert_int_eq(codec_row_multiple(c), 8);
    ck_assert(codec_fits(c, 16, 64) && !codec_fits(c, 20, 64) && !codec_fits(c, 16, 32));
    ck_assert_int_eq(codec_row_multiple(codec_find("int8-gptq-v2-g32")), 4);
    ck_assert_int_eq(codec_row_multiple(row), 8);
    ck_assert_int_eq(codec_row_multiple(codec_find("int4-mlx-g32")), 1);
    ck_assert_int_eq(codec_row_multiple(codec_find("int4-g32-asym")), 1);
}
END_TEST

Suite *suite_codec_tools(void)
{
    Suite *s = suite_create("codec_tools");
    TCase *t = tcase_create("tools");
    tcase_add_test(t, packs_the_documented_words);
    tcase_add_test(t, packs_the_words_of_compressed_tensors);
    tcase_add_test(t, fills_in_g_idx);
    tcase_add_loop_test(t, compat_has_the_bytes_of_each_tool, 0, 3);
    tcase_add_test(t, the_first_format_has_no_zero_point_of_0);
    tcase_add_test(t, ranges_of_rows_and_levels_agree_in_every_byte);
    tcase_add_test(t, what_is_written_decodes_as_what_is_read);
    tcase_add_test(t, best_is_no_worse_in_any_group_and_better_on_average);
    tcase_add_test(t, best_mlx_is_near_what_all_pairs_have_to_offer);
    tcase_add_test(t, groups_far_from_0_are_no_worse_than_compat_and_come_back);
    tcase_add_test(t, best_gptq_is_as_good_as_compressed_tensors);
    tcase_add_test(t, encodes_what_it_decoded_to_the_same_values);
    tcase_add_test(t, keeps_scales_positive_where_that_is_asked);
    tcase_add_test(t, scales_stay_numbers_at_both_ends);
    tcase_add_test(t, refuses_columns_and_numbers_that_it_cannot_hold);
    suite_add_tcase(s, t);
    return s;
}
