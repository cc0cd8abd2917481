// SPDX-License-Identifier: Apache-2.0
// Plans as files: what they say, that they are trusted in nothing, and what is said when they are
// not the plan any more.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "convert/job.h"
#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_saved_plan(void);

static char plan_path[300];

static void set_up(void)
{
    make_set_up();
    make_use_qwen3();
    temp_write(the.t.dir, "README.md", "read me", 7);
    (void)snprintf(plan_path, sizeof plan_path, "%s/jobs/a.plan", the.top);
    temp_mkdir(the.top, "jobs");
}

static order int4(void)
{
    order o = ORDER_DEFAULTS;
    o.quantize = true;
    o.plan.codec = codec_find("int4-g32");
    o.plan.scope = SCOPE_EXPERTS;
    o.plan.layout = LAYOUT_EXPERTS;
    return o;
}

static bool save(const order *o, const char *path, bool force, err *e)
{
    job j;
    make_report r;
    job_paths paths = {the.t.dir, the.out, NULL};
    if (!job_from_order(&j, o, &paths, e))
        return false;
    j.make.save_plan = path;
    j.make.dry_run = true;
    j.make.force = force;
    j.make.memory = 1 << 30;
    bool ok = make_checkpoint(&j.make, &r, e);
    job_close(&j);
    return ok;
}

static void saved(void)
{
    err e = ERR_INIT;
    order o = int4();
    ASSERT_OK(save(&o, plan_path, false, &e), e);
}

// Runs the plan as `scruple run` does.
static bool run(err *e)
{
    job j;
    make_report r;
    job_paths none = {0};
    if (!job_from_plan(&j, plan_path, &none, e))
        return false;
    j.make.memory = 1 << 30;
    bool ok = make_checkpoint(&j.make, &r, e);
    job_close(&j);
    return ok;
}

static void refuses(err_kind kind, const char *words)
{
    ASSERT_FAILS(run(&refused), kind, words);
    ck_assert(!folder_has(the.top, "out"));
}

// ---- what it says ----

START_TEST(a_dry_run_writes_the_plan_and_nothing_else)
{
    saved();
    ck_assert_int_eq(temp_count(the.top), 1);
    err e = ERR_INIT;
    ASSERT_OK(run(&e), e);
    make_sums_are_right(the.out);
}
END_TEST

START_TEST(every_line_is_json_and_the_numbers_add_up)
{
    err e = ERR_INIT;
    size_t len;
    json *head = NULL, *line = NULL;
    saved();
    char *text = folder_read(the.top, "jobs/a.plan", &len), *at = text;
    int64_t units = 0, tensors = 0, bytes = 0, value;
    for (char *end; (end = strchr(at, '\n')); at = end + 1) {
        ASSERT_OK(json_parse(head ? &line : &head, at, (size_t)(end - at), "a line", &e), e);
        if (!line)
            continue;
        ck_assert(json_as_int(json_get(line, "unit"), &value));
        ck_assert_int_eq(value, ++units);
        ck_assert(json_as_int(json_get(line, "bytes"), &value));
        bytes += value;
        int64_t end_of_file = value, last = 0;
        for (const json *t = json_first(json_get(line, "tensors")); t; t = json_next(t)) {
            int64_t offset, n;
            ck_assert(json_as_int(json_get(t, "offset"), &offset));
            ck_assert(json_as_int(json_get(t, "bytes"), &n));
            ck_assert_int_ge(offset, last);
            last = offset + n;
            tensors++;
            ck_assert_int_ge(json_len(json_get(t, "from")), 1);
        }
        ck_assert_int_eq(last, end_of_file);
        json_free(line);
        line = NULL;
    }
    ck_assert_str_eq(at, "");
    ck_assert(json_as_int(json_get(head, "units"), &value) && value == units);
    ck_assert(json_as_int(json_get(head, "tensors"), &value) && value == tensors);
    ck_assert(json_as_int(json_get(head, "bytes"), &value) && value == bytes);
    ck_assert_str_eq(json_as_text(json_get(head, "family")), "qwen3_moe");
    ck_assert_str_eq(json_as_text(json_get(head, "output")), "../out");
    json_free(head);
    free(text);
}
END_TEST

START_TEST(paths_lead_from_the_plan_and_may_be_given_anew)
{
    err e = ERR_INIT;
    job j;
    job_paths none = {0}, instead = {"in", "to", NULL};
    saved();
    ASSERT_OK(job_from_plan(&j, plan_path, &none, &e), e);
    char *is = path_resolve(j.make.output, &e), *should = path_resolve(the.out, &e);
    ck_assert_str_eq(is, should);
    free(is);
    free(should);
    is = path_resolve(j.make.input, &e);
    should = path_resolve(the.t.dir, &e);
    ck_assert_str_eq(is, should);
    free(is);
    free(should);
    job_close(&j);
    ASSERT_OK(job_from_plan(&j, plan_path, &instead, &e), e);
    ck_assert_str_eq(j.make.input, "in");
    ck_assert_str_eq(j.make.output, "to");
    job_close(&j);
    instead.statistics = "x";
    ASSERT_FAILS(job_from_plan(&j, plan_path, &instead, &refused), ERR_USAGE, "no statistics");
}
END_TEST

START_TEST(the_same_plan_may_be_saved_again_another_one_only_by_force)
{
    err e = ERR_INIT;
    order o = int4(), other = int4();
    other.plan.positive_scales = true;
    saved();
    saved();
    ASSERT_FAILS(save(&other, plan_path, false, &refused), ERR_ENV,
                 "is there already and not the file of this plan; --force replaces it");
    ASSERT_OK(save(&other, plan_path, true, &e), e);
    ASSERT_FAILS(save(&o, plan_path, false, &refused), ERR_ENV, "is there already");
    temp_write(the.top, "jobs/a.plan", "mine", 4);
    ASSERT_FAILS(save(&o, plan_path, false, &refused), ERR_ENV, "is there already");
}
END_TEST

START_TEST(a_plan_does_not_lie_in_the_input_or_the_output)
{
    order o = int4();
    char path[400];
    (void)snprintf(path, sizeof path, "%s/a.plan", the.out);
    ASSERT_FAILS(save(&o, path, false, &refused), ERR_USAGE, "inside of the input or the output");
    (void)snprintf(path, sizeof path, "%s/a.plan", the.t.dir);
    ASSERT_FAILS(save(&o, path, false, &refused), ERR_USAGE, "inside of the input or the output");
    ck_assert(!folder_has(the.top, "out"));
}
END_TEST

// ---- not this plan any more ----

// JSON has no form for it: a plan that named another folder would be worse than none.
START_TEST(a_plan_with_a_path_that_is_not_utf8_is_refused)
{
    order o = int4();
    (void)snprintf(the.out, sizeof the.out, "%s/o\xff", the.top);
    ASSERT_FAILS(save(&o, plan_path, false, &refused), ERR_USAGE, "the path is not UTF-8");
    ck_assert_int_eq(folder_visible(temp_path(the.top, "jobs")), 0);
}
END_TEST

START_TEST(a_changed_input_is_named)
{
    saved();
    temp_write(the.t.dir, "README.md", "read me!", 8);
    refuses(ERR_ENV, "'README.md' is not the file of then");
    temp_write(the.t.dir, "README.md", "read me", 7);
    temp_write(the.t.dir, "NOTES.txt", "x", 1);
    refuses(ERR_ENV, "'NOTES.txt' is not the file of then, or not in its place");
    ck_assert_int_eq(unlink(temp_path(the.t.dir, "NOTES.txt")), 0);
    tiny_drop(&the.t, "model.layers.1.input_layernorm.weight");
    tiny_add(&the.t, "model.layers.1.input_layernorm.weight", DT_F32, 1, 64, 0, NULL);
    tiny_write(&the.t, tiny_qwen3_moe_config);
    temp_write(the.t.dir, "README.md", "read me", 7);
    refuses(ERR_ENV, "tensor 'model.");
    refuses(ERR_ENV, "the file says ");
}
END_TEST

// Replaces the first `from` in the plan file.
static void edit(const char *from, const char *to)
{
    size_t len;
    strbuf s = {0};
    char *text = folder_read(the.top, "jobs/a.plan", &len);
    char *at = strstr(text, from);
    ck_assert_msg(at, "no %s in the plan", from);
    strbuf_add(&s, text, (size_t)(at - text));
    strbuf_puts(&s, to);
    strbuf_puts(&s, at + strlen(from));
    temp_write(the.top, "jobs/a.plan", s.text, s.len);
    strbuf_free(&s);
    free(text);
}

START_TEST(an_edited_plan_is_refused)
{
    static const struct {
        const char *from, *to, *words;
        err_kind kind;
    } edits[] = {
        {"\"version\":\"" SCRUPLE_VERSION, "\"version\":\"9.9.9", "was made by scruple 9.9.9, this "
         "is " SCRUPLE_VERSION, ERR_ENV},
        {"\"type\":\"int4-g32\"", "\"type\":\"fp8-channel\"", "unit 'model-", ERR_ENV},
        {"\"search\":\"best\"", "\"search\":\"compat\"", "options or its id were changed", ERR_ENV},
        {"\"plan\":\"", "\"plan\":\"00", "no version or no id", ERR_INPUT},
        {"\"written\":", "\"written\":1", "unit 'model-00001-of-00004.safetensors': the file says "
         "\"written\":1", ERR_ENV},
        {"\"offset\":16384", "\"offset\":16385", ", tensor '", ERR_ENV},
        {"{\"unit\":2", "{\"unit\":2,\"more\":1", "unit 'model-00002", ERR_ENV},
        {"{\"unit\":4", "garbage", "unit 'model-00004", ERR_ENV},
        {"scruple-plan", "something", "does not say", ERR_INPUT},
        {"\"format_version\":1", "\"format_version\":2", "of another form", ERR_INPUT},
        {"\"page\":16384", "\"page\":16384,\"x\":1", "does not know", ERR_INPUT},
        {"\"family\":\"", "\"extra\":0,\"family\":\"", "does not know", ERR_INPUT},
        {"\"units\":4", "\"units\":-4", "'units' is missing or not a count", ERR_INPUT},
        {"\"input\":\"", "\"input\":\"\",\"input\":\"", "", ERR_INPUT},
        {"\"output\":\"../out\"", "\"output\":\"\"", "'output' is missing or not a path",
         ERR_INPUT},
        {"\"output\":\"../out\"", "\"output\":\"../out\",\"statistics\":\"s\"",
         "do not agree on statistics", ERR_INPUT},
        {"\"small_files\":[{", "\"small_files\":[{\"a\":1,", "has no name or digest", ERR_INPUT},
        {"\"command\":\"quantize\"", "\"command\":\"verify\"", "no command 'verify'", ERR_INPUT},
        {"\"command\":\"quantize\"", "\"command\":\"convert\"", "'to'", ERR_INPUT},
    };
    err e = ERR_INIT;
    order o = int4();
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        ASSERT_OK(save(&o, plan_path, true, &e), e);
        edit(edits[i].from, edits[i].to);
        refuses(edits[i].kind, edits[i].words);
    }
}
END_TEST

START_TEST(a_plan_that_is_cut_off_or_longer_is_refused)
{
    size_t len;
    saved();
    char *text = folder_read(the.top, "jobs/a.plan", &len);
    size_t first = (size_t)(strchr(text, '\n') - text) + 1;
    for (size_t n = first; n < len; n += 1 + (len - first) / 40) {
        temp_write(the.top, "jobs/a.plan", text, n);
        refuses(ERR_ENV, " in the file");
    }
    temp_write(the.top, "jobs/a.plan", text, len - 1);
    refuses(ERR_ENV, "is cut off in the file");
    for (size_t n = 0; n < first; n += 1 + first / 40) {
        temp_write(the.top, "jobs/a.plan", text, n);
        refuses(ERR_INPUT, "it has no first line");
    }
    strbuf more = {0};
    strbuf_add(&more, text, len);
    strbuf_puts(&more, "{}\n");
    temp_write(the.top, "jobs/a.plan", more.text, more.len);
    refuses(ERR_ENV, "the file has more units");
    strbuf_free(&more);
    free(text);
}
END_TEST

START_TEST(what_is_no_plan_is_refused)
{
    static const char *const texts[] = {"\n", "x\n", "[]\n", "{}\n", "null\n", "{\"format\":1}\n",
                                        "\xff\xfe\n", "{\"format\":\"scruple-plan\"}\n"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        temp_write(the.top, "jobs/a.plan", texts[i], strlen(texts[i]));
        refuses(ERR_INPUT, "");
    }
    // A line without end, and a file that is too large, cost no memory of their size.
    temp_write(the.top, "jobs/a.plan", "{", 1);
    ck_assert_int_eq(truncate(plan_path, SAVED_PLAN_LARGEST), 0);
    refuses(ERR_INPUT, "it has no first line");
    ck_assert_int_eq(truncate(plan_path, SAVED_PLAN_LARGEST + 1), 0);
    refuses(ERR_INPUT, "a plan has at most 268435456");
    ck_assert_int_eq(unlink(plan_path), 0);
    refuses(ERR_INPUT, "a.plan");
}
END_TEST

Suite *suite_saved_plan(void)
{
    Suite *s = suite_create("saved_plan");
    TCase *c = tcase_create("saved_plan");
    tcase_add_checked_fixture(c, set_up, make_tear_down);
    tcase_set_timeout(c, 30);
    tcase_add_test(c, a_dry_run_writes_the_plan_and_nothing_else);
    tcase_add_test(c, every_line_is_json_and_the_numbers_add_up);
    tcase_add_test(c, paths_lead_from_the_plan_and_may_be_given_anew);
    tcase_add_test(c, the_same_plan_may_be_saved_again_another_one_only_by_force);
    tcase_add_test(c, a_plan_does_not_lie_in_the_input_or_the_output);
    tcase_add_test(c, a_plan_with_a_path_that_is_not_utf8_is_refused);
    tcase_add_test(c, a_changed_input_is_named);
    tcase_add_test(c, an_edited_plan_is_refused);
    tcase_add_test(c, a_plan_that_is_cut_off_or_longer_is_refused);
    tcase_add_test(c, what_is_no_plan_is_refused);
    suite_add_tcase(s, c);
    return s;
}
