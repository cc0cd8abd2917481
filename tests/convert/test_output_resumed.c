// SPDX-License-Identifier: Apache-2.0
// Runs that were not finished: how they go on, and what is left of runs that are killed at any
// moment.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "convert/journal.h"
#include "tests/folder.h"
#include "tests/output_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_output_resumed(void);

static const char first_note[] = ".model-00001-of-00002.safetensors.note";

// ---- unfinished runs ----

START_TEST(an_unfinished_run_goes_on)
{
    run r = RUN;
    output *o;
    err e = ERR_INIT;
    bool complete;
    begin_and_stop(&r);
    ck_assert_int_eq(folder_visible(dir), 0);
    output_order w = order_of(&r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    ck_assert(!complete);
    ck_assert(output_has(o, two[0].name, NULL));
    ck_assert_str_eq(output_note(o, two[0].name), "7:1");
    ck_assert(!output_has(o, two[1].name, NULL));
    ASSERT_OK(go(o, &r, &e), e);
    output_close(o);
    holds_result(&r);
}
END_TEST

START_TEST(a_dry_run_of_an_unfinished_run_leaves_it_as_it_is)
{
    run r = RUN, dry = RUN;
    char before[65], after[65];
    begin_and_stop(&r);
    folder_digest(dir, before);
    dry.dry_run = true;
    run_well(&dry, false);
    ck_assert_str_eq(before, folder_digest(dir, after));
}
END_TEST

START_TEST(an_unfinished_run_of_another_plan_is_not_touched)
{
    run r = RUN, other = RUN;
    begin_and_stop(&r);
    other.plan = &plan_b;
    refuses(&other, "holds an unfinished run of another plan (0102030000000000..., this one is "
                    "0405060000000000...); remove the folder");
    other.input_line = "model: 6 bytes";
    other.force = true;
    refuses(&other, "and an input differs: it was 'model: 5 bytes', it is 'model: 6 bytes'");
}
END_TEST

START_TEST(an_unfinished_run_that_finished_nothing_leaves_nothing)
{
    run r = RUN, other = RUN;
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(&r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    // What a killed run would leave at this point: another plan does not touch it.
    (void)snprintf(dir, sizeof dir, "%s/copy", top);
    char from[300];
    (void)snprintf(from, sizeof from, "%s/out", top);
    folder_copy(from, dir);
    other.plan = &plan_b;
    refuses(&other, "an unfinished run of another plan");
    output_close(o);
    ck_assert_int_eq(temp_count(top), 2); // the input and the copy
}
END_TEST

START_TEST(a_changed_input_is_named)
{
    run r = RUN;
    begin_and_stop(&r);
    r.input_line = "model: 6 bytes";
    refuses(&r, "an input has changed since: it was 'model: 5 bytes', it is 'model: 6 bytes'");
}
END_TEST

START_TEST(a_foreign_file_in_an_unfinished_run_is_named)
{
    run r = RUN;
    begin_and_stop(&r);
    temp_write(dir, "config.json", "mine", 4);
    refuses(&r, "also 'config.json', which that run did not make");
}
END_TEST

START_TEST(a_file_that_appears_during_the_run_is_not_replaced)
{
    run r = RUN;
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(&r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    temp_write(dir, "config.json", "mine", 4);
    ASSERT_FAILS(go(o, &r, &refused), ERR_ENV, "a 'config.json' that appeared");
    output_close(o);
    ck_assert_int_eq(folder_visible(dir), 1); // nothing of the run has its final name
    ck_assert_int_eq(unlink(temp_path(dir, "config.json")), 0);
    run_well(&r, false);
    holds_result(&r);
}
END_TEST

START_TEST(a_second_run_in_the_same_folder_is_refused)
{
    run r = RUN;
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(&r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    refuses(&r, "another run is at work in this folder");
    ASSERT_OK(go(o, &r, &e), e);
    output_close(o);
    run_well(&r, true);
}
END_TEST

// The note of the first shard as `text` says it; the run then knows nothing of the shard.
static void forgets_note(const char *text, size_t len, const char *how)
{
    run r = RUN;
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(&r);
    begin_and_stop(&r);
    ck_assert_msg(folder_has(dir, first_note), "no note where it is expected");
    temp_write(dir, first_note, text, len);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    ck_assert_msg(!output_has(o, two[0].name, NULL), "a note counts that is %s", how);
    ck_assert_msg(!folder_has(dir, first_note), "a note stays that is %s", how);
    ck_assert_str_eq(folder_staged(dir, two[0].name), "");
    ASSERT_OK(go(o, &r, &e), e);
    output_close(o);
    holds_result(&r);
    folder_remove(dir);
}

START_TEST(a_torn_or_damaged_note_counts_as_not_there)
{
    run r = RUN;
    size_t len;
    begin_and_stop(&r);
    char *text = folder_read(dir, first_note, &len);
    folder_remove(dir);
    for (size_t n = 0; n < len; n += 1 + len / 16)
        forgets_note(text, n, "torn");
    for (size_t at = 0; at < len; at += 1 + len / 16) {
        text[at] ^= 2;
        forgets_note(text, len, "damaged");
        text[at] ^= 2;
    }
    forgets_note("", 0, "empty");
    free(text);
}
END_TEST

START_TEST(a_note_of_another_file_or_plan_does_not_count)
{
    run r = RUN, other = RUN;
    size_t len;
    other.plan = &plan_b;
    begin_and_stop(&other);
    char *text = folder_read(dir, first_note, &len);
    folder_remove(dir);
    forgets_note(text, len, "another plan's");
    free(text);
    begin_and_stop(&r);
    text = folder_read(dir, first_note, &len);
    temp_write(dir, ".config.json.note", text, len);
    free(text);
    run_well(&r, false);
    holds_result(&r);
}
END_TEST

START_TEST(notes_have_any_length_and_any_bytes)
{
    run r = RUN;
    output *o;
    err e = ERR_INIT;
    bool complete;
    enum { LONG = 3 << 20 };
    char *text = mem_new(LONG + 1, 1, "a note", &e);
    for (size_t i = 0; i < LONG; i++)
        text[i] = (char)(1 + i % 127);
    output_order w = order_of(&r);
    for (int again = 0; again < 2; again++) {
        ASSERT_OK(output_open(&o, &w, &complete, &e), e);
        out_file f = OUT_FILE_CLOSED;
        if (!again) {
            ASSERT_OK(output_begin(o, &f, two[0].name, 1, NULL, 0, &e), e);
            ASSERT_OK(out_append(&f, "x", 1, &e), e);
            ASSERT_OK(output_end(o, &f, two[0].name, text, &e), e);
        }
        ck_assert_str_eq(output_note(o, two[0].name), text);
        output_close(o);
    }
    free(text);
}
END_TEST

START_TEST(notes_that_a_kill_left_in_a_complete_folder_are_swept)
{
    run r = RUN;
    size_t len;
    begin_and_stop(&r);
    char *text = folder_read(dir, first_note, &len);
    run_well(&r, false);
    temp_write(dir, first_note, text, len);
    run_well(&r, true);
    ck_assert_int_eq(folder_hidden(dir), 0);
    temp_write(dir, first_note, text, len);
    free(text);
    run other = {.first = "other shard", .plan = &plan_b, .input_line = "x", .force = true};
    run_well(&other, false);
    holds_result(&other);
}
END_TEST

START_TEST(a_journal_without_sense_is_refused)
{
    static const char *const texts[] = {
        "", "x", "\n", "{}\n", "[]\n", "{\"plan\":7,\"made_levels\":0}\n", "\xff\n",
        "{\"plan\":\"a\",\"made_levels\":0,\"inputs\":[1]}\n",
        "{\"plan\":\"a\",\"made_levels\":0,\"inputs\":[],\"replaces\":[\"../in\"]}\n",
        "{\"plan\":\"a\",\"made_levels\":-1}\n",
    };
    run r = RUN;
    temp_mkdir(top, "out");
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        temp_write(dir, JOURNAL_NAME, texts[i], strlen(texts[i]));
        refuses(&r, "cannot be understood");
    }
}
END_TEST

START_TEST(a_damaged_staged_file_is_made_again)
{
    run r = RUN;
    begin_and_stop(&r);
    folder_flip(dir, folder_staged(dir, two[0].name), 3); // same size, other bytes
    run_well(&r, false);
    holds_result(&r);
    begin_and_stop(&(run){.first = "other shard", .plan = &plan_b, .input_line = "x",
                          .force = true});
    ck_assert_int_eq(truncate(temp_path(dir, folder_staged(dir, two[0].name)), 2), 0);
    run_well(&(run){.first = "third shard", .plan = &plan_b, .input_line = "x"}, false);
    size_t len;
    char *text = folder_read(dir, two[0].name, &len);
    ck_assert_str_eq(text, "third shard");
    free(text);
}
END_TEST

START_TEST(leftovers_of_killed_processes_are_removed)
{
    static const char *const leftovers[] = {
        "." JOURNAL_NAME ".2147483646.0123456789abcdef.part", // no process has that number
        "..model-00002-of-00002.safetensors.01234567.staged.77.0123456789abcdef.part",
        "..model-00002-of-00002.safetensors.note.77.0123456789abcdef.part",
        ".spill.77.0123456789abcdef.part",
        ".scruple-estimate.77.0123456789abcdef.part",
    };
    run r = RUN;
    begin_and_stop(&r);
    char *list[COUNT_OF(leftovers)] = {NULL};
    for (size_t i = 0; i < COUNT_OF(leftovers); i++) {
        list[i] = strdup(leftovers[i]);
        temp_write(dir, list[i], "part", 4);
    }
    run_well(&r, false);
    holds_result(&r);
    // Without a journal they do not make an empty folder foreign.
    (void)snprintf(dir, sizeof dir, "%s/two", top);
    temp_mkdir(top, "two");
    for (size_t i = 0; i < COUNT_OF(leftovers); i++) {
        temp_write(dir, list[i], "part", 4);
        free(list[i]);
    }
    run_well(&r, false);
    holds_result(&r);
}
END_TEST

// Scratch of a part on another host loses its name while it is open, and gets one of these.
START_TEST(what_the_file_system_keeps_for_open_files_is_left_alone)
{
    static const char *const names[] = {".nfs00000000012a4c7b00000003",
                                        ".fuse_hidden00000b1200000001"};
    run r = RUN;
    for (int began = 0; began < 2; began++) {
        if (began)
            begin_and_stop(&r);
        else
            temp_mkdir(top, "out");
        for (size_t i = 0; i < COUNT_OF(names); i++)
            temp_write(dir, names[i], "x", 1);
        run_well(&r, false);
        for (size_t i = 0; i < COUNT_OF(names); i++)
            ck_assert_int_eq(unlink(temp_path(dir, names[i])), 0);
        holds_result(&r);
        folder_remove(dir);
    }
}
END_TEST

START_TEST(other_hidden_files_are_no_leftovers)
{
    static const char *const names[] = {
        ".x.part", ".notes.77.0123456789abcdef.part", "..x.staged.77.0123456789abcde.part",
        "..x.staged.pid.0123456789abcdef.part", "..x.staged.77.0123456789abcdeg.part",
        ".nfs", ".nfs12g", ".fuse_hidden",
    };
    run r = RUN;
    temp_mkdir(top, "out");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        temp_write(dir, names[i], "x", 1);
        refuses(&r, "which no run of ours made");
        ck_assert_int_eq(unlink(temp_path(dir, names[i])), 0);
    }
}
END_TEST

START_TEST(what_is_given_up_leaves_nothing)
{
    run r = RUN;
    err e = ERR_INIT;
    for (int again = 0; again < 2; again++) {
        output *o;
        bool complete;
        (void)snprintf(dir, sizeof dir, "%s/a/b/out", top);
        if (again)
            begin_and_stop(&r);
        output_order w = order_of(&r);
        ASSERT_OK(output_open(&o, &w, &complete, &e), e);
        ASSERT_OK(stage(o, two[1].name, "second shard", &e), e);
        output_abandon(o);
        ck_assert_int_eq(temp_count(top), 1);
    }
    temp_mkdir(top, "there");
    (void)snprintf(dir, sizeof dir, "%s/there", top);
    begin_and_stop(&r);
    output *o;
    bool complete;
    output_order w = order_of(&r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    output_abandon(o);
    ck_assert_int_eq(temp_count(dir), 0); // the folder itself was not ours
}
END_TEST

START_TEST(a_rejected_file_is_made_again)
{
    run r = RUN;
    err e = ERR_INIT;
    output *o;
    bool complete;
    begin_and_stop(&r);
    output_order w = order_of(&r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    output_reject(o, two[0].name);
    ck_assert(!output_has(o, two[0].name, NULL));
    output_close(o);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    ck_assert(!output_has(o, two[0].name, NULL));
    ASSERT_OK(go(o, &r, &e), e);
    output_close(o);
    holds_result(&r);
}
END_TEST

START_TEST(shards_of_a_resumed_run_are_published_first)
{
    // The config is journaled before a shard that had to be made again: order is by kind.
    run r = RUN;
    err e = ERR_INIT;
    output *o;
    bool complete;
    output_order w = order_of(&r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    ASSERT_OK(output_small(o, "config.json", "{}", 2, &e), e);
    ASSERT_OK(go(o, &r, &e), e);
    output_close(o);
    struct stat shard, config, sums;
    ck_assert_int_eq(stat(temp_path(dir, two[1].name), &shard), 0);
    ck_assert_int_eq(stat(temp_path(dir, "config.json"), &config), 0);
    ck_assert_int_eq(stat(temp_path(dir, "SHA256SUMS"), &sums), 0);
    // Renaming sets the time of the last change of state.
    ck_assert(shard.st_ctim.tv_sec < config.st_ctim.tv_sec ||
              shard.st_ctim.tv_nsec <= config.st_ctim.tv_nsec);
    ck_assert(config.st_ctim.tv_sec < sums.st_ctim.tv_sec ||
              config.st_ctim.tv_nsec <= sums.st_ctim.tv_nsec);
}
END_TEST

// ---- killed at every change of the file system ----

static void body(void *ctx)
{
    err e = ERR_INIT;
    bool complete;
    if (!run_all(ctx, &complete, &e))
        _exit(1);
}

// A reader that finds SHA256SUMS finds the whole result.
static void never_looks_whole(const run *r)
{
    size_t len;
    char *text, hex[65];
    if (!folder_has(dir, "SHA256SUMS"))
        return;
    text = folder_read(dir, "scruple.json", &len);
    bool old = !strstr(text, hex_of(r->plan->b, 32, hex));
    free(text);
    if (old)
        return;
    text = folder_read(dir, r->fewer ? one[0].name : two[0].name, &len);
    ck_assert_msg(strcmp(text, r->first) == 0, "sums over '%s'", text);
    free(text);
}

static void kill_everywhere(const run *r, const run *before)
{
    char expected[65], found[65];
    bool traced = true;
    if (before)
        run_well(before, false);
    run_well(r, false);
    folder_digest(dir, expected);
    folder_remove(dir);
    for (int n = 1; traced; n++) {
        run copy = *r;
        if (before)
            run_well(before, false);
        bool killed = killed_at(n, body, &copy, &traced);
        if (!traced)
            (void)printf("skipped: processes cannot be traced here\n");
        never_looks_whole(r);
        bool stands = folder_has(dir, "SHA256SUMS") && !folder_has(dir, JOURNAL_NAME);
        if (traced && stands && !killed)
            break;
        run again = *r;
        err e = ERR_INIT;
        bool complete;
        ck_assert_msg(run_all(&again, &complete, &e), "after a kill at change %d: %s", n, e.text);
        ck_assert_msg(strcmp(folder_digest(dir, found), expected) == 0, "killed at change %d", n);
        folder_remove(dir);
    }
}

START_TEST(killed_at_any_moment_it_resumes_to_the_same_bytes)
{
    run r = RUN;
    kill_everywhere(&r, NULL);
}
END_TEST

START_TEST(killed_at_any_moment_of_replacing_it_resumes_to_the_same_bytes)
{
    run before = RUN, r = {.first = "other shard", .plan = &plan_b, .input_line = "x",
                           .force = true, .fewer = true};
    kill_everywhere(&r, &before);
}
END_TEST

Suite *suite_output_resumed(void)
{
    Suite *s = suite_create("output_resumed");
    TCase *c = tcase_create("unfinished");
    tcase_add_checked_fixture(c, output_set_up, output_tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, an_unfinished_run_goes_on);
    tcase_add_test(c, a_dry_run_of_an_unfinished_run_leaves_it_as_it_is);
    tcase_add_test(c, an_unfinished_run_of_another_plan_is_not_touched);
    tcase_add_test(c, an_unfinished_run_that_finished_nothing_leaves_nothing);
    tcase_add_test(c, a_changed_input_is_named);
    tcase_add_test(c, a_foreign_file_in_an_unfinished_run_is_named);
    tcase_add_test(c, a_file_that_appears_during_the_run_is_not_replaced);
    tcase_add_test(c, a_second_run_in_the_same_folder_is_refused);
    tcase_add_test(c, a_torn_or_damaged_note_counts_as_not_there);
    tcase_add_test(c, a_note_of_another_file_or_plan_does_not_count);
    tcase_add_test(c, notes_have_any_length_and_any_bytes);
    tcase_add_test(c, notes_that_a_kill_left_in_a_complete_folder_are_swept);
    tcase_add_test(c, a_journal_without_sense_is_refused);
    tcase_add_test(c, a_damaged_staged_file_is_made_again);
    tcase_add_test(c, leftovers_of_killed_processes_are_removed);
    tcase_add_test(c, what_the_file_system_keeps_for_open_files_is_left_alone);
    tcase_add_test(c, other_hidden_files_are_no_leftovers);
    tcase_add_test(c, what_is_given_up_leaves_nothing);
    tcase_add_test(c, a_rejected_file_is_made_again);
    tcase_add_test(c, shards_of_a_resumed_run_are_published_first);
    tcase_add_test(c, killed_at_any_moment_it_resumes_to_the_same_bytes);
    tcase_add_test(c, killed_at_any_moment_of_replacing_it_resumes_to_the_same_bytes);
    suite_add_tcase(s, c);
    return s;
}
