// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "tests/quantize/goldens.h"
#include "quantize/kernels.h"
#include "quantize/number.h"

Suite *suite_number(void);

typedef uint32_t wide_of(uint32_t code);

static uint32_t wide_f16(uint32_t code) { return f32_bits(f16_to_f32((uint16_t)code)); }
static uint32_t wide_bf16(uint32_t code) { return f32_bits(bf16_to_f32((uint16_t)code)); }
static uint32_t wide_e4m3(uint32_t code) { return f32_bits(e4m3_to_f32((uint8_t)code)); }
static uint32_t wide_e8m0(uint32_t code) { return f32_bits(e8m0_to_f32((uint8_t)code)); }

static bool is_nan(uint32_t bits) { return (bits & 0x7fffffff) > 0x7f800000; }

static void check_all_codes(const char *name, wide_of *wide, uint32_t n)
{
    uint64_t digest = 0;
    for (uint32_t code = 0; code < n; code++) {
        uint32_t bits = wide(code);
        digest_add(&digest, code, is_nan(bits) ? UINT32_MAX : bits);
    }
    ck_assert_uint_eq(digest, golden_digest(name));
}

START_TEST(reads_every_code_as_torch_does)
{
    check_all_codes("f16_to_f32", wide_f16, 65536);
    check_all_codes("bf16_to_f32", wide_bf16, 65536);
    check_all_codes("e4m3_to_f32", wide_e4m3, 256);
    check_all_codes("e8m0_to_f32", wide_e8m0, 256);
}
END_TEST

static uint32_t code_f16(float x) { return f32_to_f16(x); }
static uint32_t code_bf16(float x) { return f32_to_bf16(x); }
static uint32_t code_e4m3(float x) { return f32_to_e4m3(x); }

typedef struct {
    uint64_t digest, n;
    uint32_t (*code)(float x);
    uint32_t mask;
} rounding;

static void round_one(rounding *r, uint32_t bits)
{
    uint32_t code = r->code(f32_from_bits(bits));
    digest_add(&r->digest, r->n++, is_nan(bits) ? r->mask : code);
}

static void check_rounding(const char *name, rounding r, wide_of *wide, uint32_t finite)
{
    for (uint32_t sign = 0; sign < 2; sign++)
        for (uint32_t code = 0; code + 1 < finite; code++) {
            double low = (double)f32_from_bits(wide(code));
            double high = (double)f32_from_bits(wide(code + 1));
            uint32_t middle = f32_bits((float)((low + high) / 2)) | sign << 31;
            for (uint32_t i = 0; i < 3; i++)
                round_one(&r, middle - 1 + i);
        }
    for (uint32_t i = 0; i < 1u << 17; i++)
        round_one(&r, mix(i));
    ck_assert_uint_eq(r.digest, golden_digest(name));
}

START_TEST(rounds_at_and_beside_every_halfway_point_as_torch_does)
{
    check_rounding("f32_to_f16", (rounding){0, 0, code_f16, 0xffff}, wide_f16, 0x7c00);
    check_rounding("f32_to_bf16", (rounding){0, 0, code_bf16, 0xffff}, wide_bf16, 0x7f80);
    check_rounding("f32_to_e4m3", (rounding){0, 0, code_e4m3, 0xff}, wide_e4m3, 127);
}
END_TEST

START_TEST(saturates_fp8_and_overflows_the_halves)
{
    ck_assert_uint_eq(f32_to_e4m3(464.0f), 0x7e);
    ck_assert_uint_eq(f32_to_e4m3(-1e30f), 0xfe);
    ck_assert_uint_eq(f32_to_e4m3(INFINITY), 0x7e);
    ck_assert_uint_eq(f32_to_e4m3(NAN), 0x7f);
    ck_assert_uint_eq(f32_to_e4m3(-NAN), 0x7f);
    ck_assert_uint_eq(f32_to_e4m3(-0.0f), 0x80);
    ck_assert_uint_eq(f32_to_f16(65519.0f), 0x7bff);
    ck_assert_uint_eq(f32_to_f16(65520.0f), 0x7c00);
    ck_assert_uint_eq(f32_to_f16(-INFINITY), 0xfc00);
    ck_assert_uint_eq(f32_to_bf16(3.4e38f), 0x7f80);
}
END_TEST

START_TEST(keeps_nan_quiet)
{
    ck_assert_uint_eq(f32_bits(f16_to_f32(0x7c01)), 0x7fc02000); // signalling
    ck_assert_uint_eq(f32_to_f16(f32_from_bits(0xff800001)), 0xfe00);
    ck_assert_uint_eq(f32_to_bf16(f32_from_bits(0x7f800001)), 0x7fc0);
}
END_TEST

// Every bit pattern of the short types, hashes for binary32; odd lengths leave a rest.
enum { PATTERNS = 65536 + 13 };

static union {
    uint16_t half[PATTERNS];
    uint8_t byte[PATTERNS];
} codes, back, plain_back;
static float wide[PATTERNS], plain_wide[PATTERNS];

typedef struct {
    float scale;
    int64_t n;
} row_case;

static void compare_rows(const kernels *k, const kernels *plain, row_case r)
{
    size_t size = (size_t)r.n * sizeof(float);
#define SAME(name, to, plain_to, bytes, ...)                              \
    plain->name(plain_to, __VA_ARGS__);                                   \
    k->name(to, __VA_ARGS__);                                             \
    ck_assert_msg(memcmp(to, plain_to, bytes) == 0, #name " differs")
    SAME(from_bf16, wide, plain_wide, size, codes.half, r.n);
    SAME(from_f16, wide, plain_wide, size, codes.half, r.n);
    SAME(from_e4m3, wide, plain_wide, size, codes.byte, r.scale, r.n);
    SAME(from_u4, wide, plain_wide, size, codes.byte, 8.0f, r.scale, r.n);
    for (int bits = 2; bits < 8; bits++) {
        const uint8_t *end = codes.byte + i64_ceil_div(r.n * bits, 8);
        SAME(from_bits, wide, plain_wide, size, codes.byte, end, bits, 3.0f, r.scale, r.n);
    }
    SAME(from_u8, wide, plain_wide, size, codes.byte, 0x80, 131.0f, r.scale, r.n);
    SAME(from_e2m1, wide, plain_wide, size, codes.byte, r.scale, r.n);
    plain->add_bias(plain_wide, r.scale, r.n);
    k->add_bias(wide, r.scale, r.n);
    ck_assert_msg(memcmp(wide, plain_wide, size) == 0, "add_bias differs");
    for (int64_t i = 0; i < r.n; i++)
        wide[i] = f32_from_bits(mix((uint32_t)i));
    SAME(to_bf16, back.half, plain_back.half, (size_t)r.n * 2, wide, r.n);
    SAME(to_f16, back.half, plain_back.half, (size_t)r.n * 2, wide, r.n);
    SAME(to_e4m3, back.byte, plain_back.byte, (size_t)r.n, wide, r.scale, r.n);
    for (int64_t i = 0; i < r.n; i++)
        wide[i] = ((float)(mix((uint32_t)i) >> 8) - 0x1p23f) * 0x1p-14f;
    SAME(to_f16, back.half, plain_back.half, (size_t)r.n * 2, wide, r.n);
    SAME(to_e4m3, back.byte, plain_back.byte, (size_t)r.n, wide, r.scale, r.n);
#undef SAME
}

START_TEST(converts_rows_with_the_same_bits_at_every_level)
{
    for (uint32_t i = 0; i < PATTERNS; i++)
        codes.half[i] = (uint16_t)i;
    EACH_LEVEL(level) {
        const kernels *k = kernels_at(level), *plain = kernels_at(CPU_PLAIN);
        compare_rows(k, plain, (row_case){-0.37f, PATTERNS});
        compare_rows(k, plain, (row_case){1.0f, 5});
        compare_rows(k, plain, (row_case){0x1.8p-130f, 33});
    }
}
END_TEST

START_TEST(converts_rows_by_the_scalar_rules)
{
    for (uint32_t i = 0; i < PATTERNS; i++) {
        codes.half[i] = (uint16_t)i;
        wide[i] = f32_from_bits(mix(i));
    }
    ck_assert(row_to_f32(plain_wide, codes.half, DT_F16, PATTERNS));
    for (uint32_t i = 0; i < PATTERNS; i++)
        ck_assert_uint_eq(f32_bits(plain_wide[i]), f32_bits(f16_to_f32((uint16_t)i)));
    ck_assert(row_to_f32(plain_wide, codes.half, DT_BF16, PATTERNS));
    for (uint32_t i = 0; i < PATTERNS; i++)
        ck_assert_uint_eq(f32_bits(plain_wide[i]), i << 16);
    ck_assert(row_to_f32(plain_wide, codes.byte, DT_F8_E4M3, 2000));
    for (uint32_t i = 0; i < 2000; i++)
        ck_assert_uint_eq(f32_bits(plain_wide[i]), f32_bits(e4m3_to_f32(codes.byte[i])));
    ck_assert(row_from_f32(back.half, DT_F16, wide, PATTERNS));
    for (uint32_t i = 0; i < PATTERNS; i++)
        ck_assert_uint_eq(back.half[i], f32_to_f16(wide[i]));
    ck_assert(row_from_f32(back.half, DT_BF16, wide, PATTERNS));
    for (uint32_t i = 0; i < PATTERNS; i++)
        ck_assert_uint_eq(back.half[i], f32_to_bf16(wide[i]));
    kernels_used()->to_e4m3(back.byte, wide, 3.0f, PATTERNS);
    for (uint32_t i = 0; i < PATTERNS; i++)
        ck_assert_uint_eq(back.byte[i], f32_to_e4m3(wide[i] / 3.0f));
    const double doubles[2] = {0.1, -1e300};
    ck_assert(row_to_f32(plain_wide, doubles, DT_F64, 2));
    ck_assert(plain_wide[0] == 0.1f && isinf(plain_wide[1]));
}
END_TEST

START_TEST(has_no_reading_of_integers)
{
    float f[2];
    uint32_t u[2] = {0};
    ck_assert(!row_to_f32(f, u, DT_I32, 2));
    ck_assert(!row_to_f32(f, u, DT_F8_E5M2, 2));
    ck_assert(!row_from_f32(u, DT_F8_E4M3, f, 0));
}
END_TEST

Suite *suite_number(void)
{
    Suite *s = suite_create("number");
    TCase *c = tcase_create("formats");
    tcase_add_test(c, reads_every_code_as_torch_does);
    tcase_add_test(c, rounds_at_and_beside_every_halfway_point_as_torch_does);
    tcase_add_test(c, saturates_fp8_and_overflows_the_halves);
    tcase_add_test(c, keeps_nan_quiet);
    tcase_add_test(c, converts_rows_with_the_same_bits_at_every_level);
    tcase_add_test(c, converts_rows_by_the_scalar_rules);
    tcase_add_test(c, has_no_reading_of_integers);
    suite_add_tcase(s, c);
    return s;
}
