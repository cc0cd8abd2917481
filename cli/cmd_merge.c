// SPDX-License-Identifier: Apache-2.0
// scruple merge: the end of a plan that was run in parts.
#include "cli/made.h"
#include "convert/job.h"

typedef struct {
    const char *plan, *input, *output, *stats, *expect;
} merge_options;

static const option table[] = {
    {OPTION_ARG(merge_options, plan), .value = "PLAN", .required = true,
     .help = "file that --save-plan of convert or quantize wrote"},
    {OPTION_TEXT(merge_options, input), .name = "input", .letter = 'i', .value = "MODEL",
     .help = "the input, where it is not where the plan says", .alias = {"model"}},
    {OPTION_TEXT(merge_options, output), .name = "output", .letter = 'o', .value = "DIR",
     .help = "likewise the folder with the parts", .alias = {"outfile", "out", "output-dir"}},
    {OPTION_TEXT(merge_options, stats), .name = "stats", .value = "FILE",
     .help = "likewise the statistics", .alias = {"imatrix"}},
    EXPECT_OPTION(merge_options, expect),
};

static const command_example examples[] = {
    {"When every part is done", "scruple merge v3.plan"},
};

static bool run(const context *c, const void *options, err *e)
{
    const merge_options *o = options;
    job_paths instead = {o->input, o->output, o->stats};
    job j;
    if (!job_from_plan(&j, o->plan, &instead, e))
        return false;
    j.make.mode = OUTPUT_MERGE;
    j.make.expect = o->expect;
    bool ok = made_and_told(c, &j.make, e);
    job_close(&j);
    return ok;
}

const command cmd_merge = {
    .name = "merge",
    .group = "scale",
    .summary = "publish what the parts of a plan have made",
    .about =
        "Checks that every unit of the plan is there as its part noted it, writes the\n"
        "small files, the index, scruple.json, config.json and SHA256SUMS, and gives all\n"
        "files their names. Copies no tensor and reads none: it takes seconds, whatever\n"
        "the model's size. (Where SHA256SUMS, a Hub cache or --expect say what SHA-256\n"
        "the input's files must have, those are read once.) The folder is then byte for\n"
        "byte what one run would have made.\n"
        "\n"
        "Answers 4 and names what is missing where a unit is not there; 1 where a part\n"
        "would have lost something, and removes what the parts made. Repeated on a\n"
        "folder that is complete it says so and does nothing; interrupted, it goes on.\n"
        "With --dry-run it answers the same and changes nothing.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = table,
    .n_options = COUNT_OF(table),
    .options_size = sizeof(merge_options),
    .flags = COMMAND_JSON | COMMAND_OUTPUT | COMMAND_POOL,
    .no = "a value would change (see scruple convert)",
    .run = run,
};
