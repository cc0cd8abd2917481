// SPDX-License-Identifier: Apache-2.0
// scruple quantize: smaller numbers, measured choices.
#include <stdlib.h>

#include "base/json.h"
#include "cli/made.h"
#include "cli/rules.h"
#include "convert/calibrate.h"
#include "convert/recipe_table.h"

typedef struct {
    const char *model, *output, *stats;
    rules_options rules;
    int layout;
    uint64_t page;
} quantize_options;

static const char *const layouts[] = {"experts", "plain", NULL};

static const option table[] = {
    {OPTION_ARG(quantize_options, model), .name = "input", .letter = 'i', .value = "MODEL",
     .required = true, .help = "folder, file or pack to read", .alias = {"model"}},
    {OPTION_TEXT(quantize_options, output), .name = "output", .letter = 'o', .value = "DIR",
     .required = true, .help = "folder to write",
     .alias = {"outfile", "out", "output-dir", "output-path"}},
    RULES_ROWS(quantize_options),
    {OPTION_TEXT(quantize_options, stats), .name = "stats", .value = "FILE",
     .help = "statistics of scruple calibrate; weights the search", .alias = {"imatrix"}},
    {OPTION_CHOICE(quantize_options, layout), .name = "layout", .value = "LAYOUT",
     .choices = layouts, .preset = "experts",
     .help = "experts: an expert pack; plain: ordinary shards"},
    {OPTION_BYTES(quantize_options, page), .name = "page", .value = "SIZE", .preset = "16KiB",
     .min = 4096, .help = "alignment of the first record, a power of two up to 2MiB"},
};

static const command_example examples[] = {
    {"Calibrated int4, experts only",
     "scruple quantize nano -o nano-int4 --type int4-g32 --stats nano.stats"},
    {"FP8 in DeepSeek's own form, all linear layers",
     "scruple quantize V3-bf16 -o V3-fp8 --type fp8-block --scope all-linear"},
    {"Experts as int4, the rest of the linear layers as FP8",
     "scruple quantize V3 -o V3-mix --type int4-g32 --tensor-type attention=fp8-channel "
     "--tensor-type shared=fp8-channel"},
};

static bool weigh(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has, err *e)
{
    importance_source *source = ctx;
    *has = false;
    if (!codec_is_searched(t->codec))
        return true; // importance decides none of its bytes
    source->model = m;
    if (!importance_of(source, t->role, t->layer, t->expert, t->source->in, to, has, e))
        return false;
    if (!*has)
        return err_set(e, ERR_INPUT, "the statistics know nothing of %s of layer %lld; calibrate "
                       "this model, or leave --stats away", role_name(t->role),
                       (long long)t->layer);
    return true;
}

// Types are not among them: scruple-recipe.json says what each weight became.
static void describe(const plan_options *p, json_writer *w)
{
    jw_object(w, NULL);
    jw_text(w, "recipe", RECIPE_TABLE_NAME);
    jw_text(w, "layout", layouts[p->layout == LAYOUT_EXPERTS ? 0 : 1]);
    if (p->layout == LAYOUT_EXPERTS)
        jw_int(w, "page", (int64_t)p->page);
    jw_object_end(w);
}

static bool describe_statistics(const stats_file *f, const sha256_digest *sha, strbuf *out, err *e)
{
    char hex[65];
    stats_coverage *rows = NULL;
    int64_t n = 0;
    if (!stats_file_coverage(f, &rows, &n, e))
        return false;
    json_writer w = {.out = out};
    jw_object(&w, NULL);
    jw_text(&w, "sha256", hex_of(sha->b, sizeof sha->b, hex));
    jw_raw(&w, "made_from", f->made_from);
    jw_array(&w, "coverage");
    for (int64_t i = 0; i < n; i++) {
        jw_object(&w, NULL);
        jw_int(&w, "layer", rows[i].layer);
        jw_int(&w, "min", rows[i].min);
        jw_int(&w, "median", rows[i].median);
        jw_int(&w, "never_hit", rows[i].never_hit);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    free(rows);
    return strbuf_ok(out, e);
}

static bool run(const context *c, const void *options, err *e)
{
    const quantize_options *o = options;
    make_options m = {.command = "quantize",
                      .input = o->model,
                      .output = o->output,
                      .plan = PLAN_DEFAULTS,
                      .needs_model = true};
    strbuf facts = {0}, rest = {0}, statistics = {0};
    stats_file f = {0};
    sha256_digest sha;
    char hex[65];
    importance_source source = {.file = &f};
    recipe rules = {0};
    m.plan.layout = o->layout == 0 ? LAYOUT_EXPERTS : LAYOUT_PLAIN;
    m.plan.page = o->page;
    bool ok = rules_choose(&o->rules, &rules, &m.plan, e);
    if (ok) {
        json_writer jw = {.out = &facts};
        describe(&m.plan, &jw);
        strbuf_puts(&rest, facts.text ? facts.text : "");
    }
    if (ok && o->stats) {
        ok = stats_file_read(&f, o->stats, &sha, e) &&
             describe_statistics(&f, &sha, &statistics, e);
        if (ok)
            strbuf_printf(&rest, " statistics %s", hex_of(sha.b, sizeof sha.b, hex));
        m.importance = weigh;
        m.ctx = &source;
        m.statistics = statistics.text;
    }
    ok = ok && strbuf_ok(&facts, e) && strbuf_ok(&rest, e);
    m.options_json = facts.text;
    m.plan.recipe = rest.text;
    ok = ok && made_and_told(c, &m, e);
    stats_file_free(&f);
    recipe_free(&rules);
    strbuf_free(&facts);
    strbuf_free(&rest);
    strbuf_free(&statistics);
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
        "--type is for the weights of --scope. --tensor-type and --recipe give other types\n"
        "to some of them or to weights outside of it; the first rule that fits a weight\n"
        "decides, and scruple explain says which one that is. scruple-recipe.json in the\n"
        "output says what each weight became and works as --recipe again.\n"
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
