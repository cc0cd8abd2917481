// SPDX-License-Identifier: Apache-2.0
// scruple ls: the tensors of a checkpoint.
#include "base/json.h"
#include "cli/command.h"
#include "cli/model_arg.h"
#include "cli/table.h"
#include "formats/checkpoint.h"

typedef struct {
    const char *model;
} ls_options;

static const option options_table[] = {MODEL_ARG(ls_options, model)};

static const command_example examples[] = {
    {"All tensors", "scruple ls model"},
    {"One shard", "scruple ls model/model-00001-of-00003.safetensors"},
    {"The bytes of all experts",
     "scruple ls model --json | jq '[.tensors[] | select(.name | test(\"experts\")).bytes] | add'"},
};

// There may be millions of lines: what is ready goes out.
static bool pass_on(strbuf *out, err *e)
{
    enum { ENOUGH = 1 << 16 };
    if (out->len < ENOUGH)
        return true;
    bool ok = print_out(out, e);
    strbuf_clear(out);
    return ok;
}

static void add_row(table *t, const checkpoint *c, int64_t i)
{
    char text[TENSOR_SHAPE_TEXT];
    tensor x;
    checkpoint_get(c, i, &x);
    table_text(t, x.name);
    table_text(t, dtype_name(x.type));
    table_text(t, tensor_shape_text(&x, text));
    table_text(t, str_decimal(x.bytes, text));
    table_text(t, checkpoint_file_name(c, x.file));
}

static bool as_text(const checkpoint *c, strbuf *out, err *e)
{
    table t;
    bool ok = true;
    table_init(&t, "lllrl");
    t.measuring = true;
    for (int64_t i = 0; i < checkpoint_count(c); i++)
        add_row(&t, c, i);
    t.measuring = false;
    for (int64_t i = 0; ok && i < checkpoint_count(c); i++) {
        add_row(&t, c, i);
        table_rows(&t, 0, out);
        ok = pass_on(out, e);
    }
    table_end(&t, 0, out);
    return ok;
}

static void tensor_json(const checkpoint *c, const tensor *x, json_writer *w)
{
    jw_object(w, NULL);
    jw_text(w, "name", x->name);
    jw_text(w, "dtype", dtype_name(x->type));
    jw_array(w, "shape");
    for (int d = 0; d < x->rank; d++)
        jw_int(w, NULL, x->shape[d]);
    jw_array_end(w);
    jw_int(w, "bytes", (int64_t)x->bytes);
    jw_text(w, "file", checkpoint_file_name(c, x->file));
    jw_int(w, "offset", (int64_t)x->offset);
    jw_object_end(w);
}

// A line a tensor, so that a difference of two listings is readable too.
static bool as_json(const checkpoint *c, strbuf *out, err *e)
{
    json_writer w = {.out = out, .indent = 2};
    strbuf line = {0};
    bool ok = true;
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_array(&w, "tensors");
    for (int64_t i = 0; ok && i < checkpoint_count(c); i++) {
        json_writer one = {.out = &line};
        tensor t;
        strbuf_clear(&line);
        checkpoint_get(c, i, &t);
        tensor_json(c, &t, &one);
        out->failed = out->failed || line.failed;
        if (!out->failed)
            jw_raw(&w, NULL, line.text);
        ok = pass_on(out, e);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
    strbuf_free(&line);
    return ok;
}

static bool run(const context *ctx, const void *options, err *e)
{
    const ls_options *o = options;
    checkpoint *c;
    strbuf out = {0};
    if (!checkpoint_list(&c, o->model, ctx->events, e))
        return false;
    bool ok = (ctx->json ? as_json : as_text)(c, &out, e) && print_out(&out, e);
    strbuf_free(&out);
    checkpoint_close(c);
    return ok;
}

const command cmd_ls = {
    .name = "ls",
    .group = "look",
    .summary = "list the tensors: name, type, shape, bytes, file",
    .about = "A line for each tensor, by file and then by its place in the file. Reads headers\n"
             "only; needs no config.json and knows no model family.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(ls_options),
    .flags = COMMAND_JSON,
    .run = run,
};
