// SPDX-License-Identifier: Apache-2.0
// scruple verify: a comparison with numbers, a verdict and an exit status.
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/out.h"
#include "cli/command.h"
#include "cli/table.h"
#include "formats/source_sums.h"
#include "verify/forward.h"
#include "verify/report.h"
#include "verify/structure.h"

typedef struct {
    const char *ref, *cand, *output, *text, *tokens, *gate;
    int level;
    int64_t context, max_tokens, seed;
} verify_words;

// Each level includes those in front of it.
enum { LEVEL_AUTO, LEVEL_STRUCTURE, LEVEL_WEIGHTS, LEVEL_LAYERS, LEVEL_LOGITS };
static const char *const levels[] = {"auto", "structure", "weights", "layers", "logits", NULL};

static const option options_table[] = {
    {OPTION_ARG(verify_words, ref), .value = "REF", .required = true,
     .help = "the reference: folder, file or pack"},
    {OPTION_ARG(verify_words, cand), .value = "CAND", .required = true,
     .help = "the candidate: folder, file or pack of the same family and size"},
    {OPTION_CHOICE(verify_words, level), .name = "level", .value = "LEVEL", .choices = levels,
     .preset = "auto",
     .help = "how deep: structure (nothing missing), weights (every value), layers (hidden states "
             "and routers), logits; each includes the ones before. auto: logits where there are "
             "tokens, else weights"},
    {OPTION_TEXT(verify_words, text), .name = "text", .value = "FILE",
     .help = "held-out text, plain or gzip; *.jsonl: one document a line, its \"text\"",
     .alias = {"file"}},
    {OPTION_TEXT(verify_words, tokens), .name = "tokens", .value = "FILE",
     .help = "token ids, .npy int32 or int64, [n][len] or one row"},
    {OPTION_INT(verify_words, context), .name = "context", .letter = 'c', .value = "N",
     .preset = "512", .min = 2, .max = 1048576, .help = "tokens a window",
     .alias = {"ctx-size", "seqlen"}},
    {OPTION_INT(verify_words, max_tokens), .name = "max-tokens", .value = "N", .preset = "0",
     .help = "stop after that many, 0 for all"},
    {OPTION_TEXT(verify_words, gate), .name = "gate", .value = "FILE",
     .help = "thresholds (JSON); without it those built in for the candidate's type"},
    {OPTION_INT(verify_words, seed), .name = "seed", .value = "N", .preset = "1",
     .max = 9007199254740991, .help = "of the bootstrap intervals"},
    {OPTION_TEXT(verify_words, output), .name = "output", .letter = 'o', .value = "DIR",
     .help = "folder for report.json and report.md", .alias = {"output-dir", "out"}},
};

static const command_example examples[] = {
    {"Weights alone", "scruple verify DeepSeek-V3 V3-fp8"},
    {"With held-out text and a report",
     "scruple verify nano nano-int4 --text heldout.txt -o report"},
};

typedef struct {
    const context *c;
    const verify_words *o;
    checkpoint *ref_file, *cand_file;
    model *ref, *cand;
    windows windows;
    gate gate;
    findings findings;
    parity parity;
    logit_parity logits;
    bool has_parity, has_logits;
} verification;

static int level_of(const verify_words *o)
{
    if (o->level != LEVEL_AUTO)
        return o->level;
    return o->text || o->tokens ? LEVEL_LOGITS : LEVEL_WEIGHTS;
}

static bool wants_tokens(const verify_words *o) { return level_of(o) >= LEVEL_LAYERS; }

static bool check_words(const verify_words *o, err *e)
{
    if (o->text && o->tokens)
        return err_set(e, ERR_USAGE, "give either --text FILE or --tokens FILE, not both");
    if (wants_tokens(o) && !o->text && !o->tokens)
        return err_set(e, ERR_USAGE, "--level %s needs --text FILE or --tokens FILE",
                       levels[o->level]);
    if (!wants_tokens(o) && (o->text || o->tokens))
        return err_set(e, ERR_USAGE, "--level %s runs no model: --text and --tokens have no use "
                       "there", levels[o->level]);
    bool within = false;
    if (o->output && (!path_is_within(o->output, o->ref, &within, e) ||
                      (!within && !path_is_within(o->output, o->cand, &within, e))))
        return false;
    return !within ||
           err_set(e, ERR_USAGE, "the output '%s' lies inside a model's folder", o->output);
}

static bool open_models(verification *v, err *e)
{
    const events *ev = v->c->events;
    if (!checkpoint_open(&v->ref_file, v->o->ref, ev, e) ||
        !model_open(&v->ref, v->ref_file, ev, e) ||
        (wants_tokens(v->o) && !forward_is_computed(v->ref, e)))
        return err_in(e, "reference");
    if (!checkpoint_open(&v->cand_file, v->o->cand, ev, e) ||
        !model_open_like(&v->cand, v->cand_file, v->ref, ev, e))
        return err_in(e, "candidate");
    return true;
}

static bool read_windows(verification *v, err *e)
{
    windows_options with = {.text = v->o->text,
                            .tokens = v->o->tokens,
                            .model_dir = checkpoint_dir(v->ref_file),
                            .context = v->o->context,
                            .max_tokens = v->o->max_tokens};
    return windows_read(&v->windows, &with, e);
}

static bool fatal(const findings *f)
{
    for (uint64_t i = 0; i < f->n; i++)
        if (f->item[i].kind == FINDING_FATAL)
            return true;
    return false;
}

static bool measure(verification *v, err *e)
{
    const verify_words *o = v->o;
    if (!structure_compare(v->ref, v->cand, &v->findings, e))
        return false;
    if (level_of(o) >= LEVEL_WEIGHTS) {
        parity_options with = {v->c->pool, v->c->memory, v->c->events};
        if (!parity_weights(&v->parity, v->ref, v->cand, &with, &v->findings, e))
            return false;
        v->has_parity = true;
    }
    if (!wants_tokens(o))
        return true;
    if (fatal(&v->findings))
        return finding_add(&v->findings, e, FINDING_REMARK, "layers and logits were not compared: "
                           "what is broken already decides");
    logit_parity_options with = {.ref = v->ref,
                                 .cand = v->cand,
                                 .windows = &v->windows,
                                 .pool = v->c->pool,
                                 .memory = v->c->memory,
                                 .events = v->c->events,
                                 .seed = (uint64_t)o->seed,
                                 .layers_only = level_of(o) == LEVEL_LAYERS};
    v->has_logits = true;
    return logit_parity_run(&v->logits, &with, e);
}

// ---- the report ------------------------------------------------------------------------------

// scruple.json of a folder, if there is one and it is JSON: repeated in the report.
static bool read_manifest(report_side *s, err *e)
{
    enum { LARGEST = 64 << 20 };
    const char *dir = checkpoint_dir(model_checkpoint(s->model));
    size_t len = 0;
    json *j = NULL;
    path_kind kind = PATH_NOTHING;
    char *path = path_join(dir, "scruple.json", e);
    bool ok = path && path_find(path, &kind, e);
    if (kind != PATH_NOTHING)
        ok = file_read_beneath(dir, "scruple.json", LARGEST, &s->manifest, &len, e) &&
             json_parse(&j, s->manifest, len, path, e);
    while (ok && s->manifest && len > 0 && s->manifest[len - 1] == '\n')
        s->manifest[--len] = 0;
    json_free(j);
    free(path);
    return ok;
}

static bool fill_side(const verification *v, report_side *s, const model *m, const char *path,
                      char **name, err *e)
{
    const checkpoint *c = model_checkpoint(m);
    sha256_digest *sums = mem_new((uint64_t)checkpoint_n_files(c), sizeof *sums, "digests", e);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    *name = strndup(path, n);
    s->model = m;
    s->sums = sums;
    if (!*name)
        return err_set(e, ERR_ENV, "no memory for a name");
    s->name = path_base(*name);
    xxh128_digest *each = mem_new((uint64_t)checkpoint_count(c), sizeof *each, "digests", e);
    bool ok = sums && each && source_sums(c, v->c->pool, v->c->events, sums, e) &&
              checkpoint_digests(c, v->c->events, each, &s->digest, e) && read_manifest(s, e);
    free(each);
    return ok;
}

static bool write_folder(const verification *v, const report *r, const strbuf *as_json, err *e)
{
    const char *dir = v->o->output;
    strbuf text = {0};
    out_file md = OUT_FILE_CLOSED, js = OUT_FILE_CLOSED; // neither has its name before both stand
    bool ok = report_markdown(r, &text, e) && out_make_dir(dir, e) &&
              out_open(&md, dir, "report.md", text.len, NULL, 0, e) &&
              out_append(&md, text.text, text.len, e) &&
              out_open(&js, dir, "report.json", as_json->len, NULL, 0, e) &&
              out_append(&js, as_json->text, as_json->len, e) &&
              out_publish(&md, v->c->force, NULL, e) && out_publish(&js, v->c->force, NULL, e);
    out_discard(&md);
    out_discard(&js);
    strbuf_free(&text);
    return ok;
}

static bool tell(const verification *v, err *e)
{
    report r = {.gate = &v->gate,
                .findings = &v->findings,
                .parity = v->has_parity ? &v->parity : NULL,
                .logits = v->has_logits ? &v->logits : NULL,
                .windows = v->has_logits ? &v->windows : NULL,
                .seed = (uint64_t)v->o->seed};
    char *names[2] = {NULL, NULL};
    strbuf as_json = {0}, text = {0};
    bool ok = fill_side(v, &r.ref, v->ref, v->o->ref, &names[0], e) &&
              fill_side(v, &r.cand, v->cand, v->o->cand, &names[1], e) &&
              report_json(&r, &as_json, e) && report_text(&r, &text, e) &&
              (!v->o->output || write_folder(v, &r, &as_json, e)) &&
              print_out(v->c->json ? &as_json : &text, e);
    strbuf_free(&as_json);
    strbuf_free(&text);
    free(names[0]);
    free(names[1]);
    free(r.ref.manifest);
    free(r.cand.manifest);
    sha256_digest *sums[2];
    memcpy(&sums[0], &r.ref.sums, sizeof sums[0]);
    memcpy(&sums[1], &r.cand.sums, sizeof sums[1]);
    free(sums[0]);
    free(sums[1]);
    return ok;
}

// ---- the command -----------------------------------------------------------------------------

// What --dry-run says: both sides and the tokens were read, nothing is compared.
static bool tell_plan(const verification *v, err *e)
{
    strbuf out = {0};
    json_writer w = {.out = &out, .indent = 2};
    if (v->c->json) {
        jw_object(&w, NULL);
        jw_int(&w, "schema_version", 1);
        jw_bool(&w, "dry_run", true);
        jw_text(&w, "level", levels[level_of(v->o)]);
        jw_text(&w, "gate", v->gate.name);
        jw_int(&w, "windows", v->windows.n);
        jw_int(&w, "context", v->windows.len);
        jw_object_end(&w);
        strbuf_puts(&out, "\n");
    } else {
        strbuf_printf(&out, "dry run: level %s, gate %s", levels[level_of(v->o)], v->gate.name);
        if (wants_tokens(v->o))
            strbuf_printf(&out, ", %lld windows of %lld tokens", (long long)v->windows.n,
                          (long long)v->windows.len);
        strbuf_puts(&out, "; nothing compared, nothing written\n");
    }
    bool ok = print_out(&out, e);
    strbuf_free(&out);
    return ok;
}

static bool refuse_existing(const verify_words *o, bool force, err *e)
{
    static const char *const names[] = {"report.json", "report.md"};
    for (size_t i = 0; o->output && !force && i < COUNT_OF(names); i++) {
        path_kind kind;
        if (!path_find_in(o->output, names[i], &kind, e))
            return false;
        if (kind != PATH_NOTHING)
            return err_set(e, ERR_ENV, "'%s/%s' exists already; --force replaces it", o->output,
                           names[i]);
    }
    return true;
}

static bool verdict(const findings *f, err *e)
{
    uint64_t n = 0;
    const char *first = NULL;
    for (uint64_t i = 0; i < f->n; i++) {
        if (f->item[i].kind == FINDING_REMARK)
            continue;
        first = first ? first : f->item[i].text;
        n++;
    }
    if (!first)
        return true;
    return n == 1 ? err_set(e, ERR_NO, "%s", first)
                  : err_set(e, ERR_NO, "%s (and %llu more finding%s)", first,
                            (unsigned long long)n - 1, n == 2 ? "" : "s");
}

static bool run(const context *c, const void *options, err *e)
{
    verification v = {.c = c, .o = options};
    bool ok = check_words(v.o, e) && refuse_existing(v.o, c->force, e) && open_models(&v, e) &&
              (v.o->gate ? gate_read(&v.gate, v.o->gate, e)
                         : gate_builtin(&v.gate, v.ref, v.cand, e)) &&
              (!v.o->gate || gate_is_measured(&v.gate, level_of(v.o) >= LEVEL_WEIGHTS,
                                              wants_tokens(v.o),
                                              level_of(v.o) >= LEVEL_LOGITS, e)) &&
              (!wants_tokens(v.o) || read_windows(&v, e));
    if (ok && c->dry_run)
        ok = tell_plan(&v, e);
    else if (ok)
        ok = measure(&v, e) &&
             gate_judge(&v.gate, v.has_parity ? &v.parity : NULL,
                        v.has_logits ? &v.logits : NULL, &v.findings, e) &&
             tell(&v, e) && verdict(&v.findings, e);
    logit_parity_free(&v.logits);
    parity_free(&v.parity);
    findings_free(&v.findings);
    gate_free(&v.gate);
    windows_free(&v.windows);
    model_close(v.ref);
    model_close(v.cand);
    checkpoint_close(v.ref_file);
    checkpoint_close(v.cand_file);
    return ok;
}

const command cmd_verify = {
    .name = "verify",
    .group = "prove",
    .summary = "compare a candidate with its reference and give a verdict",
    .about =
        "Walks the reference's weights: is there a counterpart, what do both decode to,\n"
        "how far apart are they. With text or tokens both models also run side by side\n"
        "through the reference forward pass, and their logits, hidden states and routers\n"
        "are compared. Without, only structure and weights are.\n"
        "\n"
        "Thresholds come from a gate file, or are built in for the type the candidate's\n"
        "experts are stored in. Whatever the gate, these fail: a missing counterpart, a\n"
        "value that is not finite, a zero scale over values that are not zero, an expert\n"
        "that is nearer to another expert than to its own.",
    .usage = "REF CAND [--level LEVEL] [--text FILE|--tokens FILE] [--gate FILE] [-o DIR]",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(verify_words),
    .flags = COMMAND_JSON | COMMAND_OUTPUT | COMMAND_POOL,
    .no = "verification failed: a finding that no gate lifts, or a missed threshold",
    .run = run,
};
