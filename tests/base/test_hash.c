// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "base/hash.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_hash(void);

static void assert_hex(const void *bytes, size_t n, const char *expected)
{
    char hex[65];
    ck_assert_str_eq(hex_of(bytes, n, hex), expected);
}

// FIPS 180-2, appendix B, and the empty message.
START_TEST(sha256_gives_the_standards_examples)
{
    err e = ERR_INIT;
    sha256_digest d;
    ASSERT_OK(sha256_of("abc", 3, &d, &e), e);
    assert_hex(d.b, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ASSERT_OK(sha256_of("", 0, &d, &e), e);
    assert_hex(d.b, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256 *s = sha256_new(&e);
    ck_assert_ptr_nonnull(s);
    sha256_add(s, "abcdbcdecdefdefgefghfghighij", 28);
    sha256_add(s, NULL, 0);
    sha256_add(s, "hijkijkljklmklmnlmnomnopnopq", 28);
    sha256_end(s, &d);
    assert_hex(d.b, 32, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}
END_TEST

START_TEST(sha256_of_a_file_is_that_of_its_bytes)
{
    err e = ERR_INIT;
    sha256_digest whole, read;
    size_t n = (2u << 20) + 12345;
    unsigned char *bytes = malloc(n);
    const char *dir = temp_dir_make();
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    temp_write(dir, "a", bytes, n);
    ASSERT_OK(sha256_of(bytes, n, &whole, &e), e);
    ASSERT_OK(sha256_of_file(temp_path(dir, "a"), &read, &e), e);
    ck_assert_mem_eq(&whole, &read, sizeof whole);
    ASSERT_REFUSED(sha256_of_file(temp_path(dir, "none"), &read, &refused), "No such file");
    temp_dir_remove(dir);
    free(bytes);
}
END_TEST

// As `printf abc | xxhsum -H2` prints it.
START_TEST(xxh128_is_canonical)
{
    err e = ERR_INIT;
    xxh128_digest d, pieces;
    xxh128_of("abc", 3, &d);
    assert_hex(d.b, 16, "06b05ab6733a618578af5f94892f3950");
    xxh128_of("", 0, &d);
    assert_hex(d.b, 16, "99aa06d3014798d86001c324468d497f");
    unsigned char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 31);
    xxh128_of(bytes, sizeof bytes, &d);
    xxh128 *x = xxh128_new(&e);
    ck_assert_ptr_nonnull(x);
    xxh128_add(x, bytes, 1);
    xxh128_add(x, NULL, 0);
    xxh128_add(x, bytes + 1, 2999);
    xxh128_add(x, bytes + 3000, 2000);
    xxh128_end(x, &pieces);
    ck_assert_mem_eq(&d, &pieces, sizeof d);
    xxh128_free(xxh128_new(&e));
    xxh128_free(NULL);
}
END_TEST

START_TEST(hex_reads_back_and_refuses_anything_else)
{
    unsigned char bytes[3];
    ck_assert(hex_to("00aBff", bytes, 3));
    assert_hex(bytes, 3, "00abff");
    ck_assert(!hex_to("00abf", bytes, 3));
    ck_assert(!hex_to("00abff0", bytes, 3));
    ck_assert(!hex_to("00abfg", bytes, 3));
    ck_assert(!hex_to(" 0abff", bytes, 3));
    assert_hex(bytes, 3, "000000");
}
END_TEST

Suite *suite_hash(void)
{
    Suite *s = suite_create("hash");
    TCase *c = tcase_create("digests");
    tcase_add_test(c, sha256_gives_the_standards_examples);
    tcase_add_test(c, sha256_of_a_file_is_that_of_its_bytes);
    tcase_add_test(c, xxh128_is_canonical);
    tcase_add_test(c, hex_reads_back_and_refuses_anything_else);
    suite_add_tcase(s, c);
    return s;
}
