// SPDX-License-Identifier: Apache-2.0
#include "convert/manifest.h"

#include "base/version.h"
#include "formats/source_sums.h"

double manifest_bits(const plan *p, bool experts_only)
{
    if (!p->model)
        return 0;
    uint64_t bytes = p->expert_bytes;
    for (int64_t f = 0; !experts_only && f < p->n_files; f++)
        bytes = (f == 0 ? 0 : bytes) + p->file[f].bytes;
    int64_t n = model_parameters(p->model, experts_only);
    return n > 0 ? (double)bytes * 8 / (double)n : 0;
}

static void write_source(const manifest *m, json_writer *w)
{
    jw_object(w, "source");
    source_sums_write(w, m->plan->source, m->source);
    jw_object_end(w);
}

static void write_sizes(const manifest *m, json_writer *w)
{
    const plan *p = m->plan;
    jw_object(w, "bits_per_weight");
    jw_double(w, "experts", manifest_bits(p, true));
    jw_double(w, "all", manifest_bits(p, false));
    jw_object_end(w);
    jw_object(w, "parameters");
    jw_int(w, "experts", model_parameters(p->model, true));
    jw_int(w, "all", model_parameters(p->model, false));
    jw_object_end(w);
    jw_object(w, "tensor_bytes");
    jw_int(w, "experts", (int64_t)p->expert_bytes);
    jw_int(w, "all", (int64_t)p->tensor_bytes);
    jw_object_end(w);
}

static void write_files(const manifest *m, json_writer *w)
{
    const plan *p = m->plan;
    bool indexed = p->n_files > 1, packed = p->options.layout == LAYOUT_EXPERTS;
    jw_array(w, "files");
    for (int64_t f = 0; f < p->n_files; f++)
        jw_text(w, NULL, p->file[f].name);
    for (uint64_t i = 0; i < m->companions->n_copied; i++)
        jw_text(w, NULL, m->companions->copied[i]);
    if (packed)
        jw_text(w, NULL, "experts.idx");
    if (indexed)
        jw_text(w, NULL, "model.safetensors.index.json");
    if (p->model)
        jw_text(w, NULL, "config.json");
    jw_text(w, NULL, "scruple.json");
    jw_text(w, NULL, "SHA256SUMS");
    jw_array_end(w);
    jw_array(w, "left_behind");
    for (uint64_t i = 0; i < m->companions->n_left; i++)
        jw_text(w, NULL, m->companions->left[i]);
    jw_array_end(w);
}

bool manifest_write(const manifest *m, strbuf *out, err *e)
{
    char hex[65];
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "tool", "scruple");
    jw_text(&w, "version", SCRUPLE_VERSION);
    jw_text(&w, "command", m->command);
    jw_raw(&w, "options", m->options);
    jw_text(&w, "plan", hex_of(m->plan->id.b, sizeof m->plan->id.b, hex));
    if (m->plan->model)
        jw_text(&w, "family", model_arch(m->plan->model)->family);
    write_source(m, &w);
    if (m->statistics)
        jw_raw(&w, "statistics", m->statistics);
    if (m->plan->model)
        write_sizes(m, &w);
    write_files(m, &w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
    return strbuf_ok(out, e);
}
