// SPDX-License-Identifier: Apache-2.0
// scruple calibrate: statistics of the inputs of every matrix, expert by expert.
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/output_path.h"
#include "cli/table.h"
#include "convert/calibrate.h"
#include "formats/imatrix.h"
#include "verify/forward.h"

typedef struct {
    const char *model, *output, *text, *tokens;
    int64_t context, max_tokens;
    text_list merge;
    int to;
} calibrate_words;

enum { TO_STATS, TO_IMATRIX, TO_IMATRIX_DAT };
static const char *const forms[] = {[TO_STATS] = "stats", [TO_IMATRIX] = "imatrix",
                                    [TO_IMATRIX_DAT] = "imatrix-dat", NULL};

static const option options_table[] = {
    {OPTION_ARG(calibrate_words, model), .name = "input", .letter = 'i', .value = "MODEL",
     .help = "folder, file or pack to run (not with --merge); with --to imatrix, and no text or "
             "tokens, statistics", .alias = {"model"}},
    {OPTION_TEXT(calibrate_words, output), .name = "output", .letter = 'o', .value = "STATS",
     .required = true, .help = "statistics file to write", .alias = {"outfile", "out"}},
    {OPTION_TEXT(calibrate_words, text), .name = "text", .value = "FILE",
     .help = "text, plain or gzip; *.jsonl: one document a line, its \"text\"",
     .alias = {"calib", "file", "dataset"}},
    {OPTION_TEXT(calibrate_words, tokens), .name = "tokens", .value = "FILE",
     .help = "token ids, .npy int32 or int64, [n][len] or one row"},
    {OPTION_INT(calibrate_words, context), .name = "context", .letter = 'c', .value = "N",
     .preset = "512", .min = 2, .max = 1048576, .help = "tokens a window",
     .alias = {"ctx-size", "calib-seqlen", "seqlen"}},
    {OPTION_INT(calibrate_words, max_tokens), .name = "max-tokens", .value = "N", .preset = "0",
     .help = "stop after that many, 0 for all"},
    {OPTION_WORDS(calibrate_words, merge), .name = "merge", .value = "STATS",
     .help = "add these statistics files, in this order, instead of running a model"},
    {OPTION_CHOICE(calibrate_words, to), .name = "to", .value = "FORM", .choices = forms,
     .preset = "stats",
     .help = "imatrix: what llama-quantize --imatrix reads, as GGUF; imatrix-dat: its older form; "
             "neither can be merged again"},
};

static const command_example examples[] = {
    {"From text", "scruple calibrate nano --text calib.txt.gz -o nano.stats"},
    {"Two runs together", "scruple calibrate --merge a.stats b.stats -o both.stats"},
    {"For llama-quantize", "scruple calibrate a.stats --to imatrix -o a-imatrix.gguf"},
};

static bool check_words(const calibrate_words *o, err *e)
{
    if (o->merge.n > 0) {
        if (o->model || o->text || o->tokens)
            return err_set(e, ERR_USAGE, "--merge takes statistics files alone: no MODEL, --text "
                           "or --tokens beside it");
        if (o->merge.n < 2 && o->to == TO_STATS)
            return err_set(e, ERR_USAGE, "--merge needs at least two statistics files");
        return true;
    }
    if (!o->model)
        return err_set(e, ERR_USAGE, "MODEL is missing");
    if ((o->text != NULL) == (o->tokens != NULL))
        return err_set(e, ERR_USAGE, "give either --text FILE or --tokens FILE");
    return true;
}

static bool check_inputs(const calibrate_words *o, const output_path *to, err *e)
{
    const char *tokens = o->text ? o->text : o->tokens;
    if (tokens && !output_path_is_not(to, tokens, e))
        return false;
    for (uint64_t i = 0; i < o->merge.n; i++)
        if (!output_path_is_not(to, o->merge.item[i], e))
            return false;
    return true;
}

static bool merge_files(const calibrate_words *o, stats_file *f, err *e)
{
    if (!stats_file_read(f, o->merge.item[0], NULL, e))
        return false;
    for (uint64_t i = 1; i < o->merge.n; i++) {
        stats_file more;
        if (!stats_file_read(&more, o->merge.item[i], NULL, e))
            return false;
        bool ok = stats_file_merge(f, &more, e) || err_in(e, "'%s'", o->merge.item[i]);
        stats_file_free(&more);
        if (!ok)
            return false;
    }
    return true;
}

static bool tell_plan(const context *c, const calibrate_words *o, const calibrate_options *with,
                      err *e)
{
    strbuf text = {0};
    uint64_t bytes;
    char human[24];
    const windows *w = with->windows;
    if (!calibrate_check(with, &bytes, e))
        return false;
    json_writer j = {.out = &text, .indent = 2};
    if (c->json) {
        jw_object(&j, NULL);
        jw_int(&j, "schema_version", 1);
        jw_bool(&j, "dry_run", true);
        jw_int(&j, "windows", w->n);
        jw_int(&j, "context", w->len);
        jw_int(&j, "dropped_tokens", w->dropped);
        jw_int(&j, "statistics_bytes", (int64_t)bytes);
        jw_object_end(&j);
        strbuf_puts(&text, "\n");
    } else {
        strbuf_printf(&text, "%s: planned, nothing written\n  %lld windows of %lld tokens, %lld "
                      "tokens dropped\n  %s of statistics\n", o->output, (long long)w->n,
                      (long long)w->len, (long long)w->dropped, str_human_bytes(bytes, human));
    }
    bool ok = print_out(&text, e);
    strbuf_free(&text);
    return ok;
}

static bool run_model(const context *c, const calibrate_words *o, stats_file *f, err *e)
{
    checkpoint *source = NULL;
    model *m = NULL;
    windows w = {0};
    bool ok = output_path_outside(o->output, o->model, e) &&
              checkpoint_open(&source, o->model, c->events, e) &&
              model_open(&m, source, c->events, e) && forward_is_computed(m, e);
    if (ok) {
        windows_options with = {.text = o->text,
                                .tokens = o->tokens,
                                .model_dir = checkpoint_dir(source),
                                .context = o->context,
                                .max_tokens = o->max_tokens};
        ok = windows_read(&w, &with, e);
    }
    if (ok) {
        event_note(c->events, "%lld windows of %lld tokens; %lld tokens at the end dropped",
                   (long long)w.n, (long long)w.len, (long long)w.dropped);
        calibrate_options with = {m, &w, c->pool, c->memory, c->events};
        ok = c->dry_run ? tell_plan(c, o, &with, e) : calibrate(f, &with, e);
    }
    windows_free(&w);
    model_close(m);
    checkpoint_close(source);
    return ok;
}

static void tell_text(const stats_coverage *row, int64_t n, strbuf *out)
{
    strbuf_puts(out, "tokens an expert\n");
    strbuf_printf(out, "%6s %8s %8s %8s %8s %10s\n", "layer", "experts", "min", "median", "max",
                  "never hit");
    for (int64_t i = 0; i < n; i++)
        strbuf_printf(out, "%6lld %8lld %8lld %8lld %8lld %10lld\n", (long long)row[i].layer,
                      (long long)row[i].n_experts, (long long)row[i].min,
                      (long long)row[i].median, (long long)row[i].max,
                      (long long)row[i].never_hit);
}

static void tell_json(const stats_coverage *row, int64_t n, const stats_file *f, strbuf *out)
{
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_raw(&w, "made_from", f->made_from ? f->made_from : "[]");
    jw_array(&w, "coverage");
    for (int64_t i = 0; i < n; i++) {
        jw_object(&w, NULL);
        jw_int(&w, "layer", row[i].layer);
        jw_int(&w, "experts", row[i].n_experts);
        jw_int(&w, "min", row[i].min);
        jw_int(&w, "median", row[i].median);
        jw_int(&w, "max", row[i].max);
        jw_int(&w, "never_hit", row[i].never_hit);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static bool tell(const context *c, const stats_file *f, err *e)
{
    stats_coverage *row = NULL;
    int64_t n = 0;
    strbuf text = {0};
    if (!stats_file_coverage(f, &row, &n, e))
        return false;
    if (c->json)
        tell_json(row, n, f, &text);
    else
        tell_text(row, n, &text);
    free(row);
    bool ok = print_out(&text, e);
    strbuf_free(&text);
    return ok;
}

static bool write_file(const context *c, const calibrate_words *o, const stats_file *f, err *e)
{
    if (o->to == TO_STATS)
        return stats_file_write(f, o->output, c->force, e);
    return imatrix_write(f, o->output, o->to == TO_IMATRIX ? IMATRIX_GGUF : IMATRIX_DAT, c->force,
                         e);
}

// Statistics that only get another form need no model, and so no --merge to say it.
static bool take_statistics(calibrate_words *o, const char **alone, err *e)
{
    bool is = false;
    bool may = o->to != TO_STATS && o->model && !o->text && !o->tokens && o->merge.n == 0;
    if (may && !stats_file_looks(o->model, &is, e))
        return false;
    if (is) {
        *alone = o->model;
        o->merge = (text_list){.item = alone, .n = 1};
        o->model = NULL;
    }
    return true;
}

static bool run(const context *c, const void *options, err *e)
{
    calibrate_words words = *(const calibrate_words *)options, *o = &words;
    const char *alone;
    stats_file f = {0};
    output_path to;
    if (!take_statistics(o, &alone, e) || !check_words(o, e) ||
        !output_path_open(&to, o->output, c->force, e))
        return false;
    bool ok = check_inputs(o, &to, e);
    output_path_free(&to);
    ok = ok && (o->merge.n ? merge_files(o, &f, e) : run_model(c, o, &f, e));
    if (ok && !c->dry_run)
        ok = write_file(c, o, &f, e) && tell(c, &f, e);
    else if (ok && o->merge.n)
        ok = tell(c, &f, e);
    stats_file_free(&f);
    return ok;
}

const command cmd_calibrate = {
    .name = "calibrate",
    .group = "make",
    .summary = "collect statistics of every expert's inputs from text or tokens",
    .about =
        "Runs the reference forward pass and adds up, for every matrix and expert, the\n"
        "energy of each input column weighted by the squared routing weight, and counts.\n"
        "Sums are binary64 in the order of the tokens: the same bytes on any number of\n"
        "threads, and files of several runs add up with --merge.\n"
        "\n"
        "Prints how many tokens each layer's experts saw. Experts that saw few or none\n"
        "are no failure: quantize blends their statistics with the layer's.\n"
        "\n"
        "--to imatrix writes them for llama.cpp: means of x^2 and counts, under its names\n"
        "for the weights.",
    .usage = "MODEL --text FILE|--tokens FILE -o STATS\n--merge STATS STATS... -o STATS\n"
             "STATS --to imatrix|imatrix-dat -o FILE\n"
             "--merge STATS... --to imatrix|imatrix-dat -o FILE",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(calibrate_words),
    .flags = COMMAND_JSON | COMMAND_OUTPUT | COMMAND_POOL,
    .run = run,
};
