// SPDX-License-Identifier: Apache-2.0
// scruple check: is this a valid checkpoint, and is what it holds fit to be used?
#include "base/json.h"
#include "cli/command.h"
#include "cli/model_arg.h"
#include "cli/table.h"
#include "verify/content.h"

typedef struct {
    const char *model, *expect;
    bool full, sha256;
} check_options;

static const option options_table[] = {
    MODEL_ARG(check_options, model),
    {OPTION_FLAG(check_options, full), .name = "full",
     .help = "read the content too, once: NaN and infinity in every tensor, zero scales, orders "
             "and shapes of packed codes, the digests of an expert pack"},
    {OPTION_FLAG(check_options, sha256), .name = "sha256",
     .help = "--full, and the SHA-256 of the files is compared with SHA256SUMS in their folder, or "
             "with the names of their blobs in a Hub cache"},
    {OPTION_TEXT(check_options, expect), .name = "expect", .value = "FILE",
     .help = "--sha256 with this list, as sha256sum writes it; names are relative to MODEL"},
};

static const command_example examples[] = {
    {"Is a download complete?", "scruple check model"},
    {"And undamaged?", "scruple check --full model"},
    {"Is it what its maker published?", "scruple check --sha256 model"},
};

typedef struct {
    const checkpoint *c;
    bool full, sha256;
    content_extent extent;
    uint64_t bytes;    // of all tensors
    content_findings findings;
} result;

static void as_text(const result *r, strbuf *out)
{
    char human[24];
    for (uint64_t i = 0; i < r->findings.n; i++) {
        print_safe(out, r->findings.item[i].subject);
        strbuf_printf(out, ": %s\n", r->findings.item[i].what);
    }
    if (r->findings.more)
        strbuf_printf(out, "and %llu more\n", (unsigned long long)r->findings.more);
    if (r->findings.n)
        return;
    int files = checkpoint_n_files(r->c);
    long long tensors = checkpoint_count(r->c);
    strbuf_printf(out, "checked %d file%s, %lld tensor%s, %s: headers, ranges, names", files,
                  files == 1 ? "" : "s", tensors, tensors == 1 ? "" : "s",
                  str_human_bytes(r->bytes, human));
    if (r->extent.n_records)
        strbuf_printf(out, ", %s of %lld experts", r->full ? "digests" : "index",
                      (long long)r->extent.n_records);
    strbuf_puts(out, r->full ? ", values" : "");
    if (r->extent.n_unread)
        strbuf_printf(out, " of all but %lld tensor%s (no decoder for %s)",
                      (long long)r->extent.n_unread, r->extent.n_unread == 1 ? "" : "s",
                      dtype_name(r->extent.unread));
    if (r->extent.n_sums)
        strbuf_printf(out, ", SHA-256 of %lld file%s", (long long)r->extent.n_sums,
                      r->extent.n_sums == 1 ? "" : "s");
    else if (r->sha256)
        strbuf_puts(out, " (nothing says what their SHA-256 should be)");
    else if (r->full)
        strbuf_puts(out, " (not the files' SHA-256: --sha256)");
    else
        strbuf_puts(out, " (not the values: --full)");
    strbuf_puts(out, "\n");
}

static void as_json(const result *r, strbuf *out)
{
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_bool(&w, "ok", r->findings.n == 0);
    jw_text(&w, "level", r->full ? "full" : "structure");
    jw_int(&w, "files", checkpoint_n_files(r->c));
    jw_int(&w, "tensors", checkpoint_count(r->c));
    jw_int(&w, "bytes", (int64_t)r->bytes);
    jw_int(&w, "pack_records", r->extent.n_records);
    jw_int(&w, "sha256_compared", r->extent.n_sums);
    jw_int(&w, "tensors_not_decoded", r->extent.n_unread);
    jw_array(&w, "findings");
    for (uint64_t i = 0; i < r->findings.n; i++) {
        jw_object(&w, NULL);
        jw_text(&w, "subject", r->findings.item[i].subject);
        jw_text(&w, "what", r->findings.item[i].what);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_int(&w, "findings_not_named", (int64_t)r->findings.more);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static bool check(const context *ctx, const check_options *o, result *r, err *e)
{
    const content_options full = {.pool = ctx->pool, .memory = ctx->memory / 2,
                                  .events = ctx->events, .sha256 = r->sha256,
                                  .expect = o->expect};
    for (int64_t i = 0; i < checkpoint_count(r->c); i++) {
        tensor t;
        checkpoint_get(r->c, i, &t);
        r->bytes += t.bytes;
    }
    return content_companions(r->c, &r->findings, e) &&
           (r->full ? content_full(r->c, &full, &r->findings, &r->extent, e)
                    : content_pack(r->c, &r->findings, &r->extent.n_records, e));
}

static bool run(const context *ctx, const void *options, err *e)
{
    const check_options *o = options;
    checkpoint *c;
    strbuf out = {0};
    result r = {.sha256 = o->sha256 || o->expect};
    r.full = o->full || r.sha256;
    if (!(r.full ? checkpoint_open : checkpoint_list)(&c, o->model, ctx->events, e))
        return false;
    r.c = c;
    bool ok = check(ctx, o, &r, e);
    if (ok) {
        (ctx->json ? as_json : as_text)(&r, &out);
        ok = print_out(&out, e);
    }
    if (ok && r.findings.n)
        ok = err_set(e, ERR_NO, "'%s': %llu finding%s", o->model,
                     (unsigned long long)(r.findings.n + r.findings.more),
                     r.findings.n == 1 ? "" : "s");
    strbuf_free(&out);
    content_findings_free(&r.findings);
    checkpoint_close(c);
    return ok;
}

const command cmd_check = {
    .name = "check",
    .group = "look",
    .summary = "tell whether a checkpoint is valid and its content right",
    .about = "Structure, in seconds and without reading a tensor: headers, ranges, duplicate\n"
             "and missing names, the index in both directions, weights without their scales,\n"
             "the index of an expert pack. With --full also values and digests. A line for\n"
             "each finding; one line that says what was looked at where there are none. What\n"
             "only a comparison can show (a wrong value that is finite) is verify's to find.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(check_options),
    .flags = COMMAND_JSON | COMMAND_POOL,
    .no = "a valid checkpoint whose content is not right",
    .run = run,
};
