// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "quantize/codec.h"
#include "quantize/kernels.h"
#include "quantize/number.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"

Suite *suite_codec_int(void);

enum { ROWS = 24, COLS = 256, ALL = ROWS * COLS };

static float w[ALL], decoded[ALL];
static uint8_t packed[ALL / 2], golden[ALL / 2];
static uint16_t scale[ALL / 32];

static void encode(const codec *c, int64_t in, int64_t n, const encode_options *o)
{
    void *const part[] = {packed, scale, NULL};
    err e = ERR_INIT;
    ASSERT_OK(c->encode(c, in, n, w, o, part, &e), e);
}

static void decode(const codec *c, int64_t in, int64_t n, const void *codes, part_view scales)
{
    part_view part[] = {part_at(codes, DT_I32), scales, part_at(NULL, DT_I64)};
    err e = ERR_INIT;
    ASSERT_OK(c->decode(c, in, n, part, decoded, &e), e);
}

START_TEST(packs_the_documented_nibbles)
{
    for (int i = 0; i < 32; i++)
        w[i] = (float)(i % 16 - 8);
    encode_options o = {SEARCH_BEST, true, NULL, 0, DT_F32, 0, 0};
    encode(codec_find("int4-g32"), 32, 1, &o);
    static const uint8_t WANT[] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe};
    ck_assert_uint_eq(scale[0], 0x3f80);
    ck_assert_mem_eq(packed, WANT, sizeof WANT);
    ck_assert_mem_eq(packed + 8, WANT, sizeof WANT);
}
END_TEST

START_TEST(reads_what_compressed_tensors_wrote)
{
    for (int64_t g = 32; g <= 128; g *= 2) {
        char name[64];
        snprintf(name, sizeof name, "ct_g%d_packed.bin", (int)g);
        golden_bytes(name, golden, sizeof golden);
        snprintf(name, sizeof name, "ct_g%d_scale.bin", (int)g);
        golden_bytes(name, scale, ALL / (size_t)g * 2);
        snprintf(name, sizeof name, "int4-g%d", (int)g);
        decode(codec_find(name), COLS, ROWS, golden, part_at(scale, DT_BF16));
        for (int64_t i = 0; i < ALL; i++) {
            float s = bf16_to_f32(scale[i / g]);
            ck_assert(decoded[i] == (float)((golden[i / 2] >> i % 2 * 4 & 15) - 8) * s);
            float original = golden_weight((uint32_t)i, 1);
            if (i >= 2 * COLS) // rows 0 and 1 hold other values; half a step and BF16's rounding
                ck_assert(original - decoded[i] < 0.56f * s && decoded[i] - original < 0.56f * s);
        }
    }
}
END_TEST

START_TEST(reads_scales_of_other_types)
{
    const codec *c = codec_find("int4-g64");
    float wide[2] = {-0.3f, 1e-9f};
    uint16_t half[2] = {f32_to_f16(wide[0]), f32_to_f16(wide[1])};
    memset(golden, 0x2f, 64); // 7, then -6
    decode(c, 64, 2, golden, part_at(wide, DT_F32));
    ck_assert(decoded[0] == 7 * -0.3f && decoded[127] == -6 * 1e-9f);
    decode(c, 64, 2, golden, part_at(half, DT_F16));
    ck_assert(decoded[1] == -6 * f16_to_f32(half[0]) && decoded[64] == 7 * f16_to_f32(half[1]));
}
END_TEST

static void compare_with_search(const codec *c, const encode_options *o)
{
    encode(c, COLS, ROWS, o);
    for (int64_t i = 0; i < ALL; i += c->group) {
        int8_t code[SEARCH_MAX_GROUP];
        search_group g = {.w = w + i, .n = c->group, .code = code,
                          .positive = o->positive_scales,
                          .importance = o->importance ? o->importance + i % COLS : NULL};
        kernels_used()->search(&g);
        ck_assert_uint_eq(scale[i / c->group], g.scale);
        for (int64_t j = 0; j < c->group; j++)
            ck_assert_int_eq((packed[(i + j) / 2] >> j % 2 * 4 & 15) - 8, code[j]);
    }
}

START_TEST(gives_each_group_the_searchs_scale_and_codes)
{
    static const char *const NAMES[] = {"int4-g32", "int4-g64", "int4-g128"};
    float importance[COLS];
    for (int i = 0; i < COLS; i++)
        importance[i] = 0.1f + (float)(mix((uint32_t)i) % 100);
    for (int i = 0; i < ALL; i++)
        w[i] = golden_weight((uint32_t)i, 21);
    for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
        const codec *c = codec_find(NAMES[i]);
        compare_with_search(c, &(encode_options)ENCODE_DEFAULTS);
        compare_with_search(c, &(encode_options){SEARCH_BEST, true, importance, 0, DT_F32, 0, 0});
    }
}
END_TEST

START_TEST(encodes_what_it_decoded_to_the_same_values)
{
    static float before[ALL];
    for (int i = 0; i < ALL; i++)
        w[i] = golden_weight((uint32_t)i, 22);
    const codec *c = codec_find("int4-g32");
    encode_options o = ENCODE_DEFAULTS;
    encode(c, COLS, ROWS, &o);
    decode(c, COLS, ROWS, packed, part_at(scale, DT_BF16));
    memcpy(before, decoded, sizeof before);
    memcpy(w, decoded, sizeof w);
    encode(c, COLS, ROWS, &o);
    decode(c, COLS, ROWS, packed, part_at(scale, DT_BF16));
    for (int i = 0; i < ALL; i++)
        ck_assert(decoded[i] == before[i]);
}
END_TEST

START_TEST(refuses_columns_that_the_group_does_not_divide)
{
    void *const part[] = {packed, scale, NULL};
    encode_options o = ENCODE_DEFAULTS;
    const codec *c = codec_find("int4-g64");
    ASSERT_REFUSED(c->encode(c, 96, 1, w, &o, part, &refused),
                   "int4-g64 needs a multiple of 64 columns, the weight has 96");
    part_view view[] = {part_at(packed, DT_I32), part_at(scale, DT_BF16), part_at(NULL, DT_I64)};
    ASSERT_REFUSED(c->decode(c, 96, 1, view, decoded, &refused), "multiple of 64 columns");
}
END_TEST

// ---- every form -------------------------------------------------------------------------------

enum { WRITTEN_ROWS = 24, WRITTEN_COLS = 1024, WRITTEN = WRITTEN_ROWS * WRITTEN_COLS };

static float matrix[WRITTEN], back[WRITTEN];
static uint8_t part_bytes[4][WRITTEN], again[4][WRITTEN];

static void fill_matrix(dtype type)
{
    static uint16_t half[WRITTEN];
    for (uint32_t i = 0; i < WRITTEN; i++)
        matrix[i] = written_weight(i);
    if (type != DT_F32)
        ck_assert(row_from_f32(half, type, matrix, WRITTEN) &&
                  row_to_f32(matrix, half, type, WRITTEN));
}

// In two ranges, as workers share a weight.
static void encode_matrix(const codec *c, const encode_options *o, uint8_t to[4][WRITTEN])
{
    err e = ERR_INIT;
    for (int64_t row = 0; row < WRITTEN_ROWS; row += row ? 16 : 8) {
        void *at[4];
        for (int i = 0; i < c->n_parts; i++)
            at[i] = to[i] + codec_part_offset(c, i, WRITTEN_COLS, row);
        ASSERT_OK(c->encode(c, WRITTEN_COLS, row ? 16 : 8, matrix + row * WRITTEN_COLS, o, at, &e),
                  e);
    }
}

static void decode_matrix(const codec *c, const encode_options *o)
{
    err e = ERR_INIT;
    part_view part[4];
    for (int i = 0; i < c->n_parts; i++)
        part[i] = part_at(part_bytes[i], codec_written_type(c, i, o->search, o->source));
    part[2].bytes = NULL;
    ASSERT_OK(c->decode(c, WRITTEN_COLS, WRITTEN_ROWS, part, back, &e), e);
}

static const codec *int_codec(int64_t i)
{
    const codec *c = codec_at(i);
    return c && c->form == CODEC_INT ? c : NULL;
}

START_TEST(compat_has_the_bytes_of_compressed_tensors)
{
    static const dtype TYPES[] = {DT_BF16, DT_F16, DT_F32};
    static const char *const NAMES[] = {"bf16", "f16", "f32"};
    encode_options o = {SEARCH_COMPAT, false, NULL, 0, TYPES[_i], 0, 0};
    int found = 0;
    fill_matrix(TYPES[_i]);
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = int_codec(i);
        if (!c || c->group == 64 || c->group == 256 || c->group == 512)
            continue;
        char name[64], group[32] = "channel";
        if (c->group)
            (void)snprintf(group, sizeof group, "g%d", (int)c->group);
        (void)snprintf(name, sizeof name, "%s_int%d%s_%s", NAMES[_i], c->bits,
                       c->n_parts == 4 ? "_asym" : "", group);
        encode_matrix(c, &o, part_bytes);
        int64_t groups = c->group ? WRITTEN_COLS / c->group : 1;
        check_written(name, "packed", part_bytes[0], WRITTEN * c->bits / 32, 4);
        check_written(name, "scale", part_bytes[1], WRITTEN_ROWS * groups, 2);
        if (c->n_parts == 4)
            check_written(name, "zero", part_bytes[3], WRITTEN_ROWS * c->bits / 32 * groups, 4);
        found++;
    }
    ck_assert_int_eq(found, 20);
}
END_TEST

// Half a step from rounding; scales are rounded to 8 bits, so that the last of 127 codes may lie a
// quarter of a step from where it should, the last of 255 half a step; where the zero point is
// rounded the whole range lies up to half a step beside the weights.
START_TEST(decodes_to_within_steps)
{
    encode_options o = {SEARCH_COMPAT, false, NULL, 0, DT_F32, 0, 0};
    fill_matrix(DT_F32);
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = int_codec(i);
        if (!c)
            continue;
        int64_t group = c->group ? c->group : WRITTEN_COLS;
        encode_matrix(c, &o, part_bytes);
        decode_matrix(c, &o);
        for (int64_t k = 0; k < WRITTEN; k++) {
            float s = bf16_to_f32(load_u16(part_bytes[1] + k / group * 2));
            float d = back[k] - matrix[k];
            float most = c->n_parts == 4 ? 1.5f * s : s;
            ck_assert_msg(d <= most && d >= -most, "%s: %g off, a step is %g", c->name, (double)d,
                          (double)s);
        }
    }
}
END_TEST

START_TEST(encodes_every_forms_own_values_to_the_same)
{
    for (int64_t i = 0; i < codec_count(); i++) {
        const codec *c = int_codec(i);
        if (!c)
            continue;
        encode_options o = {SEARCH_BEST, false, NULL, 0, DT_F32, 0, 0};
        fill_matrix(DT_F32);
        encode_matrix(c, &o, part_bytes);
        decode_matrix(c, &o);
        static float first[WRITTEN];
        memcpy(first, back, sizeof first);
        memcpy(matrix, back, sizeof matrix);
        encode_matrix(c, &o, again);
        memcpy(part_bytes, again, sizeof again);
        decode_matrix(c, &o);
        int64_t moved = 0;
        for (int64_t k = 0; k < WRITTEN; k++)
            moved += back[k] != first[k];
        ck_assert_msg(moved == 0, "%s: %d values moved", c->name, (int)moved);
    }
}
END_TEST

START_TEST(refuses_rows_that_are_no_multiple_of_16)
{
    void *const part[] = {packed, scale, NULL, golden};
    encode_options o = ENCODE_DEFAULTS;
    const codec *c = codec_find("int8-channel-asym");
    ASSERT_REFUSED(c->encode(c, 24, 1, w, &o, part, &refused),
                   "int8-channel-asym needs a multiple of 16 columns, the weight has 24");
}
END_TEST

Suite *suite_codec_int(void)
{
    Suite *s = suite_create("codec_int");
    TCase *c = tcase_create("groups");
    tcase_add_test(c, packs_the_documented_nibbles);
    tcase_add_test(c, reads_what_compressed_tensors_wrote);
    tcase_add_test(c, reads_scales_of_other_types);
    tcase_add_test(c, gives_each_group_the_searchs_scale_and_codes);
    tcase_add_test(c, encodes_what_it_decoded_to_the_same_values);
    tcase_add_test(c, refuses_columns_that_the_group_does_not_divide);
    tcase_add_loop_test(c, compat_has_the_bytes_of_compressed_tensors, 0, 3);
    tcase_add_test(c, decodes_to_within_steps);
    tcase_add_test(c, encodes_every_forms_own_values_to_the_same);
    tcase_add_test(c, refuses_rows_that_are_no_multiple_of_16);
    suite_add_tcase(s, c);
    return s;
}
