// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>

#include "base/bytes.h"
#include "quantize/kernels.h"
#include "quantize/number.h"
#include "tests/quantize/goldens.h"

Suite *suite_number_fp4(void);

static uint64_t golden(const char *name)
{
    return golden_digest_in("tests/data/codecs/fourbit.txt", name);
}

START_TEST(reads_every_code_as_ml_dtypes_does)
{
    uint64_t digest = 0;
    for (uint32_t code = 0; code < 16; code++)
        digest_add(&digest, code, f32_bits(e2m1_to_f32((uint8_t)code)));
    ck_assert_uint_eq(digest, golden("e2m1_to_f32"));
    ck_assert(e2m1_to_f32(0xf3) == 1.5f); // the low nibble
}
END_TEST

static void round_one(uint64_t *digest, uint64_t *n, uint32_t bits)
{
    float x = f32_from_bits(bits);
    digest_add(digest, (*n)++, x != x ? 255 : f32_to_e2m1(x));
}

START_TEST(rounds_at_and_beside_every_halfway_point_as_ml_dtypes_does)
{
    uint64_t digest = 0, n = 0;
    for (uint32_t sign = 0; sign < 2; sign++)
        for (uint8_t code = 0; code < 7; code++) {
            float middle = (e2m1_to_f32(code) + e2m1_to_f32((uint8_t)(code + 1))) / 2;
            for (uint32_t i = 0; i < 3; i++)
                round_one(&digest, &n, (f32_bits(middle) - 1 + i) | sign << 31);
        }
    for (uint32_t i = 0; i < 1u << 15; i++)
        round_one(&digest, &n, mix(i));
    for (uint32_t i = 0; i < 1u << 15; i++)
        round_one(&digest, &n, (mix(i) & 0x81ffffff) + 0x3f000000);
    ck_assert_uint_eq(digest, golden("f32_to_e2m1"));
}
END_TEST

START_TEST(saturates)
{
    ck_assert_uint_eq(f32_to_e2m1(INFINITY), 7);
    ck_assert_uint_eq(f32_to_e2m1(-3e38f), 15);
    ck_assert_uint_eq(f32_to_e2m1(-0.0f), 8);
    ck_assert_uint_eq(f32_to_e2m1(f32_from_bits(0x7fffffff)), 7); // not a number
}
END_TEST

START_TEST(converts_rows_by_the_scalar_rules_at_every_level)
{
    enum { N = 4096 };
    static float x[N], wide[N];
    static uint8_t packed[N / 2], back[N / 2];
    static const float scale[] = {1, -0.37f, 0x1.8p-130f, 0x1p120f};
    for (uint32_t i = 0; i < N; i++) {
        uint32_t bits = mix(i);
        x[i] = i % 2 ? f32_from_bits(bits) : ((float)(bits >> 8) - 0x1p23f) * 0x1p-20f;
        if (i % 2 == 0)
            packed[i / 2] = (uint8_t)(i / 2);
    }
    EACH_LEVEL(level)
        for (size_t s = 0; s < COUNT_OF(scale); s++) {
            const kernels *k = kernels_at(level);
            k->from_e2m1(wide, packed, scale[s], N);
            for (uint32_t i = 0; i < N; i++) {
                uint8_t code = (uint8_t)(packed[i / 2] >> 4 * (i % 2));
                ck_assert_uint_eq(f32_bits(wide[i]), f32_bits(e2m1_to_f32(code) * scale[s]));
            }
            k->to_e2m1(back, x, scale[s], N);
            for (uint32_t i = 0; i < N; i++)
                ck_assert_uint_eq(back[i / 2] >> 4 * (i % 2) & 15, f32_to_e2m1(x[i] / scale[s]));
        }
}
END_TEST

START_TEST(knows_the_unsigned_scale_of_ggml)
{
    for (uint32_t code = 0; code < 0x7f; code++) {
        float value = ue4m3_to_f32((uint8_t)code);
        ck_assert(value == e4m3_to_f32((uint8_t)code));
        ck_assert(value == ue4m3_to_f32((uint8_t)(code | 0x80)));
        if (value < 256)
            ck_assert_uint_eq(f32_to_ue4m3(value), code);
    }
    ck_assert(ue4m3_to_f32(0x7f) == 0 && ue4m3_to_f32(0xff) == 480);
    ck_assert_uint_eq(f32_to_ue4m3(0x1p-10f), 1); // a tie goes up
    ck_assert_uint_eq(f32_to_ue4m3(0x1.fffp-11f), 0);
    ck_assert_uint_eq(f32_to_ue4m3(0x1.ffp-7f), 7); // 8 would be nearer
    ck_assert_uint_eq(f32_to_ue4m3(1.0625f), 0x39);
    ck_assert_uint_eq(f32_to_ue4m3(1.062499f), 0x38);
    ck_assert_uint_eq(f32_to_ue4m3(247.99f), 0x77);
    ck_assert_uint_eq(f32_to_ue4m3(248), 0x7e);
    ck_assert_uint_eq(f32_to_ue4m3(256), 0x7e); // 0x78 would be exact
    ck_assert_uint_eq(f32_to_ue4m3(INFINITY), 0x7e);
    ck_assert_uint_eq(f32_to_ue4m3(-1), 0);
    ck_assert_uint_eq(f32_to_ue4m3(NAN), 0);
}
END_TEST

// The oracle: the logarithm in binary64, rounded to binary32.
START_TEST(has_the_floor_of_the_rounded_logarithm)
{
    for (uint32_t exponent = 1; exponent < 255; exponent++)
        for (uint32_t i = 0; i < 100; i++) {
            uint32_t bits = (exponent << 23) + (i < 50 ? i : 0x800000 - 100 + i);
            float x = f32_from_bits(bits);
            float logarithm = (float)log2((double)x);
            ck_assert_int_eq(f32_floor_log2(x), (int32_t)floorf(logarithm));
        }
}
END_TEST

Suite *suite_number_fp4(void)
{
    Suite *s = suite_create("number_fp4");
    TCase *c = tcase_create("number_fp4");
    tcase_add_test(c, reads_every_code_as_ml_dtypes_does);
    tcase_add_test(c, rounds_at_and_beside_every_halfway_point_as_ml_dtypes_does);
    tcase_add_test(c, saturates);
    tcase_add_test(c, converts_rows_by_the_scalar_rules_at_every_level);
    tcase_add_test(c, knows_the_unsigned_scale_of_ggml);
    tcase_add_test(c, has_the_floor_of_the_rounded_logarithm);
    suite_add_tcase(s, c);
    return s;
}
