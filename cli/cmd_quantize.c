// SPDX-License-Identifier: Apache-2.0
// scruple quantize: smaller numbers, measured choices.
#include "cli/made.h"
#include "convert/job.h"

typedef struct {
    const char *model, *output, *type, *fallback, *stats, *save_plan;
    int scope, search, layout;
    bool positive_scales;
    uint64_t page;
} quantize_options;

static const char *const layouts[] = {"experts", "plain", NULL};

static const option table[] = {
    {OPTION_ARG(quantize_options, model), .name = "input", .letter = 'i', .value = "MODEL",
     .required = true, .help = "folder, file or pack to read", .alias = {"model"}},
    {OPTION_TEXT(quantize_options, output), .name = "output", .letter = 'o', .value = "DIR",
     .required = true, .help = "folder to write",
     .alias = {"outfile", "out", "output-dir", "output-path"}},
    {OPTION_TEXT(quantize_options, type), .name = "type", .value = "TYPE", .required = true,
     .help = "int4-g32, int4-g64, int4-g128 (also W4A16), fp8-block, fp8-block-pow2, fp8-channel",
     .alias = {"outtype", "scheme"}},
    {OPTION_CHOICE(quantize_options, scope), .name = "scope", .value = "SCOPE",
     .choices = order_scopes, .preset = "experts",
     .help = "experts: the routed experts; all-linear: also attention, shared experts and dense "
             "layers (never router, norms, embeddings, head)"},
    {OPTION_TEXT(quantize_options, stats), .name = "stats", .value = "FILE",
     .help = "statistics of scruple calibrate; weights the search", .alias = {"imatrix"}},
    {OPTION_CHOICE(quantize_options, search), .name = "search", .value = "HOW",
     .choices = order_searches, .preset = "mse",
     .help = "how scales are found: least squared error, or the absolute maximum"},
    {OPTION_FLAG(quantize_options, positive_scales), .name = "positive-scales",
     .help = "int4: never a negative scale"},
    {OPTION_TEXT(quantize_options, fallback), .name = "fallback", .value = "TYPE",
     .help = "type for tensors whose columns the group does not divide (also bf16)"},
    {OPTION_CHOICE(quantize_options, layout), .name = "layout", .value = "LAYOUT",
     .choices = layouts, .preset = "experts",
     .help = "experts: an expert pack; plain: ordinary shards"},
    {OPTION_BYTES(quantize_options, page), .name = "page", .value = "SIZE", .preset = "16KiB",
     .min = 4096, .help = "alignment of the first record, a power of two up to 2MiB"},
    {OPTION_TEXT(quantize_options, save_plan), .name = "save-plan", .value = "FILE",
     .help = "also write the plan, for scruple run, status and merge; with --dry-run only that"},
};

static const command_example examples[] = {
    {"Calibrated int4, experts only",
     "scruple quantize nano -o nano-int4 --type int4-g32 --stats nano.stats"},
    {"FP8 in DeepSeek's own form, all linear layers",
     "scruple quantize V3-bf16 -o V3-fp8 --type fp8-block --scope all-linear"},
};

static bool choose(const quantize_options *o, order *what, err *e)
{
    plan_options *p = &what->plan;
    if (!codec_from_user(o->type, &p->codec, e) ||
        (o->fallback && !codec_from_user(o->fallback, &p->fallback, e)))
        return false;
    if (p->codec->form == CODEC_FLOAT)
        return err_set(e, ERR_USAGE, "--type %s is no quantized type; scruple convert --to bf16 "
                       "writes plain values", p->codec->name);
    what->quantize = true;
    p->scope = o->scope == 0 ? SCOPE_EXPERTS : SCOPE_ALL_LINEAR;
    p->layout = o->layout == 0 ? LAYOUT_EXPERTS : LAYOUT_PLAIN;
    p->page = o->page;
    what->encode.search = o->search == 0 ? SEARCH_MSE : SEARCH_ABSMAX;
    what->encode.positive_scales = o->positive_scales;
    return true;
}

static bool run(const context *c, const void *options, err *e)
{
    const quantize_options *o = options;
    order what = ORDER_DEFAULTS;
    job_paths paths = {.input = o->model, .output = o->output, .statistics = o->stats};
    job j;
    if (!choose(o, &what, e) || !job_from_order(&j, &what, &paths, e))
        return false;
    j.make.save_plan = o->save_plan;
    bool ok = made_and_told(c, &j.make, e);
    job_close(&j);
    return ok;
}

const command cmd_quantize = {
    .name = "quantize",
    .group = "make",
    .summary = "quantize the experts (or all linear layers) of a checkpoint",
    .about =
        "Writes a checkpoint whose weights in scope are FP8 or int4, with the\n"
        "quantization_config that transformers, vLLM and others read. All other tensors\n"
        "are moved byte for byte. int4 scales may be negative, which lets both ends of\n"
        "the code range be used and costs readers nothing; --positive-scales forbids it.\n"
        "\n"
        "With --stats the squared error is weighted by the energy of the inputs, blended\n"
        "with the layer's where an expert saw few tokens.\n"
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
