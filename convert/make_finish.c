// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "base/json.h"
#include "convert/maker.h"
#include "convert/manifest.h"
#include "convert/recipe_table.h"

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

bool maker_refuse_changes(maker *m, err *e)
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
                     .source = m->source_id,
                     .config = m->config ? &m->config_sha : NULL,
                     .statistics = m->options->statistics,
                     .companions = &m->companions};
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

