// SPDX-License-Identifier: Apache-2.0
// Weights as other tools store them (tests/data/stored): found for what they are, and decoded to
// what those tools' own code makes of them, bit by bit, at every level and from any row on.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "formats/weight.h"
#include "tests/quantize/goldens.h"
#include "tests/refused.h"
#include "tests/tiny_model.h"

Suite *suite_stored(void);

#define DIR "tests/data/stored/"

typedef struct {
    char module[128], codec[32];
    long long rows, cols;
    uint64_t digest;
    weight_view view; // "name:slices:slice:rows:first:step"
} stored_case;

static bool next_case(FILE *f, stored_case *c)
{
    *c = (stored_case){.rows = 0};
    if (fscanf(f, "%127s %31s %lld %lld %" SCNu64, c->module, c->codec, &c->rows, &c->cols,
               &c->digest) != 5)
        return false;
    char *colon = strchr(c->module, ':');
    if (colon) {
        long long v[5];
        ck_assert_int_eq(sscanf(colon, ":%lld:%lld:%lld:%lld:%lld", &v[0], &v[1], &v[2], &v[3],
                                &v[4]), 5);
        c->view = (weight_view){v[0], v[1], v[2], v[3], v[4], false};
        *colon = 0;
    }
    return true;
}

static weight bind_case(const checkpoint *c, const stored_case *s)
{
    weight w;
    err e = ERR_INIT;
    bool second = strstr(s->codec, "-v2") != NULL;
    weight_terms t = {.module = s->module, .suffix = "weight", .rank = 2, .out = s->rows,
                      .in = s->cols, .view = s->view.slices ? &s->view : NULL,
                      .gptq_format = second ? 2 : 1};
    ASSERT_OK(weight_bind_as(&w, c, &t, &e), e);
    ck_assert_msg(strcmp(w.codec->name, s->codec) == 0, "%s is %s, not %s", s->module,
                  w.codec->name, s->codec);
    return w;
}

static uint64_t digest_of(const float *x, int64_t n)
{
    uint64_t digest = 0;
    for (int64_t i = 0; i < n; i++)
        digest_add(&digest, (uint64_t)i, isnan(x[i]) ? UINT32_MAX : f32_bits(x[i]));
    return digest;
}

// Every few rows from every few rows on are the same part of the whole.
static void check_ranges(const weight *w, const float *whole, float *part, scratch *room)
{
    err e = ERR_INIT;
    static const int64_t counts[] = {1, 7, 40};
    for (int64_t row = 0; row < w->out; row += row < 9 ? 1 : 13)
        for (size_t k = 0; k < COUNT_OF(counts); k++) {
            int64_t n = i64_min(counts[k], w->out - row);
            ASSERT_OK(weight_read_rows(w, row, n, part, room, &e), e);
            ck_assert_msg(memcmp(part, whole + row * w->in, (size_t)(n * w->in) * 4) == 0,
                          "%s: %d rows from row %d on differ", w->module, (int)n, (int)row);
        }
}

// Read from front to end in batches, every byte of every part comes once, and what is one for all
// rows stays where it is: the batches decode to the whole.
static void check_batches(const checkpoint *c, const weight *w, const float *whole, float *part)
{
    err e = ERR_INIT;
    int64_t step = weight_quantum(w);
    uint64_t seen[CODEC_MAX_PARTS] = {0};
    stored_rows rows;
    ASSERT_OK(weight_lay_out(&rows, w, 0, w->out, &e), e);
    unsigned char *bytes = calloc(1, rows.bytes + 1);
    for (int64_t row = 0; row < w->out; row += step) {
        int64_t n = i64_min(step, w->out - row);
        ASSERT_OK(weight_lay_out(&rows, w, row, n, &e), e);
        for (int i = 0; i < w->n_parts; i++) {
            uint64_t offset, some;
            weight_part_range(w, i, row, n, &offset, &some);
            ck_assert(some == 0 || offset == seen[i]);
            seen[i] += some;
            ASSERT_OK(checkpoint_read(c, w->part[i], offset, bytes + rows.part[i].at, some, &e), e);
        }
        ASSERT_OK(weight_decode(&rows, bytes, row, n, part, &e), e);
        ck_assert_mem_eq(part, whole + row * w->in, (size_t)(n * w->in) * sizeof *part);
    }
    for (int i = 0; i < w->n_parts; i++)
        ck_assert_uint_eq(seen[i], w->part[i]->bytes);
    free(bytes);
}

// A value is a code times its scale: dividing gives the code, but for two roundings of 2^-24.
static void check_scales(const weight *w, const float *whole, float *scale)
{
    err e = ERR_INIT;
    stored_rows rows;
    ASSERT_OK(weight_lay_out(&rows, w, 0, w->out, &e), e);
    unsigned char *bytes = malloc(rows.bytes + 1);
    ASSERT_OK(weight_fetch(&rows, bytes, &e), e);
    ASSERT_OK(weight_scales(&rows, bytes, 0, w->out, scale, &e), e);
    bool biased = codec_part_of(w->codec, PART_BIASES) >= 0;
    for (int64_t i = 0; i < w->out * w->in && !biased; i++) {
        float code = whole[i] / scale[i];
        float of_grid = w->codec->element == ELEMENT_INT ? code : code * 512; // E4M3: 2^-9
        ck_assert_msg(!isfinite(code) || fabsf(of_grid - rintf(of_grid)) <=
                                             0x1p-22f * fabsf(of_grid),
                      "%s: value %d is %g times its scale", w->module, (int)i, (double)code);
    }
    free(bytes);
}

// ---- companions that are missing, of another type or shape ------------------------------------

typedef struct {
    const char *module;
    long long out, in;
    const char *part;   // the tensor that is changed,
    int rank;           //   -1: it is left out
    long long shape[2]; //   0: as it was
    dtype type;         //   DT_COUNT: as it was
    const char *words;
} broken;

static const broken cases[] = {
    {"fp8.tensor", 17, 130, "weight_scale", -1, {0, 0}, DT_COUNT,
     "tensor 'fp8.tensor.weight_scale' is missing: the weight is stored as fp8-tensor"},
    {"fp8.tensor", 17, 130, "weight_scale", 1, {3, 0}, DT_COUNT,
     "tensor 'fp8.tensor.weight_scale' has shape [3]: that is no scale a tensor, row or group"},
    {"fp8.tensor", 17, 130, "input_scale", 1, {17, 0}, DT_COUNT,
     "tensor 'fp8.tensor.input_scale' has shape [17], expected [1]"},
    {"fp8.tensor", 17, 130, "weight_scale", 1, {1, 0}, DT_I32,
     "tensor 'fp8.tensor.weight_scale' has type I32, expected F32"},
    {"fp8.block", 160, 200, "weight_scale", 2, {4, 2}, DT_COUNT,
     "tensor 'fp8.block.weight_scale' has shape [4,2]: that is no scale a tensor, row or group of"},
    {"fp8.mx", 20, 96, "weight_scale", 2, {20, 2}, DT_COUNT,
     "tensor 'fp8.mx.weight_scale' has shape [20,2], expected [20,3]"},
    {"int4.zeros", 19, 96, "weight_zero_point", 2, {2, 3}, DT_COUNT,
     "tensor 'int4.zeros.weight_zero_point' has shape [2,3], expected [3,3]"},
    {"int4.zeros", 19, 96, "weight_zero_point", 2, {3, 2}, DT_COUNT,
     "tensor 'int4.zeros.weight_zero_point' has shape [3,2], expected [3,3]"},
    {"int4.zeros", 19, 96, "weight_zero_point", 2, {3, 3}, DT_I64,
     "tensor 'int4.zeros.weight_zero_point' has type I64, expected I32"},
    {"int4.order", 5, 1280, "weight_g_idx", 1, {1279, 0}, DT_COUNT,
     "tensor 'int4.order.weight_g_idx' has shape [1279], expected [1280]"},
    {"int4.order", 5, 1280, "weight_g_idx", 1, {1280, 0}, DT_I64,
     "tensor 'int4.order.weight_g_idx' has type I64, expected I32"},
    {"int8.g128", 19, 256, "weight_packed", 2, {19, 63}, DT_COUNT,
     "tensor 'int8.g128.weight_packed' has shape [19,63], expected [19,32]"},
    {"int8.bytes.zeros", 19, 96, "weight_zero_point", 2, {19, 3}, DT_COUNT,
     "tensor 'int8.bytes.zeros.weight_zero_point' has shape [19,3], expected [19,1]"},
    {"int8.bytes.group", 19, 96, "weight_scale", 2, {19, 5}, DT_COUNT,
     "tensor 'int8.bytes.group.weight_scale' has shape [19,5]: that is no scale a tensor, row or "
     "group of equally many columns"},
    {"nvfp4.ct", 18, 128, "weight_global_scale", -1, {0, 0}, DT_COUNT,
     "tensor 'nvfp4.ct.weight_global_scale' is missing: the weight is stored as nvfp4-packed"},
    {"nvfp4.ct", 18, 128, "weight_global_scale", 1, {2, 0}, DT_COUNT,
     "tensor 'nvfp4.ct.weight_global_scale' has shape [2], expected [1]"},
    {"nvfp4.ct", 18, 128, "weight_scale", 2, {18, 4}, DT_COUNT,
     "tensor 'nvfp4.ct.weight_scale' has shape [18,4], expected [18,8]"},
    {"nvfp4.modelopt", 18, 128, "weight_scale_2", -1, {0, 0}, DT_COUNT,
     "tensor 'nvfp4.modelopt.weight_scale_2' is missing: the weight is stored as nvfp4-modelopt"},
    {"mxfp4.ct", 18, 96, "weight_scale", 2, {18, 2}, DT_COUNT,
     "tensor 'mxfp4.ct.weight_scale' has shape [18,2], expected [18,3]"},
    {"mxfp4.deepseek", 18, 96, "scale", 2, {18, 3}, DT_F32,
     "tensor 'mxfp4.deepseek.scale' has type F32, expected F8_E8M0"},
    {"gptq.4", 64, 128, "qzeros", -1, {0, 0}, DT_COUNT,
     "tensor 'gptq.4.qzeros' is missing: the weight is stored as int4-gptq"},
    {"gptq.4", 64, 128, "qzeros", 2, {4, 7}, DT_COUNT,
     "tensor 'gptq.4.qzeros' has shape [4,7], expected [4,8]"},
    {"gptq.4", 64, 128, "scales", 2, {3, 64}, DT_COUNT,
     "tensor 'gptq.4.scales' has shape [3,64]: that is no scale a tensor, row or group of equally"},
    {"gptq.4", 64, 128, "g_idx", 1, {127, 0}, DT_COUNT,
     "tensor 'gptq.4.g_idx' has shape [127], expected [128]"},
    {"gptq.4", 64, 128, "qweight", 2, {16, 63}, DT_COUNT,
     "tensor 'gptq.4.qweight' has shape [16,63], expected [8,64]"},
    {"awq", 40, 96, "qzeros", 2, {2, 5}, DT_COUNT,
     "tensor 'awq.qzeros' has shape [2,5], expected [3,5]"},
    {"awq", 40, 96, "qzeros", 2, {3, 5}, DT_I16,
     "tensor 'awq.qzeros' has type I16, expected I32"},
    {"mlx.4", 18, 128, "biases", -1, {0, 0}, DT_COUNT,
     "tensor 'mlx.4.biases' is missing: the weight is stored as int4-mlx"},
    {"mlx.4", 18, 128, "biases", 2, {18, 4}, DT_COUNT,
     "tensor 'mlx.4.biases' has shape [18,4], expected [18,2]"},
    {"mlx.mxfp8", 18, 128, "scales", 2, {18, 3}, DT_COUNT,
     "tensor 'mlx.mxfp8.scales' has shape [18,3], expected [18,4]"},
    {"mlx.nvfp4", 18, 128, "biases", 2, {18, 8}, DT_BF16,
     "tensor 'mlx.nvfp4.scales' has type U8, expected BF16"}, // as of affine codes
};

// All tensors of the module but one, and that as the case has it.
static void copy_module(tiny *to, const checkpoint *c, const broken *b)
{
    size_t len = strlen(b->module);
    for (int64_t i = 0; i <= checkpoint_count(c); i++) {
        const tensor *t = i < checkpoint_count(c) ? checkpoint_at(c, i) : NULL;
        char name[160];
        (void)snprintf(name, sizeof name, "%s.%s", b->module, b->part);
        if (t && (strncmp(t->name, b->module, len) != 0 || t->name[len] != '.' ||
                  strchr(t->name + len + 1, '.')))
            continue;
        if (t && strcmp(t->name, name) != 0) {
            unsigned char *bytes = calloc(1, t->bytes + 1);
            err e = ERR_INIT;
            ASSERT_OK(checkpoint_read(c, t, 0, bytes, t->bytes, &e), e);
            tiny_add(to, t->name, t->type, t->rank, t->shape[0], t->shape[1], bytes);
            free(bytes);
        } else if (!t && b->rank >= 0) {
            static const unsigned char zeros[1 << 16];
            const tensor *was = checkpoint_find(c, name);
            tiny_add(to, name, b->type == DT_COUNT ? was->type : b->type, b->rank, b->shape[0],
                     b->shape[1], zeros);
        }
    }
}

START_TEST(names_the_companion_that_is_wrong)
{
    err e = ERR_INIT;
    checkpoint *good;
    ASSERT_OK(checkpoint_open(&good, DIR "stored.safetensors", NULL, &e), e);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const broken *b = &cases[i];
        checkpoint *c;
        weight w;
        tiny m;
        tiny_init(&m);
        copy_module(&m, good, b);
        tiny_write(&m, "{}");
        ASSERT_OK(checkpoint_open(&c, m.dir, NULL, &e), e);
        weight_terms t = {.module = b->module, .suffix = "weight", .rank = 2, .out = b->out,
                          .in = b->in, .gptq_format = 1};
        if (weight_bind_as(&w, c, &t, &refused))
            ck_abort_msg("%s with another %s is %s", b->module, b->part, w.codec->name);
        ck_assert_msg(strstr(refused.text, b->words), "'%s' does not say '%s'", refused.text,
                      b->words);
        ck_assert_int_eq(refused.kind, ERR_INPUT);
        checkpoint_close(c);
        tiny_free(&m);
    }
    checkpoint_close(good);
}
END_TEST

// int4.order with another order.
static bool read_with_order(const checkpoint *good, const int32_t *order, float *to, err *e)
{
    static const broken part = {"int4.order", 5, 1280, "weight_g_idx", -1, {0, 0}, DT_COUNT, ""};
    checkpoint *c;
    weight w;
    tiny m;
    scratch room = {0};
    tiny_init(&m);
    copy_module(&m, good, &part);
    tiny_add(&m, "int4.order.weight_g_idx", DT_I32, 1, 1280, 0, order);
    tiny_write(&m, "{}");
    err opened = ERR_INIT;
    ASSERT_OK(checkpoint_open(&c, m.dir, NULL, &opened), opened);
    ASSERT_OK(weight_bind(&w, c, "int4.order", "weight", 2, 5, 1280, &opened), opened);
    bool ok = weight_read_rows(&w, 0, 5, to, &room, e);
    scratch_free(&room);
    checkpoint_close(c);
    tiny_free(&m);
    return ok;
}

START_TEST(an_order_names_groups_that_exist_or_is_unset)
{
    static float a[5 * 1280], b[5 * 1280];
    static int32_t order[1280], unset[1280];
    err e = ERR_INIT;
    checkpoint *good;
    ASSERT_OK(checkpoint_open(&good, DIR "stored.safetensors", NULL, &e), e);
    for (int i = 0; i < 1280; i++) {
        order[i] = i / 32;
        unset[i] = -1;
    }
    ASSERT_OK(read_with_order(good, order, a, &e), e);
    ASSERT_OK(read_with_order(good, unset, b, &e), e);
    ck_assert_mem_eq(a, b, sizeof a);
    order[1279] = 40;
    ASSERT_REFUSED(read_with_order(good, order, a, &refused),
                   "weight 'int4.order': int4: column 1279 belongs to group 40, there are 40");
    unset[7] = 0;
    ASSERT_REFUSED(read_with_order(good, unset, a, &refused), "column 0 belongs to group -1");
    order[1279] = 39;
    order[0] = -1; // an order that begins as if it were unset
    ASSERT_REFUSED(read_with_order(good, order, a, &refused), "column 0 belongs to group -1");
    checkpoint_close(good);
}
END_TEST

START_TEST(gptq_needs_the_word_of_a_config)
{
    err e = ERR_INIT;
    checkpoint *c;
    weight w;
    ASSERT_OK(checkpoint_open(&c, DIR "stored.safetensors", NULL, &e), e);
    ASSERT_REFUSED(weight_bind(&w, c, "gptq.4", "weight", 2, 64, 128, &refused),
                   "'gptq.4' is stored as GPTQ, in one of two formats");
    checkpoint_close(c);
}
END_TEST

// The same weight as the second of two that are stacked.
static void check_stacked(const checkpoint *c, const stored_case *s, const float *whole, float *y)
{
    err e = ERR_INIT;
    tiny m;
    checkpoint *stacked;
    scratch room = {0};
    weight plain = bind_case(c, s), w;
    tiny_init(&m);
    for (int i = 0; i < plain.n_parts; i++) {
        const tensor *t = plain.part[i];
        unsigned char *bytes = calloc(2, t->bytes);
        int64_t shape[TENSOR_MAX_RANK + 1] = {2};
        memcpy(shape + 1, t->shape, (size_t)t->rank * sizeof *shape);
        ASSERT_OK(checkpoint_read(c, t, 0, bytes + t->bytes, t->bytes, &e), e);
        tiny_add_shaped(&m, t->name, t->type, t->rank + 1, shape, bytes);
        free(bytes);
    }
    tiny_write(&m, "{}");
    ASSERT_OK(checkpoint_open(&stacked, m.dir, NULL, &e), e);
    weight_view v = {.slices = 2, .slice = 1};
    weight_terms t = {.module = s->module, .suffix = "weight", .rank = 2, .out = s->rows,
                      .in = s->cols, .view = &v, .gptq_format = plain.codec->gptq_format};
    ASSERT_OK(weight_bind_as(&w, stacked, &t, &e), e);
    ck_assert_ptr_eq(w.codec, plain.codec);
    ck_assert_uint_eq(weight_stored_bytes(&w), weight_stored_bytes(&plain));
    ASSERT_OK(weight_read_rows(&w, 0, w.out, y, &room, &e), e);
    ck_assert_msg(memcmp(whole, y, (size_t)weight_elements(&w) * sizeof *y) == 0,
                  "%s is another weight in a stack", s->module);
    check_ranges(&w, whole, y, &room);
    scratch_free(&room);
    checkpoint_close(stacked);
    tiny_free(&m);
}

START_TEST(each_decodes_to_what_its_own_tool_makes_of_it)
{
    err e = ERR_INIT;
    checkpoint *c;
    scratch room = {0};
    stored_case s;
    int n = 0;
    FILE *f = fopen(DIR "expected.tsv", "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fscanf(f, "module codec rows columns digest "), 0);
    ASSERT_OK(checkpoint_open(&c, DIR "stored.safetensors", NULL, &e), e);
    for (; next_case(f, &s); n++) {
        weight w = bind_case(c, &s);
        float *x = malloc((size_t)weight_elements(&w) * sizeof *x);
        float *y = malloc((size_t)weight_elements(&w) * sizeof *y);
        cpu_level used = cpu_used();
        EACH_LEVEL(level) {
            ASSERT_OK(cpu_use(level, &e), e);
            ASSERT_OK(weight_read_rows(&w, 0, w.out, x, &room, &e), e);
            ck_assert_msg(digest_of(x, weight_elements(&w)) == s.digest,
                          "%s decodes to something else at level %d", s.module, (int)level);
        }
        ASSERT_OK(cpu_use(used, &e), e);
        check_ranges(&w, x, y, &room);
        check_scales(&w, x, y);
        if (!w.view) {
            check_batches(c, &w, x, y);
            check_stacked(c, &s, x, y);
        }
        free(x);
        free(y);
    }
    ck_assert_int_ge(n, 60);
    (void)fclose(f);
    scratch_free(&room);
    checkpoint_close(c);
}
END_TEST

Suite *suite_stored(void)
{
    Suite *s = suite_create("stored");
    TCase *t = tcase_create("oracle");
    tcase_add_test(t, each_decodes_to_what_its_own_tool_makes_of_it);
    tcase_add_test(t, gptq_needs_the_word_of_a_config);
    tcase_add_test(t, names_the_companion_that_is_wrong);
    tcase_add_test(t, an_order_names_groups_that_exist_or_is_unset);
    suite_add_tcase(s, t);
    return s;
}
