// SPDX-License-Identifier: Apache-2.0
// Whole quantizations into GGUF with ggml's types.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/synth.h"
#include "convert/weighing.h"
#include "tests/folder.h"
#include "tests/gguf_case.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_make_blocks(void);

static char input[300];

// Two experts a layer with 256 columns: all types divide that.
static void set_up(void)
{
    static const char *const set[] = {"hidden_size=256", "moe_intermediate_size=256",
                                      "num_experts_per_tok=1", "vocab_size=64", "head_dim=24"};
    synth_options o = SYNTH_DEFAULTS;
    synth *s;
    err e = ERR_INIT;
    make_set_up();
    (void)snprintf(input, sizeof input, "%s/in", the.top);
    o.family = "qwen3_moe";
    o.layers = 1;
    o.experts = 2;
    o.set = set;
    o.n_set = COUNT_OF(set);
    ASSERT_OK(synth_plan(&s, &o, &e), e);
    ASSERT_OK(synth_write(s, input, false, NULL, SYNTH_LEAST, NULL, &e), e);
    synth_free(s);
    the.order.input = input;
}

static checkpoint *opened(const char *dir)
{
    err e = ERR_INIT;
    checkpoint *c;
    ASSERT_OK(checkpoint_open(&c, dir, NULL, &e), e);
    return c;
}

static dtype type_of(const checkpoint *c, const char *name)
{
    const tensor *t = checkpoint_find(c, name);
    ck_assert_msg(t != NULL, "no tensor '%s'", name);
    return t->type;
}

// The tensor in the output has the bytes that the codec makes of the input's, whole and at once.
static void is_encoded(const checkpoint *to, const char *module, const codec *c,
                       codec_search search, const float *importance)
{
    err e = ERR_INIT;
    char name[200];
    checkpoint *from = opened(input);
    weight w;
    scratch s = {0};
    (void)snprintf(name, sizeof name, "%s.weight", module);
    const tensor *t = checkpoint_find(to, name), *was = checkpoint_find(from, name);
    ck_assert(t && was && t->type == c->part[0].type && t->rank == 2);
    ck_assert_int_eq(t->shape[0], was->shape[0]);
    ck_assert_int_eq(t->shape[1], was->shape[1]);
    ASSERT_OK(weight_bind(&w, from, module, "weight", 2, was->shape[0], was->shape[1], &e), e);
    uint64_t n = codec_bytes(c, w.out, w.in);
    ck_assert_uint_eq(t->bytes, n);
    float *values = malloc((size_t)(w.out * w.in) * sizeof *values);
    unsigned char *is = malloc(n), *expected = malloc(n);
    ck_assert(values && is && expected);
    ASSERT_OK(weight_read_rows(&w, 0, w.out, values, &s, &e), e);
    encode_options o = ENCODE_DEFAULTS;
    void *part = expected;
    o.search = search;
    o.importance = importance;
    o.source = DT_BF16;
    ASSERT_OK(c->encode(c, w.in, w.out, values, &o, &part, &e), e);
    ASSERT_OK(checkpoint_read(to, t, 0, is, n, &e), e);
    ck_assert_msg(memcmp(is, expected, n) == 0, "%s as %s", module, c->name);
    free(values);
    free(is);
    free(expected);
    scratch_free(&s);
    checkpoint_close(from);
}

static const char *const types[] = {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K",
                                    "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "NVFP4"};

START_TEST(every_type_gives_the_codecs_bytes)
{
    for (size_t i = 0; i < COUNT_OF(types); i++)
        for (int search = 0; search < 2; search++) {
            make_quantize(types[i], SCOPE_EXPERTS, LAYOUT_GGUF);
            the.order.plan.search = search ? SEARCH_BEST : SEARCH_COMPAT;
            make_runs();
            ck_assert_int_eq(the.report.n_coded, 6);
            checkpoint *c = opened(the.out);
            is_encoded(c, "model.layers.0.mlp.experts.1.down_proj", the.order.plan.codec,
                       the.order.plan.search, NULL);
            ck_assert_int_eq(type_of(c, "model.layers.0.self_attn.q_proj.weight"), DT_BF16);
            checkpoint_close(c);
            folder_remove(the.out);
        }
}
END_TEST

// What it makes is a model again, and its config says nothing of types.
START_TEST(the_output_binds_to_its_family)
{
    err e = ERR_INIT;
    model *m;
    bool foreign;
    make_quantize("Q4_K", SCOPE_ALL_LINEAR, LAYOUT_GGUF);
    the.order.plan.fallback = codec_find("Q8_0");
    make_runs();
    make_sums_are_right(the.out);
    checkpoint *c = opened(the.out);
    ASSERT_OK(model_is_foreign(c, &foreign, &e), e);
    ck_assert(!foreign);
    ASSERT_OK(model_open(&m, c, NULL, &e), e);
    ck_assert_str_eq(model_weight(m, ROLE_EXPERT_UP, 0, 1)->codec->name, "Q4_K");
    // 4 heads of 24 are 96 columns.
    ck_assert_str_eq(model_weight(m, ROLE_O, 0, -1)->codec->name, "Q8_0");
    ck_assert_str_eq(model_weight(m, ROLE_Q, 0, -1)->codec->name, "Q4_K");
    uint64_t version;
    const gguf_header *h = checkpoint_gguf(c);
    ck_assert(gguf_as_u64(gguf_find(h, "general.quantization_version"), &version));
    ck_assert_uint_eq(version, 2);
    ck_assert_int_eq(h->n_values, 1);
    model_close(m);
    checkpoint_close(c);
    size_t len;
    char *config = folder_read(the.out, "config.json", &len);
    ck_assert_ptr_null(strstr(config, "quantization_config"));
    free(config);
    ck_assert_str_eq(heard.warned, "the GGUF keeps the names of the source and says no "
                     "architecture: llama.cpp does not load it\n");
}
END_TEST

START_TEST(rules_mix_types)
{
    err e = ERR_INIT;
    recipe rules = {0};
    ASSERT_OK(recipe_add_option(&rules, "experts.down=Q6_K", &e), e);
    ASSERT_OK(recipe_add_option(&rules, "attention=f32", &e), e);
    make_quantize("Q4_K", SCOPE_EXPERTS, LAYOUT_GGUF);
    the.order.plan.rules = &rules;
    make_runs();
    checkpoint *c = opened(the.out);
    is_encoded(c, "model.layers.0.mlp.experts.0.down_proj", codec_find("Q6_K"), SEARCH_BEST, NULL);
    is_encoded(c, "model.layers.0.mlp.experts.0.gate_proj", codec_find("Q4_K"), SEARCH_BEST, NULL);
    is_encoded(c, "model.layers.0.self_attn.o_proj", codec_find("f32"), SEARCH_BEST, NULL);
    checkpoint_close(c);
    recipe_free(&rules);
    make_file_says(the.out, "scruple-recipe.json", "{\"match\":\"experts.down\",\"type\":\"Q6_K\"");
}
END_TEST

START_TEST(columns_that_a_block_does_not_divide_are_refused_without_a_fallback)
{
    make_quantize("Q4_K", SCOPE_ALL_LINEAR, LAYOUT_GGUF);
    make_fails(ERR_INPUT, "model.layers.0.self_attn.o_proj: Q4_K needs columns that are a multiple "
               "of 256, it has 96; --fallback TYPE names the type for such tensors");
    the.order.plan.fallback = codec_find("IQ4_XS");
    make_fails(ERR_INPUT, "neither Q4_K nor the fall-back IQ4_XS divides its 96 columns");
}
END_TEST

START_TEST(parts_interruptions_and_threads_change_no_byte)
{
    err e = ERR_INIT;
    char digest[65];
    make_quantize("IQ4_XS", SCOPE_EXPERTS, LAYOUT_GGUF);
    the.order.plan.shard_bytes = 200000;
    the.order.plan.alignment = 64;
    make_runs();
    ck_assert_int_gt(the.report.n_files, 2);
    make_goes_on(folder_digest(the.out, digest));
    ASSERT_OK(pool_open(&the.order.pool, 3, &e), e);
    make_in_parts(2, digest);
}
END_TEST

static void rewrite_as_gguf(const gguf_value *v, int64_t n, char to[300])
{
    err e = ERR_INIT;
    checkpoint *c = opened(input);
    tensor *t = malloc((size_t)checkpoint_count(c) * sizeof *t);
    unsigned char *data = malloc(4 << 20);
    uint64_t at = 0;
    size_t len;
    ck_assert(t && data);
    for (int64_t i = 0; i < checkpoint_count(c); i++) {
        t[i] = *checkpoint_at(c, i);
        ck_assert_uint_le(at + t[i].bytes, 4 << 20);
        ASSERT_OK(checkpoint_read(c, &t[i], 0, data + at, t[i].bytes, &e), e);
        at += t[i].bytes;
    }
    temp_mkdir(the.top, "gguf");
    (void)snprintf(to, 300, "%s/gguf", the.top);
    gguf_case_tensors(to, "x.gguf", t, checkpoint_count(c), v, n, data);
    char *config = folder_read(input, "config.json", &len);
    temp_write(to, "config.json", config, len);
    free(config);
    free(t);
    free(data);
    checkpoint_close(c);
}

// Its order stays, and its key-values but for those that would say what is no longer so.
START_TEST(a_gguf_with_a_config_is_a_source_too)
{
    static const uint32_t align = 64, type = 32;
    static const gguf_value v[] = {{"general.alignment", GGUF_U32, false, 1, &align, 4},
                                   {"general.file_type", GGUF_U32, false, 1, &type, 4},
                                   {"general.name", GGUF_TEXT, false, 1, "x", 1}};
    char source[300];
    rewrite_as_gguf(v, COUNT_OF(v), source);
    the.order.input = source;
    make_quantize("Q5_K", SCOPE_EXPERTS, LAYOUT_GGUF);
    make_runs();
    checkpoint *c = opened(the.out);
    const gguf_header *h = checkpoint_gguf(c);
    is_encoded(c, "model.layers.0.mlp.experts.0.down_proj", codec_find("Q5_K"), SEARCH_BEST, NULL);
    ck_assert_ptr_null(gguf_find(h, "general.file_type"));
    ck_assert_ptr_nonnull(gguf_find(h, "general.quantization_version"));
    ck_assert_ptr_nonnull(gguf_find(h, "general.name"));
    ck_assert_uint_eq(h->alignment, align);
    checkpoint *from = opened(source);
    for (int64_t i = 0; i < checkpoint_count(c); i++)
        ck_assert_str_eq(checkpoint_at(c, i)->name, checkpoint_at(from, i)->name);
    checkpoint_close(from);
    checkpoint_close(c);
    // Another alignment takes the place of the source's.
    folder_remove(the.out);
    the.order.plan.alignment = 256;
    make_runs();
    c = opened(the.out);
    ck_assert_uint_eq(checkpoint_gguf(c)->alignment, 256);
    ck_assert_int_eq(checkpoint_gguf(c)->n_values, 3);
    checkpoint_close(c);
    // And blocks are a source for the types of safetensors, if none stay.
    char blocks[300];
    memcpy(blocks, the.out, sizeof blocks);
    the.order.input = blocks;
    the.order.output = the.other;
    the.order.plan.alignment = 0;
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_PLAIN);
    make_runs();
    c = opened(the.other);
    ck_assert_int_eq(type_of(c, "model.layers.0.mlp.experts.0.down_proj.weight_packed"), DT_I32);
    checkpoint_close(c);
}
END_TEST

START_TEST(what_stays_and_gguf_cannot_hold_is_refused)
{
    make_quantize("fp8-channel", SCOPE_ALL_LINEAR, LAYOUT_PLAIN);
    make_runs();
    char fp8[300];
    memcpy(fp8, the.out, sizeof fp8);
    the.order.input = fp8;
    the.order.output = the.other;
    make_quantize("Q4_K", SCOPE_EXPERTS, LAYOUT_GGUF);
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_INPUT,
                 "GGUF has no type for 4 tensors, the first is "
                 "'model.layers.0.self_attn.k_proj.weight' (F8_E4M3); a wider --scope or a rule "
                 "gives it another type");
    the.order.plan.scope = SCOPE_ALL_LINEAR;
    the.order.plan.fallback = codec_find("Q4_0");
    make_runs();
    size_t len;
    char *config = folder_read(the.other, "config.json", &len);
    ck_assert_ptr_null(strstr(config, "quantization_config"));
    free(config);
}
END_TEST

// ---- importance ------------------------------------------------------------------------------

enum { COLS = 256, EXPERTS = 2 };

// Of layer 0's experts, other numbers for each; the second one of down has seen nothing.
static void make_statistics(stats_file *f)
{
    err e = ERR_INIT;
    static const role roles[] = {ROLE_EXPERT_GATE, ROLE_EXPERT_DOWN};
    *f = (stats_file){0};
    for (size_t k = 0; k < COUNT_OF(roles); k++) {
        stats_set *s;
        ASSERT_OK(stats_file_set(f, roles[k], 0, EXPERTS, COLS, &s, &e), e);
        for (int64_t i = 0; i < EXPERTS; i++) {
            if (k == 1 && i == 1)
                continue;
            s->sums.count[i] = 100 + i;
            s->sums.weight_sum[i] = s->sums.weight_sq_sum[i] = (double)(100 + i);
            for (int64_t j = 0; j < COLS; j++)
                s->sums.energy[i * COLS + j] = (double)(1 + (i + 5 * j) % 97) * (k ? 3.7 : 0.01);
        }
    }
}

// Our own importance of an expert's gate or down.
static void importance_from(const stats_file *f, role r, int64_t expert, float to[COLS])
{
    err e = ERR_INIT;
    checkpoint *c = opened(input);
    model *m;
    bool has;
    ASSERT_OK(model_open(&m, c, NULL, &e), e);
    const importance_source s = {f, m};
    ASSERT_OK(importance_of(&s, r, 0, expert, COLS, to, &has, &e), e);
    ck_assert(has);
    model_close(m);
    checkpoint_close(c);
}

static void weigh_with(weighing *w, const char *path)
{
    err e = ERR_INIT;
    ASSERT_OK(weighing_open(w, path, &e), e);
    w->events = &the.order.events;
    the.order.importance = weighing_of;
    the.order.check_importance = weighing_check;
    the.order.ctx = w;
}

START_TEST(statistics_weigh_every_type_as_the_codec_is_asked)
{
    err e = ERR_INIT;
    stats_file f;
    weighing w;
    float gate[COLS], down[COLS];
    make_statistics(&f);
    ASSERT_OK(stats_file_write(&f, temp_path(the.top, "stats"), false, &e), e);
    importance_from(&f, ROLE_EXPERT_GATE, 1, gate);
    importance_from(&f, ROLE_EXPERT_DOWN, 0, down);
    weigh_with(&w, temp_path(the.top, "stats"));
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        make_quantize(types[i], SCOPE_EXPERTS, LAYOUT_GGUF);
        the.order.plan.search = i % 2 ? SEARCH_BEST : SEARCH_COMPAT;
        make_runs();
        checkpoint *c = opened(the.out);
        is_encoded(c, "model.layers.0.mlp.experts.1.up_proj", the.order.plan.codec,
                   the.order.plan.search, gate);
        is_encoded(c, "model.layers.0.mlp.experts.0.down_proj", the.order.plan.codec,
                   the.order.plan.search, down);
        checkpoint_close(c);
        folder_remove(the.out);
    }
    weighing_close(&w);
    stats_file_free(&f);
}
END_TEST

// What llama-quantize would use, a slice an expert; the power of two in between changes no byte.
START_TEST(an_imatrix_weighs_as_llama_quantize_does)
{
    err e = ERR_INIT;
    stats_file f;
    weighing w;
    float gate[COLS], ones[COLS];
    make_statistics(&f);
    for (int form = IMATRIX_GGUF; form <= IMATRIX_DAT; form++) {
        // The newer form holds sums of x^2, the older one means times a number of chunks, 1 here.
        float times = form == IMATRIX_GGUF ? 101 : 1;
        for (int64_t j = 0; j < COLS; j++) {
            gate[j] = (float)(f.set[0].sums.energy[COLS + j] / 101 * (double)times) / times;
            ones[j] = 1;
        }
        ASSERT_OK(imatrix_write(&f, temp_path(the.top, "im"), (imatrix_form)form, true, &e), e);
        weigh_with(&w, temp_path(the.top, "im"));
        ck_assert(w.has_imatrix);
        for (size_t i = 0; i < COUNT_OF(types); i++) {
            make_quantize(types[i], SCOPE_EXPERTS, LAYOUT_GGUF);
            the.order.plan.search = SEARCH_COMPAT;
            memset(&heard, 0, sizeof heard);
            make_runs();
            checkpoint *c = opened(the.out);
            is_encoded(c, "model.layers.0.mlp.experts.1.up_proj", the.order.plan.codec,
                       SEARCH_COMPAT, gate);
            is_encoded(c, "model.layers.0.mlp.experts.1.down_proj", the.order.plan.codec,
                       SEARCH_COMPAT, ones);
            checkpoint_close(c);
            folder_remove(the.out);
        }
        weighing_close(&w);
    }
    stats_file_free(&f);
}
END_TEST

START_TEST(weights_that_an_imatrix_does_not_know_are_warned_of)
{
    err e = ERR_INIT;
    stats_file f;
    weighing w;
    float gate[COLS];
    make_statistics(&f);
    ASSERT_OK(imatrix_write(&f, temp_path(the.top, "im"), IMATRIX_GGUF, false, &e), e);
    for (int64_t j = 0; j < COLS; j++)
        gate[j] = (float)f.set[0].sums.energy[j] / 100;
    weigh_with(&w, temp_path(the.top, "im"));
    make_quantize("Q4_0", SCOPE_ALL_LINEAR, LAYOUT_GGUF);
    make_runs();
    checkpoint *c = opened(the.out);
    is_encoded(c, "model.layers.0.mlp.experts.0.gate_proj", codec_find("Q4_0"), SEARCH_BEST, gate);
    is_encoded(c, "model.layers.0.self_attn.q_proj", codec_find("Q4_0"), SEARCH_BEST, NULL);
    checkpoint_close(c);
    ck_assert_ptr_nonnull(strstr(heard.warned, "model.layers.0.mlp.experts.1.down_proj: the "
                                 "imatrix counts no tokens for it in 'blk.0.ffn_down_exps.weight'; "
                                 "all its columns weigh the same\n"));
    ck_assert_ptr_nonnull(strstr(heard.warned, "model.layers.0.self_attn.k_proj: the imatrix has "
                                 "no entry 'blk.0.attn_k.weight'; it is searched unweighted\n"));
    ck_assert_int_eq(w.warned, 5);
    // A dry run says so, too.
    memset(&heard, 0, sizeof heard);
    the.order.dry_run = true;
    the.order.output = the.other;
    make_runs();
    ck_assert_ptr_nonnull(strstr(heard.warned, "further weights that the imatrix knows nothing of "
                                 "are not named"));
    weighing_close(&w);
    stats_file_free(&f);
}
END_TEST

START_TEST(an_imatrix_of_another_geometry_is_refused)
{
    err e = ERR_INIT;
    stats_file f = {0};
    stats_set *s;
    weighing w;
    ASSERT_OK(stats_file_set(&f, ROLE_EXPERT_DOWN, 0, 3, COLS, &s, &e), e);
    s->sums.weight_sum[0] = s->sums.weight_sq_sum[0] = 1;
    s->sums.count[0] = 1;
    ASSERT_OK(imatrix_write(&f, temp_path(the.top, "im"), IMATRIX_GGUF, false, &e), e);
    weigh_with(&w, temp_path(the.top, "im"));
    make_quantize("Q4_0", SCOPE_EXPERTS, LAYOUT_GGUF);
    make_fails(ERR_INPUT, "the imatrix is of another model: 'blk.0.ffn_down_exps.weight' has 768 "
               "numbers there, 2 x 256 input columns here");
    the.order.dry_run = true;
    make_fails(ERR_INPUT, "the imatrix is of another model");
    weighing_close(&w);
    stats_file_free(&f);
}
END_TEST

Suite *suite_make_blocks(void)
{
    Suite *s = suite_create("make_blocks");
    TCase *c = tcase_create("make_blocks");
    tcase_add_checked_fixture(c, set_up, make_tear_down);
    tcase_add_test(c, every_type_gives_the_codecs_bytes);
    tcase_add_test(c, the_output_binds_to_its_family);
    tcase_add_test(c, rules_mix_types);
    tcase_add_test(c, columns_that_a_block_does_not_divide_are_refused_without_a_fallback);
    tcase_add_test(c, parts_interruptions_and_threads_change_no_byte);
    tcase_add_test(c, a_gguf_with_a_config_is_a_source_too);
    tcase_add_test(c, what_stays_and_gguf_cannot_hold_is_refused);
    tcase_add_test(c, statistics_weigh_every_type_as_the_codec_is_asked);
    tcase_add_test(c, an_imatrix_weighs_as_llama_quantize_does);
    tcase_add_test(c, weights_that_an_imatrix_does_not_know_are_warned_of);
    tcase_add_test(c, an_imatrix_of_another_geometry_is_refused);
    suite_add_tcase(s, c);
    return s;
}
