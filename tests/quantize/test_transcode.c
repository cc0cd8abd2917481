// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "quantize/kernels.h"
#include "quantize/number.h"
#include "quantize/transcode.h"
#include "tests/refused.h"

Suite *suite_transcode(void);

enum { ROWS = 256, COLS = 256, ALL = ROWS * COLS };

static float values[ALL], scales[ALL], room[ALL], own_scales[ALL];
static uint8_t part_bytes[CODEC_MAX_PARTS][4 * ALL];

typedef struct {
    const char *to;
    int64_t rows, in;
    bool scaled, lossy;      // the source's scales are given; what is lost is encoded
    dtype scale_type;        // of the source
} move;

static float offered;        // a global scale that the source has; 0: none
static bool offer_divides;

static float whole_of(const codec *c, const transcode_rows *r)
{
    transcode_census all = {0}, one, none = {0};
    if (!c->whole)
        return 0;
    if (offered != 0)
        transcode_offer(c, &none, offered, offer_divides);
    all = none;
    for (int64_t row = 0; row < r->n; row++) { // as tasks share a weight
        transcode_rows some = *r;
        some.n = 1;
        some.values += row * r->in;
        some.scales += r->scales ? row * r->in : 0;
        one = none;
        transcode_count(c, &some, &one);
        transcode_add(&one, &all);
    }
    return transcode_whole_scale(c, &all);
}

// Blocks that are lost; what the bytes decode to is in room.
static int64_t lost_of(move m)
{
    const codec *c = codec_find(m.to);
    void *part[CODEC_MAX_PARTS];
    dtype type[CODEC_MAX_PARTS];
    err e = ERR_INIT;
    int64_t lost;
    ck_assert(c && m.rows * m.in <= ALL);
    for (int i = 0; i < codec_written(c); i++) {
        part[i] = part_bytes[i];
        type[i] = transcode_written_type(c, i, m.scale_type);
        (void)codec_fixed_part(c, i, m.rows, m.in, part[i]);
    }
    memset(room, 0xff, (size_t)(m.rows * m.in) * sizeof *room);
    transcode_rows r = {.in = m.in, .n = m.rows, .values = values,
                        .scales = m.scaled ? scales : NULL, .room = room, .type = type,
                        .own_scales = own_scales, .height = m.rows, .lossy = m.lossy, .part = part};
    r.whole_scale = whole_of(c, &r);
    ASSERT_OK(transcode(c, &r, &lost, &e), e);
    int64_t differ = 0;
    for (int64_t i = 0; lost == 0 && i < m.rows * m.in; i++)
        differ += values[i] != room[i];
    ck_assert_msg(differ == 0, "%s: %d values", m.to, (int)differ);
    return lost;
}

static int64_t lost_by(const char *to, int64_t rows, int64_t in, bool scaled, bool lossy)
{
    return lost_of((move){to, rows, in, scaled, lossy, DT_F32});
}

static bool same_bits(int64_t n) { return memcmp(values, room, (size_t)n * sizeof *room) == 0; }

// All 16 codes of E2M1 twice in each group of 32 from `at` on, in an order of its own.
static void fill_fp4(int64_t at, int64_t n, float scale)
{
    for (int64_t i = at; i < at + n; i++) {
        values[i] = e2m1_to_f32((uint8_t)((i * 7 + i / 16) % 16)) * scale;
        scales[i] = scale;
    }
}

// The same with E4M3: all finite codes in 254 of 256.
static void fill_fp8(int64_t at, int64_t n, float scale)
{
    for (int64_t i = at; i < at + n; i++) {
        uint8_t code = (uint8_t)(i * 3);
        values[i] = e4m3_to_f32((code & 0x7f) == 0x7f ? 0 : code) * scale;
        scales[i] = scale;
    }
}

static void fill_int(int64_t at, int64_t n, int bits, int zero, float scale)
{
    for (int64_t i = at; i < at + n; i++) {
        values[i] = (float)((int)((i * 5 + i / 32) % (1 << bits)) - zero) * scale;
        scales[i] = scale;
    }
}

// ---- what is always held ---------------------------------------------------------------------

// 6 x 2^126 is beyond binary32.
START_TEST(moves_all_of_mxfp4_into_other_containers_of_it)
{
    static const char *const to[] = {"mxfp4-packed", "mxfp8", "MXFP4", "mxfp4-mlx", "mxfp8-mlx",
                                     "mxfp4-deepseek", "nvfp4-packed", "nvfp4-modelopt"};
    for (int code = 0; code <= 252; code++) {
        fill_fp4(0, 2 * 32, e8m0_to_f32((uint8_t)code));
        for (size_t k = 0; k < COUNT_OF(to); k++)
            for (int scaled = 0; scaled < 2; scaled++) {
                ck_assert_int_eq(lost_by(to[k], 2, 32, scaled, false), 0);
                ck_assert(strcmp(to[k], "MXFP4") == 0 || same_bits(2 * 32));
                if (scaled && k < 6)
                    ck_assert_int_eq(part_bytes[k != 2][0], code);
            }
    }
}
END_TEST

START_TEST(moves_all_of_fp8_under_any_power_of_two)
{
    static const char *const to[] = {"mxfp8", "fp8-block-pow2", "fp8-block", "fp8-channel",
                                     "fp8-tensor", "fp8-fbgemm", "fp8-block-e8m0",
                                     "fp8-block32-e8m0", "fp8-block32-bf16", "fp8-block32-pow2"};
    for (int exponent = -126; exponent <= 119; exponent++) {
        fill_fp8(0, 2 * COLS, ldexpf(1, exponent));
        for (size_t k = 0; k < COUNT_OF(to); k++)
            for (int scaled = 0; scaled < 2; scaled++) {
                if (!scaled && k == 4)
                    continue; // what a tensor's scale is can only be taken over
                ck_assert_int_eq(lost_by(to[k], 2, COLS, scaled, false), 0);
                ck_assert(same_bits(2 * COLS));
            }
    }
}
END_TEST

// Scales whose products with a code need rounding, found again without being told.
START_TEST(moves_fp8_under_any_scale)
{
    static const char *const to[] = {"fp8-block", "fp8-channel", "fp8-tensor", "fp8-block32"};
    uint32_t random = 1;
    for (int i = 0; i < 400; i++) {
        random = random * 1664525 + 1013904223;
        float scale = f32_from_bits((random >> 9) + ((uint32_t)(i % 220 + 10) << 23));
        fill_fp8(0, 2 * COLS, scale);
        for (size_t k = 0; k < COUNT_OF(to); k++)
            for (int scaled = k == 2; scaled < 2; scaled++) {
                ck_assert_int_eq(lost_by(to[k], 2, COLS, scaled, false), 0);
                ck_assert(same_bits(2 * COLS));
                if (scaled)
                    ck_assert(load_f32(part_bytes[1]) == scale);
            }
    }
}
END_TEST

// A block's scale of 8 bits, any exponent; the same codes, and the scale as it was stored.
START_TEST(moves_fp8_under_any_bf16_scale)
{
    static const char *const to[] = {"fp8-block-bf16", "fp8-block32-bf16", "fp8-block32"};
    for (uint32_t bits = 0x80; bits < 0x7b00; bits += 61) {
        float scale = bf16_to_f32((uint16_t)bits);
        fill_fp8(0, 2 * COLS, scale);
        for (size_t k = 0; k < COUNT_OF(to); k++)
            for (int scaled = 0; scaled < 2; scaled++) {
                ck_assert_int_eq(lost_by(to[k], 2, COLS, scaled, false), 0);
                ck_assert(same_bits(2 * COLS));
                if (scaled && k < 2)
                    ck_assert_uint_eq(load_u16(part_bytes[1]), bits);
            }
    }
}
END_TEST

// E8M0 has 2^-127, binary32 with all its bits has not; BF16 drops bits that a scale may need.
START_TEST(counts_fp8_blocks_whose_scale_the_type_does_not_have)
{
    fill_fp8(0, ALL, 0.3f);
    ck_assert_int_eq(lost_by("fp8-block32", ROWS, COLS, true, false), 0);
    ck_assert_int_eq(lost_by("fp8-block32-bf16", ROWS, COLS, true, false), 64);
    ck_assert_int_eq(lost_by("fp8-block-bf16", ROWS, COLS, true, false), 4);
    ck_assert_int_eq(lost_by("fp8-block32-e8m0", ROWS, COLS, true, false), 64);
    fill_fp8(0, ALL, 0.75f);
    ck_assert_int_eq(lost_by("fp8-block-bf16", ROWS, COLS, true, false), 0);
    ck_assert_int_eq(lost_by("fp8-block-e8m0", ROWS, COLS, true, false), 4);
    // Groups of 32 columns in a row are no blocks: rows of one have to share.
    fill_fp8(0, ALL, 1);
    fill_fp8(40 * COLS + 64, 32, 0x1p-9f);
    ck_assert_int_eq(lost_by("mxfp8", ROWS, COLS, true, false), 0);
    ck_assert_int_eq(lost_by("fp8-block32-e8m0", ROWS, COLS, true, false), 1);
    ck_assert_int_eq(lost_by("fp8-block32-e8m0", ROWS, COLS, true, true), 1);
    for (int i = 0; i < 32; i++)
        values[i] = scales[i] = 0x1p-127f;
    ck_assert_int_eq(lost_by("fp8-block32-e8m0", 1, 32, true, false), 0);
    ck_assert_uint_eq(part_bytes[1][0], 0);
}
END_TEST

START_TEST(moves_integers_into_ggmls_types)
{
    static const struct {
        const char *to;
        int bits, zero;
    } pairs[] = {{"Q4_0", 4, 8}, {"Q4_1", 4, 8}, {"Q5_0", 4, 3}, {"Q5_0", 5, 16}, {"Q5_1", 5, 16},
                 {"Q8_0", 8, 128}, {"Q8_0", 4, 15}, {"Q5_1", 4, 0}, {"Q4_1", 4, 13}};
    for (size_t k = 0; k < COUNT_OF(pairs); k++)
        for (int bits = 0x2d; bits < 0x7c00; bits += 211) {
            float scale = f16_to_f32((uint16_t)bits); // with 8 significant bits, as BF16 has
            scale = bf16_to_f32(f32_to_bf16(scale));
            // Binary16 has room for the bias (at one end or the other), and for the scale.
            if (scale < 0x1p-10f || scale > 4096)
                continue;
            for (int sign = 1; sign >= -1; sign -= 2)
                for (int scaled = 0; scaled < 2; scaled++) {
                    fill_int(0, 4 * 64, pairs[k].bits, pairs[k].zero, (float)sign * scale);
                    int64_t lost = lost_by(pairs[k].to, 4, 64, scaled, false);
                    ck_assert_msg(lost == 0, "%s: %d of scale %g", pairs[k].to, (int)lost,
                                  (double)scale);
                }
        }
}
END_TEST

// BF16 scales are within what binary16 holds; a bias of -8 (-128) scales needs no more bits.
START_TEST(moves_integers_between_the_forms_of_compressed_tensors_gptq_awq_and_mlx)
{
    static const struct {
        const char *to;
        int bits, zero;
    } pairs[] = {{"int4-g32", 4, 8}, {"int4-g32-asym", 4, 3}, {"int4-gptq-g32", 4, 8},
                 {"int4-gptq-g32-asym", 4, 1}, {"int4-gptq-v2-g32-asym", 4, 15},
                 {"int4-awq-g32", 4, 8}, {"int4-awq-g32", 4, 0}, {"int4-mlx-g32", 4, 8},
                 {"int8-g32", 8, 128}, {"int8-g32-asym", 8, 77}, {"int8-gptq-g32", 8, 128},
                 {"int8-mlx-g32", 8, 128}, {"int4-channel", 4, 8}, {"int4-channel-asym", 4, 2},
                 {"int4-gptq-v2-channel", 4, 8}, {"int4-awq-channel", 4, 11},
                 {"int8-g64", 4, 13}, {"int8-gptq-g64-asym", 4, 0}, {"int4-mlx-g32", 4, 15}};
    for (size_t k = 0; k < COUNT_OF(pairs); k++)
        for (int exponent = -10; exponent <= 5; exponent += 3)
            for (int scaled = 0; scaled < 2; scaled++) {
                fill_int(0, 16 * COLS, pairs[k].bits, pairs[k].zero, ldexpf(0.7421875f, exponent));
                ck_assert_int_eq(lost_of((move){pairs[k].to, 16, COLS, scaled, false, DT_BF16}), 0);
            }
}
END_TEST

static void fill_nvfp4(float global, bool divides)
{
    for (int64_t g = 0; g < 16 * COLS / 16; g++) {
        float scale = e4m3_to_f32((uint8_t)(0x20 + g % 0x50));
        fill_fp4(16 * g, 16, divides ? scale / global : scale * global);
    }
}

// A divisor comes along. ModelOpt's scale multiplies: of the numbers near its reciprocal the one
// under which most groups have the very scale; a power of two is one under which all have.
START_TEST(takes_over_the_global_scale_of_nvfp4)
{
    uint32_t random = 7;
    int64_t lost = 0, of = 0;
    for (int i = 0; i < 200; i++) {
        random = random * 1664525 + 1013904223;
        float global = f32_from_bits((random >> 9) + (120u << 23));
        fill_nvfp4(1 / global, offer_divides = true);
        offered = 1 / global;
        ck_assert_int_eq(lost_by("nvfp4-packed", 16, COLS, true, false), 0);
        ck_assert(same_bits(16 * COLS) && load_f32(part_bytes[2]) == 1 / global);
        fill_nvfp4(offered = global, offer_divides = false);
        lost += lost_by("nvfp4-packed", 16, COLS, true, false);
        of += 16 * COLS / 16;
    }
    ck_assert_msg(lost > 0 && lost < of / 4, "%d of %d", (int)lost, (int)of);
    fill_nvfp4(offered = 0x1p-9f, offer_divides = false);
    ck_assert_int_eq(lost_by("nvfp4-packed", 16, COLS, true, false), 0);
    offered = 0;
}
END_TEST

// And the other way round.
START_TEST(takes_over_the_factor_of_nvfp4)
{
    uint32_t random = 9;
    int64_t lost = 0, of = 0;
    for (int i = 0; i < 200; i++) {
        random = random * 1664525 + 1013904223;
        float global = f32_from_bits((random >> 9) + (120u << 23));
        fill_nvfp4(offered = global, offer_divides = false);
        ck_assert_int_eq(lost_by("nvfp4-modelopt", 16, COLS, true, false), 0);
        ck_assert(same_bits(16 * COLS) && load_f32(part_bytes[2]) == global);
        fill_nvfp4(1 / global, offer_divides = true);
        offered = 1 / global;
        lost += lost_by("nvfp4-modelopt", 16, COLS, true, false);
        of += 16 * COLS / 16;
    }
    ck_assert_msg(lost > 0 && lost < of / 4, "%d of %d", (int)lost, (int)of);
    fill_nvfp4(offered = 0x1p+9f, offer_divides = true);
    ck_assert_int_eq(lost_by("nvfp4-modelopt", 16, COLS, true, false), 0);
    ck_assert(load_f32(part_bytes[2]) == 0x1p-9f);
    offered = 0;
}
END_TEST

START_TEST(keeps_scales_of_binary16_where_the_form_takes_them)
{
    float scale = f16_to_f32(0x2c01); // 11 bits
    fill_int(0, 8 * 64, 4, 8, scale);
    ck_assert_int_eq(lost_of((move){"int4-g32", 8, 64, true, false, DT_F16}), 0);
    ck_assert_uint_eq(load_u16(part_bytes[1]), 0x2c01);
    ck_assert_int_eq(lost_of((move){"int4-g32", 8, 64, true, false, DT_BF16}), 16);
    ck_assert_int_eq(lost_of((move){"int4-mlx-g32", 8, 64, true, false, DT_F16}), 0);
    ck_assert_int_eq(lost_of((move){"int4-gptq-g64", 8, 64, true, false, DT_F16}), 0);
}
END_TEST

// GPTQ's first format has no zero point 0 that everybody reads; a narrower range has others.
START_TEST(avoids_zero_points_that_a_form_does_not_have)
{
    fill_int(0, 8 * 64, 4, 0, 0.5f);
    ck_assert_int_eq(lost_of((move){"int4-gptq-g32-asym", 8, 64, true, false, DT_F16}), 16);
    ck_assert_int_eq(lost_of((move){"int4-gptq-v2-g32-asym", 8, 64, true, false, DT_F16}), 0);
    for (int i = 0; i < 32; i++)
        values[i] = (float)(i % 15) * 0.5f;
    ck_assert_int_eq(lost_of((move){"int4-gptq-g32-asym", 8, 64, true, false, DT_F16}), 15);
    // Symmetric codes stay symmetric: the zero point is 8 where that does.
    fill_int(0, 8 * 64, 4, 8, 0.5f);
    for (int i = 0; i < 8 * 64; i++)
        values[i] *= i % 16 < 8 ? 0.0f : 1.0f;
    ck_assert_int_eq(lost_of((move){"int4-gptq-v2-g32-asym", 8, 64, true, false, DT_F16}), 0);
    ck_assert_uint_eq(load_u32(part_bytes[1]), 0x88888888);
}
END_TEST

START_TEST(keeps_the_codes_where_the_source_had_the_scale)
{
    fill_int(0, 64, 4, 8, -0.75f);
    ck_assert_int_eq(lost_by("Q4_0", 1, 64, true, false), 0);
    for (int i = 0; i < 32; i++) {
        int code = part_bytes[0][2 + i % 16] >> i / 16 * 4 & 15;
        ck_assert_int_eq(code, i * 5 % 16);
    }
    ck_assert_uint_eq(load_u16(part_bytes[0]), f32_to_f16(-0.75f));
    // Without, codes as large as can be.
    for (int i = 0; i < 32; i++)
        values[i] = (float)(i % 3);
    ck_assert_int_eq(lost_by("Q4_0", 1, 32, false, false), 0);
    ck_assert_uint_eq(load_u16(part_bytes[0]), f32_to_f16(-0.25f));
}
END_TEST

// ---- what is not -----------------------------------------------------------------------------

// E4M3 has the powers of two from 2^-9 to 2^8; a group with all codes leaves no choice of scales.
START_TEST(counts_groups_whose_exponents_nvfp4_cannot_hold_together)
{
    for (int apart = 0; apart <= 40; apart++)
        for (int above = -60; above <= 60; above += 30) {
            fill_fp4(0, 7 * 64, ldexpf(1, above));
            fill_fp4(7 * 64, 64, ldexpf(1, above - apart));
            ck_assert_int_eq(lost_by("nvfp4-packed", 8, 64, true, false),
                             apart <= 17 ? 0 : 4);
            ck_assert_int_eq(lost_by("nvfp4-modelopt", 8, 64, true, false),
                             apart <= 17 ? 0 : 4);
        }
    // With the smaller codes only, scales may be larger: 0.5 and 1 are 2 and 4 of a fourth.
    fill_fp4(0, 7 * 64, 1);
    for (int i = 0; i < 64; i++)
        values[7 * 64 + i] = i % 2 ? 0x1p-18f : 0x1p-19f;
    ck_assert_int_eq(lost_by("nvfp4-packed", 8, 64, false, false), 4);
    for (int i = 0; i < 64; i++)
        values[7 * 64 + i] = i % 2 ? 0x1p-17f : 0x1p-18f;
    ck_assert_int_eq(lost_by("nvfp4-packed", 8, 64, false, false), 0);
}
END_TEST

START_TEST(counts_groups_whose_exponents_lie_beyond_e4m3)
{
    static const char *const to[] = {"NVFP4", "nvfp4-mlx"};
    for (int exponent = -20; exponent <= 20; exponent++)
        for (int k = 0; k < 4; k++) {
            fill_fp4(0, 2 * 64, ldexpf(1, exponent));
            ck_assert_int_eq(lost_by(to[k % 2], 2, 64, k / 2, false),
                             exponent < -9 || exponent > 8 ? 8 : 0);
        }
}
END_TEST

// 6 x 2^6 is the largest E4M3 code of such values, 1.5 x 2^-8 the smallest with a half in it.
START_TEST(counts_fp8_blocks_whose_fp4_exponents_lie_too_far_apart)
{
    for (int apart = 0; apart <= 20; apart++)
        for (int scaled = 0; scaled < 2; scaled++) {
            fill_fp4(0, ALL, 0x1p-3f);
            for (int64_t row = 128; row < 192; row++) // half of one block of four
                fill_fp4(row * COLS + 128, 32, ldexpf(1, -3 - apart));
            ck_assert_int_eq(lost_by("fp8-block", ROWS, COLS, scaled, false), apart > 14);
            ck_assert_int_eq(lost_by("fp8-block-pow2", ROWS, COLS, scaled, false),
                             apart > 14);
            ck_assert_int_eq(lost_by("fp8-block-e8m0", ROWS, COLS, scaled, false),
                             apart > 14);
            ck_assert_int_eq(lost_by("fp8-block32-e8m0", ROWS, COLS, scaled, false), 0);
            fill_fp4(129 * COLS + 128, 32, 0x1p-3f); // of a row of a small block
            ck_assert_int_eq(lost_by("fp8-block32-e8m0", ROWS, COLS, scaled, false),
                             apart > 14);
        }
}
END_TEST

START_TEST(counts_blocks_of_rows_that_have_scales_of_their_own)
{
    fill_fp8(0, ALL, 0.3f);
    fill_fp8(130 * COLS, 128, 0.7f);
    ck_assert_int_eq(lost_by("fp8-block", ROWS, COLS, true, false), 1);
    ck_assert_int_eq(lost_by("fp8-channel", ROWS, COLS, true, false), 1);
    fill_fp8(130 * COLS, COLS, 0.7f);
    ck_assert_int_eq(lost_by("fp8-tensor", ROWS, COLS, true, false), ROWS - 1);
    // A power of two between scales is no obstacle where codes are not at their ends.
    for (int64_t i = 0; i < ALL; i++) {
        scales[i] = i / COLS % 2 ? 0.3f : 1.2f;
        values[i] = e4m3_to_f32((uint8_t)(0x20 + i * 3 % 0x40)) * scales[i];
    }
    ck_assert_int_eq(lost_by("fp8-block", ROWS, COLS, true, false), 0);
}
END_TEST

START_TEST(counts_nvfp4_groups_that_mxfp4_has_no_scale_for)
{
    fill_fp4(0, 8 * 64, 0.5f);
    fill_fp4(3 * 64, 16, 0.625f);  // no power of two
    fill_fp4(5 * 64, 16, 1);       // one, but half of a block has another
    ck_assert_int_eq(lost_by("mxfp4-packed", 8, 64, true, false), 2);
    ck_assert_int_eq(lost_by("NVFP4", 8, 64, true, false), 0);
}
END_TEST

START_TEST(counts_integers_whose_scale_binary16_does_not_have)
{
    fill_int(0, 8 * 64, 4, 8, 0.0078125f);
    fill_int(64, 32, 4, 8, 0x1p-30f);
    fill_int(128, 32, 4, 8, 0x1.001p0f); // 13 bits
    fill_int(192, 32, 4, 8, 65536);
    ck_assert_int_eq(lost_by("Q4_0", 8, 64, true, false), 3);
    // 5 (or 10) times 2047 is no binary16 number.
    fill_int(0, 64, 4, 5, 2047.0f / 4096);
    ck_assert_int_eq(lost_by("Q4_1", 1, 64, true, false), 2);
    ck_assert_int_eq(lost_by("Q5_0", 1, 64, true, false), 0);
}
END_TEST

// Of every form: one value a hair beside the grid is one block, and no other changes.
START_TEST(finds_the_one_block_with_a_value_beside_the_grid)
{
    static const struct {
        const char *to;
        int64_t rows, cols;  // of a block
    } forms[] = {{"mxfp4-packed", 1, 32}, {"mxfp4-deepseek", 1, 32}, {"mxfp8", 1, 32},
                 {"nvfp4-packed", 1, 16}, {"nvfp4-modelopt", 1, 16},
                 {"fp8-block", 128, 128}, {"fp8-block-pow2", 128, 128}, {"fp8-channel", 1, COLS},
                 {"fp8-block-bf16", 128, 128}, {"fp8-block-e8m0", 128, 128},
                 {"fp8-block32", 32, 32}, {"fp8-block32-bf16", 32, 32},
                 {"fp8-block32-e8m0", 32, 32},
                 {"fp8-tensor", 1, COLS}, {"MXFP4", 1, 32}, {"NVFP4", 1, 16}, {"Q8_0", 1, 32},
                 {"Q5_0", 1, 32}, {"Q5_1", 1, 32}, {"int8-g32", 1, 32}, {"int8-gptq-g64", 1, 64},
                 {"int8-gptq-v2-channel-asym", 1, COLS}, {"int8-channel-asym", 1, COLS},
                 {"int8-mlx-g32", 1, 32}};
    for (size_t k = 0; k < COUNT_OF(forms); k++)
        for (int scaled = 0; scaled < 2; scaled++) {
            bool tensor = strcmp(forms[k].to, "fp8-tensor") == 0;
            if (tensor && !scaled)
                continue;
            fill_fp4(0, ALL, 0.25f);
            ck_assert_int_eq(lost_by(forms[k].to, ROWS, COLS, scaled, false), 0);
            int64_t at = 77 * COLS + 133;
            values[at] = f32_from_bits(f32_bits(1.0f) + 1);
            ck_assert_int_eq(lost_by(forms[k].to, ROWS, COLS, scaled, false), 1);
            ck_assert_int_eq(lost_by(forms[k].to, ROWS, COLS, scaled, true), 1);
            int64_t differ = 0;
            for (int64_t i = 0; i < ALL; i++) {
                bool inside = i / COLS / forms[k].rows == at / COLS / forms[k].rows &&
                              i % COLS / forms[k].cols == at % COLS / forms[k].cols;
                differ += !inside && values[i] != room[i];
            }
            ck_assert_msg(differ == 0, "%s: %d values outside", forms[k].to, (int)differ);
            ck_assert(fabsf(room[at] - values[at]) < 0.2f);
        }
}
END_TEST

// ---- zeros, other forms, bad numbers ---------------------------------------------------------

START_TEST(keeps_the_sign_of_zero_where_the_form_has_one)
{
    static const char *const signs[] = {"mxfp4-packed", "mxfp8", "nvfp4-packed", "fp8-block",
                                        "fp8-channel"};
    for (int i = 0; i < COLS; i++)
        values[i] = i % 2 ? -0.0f : 0.0f;
    for (int k = 0; k < 2; k++) {
        for (size_t f = 0; f < COUNT_OF(signs); f++) {
            ck_assert_int_eq(lost_by(signs[f], 1, COLS, false, false), 0);
            ck_assert(same_bits(COLS));
        }
        ck_assert_int_eq(lost_by("Q4_0", 1, COLS, false, false), 0);
        ck_assert_int_eq(lost_by("MXFP4", 1, COLS, false, false), 0);
        ck_assert(!same_bits(COLS));
        values[0] = 3;
    }
}
END_TEST

START_TEST(keeps_the_scale_of_a_block_of_zeros)
{
    memset(values, 0, sizeof values);
    for (int i = 0; i < 64; i++)
        scales[i] = i < 32 ? 0x1p-20f : 0x1p+3f;
    ck_assert_int_eq(lost_by("mxfp4-packed", 1, 64, true, false), 0);
    ck_assert(part_bytes[1][0] == 107 && part_bytes[1][1] == 130);
    ck_assert_int_eq(lost_by("mxfp4-packed", 1, 64, false, false), 0);
    ck_assert(part_bytes[1][0] == 127 && part_bytes[1][1] == 127);
    memset(scales, 0, sizeof scales); // which says nothing
    ck_assert_int_eq(lost_by("fp8-channel", 1, 64, true, false), 0);
    ck_assert(load_f32(part_bytes[1]) == 1);
}
END_TEST

// Forms whose scales have scales: what their best encoding gives back is held.
START_TEST(asks_the_encoding_of_forms_that_have_no_grid)
{
    for (int i = 0; i < 4 * COLS; i++)
        values[i] = (float)(i * 7 % 32 - 16) * 0.125f;
    int64_t lost = lost_by("Q6_K", 4, COLS, false, false);
    int64_t differ = 0;
    for (int row = 0; row < 4; row++)
        differ += memcmp(values + row * COLS, room + row * COLS, COLS * sizeof *room) != 0;
    ck_assert_int_eq(lost, differ);
    for (int i = 0; i < COLS; i++)
        values[i] = (float)i * (float)i * 0.01f;
    ck_assert_int_eq(lost_by("Q6_K", 1, COLS, false, false), 1);
}
END_TEST

START_TEST(counts_the_blocks_of_a_weight)
{
    ck_assert_int_eq(transcode_blocks(codec_find("fp8-block"), 129, 300), 2 * 3);
    ck_assert_int_eq(transcode_blocks(codec_find("fp8-block32-bf16"), 129, 300), 5 * 10);
    ck_assert_int_eq(transcode_blocks(codec_find("fp8-channel"), 129, 300), 129);
    ck_assert_int_eq(transcode_blocks(codec_find("fp8-tensor"), 129, 300), 129);
    ck_assert_int_eq(transcode_blocks(codec_find("mxfp4-packed"), 10, 64), 20);
    ck_assert_int_eq(transcode_blocks(codec_find("NVFP4"), 10, 64), 40);
    ck_assert_int_eq(transcode_blocks(codec_find("Q4_K"), 10, 512), 20);
    ck_assert_int_eq(transcode_blocks(codec_find("int4-g32"), 10, 64), 20);
    ck_assert_int_eq(transcode_blocks(codec_find("int8-channel"), 10, 64), 10);
}
END_TEST

START_TEST(refuses_what_is_no_number_and_columns_that_do_not_divide)
{
    const codec *c = codec_find("mxfp4-packed");
    void *const part[] = {part_bytes[0], part_bytes[1]};
    const dtype type[] = {DT_U8, DT_U8};
    int64_t lost;
    fill_fp4(0, 64, 1);
    values[37] = (float)NAN;
    transcode_rows r = {.in = 32, .n = 2, .values = values, .room = room, .row0 = 10,
                        .type = type, .part = part};
    ASSERT_REFUSED(transcode(c, &r, &lost, &refused), "row 11, column 5 is not a number");
    r.in = 33;
    ASSERT_REFUSED(transcode(c, &r, &lost, &refused),
                   "mxfp4-packed needs a multiple of 32 columns, the weight has 33");
}
END_TEST

// ---- processors ------------------------------------------------------------------------------

START_TEST(finds_the_nearest_whole_codes_at_every_level)
{
    static uint8_t plain[ALL], other[ALL];
    static const float ends[] = {0.5f, 1.5f, -0.5f, 1e30f, -1e30f, 7.5f, -8.5f, 0x1p-149f};
    for (int i = 0; i < ALL; i++)
        values[i] = i < (int)COUNT_OF(ends) ? ends[i] : (float)(i % 1000 - 500) / 19;
    for (cpu_level level = 0; level < CPU_LEVELS; level++) {
        if (!cpu_has(level))
            continue;
        uint8_t *to = level == CPU_PLAIN ? plain : other;
        kernels_at(level)->to_whole(to, values, 0.25f, 8, 0.5f, 15, ALL - 3);
        ck_assert(memcmp(plain, to, ALL - 3) == 0);
    }
    int differ = 0;
    for (int i = 0; i < ALL - 3; i++) {
        double code = nearbyint((double)((values[i] - 0.25f) / 0.5f)) + 8;
        differ += plain[i] != (int)(code < 0 ? 0 : code > 15 ? 15 : code);
    }
    ck_assert_int_eq(differ, 0);
}
END_TEST

Suite *suite_transcode(void)
{
    Suite *s = suite_create("transcode");
    TCase *c = tcase_create("blocks");
    tcase_set_timeout(c, 30);
    tcase_add_test(c, moves_all_of_mxfp4_into_other_containers_of_it);
    tcase_add_test(c, moves_all_of_fp8_under_any_power_of_two);
    tcase_add_test(c, moves_fp8_under_any_scale);
    tcase_add_test(c, moves_fp8_under_any_bf16_scale);
    tcase_add_test(c, moves_integers_into_ggmls_types);
    tcase_add_test(c, moves_integers_between_the_forms_of_compressed_tensors_gptq_awq_and_mlx);
    tcase_add_test(c, takes_over_the_global_scale_of_nvfp4);
    tcase_add_test(c, takes_over_the_factor_of_nvfp4);
    tcase_add_test(c, keeps_scales_of_binary16_where_the_form_takes_them);
    tcase_add_test(c, avoids_zero_points_that_a_form_does_not_have);
    tcase_add_test(c, keeps_the_codes_where_the_source_had_the_scale);
    tcase_add_test(c, counts_groups_whose_exponents_nvfp4_cannot_hold_together);
    tcase_add_test(c, counts_groups_whose_exponents_lie_beyond_e4m3);
    tcase_add_test(c, counts_fp8_blocks_whose_fp4_exponents_lie_too_far_apart);
    tcase_add_test(c, counts_fp8_blocks_whose_scale_the_type_does_not_have);
    tcase_add_test(c, counts_blocks_of_rows_that_have_scales_of_their_own);
    tcase_add_test(c, counts_nvfp4_groups_that_mxfp4_has_no_scale_for);
    tcase_add_test(c, counts_integers_whose_scale_binary16_does_not_have);
    tcase_add_test(c, finds_the_one_block_with_a_value_beside_the_grid);
    tcase_add_test(c, keeps_the_sign_of_zero_where_the_form_has_one);
    tcase_add_test(c, keeps_the_scale_of_a_block_of_zeros);
    tcase_add_test(c, asks_the_encoding_of_forms_that_have_no_grid);
    tcase_add_test(c, counts_the_blocks_of_a_weight);
    tcase_add_test(c, refuses_what_is_no_number_and_columns_that_do_not_divide);
    tcase_add_test(c, finds_the_nearest_whole_codes_at_every_level);
    suite_add_tcase(s, c);
    return s;
}
