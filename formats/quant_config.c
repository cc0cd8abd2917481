// SPDX-License-Identifier: Apache-2.0
#include "formats/quant_config.h"

#include <stdio.h>
#include <string.h>

static const char *form_text(codec_form form, int64_t group, char *buf, size_t size)
{
    switch (form) {
    case CODEC_FLOAT: return "float";
    case CODEC_FP8_BLOCK: return "fp8-block";
    case CODEC_FP8_CHANNEL: return "fp8-channel";
    case CODEC_BLOCKS: return "ggml blocks";
    case CODEC_INT4_GROUP: break;
    }
    (void)snprintf(buf, size, "int4-g%lld", (long long)group);
    return buf;
}

static bool declare(quant_config *q, codec_form form, int64_t group, err *e)
{
    for (int i = 0; i < q->n; i++)
        if (q->declared[i].form == form && q->declared[i].group == group)
            return true;
    if (q->n == QUANT_MAX_DECLARED)
        return err_set(e, ERR_INPUT, "config.json: quantization_config has more than %d different "
                       "schemes", QUANT_MAX_DECLARED);
    q->declared[q->n].form = form;
    q->declared[q->n].group = group;
    q->n++;
    return true;
}

static const char *text_at(const json *j, const char *key)
{
    const json *member = json_get(j, key);
    return member ? json_as_text(member) : NULL;
}

static bool is_null(const json *j) { return !j || json_type(j) == JSON_NULL; }

// quant_method "fp8": DeepSeek's own form, blocks of 128 x 128.
static bool read_fp8(quant_config *q, const json *j, err *e)
{
    const char *fmt = text_at(j, "fmt");
    if (fmt && strcmp(fmt, "e4m3") != 0)
        return err_set(e, ERR_INPUT, "config.json: quantization_config.fmt is '%s', this version "
                       "reads 'e4m3'", fmt);
    const json *size = json_get(j, "weight_block_size");
    if (is_null(size))
        return err_set(e, ERR_INPUT, "config.json: quantization_config has no weight_block_size: "
                       "FP8 with one scale a tensor is not supported by this version");
    int64_t rows = 0, cols = 0;
    if (json_type(size) != JSON_ARRAY || json_len(size) != 2 ||
        !json_as_int(json_first(size), &rows) || !json_as_int(json_next(json_first(size)), &cols) ||
        rows != 128 || cols != 128)
        return err_set(e, ERR_INPUT, "config.json: quantization_config.weight_block_size is not "
                       "[128, 128], the only one this version reads");
    return declare(q, CODEC_FP8_BLOCK, 0, e);
}

typedef struct {
    const char *type, *strategy;
    int64_t bits, group;
    bool symmetric;
} scheme;

static void read_scheme(scheme *s, const json *weights)
{
    const json *bits = json_get(weights, "num_bits"), *group = json_get(weights, "group_size");
    const json *symmetric = json_get(weights, "symmetric");
    *s = (scheme){.type = text_at(weights, "type"), .strategy = text_at(weights, "strategy"),
                  .bits = 8, .symmetric = true};
    if (!s->type)
        s->type = "int";
    if (!is_null(bits) && !json_as_int(bits, &s->bits))
        s->bits = -1;
    if (!is_null(group) && !json_as_int(group, &s->group))
        s->group = 0;
    if (!is_null(symmetric) && !json_as_bool(symmetric, &s->symmetric))
        s->symmetric = false;
    if (!s->strategy) // as compressed-tensors infers it
        s->strategy = s->group > 0 ? "group" : s->group == -1 ? "channel" : "tensor";
}

static bool read_group(quant_config *q, const json *group, err *e)
{
    const json *weights = json_get(group, "weights");
    const char *name = json_key(group);
    if (is_null(weights))
        return json_type(group) == JSON_OBJECT
                   ? true // activations only: nothing is stored
                   : err_set(e, ERR_INPUT, "config.json: quantization_config.config_groups.%s is a "
                             "preset name, this version reads schemes only", name);
    scheme s;
    read_scheme(&s, weights);
    bool int4 = strcmp(s.type, "int") == 0 && s.bits == 4 && strcmp(s.strategy, "group") == 0;
    bool fp8 = strcmp(s.type, "float") == 0 && s.bits == 8 && strcmp(s.strategy, "channel") == 0;
    const char *order = text_at(weights, "actorder");
    bool reordered = order && (strcmp(order, "group") == 0 || strcmp(order, "dynamic") == 0);
    if (int4 && s.symmetric && !reordered && (s.group == 32 || s.group == 64 || s.group == 128))
        return declare(q, CODEC_INT4_GROUP, s.group, e);
    if (fp8 && s.symmetric)
        return declare(q, CODEC_FP8_CHANNEL, 0, e);
    return err_set(e, ERR_INPUT,
                   "config.json: quantization_config.config_groups.%s declares weights of %lld-bit "
                   "%s, strategy %s, group size %lld, %s%s: this version reads symmetric 4-bit int "
                   "in groups of 32, 64 or 128, and 8-bit float by channel",
                   name, (long long)s.bits, s.type, s.strategy, (long long)s.group,
                   s.symmetric ? "symmetric" : "asymmetric",
                   reordered ? ", columns re-ordered (actorder)" : "");
}

static bool read_compressed_tensors(quant_config *q, const json *j, err *e)
{
    const json *transform = json_get(j, "transform_config");
    if (!is_null(transform) && json_len(transform) > 0)
        return err_set(e, ERR_INPUT, "config.json: quantization_config.transform_config is not "
                       "empty: transformed weights are not supported by this version");
    const char *sparse = text_at(json_get(j, "sparsity_config"), "format");
    if (sparse && strcmp(sparse, "dense") != 0)
        return err_set(e, ERR_INPUT, "config.json: quantization_config.sparsity_config has format "
                       "'%s': sparse weights are not supported by this version", sparse);
    const json *groups = json_get(j, "config_groups");
    if (is_null(groups) || json_type(groups) != JSON_OBJECT || json_len(groups) == 0)
        return err_set(e, ERR_INPUT, "config.json: quantization_config has no config_groups");
    for (const json *g = json_first(groups); g; g = json_next(g))
        if (!read_group(q, g, e))
            return false;
    return true;
}

bool quant_config_read(quant_config *q, const config *c, err *e)
{
    *q = (quant_config){0};
    const json *j = config_get(c, "quantization_config");
    if (!j)
        return true;
    const char *method = text_at(j, "quant_method");
    bool done = false;
    if (method && strcmp(method, "fp8") == 0)
        done = read_fp8(q, j, e);
    else if (method && strcmp(method, "compressed-tensors") == 0)
        done = read_compressed_tensors(q, j, e);
    else
        err_set(e, ERR_INPUT, "config.json: quantization_config.quant_method is '%s': this version "
                "reads 'fp8' and 'compressed-tensors'", method ? method : "(none)");
    if (done)
        q->method = strcmp(method, "fp8") == 0 ? "fp8" : "compressed-tensors";
    else
        *q = (quant_config){0};
    return done;
}

bool quant_config_declares(const quant_config *q, const codec *c)
{
    int64_t group = c->form == CODEC_INT4_GROUP ? c->group : 0;
    for (int i = 0; i < q->n; i++)
        if (q->declared[i].form == c->form && q->declared[i].group == group)
            return true;
    return false;
}

const char *quant_config_text(const quant_config *q, char *buf, size_t size)
{
    size_t len = 0;
    buf[0] = 0;
    for (int i = 0; i < q->n && len < size; i++) {
        char name[32];
        int more = snprintf(buf + len, size - len, "%s%s", i ? ", " : "",
                            form_text(q->declared[i].form, q->declared[i].group, name,
                                      sizeof name));
        len += more > 0 ? (size_t)more : 0;
    }
    return buf;
}
