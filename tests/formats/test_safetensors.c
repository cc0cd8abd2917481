// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "formats/safetensors.h"

Suite *suite_safetensors(void);

#define HOSTILE "tests/data/hostile/"
#define OFFICIAL "tests/data/safetensors/official.safetensors"
#define NANO "tests/data/nano/model.safetensors"

static void read_file(const char *path, st_header *h, arena *a)
{
    err e = ERR_INIT;
    in_file f;
    ck_assert_msg(in_open(&f, path, &e), "%s", e.text);
    ck_assert_msg(st_read_header(h, &f, 0, a, &e), "%s", e.text);
    in_close(&f);
}

static bool parse(st_header *h, arena *a, const strbuf *text, err *e)
{
    ck_assert(strbuf_ok(text, e));
    return st_parse_header(h, text->text, text->len, 0, 0, a, e);
}

START_TEST(sorts_tensors_by_their_place)
{
    arena a = {0};
    st_header h;
    read_file(HOSTILE "accept-zero-size-between.safetensors", &h, &a);
    static const char *const order[] = {"a", "y", "z", "b"};
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(h.tensor[i].name, order[i]);
    ck_assert_uint_eq(h.tensor[3].offset, h.data_start + 4);
    ck_assert_uint_eq(h.tensor[3].bytes, 4);
    arena_free(&a);
    a = (arena){0};
    read_file(HOSTILE "accept-out-of-order.safetensors", &h, &a);
    ck_assert_str_eq(h.tensor[0].name, "a");
    ck_assert_str_eq(h.tensor[1].name, "b");
    arena_free(&a);
}
END_TEST

START_TEST(counts_bits_of_all_types)
{
    arena a = {0};
    st_header h;
    uint64_t at;
    read_file(HOSTILE "accept-all-dtypes.safetensors", &h, &a);
    at = h.data_start;
    ck_assert_int_eq(h.n_tensors, DT_SAFETENSORS);
    for (int i = 0; i < DT_SAFETENSORS; i++) {
        ck_assert_int_eq((int)h.tensor[i].type, i);
        ck_assert_str_eq(h.tensor[i].name, dtype_name((dtype)i));
        ck_assert_uint_eq(h.tensor[i].offset, at);
        ck_assert_uint_eq(h.tensor[i].bytes, (uint64_t)dtype_bits((dtype)i) / 2);
        ck_assert_int_eq(h.tensor[i].n_elements, 4);
        at += h.tensor[i].bytes;
    }
    arena_free(&a);
}
END_TEST

START_TEST(decodes_names_and_metadata)
{
    arena a = {0};
    st_header h;
    read_file(HOSTILE "accept-escaped-name.safetensors", &h, &a);
    ck_assert_str_eq(h.tensor[0].name, "\xc3\xa4/\"\\\xf0\x9f\x98\x80");
    arena_free(&a);
    a = (arena){0};
    read_file(OFFICIAL, &h, &a);
    ck_assert_int_eq(h.n_metadata, 1);
    ck_assert_str_eq(h.metadata[0].key, "note");
    ck_assert_str_eq(h.metadata[0].value, "line\nbreak\ttab \"quote\" \xc3\xa4 \x01");
    arena_free(&a);
}
END_TEST

START_TEST(counts_elements_of_scalars_and_empty_tensors)
{
    arena a = {0};
    st_header h;
    read_file(HOSTILE "accept-scalar.safetensors", &h, &a);
    ck_assert_int_eq(h.tensor[0].rank, 0);
    ck_assert_int_eq(h.tensor[0].n_elements, 1);
    arena_free(&a);
    a = (arena){0};
    read_file(HOSTILE "accept-dim-at-limit.safetensors", &h, &a);
    ck_assert_int_eq(h.tensor[0].n_elements, 0);
    ck_assert_int_eq(h.tensor[0].shape[0], ((int64_t)1 << 48) - 1);
    char shape[TENSOR_SHAPE_TEXT];
    ck_assert_str_eq(tensor_shape_text(&h.tensor[0], shape), "[281474976710655,0]");
    arena_free(&a);
}
END_TEST

static void add_metadata(strbuf *text, int pairs, size_t value_bytes)
{
    strbuf_puts(text, "{\"__metadata__\":{");
    for (int i = 0; i < pairs; i++) {
        strbuf_printf(text, i ? ",\"k%d\":\"" : "\"k%d\":\"", i);
        for (size_t n = 0; n < value_bytes; n++)
            strbuf_add(text, "v", 1);
        strbuf_puts(text, "\"");
    }
    strbuf_puts(text, "}}");
}

START_TEST(limits_metadata)
{
    static const struct {
        int pairs;
        size_t value_bytes;
        const char *sentence;
    } row[] = {
        {1, ST_MAX_VALUE, NULL},
        {1, ST_MAX_VALUE + 1,
         "header: __metadata__: key 'k0': a value of 1048577 bytes: the limit is 1048576"},
        {ST_MAX_METADATA, 1, NULL},
        {ST_MAX_METADATA + 1, 1, "header: __metadata__ has more than 65536 pairs"},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        err e = ERR_INIT;
        arena a = {0};
        st_header h;
        strbuf text = {0};
        add_metadata(&text, row[i].pairs, row[i].value_bytes);
        bool ok = parse(&h, &a, &text, &e);
        ck_assert_msg(ok == !row[i].sentence, "%s", e.text);
        ck_assert_str_eq(e.text, row[i].sentence ? row[i].sentence : "");
        ck_assert_int_eq(h.n_metadata, ok ? row[i].pairs : 0);
        strbuf_free(&text);
        arena_free(&a);
    }
}
END_TEST

START_TEST(limits_the_header)
{
    err e = ERR_INIT;
    arena a = {0};
    st_header h;
    char *text = malloc((size_t)ST_MAX_HEADER + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', (size_t)ST_MAX_HEADER + 1);
    memcpy(text, "{}", 2);
    ck_assert_msg(st_parse_header(&h, text, ST_MAX_HEADER, 0, 0, &a, &e), "%s", e.text);
    ck_assert_uint_eq(h.data_start, 8 + (uint64_t)ST_MAX_HEADER);
    ck_assert(!st_parse_header(&h, text, (uint64_t)ST_MAX_HEADER + 1, 0, 0, &a, &e));
    ck_assert_str_eq(e.text, "a header of 100000001 bytes: the limit is 100000000");
    free(text);
    arena_free(&a);
}
END_TEST

START_TEST(finds_one_name_twice_among_many)
{
    for (int twice = 0; twice < 2; twice++) {
        err e = ERR_INIT;
        arena a = {0};
        st_header h;
        strbuf text = {0};
        strbuf_puts(&text, "{");
        for (int i = 0; i < 20000; i++)
            strbuf_printf(&text, "%s\"model.layers.%d.weight\":{\"dtype\":\"F32\",\"shape\":[0],"
                          "\"data_offsets\":[0,0]}", i ? "," : "",
                          twice && i == 19999 ? 137 : i);
        strbuf_puts(&text, "}");
        bool ok = parse(&h, &a, &text, &e);
        ck_assert_str_eq(e.text, twice ? "tensor 'model.layers.137.weight' is there twice" : "");
        ck_assert_int_eq(h.n_tensors, ok ? 20000 : 0);
        strbuf_free(&text);
        arena_free(&a);
    }
}
END_TEST

START_TEST(braces_in_names_and_values_are_no_tensors)
{
    err e = ERR_INIT;
    arena a = {0};
    st_header h;
    strbuf text = {0};
    strbuf_puts(&text, "{\"__metadata__\":{\"{{{\":\"{{{{{{{{\"},\"{{{{{{\":{\"dtype\":\"U8\","
                       "\"shape\":[0],\"data_offsets\":[0,0]}}");
    ck_assert_msg(parse(&h, &a, &text, &e), "%s", e.text);
    ck_assert_int_eq(h.n_tensors, 1);
    strbuf_free(&text);
    arena_free(&a);
}
END_TEST

START_TEST(a_file_that_shrinks_is_a_sentence)
{
    char path[] = "/tmp/scruple-st-XXXXXX";
    int fd = mkstemp(path);
    err e = ERR_INIT;
    arena a = {0};
    st_header h;
    in_file f;
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "\2\0\0\0\0\0\0\0{}", 10), 10);
    ck_assert(in_open(&f, path, &e));
    ck_assert_int_eq(ftruncate(fd, 9), 0);
    ck_assert(!st_read_header(&h, &f, 0, &a, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "ends early"));
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    ck_assert(!st_read_header(&h, &f, 0, &a, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "ends early"));
    ck_assert_int_eq(e.kind, ERR_INPUT);
    in_close(&f);
    (void)close(fd);
    (void)unlink(path);
    arena_free(&a);
}
END_TEST

// The official package's files, taken apart and written again by us, have the same header bytes.
static void writes_the_same_header(const char *path)
{
    err e = ERR_INIT;
    arena a = {0};
    st_header h;
    strbuf out = {0};
    char *text;
    size_t len;
    read_file(path, &h, &a);
    ck_assert(file_read_all(path, 64 << 20, &text, &len, &e));
    tensor *t = mem_new((uint64_t)h.n_tensors, sizeof *t, "tensors", &e);
    ck_assert_ptr_nonnull(t);
    for (int64_t i = 0; i < h.n_tensors; i++) { // another order, no places
        t[i] = h.tensor[h.n_tensors - 1 - i];
        t[i].offset = t[i].bytes = 0;
        t[i].n_elements = 0;
    }
    st_sort_official(t, h.n_tensors);
    ck_assert_msg(st_write_header(&out, t, h.n_tensors, h.metadata, h.n_metadata, 8, &e), "%s",
                  e.text);
    ck_assert_uint_eq(out.len, h.data_start);
    ck_assert_mem_eq(out.text, text, out.len);
    for (int64_t i = 0; i < h.n_tensors; i++) {
        ck_assert_str_eq(t[i].name, h.tensor[i].name);
        ck_assert_uint_eq(t[i].offset, h.tensor[i].offset);
        ck_assert_uint_eq(t[i].bytes, h.tensor[i].bytes);
        ck_assert_int_eq(t[i].n_elements, h.tensor[i].n_elements);
    }
    free(t);
    free(text);
    strbuf_free(&out);
    arena_free(&a);
}

START_TEST(writes_the_official_header_bytes)
{
    writes_the_same_header(OFFICIAL);
    writes_the_same_header(NANO);
}
END_TEST

START_TEST(starts_the_data_where_it_is_told)
{
    static const uint64_t align[] = {8, 64, 4096, 16384, 2 << 20};
    for (size_t i = 0; i < COUNT_OF(align); i++) {
        err e = ERR_INIT;
        arena a = {0};
        st_header h;
        strbuf out = {0};
        tensor t[2] = {{.name = "x", .type = DT_F4, .rank = 2, .shape = {3, 2}},
                       {.name = "y", .type = DT_U8, .rank = 0}};
        st_pair format = {"format", "pt"};
        ck_assert_msg(st_write_header(&out, t, 2, &format, 1, align[i], &e), "%s", e.text);
        ck_assert_uint_eq(out.len, align[i] == 8 ? 152 : align[i] < 4096 ? 192 : align[i]);
        ck_assert_uint_eq(load_u64(out.text), out.len - 8);
        ck_assert_uint_eq(t[0].offset, out.len);
        ck_assert_uint_eq(t[1].offset, out.len + 3);
        ck_assert(st_parse_header(&h, out.text + 8, out.len - 8, 4, 0, &a, &e));
        ck_assert_str_eq(h.metadata[0].value, "pt");
        strbuf_free(&out);
        arena_free(&a);
    }
}
END_TEST

START_TEST(writes_a_file_without_tensors)
{
    err e = ERR_INIT;
    strbuf out = {0};
    st_pair format = {"format", "pt"};
    ck_assert(st_write_header(&out, NULL, 0, NULL, 0, 8, &e));
    ck_assert_uint_eq(out.len, 16);
    ck_assert_mem_eq(out.text, "\x08\0\0\0\0\0\0\0{}      ", 16);
    ck_assert(st_write_header(&out, NULL, 0, &format, 1, 8, &e));
    ck_assert_uint_eq(out.len, 16 + 40);
    ck_assert_mem_eq(out.text + 16 + 8, "{\"__metadata__\":{\"format\":\"pt\"}}", 32);
    strbuf_free(&out);
}
END_TEST

START_TEST(writes_nothing_that_it_would_not_read)
{
    static const struct {
        tensor t[2];
        const char *sentence;
    } row[] = {
        {{{.name = "x", .type = DT_U8}, {.name = "x", .type = DT_U8}},
         "tensor 'x' is there twice"},
        {{{.name = "a\nb", .type = DT_U8}, {.name = "x", .type = DT_U8}},
         "header: a tensor 'a?b': control byte 0x0a in the name"},
        {{{.name = "", .type = DT_U8}, {.name = "x", .type = DT_U8}},
         "header: a tensor with an empty name"},
        {{{.name = "\xff", .type = DT_U8}, {.name = "x", .type = DT_U8}},
         "'?' is not UTF-8: it cannot stand in a header"},
        {{{.name = "__metadata__", .type = DT_U8}, {.name = "x", .type = DT_U8}},
         "header: __metadata__: key 'shape': expected a string, found ["},
        {{{.name = "x", .type = DT_F4, .rank = 1, .shape = {3}}, {.name = "y", .type = DT_U8}},
         "header: tensor 'x': F4 [3] takes 12 bits, which is no whole number of bytes"},
        {{{.name = "x", .type = DT_U8, .rank = 2, .shape = {1 << 30, (int64_t)1 << 40}},
          {.name = "y", .type = DT_U8}},
         "tensor 'x': its shape makes no size"},
        {{{.name = "x", .type = DT_U8, .rank = 1, .shape = {(int64_t)1 << 48}},
          {.name = "y", .type = DT_U8}},
         "header: tensor 'x': dimension 0 of the shape is 281474976710656: expected a whole "
         "number of at most 281474976710655"},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        err e = ERR_INIT;
        strbuf out = {0};
        tensor t[2];
        memcpy(t, row[i].t, sizeof t);
        strbuf_puts(&out, "before");
        ck_assert_msg(!st_write_header(&out, t, 2, NULL, 0, 8, &e), "row %zu was written", i);
        ck_assert_int_eq(e.kind, ERR_INPUT);
        ck_assert_str_eq(e.text, row[i].sentence);
        ck_assert_str_eq(out.text, "before");
        ck_assert_uint_eq(out.len, 6);
        strbuf_free(&out);
    }
}
END_TEST

START_TEST(writes_no_metadata_that_is_not_utf8)
{
    static const st_pair row[] = {{"k", "\xc3"}, {"\xed\xa0\x80", "v"}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        err e = ERR_INIT;
        strbuf out = {0};
        ck_assert(!st_write_header(&out, NULL, 0, &row[i], 1, 8, &e));
        ck_assert(str_ends(e.text, "is not UTF-8: it cannot stand in a header"));
        ck_assert_uint_eq(out.len, 0);
        strbuf_free(&out);
    }
}
END_TEST

Suite *suite_safetensors(void)
{
    Suite *s = suite_create("safetensors");
    TCase *c = tcase_create("headers");
    tcase_add_test(c, sorts_tensors_by_their_place);
    tcase_add_test(c, counts_bits_of_all_types);
    tcase_add_test(c, decodes_names_and_metadata);
    tcase_add_test(c, counts_elements_of_scalars_and_empty_tensors);
    tcase_add_test(c, limits_metadata);
    tcase_add_test(c, limits_the_header);
    tcase_add_test(c, finds_one_name_twice_among_many);
    tcase_add_test(c, braces_in_names_and_values_are_no_tensors);
    tcase_add_test(c, a_file_that_shrinks_is_a_sentence);
    suite_add_tcase(s, c);
    c = tcase_create("writer");
    tcase_add_test(c, writes_the_official_header_bytes);
    tcase_add_test(c, starts_the_data_where_it_is_told);
    tcase_add_test(c, writes_a_file_without_tensors);
    tcase_add_test(c, writes_nothing_that_it_would_not_read);
    tcase_add_test(c, writes_no_metadata_that_is_not_utf8);
    suite_add_tcase(s, c);
    return s;
}
