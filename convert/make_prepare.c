// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "convert/config_edit.h"
#include "convert/loaders.h"
#include "convert/maker.h"
#include "convert/manifest.h"
#include "convert/units.h"

static bool read_config(maker *m, err *e)
{
    enum { LARGEST_CONFIG = 64 << 20 };
    const char *dir = checkpoint_dir(m->source);
    path_kind kind = PATH_NOTHING;
    bool ok = path_find_in(dir, "config.json", &kind, e);
    if (kind != PATH_NOTHING)
        ok = file_read_beneath(dir, "config.json", LARGEST_CONFIG, &m->config, &m->config_len,
                               e) &&
             sha256_of(m->config, m->config_len, &m->config_sha, e);
    return ok;
}

// Everything beside the headers that decides bytes of the output. Small files count by their
// digests; the tensors' own bytes do not, they are compared in the end (manifest_same_source).
static bool list_small(maker *m, err *e)
{
    m->small = mem_new(m->companions.n_copied + 1, sizeof *m->small, "small files", e);
    if (!m->small)
        return false;
    if (m->config)
        m->small[m->n_small++] = (plan_small){"config.json", m->config_sha};
    for (uint64_t i = 0; i < m->companions.n_copied; i++)
        m->small[m->n_small++] = (plan_small){m->companions.copied[i].name,
                                              m->companions.copied[i].sha};
    return true;
}

static bool write_recipe(maker *m, err *e)
{
    char hex[65];
    strbuf_puts(&m->recipe, m->options->plan.recipe);
    for (uint64_t i = 0; i < m->n_small; i++)
        strbuf_printf(&m->recipe, "\n%s %s", m->small[i].name, hex_of(m->small[i].sha.b, 32, hex));
    return strbuf_ok(&m->recipe, e);
}

// Lines that change when an input file does: size and time of tensor files, digests of small ones.
static bool list_inputs(maker *m, err *e)
{
    char hex[65];
    int n_files = checkpoint_n_files(m->source);
    uint64_t most = (uint64_t)n_files + m->n_small;
    m->input = mem_new(most, sizeof *m->input, "input files", e);
    m->input_line = mem_new(most, sizeof *m->input_line, "input files", e);
    if (!m->input || !m->input_line)
        return false;
    for (int f = 0; f < n_files; f++) {
        const in_file *in = checkpoint_file(m->source, f);
        const char *name = checkpoint_file_name(m->source, f);
        if (!utf8_is_valid(name, strlen(name))) // neither scruple.json nor the journal could say it
            return err_set(e, ERR_INPUT, "the name of the input file '%s' is not UTF-8; rename it "
                           "or make a link", name);
        strbuf_printf(&m->input[m->n_inputs++], "%s: %llu bytes, written at %lld.%09lld",
                      name, (unsigned long long)in->size,
                      (long long)(in->mtime_ns / 1000000000),
                      (long long)(in->mtime_ns % 1000000000));
    }
    for (uint64_t i = 0; i < m->n_small; i++)
        strbuf_printf(&m->input[m->n_inputs++], "%s: SHA-256 %s", m->small[i].name,
                      hex_of(m->small[i].sha.b, 32, hex));
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
    r->n_tensors = p->n_written;
    r->plan = p->id;
    r->n_copied = (int64_t)m->companions.n_copied;
    r->n_left = (int64_t)m->companions.n_left;
    for (int f = 0; f < checkpoint_n_files(m->source); f++)
        r->bytes_before += checkpoint_file(m->source, f)->size;
    for (int64_t f = 0; f < p->n_files; f++)
        r->bytes_after += p->file[f].bytes;
    for (int64_t i = 0; i < p->n_tensors; i++) {
        const plan_tensor *t = &p->tensor[i];
        r->n_coded += t->starts && !t->cut;
        r->n_cut += t->starts && t->cut && !t->stack;
        r->n_stacked += t->starts && t->cut && t->stack;
        r->role_bytes[t->owned ? role_class_of(t->role) : CLASS_OTHER] += t->to.bytes;
    }
    if (!m->model)
        return;
    r->has_roles = true;
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

static saved_plan_facts facts_of(const maker *m)
{
    const make_options *o = m->options;
    return (saved_plan_facts){o->order, o->input, o->output, o->statistics_path, m->small,
                             m->n_small, &m->plan};
}

static bool make_plan(maker *m, err *e)
{
    plan_options with = m->options->plan;
    with.recipe = m->recipe.text;
    if (!plan_make(&m->plan, m->source, m->model, &with, e))
        return false;
    saved_plan_facts now = facts_of(m);
    return !m->options->from || saved_plan_check(m->options->from, &now, e);
}

// To decode a GGUF, what its tensors' own types tell is enough, and so it is to move its blocks
// into others of ggml's; forms of several tensors and a config belong to weights.
static bool needs_roles(const maker *m, bool *needs, err *e)
{
    const plan_options *p = &m->options->plan;
    bool foreign = false;
    *needs = m->options->needs_model;
    bool of_types = p->scope == SCOPE_MATRICES ||
                    (p->scope == SCOPE_STORED && p->codec->form == CODEC_BLOCKS);
    if (!*needs || !of_types || p->rules || p->layout == LAYOUT_EXPERTS)
        return true;
    bool ok = model_is_foreign(m->source, &foreign, e);
    *needs = !foreign;
    return ok;
}

static void note_lost_values(const maker *m)
{
    const gguf_header *h = checkpoint_gguf(m->source);
    if (h && h->n_values > 0 && m->options->plan.layout != LAYOUT_GGUF)
        event_note(m->options->events, "the %lld key-values of the GGUF have no place in "
                   "safetensors and are left behind", (long long)h->n_values);
}

static bool check_importance(const maker *m, err *e)
{
    const make_options *o = m->options;
    for (int64_t i = 0; o->check_importance && i < m->plan.n_tensors; i++)
        if (m->plan.tensor[i].starts && !m->plan.tensor[i].cut &&
            !o->check_importance(o->ctx, m->model, &m->plan.tensor[i], e))
            return false;
    return true;
}

bool maker_prepare(maker *m, err *e)
{
    const make_options *o = m->options;
    bool needs;
    if (!checkpoint_open(&m->source, o->input, o->events, e) ||
        !expected_find(&m->expected, m->source, o->expect, o->events, e))
        return false;
    if (!needs_roles(m, &needs, e) ||
        (needs && !model_open(&m->model, m->source, o->events, e)))
        return false;
    bool recoded = o->plan.scope != SCOPE_NONE || o->plan.rules;
    if (!companions_find(&m->companions, m->source, recoded, e) || !read_config(m, e) ||
        !list_small(m, e) || !write_recipe(m, e) || !make_plan(m, e) ||
        (m->config && !config_edit(&m->plan, m->config, m->config_len, &m->edited, e)))
        return false;
    fill_report(m);
    if (o->mode == OUTPUT_PART &&
        !units_slice(&m->plan, o->part, o->parts, &m->report->slice, e))
        return false;
    if (o->mode == OUTPUT_LOOK || o->mode == OUTPUT_MERGE)
        return true;
    if (!check_importance(m, e))
        return false;
    note_lost_values(m);
    loaders_warn(&m->plan, o->events);
    for (uint64_t i = 0; i < m->companions.n_left; i++)
        event_note(o->events, "'%s' is left behind", m->companions.left[i]);
    run_slice slice = o->mode == OUTPUT_PART ? m->report->slice
                                             : (run_slice){0, m->plan.n_files};
    int threads = pool_threads(o->pool);
    return run_fits(&m->plan, threads, o->memory, &m->report->memory_needed, e) &&
           run_scratch(&m->plan, slice, threads, o->memory, &m->scratch, e);
}

bool maker_order(maker *m, output_order *with, err *e)
{
    const make_options *o = m->options;
    *with = (output_order){.dir = o->output,
                           .input = checkpoint_path(m->source),
                           .plan = &m->plan.id,
                           .mode = o->mode,
                           .own_first = (uint64_t)m->report->slice.first,
                           .n_own = (uint64_t)m->report->slice.n,
                           .force = o->force,
                           .dry_run = o->dry_run};
    if (!list_inputs(m, e) || !list_files(m, &with->bytes, e))
        return false;
    with->inputs = (const char *const *)m->input_line;
    with->n_inputs = m->n_inputs;
    with->file = m->file;
    with->n_files = (uint64_t)m->plan.n_files;
    with->scratch = m->scratch;
    m->report->disk_needed = with->scratch;
    if (o->mode != OUTPUT_PART)
        m->report->disk_needed += with->bytes;
    for (uint64_t f = with->own_first; f < with->own_first + with->n_own; f++)
        m->report->disk_needed += m->file[f].bytes;
    return true;
}

// The same command may be given again after an interruption: its own plan file is no obstacle.
static bool is_saved(const char *path, const saved_plan_facts *now, bool *is, err *e)
{
    saved_plan there;
    err no = ERR_INIT;
    *is = saved_plan_open(&there, path, &no);
    if (*is) {
        *is = saved_plan_check(&there, now, &no);
        saved_plan_close(&there);
    }
    return *is || err_set(e, ERR_ENV, "'%s' is there already and not the file of this plan; "
                          "--force replaces it", path);
}

bool maker_save_plan(maker *m, err *e)
{
    const char *path = m->options->save_plan;
    saved_plan_facts now = facts_of(m);
    bool is = false, within;
    path_kind kind;
    if (!path)
        return true;
    if (!path_is_within(path, m->options->output, &within, e) ||
        (!within && !path_is_within(path, m->options->input, &within, e)) ||
        !path_find(path, &kind, e))
        return false;
    if (within)
        return err_set(e, ERR_USAGE, "the plan file '%s' would lie inside of the input or the "
                       "output", path);
    if (kind != PATH_NOTHING && !m->options->force && !is_saved(path, &now, &is, e))
        return false;
    return is || saved_plan_save(&now, path, m->options->force, e);
}

void maker_free(maker *m)
{
    run_result_free(&m->result, &m->plan);
    companions_free(&m->companions);
    for (uint64_t i = 0; i < m->n_inputs; i++)
        strbuf_free(&m->input[i]);
    free(m->input);
    free(m->input_line);
    free(m->file);
    free(m->small);
    free(m->config);
    strbuf_free(&m->edited);
    strbuf_free(&m->recipe);
    free(m->source_id);
    expected_free(&m->expected);
    plan_free(&m->plan);
    model_close(m->model);
    checkpoint_close(m->source);
}
