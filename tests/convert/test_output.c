// SPDX-License-Identifier: Apache-2.0
// What an output folder means, to the letter of the table in output.h, and what is left of runs
// that are killed at any moment.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "convert/journal.h"
#include "convert/output.h"
#include "tests/folder.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_output(void);

static char top[256], dir[300], input[300];
static sha256_digest plan_a = {{1, 2, 3}}, plan_b = {{4, 5, 6}};

static void set_up(void)
{
    temp_prefer_memory();
    (void)snprintf(top, sizeof top, "%s", temp_dir_make());
    (void)snprintf(dir, sizeof dir, "%s/out", top);
    (void)snprintf(input, sizeof input, "%s/in", top);
    temp_mkdir(top, "in");
}

static void tear_down(void) { temp_dir_remove(top); }

// ---- a run of two shards and a small file ----

typedef struct {
    const char *first; // content of the first shard
    const sha256_digest *plan;
    const char *input_line;
    bool force, dry_run, fewer; // fewer: one shard only
} run;

#define RUN {.first = "first shard", .plan = &plan_a, .input_line = "model: 5 bytes"}

static const output_file two[] = {{"model-00001-of-00002.safetensors", 11},
                                  {"model-00002-of-00002.safetensors", 12}};
static const output_file one[] = {{"model.safetensors", 11}};

static output_order order_of(const run *r)
{
    return (output_order){.dir = dir,
                          .input = input,
                          .plan = r->plan,
                          .inputs = &r->input_line,
                          .n_inputs = 1,
                          .file = r->fewer ? one : two,
                          .n_files = r->fewer ? 1 : 2,
                          .bytes = 100,
                          .force = r->force,
                          .dry_run = r->dry_run};
}

static bool stage(output *o, const char *name, const char *text, err *e)
{
    out_file f = OUT_FILE_CLOSED;
    if (output_has(o, name, NULL))
        return true;
    if (output_begin(o, &f, name, strlen(text), text, 4, e) &&
        out_append(&f, text + 4, strlen(text) - 4, e) && output_end(o, &f, name, "7:1", e))
        return true;
    out_discard(&f);
    return false;
}

// As scruple.json, as far as the folder's meaning needs it.
static void make_manifest(const run *r, strbuf *text)
{
    char hex[65];
    strbuf_printf(text, "{\"schema_version\":1,\"tool\":\"scruple\",\"plan\":\"%s\",\"files\":[",
                  hex_of(r->plan->b, 32, hex));
    output_order w = order_of(r);
    for (uint64_t i = 0; i < w.n_files; i++)
        strbuf_printf(text, "\"%s\",", w.file[i].name);
    strbuf_puts(text, "\"config.json\",\"scruple.json\",\"SHA256SUMS\"]}");
    ck_assert(!text->failed);
}

static bool go(output *o, const run *r, err *e)
{
    strbuf text = {0};
    make_manifest(r, &text);
    output_order w = order_of(r);
    bool ok = stage(o, w.file[0].name, r->first, e) &&
              (r->fewer || stage(o, w.file[1].name, "second shard", e)) &&
              output_small(o, "config.json", "{}", 2, e) &&
              output_small(o, "scruple.json", text.text, text.len, e) && output_publish(o, e);
    strbuf_free(&text);
    return ok;
}

static bool run_all(const run *r, bool *complete, err *e)
{
    output *o;
    output_order w = order_of(r);
    if (!output_open(&o, &w, complete, e))
        return false;
    bool ok = *complete || r->dry_run || go(o, r, e);
    output_close(o);
    return ok;
}

static void run_well(const run *r, bool expect_complete)
{
    err e = ERR_INIT;
    bool complete;
    ASSERT_OK(run_all(r, &complete, &e), e);
    ck_assert_int_eq(complete, expect_complete);
}

// Refused with status 4, and nothing in the folder is touched.
static void refuses(const run *r, const char *words)
{
    char before[65], after[65];
    bool complete;
    folder_digest(dir, before);
    ASSERT_FAILS(run_all(r, &complete, &refused), ERR_ENV, words);
    ck_assert_str_eq(before, folder_digest(dir, after));
}

static void holds_result(const run *r)
{
    ck_assert_int_eq(folder_hidden(dir), 0);
    ck_assert_int_eq(folder_visible(dir), r->fewer ? 4 : 5);
    size_t len;
    char *text = folder_read(dir, r->fewer ? one[0].name : two[0].name, &len);
    ck_assert_str_eq(text, r->first);
    free(text);
}

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

// ---- unfinished runs ----

// The first shard stands, then the process is gone.
static void begin_and_stop(const run *r)
{
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    ASSERT_OK(stage(o, w.file[0].name, r->first, &e), e);
    output_close(o);
}

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

START_TEST(a_torn_line_of_the_journal_is_forgotten)
{
    run r = RUN;
    size_t len;
    begin_and_stop(&r);
    char *text = folder_read(dir, JOURNAL_NAME, &len);
    temp_write(dir, JOURNAL_NAME, text, len - 9);
    free(text);
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(&r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    ck_assert(!output_has(o, two[0].name, NULL));
    ASSERT_OK(stage(o, two[0].name, r.first, &e), e);
    output_close(o);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    ck_assert(output_has(o, two[0].name, NULL)); // the new line stands on its own
    ASSERT_OK(go(o, &r, &e), e);
    output_close(o);
    holds_result(&r);
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
    char name[64];
    begin_and_stop(&r);
    (void)snprintf(name, sizeof name, ".%s.staged", two[0].name);
    folder_flip(dir, name, 3); // same size, other bytes
    run_well(&r, false);
    holds_result(&r);
    begin_and_stop(&(run){.first = "other shard", .plan = &plan_b, .input_line = "x",
                          .force = true});
    ck_assert_int_eq(truncate(temp_path(dir, name), 2), 0);
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
        "." JOURNAL_NAME ".1.0123456789abcdef.part",
        "..model-00002-of-00002.safetensors.staged.77.0123456789abcdef.part",
    };
    run r = RUN;
    begin_and_stop(&r);
    char *list[] = {NULL, NULL};
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

START_TEST(other_hidden_files_are_no_leftovers)
{
    static const char *const names[] = {
        ".x.part", ".notes.77.0123456789abcdef.part", "..x.staged.77.0123456789abcde.part",
        "..x.staged.pid.0123456789abcdef.part", "..x.staged.77.0123456789abcdeg.part",
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

Suite *suite_output(void)
{
    Suite *s = suite_create("output");
    TCase *c = tcase_create("folder");
    tcase_add_checked_fixture(c, set_up, tear_down);
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
    c = tcase_create("unfinished");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, an_unfinished_run_goes_on);
    tcase_add_test(c, a_dry_run_of_an_unfinished_run_leaves_it_as_it_is);
    tcase_add_test(c, an_unfinished_run_of_another_plan_is_not_touched);
    tcase_add_test(c, an_unfinished_run_that_finished_nothing_leaves_nothing);
    tcase_add_test(c, a_changed_input_is_named);
    tcase_add_test(c, a_foreign_file_in_an_unfinished_run_is_named);
    tcase_add_test(c, a_file_that_appears_during_the_run_is_not_replaced);
    tcase_add_test(c, a_second_run_in_the_same_folder_is_refused);
    tcase_add_test(c, a_torn_line_of_the_journal_is_forgotten);
    tcase_add_test(c, a_journal_without_sense_is_refused);
    tcase_add_test(c, a_damaged_staged_file_is_made_again);
    tcase_add_test(c, leftovers_of_killed_processes_are_removed);
    tcase_add_test(c, other_hidden_files_are_no_leftovers);
    tcase_add_test(c, what_is_given_up_leaves_nothing);
    tcase_add_test(c, a_rejected_file_is_made_again);
    tcase_add_test(c, shards_of_a_resumed_run_are_published_first);
    tcase_add_test(c, killed_at_any_moment_it_resumes_to_the_same_bytes);
    tcase_add_test(c, killed_at_any_moment_of_replacing_it_resumes_to_the_same_bytes);
    suite_add_tcase(s, c);
    return s;
}
