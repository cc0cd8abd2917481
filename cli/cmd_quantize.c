// SPDX-License-Identifier: Apache-2.0
// scruple quantize: smaller numbers, measured choices.
#include "cli/made.h"
#include "cli/rules.h"
#include "convert/job.h"

typedef struct {
    const char *model, *output, *stats, *save_plan;
    rules_options rules;
    int layout;
    uint64_t page, shard_bytes, gguf_alignment;
    int64_t shard_tensors;
    const char *expect;
    bool read_back;
} quantize_options;

static const char *const layouts[] = {"auto", "experts", "plain", "gguf", NULL};
static const plan_layout meant[] = {LAYOUT_EXPERTS, LAYOUT_EXPERTS, LAYOUT_PLAIN, LAYOUT_GGUF};

static const option table[] = {
    {OPTION_ARG(quantize_options, model), .name = "input", .letter = 'i', .value = "MODEL",
     .required = true, .help = "folder, file or pack to read", .alias = {"model"}},
    {OPTION_TEXT(quantize_options, output), .name = "output", .letter = 'o', .value = "DIR",
     .required = true, .help = "folder to write",
     .alias = {"outfile", "out", "output-dir", "output-path"}},
    RULES_ROWS(quantize_options),
    {OPTION_TEXT(quantize_options, stats), .name = "stats", .value = "FILE",
     .help = "statistics of scruple calibrate, or an imatrix of llama.cpp (GGUF or .dat); weights "
             "the search", .alias = {"imatrix"}},
    {OPTION_CHOICE(quantize_options, layout), .name = "layout", .value = "LAYOUT",
     .choices = layouts, .preset = "auto",
     .help = "experts: an expert pack; plain: ordinary shards; gguf: GGUF; auto: what the types "
             "go into, gguf, plain (mxfp4-blocks) or experts"},
    {OPTION_BYTES(quantize_options, page), .name = "page", .value = "SIZE", .min = 4096,
     .help = "of an expert pack: alignment of the first record, a power of two up to 2MiB; 16KiB "
             "where it is left away"},
    SHARD_ROWS(quantize_options),
    EXPECT_OPTION(quantize_options, expect),
    READ_BACK_OPTION(quantize_options, read_back),
    {OPTION_TEXT(quantize_options, save_plan), .name = "save-plan", .value = "FILE",
     .help = "also write the plan, for scruple run, status and merge; with --dry-run only that"},
};

static const command_example examples[] = {
    {"Calibrated int4, experts only",
     "scruple quantize nano -o nano-int4 --type int4-g32 --stats nano.stats"},
    {"FP8 in DeepSeek's own form, all linear layers",
     "scruple quantize V3-bf16 -o V3-fp8 --type fp8-block --scope all-linear"},
    {"gpt-oss in its own form",
     "scruple quantize gpt-oss-bf16 -o gpt-oss-mxfp4 --type mxfp4-blocks"},
    {"The experts as GPTQ has them",
     "scruple quantize V3-bf16 -o V3-gptq --type int4-gptq-g128"},
    {"Experts as int4, attention as FP8",
     "scruple quantize V3-bf16 -o V3-mix --type int4-g32 --tensor-type attention=fp8-channel"},
    {"A GGUF, down finer than the rest",
     "scruple quantize nano -o nano-q4k --type Q4_K --fallback Q8_0 --tensor-type "
     "experts.down=Q6_K"},
};

static bool quantize(const context *c, const quantize_options *o, order *what, err *e)
{
    job_paths paths = {.input = o->model, .output = o->output, .statistics = o->stats};
    job j;
    what->quantize = true;
    what->plan.layout = LAYOUT_EXPERTS;
    what->plan.shard_bytes = o->shard_bytes;
    what->plan.shard_tensors = o->shard_tensors;
    if (!rules_choose(&o->rules, &what->rules, &what->plan, e) ||
        !order_set_layout(&what->plan, &what->rules, o->layout ? &meant[o->layout] : NULL, e) ||
        !order_set_page(&what->plan, o->page, e) ||
        !order_set_alignment(&what->plan, o->gguf_alignment, e) ||
        !job_from_order(&j, what, &paths, e))
        return false;
    rules_warn(&o->rules, what, o->stats, c->events);
    j.make.save_plan = o->save_plan;
    j.make.expect = o->expect;
    j.make.read_back = o->read_back;
    bool ok = made_and_told(c, &j.make, e);
    job_close(&j);
    return ok;
}

static bool run(const context *c, const void *options, err *e)
{
    order what = ORDER_DEFAULTS;
    bool ok = quantize(c, options, &what, e);
    order_free(&what);
    return ok;
}

const command cmd_quantize = {
    .name = "quantize",
    .group = "make",
    .summary = "quantize the experts (or all linear layers) of a checkpoint",
    .about =
        "Writes a checkpoint whose weights in scope are FP8, int8, int4 or FP4, with the\n"
        "quantization_config that transformers, vLLM and others read, or ggml's blocks\n"
        "(Q4_K, IQ4_XS ...) in a GGUF with the source's tensor names, which llama.cpp\n"
        "does not load as it is. All other tensors are moved byte for byte.\n"
        "\n"
        "int4 scales may be negative, which lets both ends of the code range be used and\n"
        "costs readers nothing; --positive-scales forbids it.\n"
        "\n"
        "--type is for the weights of --scope. --tensor-type and --recipe give other\n"
        "types to some of them or to weights outside of it; the first rule that fits a\n"
        "weight decides, and scruple explain says which one that is. The output's\n"
        "scruple-recipe.json says what each weight became and works as --recipe again.\n"
        "\n"
        "With --stats the squared error is weighted by the energy of the inputs, blended\n"
        "with the layer's where an expert saw few tokens. An imatrix of llama.cpp is used\n"
        "as llama-quantize uses it (docs/statistics.md).\n"
        "\n"
        "The same input, options and statistics give the same bytes on every machine.\n"
        "What it cost is measured by scruple verify.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = table,
    .n_options = COUNT_OF(table),
    .options_size = sizeof(quantize_options),
    .flags = COMMAND_JSON | COMMAND_OUTPUT | COMMAND_POOL,
    .run = run,
};
