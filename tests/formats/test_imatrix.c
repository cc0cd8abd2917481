// SPDX-License-Identifier: Apache-2.0
// llama.cpp's imatrix files: what the two forms mean, and what statistics become in them. That the
// package gguf reads and writes the same is tested by scripts/oracle/imatrix.py.
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "formats/imatrix.h"
#include "formats/llama_names.h"
#include "tests/folder.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_imatrix(void);

#define HOSTILE "tests/data/hostile/imatrix/"

static char dir[256];
static imatrix m;

static void set_up(void)
{
    (void)snprintf(dir, sizeof dir, "%s", temp_dir_make());
    m = (imatrix){.in = IN_FILE_CLOSED};
}

static void tear_down(void)
{
    imatrix_close(&m);
    temp_dir_remove(dir);
}

static void open_file(const char *path)
{
    err e = ERR_INIT;
    imatrix_close(&m);
    ASSERT_OK(imatrix_open(&m, path, &e), e);
}

// All means of an entry, and how many of them stand for nothing.
static void means_are(const char *name, const float *means, int64_t n, int64_t none)
{
    err e = ERR_INIT;
    float *to = malloc((size_t)n * sizeof *to);
    int64_t unseen;
    const imatrix_entry *x = imatrix_find(&m, name);
    ck_assert_msg(x && to, "no entry '%s'", name);
    ck_assert_int_eq(x->n, n);
    ASSERT_OK(imatrix_read(&m, x, 0, n, to, &unseen, &e), e);
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(to[i] == means[i], "%s %lld: %a, expected %a", name, (long long)i,
                      (double)to[i], (double)means[i]);
    ck_assert_int_eq(unseen, none);
    free(to);
}

START_TEST(means_are_numbers_over_counts)
{
    static const float third[] = {1.0f / 3.0f, 2.0f / 3.0f}, unseen[] = {1.0f / 3.0f, 2.0f / 3.0f,
                                                                        1, 1};
    static const float halves[] = {0.5f, 1, 1.5f, 2}, calls[] = {0.5f, 2}, one[] = {1};
    open_file(HOSTILE "accept-chunks.gguf");
    ck_assert_int_eq(m.form, IMATRIX_GGUF);
    ck_assert_int_eq(m.chunks, 8);
    means_are("a", third, 2, 0);
    ck_assert_ptr_null(imatrix_find(&m, "a.in_sum2"));
    open_file(HOSTILE "accept-experts-unseen.gguf");
    ck_assert_int_eq(m.chunks, -1);
    means_are("a", unseen, 4, 2); // as llama-quantize has it: 1 where nothing was counted
    open_file(HOSTILE "accept-one-count-for-all.gguf");
    means_are("a", halves, 4, 0);
    open_file(HOSTILE "accept-dataset.dat");
    ck_assert_int_eq(m.form, IMATRIX_DAT);
    ck_assert_int_eq(m.chunks, 8);
    means_are("blk.0.a.weight", calls, 2, 0);
    open_file(HOSTILE "accept-calls-0.dat"); // then they are means already
    means_are("a", one, 1, 0);
    open_file(HOSTILE "accept-calls-negative.dat");
    means_are("a", one, 1, 0);
}
END_TEST

// Counts are rounded to whole numbers, halves up.
START_TEST(a_slice_of_an_entry_has_its_own_count)
{
    err e = ERR_INIT;
    static const float sums[] = {2, 4, 9, 12, 5, 10}, counts[] = {1.5f, 2.9f, 0.4f};
    tensor t[] = {{.name = "x.in_sum2", .type = DT_F32, .rank = 2, .shape = {3, 2}},
                  {.name = "x.counts", .type = DT_F32, .rank = 2, .shape = {3, 1}}};
    const gguf_value v = {"general.type", GGUF_TEXT, false, 1, "imatrix", 7};
    strbuf file = {0};
    uint64_t bytes;
    float to[3];
    int64_t unseen;
    ASSERT_OK(gguf_write_header(&file, t, 2, &v, 1, &bytes, &e), e);
    char *whole = calloc(1, bytes);
    ck_assert_ptr_nonnull(whole);
    memcpy(whole, file.text, file.len);
    memcpy(whole + t[0].offset, sums, sizeof sums);
    memcpy(whole + t[1].offset, counts, sizeof counts);
    temp_write(dir, "x", whole, bytes);
    free(whole);
    strbuf_free(&file);
    open_file(temp_path(dir, "x"));
    const float all[] = {1, 2, 3, 4, 1, 1};
    means_are("x", all, 6, 2);
    ASSERT_OK(imatrix_read(&m, imatrix_find(&m, "x"), 1, 3, to, &unseen, &e), e);
    ck_assert(to[0] == 2 && to[1] == 3 && to[2] == 4 && unseen == 0);
    ASSERT_OK(imatrix_read(&m, imatrix_find(&m, "x"), 3, 2, to, &unseen, &e), e);
    ck_assert(to[0] == 4 && to[1] == 1 && unseen == 1);
}
END_TEST

START_TEST(a_file_that_changes_meanwhile_is_refused)
{
    float to;
    int64_t unseen;
    size_t len;
    const struct timespec ticks = {0, 50000000};
    char *bytes = folder_read(HOSTILE, "accept-one.dat", &len);
    temp_write(dir, "x", bytes, len);
    open_file(temp_path(dir, "x"));
    (void)nanosleep(&ticks, NULL);
    temp_write(dir, "x", bytes, len - 1);
    free(bytes);
    ASSERT_REFUSED(imatrix_read(&m, &m.entry[0], 0, 1, &to, &unseen, &refused), "changed");
}
END_TEST

START_TEST(it_is_told_from_statistics_by_its_content)
{
    err e = ERR_INIT;
    bool is;
    stats_file f = {0};
    stats_set *s;
    static const char *const yes[] = {HOSTILE "accept-one.dat", HOSTILE "accept-one.gguf",
                                      "tests/data/gguf/small.gguf"};
    static const char *const no[] = {HOSTILE "empty.dat", HOSTILE "seven-bytes.dat", HOSTILE,
                                     "tests/data/nano/model.safetensors",
                                     "tests/data/nano/config.json"};
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        ASSERT_OK(imatrix_looks(yes[i], &is, &e), e);
        ck_assert_msg(is, "%s", yes[i]);
    }
    for (size_t i = 0; i < COUNT_OF(no); i++) {
        ASSERT_OK(imatrix_looks(no[i], &is, &e), e);
        ck_assert_msg(!is, "%s", no[i]);
    }
    ASSERT_OK(stats_file_set(&f, ROLE_O, 0, 1, 4, &s, &e), e);
    ASSERT_OK(stats_file_write(&f, temp_path(dir, "stats"), false, &e), e);
    ASSERT_OK(imatrix_looks(temp_path(dir, "stats"), &is, &e), e);
    ck_assert(!is);
    stats_file_free(&f);
    ASSERT_REFUSED(imatrix_looks(temp_path(dir, "absent"), &is, &refused), "absent");
    ASSERT_REFUSED(imatrix_open(&m, "tests/data/nano/config.json", &refused),
                   "begins like neither form");
}
END_TEST

// ---- writing ---------------------------------------------------------------------------------

enum { COLS = 4, EXPERTS = 3 };

static stats *add_set(stats_file *f, role r, int64_t layer)
{
    err e = ERR_INIT;
    stats_set *s;
    int64_t experts = role_is_expert(r) ? EXPERTS : 1;
    ASSERT_OK(stats_file_set(f, r, layer, experts, COLS, &s, &e), e);
    for (int64_t i = 0; i < experts; i++) {
        for (int64_t j = 0; j < COLS; j++)
            s->sums.energy[i * COLS + j] = (double)(r + layer + i * COLS + j);
        s->sums.weight_sum[i] = 8;
        s->sums.weight_sq_sum[i] = 8;
        s->sums.count[i] = 16 + i;
    }
    return &s->sums;
}

static void write_and_open(const stats_file *f, imatrix_form form)
{
    err e = ERR_INIT;
    ASSERT_OK(imatrix_write(f, temp_path(dir, "out"), form, true, &e), e);
    open_file(temp_path(dir, "out"));
    ck_assert_int_eq(m.form, form);
}

// Grouped attention and experts in layer 0, latent attention with and without a rank of queries.
START_TEST(statistics_come_back_as_means_under_llama_cpps_names)
{
    stats_file f = {.made_from = strdup("[{\"tokens_sha256\":\"ab\",\"windows\":5,\"context\":7},"
                                        "{\"tokens_sha256\":\"cd\",\"windows\":6,\"context\":9}]")};
    static const char *const names[] = {
        "blk.0.attn_k.weight", "blk.0.attn_output.weight", "blk.0.attn_q.weight",
        "blk.0.attn_v.weight", "blk.0.ffn_down_exps.weight", "blk.0.ffn_gate_exps.weight",
        "blk.0.ffn_up_exps.weight", "blk.10.attn_kv_a_mqa.weight", "blk.10.attn_q.weight",
        "blk.2.attn_kv_a_mqa.weight", "blk.2.attn_kv_b.weight", "blk.2.attn_q_a.weight",
        "blk.2.attn_q_b.weight", "blk.2.ffn_down.weight", "blk.2.ffn_down_shexp.weight",
        "blk.2.ffn_gate.weight", "blk.2.ffn_gate_shexp.weight", "blk.2.ffn_up.weight",
        "blk.2.ffn_up_shexp.weight"};
    static const role roles[] = {ROLE_KV_A, ROLE_KV_B, ROLE_Q_B, ROLE_FFN_GATE, ROLE_FFN_DOWN,
                                 ROLE_SHARED_GATE, ROLE_SHARED_DOWN};
    add_set(&f, ROLE_Q, 0);
    add_set(&f, ROLE_O, 0);
    add_set(&f, ROLE_EXPERT_GATE, 0);
    add_set(&f, ROLE_EXPERT_DOWN, 0);
    add_set(&f, ROLE_KV_A, 10);
    for (size_t i = 0; i < COUNT_OF(roles); i++)
        add_set(&f, roles[i], 2);
    for (int form = IMATRIX_GGUF; form <= IMATRIX_DAT; form++) {
        write_and_open(&f, (imatrix_form)form);
        ck_assert_int_eq(m.n, COUNT_OF(names));
        for (int64_t i = 0; i < m.n; i++)
            ck_assert_str_eq(m.entry[i].name, names[i]);
        ck_assert_int_eq(m.chunks, 11);
        float means[EXPERTS * COLS];
        for (int i = 0; i < EXPERTS * COLS; i++)
            means[i] = (float)((int)ROLE_EXPERT_GATE + i) / 8;
        means_are("blk.0.ffn_up_exps.weight", means, EXPERTS * COLS, 0);
        for (int i = 0; i < COLS; i++)
            means[i] = (float)((int)ROLE_KV_A + 10 + i) / 8;
        means_are("blk.10.attn_q.weight", means, COLS, 0);
    }
    stats_file_free(&f);
}
END_TEST

START_TEST(experts_that_saw_nothing_are_written_as_llama_cpp_does)
{
    stats_file f = {0};
    stats *s = add_set(&f, ROLE_EXPERT_DOWN, 3);
    float means[EXPERTS * COLS];
    for (int i = 0; i < EXPERTS * COLS; i++)
        means[i] = i / COLS == 1 ? 1 : (float)((int)ROLE_EXPERT_DOWN + 3 + i) / 8;
    s->count[1] = 0;
    s->weight_sum[1] = s->weight_sq_sum[1] = 0;
    memset(s->energy + COLS, 0, COLS * sizeof *s->energy);
    write_and_open(&f, IMATRIX_GGUF);
    means_are("blk.3.ffn_down_exps.weight", means, EXPERTS * COLS, COLS);
    write_and_open(&f, IMATRIX_DAT);
    means_are("blk.3.ffn_down_exps.weight", means, EXPERTS * COLS, 0);
    // Where none saw anything the older form has nothing to say.
    memset(s->count, 0, EXPERTS * sizeof *s->count);
    write_and_open(&f, IMATRIX_GGUF);
    ck_assert_int_eq(m.n, 1);
    ASSERT_REFUSED(imatrix_write(&f, temp_path(dir, "none"), IMATRIX_DAT, false, &refused),
                   "there are no statistics to write");
    ck_assert(access(temp_path(dir, "none"), F_OK) != 0);
    stats_file_free(&f);
}
END_TEST

START_TEST(what_cannot_be_written_leaves_nothing)
{
    stats_file f = {0};
    stats *s = add_set(&f, ROLE_O, 1);
    ASSERT_FAILS((temp_write(dir, "there", "x", 1),
                  imatrix_write(&f, temp_path(dir, "there"), IMATRIX_GGUF, false, &refused)),
                 ERR_ENV, "there");
    s->energy[2] = 0x1p200;
    for (int form = IMATRIX_GGUF; form <= IMATRIX_DAT; form++) {
        ASSERT_REFUSED(imatrix_write(&f, temp_path(dir, "out"), (imatrix_form)form, false,
                                     &refused),
                       "'blk.1.attn_output.weight': column 2 of expert 0 is");
        ck_assert_int_eq(temp_count(dir), 1);
    }
    s->energy[2] = 0;
    add_set(&f, ROLE_ATTN_NORM, 1);
    ASSERT_REFUSED(imatrix_write(&f, temp_path(dir, "out"), IMATRIX_GGUF, false, &refused),
                   "llama.cpp has no name for the weight 'norm.attention'");
    stats_file_free(&f);
}
END_TEST

START_TEST(every_linear_role_has_a_name_of_its_own_in_llama_cpp)
{
    char a[LLAMA_NAME_TEXT], b[LLAMA_NAME_TEXT];
    for (int r = 0; r < ROLE_COUNT; r++) {
        ck_assert(!role_is_linear((role)r) || r == ROLE_DELTA_OUT || // of other columns
                  llama_weight_name((role)r, 0, a));
        for (int s = 0; s < r; s++)
            if (llama_weight_name((role)r, 0, a) && llama_weight_name((role)s, 0, b))
                ck_assert_str_ne(a, b);
    }
    ck_assert_str_eq(llama_weight_name(ROLE_HEAD, -1, a), "output.weight");
    ck_assert_str_eq(llama_weight_name(ROLE_EXPERT_DOWN, 60, a), "blk.60.ffn_down_exps.weight");
    ck_assert_ptr_null(llama_weight_name(ROLE_FINAL_NORM, -1, a));
    // In files from before experts lay together.
    ck_assert_str_eq(llama_expert_name(ROLE_EXPERT_GATE, 0, 7, a), "blk.0.ffn_gate.7.weight");
    ck_assert_str_eq(llama_expert_name(ROLE_EXPERT_UP, 31, 0, a), "blk.31.ffn_up.0.weight");
    ck_assert_str_eq(llama_expert_name(ROLE_EXPERT_DOWN, 3, 5, a), "blk.3.ffn_down.5.weight");
    ck_assert_ptr_null(llama_expert_name(ROLE_FFN_DOWN, 3, -1, a));
}
END_TEST

Suite *suite_imatrix(void)
{
    Suite *s = suite_create("imatrix");
    TCase *c = tcase_create("imatrix");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, means_are_numbers_over_counts);
    tcase_add_test(c, a_slice_of_an_entry_has_its_own_count);
    tcase_add_test(c, a_file_that_changes_meanwhile_is_refused);
    tcase_add_test(c, it_is_told_from_statistics_by_its_content);
    tcase_add_test(c, statistics_come_back_as_means_under_llama_cpps_names);
    tcase_add_test(c, experts_that_saw_nothing_are_written_as_llama_cpp_does);
    tcase_add_test(c, what_cannot_be_written_leaves_nothing);
    tcase_add_test(c, every_linear_role_has_a_name_of_its_own_in_llama_cpp);
    suite_add_tcase(s, c);
    return s;
}
