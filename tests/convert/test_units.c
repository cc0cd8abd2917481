// SPDX-License-Identifier: Apache-2.0
// Units shared out over parts, and what units cost.
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "convert/units.h"
#include "tests/make_case.h"

Suite *suite_units(void);

// A plan of moved tensors, one a unit, with these bytes.
typedef struct {
    plan p;
    plan_file file[64];
    plan_tensor tensor[64];
    tensor from[64];
} shape;

static plan *shape_of(shape *s, const uint64_t *bytes, int64_t n)
{
    *s = (shape){.p = {.file = s->file, .tensor = s->tensor, .n_files = n, .n_tensors = n}};
    for (int64_t i = 0; i < n; i++) {
        s->from[i].bytes = bytes[i];
        s->tensor[i].from = &s->from[i];
        s->file[i] = (plan_file){.first = i, .n = 1, .bytes = bytes[i]};
    }
    return &s->p;
}

static void expect_parts(const uint64_t *bytes, int64_t n, int64_t parts, const int64_t *expected)
{
    static shape s;
    int64_t part[64];
    err e = ERR_INIT;
    ck_assert(units_share(shape_of(&s, bytes, n), parts, part, &e));
    for (int64_t i = 0; i < n; i++)
        ck_assert_msg(part[i] == expected[i], "unit %d is of part %d, not %d", (int)i,
                      (int)part[i], (int)expected[i]);
}

START_TEST(the_heaviest_part_is_as_light_as_can_be)
{
    expect_parts((uint64_t[]){10, 45, 45}, 3, 3, (int64_t[]){1, 2, 3});
    expect_parts((uint64_t[]){10, 45, 45}, 3, 2, (int64_t[]){1, 1, 2});
    expect_parts((uint64_t[]){1, 1, 1, 9, 1, 1}, 6, 2, (int64_t[]){1, 1, 1, 2, 2, 2});
    expect_parts((uint64_t[]){5, 5, 5, 5}, 4, 2, (int64_t[]){1, 1, 2, 2});
}
END_TEST

START_TEST(one_part_has_everything_and_too_many_leave_some_empty)
{
    expect_parts((uint64_t[]){3, 1, 2}, 3, 1, (int64_t[]){1, 1, 1});
    expect_parts((uint64_t[]){3, 3, 3}, 3, 1000000, (int64_t[]){1, 2, 3});
    expect_parts((uint64_t[]){0, 0}, 2, 2, (int64_t[]){1, 1});
}
END_TEST

START_TEST(costs_near_the_end_of_64_bits_are_still_shared_out)
{
    uint64_t huge = UINT64_MAX / 2;
    expect_parts((uint64_t[]){huge, huge, huge}, 3, 3, (int64_t[]){1, 2, 3});
}
END_TEST

START_TEST(slices_are_contiguous_cover_all_units_and_are_near_the_optimum)
{
    static shape s;
    uint64_t bytes[64], total = 0, largest = 0;
    uint32_t state = 7;
    err e = ERR_INIT;
    for (int i = 0; i < 64; i++) {
        state = state * 1664525 + 1013904223;
        bytes[i] = 1 + (state >> 16) % 1000;
        total += bytes[i];
        largest = bytes[i] > largest ? bytes[i] : largest;
    }
    const plan *p = shape_of(&s, bytes, 64);
    for (int64_t n = 1; n <= 70; n++) {
        int64_t next = 0;
        for (int64_t i = 1; i <= n; i++) {
            run_slice slice;
            uint64_t load = 0;
            ck_assert(units_slice(p, i, n, &slice, &e));
            if (slice.n == 0)
                continue;
            ck_assert_int_eq(slice.first, next);
            next += slice.n;
            for (int64_t f = slice.first; f < next; f++)
                load += bytes[f];
            // A part that is filled to the limit ends at most one unit above the mean.
            ck_assert_uint_le(load, total / (uint64_t)n + largest);
        }
        ck_assert_int_eq(next, 64);
    }
}
END_TEST

START_TEST(costs_say_what_is_read_written_coded_and_held)
{
    err e = ERR_INIT;
    checkpoint *c;
    model *m;
    plan p;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    ck_assert(checkpoint_open(&c, the.t.dir, NULL, &e));
    ck_assert(model_open(&m, c, NULL, &e));
    ck_assert(plan_make(&p, c, m, &the.order.plan, &e));
    // The second unit is layer 0's experts: 4 x gate, up, down of 64 x 32 BF16 values.
    unit_cost cost = unit_cost_of(&p, 1);
    int64_t values = INT64_C(4) * 3 * 64 * 32;
    ck_assert_int_eq(cost.values, values);
    ck_assert_uint_eq(cost.read, (uint64_t)values * 2);
    ck_assert_uint_eq(cost.written, p.file[1].bytes);
    ck_assert_uint_eq(cost.weight, cost.read + cost.written + (uint64_t)values * 24);
    // All shapes lie behind the records: they wait until the end, the codes do not.
    ck_assert_uint_gt(cost.memory, 64 * 32 / 2);
    ck_assert_uint_lt(cost.memory, p.file[1].bytes);
    uint64_t sum = 0;
    for (int64_t f = 0; f < p.n_files; f++)
        sum += unit_cost_of(&p, f).written;
    ck_assert_uint_gt(sum, p.tensor_bytes);
    plan_free(&p);
    model_close(m);
    checkpoint_close(c);
}
END_TEST

Suite *suite_units(void)
{
    Suite *s = suite_create("units");
    TCase *c = tcase_create("units");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_test(c, the_heaviest_part_is_as_light_as_can_be);
    tcase_add_test(c, one_part_has_everything_and_too_many_leave_some_empty);
    tcase_add_test(c, costs_near_the_end_of_64_bits_are_still_shared_out);
    tcase_add_test(c, slices_are_contiguous_cover_all_units_and_are_near_the_optimum);
    tcase_add_test(c, costs_say_what_is_read_written_coded_and_held);
    suite_add_tcase(s, c);
    return s;
}
