// SPDX-License-Identifier: Apache-2.0
// Whole conversions into GGUF and out of it.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "formats/expected.h"
#include "quantize/number.h"
#include "tests/folder.h"
#include "tests/gguf_case.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_make_gguf(void);

static char input[300];

static void set_up(void)
{
    make_set_up();
    temp_mkdir(the.top, "in");
    (void)snprintf(input, sizeof input, "%s/in", the.top);
    the.order.needs_model = false;
    make_convert(LAYOUT_GGUF);
}

// A GGUF in `input` is the source.
static void use(tensor *t, int64_t n, const gguf_value *v, int64_t n_values, const void *data)
{
    gguf_case_tensors(input, "x.gguf", t, n, v, n_values, data);
    the.order.input = input;
}

static void decode_to(const char *type)
{
    make_convert(LAYOUT_PLAIN);
    the.order.needs_model = true;
    the.order.refuse_changes = true;
    the.order.plan.codec = codec_find(type);
    the.order.plan.scope = SCOPE_MATRICES;
}

static void same_file(const char *a, const char *a_name, const char *b, const char *b_name)
{
    size_t n, m;
    char *x = folder_read(a, a_name, &n), *y = folder_read(b, b_name, &m);
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(x, y, n);
    free(x);
    free(y);
}

static checkpoint *opened(const char *dir)
{
    err e = ERR_INIT;
    checkpoint *c;
    ASSERT_OK(checkpoint_open(&c, dir, NULL, &e), e);
    return c;
}

// ---- into GGUF -------------------------------------------------------------------------------

START_TEST(a_model_and_back_are_the_same_tensors)
{
    char out[300];
    make_use_qwen3();
    temp_write(the.t.dir, "tokenizer.json", "{}", 2);
    make_runs();
    ck_assert_int_eq(the.report.n_moved, the.t.n);
    ck_assert_int_eq(the.report.n_files, 1);
    ck_assert(!the.report.has_roles);
    make_same_tensors(the.t.dir, the.out);
    make_sums_are_right(the.out);
    make_file_says(the.out, "config.json", tiny_qwen3_moe_config);
    make_file_says(the.out, "scruple.json", "\"model.gguf\"");
    ck_assert(folder_has(the.out, "model.gguf") && folder_has(the.out, "tokenizer.json"));
    memcpy(out, the.out, sizeof out);
    the.order.input = out;
    the.order.output = the.other;
    make_convert(LAYOUT_PLAIN);
    make_runs();
    ck_assert(folder_has(the.other, "model.safetensors"));
    make_same_tensors(the.t.dir, the.other);
}
END_TEST

START_TEST(threads_memory_and_reading_back_change_no_byte)
{
    err e = ERR_INIT;
    char digest[65], other[65];
    make_use_qwen3();
    the.order.plan.shard_bytes = 40000;
    make_runs();
    ck_assert_int_gt(the.report.n_files, 2);
    ck_assert(!folder_has(the.out, "model.safetensors.index.json"));
    make_same_tensors(the.t.dir, the.out);
    folder_digest(the.out, digest);
    folder_remove(the.out);
    ASSERT_OK(pool_open(&the.order.pool, 3, &e), e);
    the.order.memory = (uint64_t)3 << 30;
    the.order.read_back = true;
    make_runs();
    ck_assert_str_eq(folder_digest(the.out, other), digest);
}
END_TEST

START_TEST(an_interrupted_run_goes_on)
{
    char digest[65];
    make_use_qwen3();
    the.order.plan.shard_bytes = 40000;
    make_runs();
    make_goes_on(folder_digest(the.out, digest));
}
END_TEST

START_TEST(parts_of_a_run_merge_to_what_one_run_makes)
{
    char digest[65];
    make_use_qwen3();
    the.order.plan.shard_bytes = 40000;
    make_runs();
    make_in_parts(3, folder_digest(the.out, digest));
}
END_TEST

// Names of parts, and where the key-values are.
START_TEST(sets_are_split_files_with_the_values_in_front)
{
    enum { N = 3 };
    static float data[N * 8];
    char one[65], two[65];
    const uint32_t align = 64;
    tensor t[N] = {{.name = "c.weight", .type = DT_F32, .rank = 1, .shape = {7}},
                   {.name = "a.weight", .type = DT_F32, .rank = 1, .shape = {7}},
                   {.name = "b.weight", .type = DT_F32, .rank = 1, .shape = {7}}};
    const gguf_value v[] = {{"general.architecture", GGUF_TEXT, false, 1, "llama", 5},
                            {"general.alignment", GGUF_U32, false, 1, &align, 4},
                            {"x.tokens", GGUF_TEXT, true, 1, "\1\0\0\0\0\0\0\0a", 9}};
    for (int i = 0; i < N * 8; i++)
        data[i] = (float)i;
    use(t, N, v, COUNT_OF(v), data);
    the.order.plan.shard_bytes = 30;
    make_runs();
    ck_assert_int_eq(the.report.n_files, N);
    make_same_tensors(input, the.out);
    checkpoint *c = opened(the.out);
    ck_assert_int_eq(checkpoint_n_files(c), N);
    ck_assert_str_eq(checkpoint_file_name(c, 2), "model-00003-of-00003.gguf");
    ck_assert_str_eq(checkpoint_at(c, 0)->name, "c.weight"); // a GGUF's order is kept
    ck_assert_int_eq(checkpoint_gguf(c)->n_values, 3 + 3);
    ck_assert_uint_eq(checkpoint_gguf(c)->alignment, align);
    ck_assert_ptr_nonnull(gguf_find(checkpoint_gguf(c), "x.tokens"));
    checkpoint_close(c);
    char path[400];
    (void)snprintf(path, sizeof path, "%s/model-00002-of-00003.gguf", the.out);
    in_file f;
    gguf_header h;
    err e = ERR_INIT;
    ASSERT_OK(in_open(&f, path, &e), e);
    ASSERT_OK(gguf_list_header(&h, &f, 0, &e), e);
    ck_assert_int_eq(h.n_values, 1 + 3);
    ck_assert_uint_eq(h.alignment, align);
    gguf_free(&h);
    in_close(&f);
    // And into one file again, which is the one it was.
    char out[300];
    memcpy(out, the.out, sizeof out);
    the.order.input = out;
    the.order.output = the.other;
    the.order.plan.shard_bytes = 1000;
    make_runs();
    same_file(the.other, "model.gguf", input, "x.gguf");
    ck_assert_str_eq(folder_digest(input, one), folder_digest(input, two));
}
END_TEST

// A file's SHA-256 is computed while its tensors are moved, padding and all.
START_TEST(an_expected_sum_needs_no_second_read)
{
    enum { N = 3 };
    static float data[N * 7];
    tensor t[N] = {{.name = "c", .type = DT_F32, .rank = 1, .shape = {7}},
                   {.name = "a", .type = DT_F32, .rank = 1, .shape = {7}},
                   {.name = "b", .type = DT_F32, .rank = 1, .shape = {7}}};
    char command[700];
    err e = ERR_INIT;
    use(t, N, NULL, 0, data);
    (void)snprintf(command, sizeof command, "cd %s && sha256sum x.gguf > SHA256SUMS", input);
    ck_assert_int_eq(system(command), 0);
    checkpoint *c = opened(input);
    plan p;
    output *to;
    run_result r;
    expected x = {0};
    source_id id;
    bool complete;
    ASSERT_OK(expected_find(&x, c, NULL, NULL, &e), e);
    ck_assert_int_eq(x.n_known, 1);
    ASSERT_OK(plan_make(&p, c, NULL, &the.order.plan, &e), e);
    output_order with = {.dir = the.out, .input = input, .plan = &p.id};
    const run_options how = {.memory = 1 << 30, .expected = &x};
    ASSERT_OK(output_open(&to, &with, &complete, &e), e);
    ASSERT_OK(run_result_init(&r, &p, &e), e);
    ASSERT_OK(run_plan(&p, &how, to, &r, &e), e);
    ck_assert(r.whole[0]);
    ASSERT_OK(run_expected(&p, &how, &x, &r, &id, &e), e);
    ck_assert(id.checked);
    run_result_free(&r, &p);
    output_close(to);
    plan_free(&p);
    expected_free(&x);
    checkpoint_close(c);
    // And one that is another file's is found.
    (void)snprintf(command, sizeof command, "cd %s && sed -i 's/^0/1/;t;s/^./0/' SHA256SUMS",
                   input);
    ck_assert_int_eq(system(command), 0);
    folder_remove(the.out);
    ck_assert(!make_checkpoint(&the.order, &the.report, &e) && e.kind == ERR_INPUT);
}
END_TEST

START_TEST(a_gguf_comes_through_byte_for_byte)
{
    static const char *const files[] = {"small.gguf", "plain.gguf", "special.gguf"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[300];
        (void)snprintf(path, sizeof path, "tests/data/gguf/%s", files[i]);
        the.order.input = path;
        make_runs();
        same_file(the.out, "model.gguf", "tests/data/gguf", files[i]);
        folder_remove(the.out);
    }
}
END_TEST

START_TEST(what_gguf_cannot_hold_is_refused_by_name)
{
    float values[4] = {0};
    const uint8_t bytes[8] = {0};
    make_use_qwen3();
    tiny_add(&the.t, "x.f8", DT_F8_E4M3, 1, 8, 0, bytes);
    tiny_add(&the.t, "y.u8", DT_U8, 1, 8, 0, bytes);
    tiny_write(&the.t, tiny_qwen3_moe_config);
    make_fails(ERR_INPUT, "GGUF has no type for 2 tensors, the first is 'x.f8' (F8_E4M3)");
    tiny_drop(&the.t, "x.f8");
    tiny_drop(&the.t, "y.u8");
    char name[65];
    memset(name, 'n', sizeof name - 1);
    name[64] = 0;
    tiny_add(&the.t, name, DT_F32, 1, 4, 0, values);
    tiny_write(&the.t, tiny_qwen3_moe_config);
    make_fails(ERR_INPUT, "GGUF has at most 63 bytes for a tensor's name, 1 name is longer, the "
               "first is 'nnn");
}
END_TEST

START_TEST(more_dimensions_than_gguf_has_are_refused)
{
    err e = ERR_INIT;
    strbuf out = {0};
    tensor t = {.name = "five", .type = DT_F32, .rank = 5, .shape = {1, 1, 1, 1, 1}};
    ASSERT_OK(st_write_header(&out, &t, 1, NULL, 0, 8, &e), e);
    strbuf_add(&out, "\0\0\0\0", 4);
    temp_write(input, "model.safetensors", out.text, out.len);
    strbuf_free(&out);
    the.order.input = input;
    make_fails(ERR_INPUT, "GGUF has at most 4 dimensions, 1 tensor has more, the first is 'five' "
               "[1,1,1,1,1]");
}
END_TEST

// ---- out of GGUF -----------------------------------------------------------------------------

enum { EXPERTS = 2, OUT = 3, IN = 64, BLOCK = 34, BLOCKS = EXPERTS * OUT * IN / 32 };

// Stacked experts of Q8_0, a vector of it, a matrix of F32, and integers; in a folder with a
// config.json, which says nothing of such names.
static void use_blocks(float scale)
{
    static unsigned char data[(BLOCKS + 2) * BLOCK + 4 * 4 + 4 * 4];
    tensor t[] = {{.name = "blk.0.ffn_up_exps.weight", .type = DT_Q8_0, .rank = 3,
                   .shape = {EXPERTS, OUT, IN}},
                  {.name = "blk.0.v", .type = DT_Q8_0, .rank = 1, .shape = {IN}},
                  {.name = "blk.0.m", .type = DT_F32, .rank = 2, .shape = {2, 2}},
                  {.name = "blk.0.i", .type = DT_I32, .rank = 2, .shape = {2, 2}},
                  {.name = "blk.0.none", .type = DT_Q8_0, .rank = 2, .shape = {0, 32}}};
    const gguf_value v = {"general.architecture", GGUF_TEXT, false, 1, "qwen3moe", 8};
    for (int b = 0; b < BLOCKS + 2; b++) {
        store_u16(data + b * BLOCK, f32_to_f16(scale * (float)(1 << b % 4)));
        for (int i = 0; i < 32; i++)
            data[b * BLOCK + 2 + i] = (unsigned char)(i * 5 + b);
    }
    for (int i = 0; i < 4; i++)
        store_f32(data + (BLOCKS + 2) * BLOCK + 4 * i, (float)(i + 1));
    use(t, COUNT_OF(t), &v, 1, data);
    temp_write(input, "config.json", "{\"a\": 1}", 8);
}

// What the tensors of `input` decode to is what stands in the.out, in its type.
static void decoded_is_the_same(const char *type, const char *name)
{
    err e = ERR_INIT;
    checkpoint *a = opened(input), *b = opened(the.out);
    const tensor *t = checkpoint_find(a, name), *u = checkpoint_find(b, name);
    ck_assert(t && u);
    ck_assert_str_eq(dtype_name(u->type), type);
    ck_assert(t->rank == u->rank && memcmp(t->shape, u->shape, sizeof t->shape) == 0);
    int64_t in = t->shape[t->rank - 1], n = t->n_elements;
    weight w[2] = {{.from = a, .module = name, .codec = codec_of_type(t->type),
                    .out = n / in, .in = in, .n_parts = 1, .part = {t}},
                   {.from = b, .module = name, .codec = codec_of_type(u->type),
                    .out = n / in, .in = in, .n_parts = 1, .part = {u}}};
    float *value[2];
    for (int i = 0; i < 2; i++) {
        scratch s = {0};
        value[i] = calloc((size_t)n, sizeof *value[i]);
        ck_assert_ptr_nonnull(value[i]);
        ASSERT_OK(weight_read_rows(&w[i], 0, w[i].out, value[i], &s, &e), e);
        scratch_free(&s);
    }
    ck_assert_mem_eq(value[0], value[1], (size_t)n * sizeof *value[0]);
    free(value[0]);
    free(value[1]);
    checkpoint_close(a);
    checkpoint_close(b);
}

START_TEST(blocks_decode_to_any_float_that_holds_them)
{
    static const struct {
        const char *codec, *type;
    } to[] = {{"f32", "F32"}, {"f16", "F16"}, {"bf16", "BF16"}};
    for (size_t i = 0; i < COUNT_OF(to); i++) {
        use_blocks(0.25f);
        decode_to(to[i].codec);
        make_runs();
        ck_assert_int_eq(the.report.n_tensors, 5);
        ck_assert_int_eq(the.report.n_coded, i == 0 ? 2 : 3);
        ck_assert_int_eq(the.report.changed_values, 0);
        ck_assert(!the.report.has_roles);
        decoded_is_the_same(to[i].type, "blk.0.ffn_up_exps.weight");
        decoded_is_the_same(to[i].type, "blk.0.v");
        decoded_is_the_same(to[i].type, "blk.0.m");
        checkpoint *c = opened(the.out);
        ck_assert_int_eq(checkpoint_find(c, "blk.0.i")->type, DT_I32);
        ck_assert_str_eq(dtype_name(checkpoint_find(c, "blk.0.none")->type), to[i].type);
        checkpoint_close(c);
        make_file_says(the.out, "config.json", "{\"a\": 1}");
        ck_assert_ptr_nonnull(strstr(heard.noted, "the 1 key-values of the GGUF have no place in "
                                     "safetensors and are left behind"));
        folder_remove(the.out);
    }
}
END_TEST

START_TEST(values_that_would_change_are_refused_unless_accepted)
{
    use_blocks(0.3f); // in binary16: its products need more digits than bfloat16 has
    decode_to("bf16");
    make_fails(ERR_NO, "--allow-lossy accepts that");
    the.order.refuse_changes = false;
    the.order.count_changes = true;
    make_runs();
    ck_assert_int_gt(the.report.changed_values, 0);
}
END_TEST

START_TEST(blocks_have_no_place_in_safetensors)
{
    use_blocks(1);
    make_convert(LAYOUT_PLAIN);
    make_fails(ERR_INPUT, "safetensors has no type for 3 tensors, the first is "
               "'blk.0.ffn_up_exps.weight' (Q8_0); --to gguf keeps them, --to bf16, f16 or f32 "
               "decodes them");
}
END_TEST

START_TEST(what_needs_roles_or_a_decoder_is_refused)
{
    static const unsigned char data[36] = {0};
    use_blocks(1);
    the.order.needs_model = true;
    make_convert(LAYOUT_EXPERTS);
    make_fails(ERR_INPUT, "is a GGUF file of the architecture 'qwen3moe': its tensors' names are "
               "bound to no family");
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_PLAIN);
    make_fails(ERR_INPUT, "is a GGUF file of the architecture 'qwen3moe'");
    tensor t = {.name = "q", .type = DT_Q8_1, .rank = 1, .shape = {32}};
    const gguf_value v = {"general.architecture", GGUF_TEXT, false, 1, "x", 1};
    use(&t, 1, &v, 1, data);
    decode_to("f32");
    make_fails(ERR_INPUT, "tensor 'q' has type Q8_1, which this version does not decode");
}
END_TEST

Suite *suite_make_gguf(void)
{
    Suite *s = suite_create("make_gguf");
    TCase *c = tcase_create("make_gguf");
    tcase_add_checked_fixture(c, set_up, make_tear_down);
    tcase_add_test(c, a_model_and_back_are_the_same_tensors);
    tcase_add_test(c, threads_memory_and_reading_back_change_no_byte);
    tcase_add_test(c, an_interrupted_run_goes_on);
    tcase_add_test(c, parts_of_a_run_merge_to_what_one_run_makes);
    tcase_add_test(c, sets_are_split_files_with_the_values_in_front);
    tcase_add_test(c, an_expected_sum_needs_no_second_read);
    tcase_add_test(c, a_gguf_comes_through_byte_for_byte);
    tcase_add_test(c, what_gguf_cannot_hold_is_refused_by_name);
    tcase_add_test(c, more_dimensions_than_gguf_has_are_refused);
    tcase_add_test(c, blocks_decode_to_any_float_that_holds_them);
    tcase_add_test(c, values_that_would_change_are_refused_unless_accepted);
    tcase_add_test(c, blocks_have_no_place_in_safetensors);
    tcase_add_test(c, what_needs_roles_or_a_decoder_is_refused);
    suite_add_tcase(s, c);
    return s;
}
