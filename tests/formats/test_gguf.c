// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "formats/gguf.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_gguf(void);

static char dir[256];

static void begin(void) { (void)snprintf(dir, sizeof dir, "%s", temp_dir_make()); }

static void end(void) { temp_dir_remove(dir); }

static gguf_value text_value(const char *key, const char *text)
{
    return (gguf_value){key, GGUF_TEXT, false, 1, text, strlen(text)};
}

// Writes the header and zeros for data; the header as it is read.
static gguf_header written(tensor *t, int64_t n, const gguf_value *v, int64_t n_values)
{
    err e = ERR_INIT;
    strbuf out = {0};
    uint64_t bytes;
    in_file f;
    gguf_header h;
    ASSERT_OK(gguf_write_header(&out, t, n, v, n_values, &bytes, &e), e);
    temp_write(dir, "x.gguf", out.text, out.len);
    ck_assert_int_eq(truncate(temp_path(dir, "x.gguf"), (off_t)bytes), 0);
    ASSERT_OK(in_open(&f, temp_path(dir, "x.gguf"), &e), e);
    ASSERT_OK(gguf_list_header(&h, &f, 3, &e), e);
    ck_assert_uint_eq(h.data_start, out.len);
    ck_assert_uint_eq(h.behind, 0);
    in_close(&f);
    strbuf_free(&out);
    return h;
}

// ---- values ----------------------------------------------------------------------------------

START_TEST(values_of_all_types_come_back_as_they_were)
{
    static const unsigned char bytes[16] = {1, 2,  3,  4,  5,  6,  7,  0x88,
                                            9, 10, 11, 12, 13, 14, 15, 16};
    static const uint8_t size[GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 3, 0, 8, 8, 8};
    static const char texts[] = "\3\0\0\0\0\0\0\0abc\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0z";
    gguf_value v[2 * GGUF_TYPES];
    char keys[2 * GGUF_TYPES][16];
    int64_t n = 0;
    for (int i = 0; i < 2 * GGUF_TYPES; i++) {
        gguf_type type = (gguf_type)(i % GGUF_TYPES);
        bool is_array = i >= GGUF_TYPES;
        if (type == GGUF_ARRAY)
            continue;
        (void)snprintf(keys[n], sizeof keys[n], "key.%d", i);
        v[n] = (gguf_value){keys[n], type, is_array, is_array ? 2 : 1, bytes,
                            (uint64_t)size[type] * (is_array ? 2 : 1)};
        if (type == GGUF_TEXT)
            v[n] = is_array ? (gguf_value){keys[n], type, true, 3, texts, sizeof texts - 1}
                            : text_value(keys[n], "abc");
        n++;
    }
    gguf_header h = written(NULL, 0, v, n);
    ck_assert_uint_eq(h.version, 3);
    ck_assert_uint_eq(h.alignment, GGUF_ALIGNMENT);
    ck_assert_int_eq(h.n_values, n);
    for (int64_t i = 0; i < n; i++) {
        const gguf_value *r = &h.value[i];
        ck_assert_str_eq(r->key, v[i].key);
        ck_assert_ptr_eq(gguf_find(&h, v[i].key), r);
        ck_assert(r->type == v[i].type && r->is_array == v[i].is_array && r->n == v[i].n);
        ck_assert_uint_eq(r->size, v[i].size);
        ck_assert_mem_eq(r->bytes, v[i].bytes, r->size);
    }
    ck_assert_ptr_null(gguf_find(&h, "key"));
    gguf_free(&h);
}
END_TEST

START_TEST(numbers_are_natural_ones_of_any_width)
{
    static const struct {
        gguf_type type;
        uint64_t size, bits, value;
        bool natural;
    } rows[] = {
        {GGUF_U8, 1, 0xff, 0xff, true},
        {GGUF_I8, 1, 0x7f, 0x7f, true},
        {GGUF_I8, 1, 0x80, 0, false},
        {GGUF_U16, 2, 0xffff, 0xffff, true},
        {GGUF_I16, 2, 0xffff, 0, false},
        {GGUF_U32, 4, 0xffffffff, 0xffffffff, true},
        {GGUF_I32, 4, 0x7fffffff, 0x7fffffff, true},
        {GGUF_I32, 4, 0x80000000, 0, false},
        {GGUF_U64, 8, UINT64_MAX, UINT64_MAX, true},
        {GGUF_I64, 8, UINT64_MAX, 0, false},
        {GGUF_I64, 8, 5, 5, true},
        {GGUF_F32, 4, 5, 0, false},
        {GGUF_F64, 8, 5, 0, false},
        {GGUF_BOOL, 1, 1, 0, false},
        {GGUF_TEXT, 1, '5', 0, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t value = 77;
        gguf_value v = {"k", rows[i].type, false, 1, &rows[i].bits, rows[i].size};
        ck_assert_int_eq(gguf_as_u64(&v, &value), rows[i].natural);
        ck_assert_uint_eq(value, rows[i].natural ? rows[i].value : 77);
        v.is_array = true;
        ck_assert(!gguf_as_u64(&v, &value));
    }
    ck_assert(!gguf_as_u64(NULL, &(uint64_t){0}));
}
END_TEST

START_TEST(texts_are_texts_and_nothing_else)
{
    const uint32_t number = 7;
    gguf_value v[] = {text_value("a", "x"), text_value("b", ""),
                      {"c", GGUF_U32, false, 1, &number, 4},
                      {"d", GGUF_TEXT, true, 0, "", 0}, text_value("e", "last")};
    gguf_header h = written(NULL, 0, v, COUNT_OF(v));
    ck_assert_str_eq(gguf_as_text(gguf_find(&h, "a")), "x");
    ck_assert_str_eq(gguf_as_text(gguf_find(&h, "b")), "");
    ck_assert_ptr_null(gguf_as_text(gguf_find(&h, "c")));
    ck_assert_ptr_null(gguf_as_text(gguf_find(&h, "d")));
    ck_assert_str_eq(gguf_as_text(gguf_find(&h, "e")), "last");
    ck_assert_ptr_null(gguf_as_text(NULL));
    gguf_free(&h);
}
END_TEST

START_TEST(file_types_have_their_names)
{
    ck_assert_str_eq(gguf_file_type_name(0), "F32");
    ck_assert_str_eq(gguf_file_type_name(15), "Q4_K_M");
    ck_assert_str_eq(gguf_file_type_name(40), "Q1_0");
    ck_assert_ptr_null(gguf_file_type_name(4));
    ck_assert_ptr_null(gguf_file_type_name(41));
    ck_assert_ptr_null(gguf_file_type_name(UINT64_MAX));
}
END_TEST

// ---- tensors ---------------------------------------------------------------------------------

START_TEST(tensors_come_back_at_multiples_of_any_alignment)
{
    for (uint32_t align = 1; align <= GGUF_MAX_ALIGNMENT; align *= 16) {
        tensor t[] = {
            {.name = "experts", .type = DT_Q8_0, .rank = 3, .shape = {3, 5, 64}},
            {.name = "one", .type = DT_I8, .rank = 1, .shape = {1}},
            {.name = "none", .type = DT_F32, .rank = 2, .shape = {0, 7}},
            {.name = "scalar", .type = DT_F64, .rank = 0},
            {.name = "k", .type = DT_Q6_K, .rank = 4, .shape = {2, 1, 3, 256}},
        };
        static const uint64_t bytes[] = {3 * 5 * 2 * 34, 1, 0, 8, 6 * 210};
        const gguf_value v = {"general.alignment", GGUF_U32, false, 1, &align, 4};
        gguf_header h = written(t, COUNT_OF(t), &v, align == GGUF_ALIGNMENT ? 0 : 1);
        uint64_t at = h.data_start;
        ck_assert_uint_eq(h.alignment, align);
        ck_assert_int_eq(h.n_tensors, COUNT_OF(t));
        for (int64_t i = 0; i < h.n_tensors; i++) {
            tensor r;
            tensor_list_get(&h.list, i, &r);
            ck_assert_str_eq(r.name, t[i].name);
            ck_assert(r.type == t[i].type && r.rank == t[i].rank && r.file == 3);
            ck_assert_mem_eq(r.shape, t[i].shape, sizeof r.shape);
            ck_assert_uint_eq(r.bytes, bytes[i]);
            ck_assert_uint_eq(t[i].bytes, bytes[i]);
            ck_assert_int_eq(r.n_elements, t[i].n_elements);
            ck_assert_uint_eq(r.offset, at);
            ck_assert_uint_eq(t[i].offset, at);
            ck_assert_uint_eq(at % align, 0);
            at = (at + bytes[i] + align - 1) / align * align;
            ck_assert_int_eq(tensor_list_find(&h.list, t[i].name), i);
        }
        gguf_free(&h);
    }
}
END_TEST

// A value that no header may have, or tensors.
static void assert_not_written(tensor *t, int64_t n, const gguf_value *v, int64_t n_values,
                               const char *words)
{
    strbuf out = {0};
    uint64_t bytes;
    strbuf_puts(&out, "before");
    ASSERT_REFUSED(gguf_write_header(&out, t, n, v, n_values, &bytes, &refused), words);
    ck_assert_str_eq(out.text, "before");
    ck_assert_uint_eq(out.len, 6);
    strbuf_free(&out);
}

START_TEST(writes_nothing_that_would_not_be_read)
{
    const uint32_t bad = 48, large = 2 * GGUF_MAX_ALIGNMENT;
    gguf_value v[] = {{"general.alignment", GGUF_U32, false, 1, &bad, 4}, text_value("a", "x"),
                      text_value("a", "y"), text_value("", "x"), text_value("z", "\xff")};
    tensor f8 = {.name = "f8", .type = DT_F8_E4M3, .rank = 1, .shape = {8}};
    tensor row = {.name = "row", .type = DT_Q8_0, .rank = 2, .shape = {32, 33}};
    tensor rank = {.name = "rank", .type = DT_F32, .rank = 5, .shape = {1, 1, 1, 1, 1}};
    tensor size = {.name = "size", .type = DT_F32, .rank = 2, .shape = {(int64_t)1 << 40,
                                                                        (int64_t)1 << 40}};
    tensor twice[] = {{.name = "t", .type = DT_F32, .rank = 0},
                      {.name = "t", .type = DT_F32, .rank = 0}};
    char name[65];
    memset(name, 'n', 64);
    name[64] = 0;
    tensor long_name = {.name = name, .type = DT_F32, .rank = 0};
    assert_not_written(NULL, 0, v, 1, "general.alignment is 48, expected a power of two");
    v[0].bytes = &large;
    assert_not_written(NULL, 0, v, 1, "general.alignment is 33554432, expected a power of two up");
    assert_not_written(NULL, 0, v + 1, 2, "key 'a' is there twice");
    assert_not_written(NULL, 0, v + 3, 1, "key with an empty name");
    assert_not_written(NULL, 0, v + 4, 1, "key 'z': the string is no UTF-8");
    assert_not_written(&f8, 1, NULL, 0, "tensor 'f8' has type F8_E4M3, which GGUF does not have");
    assert_not_written(&row, 1, NULL, 0, "Q8_0 has blocks of 32 elements, a row has 33");
    assert_not_written(&rank, 1, NULL, 0, "5 dimensions, the limit is 4");
    assert_not_written(&size, 1, NULL, 0, "takes more than 2^60 bytes");
    assert_not_written(twice, 2, NULL, 0, "tensor 't' is there twice");
    assert_not_written(&long_name, 1, NULL, 0, "a name of 64 bytes, the limit is 63");
    ck_assert(gguf_holds(DT_Q8_0) && gguf_holds(DT_BF16) && !gguf_holds(DT_U8));
}
END_TEST

START_TEST(a_header_in_memory_has_to_be_whole)
{
    err e = ERR_INIT;
    strbuf out = {0};
    tensor t = {.name = "t", .type = DT_F32, .rank = 1, .shape = {3}};
    gguf_value v = text_value("general.name", "x");
    uint64_t bytes;
    gguf_header h;
    ASSERT_OK(gguf_write_header(&out, &t, 1, &v, 1, &bytes, &e), e);
    ASSERT_OK(gguf_parse_header(&h, out.text, out.len, bytes, 0, &e), e);
    gguf_free(&h);
    const uint64_t last = 24 + 8 + 12 + 4 + 8 + 1 + 8 + 1 + 4 + 8 + 4 + 8;
    ASSERT_OK(gguf_parse_header(&h, out.text, last, bytes, 0, &e), e);
    gguf_free(&h);
    for (uint64_t n = 0; n < last; n++) {
        ASSERT_REFUSED(gguf_parse_header(&h, out.text, n, bytes, 0, &refused),
                       "the header ends inside");
        ck_assert(!h.list.text && !h.value && !h.text);
    }
    strbuf_free(&out);
}
END_TEST

// ---- limits ----------------------------------------------------------------------------------

// A file of nothing but a U8 array, so that its header has so many bytes.
static in_file header_of(uint64_t bytes)
{
    err e = ERR_INIT;
    in_file f;
    unsigned char head[24 + 8 + 1 + 4 + 4 + 8] = "GGUF\3";
    head[16] = 1;
    head[24] = 1;
    head[32] = 'a';
    head[33] = GGUF_ARRAY;
    head[37] = GGUF_U8;
    store_u64(head + 41, bytes - sizeof head);
    temp_write(dir, "large", head, sizeof head);
    ck_assert_int_eq(truncate(temp_path(dir, "large"), (off_t)bytes + 100), 0);
    ASSERT_OK(in_open(&f, temp_path(dir, "large"), &e), e);
    return f;
}

START_TEST(a_header_has_at_most_100_million_bytes)
{
    err e = ERR_INIT;
    gguf_header h;
    in_file f = header_of(GGUF_MAX_HEADER);
    ASSERT_OK(gguf_list_header(&h, &f, 0, &e), e);
    ck_assert_uint_eq(h.value[0].n, GGUF_MAX_HEADER - 49);
    gguf_free(&h);
    in_close(&f);
    f = header_of(GGUF_MAX_HEADER + 1);
    ASSERT_REFUSED(gguf_list_header(&h, &f, 0, &refused),
                   "key 'a': the header has more than 100000000 bytes");
    in_close(&f);
}
END_TEST

START_TEST(there_are_at_most_65536_key_values)
{
    enum { N = GGUF_MAX_VALUES + 1 };
    static char keys[N][16];
    gguf_value *v = calloc(N, sizeof *v);
    ck_assert_ptr_nonnull(v);
    for (int i = 0; i < N; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "%d", i);
        v[i] = (gguf_value){keys[i], GGUF_U8, false, 1, "x", 1};
    }
    gguf_header h = written(NULL, 0, v, N - 1);
    ck_assert_int_eq(h.n_values, GGUF_MAX_VALUES);
    gguf_free(&h);
    assert_not_written(NULL, 0, v, N, "the header says 65537 key-values, the limit is 65536");
    free(v);
}
END_TEST

START_TEST(a_file_that_shrinks_is_a_sentence)
{
    in_file f = header_of(1 << 20);
    gguf_header h;
    ck_assert_int_eq(truncate(temp_path(dir, "large"), 1 << 18), 0);
    refused = (err)ERR_INIT;
    ck_assert(!gguf_list_header(&h, &f, 0, &refused));
    ck_assert(refused.kind == ERR_INPUT || refused.kind == ERR_ENV);
    ck_assert_ptr_null(h.text);
    in_close(&f);
}
END_TEST

Suite *suite_gguf(void)
{
    Suite *s = suite_create("gguf");
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, values_of_all_types_come_back_as_they_were);
    tcase_add_test(c, numbers_are_natural_ones_of_any_width);
    tcase_add_test(c, texts_are_texts_and_nothing_else);
    tcase_add_test(c, file_types_have_their_names);
    tcase_add_test(c, tensors_come_back_at_multiples_of_any_alignment);
    tcase_add_test(c, writes_nothing_that_would_not_be_read);
    tcase_add_test(c, a_header_in_memory_has_to_be_whole);
    tcase_add_test(c, a_header_has_at_most_100_million_bytes);
    tcase_add_test(c, there_are_at_most_65536_key_values);
    tcase_add_test(c, a_file_that_shrinks_is_a_sentence);
    suite_add_tcase(s, c);
    return s;
}
