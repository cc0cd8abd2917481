// SPDX-License-Identifier: Apache-2.0
// Stacked experts: every weight is found in its slice with the values that it has of its own.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/model_case.h"
#include "tests/refused.h"
#include "tests/stack_case.h"
#include "tests/temp.h"

Suite *suite_stacks(void);

static tiny t;
static checkpoint *c;
static model *m;

static void setup(void)
{
    c = NULL;
    m = NULL;
    tiny_init(&t);
}

static void open_tiny(const char *config) { model_case_open(&t, config, &c, &m); }

static void close_tiny(void)
{
    model_close(m);
    checkpoint_close(c);
    m = NULL;
    c = NULL;
}

static void teardown(void)
{
    close_tiny();
    tiny_free(&t);
}

static void refuses(const char *config, const char *words)
{
    model_case_refuses(&t, config, words);
}

// ---- values ----

static float *values_of(const weight *w, int64_t rows_at_once)
{
    err e = ERR_INIT;
    scratch s = {0};
    float *all = malloc((size_t)weight_elements(w) * sizeof *all);
    for (int64_t row = 0; row < w->out; row += rows_at_once) {
        int64_t n = i64_min(rows_at_once, w->out - row);
        ASSERT_OK(weight_read_rows(w, row, n, all + row * w->in, &s, &e), e);
    }
    scratch_free(&s);
    return all;
}

START_TEST(weights_in_stacks_have_the_values_of_those_that_stand_alone)
{
    const stack_case *k = &stack_cases[_i];
    char *config = stack_case_config(k);
    float *expected[1000];
    int64_t n;
    stack_case_make(k, &t);
    open_tiny(config);
    n = model_n_weights(m);
    ck_assert_int_lt(n, 1000);
    for (int64_t i = 0; i < n; i++)
        expected[i] = values_of(model_weight_at(m, i)->weight, 1000);
    int64_t parameters = model_parameters(m, true);
    close_tiny();
    stack_case_stack(k, &t);
    open_tiny(config);
    ck_assert_int_eq(model_n_weights(m), n);
    ck_assert_int_eq(model_parameters(m, true), parameters);
    int64_t stacked = 0;
    for (int64_t i = 0; i < n; i++) {
        const bound_weight *b = model_weight_at(m, i);
        ck_assert_ptr_eq(model_weight(m, b->role, b->layer, b->expert), b->weight);
        float *found = values_of(b->weight, 7);
        if (memcmp(found, expected[i], (size_t)weight_elements(b->weight) * sizeof *found) != 0)
            ck_abort_msg("%s has other values in its stack", b->weight->module);
        stacked += b->weight->view != NULL;
        free(found);
        free(expected[i]);
    }
    ck_assert_int_eq(stacked, (k->last + 1 - k->first) * 4 * (k->biases ? 6 : 3));
    free(config);
}
END_TEST

// Cutting gives what a tensor of the weight's own holds, whatever rows are cut at a time.
START_TEST(cut_rows_are_those_of_tensors_of_their_own)
{
    const stack_case *k = &stack_cases[_i];
    char *config = stack_case_config(k), base[100];
    stack_case_make(k, &t);
    unsigned char *own[CODEC_MAX_PARTS] = {0};
    uint64_t bytes[CODEC_MAX_PARTS] = {0};
    int n_parts = k->stored ? 2 : 1;
    (void)snprintf(base, sizeof base, "%s1%s", k->before, k->behind);
    for (int p = 0; p < n_parts; p++) {
        char name[160];
        (void)snprintf(name, sizeof name, "%s.2.up_proj.%s", base,
                       !k->stored ? "weight" : p ? "scales" : "blocks");
        for (int i = 0; i < t.n; i++) {
            if (strcmp(t.item[i].name, name) != 0)
                continue;
            bytes[p] = t.item[i].t.bytes;
            own[p] = malloc(bytes[p]);
            memcpy(own[p], t.item[i].data, bytes[p]);
        }
        ck_assert_ptr_nonnull(own[p]);
    }
    stack_case_stack(k, &t);
    open_tiny(config);
    const weight *w = model_weight(m, ROLE_EXPERT_UP, 1, 2);
    for (int64_t most = 1; most <= 64; most *= 4) {
        err e = ERR_INIT;
        scratch s = {0};
        unsigned char *cut[CODEC_MAX_PARTS] = {0};
        for (int p = 0; p < n_parts; p++)
            cut[p] = calloc(1, bytes[p]);
        for (int64_t row = 0; row < w->out; row += most) {
            stored_rows rows;
            void *to[CODEC_MAX_PARTS] = {0};
            int64_t n = i64_min(most, w->out - row);
            ASSERT_OK(weight_lay_out(&rows, w, row, n, &e), e);
            void *stored = scratch_need(&s, rows.bytes, 1, "rows", &e);
            ASSERT_OK(weight_fetch(&rows, stored, &e), e);
            for (int p = 0; p < n_parts; p++)
                to[p] = cut[p] + codec_part_offset(w->codec, p, w->in, row);
            weight_cut(&rows, stored, row, n, to);
        }
        for (int p = 0; p < n_parts; p++) {
            ck_assert_mem_eq(cut[p], own[p], bytes[p]);
            free(cut[p]);
        }
        scratch_free(&s);
    }
    for (int p = 0; p < n_parts; p++)
        free(own[p]);
    free(config);
}
END_TEST

START_TEST(slices_in_memory_give_the_rows_that_reading_gives)
{
    const stack_case *k = &stack_cases[_i];
    char *config = stack_case_config(k);
    err e = ERR_INIT;
    stack_case_make(k, &t);
    stack_case_stack(k, &t);
    open_tiny(config);
    for (int64_t i = 0; i < model_n_weights(m); i++) {
        const weight *w = model_weight_at(m, i)->weight;
        const void *slice[CODEC_MAX_PARTS] = {0};
        void *held[CODEC_MAX_PARTS] = {0};
        stored_rows rows;
        ck_assert(weight_in_runs(w) || (w->view && (k->how.turned || k->how.interleaved)));
        for (int p = 0; p < w->n_parts; p++) {
            uint64_t offset, bytes;
            weight_slice_range(w, p, &offset, &bytes);
            ck_assert_uint_eq(bytes, w->part[p]->bytes / (w->view ? 4 : 1));
            slice[p] = held[p] = malloc(bytes);
            ASSERT_OK(checkpoint_read(c, w->part[p], offset, held[p], bytes, &e), e);
        }
        int64_t row = w->out / 3, n = w->out - row;
        ASSERT_OK(weight_lay_out(&rows, w, row, n, &e), e);
        unsigned char *read = calloc(1, rows.bytes), *taken = calloc(1, rows.bytes);
        ASSERT_OK(weight_fetch(&rows, read, &e), e);
        weight_gather(&rows, slice, taken);
        ck_assert_mem_eq(read, taken, rows.bytes);
        free(read);
        free(taken);
        for (int p = 0; p < w->n_parts; p++)
            free(held[p]);
    }
    free(config);
}
END_TEST

// ---- accounts ----

static const tensor_account *account_of(const char *name)
{
    int64_t i = checkpoint_index_of(c, name);
    ck_assert_int_ge(i, 0);
    return model_account(m, i);
}

START_TEST(a_stacks_account_lists_the_weights_that_are_cut_from_it)
{
    char where[MODEL_WHERE_TEXT];
    const stack_case *k = &stack_cases[STACK_BLOCKS];
    char *config = stack_case_config(k);
    stack_case_make(k, &t);
    stack_case_stack(k, &t);
    open_tiny(config);
    const tensor_account *a = account_of("model.layers.1.mlp.experts.gate_up_proj_scales");
    ck_assert(a->used && a->stacked);
    ck_assert_int_eq(a->n, 8);
    ck_assert_int_eq(a->part, 1);
    ck_assert_int_eq(a->expert, -1);
    ck_assert_str_eq(model_where(a, where),
                     "layer 1, all experts, gate_proj and up_proj (_scales)");
    for (int64_t i = 0; i < a->n; i++) {
        const bound_weight *b = model_weight_at(m, a->first + i);
        ck_assert_int_eq(b->role, i < 4 ? ROLE_EXPERT_GATE : ROLE_EXPERT_UP);
        ck_assert_int_eq(b->expert, i % 4);
        ck_assert_ptr_eq(b->weight->part[1],
                         checkpoint_find(c, "model.layers.1.mlp.experts.gate_up_proj_scales"));
    }
    a = account_of("model.layers.2.mlp.experts.down_proj_bias");
    ck_assert_int_eq(a->n, 4);
    ck_assert_str_eq(model_where(a, where), "layer 2, all experts, down_proj bias");
    const weight *w = model_weight(m, ROLE_EXPERT_UP, 2, 3);
    ck_assert_str_eq(w->module, "model.layers.2.mlp.experts.3.up_proj");
    ck_assert_str_eq(w->stored, "model.layers.2.mlp.experts.gate_up_proj");
    free(config);
}
END_TEST

START_TEST(layers_may_differ_in_how_experts_are_stored)
{
    const stack_case *k = &stack_cases[STACK_QWEN3];
    stack_case_make(k, &t);
    stack_case_layer(k, &t, 1);
    open_tiny(k->config);
    ck_assert_ptr_null(model_weight(m, ROLE_EXPERT_GATE, 0, 1)->view);
    ck_assert_ptr_nonnull(model_weight(m, ROLE_EXPERT_GATE, 1, 1)->view);
}
END_TEST

// ---- refusals ----

// Of layer 1, whose experts are stacked as the case says.
static void make_stacked(const stack_case *k)
{
    stack_case_make(k, &t);
    stack_case_stack(k, &t);
}

START_TEST(refuses_experts_that_are_there_twice)
{
    make_stacked(&stack_cases[STACK_QWEN3]);
    tiny_add(&t, "model.layers.1.mlp.experts.0.up_proj.weight", DT_BF16, 2, 32, 64, NULL);
    refuses(stack_cases[STACK_QWEN3].config,
            "layer 1 has its experts twice: tensor 'model.layers.1.mlp.experts.gate_up_proj' "
            "stacks them, and tensor 'model.layers.1.mlp.experts.0.up_proj.weight' is of one of "
            "them");
}
END_TEST

START_TEST(refuses_an_expert_beside_its_stack)
{
    make_stacked(&stack_cases[STACK_QWEN3]);
    tiny_add(&t, "model.layers.1.mlp.experts.3.up_proj.weight", DT_BF16, 2, 32, 64, NULL);
    refuses(stack_cases[STACK_QWEN3].config,
            "tensor 'model.layers.1.mlp.experts.3.up_proj.weight' has no role");
}
END_TEST

START_TEST(refuses_another_number_of_experts)
{
    make_stacked(&stack_cases[STACK_QWEN3]);
    tiny_drop(&t, "model.layers.1.mlp.experts.down_proj");
    tiny_add_shaped(&t, "model.layers.1.mlp.experts.down_proj", DT_BF16, 3,
                    (int64_t[]){5, 64, 32}, NULL);
    refuses(stack_cases[STACK_QWEN3].config,
            "layer 1, expert 0, down_proj, by config.json [num_experts 4; hidden_size 64; "
            "moe_intermediate_size 32]: tensor 'model.layers.1.mlp.experts.down_proj' has shape "
            "[5,64,32], expected [4,64,32]");
}
END_TEST

START_TEST(refuses_a_stack_without_its_half)
{
    make_stacked(&stack_cases[STACK_QWEN3]);
    tiny_drop(&t, "model.layers.1.mlp.experts.gate_up_proj");
    tiny_add_shaped(&t, "model.layers.1.mlp.experts.gate_up_proj", DT_BF16, 3,
                    (int64_t[]){4, 32, 64}, NULL);
    refuses(stack_cases[STACK_QWEN3].config, "has shape [4,32,64], expected [4,64,64]");
}
END_TEST

START_TEST(refuses_a_stack_that_is_not_turned_where_it_has_to_be)
{
    make_stacked(&stack_cases[STACK_LLAMA4]);
    tiny_drop(&t, "language_model.model.layers.1.feed_forward.experts.down_proj");
    tiny_add_shaped(&t, "language_model.model.layers.1.feed_forward.experts.down_proj", DT_BF16, 3,
                    (int64_t[]){4, 64, 32}, NULL);
    refuses(stack_cases[STACK_LLAMA4].config, "has shape [4,64,32], expected [4,32,64]");
}
END_TEST

START_TEST(refuses_a_missing_stack)
{
    make_stacked(&stack_cases[STACK_QWEN3]);
    tiny_drop(&t, "model.layers.1.mlp.experts.down_proj");
    refuses(stack_cases[STACK_QWEN3].config, "layer 1, expert 0, down_proj: tensor "
                             "'model.layers.1.mlp.experts.down_proj' is missing");
}
END_TEST

START_TEST(names_the_stack_of_a_family_that_has_them_where_nothing_is_there)
{
    make_stacked(&stack_cases[STACK_GPT_OSS]);
    tiny_drop(&t, "model.layers.2.mlp.experts.gate_up_proj");
    tiny_drop(&t, "model.layers.2.mlp.experts.down_proj");
    tiny_drop(&t, "model.layers.2.mlp.experts.gate_up_proj_bias");
    tiny_drop(&t, "model.layers.2.mlp.experts.down_proj_bias");
    refuses(stack_cases[STACK_GPT_OSS].config, "layer 2, expert 0, gate_proj: tensor "
                             "'model.layers.2.mlp.experts.gate_up_proj' is missing");
}
END_TEST

START_TEST(refuses_blocks_without_scales_and_missing_biases)
{
    const stack_case *k = &stack_cases[STACK_BLOCKS];
    char *config = stack_case_config(k);
    make_stacked(k);
    tiny_drop(&t, "model.layers.0.mlp.experts.down_proj_scales");
    refuses(config, "tensor 'model.layers.0.mlp.experts.down_proj_blocks' has type U8, but nothing "
                    "that goes with such codes is there");
    checkpoint_close(c);
    tiny_free(&t);
    setup();
    make_stacked(k);
    tiny_drop(&t, "model.layers.0.mlp.experts.down_proj_bias");
    refuses(config, "layer 0, expert 0, down_proj bias: tensor "
                    "'model.layers.0.mlp.experts.down_proj_bias' is missing");
    free(config);
}
END_TEST

Suite *suite_stacks(void)
{
    Suite *s = suite_create("stacks");
    TCase *v = tcase_create("values");
    tcase_add_checked_fixture(v, setup, teardown);
    tcase_add_loop_test(v, weights_in_stacks_have_the_values_of_those_that_stand_alone, 0,
                        STACK_CASES);
    tcase_add_loop_test(v, cut_rows_are_those_of_tensors_of_their_own, 0, STACK_CASES);
    tcase_add_loop_test(v, slices_in_memory_give_the_rows_that_reading_gives, 0, STACK_CASES);
    suite_add_tcase(s, v);
    TCase *b = tcase_create("bind");
    tcase_add_checked_fixture(b, setup, teardown);
    tcase_add_test(b, a_stacks_account_lists_the_weights_that_are_cut_from_it);
    tcase_add_test(b, layers_may_differ_in_how_experts_are_stored);
    tcase_add_test(b, refuses_experts_that_are_there_twice);
    tcase_add_test(b, refuses_an_expert_beside_its_stack);
    tcase_add_test(b, refuses_another_number_of_experts);
    tcase_add_test(b, refuses_a_stack_without_its_half);
    tcase_add_test(b, refuses_a_stack_that_is_not_turned_where_it_has_to_be);
    tcase_add_test(b, refuses_a_missing_stack);
    tcase_add_test(b, names_the_stack_of_a_family_that_has_them_where_nothing_is_there);
    tcase_add_test(b, refuses_blocks_without_scales_and_missing_biases);
    suite_add_tcase(s, b);
    return s;
}
