// SPDX-License-Identifier: Apache-2.0
// scruple synth: checkpoints of seeded numbers, for CI and for measuring.
#include "base/json.h"
#include "cli/command.h"
#include "cli/table.h"
#include "convert/synth.h"

typedef struct {
    const char *family, *output, *type;
    int sizes;
    int64_t layers, experts, seed;
    uint64_t size, shard_bytes;
    text_list set;
    bool sparse;
} synth_command_options;

static const char *const sizes_choices[] = {"small", "published", NULL};

static const option options_table[] = {
    {OPTION_ARG(synth_command_options, family), .name = "family", .value = "FAMILY",
     .required = true, .help = "deepseek_v3, qwen3_moe, gpt_oss, llama4 or qwen3_5_moe"},
    {OPTION_TEXT(synth_command_options, output), .name = "output", .letter = 'o', .value = "DIR",
     .required = true, .help = "folder to write", .alias = {"out", "output-dir"}},
    {OPTION_CHOICE(synth_command_options, sizes), .name = "sizes", .value = "WHICH",
     .preset = "small", .choices = sizes_choices,
     .help = "start from small sizes of the architecture, or from those of the published model"},
    {OPTION_INT(synth_command_options, layers), .name = "layers", .value = "N", .max = 4096,
     .help = "layers, dense ones included; 0 as the sizes say"},
    {OPTION_INT(synth_command_options, experts), .name = "experts", .value = "N", .max = 65536,
     .help = "routed experts a layer; 0 as the sizes say"},
    {OPTION_BYTES(synth_command_options, size), .name = "size", .value = "SIZE",
     .help = "as many experts as make about so many bytes of tensors"},
    {OPTION_LIST(synth_command_options, set), .name = "set", .value = "KEY=VALUE",
     .help = "any other key of config.json, its value as JSON"},
    {OPTION_TEXT(synth_command_options, type), .name = "type", .value = "TYPE",
     .help = "of the linear layers: bf16 or fp8-block; by default as published"},
    {OPTION_INT(synth_command_options, seed), .name = "seed", .value = "N", .preset = "0",
     .max = INT64_MAX, .help = "another seed makes other numbers"},
    {OPTION_BYTES(synth_command_options, shard_bytes), .name = "shard-size", .value = "SIZE",
     .preset = "5000000000", .min = 1, .help = "a shard is cut before its tensors pass this"},
    {OPTION_FLAG(synth_command_options, sparse), .name = "sparse",
     .help = "holes instead of numbers: a terabyte for planning takes no space"},
};

static const command_example examples[] = {
    {"A model of a few megabytes for CI", "scruple synth deepseek_v3 -o tiny"},
    {"DeepSeek-V3's shapes in 6 GB",
     "scruple synth deepseek_v3 -o v3 --sizes published --layers 3 --size 6G "
     "--set first_k_dense_replace=1 --set num_nextn_predict_layers=0"},
    {"The whole of it as holes", "scruple synth deepseek_v3 -o v3 --sizes published --sparse"},
};

static bool print_facts(const context *ctx, const synth_command_options *o, const synth *s, err *e)
{
    strbuf out = {0};
    synth_facts f = synth_tell(s);
    char human[24];
    if (ctx->json) {
        json_writer w = {.out = &out, .indent = 2};
        jw_object(&w, NULL);
        jw_int(&w, "schema_version", 1);
        jw_text(&w, "output", ctx->dry_run ? NULL : o->output);
        jw_text(&w, "family", f.arch->family);
        jw_text(&w, "type", f.type);
        jw_int(&w, "layers", f.arch->n_layers);
        jw_int(&w, "experts", f.arch->n_experts);
        jw_int(&w, "seed", o->seed);
        jw_bool(&w, "sparse", o->sparse);
        jw_int(&w, "tensors", f.n_tensors);
        jw_int(&w, "files", f.n_files);
        jw_int(&w, "tensor_bytes", (int64_t)f.tensor_bytes);
        jw_int(&w, "file_bytes", (int64_t)f.file_bytes);
        jw_object_end(&w);
        strbuf_puts(&out, "\n");
    } else {
        strbuf_printf(&out, "%s: %s %s, %lld layers, %lld experts\n  %lld tensors, %s, in %lld %s"
                      "%s%s\n", o->output, f.arch->family, f.type, (long long)f.arch->n_layers,
                      (long long)f.arch->n_experts, (long long)f.n_tensors,
                      str_human_bytes(f.tensor_bytes, human), (long long)f.n_files,
                      f.n_files == 1 ? "file" : "files", o->sparse ? ", all holes" : "",
                      ctx->dry_run ? "; nothing written" : "");
    }
    bool ok = print_out(&out, e);
    strbuf_free(&out);
    return ok;
}

static bool run(const context *ctx, const void *options, err *e)
{
    const synth_command_options *o = options;
    synth_options with = SYNTH_DEFAULTS;
    synth *s = NULL;
    if (o->type && !codec_from_user(o->type, &with.type, e))
        return false;
    with.family = o->family;
    with.published = o->sizes == 1;
    with.layers = o->layers;
    with.experts = o->experts;
    with.size = o->size;
    with.set = o->set.item;
    with.n_set = o->set.n;
    with.seed = (uint64_t)o->seed;
    with.shard_bytes = o->shard_bytes;
    with.sparse = o->sparse;
    bool ok = synth_plan(&s, &with, e) &&
              (ctx->dry_run ||
               synth_write(s, o->output, ctx->force, ctx->pool, ctx->memory, ctx->events, e)) &&
              print_facts(ctx, o, s, e);
    synth_free(s);
    return ok;
}

const command cmd_synth = {
    .name = "synth",
    .group = "make",
    .summary = "write a checkpoint of seeded numbers, for CI and for measuring",
    .about =
        "Names and shapes are those of the family, so that every other command takes the\n"
        "result for a model of it; the numbers are random and mean nothing. Linear layers\n"
        "of type fp8-block look like quantized ones: normally distributed codes, every\n"
        "block of 128x128 with its largest magnitude at 448.\n"
        "\n"
        "The same options give the same bytes on every machine. No tokenizer is written:\n"
        "commands that want text take token ids (--tokens) instead.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(synth_command_options),
    .flags = COMMAND_JSON | COMMAND_OUTPUT | COMMAND_POOL,
    .run = run,
};
