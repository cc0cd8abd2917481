// SPDX-License-Identifier: Apache-2.0
// Many processes in one output folder: parts beside each other, the same part twice, first runs at
// the same moment, and who excludes whom.
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "convert/journal.h"
#include "tests/folder.h"
#include "tests/output_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_output_shared(void);

static const run whole = RUN, merge = {.first = "first shard", .plan = &plan_a,
                                       .input_line = "model: 5 bytes", .mode = OUTPUT_MERGE},
                 part = {.first = "first shard", .plan = &plan_a,
                         .input_line = "model: 5 bytes", .mode = OUTPUT_PART};

static output *opened(const run *r)
{
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    return o;
}

static bool try_part(int which, const char *text, err *e)
{
    output *o;
    bool complete;
    output_order w = order_of(&part);
    w.own_first = (uint64_t)which;
    w.n_own = 1;
    if (!output_open(&o, &w, &complete, e))
        return false;
    bool ok = complete || stage(o, two[which].name, text, e);
    output_close(o);
    return ok;
}

static void run_part(int which, const char *text)
{
    err e = ERR_INIT;
    ASSERT_OK(try_part(which, text, &e), e);
}

static const char *const texts[] = {"first shard", "second shard"};

// ---- parts ----

START_TEST(parts_and_a_merge_make_what_one_run_makes)
{
    char expected[65], found[65];
    run_well(&whole, false);
    folder_digest(dir, expected);
    for (int swapped = 0; swapped < 2; swapped++) {
        folder_remove(dir);
        for (int i = 0; i < 2; i++)
            run_part(i ^ swapped, texts[i ^ swapped]);
        ck_assert_int_eq(folder_visible(dir), 0);
        run_well(&merge, false);
        ck_assert_str_eq(expected, folder_digest(dir, found));
    }
    run_well(&merge, true);
    run_well(&part, true);
}
END_TEST

START_TEST(nothing_is_merged_where_no_part_was_run)
{
    bool complete;
    ASSERT_FAILS(run_all(&merge, &complete, &refused), ERR_ENV, "no part has been run");
    ck_assert_int_eq(temp_count(top), 1);
    temp_mkdir(top, "out");
    refuses(&merge, "there is nothing to merge");
}
END_TEST

START_TEST(parts_work_beside_each_other_and_exclude_the_rest)
{
    output *a = opened(&part), *b = opened(&part);
    err e = ERR_INIT;
    refuses(&whole, "another run is at work in this folder");
    refuses(&merge, "another run is at work in this folder");
    ASSERT_OK(stage(a, two[0].name, texts[0], &e), e);
    ASSERT_OK(stage(b, two[1].name, texts[1], &e), e);
    output_close(a);
    refuses(&merge, "another run is at work in this folder");
    output_close(b);
    output *m = opened(&merge);
    refuses(&part, "a whole run or a merge is at work in this folder");
    ASSERT_OK(go(m, &merge, &e), e);
    output_close(m);
    holds_result(&whole);
}
END_TEST

START_TEST(a_whole_run_finishes_what_parts_began)
{
    run_part(1, texts[1]);
    run_well(&whole, false);
    holds_result(&whole);
}
END_TEST

START_TEST(a_part_that_finished_nothing_leaves_nothing_unless_others_work)
{
    output *a = opened(&part), *b = opened(&part);
    err e = ERR_INIT;
    output_close(a);
    ck_assert(folder_has(dir, JOURNAL_NAME));
    ASSERT_OK(stage(b, two[0].name, texts[0], &e), e);
    output_abandon(b); // keeps what is finished
    ck_assert(folder_has(dir, JOURNAL_NAME));
    ck_assert_str_ne(folder_staged(dir, two[0].name), "");
    folder_remove(dir);
    output_close(opened(&part));
    ck_assert_int_eq(temp_count(top), 1);
}
END_TEST

START_TEST(a_part_asks_for_the_space_of_its_own_files_only)
{
    static const output_file large[] = {{"model-00001-of-00002.safetensors", 11},
                                        {"model-00002-of-00002.safetensors", UINT64_C(1) << 60}};
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(&part);
    w.file = large;
    w.n_own = 1;
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    output_close(o);
    w.own_first = 1;
    ASSERT_FAILS(output_open(&o, &w, &complete, &refused), ERR_ENV, "1152921504606846976 bytes");
}
END_TEST

START_TEST(scratch_is_space_too)
{
    static const run *const orders[] = {&part, &whole};
    output *o;
    bool complete;
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        output_order w = order_of(orders[i]);
        uint64_t before = i == 0 ? w.file[0].bytes : w.bytes;
        char words[64];
        w.n_own = i == 0;
        w.scratch = (UINT64_C(1) << 60) - before;
        (void)snprintf(words, sizeof words, "%llu bytes needed", 1ULL << 60);
        ASSERT_FAILS(output_open(&o, &w, &complete, &refused), ERR_ENV, words);
    }
}
END_TEST

START_TEST(leftovers_go_when_a_part_is_alone_and_not_before)
{
    static const char leftover[] =
        "..model-00002-of-00002.safetensors.01234567.staged.1.0123456789abcdef.part";
    output *a = opened(&part);
    err e = ERR_INIT;
    temp_write(dir, leftover, "x", 1);
    output_close(opened(&part));
    ck_assert(folder_has(dir, leftover));
    ASSERT_OK(stage(a, two[0].name, texts[0], &e), e);
    output_close(a);
    output_close(opened(&part));
    ck_assert(!folder_has(dir, leftover));
}
END_TEST

START_TEST(force_does_not_undo_what_parts_have_made)
{
    char before[65], after[65];
    run forced = part;
    forced.force = true;
    run_well(&whole, false);
    folder_digest(dir, before);
    run_well(&forced, true);
    ck_assert_str_eq(before, folder_digest(dir, after));
    forced.plan = &plan_b;
    forced.first = "other shard";
    output *o = opened(&forced); // another plan's output may be replaced in parts
    err e = ERR_INIT;
    ASSERT_OK(stage(o, two[0].name, forced.first, &e), e);
    ASSERT_OK(stage(o, two[1].name, texts[1], &e), e);
    output_close(o);
    ck_assert(folder_has(dir, "SHA256SUMS")); // still the old one
    forced.mode = OUTPUT_MERGE;
    run_well(&forced, false);
    holds_result(&forced);
}
END_TEST

START_TEST(a_journal_that_came_after_the_end_is_no_run)
{
    char expected[65], found[65];
    size_t len;
    output *o = opened(&whole);
    char *late = folder_read(dir, JOURNAL_NAME, &len);
    output_close(o);
    run_well(&whole, false);
    folder_digest(dir, expected);
    run look = whole, dry = whole;
    look.mode = OUTPUT_LOOK;
    dry.dry_run = true;
    const run *const runs[] = {&look, &dry, &whole, &part, &merge};
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        bool touches = runs[i] != &look && runs[i] != &dry;
        temp_write(dir, JOURNAL_NAME, late, len);
        temp_write(dir, ".config.json.note", "any", 3);
        run_well(runs[i], true);
        ck_assert_int_eq(folder_has(dir, JOURNAL_NAME), !touches);
    }
    run_well(&whole, true);
    ck_assert_str_eq(expected, folder_digest(dir, found));
    ck_assert_int_eq(folder_hidden(dir), 0);
    temp_write(dir, JOURNAL_NAME, late, len);
    ck_assert_int_eq(unlink(temp_path(dir, "config.json")), 0);
    refuses(&whole, "holds an unfinished run of this plan and also");
    free(late);
}
END_TEST

// ---- the same file twice ----

START_TEST(the_same_bytes_made_twice_are_kept_once)
{
    output *a = opened(&part), *b = opened(&part);
    err e = ERR_INIT;
    char name[300];
    ASSERT_OK(stage(a, two[0].name, texts[0], &e), e);
    (void)snprintf(name, sizeof name, "%s", folder_staged(dir, two[0].name));
    ASSERT_OK(stage(b, two[0].name, texts[0], &e), e);
    ck_assert(output_has(b, two[0].name, NULL));
    ck_assert_str_eq(folder_staged(dir, two[0].name), name);
    ck_assert_int_eq(folder_hidden(dir), 3); // journal, data, note
    output_close(a);
    output_close(b);
}
END_TEST

START_TEST(other_bytes_of_one_file_are_a_broken_promise_and_both_are_kept)
{
    output *a = opened(&part), *b = opened(&part);
    err e = ERR_INIT;
    ASSERT_OK(stage(a, two[0].name, texts[0], &e), e);
    ASSERT_FAILS(stage(b, two[0].name, "FIRST shard", &refused), ERR_INTERNAL,
                 "'model-00001-of-00002.safetensors' was made twice with different bytes");
    output_close(a);
    output_close(b);
    ck_assert_int_eq(folder_hidden(dir), 4);
    refuses_as(&part, ERR_INTERNAL, "made one file with different bytes");
    refuses_as(&merge, ERR_INTERNAL, "made one file with different bytes");
    refuses_as(&whole, ERR_INTERNAL, "made one file with different bytes");
}
END_TEST

START_TEST(a_damaged_note_or_file_of_the_first_makes_way_for_the_second)
{
    err e = ERR_INIT;
    for (int what = 0; what < 3; what++) {
        output *a = opened(&part), *b = opened(&part);
        ASSERT_OK(stage(a, two[0].name, texts[0], &e), e);
        ASSERT_OK(stage(a, two[1].name, texts[1], &e), e);
        if (what == 0)
            folder_flip(dir, ".model-00001-of-00002.safetensors.note", 30);
        else if (what == 1)
            folder_flip(dir, folder_staged(dir, two[0].name), 2);
        else
            ck_assert_int_eq(unlink(temp_path(dir, folder_staged(dir, two[0].name))), 0);
        output_close(a);
        ASSERT_OK(stage(b, two[0].name, texts[0], &e), e);
        output_close(b);
        run_well(&merge, false);
        holds_result(&whole);
        folder_remove(dir);
    }
}
END_TEST

// ---- real processes ----

typedef bool (*task)(int number, err *e);

// All tasks at once; answers how many failed. What they say is printed by those that fail with
// anything but a sentence that `may_say` is part of.
static int at_once(int n, task t, const char *may_say)
{
    pid_t child[16];
    int ready[2], failed = 0;
    ck_assert_int_eq(pipe(ready), 0);
    for (int i = 0; i < n; i++) {
        child[i] = fork();
        ck_assert_int_ge(child[i], 0);
        if (child[i] == 0) {
            char byte;
            err e = ERR_INIT;
            (void)close(ready[1]);
            (void)!read(ready[0], &byte, 1); // until the parent opens the gate
            if (t(i, &e))
                _exit(0);
            if (may_say && e.kind == ERR_ENV && strstr(e.text, may_say))
                _exit(1);
            (void)fprintf(stderr, "process %d: %s\n", i, e.text);
            _exit(2);
        }
    }
    (void)close(ready[0]);
    (void)close(ready[1]);
    for (int i = 0; i < n; i++) {
        int status;
        ck_assert_int_eq(waitpid(child[i], &status, 0), child[i]);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) < 2, "process %d failed", i);
        failed += WEXITSTATUS(status);
    }
    return failed;
}

static bool one_part(int number, err *e) { return try_part(number & 1, texts[number & 1], e); }

static bool one_whole(int number, err *e)
{
    bool complete;
    (void)number;
    return run_all(&whole, &complete, e);
}

START_TEST(processes_on_the_same_parts_at_once_end_with_one_right_file_each)
{
    char expected[65], found[65];
    run_well(&whole, false);
    folder_digest(dir, expected);
    for (int again = 0; again < 12; again++) {
        folder_remove(dir);
        ck_assert_int_eq(at_once(8, one_part, NULL), 0);
        ck_assert_int_eq(folder_visible(dir), 0);
        run_well(&merge, false);
        ck_assert_str_eq(expected, folder_digest(dir, found));
    }
}
END_TEST

START_TEST(whole_runs_at_once_work_or_say_that_another_is_at_work)
{
    char expected[65], found[65];
    run_well(&whole, false);
    folder_digest(dir, expected);
    for (int again = 0; again < 12; again++) {
        folder_remove(dir);
        ck_assert_int_lt(at_once(4, one_whole, "another run is at work in this folder"), 4);
        ck_assert_str_eq(expected, folder_digest(dir, found));
    }
}
END_TEST

// ---- killed at every change of the file system ----

static void part_body(void *ctx)
{
    err e = ERR_INIT;
    (void)ctx;
    if (!try_part(0, texts[0], &e))
        _exit(1);
}

static void merge_body(void *ctx)
{
    err e = ERR_INIT;
    bool complete;
    (void)ctx;
    if (!run_all(&merge, &complete, &e))
        _exit(1);
}

// A part or the merge is killed in front of its n-th change, then everything is run again.
static void kill_everywhere(bool merging)
{
    char expected[65], found[65];
    bool traced = true, killed = true;
    run_well(&whole, false);
    folder_digest(dir, expected);
    for (int n = 1; traced && killed; n++) {
        folder_remove(dir);
        run_part(1, texts[1]);
        if (merging)
            run_part(0, texts[0]);
        killed = killed_at(n, merging ? merge_body : part_body, NULL, &traced);
        if (!traced) {
            (void)printf("skipped: processes cannot be traced here\n");
            return;
        }
        ck_assert(!killed || !folder_has(dir, "SHA256SUMS") || merging);
        run_part(0, texts[0]);
        run_well(&merge, folder_has(dir, "SHA256SUMS") && !folder_has(dir, JOURNAL_NAME));
        ck_assert_msg(strcmp(folder_digest(dir, found), expected) == 0, "killed at change %d", n);
    }
}

START_TEST(a_part_killed_at_any_moment_is_repeated) { kill_everywhere(false); }
END_TEST

START_TEST(a_merge_killed_at_any_moment_is_repeated) { kill_everywhere(true); }
END_TEST

Suite *suite_output_shared(void)
{
    Suite *s = suite_create("output_shared");
    TCase *c = tcase_create("shared");
    tcase_add_checked_fixture(c, output_set_up, output_tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, parts_and_a_merge_make_what_one_run_makes);
    tcase_add_test(c, nothing_is_merged_where_no_part_was_run);
    tcase_add_test(c, parts_work_beside_each_other_and_exclude_the_rest);
    tcase_add_test(c, a_whole_run_finishes_what_parts_began);
    tcase_add_test(c, a_part_that_finished_nothing_leaves_nothing_unless_others_work);
    tcase_add_test(c, a_part_asks_for_the_space_of_its_own_files_only);
    tcase_add_test(c, scratch_is_space_too);
    tcase_add_test(c, leftovers_go_when_a_part_is_alone_and_not_before);
    tcase_add_test(c, force_does_not_undo_what_parts_have_made);
    tcase_add_test(c, the_same_bytes_made_twice_are_kept_once);
    tcase_add_test(c, other_bytes_of_one_file_are_a_broken_promise_and_both_are_kept);
    tcase_add_test(c, a_journal_that_came_after_the_end_is_no_run);
    tcase_add_test(c, a_damaged_note_or_file_of_the_first_makes_way_for_the_second);
    tcase_add_test(c, processes_on_the_same_parts_at_once_end_with_one_right_file_each);
    tcase_add_test(c, whole_runs_at_once_work_or_say_that_another_is_at_work);
    tcase_add_test(c, a_part_killed_at_any_moment_is_repeated);
    tcase_add_test(c, a_merge_killed_at_any_moment_is_repeated);
    suite_add_tcase(s, c);
    return s;
}
