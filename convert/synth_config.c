// SPDX-License-Identifier: Apache-2.0
#include "convert/synth_config.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/version.h"

// ---- DeepSeek-V3 -----------------------------------------------------------------------------

static const synth_key_row deepseek_v3_keys[] = {
    {"architectures", "[\"DeepseekV3ForCausalLM\"]", NULL},
    {"attention_bias", "false", NULL},
    {"bos_token_id", "0", NULL},
    {"eos_token_id", "1", NULL},
    {"first_k_dense_replace", "1", "3"},
    {"hidden_act", "\"silu\"", NULL},
    {"hidden_size", "256", "7168"},
    {"intermediate_size", "384", "18432"},
    {"kv_lora_rank", "64", "512"},
    {"max_position_embeddings", "163840", NULL},
    {"model_type", "\"deepseek_v3\"", NULL},
    {"moe_intermediate_size", "128", "2048"},
    {"moe_layer_freq", "1", NULL},
    {"n_group", "4", "8"},
    {"n_routed_experts", "16", "256"},
    {"n_shared_experts", "1", NULL},
    {"norm_topk_prob", "true", NULL},
    {"num_attention_heads", "4", "128"},
    {"num_experts_per_tok", "4", "8"},
    {"num_hidden_layers", "3", "61"},
    {"num_key_value_heads", "4", "128"},
    {"num_nextn_predict_layers", "0", "1"},
    {"q_lora_rank", "128", "1536"},
    {"qk_nope_head_dim", "32", "128"},
    {"qk_rope_head_dim", "16", "64"},
    {"rms_norm_eps", "1e-06", NULL},
    {"rope_scaling", "{\"type\":\"yarn\",\"factor\":40,\"original_max_position_embeddings\":4096,"
                     "\"beta_fast\":32,\"beta_slow\":1,\"mscale\":1.0,\"mscale_all_dim\":1.0}",
     NULL},
    {"rope_theta", "10000", NULL},
    {"routed_scaling_factor", "2.5", NULL},
    {"scoring_func", "\"sigmoid\"", NULL},
    {"tie_word_embeddings", "false", NULL},
    {"topk_group", "2", "4"},
    {"topk_method", "\"noaux_tc\"", NULL},
    {"torch_dtype", "\"bfloat16\"", NULL},
    {"v_head_dim", "32", "128"},
    {"vocab_size", "512", "129280"},
};

#define MTP "{m}layers.{n}."
#define VECTOR(module, in) {{ROLE_COUNT, MTP module, "weight", 1, DIM_ONE, in, WHEN_ALWAYS}, 1}
#define MATRIX(module, out, in, times) \
    {{ROLE_COUNT, MTP module, "weight", 2, out, in, WHEN_ALWAYS}, times}

static const synth_mtp_row deepseek_v3_mtp[] = {
    VECTOR("enorm", DIM_HIDDEN),
    VECTOR("hnorm", DIM_HIDDEN),
    MATRIX("eh_proj", DIM_HIDDEN, DIM_HIDDEN, 2),
    VECTOR("shared_head.norm", DIM_HIDDEN),
    MATRIX("embed_tokens", DIM_VOCAB, DIM_HIDDEN, 1),
    MATRIX("shared_head.head", DIM_VOCAB, DIM_HIDDEN, 1),
};

// ---- Qwen3-MoE -------------------------------------------------------------------------------

static const synth_key_row qwen3_moe_keys[] = {
    {"architectures", "[\"Qwen3MoeForCausalLM\"]", NULL},
    {"attention_bias", "false", NULL},
    {"bos_token_id", "0", "151643"},
    {"decoder_sparse_step", "1", NULL},
    {"eos_token_id", "1", "151645"},
    {"head_dim", "32", "128"},
    {"hidden_act", "\"silu\"", NULL},
    {"hidden_size", "128", "2048"},
    {"intermediate_size", "384", "6144"},
    {"max_position_embeddings", "40960", NULL},
    {"mlp_only_layers", "[]", NULL},
    {"model_type", "\"qwen3_moe\"", NULL},
    {"moe_intermediate_size", "128", "768"},
    {"norm_topk_prob", "true", NULL},
    {"num_attention_heads", "4", "32"},
    {"num_experts", "16", "128"},
    {"num_experts_per_tok", "4", "8"},
    {"num_hidden_layers", "3", "48"},
    {"num_key_value_heads", "2", "4"},
    {"rms_norm_eps", "1e-06", NULL},
    {"rope_scaling", "null", NULL},
    {"rope_theta", "1000000.0", NULL},
    {"sliding_window", "null", NULL},
    {"tie_word_embeddings", "false", NULL},
    {"torch_dtype", "\"bfloat16\"", NULL},
    {"use_sliding_window", "false", NULL},
    {"vocab_size", "512", "151936"},
};

// ---- gpt-oss ---------------------------------------------------------------------------------

static const synth_key_row gpt_oss_keys[] = {
    {"architectures", "[\"GptOssForCausalLM\"]", NULL},
    {"attention_bias", "true", NULL},
    {"bos_token_id", "0", "199998"},
    {"eos_token_id", "1", "200002"},
    {"head_dim", "32", "64"},
    {"hidden_act", "\"silu\"", NULL},
    {"hidden_size", "96", "2880"},
    {"intermediate_size", "96", "2880"},
    {"max_position_embeddings", "131072", NULL},
    {"model_type", "\"gpt_oss\"", NULL},
    {"num_attention_heads", "4", "64"},
    {"num_experts_per_tok", "4", NULL},
    {"num_hidden_layers", "3", "36"},
    {"num_key_value_heads", "2", "8"},
    {"num_local_experts", "8", "128"},
    {"rms_norm_eps", "1e-05", NULL},
    {"rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":32.0,\"beta_fast\":32.0,"
                     "\"beta_slow\":1.0,\"original_max_position_embeddings\":4096,"
                     "\"truncate\":false}", NULL},
    {"rope_theta", "150000", NULL},
    {"sliding_window", "128", NULL},
    {"swiglu_limit", "7.0", NULL},
    {"tie_word_embeddings", "false", NULL},
    {"torch_dtype", "\"bfloat16\"", NULL},
    {"vocab_size", "512", "201088"},
};

// ---- Llama 4 ---------------------------------------------------------------------------------

static const synth_key_row llama4_keys[] = {
    {"architectures", "[\"Llama4ForCausalLM\"]", NULL},
    {"attention_bias", "false", NULL},
    {"attention_chunk_size", "8192", NULL},
    {"bos_token_id", "0", "200000"},
    {"eos_token_id", "1", "200001"},
    {"head_dim", "32", "128"},
    {"hidden_act", "\"silu\"", NULL},
    {"hidden_size", "128", "5120"},
    {"interleave_moe_layer_step", "2", "1"},
    {"intermediate_size", "64", "8192"},
    {"intermediate_size_mlp", "256", "16384"},
    {"max_position_embeddings", "262144", NULL},
    {"model_type", "\"llama4_text\"", NULL},
    {"num_attention_heads", "4", "40"},
    {"num_experts_per_tok", "1", NULL},
    {"num_hidden_layers", "4", "48"},
    {"num_key_value_heads", "2", "8"},
    {"num_local_experts", "8", "16"},
    {"rms_norm_eps", "1e-05", NULL},
    {"rope_scaling", "{\"rope_type\":\"llama3\",\"factor\":16.0,\"low_freq_factor\":1.0,"
                     "\"high_freq_factor\":1.0,\"original_max_position_embeddings\":8192}",
     NULL},
    {"rope_theta", "500000.0", NULL},
    {"tie_word_embeddings", "false", NULL},
    {"torch_dtype", "\"bfloat16\"", NULL},
    {"use_qk_norm", "true", NULL},
    {"vocab_size", "512", "202048"},
};

// ---- Qwen3.5-MoE -----------------------------------------------------------------------------

static const synth_key_row qwen3_5_moe_keys[] = {
    {"architectures", "[\"Qwen3_5MoeForCausalLM\"]", NULL},
    {"attention_bias", "false", NULL},
    {"bos_token_id", "null", NULL},
    {"eos_token_id", "1", "248044"},
    {"full_attention_interval", "4", NULL},
    {"head_dim", "32", "256"},
    {"hidden_act", "\"silu\"", NULL},
    {"hidden_size", "128", "2048"},
    {"linear_conv_kernel_dim", "4", NULL},
    {"linear_key_head_dim", "16", "128"},
    {"linear_num_key_heads", "2", "16"},
    {"linear_num_value_heads", "4", "32"},
    {"linear_value_head_dim", "16", "128"},
    {"max_position_embeddings", "262144", NULL},
    {"model_type", "\"qwen3_5_moe_text\"", NULL},
    {"moe_intermediate_size", "64", "512"},
    {"num_attention_heads", "4", "16"},
    {"num_experts", "8", "256"},
    {"num_experts_per_tok", "4", "8"},
    {"num_hidden_layers", "4", "40"},
    {"num_key_value_heads", "2", NULL},
    {"rms_norm_eps", "1e-06", NULL},
    {"rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":10000000,"
                        "\"partial_rotary_factor\":0.25}", NULL},
    {"shared_expert_intermediate_size", "64", "512"},
    {"tie_word_embeddings", "false", NULL},
    {"torch_dtype", "\"bfloat16\"", NULL},
    {"vocab_size", "512", "248320"},
};

// ---- the table -------------------------------------------------------------------------------

#define LIST(name) name, COUNT_OF(name)

static const synth_family families[] = {
    {"deepseek_v3", "DeepSeek-V3", "num_hidden_layers", "n_routed_experts", "fp8-block",
     LIST(deepseek_v3_keys), LIST(deepseek_v3_mtp)},
    {"qwen3_moe", "Qwen3-30B-A3B", "num_hidden_layers", "num_experts", "bf16",
     LIST(qwen3_moe_keys), NULL, 0},
    {"gpt_oss", "gpt-oss-120b", "num_hidden_layers", "num_local_experts", "bf16",
     LIST(gpt_oss_keys), NULL, 0},
    {"llama4", "Llama-4-Scout-17B-16E", "num_hidden_layers", "num_local_experts", "bf16",
     LIST(llama4_keys), NULL, 0},
    {"qwen3_5_moe", "Qwen3.5-35B-A3B", "num_hidden_layers", "num_experts", "bf16",
     LIST(qwen3_5_moe_keys), NULL, 0},
};

const synth_family *synth_family_find(const char *name, err *e)
{
    const char *names[COUNT_OF(families)];
    strbuf all = {0};
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        if (strcmp(families[i].family, name) == 0) {
            strbuf_free(&all);
            return &families[i];
        }
        names[i] = families[i].family;
        strbuf_printf(&all, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = str_nearest(name, names, COUNT_OF(names));
    if (strbuf_ok(&all, e))
        err_set(e, ERR_USAGE, "there is no family '%s'; there are %s%s%s%s", name, all.text,
                near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    strbuf_free(&all);
    return NULL;
}

// ---- writing ---------------------------------------------------------------------------------

// Row of the key in front of the '='; -1 where there is none.
static int row_of(const synth_family *f, const char *assignment)
{
    size_t len = strcspn(assignment, "=");
    for (int i = 0; i < f->n_keys; i++)
        if (strlen(f->key[i].key) == len && strncmp(f->key[i].key, assignment, len) == 0)
            return i;
    return -1;
}

static bool unknown_key(const synth_family *f, const char *assignment, err *e)
{
    char key[STR_SHORT];
    const char *near = NULL;
    const char **names = mem_new((uint64_t)f->n_keys, sizeof *names, "keys", e);
    if (!names)
        return false;
    for (int i = 0; i < f->n_keys; i++)
        names[i] = f->key[i].key;
    str_short_n(assignment, strcspn(assignment, "="), key);
    near = str_nearest(key, names, (size_t)f->n_keys);
    free(names);
    return err_set(e, ERR_USAGE, "--set '%s': a config of family %s has no such key here%s%s%s",
                   key, f->family, near ? "; did you mean '" : "", near ? near : "",
                   near ? "'?" : "");
}

static bool check_settings(const synth_family *f, const synth_config_options *o, err *e)
{
    for (uint64_t i = 0; i < o->n_set; i++) {
        const char *value = strchr(o->set[i], '=');
        json *parsed = NULL;
        err why = ERR_INIT;
        if (!value)
            return err_set(e, ERR_USAGE, "--set wants KEY=VALUE, not '%s'", o->set[i]);
        if (row_of(f, o->set[i]) < 0)
            return unknown_key(f, o->set[i], e);
        if (!json_parse(&parsed, value + 1, strlen(value + 1), "the value", &why))
            return err_set(e, ERR_USAGE, "--set '%s': %s (a text is written \"in quotes\")",
                           o->set[i], why.text);
        json_free(parsed);
    }
    return true;
}

static const char *value_of(const synth_family *f, const synth_config_options *o, int row)
{
    const synth_key_row *k = &f->key[row];
    const char *value = o->published && k->published ? k->published : k->small;
    for (uint64_t i = 0; i < o->n_set; i++)
        if (row_of(f, o->set[i]) == row)
            value = strchr(o->set[i], '=') + 1;
    return value;
}

static void write_row(json_writer *w, const synth_family *f, const synth_config_options *o, int row)
{
    const char *key = f->key[row].key;
    if (o->layers && strcmp(key, f->layers_key) == 0)
        jw_int(w, key, o->layers);
    else if (o->experts && strcmp(key, f->experts_key) == 0)
        jw_int(w, key, o->experts);
    else
        jw_raw(w, key, value_of(f, o, row));
}

bool synth_config_write(const synth_family *f, const synth_config_options *o, strbuf *out, err *e)
{
    json_writer w = {.out = out, .indent = 2};
    if (!check_settings(f, o, e))
        return false;
    jw_object(&w, NULL);
    for (int i = 0; i < f->n_keys; i++)
        write_row(&w, f, o, i);
    if (o->fp8)
        jw_raw(&w, "quantization_config",
               "{\"activation_scheme\":\"dynamic\",\"fmt\":\"e4m3\",\"quant_method\":\"fp8\","
               "\"weight_block_size\":[128,128]}");
    jw_object(&w, "scruple_synth"); // says that these weights mean nothing
    jw_text(&w, "version", SCRUPLE_VERSION);
    jw_int(&w, "seed", (int64_t)o->seed);
    jw_object_end(&w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
    return strbuf_ok(out, e);
}
