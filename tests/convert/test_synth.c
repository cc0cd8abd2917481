// SPDX-License-Identifier: Apache-2.0
// Synthetic checkpoints: bound by every family, of the published sizes, the same bytes however they
// are made, and never in the place of a real model.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "convert/synth.h"
#include "convert/synth_values.h"
#include "formats/family.h"
#include "tests/folder.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_synth(void);

enum { MEMORY = 64 << 20 };

static char top[256], dir[300];
static synth *s;

static void set_up(void)
{
    temp_prefer_memory();
    (void)snprintf(top, sizeof top, "%s", temp_dir_make());
    (void)snprintf(dir, sizeof dir, "%s/model", top);
    s = NULL;
}

static void tear_down(void)
{
    synth_free(s);
    temp_dir_remove(top);
}

static synth_options options(const char *name)
{
    synth_options o = SYNTH_DEFAULTS;
    o.family = name;
    return o;
}

static void plan_it(const synth_options *o)
{
    err e = ERR_INIT;
    synth_free(s);
    ASSERT_OK(synth_plan(&s, o, &e), e);
}

static void write_it(const synth_options *o, pool *p, uint64_t memory)
{
    err e = ERR_INIT;
    plan_it(o);
    ASSERT_OK(synth_write(s, dir, false, p, memory, NULL, &e), e);
}

static void digest_is(const char *expected)
{
    err e = ERR_INIT;
    checkpoint *c;
    sha256_digest d;
    char hex[65];
    ASSERT_OK(checkpoint_open(&c, dir, NULL, &e), e);
    ASSERT_OK(checkpoint_digest(c, NULL, &d, &e), e);
    ck_assert_str_eq(hex_of(d.b, sizeof d.b, hex), expected);
    checkpoint_close(c);
}

// ---- names and shapes ------------------------------------------------------------------------

static void binds(const synth_options *o)
{
    err e = ERR_INIT;
    checkpoint *c;
    model *m;
    write_it(o, NULL, MEMORY);
    ASSERT_OK(checkpoint_open(&c, dir, NULL, &e), e);
    ASSERT_OK(model_open(&m, c, NULL, &e), e);
    synth_facts f = synth_tell(s);
    ck_assert_int_eq(checkpoint_count(c), f.n_tensors);
    ck_assert_int_eq(checkpoint_n_files(c), f.n_files);
    ck_assert_int_eq(model_arch(m)->n_experts, f.arch->n_experts);
    const weight *w = model_weight(m, ROLE_EXPERT_DOWN, model_arch(m)->n_layers - 1, 0);
    ck_assert_str_eq(w->codec->name, f.type);
    model_close(m);
    checkpoint_close(c);
    folder_remove(dir);
}

START_TEST(every_family_binds_what_is_made_for_it)
{
    static const char *const types[] = {NULL, "bf16", "fp8-block"};
    synth_options o = options(family_at(_i)->facts.family);
    for (size_t i = 0; i < COUNT_OF(types) - family_at(_i)->stacked; i++) {
        o.type = types[i] ? codec_find(types[i]) : NULL;
        o.shard_bytes = i == 0 ? 1000000 : 5000000000u;
        binds(&o);
    }
}
END_TEST

// The numbers are those of the published files: counts and index.json's total_size
// (deepseek-ai/DeepSeek-V3, Qwen/Qwen3-30B-A3B); of the stacked ones the parameters that their
// makers tell.
START_TEST(published_sizes_are_those_of_the_published_models)
{
    synth_options o = options("deepseek_v3");
    o.published = true;
    plan_it(&o);
    ck_assert_int_eq(synth_tell(s).n_tensors, 91991);
    ck_assert_uint_eq(synth_tell(s).tensor_bytes, 688574839360u);
    o.family = "qwen3_moe";
    plan_it(&o);
    ck_assert_int_eq(synth_tell(s).n_tensors, 18867);
    ck_assert_uint_eq(synth_tell(s).tensor_bytes, 61064245248u);
    o.family = "gpt_oss"; // 116.83 B parameters in all
    plan_it(&o);
    ck_assert_int_eq(synth_tell(s).n_tensors, 3 + 36 * 17);
    ck_assert_uint_eq(synth_tell(s).tensor_bytes / 20000000u, 11682);
    o.family = "llama4"; // 107.77 B in the language model
    plan_it(&o);
    ck_assert_int_eq(synth_tell(s).n_tensors, 3 + 48 * 12);
    ck_assert_uint_eq(synth_tell(s).tensor_bytes / 20000000u, 10776);
}
END_TEST

START_TEST(a_size_chooses_the_number_of_experts)
{
    static const char *const set[] = {"first_k_dense_replace=1", "num_nextn_predict_layers=0",
                                      "vocab_size=16160"};
    synth_options o = options("deepseek_v3");
    o.published = true;
    o.layers = 3;
    o.size = 6000000000u;
    o.set = set;
    o.n_set = COUNT_OF(set);
    plan_it(&o);
    synth_facts f = synth_tell(s);
    ck_assert_int_eq(f.arch->n_experts, 48); // 56 would be too many, n_group is 8
    ck_assert_uint_le(f.tensor_bytes, o.size);
    ck_assert_uint_gt(f.tensor_bytes + 8 * 2 * 44050944u, o.size);
}
END_TEST

START_TEST(holes_take_no_space)
{
    static const char *const set[] = {"vocab_size=129280"};
    synth_options o = options("deepseek_v3");
    o.sparse = true;
    o.set = set;
    o.n_set = 1;
    binds(&o);
    write_it(&o, NULL, MEMORY);
    struct stat st;
    ck_assert_int_eq(stat(temp_path(dir, "model.safetensors"), &st), 0);
    ck_assert_uint_eq((uint64_t)st.st_size, synth_tell(s).file_bytes);
    ck_assert_int_gt(st.st_size, 100 << 20);
    ck_assert_int_lt((int64_t)st.st_blocks * 512, 1 << 20);
}
END_TEST

// ---- numbers ---------------------------------------------------------------------------------

static uint8_t codes[200 * 300];

static void fill_codes_of(const char *name, uint64_t seed, int64_t piece)
{
    static synth_tables tables;
    tensor t = {.name = name, .type = DT_F8_E4M3, .rank = 2, .shape = {200, 300},
                .n_elements = sizeof codes, .bytes = sizeof codes};
    synth_recipe r = {SYNTH_CODES, 0, 1};
    synth_tables_fill(&tables);
    memset(codes, 0x7f, sizeof codes);
    for (int64_t at = 0; at < t.n_elements; at += piece)
        synth_fill(&tables, &r, &t, synth_key(seed, name), at, i64_min(piece, t.n_elements - at),
                   codes + at);
}

START_TEST(codes_look_like_quantized_weights)
{
    fill_codes_of("a", 1, sizeof codes);
    double sum = 0;
    for (int row = 0; row < 200; row += 128)
        for (int col = 0; col < 300; col += 128) {
            int largest = 0;
            for (int r = row; r < row + 128 && r < 200; r++)
                for (int c = col; c < col + 128 && c < 300; c++)
                    largest = (codes[r * 300 + c] & 0x7f) > largest ? codes[r * 300 + c] & 0x7f
                                                                    : largest;
            ck_assert_int_eq(largest, 0x7e); // 448: the block uses its scale; no NaN (0x7f)
        }
    int negative = 0;
    for (size_t i = 0; i < sizeof codes; i++) {
        int code = codes[i] & 0x7f;
        double value = code < 8 ? code / 512.0 : (1 + code % 8 / 8.0) * (1 << (code / 8)) / 128;
        sum += value * value;
        negative += codes[i] >> 7;
    }
    double variance = sum / sizeof codes / (112.0 * 112);
    ck_assert_double_gt(variance, 0.97); // 60,000 samples: 5 standard errors are 0.03
    ck_assert_double_lt(variance, 1.03);
    ck_assert_int_gt(negative, 29300);
    ck_assert_int_lt(negative, 30700);
}
END_TEST

START_TEST(any_cut_of_a_tensor_gives_the_same_codes)
{
    static uint8_t whole[sizeof codes];
    fill_codes_of("a", 1, sizeof codes);
    memcpy(whole, codes, sizeof whole);
    fill_codes_of("a", 1, 4);
    ck_assert_mem_eq(codes, whole, sizeof whole);
    fill_codes_of("a", 1, 7300);
    ck_assert_mem_eq(codes, whole, sizeof whole);
    fill_codes_of("b", 1, sizeof codes);
    ck_assert_mem_ne(codes, whole, sizeof whole);
    fill_codes_of("a", 2, sizeof codes);
    ck_assert_mem_ne(codes, whole, sizeof whole);
}
END_TEST

// Golden: a change of one bit on any machine, compiler or version changes it.
START_TEST(bytes_depend_on_the_options_alone)
{
    static const char golden[] =
        "7fe57ccdcd997e2817d39066c6b56b7bddc197d9aacefb483e05463085f247ae";
    err e = ERR_INIT;
    pool *p;
    synth_options o = options("deepseek_v3");
    write_it(&o, NULL, MEMORY);
    digest_is(golden);
    folder_remove(dir);
    ASSERT_OK(pool_open(&p, 3, &e), e);
    o.shard_bytes = 1000000;
    write_it(&o, p, SYNTH_LEAST);
    digest_is(golden);
    pool_close(p);
}
END_TEST

// ---- what is refused -------------------------------------------------------------------------

static bool plans(const synth_options *o)
{
    synth *made = NULL;
    bool ok = synth_plan(&made, o, &refused);
    ck_assert(ok == (made != NULL));
    synth_free(made);
    return ok;
}

static void sets(synth_options *o, const char *const *assignment)
{
    o->set = assignment;
    o->n_set = 1;
}

START_TEST(refuses_options_that_make_no_model)
{
    synth_options o = options("deepseek-v3");
    ASSERT_FAILS(plans(&o), ERR_USAGE, "did you mean 'deepseek_v3'?");
    o = options("deepseek_v3");
    o.experts = 15;
    ASSERT_FAILS(plans(&o), ERR_USAGE, "n_group");
    o.size = 5000000;
    ASSERT_FAILS(plans(&o), ERR_USAGE, "exclude each other");
    o.experts = 0;
    o.size = 1000000;
    ASSERT_FAILS(plans(&o), ERR_USAGE, "1000000 bytes hold no expert");
    o.size = 0;
    o.type = codec_find("int4-g32");
    ASSERT_FAILS(plans(&o), ERR_USAGE, "bf16 or fp8-block, not int4-g32");
    o.type = NULL;
    sets(&o, (const char *const[]){"hidden_siz=64"});
    ASSERT_FAILS(plans(&o), ERR_USAGE, "did you mean 'hidden_size'?");
    sets(&o, (const char *const[]){"hidden_size"});
    ASSERT_FAILS(plans(&o), ERR_USAGE, "KEY=VALUE");
    sets(&o, (const char *const[]){"hidden_act=silu"});
    ASSERT_FAILS(plans(&o), ERR_USAGE, "in quotes");
    sets(&o, (const char *const[]){"hidden_size=0"});
    ASSERT_FAILS(plans(&o), ERR_USAGE, "hidden_size");
    o.n_set = 0;
    o.shard_bytes = 0;
    ASSERT_FAILS(plans(&o), ERR_USAGE, "0 bytes");
}
END_TEST

static bool writes(bool replace, const events *v)
{
    return synth_write(s, dir, replace, NULL, MEMORY, v, &refused);
}

START_TEST(replaces_only_what_it_made_itself)
{
    synth_options o = options("qwen3_moe");
    char before[65], after[65];
    o.shard_bytes = 2000000;
    write_it(&o, NULL, MEMORY);
    ASSERT_FAILS(writes(false, NULL), ERR_ENV, "is not empty");
    o.shard_bytes = 5000000000u; // one file: no shard of the first may be left
    plan_it(&o);
    ck_assert(writes(true, NULL));
    ck_assert_int_eq(folder_visible(dir), 2);
    temp_write(dir, "tokenizer.json", "{}", 2);
    folder_digest(dir, before);
    ASSERT_FAILS(writes(true, NULL), ERR_ENV, "tokenizer.json' is no part");
    ck_assert_str_eq(folder_digest(dir, after), before);
    ck_assert_int_eq(remove(temp_path(dir, "tokenizer.json")), 0);
    temp_write(dir, "config.json", "{}", 2);
    folder_digest(dir, before);
    ASSERT_FAILS(writes(true, NULL), ERR_ENV, "does not say that it is synthetic");
    ck_assert_str_eq(folder_digest(dir, after), before);
}
END_TEST

START_TEST(says_how_much_memory_it_needs)
{
    synth_options o = options("qwen3_moe");
    plan_it(&o);
    ASSERT_FAILS(synth_write(s, dir, false, NULL, SYNTH_LEAST - 1, NULL, &refused), ERR_ENV,
                 "--memory 8MiB would do");
    ck_assert_int_eq(folder_visible(top), 0);
}
END_TEST

static bool stop_soon(void *ctx) { return --*(int *)ctx < 0; }

START_TEST(a_run_that_is_stopped_leaves_nothing)
{
    int left = 100; // tensors: in the second of three shards
    events v = {.stop = stop_soon, .ctx = &left};
    synth_options o = options("qwen3_moe");
    o.shard_bytes = 2000000;
    plan_it(&o);
    ck_assert_int_eq(synth_tell(s).n_files, 3);
    ASSERT_FAILS(writes(false, &v), ERR_INTERRUPTED, "");
    ck_assert_int_eq(folder_visible(top), 0);
}
END_TEST

Suite *suite_synth(void)
{
    Suite *suite = suite_create("synth");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_loop_test(c, every_family_binds_what_is_made_for_it, 0, family_count());
    tcase_add_test(c, published_sizes_are_those_of_the_published_models);
    tcase_add_test(c, a_size_chooses_the_number_of_experts);
    tcase_add_test(c, holes_take_no_space);
    tcase_add_test(c, codes_look_like_quantized_weights);
    tcase_add_test(c, any_cut_of_a_tensor_gives_the_same_codes);
    tcase_add_test(c, bytes_depend_on_the_options_alone);
    tcase_add_test(c, refuses_options_that_make_no_model);
    tcase_add_test(c, replaces_only_what_it_made_itself);
    tcase_add_test(c, says_how_much_memory_it_needs);
    tcase_add_test(c, a_run_that_is_stopped_leaves_nothing);
    suite_add_tcase(suite, c);
    return suite;
}
