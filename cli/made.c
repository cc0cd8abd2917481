// SPDX-License-Identifier: Apache-2.0
#include "cli/made.h"

#include "base/json.h"
#include "cli/table.h"

static const char *outcome(const make_options *o, const make_report *r)
{
    if (r->already_complete)
        return "complete already, nothing done";
    if (o->dry_run)
        return "planned, nothing written";
    return o->mode == OUTPUT_MERGE ? "merged" : "done";
}

static void estimate_as_json(const estimate *x, json_writer *w)
{
    jw_object(w, "estimate");
    jw_double(w, "seconds", x->seconds);
    jw_int(w, "bytes_read", (int64_t)x->read);
    jw_int(w, "bytes_written", (int64_t)x->written);
    jw_int(w, "values_coded", x->coded);
    jw_double(w, "bytes_read_a_second", x->read_rate);
    jw_double(w, "bytes_written_a_second", x->write_rate);
    jw_double(w, "values_coded_a_second", x->code_rate);
    jw_bool(w, "one_device", x->shared);
    jw_object_end(w);
}

static void estimate_as_text(const estimate *x, strbuf *out)
{
    char time[32], a[24], b[24];
    if (x->seconds < 1)
        strbuf_puts(out, "\n  time needed: under a second");
    else
        strbuf_printf(out, "\n  time needed: about %s", str_duration(x->seconds, time));
    strbuf_printf(out, "; %s to read at %s/s", str_human_bytes(x->read, a),
                  str_human_bytes((uint64_t)x->read_rate, b));
    strbuf_printf(out, ", %s to write at %s/s", str_human_bytes(x->written, a),
                  str_human_bytes((uint64_t)x->write_rate, b));
    if (x->coded)
        strbuf_printf(out, ", %.3g G values to code at %.3g G/s", (double)x->coded * 1e-9,
                      x->code_rate * 1e-9);
}

static void blocks_as_json(const make_report *r, json_writer *w)
{
    jw_int(w, "blocks", r->blocks);
    jw_int(w, "blocks_changed", r->changed_blocks);
    jw_double(w, "largest_error", (double)r->loss.largest);
    jw_double(w, "sqnr_db", run_loss_db(&r->loss));
}

static void blocks_as_text(const make_report *r, strbuf *out)
{
    if (!r->changed_blocks) {
        strbuf_printf(out, "\n  %lld blocks moved, each decodes to the same values",
                      (long long)r->blocks);
        return;
    }
    strbuf_printf(out, "\n  %lld of %lld blocks changed in %lld weights, largest error %.3g, "
                  "SQNR of all %.2f dB", (long long)r->changed_blocks, (long long)r->blocks,
                  (long long)r->changed_tensors, (double)r->loss.largest, run_loss_db(&r->loss));
}

static void as_json(const make_options *o, const make_report *r, strbuf *out)
{
    char hex[65];
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "command", o->command);
    jw_text(&w, "output", o->output);
    jw_text(&w, "plan", hex_of(r->plan.b, sizeof r->plan.b, hex));
    jw_bool(&w, "dry_run", o->dry_run);
    jw_bool(&w, "already_complete", r->already_complete);
    if (o->mode == OUTPUT_PART) {
        jw_int(&w, "part", o->part);
        jw_int(&w, "parts", o->parts);
        jw_int(&w, "units_of_part", r->slice.n);
        jw_int(&w, "units_there_before", r->n_resumed);
    }
    jw_int(&w, "files", r->n_files);
    jw_int(&w, "tensors", r->n_tensors);
    jw_int(&w, "files_copied", r->n_copied);
    jw_int(&w, "files_left_behind", r->n_left);
    jw_int(&w, "weights_coded", r->n_coded);
    jw_int(&w, "weights_cut", r->n_cut);
    jw_int(&w, "weights_stacked", r->n_stacked);
    jw_int(&w, "tensors_proven_identical", r->n_moved);
    jw_int(&w, "values_changed", r->changed_values);
    if (r->blocks)
        blocks_as_json(r, &w);
    jw_int(&w, "bytes_before", (int64_t)r->bytes_before);
    jw_int(&w, "bytes_after", (int64_t)r->bytes_after);
    jw_int(&w, "memory_needed", (int64_t)r->memory_needed);
    jw_int(&w, "disk_needed", (int64_t)r->disk_needed);
    if (r->estimate.seconds > 0)
        estimate_as_json(&r->estimate, &w);
    if (r->has_roles) {
        jw_double(&w, "bits_per_weight_before", r->bits_before);
        jw_double(&w, "bits_per_weight_after", r->bits_after);
        jw_double(&w, "expert_bits_per_weight_before", r->expert_bits_before);
        jw_double(&w, "expert_bits_per_weight_after", r->expert_bits_after);
        jw_object(&w, "bytes_by_class");
        for (int k = 0; k < CLASS_COUNT; k++)
            if (r->role_bytes[k])
                jw_int(&w, role_class_name((role_class)k), (int64_t)r->role_bytes[k]);
        jw_object_end(&w);
    }
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static void needs_as_text(const make_options *o, const make_report *r, strbuf *out)
{
    char size[24];
    if (r->memory_needed)
        strbuf_printf(out, "\n  memory needed: %s", str_human_bytes(r->memory_needed, size));
    if (o->dry_run)
        strbuf_printf(out, "\n  disk needed: %s", str_human_bytes(r->disk_needed, size));
    if (r->estimate.seconds > 0)
        estimate_as_text(&r->estimate, out);
    strbuf_puts(out, "\n");
}

static void part_as_text(const make_options *o, const make_report *r, strbuf *out)
{
    strbuf_printf(out, "%s: part %lld of %lld %s\n", o->output, (long long)o->part,
                  (long long)o->parts, outcome(o, r));
    strbuf_printf(out, "  %lld of %lld units", (long long)r->slice.n, (long long)r->n_files);
    if (r->n_resumed)
        strbuf_printf(out, ", %lld of them there before", (long long)r->n_resumed);
    if (o->dry_run && !r->already_complete) {
        needs_as_text(o, r, out);
        return;
    }
    strbuf_puts(out, r->already_complete ? "\n" : "; scruple merge publishes when all are there\n");
}

static void as_text(const make_options *o, const make_report *r, strbuf *out)
{
    char before[24], after[24];
    strbuf_printf(out, "%s: %s\n", o->output, outcome(o, r));
    strbuf_printf(out, "  %-14s %12s %12s\n", "", "before", "after");
    strbuf_printf(out, "  %-14s %12s %12s\n", "tensor files", str_human_bytes(r->bytes_before,
                  before), str_human_bytes(r->bytes_after, after));
    if (r->has_roles) {
        strbuf_printf(out, "  %-14s %12s %12s\n", "experts", str_human_bytes(r->experts_before,
                      before), str_human_bytes(r->experts_after, after));
        strbuf_printf(out, "  %-14s %12.3f %12.3f\n", "bits a weight", r->bits_before,
                      r->bits_after);
        strbuf_printf(out, "  %-14s %12.3f %12.3f\n", "of experts", r->expert_bits_before,
                      r->expert_bits_after);
        for (int k = 0; o->dry_run && k < CLASS_COUNT; k++)
            if (r->role_bytes[k])
                strbuf_printf(out, "  %-14s %12s %12s\n", role_class_name((role_class)k), "",
                              str_human_bytes(r->role_bytes[k], after));
    }
    strbuf_printf(out, "  %lld tensors in %lld files, %lld weights coded", (long long)r->n_tensors,
                  (long long)r->n_files, (long long)r->n_coded);
    if (r->n_cut)
        strbuf_printf(out, ", %lld cut from stacks", (long long)r->n_cut);
    if (r->n_stacked)
        strbuf_printf(out, ", %lld put into stacks", (long long)r->n_stacked);
    if (!o->dry_run && !r->already_complete)
        strbuf_printf(out, ", %lld tensors proven identical to the source",
                      (long long)r->n_moved);
    strbuf_printf(out, "\n  %lld other files copied, %lld left behind (scruple.json names them)",
                  (long long)r->n_copied, (long long)r->n_left);
    if (r->changed_values)
        strbuf_printf(out, "\n  %lld values of %lld weights changed", (long long)r->changed_values,
                      (long long)r->changed_tensors);
    if (r->blocks)
        blocks_as_text(r, out);
    needs_as_text(o, r, out);
}

bool made_and_told(const context *c, make_options *o, err *e)
{
    make_report r;
    strbuf text = {0};
    o->force = c->force;
    o->dry_run = c->dry_run;
    o->pool = c->pool;
    o->memory = c->memory;
    o->events = c->events;
    bool ok = make_checkpoint(o, &r, e);
    // A dry run says how much would be needed also where that is not there, or not allowed; of a
    // merge, `status` says how far it is.
    bool tells = o->dry_run && o->mode != OUTPUT_MERGE && r.disk_needed && e->kind == ERR_ENV;
    if (ok || tells) {
        err no = ERR_INIT;
        (c->json ? as_json : o->mode == OUTPUT_PART ? part_as_text : as_text)(o, &r, &text);
        ok = print_out(&text, ok ? e : &no) && ok;
    }
    strbuf_free(&text);
    return ok;
}
