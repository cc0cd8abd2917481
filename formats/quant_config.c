// SPDX-License-Identifier: Apache-2.0
#include "formats/quant_config.h"

#include <stdio.h>
#include <string.h>

// ---- schemes ----

static const char *scheme_text(const quant_scheme *s, char *buf, size_t size)
{
    char groups[64] = "";
    const char *element = s->element == ELEMENT_E4M3 ? "fp" : s->element == ELEMENT_E2M1 ? "fp"
                                                                                         : "int";
    if (s->rows == PART_WHOLE && s->cols == PART_WHOLE)
        (void)snprintf(groups, sizeof groups, "-tensor");
    else if (s->rows == 1 && s->cols == PART_WHOLE)
        (void)snprintf(groups, sizeof groups, "-channel");
    else if (s->rows == 1)
        (void)snprintf(groups, sizeof groups, "-g%lld", (long long)s->cols);
    else if (s->rows == 128 && s->cols == 128)
        (void)snprintf(groups, sizeof groups, "-block");
    else if (s->rows)
        (void)snprintf(groups, sizeof groups, "-block %lldx%lld", (long long)s->rows,
                       (long long)s->cols);
    (void)snprintf(buf, size, "%s%d%s%s", element, s->bits, groups,
                   s->zeros == ZEROS_GIVEN ? " with zero points" : "");
    return buf;
}

static bool declare(quant_config *q, quant_scheme s, err *e)
{
    for (int i = 0; i < q->n; i++) {
        const quant_scheme *d = &q->declared[i];
        if (d->element == s.element && d->bits == s.bits && d->rows == s.rows &&
            d->cols == s.cols && d->zeros == s.zeros)
            return true;
    }
    if (q->n == QUANT_MAX_DECLARED)
        return err_set(e, ERR_INPUT, "config.json: quantization_config has more than %d different "
                       "schemes", QUANT_MAX_DECLARED);
    q->declared[q->n++] = s;
    return true;
}

// Whether n elements are what `extent` rows (columns) make with so many a scale. Groups of integers
// have to divide.
static bool shares(const quant_scheme *s, int64_t declared, int64_t extent, int64_t n)
{
    if (declared == 0 || declared == PART_WHOLE)
        return declared == 0 || n == 1;
    return n == i64_ceil_div(extent, declared) &&
           (s->element != ELEMENT_INT || extent % declared == 0);
}

static bool is_scheme(const quant_scheme *s, const weight *w)
{
    const codec *c = w->codec;
    bool zeros = false, geometry = false;
    if (s->element != c->element || s->bits != c->bits)
        return false;
    for (int i = 0; i < w->n_parts; i++) {
        const codec_part *p = &c->part[w->of[i]];
        part_place place;
        zeros = zeros || p->kind == PART_ZEROS;
        if (p->kind == PART_SCALES && weight_place(w, p, w->part[i], &place))
            geometry = shares(s, s->rows, weight_stored_rows(w), place.rows) &&
                       shares(s, s->cols, w->in, place.cols);
    }
    return geometry && (s->zeros == ZEROS_ANY || zeros == (s->zeros == ZEROS_GIVEN));
}

// ---- members ----

static const char *text_at(const json *j, const char *key)
{
    const json *member = json_get(j, key);
    return member ? json_as_text(member) : NULL;
}

static bool is_null(const json *j) { return !j || json_type(j) == JSON_NULL; }

static bool is_text(const char *text, const char *other) { return text && !strcmp(text, other); }

// A number that may be absent or null; false for what is none.
static bool int_at(const json *j, const char *key, int64_t otherwise, int64_t *to)
{
    const json *member = json_get(j, key);
    *to = otherwise;
    return is_null(member) || json_as_int(member, to);
}

static bool refuse_member(const char *key, const char *expected, err *e)
{
    return err_set(e, ERR_INPUT, "config.json: quantization_config.%s is not %s", key, expected);
}

static bool read_pair(const json *j, const char *key, int64_t pair[2], err *e)
{
    if (json_type(j) == JSON_ARRAY && json_len(j) == 2 && json_as_int(json_first(j), &pair[0]) &&
        json_as_int(json_next(json_first(j)), &pair[1]) && pair[0] > 0 && pair[1] > 0)
        return true;
    return refuse_member(key, "two positive numbers", e);
}

static quant_scheme group_of(codec_element element, int bits, int64_t cols)
{
    return (quant_scheme){element, bits, 1, cols > 0 ? cols : PART_WHOLE, ZEROS_ANY};
}

// ---- methods ----

// quant_method "fp8": DeepSeek's own form and what others made of it. No block size: a scale a
// tensor or row, which the tensors say.
static bool read_fp8(quant_config *q, const config *c, const json *j, err *e)
{
    const char *fmt = text_at(j, "fmt");
    if (fmt && strcmp(fmt, "e4m3") != 0)
        return err_set(e, ERR_INPUT, "config.json: quantization_config.fmt is '%s', this version "
                       "reads 'e4m3'", fmt);
    const json *size = json_get(j, "weight_block_size");
    int64_t block[2] = {0, 0};
    if (!is_null(size) && !read_pair(size, "weight_block_size", block, e))
        return false;
    if (!declare(q, (quant_scheme){ELEMENT_E4M3, 8, block[0], block[1], ZEROS_ANY}, e))
        return false;
    const json *experts = config_get(c, "expert_dtype"); // DeepSeek-V4; V4.1 and transformers
    if (!experts || !is_text(json_as_text(experts), "fp4")) // have it here
        experts = json_get(j, "expert_dtype");
    return !experts || !is_text(json_as_text(experts), "fp4") ||
           declare(q, group_of(ELEMENT_E2M1, 4, 32), e);
}

static bool read_fbgemm(quant_config *q, const config *c, const json *j, err *e)
{
    (void)c;
    (void)j;
    return declare(q, group_of(ELEMENT_E4M3, 8, -1), e);
}

static bool read_mxfp8(quant_config *q, const config *c, const json *j, err *e)
{
    (void)c;
    (void)j;
    return declare(q, group_of(ELEMENT_E4M3, 8, 32), e);
}

static bool read_mxfp4(quant_config *q, const config *c, const json *j, err *e)
{
    (void)c;
    (void)j;
    return declare(q, group_of(ELEMENT_E2M1, 4, 32), e);
}

typedef struct {
    const char *type, *strategy;
    int64_t bits, group, block[2];
    bool symmetric;
} scheme;

static bool read_scheme(scheme *s, const json *weights, err *e)
{
    const json *symmetric = json_get(weights, "symmetric");
    static const char block_key[] = "config_groups.*.weights.block_structure";
    const json *block = json_get(weights, "block_structure");
    *s = (scheme){.type = text_at(weights, "type"), .strategy = text_at(weights, "strategy"),
                  .symmetric = true};
    if (!s->type)
        s->type = "int";
    if (!int_at(weights, "num_bits", 8, &s->bits))
        s->bits = -1;
    if (!int_at(weights, "group_size", 0, &s->group))
        s->group = 0;
    if (!is_null(symmetric) && !json_as_bool(symmetric, &s->symmetric))
        s->symmetric = false;
    if (!s->strategy) // as compressed-tensors infers it
        s->strategy = s->group > 0 ? "group" : s->group == -1 ? "channel" : "tensor";
    const char *text = block ? json_as_text(block) : NULL;
    if (text) {
        long long rows, cols;
        if (sscanf(text, "%9lldx%9lld", &rows, &cols) != 2 || rows < 1 || cols < 1)
            return refuse_member(block_key, "two positive numbers", e);
        s->block[0] = rows;
        s->block[1] = cols;
        return true;
    }
    return is_null(block) || read_pair(block, block_key, s->block, e);
}

// False where a strategy is none that is stored.
static bool strategy_of(const scheme *s, quant_scheme *to)
{
    static const char *const groups[] = {"group", "tensor_group"};
    if (is_text(s->strategy, "tensor")) {
        to->rows = to->cols = PART_WHOLE;
    } else if (is_text(s->strategy, "channel")) {
        to->rows = 1;
        to->cols = PART_WHOLE;
    } else if (is_text(s->strategy, "block") && s->block[0]) {
        to->rows = s->block[0];
        to->cols = s->block[1];
    } else if ((is_text(s->strategy, groups[0]) || is_text(s->strategy, groups[1])) &&
               s->group > 0) {
        to->rows = 1;
        to->cols = s->group;
    } else {
        return false;
    }
    return true;
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
    quant_scheme as = {.bits = 0};
    if (!read_scheme(&s, weights, e))
        return false;
    bool whole = is_text(s.type, "int") && (s.bits == 4 || s.bits == 8);
    bool real = is_text(s.type, "float") && (s.bits == 4 || s.bits == 8) && s.symmetric;
    if ((whole || real) && strategy_of(&s, &as)) {
        as.bits = (int)s.bits;
        as.element = whole ? ELEMENT_INT : s.bits == 8 ? ELEMENT_E4M3 : ELEMENT_E2M1;
        as.zeros = !whole ? ZEROS_ANY : s.symmetric ? ZEROS_NONE : ZEROS_GIVEN;
        return declare(q, as, e);
    }
    return err_set(e, ERR_INPUT,
                   "config.json: quantization_config.config_groups.%s declares weights of %lld-bit "
                   "%s, strategy %s, group size %lld, %s: this version reads int of 4 and 8 bits, "
                   "and symmetric float of 4 and 8, by tensor, channel, group or block", name,
                   (long long)s.bits, s.type, s.strategy, (long long)s.group,
                   s.symmetric ? "symmetric" : "asymmetric");
}

static bool read_compressed_tensors(quant_config *q, const config *c, const json *j, err *e)
{
    (void)c;
    const json *transform = json_get(j, "transform_config");
    if (!is_null(transform) && json_len(transform) > 0)
        return err_set(e, ERR_INPUT, "config.json: quantization_config.transform_config is not "
                       "empty: transformed weights are not supported by this version");
    const char *sparse = text_at(json_get(j, "sparsity_config"), "format");
    if (sparse && strcmp(sparse, "dense") != 0)
        return err_set(e, ERR_INPUT, "config.json: quantization_config.sparsity_config has format "
                       "'%s': sparse weights are not supported by this version", sparse);
    const json *cache = json_get(j, "kv_cache_scheme"), *groups = json_get(j, "config_groups");
    q->cache = cache && json_type(cache) == JSON_OBJECT ? cache : NULL;
    if (is_null(groups) || json_type(groups) != JSON_OBJECT || json_len(groups) == 0)
        return err_set(e, ERR_INPUT, "config.json: quantization_config has no config_groups");
    for (const json *g = json_first(groups); g; g = json_next(g))
        if (!read_group(q, g, e))
            return false;
    return true;
}

static bool read_modelopt(quant_config *q, const config *c, const json *j, err *e)
{
    static const struct {
        const char *algo;
        quant_scheme is;
    } algos[] = {
        {"FP8", {ELEMENT_E4M3, 8, PART_WHOLE, PART_WHOLE, ZEROS_ANY}},
        {"FP8_PER_CHANNEL_PER_TOKEN", {ELEMENT_E4M3, 8, 1, PART_WHOLE, ZEROS_ANY}},
        {"FP8_PB_WO", {ELEMENT_E4M3, 8, 128, 128, ZEROS_ANY}},
        {"MXFP8", {ELEMENT_E4M3, 8, 1, 32, ZEROS_ANY}},
        {"NVFP4", {ELEMENT_E2M1, 4, 1, 16, ZEROS_ANY}},
        {"W4A16_NVFP4", {ELEMENT_E2M1, 4, 1, 16, ZEROS_ANY}},
    };
    const char *algo = text_at(j, "quant_algo");
    (void)c;
    for (size_t i = 0; i < COUNT_OF(algos); i++)
        if (is_text(algo, algos[i].algo))
            return declare(q, algos[i].is, e);
    if (is_text(algo, "MIXED_PRECISION")) { // which layers are what is not evaluated
        bool ok = true;
        for (size_t i = 0; ok && i < COUNT_OF(algos); i++)
            ok = declare(q, algos[i].is, e);
        return ok;
    }
    return err_set(e, ERR_INPUT, "config.json: quantization_config.quant_algo is '%s': this "
                   "version reads FP8, FP8_PER_CHANNEL_PER_TOKEN, FP8_PB_WO, MXFP8, NVFP4, "
                   "W4A16_NVFP4 and MIXED_PRECISION", algo ? algo : "(none)");
}

// GPTQ's own members, and those that modules have instead.
static bool read_gptq_scheme(quant_config *q, const json *j, int64_t bits, int64_t group, err *e)
{
    if (!int_at(j, "bits", bits, &bits) || (bits != 2 && bits != 3 && bits != 4 && bits != 8))
        return refuse_member("bits", "2, 3, 4 or 8", e);
    if (!int_at(j, "group_size", group, &group) || (group < 1 && group != -1))
        return refuse_member("group_size", "a positive number or -1", e);
    return declare(q, group_of(ELEMENT_INT, (int)bits, group), e);
}

static bool read_gptq(quant_config *q, const config *c, const json *j, err *e)
{
    const char *format = text_at(j, "checkpoint_format");
    int64_t bits, group;
    (void)c;
    if (!format)
        format = text_at(j, "format");
    if (!format || is_text(format, "gptq"))
        q->gptq_format = 1;
    else if (is_text(format, "gptq_v2"))
        q->gptq_format = 2;
    else
        return err_set(e, ERR_INPUT, "config.json: quantization_config.checkpoint_format is '%s': "
                       "this version reads 'gptq' and 'gptq_v2'", format);
    if (!read_gptq_scheme(q, j, 0, -1, e))
        return false;
    (void)int_at(j, "bits", 0, &bits);
    (void)int_at(j, "group_size", -1, &group);
    const json *dynamic = json_get(j, "dynamic"); // "+:regex" or "-:regex": members
    for (const json *m = is_null(dynamic) ? NULL : json_first(dynamic); m; m = json_next(m))
        if (json_type(m) == JSON_OBJECT && !read_gptq_scheme(q, m, bits, group, e))
            return false;
    return true;
}

static bool read_awq(quant_config *q, const config *c, const json *j, err *e)
{
    const char *version = text_at(j, "version");
    int64_t bits, group;
    (void)c;
    if (version && !str_same_nocase(version, "gemm"))
        return err_set(e, ERR_INPUT, "config.json: quantization_config.version is '%s': this "
                       "version reads 'gemm', whose order of codes is another", version);
    if (!int_at(j, "bits", 4, &bits) || bits != 4)
        return refuse_member("bits", "4", e);
    if (!int_at(j, "group_size", 128, &group) || (group < 1 && group != -1))
        return refuse_member("group_size", "a positive number or -1", e);
    return declare(q, group_of(ELEMENT_INT, 4, group), e);
}

static bool read_mlx_scheme(quant_config *q, const json *j, err *e)
{
    static const struct {
        const char *mode;
        codec_element element;
        int64_t bits, group;
    } modes[] = {
        {"affine", ELEMENT_INT, 4, 64}, {"mxfp4", ELEMENT_E2M1, 4, 32},
        {"nvfp4", ELEMENT_E2M1, 4, 16}, {"mxfp8", ELEMENT_E4M3, 8, 32},
    };
    const char *mode = text_at(j, "mode");
    int64_t bits, group;
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        if (strcmp(mode ? mode : "affine", modes[i].mode) != 0)
            continue;
        if (!int_at(j, "bits", modes[i].bits, &bits) || bits < 2 || bits > 8)
            return err_set(e, ERR_INPUT, "config.json: quantization.bits is not 2 to 8");
        if (!int_at(j, "group_size", modes[i].group, &group) || group < 1)
            return err_set(e, ERR_INPUT, "config.json: quantization.group_size is not a positive "
                           "number");
        return declare(q, group_of(modes[i].element, (int)bits, group), e);
    }
    return err_set(e, ERR_INPUT, "config.json: quantization.mode is '%s': this version reads "
                   "affine, mxfp4, nvfp4 and mxfp8", mode);
}

// MLX's: one scheme, and modules that have another one.
static bool read_mlx(quant_config *q, const config *c, const json *j, err *e)
{
    (void)c;
    if (!read_mlx_scheme(q, j, e))
        return false;
    for (const json *m = json_first(j); m; m = json_next(m))
        if (json_type(m) == JSON_OBJECT && !read_mlx_scheme(q, m, e))
            return false;
    return true;
}

static const struct {
    const char *method;
    bool (*read)(quant_config *q, const config *c, const json *j, err *e);
} methods[] = {
    {"fp8", read_fp8},
    {"fbgemm_fp8", read_fbgemm},
    {"mxfp8", read_mxfp8},
    {"mxfp4", read_mxfp4},
    {"compressed-tensors", read_compressed_tensors},
    {"modelopt", read_modelopt},
    {"modelopt_fp4", read_modelopt},
    {"gptq", read_gptq},
    {"awq", read_awq},
};

static bool read_method(quant_config *q, const config *c, const json *j, err *e)
{
    const char *method = text_at(j, "quant_method");
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (is_text(method, methods[i].method)) {
            q->method = methods[i].method;
            return methods[i].read(q, c, j, e);
        }
    if (!method && json_get(j, "bits") && json_get(j, "group_size")) {
        q->method = "mlx";
        return read_mlx(q, c, j, e);
    }
    return err_set(e, ERR_INPUT, "config.json: quantization_config.quant_method is '%s': this "
                   "version reads fp8, fbgemm_fp8, mxfp8, mxfp4, compressed-tensors, modelopt, "
                   "gptq and awq", method ? method : "(none)");
}

bool quant_config_read(quant_config *q, const config *c, err *e)
{
    *q = (quant_config){0};
    const json *mlx = config_get(c, "quantization");
    const json *j = mlx ? mlx : config_get(c, "quantization_config");
    if (!j || read_method(q, c, j, e))
        return true;
    *q = (quant_config){0};
    return false;
}

bool quant_config_declares(const quant_config *q, const weight *w)
{
    if (w->codec->gptq_format != q->gptq_format || w->codec->eights != is_text(q->method, "awq"))
        return false;
    for (int i = 0; i < q->n; i++)
        if (is_scheme(&q->declared[i], w))
            return true;
    return false;
}

const char *quant_config_text(const quant_config *q, char *buf, size_t size)
{
    size_t len = 0;
    buf[0] = 0;
    for (int i = 0; i < q->n && len < size; i++) {
        char name[128];
        int more = snprintf(buf + len, size - len, "%s%s", i ? ", " : "",
                            scheme_text(&q->declared[i], name, sizeof name));
        len += more > 0 ? (size_t)more : 0;
    }
    return buf;
}
