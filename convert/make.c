// SPDX-License-Identifier: Apache-2.0
#include "convert/make.h"

#include <stdlib.h>
#include <string.h>

#include "convert/maker.h"
#include "convert/manifest.h"
#include "convert/units.h"

// The plan knows headers only: a complete folder must also have been made from the same bytes.
static bool complete_is_ours(maker *m, err *e)
{
    manifest_facts facts;
    bool ours = false;
    if (!maker_identify_source(m, NULL, e) || !manifest_read(&facts, m->options->output, &ours, e))
        return false;
    if (!ours)
        return err_set(e, ERR_ENV, "'%s' has just lost its scruple.json", m->options->output);
    bool ok = manifest_same_source(&facts, m->options->output, m->source, m->source_id, e);
    manifest_facts_free(&facts);
    return ok;
}

static bool open_output(maker *m, err *e)
{
    output_order with;
    make_report *r = m->report;
    if (!maker_order(m, &with, e) || !output_open(&m->out, &with, &r->already_complete, e))
        return false;
    // A part or a merge would have to read the whole source to be surer than the plan is.
    return !r->already_complete || m->options->mode != OUTPUT_WHOLE || complete_is_ours(m, e);
}

// ---- the three ways --------------------------------------------------------------------------

static bool run_units(maker *m, const run_slice *slice, err *e)
{
    const make_options *o = m->options;
    const run_options with = maker_run_options(m, slice);
    return run_plan(&m->plan, &with, m->out, &m->result, e) && maker_refuse_changes(m, e) &&
           (!o->read_back || run_read_back(&m->plan, &with, m->out, &m->result, e));
}

static bool all_are_there(const maker *m, err *e)
{
    enum { NAMED = 8 };
    strbuf names = {0};
    int64_t missing = 0;
    for (int64_t f = 0; f < m->plan.n_files; f++) {
        if (output_has(m->out, m->plan.file[f].name, NULL))
            continue;
        if (missing++ < NAMED)
            strbuf_printf(&names, "%s'%s'", names.len ? ", " : "", m->plan.file[f].name);
    }
    bool ok = strbuf_ok(&names, e);
    if (ok && missing)
        ok = err_set(e, ERR_ENV, "%lld of %lld units are missing: %s%s; nothing was merged",
                     (long long)missing, (long long)m->plan.n_files, names.text,
                     missing > NAMED ? " and more" : "");
    strbuf_free(&names);
    return ok;
}

// What is refused is so whatever else is missing.
static bool parts_are_whole(maker *m, err *e)
{
    m->report->slice = (run_slice){0, m->plan.n_files};
    return run_recall_some(&m->plan, m->out, &m->result, e) && maker_refuse_changes(m, e) &&
           all_are_there(m, e) && run_recall(&m->plan, m->out, &m->result, e);
}

static bool carry_out(maker *m, err *e)
{
    make_report *r = m->report;
    bool ok;
    if (!run_result_init(&m->result, &m->plan, e))
        return false;
    switch (m->options->mode) {
    case OUTPUT_PART:
        ok = r->slice.n == 0 || run_units(m, &r->slice, e);
        break;
    case OUTPUT_MERGE:
        ok = parts_are_whole(m, e) && maker_finish(m, e);
        break;
    default:
        r->slice = (run_slice){0, m->plan.n_files};
        ok = run_units(m, NULL, e) && maker_finish(m, e);
    }
    for (int64_t f = r->slice.first; f < r->slice.first + r->slice.n; f++) {
        const plan_file *file = &m->plan.file[f];
        r->n_resumed += m->result.resumed[f];
        for (int64_t i = file->first; i < file->first + file->n; i++)
            r->n_moved += m->plan.tensor[i].from != NULL;
    }
    return ok;
}

// What a dry run can say: where a merge would fail, how long other work takes.
static bool foresee(maker *m, err *e)
{
    const make_options *o = m->options;
    if (o->mode == OUTPUT_MERGE)
        return run_result_init(&m->result, &m->plan, e) && parts_are_whole(m, e);
    const estimate_options with = {
        .output = o->output,
        .slice = o->mode == OUTPUT_PART ? m->report->slice : (run_slice){0, m->plan.n_files},
        .pool = o->pool,
        .events = o->events};
    return estimate_plan(&m->report->estimate, &m->plan, &with, e);
}

// What an obstacle outside stopped goes on later, what was refused leaves nothing behind (of parts:
// once they are merged, since others may be at work); a broken promise of ours leaves what shows
// it.
static bool is_given_up(const maker *m, const err *e)
{
    return (m->options->mode == OUTPUT_WHOLE && (e->kind == ERR_NO || e->kind == ERR_INPUT)) ||
           (m->options->mode == OUTPUT_MERGE && e->kind == ERR_NO);
}

bool make_checkpoint(const make_options *o, make_report *r, err *e)
{
    maker m = {.options = o, .report = r};
    *r = (make_report){0};
    bool ok = maker_prepare(&m, e) && open_output(&m, e) && maker_save_plan(&m, e);
    if (ok && o->dry_run && !r->already_complete)
        ok = foresee(&m, e);
    if (ok && !o->dry_run && !r->already_complete) {
        ok = carry_out(&m, e);
        if (!ok && is_given_up(&m, e)) {
            output_abandon(m.out);
            m.out = NULL;
        }
    }
    output_close(m.out);
    maker_free(&m);
    return ok;
}

// ---- how far it is ---------------------------------------------------------------------------

// Units whose notes tell of changes that the run refuses.
static bool count_refused(maker *m, make_state *s, err *e)
{
    const plan *p = &m->plan;
    s->refused = mem_new((uint64_t)p->n_files, sizeof *s->refused, "the state", e);
    if (!s->refused)
        return false;
    if (s->published || !m->options->refuse_changes)
        return true;
    s->grid = p->options.exact ? p->options.codec->name : NULL;
    if (!run_result_init(&m->result, p, e) || !run_recall_some(p, m->out, &m->result, e))
        return false;
    for (int64_t f = 0; f < p->n_files; f++) {
        make_refusal *r = &s->refused[f];
        for (int64_t i = p->file[f].first; i < p->file[f].first + p->file[f].n; i++) {
            r->weights += m->result.changed[i] > 0;
            r->changed += m->result.changed[i];
        }
        s->n_refused += r->weights > 0;
    }
    return true;
}

static bool fill_state(maker *m, make_state *s, err *e)
{
    const plan *p = &m->plan;
    s->plan = p->id;
    s->n_units = p->n_files;
    s->done = mem_new((uint64_t)p->n_files, sizeof *s->done, "the state", e);
    s->name = mem_new((uint64_t)p->n_files, sizeof *s->name, "the state", e);
    s->part = mem_new((uint64_t)p->n_files, sizeof *s->part, "the state", e);
    if (!s->done || !s->name || !s->part)
        return false;
    if (m->options->parts && !units_share(p, m->options->parts, s->part, e))
        return false;
    for (int64_t f = 0; f < p->n_files; f++) {
        s->name[f] = strdup(p->file[f].name);
        if (!s->name[f])
            return err_set(e, ERR_ENV, "no memory for the state");
        s->done[f] = s->published || output_has(m->out, p->file[f].name, NULL);
        s->n_done += s->done[f];
        s->bytes += p->file[f].bytes;
        s->bytes_done += s->done[f] ? p->file[f].bytes : 0;
    }
    return count_refused(m, s, e);
}

bool make_look(const make_options *o, make_state *s, err *e)
{
    make_options look = *o;
    make_report r = {0};
    output_order with;
    maker m = {.options = &look, .report = &r};
    look.mode = OUTPUT_LOOK;
    *s = (make_state){0};
    bool ok = maker_prepare(&m, e) && maker_order(&m, &with, e) &&
              output_open(&m.out, &with, &s->published, e) && fill_state(&m, s, e);
    output_close(m.out);
    maker_free(&m);
    if (!ok)
        make_state_free(s);
    return ok;
}

void make_state_free(make_state *s)
{
    for (int64_t f = 0; s->name && f < s->n_units; f++)
        free(s->name[f]);
    free(s->name);
    free(s->done);
    free(s->part);
    free(s->refused);
    *s = (make_state){0};
}
