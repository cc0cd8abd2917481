// SPDX-License-Identifier: Apache-2.0
// What an output folder means, to the letter of the table in output.h.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "tests/folder.h"
#include "tests/output_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_output(void);

// ---- the table ----

START_TEST(an_absent_folder_is_made_with_its_parents)
{
    run r = RUN;
    (void)snprintf(dir, sizeof dir, "%s/a/b/out", top);
    run_well(&r, false);
    holds_result(&r);
}
END_TEST

START_TEST(an_empty_folder_is_used)
{
    run r = RUN;
    temp_mkdir(top, "out");
    run_well(&r, false);
    holds_result(&r);
}
END_TEST

START_TEST(sums_list_every_file_in_the_form_of_sha256sum)
{
    run r = RUN;
    size_t len;
    char hex[65], line[200];
    err e = ERR_INIT;
    sha256_digest sum;
    run_well(&r, false);
    char *sums = folder_read(dir, "SHA256SUMS", &len);
    ck_assert(sha256_of("first shard", 11, &sum, &e));
    (void)snprintf(line, sizeof line, "%s  %s\n", hex_of(sum.b, 32, hex), two[0].name);
    ck_assert_ptr_nonnull(strstr(sums, line));
    int lines = 0;
    for (const char *p = sums; (p = strchr(p, '\n')); p++)
        lines++;
    ck_assert_int_eq(lines, 4);
    ck_assert_ptr_null(strstr(sums, "SHA256SUMS"));
    free(sums);
}
END_TEST

START_TEST(a_complete_folder_of_the_same_plan_needs_nothing)
{
    run r = RUN;
    char before[65], after[65];
    run_well(&r, false);
    folder_digest(dir, before);
    run_well(&r, true);
    ck_assert_str_eq(before, folder_digest(dir, after));
    r.force = true; // makes it anew
    run_well(&r, false);
    ck_assert_str_eq(before, folder_digest(dir, after));
}
END_TEST

START_TEST(a_folder_that_lost_a_file_is_not_complete)
{
    run r = RUN;
    run_well(&r, false);
    ck_assert_int_eq(unlink(temp_path(dir, "config.json")), 0);
    refuses(&r, "holds the output of this plan, but 'config.json' is missing");
    r.force = true;
    run_well(&r, false);
    holds_result(&r);
}
END_TEST

START_TEST(a_folder_with_a_cut_shard_is_not_complete)
{
    run r = RUN;
    run_well(&r, false);
    ck_assert_int_eq(truncate(temp_path(dir, two[1].name), 5), 0);
    refuses(&r, "'model-00002-of-00002.safetensors' is missing or not of its size");
}
END_TEST

START_TEST(a_folder_without_sums_is_not_complete)
{
    run r = RUN;
    run_well(&r, false);
    ck_assert_int_eq(unlink(temp_path(dir, "SHA256SUMS")), 0);
    refuses(&r, "'SHA256SUMS' is missing");
}
END_TEST

START_TEST(the_output_of_another_plan_is_replaced_by_force_only)
{
    run r = RUN, other = {.first = "other shard", .plan = &plan_b, .input_line = "x",
                          .fewer = true};
    run_well(&r, false);
    refuses(&other, "holds the output of another plan (0102030000000000..., this one is "
                    "0405060000000000...); --force replaces it");
    other.force = true;
    run_well(&other, false);
    holds_result(&other); // and no shard of the old run
}
END_TEST

START_TEST(foreign_files_are_never_touched)
{
    run r = RUN;
    temp_mkdir(top, "out");
    temp_write(dir, "thesis.txt", "precious", 8);
    refuses(&r, "is not empty: it holds 'thesis.txt'");
    r.force = true;
    refuses(&r, "it holds 'thesis.txt', which no run of ours made");
}
END_TEST

START_TEST(a_foreign_file_beside_our_output_stops_even_force)
{
    run r = RUN;
    run_well(&r, false);
    temp_write(dir, ".hidden", "x", 1);
    r.plan = &plan_b;
    r.force = true;
    refuses(&r, "'.hidden', which no run of ours made; name another folder (--force replaces only "
                "files that scruple.json lists)");
}
END_TEST

START_TEST(a_folder_in_the_place_of_a_listed_file_is_foreign)
{
    run r = RUN;
    run_well(&r, false);
    ck_assert_int_eq(unlink(temp_path(dir, "config.json")), 0);
    temp_mkdir(dir, "config.json");
    r.force = true;
    bool complete;
    ASSERT_FAILS(run_all(&r, &complete, &refused), ERR_ENV, "it holds 'config.json'");
}
END_TEST

static void refuses_manifest(const char *text)
{
    run r = RUN;
    temp_write(dir, "scruple.json", text, strlen(text));
    temp_write(dir, "thesis.txt", "precious", 8);
    refuses(&r, "it holds 'scruple.json', which no run of ours made");
    r.force = true;
    refuses(&r, "it holds 'scruple.json', which no run of ours made");
}

#define PLAN "\"plan\":\"0405060000000000000000000000000000000000000000000000000000000000\""

START_TEST(a_manifest_that_is_not_ours_allows_nothing)
{
    static const char *const texts[] = {
        "", "[]", "{}", "nonsense",
        "{\"schema_version\":1,\"tool\":\"other\"," PLAN ",\"files\":[\"thesis.txt\"]}",
        "{\"schema_version\":2,\"tool\":\"scruple\"," PLAN ",\"files\":[\"thesis.txt\"]}",
        "{\"schema_version\":1,\"tool\":\"scruple\",\"plan\":\"12\",\"files\":[\"thesis.txt\"]}",
        "{\"schema_version\":1,\"tool\":\"scruple\"," PLAN "}",
        "{\"schema_version\":1,\"tool\":\"scruple\"," PLAN ",\"files\":[\"../in/x\"]}",
        "{\"schema_version\":1,\"tool\":\"scruple\"," PLAN ",\"files\":[\"..\"]}",
        "{\"schema_version\":1,\"tool\":\"scruple\"," PLAN ",\"files\":[1]}",
    };
    temp_mkdir(top, "out");
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        refuses_manifest(texts[i]);
}
END_TEST

START_TEST(lone_sums_are_foreign)
{
    run r = RUN;
    temp_mkdir(top, "out");
    temp_write(dir, "SHA256SUMS", "", 0);
    refuses(&r, "it holds 'SHA256SUMS', which no run of ours made");
}
END_TEST

START_TEST(the_input_and_what_lies_inside_is_no_output)
{
    run r = RUN;
    bool complete;
    static const char *const places[] = {"in", "in/x", "in/../in/", "in/./a/b", "link", "link/x"};
    temp_symlink("in", top, "link");
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        (void)snprintf(dir, sizeof dir, "%s/%s", top, places[i]);
        ASSERT_FAILS(run_all(&r, &complete, &refused), ERR_USAGE, "is the input");
        ck_assert_int_eq(temp_count(input), 0);
    }
}
END_TEST

START_TEST(a_file_in_the_way_is_refused)
{
    run r = RUN;
    bool complete;
    temp_write(top, "out", "x", 1);
    ASSERT_FAILS(run_all(&r, &complete, &refused), ERR_ENV, "exists and is not a folder");
    (void)snprintf(dir, sizeof dir, "%s/out/below", top);
    ASSERT_FAILS(run_all(&r, &complete, &refused), ERR_ENV, "is a file");
    r.dry_run = true;
    ASSERT_FAILS(run_all(&r, &complete, &refused), ERR_ENV, "is a file");
}
END_TEST

START_TEST(missing_space_is_told_before_anything_is_made)
{
    run r = RUN;
    bool complete;
    output *o;
    for (int dry = 0; dry < 2; dry++) {
        output_order w = order_of(&r);
        w.bytes = (uint64_t)1 << 60;
        w.dry_run = dry;
        (void)snprintf(dir, sizeof dir, "%s/a/out", top);
        ASSERT_FAILS(output_open(&o, &w, &complete, &refused), ERR_ENV,
                     "1152921504606846976 bytes needed");
        ck_assert_int_eq(temp_count(top), 1);
    }
}
END_TEST

START_TEST(a_dry_run_writes_nothing_and_judges_all_the_same)
{
    run r = RUN, dry = RUN, other = RUN;
    char before[65], after[65];
    dry.dry_run = true;
    run_well(&dry, false);
    ck_assert_int_eq(temp_count(top), 1);
    run_well(&r, false);
    folder_digest(dir, before);
    run_well(&dry, true);
    other.plan = &plan_b;
    other.dry_run = true;
    refuses(&other, "another plan");
    other.force = true;
    run_well(&other, false);
    ck_assert_str_eq(before, folder_digest(dir, after));
}
END_TEST

Suite *suite_output(void)
{
    Suite *s = suite_create("output");
    TCase *c = tcase_create("folder");
    tcase_add_checked_fixture(c, output_set_up, output_tear_down);
    tcase_add_test(c, an_absent_folder_is_made_with_its_parents);
    tcase_add_test(c, an_empty_folder_is_used);
    tcase_add_test(c, sums_list_every_file_in_the_form_of_sha256sum);
    tcase_add_test(c, a_complete_folder_of_the_same_plan_needs_nothing);
    tcase_add_test(c, a_folder_that_lost_a_file_is_not_complete);
    tcase_add_test(c, a_folder_with_a_cut_shard_is_not_complete);
    tcase_add_test(c, a_folder_without_sums_is_not_complete);
    tcase_add_test(c, the_output_of_another_plan_is_replaced_by_force_only);
    tcase_add_test(c, foreign_files_are_never_touched);
    tcase_add_test(c, a_foreign_file_beside_our_output_stops_even_force);
    tcase_add_test(c, a_folder_in_the_place_of_a_listed_file_is_foreign);
    tcase_add_test(c, a_manifest_that_is_not_ours_allows_nothing);
    tcase_add_test(c, lone_sums_are_foreign);
    tcase_add_test(c, the_input_and_what_lies_inside_is_no_output);
    tcase_add_test(c, a_file_in_the_way_is_refused);
    tcase_add_test(c, missing_space_is_told_before_anything_is_made);
    tcase_add_test(c, a_dry_run_writes_nothing_and_judges_all_the_same);
    suite_add_tcase(s, c);
    return s;
}
