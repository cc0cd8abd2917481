// SPDX-License-Identifier: Apache-2.0
// scruple bench: how fast this machine encodes and decodes.
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/version.h"
#include "cli/command.h"
#include "cli/table.h"
#include "cli/types.h"
#include "quantize/speed.h"

typedef struct {
    const char *what;
    text_list types;
    double seconds;
} bench_options;

static const option options_table[] = {
    {OPTION_ARG(bench_options, what), .value = "WHAT", .required = true,
     .help = "what to measure: codecs"},
    {OPTION_LIST(bench_options, types), .name = "type", .value = "TYPE",
     .help = "only this type", .alias = {"codec"}},
    {OPTION_REAL(bench_options, seconds), .name = "seconds", .value = "S", .preset = "0.2",
     .low = 0.001, .high = 3600, .help = "how long one measurement lasts"},
};

static const command_example examples[] = {
    {"Every codec, one core and all", "scruple bench codecs"},
    {"What do vectors give?", "scruple bench codecs --type int4-g32 --cpu plain"},
};

// One core [0] and all threads [1], as in the table.
typedef struct {
    const codec *codec;
    codec_search search;
    bool searched;
    codec_speed speed[2];
} row;

typedef struct {
    double copy[2];
    int threads, n;
    row *row;
} results;

static const char *search_text(const row *r)
{
    return !r->searched ? "-" : r->search == SEARCH_BEST ? "best" : "compat";
}

static bool measure(const context *ctx, const codec *const *types, int64_t n, speed_bench *b,
                    results *out, err *e)
{
    pool *const pools[2] = {NULL, ctx->pool};
    for (int k = 0; k < 2; k++)
        if (!speed_of_copy(b, pools[k], &out->copy[k], e))
            return false;
    for (int64_t i = 0; i < n; i++) {
        const codec *c = types[i];
        bool searched = codec_is_searched(c);
        for (int search = searched ? SEARCH_COMPAT : SEARCH_BEST; search <= SEARCH_BEST; search++) {
            row *r = &out->row[out->n];
            *r = (row){.codec = c, .search = (codec_search)search, .searched = searched};
            for (int k = 0; k < 2; k++)
                if (!speed_of(b, c, r->search, pools[k], &r->speed[k], e))
                    return err_in(e, "%s", c->name);
            out->n++;
            event_progress(ctx->events, "codecs", (uint64_t)i + 1, (uint64_t)n);
        }
    }
    return true;
}

static void rate_cell(table *t, double rate)
{
    if (rate > 0)
        table_printf(t, "%.2f", rate / 1e9);
    else
        table_text(t, "-");
}

static void share_cell(table *t, double rate, double of)
{
    if (rate > 0)
        table_printf(t, "%.2f", rate / of);
    else
        table_text(t, "-");
}

static void as_text(const results *x, strbuf *out)
{
    static const char *const head[] = {"type", "search", "encode", "all", "of copy",
                                       "decode", "all", "of copy"};
    table t;
    strbuf_printf(out, "GB/s on one core and on %d threads at the level %s; encoding counts the\n"
                  "bytes of BF16 weights read, decoding those of binary32 values written, and\n"
                  "both are compared with memcpy on one core: %.2f (on all: %.2f)\n\n", x->threads,
                  cpu_name(cpu_used()), x->copy[0] / 1e9, x->copy[1] / 1e9);
    table_init(&t, "llrrrrrr");
    for (size_t i = 0; i < COUNT_OF(head); i++)
        table_text(&t, head[i]);
    for (int i = 0; i < x->n; i++) {
        const codec_speed *s = x->row[i].speed;
        table_text(&t, x->row[i].codec->name);
        table_text(&t, search_text(&x->row[i]));
        rate_cell(&t, s[0].encode);
        rate_cell(&t, s[1].encode);
        share_cell(&t, s[0].encode, x->copy[0]);
        rate_cell(&t, s[0].decode);
        rate_cell(&t, s[1].decode);
        share_cell(&t, s[0].decode, x->copy[0]);
    }
    table_end(&t, 0, out);
}

static void rates_json(json_writer *w, const char *name, double one, double all)
{
    jw_object(w, name);
    jw_double(w, "one_core", one);
    jw_double(w, "all_threads", all);
    jw_object_end(w);
}

static void as_json(const results *x, strbuf *out)
{
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "unit", "bytes a second");
    jw_text(&w, "cpu", cpu_name(cpu_used()));
    jw_int(&w, "threads", x->threads);
    rates_json(&w, "copy", x->copy[0], x->copy[1]);
    jw_array(&w, "codecs");
    for (int i = 0; i < x->n; i++) {
        const row *r = &x->row[i];
        jw_object(&w, NULL);
        jw_text(&w, "type", r->codec->name);
        if (r->searched)
            jw_text(&w, "search", search_text(r));
        if (r->speed[0].encode > 0)
            rates_json(&w, "encode", r->speed[0].encode, r->speed[1].encode);
        rates_json(&w, "decode", r->speed[0].decode, r->speed[1].decode);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static bool run(const context *ctx, const void *options, err *e)
{
    const bench_options *o = options;
    speed_bench *b = NULL;
    strbuf out = {0};
    if (strcmp(o->what, "codecs") != 0)
        return err_set(e, ERR_USAGE, "'%s' is nothing that is measured; what is: codecs", o->what);
    results x = {.threads = pool_threads(ctx->pool)};
    const codec **types = NULL;
    int64_t n = 0;
    bool ok = types_choose(&o->types, NULL, &types, &n, e);
    x.row = ok ? mem_new((uint64_t)n * 2, sizeof *x.row, "results", e) : NULL;
    ok = x.row && speed_open(&b, o->seconds, ctx->events, e) &&
         measure(ctx, types, n, b, &x, e);
    if (ok)
        (ctx->json ? as_json : as_text)(&x, &out);
    ok = ok && print_out(&out, e);
    strbuf_free(&out);
    speed_close(b);
    free(x.row);
    free(types);
    return ok;
}

const command cmd_bench = {
    .name = "bench",
    .group = "self",
    .summary = "how fast this machine encodes and decodes",
    .about = "bench codecs runs every codec over 16 MiB of made-up BF16 weights, on one core\n"
             "and on all threads, and says how many bytes a second that makes, beside the\n"
             "speed of memcpy. Medians of several runs, of processor time on one core and of\n"
             "time that passes on all threads, where a busy machine shows.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(bench_options),
    .flags = COMMAND_JSON | COMMAND_POOL,
    .run = run,
};
