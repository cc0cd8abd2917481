// SPDX-License-Identifier: Apache-2.0
#include "convert/job.h"

#include <string.h>

static bool make_ready(job *j, const job_paths *paths, err *e)
{
    const order *o = &j->order;
    json_writer w = {.out = &j->options};
    order_write_settled(o, &w, NULL);
    if (!strbuf_ok(&j->options, e))
        return false;
    bool changes = !o->quantize && o->plan.codec;
    j->make = (make_options){.command = order_command(o),
                             .input = paths->input,
                             .output = paths->output,
                             .plan = o->plan,
                             .needs_model = order_needs_model(o),
                             .options_json = j->options.text,
                             .refuse_changes = changes && !o->allow_lossy,
                             .count_changes = changes,
                             .order = &j->order,
                             .statistics_path = paths->statistics};
    j->make.plan.recipe = j->options.text;
    j->make.plan.rules = o->quantize ? &o->rules : NULL;
    if (j->weighs) {
        j->make.importance = weighing_of;
        j->make.check_importance = weighing_check;
        j->make.ctx = &j->weights;
        j->make.statistics = j->weights.description.text;
        j->weights.events = &j->make.events;
    }
    return true;
}

static bool read_statistics(job *j, const char *path, err *e)
{
    j->weighs = path != NULL;
    return !path || weighing_open(&j->weights, path, e);
}

bool job_from_order(job *j, const order *o, const job_paths *paths, err *e)
{
    *j = (job){.order = *o, .plan.in = IN_FILE_CLOSED};
    bool ok = read_statistics(j, paths->statistics, e);
    if (ok && j->weighs) {
        j->order.weighted = true;
        j->order.statistics = j->weights.sha;
    }
    ok = ok && make_ready(j, paths, e);
    if (!ok)
        job_close(j);
    return ok;
}

bool job_from_plan(job *j, const char *path, const job_paths *instead, err *e)
{
    *j = (job){.plan.in = IN_FILE_CLOSED};
    bool ok = saved_plan_open(&j->plan, path, e);
    job_paths paths = {instead->input ? instead->input : j->plan.input,
                       instead->output ? instead->output : j->plan.output,
                       instead->statistics ? instead->statistics : j->plan.statistics};
    if (ok && instead->statistics && !j->plan.statistics)
        ok = err_set(e, ERR_USAGE, "the plan '%s' uses no statistics", path);
    j->order = j->plan.order;
    ok = ok && read_statistics(j, paths.statistics, e);
    if (ok && j->weighs && memcmp(j->weights.sha.b, j->order.statistics.b, 32) != 0)
        ok = err_set(e, ERR_ENV, "the statistics '%s' are not those that the plan '%s' was made "
                     "with", paths.statistics, path);
    ok = ok && make_ready(j, &paths, e);
    j->make.from = &j->plan;
    if (!ok)
        job_close(j);
    return ok;
}

void job_close(job *j)
{
    if (j->weighs)
        weighing_close(&j->weights);
    strbuf_free(&j->options);
    saved_plan_close(&j->plan);
    *j = (job){.plan.in = IN_FILE_CLOSED};
}
