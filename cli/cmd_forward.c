// SPDX-License-Identifier: Apache-2.0
// scruple forward: the reference forward pass of a token array into an npz file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/num.h"
#include "cli/command.h"
#include "cli/output_path.h"
#include "verify/forward.h"
#include "verify/forward_file.h"

typedef struct {
    const char *model, *tokens, *output;
    bool no_logits, activations;
} forward_words;

static const option table[] = {
    {OPTION_ARG(forward_words, model), .name = "input", .letter = 'i', .value = "MODEL",
     .required = true, .help = "folder, file or pack to run", .alias = {"model"}},
    {OPTION_TEXT(forward_words, tokens), .name = "tokens", .value = "FILE", .required = true,
     .help = "token ids, .npy int32 [windows][length]; each window stands for itself"},
    {OPTION_TEXT(forward_words, output), .name = "output", .letter = 'o', .value = "OUT.npz",
     .required = true, .help = "file to write", .alias = {"outfile", "out"}},
    {OPTION_FLAG(forward_words, no_logits), .name = "no-logits",
     .help = "leave the logits out (likelihoods are always there)"},
    {OPTION_FLAG(forward_words, activations), .name = "activations",
     .help = "add hidden states and routed experts of every layer"},
};

static const command_example examples[] = {
    {"Logits and likelihoods", "scruple forward nano --tokens T.npy -o out.npz"},
    {"Hidden states and routing without logits",
     "scruple forward nano --tokens T.npy -o out.npz --no-logits --activations"},
};

// The file's array as int32 [n][len]; int64 is numpy's habit, so it is taken where it fits.
static bool read_tokens(npy *t, const char *path, err *e)
{
    if (!npy_read(t, path, e))
        return false;
    if ((t->type != NPY_I32 && t->type != NPY_I64) || t->rank != 2) {
        npy_free(t);
        return err_set(e, ERR_INPUT, "'%s': token ids are an int32 array [windows][length]", path);
    }
    int32_t *narrow = t->data;
    for (int64_t i = 0; t->type == NPY_I64 && i < t->n; i++) {
        int64_t id;
        memcpy(&id, (const char *)t->data + 8 * i, sizeof id);
        narrow[i] = id < 0 ? -1 : (int32_t)i64_min(id, INT32_MAX);
    }
    t->type = NPY_I32;
    return true;
}

static void shape_text(const forward_member *m, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = 0;
    for (int i = 0; i < m->rank && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "[%lld]", (long long)m->shape[i]);
}

static void as_text(const forward_file *f, const forward_member *m, int n, const double *nll,
                    strbuf *out)
{
    char shape[96], bytes[24];
    strbuf_printf(out, "windows     %lld of %lld tokens\n", (long long)f->n, (long long)f->len);
    for (int i = 0; i < n; i++) {
        shape_text(&m[i], shape, sizeof shape);
        strbuf_printf(out, "%-11s %s %s, %s\n", m[i].name,
                      m[i].type == NPY_I32 ? "int32" : "float32", shape,
                      str_human_bytes(m[i].bytes, bytes));
    }
    if (nll)
        strbuf_printf(out, "mean nll    %.6f nats a token\nperplexity  %.4f\n", *nll,
                      num_exp(*nll));
}

static void as_json(const forward_file *f, const forward_member *m, int n, const double *nll,
                    strbuf *out)
{
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_int(&w, "windows", f->n);
    jw_int(&w, "window_tokens", f->len);
    jw_array(&w, "arrays");
    for (int i = 0; i < n; i++) {
        jw_object(&w, NULL);
        jw_text(&w, "name", m[i].name);
        jw_text(&w, "dtype", m[i].type == NPY_I32 ? "int32" : "float32");
        jw_array(&w, "shape");
        for (int d = 0; d < m[i].rank; d++)
            jw_int(&w, NULL, m[i].shape[d]);
        jw_array_end(&w);
        jw_int(&w, "bytes", (int64_t)m[i].bytes);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    if (nll) {
        jw_double(&w, "mean_nll", *nll);
        jw_double(&w, "perplexity", num_exp(*nll));
    }
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static bool write_and_tell(const context *c, const forward_file *f, err *e)
{
    forward_member member[FORWARD_FILE_MEMBERS];
    int n = 0;
    double nll = 0.0;
    strbuf text = {0};
    if (!forward_file_members(f, &n, member, e) ||
        (!c->dry_run && !forward_file_write(f, &nll, e)))
        return false;
    (c->json ? as_json : as_text)(f, member, n, c->dry_run || f->len < 2 ? NULL : &nll, &text);
    bool ok = strbuf_ok(&text, e);
    if (ok)
        (void)fputs(text.text, stdout);
    strbuf_free(&text);
    return ok;
}

static bool run(const context *c, const void *options, err *e)
{
    const forward_words *o = options;
    checkpoint *source = NULL;
    model *m = NULL;
    npy tokens = {0};
    output_path to;
    if (!output_path_open(&to, o->output, c->force, e))
        return false;
    bool ok = output_path_outside(o->output, o->model, e) &&
              output_path_is_not(&to, o->tokens, e) && read_tokens(&tokens, o->tokens, e) &&
              checkpoint_open(&source, o->model, c->events, e) &&
              model_open(&m, source, c->events, e) && forward_is_computed(m, e);
    if (ok) {
        forward_file f = {.m = m, .tokens = tokens.data, .n = tokens.shape[0],
                          .len = tokens.shape[1], .logits = !o->no_logits,
                          .activations = o->activations, .pool = c->pool, .memory = c->memory,
                          .events = c->events, .dir = to.dir, .name = to.name,
                          .replace = c->force};
        ok = write_and_tell(c, &f, e);
    }
    model_close(m);
    checkpoint_close(source);
    npy_free(&tokens);
    output_path_free(&to);
    return ok;
}

const command cmd_forward = {
    .name = "forward",
    .group = "prove",
    .summary = "run the reference forward pass and write what it computes",
    .about =
        "Runs the model over windows of tokens in binary32, by the numeric contract: the\n"
        "same bytes on any number of threads, with any ceiling for memory, on any CPU.\n"
        "Weights are read layer by layer and expert by expert; quantized ones are decoded\n"
        "as their format says.\n"
        "\n"
        "OUT.npz holds logits float32 [windows][length][vocabulary] and nll float32\n"
        "[windows][length - 1], the negative log likelihood in nats of each following\n"
        "token. --activations adds hidden float32 [layers + 1][windows][length][hidden]\n"
        "(entry 0 behind the embedding, entry n behind layer n - 1, the last behind the\n"
        "final norm) and router int32 [MoE layers][windows][length][k], ascending.\n"
        "\n"
        "One row of tokens, as 'scruple tokens' writes it, is one window of that length.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = table,
    .n_options = COUNT_OF(table),
    .options_size = sizeof(forward_words),
    .flags = COMMAND_JSON | COMMAND_OUTPUT | COMMAND_POOL,
    .run = run,
};
