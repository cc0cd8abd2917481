// SPDX-License-Identifier: Apache-2.0
#include "convert/make.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "convert/companions.h"
#include "convert/config_edit.h"
#include "convert/loaders.h"
#include "convert/manifest.h"
#include "formats/source_sums.h"

typedef struct {
    const make_options *options;
    make_report *report;
    checkpoint *source;
    model *model;
    plan plan;
    companions companions;
    char *config;              // the source's config.json, NULL where it has none
    size_t config_len;
    sha256_digest config_sha;
    strbuf edited;             // what the output's will be
    strbuf recipe;             // of the options, with the digests of all small files
    strbuf *input;             // a line an input file
    char **input_line;
    uint64_t n_inputs;
    output_file *file;         // [plan.n_files]
    output *out;
    run_result result;
    sha256_digest *source_sha;
} maker;

// ---- before the run --------------------------------------------------------------------------

static bool read_config(maker *m, err *e)
{
    enum { LARGEST_CONFIG = 64 << 20 };
    const char *dir = checkpoint_dir(m->source);
    char *path = path_join(dir, "config.json", e);
    path_kind kind = PATH_NOTHING;
    bool ok = path && path_find(path, &kind, e);
    if (kind != PATH_NOTHING)
        ok = file_read_beneath(dir, "config.json", LARGEST_CONFIG, &m->config, &m->config_len,
                               e) &&
             sha256_of(m->config, m->config_len, &m->config_sha, e);
    free(path);
    return ok;
}

// Everything beside the headers that decides bytes of the output. Small files count by their
// digests; the tensors' own bytes do not, they are compared in the end (manifest_same_source).
static bool write_recipe(maker *m, err *e)
{
    char hex[65];
    strbuf *r = &m->recipe;
    strbuf_puts(r, m->options->plan.recipe);
    if (m->config)
        strbuf_printf(r, "\nconfig.json %s", hex_of(m->config_sha.b, 32, hex));
    for (uint64_t i = 0; i < m->companions.n_copied; i++)
        strbuf_printf(r, "\n%s %s", m->companions.copied[i].name,
                      hex_of(m->companions.copied[i].sha.b, 32, hex));
    return strbuf_ok(r, e);
}

// Lines that change when an input file does: size and time of tensor files, digests of small ones.
static bool list_inputs(maker *m, err *e)
{
    char hex[65];
    int n_files = checkpoint_n_files(m->source);
    const companions *c = &m->companions;
    uint64_t most = (uint64_t)n_files + c->n_copied + 1;
    m->input = mem_new(most, sizeof *m->input, "input files", e);
    m->input_line = mem_new(most, sizeof *m->input_line, "input files", e);
    if (!m->input || !m->input_line)
        return false;
    for (int f = 0; f < n_files; f++) {
        const in_file *in = checkpoint_file(m->source, f);
        strbuf_printf(&m->input[m->n_inputs++], "%s: %llu bytes, written at %lld.%09lld",
                      checkpoint_file_name(m->source, f), (unsigned long long)in->size,
                      (long long)(in->mtime_ns / 1000000000),
                      (long long)(in->mtime_ns % 1000000000));
    }
    if (m->config)
        strbuf_printf(&m->input[m->n_inputs++], "config.json: SHA-256 %s",
                      hex_of(m->config_sha.b, 32, hex));
    for (uint64_t i = 0; i < c->n_copied; i++)
        strbuf_printf(&m->input[m->n_inputs++], "%s: SHA-256 %s", c->copied[i].name,
                      hex_of(c->copied[i].sha.b, 32, hex));
    for (uint64_t i = 0; i < m->n_inputs; i++) {
        if (!strbuf_ok(&m->input[i], e))
            return false;
        m->input_line[i] = m->input[i].text;
    }
    return true;
}

static bool list_files(maker *m, uint64_t *bytes, err *e)
{
    enum { ROOM = 1 << 20 }; // for manifest, index and sums, and their blocks
    const plan *p = &m->plan;
    *bytes = m->companions.bytes + m->edited.len + ROOM;
    m->file = mem_new((uint64_t)p->n_files, sizeof *m->file, "output files", e);
    if (!m->file)
        return false;
    for (int64_t f = 0; f < p->n_files; f++) {
        m->file[f] = (output_file){p->file[f].name, p->file[f].bytes};
        *bytes += p->file[f].bytes;
    }
    return true;
}

static void fill_report(maker *m)
{
    make_report *r = m->report;
    const plan *p = &m->plan;
    r->n_files = p->n_files;
    r->n_tensors = p->n_tensors;
    r->plan = p->id;
    r->n_copied = (int64_t)m->companions.n_copied;
    r->n_left = (int64_t)m->companions.n_left;
    for (int f = 0; f < checkpoint_n_files(m->source); f++)
        r->bytes_before += checkpoint_file(m->source, f)->size;
    for (int64_t f = 0; f < p->n_files; f++)
        r->bytes_after += p->file[f].bytes;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        r->n_coded += t->starts;
        r->role_bytes[t->owned ? role_class_of(t->role) : CLASS_OTHER] += t->to.bytes;
    }
    if (!m->model)
        return;
    for (int64_t i = 0; i < checkpoint_count(m->source); i++) {
        const tensor_account *a = model_account(m->model, i);
        if (a->used && role_class_of(a->role) == CLASS_EXPERTS)
            r->experts_before += checkpoint_at(m->source, i)->bytes;
    }
    int64_t n = model_parameters(m->model, false), experts = model_parameters(m->model, true);
    r->experts_after = p->expert_bytes;
    r->bits_before = n ? (double)r->bytes_before * 8 / (double)n : 0;
    r->expert_bits_before = experts ? (double)r->experts_before * 8 / (double)experts : 0;
    r->bits_after = manifest_bits(p, false);
    r->expert_bits_after = manifest_bits(p, true);
}

static bool prepare(maker *m, err *e)
{
    const make_options *o = m->options;
    if (!checkpoint_open(&m->source, o->input, o->events, e))
        return false;
    if (o->needs_model && !model_open(&m->model, m->source, o->events, e))
        return false;
    if (!companions_find(&m->companions, m->source, e) || !read_config(m, e) ||
        !write_recipe(m, e))
        return false;
    plan_options with = o->plan;
    with.recipe = m->recipe.text;
    if (!plan_make(&m->plan, m->source, m->model, &with, e) ||
        (m->config && !config_edit(&m->plan, m->config, m->config_len, &m->edited, e)))
        return false;
    fill_report(m);
    loaders_warn(&m->plan, o->events);
    for (uint64_t i = 0; i < m->companions.n_left; i++)
        event_note(o->events, "'%s' is left behind", m->companions.left[i]);
    return run_fits(&m->plan, pool_threads(o->pool), o->memory, &m->report->memory_needed, e);
}

static bool sum_source(maker *m, err *e)
{
    m->source_sha = mem_new((uint64_t)checkpoint_n_files(m->source), sizeof *m->source_sha,
                            "digests", e);
    return m->source_sha && source_sums(m->source, m->options->pool, m->source_sha, e);
}

// The plan knows headers only: a complete folder must also have been made from the same bytes.
static bool complete_is_ours(maker *m, err *e)
{
    manifest_facts facts;
    bool ours = false;
    if (!sum_source(m, e) || !manifest_read(&facts, m->options->output, &ours, e))
        return false;
    if (!ours)
        return err_set(e, ERR_ENV, "'%s' has just lost its scruple.json", m->options->output);
    bool ok = manifest_same_source(&facts, m->options->output, m->source, m->source_sha, e);
    manifest_facts_free(&facts);
    return ok;
}

static bool open_output(maker *m, err *e)
{
    const make_options *o = m->options;
    output_order with = {.dir = o->output,
                         .input = checkpoint_path(m->source),
                         .plan = &m->plan.id,
                         .force = o->force,
                         .dry_run = o->dry_run};
    if (!list_inputs(m, e) || !list_files(m, &with.bytes, e))
        return false;
    with.inputs = (const char *const *)m->input_line;
    with.n_inputs = m->n_inputs;
    with.file = m->file;
    with.n_files = (uint64_t)m->plan.n_files;
    return output_open(&m->out, &with, &m->report->already_complete, e) &&
           (!m->report->already_complete || complete_is_ours(m, e));
}

// ---- after the run ---------------------------------------------------------------------------

enum { TENSORS_NAMED = 20 }; // by warnings; the error counts all

static bool refuse_changes(maker *m, err *e)
{
    make_report *r = m->report;
    const char *first = NULL;
    int64_t first_changed = 0, first_of = 0;
    for (int64_t i = 0; i < m->plan.n_tensors; i++) {
        const plan_tensor *t = &m->plan.tensor[i];
        if (!m->result.changed[i])
            continue;
        r->changed_values += m->result.changed[i];
        r->changed_tensors++;
        if (m->options->refuse_changes && r->changed_tensors <= TENSORS_NAMED)
            event_warn(m->options->events, "%s: %lld of %lld values would change", t->to.name,
                       (long long)m->result.changed[i], (long long)weight_elements(t->source));
        if (!first) {
            first = t->to.name;
            first_changed = m->result.changed[i];
            first_of = weight_elements(t->source);
        }
    }
    if (!first || !m->options->refuse_changes)
        return true;
    if (r->changed_tensors > TENSORS_NAMED)
        event_warn(m->options->events, "and %lld tensors more",
                   (long long)r->changed_tensors - TENSORS_NAMED);
    return err_set(e, ERR_NO, "%lld values of %lld tensors would change (%s: %lld of %lld); "
                   "--allow-lossy accepts that", (long long)r->changed_values,
                   (long long)r->changed_tensors, first, (long long)first_changed,
                   (long long)first_of);
}

static bool stage_pack_index(maker *m, err *e)
{
    const plan *p = &m->plan;
    strbuf text = {0};
    pack_index_file *file = mem_new((uint64_t)p->n_files, sizeof *file, "experts.idx", e);
    pack_index_layer *layer = mem_new((uint64_t)p->n_files, sizeof *layer, "experts.idx", e);
    bool ok = file && layer;
    int64_t n_layers = 0;
    for (int64_t f = 0; ok && f < p->n_files; f++) {
        file[f] = (pack_index_file){p->file[f].name, p->file[f].bytes, p->file[f].header.len,
                                    m->result.header[f]};
        if (!p->file[f].holds_experts)
            continue;
        layer[n_layers] = p->file[f].records;
        layer[n_layers++].digest = m->result.record[f];
    }
    pack_index index = {p->options.page, file, p->n_files, layer, n_layers};
    ok = ok && pack_index_write(&text, &index, e) &&
         output_small(m->out, "experts.idx", text.text, text.len, e);
    free(file);
    free(layer);
    strbuf_free(&text);
    return ok;
}

static bool stage_shard_index(maker *m, err *e)
{
    const plan *p = &m->plan;
    strbuf text = {0};
    json_writer w = {.out = &text, .indent = 2};
    jw_object(&w, NULL);
    jw_object(&w, "metadata");
    jw_int(&w, "total_size", (int64_t)p->tensor_bytes);
    jw_object_end(&w);
    jw_object(&w, "weight_map");
    for (int64_t f = 0; f < p->n_files; f++)
        for (int64_t i = p->file[f].first; i < p->file[f].first + p->file[f].n; i++)
            jw_text(&w, p->tensor[i].to.name, p->file[f].name);
    jw_object_end(&w);
    jw_object_end(&w);
    strbuf_puts(&text, "\n");
    bool ok = strbuf_ok(&text, e) &&
              output_small(m->out, "model.safetensors.index.json", text.text, text.len, e);
    strbuf_free(&text);
    return ok;
}

static bool stage_manifest(maker *m, err *e)
{
    strbuf text = {0};
    manifest with = {.command = m->options->command,
                     .options = m->options->options_json,
                     .plan = &m->plan,
                     .source = m->source_sha,
                     .config = m->config ? &m->config_sha : NULL,
                     .statistics = m->options->statistics,
                     .companions = &m->companions};
    bool ok = manifest_write(&with, &text, e) &&
              output_small(m->out, "scruple.json", text.text, text.len, e);
    strbuf_free(&text);
    return ok;
}

static bool finish(maker *m, err *e)
{
    return sum_source(m, e) && companions_copy(&m->companions, m->source, m->out, e) &&
           stage_manifest(m, e) &&
           (m->plan.options.layout != LAYOUT_EXPERTS || stage_pack_index(m, e)) &&
           (m->plan.n_files < 2 || stage_shard_index(m, e)) &&
           (!m->config ||
            output_small(m->out, "config.json", m->edited.text, m->edited.len, e)) &&
           output_publish(m->out, e);
}

static bool carry_out(maker *m, err *e)
{
    const make_options *o = m->options;
    run_options with = {.pool = o->pool,
                        .memory = o->memory,
                        .events = o->events,
                        .encode = o->encode,
                        .importance = o->importance,
                        .ctx = o->ctx,
                        .count_changes = o->count_changes || o->refuse_changes};
    if (!run_result_init(&m->result, &m->plan, e))
        return false;
    return run_plan(&m->plan, &with, m->out, &m->result, e) && refuse_changes(m, e) &&
           run_prove(&m->plan, &with, m->out, &m->result, &m->report->n_moved, e) &&
           finish(m, e);
}

bool make_checkpoint(const make_options *o, make_report *r, err *e)
{
    maker m = {.options = o, .report = r};
    *r = (make_report){0};
    bool ok = prepare(&m, e) && open_output(&m, e);
    if (ok && !o->dry_run && !r->already_complete) {
        ok = carry_out(&m, e);
        // What an obstacle outside stopped goes on later; what was refused leaves nothing behind.
        if (!ok && e->kind != ERR_ENV && e->kind != ERR_INTERRUPTED) {
            output_abandon(m.out);
            m.out = NULL;
        }
    }
    run_result_free(&m.result, &m.plan);
    output_close(m.out);
    companions_free(&m.companions);
    for (uint64_t i = 0; i < m.n_inputs; i++)
        strbuf_free(&m.input[i]);
    free(m.input);
    free(m.input_line);
    free(m.file);
    free(m.config);
    strbuf_free(&m.edited);
    strbuf_free(&m.recipe);
    free(m.source_sha);
    plan_free(&m.plan);
    model_close(m.model);
    checkpoint_close(m.source);
    return ok;
}
