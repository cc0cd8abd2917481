// SPDX-License-Identifier: Apache-2.0
// Conversions of stacked experts: what comes out is, byte for byte, what comes out of the same
// experts stored one by one; each byte of a stack is read and hashed once, in memory is a slice.
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

Suite *suite_stacked(void);

static const stack_case *now;

static void write_model(bool stacked)
{
    char *config = stack_case_config(now);
    if (stacked)
        stack_case_stack(now, &the.t);
    else
        stack_case_make(now, &the.t);
    tiny_write(&the.t, config);
    free(config);
}

static void same_file(const char *a, const char *b, const char *name)
{
    size_t n, m;
    char *x = folder_read(a, name, &n), *y = folder_read(b, name, &m);
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s differs", name);
    free(x);
    free(y);
}

// All but scruple.json, which tells the sources, and SHA256SUMS, which has its digest.
static void same_outputs(const char *a, const char *b)
{
    char name[64];
    ck_assert_int_eq(folder_visible(a), folder_visible(b));
    ck_assert_int_eq(folder_has(a, "experts.idx"), folder_has(b, "experts.idx"));
    same_file(a, b, "config.json");
    if (folder_has(a, "experts.idx"))
        same_file(a, b, "experts.idx");
    for (int n = 1; n < 30; n++) {
        for (int i = 0; i <= n; i++) {
            if (i == 0)
                (void)snprintf(name, sizeof name, "model.safetensors");
            else
                (void)snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", i, n);
            if (folder_has(a, name))
                same_file(a, b, name);
        }
    }
}

// ---- the same bytes --------------------------------------------------------------------------

static const struct {
    const char *type; // NULL: moved
    plan_layout layout;
    uint64_t shard_bytes;
} ways[] = {
    {NULL, LAYOUT_EXPERTS, 1 << 20},     {"int4-g32", LAYOUT_EXPERTS, 1 << 20},
    {"nvfp4-packed", LAYOUT_PLAIN, 9000}, {"fp8-channel", LAYOUT_PLAIN, 1 << 20},
    {"int4-gptq-g32", LAYOUT_PLAIN, 1 << 20}, {"int4-awq-g32", LAYOUT_EXPERTS, 1 << 20},
};

static void order_way(size_t i)
{
    if (ways[i].type)
        make_quantize(ways[i].type, SCOPE_EXPERTS, ways[i].layout);
    else
        make_convert(ways[i].layout);
    the.order.plan.shard_bytes = ways[i].shard_bytes;
}

START_TEST(stacks_become_what_single_experts_become)
{
    char out[COUNT_OF(ways)][320];
    now = &stack_cases[_i];
    for (int stacked = 0; stacked < 2; stacked++) {
        write_model(stacked);
        for (size_t i = 0; i < COUNT_OF(ways); i++) {
            order_way(i);
            if (!stacked)
                (void)snprintf(out[i], sizeof out[i], "%s/single-%zu", the.top, i);
            the.order.output = stacked ? the.out : out[i];
            make_runs();
            if (!stacked)
                continue;
            make_sums_are_right(the.out);
            same_outputs(the.out, out[i]);
            int64_t experts = (now->last + 1 - now->first) * 4;
            ck_assert_int_eq(the.report.n_coded, ways[i].type ? 3 * experts : 0);
            ck_assert_int_eq(the.report.n_cut, 3 * experts * (!ways[i].type + now->biases));
            folder_remove(the.out);
        }
    }
    for (size_t i = 0; i < COUNT_OF(ways); i++)
        folder_remove(out[i]);
}
END_TEST

// ---- reading ---------------------------------------------------------------------------------

// Every source tensor's digest, as if its bytes had been read one behind the other.
static void digests_are_right(const make_parts *k, bool all_in_one_unit)
{
    err e = ERR_INIT;
    int64_t n = checkpoint_count(k->source), unread = 0;
    xxh128_digest *each = malloc((size_t)n * sizeof *each);
    sha256_digest all;
    ASSERT_OK(checkpoint_digests(k->source, NULL, each, &all, &e), e);
    for (int64_t i = 0; i < n; i++) {
        unread += !k->r.read[i];
        ck_assert(k->r.read[i] || model_account(k->m, i)->stacked);
        if (k->r.read[i])
            ck_assert_mem_eq(each[i].b, k->r.source[i].b, sizeof each[i].b);
    }
    ck_assert_int_eq(unread == 0, all_in_one_unit);
    free(each);
}

static void same_ids(make_parts *k)
{
    err e = ERR_INIT;
    source_id found, expected;
    ck_assert_int_eq(checkpoint_n_files(k->source), 1);
    ASSERT_OK(run_source_ids(&k->p, &k->r, &found, &e), e);
    ASSERT_OK(source_ids(k->source, NULL, &expected, &e), e);
    ck_assert_mem_eq(found.content.b, expected.content.b, sizeof found.content.b);
}

START_TEST(a_stack_is_hashed_on_the_way_or_once_more_where_units_share_it)
{
    now = &stack_cases[_i];
    write_model(false);
    write_model(true);
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        static const uint64_t batches[] = {0, 300, 2000};
        char first[65], digest[65];
        order_way(i);
        for (size_t b = 0; b < COUNT_OF(batches); b++) {
            make_parts k;
            err e = ERR_INIT;
            make_open_parts(&k);
            k.with.batch = k.with.held = batches[b];
            k.with.scratch = the.out;
            ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
            ASSERT_OK(run_read_back(&k.p, &k.with, k.to, &k.r, &e), e);
            digests_are_right(&k, ways[i].shard_bytes > 9000);
            same_ids(&k);
            sha256_digest sum;
            ASSERT_OK(sha256_of(k.r.tensor, (size_t)k.p.n_tensors * sizeof *k.r.tensor, &sum, &e),
                      e);
            (void)hex_of(sum.b, sizeof sum.b, b ? digest : first);
            ck_assert_msg(b == 0 || strcmp(first, digest) == 0, "way %zu, batch %zu", i, b);
            make_give_up(&k);
        }
    }
}
END_TEST

START_TEST(each_byte_of_a_stack_is_read_once)
{
    now = &stack_cases[_i];
    write_model(false);
    write_model(true);
    order_way(1);
    make_parts k;
    make_open_parts(&k);
    make_walk_all(&k);
    make_give_up(&k);
}
END_TEST

// Halves go through in batches of rows; of what lies among each other a slice has to fit.
START_TEST(a_slice_counts_to_the_memory_that_is_needed)
{
    for (int i = 0; i < STACK_CASES; i++) {
        make_parts k;
        err e = ERR_INIT;
        run_sizes sizes;
        uint64_t needed;
        if (i)
            make_set_up();
        now = &stack_cases[i];
        write_model(false);
        write_model(true);
        order_way(1);
        make_open_parts(&k);
        ASSERT_OK(run_sizes_of(&k.p, 2, (uint64_t)1 << 30, false, &sizes, &needed, &e), e);
        uint64_t slice = now->how.turned        ? 2 * 32 * 64 * 2
                         : now->how.interleaved ? 2 * 32 * (64 / 2 + 64 / 32)
                                                : 0;
        slice += now->biases ? 2 * 32 * 2 : 0;
        ck_assert_uint_eq(sizes.slice, slice);
        make_give_up(&k);
        if (i + 1 < STACK_CASES)
            make_tear_down();
    }
}
END_TEST

// ---- parts -----------------------------------------------------------------------------------

START_TEST(parts_that_share_a_stack_merge_to_what_one_run_makes)
{
    char expected[65], found[65];
    err e = ERR_INIT;
    now = &stack_cases[_i];
    write_model(false);
    write_model(true);
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        order_way(i);
        make_runs();
        folder_digest(the.out, expected);
        folder_remove(the.out);
        make_options o = the.order;
        for (o.part = 3; o.part > 0; o.part--) {
            o.mode = OUTPUT_PART;
            o.parts = 3;
            ASSERT_OK(make_checkpoint(&o, &the.report, &e), e);
        }
        o.mode = OUTPUT_MERGE;
        ASSERT_OK(make_checkpoint(&o, &the.report, &e), e);
        ck_assert_str_eq(folder_digest(the.out, found), expected);
        // A complete folder is known again by the same sources.
        make_runs();
        ck_assert(the.report.already_complete);
        folder_remove(the.out);
    }
}
END_TEST

START_TEST(a_run_that_was_stopped_inside_a_stack_goes_on)
{
    char expected[65], found[65];
    err e = ERR_INIT;
    now = &stack_cases[_i];
    write_model(false);
    write_model(true);
    order_way(2);
    memset(&heard, 0, sizeof heard);
    make_runs();
    folder_digest(the.out, expected);
    folder_remove(the.out);
    for (int k = 0, n = heard.progress; k < 3; k++) {
        memset(&heard, 0, sizeof heard);
        heard.stop_at = n / 5;
        ck_assert(!make_checkpoint(&the.order, &the.report, &e));
        ck_assert_int_eq(e.kind, ERR_INTERRUPTED);
        e = (err)ERR_INIT;
    }
    heard.stop_at = 0;
    make_runs();
    ck_assert_str_eq(folder_digest(the.out, found), expected);
}
END_TEST

// ---- whole stacks ----------------------------------------------------------------------------

START_TEST(where_no_expert_is_coded_stacks_stay_whole)
{
    now = &stack_cases[STACK_LLAMA4];
    write_model(false);
    write_model(true);
    make_convert(LAYOUT_PLAIN);
    the.order.plan.codec = codec_find("bf16");
    the.order.plan.scope = SCOPE_MATRICES;
    make_runs();
    make_same_tensors(the.t.dir, the.out);
    ck_assert_int_eq(the.report.n_cut, 0);
    ck_assert_int_eq(the.report.n_coded, 0);
}
END_TEST

static void write_row_scaled_stacks(void)
{
    static unsigned char codes[4 * 64 * 64];
    static float scales[4 * 64];
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (unsigned char)(i * 37 % 0x7f);
    for (size_t i = 0; i < COUNT_OF(scales); i++)
        scales[i] = (float)(i + 1) / 64;
    for (int n = 0; n < 3; n++) {
        char name[100];
        for (int k = 0; k < 2; k++) {
            int64_t rows = 64, in = k ? 32 : 64;
            (void)snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%s", n,
                           k ? "down_proj" : "gate_up_proj");
            tiny_drop(&the.t, name);
            tiny_add_shaped(&the.t, name, DT_F8_E4M3, 3, (int64_t[]){4, rows, in}, codes);
            (void)snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%s_scale_inv", n,
                           k ? "down_proj" : "gate_up_proj");
            tiny_add_shaped(&the.t, name, DT_F32, 3, (int64_t[]){4, rows, 1}, scales);
        }
    }
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config",
                                    "{\"quant_method\": \"fp8\"}");
    tiny_write(&the.t, config);
    free(config);
}

// A codec whose geometry follows from shapes is decoded from a stack, but not cut out of it.
START_TEST(codes_that_cannot_be_cut_out_can_still_be_decoded)
{
    now = &stack_cases[STACK_QWEN3];
    stack_case_make(now, &the.t);
    stack_case_stack(now, &the.t);
    write_row_scaled_stacks();
    make_convert(LAYOUT_EXPERTS);
    ASSERT_REFUSED(make_checkpoint(&the.order, &the.report, &refused),
                   "'model.layers.0.mlp.experts.0.gate_proj' is stored as fp8-scaled in the stack "
                   "'model.layers.0.mlp.experts.gate_up_proj': this version does not cut that out");
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_runs();
    ck_assert_int_eq(the.report.n_coded, 36);
}
END_TEST

Suite *suite_stacked(void)
{
    Suite *s = suite_create("stacked");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_loop_test(c, stacks_become_what_single_experts_become, 0, STACK_CASES);
    tcase_add_loop_test(c, a_stack_is_hashed_on_the_way_or_once_more_where_units_share_it, 0,
                        STACK_CASES);
    tcase_add_loop_test(c, each_byte_of_a_stack_is_read_once, 0, STACK_CASES);
    tcase_add_test(c, a_slice_counts_to_the_memory_that_is_needed);
    tcase_add_loop_test(c, parts_that_share_a_stack_merge_to_what_one_run_makes, 0, STACK_CASES);
    tcase_add_loop_test(c, a_run_that_was_stopped_inside_a_stack_goes_on, 0, STACK_CASES);
    tcase_add_test(c, where_no_expert_is_coded_stacks_stay_whole);
    tcase_add_test(c, codes_that_cannot_be_cut_out_can_still_be_decoded);
    suite_add_tcase(s, c);
    return s;
}
