// SPDX-License-Identifier: Apache-2.0
// scruple explain: which rule decides what becomes of each tensor.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/command.h"
#include "cli/model_arg.h"
#include "cli/rules.h"
#include "cli/table.h"
#include "convert/config_edit.h"
#include "convert/decide.h"
#include "convert/loaders.h"

typedef struct {
    const char *model;
    rules_options rules;
    bool summary;
} explain_options;

static const option options_table[] = {
    MODEL_ARG(explain_options, model),
    RULES_ROWS(explain_options),
    {OPTION_FLAG(explain_options, summary), .name = "summary",
     .help = "a line for each rule and type instead of one for each tensor"},
};

static const command_example examples[] = {
    {"What a recipe would do", "scruple explain V3-bf16 --recipe mix.json --summary"},
    {"What becomes of attention",
     "scruple explain V3-bf16 --tensor-type attention=fp8-channel | grep self_attn"},
};

// A weight, or a tensor without a role. Companions (scales ...) count to their weight.
typedef struct {
    const char *name, *suffix;      // of its first part; of a weight in a stack those that it would
                                    // have of its own
    const bound_weight *weight;     // NULL: no role
    const decision *decision;
    const char *stored, *becomes;   // types
    int64_t parameters;
    uint64_t before, after;         // bytes
} line;

typedef struct {
    const plan_options *options;
    line *line;
    int64_t n;
} explanation;

static line line_of_tensor(const tensor *t, const decision *d)
{
    const char *type = dtype_name(t->type);
    return (line){.name = t->name, .decision = d, .stored = type, .becomes = type,
                  .parameters = t->n_elements, .before = t->bytes, .after = t->bytes};
}

// The tensor of the plan that a part of a weight without a role is decoded into (a GGUF has no
// FP8); NULL: it travels as it is.
static const plan_tensor *decoded_into(const plan *p, const tensor *t, int *part)
{
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *to = &p->tensor[i];
        for (*part = 0; to->source && !to->owned && *part < to->source->n_parts; ++*part)
            if (to->source->part[*part] == t)
                return to;
    }
    return NULL;
}

static line line_of_decoded(const plan_tensor *to, const decision *d)
{
    const weight *w = to->source;
    return (line){.name = w->part[0]->name, .decision = d, .stored = w->codec->name,
                  .becomes = dtype_name(to->to.type), .parameters = weight_elements(w),
                  .before = weight_stored_bytes(w), .after = to->to.bytes};
}

static line line_of_weight(const bound_weight *b, const decision *d)
{
    const weight *w = b->weight;
    const codec *to = d->codec ? d->codec : w->codec;
    line x = {.name = w->view ? w->module : w->part[0]->name,
              .suffix = w->view ? w->suffix : NULL, .weight = b, .decision = d,
              .stored = w->codec->name, .becomes = to->name, .parameters = weight_elements(w),
              .before = weight_stored_bytes(w)};
    x.after = d->codec ? codec_bytes(to, w->out, w->in) : x.before;
    return x;
}

static void add_without_role(explanation *x, const plan *p, const tensor *t, const decision *d)
{
    int part;
    const plan_tensor *to = decoded_into(p, t, &part);
    if (!to)
        x->line[x->n++] = line_of_tensor(t, d);
    else if (part == 0)
        x->line[x->n++] = line_of_decoded(to, d);
}

static bool collect(explanation *x, const plan *p, const decision *decided, err *e)
{
    const checkpoint *c = p->source;
    const model *m = p->model;
    int64_t n = checkpoint_count(c);
    x->line = mem_new((uint64_t)(n + model_n_weights(m)), sizeof *x->line, "the explanation", e);
    for (int64_t i = 0; x->line && i < n; i++) {
        const tensor_account *a = model_account(m, i);
        if (!a->used)
            add_without_role(x, p, checkpoint_at(c, i), &decided[i]);
        for (int64_t k = a->first; a->used && a->part == 0 && k < a->first + a->n; k++)
            x->line[x->n++] = line_of_weight(model_weight_at(m, k), &decided[n + k]);
    }
    return x->line != NULL;
}

// What decided: a rule, --type, or for tensors without a role the family's own rule.
static const char *reason(const explanation *x, const line *l, char buf[RECIPE_RULE_TEXT])
{
    const plan_options *o = x->options;
    int64_t rule = l->decision->rule;
    if (rule >= 0 && rule < o->rules->n)
        return recipe_rule_text(&o->rules->rule[rule], buf);
    if (rule < 0)
        return "no rule";
    (void)snprintf(buf, RECIPE_RULE_TEXT, "--type %s --scope %s", o->codec->name,
                   order_scopes[o->scope == SCOPE_EXPERTS ? 0 : 1]);
    return buf;
}

// ---- a line a tensor -------------------------------------------------------------------------

static void tensors_as_text(const explanation *x, strbuf *out)
{
    table t;
    char buf[RECIPE_RULE_TEXT];
    table_init(&t, "lllrl");
    for (int64_t i = 0; i < x->n; i++) {
        const line *l = &x->line[i];
        table_printf(&t, "%s%s%s", l->name, l->suffix ? "." : "", l->suffix ? l->suffix : "");
        table_text(&t, l->stored);
        table_text(&t, l->becomes);
        table_printf(&t, "%llu", (unsigned long long)l->after);
        table_text(&t, reason(x, l, buf));
    }
    table_end(&t, 0, out);
}

static void line_json(const explanation *x, const line *l, json_writer *w)
{
    char buf[RECIPE_RULE_TEXT];
    strbuf name = {0};
    strbuf_printf(&name, "%s%s%s", l->name, l->suffix ? "." : "", l->suffix ? l->suffix : "");
    jw_object(w, NULL);
    jw_text(w, "tensor", name.text);
    w->out->failed = w->out->failed || name.failed;
    strbuf_free(&name);
    jw_text(w, "role", l->weight ? role_name(l->weight->role) : NULL);
    if (l->weight && l->weight->layer >= 0)
        jw_int(w, "layer", l->weight->layer);
    if (l->weight && l->weight->expert >= 0)
        jw_int(w, "expert", l->weight->expert);
    jw_text(w, "stored", l->stored);
    jw_text(w, "becomes", l->becomes);
    jw_int(w, "bytes_before", (int64_t)l->before);
    jw_int(w, "bytes_after", (int64_t)l->after);
    jw_text(w, "rule", reason(x, l, buf));
    jw_object_end(w);
}

static void tensors_as_json(const explanation *x, json_writer *w)
{
    strbuf text = {0};
    jw_array(w, "tensors");
    for (int64_t i = 0; i < x->n; i++) {
        json_writer one = {.out = &text};
        strbuf_clear(&text);
        line_json(x, &x->line[i], &one);
        w->out->failed = w->out->failed || text.failed;
        if (!w->out->failed)
            jw_raw(w, NULL, text.text);
    }
    jw_array_end(w);
    strbuf_free(&text);
}

// ---- a line a rule and type ------------------------------------------------------------------

// Rules in order, what no rule decided last; within a rule by types.
static int by_rule(const void *p, const void *q)
{
    const line *a = p, *b = q;
    uint64_t r = (uint64_t)a->decision->rule, s = (uint64_t)b->decision->rule;
    if (r != s)
        return r < s ? -1 : 1;
    int c = strcmp(a->stored, b->stored);
    return c != 0 ? c : strcmp(a->becomes, b->becomes);
}

typedef struct {
    const line *first;
    int64_t weights, parameters;
    uint64_t before, after;
} group;

// The group that begins at line *i; moves *i behind it. Lines are sorted.
static group next_group(const explanation *x, int64_t *i)
{
    group g = {.first = &x->line[*i]};
    for (; *i < x->n && by_rule(&x->line[*i], g.first) == 0; ++*i) {
        g.weights++;
        g.parameters += x->line[*i].parameters;
        g.before += x->line[*i].before;
        g.after += x->line[*i].after;
    }
    return g;
}

static void summary_as_text(const explanation *x, strbuf *out)
{
    table t;
    char buf[RECIPE_RULE_TEXT], bytes[24];
    uint64_t before = 0, after = 0;
    table_init(&t, "llrrrl");
    static const char *const head[] = {"stored", "becomes", "weights", "parameters", "bytes",
                                       "decided by"};
    for (size_t i = 0; i < COUNT_OF(head); i++)
        table_text(&t, head[i]);
    for (int64_t i = 0; i < x->n;) {
        group g = next_group(x, &i);
        table_text(&t, g.first->stored);
        table_text(&t, g.first->becomes);
        table_printf(&t, "%lld", (long long)g.weights);
        table_printf(&t, "%lld", (long long)g.parameters);
        table_text(&t, str_human_bytes(g.after, bytes));
        table_text(&t, reason(x, g.first, buf));
        before += g.before;
        after += g.after;
    }
    table_end(&t, 0, out);
    strbuf_printf(out, "%s of tensors become ", str_human_bytes(before, bytes));
    strbuf_printf(out, "%s\n", str_human_bytes(after, bytes));
}

static void summary_as_json(const explanation *x, json_writer *w)
{
    char buf[RECIPE_RULE_TEXT];
    jw_array(w, "decisions");
    for (int64_t i = 0; i < x->n;) {
        group g = next_group(x, &i);
        jw_object(w, NULL);
        jw_text(w, "rule", reason(x, g.first, buf));
        jw_text(w, "stored", g.first->stored);
        jw_text(w, "becomes", g.first->becomes);
        jw_int(w, "weights", g.weights);
        jw_int(w, "parameters", g.parameters);
        jw_int(w, "bytes_before", (int64_t)g.before);
        jw_int(w, "bytes_after", (int64_t)g.after);
        jw_object_end(w);
    }
    jw_array_end(w);
}

static bool tell(explanation *x, bool summary, bool as_json, err *e)
{
    strbuf out = {0};
    json_writer w = {.out = &out, .indent = 2};
    if (summary)
        qsort(x->line, (size_t)x->n, sizeof *x->line, by_rule);
    if (as_json) {
        jw_object(&w, NULL);
        jw_int(&w, "schema_version", 1);
        (summary ? summary_as_json : tensors_as_json)(x, &w);
        jw_object_end(&w);
        strbuf_puts(&out, "\n");
    } else {
        (summary ? summary_as_text : tensors_as_text)(x, &out);
    }
    bool ok = print_out(&out, e);
    strbuf_free(&out);
    return ok;
}

// ---- the command -----------------------------------------------------------------------------

// What quantize would refuse or warn of, it refuses or warns of here too.
static bool check_plan(const plan *p, const events *v, err *e)
{
    enum { LARGEST_CONFIG = 64 << 20 };
    strbuf edited = {0};
    char *config = NULL;
    size_t len = 0;
    bool ok = file_read_beneath(checkpoint_dir(p->source), "config.json", LARGEST_CONFIG, &config,
                                &len, e) &&
              config_edit(p, config, len, &edited, e);
    if (ok)
        loaders_warn(p, v);
    strbuf_free(&edited);
    free(config);
    return ok;
}

static bool explain(const context *ctx, const explain_options *o, const plan_options *with,
                    const checkpoint *c, err *e)
{
    model *m = NULL;
    decision *decided = NULL;
    explanation x = {.options = with};
    plan p = {0};
    bool ok = model_open(&m, c, ctx->events, e) && decide(with, c, m, &decided, e) &&
              plan_make(&p, c, m, with, e) && check_plan(&p, ctx->events, e) &&
              collect(&x, &p, decided, e) && tell(&x, o->summary, ctx->json, e);
    plan_free(&p);
    free(x.line);
    free(decided);
    model_close(m);
    return ok;
}

static bool run(const context *ctx, const void *options, err *e)
{
    const explain_options *o = options;
    plan_options with = PLAN_DEFAULTS;
    recipe rules = {0};
    checkpoint *c = NULL;
    with.rules = &rules;
    bool ok = rules_choose(&o->rules, &rules, &with, e) &&
              order_set_layout(&with, &rules, NULL, e) &&
              checkpoint_open(&c, o->model, ctx->events, e) && explain(ctx, o, &with, c, e);
    checkpoint_close(c);
    recipe_free(&rules);
    return ok;
}

const command cmd_explain = {
    .name = "explain",
    .group = "look",
    .summary = "which rule decides what becomes of each tensor",
    .about = "Applies --tensor-type, --recipe and --type as scruple quantize would, reads\n"
             "headers only and writes nothing: for each tensor its stored type, the type it\n"
             "would get, the bytes of that and the rule that decides. Scales and other\n"
             "companions count to their tensor. What quantize would refuse is refused here\n"
             "too, with the same words. Patterns and recipes: docs/recipes.md",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(explain_options),
    .flags = COMMAND_JSON,
    .run = run,
};
