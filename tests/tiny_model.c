// SPDX-License-Identifier: Apache-2.0
#include "tests/tiny_model.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsonscan.h"
#include "formats/safetensors.h"
#include "quantize/codec.h"
#include "tests/temp.h"

const char tiny_qwen3_moe_config[] =
    "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", "
    "\"hidden_size\": 64, \"num_hidden_layers\": 3, \"vocab_size\": 16, "
    "\"num_attention_heads\": 4, "
    "\"num_key_value_heads\": 2, \"head_dim\": 8, \"intermediate_size\": 96, "
    "\"moe_intermediate_size\": 32, \"num_experts\": 4, \"num_experts_per_tok\": 2, "
    "\"norm_topk_prob\": true, \"rms_norm_eps\": 1e-06, \"rope_theta\": 1000000.0, "
    "\"rope_scaling\": null, \"hidden_act\": \"silu\", \"attention_bias\": false, "
    "\"tie_word_embeddings\": false, \"use_sliding_window\": false, \"sliding_window\": null, "
    "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [], \"bos_token_id\": 3}";

const char tiny_deepseek_v3_config[] =
    "{\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"deepseek_v3\", "
    "\"hidden_size\": 64, \"num_hidden_layers\": 3, \"vocab_size\": 16, "
    "\"num_attention_heads\": 2, "
    "\"num_key_value_heads\": 2, \"q_lora_rank\": 32, \"kv_lora_rank\": 16, "
    "\"qk_nope_head_dim\": 8, \"qk_rope_head_dim\": 4, \"v_head_dim\": 8, "
    "\"intermediate_size\": 96, \"moe_intermediate_size\": 32, \"n_routed_experts\": 4, "
    "\"n_shared_experts\": 1, \"num_experts_per_tok\": 2, \"n_group\": 2, \"topk_group\": 1, "
    "\"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\", \"norm_topk_prob\": true, "
    "\"routed_scaling_factor\": 2.5, \"first_k_dense_replace\": 1, \"moe_layer_freq\": 1, "
    "\"rms_norm_eps\": 1e-06, \"rope_theta\": 10000, \"rope_scaling\": {\"type\": \"yarn\", "
    "\"factor\": 40, \"original_max_position_embeddings\": 4096, \"beta_fast\": 32, "
    "\"beta_slow\": 1, \"mscale\": 1.0, \"mscale_all_dim\": 0.5}, \"hidden_act\": \"silu\", "
    "\"num_nextn_predict_layers\": 0}";

void tiny_init(tiny *m)
{
    *m = (tiny){0};
    (void)snprintf(m->dir, sizeof m->dir, "%s", temp_dir_make());
}

void tiny_free(tiny *m)
{
    for (int i = 0; i < m->n; i++)
        free(m->item[i].data);
    temp_dir_remove(m->dir);
    m->n = 0;
}

// Small numbers that differ from tensor to tensor, exact in every float type.
static void fill(void *data, dtype type, int64_t n, const char *name)
{
    uint32_t seed = 2166136261u;
    for (; *name; name++)
        seed = (seed ^ (unsigned char)*name) * 16777619u;
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        float value = (float)((int)(seed >> 26) - 32) / 64;
        uint32_t bits;
        memcpy(&bits, &value, 4);
        uint16_t high = (uint16_t)(bits >> 16);
        if (type == DT_BF16)
            memcpy((char *)data + 2 * i, &high, 2);
        else if (type == DT_F32)
            memcpy((char *)data + 4 * i, &value, 4);
        else
            ck_abort_msg("no pattern for type %s", dtype_name(type));
    }
}

void tiny_add(tiny *m, const char *name, dtype type, int rank, int64_t a, int64_t b,
              const void *data)
{
    ck_assert_int_lt(m->n, TINY_MAX_TENSORS);
    int i = m->n++;
    (void)snprintf(m->item[i].name, sizeof m->item[i].name, "%s", name);
    tensor *t = &m->item[i].t;
    *t = (tensor){.type = type, .rank = rank, .shape = {a, b}};
    t->n_elements = rank == 0 ? 1 : rank == 1 ? a : a * b;
    t->bytes = (uint64_t)(t->n_elements * dtype_bits(type) / 8);
    m->item[i].data = malloc(t->bytes + 1);
    ck_assert_ptr_nonnull(m->item[i].data);
    m->item[i].shard = 0;
    if (data)
        memcpy(m->item[i].data, data, t->bytes);
    else
        fill(m->item[i].data, type, t->n_elements, name);
}

void tiny_add_shaped(tiny *m, const char *name, dtype type, int rank, const int64_t *shape,
                     const void *data)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= shape[i];
    tiny_add(m, name, type, 1, n, 0, data);
    m->item[m->n - 1].t.rank = rank;
    memcpy(m->item[m->n - 1].t.shape, shape, (size_t)rank * sizeof *shape);
}

static int index_of(const tiny *m, const char *name)
{
    for (int i = 0; i < m->n; i++)
        if (strcmp(m->item[i].name, name) == 0)
            return i;
    ck_abort_msg("no tensor '%s'", name);
    return -1;
}

void tiny_drop(tiny *m, const char *name)
{
    int i = index_of(m, name);
    free(m->item[i].data);
    m->n--;
    memmove(&m->item[i], &m->item[i + 1], (size_t)(m->n - i) * sizeof m->item[0]);
}

void tiny_put_in_shard(tiny *m, const char *name, int shard)
{
    m->item[index_of(m, name)].shard = shard;
}

static void encode(tiny *m, const char *module, const char *codec_name)
{
    char name[160];
    err e = ERR_INIT;
    (void)snprintf(name, sizeof name, "%s.weight", module);
    int at = index_of(m, name);
    ck_assert_int_eq(m->item[at].t.type, DT_BF16);
    int64_t out = m->item[at].t.shape[0], in = m->item[at].t.shape[1];
    const codec *bf16 = codec_find("bf16"), *c = codec_find(codec_name);
    float *values = malloc((size_t)(out * in) * sizeof *values);
    part_view view = part_at(m->item[at].data, DT_BF16);
    ck_assert(bf16->decode(bf16, in, out, &view, values, &e));
    void *part[CODEC_MAX_PARTS] = {0};
    for (int i = 0; i < c->n_parts; i++)
        part[i] = calloc(1, (size_t)codec_part_bytes(c, i, out, in));
    encode_options o = ENCODE_DEFAULTS;
    if (!c->encode(c, in, out, values, &o, part, &e))
        ck_abort_msg("%s", e.text);
    tiny_drop(m, name);
    for (int i = 0; i < c->n_parts; i++) {
        int64_t shape[2];
        int rank = codec_part_shape(c, i, out, in, shape);
        (void)codec_fixed_part(c, i, out, in, part[i]);
        (void)snprintf(name, sizeof name, "%s.%s", module, c->part[i].suffix);
        tiny_add(m, name, c->part[i].type, rank, shape[0], shape[1], part[i]);
        free(part[i]);
    }
    free(values);
}

void tiny_make_int4(tiny *m, const char *module) { encode(m, module, "int4-g32"); }

void tiny_make_fp8_block(tiny *m, const char *module) { encode(m, module, "fp8-block"); }

// Hashed bytes that are finite numbers as any type; scales and the like about 1.
static void fill_part(unsigned char *to, const codec_part *p, int64_t out, int64_t in, uint64_t n)
{
    static const struct { dtype type; unsigned char one[4]; } ones[] = {
        {DT_F32, {0, 0, 0x80, 0x3f}}, {DT_BF16, {0x80, 0x3f}}, {DT_F16, {0, 0x3c}},
        {DT_F8_E8M0, {127}}, {DT_F8_E4M3, {0x38}},
    };
    for (uint64_t i = 0; i < n; i++) {
        to[i] = (unsigned char)(i * 2654435761u >> 13);
        if (p->type == DT_F8_E4M3)
            to[i] &= 0xbf;
    }
    for (size_t k = 0; k < COUNT_OF(ones) && p->kind != PART_CODES && p->kind != PART_ZEROS; k++)
        for (uint64_t i = 0; i < n && ones[k].type == p->type; i++)
            to[i] = ones[k].one[i % (uint64_t)dtype_block_bytes(p->type)];
    for (uint64_t i = 0; i < n / 4 && p->kind == PART_ORDER; i++)
        ((int32_t *)(void *)to)[i] = (int32_t)((uint64_t)(in - 1) / 32 - i / 32);
    int64_t shape[2] = {out, in};
    if (p->kind == PART_SHAPE)
        memcpy(to, shape, sizeof shape);
}

void tiny_make_stored(tiny *m, const char *module, const char *codec_name)
{
    const codec *named = codec_find(codec_name);
    ck_assert_ptr_nonnull(named);
    codec c = *named;
    char name[160];
    (void)snprintf(name, sizeof name, "%s.weight", module);
    int at = index_of(m, name);
    int64_t out = m->item[at].t.shape[0], in = m->item[at].t.shape[1];
    tiny_drop(m, name);
    for (int i = 0; i < c.n_parts; i++) {
        codec_part *p = &c.part[i];
        if (p->found && c.element == ELEMENT_INT)
            p->col_block = 32;
        int64_t shape[2];
        int rank = codec_part_shape(&c, i, out, in, shape);
        uint64_t bytes = codec_part_bytes(&c, i, out, in);
        unsigned char *data = calloc(1, bytes);
        fill_part(data, p, out, in, bytes);
        (void)snprintf(name, sizeof name, "%s%s%s", module, *p->suffix == '_' ? "" : ".",
                       p->suffix);
        tiny_add(m, name, p->type, rank, shape[0], shape[1], data);
        free(data);
        if (p->split) {
            tensor *t = &m->item[m->n - 1].t;
            t->shape[t->rank++] = p->split;
            t->shape[1] /= p->split;
        }
    }
}

static int write_shard(const tiny *m, int shard, const char *file)
{
    tensor list[TINY_MAX_TENSORS];
    const void *data[TINY_MAX_TENSORS];
    int n = 0;
    for (int i = 0; i < m->n; i++) {
        if (m->item[i].shard != shard)
            continue;
        list[n] = m->item[i].t;
        list[n].name = m->item[i].name;
        data[n++] = m->item[i].data;
    }
    if (n == 0)
        return 0;
    err e = ERR_INIT;
    strbuf out = {0};
    if (!st_write_header(&out, list, n, NULL, 0, 8, &e))
        ck_abort_msg("%s", e.text);
    for (int i = 0; i < n; i++)
        strbuf_add(&out, data[i], list[i].bytes);
    ck_assert(strbuf_ok(&out, &e));
    temp_write(m->dir, file, out.text, out.len);
    strbuf_free(&out);
    return n;
}

void tiny_write(tiny *m, const char *config)
{
    static const char *const shard[] = {"model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    bool sharded = false;
    for (int i = 0; i < m->n; i++)
        sharded = sharded || m->item[i].shard == 1;
    temp_write(m->dir, "config.json", config, strlen(config));
    if (!sharded) {
        write_shard(m, 0, "model.safetensors");
        return;
    }
    strbuf index = {0};
    uint64_t total = 0;
    strbuf_puts(&index, "{\"metadata\": {\"total_size\": ");
    for (int i = 0; i < m->n; i++)
        total += m->item[i].t.bytes;
    strbuf_printf(&index, "%llu}, \"weight_map\": {", (unsigned long long)total);
    for (int i = 0; i < m->n; i++)
        strbuf_printf(&index, "%s\"%s\": \"%s\"", i ? ", " : "", m->item[i].name,
                      shard[m->item[i].shard]);
    strbuf_puts(&index, "}}");
    ck_assert(!index.failed);
    temp_write(m->dir, "model.safetensors.index.json", index.text, index.len);
    strbuf_free(&index);
    for (int i = 0; i < 2; i++)
        ck_assert_int_gt(write_shard(m, i, shard[i]), 0);
}

// ---- whole models ----

static void matrix(tiny *m, const char *base, const char *module, int64_t out, int64_t in)
{
    char name[160];
    (void)snprintf(name, sizeof name, "%s%s.weight", base, module);
    tiny_add(m, name, DT_BF16, 2, out, in, NULL);
}

static void vector(tiny *m, const char *base, const char *tail, int64_t n)
{
    char name[160];
    (void)snprintf(name, sizeof name, "%s%s", base, tail);
    tiny_add(m, name, DT_BF16, 1, n, 0, NULL);
}

static void add_frame(tiny *m, const tiny_shape *s)
{
    matrix(m, s->body, "embed_tokens", 16, 64);
    vector(m, s->body, "norm.weight", 64);
    if (!s->tied)
        matrix(m, s->head, "lm_head", 16, 64);
}

static void add_ffn(tiny *m, const char *layer, bool is_dense)
{
    vector(m, layer, "input_layernorm.weight", 64);
    vector(m, layer, "post_attention_layernorm.weight", 64);
    if (is_dense) {
        matrix(m, layer, "mlp.gate_proj", 96, 64);
        matrix(m, layer, "mlp.up_proj", 96, 64);
        matrix(m, layer, "mlp.down_proj", 64, 96);
        return;
    }
    matrix(m, layer, "mlp.gate", 4, 64);
    for (int x = 0; x < 4; x++) {
        char expert[120];
        (void)snprintf(expert, sizeof expert, "%smlp.experts.%d.", layer, x);
        matrix(m, expert, "gate_proj", 32, 64);
        matrix(m, expert, "up_proj", 32, 64);
        matrix(m, expert, "down_proj", 64, 32);
    }
}

void tiny_qwen3_moe(tiny *m, const tiny_shape *s)
{
    add_frame(m, s);
    for (int n = 0; n < 3; n++) {
        char layer[64];
        (void)snprintf(layer, sizeof layer, "%slayers.%d.", s->body, n);
        matrix(m, layer, "self_attn.q_proj", 32, 64);
        matrix(m, layer, "self_attn.k_proj", 16, 64);
        matrix(m, layer, "self_attn.v_proj", 16, 64);
        matrix(m, layer, "self_attn.o_proj", 64, 32);
        vector(m, layer, "self_attn.q_norm.weight", 8);
        vector(m, layer, "self_attn.k_norm.weight", 8);
        if (s->bias) {
            vector(m, layer, "self_attn.q_proj.bias", 32);
            vector(m, layer, "self_attn.k_proj.bias", 16);
            vector(m, layer, "self_attn.v_proj.bias", 16);
            vector(m, layer, "self_attn.o_proj.bias", 64);
        }
        add_ffn(m, layer, n == s->dense_layer);
    }
}

void tiny_deepseek_v3(tiny *m, const tiny_shape *s)
{
    add_frame(m, s);
    for (int n = 0; n < 3; n++) {
        char layer[64], bias[100];
        (void)snprintf(layer, sizeof layer, "%slayers.%d.", s->body, n);
        matrix(m, layer, "self_attn.q_a_proj", 32, 64);
        vector(m, layer, "self_attn.q_a_layernorm.weight", 32);
        matrix(m, layer, "self_attn.q_b_proj", 24, 32);
        matrix(m, layer, "self_attn.kv_a_proj_with_mqa", 20, 64);
        vector(m, layer, "self_attn.kv_a_layernorm.weight", 16);
        matrix(m, layer, "self_attn.kv_b_proj", 32, 16);
        matrix(m, layer, "self_attn.o_proj", 64, 16);
        add_ffn(m, layer, n == s->dense_layer);
        if (n == s->dense_layer)
            continue;
        (void)snprintf(bias, sizeof bias, "%smlp.gate.e_score_correction_bias", layer);
        tiny_add(m, bias, DT_F32, 1, 4, 0, NULL);
        matrix(m, layer, "mlp.shared_experts.gate_proj", 32, 64);
        matrix(m, layer, "mlp.shared_experts.up_proj", 32, 64);
        matrix(m, layer, "mlp.shared_experts.down_proj", 64, 32);
    }
}

// ---- stacks ----

const char tiny_gpt_oss_config[] =
    "{\"architectures\": [\"GptOssForCausalLM\"], \"model_type\": \"gpt_oss\", "
    "\"hidden_size\": 64, \"num_hidden_layers\": 3, \"vocab_size\": 16, "
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 8, "
    "\"intermediate_size\": 32, \"num_local_experts\": 4, \"num_experts_per_tok\": 2, "
    "\"rms_norm_eps\": 1e-05, \"rope_theta\": 150000, \"attention_bias\": true, "
    "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 32.0, \"beta_fast\": 32.0, "
    "\"beta_slow\": 1.0, \"original_max_position_embeddings\": 4096, \"truncate\": false}}";

const char tiny_llama4_config[] =
    "{\"architectures\": [\"Llama4ForConditionalGeneration\"], \"model_type\": \"llama4\", "
    "\"text_config\": {\"model_type\": \"llama4_text\", \"hidden_size\": 64, "
    "\"num_hidden_layers\": 3, \"vocab_size\": 16, \"num_attention_heads\": 4, "
    "\"num_key_value_heads\": 2, \"head_dim\": 8, \"intermediate_size\": 32, "
    "\"intermediate_size_mlp\": 96, \"num_local_experts\": 4, \"num_experts_per_tok\": 1, "
    "\"rms_norm_eps\": 1e-05, \"rope_theta\": 500000.0, \"interleave_moe_layer_step\": 2, "
    "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 16.0}}}";

static void add_attention(tiny *m, const char *layer, bool bias)
{
    static const struct { const char *name; int64_t out, in; } list[] = {
        {"q_proj", 32, 64}, {"k_proj", 16, 64}, {"v_proj", 16, 64}, {"o_proj", 64, 32}};
    vector(m, layer, "input_layernorm.weight", 64);
    vector(m, layer, "post_attention_layernorm.weight", 64);
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        char name[100];
        (void)snprintf(name, sizeof name, "self_attn.%s", list[i].name);
        matrix(m, layer, name, list[i].out, list[i].in);
        (void)snprintf(name, sizeof name, "self_attn.%s.bias", list[i].name);
        if (bias)
            vector(m, layer, name, list[i].out);
    }
}

static void add_mlp(tiny *m, const char *layer, const char *where, int64_t width, bool bias)
{
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    for (int k = 0; k < 3; k++) {
        char name[100];
        (void)snprintf(name, sizeof name, "%s.%s", where, names[k]);
        matrix(m, layer, name, k == 2 ? 64 : width, k == 2 ? width : 64);
        (void)snprintf(name, sizeof name, "%s.%s.bias", where, names[k]);
        if (bias)
            vector(m, layer, name, k == 2 ? 64 : width);
    }
}

static void add_experts(tiny *m, const char *layer, const char *where, bool bias)
{
    for (int x = 0; x < 4; x++) {
        char expert[64];
        (void)snprintf(expert, sizeof expert, "%s.%d", where, x);
        add_mlp(m, layer, expert, 32, bias);
    }
}

void tiny_gpt_oss(tiny *m)
{
    add_frame(m, &(tiny_shape)TINY_SHAPE);
    for (int n = 0; n < 3; n++) {
        char layer[64];
        (void)snprintf(layer, sizeof layer, "model.layers.%d.", n);
        add_attention(m, layer, true);
        vector(m, layer, "self_attn.sinks", 4);
        matrix(m, layer, "mlp.router", 4, 64);
        vector(m, layer, "mlp.router.bias", 4);
        add_experts(m, layer, "mlp.experts", true);
    }
}

void tiny_llama4(tiny *m)
{
    tiny_shape s = {.body = "language_model.model.", .head = "language_model."};
    add_frame(m, &s);
    vector(m, "", "vision_model.class_embedding", 8);
    for (int n = 0; n < 3; n++) {
        char layer[64];
        (void)snprintf(layer, sizeof layer, "language_model.model.layers.%d.", n);
        add_attention(m, layer, false);
        if (n != 1) {
            add_mlp(m, layer, "feed_forward", 96, false);
            continue;
        }
        matrix(m, layer, "feed_forward.router", 4, 64);
        add_experts(m, layer, "feed_forward.experts", false);
        add_mlp(m, layer, "feed_forward.shared_expert", 32, false);
    }
}

// One stack of `of` projections; rows of `bytes` bytes.
static void stack_one(tiny *m, const char *base, const char *const *projection, int of,
                      const char *suffix, const char *to, const tiny_stacking *how)
{
    char name[160];
    char *all = NULL;
    tensor t = {0};
    for (int x = 0; x < 4; x++) {
        for (int g = 0; g < of; g++) {
            (void)snprintf(name, sizeof name, "%s.%d.%s.%s", base, x, projection[g], suffix);
            int at = index_of(m, name);
            t = m->item[at].t;
            int64_t rows = t.shape[0], row = (int64_t)t.bytes / rows;
            if (!all)
                all = malloc(4 * (size_t)of * t.bytes);
            for (int64_t r = 0; r < rows; r++) {
                int64_t place = how->interleaved ? r * of + g : g * rows + r;
                const char *from = (const char *)m->item[at].data + r * row;
                char *slice = all + (int64_t)t.bytes * of * x;
                if (!how->turned)
                    memcpy(slice + place * row, from, (size_t)row);
                for (int64_t c = 0; how->turned && c < row / 2; c++)
                    memcpy(slice + 2 * (c * rows * of + place), from + 2 * c, 2);
            }
            tiny_drop(m, name);
        }
    }
    int64_t shape[TENSOR_MAX_RANK] = {4, t.shape[0] * of, t.shape[1], t.shape[2]};
    if (how->turned) {
        shape[1] = t.shape[1];
        shape[2] = t.shape[0] * of;
    }
    (void)snprintf(name, sizeof name, "%s.%s", base, to);
    tiny_add_shaped(m, name, t.type, t.rank + 1, shape, all);
    free(all);
}

void tiny_stack(tiny *m, const char *base, const char *suffix, const tiny_stacking *how)
{
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    char to[2][40];
    const char *end = strcmp(suffix, "weight") == 0 ? "" : suffix;
    (void)snprintf(to[0], sizeof to[0], "gate_up_proj%s%s", *end ? "_" : "", end);
    (void)snprintf(to[1], sizeof to[1], "down_proj%s%s", *end ? "_" : "", end);
    stack_one(m, base, names, 2, suffix, to[0], how);
    stack_one(m, base, names + 2, 1, suffix, to[1], how);
}

char *tiny_config_with(const char *config, const char *key, const char *value)
{
    strbuf out = {0};
    err e = ERR_INIT;
    if (!json_set_member(config, strlen(config), key, value, &out, &e))
        ck_abort_msg("%s", e.text);
    return out.text;
}
