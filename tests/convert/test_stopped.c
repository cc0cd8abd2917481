// SPDX-License-Identifier: Apache-2.0
// Whole conversions of tiny models that are stopped, killed or cut off from space on their way:
// what is left, and that the same command resumes to the same bytes. And their proof.
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_stopped(void);

// ---- proof ----

static const char second[] = "model-00002-of-00004.safetensors";

START_TEST(a_byte_that_was_not_written_right_is_found)
{
    make_parts k;
    err e = ERR_INIT;
    make_use_qwen3();
    for (int coded = 0; coded < 2; coded++) {
        if (coded)
            make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
        else
            make_convert(LAYOUT_EXPERTS);
        make_open_parts(&k);
        ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
        ASSERT_OK(run_read_back(&k.p, &k.with, k.to, &k.r, &e), e);
        static const long places[] = {20, -1, 30000};
        for (size_t i = 0; i < COUNT_OF(places); i++) {
            folder_flip(the.out, folder_staged(the.out, second), places[i]);
            ASSERT_FAILS(run_read_back(&k.p, &k.with, k.to, &k.r, &refused), ERR_INTERNAL,
                         "differs from");
            folder_flip(the.out, folder_staged(the.out, second), places[i]);
        }
        output_abandon(k.to);
        k.to = NULL;
        make_close_parts(&k);
    }
}
END_TEST

START_TEST(a_resumed_file_that_was_damaged_is_rejected)
{
    make_parts k;
    err e = ERR_INIT;
    make_use_qwen3();
    for (int coded = 0; coded < 2; coded++) {
        if (coded)
            make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
        else
            make_convert(LAYOUT_EXPERTS);
        static const long places[] = {20, -1, 30000};
        for (size_t i = 0; i < COUNT_OF(places); i++) {
            make_open_parts(&k);
            ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
            make_close_parts(&k);
            make_open_parts(&k);
            // Between judging the folder and the proof.
            folder_flip(the.out, folder_staged(the.out, second), places[i]);
            ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
            ck_assert(k.r.resumed[1]);
            ASSERT_FAILS(run_read_back(&k.p, &k.with, k.to, &k.r, &refused), ERR_ENV,
                         "'model-00002-of-00004.safetensors', finished by an earlier run, has been "
                         "damaged since and was removed");
            make_close_parts(&k);
            make_open_parts(&k);
            ck_assert(!output_has(k.to, "model-00002-of-00004.safetensors", NULL));
            ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
            ck_assert(k.r.resumed[0] && !k.r.resumed[1] && k.r.resumed[2]);
            ASSERT_OK(run_read_back(&k.p, &k.with, k.to, &k.r, &e), e);
            output_abandon(k.to);
            k.to = NULL;
            make_close_parts(&k);
        }
    }
}
END_TEST

START_TEST(digests_of_records_are_the_same_after_resuming)
{
    make_parts k;
    err e = ERR_INIT;
    xxh128_digest record[4];
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    for (int again = 0; again < 2; again++) {
        make_open_parts(&k);
        ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
        ASSERT_OK(run_read_back(&k.p, &k.with, k.to, &k.r, &e), e);
        if (!again)
            memcpy(record, k.r.record[2], sizeof record);
        ck_assert_mem_eq(record, k.r.record[2], sizeof record);
        ck_assert_int_eq(k.r.resumed[2], again);
        make_close_parts(&k);
    }
}
END_TEST

// ---- stopped on the way ----

START_TEST(a_run_that_is_stopped_resumes_to_the_same_bytes)
{
    char expected[65], found[65];
    make_use_qwen3();
    temp_write(the.t.dir, "README.md", "read me", 7);
    make_quantize("int4-g32", SCOPE_ALL_LINEAR, LAYOUT_EXPERTS);
    make_runs();
    folder_digest(the.out, expected);
    int all = heard.progress;
    folder_remove(the.out);
    for (int at = 1; at < all; at += 1 + all / 9) {
        heard.progress = 0;
        heard.stop_at = at;
        ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_INTERRUPTED, "");
        ck_assert_int_eq(folder_visible(the.out), 0);
        heard.stop_at = 0;
        make_runs();
        ck_assert_str_eq(expected, folder_digest(the.out, found));
        folder_remove(the.out);
    }
}
END_TEST

static void body(void *ctx)
{
    err e = ERR_INIT;
    (void)ctx;
    if (!make_checkpoint(&the.order, &the.report, &e))
        _exit(1);
}

START_TEST(a_run_that_is_killed_resumes_to_the_same_bytes)
{
    char expected[65], found[65];
    bool traced;
    make_use_qwen3();
    temp_write(the.t.dir, "README.md", "read me", 7);
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_runs();
    folder_digest(the.out, expected);
    folder_remove(the.out);
    for (int n = 2;; n += 13) { // every change of the output alone is test_output's
        bool killed = killed_at(n, body, NULL, &traced);
        if (!traced) {
            (void)printf("skipped: processes cannot be traced here\n");
            break;
        }
        if (!killed)
            break;
        ck_assert(folder_visible(the.out) == 0 || !folder_has(the.out, "SHA256SUMS") ||
                  folder_has(the.out, ".scruple-journal") ||
                  strcmp(folder_staged(the.out, second), "") == 0);
        make_runs();
        ck_assert_msg(strcmp(folder_digest(the.out, found), expected) == 0, "killed at %d", n);
        folder_remove(the.out);
    }
}
END_TEST

static bool at_once(void *ctx)
{
    (void)ctx;
    return true;
}

// Hours for a large model on a slow disk.
START_TEST(reading_a_whole_source_stops_when_asked)
{
    const events stop = {.stop = at_once};
    source_id id[2];
    sha256_digest sum[2];
    make_parts k;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_open_parts(&k);
    ASSERT_FAILS(source_ids(k.source, &stop, id, &refused), ERR_INTERRUPTED, "");
    ASSERT_FAILS(source_sums(k.source, the.order.pool, &stop, sum, &refused), ERR_INTERRUPTED, "");
    make_close_parts(&k);
    make_runs();
    heard.stop_at = heard.progress; // a folder that is complete is compared with its source
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_INTERRUPTED, "");
    heard.stop_at = 0;
    make_runs();
    ck_assert(the.report.already_complete);
}
END_TEST

START_TEST(an_input_that_changed_between_runs_is_named)
{
    make_use_qwen3();
    temp_write(the.t.dir, "README.md", "read me", 7);
    make_convert(LAYOUT_EXPERTS);
    heard.stop_at = 60;
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_INTERRUPTED, "");
    heard.stop_at = 0;
    temp_write(the.t.dir, "README.md", "read it", 7);
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV,
                 "and an input differs: it was 'README.md: SHA-256 ");
    temp_write(the.t.dir, "README.md", "read me", 7);
    static const struct timespec times[2] = {{1000000000, 0}, {1000000000, 5}};
    ck_assert_int_eq(utimensat(0, temp_path(the.t.dir, "model.safetensors"), times, 0), 0);
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV,
                 "an input has changed since: it was 'model.safetensors: ");
    ck_assert_ptr_nonnull(strstr(refused.text, "written at 1000000000.000000005"));
    ck_assert_int_eq(folder_visible(the.out), 0);
}
END_TEST

START_TEST(a_limit_of_file_size_is_an_error_of_the_system)
{
    char expected[65], found[65];
    struct rlimit old, low;
    make_use_qwen3();
    make_convert(LAYOUT_EXPERTS);
    make_runs();
    folder_digest(the.out, expected);
    folder_remove(the.out);
    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 60000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV, "cannot write");
    ck_assert_int_eq(folder_visible(the.out), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    make_runs();
    ck_assert_str_eq(expected, folder_digest(the.out, found));
}
END_TEST

// A file system of its own for this process, or false.
static bool mount_small(const char *dir, const char *size)
{
    char options[40];
    (void)snprintf(options, sizeof options, "size=%s", size);
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
        return false;
    return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", dir, "tmpfs", 0, options) == 0;
}

START_TEST(a_full_disk_is_told_with_the_bytes_that_are_needed)
{
    char expected[65], found[65];
    make_use_qwen3();
    make_convert(LAYOUT_EXPERTS);
    make_runs();
    folder_digest(the.out, expected);
    temp_mkdir(the.top, "small");
    (void)snprintf(the.other, sizeof the.other, "%s/small", the.top);
    if (!mount_small(the.other, "2m")) {
        (void)printf("skipped: no file system can be mounted here (%s)\n", strerror(errno));
        return;
    }
    (void)snprintf(the.other, sizeof the.other, "%s/small/out", the.top);
    char filler[300];
    (void)snprintf(filler, sizeof filler, "%s/small", the.top);
    char *zeros = calloc(1, 1500000);
    ck_assert_ptr_nonnull(zeros);
    temp_write(filler, "filler", zeros, 1500000);
    free(zeros);
    the.order.output = the.other;
    // At second 0, before anything is made.
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV, "bytes needed, ");
    ck_assert_int_eq(temp_count(filler), 1);
    the.order.dry_run = true;
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV, "bytes needed, ");
    the.order.dry_run = false;
    ck_assert_int_eq(unlink(temp_path(filler, "filler")), 0);
    make_runs();
    ck_assert_str_eq(expected, folder_digest(the.other, found));
    folder_remove(the.other);
    ck_assert_int_eq(umount(filler), 0);
}
END_TEST

// Takes the space away while the run is at work.
static void fill_disk(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)total;
    if (done < 60000 || folder_has(ctx, "filler"))
        return;
    FILE *f = fopen(temp_path(ctx, "filler"), "wb");
    ck_assert_ptr_nonnull(f);
    setvbuf(f, NULL, _IONBF, 0);
    static const char zeros[4096];
    while (fwrite(zeros, 1, sizeof zeros, f) == sizeof zeros)
        ;
    (void)fclose(f);
}

START_TEST(a_disk_that_fills_up_leaves_no_final_name_and_the_run_goes_on_later)
{
    char expected[65], found[65], small[300];
    make_use_qwen3();
    make_convert(LAYOUT_EXPERTS);
    make_runs();
    folder_digest(the.out, expected);
    temp_mkdir(the.top, "small");
    (void)snprintf(small, sizeof small, "%s/small", the.top);
    if (!mount_small(small, "2m")) {
        (void)printf("skipped: no file system can be mounted here (%s)\n", strerror(errno));
        return;
    }
    (void)snprintf(the.other, sizeof the.other, "%s/small/out", the.top);
    const events filling = {.progress = fill_disk, .ctx = small};
    the.order.output = the.other;
    const events *listening = the.order.events;
    the.order.events = &filling;
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV,
                 "bytes needed, 0 free");
    ck_assert_int_eq(folder_visible(the.other), 0);
    the.order.events = listening;
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV, "bytes needed, ");
    ck_assert_int_eq(unlink(temp_path(small, "filler")), 0);
    make_runs();
    ck_assert_ptr_nonnull(strstr(heard.noted, "was finished by an earlier run"));
    ck_assert_str_eq(expected, folder_digest(the.other, found));
    folder_remove(the.other);
    ck_assert_int_eq(umount(small), 0);
}
END_TEST

Suite *suite_stopped(void)
{
    Suite *s = suite_create("stopped");
    TCase *c = tcase_create("proof");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_test(c, a_byte_that_was_not_written_right_is_found);
    tcase_add_test(c, a_resumed_file_that_was_damaged_is_rejected);
    tcase_add_test(c, digests_of_records_are_the_same_after_resuming);
    suite_add_tcase(s, c);
    c = tcase_create("stopped");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_run_that_is_stopped_resumes_to_the_same_bytes);
    tcase_add_test(c, a_run_that_is_killed_resumes_to_the_same_bytes);
    tcase_add_test(c, reading_a_whole_source_stops_when_asked);
    tcase_add_test(c, an_input_that_changed_between_runs_is_named);
    tcase_add_test(c, a_limit_of_file_size_is_an_error_of_the_system);
    tcase_add_test(c, a_full_disk_is_told_with_the_bytes_that_are_needed);
    tcase_add_test(c, a_disk_that_fills_up_leaves_no_final_name_and_the_run_goes_on_later);
    suite_add_tcase(s, c);
    return s;
}
