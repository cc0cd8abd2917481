// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "base/json.h"
#include "convert/maker.h"
#include "convert/manifest.h"
#include "convert/recipe_table.h"
#include "quantize/transcode.h"

run_options maker_run_options(const maker *m, const run_slice *slice)
{
    const make_options *o = m->options;
    return (run_options){.pool = o->pool,
                         .memory = o->memory,
                         .events = o->events,
                         .importance = o->importance,
                         .ctx = o->ctx,
                         .count_changes = o->count_changes || o->refuse_changes,
                         .expected = o->mode == OUTPUT_PART ? NULL : &m->expected,
                         .slice = slice,
                         .scratch = o->output};
}

bool maker_identify_source(maker *m, run_result *r, err *e)
{
    const run_options with = maker_run_options(m, NULL);
    run_result nothing = {0};
    m->source_id = mem_new((uint64_t)checkpoint_n_files(m->source), sizeof *m->source_id,
                           "digests", e);
    bool ok = m->source_id && (r ? run_source_ids(&m->plan, r, m->source_id, e)
                                 : source_ids(m->source, m->options->events, m->source_id, e) &&
                                       run_result_init(&nothing, &m->plan, e));
    ok = ok && run_expected(&m->plan, &with, &m->expected, r ? r : &nothing, m->source_id, e);
    run_result_free(&nothing, &m->plan);
    return ok;
}

enum { TENSORS_NAMED = 20 }; // by warnings; the error counts all

typedef struct {
    const char *first;        // the first tensor that changed, and of how many values or blocks
    int64_t changed, of;
} first_change;

static void warn_of_change(const maker *m, const plan_tensor *t, int64_t changed, int64_t of)
{
    if (!m->options->refuse_changes || m->report->changed_tensors > TENSORS_NAMED)
        return;
    if (t->exact)
        event_warn(m->options->events, "%s: %lld of %lld blocks are not on %s's grid",
                   t->source->module, (long long)changed, (long long)of, t->codec->name);
    else
        event_warn(m->options->events, "%s: %lld of %lld values would change", t->to.name,
                   (long long)changed, (long long)of);
}

static void count_change(maker *m, int64_t i, first_change *x)
{
    make_report *r = m->report;
    const plan_tensor *t = &m->plan.tensor[i];
    int64_t changed = m->result.changed[i], of = 0;
    if (t->exact && t->starts)
        r->blocks += of = transcode_blocks(t->codec, t->source->out, t->source->in);
    run_loss_add(&r->loss, &m->result.loss[i]);
    if (!changed)
        return;
    r->changed_tensors++;
    if (t->exact) {
        r->changed_blocks += changed;
    } else {
        r->changed_values += changed;
        of = weight_elements(t->source);
    }
    warn_of_change(m, t, changed, of);
    if (!x->first)
        *x = (first_change){t->exact ? t->source->module : t->to.name, changed, of};
}

bool maker_refuse_changes(maker *m, err *e)
{
    make_report *r = m->report;
    first_change x = {0};
    for (int64_t f = r->slice.first; f < r->slice.first + r->slice.n; f++)
        for (int64_t i = 0; i < m->plan.file[f].n; i++)
            count_change(m, m->plan.file[f].first + i, &x);
    if (!x.first || !m->options->refuse_changes)
        return true;
    if (r->changed_tensors > TENSORS_NAMED)
        event_warn(m->options->events, "and %lld tensors more",
                   (long long)r->changed_tensors - TENSORS_NAMED);
    if (r->changed_blocks)
        return err_set(e, ERR_NO, "%lld of %lld blocks of %lld weights are not on %s's grid (%s: "
                       "%lld of %lld); --allow-lossy encodes and measures them",
                       (long long)r->changed_blocks, (long long)r->blocks,
                       (long long)r->changed_tensors, m->plan.options.codec->name, x.first,
                       (long long)x.changed, (long long)x.of);
    return err_set(e, ERR_NO, "%lld values of %lld tensors would change (%s: %lld of %lld); "
                   "--allow-lossy accepts that", (long long)r->changed_values,
                   (long long)r->changed_tensors, x.first, (long long)x.changed, (long long)x.of);
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
            if (plan_heads(&p->tensor[i]))
                jw_text(&w, plan_written(&p->tensor[i])->name, p->file[f].name);
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
                     .source = m->source_id,
                     .config = m->config ? &m->config_sha : NULL,
                     .statistics = m->options->statistics,
                     .companions = &m->companions,
                     .result = &m->result};
    bool ok = manifest_write(&with, &text, e) &&
              output_small(m->out, "scruple.json", text.text, text.len, e);
    strbuf_free(&text);
    return ok;
}

static bool stage_recipe(maker *m, err *e)
{
    strbuf text = {0};
    bool ok = recipe_table(&m->plan, &text, e) &&
              output_small(m->out, RECIPE_TABLE_NAME, text.text, text.len, e);
    strbuf_free(&text);
    return ok;
}

bool maker_finish(maker *m, err *e)
{
    return maker_identify_source(m, &m->result, e) &&
           companions_copy(&m->companions, m->source, m->out, e) &&
           (!m->plan.options.rules || stage_recipe(m, e)) && stage_manifest(m, e) &&
           (m->plan.options.layout != LAYOUT_EXPERTS || stage_pack_index(m, e)) &&
           (m->plan.n_files < 2 || m->plan.options.layout == LAYOUT_GGUF ||
            stage_shard_index(m, e)) &&
           (!m->config ||
            output_small(m->out, "config.json", m->edited.text, m->edited.len, e)) &&
           output_publish(m->out, e);
}

