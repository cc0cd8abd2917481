// SPDX-License-Identifier: Apache-2.0
// The survey of trained weights: what the searches promise holds on every one of them, and its
// numbers are those of weights encoded as a whole.
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "convert/survey.h"
#include "tests/refused.h"

Suite *suite_survey(void);

static checkpoint *source;
static model *bound;
static survey_options order;
static survey found;

static void set_up(void)
{
    err e = ERR_INIT;
    ASSERT_OK(checkpoint_open(&source, "tests/data/nano", NULL, &e), e);
    ASSERT_OK(model_open(&bound, source, NULL, &e), e);
    order = (survey_options){.model = bound, .scope = SCOPE_EXPERTS, .most = 6, .memory = 1 << 28};
}

static void tear_down(void)
{
    survey_free(&found);
    pool_close(order.pool);
    model_close(bound);
    checkpoint_close(source);
}

static void look(const char *const *names, int64_t n)
{
    const codec *types[64];
    err e = ERR_INIT;
    survey_free(&found);
    for (int64_t i = 0; i < n; i++) {
        types[i] = codec_find(names[i]);
        ck_assert_msg(types[i] != NULL, "%s", names[i]);
    }
    ASSERT_OK(survey_weights(&found, types, n, &order, &e), e);
}

// Statistics with energies of all sizes, the same for every expert.
static void make_statistics(stats_file *f)
{
    const arch *a = model_arch(bound);
    err e = ERR_INIT;
    for (int64_t layer = 0; layer < a->n_layers; layer++) {
        for (int down = 0; down < 2; down++) {
            stats_set *set;
            int64_t cols = down ? a->moe_inter : a->hidden;
            float x[128], route = 1;
            ck_assert_int_le(cols, COUNT_OF(x));
            for (int64_t j = 0; j < cols; j++)
                x[j] = (float)(1 + j * j % 23) * (j % 11 ? 0.125f : 2);
            ASSERT_OK(stats_file_set(f, down ? ROLE_EXPERT_DOWN : ROLE_EXPERT_GATE, layer,
                                     a->n_experts, cols, &set, &e), e);
            for (int64_t i = 0; i < a->n_experts; i++)
                stats_add(&set->sums, i, x, &route, 1);
        }
    }
}

START_TEST(best_leaves_no_trained_weight_with_more_error_than_compat)
{
    const codec *types[256];
    int64_t n = 0, searched = 0;
    weighing by = {.source = {&by.file, bound}};
    err e = ERR_INIT;
    for (int64_t i = 0; i < codec_count(); i++)
        if (codec_at(i)->encode && codec_divides(codec_at(i), model_arch(bound)->hidden))
            types[n++] = codec_at(i);
    make_statistics(&by.file);
    for (int with = 0; with < 2; with++) {
        order.importance = with ? &by : NULL;
        survey_free(&found);
        ASSERT_OK(survey_weights(&found, types, n, &order, &e), e);
        ck_assert_int_eq(found.n, n);
        for (int64_t i = 0; i < n; i++) {
            const survey_row *r = &found.row[i];
            ck_assert_int_eq(r->n_weights, order.most);
            ck_assert_msg(r->n_worse == 0, "%s: %lld", r->codec->name, (long long)r->n_worse);
            searched += r->searched;
            if (r->searched)
                ck_assert_msg(r->worst && r->worst_ratio < 1, "%s", r->codec->name);
        }
    }
    ck_assert_int_ge(searched, 2 * 20);
    weighing_close(&by);
}
END_TEST

START_TEST(threads_do_not_change_a_number)
{
    static const char *const types[] = {"int4-g32", "nvfp4-packed", "Q4_0"};
    survey_row alone[COUNT_OF(types)];
    err e = ERR_INIT;
    order.scope = SCOPE_ALL_LINEAR;
    look(types, COUNT_OF(types));
    memcpy(alone, found.row, sizeof alone);
    ASSERT_OK(pool_open(&order.pool, 3, &e), e);
    look(types, COUNT_OF(types));
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        ck_assert_double_eq(alone[i].error[0], found.row[i].error[0]);
        ck_assert_double_eq(alone[i].error[1], found.row[i].error[1]);
        ck_assert_double_eq(alone[i].power, found.row[i].power);
        ck_assert_ptr_eq(alone[i].worst, found.row[i].worst);
    }
}
END_TEST

// Squared error of a weight that is encoded and decoded in one piece.
static double error_of(const weight *w, const codec *c, codec_search search, float amax)
{
    scratch room = {0};
    err e = ERR_INIT;
    void *part[CODEC_MAX_PARTS] = {0};
    part_view view[CODEC_MAX_PARTS] = {0};
    encode_options o = {.search = search, .source = weight_plain_type(w),
                        .whole_scale = codec_whole_scale(c, amax, weight_plain_type(w))};
    float *from = mem_new((uint64_t)(w->out * w->in), sizeof *from, "weights", &e);
    float *back = mem_new((uint64_t)(w->out * w->in), sizeof *back, "weights", &e);
    double sum = 0;
    ck_assert(from && back);
    ASSERT_OK(weight_read_rows(w, 0, w->out, from, &room, &e), e);
    for (int i = 0; i < codec_written(c); i++) {
        part[i] = mem_new(codec_part_bytes(c, i, w->out, w->in), 1, "parts", &e);
        view[i] = part_at(part[i], codec_written_type(c, i, search, o.source));
    }
    ASSERT_OK(c->encode(c, w->in, w->out, from, &o, part, &e), e);
    ASSERT_OK(c->decode(c, w->in, w->out, view, back, &e), e);
    for (int64_t i = 0; i < w->out * w->in; i++)
        sum += ((double)from[i] - (double)back[i]) * ((double)from[i] - (double)back[i]);
    for (int i = 0; i < codec_written(c); i++)
        free(part[i]);
    free(from);
    free(back);
    scratch_free(&room);
    return sum;
}

static float largest(const weight *w)
{
    scratch room = {0};
    err e = ERR_INIT;
    float most = 0, *x = mem_new((uint64_t)(w->out * w->in), sizeof *x, "weights", &e);
    ASSERT_OK(weight_read_rows(w, 0, w->out, x, &room, &e), e);
    for (int64_t i = 0; i < w->out * w->in; i++)
        most = x[i] > most ? x[i] : -x[i] > most ? -x[i] : most;
    free(x);
    scratch_free(&room);
    return most;
}

START_TEST(sums_are_those_of_weights_encoded_in_one_piece)
{
    static const char *const types[] = {"fp8-tensor", "int4-channel", "nvfp4-packed", "Q8_0"};
    double error[COUNT_OF(types)] = {0};
    order.scope = SCOPE_ALL_LINEAR;
    order.most = 0;
    look(types, COUNT_OF(types));
    ck_assert_int_eq(found.n_weights, found.n_in_scope);
    for (int64_t i = 0; i < checkpoint_count(source); i++) {
        const tensor_account *a = model_account(bound, i);
        if (!a->used || a->part != 0 || !role_is_linear(a->role))
            continue;
        // gate and up share NVFP4's global scale
        static const role pair[][2] = {{ROLE_EXPERT_GATE, ROLE_EXPERT_UP},
                                       {ROLE_SHARED_GATE, ROLE_SHARED_UP},
                                       {ROLE_FFN_GATE, ROLE_FFN_UP}};
        float own = largest(a->weight), joined = own;
        for (size_t k = 0; k < COUNT_OF(pair); k++) {
            for (int s = 0; s < 2; s++) {
                if (pair[k][s] != a->role)
                    continue;
                float other = largest(model_weight(bound, pair[k][!s], a->layer, a->expert));
                joined = other > joined ? other : joined;
            }
        }
        for (size_t k = 0; k < COUNT_OF(types); k++) {
            const codec *c = found.row[k].codec;
            error[k] += error_of(a->weight, c, SEARCH_BEST,
                                 c->whole == WHOLE_FUSED ? joined : own);
        }
    }
    // Sums in another order: a few hundred roundings of binary64.
    for (size_t k = 0; k < COUNT_OF(types); k++)
        ck_assert_double_eq_tol(error[k], found.row[k].error[SEARCH_BEST], 1e-12 * error[k]);
}
END_TEST

START_TEST(a_type_whose_group_does_not_divide_leaves_weights_out)
{
    static const char *const types[] = {"Q4_K", "int4-g32"};
    look(types, COUNT_OF(types));
    ck_assert_int_eq(found.row[0].n_skipped, 6);
    ck_assert_int_eq(found.row[0].n_weights, 0);
    ck_assert_ptr_null(found.row[0].worst);
    ck_assert_int_eq(found.row[1].n_skipped, 0);
    ck_assert_int_eq(found.row[1].n_weights, 6);
}
END_TEST

START_TEST(a_ceiling_that_holds_no_weight_is_refused_and_the_one_named_does)
{
    const codec *type = codec_find("int4-g32");
    err e = ERR_INIT;
    order.memory = 1000;
    ASSERT_FAILS(survey_weights(&found, &type, 1, &order, &refused), ERR_ENV,
                 "the smallest ceiling that does is ");
    order.memory = strtoull(strstr(refused.text, "does is ") + 8, NULL, 10);
    ASSERT_OK(survey_weights(&found, &type, 1, &order, &e), e);
}
END_TEST

START_TEST(statistics_of_another_model_are_refused)
{
    const codec *type = codec_find("int4-g32");
    weighing by = {.source = {&by.file, bound}};
    order.importance = &by;
    ASSERT_REFUSED(survey_weights(&found, &type, 1, &order, &refused),
                   "the statistics know nothing of experts.");
}
END_TEST

Suite *suite_survey(void)
{
    Suite *s = suite_create("survey");
    TCase *c = tcase_create("survey");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 300);
    tcase_add_test(c, best_leaves_no_trained_weight_with_more_error_than_compat);
    tcase_add_test(c, threads_do_not_change_a_number);
    tcase_add_test(c, sums_are_those_of_weights_encoded_in_one_piece);
    tcase_add_test(c, a_type_whose_group_does_not_divide_leaves_weights_out);
    tcase_add_test(c, a_ceiling_that_holds_no_weight_is_refused_and_the_one_named_does);
    tcase_add_test(c, statistics_of_another_model_are_refused);
    suite_add_tcase(s, c);
    return s;
}
