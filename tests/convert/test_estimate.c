// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <unistd.h>

#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"

Suite *suite_estimate(void);

static void set_up(void)
{
    make_set_up();
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
}

static void estimates(const make_parts *k, run_slice slice, estimate *x)
{
    err e = ERR_INIT;
    const estimate_options with = {.output = the.out, .slice = slice};
    ck_assert_msg(estimate_plan(x, &k->p, &with, &e), "%s", e.text);
}

START_TEST(counts_what_the_slices_have_to_do)
{
    make_parts k;
    estimate all, one, sum = {0};
    uint64_t files = 0, sources = 0;
    int64_t values = 0;
    make_open_parts(&k);
    estimates(&k, (run_slice){0, k.p.n_files}, &all);
    for (int64_t f = 0; f < k.p.n_files; f++) {
        estimates(&k, (run_slice){f, 1}, &one);
        sum.read += one.read;
        sum.written += one.written;
        sum.coded += one.coded;
        files += k.p.file[f].bytes;
    }
    for (int64_t i = 0; i < checkpoint_count(k.source); i++) {
        const tensor_account *a = model_account(k.m, i);
        sources += checkpoint_at(k.source, i)->bytes;
        if (a->used && role_class_of(a->role) == CLASS_EXPERTS)
            values += checkpoint_at(k.source, i)->n_elements;
    }
    ck_assert_uint_eq(all.read, sources);
    ck_assert_uint_eq(all.written, files);
    ck_assert_int_eq(all.coded, values);
    ck_assert_uint_eq(sum.read, all.read);
    ck_assert_uint_eq(sum.written, all.written);
    ck_assert_int_eq(sum.coded, all.coded);
    ck_assert(all.read_rate > 0 && all.write_rate > 0 && all.code_rate > 0);
    double disk = (double)all.read / all.read_rate + (double)all.written / all.write_rate;
    double code = (double)all.coded / all.code_rate;
    ck_assert(all.shared);
    ck_assert(all.seconds >= (disk > code ? disk : code) * 0.999);
    make_close_parts(&k);
}
END_TEST

START_TEST(of_no_units_there_is_nothing_to_do)
{
    make_parts k;
    estimate x;
    make_open_parts(&k);
    estimates(&k, (run_slice){0, 0}, &x);
    ck_assert_uint_eq(x.read + x.written + (uint64_t)x.coded, 0);
    ck_assert(x.seconds >= 0 && x.seconds < 1e-9);
    make_close_parts(&k);
}
END_TEST

START_TEST(leaves_nothing_behind)
{
    the.order.dry_run = true;
    make_runs();
    ck_assert(the.report.estimate.seconds > 0);
    ck_assert_uint_gt(the.report.disk_needed, the.report.bytes_after);
    ck_assert_int_eq(folder_hidden(the.top), 0);
    ck_assert_int_ne(access(the.out, F_OK), 0);
}
END_TEST

static bool after_a_while(void *left) { return --*(int *)left < 0; }

// A slow file system takes its time for a sample.
START_TEST(stops_in_the_midst_of_reading_or_writing)
{
    make_parts k;
    make_convert(LAYOUT_EXPERTS);
    make_open_parts(&k);
    for (int calls = 0; calls < 3; calls++) {
        int left = calls;
        estimate x;
        const events stop = {.stop = after_a_while, .ctx = &left};
        const estimate_options with = {.output = the.other, .slice = {0, k.p.n_files},
                                       .events = &stop};
        ASSERT_FAILS(estimate_plan(&x, &k.p, &with, &refused), ERR_INTERRUPTED, "");
        ck_assert_int_eq(folder_hidden(the.top), 0);
    }
    make_close_parts(&k);
}
END_TEST

Suite *suite_estimate(void)
{
    Suite *s = suite_create("estimate");
    TCase *c = tcase_create("estimate");
    tcase_add_checked_fixture(c, set_up, make_tear_down);
    tcase_add_test(c, counts_what_the_slices_have_to_do);
    tcase_add_test(c, of_no_units_there_is_nothing_to_do);
    tcase_add_test(c, leaves_nothing_behind);
    tcase_add_test(c, stops_in_the_midst_of_reading_or_writing);
    suite_add_tcase(s, c);
    return s;
}
