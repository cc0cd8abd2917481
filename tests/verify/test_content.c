// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/temp.h"
#include "verify/content.h"
#include "verify/content_scan.h"

Suite *suite_content(void);

enum { ELEMENTS = 700 * 1000 }; // of binary32: 2.8 MB, three blocks

static const char *dir;

static void set_up(void) { dir = temp_dir_make(); }
static void tear_down(void) { temp_dir_remove(dir); }

// One file with the tensors "a" and "b.weight_scale" of ELEMENTS ones each, then two damaged.
static checkpoint *damaged(void)
{
    err e = ERR_INIT;
    checkpoint *c;
    strbuf file = {0};
    tensor t[2] = {{.name = "a", .type = DT_F32, .rank = 1, .shape = {ELEMENTS}},
                   {.name = "b.weight_scale", .type = DT_F32, .rank = 1, .shape = {ELEMENTS}}};
    ck_assert_msg(st_write_header(&file, t, 2, NULL, 0, 8, &e), "%s", e.text);
    size_t start = file.len;
    for (int i = 0; i < 2 * ELEMENTS; i++)
        strbuf_add(&file, &(float){1}, sizeof(float));
    ck_assert(strbuf_ok(&file, &e));
    store_u32(file.text + start + 4 * (ELEMENTS - 1), 0x7fc00000);            // a's last
    store_u32(file.text + start + 4 * 300000, 0xff800000);                    // a, second block
    store_u32(file.text + start + 4 * (size_t)(ELEMENTS + 262144), 0x80000000); // b, block 2 begins
    temp_write(dir, "x.safetensors", file.text, file.len);
    strbuf_free(&file);
    ck_assert_msg(checkpoint_open(&c, temp_path(dir, "x.safetensors"), NULL, &e), "%s", e.text);
    return c;
}

START_TEST(counts_over_blocks_alike_on_any_number_of_threads)
{
    err e = ERR_INIT;
    static const int threads[] = {1, 2, 7};
    checkpoint *c = damaged();
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        pool *p;
        content_findings f = {0};
        content_extent x;
        ck_assert(pool_open(&p, threads[i], &e));
        ck_assert_msg(content_full(c, &(content_options){.pool = p}, &f, &x, &e), "%s", e.text);
        ck_assert_uint_eq(f.n, 2);
        ck_assert_str_eq(f.item[0].subject, "a");
        ck_assert_str_eq(f.item[0].what, "1 NaN, 1 infinite, the first at element 300000");
        ck_assert_str_eq(f.item[1].subject, "b.weight_scale");
        ck_assert_str_eq(f.item[1].what, "1 zero scale, the first at element 262144");
        content_findings_free(&f);
        pool_close(p);
    }
    checkpoint_close(c);
}
END_TEST

START_TEST(names_the_first_findings_and_counts_the_rest)
{
    enum { N = CONTENT_MOST_NAMED + 3 };
    err e = ERR_INIT;
    checkpoint *c;
    strbuf file = {0};
    content_findings f = {0};
    static tensor t[N];
    static char name[N][32];
    for (int i = 0; i < N; i++) {
        (void)snprintf(name[i], sizeof name[i], "%d.weight_scale", i);
        t[i] = (tensor){.name = name[i], .type = DT_F32, .rank = 1};
    }
    ck_assert_msg(st_write_header(&file, t, N, NULL, 0, 8, &e), "%s", e.text);
    temp_write(dir, "x.safetensors", file.text, file.len);
    ck_assert_msg(checkpoint_list(&c, temp_path(dir, "x.safetensors"), NULL, &e), "%s", e.text);
    ck_assert_msg(content_companions(c, &f, &e), "%s", e.text);
    ck_assert_uint_eq(f.n, CONTENT_MOST_NAMED);
    ck_assert_uint_eq(f.more, 3);
    ck_assert_str_eq(f.item[1].subject, "1.weight_scale");
    content_findings_free(&f);
    checkpoint_close(c);
    strbuf_free(&file);
}
END_TEST

static content_counts scan_as(const content_part *as, const tensor *t, const unsigned char *bytes,
                              uint64_t n, uint64_t piece)
{
    content_counts counts = {0};
    content_scan s;
    ck_assert(content_scan_begin(&s, t, as));
    for (uint64_t at = 0; at < n; at += piece)
        content_scan_add(&s, bytes + at, n - at < piece ? n - at : piece, &counts);
    return counts;
}

static content_counts scan_in_pieces(const tensor *t, const unsigned char *bytes, uint64_t n,
                                     uint64_t piece)
{
    return scan_as(&(content_part){.numbers = t->type}, t, bytes, n, piece);
}

static bool scans(const tensor *t)
{
    return content_scan_begin(&(content_scan){0}, t, &(content_part){.numbers = t->type});
}

START_TEST(elements_cut_by_the_pieces_count_as_whole_ones)
{
    static const dtype types[] = {DT_F64, DT_F32, DT_F16, DT_BF16, DT_F8_E4M3, DT_F8_E5M2,
                                  DT_F8_E8M0};
    static unsigned char bytes[8 * 3000];
    uint32_t x = 3;
    for (size_t i = 0; i < sizeof bytes; i++) {
        x = x * 1664525u + 1013904223u;
        bytes[i] = x >> 28 == 0 ? 0xff : x >> 28 == 1 ? 0x7f : x >> 28 == 2 ? 0xf0 : 0;
    }
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        tensor t = {.name = "x.weight_scale", .type = types[i]};
        content_counts whole = scan_in_pieces(&t, bytes, sizeof bytes, sizeof bytes);
        ck_assert_uint_gt(whole.nan, 0);
        ck_assert(whole.zero > 0 || types[i] == DT_F8_E8M0);
        for (uint64_t piece = 1; piece < 30; piece++) {
            content_counts cut = scan_in_pieces(&t, bytes, sizeof bytes, piece);
            ck_assert_int_eq(memcmp(&cut, &whole, sizeof cut), 0);
        }
    }
    ck_assert(!scans(&(tensor){.name = "x", .type = DT_I8}));
}
END_TEST

// Scales of blocks 1 and 4 of six are NaN and infinite: all of their values are.
START_TEST(blocks_are_looked_at_decoded)
{
    enum { BLOCKS = 6, BYTES = 34 };
    static unsigned char bytes[BLOCKS * BYTES];
    tensor t = {.name = "q", .type = DT_Q8_0};
    for (int b = 0; b < BLOCKS; b++) {
        store_u16(bytes + b * BYTES, b == 1 ? 0x7e00 : b == 4 ? 0x7c00 : 0x3c00);
        memset(bytes + b * BYTES + 2, 1, BYTES - 2);
    }
    for (uint64_t piece = 1; piece <= sizeof bytes; piece++) {
        content_counts n = scan_in_pieces(&t, bytes, sizeof bytes, piece);
        ck_assert_uint_eq(n.nan, 32);
        ck_assert_uint_eq(n.infinite, 32);
        ck_assert_uint_eq(n.zero, 0);
        ck_assert_uint_eq(n.first, 32);
    }
    t.type = DT_Q8_1; // no decoder
    ck_assert(!scans(&t));
    for (int type = DT_SAFETENSORS; type < DT_COUNT; type++)
        ck_assert_int_le(dtype_block_bytes((dtype)type), CONTENT_MAX_UNIT);
}
END_TEST

// Three slices of an order: never set, set and wrong twice, set and right. Then three shapes.
START_TEST(orders_and_shapes_cut_by_the_pieces_count_as_whole_ones)
{
    static const int32_t order[] = {-1, -1, -1, 0, -1, 3, 2, 0, 1};
    static const int64_t shapes[] = {2, 32, 2, 129, 1, 64};
    const content_part groups = {LOOK_ORDER, DT_I32, .groups = 3, .cols = 3};
    const content_part packed = {LOOK_SHAPE, DT_I64, .groups = 4, .rows = 2, .cols = 4};
    unsigned char bytes[sizeof shapes];
    for (uint64_t piece = 1; piece <= sizeof bytes; piece++) {
        for (size_t i = 0; i < COUNT_OF(order); i++)
            store_u32(bytes + 4 * i, (uint32_t)order[i]);
        content_counts n = scan_as(&groups, &(tensor){.name = "x.g_idx", .type = DT_I32}, bytes,
                                   sizeof order, piece);
        ck_assert_uint_eq(n.wrong, 2);
        ck_assert_uint_eq(n.first, 4);
        for (size_t i = 0; i < COUNT_OF(shapes); i++)
            store_u64(bytes + 8 * i, (uint64_t)shapes[i]);
        n = scan_as(&packed, &(tensor){.name = "x.weight_shape", .type = DT_I64}, bytes,
                    sizeof shapes, piece);
        ck_assert_uint_eq(n.wrong, 2);
        ck_assert_uint_eq(n.first, 1);
        ck_assert_int_eq(n.said[0], 2);
        ck_assert_int_eq(n.said[1], 129);
    }
}
END_TEST

static bool at_once(void *ctx)
{
    (void)ctx;
    return true;
}

START_TEST(stops_when_asked_to_between_blocks)
{
    err e = ERR_INIT;
    const events v = {.stop = at_once};
    checkpoint *c = damaged();
    content_findings f = {0};
    content_extent x;
    ck_assert(!content_full(c, &(content_options){.events = &v}, &f, &x, &e));
    ck_assert_int_eq(e.kind, ERR_INTERRUPTED);
    ck_assert_uint_eq(f.n, 0);
    content_findings_free(&f);
    checkpoint_close(c);
}
END_TEST

START_TEST(notices_a_file_that_changes_meanwhile)
{
    err e = ERR_INIT;
    checkpoint *c = damaged();
    content_findings f = {0};
    content_extent x;
    temp_write(dir, "x.safetensors", "short", 5);
    ck_assert(!content_full(c, &(content_options){0}, &f, &x, &e));
    ck_assert_int_eq(e.kind, ERR_INPUT);
    content_findings_free(&f);
    checkpoint_close(c);
}
END_TEST

Suite *suite_content(void)
{
    Suite *s = suite_create("content");
    TCase *c = tcase_create("values");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, names_the_first_findings_and_counts_the_rest);
    tcase_add_test(c, counts_over_blocks_alike_on_any_number_of_threads);
    tcase_add_test(c, elements_cut_by_the_pieces_count_as_whole_ones);
    tcase_add_test(c, blocks_are_looked_at_decoded);
    tcase_add_test(c, orders_and_shapes_cut_by_the_pieces_count_as_whole_ones);
    tcase_add_test(c, stops_when_asked_to_between_blocks);
    tcase_add_test(c, notices_a_file_that_changes_meanwhile);
    suite_add_tcase(s, c);
    return s;
}
