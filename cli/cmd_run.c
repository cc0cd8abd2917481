// SPDX-License-Identifier: Apache-2.0
// scruple run: what a plan file says, all of it or one part.
#include "cli/made.h"
#include "cli/part.h"
#include "convert/job.h"
#include "convert/units.h"

typedef struct {
    const char *plan, *part, *input, *output, *stats;
    const char *expect;
    int64_t parts;
    bool read_back;
} run_plan_options;

static const option table[] = {
    {OPTION_ARG(run_plan_options, plan), .value = "PLAN", .required = true,
     .help = "file that --save-plan of convert or quantize wrote"},
    {OPTION_TEXT(run_plan_options, part), .name = "part", .value = "i/N",
     .help = "only the i-th of N parts, from 1 on, left for scruple merge; auto: what the job "
             "array's scheduler says"},
    {OPTION_INT(run_plan_options, parts), .name = "parts", .value = "N", .min = 0,
     .max = UNITS_MOST_PARTS, .help = "with --part auto: how many parts there are"},
    {OPTION_TEXT(run_plan_options, input), .name = "input", .letter = 'i', .value = "MODEL",
     .help = "the input, where it is not where the plan says", .alias = {"model"}},
    {OPTION_TEXT(run_plan_options, output), .name = "output", .letter = 'o', .value = "DIR",
     .help = "likewise the folder to write", .alias = {"outfile", "out", "output-dir"}},
    {OPTION_TEXT(run_plan_options, stats), .name = "stats", .value = "FILE",
     .help = "likewise the statistics", .alias = {"imatrix"}},
    EXPECT_OPTION(run_plan_options, expect),
    READ_BACK_OPTION(run_plan_options, read_back),
};

static const command_example examples[] = {
    {"In a Slurm array of any size", "scruple run v3.plan --part auto"},
    {"The second of eight parts", "scruple run v3.plan --part 2/8"},
};

static bool run(const context *c, const void *options, err *e)
{
    const run_plan_options *o = options;
    job_paths instead = {o->input, o->output, o->stats};
    int64_t part = 0, parts = 0;
    job j;
    if (o->parts && !o->part)
        return err_set(e, ERR_USAGE, "--parts goes with --part auto");
    if (o->expect && o->part)
        return err_set(e, ERR_USAGE, "a part does not read its input's files whole; give --expect "
                       "to scruple merge");
    if ((o->part && !part_choose(o->part, o->parts, &part, &parts, e)) ||
        !job_from_plan(&j, o->plan, &instead, e))
        return false;
    j.make.expect = o->expect;
    j.make.read_back = o->read_back;
    if (o->part) {
        j.make.mode = OUTPUT_PART;
        j.make.part = part;
        j.make.parts = parts;
    }
    bool ok = made_and_told(c, &j.make, e);
    job_close(&j);
    return ok;
}

const command cmd_run = {
    .name = "run",
    .group = "scale",
    .summary = "carry out a saved plan, or one part of it",
    .about =
        "Without --part the same as the convert or quantize command that saved the plan.\n"
        "With --part only a contiguous, cost-balanced slice of the plan's units is made\n"
        "and left under hidden names, for scruple merge to publish. Parts need nothing\n"
        "but the shared folder: any number of tasks on any hosts may run at once, be\n"
        "killed, repeated or run twice, also with another N.\n"
        "\n"
        "What SHA-256 the input's files must have (--expect, SHA256SUMS, a Hub cache) is\n"
        "the question of scruple merge, since a part does not read whole files.\n"
        "\n"
        "The plan is made again from the input's headers; where it is not the one of the\n"
        "file, the answer is 4 and says what differs.\n"
        "\n"
        "--part auto reads the variables of Slurm, SGE, AWS Batch, PBS and Kubernetes;\n"
        "the last two do not say how many tasks there are: add --parts N. With --parts\n"
        "the id of a Slurm, SGE or PBS task is the part itself, so that some parts can\n"
        "be submitted again.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = table,
    .n_options = COUNT_OF(table),
    .options_size = sizeof(run_plan_options),
    .flags = COMMAND_JSON | COMMAND_OUTPUT | COMMAND_POOL,
    .no = "a value would change (see scruple convert)",
    .run = run,
};
