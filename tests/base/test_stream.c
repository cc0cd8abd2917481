// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/stream.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_stream(void);

enum { PAGE = 4096, MIB = 1 << 20, SIZE = 5 * MIB + 1234 };

static const char *dir;
static unsigned char *content; // of both files; the second one is turned around
static in_file file[2];

// A file that was just written would be read from the page cache.
static void write_cold(const char *name, const void *bytes)
{
    temp_write(dir, name, bytes, SIZE);
    int fd = open(temp_path(dir, name), O_RDONLY);
    ck_assert(fd >= 0 && fsync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    (void)close(fd);
}

static void open_files(void)
{
    err e = ERR_INIT;
    uint32_t x = 1;
    content = mem_new(2 * SIZE, 1, "test", &e);
    ck_assert_ptr_nonnull(content);
    for (int64_t i = 0; i < SIZE; i++) {
        x = x * 1664525u + 1013904223u;
        content[i] = content[2 * SIZE - 1 - i] = (unsigned char)(x >> 24);
    }
    write_cold("a", content);
    write_cold("b", content + SIZE);
    ASSERT_OK(in_open(&file[0], temp_path(dir, "a"), &e), e);
    ASSERT_OK(in_open(&file[1], temp_path(dir, "b"), &e), e);
}

static void set_up(void)
{
    dir = temp_dir_make();
    open_files();
}

static void set_up_in_memory(void)
{
    temp_prefer_memory();
    set_up();
}

static void tear_down(void)
{
    in_close(&file[0]);
    in_close(&file[1]);
    free(content);
    temp_dir_remove(dir);
}

typedef struct {
    const stream_range *range;
    int64_t n, at;
    bool fails; // behind the last one
} list;

static bool from_list(void *ctx, stream_range *out, bool *end, err *e)
{
    list *l = ctx;
    if (l->at < l->n)
        *out = l->range[l->at++];
    else if (l->fails)
        return err_set(e, ERR_NO, "no more of them");
    else
        *end = true;
    return true;
}

static const unsigned char *expected(const stream_range *r)
{
    return content + (r->file == &file[1] ? SIZE : 0) + r->offset;
}

// Reads all of the list by takes, reads and loans of odd sizes.
static void reads_right(const stream_range *range, int64_t n, const stream_options *o)
{
    static unsigned char to[3 * PAGE];
    err e = ERR_INIT;
    list l = {.range = range, .n = n};
    stream *s;
    uint64_t in_range = 0, most = 1, got;
    const void *bytes;
    ASSERT_OK(stream_open(&s, from_list, &l, o, &e), e);
    for (int64_t i = 0; i < n;) {
        uint64_t left = range[i].bytes - in_range;
        if (left == 0) {
            i++;
            in_range = 0;
            continue;
        }
        most = most * 7 % 1000003;
        uint64_t want = most < left ? most : left;
        bytes = most % 3 == 0 ? stream_lend(s, want) : NULL;
        if (bytes) {
            got = want;
        } else if (want <= sizeof to && most % 2) {
            ASSERT_OK(stream_read(s, to, got = want, &e), e);
            bytes = to;
        } else {
            ASSERT_OK(stream_take(s, want, &bytes, &got, &e), e);
        }
        ck_assert(got > 0 && got <= want);
        ck_assert_int_eq(memcmp(bytes, expected(&range[i]) + in_range, got), 0);
        in_range += got;
    }
    for (int i = 0; i < 2; i++) { // the end stays the end
        ASSERT_OK(stream_take(s, 1, &bytes, &got, &e), e);
        ck_assert_uint_eq(got, 0);
    }
    stream_close(s);
}

static void reads_right_in_all_ways(const stream_range *range, int64_t n)
{
    for (int readers = 1; readers <= 4; readers += 3)
        for (int buffered = 0; buffered < 2; buffered++) {
            stream_options o = {.buffered = buffered, .readers = readers};
            reads_right(range, n, &o);
            o.memory = 64 << 20;
            reads_right(range, n, &o);
        }
}

START_TEST(reads_from_any_offset_any_length)
{
    static const uint64_t at[] = {0, 1, 8, 511, 512, PAGE - 1, PAGE, PAGE + 1, 100 * PAGE + 17,
                                  256 * 1024 - 1};
    static const uint64_t bytes[] = {1, PAGE, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, MIB - 1,
                                     MIB, MIB + 1, 2 * MIB + 4095};
    stream_range r[COUNT_OF(at) * COUNT_OF(bytes)];
    int64_t n = 0;
    for (size_t i = 0; i < COUNT_OF(at); i++)
        for (size_t k = 0; k < COUNT_OF(bytes); k++)
            r[n++] = (stream_range){&file[(i + k) % 2], at[i], bytes[k]};
    for (int64_t i = 0; i < n; i++)
        reads_right(&r[i], 1, &(stream_options){0});
    reads_right_in_all_ways(r, n);
}
END_TEST

START_TEST(reads_up_to_the_end_of_a_file)
{
    stream_range r[20];
    for (int i = 0; i < 20; i++) {
        uint64_t bytes = i < 10 ? (uint64_t)i : 300000 + 12345 * (uint64_t)i;
        r[i] = (stream_range){&file[i % 2], SIZE - bytes, bytes};
    }
    reads_right_in_all_ways(r, 20);
    r[0] = (stream_range){&file[0], 0, SIZE};
    reads_right_in_all_ways(r, 1);
    reads_right_in_all_ways(r, 0);
}
END_TEST

START_TEST(reads_what_the_page_cache_holds_from_there)
{
    static char warm[SIZE / 2];
    err e = ERR_INIT;
    const stream_range r[] = {{&file[0], 0, SIZE}, {&file[1], 13, SIZE - 13}};
    ASSERT_OK(in_read(&file[0], 0, warm, sizeof warm, &e), e);
    reads_right_in_all_ways(r, 2);
    ASSERT_OK(in_read(&file[0], SIZE / 2, warm, sizeof warm, &e), e);
    reads_right_in_all_ways(r, 2);
}
END_TEST

START_TEST(reads_many_small_ranges_with_large_ones_between)
{
    enum { N = 20000 };
    err e = ERR_INIT;
    stream_range *r = mem_new(N, sizeof *r, "test", &e);
    ck_assert_ptr_nonnull(r);
    uint64_t at = 0;
    for (int i = 0; i < N; i++) {
        uint64_t bytes = i % 1000 == 7 ? 400000 : i % 100 == 9 ? 90000 : (uint64_t)(i % 37);
        if (at + bytes > SIZE)
            at = (uint64_t)(i % 17);
        r[i] = (stream_range){&file[i / 5000 % 2], at, bytes};
        at += bytes + (i % 3 ? 0 : 11);
    }
    reads_right_in_all_ways(r, N);
    free(r);
}
END_TEST

// The ranges that are read, then a failure with `words` that stays.
static void fails_behind(const stream_range *range, int64_t n_good, int64_t n, bool fails,
                         err_kind kind, const char *words)
{
    for (int readers = 1; readers <= 4; readers++) {
        err e = ERR_INIT;
        list l = {.range = range, .n = n, .fails = fails};
        stream_options o = {.readers = readers};
        stream *s;
        const void *bytes;
        uint64_t got;
        ASSERT_OK(stream_open(&s, from_list, &l, &o, &e), e);
        for (int64_t i = 0; i < n_good; i++)
            for (uint64_t k = 0; k < range[i].bytes; k += got) {
                ASSERT_OK(stream_take(s, range[i].bytes - k, &bytes, &got, &e), e);
                ck_assert_int_eq(memcmp(bytes, expected(&range[i]) + k, got), 0);
            }
        if (n_good < n) // what is there of the bad range
            while (stream_take(s, UINT64_MAX, &bytes, &got, &e))
                ck_assert_uint_gt(got, 0);
        for (int i = 0; i < 2; i++)
            ASSERT_FAILS(stream_take(s, 1, &bytes, &got, &refused), kind, words);
        stream_close(s);
    }
}

START_TEST(tells_an_error_where_it_lies)
{
    const stream_range past[] = {{&file[0], 0, 100}, {&file[1], 5, 3 * MIB}, {&file[0], 17, MIB},
                                 {&file[1], SIZE - 300000, 300001}, {&file[0], 0, 1000}};
    fails_behind(past, 3, 5, false, ERR_INPUT, "/b' ends early: ");
    const stream_range small[] = {{&file[0], 0, 100}, {&file[1], SIZE, 1}, {&file[0], 0, 1000}};
    fails_behind(small, 1, 3, false, ERR_INPUT,
                 "/b' ends early: 1 bytes expected at offset 5244114, 0 found");
    const stream_range wide[] = {{&file[0], 0, MIB}, {&file[1], 5, UINT64_MAX - 7}};
    fails_behind(wide, 1, 2, false, ERR_INPUT, "lie beyond any file");
    fails_behind(past, 3, 3, true, ERR_NO, "no more of them");
    fails_behind(past, 0, 0, true, ERR_NO, "no more of them");
}
END_TEST

START_TEST(a_file_that_shrank_is_a_sentence)
{
    const stream_range r[] = {{&file[0], 0, MIB}, {&file[1], 0, SIZE}};
    ck_assert_int_eq(truncate(temp_path(dir, "b"), 2 * MIB), 0);
    fails_behind(r, 1, 2, false, ERR_INPUT, "/b' ends early: ");
    ck_assert_int_eq(truncate(temp_path(dir, "b"), 0), 0);
    fails_behind(r, 1, 2, false, ERR_INPUT, "/b' ends early: ");
}
END_TEST

START_TEST(a_read_that_fails_names_file_and_offset)
{
    // A descriptor that cannot be read stands for a disk that does not answer.
    in_file bad = file[1];
    bad.fd = open(temp_path(dir, "b"), O_WRONLY);
    ck_assert_int_ge(bad.fd, 0);
    const stream_range r[] = {{&file[0], 0, MIB}, {&bad, 77, 100}};
    fails_behind(r, 1, 2, false, ERR_ENV, "/b' at offset 77: Bad file descriptor");
    (void)close(bad.fd);
}
END_TEST

START_TEST(closes_at_any_point)
{
    const stream_range r[] = {{&file[0], 0, SIZE}, {&file[1], 0, SIZE}, {&file[0], 7, 100},
                              {&file[0], 0, SIZE}};
    err e = ERR_INIT;
    const void *bytes;
    uint64_t got;
    for (int takes = 0; takes < 30; takes++) {
        list l = {.range = r, .n = COUNT_OF(r)};
        stream *s;
        ASSERT_OK(stream_open(&s, from_list, &l, &(stream_options){.readers = 1 + takes % 4}, &e),
                  e);
        for (int i = 0; i < takes; i++)
            ASSERT_OK(stream_take(s, 100000 * (uint64_t)(takes + 1), &bytes, &got, &e), e);
        stream_close(s);
    }
    stream_close(NULL);
}
END_TEST

START_TEST(asking_for_more_than_there_is_is_our_mistake)
{
    static char to[200];
    const stream_range r[] = {{&file[0], 0, 100}};
    err e = ERR_INIT;
    list l = {.range = r, .n = 1};
    stream *s;
    ASSERT_OK(stream_open(&s, from_list, &l, &(stream_options){0}, &e), e);
    ASSERT_FAILS(stream_read(s, to, 101, &refused), ERR_INTERNAL, "ended 1 bytes early");
    stream_close(s);
}
END_TEST

START_TEST(lends_what_lies_together_and_leaves_the_rest_to_be_read)
{
    static char to[3 * MIB];
    const stream_range r[] = {{&file[0], 5, SIZE - 5}, {&file[1], SIZE - 10, 11}};
    const void *bytes;
    uint64_t got;
    for (int buffered = 0; buffered < 2; buffered++) {
        err e = ERR_INIT;
        list l = {.range = r, .n = 2};
        stream *s;
        stream_options o = {.memory = 64 << 20, .buffered = buffered};
        ASSERT_OK(stream_open(&s, from_list, &l, &o, &e), e);
        ASSERT_OK(stream_take(s, 2, &bytes, &got, &e), e);
        ck_assert_uint_eq(got, 2);
        bytes = stream_lend(s, SIZE - 8); // over many blocks, all but the last byte
        ck_assert_ptr_nonnull(bytes);
        ck_assert_int_eq(memcmp(bytes, content + 7, SIZE - 8), 0);
        ck_assert_ptr_null(stream_lend(s, 12)); // cannot be read
        ASSERT_FAILS(stream_read(s, to, 12, &refused), ERR_INPUT, "/b' ends early: ");
        stream_close(s);
        l.at = 0;
        o.memory = STREAM_LEAST;
        ASSERT_OK(stream_open(&s, from_list, &l, &o, &e), e);
        ck_assert_ptr_null(stream_lend(s, sizeof to)); // more than all blocks
        ASSERT_OK(stream_read(s, to, sizeof to, &e), e);
        ck_assert_int_eq(memcmp(to, content + 5, sizeof to), 0);
        stream_close(s);
    }
}
END_TEST

Suite *suite_stream(void)
{
    Suite *s = suite_create("stream");
    TCase *disk = tcase_create("disk"), *memory = tcase_create("memory");
    tcase_add_checked_fixture(disk, set_up, tear_down);
    tcase_add_checked_fixture(memory, set_up_in_memory, tear_down);
    TCase *both[] = {disk, memory};
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        tcase_add_test(both[i], reads_from_any_offset_any_length);
        tcase_add_test(both[i], reads_up_to_the_end_of_a_file);
        tcase_add_test(both[i], reads_what_the_page_cache_holds_from_there);
        tcase_add_test(both[i], reads_many_small_ranges_with_large_ones_between);
        tcase_add_test(both[i], tells_an_error_where_it_lies);
        tcase_add_test(both[i], a_file_that_shrank_is_a_sentence);
        tcase_add_test(both[i], a_read_that_fails_names_file_and_offset);
        tcase_add_test(both[i], closes_at_any_point);
        tcase_add_test(both[i], lends_what_lies_together_and_leaves_the_rest_to_be_read);
        tcase_add_test(both[i], asking_for_more_than_there_is_is_our_mistake);
        suite_add_tcase(s, both[i]);
    }
    return s;
}
