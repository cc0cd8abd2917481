// SPDX-License-Identifier: Apache-2.0
// scruple quantize: smaller numbers, measured choices.
#include <stdlib.h>

#include "base/json.h"
#include "cli/made.h"
#include "convert/calibrate.h"

typedef struct {
    const char *model, *output, *type, *fallback, *stats;
    int scope, search, layout;
    bool positive_scales;
    uint64_t page;
    const char *expect;
    bool read_back;
} quantize_options;

static const char *const scopes[] = {"experts", "all-linear", NULL};
static const char *const searches[] = {"mse", "absmax", NULL};
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
     .choices = scopes, .preset = "experts",
     .help = "experts: the routed experts; all-linear: also attention, shared experts and dense "
             "layers (never router, norms, embeddings, head)"},
    {OPTION_TEXT(quantize_options, stats), .name = "stats", .value = "FILE",
     .help = "statistics of scruple calibrate; weights the search", .alias = {"imatrix"}},
    {OPTION_CHOICE(quantize_options, search), .name = "search", .value = "HOW",
     .choices = searches, .preset = "mse",
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
    EXPECT_OPTION(quantize_options, expect),
    READ_BACK_OPTION(quantize_options, read_back),
};

static const command_example examples[] = {
    {"Calibrated int4, experts only",
     "scruple quantize nano -o nano-int4 --type int4-g32 --stats nano.stats"},
    {"FP8 in DeepSeek's own form, all linear layers",
     "scruple quantize V3-bf16 -o V3-fp8 --type fp8-block --scope all-linear"},
};

static bool weigh(void *ctx, const model *m, const plan_tensor *t, float *to, bool *has, err *e)
{
    importance_source *source = ctx;
    source->model = m;
    if (!importance_of(source, t->role, t->layer, t->expert, t->source->in, to, has, e))
        return false;
    if (!*has)
        return err_set(e, ERR_INPUT, "the statistics know nothing of %s of layer %lld; calibrate "
                       "this model, or leave --stats away", role_name(t->role),
                       (long long)t->layer);
    return true;
}

static void describe(const quantize_options *o, const plan_options *p, json_writer *w)
{
    jw_object(w, NULL);
    jw_text(w, "type", p->codec->name);
    jw_text(w, "scope", scopes[o->scope]);
    jw_text(w, "search", searches[o->search]);
    jw_bool(w, "positive_scales", o->positive_scales);
    jw_text(w, "fallback", p->fallback ? p->fallback->name : NULL);
    jw_text(w, "layout", layouts[o->layout]);
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

static bool choose(const quantize_options *o, make_options *m, err *e)
{
    if (!codec_from_user(o->type, &m->plan.codec, e) ||
        (o->fallback && !codec_from_user(o->fallback, &m->plan.fallback, e)))
        return false;
    if (m->plan.codec->form == CODEC_FLOAT)
        return err_set(e, ERR_USAGE, "--type %s is no quantized type; scruple convert --to bf16 "
                       "writes plain values", m->plan.codec->name);
    m->plan.scope = o->scope == 0 ? SCOPE_EXPERTS : SCOPE_ALL_LINEAR;
    m->plan.layout = o->layout == 0 ? LAYOUT_EXPERTS : LAYOUT_PLAIN;
    m->plan.page = o->page;
    m->encode.search = o->search == 0 ? SEARCH_MSE : SEARCH_ABSMAX;
    m->encode.positive_scales = o->positive_scales;
    return true;
}

static bool run(const context *c, const void *options, err *e)
{
    const quantize_options *o = options;
    make_options m = {.command = "quantize",
                      .input = o->model,
                      .output = o->output,
                      .plan = PLAN_DEFAULTS,
                      .expect = o->expect,
                      .read_back = o->read_back,
                      .needs_model = true,
                      .encode = ENCODE_DEFAULTS};
    strbuf facts = {0}, recipe = {0}, statistics = {0};
    stats_file f = {0};
    sha256_digest sha;
    char hex[65];
    importance_source source = {.file = &f};
    bool ok = choose(o, &m, e);
    if (ok) {
        json_writer jw = {.out = &facts};
        describe(o, &m.plan, &jw);
        strbuf_puts(&recipe, facts.text ? facts.text : "");
    }
    if (ok && o->stats) {
        ok = stats_file_read(&f, o->stats, &sha, e) &&
             describe_statistics(&f, &sha, &statistics, e);
        if (ok)
            strbuf_printf(&recipe, " statistics %s", hex_of(sha.b, sizeof sha.b, hex));
        m.importance = weigh;
        m.ctx = &source;
        m.statistics = statistics.text;
    }
    ok = ok && strbuf_ok(&facts, e) && strbuf_ok(&recipe, e);
    m.options_json = facts.text;
    m.plan.recipe = recipe.text;
    ok = ok && made_and_told(c, &m, e);
    stats_file_free(&f);
    strbuf_free(&facts);
    strbuf_free(&recipe);
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
