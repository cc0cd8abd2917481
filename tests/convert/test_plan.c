// SPDX-License-Identifier: Apache-2.0
// Plans: which tensors, in which order, in which files, at which places, and what is refused.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/layout.h"
#include "convert/plan.h"
#include "tests/refused.h"
#include "tests/temp.h"
#include "tests/tiny_model.h"

Suite *suite_plan(void);

static tiny t;
static checkpoint *source;
static model *bound;
static plan p;

static void set_up(void)
{
    tiny_init(&t);
    source = NULL;
    bound = NULL;
    p = (plan){0};
}

static void let_go(void)
{
    plan_free(&p);
    model_close(bound);
    checkpoint_close(source);
    bound = NULL;
    source = NULL;
}

static void tear_down(void)
{
    let_go();
    tiny_free(&t);
}

static void open_source(const char *config)
{
    err e = ERR_INIT;
    tiny_write(&t, config ? config : "{}");
    ASSERT_OK(checkpoint_open(&source, t.dir, NULL, &e), e);
    if (config)
        ASSERT_OK(model_open(&bound, source, NULL, &e), e);
}

static void make(const plan_options *o)
{
    err e = ERR_INIT;
    plan_free(&p);
    ASSERT_OK(plan_make(&p, source, bound, o, &e), e);
}

static bool try_make(const plan_options *o)
{
    plan_free(&p);
    return plan_make(&p, source, bound, o, &refused);
}

static int64_t find(const char *name)
{
    for (int64_t i = 0; i < p.n_tensors; i++)
        if (strcmp(p.tensor[i].to.name, name) == 0)
            return i;
    ck_abort_msg("no tensor '%s' in the plan", name);
    return -1;
}

static const plan_tensor *get(const char *name) { return &p.tensor[find(name)]; }

static int64_t file_of(int64_t i)
{
    for (int64_t f = 0; f < p.n_files; f++)
        if (i >= p.file[f].first && i < p.file[f].first + p.file[f].n)
            return f;
    ck_abort_msg("tensor %lld is in no file", (long long)i);
    return -1;
}

// What holds of every plan: files cover the tensors in order, tensors lie one behind the other from
// the end of the header, at multiples of their elements.
static void check_places(uint64_t align)
{
    int64_t next = 0;
    for (int64_t f = 0; f < p.n_files; f++) {
        uint64_t at = p.file[f].header.len;
        ck_assert_int_eq(p.file[f].first, next);
        ck_assert_uint_eq(at % align, 0);
        for (int64_t i = next; i < next + p.file[f].n; i++) {
            const tensor *to = &p.tensor[i].to;
            int element = (dtype_bits(to->type) + 7) / 8;
            ck_assert_msg(to->offset == at, "%s at %llu", to->name, (unsigned long long)to->offset);
            ck_assert_msg(at % (uint64_t)element == 0, "%s is not aligned", to->name);
            at += to->bytes;
        }
        ck_assert_uint_eq(at, p.file[f].bytes);
        next += p.file[f].n;
    }
    ck_assert_int_eq(next, p.n_tensors);
}

static plan_options quantized(const char *type, plan_scope scope, plan_layout layout)
{
    plan_options o = PLAN_DEFAULTS;
    o.codec = codec_find(type);
    o.scope = scope;
    o.layout = layout;
    return o;
}

static const tiny_shape shape = TINY_SHAPE;
static const tiny_shape dense_first = {"model.", "", false, 0, false};

// ---- order ----

START_TEST(numbers_in_names_are_ordered_as_numbers)
{
    static const char *const ascending[] = {
        "", "a", "a.1", "a.2", "a.10", "a.10.b", "a.11", "a1", "a9b", "a10a", "b", "layers.9.x",
        "layers.10.w", "x.18446744073709551616", "x.18446744073709551617",
    };
    for (size_t i = 0; i < COUNT_OF(ascending); i++)
        for (size_t k = 0; k < COUNT_OF(ascending); k++) {
            int c = layout_natural_order(ascending[i], ascending[k]);
            ck_assert_msg((c < 0) == (i < k) && (c > 0) == (i > k), "'%s' '%s'", ascending[i],
                          ascending[k]);
        }
    ck_assert_int_eq(layout_natural_order("a.01", "a.1"), 0);
}
END_TEST

START_TEST(plain_shards_are_in_natural_order)
{
    static const char *const names[] = {"layers.9.b.weight", "layers.10.a.weight",
                                        "layers.9.a.weight", "norm.weight", "layers.9.a.bias"};
    static const char *const order[] = {"layers.9.a.bias", "layers.9.a.weight",
                                        "layers.9.b.weight", "layers.10.a.weight", "norm.weight"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        tiny_add(&t, names[i], DT_BF16, 1, 4, 0, NULL);
    open_source(NULL);
    plan_options o = PLAN_DEFAULTS;
    make(&o);
    for (size_t i = 0; i < COUNT_OF(order); i++)
        ck_assert_str_eq(p.tensor[i].to.name, order[i]);
    ck_assert_int_eq(p.n_files, 1);
    ck_assert_str_eq(p.file[0].name, "model.safetensors");
    check_places(8);
}
END_TEST

START_TEST(every_tensor_is_aligned_to_its_elements)
{
    static const struct {
        const char *name;
        dtype type;
        int64_t n;
    } odd[] = {
        {"a", DT_U8, 5},    {"b", DT_BF16, 3}, {"c", DT_F32, 3},     {"d", DT_F64, 1},
        {"e", DT_BF16, 4},  {"f", DT_U8, 1},   {"g", DT_F32, 1},     {"h", DT_I64, 3},
        {"i", DT_BF16, 1},  {"j", DT_U8, 0},   {"k", DT_F8_E4M3, 7}, {"l", DT_F32, 0},
        {"m", DT_BOOL, 11},
    };
    static const char zeros[64];
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        tiny_add(&t, odd[i].name, odd[i].type, 1, odd[i].n, 0, zeros);
    open_source(NULL);
    plan_options o = PLAN_DEFAULTS;
    make(&o);
    ck_assert_int_eq(p.n_tensors, COUNT_OF(odd));
    check_places(8);
}
END_TEST

START_TEST(an_empty_checkpoint_gives_an_empty_file)
{
    temp_write(t.dir, "model.safetensors", "\x08\0\0\0\0\0\0\0{}      ", 16);
    err e = ERR_INIT;
    ASSERT_OK(checkpoint_open(&source, t.dir, NULL, &e), e);
    plan_options o = PLAN_DEFAULTS;
    make(&o);
    ck_assert_int_eq(p.n_files, 1);
    ck_assert_int_eq(p.file[0].n, 0);
    ck_assert_uint_eq(p.file[0].bytes, p.file[0].header.len);
}
END_TEST

START_TEST(shards_are_cut_at_their_size_and_never_inside_a_module)
{
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    plan_options o = quantized("int4-g32", SCOPE_ALL_LINEAR, LAYOUT_PLAIN);
    static const uint64_t sizes[] = {1, 1000, 5000, 100000};
    for (size_t k = 0; k < COUNT_OF(sizes); k++) {
        o.shard_bytes = sizes[k];
        make(&o);
        check_places(8);
        ck_assert_int_eq(strcmp(p.file[0].name, "model.safetensors") == 0, p.n_files == 1);
        for (int64_t f = 0; f < p.n_files; f++) {
            const char *first = p.tensor[p.file[f].first].to.name;
            size_t module = (size_t)(strrchr(first, '.') - first);
            bool one_module = true;
            for (int64_t i = 0; i < p.file[f].n; i++)
                one_module &= strncmp(p.tensor[p.file[f].first + i].to.name, first, module) == 0;
            ck_assert_msg(one_module || p.file[f].bytes - p.file[f].header.len <= sizes[k],
                          "%s has %llu bytes", p.file[f].name,
                          (unsigned long long)p.file[f].bytes);
        }
        for (int64_t i = 0; i < p.n_tensors; i++)
            if (p.tensor[i].source && p.tensor[i].part == 1) {
                char name[200];
                (void)snprintf(name, sizeof name, "%s.weight_packed", p.tensor[i].source->module);
                ck_assert_int_eq(file_of(i), file_of(find(name)));
            }
    }
    o.shard_bytes = 0;
    ASSERT_FAILS(try_make(&o), ERR_USAGE, "a shard of 0 bytes");
}
END_TEST

START_TEST(shards_are_cut_at_a_number_of_tensors)
{
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    plan_options o = quantized("int4-g32", SCOPE_EXPERTS, LAYOUT_PLAIN);
    o.shard_tensors = 7;
    make(&o);
    ck_assert_int_ge(p.n_files, p.n_tensors / 7);
    for (int64_t f = 0; f < p.n_files; f++)
        ck_assert_int_le(p.file[f].n, 7);
    o.shard_tensors = 2; // a module has three, which stay together
    make(&o);
    for (int64_t f = 0; f < p.n_files; f++)
        ck_assert_int_le(p.file[f].n, 3);
}
END_TEST

START_TEST(an_alignment_is_a_power_of_two_within_limits)
{
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    static const uint64_t bad[] = {1, 4, 12, 48, 33554432};
    plan_options o = PLAN_DEFAULTS;
    o.layout = LAYOUT_GGUF;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        o.alignment = bad[i];
        ASSERT_FAILS(try_make(&o), ERR_USAGE,
                     "a GGUF's alignment is a power of two from 8 to 16777216, not");
    }
    o.alignment = 16384;
    make(&o);
    for (int64_t i = 0; i < p.n_tensors; i++)
        ck_assert_uint_eq(p.tensor[i].to.offset % 16384, 0);
}
END_TEST

START_TEST(a_module_inside_a_module_does_not_tear_it)
{
    // '.' sorts before '_': by whole names "a.weight.x" would stand between these two.
    tiny_add(&t, "a.weight", DT_BF16, 1, 4, 0, NULL);
    tiny_add(&t, "a.weight.x", DT_BF16, 1, 4, 0, NULL);
    tiny_add(&t, "a.weight_scale", DT_BF16, 1, 4, 0, NULL);
    open_source(NULL);
    plan_options o = PLAN_DEFAULTS;
    o.shard_bytes = 16;
    make(&o);
    ck_assert_int_eq(p.n_files, 2);
    ck_assert_str_eq(p.tensor[0].to.name, "a.weight");
    ck_assert_str_eq(p.tensor[1].to.name, "a.weight_scale");
}
END_TEST

START_TEST(of_every_coded_weight_one_part_starts)
{
    tiny_deepseek_v3(&t, &dense_first);
    open_source(tiny_deepseek_v3_config);
    static const char *const types[] = {"int4-g32", "fp8-block", "fp8-channel"};
    static const plan_layout layouts[] = {LAYOUT_PLAIN, LAYOUT_EXPERTS};
    for (size_t k = 0; k < 2 * COUNT_OF(types); k++) {
        plan_options o = quantized(types[k / 2], SCOPE_EXPERTS, layouts[k % 2]);
        make(&o);
        int starts = 0, coded = 0;
        for (int64_t i = 0; i < p.n_tensors; i++) {
            starts += p.tensor[i].starts;
            coded += p.tensor[i].source != NULL;
            ck_assert(!p.tensor[i].starts || p.tensor[i].source);
        }
        ck_assert_int_eq(starts, 2 * 4 * 3);
        ck_assert_int_eq(coded, starts * p.options.codec->n_parts);
        // The tail of one layer, and what waits of the weight that is written.
        uint64_t held = plan_held_bytes(&p), one = codec_bytes(o.codec, 32, 64);
        one -= codec_part_bytes(o.codec, 0, 32, 64);
        ck_assert_uint_ge(held, one);
        ck_assert_uint_le(held, one + 12 * 16 * 2);
    }
}
END_TEST

// ---- expert shards ----

// Records contiguous from the page, gate, up, down; the tail behind, wide elements first.
static void check_pack(int64_t files, uint64_t page)
{
    ck_assert_int_eq(p.n_files, files);
    check_places(page);
    for (int64_t f = 0; f < p.n_files; f++) {
        const plan_file *file = &p.file[f];
        const pack_index_layer *r = &file->records;
        if (!file->holds_experts) {
            for (int64_t i = 0; i < file->n; i++)
                ck_assert(role_class_of(p.tensor[file->first + i].role) != CLASS_EXPERTS ||
                          !p.tensor[file->first + i].owned);
            continue;
        }
        uint64_t end = r->first_record + (uint64_t)r->n_experts * r->record_bytes;
        ck_assert_uint_eq(r->first_record, file->header.len);
        const plan_tensor *before = NULL;
        for (int64_t i = 0; i < file->n; i++) {
            const plan_tensor *x = &p.tensor[file->first + i];
            ck_assert_int_eq(x->layer, r->layer);
            if (x->to.offset < end) {
                ck_assert_int_eq(x->expert,
                                 (int64_t)((x->to.offset - r->first_record) / r->record_bytes));
                if (before && before->expert == x->expert)
                    ck_assert_int_le((int)before->role, (int)x->role);
                before = x;
                continue;
            }
            if (before && before->to.offset >= end) {
                int a = dtype_bits(before->to.type), b = dtype_bits(x->to.type);
                ck_assert_int_ge(a, b);
                ck_assert(a > b || before->expert <= x->expert);
            }
            before = x;
        }
        for (int64_t c = 0; c < r->n_components; c++)
            for (int64_t x = 0; x < r->n_experts; x++) {
                uint64_t at = r->component[c].offset + (uint64_t)x * r->component[c].stride;
                bool found = false;
                for (int64_t i = 0; i < file->n; i++) {
                    const plan_tensor *k = &p.tensor[file->first + i];
                    found |= k->to.offset == at && k->expert == x &&
                             k->to.bytes == r->component[c].bytes &&
                             strcmp(strrchr(k->to.name, '.') + 1, r->component[c].suffix) == 0;
                }
                ck_assert_msg(found, "component %lld of expert %lld", (long long)c, (long long)x);
            }
    }
}

START_TEST(experts_are_contiguous_records_on_pages)
{
    tiny_deepseek_v3(&t, &dense_first);
    open_source(tiny_deepseek_v3_config);
    static const uint64_t pages[] = {4096, 16384, 2097152};
    for (size_t i = 0; i < COUNT_OF(pages); i++) {
        plan_options o = PLAN_DEFAULTS;
        o.layout = LAYOUT_EXPERTS;
        o.page = pages[i];
        make(&o);
        check_pack(3, pages[i]);
        ck_assert_uint_eq(p.file[1].records.record_bytes, 3 * 32 * 64 * 2);
        ck_assert_int_eq(p.file[1].records.n_components, 3);
        ck_assert_int_eq(p.file[1].records.layer, 1);
        ck_assert_str_eq(p.file[2].name, "model-00003-of-00003.safetensors");
        // 12288 is a multiple of 4096: there every record starts on a page.
        for (int64_t k = 0; i == 0 && k < p.file[1].n; k += 3)
            ck_assert_uint_eq(p.tensor[p.file[1].first + k].to.offset % 4096, 0);
    }
}
END_TEST

START_TEST(scales_of_rows_travel_and_other_parts_lie_in_the_tail)
{
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    static const struct {
        const char *type;
        int in_record, in_tail;
    } cases[] = {{"int4-g32", 6, 3}, {"fp8-block", 3, 3}, {"fp8-channel", 6, 0}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        plan_options o = quantized(cases[i].type, SCOPE_EXPERTS, LAYOUT_EXPERTS);
        make(&o);
        check_pack(4, o.page);
        int inside = 0;
        const pack_index_layer *r = &p.file[1].records;
        for (int64_t c = 0; c < r->n_components; c++)
            inside += r->component[c].in_record;
        ck_assert_int_eq(inside, cases[i].in_record);
        ck_assert_int_eq(r->n_components, cases[i].in_record + cases[i].in_tail);
        ck_assert_ptr_nonnull(strstr(p.file[1].header.text + 8,
                                     "\"moe.layout\":\"expert-record-1\""));
    }
}
END_TEST

START_TEST(resident_tensors_are_cut_too)
{
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    plan_options o = PLAN_DEFAULTS;
    o.layout = LAYOUT_EXPERTS;
    o.shard_bytes = 10000;
    make(&o);
    ck_assert_int_gt(p.n_files, 6);
    check_pack(p.n_files, o.page);
    ck_assert(p.file[p.n_files - 1].holds_experts);
    ck_assert(!p.file[p.n_files - 4].holds_experts);
}
END_TEST

START_TEST(experts_must_be_equal)
{
    tiny_qwen3_moe(&t, &shape);
    tiny_make_int4(&t, "model.layers.1.mlp.experts.2.up_proj");
    char *config = tiny_config_with(
        tiny_qwen3_moe_config, "quantization_config",
        "{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
        "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": "
        "4, \"type\": \"int\", \"symmetric\": true, \"strategy\": \"group\", \"group_size\": "
        "32}}}, \"ignore\": []}");
    open_source(config);
    free(config);
    plan_options o = PLAN_DEFAULTS;
    o.layout = LAYOUT_EXPERTS;
    ASSERT_REFUSED(try_make(&o), "an expert pack needs equal experts");
    o.layout = LAYOUT_PLAIN;
    make(&o);
}
END_TEST

START_TEST(a_page_is_a_power_of_two_within_limits)
{
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    static const uint64_t bad[] = {0, 1, 2048, 4095, 12288, 4194304};
    plan_options o = PLAN_DEFAULTS;
    o.layout = LAYOUT_EXPERTS;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        o.page = bad[i];
        ASSERT_FAILS(try_make(&o), ERR_USAGE, "a page is a power of two from 4096 to 2097152");
    }
}
END_TEST

START_TEST(parts_of_records_must_be_multiples_of_eight_bytes)
{
    // 4 experts of 33 x 64: fp8-channel's scales have 132 bytes.
    tiny_qwen3_moe(&t, &shape);
    for (int n = 0; n < 3; n++)
        for (int x = 0; x < 4; x++)
            for (int k = 0; k < 3; k++) {
                static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
                char name[100];
                (void)snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s.weight", n, x,
                               names[k]);
                tiny_drop(&t, name);
                tiny_add(&t, name, DT_BF16, 2, k < 2 ? 33 : 64, k < 2 ? 64 : 33, NULL);
            }
    char *config = tiny_config_with(tiny_qwen3_moe_config, "moe_intermediate_size", "33");
    open_source(config);
    free(config);
    plan_options o = quantized("fp8-channel", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    ASSERT_REFUSED(try_make(&o), "gate_proj.weight_scale' has 132 bytes; the parts of an expert "
                                 "record must be multiples of 8 (the plain layout has no");
    o.layout = LAYOUT_PLAIN;
    make(&o);
    check_places(8);
}
END_TEST

// ---- scope, fall-back, copies ----

START_TEST(all_linear_never_touches_router_norms_embedding_head_and_bias)
{
    tiny_deepseek_v3(&t, &dense_first);
    open_source(tiny_deepseek_v3_config);
    plan_options o = quantized("fp8-block", SCOPE_ALL_LINEAR, LAYOUT_EXPERTS);
    make(&o);
    int coded[CLASS_COUNT] = {0};
    for (int64_t i = 0; i < p.n_tensors; i++)
        if (p.tensor[i].source)
            coded[role_class_of(p.tensor[i].role)] += p.tensor[i].starts;
    ck_assert_int_eq(coded[CLASS_EXPERTS], 2 * 4 * 3);
    ck_assert_int_eq(coded[CLASS_SHARED], 2 * 3);
    ck_assert_int_eq(coded[CLASS_ATTENTION], 3 * 5);
    ck_assert_int_eq(coded[CLASS_DENSE], 3);
    ck_assert_int_eq(coded[CLASS_ROUTER] + coded[CLASS_NORM] + coded[CLASS_EMBEDDING] +
                     coded[CLASS_HEAD] + coded[CLASS_OTHER], 0);
    o.scope = SCOPE_EXPERTS;
    make(&o);
    for (int64_t i = 0; i < p.n_tensors; i++)
        ck_assert_int_eq(p.tensor[i].source != NULL, p.tensor[i].owned &&
                         role_class_of(p.tensor[i].role) == CLASS_EXPERTS);
}
END_TEST

START_TEST(all_linear_leaves_biases_alone)
{
    static const tiny_shape biased = {"model.", "", false, -1, true};
    tiny_qwen3_moe(&t, &biased);
    char *config = tiny_config_with(tiny_qwen3_moe_config, "attention_bias", "true");
    open_source(config);
    free(config);
    plan_options o = quantized("int4-g32", SCOPE_ALL_LINEAR, LAYOUT_PLAIN);
    make(&o);
    ck_assert_ptr_nonnull(get("model.layers.0.self_attn.q_proj.bias")->from);
    ck_assert_ptr_nonnull(get("model.layers.0.self_attn.q_proj.weight_packed")->source);
}
END_TEST

START_TEST(matrices_are_all_two_dimensional_weights)
{
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    plan_options o = quantized("f32", SCOPE_MATRICES, LAYOUT_PLAIN);
    make(&o);
    for (int64_t i = 0; i < p.n_tensors; i++) {
        ck_assert_int_eq(p.tensor[i].source != NULL, p.tensor[i].to.rank == 2);
        ck_assert_int_eq(p.tensor[i].to.type, p.tensor[i].to.rank == 2 ? DT_F32 : DT_BF16);
    }
    o.codec = codec_find("bf16"); // it is that already: everything is moved
    make(&o);
    for (int64_t i = 0; i < p.n_tensors; i++)
        ck_assert_ptr_nonnull(p.tensor[i].from);
}
END_TEST

START_TEST(a_group_that_does_not_divide_asks_for_a_fall_back)
{
    tiny_qwen3_moe(&t, &shape); // down_proj has 32 columns
    open_source(tiny_qwen3_moe_config);
    plan_options o = quantized("int4-g64", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    ASSERT_REFUSED(try_make(&o), "down_proj: int4-g64 needs columns that are a multiple of 64, it "
                                 "has 32; --fallback TYPE");
    o.fallback = codec_find("int4-g128");
    ASSERT_REFUSED(try_make(&o), "neither int4-g64 nor the fall-back int4-g128 divides its 32");
    o.fallback = codec_find("int4-g32");
    make(&o);
    check_pack(4, o.page);
    ck_assert_ptr_eq(get("model.layers.0.mlp.experts.3.down_proj.weight_packed")->codec,
                     o.fallback);
    ck_assert_ptr_eq(get("model.layers.0.mlp.experts.3.up_proj.weight_packed")->codec, o.codec);
    o.fallback = codec_find("bf16"); // as it is: moved
    make(&o);
    check_pack(4, o.page);
    ck_assert_ptr_nonnull(get("model.layers.0.mlp.experts.3.down_proj.weight")->from);
}
END_TEST

START_TEST(layers_of_no_role_are_copied)
{
    tiny_deepseek_v3(&t, &dense_first);
    static const char *const extra[] = {"eh_proj.weight", "mlp.experts.0.up_proj.weight",
                                        "self_attn.o_proj.weight", "shared_head.head.weight"};
    for (size_t i = 0; i < COUNT_OF(extra); i++) {
        char name[100];
        (void)snprintf(name, sizeof name, "model.layers.3.%s", extra[i]);
        tiny_add(&t, name, DT_BF16, 2, 8, 64, NULL);
    }
    char *config = tiny_config_with(tiny_deepseek_v3_config, "num_nextn_predict_layers", "1");
    open_source(config);
    free(config);
    for (int layout = 0; layout < 2; layout++) {
        plan_options o = quantized("int4-g32", SCOPE_ALL_LINEAR,
                                   layout ? LAYOUT_EXPERTS : LAYOUT_PLAIN);
        o.fallback = codec_find("bf16"); // kv_b_proj has 16 columns
        make(&o);
        check_places(layout ? o.page : 8);
        for (size_t i = 0; i < COUNT_OF(extra); i++) {
            char name[100];
            (void)snprintf(name, sizeof name, "model.layers.3.%s", extra[i]);
            ck_assert_ptr_nonnull(get(name)->from);
            ck_assert(!get(name)->owned);
            ck_assert(!p.file[file_of(find(name))].holds_experts);
        }
    }
}
END_TEST

START_TEST(what_belongs_to_no_layer_has_to_suit_a_gguf_as_it_is)
{
    static const uint8_t codes[8] = {0};
    tiny_deepseek_v3(&t, &dense_first);
    tiny_add(&t, "model.layers.3.eh_proj.weight", DT_F8_E4M3, 1, 8, 0, codes);
    char *config = tiny_config_with(tiny_deepseek_v3_config, "num_nextn_predict_layers", "1");
    open_source(config);
    free(config);
    plan_options o = quantized("Q8_0", SCOPE_EXPERTS, LAYOUT_GGUF);
    ASSERT_REFUSED(try_make(&o), "GGUF has no type for 1 tensor, the first is "
                   "'model.layers.3.eh_proj.weight' (F8_E4M3); it belongs to no layer of the "
                   "model, so no rule gives it another type");
}
END_TEST

START_TEST(every_source_tensor_is_accounted_for)
{
    tiny_deepseek_v3(&t, &dense_first);
    open_source(tiny_deepseek_v3_config);
    plan_options o = quantized("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make(&o);
    int64_t moved = 0, starts = 0;
    for (int64_t i = 0; i < p.n_tensors; i++) {
        moved += p.tensor[i].from != NULL;
        starts += p.tensor[i].starts;
    }
    ck_assert_int_eq(moved + starts, checkpoint_count(source));
}
END_TEST

// ---- identity ----

START_TEST(every_option_changes_the_identity)
{
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    plan_options list[16];
    sha256_digest id[16];
    size_t n = 0;
    list[n++] = quantized("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    list[n++] = quantized("int4-g32", SCOPE_ALL_LINEAR, LAYOUT_EXPERTS);
    list[n++] = quantized("int4-g32", SCOPE_EXPERTS, LAYOUT_PLAIN);
    list[n++] = quantized("fp8-block", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    list[n++] = quantized("fp8-block-pow2", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    list[n++] = quantized("fp8-channel", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    list[n] = list[0];
    list[n++].page = 4096;
    list[n] = list[0];
    list[n++].page = 8192; // may give the same offsets as 4096
    list[n] = list[0];
    list[n++].shard_bytes = 20000;
    list[n] = list[0];
    list[n++].recipe = "{\"search\":\"compat\"}";
    list[n] = quantized("int4-g64", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    list[n++].fallback = codec_find("bf16");
    list[n] = quantized("int4-g64", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    list[n++].fallback = codec_find("int4-g32");
    for (size_t i = 0; i < n; i++) {
        make(&list[i]);
        id[i] = p.id;
        make(&list[i]);
        ck_assert_mem_eq(id[i].b, p.id.b, sizeof p.id.b);
        for (size_t k = 0; k < i; k++)
            ck_assert_msg(memcmp(id[i].b, id[k].b, sizeof p.id.b) != 0, "plans %zu and %zu", k, i);
    }
}
END_TEST

START_TEST(the_identity_does_not_depend_on_where_the_source_lies)
{
    plan_options o = quantized("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    sha256_digest id;
    tiny_qwen3_moe(&t, &shape);
    open_source(tiny_qwen3_moe_config);
    make(&o);
    id = p.id;
    let_go();
    temp_dir_remove(t.dir);
    (void)snprintf(t.dir, sizeof t.dir, "%s", temp_dir_make());
    tiny_put_in_shard(&t, "model.norm.weight", 1); // other files, same tensors
    open_source(tiny_qwen3_moe_config);
    make(&o);
    ck_assert_mem_eq(id.b, p.id.b, sizeof id.b);
}
END_TEST

Suite *suite_plan(void)
{
    Suite *s = suite_create("plan");
    TCase *c = tcase_create("order");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, numbers_in_names_are_ordered_as_numbers);
    tcase_add_test(c, plain_shards_are_in_natural_order);
    tcase_add_test(c, every_tensor_is_aligned_to_its_elements);
    tcase_add_test(c, an_empty_checkpoint_gives_an_empty_file);
    tcase_add_test(c, shards_are_cut_at_their_size_and_never_inside_a_module);
    tcase_add_test(c, a_module_inside_a_module_does_not_tear_it);
    tcase_add_test(c, of_every_coded_weight_one_part_starts);
    suite_add_tcase(s, c);
    c = tcase_create("experts");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, experts_are_contiguous_records_on_pages);
    tcase_add_test(c, scales_of_rows_travel_and_other_parts_lie_in_the_tail);
    tcase_add_test(c, resident_tensors_are_cut_too);
    tcase_add_test(c, experts_must_be_equal);
    tcase_add_test(c, a_page_is_a_power_of_two_within_limits);
    tcase_add_test(c, an_alignment_is_a_power_of_two_within_limits);
    tcase_add_test(c, shards_are_cut_at_a_number_of_tensors);
    tcase_add_test(c, parts_of_records_must_be_multiples_of_eight_bytes);
    suite_add_tcase(s, c);
    c = tcase_create("choice");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, all_linear_never_touches_router_norms_embedding_head_and_bias);
    tcase_add_test(c, all_linear_leaves_biases_alone);
    tcase_add_test(c, matrices_are_all_two_dimensional_weights);
    tcase_add_test(c, a_group_that_does_not_divide_asks_for_a_fall_back);
    tcase_add_test(c, layers_of_no_role_are_copied);
    tcase_add_test(c, what_belongs_to_no_layer_has_to_suit_a_gguf_as_it_is);
    tcase_add_test(c, every_source_tensor_is_accounted_for);
    tcase_add_test(c, every_option_changes_the_identity);
    tcase_add_test(c, the_identity_does_not_depend_on_where_the_source_lies);
    suite_add_tcase(s, c);
    return s;
}
