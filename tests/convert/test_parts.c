// SPDX-License-Identifier: Apache-2.0
// Whole conversions in parts: in any order, killed, repeated, twice at the same time, with another
// number of parts the second time. The folder is in every case the one that a single run makes.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "convert/journal.h"
#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_parts(void);

static char expected[65];

static void set_up(void)
{
    make_set_up();
    make_use_qwen3();
    temp_write(the.t.dir, "README.md", "read me", 7);
    make_quantize("int4-g32", SCOPE_ALL_LINEAR, LAYOUT_EXPERTS);
    make_runs();
    folder_digest(the.out, expected);
    folder_remove(the.out);
}

static bool try_part(int64_t part, int64_t parts, err *e)
{
    make_options o = the.order;
    o.mode = OUTPUT_PART;
    o.part = part;
    o.parts = parts;
    return make_checkpoint(&o, &the.report, e);
}

static void run_part(int64_t part, int64_t parts)
{
    err e = ERR_INIT;
    ASSERT_OK(try_part(part, parts, &e), e);
}

// A dry run before it changes nothing and foresees how it ends, word for word.
static bool try_merge(err *e)
{
    char before[65] = "", after[65] = "";
    make_options o = the.order;
    err foreseen = ERR_INIT;
    o.mode = OUTPUT_MERGE;
    o.dry_run = true;
    bool there = folder_has(the.top, "out");
    if (there)
        folder_digest(the.out, before);
    bool would = make_checkpoint(&o, &the.report, &foreseen);
    ck_assert_int_eq(folder_has(the.top, "out"), there);
    if (there)
        ck_assert_str_eq(before, folder_digest(the.out, after));
    o.dry_run = false;
    bool ok = make_checkpoint(&o, &the.report, e);
    ck_assert_int_eq(ok, would);
    if (!ok) {
        ck_assert_int_eq(e->kind, foreseen.kind);
        ck_assert_str_eq(e->text, foreseen.text);
    }
    return ok;
}

static void merges(void)
{
    err e = ERR_INIT;
    char found[65];
    ASSERT_OK(try_merge(&e), e);
    ck_assert_str_eq(folder_digest(the.out, found), expected);
}

START_TEST(parts_in_any_order_merge_to_what_one_run_makes)
{
    static const int orders[][3] = {{1, 2, 3}, {3, 1, 2}, {2, 3, 1}};
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        for (int k = 0; k < 3; k++)
            run_part(orders[i][k], 3);
        ck_assert_int_eq(folder_visible(the.out), 0);
        merges();
        folder_remove(the.out);
    }
}
END_TEST

START_TEST(a_conversion_is_merged_too_and_lossy_ones_are_refused_by_part_and_merge)
{
    char found[65];
    make_convert(LAYOUT_EXPERTS);
    make_runs();
    folder_digest(the.out, expected);
    folder_remove(the.out);
    for (int k = 4; k > 0; k--)
        run_part(k, 4);
    merges();
    folder_remove(the.out);
    // A value that bfloat16 cannot hold: no merge hides it.
    const float value = 1.00001f;
    float row[64] = {0};
    row[3] = value;
    tiny_drop(&the.t, "model.layers.1.mlp.gate.weight");
    float gate[4 * 64] = {0};
    memcpy(gate, row, sizeof row);
    tiny_add(&the.t, "model.layers.1.mlp.gate.weight", DT_F32, 2, 4, 64, gate);
    tiny_write(&the.t, tiny_qwen3_moe_config);
    the.order.plan.scope = SCOPE_MATRICES;
    the.order.plan.layout = LAYOUT_PLAIN;
    the.order.plan.shard_bytes = 100000;
    the.order.plan.codec = codec_find("bf16");
    the.order.refuse_changes = true;
    int refusals = 0;
    for (int k = 1; k <= 3; k++)
        refusals += !try_part(k, 3, &refused);
    ck_assert_int_eq(refusals, 1);
    ck_assert_int_eq(refused.kind, ERR_NO);
    // The part that lost it has left a note, whatever the others do.
    make_state s;
    err e = ERR_INIT;
    ASSERT_OK(make_look(&the.order, &s, &e), e);
    ck_assert_int_eq(s.n_done, s.n_units);
    ck_assert_int_eq(s.n_refused, 1);
    for (int64_t i = 0; i < s.n_units; i++) {
        ck_assert_int_eq(s.refused[i].weights, s.refused[i].changed);
        refusals -= s.refused[i].weights == 1;
    }
    ck_assert_int_eq(refusals, 0);
    make_state_free(&s);
    ASSERT_FAILS(try_merge(&refused), ERR_NO, "1 values of 1 tensors would change");
    ck_assert(!folder_has(the.top, "out"));
    // Also where other parts are still to come: that cannot mend it.
    for (int k = 1; refusals == 0; k++)
        refusals += !try_part(k, 3, &refused);
    ASSERT_FAILS(try_merge(&refused), ERR_NO, "1 values of 1 tensors would change");
    ck_assert(!folder_has(the.top, "out"));
    the.order.refuse_changes = false;
    the.order.count_changes = true;
    for (int k = 1; k <= 3; k++)
        run_part(k, 3);
    ASSERT_OK(make_look(&the.order, &s, &e), e);
    ck_assert_int_eq(s.n_refused, 0);
    make_state_free(&s);
    ASSERT_OK(try_merge(&e), e);
    ck_assert_int_eq(the.report.changed_values, 1);
    folder_digest(the.out, found);
    folder_remove(the.out);
    make_runs();
    ck_assert_str_eq(found, folder_digest(the.out, expected));
}
END_TEST

START_TEST(more_parts_than_units_leave_nothing_for_some)
{
    for (int k = 9; k > 0; k--) {
        run_part(k, 9);
        ck_assert_int_le(the.report.slice.n, 1);
    }
    merges();
}
END_TEST

START_TEST(the_number_of_parts_may_change)
{
    run_part(2, 2);
    run_part(1, 4);
    for (int k = 1; k <= 3; k++)
        run_part(k, 3);
    merges();
}
END_TEST

START_TEST(a_merge_names_what_is_missing_and_changes_nothing)
{
    char before[65], after[65];
    ASSERT_FAILS(try_merge(&refused), ERR_ENV, "nothing to merge");
    ck_assert(!folder_has(the.top, "out"));
    run_part(1, 4);
    run_part(3, 4);
    folder_digest(the.out, before);
    ASSERT_FAILS(try_merge(&refused), ERR_ENV, "2 of 4 units are missing: "
                 "'model-00002-of-00004.safetensors', 'model-00004-of-00004.safetensors'; nothing "
                 "was merged");
    ck_assert_str_eq(before, folder_digest(the.out, after));
}
END_TEST

START_TEST(a_merge_repeated_has_nothing_to_do)
{
    char found[65];
    err e = ERR_INIT;
    run_part(1, 1);
    merges();
    ASSERT_OK(try_merge(&e), e);
    ck_assert(the.report.already_complete);
    run_part(1, 3);
    ck_assert(the.report.already_complete);
    make_runs();
    ck_assert(the.report.already_complete);
    ck_assert_str_eq(folder_digest(the.out, found), expected);
}
END_TEST

START_TEST(damage_is_found_and_mended_by_running_the_part_again)
{
    static const char unit[] = "model-00003-of-00004.safetensors";
    static const char note[] = ".model-00003-of-00004.safetensors.note";
    for (int what = 0; what < 5; what++) {
        for (int k = 1; k <= 3; k++)
            run_part(k, 3);
        const char *data = folder_staged(the.out, unit);
        if (what == 0)
            folder_flip(the.out, note, 9);
        else if (what == 1)
            ck_assert_int_eq(truncate(temp_path(the.out, note), 50), 0);
        else if (what == 2)
            ck_assert_int_eq(unlink(temp_path(the.out, note)), 0);
        else if (what == 3)
            folder_flip(the.out, data, -20);
        else
            ck_assert_int_eq(truncate(temp_path(the.out, data), 50), 0);
        ASSERT_FAILS(try_merge(&refused), ERR_ENV, unit);
        for (int k = 1; k <= 3; k++)
            run_part(k, 3);
        merges();
        folder_remove(the.out);
    }
}
END_TEST

START_TEST(other_orders_inputs_and_runs_are_refused_between_parts)
{
    err e = ERR_INIT;
    run_part(1, 3);
    the.order.plan.recipe = "another";
    ASSERT_FAILS(try_part(2, 3, &refused), ERR_ENV, "holds an unfinished run of another plan");
    ASSERT_FAILS(try_merge(&refused), ERR_ENV, "holds an unfinished run of another plan");
    the.order.plan.recipe = "";
    folder_flip(the.t.dir, "model.safetensors", -1);
    ASSERT_FAILS(try_part(2, 3, &refused), ERR_ENV, "an input has changed since: it was "
                 "'model.safetensors: ");
    ASSERT_FAILS(try_merge(&refused), ERR_ENV, "an input has changed since");
    temp_write(the.t.dir, "README.md", "read it", 7);
    ASSERT_FAILS(try_part(2, 3, &refused), ERR_ENV, "another plan");
    folder_remove(the.out);
    ASSERT_OK(try_part(2, 3, &e), e);
}
END_TEST

START_TEST(how_far_it_is_can_be_seen_at_any_time)
{
    err e = ERR_INIT;
    make_state s;
    char before[65], after[65];
    the.order.parts = 4;
    ASSERT_OK(make_look(&the.order, &s, &e), e);
    ck_assert(!s.published && s.n_done == 0 && s.n_units == 4 && s.bytes_done == 0);
    ck_assert(!folder_has(the.top, "out"));
    make_state_free(&s);
    run_part(2, 4);
    folder_digest(the.out, before);
    ASSERT_OK(make_look(&the.order, &s, &e), e);
    ck_assert_int_eq(s.n_done, the.report.slice.n);
    for (int64_t i = 0; i < s.n_units; i++)
        ck_assert_int_eq(s.done[i], s.part[i] == 2);
    ck_assert_uint_gt(s.bytes_done, 0);
    ck_assert_uint_lt(s.bytes_done, s.bytes);
    make_state_free(&s);
    ck_assert_str_eq(before, folder_digest(the.out, after));
    run_part(1, 1);
    merges();
    ASSERT_OK(make_look(&the.order, &s, &e), e);
    ck_assert(s.published && s.n_done == 4 && s.bytes_done == s.bytes);
    make_state_free(&s);
    the.order.plan.recipe = "another";
    ASSERT_FAILS(make_look(&the.order, &s, &refused), ERR_ENV, "the output of another plan");
}
END_TEST

// ---- real processes ----

// Child `i` runs part[i] of 3 when the gate opens.
static void at_once(const int64_t *part, int n)
{
    pid_t child[8];
    int gate[2];
    ck_assert_int_eq(pipe(gate), 0);
    for (int i = 0; i < n; i++) {
        child[i] = fork();
        ck_assert_int_ge(child[i], 0);
        if (child[i] == 0) {
            char byte;
            err e = ERR_INIT;
            (void)close(gate[1]);
            (void)!read(gate[0], &byte, 1);
            if (try_part(part[i], 3, &e))
                _exit(0);
            (void)fprintf(stderr, "part %d: %s\n", (int)part[i], e.text);
            _exit(1);
        }
    }
    (void)close(gate[0]);
    (void)close(gate[1]);
    for (int i = 0; i < n; i++) {
        int status;
        ck_assert_int_eq(waitpid(child[i], &status, 0), child[i]);
        ck_assert_int_eq(status, 0);
    }
}

START_TEST(parts_at_the_same_time_and_twice_merge_to_what_one_run_makes)
{
    for (int again = 0; again < 4; again++) {
        at_once((int64_t[]){3, 1, 2, 2, 1}, 5);
        merges();
        folder_remove(the.out);
    }
}
END_TEST

static void second_part(void *ctx)
{
    err e = ERR_INIT;
    (void)ctx;
    if (!try_part(2, 3, &e))
        _exit(1);
}

START_TEST(one_part_killed_and_repeated_one_run_twice_at_the_same_time)
{
    bool traced = true, killed = true;
    for (int n = 2; killed; n += 5) {
        run_part(3, 3);
        killed = killed_at(n, second_part, NULL, &traced);
        if (!traced) {
            (void)printf("skipped: processes cannot be traced here\n");
            return;
        }
        at_once((int64_t[]){1, 2, 1}, 3);
        merges();
        folder_remove(the.out);
    }
}
END_TEST

static void merge_body(void *ctx)
{
    err e = ERR_INIT;
    (void)ctx;
    if (!try_merge(&e))
        _exit(1);
}

START_TEST(a_merge_that_is_killed_goes_on)
{
    bool traced = true, killed = true;
    for (int n = 1; killed; n += 7) {
        run_part(1, 1);
        killed = killed_at(n, merge_body, NULL, &traced);
        if (!traced) {
            (void)printf("skipped: processes cannot be traced here\n");
            return;
        }
        merges();
        folder_remove(the.out);
    }
}
END_TEST

Suite *suite_parts(void)
{
    Suite *s = suite_create("parts");
    TCase *c = tcase_create("parts");
    tcase_add_checked_fixture(c, set_up, make_tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, parts_in_any_order_merge_to_what_one_run_makes);
    tcase_add_test(c, a_conversion_is_merged_too_and_lossy_ones_are_refused_by_part_and_merge);
    tcase_add_test(c, more_parts_than_units_leave_nothing_for_some);
    tcase_add_test(c, the_number_of_parts_may_change);
    tcase_add_test(c, a_merge_names_what_is_missing_and_changes_nothing);
    tcase_add_test(c, a_merge_repeated_has_nothing_to_do);
    tcase_add_test(c, damage_is_found_and_mended_by_running_the_part_again);
    tcase_add_test(c, other_orders_inputs_and_runs_are_refused_between_parts);
    tcase_add_test(c, how_far_it_is_can_be_seen_at_any_time);
    tcase_add_test(c, parts_at_the_same_time_and_twice_merge_to_what_one_run_makes);
    tcase_add_test(c, one_part_killed_and_repeated_one_run_twice_at_the_same_time);
    tcase_add_test(c, a_merge_that_is_killed_goes_on);
    suite_add_tcase(s, c);
    return s;
}
