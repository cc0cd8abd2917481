// SPDX-License-Identifier: Apache-2.0
// Limits that no small file can reach, at the limit and one above (docs/limits.md), and what the
// worst headers cost.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/json.h"
#include "base/jsonscan.h"
#include "convert/recipe.h"
#include "convert/saved_plan.h"
#include "formats/checkpoint.h"
#include "formats/shards.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_limits(void);

static const char *dir;

static void set_up(void) { dir = temp_dir_make(); }

static void tear_down(void) { temp_dir_remove(dir); }

// A file of `size` bytes that begins with `text`, the rest a hole.
static void hollow(const char *name, const char *text, uint64_t size)
{
    temp_write(dir, name, text, strlen(text));
    ck_assert_int_eq(truncate(temp_path(dir, name), (off_t)size), 0);
}

START_TEST(json_trees_have_at_most_4_mi_values)
{
    enum { MOST = 4 << 20 };
    json *j;
    size_t len = 2 * (size_t)MOST; // the array and MOST numbers: one value too many
    char *text = malloc(len + 2);
    ck_assert_ptr_nonnull(text);
    text[0] = '[';
    for (size_t i = 0; i < MOST; i++)
        memcpy(text + 1 + 2 * i, "0,", 2);
    text[len] = ']';
    ASSERT_REFUSED(json_parse(&j, text, len + 1, "x", &refused), "more than 4194304 values");
    text[len - 2] = '}'; // behind as many as are allowed, so that no tree has to be made
    ASSERT_REFUSED(json_parse(&j, text, len - 1, "x", &refused), "expected ',' or ']', found '}'");
    free(text);
}
END_TEST

START_TEST(json_trees_come_from_at_most_64_mib)
{
    enum { MOST = 64 << 20 };
    err e = ERR_INIT;
    json *j;
    char *text = malloc((size_t)MOST + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', (size_t)MOST + 1);
    memcpy(text, "{}", 2);
    ASSERT_OK(json_parse(&j, text, MOST, "x", &e), e);
    json_free(j);
    ASSERT_REFUSED(json_parse(&j, text, (size_t)MOST + 1, "x", &refused),
                   "x: 67108865 bytes of JSON, the limit is 67108864");
    free(text);
}
END_TEST

START_TEST(strings_of_the_scanner_have_the_length_that_was_asked_for)
{
    static const struct {
        const char *text;
        bool ok;
    } rows[] = {{"\"abcd\"", true}, {"\"abcde\"", false}, {"\"\\u0061bc\\n\"", true},
                {"\"ab\\ncd\"", false}, {"\"\"", true}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        err e = ERR_INIT;
        jsonscan s;
        js_init(&s, rows[i].text, strlen(rows[i].text), 1);
        s.max_text = 4;
        ck_assert_msg(js_next(&s, &e) == rows[i].ok, "%s", rows[i].text);
        ck_assert_str_eq(e.text, rows[i].ok ? "" : "bad JSON at byte 0: a string of more than 4 "
                                                   "bytes");
        js_free(&s);
    }
}
END_TEST

// Above the limit a file is refused for its size, at the limit for its content.
START_TEST(an_index_has_at_most_256_mib)
{
    checkpoint *c;
    hollow(SHARD_INDEX_NAME, "{", SHARD_INDEX_MAX_BYTES + (uint64_t)1);
    ASSERT_REFUSED(checkpoint_open(&c, dir, NULL, &refused),
                   "has 268435457 bytes, the most allowed here is 268435456");
    hollow(SHARD_INDEX_NAME, "{", SHARD_INDEX_MAX_BYTES);
    ASSERT_REFUSED(checkpoint_open(&c, dir, NULL, &refused), "expected a key, found byte 0x00");
}
END_TEST

START_TEST(a_recipe_has_at_most_8_mib)
{
    recipe r = {0};
    hollow("r", "{", RECIPE_MAX_BYTES + (uint64_t)1);
    ASSERT_REFUSED(recipe_read(&r, temp_path(dir, "r"), &refused),
                   "has 8388609 bytes, the most allowed here is 8388608");
    hollow("r", "{", RECIPE_MAX_BYTES);
    ASSERT_REFUSED(recipe_read(&r, temp_path(dir, "r"), &refused), "found byte 0x00");
    recipe_free(&r);
}
END_TEST

START_TEST(a_plan_has_at_most_256_mib_and_16_in_its_first_line)
{
    saved_plan f;
    hollow("p", "{", SAVED_PLAN_LARGEST + (uint64_t)1);
    ASSERT_REFUSED(saved_plan_open(&f, temp_path(dir, "p"), &refused),
                   "has 268435457 bytes; a plan has at most 268435456");
    hollow("p", "{", SAVED_PLAN_LARGEST);
    ASSERT_REFUSED(saved_plan_open(&f, temp_path(dir, "p"), &refused), "it has no first line");
}
END_TEST

// ---- a header of 95 MiB ----------------------------------------------------------------------

enum { LARGE = 95 << 20 };

// Writes tensors of one byte each, the last first, until LARGE bytes are full; the file is sparse
// behind its header. How many there are.
static int64_t write_large(const char *name)
{
    enum { LINE = 68 };
    int64_t n = 0;
    char *text = malloc(LARGE), line[LINE + 1];
    ck_assert_ptr_nonnull(text);
    size_t at = 8;
    text[at++] = '{';
    for (const int64_t most = (LARGE - 16) / LINE; n < most; n++) {
        long long i = most - 1 - n;
        int len = snprintf(line, sizeof line,
                           "\"%llx\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[%lld,%lld]},",
                           i, i, i + 1);
        ck_assert_int_le(len, LINE);
        memcpy(text + at, line, (size_t)len);
        at += (size_t)len;
    }
    text[at - 1] = '}';
    uint64_t header = LARGE - 8;
    memset(text + at, ' ', LARGE - at);
    memcpy(text, &header, sizeof header);
    temp_write(dir, name, text, LARGE);
    free(text);
    ck_assert_int_eq(truncate(temp_path(dir, name), LARGE + n), 0);
    return n;
}

// Bytes of address space of this process.
static uint64_t address_space(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fscanf(f, "%llu", &pages), 1);
    (void)fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

// Lets this process have so many bytes more; not where a sanitizer's shadow takes terabytes.
static void allow_bytes(uint64_t more)
{
    const uint64_t shadow = (uint64_t)1 << 40;
    struct rlimit limit;
    uint64_t now = address_space();
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = now + more;
    if (now < shadow)
        ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

START_TEST(a_header_of_95_mib_is_listed_within_twice_its_size)
{
    err e = ERR_INIT;
    checkpoint *c;
    tensor t;
    char last[32];
    int64_t n = write_large("large");
    allow_bytes(2 * (uint64_t)LARGE);
    ASSERT_OK(checkpoint_list(&c, temp_path(dir, "large"), NULL, &e), e);
    ck_assert_int_eq(checkpoint_count(c), n);
    (void)snprintf(last, sizeof last, "%llx", (unsigned long long)n - 1);
    ck_assert_int_eq(checkpoint_index_of(c, last), n - 1);
    checkpoint_get(c, n - 1, &t);
    ck_assert_str_eq(t.name, last);
    ck_assert_uint_eq(t.offset, LARGE + (uint64_t)n - 1);
    ck_assert_uint_eq(t.bytes, 1);
    checkpoint_close(c);
}
END_TEST

// Writes a GGUF with tensors of no elements until LARGE bytes are full. How many there are.
static int64_t write_large_gguf(const char *name)
{
    enum { INFO = 8 + 8 + 4 + 8 + 4 + 8 }; // a name of 8 digits
    const int64_t n = (LARGE - 24) / INFO;
    char *text = calloc(1, LARGE), *p = text + 24;
    ck_assert_ptr_nonnull(text);
    memcpy(text, "GGUF\3", 5);
    memcpy(text + 8, &n, sizeof n);
    for (int64_t i = 0; i < n; i++, p += INFO) {
        char digits[9];
        p[0] = 8;
        (void)snprintf(digits, sizeof digits, "%08x", (unsigned)i);
        memcpy(p + 8, digits, 8);
        p[16] = 1;
    }
    temp_write(dir, name, text, LARGE);
    free(text);
    return n;
}

START_TEST(a_gguf_header_of_95_mib_is_listed_within_twice_its_size)
{
    err e = ERR_INIT;
    checkpoint *c;
    tensor t;
    int64_t n = write_large_gguf("large.gguf");
    allow_bytes(2 * (uint64_t)LARGE);
    ASSERT_OK(checkpoint_list(&c, temp_path(dir, "large.gguf"), NULL, &e), e);
    ck_assert_int_eq(checkpoint_count(c), n);
    checkpoint_get(c, n - 1, &t);
    ck_assert_int_eq(checkpoint_index_of(c, t.name), n - 1);
    ck_assert(t.rank == 1 && t.bytes == 0);
    checkpoint_close(c);
}
END_TEST

Suite *suite_limits(void)
{
    Suite *s = suite_create("limits");
    TCase *c = tcase_create("limits");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, json_trees_have_at_most_4_mi_values);
    tcase_add_test(c, json_trees_come_from_at_most_64_mib);
    tcase_add_test(c, strings_of_the_scanner_have_the_length_that_was_asked_for);
    tcase_add_test(c, an_index_has_at_most_256_mib);
    tcase_add_test(c, a_recipe_has_at_most_8_mib);
    tcase_add_test(c, a_plan_has_at_most_256_mib_and_16_in_its_first_line);
    tcase_add_test(c, a_header_of_95_mib_is_listed_within_twice_its_size);
    tcase_add_test(c, a_gguf_header_of_95_mib_is_listed_within_twice_its_size);
    tcase_set_timeout(c, 120);
    suite_add_tcase(s, c);
    return s;
}
