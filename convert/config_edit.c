// SPDX-License-Identifier: Apache-2.0
#include "convert/config_edit.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/jsonscan.h"
#include "formats/quant_config.h"

// ---- which modules are quantized -------------------------------------------------------------

typedef struct {
    strbuf name;        // module path
    const codec *codec; // what it is quantized as in the output; NULL: plain, or bound to no role
    bool moved;         // as it was in the source
    bool linear;        // a layer that loaders make a Linear of
    bool expert;        // of a routed expert
} module;

typedef struct {
    module *list;
    uint64_t n, cap;
    strmap index;            // template at either level -> owner
    const codec **owner;     // of all modules that fit a template; `mixed` where they differ
    uint64_t n_owners, owner_cap;
    const codec *codec[256]; // the types there are: experts' first, then in the registry's order
    int n_codecs;
} modules;

static const codec mixed = {.name = "mixed"};

static void modules_free(modules *m)
{
    for (uint64_t i = 0; i < m->n; i++)
        strbuf_free(&m->list[i].name);
    free(m->list);
    free(m->owner);
    strmap_free(&m->index);
}

// The name as a regular expression; whole numbers between dots become \d+, from the skip-th on.
static void add_template(strbuf *out, const char *name, int skip)
{
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, ".");
        bool number = n > 0 && strspn(p, "0123456789") >= n;
        if (number && skip-- <= 0) {
            strbuf_puts(out, "\\d+");
        } else {
            for (size_t i = 0, plain; i < n; i += plain + 1) {
                plain = strcspn(p + i, ".\\^$|?*+()[]{}");
                strbuf_add(out, p + i, plain);
                if (i + plain < n)
                    strbuf_printf(out, "\\%c", p[i + plain]);
            }
        }
        p += n;
        if (*p == '.') {
            strbuf_puts(out, "\\.");
            p++;
        }
    }
}

// Blocks say all by their own types: no config declares them.
static const codec *quantized_as(const codec *c)
{
    return c && c->form != CODEC_FLOAT && c->form != CODEC_BLOCKS ? c : NULL;
}

static bool collect_module(const plan *p, const plan_tensor *t, modules *m, err *e)
{
    const char *dot = strrchr(t->to.name, '.');
    role_class class = t->owned ? role_class_of(t->role) : CLASS_OTHER;
    const codec *c = t->source ? t->codec : NULL;
    if (t->from && t->owned)
        c = plan_weight(p, t)->codec;
    c = quantized_as(c);
    // One entry a weight, or a moved stack: its first part; vectors and fixed parts are no modules.
    if (!dot || t->part != 0 ||
        (!c && (t->to.rank != 2 ||
                (!t->cut && !t->stack && !str_starts(dot, ".weight") &&
                 strcmp(dot, ".qweight") != 0))))
        return true;
    // Plain embeddings are in no list: they are no linear layers.
    if (class == CLASS_EMBEDDING && !c)
        return true;
    if (!mem_grow((void **)&m->list, &m->cap, m->n + 1, sizeof *m->list, "modules", e))
        return false;
    module *new = &m->list[m->n++];
    *new = (module){.codec = c,
                    .moved = t->from || t->cut,
                    .linear = class != CLASS_EMBEDDING && class != CLASS_ROUTER,
                    .expert = class == CLASS_EXPERTS};
    strbuf_add(&new->name, t->to.name, (size_t)(dot - t->to.name));
    return strbuf_ok(&new->name, e);
}

static bool own_template(modules *m, const strbuf *key, const codec *c, err *e)
{
    int64_t at = strmap_get(&m->index, key->text, key->len);
    if (at >= 0) {
        if (m->owner[at] != c)
            m->owner[at] = &mixed;
        return true;
    }
    if (!mem_grow((void **)&m->owner, &m->owner_cap, m->n_owners + 1, sizeof *m->owner, "modules",
                  e) ||
        !strmap_put(&m->index, key->text, key->len, (int64_t)m->n_owners, NULL, e))
        return false;
    m->owner[m->n_owners++] = c;
    return true;
}

static void list_codecs(modules *m)
{
    for (int of_experts = 1; of_experts >= 0; of_experts--) {
        for (int64_t k = 0; k < codec_count(); k++) {
            bool there = false, listed = false;
            for (uint64_t i = 0; i < m->n; i++)
                there |= m->list[i].codec == codec_at(k) && (!of_experts || m->list[i].expert);
            for (int i = 0; i < m->n_codecs; i++)
                listed |= m->codec[i] == codec_at(k);
            assert(m->n_codecs < (int)COUNT_OF(m->codec));
            if (there && !listed)
                m->codec[m->n_codecs++] = codec_at(k);
        }
    }
}

static bool collect_modules(const plan *p, modules *m, err *e)
{
    for (int64_t i = 0; i < p->n_tensors; i++)
        if (!collect_module(p, &p->tensor[i], m, e))
            return false;
    strbuf key = {0};
    bool ok = true;
    for (uint64_t i = 0; ok && i < m->n; i++) {
        for (int skip = 0; ok && skip < 2; skip++) {
            strbuf_clear(&key);
            add_template(&key, m->list[i].name.text, skip);
            ok = strbuf_ok(&key, e) && own_template(m, &key, m->list[i].codec, e);
        }
    }
    strbuf_free(&key);
    list_codecs(m);
    return ok;
}

// The widest pattern that fits this module and none of another type: all layers, this layer, this.
static bool widest_pattern(const modules *m, const module *one, strbuf *out, err *e)
{
    for (int skip = 0; skip < 3; skip++) {
        strbuf_clear(out);
        add_template(out, one->name.text, skip < 2 ? skip : 1 << 20);
        if (!strbuf_ok(out, e))
            return false;
        if (skip < 2 && m->owner[strmap_get(&m->index, out->text, out->len)] == one->codec)
            break;
    }
    return true;
}

typedef enum {
    LEFT_NAMES,    // a list of exact paths
    LEFT_PATTERNS, // a list of patterns over layers and experts, and of exact paths without numbers
    LEFT_DYNAMIC   // GPTQ's: an object of patterns
} left_out;

static void write_entry(json_writer *w, left_out as, const char *text)
{
    if (as == LEFT_DYNAMIC) {
        jw_object(w, text);
        jw_object_end(w);
    } else {
        jw_text(w, NULL, text);
    }
}

// As it is said of one module.
static bool name_entry(const modules *m, const module *one, left_out as, strbuf *pattern,
                       strbuf *out, err *e)
{
    strbuf_clear(out);
    if (as == LEFT_NAMES || (as == LEFT_PATTERNS && !strpbrk(one->name.text, "0123456789"))) {
        strbuf_puts(out, one->name.text);
    } else {
        if (!widest_pattern(m, one, pattern, e))
            return false;
        strbuf_printf(out, "%s^%s$", as == LEFT_DYNAMIC ? "-:" : "re:", pattern->text);
    }
    return strbuf_ok(out, e);
}

// The modules that stay as they were. A tied head has no tensor and so no module in the list, but
// loaders have a linear layer of that name.
static bool write_left_out(const plan *p, const modules *m, left_out as, const char *key,
                           json_writer *w, err *e)
{
    const char *head = as == LEFT_DYNAMIC ? "-:^lm_head$" : "lm_head";
    strmap seen = {0};
    strbuf pattern = {0}, entry = {0};
    bool ok = true;
    if (as == LEFT_DYNAMIC)
        jw_object(w, key);
    else
        jw_array(w, key);
    if (model_arch(p->model)->tied_head) {
        ok = strmap_put(&seen, head, strlen(head), 0, NULL, e);
        write_entry(w, as, head);
    }
    for (uint64_t i = 0; ok && i < m->n; i++) {
        const module *one = &m->list[i];
        bool fresh = false;
        if (one->codec)
            continue;
        ok = name_entry(m, one, as, &pattern, &entry, e) &&
             strmap_put(&seen, entry.text, entry.len, 0, &fresh, e);
        if (ok && fresh)
            write_entry(w, as, entry.text);
    }
    if (as == LEFT_DYNAMIC)
        jw_object_end(w);
    else
        jw_array_end(w);
    strmap_free(&seen);
    strbuf_free(&pattern);
    strbuf_free(&entry);
    return ok;
}

// ---- compressed-tensors ----------------------------------------------------------------------

static const char *strategy_of(const codec *c)
{
    if (c->group)
        return c->whole ? "tensor_group" : "group";
    return c->whole ? "tensor" : "channel";
}

static void write_args(json_writer *w, const codec *c)
{
    jw_object(w, "weights");
    jw_int(w, "num_bits", c->bits);
    jw_text(w, "type", c->element == ELEMENT_INT ? "int" : "float");
    jw_bool(w, "symmetric", codec_part_of(c, PART_ZEROS) < 0);
    jw_text(w, "strategy", strategy_of(c));
    if (c->group)
        jw_int(w, "group_size", c->group);
    else
        jw_null(w, "group_size");
    jw_null(w, "block_structure");
    jw_bool(w, "dynamic", false);
    jw_null(w, "actorder");
    if (c->form == CODEC_MX)
        jw_text(w, "scale_dtype", c->whole ? "torch.float8_e4m3fn" : "torch.uint8");
    jw_text(w, "observer", "minmax");
    jw_object(w, "observer_kwargs");
    jw_object_end(w);
    jw_object_end(w);
}

static const char *format_of(const codec *c)
{
    if (c->form == CODEC_INT)
        return "pack-quantized";
    if (c->form != CODEC_MX)
        return "float-quantized";
    if (c->element == ELEMENT_E4M3)
        return "mxfp8-quantized";
    return c->whole ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized";
}

static bool write_targets(json_writer *w, const modules *m, const codec *c, err *e)
{
    strmap seen = {0};
    strbuf pattern = {0}, entry = {0};
    bool ok = true;
    for (uint64_t i = 0; ok && i < m->n; i++) {
        bool fresh = false;
        if (m->list[i].codec != c)
            continue;
        ok = widest_pattern(m, &m->list[i], &pattern, e);
        strbuf_clear(&entry);
        strbuf_printf(&entry, "re:^%s$", ok ? pattern.text : "");
        ok = ok && strbuf_ok(&entry, e) &&
             strmap_put(&seen, entry.text, entry.len, 0, &fresh, e);
        if (ok && fresh)
            jw_text(w, NULL, entry.text);
    }
    strmap_free(&seen);
    strbuf_free(&pattern);
    strbuf_free(&entry);
    return ok;
}

static bool write_group(json_writer *w, const modules *m, int number, bool by_name, err *e)
{
    const codec *c = m->codec[number];
    char key[24];
    bool ok = true;
    (void)snprintf(key, sizeof key, "group_%d", number);
    jw_object(w, key);
    jw_array(w, "targets");
    if (by_name)
        ok = write_targets(w, m, c, e);
    else
        jw_text(w, NULL, "Linear");
    jw_array_end(w);
    jw_null(w, "input_activations");
    jw_null(w, "output_activations");
    if (by_name)
        jw_text(w, "format", format_of(c));
    write_args(w, c);
    jw_object_end(w);
    return ok;
}

// One type of linear layers is said by their class, which every loader understands; else each
// group names its modules, in patterns of which no module fits two.
static bool write_compressed_tensors(const plan *p, const modules *m, json_writer *w, err *e)
{
    bool by_name = m->n_codecs > 1, one_format = true, ok = true;
    for (uint64_t i = 0; i < m->n; i++)
        by_name |= m->list[i].codec && !m->list[i].linear;
    for (int i = 1; i < m->n_codecs; i++)
        one_format &= strcmp(format_of(m->codec[i]), format_of(m->codec[0])) == 0;
    jw_object(w, NULL);
    jw_text(w, "quant_method", "compressed-tensors");
    jw_text(w, "format", one_format ? format_of(m->codec[0]) : "mixed-precision");
    jw_text(w, "quantization_status", "compressed");
    jw_null(w, "global_compression_ratio");
    // The cache's scales travel with the tensors, and weights are all that changes.
    jw_value(w, "kv_cache_scheme", quant_config_of(p->model)->cache);
    jw_object(w, "config_groups");
    for (int i = 0; ok && i < m->n_codecs; i++)
        ok = write_group(w, m, i, by_name, e);
    jw_object_end(w);
    ok = ok && write_left_out(p, m, LEFT_PATTERNS, "ignore", w, e);
    jw_object_end(w);
    return ok;
}

// ---- DeepSeek's native FP8, fbgemm's ---------------------------------------------------------

// DeepSeek-V4's experts, which expert_dtype declares.
static bool is_fp4(const codec *c)
{
    return c->config == CONFIG_FP8 && c->element == ELEMENT_E2M1;
}

static bool has_fp4(const modules *m)
{
    bool has = false;
    for (int i = 0; i < m->n_codecs; i++)
        has |= is_fp4(m->codec[i]);
    return has;
}

static bool write_fp8(const plan *p, const modules *m, json_writer *w, err *e)
{
    int64_t side = 128; // also where FP4 stands alone: readers ask for it
    for (int i = 0; i < m->n_codecs; i++)
        side = is_fp4(m->codec[i]) ? side : m->codec[i]->group;
    jw_object(w, NULL);
    jw_text(w, "quant_method", "fp8");
    jw_text(w, "fmt", "e4m3");
    jw_text(w, "activation_scheme", "dynamic");
    jw_array(w, "weight_block_size");
    jw_int(w, NULL, side);
    jw_int(w, NULL, side);
    jw_array_end(w);
    if (m->codec[0]->pow2)
        jw_text(w, "scale_fmt", "ue8m0");
    if (has_fp4(m))
        jw_text(w, "expert_dtype", "fp4");
    bool ok = write_left_out(p, m, LEFT_NAMES, "modules_to_not_convert", w, e);
    jw_object_end(w);
    return ok;
}

// The bound that runtimes put on activations is transformers' own.
static bool write_fbgemm(const plan *p, const modules *m, json_writer *w, err *e)
{
    jw_object(w, NULL);
    jw_text(w, "quant_method", "fbgemm_fp8");
    jw_raw(w, "activation_scale_ub", "1200.0");
    bool ok = write_left_out(p, m, LEFT_NAMES, "modules_to_not_convert", w, e);
    jw_object_end(w);
    return ok;
}

// ---- ModelOpt --------------------------------------------------------------------------------

// Weights only: what is written has no scales for activations, which the algorithm NVFP4 asks for.
static bool write_modelopt(const plan *p, const modules *m, json_writer *w, err *e)
{
    const codec *c = m->codec[0];
    jw_object(w, NULL);
    jw_text(w, "quant_method", "modelopt");
    jw_text(w, "quant_algo", "W4A16_NVFP4");
    jw_object(w, "config_groups");
    jw_object(w, "group_0");
    jw_object(w, "weights");
    jw_bool(w, "dynamic", false);
    jw_int(w, "num_bits", c->bits);
    jw_text(w, "type", "float");
    jw_int(w, "group_size", c->group);
    jw_object_end(w);
    jw_array(w, "targets");
    jw_text(w, NULL, "Linear");
    jw_array_end(w);
    jw_object_end(w);
    jw_object_end(w);
    bool ok = write_left_out(p, m, LEFT_NAMES, "ignore", w, e);
    jw_object_end(w);
    return ok;
}

// ---- GPTQ, AWQ, MLX --------------------------------------------------------------------------

static void write_size(json_writer *w, const codec *c)
{
    jw_int(w, "bits", c->bits);
    jw_int(w, "group_size", c->group ? c->group : -1);
}

// GPTQModel and vLLM ask the patterns of `dynamic` in turn; "-:" leaves a module as it is.
static bool write_gptq(const plan *p, const modules *m, json_writer *w, err *e)
{
    const codec *c = m->codec[0];
    const char *format = c->gptq_format == 1 ? "gptq" : "gptq_v2";
    jw_object(w, NULL);
    jw_text(w, "quant_method", "gptq");
    write_size(w, c);
    jw_bool(w, "desc_act", false);
    jw_bool(w, "sym", c->zero != 0);
    jw_bool(w, "lm_head", false);
    jw_text(w, "checkpoint_format", format);
    jw_text(w, "format", format);
    jw_text(w, "pack_dtype", "int32");
    bool ok = write_left_out(p, m, LEFT_DYNAMIC, "dynamic", w, e);
    jw_object_end(w);
    return ok;
}

// AutoAWQ, transformers and vLLM read the names, GPTQModel the patterns.
static bool write_awq(const plan *p, const modules *m, json_writer *w, err *e)
{
    jw_object(w, NULL);
    jw_text(w, "quant_method", "awq");
    write_size(w, m->codec[0]);
    jw_bool(w, "zero_point", true);
    jw_text(w, "version", "gemm");
    bool ok = write_left_out(p, m, LEFT_NAMES, "modules_to_not_convert", w, e) &&
              write_left_out(p, m, LEFT_DYNAMIC, "dynamic", w, e);
    jw_object_end(w);
    return ok;
}

// mlx-lm quantizes what has scales.
static void write_mlx(const modules *m, json_writer *w)
{
    const codec *c = m->codec[0];
    const char *mode = c->group == 16 ? "nvfp4" : c->bits == 8 ? "mxfp8" : "mxfp4";
    jw_object(w, NULL);
    write_size(w, c);
    jw_text(w, "mode", c->form == CODEC_TOOL ? "affine" : mode);
    jw_object_end(w);
}

// ---- gpt-oss ---------------------------------------------------------------------------------

// Of all experts; the list is what is left.
static bool write_mxfp4(const plan *p, const modules *m, json_writer *w, err *e)
{
    jw_object(w, NULL);
    jw_text(w, "quant_method", "mxfp4");
    bool ok = write_left_out(p, m, LEFT_NAMES, "modules_to_not_convert", w, e);
    jw_object_end(w);
    return ok;
}

// What may stand beside what. quant_method fp8 describes DeepSeek's blocks, compressed-tensors the
// rest; there is one size of blocks, and scale_fmt says of all scales that they are powers of two.
// The other configs are written for one type.
static bool describable(const codec *a, const codec *b)
{
    if (a->config == CONFIG_NONE || a->config != b->config)
        return false;
    bool alike = a->pow2 == b->pow2 && (a->group == b->group || is_fp4(a) || is_fp4(b));
    return a->config == CONFIG_COMPRESSED_TENSORS || (a->config == CONFIG_FP8 && alike) || a == b;
}

static const char *what_loaders_read(const codec *a, const codec *b)
{
    if (a->config > CONFIG_FP8 || b->config > CONFIG_FP8)
        return "one type for all modules from configs of fbgemm, ModelOpt, gpt-oss, GPTQ, "
               "AWQ and MLX";
    return a->config == b->config
               ? "one size of blocks and one kind of scale, not two"
               : "either fp8-block or compressed-tensors' types (int4, fp8-channel)";
}

// expert_dtype speaks of all routed experts that are in codes, gpt-oss' config of all routed
// experts, and either of nothing else.
static bool experts_are_alike(const modules *m, err *e)
{
    const bool fp4 = has_fp4(m), blocks = m->n_codecs && m->codec[0]->config == CONFIG_MXFP4;
    char s[STR_SHORT];
    for (uint64_t i = 0; (fp4 || blocks) && i < m->n; i++) {
        const module *one = &m->list[i];
        const char *verb = one->moved ? "is" : "would be";
        err_kind kind = one->moved ? ERR_INPUT : ERR_USAGE;
        const char *name = str_short(one->name.text, s);
        if (fp4 && one->codec && is_fp4(one->codec) != one->expert)
            return err_set(e, kind, "'%s' %s %s: a config's expert_dtype says fp4 of all routed "
                           "experts, and of nothing else", name, verb, one->codec->name);
        if (blocks && one->expert && !one->codec)
            return err_set(e, kind, "'%s' %s plain: gpt-oss' config says mxfp4 of all routed "
                           "experts", name, verb);
    }
    return true;
}

static bool one_method(const modules *m, err *e)
{
    const module *first = NULL, *second = NULL;
    char s[STR_SHORT], t[STR_SHORT];
    for (uint64_t i = 0; !second && i < m->n; i++) {
        if (!m->list[i].codec)
            continue;
        first = first ? first : &m->list[i];
        second = describable(first->codec, m->list[i].codec) ? NULL : &m->list[i];
    }
    if (!second)
        return experts_are_alike(m, e);
    if (first == second)
        return err_set(e, ERR_INPUT, "'%s' is stored as %s and stays so; this version writes no "
                       "quantization_config for that (convert --to bf16 first, or a wider --scope)",
                       str_short(first->name.text, s), first->codec->name);
    if (first->moved != second->moved) {
        const module *stays = first->moved ? first : second;
        return err_set(e, ERR_INPUT, "'%s' is stored as %s and stays so; one quantization_config "
                       "cannot describe it beside %s (convert --to bf16 first, or a wider --scope)",
                       str_short(stays->name.text, s), stays->codec->name,
                       (stays == first ? second : first)->codec->name);
    }
    return err_set(e, ERR_USAGE, "'%s' would be %s and '%s' %s: one quantization_config cannot "
                   "describe both, loaders read %s", str_short(first->name.text, s),
                   first->codec->name, str_short(second->name.text, t), second->codec->name,
                   what_loaders_read(first->codec, second->codec));
}

static bool codes_anything(const plan *p)
{
    for (int64_t i = 0; i < p->n_tensors; i++)
        if (p->tensor[i].source && !p->tensor[i].cut)
            return true;
    return false;
}

static bool describe(const plan *p, const modules *m, strbuf *out, err *e)
{
    // The value is nested one level inside config.json; the line break in front is skipped later.
    json_writer w = {.out = out, .indent = 2, .depth = 1, .fresh = true};
    bool ok = true;
    switch (m->codec[0]->config) {
    case CONFIG_NONE: // one_method has refused it
    case CONFIG_COMPRESSED_TENSORS: ok = write_compressed_tensors(p, m, &w, e); break;
    case CONFIG_FP8: ok = write_fp8(p, m, &w, e); break;
    case CONFIG_FBGEMM: ok = write_fbgemm(p, m, &w, e); break;
    case CONFIG_MODELOPT: ok = write_modelopt(p, m, &w, e); break;
    case CONFIG_GPTQ: ok = write_gptq(p, m, &w, e); break;
    case CONFIG_AWQ: ok = write_awq(p, m, &w, e); break;
    case CONFIG_MLX: write_mlx(m, &w); break;
    case CONFIG_MXFP4: ok = write_mxfp4(p, m, &w, e); break;
    }
    return ok && strbuf_ok(out, e);
}

// A member of its own in DeepSeek-V4's config.json. Where it is there, it has to stay true.
static bool set_expert_dtype(const modules *m, const strbuf *source, strbuf *out, err *e)
{
    static const char key[] = "expert_dtype";
    bool fp8 = m->n_codecs && m->codec[0]->config == CONFIG_FP8;
    if (!has_fp4(m) && !json_set_member(source->text, source->len, key, NULL, out, e))
        return false;
    if (!has_fp4(m) && (!fp8 || out->len == source->len))
        return true;
    strbuf_clear(out);
    return json_set_member(source->text, source->len, key, has_fp4(m) ? "\"fp4\"" : "\"fp8\"",
                           out, e);
}

// mlx-lm reads `quantization` and writes it twice.
static bool set_members(const modules *m, const strbuf *text, const char *source, size_t len,
                        strbuf *out, err *e)
{
    const char *value = m->n_codecs ? text->text + strspn(text->text, " \n") : NULL;
    bool mlx = m->n_codecs && m->codec[0]->config == CONFIG_MLX;
    strbuf one = {0}, two = {0};
    bool ok = json_set_member(source, len, "quantization", mlx ? value : NULL, &one, e) &&
              set_expert_dtype(m, &one, &two, e) &&
              json_set_member(two.text, two.len, "quantization_config", value, out, e);
    strbuf_free(&one);
    strbuf_free(&two);
    return ok;
}

// A config of activations only stays true of plain weights.
static bool stays_true(const plan *p, const modules *m)
{
    const quant_config *q = quant_config_of(p->model);
    return m->n_codecs == 0 && q->method && q->n == 0;
}

bool config_edit(const plan *p, const char *source, size_t len, strbuf *out, err *e)
{
    bool plain = p->options.codec && p->options.codec->form == CODEC_FLOAT;
    if (!p->model || (!plain && !codes_anything(p))) {
        strbuf_add(out, source, len);
        return strbuf_ok(out, e);
    }
    modules m = {0};
    strbuf text = {0};
    bool ok = collect_modules(p, &m, e) && one_method(&m, e);
    if (ok && stays_true(p, &m)) {
        strbuf_add(out, source, len);
        ok = strbuf_ok(out, e);
    } else if (ok) {
        ok = (m.n_codecs == 0 || describe(p, &m, &text, e)) &&
             set_members(&m, &text, source, len, out, e);
    }
    modules_free(&m);
    strbuf_free(&text);
    return ok;
}
