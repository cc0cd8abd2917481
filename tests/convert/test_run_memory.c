// SPDX-License-Identifier: Apache-2.0
// How much memory a run takes: less than its ceiling, and as much as it says.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "convert/run_parts.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_run_memory(void);

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHED 1 // sanitizers have memory of their own
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WATCHED 1
#endif
#endif
#ifndef WATCHED
#define WATCHED 0
#endif

// A model of holes: `experts` experts of 3 x 12.6 MB in two layers, and little else.
static void write_holes(int experts)
{
    enum { HIDDEN = 3072, INNER = 2048 };
    tensor *list = calloc((size_t)experts * 6 + 64, sizeof *list);
    char (*name)[100] = calloc((size_t)experts * 6 + 64, sizeof *name);
    static const struct {
        const char *name;
        int64_t a, b;
    } resident[] = {{"input_layernorm", HIDDEN, 0}, {"post_attention_layernorm", HIDDEN, 0},
                    {"self_attn.q_proj", 32, HIDDEN}, {"self_attn.k_proj", 16, HIDDEN},
                    {"self_attn.v_proj", 16, HIDDEN}, {"self_attn.o_proj", HIDDEN, 32},
                    {"self_attn.q_norm", 8, 0}, {"self_attn.k_norm", 8, 0}};
    int64_t n = 0;
    err e = ERR_INIT;
    strbuf header = {0};
    ck_assert(list && name);
#define PUT(rows, cols, ...)                                                                      \
    do {                                                                                          \
        (void)snprintf(name[n], sizeof name[n], __VA_ARGS__);                                     \
        list[n] = (tensor){.name = name[n], .type = DT_BF16, .rank = (cols) ? 2 : 1,              \
                           .shape = {rows, cols}};                                                \
        n++;                                                                                      \
    } while (0)
    PUT(16, HIDDEN, "lm_head.weight");
    PUT(16, HIDDEN, "model.embed_tokens.weight");
    PUT(HIDDEN, 0, "model.norm.weight");
    for (int l = 0; l < 2; l++) {
        for (size_t i = 0; i < COUNT_OF(resident); i++)
            PUT(resident[i].a, resident[i].b, "model.layers.%d.%s.weight", l, resident[i].name);
        PUT(experts, HIDDEN, "model.layers.%d.mlp.gate.weight", l);
        for (int x = 0; x < experts; x++) {
            PUT(INNER, HIDDEN, "model.layers.%d.mlp.experts.%d.gate_proj.weight", l, x);
            PUT(INNER, HIDDEN, "model.layers.%d.mlp.experts.%d.up_proj.weight", l, x);
            PUT(HIDDEN, INNER, "model.layers.%d.mlp.experts.%d.down_proj.weight", l, x);
        }
    }
    ASSERT_OK(st_write_header(&header, list, n, NULL, 0, 8, &e), e);
    temp_write(the.t.dir, "model.safetensors", header.text, header.len);
    ck_assert_int_eq(truncate(temp_path(the.t.dir, "model.safetensors"),
                              (off_t)(list[n - 1].offset + list[n - 1].bytes)), 0);
    static const char *const sizes[][2] = {{"hidden_size", "3072"}, {"num_hidden_layers", "2"},
                                           {"moe_intermediate_size", "2048"},
                                           {"num_experts", NULL}};
    char *config = tiny_config_with(tiny_qwen3_moe_config, "tie_word_embeddings", "false");
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char number[20];
        (void)snprintf(number, sizeof number, "%d", experts);
        char *next = tiny_config_with(config, sizes[i][0], sizes[i][1] ? sizes[i][1] : number);
        free(config);
        config = next;
    }
    temp_write(the.t.dir, "config.json", config, strlen(config));
    free(config);
    strbuf_free(&header);
    free(list);
    free(name);
}

static uint64_t resident_most(void)
{
    struct rusage use;
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &use), 0);
    return (uint64_t)use.ru_maxrss << 10;
}

// 0: re-pack, 1: quantize; 150 MB each, with the ceiling lower than any of them and with all there
// is. Each in a process of its own, as Check runs its tests.
START_TEST(the_process_stays_below_its_ceiling)
{
    if (WATCHED) {
        (void)printf("skipped: resident memory of a sanitized program\n");
        return;
    }
    err e = ERR_INIT;
    write_holes(2);
    if (_i % 2)
        make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    else
        make_convert(LAYOUT_EXPERTS);
    the.order.plan.search = SEARCH_COMPAT;
    the.order.memory = _i < 2 ? 128 << 20 : (uint64_t)4 << 30;
    ASSERT_OK(pool_open(&the.order.pool, 2, &e), e);
    make_runs();
    ck_assert_uint_le(the.report.memory_needed, the.order.memory);
    ck_assert_msg(resident_most() <= (_i < 2 ? 128u << 20 : 256u << 20), "%llu bytes",
                  (unsigned long long)resident_most());
}
END_TEST

// Parts of so many bytes that wait at one time.
static uint64_t most_waiting(const plan *p, const plan_file *f, uint64_t bytes)
{
    uint64_t n = 0, most = 0;
    for (int64_t i = f->first; i < f->first + f->n; i++) {
        const plan_tensor *t = &p->tensor[i];
        for (int k = 0; t->starts && k < codec_written(t->codec); k++)
            n += k != t->part &&
                 codec_part_bytes(t->codec, k, t->source->out, t->source->in) == bytes;
        most = n > most ? n : most;
        n -= t->source && !t->starts && t->to.bytes == bytes;
    }
    return most;
}

// A place that is free again is taken by the next part of that size.
START_TEST(what_does_not_wait_in_memory_is_counted_as_scratch)
{
    make_parts k;
    err e = ERR_INIT;
    uint64_t bytes;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_open_parts(&k);
    for (int64_t i = 0; i < k.p.n_files; i++) {
        const plan_file *f = &k.p.file[i];
        uint64_t waiting = 0, all = 0;
        for (int64_t t = f->first; t < f->first + f->n; t++)
            if (k.p.tensor[t].source && !k.p.tensor[t].starts)
                all += k.p.tensor[t].to.bytes;
        for (uint64_t size = 1; size <= all; size++)
            waiting += size * most_waiting(&k.p, f, size);
        ck_assert_int_eq(waiting > 0, f->holds_experts);
        ck_assert(!f->holds_experts || waiting < all / 2);
        ASSERT_OK(held_overflow(&k.p, f, 0, &bytes, &e), e);
        ck_assert_uint_eq(bytes, waiting);
        ASSERT_OK(held_overflow(&k.p, f, waiting, &bytes, &e), e);
        ck_assert_uint_eq(bytes, 0);
    }
    ASSERT_OK(run_scratch(&k.p, (run_slice){0, k.p.n_files}, 2, 1 << 30, &bytes, &e), e);
    ck_assert_uint_eq(bytes, 0);
    make_give_up(&k);
}
END_TEST

START_TEST(the_least_memory_is_told_and_holds)
{
    if (WATCHED) {
        (void)printf("skipped: resident memory of a sanitized program\n");
        return;
    }
    uint64_t needed;
    err e = ERR_INIT;
    make_parts k;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_open_parts(&k);
    ASSERT_FAILS(run_fits(&k.p, 2, 1 << 20, &needed, &refused), ERR_ENV, "with 2 threads");
    ck_assert_uint_le(needed, 128 << 20);
    ASSERT_OK(run_fits(&k.p, 2, needed + needed / 16, &needed, &e), e);
    ASSERT_FAILS(run_fits(&k.p, 2, needed - 1, &needed, &refused), ERR_ENV, "MiB would do");
    run_sizes sizes;
    for (uint64_t memory = needed + needed / 16; memory < (uint64_t)8 << 30; memory += memory / 3) {
        ASSERT_OK(run_sizes_of(&k.p, 2, memory, false, &sizes, &needed, &e), e);
        ck_assert_uint_le(sizes.stream + sizes.ring + sizes.batch + sizes.held + 2 * sizes.worker,
                          memory);
    }
    make_give_up(&k);
}
END_TEST

Suite *suite_run_memory(void)
{
    Suite *s = suite_create("run_memory");
    TCase *c = tcase_create("memory");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, the_process_stays_below_its_ceiling, 0, 4);
    tcase_add_test(c, what_does_not_wait_in_memory_is_counted_as_scratch);
    tcase_add_test(c, the_least_memory_is_told_and_holds);
    suite_add_tcase(s, c);
    return s;
}
