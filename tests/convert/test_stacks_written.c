// SPDX-License-Identifier: Apache-2.0
// Conversions that put experts into the stacks of their family: gpt-oss' MXFP4 blocks.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/run_parts.h"
#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/stack_case.h"
#include "tests/temp.h"

Suite *suite_stacks_written(void);

enum { LAYERS = 3, EXPERTS = 4, HIDDEN = 64, INTER = 32, MATRICES = LAYERS * EXPERTS * 3 };

// First with the experts one by one, then with the same experts stacked.
static void write_model(int which, bool stacked)
{
    const stack_case *k = &stack_cases[which];
    char *config = stack_case_config(k);
    if (stacked)
        stack_case_stack(k, &the.t);
    else
        stack_case_make(k, &the.t);
    for (int i = 0; i < the.t.n; i++) // as published
        if (the.t.item[i].t.type == DT_F8_E8M0)
            the.t.item[i].t.type = DT_U8;
    tiny_write(&the.t, config);
    free(config);
}

static void write_stacked(int which)
{
    write_model(which, false);
    write_model(which, true);
}

static void into(const char *type)
{
    make_quantize(type, SCOPE_EXPERTS, LAYOUT_PLAIN);
}

// convert --to TYPE --scope SCOPE; to an expert pack where TYPE is NULL.
static void moves(const char *type, plan_scope scope, const char *from, const char *to)
{
    make_convert(LAYOUT_EXPERTS);
    if (type)
        make_quantize(type, scope, LAYOUT_PLAIN);
    the.order.plan.exact = type && scope != SCOPE_MATRICES;
    the.order.refuse_changes = true;
    the.order.input = from;
    the.order.output = to;
    make_runs();
}

// ---- which bytes -----------------------------------------------------------------------------

START_TEST(blocks_come_back_from_any_form_that_holds_them)
{
    static const struct {
        const char *form;
        plan_scope there, back;
        int64_t stacked; // weights that are put into stacks as they are; all others are moved
    } ways[] = {
        {NULL, SCOPE_NONE, SCOPE_STORED, 2 * MATRICES},
        {"mxfp4-packed", SCOPE_STORED, SCOPE_STORED, MATRICES},
        {"mxfp4-deepseek", SCOPE_STORED, SCOPE_STORED, MATRICES},
        {"mxfp4-mlx", SCOPE_STORED, SCOPE_STORED, MATRICES},
        {"mxfp8", SCOPE_STORED, SCOPE_STORED, MATRICES},
        {"bf16", SCOPE_MATRICES, SCOPE_EXPERTS, MATRICES},
    };
    write_stacked(STACK_BLOCKS);
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        moves(ways[i].form, ways[i].there, the.t.dir, the.other);
        moves("mxfp4-blocks", ways[i].back, the.other, the.out);
        make_same_tensors(the.t.dir, the.out);
        make_sums_are_right(the.out);
        make_file_says(the.out, "config.json", "\"mxfp4\"");
        ck_assert_int_eq(the.report.n_cut, 0);
        ck_assert_int_eq(the.report.n_stacked, ways[i].stacked);
        ck_assert_int_eq(the.report.n_coded, 2 * MATRICES - ways[i].stacked);
        folder_remove(the.out);
        folder_remove(the.other);
    }
    // What is there already is moved.
    moves("mxfp4-blocks", SCOPE_STORED, the.t.dir, the.out);
    make_same_tensors(the.t.dir, the.out);
    ck_assert_int_eq(the.report.n_coded + the.report.n_stacked + the.report.n_cut, 0);
}
END_TEST

// A layer of the source in stacks, which are moved, the others one by one.
START_TEST(stacks_that_are_there_stand_beside_new_ones)
{
    const stack_case *k = &stack_cases[STACK_BLOCKS];
    write_model(STACK_BLOCKS, false);
    moves("mxfp4-blocks", SCOPE_STORED, the.t.dir, the.other);
    ck_assert_int_eq(the.report.n_stacked, 2 * MATRICES);
    char *config = stack_case_config(k);
    stack_case_layer(k, &the.t, 1);
    tiny_write(&the.t, config);
    free(config);
    moves("mxfp4-blocks", SCOPE_STORED, the.t.dir, the.out);
    ck_assert_int_eq(the.report.n_stacked, 2 * MATRICES / LAYERS * (LAYERS - 1));
    make_same_tensors(the.other, the.out);
}
END_TEST

static unsigned char *bytes_of(const checkpoint *c, const char *name, const char *suffix,
                               uint64_t bytes)
{
    err e = ERR_INIT;
    char whole[200];
    (void)snprintf(whole, sizeof whole, "%s%s", name, suffix);
    const tensor *t = checkpoint_find(c, whole);
    ck_assert_msg(t && t->bytes == bytes, "%s: %llu bytes", whole,
                  t ? (unsigned long long)t->bytes : 0);
    unsigned char *to = malloc(bytes);
    ASSERT_OK(checkpoint_read(c, t, 0, to, bytes, &e), e);
    return to;
}

// The stack's rows are those of the single experts: expert after expert, gate and up in turns.
static void holds(const checkpoint *made, const checkpoint *single, int layer, const char *names,
                  int64_t rows, uint64_t row, const char *behind, const char *single_behind)
{
    int turns = (int)strlen(names);
    char path[150];
    (void)snprintf(path, sizeof path, "model.layers.%d.mlp.experts.%s_proj", layer,
                   turns == 2 ? "gate_up" : "down");
    uint64_t piece = (uint64_t)rows * row;
    unsigned char *all = bytes_of(made, path, behind, EXPERTS * (uint64_t)turns * piece);
    const unsigned char *at = all;
    for (int e = 0; e < EXPERTS; e++) {
        unsigned char *part[2];
        for (int k = 0; k < turns; k++) {
            const char *what = names[k] == 'g' ? "gate" : names[k] == 'u' ? "up" : "down";
            (void)snprintf(path, sizeof path, "model.layers.%d.mlp.experts.%d.%s_proj", layer, e,
                           what);
            part[k] = bytes_of(single, path, single_behind, piece);
        }
        for (int64_t r = 0; r < rows; r++)
            for (int k = 0; k < turns; k++, at += row)
                ck_assert_mem_eq(at, part[k] + (uint64_t)r * row, row);
        for (int k = 0; k < turns; k++)
            free(part[k]);
    }
    free(all);
}

// Of both searches; biases go along from single experts.
START_TEST(stacks_hold_the_rows_of_single_experts)
{
    static const codec_search searches[] = {SEARCH_BEST, SEARCH_COMPAT};
    err e = ERR_INIT;
    for (int i = 0; i < 4; i++) {
        checkpoint *made, *single;
        if (i % 2 == 0)
            write_model(STACK_GPT_OSS, i / 2);
        the.order.plan.search = searches[i % 2];
        into("mxfp4-packed");
        the.order.output = the.other;
        make_runs();
        into("mxfp4-blocks");
        the.order.output = the.out;
        *heard.warned = 0;
        make_runs();
        ck_assert_str_eq(heard.warned, "");
        ck_assert_int_eq(the.report.n_coded, MATRICES);
        ck_assert_int_eq(the.report.n_stacked, i / 2 ? 0 : MATRICES);
        ASSERT_OK(checkpoint_open(&made, the.out, NULL, &e), e);
        ASSERT_OK(checkpoint_open(&single, the.other, NULL, &e), e);
        for (int n = 0; n < LAYERS; n++) {
            holds(made, single, n, "gu", INTER, HIDDEN / 2, "_blocks", ".weight_packed");
            holds(made, single, n, "gu", INTER, HIDDEN / 32, "_scales", ".weight_scale");
            holds(made, single, n, "gu", INTER, 2, "_bias", ".bias");
            holds(made, single, n, "d", HIDDEN, INTER / 2, "_blocks", ".weight_packed");
            holds(made, single, n, "d", HIDDEN, INTER / 32, "_scales", ".weight_scale");
            holds(made, single, n, "d", HIDDEN, 2, "_bias", ".bias");
        }
        const tensor *t = checkpoint_find(made, "model.layers.2.mlp.experts.gate_up_proj_blocks");
        ck_assert(t->type == DT_U8 && t->rank == 4 && t->shape[0] == EXPERTS &&
                  t->shape[1] == 2 * INTER && t->shape[2] == HIDDEN / 32 && t->shape[3] == 16);
        checkpoint_close(made);
        checkpoint_close(single);
        folder_remove(the.out);
        folder_remove(the.other);
    }
}
END_TEST

START_TEST(the_config_names_what_is_not_in_blocks)
{
    write_stacked(STACK_GPT_OSS);
    into("mxfp4-blocks");
    make_runs();
    make_file_says(the.out, "config.json",
                   "\"quantization_config\": {\n    \"quant_method\": \"mxfp4\",\n"
                   "    \"modules_to_not_convert\": [\n      \"lm_head\",\n"
                   "      \"model.layers.0.mlp.router\",\n"
                   "      \"model.layers.0.self_attn.k_proj\",\n");
    size_t len;
    char *text = folder_read(the.out, "config.json", &len);
    ck_assert_ptr_null(strstr(text, "mlp.experts"));
    free(text);
}
END_TEST

// ---- how it is cut ---------------------------------------------------------------------------

static void open_small(make_parts *k, uint64_t batch, uint64_t held)
{
    make_open_parts(k);
    k->with.batch = batch;
    k->with.held = held;
    k->with.scratch = the.out;
}

START_TEST(neither_batches_nor_scratch_change_a_byte)
{
    static const uint64_t limits[] = {0, 300, 2000};
    char digest[65], first[65];
    err e = ERR_INIT;
    into("mxfp4-blocks");
    for (int stacked = 0; stacked < 2; stacked++) {
        write_model(STACK_GPT_OSS, stacked);
        for (size_t i = 0; i < COUNT_OF(limits); i++) {
            make_parts k;
            sha256_digest sum;
            open_small(&k, limits[i], limits[i]);
            ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
            ASSERT_OK(run_read_back(&k.p, &k.with, k.to, &k.r, &e), e);
            ASSERT_OK(sha256_of(k.r.tensor, (size_t)k.p.n_tensors * sizeof *k.r.tensor, &sum, &e),
                      e);
            (void)hex_of(sum.b, sizeof sum.b, i ? digest : first);
            ck_assert_msg(i == 0 || strcmp(first, digest) == 0, "limit %zu", i);
            make_give_up(&k);
        }
    }
}
END_TEST

// What waits is at most what the plan says, and exactly what was measured is put into scratch.
START_TEST(what_waits_is_what_was_planned)
{
    write_model(STACK_GPT_OSS, false);
    into("mxfp4-blocks");
    make_parts k;
    uint64_t most = 0, overflow;
    err e = ERR_INIT;
    make_open_parts(&k);
    ck_assert_int_eq(k.p.n_files, 1);
    most = plan_held_bytes(&k.p);
    // All scales of gate and up, and an expert's blocks of both.
    ck_assert_uint_eq(most, (EXPERTS * (HIDDEN / 32) + HIDDEN / 2) * 2 * INTER);
    ASSERT_OK(held_overflow(&k.p, &k.p.file[0], most, &overflow, &e), e);
    ck_assert_uint_eq(overflow, 0);
    ASSERT_OK(held_overflow(&k.p, &k.p.file[0], most - 1, &overflow, &e), e);
    ck_assert_uint_gt(overflow, 0);
    make_give_up(&k);
}
END_TEST

START_TEST(each_byte_of_single_experts_is_read_once)
{
    for (int stacked = 0; stacked < 2; stacked++) {
        make_parts k;
        write_model(STACK_GPT_OSS, stacked);
        into("mxfp4-blocks");
        make_open_parts(&k);
        make_walk_all(&k);
        make_give_up(&k);
    }
}
END_TEST

START_TEST(parts_and_stopped_runs_make_what_one_run_makes)
{
    char digest[65];
    for (int stacked = 0; stacked < 2; stacked++) {
        write_model(STACK_GPT_OSS, stacked);
        into("mxfp4-blocks");
        the.order.plan.shard_bytes = 9000;
        heard.progress = 0;
        make_runs();
        ck_assert_int_ge(the.report.n_files, LAYERS);
        ck_assert_int_eq(the.report.n_tensors, 3 + LAYERS * 19);
        folder_digest(the.out, digest);
        make_goes_on(digest);
        make_in_parts(3, digest);
        make_runs();
        ck_assert(the.report.already_complete);
        folder_remove(the.out);
    }
}
END_TEST

// A layer's stacks are one module and stay together; pieces do not count as tensors of a shard.
START_TEST(shards_are_cut_between_stacks)
{
    make_parts k;
    write_stacked(STACK_GPT_OSS);
    into("mxfp4-blocks");
    the.order.plan.shard_tensors = 6;
    make_open_parts(&k);
    for (int64_t f = 0; f < k.p.n_files; f++) {
        int64_t heads = 0, made = 0;
        for (int64_t i = k.p.file[f].first; i < k.p.file[f].first + k.p.file[f].n; i++) {
            heads += plan_heads(&k.p.tensor[i]);
            made += plan_heads(&k.p.tensor[i]) && k.p.tensor[i].stack;
        }
        ck_assert_int_le(heads, 6);
        ck_assert(made == 0 || made == 4);
    }
    make_give_up(&k);
}
END_TEST

// ---- proof -----------------------------------------------------------------------------------

// Flips every bit of the first parts that wait in the scratch file of this process, which has no
// name any more; once.
static void spoil(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    bool *spoiled = ctx;
    (void)what;
    (void)done;
    (void)total;
    for (int fd = 3; fd < 64 && !*spoiled; fd++) {
        char link[40], name[400];
        unsigned char bytes[4096], any = 0;
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, name, sizeof name - 1);
        name[n > 0 ? n : 0] = 0;
        if (!strstr(name, "(deleted)") || !strstr(name, the.out))
            continue;
        n = pread(fd, bytes, sizeof bytes, 0);
        for (ssize_t i = 0; i < n; i++) {
            any |= bytes[i];
            bytes[i] = (unsigned char)~bytes[i];
        }
        *spoiled = any;
        if (any)
            ck_assert_int_eq(pwrite(fd, bytes, (size_t)n, 0), n);
    }
}

START_TEST(what_comes_back_otherwise_than_it_went_is_not_finished)
{
    bool spoiled = false;
    make_parts k;
    const events listening = {.progress = spoil, .ctx = &spoiled};
    write_stacked(STACK_GPT_OSS);
    into("mxfp4-blocks");
    open_small(&k, 0, 1);
    k.with.events = &listening;
    ASSERT_FAILS(run_plan(&k.p, &k.with, k.to, &k.r, &refused), ERR_INTERNAL,
                 "differs from what was encoded");
    ck_assert(!output_has(k.to, k.p.file[0].name, NULL));
    make_give_up(&k);
}
END_TEST

// ---- refused ---------------------------------------------------------------------------------

START_TEST(refuses_a_family_without_such_stacks)
{
    write_stacked(_i ? STACK_LLAMA4 : STACK_QWEN3);
    into("mxfp4-blocks");
    (void)make_fails(ERR_INPUT, _i ? "family llama4 does not"
                     : "mxfp4-blocks is all experts of a layer in one tensor, gate's and up's "
                       "rows in turns, as gpt-oss has them; family qwen3_moe does not");
}
END_TEST

START_TEST(refuses_blocks_that_are_no_experts)
{
    write_stacked(STACK_GPT_OSS);
    make_quantize("mxfp4-blocks", SCOPE_ALL_LINEAR, LAYOUT_PLAIN);
    (void)make_fails(ERR_INPUT, "'model.layers.0.self_attn.q_proj' is no routed expert: "
                     "mxfp4-blocks holds those only");
}
END_TEST

START_TEST(refuses_experts_of_two_types)
{
    static const char *const rules[] = {"experts & layer=1 & expert=2=keep",
                                        "experts=mxfp4-blocks"};
    recipe list = {0};
    err e = ERR_INIT;
    for (int i = 0; i < 2; i++)
        ASSERT_OK(recipe_add_option(&list, rules[i], &e), e);
    write_stacked(STACK_GPT_OSS);
    make_convert(LAYOUT_PLAIN);
    the.order.plan.rules = &list;
    (void)make_fails(ERR_INPUT, "'model.layers.1.mlp.experts.2.gate_proj' would be bf16: "
                     "mxfp4-blocks holds the routed experts of all layers, or none");
    recipe_free(&list);
}
END_TEST

START_TEST(refuses_biases_of_two_types)
{
    static const float bias[INTER] = {1};
    static const char name[] = "model.layers.1.mlp.experts.3.up_proj.bias";
    write_model(STACK_GPT_OSS, false);
    tiny_drop(&the.t, name);
    tiny_add(&the.t, name, DT_F32, 1, INTER, 0, bias);
    tiny_write(&the.t, tiny_gpt_oss_config);
    into("mxfp4-blocks");
    (void)make_fails(ERR_INPUT, "'model.layers.1.mlp.experts.3.up_proj.bias' is F32, other "
                     "experts' are BF16: 'model.layers.1.mlp.experts.gate_up_proj_bias' holds all "
                     "of them");
}
END_TEST

Suite *suite_stacks_written(void)
{
    Suite *s = suite_create("stacks_written");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_test(c, blocks_come_back_from_any_form_that_holds_them);
    tcase_add_test(c, stacks_that_are_there_stand_beside_new_ones);
    tcase_add_test(c, stacks_hold_the_rows_of_single_experts);
    tcase_add_test(c, the_config_names_what_is_not_in_blocks);
    tcase_add_test(c, neither_batches_nor_scratch_change_a_byte);
    tcase_add_test(c, what_waits_is_what_was_planned);
    tcase_add_test(c, each_byte_of_single_experts_is_read_once);
    tcase_add_test(c, parts_and_stopped_runs_make_what_one_run_makes);
    tcase_add_test(c, shards_are_cut_between_stacks);
    tcase_add_test(c, what_comes_back_otherwise_than_it_went_is_not_finished);
    tcase_add_loop_test(c, refuses_a_family_without_such_stacks, 0, 2);
    tcase_add_test(c, refuses_blocks_that_are_no_experts);
    tcase_add_test(c, refuses_experts_of_two_types);
    tcase_add_test(c, refuses_biases_of_two_types);
    suite_add_tcase(s, c);
    return s;
}
