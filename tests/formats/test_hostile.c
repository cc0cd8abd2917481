// SPDX-License-Identifier: Apache-2.0
// Every file of tests/data/hostile: read, or refused with its sentence (check-style: data table).
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "formats/safetensors.h"

Suite *suite_hostile(void);

#define DIR "tests/data/hostile"

static const struct {
    const char *name;
    const char *sentence; // behind the file's name; NULL: it is read
    int64_t n_tensors;
} files[] = {
    {"accept-2-60-bytes-times-zero", NULL, 1},
    {"accept-all-dtypes", NULL, 22},
    {"accept-bool-2", NULL, 1},
    {"accept-composed-and-decomposed", NULL, 2},
    {"accept-dim-at-limit", NULL, 1},
    {"accept-escaped-name", NULL, 1},
    {"accept-f4", NULL, 1},
    {"accept-f6", NULL, 1},
    {"accept-fields-in-any-order", NULL, 1},
    {"accept-header-length-odd", NULL, 1},
    {"accept-leading-space", NULL, 1},
    {"accept-metadata-empty", NULL, 1},
    {"accept-metadata-only", NULL, 0},
    {"accept-name-like-a-path", NULL, 1},
    {"accept-name-of-1024-bytes", NULL, 1},
    {"accept-nan", NULL, 1},
    {"accept-no-tensors", NULL, 0},
    {"accept-one-x", NULL, 1},
    {"accept-one-z", NULL, 1},
    {"accept-out-of-order", NULL, 2},
    {"accept-rank-8", NULL, 1},
    {"accept-scalar", NULL, 1},
    {"accept-space-everywhere", NULL, 1},
    {"accept-trailing-space", NULL, 1},
    {"accept-two-in-order", NULL, 2},
    {"accept-unaligned", NULL, 2},
    {"accept-zero-size-between", NULL, 4},
    {"accept-zero-size-only", NULL, 1},
    {"byte-behind-the-data", "the tensors end at byte 4 of the data, the file at 5", 0},
    {"byte-order-mark", "header: bad JSON at byte 0: expected a value, found byte 0xef", 0},
    {"comment", "header: bad JSON at byte 1: expected a key, found '/'", 0},
    {"data-without-tensors", "the tensors end at byte 0 of the data, the file at 1", 0},
    {"dim-2-48",
     "header: tensor 'a': dimension 0 of the shape is 281474976710656: expected a whole "
     "number of at most 281474976710655", 0},
    {"dim-2-64",
     "header: tensor 'a': dimension 0 of the shape is 18446744073709551616: expected a "
     "whole number of at most 281474976710655", 0},
    {"dim-exponent",
     "header: tensor 'a': dimension 0 of the shape is 1e0: expected a whole number of at "
     "most 281474976710655", 0},
    {"dim-float",
     "header: tensor 'a': dimension 0 of the shape is 1.0: expected a whole number of at "
     "most 281474976710655", 0},
    {"dim-leading-zero",
     "header: tensor 'a': bad JSON at byte 29: a number with a leading zero", 0},
    {"dim-minus-zero",
     "header: tensor 'a': dimension 0 of the shape is -0: expected a whole number of at "
     "most 281474976710655", 0},
    {"dim-negative",
     "header: tensor 'a': dimension 0 of the shape is -1: expected a whole number of at "
     "most 281474976710655", 0},
    {"dim-string",
     "header: tensor 'a': dimension 0 of the shape is \"1\": expected a whole number of "
     "at most 281474976710655", 0},
    {"dtype-long",
     "header: tensor 'a': dtype \"äääääääääääääääääääääääääääääääääääääääää..."
     "äääääääääääääääääää\" is unknown: expected one as \"BF16\" or \"F32\"", 0},
    {"dtype-lower-case",
     "header: tensor 'a': dtype \"f32\" is unknown: expected one as \"BF16\" or \"F32\"", 0},
    {"dtype-number",
     "header: tensor 'a': dtype 32 is unknown: expected one as \"BF16\" or \"F32\"", 0},
    {"dtype-unknown",
     "header: tensor 'a': dtype \"F128\" is unknown: expected one as \"BF16\" or \"F32\"", 0},
    {"duplicate-name", "tensor 'a' is there twice", 0},
    {"duplicate-name-escaped", "tensor 'a' is there twice", 0},
    {"duplicate-name-other-dtype", "tensor 'a' is there twice", 0},
    {"duplicate-name-other-range", "tensor 'a' is there twice", 0},
    {"empty-file", "a file of 0 bytes, expected at least the 8 of a header length", 0},
    {"escape-at-the-end", "header: bad JSON at byte 3: the text ends inside a string", 0},
    {"escape-unknown", "header: bad JSON at byte 3: unknown escape in a string", 0},
    {"escape-without-digits", "header: bad JSON at byte 3: \\u wants four hexadecimal digits", 0},
    {"f4-half-a-byte",
     "header: tensor 'a': F4 [3] takes 12 bits, which is no whole number of bytes", 0},
    {"f6-half-a-byte",
     "header: tensor 'a': F6_E2M3 [2] takes 12 bits, which is no whole number of bytes", 0},
    {"field-cut", "header: tensor 'a': bad JSON at byte 20: expected a key, found '}'", 0},
    {"field-dtype-missing", "header: tensor 'a': field 'dtype' is missing", 0},
    {"field-dtype-twice", "header: tensor 'a': field 'dtype' is there twice", 0},
    {"field-offsets-missing", "header: tensor 'a': field 'data_offsets' is missing", 0},
    {"field-offsets-twice", "header: tensor 'a': field 'data_offsets' is there twice", 0},
    {"field-shape-missing", "header: tensor 'a': field 'shape' is missing", 0},
    {"field-shape-twice", "header: tensor 'a': field 'shape' is there twice", 0},
    {"field-unknown",
     "header: tensor 'a': unknown field \"strides\": expected dtype, shape and "
     "data_offsets only", 0},
    {"file-truncated",
     "header: tensor 'a': data_offsets [0,4] end behind the file, which has 3 bytes of "
     "data: truncated?", 0},
    {"file-truncated-to-header",
     "header: tensor 'a': data_offsets [0,4] end behind the file, which has 0 bytes of "
     "data: truncated?", 0},
    {"header-cut-in-json",
     "header: tensor 'a': bad JSON at byte 49: expected ']', the text ends", 0},
    {"header-is-array",
     "header: bad JSON at byte 0: expected an object of tensors, found an array", 0},
    {"header-is-nested-arrays",
     "header: bad JSON at byte 0: expected an object of tensors, found an array", 0},
    {"header-is-string",
     "header: bad JSON at byte 0: expected an object of tensors, found a string", 0},
    {"header-length-all-ones", "a header of 18446744073709551615 bytes: the limit is 100000000", 0},
    {"header-length-at-limit-in-short-file", "header says 100000000 bytes, the file has 2 left", 0},
    {"header-length-over-limit", "a header of 100000001 bytes: the limit is 100000000", 0},
    {"header-length-zero", "header: bad JSON at byte 0: expected a value, the text ends", 0},
    {"header-one-byte-longer-than-file", "header says 3 bytes, the file has 2 left", 0},
    {"hole-between",
     "tensor 'b' begins at byte 8 of the data, the one before it ends at 4: a hole", 0},
    {"hole-in-front", "tensor 'a' begins at byte 4 of the data, expected 0: a hole", 0},
    {"lone-low-surrogate-escape", "header: bad JSON at byte 3: lone surrogate", 0},
    {"lone-surrogate-escape", "header: bad JSON at byte 3: lone surrogate", 0},
    {"metadata-array",
     "header: __metadata__: bad JSON at byte 16: expected an object of strings, found an "
     "array", 0},
    {"metadata-cut", "header: bad JSON at byte 24: expected '}', the text ends", 0},
    {"metadata-key-empty", "header: __metadata__: a key with an empty name", 0},
    {"metadata-key-twice", "header: __metadata__: key 'format' is there twice", 0},
    {"metadata-null",
     "header: __metadata__: bad JSON at byte 16: expected an object of strings, found null", 0},
    {"metadata-twice", "header: __metadata__ is there twice", 0},
    {"metadata-value-number", "header: __metadata__: key 'step': expected a string, found 7", 0},
    {"metadata-value-object", "header: __metadata__: key 'step': expected a string, found {", 0},
    {"metadata-value-with-nul", "header: __metadata__: key 'k': a NUL byte in the value", 0},
    {"name-empty", "header: a tensor with an empty name", 0},
    {"name-of-1025-bytes", "header: a tensor with a name of 1025 bytes: the limit is 1024", 0},
    {"name-with-delete-byte", "header: a tensor 'a?': control byte 0x7f in the name", 0},
    {"name-with-escape-byte", "header: a tensor 'a?[2J': control byte 0x1b in the name", 0},
    {"name-with-nul", "header: a tensor 'a': control byte 0x00 in the name", 0},
    {"nul-padding",
     "header: bad JSON at byte 54: expected nothing behind the value, found byte 0x00", 0},
    {"number-1e400",
     "header: tensor 'a': dimension 0 of the shape is 1e400: expected a whole number of "
     "at most 281474976710655", 0},
    {"number-exponent-alone",
     "header: tensor 'a': bad JSON at byte 29: a number without digits in its exponent", 0},
    {"number-minus-alone", "header: tensor 'a': bad JSON at byte 29: a number without digits", 0},
    {"number-point-alone",
     "header: tensor 'a': bad JSON at byte 29: a number without digits behind the point", 0},
    {"offset-2-64",
     "header: tensor 'a': data_offsets: expected two whole numbers, found "
     "18446744073709551616", 0},
    {"offset-float", "header: tensor 'a': data_offsets: expected two whole numbers, found 4.0", 0},
    {"offset-negative",
     "header: tensor 'a': data_offsets: expected two whole numbers, found -4", 0},
    {"offset-string",
     "header: tensor 'a': data_offsets: expected two whole numbers, found \"0\"", 0},
    {"offsets-all-memory",
     "header: tensor 'a': F32 [1] takes 4 bytes, data_offsets [0,18446744073709551615] "
     "hold 18446744073709551615", 0},
    {"offsets-backwards", "header: tensor 'a': data_offsets [4,0] run backwards", 0},
    {"offsets-number",
     "header: tensor 'a': data_offsets: bad JSON at byte 47: expected an array of two "
     "offsets, found a number", 0},
    {"offsets-one", "header: tensor 'a': data_offsets: expected two whole numbers, found ]", 0},
    {"offsets-three",
     "header: tensor 'a': data_offsets: bad JSON at byte 52: expected the end of "
     "data_offsets behind two numbers, found a number", 0},
    {"overlap",
     "tensor 'b' begins at byte 4 of the data, the one before it ends at 8: they overlap", 0},
    {"range-too-long", "header: tensor 'a': F32 [1] takes 4 bytes, data_offsets [0,8] hold 8", 0},
    {"range-too-short", "header: tensor 'a': F32 [2] takes 8 bytes, data_offsets [0,4] hold 4", 0},
    {"rank-9", "header: tensor 'a': shape has more than 8 dimensions", 0},
    {"raw-control-byte", "header: bad JSON at byte 3: a control byte in a string", 0},
    {"seven-bytes", "a file of 7 bytes, expected at least the 8 of a header length", 0},
    {"shape-nested",
     "header: tensor 'a': dimension 0 of the shape is [: expected a whole number of at "
     "most 281474976710655", 0},
    {"shape-number",
     "header: tensor 'a': shape: bad JSON at byte 28: expected an array of dimensions, "
     "found a number", 0},
    {"shape-over-2-60-bytes",
     "header: tensor 'a': U8 [281474976710655,4097,0] takes more than 2^60 bytes", 0},
    {"shape-overflows",
     "header: tensor 'a': F32 [281474976710655,281474976710655,281474976710655] takes "
     "more than 2^60 bytes", 0},
    {"shape-overflows-behind-zero",
     "header: tensor 'a': F32 [0,281474976710655,281474976710655] takes more than 2^60 "
     "bytes", 0},
    {"shape-wraps-to-4",
     "header: tensor 'a': U8 [4194305,4194305,211106198978564] takes more than 2^60 bytes", 0},
    {"shared-range",
     "tensor 'b' begins at byte 0 of the data, the one before it ends at 4: they overlap", 0},
    {"surrogates-in-wrong-order", "header: bad JSON at byte 3: lone surrogate", 0},
    {"tensor-as-array",
     "header: tensor 'a': bad JSON at byte 5: expected an object with dtype, shape and "
     "data_offsets, found an array", 0},
    {"tensor-null",
     "header: tensor 'a': bad JSON at byte 5: expected an object with dtype, shape and "
     "data_offsets, found null", 0},
    {"trailing-comma", "header: bad JSON at byte 54: expected a key, found '}'", 0},
    {"two-values", "header: bad JSON at byte 2: expected nothing behind the value, found '{'", 0},
    {"unquoted-key", "header: bad JSON at byte 1: expected a key, found 'a'", 0},
    {"utf8-invalid", "header: bad JSON at byte 3: invalid UTF-8 in a string", 0},
    {"utf8-overlong", "header: bad JSON at byte 3: invalid UTF-8 in a string", 0},
    {"utf8-surrogate", "header: bad JSON at byte 3: invalid UTF-8 in a string", 0},
    {"word-cut", "header: tensor 'a': bad JSON at byte 29: expected a value, found 't'", 0},
    {"zero-size-behind-the-data",
     "header: tensor 'z': data_offsets [8,8] end behind the file, which has 4 bytes of "
     "data: truncated?", 0},
    {"zero-size-inside-a-range",
     "tensor 'z' begins at byte 4 of the data, the one before it ends at 8: they overlap", 0},
};

START_TEST(reads_or_refuses_each_with_its_sentence)
{
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[256], expected[1024];
        err e = ERR_INIT;
        in_file f;
        arena a = {0};
        st_header h;
        (void)snprintf(path, sizeof path, DIR "/%s.safetensors", files[i].name);
        ck_assert_msg(in_open(&f, path, &e), "%s", e.text);
        bool ok = st_read_header(&h, &f, 7, &a, &e);
        ck_assert_int_eq(h.n_tensors, files[i].n_tensors);
        if (files[i].sentence) {
            (void)snprintf(expected, sizeof expected, "'%s': %s", path, files[i].sentence);
            ck_assert_msg(!ok, "%s was read", path);
            ck_assert_str_eq(e.text, expected);
            ck_assert_int_eq(e.kind, ERR_INPUT);
            ck_assert_ptr_null(h.tensor);
        } else {
            ck_assert_msg(ok, "%s", e.text);
        }
        for (int64_t t = 0; t < h.n_tensors; t++) {
            ck_assert_int_eq(h.tensor[t].file, 7);
            ck_assert_uint_le(h.tensor[t].offset + h.tensor[t].bytes, f.size);
        }
        arena_free(&a);
        in_close(&f);
    }
}
END_TEST

START_TEST(has_a_row_for_each_file)
{
    err e = ERR_INIT;
    dir_entry *entry;
    int64_t n, found = 0;
    ck_assert(dir_list(DIR, &entry, &n, &e));
    for (int64_t i = 0; i < n; i++) {
        if (!str_ends(entry[i].name, ".safetensors"))
            continue;
        size_t row = 0, len = strlen(entry[i].name) - strlen(".safetensors");
        while (row < COUNT_OF(files) && (strlen(files[row].name) != len ||
                                         memcmp(files[row].name, entry[i].name, len) != 0))
            row++;
        ck_assert_msg(row < COUNT_OF(files), "%s has no row", entry[i].name);
        found++;
    }
    ck_assert_int_eq(found, COUNT_OF(files));
    dir_list_free(entry, n);
}
END_TEST

Suite *suite_hostile(void)
{
    Suite *s = suite_create("hostile");
    TCase *c = tcase_create("files");
    tcase_add_test(c, reads_or_refuses_each_with_its_sentence);
    tcase_add_test(c, has_a_row_for_each_file);
    suite_add_tcase(s, c);
    return s;
}
