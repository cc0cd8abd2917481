// SPDX-License-Identifier: Apache-2.0
// Whole conversions of tiny models: what comes out, that it is always the same.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_make(void);

static const tiny_shape shape = TINY_SHAPE;
static const tiny_shape dense_first = {"model.", "", false, 0, false};

// ---- what comes the.out ----

START_TEST(a_pack_and_back_are_the_same_tensors)
{
    tiny_deepseek_v3(&the.t, &dense_first);
    tiny_put_in_shard(&the.t, "model.norm.weight", 1);
    tiny_write(&the.t, tiny_deepseek_v3_config);
    temp_write(the.t.dir, "tokenizer.json", "{}", 2);
    temp_write(the.t.dir, "odd.bin", "x", 1);
    make_convert(LAYOUT_EXPERTS);
    make_runs();
    ck_assert_int_eq(the.report.n_moved, the.t.n);
    ck_assert_int_eq(the.report.n_coded, 0);
    ck_assert_int_eq(the.report.n_files, 3);
    ck_assert_int_eq(the.report.n_copied, 1);
    ck_assert_int_eq(the.report.n_left, 1);
    make_same_tensors(the.t.dir, the.out);
    make_sums_are_right(the.out);
    make_file_says(the.out, "config.json", tiny_deepseek_v3_config);
    make_file_says(the.out, "scruple.json", "\"odd.bin\"\n");
    ck_assert(folder_has(the.out, "experts.idx") && folder_has(the.out, "tokenizer.json"));
    ck_assert(folder_has(the.out, "model.safetensors.index.json"));
    ck_assert(!folder_has(the.out, "odd.bin"));
    // And back, without roles.
    char pack_dir[300];
    memcpy(pack_dir, the.out, sizeof pack_dir);
    the.order.input = pack_dir;
    the.order.output = the.other;
    the.order.needs_model = false;
    make_convert(LAYOUT_PLAIN);
    make_runs();
    make_same_tensors(the.t.dir, the.other);
    make_sums_are_right(the.other);
    make_file_says(the.other, "config.json", tiny_deepseek_v3_config);
    ck_assert(folder_has(the.other, "model.safetensors") && !folder_has(the.other, "experts.idx"));
    ck_assert(!folder_has(the.other, "model.safetensors.index.json"));
    ck_assert_int_eq(folder_hidden(the.out) + folder_hidden(the.other), 0);
    make_file_says(the.other, "scruple.json", "\"config.json\"");
}
END_TEST

// ModelOpt's global scale has no dimension, as its own files have it.
START_TEST(a_pack_holds_numbers_without_a_dimension)
{
    make_use_qwen3();
    make_quantize("nvfp4-modelopt", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_runs();
    the.order.input = the.out;
    the.order.output = the.other;
    make_convert(LAYOUT_PLAIN);
    make_runs();
    make_same_tensors(the.out, the.other);
    err e = ERR_INIT;
    checkpoint *c;
    ASSERT_OK(checkpoint_open(&c, the.other, NULL, &e), e);
    const tensor *one = checkpoint_find(
        c, "model.layers.1.mlp.experts.2.up_proj.weight_scale_2");
    ck_assert(one && one->rank == 0 && one->bytes == 4);
    checkpoint_close(c);
}
END_TEST

#define CT(weights)                                                                             \
    "{\"quant_method\": \"compressed-tensors\", \"config_groups\": {\"a\": {\"weights\": {"     \
    weights "}}}}"

static void read_expert(const char *dir, role r, float *to, char codec_name[32])
{
    err e = ERR_INIT;
    checkpoint *c;
    model *m;
    scratch room = {0};
    ASSERT_OK(checkpoint_open(&c, dir, NULL, &e), e);
    ASSERT_OK(model_open(&m, c, NULL, &e), e);
    const weight *w = model_weight(m, r, 1, 2);
    ASSERT_OK(weight_read_rows(w, 0, w->out, to, &room, &e), e);
    (void)snprintf(codec_name, 32, "%s", w->codec->name);
    scratch_free(&room);
    model_close(m);
    checkpoint_close(c);
}

static void same_values(const char *from, const char *to, const char *codec_name)
{
    static const role roles[] = {ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_EXPERT_DOWN};
    static float x[64 * 32], y[64 * 32];
    char is[32];
    for (size_t i = 0; i < COUNT_OF(roles); i++) {
        read_expert(from, roles[i], x, is);
        ck_assert_str_eq(is, codec_name);
        read_expert(to, roles[i], y, is);
        ck_assert_str_eq(is, "f32");
        ck_assert_mem_eq(x, y, sizeof x);
        ck_assert(x[0] != x[1] || x[1] != x[2]);
    }
}

// They travel with the codes that they speak of.
START_TEST(descriptions_of_codes_that_are_no_more_are_left_behind)
{
    static const char *const names[] = {"hf_quant_config.json", "quantize_config.json",
                                        "quant_config.json"};
    for (int coded = 0; coded < 2; coded++) {
        make_use_qwen3();
        for (size_t i = 0; i < COUNT_OF(names); i++)
            temp_write(the.t.dir, names[i], "{}", 2);
        if (coded)
            make_quantize("fp8-block", SCOPE_EXPERTS, LAYOUT_PLAIN);
        else
            make_convert(LAYOUT_PLAIN);
        make_runs();
        for (size_t i = 0; i < COUNT_OF(names); i++)
            ck_assert(folder_has(the.out, names[i]) == !coded);
        ck_assert_int_eq(the.report.n_left, coded ? (int64_t)COUNT_OF(names) : 0);
        folder_remove(the.out);
        tiny_free(&the.t);
        tiny_init(&the.t);
        the.order.input = the.t.dir;
    }
}
END_TEST

START_TEST(the_manifest_says_what_was_made_from_what)
{
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    the.order.statistics = "{\"sha256\": \"abc\"}";
    make_runs();
    static const char *const words[] = {
        "\"schema_version\": 1", "\"tool\": \"scruple\"", "\"command\": \"quantize\"",
        "\"options\": {\"test\": 1}", "\"plan\": \"", "\"family\": \"qwen3_moe\"",
        "\"name\": \"model.safetensors\"", "\"sha256\": \"", "\"config_sha256\": \"",
        "\"statistics\": {\"sha256\": \"abc\"}", "\"bits_per_weight\": {\n    \"experts\": 4.5",
        "\"parameters\": {\n    \"experts\": 73728,", "\"experts.idx\"", "\"left_behind\": []",
    };
    for (size_t i = 0; i < COUNT_OF(words); i++)
        make_file_says(the.out, "scruple.json", words[i]);
    // 4 bits and a 16 bit scale for 32, and 16 bytes of shape for 2048.
    ck_assert(the.report.expert_bits_after == 4.5 + 16 * 8 / 2048.0);
    ck_assert(the.report.expert_bits_before == 16);
    ck_assert_uint_eq(the.report.experts_after, 3 * 4 * 3 * (1024 + 128 + 16));
    ck_assert_int_eq(the.report.n_coded, 36);
    ck_assert_int_eq(the.report.n_moved, the.t.n - 36);
    uint64_t classes = 0;
    for (int k = 0; k < CLASS_COUNT; k++)
        classes += the.report.role_bytes[k];
    ck_assert_uint_lt(classes, the.report.bytes_after);
}
END_TEST

// What this version only reads becomes plain numbers, exactly what reading gives; where it stays,
// it is moved.
START_TEST(stored_forms_of_others_are_read_and_moved)
{
    static const struct {
        const char *codec, *config;
    } cases[] = {
        {"fp8-tensor", "{\"quant_method\": \"modelopt\", \"quant_algo\": \"FP8\"}"},
        {"int8-bytes", CT("\"num_bits\": 8, \"group_size\": 32, \"symmetric\": false")},
        {"mxfp8", "{\"quant_method\": \"mxfp8\"}"},
        {"int4-zeros", CT("\"num_bits\": 4, \"group_size\": 32, \"symmetric\": false")},
        {"int8", CT("\"num_bits\": 8, \"group_size\": 32")},
        {"nvfp4-packed", CT("\"num_bits\": 4, \"type\": \"float\", \"strategy\": \"tensor_group\", "
                     "\"group_size\": 16")},
        {"mxfp4-deepseek", "{\"quant_method\": \"mxfp4\"}"},
        {"nvfp4-modelopt", "{\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\"}"},
        {"int4-gptq", "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 32}"},
        {"int8-gptq-v2", "{\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": 32, "
                         "\"checkpoint_format\": \"gptq_v2\"}"},
        {"int4-awq", "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32}"},
        {"int5-mlx", "{\"bits\": 5, \"group_size\": 32}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        tiny_shape plain = TINY_SHAPE;
        tiny_free(&the.t);
        tiny_init(&the.t);
        the.order.input = the.t.dir;
        tiny_qwen3_moe(&the.t, &plain);
        for (int n = 0; n < 36; n++) {
            static const char *const of[] = {"gate", "up", "down"};
            char module[100];
            (void)snprintf(module, sizeof module, "model.layers.%d.mlp.experts.%d.%s_proj", n / 12,
                           n / 3 % 4, of[n % 3]);
            tiny_make_stored(&the.t, module, cases[i].codec);
        }
        char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config",
                                        cases[i].config);
        tiny_write(&the.t, config);
        free(config);
        make_quantize("f32", SCOPE_MATRICES, LAYOUT_PLAIN);
        make_runs();
        same_values(the.t.dir, the.out, cases[i].codec);
        folder_remove(the.out);
        make_convert(LAYOUT_EXPERTS);
        make_runs();
        make_same_tensors(the.t.dir, the.out);
        folder_remove(the.out);
    }
}
END_TEST

// Tensors and config of what is written agree, and say what it is as far as they can.
START_TEST(what_is_written_is_read_as_what_it_is)
{
    static const struct {
        const char *type, *is;
    } cases[] = {
        {"fp8-block", "fp8-block"},         {"fp8-block-pow2", "fp8-block"},
        {"fp8-block-bf16", "fp8-block-bf16"}, {"fp8-block-e8m0", "fp8-block-e8m0"},
        {"fp8-block32", "fp8-block32"},     {"fp8-block32-pow2", "fp8-block32"},
        {"fp8-block32-bf16", "fp8-block32-bf16"}, {"fp8-block32-e8m0", "fp8-block32-e8m0"},
        {"fp8-fbgemm", "fp8-channel"},      {"mxfp4-deepseek", "mxfp4-deepseek"},
        {"nvfp4-modelopt", "nvfp4-modelopt"},
    };
    static float x[64 * 32];
    char is[32];
    make_use_qwen3();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        make_quantize(cases[i].type, SCOPE_EXPERTS, LAYOUT_PLAIN);
        make_runs();
        read_expert(the.out, ROLE_EXPERT_UP, x, is);
        ck_assert_str_eq(is, cases[i].is);
        folder_remove(the.out);
    }
}
END_TEST

START_TEST(threads_and_cpu_levels_do_not_change_a_byte)
{
    static const struct {
        const char *type;
        plan_scope scope;
        plan_layout layout;
    } cases[] = {{"int4-g32", SCOPE_ALL_LINEAR, LAYOUT_EXPERTS},
                 {"fp8-block", SCOPE_ALL_LINEAR, LAYOUT_PLAIN},
                 {"fp8-block-pow2", SCOPE_EXPERTS, LAYOUT_EXPERTS},
                 {"fp8-block32-e8m0", SCOPE_EXPERTS, LAYOUT_EXPERTS},
                 {"fp8-channel", SCOPE_EXPERTS, LAYOUT_EXPERTS}};
    static const int threads[] = {1, 2, 7};
    err e = ERR_INIT;
    cpu_level level = cpu_used();
    make_use_qwen3();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char first[65] = "", now[65];
        make_quantize(cases[i].type, cases[i].scope, cases[i].layout);
        for (int k = 0; k < CPU_LEVELS; k++) {
            if (!cpu_has((cpu_level)k))
                continue;
            ASSERT_OK(cpu_use((cpu_level)k, &e), e);
            for (size_t n = 0; n < COUNT_OF(threads); n++) {
                ASSERT_OK(pool_open(&the.order.pool, threads[n], &e), e);
                make_runs();
                pool_close(the.order.pool);
                the.order.pool = NULL;
                folder_digest(the.out, now);
                ck_assert_msg(!*first || strcmp(first, now) == 0, "%s, %s, %d threads",
                              cases[i].type, cpu_name((cpu_level)k), threads[n]);
                memcpy(first, now, sizeof first);
                folder_remove(the.out);
            }
        }
    }
    ASSERT_OK(cpu_use(level, &e), e);
}
END_TEST

START_TEST(scales_that_lie_in_front_of_their_codes_are_right)
{
    // 3 x 5 codes are 15 bytes, 3 scales 12: wide elements go first where nothing is a multiple
    // of 8.
    static const struct {
        const char *name;
        int64_t rows, cols;
    } list[] = {
        {"embed_tokens.weight", 16, 5}, {"norm.weight", 5, 0},
        {"layers.0.input_layernorm.weight", 5, 0},
        {"layers.0.post_attention_layernorm.weight", 5, 0},
        {"layers.0.self_attn.q_proj.weight", 2, 5}, {"layers.0.self_attn.k_proj.weight", 2, 5},
        {"layers.0.self_attn.v_proj.weight", 2, 5}, {"layers.0.self_attn.o_proj.weight", 5, 2},
        {"layers.0.self_attn.q_norm.weight", 2, 0}, {"layers.0.self_attn.k_norm.weight", 2, 0},
        {"layers.0.mlp.gate.weight", 1, 5}, {"layers.0.mlp.experts.0.gate_proj.weight", 3, 5},
        {"layers.0.mlp.experts.0.up_proj.weight", 3, 5},
        {"layers.0.mlp.experts.0.down_proj.weight", 5, 3},
    };
    static const char *const sizes[][2] = {
        {"hidden_size", "5"}, {"num_hidden_layers", "1"}, {"num_attention_heads", "1"},
        {"num_key_value_heads", "1"}, {"head_dim", "2"}, {"moe_intermediate_size", "3"},
        {"num_experts", "1"}, {"num_experts_per_tok", "1"}, {"tie_word_embeddings", "true"},
    };
    char name[100];
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        (void)snprintf(name, sizeof name, "model.%s", list[i].name);
        tiny_add(&the.t, name, DT_BF16, list[i].cols ? 2 : 1, list[i].rows, list[i].cols, NULL);
    }
    char *config = strdup(tiny_qwen3_moe_config);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char *next = tiny_config_with(config, sizes[i][0], sizes[i][1]);
        free(config);
        config = next;
    }
    tiny_write(&the.t, config);
    free(config);
    make_quantize("fp8-channel", SCOPE_EXPERTS, LAYOUT_PLAIN);
    make_runs();
    err e = ERR_INIT;
    checkpoint *a, *b;
    model *from, *to;
    ASSERT_OK(checkpoint_open(&a, the.t.dir, NULL, &e), e);
    ASSERT_OK(model_open(&from, a, NULL, &e), e);
    ASSERT_OK(checkpoint_open(&b, the.out, NULL, &e), e);
    ASSERT_OK(model_open(&to, b, NULL, &e), e);
    const tensor *codes = checkpoint_find(b, "model.layers.0.mlp.experts.0.gate_proj.weight");
    const tensor *scales = checkpoint_find(b, "model.layers.0.mlp.experts.0.gate_proj."
                                              "weight_scale");
    ck_assert_uint_lt(scales->offset, codes->offset);
    static const role roles[] = {ROLE_EXPERT_GATE, ROLE_EXPERT_UP, ROLE_EXPERT_DOWN};
    for (size_t i = 0; i < COUNT_OF(roles); i++) {
        float x[15], y[15];
        scratch s = {0};
        const weight *w = model_weight(from, roles[i], 0, 0);
        ASSERT_OK(weight_read_rows(w, 0, w->out, x, &s, &e), e);
        ASSERT_OK(weight_read_rows(model_weight(to, roles[i], 0, 0), 0, w->out, y, &s, &e), e);
        for (int k = 0; k < 15; k++)
            ck_assert_float_le(x[k] > y[k] ? x[k] - y[k] : y[k] - x[k],
                               0.07f * (x[k] < 0 ? -x[k] : x[k]) + 1e-3f);
        scratch_free(&s);
    }
    model_close(from);
    model_close(to);
    checkpoint_close(a);
    checkpoint_close(b);
}
END_TEST

START_TEST(a_quantized_source_can_become_another_type)
{
    static const char fp8[] = "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}";
    tiny_qwen3_moe(&the.t, &shape);
    for (int n = 0; n < 3; n++)
        for (int x = 0; x < 4; x++)
            for (int k = 0; k < 3; k++) {
                static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
                char module[100];
                (void)snprintf(module, sizeof module, "model.layers.%d.mlp.experts.%d.%s", n, x,
                               names[k]);
                tiny_make_fp8_block(&the.t, module);
            }
    char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config", fp8);
    tiny_write(&the.t, config);
    free(config);
    make_convert(LAYOUT_EXPERTS); // as it is
    make_runs();
    make_same_tensors(the.t.dir, the.out);
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    the.order.output = the.other;
    make_runs();
    ck_assert_int_eq(the.report.n_coded, 36);
    make_file_says(the.other, "config.json", "pack-quantized");
    err e = ERR_INIT;
    checkpoint *c;
    model *m;
    ASSERT_OK(checkpoint_open(&c, the.other, NULL, &e), e);
    ASSERT_OK(model_open(&m, c, NULL, &e), e);
    model_close(m);
    checkpoint_close(c);
}
END_TEST

// ---- folders that are there ----

START_TEST(the_same_headers_with_other_bytes_are_another_input)
{
    char before[65], after[65];
    make_use_qwen3();
    make_convert(LAYOUT_EXPERTS);
    make_runs();
    folder_digest(the.out, before);
    make_runs();
    ck_assert(the.report.already_complete);
    folder_flip(the.t.dir, "model.safetensors", -3); // one value, headers as before
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV,
                 "holds the output of the same plan, but made from another input: "
                 "'model.safetensors' is not the file of then; --force replaces it");
    ck_assert_str_eq(before, folder_digest(the.out, after));
    the.order.force = true;
    make_runs();
    make_same_tensors(the.t.dir, the.out);
}
END_TEST

START_TEST(another_small_file_is_another_plan)
{
    make_use_qwen3();
    temp_write(the.t.dir, "tokenizer.json", "{}", 2);
    make_convert(LAYOUT_EXPERTS);
    make_runs();
    temp_write(the.t.dir, "tokenizer.json", "[]", 2);
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV, "another plan");
    temp_write(the.t.dir, "tokenizer.json", "{}", 2);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "bos_token_id", "4");
    temp_write(the.t.dir, "config.json", config, strlen(config));
    free(config);
    ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_ENV, "another plan");
}
END_TEST

START_TEST(force_replaces_a_plain_output_by_a_pack_and_back)
{
    make_use_qwen3();
    the.order.force = true;
    for (int i = 0; i < 2; i++) {
        the.order.needs_model = false;
        make_convert(LAYOUT_PLAIN);
        make_runs();
        ck_assert_int_eq(folder_visible(the.out), 4);
        make_sums_are_right(the.out);
        the.order.needs_model = true;
        make_convert(LAYOUT_EXPERTS);
        make_runs();
        ck_assert_int_eq(folder_visible(the.out), 4 + 5);
        make_sums_are_right(the.out);
        ck_assert(!folder_has(the.out, "model.safetensors"));
    }
    make_same_tensors(the.t.dir, the.out);
}
END_TEST

START_TEST(a_dry_run_writes_nothing_and_fails_where_the_run_would)
{
    make_use_qwen3();
    the.order.dry_run = true;
    make_quantize("int4-g64", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_fails(ERR_INPUT, "--fallback TYPE");
    the.order.plan.fallback = codec_find("fp8-block");
    make_fails(ERR_USAGE, "one quantization_config cannot describe both");
    the.order.plan.fallback = codec_find("bf16");
    the.order.memory = 1000;
    make_fails(ERR_ENV, "--memory allows 0 MiB");
    the.order.memory = 1 << 30;
    make_runs();
    ck_assert_int_eq(temp_count(the.top), 0);
    ck_assert_uint_gt(the.report.bytes_after, 0);
    temp_mkdir(the.top, "out");
    temp_write(the.out, "mine.txt", "x", 1);
    make_fails(ERR_ENV, "it holds 'mine.txt'");
    char inside[300];
    (void)snprintf(inside, sizeof inside, "%s/out", the.t.dir);
    the.order.output = inside;
    make_fails(ERR_USAGE, "is the input");
}
END_TEST

START_TEST(the_memory_that_is_named_is_enough)
{
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    the.order.memory = 1 << 20;
    const char *said = make_fails(ERR_ENV, "MiB would do");
    unsigned long long mib = strtoull(strstr(said, "; --memory ") + 11, NULL, 10);
    the.order.memory = mib << 20;
    make_runs();
    ck_assert_uint_le(the.report.memory_needed, the.order.memory);
}
END_TEST

// ---- companions ----

START_TEST(companions_are_copied_or_left_behind_by_name)
{
    static const char *const copied[] = {"LICENSE", "LICENSE-MODEL.md", "README.md", "a.jinja",
                                         "generation_config.json", "merges.txt",
                                         "tokenizer.model"};
    static const char *const left[] = {".gitattributes", "README: x.txt", "a\nb.txt",
                                       "back\\slash.json", "model.bin", "no\xff.txt", "x.py"};
    make_use_qwen3();
    for (size_t i = 0; i < COUNT_OF(copied); i++)
        temp_write(the.t.dir, copied[i], copied[i], strlen(copied[i]));
    for (size_t i = 0; i < COUNT_OF(left); i++)
        temp_write(the.t.dir, left[i], "x", 1);
    temp_mkdir(the.t.dir, "folder.json");
    temp_write(the.t.dir, "scruple.json", "{}", 2); // what runs of ours write is never copied
    temp_write(the.t.dir, "SHA256SUMS", "", 0);
    make_convert(LAYOUT_PLAIN);
    make_runs();
    ck_assert_int_eq(the.report.n_copied, COUNT_OF(copied));
    ck_assert_int_eq(the.report.n_left, COUNT_OF(left) + 1);
    for (size_t i = 0; i < COUNT_OF(copied); i++)
        make_file_says(the.out, copied[i], copied[i]);
    ck_assert_int_eq(folder_visible(the.out), COUNT_OF(copied) + 4);
    make_sums_are_right(the.out);
    ck_assert_ptr_nonnull(strstr(heard.noted, "'model.bin' is left behind"));
}
END_TEST

START_TEST(a_companion_that_leads_out_of_the_folder_stops_the_run_at_once)
{
    make_use_qwen3();
    temp_symlink("/etc/hostname", the.t.dir, "README");
    make_convert(LAYOUT_PLAIN);
    make_fails(ERR_INPUT, "outside the folder");
    ck_assert_int_eq(heard.progress, 0);
}
END_TEST

START_TEST(a_file_too_large_is_left_behind)
{
    make_use_qwen3();
    temp_write(the.t.dir, "big.json", "", 0);
    ck_assert_int_eq(truncate(temp_path(the.t.dir, "big.json"), (64 << 20) + 1), 0);
    make_convert(LAYOUT_PLAIN);
    make_runs();
    ck_assert(!folder_has(the.out, "big.json"));
}
END_TEST

START_TEST(a_lone_file_has_no_companions)
{
    char path[300];
    tiny_add(&the.t, "x", DT_BF16, 1, 4, 0, NULL);
    tiny_write(&the.t, "{}");
    ck_assert_int_eq(rename(temp_path(the.t.dir, "model.safetensors"),
                            temp_path(the.t.dir, "any.st")), 0);
    ck_assert_int_eq(unlink(temp_path(the.t.dir, "config.json")), 0);
    temp_write(the.t.dir, "private.txt", "x", 1);
    (void)snprintf(path, sizeof path, "%s/any.st", the.t.dir);
    the.order.input = path;
    the.order.needs_model = false;
    make_convert(LAYOUT_PLAIN);
    make_runs();
    ck_assert_int_eq(folder_visible(the.out), 3);
    ck_assert(!folder_has(the.out, "config.json"));
    make_sums_are_right(the.out);
}
END_TEST

Suite *suite_make(void)
{
    Suite *s = suite_create("make");
    TCase *c = tcase_create("result");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_pack_and_back_are_the_same_tensors);
    tcase_add_test(c, a_pack_holds_numbers_without_a_dimension);
    tcase_add_test(c, descriptions_of_codes_that_are_no_more_are_left_behind);
    tcase_add_test(c, the_manifest_says_what_was_made_from_what);
    tcase_add_test(c, what_is_written_is_read_as_what_it_is);
    tcase_add_test(c, threads_and_cpu_levels_do_not_change_a_byte);
    tcase_add_test(c, stored_forms_of_others_are_read_and_moved);
    tcase_add_test(c, scales_that_lie_in_front_of_their_codes_are_right);
    tcase_add_test(c, a_quantized_source_can_become_another_type);
    tcase_add_test(c, the_same_headers_with_other_bytes_are_another_input);
    tcase_add_test(c, another_small_file_is_another_plan);
    tcase_add_test(c, force_replaces_a_plain_output_by_a_pack_and_back);
    tcase_add_test(c, a_dry_run_writes_nothing_and_fails_where_the_run_would);
    tcase_add_test(c, the_memory_that_is_named_is_enough);
    tcase_add_test(c, companions_are_copied_or_left_behind_by_name);
    tcase_add_test(c, a_companion_that_leads_out_of_the_folder_stops_the_run_at_once);
    tcase_add_test(c, a_file_too_large_is_left_behind);
    tcase_add_test(c, a_lone_file_has_no_companions);
    suite_add_tcase(s, c);
    return s;
}
