// SPDX-License-Identifier: Apache-2.0
// scruple tokens: a text as token ids, by the model's own tokenizer.
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/gzip.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/model_arg.h"
#include "cli/output_path.h"
#include "cli/table.h"
#include "formats/npy.h"
#include "formats/tokenizer.h"

typedef struct {
    const char *model, *text, *output;
} tokens_options;

static const option options_table[] = {
    MODEL_ARG(tokens_options, model),
    {OPTION_TEXT(tokens_options, text), .name = "text", .value = "FILE", .required = true,
     .help = "UTF-8 text, gzip-compressed or not", .alias = {"file"}},
    {OPTION_TEXT(tokens_options, output), .name = "output", .letter = 'o', .value = "T.npy",
     .required = true, .help = "file to write: int32, shape [1][N]", .alias = {"outfile", "out"}},
};

static const command_example examples[] = {
    {"Ids for other commands", "scruple tokens model --text calib.txt.gz -o calib.npy"},
    {"How many would it be?", "scruple tokens model --text calib.txt -o calib.npy --dry-run"},
};

typedef struct {
    int32_t *ids;
    int64_t n, vocabulary;
    size_t text_bytes;
} tokens;

// The text, its ids and what lies between them take at most this much for a byte of text.
enum { MEMORY_PER_BYTE = 16 };

static bool read_text(const context *ctx, const char *path, char **text, size_t *len, err *e)
{
    in_file f = IN_FILE_CLOSED;
    if (!in_open(&f, path, e))
        return false;
    uint64_t size = f.size, least;
    in_close(&f);
    if (size > ctx->memory / MEMORY_PER_BYTE && size_mul(size, MEMORY_PER_BYTE, &least))
        return err_set(e, ERR_ENV, "'%s' has %llu bytes: that needs --memory %lluMiB", path,
                       (unsigned long long)size, (unsigned long long)(least >> 20) + 1);
    return gzip_read_text(path, ctx->memory / MEMORY_PER_BYTE, text, len, e) ||
           err_in(e, "with --memory %lluMiB", (unsigned long long)(ctx->memory >> 20));
}

static bool encode(const context *ctx, const tokens_options *o, tokens *t, err *e)
{
    output_path folder;
    path_kind kind;
    tokenizer *k = NULL;
    char *text = NULL;
    if (!output_path_split(&folder, o->model, e))
        return false;
    bool ok = path_find(o->model, &kind, e) &&
              tokenizer_open(&k, kind == PATH_FOLDER ? o->model : folder.dir, e) &&
              read_text(ctx, o->text, &text, &t->text_bytes, e);
    if (ok && !tokenizer_encode(k, text, t->text_bytes, &t->ids, &t->n, e))
        ok = err_in(e, "'%s'", o->text);
    if (ok && t->n == 0)
        ok = err_set(e, ERR_INPUT, "'%s' gives no token: it is empty", o->text);
    t->vocabulary = k ? tokenizer_vocab(k) : 0;
    tokenizer_close(k);
    free(text);
    output_path_free(&folder);
    return ok;
}

static bool print_facts(const context *ctx, const tokens_options *o, const tokens *t, err *e)
{
    strbuf out = {0};
    uint64_t bytes = (uint64_t)t->n * 4;
    if (ctx->json) {
        json_writer w = {.out = &out, .indent = 2};
        jw_object(&w, NULL);
        jw_int(&w, "schema_version", 1);
        jw_int(&w, "tokens", t->n);
        jw_int(&w, "text_bytes", (int64_t)t->text_bytes);
        jw_int(&w, "vocabulary", t->vocabulary);
        jw_text(&w, "output", ctx->dry_run ? NULL : o->output);
        jw_object_end(&w);
    } else {
        strbuf_printf(&out, "%lld tokens from %zu bytes of text (%.2f bytes a token), %llu bytes "
                      "of ids%s", (long long)t->n, t->text_bytes,
                      (double)t->text_bytes / (double)t->n, (unsigned long long)bytes,
                      ctx->dry_run ? ", nothing written" : "");
    }
    strbuf_puts(&out, "\n");
    bool ok = print_out(&out, e);
    strbuf_free(&out);
    return ok;
}

// A file of the model is never the output, and the ids of JSON lines as plain text would be ids of
// JSON: documents are cut apart by calibrate and verify, which read them themselves.
static bool check_words(const tokens_options *o, const output_path *to, err *e)
{
    if (str_ends(o->text, ".jsonl") || str_ends(o->text, ".jsonl.gz"))
        return err_set(e, ERR_USAGE, "'%s' holds documents, not one text; calibrate and verify "
                       "--text read such files", o->text);
    return output_path_outside(o->output, o->model, e) && output_path_is_not(to, o->text, e);
}

static bool run(const context *ctx, const void *options, err *e)
{
    const tokens_options *o = options;
    output_path to;
    tokens t = {0};
    if (!output_path_open(&to, o->output, ctx->force, e))
        return false;
    bool ok = check_words(o, &to, e) && encode(ctx, o, &t, e) &&
              (ctx->dry_run || npy_write(to.dir, to.name, NPY_I32, 2, (int64_t[]){1, t.n}, t.ids,
                                         ctx->force, e)) &&
              print_facts(ctx, o, &t, e);
    free(t.ids);
    output_path_free(&to);
    return ok;
}

const command cmd_tokens = {
    .name = "tokens",
    .group = "look",
    .summary = "write a text's token ids by the model's own tokenizer",
    .about = "The ids are those of the Hugging Face tokenizers package for the model's\n"
             "tokenizer.json, without special tokens added; added tokens that stand in the\n"
             "text are recognised. MODEL needs no weights here: a folder with tokenizer.json\n"
             "will do.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(tokens_options),
    .flags = COMMAND_JSON | COMMAND_OUTPUT,
    .run = run,
};
