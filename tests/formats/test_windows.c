// SPDX-License-Identifier: Apache-2.0
// Windows: text, lines of JSON and arrays of ids cut by the letter, with every token counted.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "formats/npy.h"
#include "formats/tokenizer.h"
#include "formats/windows.h"
#include "tests/folder.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_windows(void);

static const char nano[] = "tests/data/nano";
static char dir[256];
static windows w;

static void set_up(void)
{
    (void)snprintf(dir, sizeof dir, "%s", temp_dir_make());
    w = (windows){0};
}

static void tear_down(void)
{
    windows_free(&w);
    temp_dir_remove(dir);
}

static const char text[] = "Where shall I begin, please your Majesty? he asked.\n"
                           "Begin at the beginning, the King said gravely, and go on till you "
                           "come to the end: then stop.\n";

static int64_t ids_of(const char *t, int32_t **ids)
{
    tokenizer *k;
    int64_t n;
    err e = ERR_INIT;
    ASSERT_OK(tokenizer_open(&k, nano, &e), e);
    ASSERT_OK(tokenizer_encode(k, t, strlen(t), ids, &n, &e), e);
    tokenizer_close(k);
    return n;
}

static int32_t bos_of_nano(void)
{
    tokenizer *k;
    err e = ERR_INIT;
    ASSERT_OK(tokenizer_open(&k, nano, &e), e);
    int32_t bos = tokenizer_bos(k);
    tokenizer_close(k);
    return bos;
}

static void read_text_file(const char *name, int64_t context, int64_t most)
{
    err e = ERR_INIT;
    windows_free(&w);
    windows_options o = {.text = temp_path(dir, name), .model_dir = nano, .context = context,
                         .max_tokens = most};
    ASSERT_OK(windows_read(&w, &o, &e), e);
}

static void read_array(const char *model, int64_t context, int64_t most)
{
    err e = ERR_INIT;
    windows_free(&w);
    windows_options o = {.tokens = temp_path(dir, "t.npy"), .model_dir = model,
                         .context = context, .max_tokens = most};
    ASSERT_OK(windows_read(&w, &o, &e), e);
}

static void write_ids(const int32_t *ids, int rank, int64_t a, int64_t b)
{
    err e = ERR_INIT;
    ASSERT_OK(npy_write(dir, "t.npy", NPY_I32, rank, (int64_t[]){a, b}, ids, true, &e), e);
}

// A model folder that is nothing but its tokenizer_config.json.
static const char *model_with(const char *config)
{
    if (config)
        temp_write(dir, "tokenizer_config.json", config, strlen(config));
    return dir;
}

// ---- text ----

START_TEST(text_is_cut_into_windows_that_begin_with_bos)
{
    int32_t *ids, bos = bos_of_nano();
    int64_t n = ids_of(text, &ids);
    ck_assert_int_ge(bos, 0);
    temp_write(dir, "a.txt", text, strlen(text));
    read_text_file("a.txt", 8, 0);
    ck_assert_int_eq(w.len, 8);
    ck_assert_int_eq(w.n, n / 7);
    ck_assert_int_eq(w.n_input, n);
    ck_assert_int_eq(w.dropped, n % 7);
    ck_assert(w.with_bos);
    ck_assert_ptr_null(w.document);
    for (int64_t i = 0; i < w.n; i++) {
        ck_assert_int_eq(w.tokens[i * 8], bos);
        ck_assert_mem_eq(w.tokens + i * 8 + 1, ids + i * 7, 7 * sizeof *ids);
    }
    free(ids);
}
END_TEST

START_TEST(the_digest_is_of_the_tokens_as_int32)
{
    sha256_digest sum;
    err e = ERR_INIT;
    temp_write(dir, "a.txt", text, strlen(text));
    read_text_file("a.txt", 8, 0);
    ck_assert(sha256_of(w.tokens, (size_t)(w.n * w.len) * 4, &sum, &e));
    ck_assert_mem_eq(sum.b, w.sha.b, sizeof sum.b);
}
END_TEST

START_TEST(a_limit_drops_whole_windows_and_counts_them)
{
    temp_write(dir, "a.txt", text, strlen(text));
    read_text_file("a.txt", 8, 31); // 3 windows are 24 tokens, 4 would be 32
    ck_assert_int_eq(w.n, 3);
    ck_assert_int_eq(w.dropped, w.n_input - 3 * 7);
}
END_TEST

START_TEST(gzip_gives_the_same_windows)
{
    temp_write(dir, "a.txt", text, strlen(text));
    read_text_file("a.txt", 8, 0);
    sha256_digest plain = w.sha;
    gzFile z = gzopen(temp_path(dir, "a.txt.gz"), "wb");
    ck_assert_int_eq(gzwrite(z, text, (unsigned)strlen(text)), (int)strlen(text));
    ck_assert_int_eq(gzclose(z), Z_OK);
    read_text_file("a.txt.gz", 8, 0);
    ck_assert_mem_eq(plain.b, w.sha.b, sizeof plain.b);
}
END_TEST

START_TEST(lines_of_json_are_documents)
{
    static const char lines[] =
        "{\"text\": \"Where shall I begin, please your Majesty? he asked.\", \"id\": 1}\n"
        "\n"
        "{\"text\": \"x\"}\r\n"
        " \t\r\n"
        "{\"text\": \"Begin at the beginning, the King said gravely, and go on\"}";
    int32_t *ids[3];
    int64_t n[3] = {ids_of("Where shall I begin, please your Majesty? he asked.", &ids[0]),
                    ids_of("x", &ids[1]),
                    ids_of("Begin at the beginning, the King said gravely, and go on", &ids[2])};
    temp_write(dir, "a.jsonl", lines, strlen(lines));
    read_text_file("a.jsonl", 5, 0);
    ck_assert_int_eq(w.n, n[0] / 4 + n[2] / 4);
    ck_assert_int_eq(w.n_input, n[0] + n[1] + n[2]);
    ck_assert_int_eq(w.dropped, n[0] % 4 + n[1] + n[2] % 4); // no window crosses documents
    for (int64_t i = 0; i < w.n; i++) {
        bool first = i < n[0] / 4;
        ck_assert_int_eq(w.document[i], first ? 0 : 4);
        const int32_t *from = first ? ids[0] + i * 4 : ids[2] + (i - n[0] / 4) * 4;
        ck_assert_mem_eq(w.tokens + i * 5 + 1, from, 16);
    }
    for (int i = 0; i < 3; i++)
        free(ids[i]);
}
END_TEST

START_TEST(lines_that_are_no_documents_are_refused)
{
    static const struct {
        const char *lines, *words;
    } cases[] = {
        {"{\"text\": \"a\"}\nnonsense\n", "line 2: "},
        {"{\"text\": 7}\n", "line 1: no member \"text\" that is a string"},
        {"\n\n[]\n", "line 3: no member \"text\""},
        {"{\"content\": \"a\"}\n", "line 1: no member \"text\""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        temp_write(dir, "a.jsonl", cases[i].lines, strlen(cases[i].lines));
        windows_options o = {.text = temp_path(dir, "a.jsonl"), .model_dir = nano, .context = 4};
        ASSERT_REFUSED(windows_read(&w, &o, &refused), cases[i].words);
        ck_assert_ptr_null(w.tokens);
    }
}
END_TEST

START_TEST(input_that_fills_no_window_is_refused)
{
    temp_write(dir, "a.txt", "short", 5);
    windows_options o = {.text = temp_path(dir, "a.txt"), .model_dir = nano, .context = 512};
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "fill no window of 512");
    temp_write(dir, "empty.txt", "", 0);
    o.text = temp_path(dir, "empty.txt");
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "gives 0 tokens, which fill no window of 512");
    o.max_tokens = 511;
    ASSERT_FAILS(windows_read(&w, &o, &refused), ERR_USAGE,
                 "a limit of 511 tokens does not hold one window of 512");
    o.context = 1;
    ASSERT_FAILS(windows_read(&w, &o, &refused), ERR_USAGE, "a window needs at least 2 tokens");
    o = (windows_options){.text = temp_path(dir, "none"), .model_dir = nano, .context = 4};
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "cannot open");
}
END_TEST

// ---- arrays ----

static const int32_t numbers[] = {7, 1, 6, 2, 5, 3, 4, 0, 9, 8, 11};

START_TEST(one_row_is_cut_like_text)
{
    static const int ranks[] = {1, 2};
    int32_t bos = bos_of_nano();
    for (size_t k = 0; k < COUNT_OF(ranks); k++) {
        if (ranks[k] == 1)
            write_ids(numbers, 1, 11, 0);
        else
            write_ids(numbers, 2, 1, 11);
        read_array(nano, 4, 0);
        ck_assert_int_eq(w.n, 3);
        ck_assert_int_eq(w.dropped, 2);
        ck_assert(w.with_bos);
        static const int32_t rows[3][3] = {{7, 1, 6}, {2, 5, 3}, {4, 0, 9}};
        for (int i = 0; i < 3; i++) {
            ck_assert_int_eq(w.tokens[i * 4], bos);
            ck_assert_mem_eq(w.tokens + i * 4 + 1, rows[i], sizeof rows[i]);
        }
    }
}
END_TEST

START_TEST(more_rows_are_used_as_they_are)
{
    write_ids(numbers, 2, 5, 2);
    read_array(nano, 512, 0);
    ck_assert_int_eq(w.n, 5);
    ck_assert_int_eq(w.len, 2);
    ck_assert_int_eq(w.dropped, 0);
    ck_assert(!w.with_bos);
    ck_assert_mem_eq(w.tokens, numbers, 10 * sizeof *numbers);
    read_array(nano, 512, 5);
    ck_assert_int_eq(w.n, 2);
    ck_assert_int_eq(w.dropped, 6);
}
END_TEST

START_TEST(wide_ids_are_narrowed_where_they_fit)
{
    err e = ERR_INIT;
    int64_t wide[6] = {7, 1, 6, 2, 5, INT32_MAX};
    ASSERT_OK(npy_write(dir, "t.npy", NPY_I64, 2, (int64_t[]){2, 3}, wide, true, &e), e);
    read_array(nano, 512, 0);
    ck_assert_int_eq(w.tokens[5], INT32_MAX);
    static const int64_t bad[] = {-1, (int64_t)INT32_MAX + 1, INT64_MIN};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        wide[4] = bad[i];
        ASSERT_OK(npy_write(dir, "t.npy", NPY_I64, 2, (int64_t[]){2, 3}, wide, true, &e), e);
        windows_options o = {.tokens = temp_path(dir, "t.npy"), .model_dir = nano, .context = 4};
        windows_free(&w);
        ASSERT_REFUSED(windows_read(&w, &o, &refused), "element 4 is ");
    }
}
END_TEST

START_TEST(a_model_without_tokenizer_needs_none_for_ids)
{
    static const char *const configs[] = {NULL, "{}", "{\"add_bos_token\": false}",
                                          "{\"add_bos_token\": null, \"bos_token\": \"<s>\"}"};
    write_ids(numbers, 1, 11, 0);
    for (size_t i = 0; i < COUNT_OF(configs); i++) {
        read_array(model_with(configs[i]), 4, 0);
        ck_assert_int_eq(w.n, 2);
        ck_assert_int_eq(w.dropped, 3);
        ck_assert(!w.with_bos);
        ck_assert_mem_eq(w.tokens, numbers, 8 * sizeof *numbers);
    }
    windows_options o = {.tokens = temp_path(dir, "t.npy"), .context = 4};
    o.model_dir = model_with("{\"add_bos_token\": true, \"bos_token\": \"<s>\"}");
    windows_free(&w);
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "tokenizer.json");
    o.model_dir = model_with("{\"add_bos_token\": 7}");
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "tokenizer");
    o.model_dir = model_with("{");
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "tokenizer_config.json");
}
END_TEST

START_TEST(arrays_of_something_else_are_refused)
{
    err e = ERR_INIT;
    float f[8] = {0};
    windows_options o = {.tokens = temp_path(dir, "t.npy"), .model_dir = nano, .context = 4};
    ASSERT_OK(npy_write(dir, "t.npy", NPY_F32, 2, (int64_t[]){2, 4}, f, true, &e), e);
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "must hold int32 or int64 ids");
    ASSERT_OK(npy_write(dir, "t.npy", NPY_I32, 3, (int64_t[]){2, 2, 2}, f, true, &e), e);
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "it has rank 3");
    write_ids(numbers, 2, 4, 1);
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "rows of 1 tokens; at least 2 are needed");
    write_ids(numbers, 2, 0, 4);
    ASSERT_REFUSED(windows_read(&w, &o, &refused), "gives 0 tokens");
    write_ids(numbers, 2, 2, 4);
    o.max_tokens = 3;
    ASSERT_FAILS(windows_read(&w, &o, &refused), ERR_USAGE,
                 "a limit of 3 tokens does not hold one window of 4");
}
END_TEST

Suite *suite_windows(void)
{
    Suite *s = suite_create("windows");
    TCase *c = tcase_create("text");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, text_is_cut_into_windows_that_begin_with_bos);
    tcase_add_test(c, the_digest_is_of_the_tokens_as_int32);
    tcase_add_test(c, a_limit_drops_whole_windows_and_counts_them);
    tcase_add_test(c, gzip_gives_the_same_windows);
    tcase_add_test(c, lines_of_json_are_documents);
    tcase_add_test(c, lines_that_are_no_documents_are_refused);
    tcase_add_test(c, input_that_fills_no_window_is_refused);
    suite_add_tcase(s, c);
    c = tcase_create("arrays");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, one_row_is_cut_like_text);
    tcase_add_test(c, more_rows_are_used_as_they_are);
    tcase_add_test(c, wide_ids_are_narrowed_where_they_fit);
    tcase_add_test(c, a_model_without_tokenizer_needs_none_for_ids);
    tcase_add_test(c, arrays_of_something_else_are_refused);
    suite_add_tcase(s, c);
    return s;
}
