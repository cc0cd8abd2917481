// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "formats/weight_ahead.h"
#include "tests/refused.h"
#include "tests/temp.h"
#include "tests/tiny_model.h"
#include "verify/pairs.h"

Suite *suite_weight_ahead(void);

enum { OUT = 384, IN = 256 };

static tiny t;
static checkpoint *c;
static weight w[4]; // plain, int4, FP8 blocks, half of a turned stack
static const weight_view turned = {2, 1, 2 * OUT, OUT, 1, true};

static void set_up(void)
{
    static const char *const modules[] = {"plain", "int4", "fp8"};
    err e = ERR_INIT;
    tiny_init(&t);
    tiny_add(&t, "plain.weight", DT_BF16, 2, OUT, IN, NULL);
    tiny_add(&t, "int4.weight", DT_BF16, 2, OUT, IN, NULL);
    tiny_add(&t, "fp8.weight", DT_BF16, 2, OUT, IN, NULL);
    tiny_add(&t, "large.weight", DT_F32, 2, 2 * IN, 10 * IN, NULL); // 5 MiB
    tiny_make_int4(&t, "int4");
    tiny_make_fp8_block(&t, "fp8");
    tiny_put_in_shard(&t, "fp8.weight", 1);
    tiny_add_shaped(&t, "turned", DT_BF16, 3, (int64_t[]){2, IN, 2 * OUT}, NULL);
    tiny_write(&t, "{}");
    ASSERT_OK(checkpoint_open(&c, t.dir, NULL, &e), e);
    for (int i = 0; i < 3; i++)
        ASSERT_OK(weight_bind(&w[i], c, modules[i], "weight", 2, OUT, IN, &e), e);
    const weight_terms terms = {.module = "turned.1", .stored = "turned", .suffix = "weight",
                                .rank = 2, .out = OUT, .in = IN, .view = &turned};
    ASSERT_OK(weight_bind_as(&w[3], c, &terms, &e), e);
}

static void tear_down(void)
{
    checkpoint_close(c);
    tiny_free(&t);
}

static void same_rows(const stored_rows *s, const void *stored, int64_t row, int64_t n)
{
    err e = ERR_INIT;
    scratch room = {0};
    float *a = calloc((size_t)(n * s->w->in), sizeof *a), *b = calloc((size_t)(n * s->w->in),
                                                                      sizeof *b);
    ck_assert(a && b);
    ASSERT_OK(weight_decode(s, stored, row, n, a, &e), e);
    ASSERT_OK(weight_read_rows(s->w, row, n, b, &room, &e), e);
    ck_assert_mem_eq(a, b, (size_t)(n * s->w->in) * sizeof *a);
    free(a);
    free(b);
    scratch_free(&room);
}

START_TEST(rows_come_in_the_order_that_was_announced)
{
    static char stored[8 * OUT * IN];
    const weight_rows order[] = {{&w[1], 0, OUT}, {&w[0], 7, 100}, {&w[2], 0, 1}, {&w[2], 0, OUT},
                                 {&w[0], 107, 1}, {&w[3], 0, OUT}, {&w[3], 100, 200},
                                 {&w[3], 7, 1}, {&w[2], 130, 254}, {&w[1], OUT - 1, 1}};
    err e = ERR_INIT;
    weight_ahead *a;
    ASSERT_OK(weight_ahead_open(&a, order, COUNT_OF(order), 0, &e), e);
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        const stored_rows *next = weight_ahead_next(a);
        ck_assert(next && next->w == order[i].w && next->row == order[i].row);
        ck_assert_uint_le(next->bytes, sizeof stored);
        stored_rows rows = *next;
        memset(stored, 0x5a, sizeof stored);
        ASSERT_OK(weight_ahead_take(a, stored, &e), e);
        same_rows(&rows, stored, order[i].row, order[i].n);
        same_rows(&rows, stored, order[i].row + order[i].n / 2, 1); // inside a block of scales
        same_rows(&rows, stored, order[i].row + order[i].n / 3, order[i].n - order[i].n / 3);
    }
    ck_assert_ptr_null(weight_ahead_next(a));
    weight_ahead_close(a);
    ASSERT_OK(weight_ahead_open(&a, order, 3, 0, &e), e);
    weight_ahead_close(a); // nothing taken
}
END_TEST

START_TEST(a_file_that_shrank_is_told_when_its_rows_are_taken)
{
    static char stored[8 * OUT * IN];
    const weight_rows order[] = {{&w[0], 0, 10}, {&w[2], 0, OUT}};
    err e = ERR_INIT;
    weight_ahead *a;
    const char *shard = checkpoint_file(c, w[2].part[0]->file)->name;
    ck_assert_int_ne(w[2].part[0]->file, w[0].part[0]->file);
    temp_write(t.dir, path_base(shard), "short", 5);
    ASSERT_OK(weight_ahead_open(&a, order, COUNT_OF(order), 0, &e), e);
    ASSERT_OK(weight_ahead_take(a, stored, &e), e);
    ASSERT_REFUSED(weight_ahead_take(a, stored, &refused), "ends early");
    weight_ahead_close(a);
}
END_TEST

// The batches that pairs come in, with so much memory.
static void batches_are(const weight_pair *pair, int64_t n, uint64_t memory, const int64_t *want)
{
    err e = ERR_INIT;
    pairs p;
    int64_t got, i = 0;
    ASSERT_OK(pairs_open(&p, pair, n, memory, &e), e);
    for (;; i++) {
        ASSERT_OK(pairs_next(&p, &got, &e), e);
        ck_assert_int_eq(got, want[i]);
        if (got == 0)
            break;
        for (int64_t k = 0; k < got; k++)
            for (int side = 0; side < 2; side++) {
                const held_weight *h = &p.held[k][side];
                if (h->bytes) {
                    ck_assert_ptr_eq(h->rows.w, pair[p.first + k].side[side]);
                    same_rows(&h->rows, h->bytes, 0, h->rows.w->out);
                } else {
                    ck_assert(memory < 4 << 20 || got == 1);
                }
            }
    }
    pairs_close(&p);
}

START_TEST(pairs_are_held_as_the_memory_allows)
{
    err e = ERR_INIT;
    weight large;
    weight_pair pair[100];
    ASSERT_OK(weight_bind(&large, c, "large", "weight", 2, 2 * IN, 10 * IN, &e), e);
    for (int i = 0; i < 100; i++)
        pair[i] = (weight_pair){{&w[i % 3], &w[(i + 1) % 3]}};
    batches_are(pair, 100, 1 << 20, (int64_t[]){64, 36, 0});
    batches_are(pair, 100, 256 << 20, (int64_t[]){64, 36, 0});
    batches_are(pair, 0, 256 << 20, (int64_t[]){0});
    pair[5].side[1] = &large;
    batches_are(pair, 70, 6 << 20, (int64_t[]){5, 1, 13, 13, 13, 13, 12, 0});
    batches_are(pair, 70, 64 << 20, (int64_t[]){64, 6, 0});
}
END_TEST

Suite *suite_weight_ahead(void)
{
    Suite *s = suite_create("weight_ahead");
    TCase *k = tcase_create("weight_ahead");
    tcase_add_checked_fixture(k, set_up, tear_down);
    tcase_add_test(k, rows_come_in_the_order_that_was_announced);
    tcase_add_test(k, a_file_that_shrank_is_told_when_its_rows_are_taken);
    tcase_add_test(k, pairs_are_held_as_the_memory_allows);
    suite_add_tcase(s, k);
    return s;
}
