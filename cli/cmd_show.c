// SPDX-License-Identifier: Apache-2.0
// scruple show: what kind of model this is, and where its bytes lie.
#include <string.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/model_arg.h"
#include "cli/show_gguf.h"
#include "cli/table.h"
#include "formats/model.h"

typedef struct {
    const char *model;
} show_options;

static const option options_table[] = {MODEL_ARG(show_options, model)};

static const command_example examples[] = {
    {"Family, sizes, formats", "scruple show model"},
    {"Bits a weight of the experts", "scruple show model --json | jq .bits.experts"},
};

enum { MAX_ROWS = 96 }; // classes times formats, and rules

// Weights of one class in one format, or tensors that a rule leaves without a role.
typedef struct {
    const char *group, *format; // "experts", "bf16"; "copied", "mtp-layer"
    int order;                  // by class, rules last
    int64_t weights, parameters;
    uint64_t bytes;
} size_row;

typedef struct {
    const model *m;
    const arch *a;
    size_row row[MAX_ROWS];
    int n_rows;
    int64_t dense_layers;
    uint64_t tensor_bytes, file_bytes;
} facts;

static bool add_to_row(facts *f, const size_row *one, err *e)
{
    int at = 0;
    while (at < f->n_rows && (f->row[at].order < one->order ||
                              (f->row[at].order == one->order &&
                               strcmp(f->row[at].format, one->format) < 0)))
        at++;
    size_row *row = &f->row[at];
    if (at == f->n_rows || row->order != one->order || strcmp(row->format, one->format) != 0) {
        if (f->n_rows == MAX_ROWS)
            return err_set(e, ERR_INTERNAL, "more than %d kinds of weights", MAX_ROWS);
        memmove(row + 1, row, (size_t)(f->n_rows - at) * sizeof *row);
        f->n_rows++;
        *row = *one;
        return true;
    }
    row->weights += one->weights;
    row->parameters += one->parameters;
    row->bytes += one->bytes;
    return true;
}

// A weight counts once, with its first part; its companions add bytes only.
static bool add_tensor(facts *f, int64_t i, err *e)
{
    const tensor *t = checkpoint_at(model_checkpoint(f->m), i);
    const tensor_account *a = model_account(f->m, i);
    size_row one = {.group = "copied", .format = a->rule, .order = CLASS_COUNT, .weights = 1,
                    .parameters = t->n_elements, .bytes = t->bytes};
    f->tensor_bytes += t->bytes;
    if (a->used) {
        role_class class = role_class_of(a->role);
        int64_t n = a->part == 0 ? a->n : 0; // of a stack all are alike
        one = (size_row){role_class_name(class), a->weight->codec->name, (int)class, n,
                         n * weight_elements(a->weight), t->bytes};
    }
    return add_to_row(f, &one, e);
}

static bool collect(facts *f, err *e)
{
    const checkpoint *c = model_checkpoint(f->m);
    f->a = model_arch(f->m);
    for (int64_t i = 0; i < checkpoint_count(c); i++)
        if (!add_tensor(f, i, e))
            return false;
    for (int64_t layer = 0; layer < f->a->n_layers; layer++)
        f->dense_layers += model_ffn(f->m, layer) == FFN_DENSE;
    for (int i = 0; i < checkpoint_n_files(c); i++)
        f->file_bytes += checkpoint_file(c, i)->size;
    return true;
}

static double bits(uint64_t bytes, int64_t parameters)
{
    return parameters ? (double)bytes * 8 / (double)parameters : 0;
}

// Of the routed experts' tensors, whatever their format.
static double expert_bits(const facts *f)
{
    uint64_t bytes = 0;
    for (int i = 0; i < f->n_rows; i++)
        if (f->row[i].order == CLASS_EXPERTS)
            bytes += f->row[i].bytes;
    return bits(bytes, model_parameters(f->m, true));
}

static double all_bits(const facts *f)
{
    return bits(f->file_bytes, model_parameters(f->m, false));
}

static void add_attention(const arch *a, strbuf *out)
{
    if (a->mixer == MIXER_MLA) {
        strbuf_printf(out, "attention   latent (MLA): %lld heads, key %lld + %lld, value %lld, "
                      "key-value rank %lld", (long long)a->n_heads, (long long)a->qk_nope,
                      (long long)a->qk_rope, (long long)a->v_dim, (long long)a->kv_lora);
        if (a->q_lora)
            strbuf_printf(out, ", query rank %lld", (long long)a->q_lora);
    } else {
        strbuf_printf(out, "attention   grouped (GQA): %lld heads over %lld, head size %lld%s%s",
                      (long long)a->n_heads, (long long)a->n_kv_heads, (long long)a->head_dim,
                      a->qk_norm ? ", norms on query and key" : "",
                      a->attention_bias ? ", biases" : "");
    }
    strbuf_printf(out, "\npositions   RoPE, theta %g", a->rope_theta);
    if (a->scaling == ROPE_YARN)
        strbuf_printf(out, ", YaRN factor %g over %g", a->yarn_factor, a->yarn_original);
    strbuf_puts(out, "\n");
}

static void add_experts(const arch *a, strbuf *out)
{
    strbuf_printf(out, "experts     %lld a layer, %lld a token, width %lld",
                  (long long)a->n_experts, (long long)a->top_k, (long long)a->moe_inter);
    if (a->n_group > 1)
        strbuf_printf(out, "; %lld of %lld groups a token", (long long)a->topk_group,
                      (long long)a->n_group);
    strbuf_printf(out, "\nrouter      %s%s%s", a->score == SCORE_SIGMOID ? "sigmoid" : "softmax",
                  a->select_bias ? ", correction bias" : "",
                  a->renorm ? ", weights sum to 1" : "");
    if (a->route_scale != 1)
        strbuf_printf(out, ", times %g", a->route_scale);
    if (a->shared_inter)
        strbuf_printf(out, "\nshared      width %lld", (long long)a->shared_inter);
    strbuf_puts(out, "\n");
}

static void add_sizes(const facts *f, strbuf *out)
{
    table t;
    char human[24];
    table_init(&t, "llrrrr");
    table_text(&t, "class");
    table_text(&t, "format");
    table_text(&t, "weights");
    table_text(&t, "parameters");
    table_text(&t, "bytes");
    table_text(&t, "bits a weight");
    for (int i = 0; i < f->n_rows; i++) {
        const size_row *r = &f->row[i];
        table_text(&t, r->group);
        table_text(&t, r->format);
        table_printf(&t, "%lld", (long long)r->weights);
        table_printf(&t, "%lld", (long long)r->parameters);
        table_text(&t, str_human_bytes(r->bytes, human));
        table_printf(&t, "%.3f", bits(r->bytes, r->parameters));
    }
    strbuf_puts(out, "\n");
    table_end(&t, 0, out);
    strbuf_printf(out, "\nfiles       %d, %s\n", checkpoint_n_files(model_checkpoint(f->m)),
                  str_human_bytes(f->file_bytes, human));
    strbuf_printf(out, "parameters  %lld, of which %lld in routed experts\n",
                  (long long)model_parameters(f->m, false),
                  (long long)model_parameters(f->m, true));
    strbuf_printf(out, "bits        %.3f a weight of the routed experts, %.3f of all (whole "
                  "files)\n", expert_bits(f), all_bits(f));
}

static void as_text(const facts *f, strbuf *out)
{
    const arch *a = f->a;
    strbuf_printf(out, "family      %s\n", a->family);
    strbuf_printf(out, "layers      %lld: %lld dense, %lld with experts", (long long)a->n_layers,
                  (long long)f->dense_layers, (long long)(a->n_layers - f->dense_layers));
    if (a->n_extra_layers)
        strbuf_printf(out, "; %lld more for multi-token prediction", (long long)a->n_extra_layers);
    strbuf_printf(out, "\nhidden      %lld\nvocabulary  %lld%s\n", (long long)a->hidden,
                  (long long)a->vocab, a->tied_head ? ", head tied to the embedding" : "");
    add_attention(a, out);
    if (a->n_experts)
        add_experts(a, out);
    if (f->dense_layers)
        strbuf_printf(out, "dense       width %lld\n", (long long)a->dense_inter);
    add_sizes(f, out);
}

static void arch_json(const facts *f, json_writer *w)
{
    const arch *a = f->a;
    jw_text(w, "family", a->family);
    jw_int(w, "layers", a->n_layers);
    jw_int(w, "dense_layers", f->dense_layers);
    jw_int(w, "extra_layers", a->n_extra_layers);
    jw_int(w, "hidden", a->hidden);
    jw_int(w, "vocabulary", a->vocab);
    jw_bool(w, "tied_head", a->tied_head);
    jw_text(w, "attention", a->mixer == MIXER_MLA ? "mla" : "gqa");
    jw_int(w, "heads", a->n_heads);
    jw_int(w, "experts", a->n_experts);
    jw_int(w, "experts_per_token", a->top_k);
    jw_int(w, "expert_width", a->moe_inter);
    jw_int(w, "shared_width", a->shared_inter);
    jw_int(w, "dense_width", a->dense_inter);
    jw_text(w, "router", a->score == SCORE_SIGMOID ? "sigmoid" : "softmax");
}

static void as_json(const facts *f, strbuf *out)
{
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    arch_json(f, &w);
    jw_int(&w, "files", checkpoint_n_files(model_checkpoint(f->m)));
    jw_int(&w, "file_bytes", (int64_t)f->file_bytes);
    jw_int(&w, "tensor_bytes", (int64_t)f->tensor_bytes);
    jw_object(&w, "parameters");
    jw_int(&w, "all", model_parameters(f->m, false));
    jw_int(&w, "experts", model_parameters(f->m, true));
    jw_object_end(&w);
    jw_object(&w, "bits");
    jw_double(&w, "all", all_bits(f));
    jw_double(&w, "experts", expert_bits(f));
    jw_object_end(&w);
    jw_array(&w, "sizes");
    for (int i = 0; i < f->n_rows; i++) {
        const size_row *r = &f->row[i];
        jw_object(&w, NULL);
        jw_text(&w, "class", r->group);
        jw_text(&w, r->order == CLASS_COUNT ? "rule" : "format", r->format);
        jw_int(&w, "weights", r->weights);
        jw_int(&w, "parameters", r->parameters);
        jw_int(&w, "bytes", (int64_t)r->bytes);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static bool show(const context *ctx, const checkpoint *c, err *e)
{
    model *m;
    bool foreign;
    if (!model_is_foreign(c, &foreign, e))
        return false;
    if (foreign)
        return show_gguf(ctx, c, e);
    strbuf out = {0};
    if (!model_open(&m, c, ctx->events, e))
        return false;
    facts f = {.m = m};
    bool ok = collect(&f, e);
    if (ok) {
        (ctx->json ? as_json : as_text)(&f, &out);
        ok = print_out(&out, e);
    }
    strbuf_free(&out);
    model_close(m);
    return ok;
}

static bool run(const context *ctx, const void *options, err *e)
{
    const show_options *o = options;
    checkpoint *c;
    if (!checkpoint_open(&c, o->model, ctx->events, e))
        return false;
    bool ok = show(ctx, c, e);
    checkpoint_close(c);
    return ok;
}

const command cmd_show = {
    .name = "show",
    .group = "look",
    .summary = "print family, layers, experts, formats, parameters, bytes",
    .about = "What kind of model this is and where its bytes lie. Needs config.json and a\n"
             "family that scruple knows; every tensor must have its place in it. Parameters\n"
             "are weights of the model, scales not counted; bits a weight count scales and,\n"
             "for the whole model, file headers too. Of a GGUF it says what its key-values\n"
             "tell, and which types its tensors have.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(show_options),
    .flags = COMMAND_JSON,
    .run = run,
};
