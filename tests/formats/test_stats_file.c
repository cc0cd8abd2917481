// SPDX-License-Identifier: Apache-2.0
// Statistics files: what is written is read, files add up, what is no whole statistics file is
// refused.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "formats/safetensors.h"
#include "formats/stats_file.h"
#include "tests/folder.h"
#include "tests/refused.h"
#include "tests/temp.h"
#include "tests/tiny_model.h"

Suite *suite_stats_file(void);

static char dir[256];

static void set_up(void) { (void)snprintf(dir, sizeof dir, "%s", temp_dir_make()); }

static void tear_down(void) { temp_dir_remove(dir); }

// A set of 3 experts and 4 columns (or of one matrix) with numbers that differ.
static void add_set(stats_file *f, role r, int64_t layer, double unit)
{
    err e = ERR_INIT;
    stats_set *s;
    int64_t experts = role_is_expert(r) ? 3 : 1;
    ASSERT_OK(stats_file_set(f, r, layer, experts, 4, &s, &e), e);
    for (int64_t i = 0; i < experts; i++) {
        for (int64_t j = 0; j < 4; j++)
            s->sums.energy[i * 4 + j] += unit * (double)(1 + i * 4 + j);
        s->sums.weight_sum[i] += unit / 3;
        s->sums.weight_sq_sum[i] += unit / 9;
        s->sums.count[i] += i * (int64_t)(10 * unit);
    }
}

static void fill(stats_file *f, double unit, const char *made_from)
{
    *f = (stats_file){0};
    add_set(f, ROLE_EXPERT_DOWN, 2, unit);
    add_set(f, ROLE_EXPERT_GATE, 2, unit);
    add_set(f, ROLE_O, 0, unit);
    add_set(f, ROLE_EXPERT_GATE, 1, unit);
    f->made_from = strdup(made_from);
}

static void write_to(const stats_file *f, const char *name)
{
    err e = ERR_INIT;
    ASSERT_OK(stats_file_write(f, temp_path(dir, name), true, &e), e);
}

static void read_from(stats_file *f, const char *name)
{
    err e = ERR_INIT;
    ASSERT_OK(stats_file_read(f, temp_path(dir, name), NULL, &e), e);
}

static void same_sums(const stats *a, const stats *b)
{
    ck_assert_int_eq(a->n_experts, b->n_experts);
    ck_assert_int_eq(a->cols, b->cols);
    size_t n = (size_t)a->n_experts * 8;
    ck_assert_mem_eq(a->energy, b->energy, n * (size_t)a->cols);
    ck_assert_mem_eq(a->weight_sum, b->weight_sum, n);
    ck_assert_mem_eq(a->weight_sq_sum, b->weight_sq_sum, n);
    ck_assert_mem_eq(a->count, b->count, n);
}

static void same_files(const char *a, const char *b)
{
    size_t n, m;
    char *x = folder_read(dir, a, &n), *y = folder_read(dir, b, &m);
    ck_assert_uint_eq(n, m);
    ck_assert_mem_eq(x, y, n);
    free(x);
    free(y);
}

START_TEST(what_is_written_is_read)
{
    stats_file f, g;
    fill(&f, 0.1, "[{\"run\": 1}]");
    write_to(&f, "a");
    err e = ERR_INIT;
    sha256_digest sum, file;
    ASSERT_OK(stats_file_read(&g, temp_path(dir, "a"), &sum, &e), e);
    ASSERT_OK(sha256_of_file(temp_path(dir, "a"), &file, &e), e);
    ck_assert_mem_eq(sum.b, file.b, sizeof sum.b);
    ck_assert_int_eq(g.n, 4);
    ck_assert_str_eq(g.made_from, "[{\"run\": 1}]");
    for (int64_t i = 0; i < 4; i++) {
        ck_assert_int_eq(f.set[i].role, g.set[i].role);
        ck_assert_int_eq(f.set[i].layer, g.set[i].layer);
        same_sums(&f.set[i].sums, &g.set[i].sums);
    }
    write_to(&g, "b");
    same_files("a", "b");
    stats_file_free(&f);
    stats_file_free(&g);
}
END_TEST

START_TEST(sets_are_in_the_order_of_layers_and_roles)
{
    stats_file f;
    fill(&f, 1, "[]");
    ck_assert_int_eq(f.set[0].layer, 0);
    ck_assert_int_eq(f.set[1].layer, 1);
    ck_assert_int_eq(f.set[2].role, ROLE_EXPERT_GATE);
    ck_assert_int_eq(f.set[3].role, ROLE_EXPERT_DOWN);
    ck_assert_ptr_eq(stats_file_find(&f, ROLE_EXPERT_DOWN, 2), &f.set[3].sums);
    ck_assert_ptr_null(stats_file_find(&f, ROLE_EXPERT_DOWN, 1));
    ck_assert_ptr_null(stats_file_find(&f, ROLE_EXPERT_DOWN, 3));
    stats_set *s;
    ASSERT_REFUSED(stats_file_set(&f, ROLE_O, 0, 1, 5, &s, &refused),
                   "statistics of layer 0 attention.o: 1 x 4 columns, expected 1 x 5");
    stats_file_free(&f);
}
END_TEST

START_TEST(a_file_is_not_replaced_unless_told)
{
    stats_file f;
    fill(&f, 1, "[]");
    write_to(&f, "a");
    ASSERT_FAILS(stats_file_write(&f, temp_path(dir, "a"), false, &refused), ERR_ENV,
                 "exists already");
    ASSERT_FAILS(stats_file_write(&f, temp_path(dir, "no/a"), false, &refused), ERR_ENV, "no");
    ck_assert_int_eq(temp_count(dir), 1);
    stats_file_free(&f);
}
END_TEST

START_TEST(files_add_up_in_the_order_given)
{
    // Sums of tenths round, so that the order shows where it counts: (a + b) + c, not a + (b + c).
    stats_file a, b, c, one;
    err e = ERR_INIT;
    fill(&a, 0.1, "[1]");
    fill(&b, 0.7, "[2, 3]");
    fill(&c, 1e-17, " [ 4\n]");
    ASSERT_OK(stats_file_merge(&a, &b, &e), e);
    ck_assert_str_eq(a.made_from, "[1,2, 3]");
    ASSERT_OK(stats_file_merge(&a, &c, &e), e);
    ck_assert_str_eq(a.made_from, "[1,2, 3,4]");
    double expected = (0.1 * 1 + 0.7 * 1) + 1e-17 * 1;
    ck_assert(stats_file_find(&a, ROLE_EXPERT_GATE, 1)->energy[0] == expected);
    ck_assert_int_eq(stats_file_find(&a, ROLE_EXPERT_GATE, 1)->count[2], 2 * 1 + 2 * 7);
    // The same as adding into one, step by step.
    fill(&one, 0.1, "[]");
    add_set(&one, ROLE_O, 0, 0.7);
    add_set(&one, ROLE_O, 0, 1e-17);
    same_sums(stats_file_find(&a, ROLE_O, 0), stats_file_find(&one, ROLE_O, 0));
    stats_file_free(&a);
    stats_file_free(&b);
    stats_file_free(&c);
    stats_file_free(&one);
}
END_TEST

START_TEST(sums_of_two_do_not_depend_on_their_order)
{
    stats_file a, b, c, d;
    err e = ERR_INIT;
    fill(&a, 0.1, "[1]");
    fill(&b, 0.7, "[2]");
    fill(&c, 0.1, "[1]");
    fill(&d, 0.7, "[2]");
    ASSERT_OK(stats_file_merge(&a, &b, &e), e);
    ASSERT_OK(stats_file_merge(&d, &c, &e), e);
    for (int64_t i = 0; i < a.n; i++)
        same_sums(&a.set[i].sums, &d.set[i].sums);
    ck_assert_str_eq(a.made_from, "[1,2]");
    ck_assert_str_eq(d.made_from, "[2,1]");
    stats_file_free(&a);
    stats_file_free(&b);
    stats_file_free(&c);
    stats_file_free(&d);
}
END_TEST

START_TEST(sets_that_only_one_file_has_are_taken_over)
{
    stats_file a = {0}, b;
    err e = ERR_INIT;
    add_set(&a, ROLE_O, 0, 2);
    fill(&b, 1, "[]");
    ASSERT_OK(stats_file_merge(&a, &b, &e), e);
    ck_assert_int_eq(a.n, 4);
    ck_assert_str_eq(a.made_from, "[]");
    ck_assert(stats_file_find(&a, ROLE_O, 0)->energy[1] == 6);
    same_sums(stats_file_find(&a, ROLE_EXPERT_GATE, 1), stats_file_find(&b, ROLE_EXPERT_GATE, 1));
    stats_file_free(&a);
    stats_file_free(&b);
}
END_TEST

START_TEST(files_that_do_not_fit_are_not_merged)
{
    stats_file a, b = {0};
    err e = ERR_INIT;
    stats_set *s;
    fill(&a, 1, "[]");
    ASSERT_OK(stats_file_set(&b, ROLE_EXPERT_GATE, 1, 8, 4, &s, &e), e);
    ASSERT_REFUSED(stats_file_merge(&a, &b, &refused), "3 x 4 columns, expected 8 x 4");
    stats_file_free(&b);
    b = (stats_file){0};
    add_set(&b, ROLE_O, 0, 1);
    b.set[0].sums.energy[2] = a.set[0].sums.energy[2] = 1.7e308;
    ASSERT_REFUSED(stats_file_merge(&a, &b, &refused), "layer 0 attention.o: a sum is negative, "
                                                       "infinite, no number, too large");
    b.set[0].sums.energy[2] = 0;
    b.set[0].sums.count[0] = a.set[0].sums.count[0] = (int64_t)1 << 53;
    ASSERT_REFUSED(stats_file_merge(&a, &b, &refused), "too large");
    stats_file_free(&a);
    stats_file_free(&b);
}
END_TEST

START_TEST(coverage_counts_tokens_an_expert)
{
    stats_file f;
    stats_coverage *row;
    int64_t n;
    err e = ERR_INIT;
    fill(&f, 1, "[]"); // counts 0, 10, 20
    ASSERT_OK(stats_file_coverage(&f, &row, &n, &e), e);
    ck_assert_int_eq(n, 2); // layers 1 and 2 have experts
    ck_assert_int_eq(row[0].layer, 1);
    ck_assert_int_eq(row[1].layer, 2);
    ck_assert_int_eq(row[1].n_experts, 3);
    ck_assert_int_eq(row[1].min, 0);
    ck_assert_int_eq(row[1].median, 10);
    ck_assert_int_eq(row[1].max, 20);
    ck_assert_int_eq(row[1].never_hit, 1);
    free(row);
    stats_file_free(&f);
}
END_TEST

START_TEST(a_file_of_nothing_can_be_written_and_read)
{
    stats_file f = {0}, g;
    write_to(&f, "a");
    read_from(&g, "a");
    ck_assert_int_eq(g.n, 0);
    ck_assert_str_eq(g.made_from, "[]");
    stats_file_free(&g);
}
END_TEST

// ---- files that are none ----

// A safetensors file of the tensors given, with metadata.
typedef struct {
    const char *name;
    dtype type;
    int rank;
    int64_t a, b;
} shape;

static void write_raw(const shape *list, int64_t n, const st_pair *meta, int64_t n_meta,
                      const double *data)
{
    tensor out[8] = {0};
    strbuf text = {0};
    err e = ERR_INIT;
    uint64_t bytes = 0;
    for (int64_t i = 0; i < n; i++)
        out[i] = (tensor){.name = list[i].name, .type = list[i].type, .rank = list[i].rank,
                          .shape = {list[i].a, list[i].b}};
    ASSERT_OK(st_write_header(&text, out, n, meta, n_meta, 8, &e), e);
    for (int64_t i = 0; i < n; i++)
        bytes += out[i].bytes;
    for (uint64_t i = 0; i < bytes; i += 8)
        strbuf_add(&text, &data[i / 8 % 32], bytes - i < 8 ? bytes - i : 8);
    temp_write(dir, "bad", text.text, text.len);
    strbuf_free(&text);
}

static void refuses(const char *words)
{
    stats_file f;
    ASSERT_REFUSED(stats_file_read(&f, temp_path(dir, "bad"), NULL, &refused), words);
    ck_assert_ptr_null(f.set);
    ck_assert_ptr_null(f.made_from);
}

static const st_pair meta[] = {{"format", "pt"}, {"scruple.statistics", "1"}, {"made_from", "[]"}};

#define SET(l)                                               \
    {"layers." l ".experts.gate.energy", DT_F64, 2, 2, 3},   \
    {"layers." l ".experts.gate.weight_sum", DT_F64, 1, 2, 0}, \
    {"layers." l ".experts.gate.weight_sq_sum", DT_F64, 1, 2, 0}, \
    {"layers." l ".experts.gate.count", DT_I64, 1, 2, 0}

START_TEST(other_metadata_is_no_statistics)
{
    static const struct {
        st_pair pair[2];
        const char *words;
    } cases[] = {
        {{{"format", "pt"}, {"x", "y"}}, "this is no statistics file"},
        {{{"scruple.statistics", "1"}, {"x", "y"}}, "this is no statistics file"},
        {{{"made_from", "[]"}, {"x", "y"}}, "this is no statistics file"},
        {{{"scruple.statistics", "2"}, {"made_from", "[]"}}, "version '2' of the layout; this "
                                                             "program knows 1"},
        {{{"scruple.statistics", "1"}, {"made_from", "{}"}}, "made_from is not an array"},
        {{{"scruple.statistics", "1"}, {"made_from", "[1"}}, "made_from"},
        {{{"scruple.statistics", "1"}, {"made_from", ""}}, "made_from"},
        {{{"scruple.statistics", "1"}, {"made_from", "[] x"}}, "made_from"},
    };
    static const shape set[] = {SET("1")};
    static const double zeros[32];
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        write_raw(set, 4, cases[i].pair, 2, zeros);
        refuses(cases[i].words);
    }
    write_raw(set, 4, meta, 3, zeros);
    stats_file f;
    read_from(&f, "bad"); // as it stands it is one
    ck_assert_int_eq(f.n, 1);
    stats_file_free(&f);
}
END_TEST

START_TEST(other_tensors_are_no_statistics)
{
    static const struct {
        shape list[4];
        const char *words;
    } cases[] = {
        {{{"model.norm.weight", DT_F64, 1, 2, 0}}, "'model.norm.weight' is no statistics tensor"},
        {{{"layers.1.experts.gate.energie", DT_F64, 2, 2, 3}}, "is no statistics tensor"},
        {{{"layers.1.experts.gates.energy", DT_F64, 2, 2, 3}}, "is no statistics tensor"},
        {{{"layers.01.experts.gate.energy", DT_F64, 2, 2, 3}}, "is no statistics tensor"},
        {{{"layers.-1.experts.gate.energy", DT_F64, 2, 2, 3}}, "is no statistics tensor"},
        {{{"layers.99999999.experts.gate.energy", DT_F64, 2, 2, 3}}, "is no statistics tensor"},
        {{{"layers.1.energy", DT_F64, 2, 2, 3}}, "is no statistics tensor"},
        {{{"layers..experts.gate.energy", DT_F64, 2, 2, 3}}, "is no statistics tensor"},
        {{{"layers.1.experts.gate.energy", DT_F32, 2, 2, 4}}, "must be F64 with two dimensions"},
        {{{"layers.1.experts.gate.energy", DT_F64, 1, 6, 0}}, "must be F64 with two dimensions"},
        {{{"layers.1.experts.gate.energy", DT_F64, 2, 0, 3}}, "not empty"},
        {{{"layers.1.experts.gate.energy", DT_F64, 2, 2, 3}},
         "'layers.1.experts.gate.weight_sum' is missing"},
        {{{"layers.1.experts.gate.count", DT_I64, 1, 2, 0}},
         "'layers.1.experts.gate.energy' is missing"},
        {{{"layers.1.experts.gate.energy", DT_F64, 2, 2, 3},
          {"layers.1.experts.gate.weight_sum", DT_F64, 1, 3, 0}},
         "'layers.1.experts.gate.weight_sum' does not have the type or shape"},
        {{{"layers.1.experts.gate.energy", DT_F64, 2, 2, 3},
          {"layers.1.experts.gate.weight_sum", DT_F64, 1, 2, 0},
          {"layers.1.experts.gate.weight_sq_sum", DT_F64, 1, 2, 0},
          {"layers.1.experts.gate.count", DT_F64, 1, 2, 0}},
         "'layers.1.experts.gate.count' does not have the type or shape"},
    };
    static const double zeros[32];
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int64_t n = 0;
        while (n < 4 && cases[i].list[n].name)
            n++;
        write_raw(cases[i].list, n, meta, 3, zeros);
        refuses(cases[i].words);
    }
}
END_TEST

START_TEST(sums_that_cannot_be_are_refused)
{
    static const shape set[] = {SET("1")};
    int64_t negative = -1, much = ((int64_t)1 << 53) + 1;
    double as_double[2];
    memcpy(&as_double[0], &negative, 8);
    memcpy(&as_double[1], &much, 8);
    const struct {
        int at;
        double value;
    } cases[] = {{0, -1.0},  {5, (double)INFINITY}, {3, (double)NAN}, {6, -1.0},
                 {7, (double)NAN}, {9, (double)INFINITY}, {10, as_double[0]}, {11, as_double[1]}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        double data[32] = {0};
        data[cases[i].at] = cases[i].value;
        write_raw(set, 4, meta, 3, data);
        refuses("layer 1 experts.gate: a sum is negative, infinite, no number, too large");
    }
}
END_TEST

// Finite, and yet no tokens with binary32 inputs and weights add up to them: the importance of
// columns would be infinite or no number.
START_TEST(sums_that_no_tokens_add_up_to_are_refused)
{
    static const shape set[] = {SET("1")};
    const struct {
        double energy, weight_sum, weight_sq_sum;
        int64_t count;
    } cases[] = {{1e308, 1, 1, 1},  {1, 1e-300, 1, 1}, {1, 1, 1e-300, 1},
                 {1e-310, 1, 1, 1}, {1, 1, 0, 1},      {1, 1, 1e-16, 1}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        double data[32] = {[0] = cases[i].energy, [6] = cases[i].weight_sum,
                           [8] = cases[i].weight_sq_sum};
        memcpy(&data[10], &cases[i].count, 8);
        write_raw(set, 4, meta, 3, data);
        refuses("layer 1 experts.gate: a sum is negative, infinite, no number, too large or none "
                "that tokens add up to");
    }
}
END_TEST

START_TEST(files_that_are_cut_are_refused)
{
    stats_file f;
    size_t len;
    fill(&f, 1, "[]");
    write_to(&f, "a");
    stats_file_free(&f);
    char *text = folder_read(dir, "a", &len);
    for (size_t n = 0; n < len; n += 1 + n / 20) {
        temp_write(dir, "bad", text, n);
        refuses("bad");
    }
    free(text);
    ASSERT_REFUSED(stats_file_read(&f, temp_path(dir, "none"), NULL, &refused), "cannot open");
    ASSERT_REFUSED(stats_file_read(&f, "tests/data/nano", NULL, &refused),
                   "this is no statistics file");
}
END_TEST

Suite *suite_stats_file(void)
{
    Suite *s = suite_create("stats_file");
    TCase *c = tcase_create("good");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, what_is_written_is_read);
    tcase_add_test(c, sets_are_in_the_order_of_layers_and_roles);
    tcase_add_test(c, a_file_is_not_replaced_unless_told);
    tcase_add_test(c, files_add_up_in_the_order_given);
    tcase_add_test(c, sums_of_two_do_not_depend_on_their_order);
    tcase_add_test(c, sets_that_only_one_file_has_are_taken_over);
    tcase_add_test(c, files_that_do_not_fit_are_not_merged);
    tcase_add_test(c, coverage_counts_tokens_an_expert);
    tcase_add_test(c, a_file_of_nothing_can_be_written_and_read);
    suite_add_tcase(s, c);
    c = tcase_create("bad");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, other_metadata_is_no_statistics);
    tcase_add_test(c, other_tensors_are_no_statistics);
    tcase_add_test(c, sums_that_cannot_be_are_refused);
    tcase_add_test(c, sums_that_no_tokens_add_up_to_are_refused);
    tcase_add_test(c, files_that_are_cut_are_refused);
    suite_add_tcase(s, c);
    return s;
}
