// SPDX-License-Identifier: Apache-2.0
#include "convert/config_edit.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/jsonscan.h"

// ---- which modules are quantized -------------------------------------------------------------

typedef struct {
    strbuf name;        // module path
    const codec *codec; // what it is stored as in the output; NULL where bound to no role
} module;

typedef struct {
    module *list;
    uint64_t n, cap;
    strmap index;       // templates that hold a quantized module, at both levels
} modules;

static void modules_free(modules *m)
{
    for (uint64_t i = 0; i < m->n; i++)
        strbuf_free(&m->list[i].name);
    free(m->list);
    strmap_free(&m->index);
}

static bool is_quantized(const module *m) { return m->codec && m->codec->form != CODEC_FLOAT; }

// The name as a regular expression; whole numbers between dots become \d+, from the skip-th on.
static void add_template(strbuf *out, const char *name, int skip)
{
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, ".");
        bool number = n > 0 && strspn(p, "0123456789") >= n;
        if (number && skip-- <= 0) {
            strbuf_puts(out, "\\d+");
        } else {
            for (size_t i = 0; i < n; i++) {
                if (strchr("\\^$|?*+()[]{}", p[i]))
                    strbuf_puts(out, "\\");
                strbuf_add(out, p + i, 1);
            }
        }
        p += n;
        if (*p == '.') {
            strbuf_puts(out, "\\.");
            p++;
        }
    }
}

static bool collect_module(const plan *p, const plan_tensor *t, modules *m, err *e)
{
    const char *dot = strrchr(t->to.name, '.');
    // One entry a weight: its first part; vectors and fixed parts are no modules.
    if (!dot || t->part != 0 || t->to.rank != 2 || !str_starts(dot, ".weight"))
        return true;
    if (t->owned && role_class_of(t->role) == CLASS_EMBEDDING)
        return true;
    if (!mem_grow((void **)&m->list, &m->cap, m->n + 1, sizeof *m->list, "modules", e))
        return false;
    module *new = &m->list[m->n++];
    *new = (module){.codec = t->source ? t->codec : NULL};
    if (t->from && t->owned)
        new->codec = model_weight(p->model, t->role, t->layer, t->expert)->codec;
    strbuf_add(&new->name, t->to.name, (size_t)(dot - t->to.name));
    return strbuf_ok(&new->name, e);
}

static bool collect_modules(const plan *p, modules *m, err *e)
{
    for (int64_t i = 0; i < p->n_tensors; i++)
        if (!collect_module(p, &p->tensor[i], m, e))
            return false;
    strbuf key = {0};
    bool ok = true;
    for (uint64_t i = 0; ok && i < m->n; i++) {
        for (int skip = 0; ok && is_quantized(&m->list[i]) && skip < 2; skip++) {
            strbuf_clear(&key);
            add_template(&key, m->list[i].name.text, skip);
            ok = strbuf_ok(&key, e) && strmap_put(&m->index, key.text, key.len, 0, NULL, e);
        }
    }
    strbuf_free(&key);
    return ok;
}

// The widest pattern that names this module and no quantized one: all layers, this layer, itself.
static bool ignore_pattern(const modules *m, const module *one, strbuf *out, err *e)
{
    for (int skip = 0; skip < 3; skip++) {
        strbuf_clear(out);
        add_template(out, one->name.text, skip < 2 ? skip : 1 << 20);
        if (!strbuf_ok(out, e))
            return false;
        if (skip == 2 || strmap_get(&m->index, out->text, out->len) < 0)
            break;
    }
    return true;
}

// The modules that stay as they were: exact paths, or patterns over layers and experts. A tied head
// has no tensor and so no module in the list, but loaders have a linear layer of that name.
static bool write_left_out(const plan *p, const modules *m, bool patterns, const char *key,
                           json_writer *w, err *e)
{
    static const char head[] = "lm_head";
    strmap seen = {0};
    strbuf pattern = {0}, entry = {0};
    bool ok = true;
    jw_array(w, key);
    if (model_arch(p->model)->tied_head) {
        ok = strmap_put(&seen, head, strlen(head), 0, NULL, e);
        jw_text(w, NULL, head);
    }
    for (uint64_t i = 0; ok && i < m->n; i++) {
        const module *one = &m->list[i];
        bool fresh = false;
        if (is_quantized(one))
            continue;
        strbuf_clear(&entry);
        if (!patterns || !strpbrk(one->name.text, "0123456789")) {
            strbuf_puts(&entry, one->name.text);
        } else {
            ok = ignore_pattern(m, one, &pattern, e);
            strbuf_printf(&entry, "re:^%s$", ok ? pattern.text : "");
        }
        ok = ok && strbuf_ok(&entry, e) &&
             strmap_put(&seen, entry.text, entry.len, 0, &fresh, e);
        if (ok && fresh)
            jw_text(w, NULL, entry.text);
    }
    jw_array_end(w);
    strmap_free(&seen);
    strbuf_free(&pattern);
    strbuf_free(&entry);
    return ok;
}

// ---- compressed-tensors ----------------------------------------------------------------------

static void write_args(json_writer *w, const codec *c)
{
    bool group = c->form == CODEC_INT4_GROUP;
    jw_object(w, "weights");
    jw_int(w, "num_bits", group ? 4 : 8);
    jw_text(w, "type", group ? "int" : "float");
    jw_bool(w, "symmetric", true);
    jw_text(w, "strategy", group ? "group" : "channel");
    if (group)
        jw_int(w, "group_size", c->group);
    else
        jw_null(w, "group_size");
    jw_null(w, "block_structure");
    jw_bool(w, "dynamic", false);
    jw_null(w, "actorder");
    jw_text(w, "observer", "minmax");
    jw_object(w, "observer_kwargs");
    jw_object_end(w);
    jw_object_end(w);
}

static bool write_group(json_writer *w, const modules *m, const codec *c, const char *name,
                        bool first, err *e)
{
    strbuf pattern = {0};
    bool ok = true;
    jw_object(w, name);
    jw_array(w, "targets");
    if (first)
        jw_text(w, NULL, "Linear");
    for (uint64_t i = 0; ok && !first && i < m->n; i++) {
        if (m->list[i].codec != c)
            continue;
        strbuf_clear(&pattern);
        strbuf_puts(&pattern, "re:^");
        add_template(&pattern, m->list[i].name.text, 1 << 20);
        strbuf_puts(&pattern, "$");
        ok = strbuf_ok(&pattern, e);
        if (ok)
            jw_text(w, NULL, pattern.text);
    }
    jw_array_end(w);
    jw_null(w, "input_activations");
    jw_null(w, "output_activations");
    write_args(w, c);
    jw_object_end(w);
    strbuf_free(&pattern);
    return ok;
}

static bool write_compressed_tensors(const plan *p, const modules *m, json_writer *w, err *e)
{
    const codec *c = p->options.codec, *f = p->options.fallback;
    bool second = false;
    for (uint64_t i = 0; i < m->n; i++)
        second |= f && f != c && f->form != CODEC_FLOAT && m->list[i].codec == f;
    jw_object(w, NULL);
    jw_text(w, "quant_method", "compressed-tensors");
    jw_text(w, "format", c->form == CODEC_INT4_GROUP ? "pack-quantized" : "float-quantized");
    jw_text(w, "quantization_status", "compressed");
    jw_null(w, "global_compression_ratio");
    jw_null(w, "kv_cache_scheme");
    jw_object(w, "config_groups");
    bool ok = write_group(w, m, c, "group_0", true, e) &&
              (!second || write_group(w, m, f, "group_1", false, e));
    jw_object_end(w);
    ok = ok && write_left_out(p, m, true, "ignore", w, e);
    jw_object_end(w);
    return ok;
}

// ---- DeepSeek's native FP8 -------------------------------------------------------------------

static bool write_fp8(const plan *p, const modules *m, json_writer *w, err *e)
{
    jw_object(w, NULL);
    jw_text(w, "quant_method", "fp8");
    jw_text(w, "fmt", "e4m3");
    jw_text(w, "activation_scheme", "dynamic");
    jw_array(w, "weight_block_size");
    jw_int(w, NULL, 128);
    jw_int(w, NULL, 128);
    jw_array_end(w);
    if (p->options.codec->pow2)
        jw_text(w, "scale_fmt", "ue8m0");
    bool ok = write_left_out(p, m, false, "modules_to_not_convert", w, e);
    jw_object_end(w);
    return ok;
}

// One quant_method describes the whole checkpoint: every quantized module must be of its kind.
static bool one_method(const plan *p, const modules *m, err *e)
{
    const codec *c = p->options.codec;
    for (uint64_t i = 0; i < m->n; i++) {
        const codec *other = m->list[i].codec;
        if (!is_quantized(&m->list[i]) || other == c || other == p->options.fallback)
            continue;
        if (c->form == CODEC_FP8_BLOCK && other->form == CODEC_FP8_BLOCK && !c->pow2)
            continue; // readers multiply by any scale
        return err_set(e, ERR_INPUT, "'%s' is stored as %s and stays so under this scope; one "
                       "quantization_config cannot describe it beside %s (convert --to bf16 first, "
                       "or a wider --scope)", m->list[i].name.text, other->name, c->name);
    }
    const codec *f = p->options.fallback;
    if (f && f->form != CODEC_FLOAT && f->form != c->form)
        return err_set(e, ERR_USAGE, "the fall-back %s cannot stand beside %s in one "
                       "quantization_config; f32, f16, bf16 or a type of the same form can",
                       f->name, c->name);
    return true;
}

bool config_edit(const plan *p, const char *config, size_t len, strbuf *out, err *e)
{
    if (!p->options.codec) {
        strbuf_add(out, config, len);
        return strbuf_ok(out, e);
    }
    if (p->options.codec->form == CODEC_FLOAT)
        return json_set_member(config, len, "quantization_config", NULL, out, e);
    modules m = {0};
    strbuf text = {0};
    // The value is nested one level inside config.json; the line break in front is skipped below.
    json_writer w = {.out = &text, .indent = 2, .depth = 1, .fresh = true};
    bool ok = collect_modules(p, &m, e) && one_method(p, &m, e);
    if (ok)
        ok = p->options.codec->form == CODEC_FP8_BLOCK ? write_fp8(p, &m, &w, e)
                                                       : write_compressed_tensors(p, &m, &w, e);
    ok = ok && strbuf_ok(&text, e) &&
         json_set_member(config, len, "quantization_config", text.text + strspn(text.text, " \n"),
                         out, e);
    modules_free(&m);
    strbuf_free(&text);
    return ok;
}
