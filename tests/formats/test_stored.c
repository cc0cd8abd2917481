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
    suite_add_tcase(s, t);
    return s;
}
