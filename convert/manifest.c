// SPDX-License-Identifier: Apache-2.0
#include "convert/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/version.h"
#include "convert/journal.h"
#include "convert/recipe_table.h"
#include "quantize/transcode.h"

enum { SCHEMA = 1, LARGEST = 64 << 20 };

// ---- writing ---------------------------------------------------------------------------------

double manifest_bits(const plan *p, bool experts_only)
{
    if (!p->model)
        return 0;
    uint64_t bytes = experts_only ? p->expert_bytes : 0;
    for (int64_t f = 0; !experts_only && f < p->n_files; f++)
        bytes += p->file[f].bytes;
    int64_t n = model_parameters(p->model, experts_only);
    return n > 0 ? (double)bytes * 8 / (double)n : 0;
}

static void write_source(const manifest *m, json_writer *w)
{
    char hex[65];
    jw_object(w, "source");
    source_ids_write(w, m->plan->source, m->source);
    jw_text(w, "config_sha256", m->config ? hex_of(m->config->b, sizeof m->config->b, hex) : NULL);
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
    bool indexed = p->n_files > 1 && p->options.layout != LAYOUT_GGUF;
    bool packed = p->options.layout == LAYOUT_EXPERTS;
    jw_array(w, "files");
    for (int64_t f = 0; f < p->n_files; f++)
        jw_text(w, NULL, p->file[f].name);
    for (uint64_t i = 0; i < m->companions->n_copied; i++)
        jw_text(w, NULL, m->companions->copied[i].name);
    if (p->options.rules)
        jw_text(w, NULL, RECIPE_TABLE_NAME);
    if (packed)
        jw_text(w, NULL, "experts.idx");
    if (indexed)
        jw_text(w, NULL, "model.safetensors.index.json");
    if (m->config)
        jw_text(w, NULL, "config.json");
    jw_text(w, NULL, MANIFEST_NAME);
    jw_text(w, NULL, "SHA256SUMS");
    jw_array_end(w);
    jw_array(w, "left_behind");
    for (uint64_t i = 0; i < m->companions->n_left; i++)
        jw_text(w, NULL, m->companions->left[i]);
    jw_array_end(w);
}

static void write_loss(json_writer *w, int64_t blocks, int64_t changed, const run_loss *x)
{
    jw_int(w, "blocks", blocks);
    jw_int(w, "blocks_changed", changed);
    if (!changed)
        return;
    jw_double(w, "largest_error", (double)x->largest);
    jw_double(w, "sqnr_db", run_loss_db(x));
}

// Of the weights that were moved block by block: all together, and those that changed.
static void write_moved(const manifest *m, json_writer *w)
{
    const run_result *r = m->result;
    run_loss all = {0};
    int64_t blocks = 0, changed = 0;
    for (int64_t i = 0; i < m->plan->n_tensors; i++) {
        const plan_tensor *t = &m->plan->tensor[i];
        if (!t->exact || !t->starts)
            continue;
        blocks += transcode_blocks(t->codec, t->source->out, t->source->in);
        changed += r->changed[i];
        run_loss_add(&all, &r->loss[i]);
    }
    jw_object(w, "moved");
    write_loss(w, blocks, changed, &all);
    jw_array(w, "weights_changed");
    for (int64_t i = 0; i < m->plan->n_tensors; i++) {
        const plan_tensor *t = &m->plan->tensor[i];
        if (!t->exact || !r->changed[i])
            continue;
        jw_object(w, NULL);
        jw_text(w, "module", t->source->module);
        write_loss(w, transcode_blocks(t->codec, t->source->out, t->source->in), r->changed[i],
                   &r->loss[i]);
        jw_object_end(w);
    }
    jw_array_end(w);
    jw_object_end(w);
}

bool manifest_write(const manifest *m, strbuf *out, err *e)
{
    char hex[65];
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", SCHEMA);
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
    if (m->plan->options.exact)
        write_moved(m, &w);
    write_files(m, &w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
    return strbuf_ok(out, e);
}

// ---- reading ---------------------------------------------------------------------------------

static bool read_files(manifest_facts *m, const json *list, bool *ours, err *e)
{
    for (const json *f = json_first(list); f && *ours; f = json_next(f)) {
        const char *name = json_as_text(f);
        *ours = name && *name && !strchr(name, '/') && strcmp(name, ".") != 0 &&
                strcmp(name, "..") != 0;
        if (*ours && !journal_list_add(&m->file, &m->n_files, &m->files_cap, name, e))
            return false;
    }
    return true;
}

static bool read_source(manifest_facts *m, const json *list, err *e)
{
    for (const json *f = json_first(list); f; f = json_next(f)) {
        const char *name = json_as_text(json_get(f, "name"));
        const char *sha = json_as_text(json_get(f, "digest"));
        strbuf text = {0};
        strbuf_printf(&text, "%s %s", name ? name : "", sha ? sha : "");
        bool ok = strbuf_ok(&text, e) &&
                  journal_list_add(&m->source, &m->n_source, &m->source_cap, text.text, e);
        strbuf_free(&text);
        if (!ok)
            return false;
    }
    return true;
}

static bool read_facts(manifest_facts *m, const json *root, bool *ours, err *e)
{
    int64_t schema;
    const char *tool = json_as_text(json_get(root, "tool"));
    const char *id = json_as_text(json_get(root, "plan"));
    const json *files = json_get(root, "files");
    *ours = tool && strcmp(tool, "scruple") == 0 && id && strlen(id) == sizeof m->plan - 1 &&
            files && json_type(files) == JSON_ARRAY &&
            json_as_int(json_get(root, "schema_version"), &schema) && schema == SCHEMA;
    if (!*ours)
        return true;
    memcpy(m->plan, id, sizeof m->plan);
    return read_files(m, files, ours, e) && read_source(m, json_path(root, "source.files"), e);
}

bool manifest_read(manifest_facts *m, const char *dir, bool *ours, err *e)
{
    char *text = NULL;
    size_t len = 0;
    json *root = NULL;
    err no_json = ERR_INIT;
    *m = (manifest_facts){0};
    *ours = false;
    bool ok = file_read_beneath(dir, MANIFEST_NAME, LARGEST, &text, &len, e);
    if (!ok && e->kind == ERR_INPUT)
        return true; // a folder, a link out of here, too large
    if (ok && json_parse(&root, text, len, MANIFEST_NAME, &no_json))
        ok = read_facts(m, root, ours, e);
    json_free(root);
    free(text);
    if (!ok || !*ours)
        manifest_facts_free(m);
    return ok;
}

void manifest_facts_free(manifest_facts *m)
{
    journal_list_free(m->file, m->n_files);
    journal_list_free(m->source, m->n_source);
    *m = (manifest_facts){0};
}

bool manifest_same_source(const manifest_facts *m, const char *dir, const checkpoint *c,
                          const source_id *ids, err *e)
{
    strbuf line = {0};
    char hex[65];
    bool same = true;
    for (int f = 0; same && f < checkpoint_n_files(c); f++) {
        strbuf_clear(&line);
        strbuf_printf(&line, "%s %s", checkpoint_file_name(c, f),
                      hex_of(ids[f].content.b, sizeof ids[f].content.b, hex));
        same = strbuf_ok(&line, e);
        if (same && ((uint64_t)f >= m->n_source || strcmp(m->source[f], line.text) != 0))
            same = err_set(e, ERR_ENV, "'%s' holds the output of the same plan, but made from "
                           "another input: '%s' is not the file of then; --force replaces it", dir,
                           checkpoint_file_name(c, f));
    }
    strbuf_free(&line);
    return same;
}
