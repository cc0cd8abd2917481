// SPDX-License-Identifier: Apache-2.0
// Writing. Reading is saved_plan_read.c's.
#include "convert/saved_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/out.h"
#include "base/utf8.h"
#include "base/version.h"
#include "convert/units.h"

// ---- units -----------------------------------------------------------------------------------

static void write_place(json_writer *w, const checkpoint *c, const tensor *t)
{
    jw_object(w, NULL);
    jw_text(w, "file", checkpoint_file_name(c, t->file));
    jw_int(w, "offset", (int64_t)t->offset);
    jw_int(w, "bytes", (int64_t)t->bytes);
    jw_object_end(w);
}

static void write_tensor(json_writer *w, const plan *p, const plan_tensor *t)
{
    jw_object(w, NULL);
    jw_text(w, "name", t->to.name);
    jw_text(w, "type", dtype_name(t->to.type));
    jw_int(w, "offset", (int64_t)t->to.offset);
    jw_int(w, "bytes", (int64_t)t->to.bytes);
    if (t->stack)
        jw_text(w, "stack", t->stack->to.name);
    if (t->stack && t->stack->turns > 1)
        jw_int(w, "row_step", (int64_t)t->stack->row * t->stack->turns);
    if (t->source)
        jw_text(w, "codec", t->codec->name);
    jw_array(w, "from");
    if (t->from)
        write_place(w, p->source, t->from);
    for (int i = 0; t->source && i < t->source->n_parts; i++) {
        tensor slice = *t->source->part[i];
        uint64_t offset;
        weight_slice_range(t->source, i, &offset, &slice.bytes);
        slice.offset += offset;
        write_place(w, p->source, &slice);
    }
    jw_array_end(w);
    jw_object_end(w);
}

void saved_plan_unit(const plan *p, int64_t unit, strbuf *out)
{
    char hex[33];
    xxh128_digest header;
    json_writer w = {.out = out};
    unit_cost cost = unit_cost_of(p, unit);
    xxh128_of(p->file[unit].header.text, p->file[unit].header.len, &header);
    jw_object(&w, NULL);
    jw_int(&w, "unit", unit + 1);
    jw_text(&w, "name", p->file[unit].name);
    jw_int(&w, "bytes", (int64_t)p->file[unit].bytes);
    jw_text(&w, "header_xxh128", hex_of(header.b, sizeof header.b, hex));
    jw_object(&w, "cost");
    jw_int(&w, "read", (int64_t)cost.read);
    jw_int(&w, "written", (int64_t)cost.written);
    jw_int(&w, "values", cost.values);
    jw_int(&w, "weight", (int64_t)cost.weight);
    jw_object_end(&w);
    jw_int(&w, "memory", (int64_t)cost.memory);
    jw_array(&w, "tensors");
    for (int64_t i = 0; i < p->file[unit].n; i++)
        write_tensor(&w, p, &p->tensor[p->file[unit].first + i]);
    jw_array_end(&w);
    jw_object_end(&w);
}

// ---- paths -----------------------------------------------------------------------------------

// "a/b.plan" -> "a", "b.plan"; free *dir.
static char *folder_of(const char *path, const char **base, err *e)
{
    *base = path_base(path);
    size_t len = (size_t)(*base - path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    char *dir = len ? strndup(path, len) : strdup(".");
    if (!dir)
        err_set(e, ERR_ENV, "no memory for a path");
    return dir;
}

// Absolute, with the folders' links resolved but not the last component's: a file in a Hub cache is
// a link, and means what lies beside the link.
static char *absolute(const char *path, err *e)
{
    const char *base;
    char *dir = folder_of(path, &base, e);
    if (!dir)
        return NULL;
    char *whole, *parent = NULL;
    if (!*base || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        whole = path_resolve(path, e);
    } else {
        parent = path_resolve(dir, e);
        whole = parent ? path_join(*parent ? parent : "/", base, e) : NULL;
    }
    free(parent);
    free(dir);
    return whole;
}

// The way from one absolute folder to an absolute path.
static bool relative(const char *from, const char *to, strbuf *out, err *e)
{
    size_t same = 0, i = 0;
    for (; from[i] && from[i] == to[i]; i++)
        if (from[i] == '/')
            same = i;
    if ((!from[i] || from[i] == '/') && (!to[i] || to[i] == '/'))
        same = i;
    for (const char *p = from + same; *p; p++)
        if (*p == '/')
            strbuf_puts(out, out->len ? "/.." : "..");
    const char *rest = to + same + (to[same] == '/');
    if (*rest)
        strbuf_printf(out, "%s%s", out->len ? "/" : "", rest);
    if (!out->len)
        strbuf_puts(out, ".");
    return strbuf_ok(out, e);
}

static bool write_path(json_writer *w, const char *key, const char *dir, const char *path, err *e)
{
    strbuf way = {0};
    char *to = absolute(path, e);
    bool ok = to && relative(dir, to, &way, e);
    if (ok && !utf8_is_valid(way.text, way.len)) // JSON would hold another path
        ok = err_set(e, ERR_USAGE, "a plan file cannot name '%s': the path is not UTF-8", way.text);
    if (ok)
        jw_text(w, key, way.text);
    strbuf_free(&way);
    free(to);
    return ok;
}

// ---- the whole file --------------------------------------------------------------------------

static bool write_head(const saved_plan_facts *f, const char *dir, strbuf *out, err *e)
{
    const plan *p = f->plan;
    char hex[65];
    json_writer w = {.out = out};
    jw_object(&w, NULL);
    jw_text(&w, "format", "scruple-plan");
    jw_int(&w, "format_version", SAVED_PLAN_VERSION);
    jw_text(&w, "version", SCRUPLE_VERSION);
    jw_text(&w, "plan", hex_of(p->id.b, sizeof p->id.b, hex));
    jw_text(&w, "command", order_command(f->order));
    order_write(f->order, &w, "options");
    jw_text(&w, "family", p->model ? model_arch(p->model)->family : NULL);
    if (!write_path(&w, "input", dir, f->input, e) || !write_path(&w, "output", dir, f->output, e))
        return false;
    if (f->statistics && !write_path(&w, "statistics", dir, f->statistics, e))
        return false;
    jw_array(&w, "small_files");
    for (uint64_t i = 0; i < f->n_small; i++) {
        jw_object(&w, NULL);
        jw_text(&w, "name", f->small[i].name);
        jw_text(&w, "sha256", hex_of(f->small[i].sha.b, sizeof f->small[i].sha.b, hex));
        jw_object_end(&w);
    }
    jw_array_end(&w);
    jw_int(&w, "units", p->n_files);
    jw_int(&w, "tensors", p->n_written);
    uint64_t bytes = 0;
    for (int64_t i = 0; i < p->n_files; i++)
        bytes += p->file[i].bytes;
    jw_int(&w, "bytes", (int64_t)bytes);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
    return strbuf_ok(out, e);
}

static bool append(out_file *o, const strbuf *line, err *e)
{
    if (o->at + line->len > SAVED_PLAN_LARGEST)
        return err_set(e, ERR_ENV, "the plan file would be larger than %d MiB",
                       SAVED_PLAN_LARGEST >> 20);
    return strbuf_ok(line, e) && out_append(o, line->text, line->len, e);
}

bool saved_plan_save(const saved_plan_facts *f, const char *path, bool replace, err *e)
{
    const char *base;
    strbuf line = {0};
    out_file o = OUT_FILE_CLOSED;
    char *dir = folder_of(path, &base, e), *from = dir ? path_resolve(dir, e) : NULL;
    bool ok = from && write_head(f, from, &line, e) && out_open(&o, dir, base, 0, NULL, 0, e) &&
              append(&o, &line, e);
    for (int64_t i = 0; ok && i < f->plan->n_files; i++) {
        strbuf_clear(&line);
        saved_plan_unit(f->plan, i, &line);
        strbuf_puts(&line, "\n");
        ok = append(&o, &line, e);
    }
    ok = ok && out_publish(&o, replace, NULL, e);
    if (!ok)
        out_discard(&o);
    strbuf_free(&line);
    free(from);
    free(dir);
    return ok;
}
