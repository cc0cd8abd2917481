// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "formats/npy.h"
#include "tests/temp.h"

Suite *suite_npy(void);

// A .npy file with the given header text (padded by nothing) and data.
static void make(strbuf *out, int major, const char *header, size_t len, const void *data,
                 size_t bytes)
{
    unsigned char prefix[12] = "\x93NUMPY";
    strbuf_clear(out);
    prefix[6] = (unsigned char)major;
    if (major == 1)
        store_u16(prefix + 8, (uint16_t)len);
    else
        store_u32(prefix + 8, (uint32_t)len);
    strbuf_add(out, prefix, major == 1 ? 10 : 12);
    strbuf_add(out, header, len);
    strbuf_add(out, data, bytes);
}

#define HEAD(descr, order, shape) \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"

static const int32_t data[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

START_TEST(reads_what_numpy_writes)
{
    static const struct {
        const char *header;
        npy_type type;
        int rank;
        int64_t shape[3], n;
        size_t bytes;
    } row[] = {
        {HEAD("'<i4'", "False", "(3, 4)"), NPY_I32, 2, {3, 4}, 12, 48},
        {HEAD("'<f4'", "False", "(3,)"), NPY_F32, 1, {3}, 3, 12},
        {HEAD("'<f8'", "False", "()"), NPY_F64, 0, {0}, 1, 8},
        {HEAD("'<i8'", "False", "(2, 1, 3)"), NPY_I64, 3, {2, 1, 3}, 6, 48},
        {HEAD("'|u1'", "False", "(5,)"), NPY_U8, 1, {5}, 5, 5},
        {HEAD("'<i4'", "False", "(0, 4)"), NPY_I32, 2, {0, 4}, 0, 0},
        {HEAD("'<i4'", "False", "(3L, 4L)"), NPY_I32, 2, {3, 4}, 12, 48}, // Python 2
        {"{\"shape\":(2,),\"fortran_order\":False,\"descr\":\"<i4\"}", NPY_I32, 1, {2}, 2, 8},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (2,)}   \n", NPY_I32, 1, {2}, 2, 8},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        for (int major = 1; major <= 3; major++) {
            err e = ERR_INIT;
            strbuf file = {0};
            npy a;
            make(&file, major, row[i].header, strlen(row[i].header), data, row[i].bytes);
            ck_assert_msg(npy_parse(&a, file.text, file.len, "x.npy", &e), "%s", e.text);
            ck_assert_int_eq((int)a.type, (int)row[i].type);
            ck_assert_int_eq(a.rank, row[i].rank);
            for (int d = 0; d < a.rank; d++)
                ck_assert_int_eq(a.shape[d], row[i].shape[d]);
            ck_assert_int_eq(a.n, row[i].n);
            ck_assert_mem_eq(a.data, data, row[i].bytes);
            npy_free(&a);
            ck_assert_ptr_null(a.data);
            strbuf_free(&file);
        }
    }
}
END_TEST

START_TEST(refuses_other_headers)
{
    static const struct {
        const char *header, *sentence;
    } row[] = {
        {HEAD("'<f2'", "False", "(3,)"),
         "type '<f2' is not read: expected <f4, <f8, <i4, <i8 or |u1"},
        {HEAD("'>i4'", "False", "(3,)"),
         "type '>i4' is not read: expected <f4, <f8, <i4, <i8 or |u1"},
        {HEAD("'|O'", "False", "(3,)"),
         "type '|O' is not read: expected <f4, <f8, <i4, <i8 or |u1"},
        {HEAD("'|V8'", "False", "(3,)"),
         "type '|V8' is not read: expected <f4, <f8, <i4, <i8 or |u1"},
        {HEAD("[('a', '<i4')]", "False", "(3,)"),
         "descr is not a plain type: structures and objects are not read"},
        {HEAD("'<i4", "False", "(3,)"),
         "type '<i4, ' is not read: expected <f4, <f8, <i4, <i8 or |u1"},
        {HEAD("'longer than any type'", "False", "(3,)"),
         "descr is not a plain type: structures and objects are not read"},
        {HEAD("'\\x3ci4'", "False", "(3,)"),
         "descr is not a plain type: structures and objects are not read"},
        {HEAD("'<i4'", "True", "(3,)"), "the array is in Fortran order: expected C order"},
        {HEAD("'<i4'", "0", "(3,)"), "fortran_order: expected True or False"},
        {HEAD("'<i4'", "False", "3"), "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(3)"), "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(3 4)"), "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(3,, 4)"), "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(,)"), "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(-3,)"), "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(3.0,)"), "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(03,)"), "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(9223372036854775808,)"),
         "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(99999999999999999999,)"),
         "shape: expected a tuple of whole numbers"},
        {HEAD("'<i4'", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"),
         "shape has more than 8 dimensions"},
        {HEAD("'<i4'", "False", "(4294967296, 4294967296)"),
         "the shape takes more than 2^63 bytes"},
        {HEAD("'<i4'", "False", "(0, 4294967296, 4294967296)"),
         "the shape takes more than 2^63 bytes"},
        {HEAD("'<i4'", "False", "(2305843009213693952,)"),
         "the shape takes more than 2^63 bytes"},
        {HEAD("'<i4'", "False", "(4,)"), "the shape takes 16 bytes, the file has 12"},
        {HEAD("'<i4'", "False", "(2,)"), "the shape takes 8 bytes, the file has 12"},
        {"['descr']\n", "expected a header in braces"},
        {"", "expected a header in braces"},
        {"{'descr': '<i4', 'fortran_order': False}\n", "key 'shape' is missing"},
        {"{'descr': '<i4', 'shape': (3,)}\n", "key 'fortran_order' is missing"},
        {"{'fortran_order': False, 'shape': (3,)}\n", "key 'descr' is missing"},
        {"{'descr': '<i4', 'descr': '<i4'}\n", "key 'descr' is there twice"},
        {"{'descr': '<i4', 'x': 1}\n", "unknown key 'x' in the header"},
        {"{descr: '<i4'}\n", "expected a quoted key and ':' in the header"},
        {"{'descr' '<i4'}\n", "expected a quoted key and ':' in the header"},
        {"{'descr': '<i4' 'shape': (3,)}\n", "expected ',' or '}' in the header"},
        {"{'descr': '<i4'", "expected ',' or '}' in the header"},
        {HEAD("'<i4'", "False", "(3,)") "x", "bytes behind the header's closing brace"},
        {HEAD("'<i4'", "__import__('os')", "(3,)"), "fortran_order: expected True or False"},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        char expected[256];
        err e = ERR_INIT;
        strbuf file = {0};
        npy a;
        make(&file, 1, row[i].header, strlen(row[i].header), data, 12);
        (void)snprintf(expected, sizeof expected, "'x.npy': %s", row[i].sentence);
        ck_assert_msg(!npy_parse(&a, file.text, file.len, "x.npy", &e), "%s", row[i].header);
        ck_assert_str_eq(e.text, expected);
        ck_assert_int_eq(e.kind, ERR_INPUT);
        ck_assert_ptr_null(a.data);
        strbuf_free(&file);
    }
}
END_TEST

START_TEST(refuses_other_frames)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *sentence;
    } row[] = {
        {"", 0, "not a .npy file: expected \\x93NUMPY at its beginning"},
        {"\x93NUMPY\1\0\0\0", 10, "not a .npy file: expected \\x93NUMPY at its beginning"},
        {"PK\3\4\0\0\0\0\0\0\0\0", 12, "not a .npy file: expected \\x93NUMPY at its beginning"},
        {"\x93NUMPY\4\0\2\0{}", 12,
         "version 4.0 of .npy is not read: expected 1.0, 2.0 or 3.0"},
        {"\x93NUMPY\0\0\2\0{}", 12,
         "version 0.0 of .npy is not read: expected 1.0, 2.0 or 3.0"},
        {"\x93NUMPY\1\1\2\0{}", 12,
         "version 1.1 of .npy is not read: expected 1.0, 2.0 or 3.0"},
        {"\x93NUMPY\1\0\3\0{}", 12, "header says 3 bytes, the file has 2 left"},
        {"\x93NUMPY\1\0\x10\x27{}", 12, "header says 10000 bytes, the file has 2 left"},
        {"\x93NUMPY\1\0\x11\x27{}", 12, "a header of 10001 bytes: the limit is 10000"},
        {"\x93NUMPY\2\0\xff\xff\xff\xff", 12, "a header of 4294967295 bytes: the limit is 10000"},
    };
    const char *dir = temp_dir_make();
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        char expected[512];
        err e = ERR_INIT;
        npy a;
        (void)snprintf(expected, sizeof expected, "'x.npy': %s", row[i].sentence);
        ck_assert(!npy_parse(&a, row[i].bytes, row[i].len, "x.npy", &e));
        ck_assert_str_eq(e.text, expected);
        temp_write(dir, "x.npy", row[i].bytes, row[i].len);
        (void)snprintf(expected, sizeof expected, "'%s': %s", temp_path(dir, "x.npy"),
                       row[i].sentence);
        ck_assert(!npy_read(&a, temp_path(dir, "x.npy"), &e));
        ck_assert_str_eq(e.text, expected);
        ck_assert_int_eq(e.kind, ERR_INPUT);
    }
    temp_dir_remove(dir);
}
END_TEST

START_TEST(takes_a_header_of_ten_thousand_bytes)
{
    err e = ERR_INIT;
    strbuf file = {0};
    npy a;
    char header[10000];
    static const char text[] = HEAD("'<i4'", "False", "(3,)");
    const char *dir = temp_dir_make();
    memset(header, ' ', sizeof header);
    memcpy(header, text, sizeof text - 1);
    make(&file, 2, header, sizeof header, data, 12);
    ck_assert_msg(npy_parse(&a, file.text, file.len, "x", &e), "%s", e.text);
    npy_free(&a);
    temp_write(dir, "x", file.text, file.len);
    ck_assert_msg(npy_read(&a, temp_path(dir, "x"), &e), "%s", e.text);
    ck_assert_mem_eq(a.data, data, 12);
    npy_free(&a);
    temp_dir_remove(dir);
    strbuf_free(&file);
}
END_TEST

START_TEST(writes_what_it_reads)
{
    static const struct {
        int rank;
        int64_t shape[NPY_MAX_RANK];
    } row[] = {{0, {0}}, {1, {12}}, {2, {3, 4}}, {3, {2, 0, 3}}, {8, {1, 1, 1, 3, 1, 1, 4, 1}}};
    const char *dir = temp_dir_make();
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        err e = ERR_INIT;
        npy a;
        char *text;
        size_t len;
        ck_assert_msg(npy_write(dir, "a.npy", NPY_I32, row[i].rank, row[i].shape, data, i > 0, &e),
                      "%s", e.text);
        ck_assert_msg(npy_read(&a, temp_path(dir, "a.npy"), &e), "%s", e.text);
        ck_assert_int_eq(a.rank, row[i].rank);
        ck_assert_mem_eq(a.shape, row[i].shape, sizeof a.shape);
        ck_assert_int_eq(a.n, i == 0 ? 1 : i == 3 ? 0 : 12);
        ck_assert_mem_eq(a.data, data, (size_t)a.n * 4);
        ck_assert(file_read_all(temp_path(dir, "a.npy"), 1000, &text, &len, &e));
        ck_assert_uint_eq((len - (size_t)a.n * 4) % 64, 0);
        free(text);
        npy_free(&a);
        ck_assert(!npy_write(dir, "a.npy", NPY_I32, row[i].rank, row[i].shape, data, false, &e));
    }
    ck_assert_int_eq(temp_count(dir), 1);
    err e = ERR_INIT;
    npy a;
    ck_assert(!npy_read(&a, temp_path(dir, "absent.npy"), &e));
    ck_assert_int_eq(e.kind, ERR_INPUT);
    ck_assert_int_eq(npy_type_bytes(NPY_I64), 8);
    temp_dir_remove(dir);
}
END_TEST

START_TEST(writes_the_header_that_numpy_writes)
{
    err e = ERR_INIT;
    strbuf out = {0};
    static const int64_t shape[] = {3, 4};
    ck_assert(npy_header(&out, NPY_F32, 2, shape, &e));
    ck_assert_uint_eq(out.len, 128);
    ck_assert_mem_eq(out.text, "\x93NUMPY\1\0\x76\0{'descr': '<f4', 'fortran_order': False, "
                               "'shape': (3, 4), }  ", 10 + 61);
    ck_assert_int_eq(out.text[127], '\n');
    strbuf_free(&out);
}
END_TEST

START_TEST(reads_members_of_archives)
{
    err e = ERR_INIT;
    zip_in *z;
    npy a;
    ck_assert_msg(zip_in_open(&z, "tests/data/nano/reference.npz", &e), "%s", e.text);
    ck_assert_msg(npz_read(&a, z, "tokens", &e), "%s", e.text);
    ck_assert_int_eq(a.rank, 2);
    ck_assert_int_eq(a.shape[0], 4);
    ck_assert_int_eq(a.shape[1], 256);
    ck_assert(a.type == NPY_I32 || a.type == NPY_I64);
    npy_free(&a);
    ck_assert_msg(npz_read(&a, z, "hidden", &e), "%s", e.text);
    ck_assert_int_eq((int)a.type, NPY_F32);
    ck_assert_int_eq(a.n, 4 * 1 * 64 * 128);
    npy_free(&a);
    ck_assert(!npz_read(&a, z, "absent", &e));
    ck_assert_ptr_nonnull(strstr(e.text, "reference.npz' has no array 'absent'"));
    zip_in_close(z);
}
END_TEST

static bool give(void *ctx, uint64_t offset, void *to, uint64_t n, err *e)
{
    (void)e;
    memcpy(to, (const char *)ctx + offset, n);
    return true;
}

START_TEST(refuses_members_that_are_no_arrays)
{
    err e = ERR_INIT;
    zip_in *z;
    npy a;
    char text[] = "just a few words of text";
    zip_member member = {"x.npy", sizeof text, give, text};
    const char *dir = temp_dir_make();
    ck_assert_msg(zip_write(dir, "a.npz", &member, 1, false, &e), "%s", e.text);
    ck_assert_msg(zip_in_open(&z, temp_path(dir, "a.npz"), &e), "%s", e.text);
    ck_assert(!npz_read(&a, z, "x", &e));
    ck_assert_ptr_nonnull(strstr(e.text, "a.npz': 'x.npy': not a .npy file: expected \\x93NUMPY "
                                         "at its beginning"));
    ck_assert_ptr_null(a.data);
    zip_in_close(z);
    temp_dir_remove(dir);
}
END_TEST

Suite *suite_npy(void)
{
    Suite *s = suite_create("npy");
    TCase *c = tcase_create("arrays");
    tcase_add_test(c, reads_what_numpy_writes);
    tcase_add_test(c, refuses_other_headers);
    tcase_add_test(c, refuses_other_frames);
    tcase_add_test(c, takes_a_header_of_ten_thousand_bytes);
    tcase_add_test(c, writes_what_it_reads);
    tcase_add_test(c, writes_the_header_that_numpy_writes);
    tcase_add_test(c, reads_members_of_archives);
    tcase_add_test(c, refuses_members_that_are_no_arrays);
    suite_add_tcase(s, c);
    return s;
}
