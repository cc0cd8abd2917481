// SPDX-License-Identifier: Apache-2.0
// scruple digest: what a checkpoint holds, in 64 digits.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/model_arg.h"
#include "cli/table.h"
#include "formats/checkpoint.h"

typedef struct {
    const char *model;
    bool tensors;
} digest_options;

static const option options_table[] = {
    MODEL_ARG(digest_options, model),
    {OPTION_FLAG(digest_options, tensors), .name = "tensors",
     .help = "also a line for each tensor, by name: its XXH3-128 digest, type, shape and name"},
};

static const command_example examples[] = {
    {"Do two folders hold the same tensors?", "scruple digest model"},
    {"Which tensors differ?", "scruple digest --tensors model > a.txt"},
};

typedef struct {
    const tensor *t;
    const xxh128_digest *digest;
} entry;

static int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->t->name, ((const entry *)b)->t->name);
}

static void as_text(const checkpoint *c, const entry *list, const char *digest, strbuf *out)
{
    char hex[33], shape[TENSOR_SHAPE_TEXT];
    for (int64_t i = 0; list && i < checkpoint_count(c); i++) {
        strbuf_printf(out, "%s  %s  %s  ", hex_of(list[i].digest->b, 16, hex),
                      dtype_name(list[i].t->type), tensor_shape_text(list[i].t, shape));
        print_safe(out, list[i].t->name);
        strbuf_puts(out, "\n");
    }
    strbuf_printf(out, "%s  ", digest);
    print_safe(out, checkpoint_path(c));
    strbuf_puts(out, "\n");
}

static void as_json(const checkpoint *c, const entry *list, const char *digest, strbuf *out)
{
    char hex[33];
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "digest", digest);
    jw_int(&w, "tensors", checkpoint_count(c));
    if (list) {
        jw_object(&w, "xxh128");
        for (int64_t i = 0; i < checkpoint_count(c); i++)
            jw_text(&w, list[i].t->name, hex_of(list[i].digest->b, 16, hex));
        jw_object_end(&w);
    }
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static bool digest(const context *ctx, const checkpoint *c, bool tensors, err *e)
{
    int64_t n = checkpoint_count(c);
    entry *list = NULL;
    sha256_digest all;
    strbuf out = {0};
    char hex[65];
    bool ok = false;
    xxh128_digest *each = mem_new((uint64_t)n, sizeof *each, "digests", e);
    if (!each || !checkpoint_digests(c, ctx->events, each, &all, e))
        goto out;
    if (tensors) {
        list = mem_new((uint64_t)n, sizeof *list, "a list of tensors", e);
        if (!list)
            goto out;
        for (int64_t i = 0; i < n; i++)
            list[i] = (entry){checkpoint_at(c, i), &each[i]};
        qsort(list, (size_t)n, sizeof *list, by_name);
    }
    (ctx->json ? as_json : as_text)(c, list, hex_of(all.b, 32, hex), &out);
    ok = print_out(&out, e);
out:
    strbuf_free(&out);
    free(list);
    free(each);
    return ok;
}

static bool run(const context *ctx, const void *options, err *e)
{
    const digest_options *o = options;
    checkpoint *c;
    if (!checkpoint_open(&c, o->model, ctx->events, e))
        return false;
    bool ok = digest(ctx, c, o->tensors, e);
    checkpoint_close(c);
    return ok;
}

const command cmd_digest = {
    .name = "digest",
    .group = "look",
    .summary = "one digest of all tensors, whatever the files they lie in",
    .about = "SHA-256 over one line for each tensor (name, type, shape, XXH3-128 of its\n"
             "bytes), in the order of names. Equal digests mean equal tensors: neither the\n"
             "container, nor the number of files, nor the order in them has a part in it.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(digest_options),
    .flags = COMMAND_JSON,
    .run = run,
};
