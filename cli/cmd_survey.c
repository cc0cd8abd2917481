// SPDX-License-Identifier: Apache-2.0
// scruple survey: what each type would cost on the weights of a model.
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/model_arg.h"
#include "cli/table.h"
#include "cli/types.h"
#include "convert/order.h"
#include "convert/survey.h"

typedef struct {
    const char *model, *statistics;
    int scope;
    int64_t most;
    text_list types;
} survey_words;

static const option options_table[] = {
    MODEL_ARG(survey_words, model),
    {OPTION_TEXT(survey_words, statistics), .name = "stats", .value = "STATS",
     .help = "weigh errors by these statistics (or an imatrix of llama.cpp), as quantize would",
     .alias = {"imatrix"}},
    {OPTION_CHOICE(survey_words, scope), .name = "scope", .value = "SCOPE",
     .choices = order_scopes, .preset = "experts",
     .help = "which weights: experts, or all-linear"},
    {OPTION_INT(survey_words, most), .name = "weights", .value = "N", .preset = "48",
     .help = "at most so many, evenly spread over the model; 0: all"},
    {OPTION_LIST(survey_words, types), .name = "type", .value = "TYPE",
     .help = "only this type", .alias = {"codec"}},
};

static const command_example examples[] = {
    {"Which type is worth its bits?", "scruple survey V3-bf16 --stats v3.stats"},
    {"Two of them on every weight", "scruple survey nano --type int4-g32 --type Q4_K --weights 0"},
};

static bool is_written(const codec *c) { return c->encode != NULL; }

// ---- what is printed -------------------------------------------------------------------------

static double sqnr(const survey_row *r, codec_search search)
{
    return r->error[search] > 0 ? 10 * log10(r->power / r->error[search]) : INFINITY;
}

static void sqnr_cell(table *t, const survey_row *r, codec_search search)
{
    double db = sqnr(r, search);
    if ((search == SEARCH_COMPAT && !r->searched) || r->n_weights == 0)
        table_text(t, "-");
    else if (isinf(db))
        table_text(t, "exact");
    else
        table_printf(t, "%.2f", db);
}

static void ratio_cell(table *t, bool has, double ratio)
{
    if (has)
        table_printf(t, "%.3f", ratio);
    else
        table_text(t, "-");
}

static void as_text(const survey *s, const survey_words *o, strbuf *out)
{
    static const char *const head[] = {"type", "bits", "compat dB", "best dB", "best/compat",
                                       "worst", "worse", "left out"};
    table t;
    strbuf_printf(out, "%lld of %lld weights (%s), errors %s. Bits a weight with all companions;\n"
                  "signal over error (SQNR) of both searches; best's squared error over compat's\n"
                  "in all and in the weight where that is largest; weights that best leaves with\n"
                  "more error than compat; weights that a type's group does not divide.\n\n",
                  (long long)s->n_weights, (long long)s->n_in_scope, order_scopes[o->scope],
                  o->statistics ? "weighed by importance" : "not weighed");
    table_init(&t, "lrrrrrrr");
    for (size_t i = 0; i < COUNT_OF(head); i++)
        table_text(&t, head[i]);
    for (int64_t i = 0; i < s->n; i++) {
        const survey_row *r = &s->row[i];
        table_text(&t, r->codec->name);
        ratio_cell(&t, r->elements > 0, 8 * (double)r->bytes / (double)r->elements);
        sqnr_cell(&t, r, SEARCH_COMPAT);
        sqnr_cell(&t, r, SEARCH_BEST);
        ratio_cell(&t, r->worst, r->error[SEARCH_BEST] / r->error[SEARCH_COMPAT]);
        ratio_cell(&t, r->worst, r->worst_ratio);
        if (r->searched)
            table_printf(&t, "%lld", (long long)r->n_worse);
        else
            table_text(&t, "-");
        table_printf(&t, "%lld", (long long)r->n_skipped);
    }
    table_end(&t, 0, out);
}

static void row_json(const survey_row *r, json_writer *w)
{
    jw_object(w, NULL);
    jw_text(w, "type", r->codec->name);
    jw_int(w, "weights", r->n_weights);
    jw_int(w, "left_out", r->n_skipped);
    jw_int(w, "elements", (int64_t)r->elements);
    jw_int(w, "bytes", (int64_t)r->bytes);
    jw_double(w, "power", r->power);
    if (r->searched)
        jw_double(w, "error_compat", r->error[SEARCH_COMPAT]);
    jw_double(w, r->searched ? "error_best" : "error", r->error[SEARCH_BEST]);
    if (r->searched)
        jw_int(w, "worse", r->n_worse);
    if (r->worst) {
        jw_double(w, "worst_ratio", r->worst_ratio);
        jw_text(w, "worst", r->worst->module);
    }
    jw_object_end(w);
}

static void as_json(const survey *s, const survey_words *o, strbuf *out)
{
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "scope", order_scopes[o->scope]);
    jw_bool(&w, "weighed", o->statistics != NULL);
    jw_int(&w, "weights", s->n_weights);
    jw_int(&w, "weights_in_scope", s->n_in_scope);
    jw_array(&w, "types");
    for (int64_t i = 0; i < s->n; i++)
        row_json(&s->row[i], &w);
    jw_array_end(&w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

// ---- the command -----------------------------------------------------------------------------

static bool look(const context *ctx, const survey_words *o, model *m, weighing *weights, err *e)
{
    survey_options with = {.model = m,
                           .scope = o->scope == 0 ? SCOPE_EXPERTS : SCOPE_ALL_LINEAR,
                           .most = o->most, .pool = ctx->pool, .memory = ctx->memory,
                           .events = ctx->events};
    const codec **types = NULL;
    int64_t n = 0;
    survey s = {0};
    strbuf out = {0};
    weights->source.model = m;
    with.importance = o->statistics ? weights : NULL;
    bool ok = types_choose(&o->types, is_written, &types, &n, e) &&
              survey_weights(&s, types, n, &with, e);
    if (ok)
        (ctx->json ? as_json : as_text)(&s, o, &out);
    ok = ok && print_out(&out, e);
    strbuf_free(&out);
    survey_free(&s);
    free(types);
    return ok;
}

static bool run(const context *ctx, const void *options, err *e)
{
    const survey_words *o = options;
    checkpoint *c = NULL;
    model *m = NULL;
    weighing weights = {0};
    bool ok = (!o->statistics || weighing_open(&weights, o->statistics, e)) &&
              checkpoint_open(&c, o->model, ctx->events, e) &&
              model_open(&m, c, ctx->events, e) && look(ctx, o, m, &weights, e);
    model_close(m);
    checkpoint_close(c);
    weighing_close(&weights);
    return ok;
}

const command cmd_survey = {
    .name = "survey",
    .group = "look",
    .summary = "what each type would cost on a model's weights",
    .about = "Encodes weights of the model in every type that this version writes, by both\n"
             "searches, decodes them and compares: a line a type with its bits a weight and\n"
             "signal over error. Writes nothing. What a type does to the model's answers is\n"
             "for scruple verify to say; this is to choose what to try.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(survey_words),
    .flags = COMMAND_JSON | COMMAND_POOL,
    .run = run,
};
