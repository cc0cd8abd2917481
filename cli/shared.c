// SPDX-License-Identifier: Apache-2.0
#include "cli/shared.h"

static const char *const cpu_choices[] = {"auto", "plain", "avx2", "avx512", "neon", NULL};

static const option common_table[] = {
    {OPTION_INT(common_options, threads), .name = "threads", .letter = 't', .value = "N",
     .preset = "0", .max = 1024,
     .help = "worker threads, 0 for all cores; results never depend on it"},
    {OPTION_BYTES(common_options, memory), .name = "memory", .value = "SIZE", .preset = "2GiB",
     .min = 1, .help = "ceiling for the memory in use; less where a control group allows less"},
    {OPTION_CHOICE(common_options, cpu), .name = "cpu", .value = "LEVEL", .preset = "auto",
     .choices = cpu_choices, .help = "instructions to use; results never depend on it"},
    {OPTION_INT(common_options, progress_fd), .name = "progress-fd", .value = "N", .min = 1,
     .max = 1 << 20,
     .help = "write progress, warnings, heartbeats and the result as JSON lines to this file "
             "descriptor"},
    {OPTION_SECONDS(common_options, max_duration), .name = "max-duration", .value = "TIME",
     .min = 1, .help = "stop cleanly with status 5 after 90s, 15m, 1h30m or 1:30:00"},
    {OPTION_FLAG(common_options, quiet), .name = "quiet", .letter = 'q',
     .help = "no progress, no warnings"},
    {OPTION_FLAG(common_options, verbose), .name = "verbose", .letter = 'v',
     .help = "say more about what is done"},
    {OPTION_FLAG(common_options, help), .name = "help", .letter = 'h', .alone = true,
     .help = "print this text"},
};

static const option output_table[] = {
    {OPTION_FLAG(output_options, force), .name = "force", .letter = 'f',
     .help = "replace an output that is there already", .alias = {"overwrite"}},
    {OPTION_FLAG(output_options, dry_run), .name = "dry-run",
     .help = "say what would be written, write nothing"},
};

static const option json_table[] = {
    {OPTION_FLAG(json_options, json), .name = "json",
     .help = "print facts as JSON, with a schema_version"},
};

size_t shared_sets(const command *c, void *own, shared_options *shared,
                   option_set sets[SHARED_SETS])
{
    size_t n = 0;
    if (c->n_options)
        sets[n++] = (option_set){"Options", c->table, c->n_options, own};
    if (c->flags & COMMAND_OUTPUT)
        sets[n++] = (option_set){"Output", output_table, COUNT_OF(output_table), &shared->output};
    if (c->flags & COMMAND_JSON)
        sets[n++] = (option_set){"Facts", json_table, COUNT_OF(json_table), &shared->json};
    sets[n++] = (option_set){"Common options", common_table, COUNT_OF(common_table),
                             &shared->common};
    return n;
}
