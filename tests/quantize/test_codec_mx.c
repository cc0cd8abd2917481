// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "quantize/codec.h"
#include "quantize/number.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"

Suite *suite_codec_mx(void);

enum { ROWS = 24, COLS = 1024, ALL = ROWS * COLS };

static float w[ALL], back[ALL], again[ALL];
static uint8_t part_bytes[3][ALL];

static const dtype TYPES[] = {DT_BF16, DT_F16, DT_F32};
static const char *const TYPE_NAMES[] = {"bf16", "f16", "f32"};
static const char *const CODECS[] = {"mxfp4-packed", "mxfp8", "nvfp4-packed", "fp8-tensor",
                                     "nvfp4-modelopt"};

static float fill(dtype type)
{
    static uint16_t half[ALL];
    float amax = 0;
    for (uint32_t i = 0; i < ALL; i++)
        w[i] = written_weight(i);
    if (type != DT_F32)
        ck_assert(row_from_f32(half, type, w, ALL) && row_to_f32(w, half, type, ALL));
    for (int i = 0; i < ALL; i++)
        amax = fmaxf(amax, fabsf(w[i]));
    return amax;
}

// In two ranges, as workers share a weight; what is there once comes with the first.
static void encode(const codec *c, encode_options o)
{
    err e = ERR_INIT;
    for (int64_t row = 0; row < ROWS; row += row ? 15 : 9) {
        void *at[3];
        for (int i = 0; i < codec_written(c); i++)
            at[i] = part_bytes[i] + codec_part_offset(c, i, COLS, row);
        o.row0 = row;
        ASSERT_OK(c->encode(c, COLS, row ? 15 : 9, w + row * COLS, &o, at, &e), e);
    }
}

static void decode(const codec *c, float *to)
{
    err e = ERR_INIT;
    part_view part[CODEC_MAX_PARTS] = {0};
    for (int i = 0; i < codec_written(c); i++)
        part[i] = part_at(part_bytes[i], codec_written_type(c, i, SEARCH_BEST, DT_F32));
    ASSERT_OK(c->decode(c, COLS, ROWS, part, to, &e), e);
}

START_TEST(compat_has_the_bytes_of_compressed_tensors)
{
    float amax = fill(TYPES[_i]);
    char name[64];
    for (int k = 0; k < 3; k++) {
        const codec *c = codec_find(CODECS[k]);
        encode(c, (encode_options){.search = SEARCH_COMPAT, .source = TYPES[_i],
                                   .whole_scale = codec_whole_scale(c, amax, TYPES[_i])});
        (void)snprintf(name, sizeof name, "%s_%.5s", TYPE_NAMES[_i], CODECS[k]);
        check_written(name, "codes", part_bytes[0], ALL * c->bits / 8, 1);
        check_written(name, "scale", part_bytes[1], ALL / c->group, 1);
        if (c->whole)
            check_written(name, "global", part_bytes[2], 1, 4);
    }
}
END_TEST

START_TEST(compat_has_the_bytes_of_modelopt)
{
    static const char *const parts[] = {"codes", "scale", "factor"};
    const codec *c = codec_find("nvfp4-modelopt");
    float amax = fill(TYPES[_i]);
    encode(c, (encode_options){.search = SEARCH_COMPAT, .source = TYPES[_i],
                               .whole_scale = codec_whole_scale(c, amax, TYPES[_i])});
    for (int k = 0; k < 3; k++) {
        const int64_t n = k == 2 ? 1 : ALL / (k ? 16 : 2);
        char name[64];
        uint64_t digest = 0;
        for (int64_t i = 0; i < n; i++)
            digest_add(&digest, (uint64_t)i, k == 2 ? load_u32(part_bytes[k]) : part_bytes[k][i]);
        (void)snprintf(name, sizeof name, "%s_%s", TYPE_NAMES[_i], parts[k]);
        ck_assert_msg(digest == golden_digest_in("tests/data/codecs/modelopt.txt", name),
                      "%s differs", name);
    }
}
END_TEST

// In every group: the search begins at COMPAT's scale.
START_TEST(best_is_never_worse_than_modelopt)
{
    const codec *c = codec_find("nvfp4-modelopt");
    double sum[2] = {0};
    encode_options o = {.source = DT_F32};
    o.whole_scale = codec_whole_scale(c, fill(DT_F32), DT_F32);
    static double error[2][ALL / 16];
    for (int search = 0; search < 2; search++) {
        o.search = (codec_search)search;
        encode(c, o);
        decode(c, back);
        for (int g = 0; g < ALL / 16; g++) {
            error[search][g] = 0;
            for (int i = 16 * g; i < 16 * g + 16; i++)
                error[search][g] += pow((double)w[i] - (double)back[i], 2);
            sum[search] += error[search][g];
        }
    }
    for (int g = 0; g < ALL / 16; g++) // but for the rounding of a sum in binary32
        ck_assert(error[SEARCH_BEST][g] <= error[SEARCH_COMPAT][g] * (1 + 0x1p-18));
    ck_assert(sum[SEARCH_BEST] < 0.9 * sum[SEARCH_COMPAT]);
}
END_TEST

START_TEST(fp8_of_a_binary32_tensor_has_the_bytes_of_compressed_tensors)
{
    float amax = fill(DT_F32);
    const codec *c = codec_find("fp8-tensor");
    encode(c, (encode_options){.whole_scale = codec_whole_scale(c, amax, DT_F32)});
    check_written("f32_fp8_tensor", "codes", part_bytes[0], ALL, 1);
    check_written("f32_fp8_tensor", "scale", part_bytes[1], 1, 4);
}
END_TEST

START_TEST(encodes_what_it_decoded_to_the_same_values)
{
    for (size_t k = 0; k < COUNT_OF(CODECS); k++)
        for (int search = 0; search < 2; search++) {
            const codec *c = codec_find(CODECS[k]);
            encode_options o = {.search = (codec_search)search, .source = DT_F32,
                                .whole_scale = codec_whole_scale(c, fill(DT_F32), DT_F32)};
            encode(c, o);
            decode(c, back);
            memcpy(w, back, sizeof w);
            encode(c, o);
            decode(c, again);
            // COMPAT takes scales from the largest weight alone, and clips what it clipped before.
            int64_t moved = 0;
            for (int i = 0; i < ALL; i++)
                moved += back[i] != again[i];
            if (search == SEARCH_BEST || c->bits == 8)
                ck_assert_msg(moved == 0, "%s: %d values moved", c->name, (int)moved);
        }
}
END_TEST

START_TEST(keeps_values_that_the_form_has)
{
    const codec *c = codec_find("mxfp4-packed");
    for (int search = 0; search < 2; search++) {
        for (int i = 0; i < ALL; i++) {
            int exponent = i / 32 % 200 - 100;
            w[i] = ldexpf(e2m1_to_f32((uint8_t)(i % 16)), exponent);
        }
        encode(c, (encode_options){.search = (codec_search)search, .source = DT_F32});
        decode(c, back);
        for (int i = 0; i < ALL; i++)
            ck_assert(back[i] == w[i]);
    }
}
END_TEST

START_TEST(says_which_parts_are_written_and_as_what)
{
    const codec *c = codec_find("nvfp4-packed");
    ck_assert_int_eq(codec_written(c), 3);
    ck_assert_int_eq(codec_written(codec_find("mxfp4-packed")), 2);
    ck_assert_int_eq(codec_written(codec_find("fp8-tensor")), 2);
    ck_assert_int_eq(codec_written_type(codec_find("mxfp8"), 1, SEARCH_BEST, DT_BF16), DT_U8);
    ck_assert_int_eq(codec_written_type(c, 1, SEARCH_BEST, DT_BF16), DT_F8_E4M3);
    ck_assert(codec_part_whole(c, 2) && !codec_part_whole(c, 1));
    int64_t shape[2]; // ModelOpt's is a number without a dimension
    ck_assert_int_eq(codec_part_shape(codec_find("nvfp4-modelopt"), 2, 8, 64, shape), 0);
    ck_assert_uint_eq(codec_bytes(codec_find("nvfp4-modelopt"), 8, 64), 8 * 32 + 8 * 4 + 4);
    ck_assert_uint_eq(codec_bytes(c, 8, 64), 8 * 32 + 8 * 4 + 4);
}
END_TEST

START_TEST(has_a_global_scale_of_one_where_there_is_none)
{
    const codec *c = codec_find("nvfp4-packed");
    ck_assert(codec_whole_scale(c, 0, DT_BF16) == 1);
    ck_assert(codec_whole_scale(c, 0x1p-10f, DT_F16) == 1); // F16 has no 2688 x 2^10
    ck_assert(codec_whole_scale(c, 0x1p-10f, DT_BF16) == 2688 * 1024);
    ck_assert(codec_whole_scale(codec_find("fp8-tensor"), 448, DT_F32) == 1);
    ck_assert(codec_whole_scale(codec_find("nvfp4-modelopt"), 0, DT_BF16) == 1);
    ck_assert(codec_whole_scale(codec_find("nvfp4-modelopt"), 1344, DT_F16) == 0.5f);
    ck_assert(codec_whole_scale(codec_find("nvfp4-modelopt"), 0x1p-140f, DT_F32) == 0x1p-126f);
    ck_assert(codec_whole_scale(codec_find("mxfp4-packed"), 448, DT_F32) == 0);
}
END_TEST

// MLX's and DeepSeek's are the same bytes under other names; MLX's NVFP4 has no global scale.
START_TEST(writes_mlx_and_deepseek_the_same_bytes)
{
    static const struct {
        const char *name, *same;
        dtype scales;
    } forms[] = {{"mxfp4-mlx", "mxfp4-packed", DT_U8}, {"mxfp8-mlx", "mxfp8", DT_U8},
                 {"nvfp4-mlx", "nvfp4-packed", DT_U8},
                 {"mxfp4-deepseek", "mxfp4-packed", DT_F8_E8M0}};
    static uint8_t codes[2][4096], scales[2][512];
    for (size_t i = 0; i < COUNT_OF(forms); i++)
        for (int search = SEARCH_COMPAT; search <= SEARCH_BEST; search++) {
            float global, values[4096];
            encode_options o = {.search = (codec_search)search, .source = DT_F32,
                                .whole_scale = 1};
            err e = ERR_INIT;
            for (uint32_t k = 0; k < COUNT_OF(values); k++)
                values[k] = golden_weight(k, 5) * 16;
            for (int k = 0; k < 2; k++) {
                const codec *c = codec_find(k ? forms[i].same : forms[i].name);
                void *const part[] = {codes[k], scales[k], &global};
                ASSERT_OK(c->encode(c, 256, 16, values, &o, part, &e), e);
                ck_assert_int_eq(codec_written_type(codec_find(forms[i].name), 1, o.search,
                                                    DT_F32), forms[i].scales);
            }
            ck_assert_mem_eq(codes[0], codes[1], sizeof codes[0]);
            ck_assert_mem_eq(scales[0], scales[1], sizeof scales[0]);
        }
    const codec *c = codec_find("nvfp4-mlx");
    float large[16] = {3000};
    void *const part[] = {codes[0], scales[0]};
    encode_options o = ENCODE_DEFAULTS;
    ASSERT_REFUSED(c->encode(c, 16, 1, large, &o, part, &refused), "too large for nvfp4-mlx");
}
END_TEST

START_TEST(refuses_columns_that_the_group_does_not_divide)
{
    encode_options o = {.whole_scale = 1};
    void *const part[] = {part_bytes[0], part_bytes[1], part_bytes[2]};
    const codec *c = codec_find("nvfp4-packed");
    ASSERT_REFUSED(c->encode(c, 24, 1, w, &o, part, &refused),
                   "nvfp4-packed needs a multiple of 16 columns, the weight has 24");
}
END_TEST

Suite *suite_codec_mx(void)
{
    Suite *s = suite_create("codec_mx");
    TCase *c = tcase_create("forms");
    tcase_add_loop_test(c, compat_has_the_bytes_of_compressed_tensors, 0, 3);
    tcase_add_loop_test(c, compat_has_the_bytes_of_modelopt, 0, 3);
    tcase_add_test(c, best_is_never_worse_than_modelopt);
    tcase_add_test(c, fp8_of_a_binary32_tensor_has_the_bytes_of_compressed_tensors);
    tcase_add_test(c, encodes_what_it_decoded_to_the_same_values);
    tcase_add_test(c, keeps_values_that_the_form_has);
    tcase_add_test(c, says_which_parts_are_written_and_as_what);
    tcase_add_test(c, has_a_global_scale_of_one_where_there_is_none);
    tcase_add_test(c, writes_mlx_and_deepseek_the_same_bytes);
    tcase_add_test(c, refuses_columns_that_the_group_does_not_divide);
    suite_add_tcase(s, c);
    return s;
}
