// SPDX-License-Identifier: Apache-2.0
// scruple convert: another container or layout, without loss.
#include "cli/made.h"
#include "cli/rules.h"

#include "convert/job.h"

typedef struct {
    const char *model, *output, *to, *save_plan;
    uint64_t page, shard_bytes, gguf_alignment;
    int64_t shard_tensors;
    const char *expect;
    int scope;
    bool allow_lossy, read_back;
} convert_options;

static const option table[] = {
    {OPTION_ARG(convert_options, model), .name = "input", .letter = 'i', .value = "MODEL",
     .required = true, .help = "folder, file or pack to read", .alias = {"model"}},
    {OPTION_TEXT(convert_options, output), .name = "output", .letter = 'o', .value = "DIR",
     .required = true, .help = "folder to write",
     .alias = {"outfile", "out", "output-dir", "output-path"}},
    {OPTION_TEXT(convert_options, to), .name = "to", .value = "FORM", .required = true,
     .help = "experts (an expert pack), safetensors (plain shards), gguf (names and types as they "
             "are), bf16, f16, f32 (plain shards, every matrix decoded to that type), or a type of "
             "codes (mxfp4-packed, int4-g32; Q4_0 and ggml's others into a GGUF)"},
    {OPTION_CHOICE(convert_options, scope), .name = "scope", .value = "SCOPE",
     .choices = order_convert_scopes, .preset = "stored",
     .help = "with a type of codes: what becomes it: stored (all that is in codes already), "
             "experts or all-linear"},
    {OPTION_BYTES(convert_options, page), .name = "page", .value = "SIZE", .min = 4096,
     .help = "with --to experts: alignment of the first record, a power of two up to 2MiB; 16KiB "
             "where it is left away"},
    {OPTION_FLAG(convert_options, allow_lossy), .name = "allow-lossy",
     .help = "with --to bf16, f16 or a type of codes: accept values that it cannot hold, count and "
             "measure them"},
    SHARD_ROWS(convert_options),
    EXPECT_OPTION(convert_options, expect),
    READ_BACK_OPTION(convert_options, read_back),
    {OPTION_TEXT(convert_options, save_plan), .name = "save-plan", .value = "FILE",
     .help = "also write the plan, for scruple run, status and merge; with --dry-run only that"},
};

static const command_example examples[] = {
    {"Experts as page-aligned records", "scruple convert DeepSeek-V3 -o V3-pack --to experts"},
    {"Back to plain shards", "scruple convert V3-pack -o V3-plain --to safetensors"},
    {"A GGUF as plain shards", "scruple convert x.gguf -o x-f32 --to f32"},
    {"MXFP4 experts as NVFP4, if none of them changes",
     "scruple convert K3 -o K3-nvfp4 --to nvfp4-packed"},
};

static bool run(const context *c, const void *options, err *e)
{
    const convert_options *o = options;
    order what = ORDER_DEFAULTS;
    job_paths paths = {.input = o->model, .output = o->output};
    job j;
    what.plan.shard_bytes = o->shard_bytes;
    what.plan.shard_tensors = o->shard_tensors;
    what.allow_lossy = o->allow_lossy;
    if (!order_set_form(&what, o->to, e) ||
        !order_set_page(&what.plan, o->page, e) ||
        !order_set_alignment(&what.plan, o->gguf_alignment, e))
        return false;
    if (what.plan.exact) {
        order_set_scope(&what, o->scope);
        what.plan.lossy = o->allow_lossy;
    } else if (o->scope) {
        return err_set(e, ERR_USAGE, "--scope is for types of codes only, --to %s has none", o->to);
    }
    if (!job_from_order(&j, &what, &paths, e))
        return false;
    j.make.save_plan = o->save_plan;
    j.make.expect = o->expect;
    j.make.read_back = o->read_back;
    bool ok = made_and_told(c, &j.make, e);
    job_close(&j);
    return ok;
}

const command cmd_convert = {
    .name = "convert",
    .group = "make",
    .summary = "re-pack a checkpoint without loss, and prove it",
    .about =
        "Writes the checkpoint in another layout. Tensors are moved byte for byte: what\n"
        "goes to each place of the output is hashed there and compared with the source\n"
        "before the output gets its name; --read-back asks the disk as well. Input files\n"
        "must have the SHA-256 that SHA256SUMS beside them, their blobs' names in a Hub\n"
        "cache or --expect say, where one of them says something.\n"
        "Values are converted only by --to bf16, f16 and f32, which answer 1 and name the\n"
        "tensors where a value would change.\n"
        "\n"
        "--to a type of codes (as quantize --type; ggml's types make a GGUF) moves\n"
        "weights into it without quantizing them again: FP8 into another geometry, MXFP4\n"
        "into other containers, NVFP4 or FP8, integers into other forms of the same\n"
        "codes. Each block has to decode to the same numbers; if any does not, the\n"
        "answer is 1, with the number of blocks of each weight. --allow-lossy encodes\n"
        "such blocks and says what it cost.\n"
        "\n"
        "--to experts writes one safetensors shard a MoE layer, in which every expert is\n"
        "one contiguous, page-aligned record, and experts.idx beside the shards. Any\n"
        "safetensors reader still loads it.\n"
        "\n"
        "--to gguf changes the container and nothing else: tensors keep their names and\n"
        "types, key-values come from a GGUF source only. Of a GGUF, --to bf16, f16 and\n"
        "f32 decode every tensor of blocks and every matrix of floats.\n"
        "\n"
        "An interrupted run goes on when the same command is given again. A folder that\n"
        "holds something else is never touched.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = table,
    .n_options = COUNT_OF(table),
    .options_size = sizeof(convert_options),
    .flags = COMMAND_JSON | COMMAND_OUTPUT | COMMAND_POOL,
    .no = "a value would change (--to a type without --allow-lossy)",
    .run = run,
};
