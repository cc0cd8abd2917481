// SPDX-License-Identifier: Apache-2.0
// scruple status: how far a plan has come.
#include "base/json.h"
#include "cli/command.h"
#include "cli/table.h"
#include "convert/job.h"
#include "convert/units.h"

typedef struct {
    const char *plan, *input, *output, *stats;
    int64_t parts;
} status_options;

static const option options_table[] = {
    {OPTION_ARG(status_options, plan), .value = "PLAN", .required = true,
     .help = "file that --save-plan of convert or quantize wrote"},
    {OPTION_INT(status_options, parts), .name = "parts", .value = "N", .min = 0,
     .max = UNITS_MOST_PARTS,
     .help = "also say which of N parts have something left to do, as \"3,7-9\""},
    {OPTION_TEXT(status_options, input), .name = "input", .letter = 'i', .value = "MODEL",
     .help = "the input, where it is not where the plan says", .alias = {"model"}},
    {OPTION_TEXT(status_options, output), .name = "output", .letter = 'o', .value = "DIR",
     .help = "likewise the folder with the parts", .alias = {"outfile", "out", "output-dir"}},
    {OPTION_TEXT(status_options, stats), .name = "stats", .value = "FILE",
     .help = "likewise the statistics", .alias = {"imatrix"}},
};

static const command_example examples[] = {
    {"Which of 64 parts to submit again", "scruple status v3.plan --parts 64 --json"},
};

// Parts with a unit that is missing: "3,7-9". Units' parts ascend.
static void missing_parts(const make_state *s, strbuf *out)
{
    int64_t begin = 0, last = 0;
    for (int64_t i = 0; i <= s->n_units; i++) {
        bool end = i == s->n_units;
        if (!end && (s->done[i] || s->part[i] == last))
            continue;
        if (!end && last && s->part[i] == last + 1) {
            last++;
            continue;
        }
        if (last)
            strbuf_printf(out, "%s%lld", out->len ? "," : "", (long long)begin);
        if (last > begin)
            strbuf_printf(out, "-%lld", (long long)last);
        if (!end)
            begin = last = s->part[i];
    }
}

static const char *stage_of(const make_state *s)
{
    if (s->published)
        return "complete";
    if (s->n_refused)
        return "refused, scruple merge will publish nothing";
    return s->n_done == s->n_units ? "every unit is there, ready for scruple merge" : "unfinished";
}

static const char *noun(const make_state *s) { return s->grid ? "blocks" : "values"; }

static void refusals_as_text(const make_state *s, int64_t most, strbuf *out)
{
    int64_t named = 0;
    for (int64_t i = 0; i < s->n_units && named < most; i++) {
        const make_refusal *r = &s->refused[i];
        if (!r->weights)
            continue;
        named++;
        strbuf_printf(out, "  refused: %s: %lld %s of %lld weights ", s->name[i],
                      (long long)r->changed, noun(s), (long long)r->weights);
        if (s->grid)
            strbuf_printf(out, "are not on %s's grid\n", s->grid);
        else
            strbuf_puts(out, "would change\n");
    }
    if (s->n_refused > named)
        strbuf_printf(out, "  and %lld more\n", (long long)(s->n_refused - named));
}

static void as_text(const status_options *o, const make_options *m, const make_state *s,
                    const char *parts, strbuf *out)
{
    enum { NAMED = 20 };
    char done[24], all[24];
    int64_t missing = s->n_units - s->n_done, named = 0;
    strbuf_printf(out, "%s: %s\n  %lld of %lld units, %s of %s\n", m->output, stage_of(s),
                  (long long)s->n_done, (long long)s->n_units, str_human_bytes(s->bytes_done, done),
                  str_human_bytes(s->bytes, all));
    refusals_as_text(s, NAMED, out);
    for (int64_t i = 0; i < s->n_units && named < NAMED; i++)
        if (!s->done[i] && ++named)
            strbuf_printf(out, "  missing: %s\n", s->name[i]);
    if (missing > named)
        strbuf_printf(out, "  and %lld more\n", (long long)(missing - named));
    if (o->parts && missing)
        strbuf_printf(out, "  parts of %lld with something to do: %s\n", (long long)o->parts,
                      parts);
}

static void as_json(const status_options *o, const make_options *m, const make_state *s,
                    const char *parts, strbuf *out)
{
    char hex[65];
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "plan", hex_of(s->plan.b, sizeof s->plan.b, hex));
    jw_text(&w, "output", m->output);
    jw_bool(&w, "complete", s->n_done == s->n_units && !s->n_refused);
    jw_bool(&w, "published", s->published);
    jw_int(&w, "units", s->n_units);
    jw_int(&w, "units_done", s->n_done);
    jw_int(&w, "bytes", (int64_t)s->bytes);
    jw_int(&w, "bytes_done", (int64_t)s->bytes_done);
    jw_array(&w, "missing_units");
    for (int64_t i = 0; i < s->n_units; i++)
        if (!s->done[i])
            jw_text(&w, NULL, s->name[i]);
    jw_array_end(&w);
    jw_array(&w, "refused_units");
    for (int64_t i = 0; i < s->n_units; i++) {
        if (!s->refused[i].weights)
            continue;
        jw_object(&w, NULL);
        jw_text(&w, "name", s->name[i]);
        jw_int(&w, "weights", s->refused[i].weights);
        jw_int(&w, noun(s), s->refused[i].changed);
        jw_object_end(&w);
    }
    jw_array_end(&w);
    if (o->parts) {
        jw_int(&w, "parts", o->parts);
        jw_text(&w, "missing_parts", parts);
    }
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static bool tell(const context *c, const status_options *o, const make_options *m,
                 const make_state *s, err *e)
{
    strbuf text = {0}, parts = {0};
    if (o->parts)
        missing_parts(s, &parts);
    strbuf_puts(&parts, "");
    bool ok = strbuf_ok(&parts, e);
    if (ok) {
        (c->json ? as_json : as_text)(o, m, s, parts.text, &text);
        ok = print_out(&text, e);
    }
    strbuf_free(&text);
    strbuf_free(&parts);
    if (ok && s->n_refused)
        return err_set(e, ERR_NO, "%lld of %lld units would lose something: scruple merge removes "
                       "them all; a new plan with --allow-lossy %s", (long long)s->n_refused,
                       (long long)s->n_units, s->grid ? "encodes and measures that"
                                                      : "accepts that");
    if (ok && s->n_done < s->n_units)
        ok = err_set(e, ERR_NO, "%lld of %lld units are missing",
                     (long long)(s->n_units - s->n_done), (long long)s->n_units);
    return ok;
}

static bool run(const context *c, const void *options, err *e)
{
    const status_options *o = options;
    job_paths instead = {o->input, o->output, o->stats};
    make_state s;
    job j;
    if (!job_from_plan(&j, o->plan, &instead, e))
        return false;
    j.make.events = c->events;
    j.make.parts = o->parts;
    bool ok = make_look(&j.make, &s, e);
    if (ok) {
        ok = tell(c, o, &j.make, &s, e);
        make_state_free(&s);
    }
    job_close(&j);
    return ok;
}

const command cmd_status = {
    .name = "status",
    .group = "scale",
    .summary = "tell how far the parts of a plan have come",
    .about =
        "Counts the units that are finished, by the notes in the output folder; what is\n"
        "still being written does not count. Names those that a merge would refuse, since\n"
        "values would change. Changes nothing, waits for nobody.\n"
        "\n"
        "--parts N also says which parts are to be run again, in the form that --array=\n"
        "of sbatch takes.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .table = options_table,
    .n_options = COUNT_OF(options_table),
    .options_size = sizeof(status_options),
    .flags = COMMAND_JSON,
    .no = "units are missing or refused",
    .run = run,
};
