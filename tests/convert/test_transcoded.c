// SPDX-License-Identifier: Apache-2.0
// Whole conversions that move weights into another type of codes.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/run_parts.h"
#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/stack_case.h"
#include "tests/temp.h"

Suite *suite_transcoded(void);

static char source[340]; // the tiny model, quantized

static void quantized(const char *type)
{
    make_use_qwen3();
    make_quantize(type, SCOPE_EXPERTS, LAYOUT_PLAIN);
    (void)snprintf(source, sizeof source, "%s/source", the.top);
    the.order.output = source;
    make_runs();
    the.order.input = source;
    the.order.output = the.out;
}

static void move_into(const char *type, bool lossy)
{
    make_quantize(type, SCOPE_STORED, LAYOUT_PLAIN);
    the.order.command = "convert";
    the.order.plan.exact = true;
    the.order.plan.lossy = lossy;
    the.order.refuse_changes = !lossy;
}

static void tear_down(void)
{
    if (*source)
        folder_remove(source);
    *source = 0;
    make_tear_down();
}

static void same_file(const char *a, const char *b, const char *name)
{
    size_t n, m;
    char *x = folder_read(a, name, &n), *y = folder_read(b, name, &m);
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s differs", name);
    free(x);
    free(y);
}

// ---- what moves ------------------------------------------------------------------------------

START_TEST(moves_blocks_that_are_held_and_says_how_many)
{
    quantized("mxfp4-packed");
    move_into("nvfp4-packed", false);
    make_runs();
    ck_assert_int_gt(the.report.blocks, 0);
    ck_assert_int_eq(the.report.changed_blocks, 0);
    ck_assert_int_eq(the.report.blocks % 2, 0);
    make_sums_are_right(the.out);
    make_file_says(the.out, "scruple.json", "\"blocks_changed\": 0");
    make_file_says(the.out, "config.json", "nvfp4-pack-quantized");
    folder_remove(the.out);
}
END_TEST

// gpt-oss as published: slices of stacks, gate and up in turns.
START_TEST(moves_stacked_blocks_as_those_of_single_experts)
{
    const stack_case *k = &stack_cases[STACK_BLOCKS];
    char *config = stack_case_config(k);
    for (int stacked = 0; stacked < 2; stacked++) {
        if (stacked)
            stack_case_stack(k, &the.t);
        else
            stack_case_make(k, &the.t);
        tiny_write(&the.t, config);
        move_into("mxfp4-packed", false);
        the.order.output = stacked ? the.out : the.other;
        make_runs();
        ck_assert_int_gt(the.report.blocks, 0);
    }
    same_file(the.out, the.other, "model.safetensors");
    same_file(the.out, the.other, "config.json");
    folder_remove(the.out);
    folder_remove(the.other);
    free(config);
}
END_TEST

// ---- what does not ---------------------------------------------------------------------------

START_TEST(refuses_and_names_what_is_not_held)
{
    quantized("nvfp4-packed");
    move_into("mxfp4-packed", false);
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_NO,
                 "weights are not on mxfp4-packed's grid (model.layers.");
    ck_assert(strstr(heard.warned, " blocks are not on mxfp4-packed's grid\n"));
    ck_assert(!folder_has(the.top, "out"));
}
END_TEST

START_TEST(refuses_a_source_that_has_nothing_to_move)
{
    make_use_qwen3();
    move_into("mxfp4-packed", false);
    ASSERT_REFUSED(make_checkpoint(&the.order, &the.report, &refused),
                   "no weight of this checkpoint is stored in codes that could become ");
}
END_TEST

// Batches of other sizes, or a run that was stopped in between, leave the same folder and counts.
START_TEST(measures_the_same_however_it_is_cut)
{
    char expected[65], found[65];
    quantized("nvfp4-packed");
    move_into("mxfp4-packed", true);
    the.order.plan.shard_bytes = 20000;
    heard.progress = 0;
    make_runs();
    folder_digest(the.out, expected);
    const make_report whole = the.report;
    ck_assert(whole.changed_blocks > 0 && whole.loss.error > 0 && whole.loss.largest > 0);
    folder_remove(the.out);
    int progress = heard.progress;
    for (int at = 2; at < progress; at += progress / 3) {
        heard.progress = 0;
        heard.stop_at = at;
        ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_INTERRUPTED, "");
        heard.stop_at = 0;
        make_runs();
        ck_assert_str_eq(folder_digest(the.out, found), expected);
        ck_assert_int_eq(the.report.changed_blocks, whole.changed_blocks);
        ck_assert(the.report.loss.error == whole.loss.error);
        ck_assert(the.report.loss.signal == whole.loss.signal);
        folder_remove(the.out);
    }
    the.order.memory = (uint64_t)3 << 30;
    make_runs();
    ck_assert_str_eq(folder_digest(the.out, found), expected);
    folder_remove(the.out);
}
END_TEST

// ---- notes -----------------------------------------------------------------------------------

START_TEST(a_note_tells_what_was_lost_or_nothing)
{
    static const char *const damage[] = {"[0,7]", "[0,7,1,2,-1]", "[0,7,-1,2,0.5]",
                                         "[0,7,1,-2,0.5]", "[0,7,1,2,1e39]", "[0,-1,1,2,0.5]",
                                         "[0,7,1,2]", "[0,7,\"1\",2,0.5]", "[0,7,1,2,0.5,0]"};
    make_parts k;
    run_result back;
    strbuf text = {0};
    err e = ERR_INIT;
    bool known;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    the.order.plan.exact = the.order.plan.lossy = true;
    make_open_parts(&k);
    ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
    int64_t first = k.p.file[2].first;
    for (int64_t i = 0; i < k.p.file[2].n; i++) {
        k.r.changed[first + i] = 0;
        k.r.loss[first + i] = (run_loss){0};
    }
    k.r.changed[first] = 7;
    k.r.loss[first] = (run_loss){1, 2, 0.5f};
    k.r.loss[first + 3] = (run_loss){0, 0.1, 0};
    ASSERT_OK(note_write(&k.p, 2, &k.r, &text, &e), e);
    ASSERT_OK(run_result_init(&back, &k.p, &e), e);
    for (size_t i = 0; i < COUNT_OF(damage); i++) {
        char *bad = make_with_text(text.text, "[0,7,1,2,0.5]", damage[i]);
        ASSERT_OK(note_read(&k.p, 2, bad, &back, &known, &e), e);
        ck_assert_msg(!known, "case %zu", i);
        free(bad);
    }
    ASSERT_OK(note_read(&k.p, 2, text.text, &back, &known, &e), e);
    ck_assert(known && back.changed[first] == 7 && back.loss[first].error == 1 &&
              back.loss[first].largest == 0.5f && back.loss[first + 3].signal == 0.1);
    run_result_free(&back, &k.p);
    strbuf_free(&text);
    output_abandon(k.to);
    k.to = NULL;
    make_close_parts(&k);
}
END_TEST

Suite *suite_transcoded(void)
{
    Suite *s = suite_create("transcoded");
    TCase *c = tcase_create("conversions");
    tcase_add_checked_fixture(c, make_set_up, tear_down);
    tcase_set_timeout(c, 30);
    tcase_add_test(c, moves_blocks_that_are_held_and_says_how_many);
    tcase_add_test(c, moves_stacked_blocks_as_those_of_single_experts);
    tcase_add_test(c, refuses_and_names_what_is_not_held);
    tcase_add_test(c, refuses_a_source_that_has_nothing_to_move);
    tcase_add_test(c, measures_the_same_however_it_is_cut);
    tcase_add_test(c, a_note_tells_what_was_lost_or_nothing);
    suite_add_tcase(s, c);
    return s;
}
