// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "base/reduce.h"
#include "tests/forward_case.h"
#include "tests/refused.h"
#include "tests/tiny_model.h"
#include "verify/forward_inner.h"
#include "verify/nll.h"

Suite *suite_forward(void);

static const char NANO[] = "tests/data/nano", QWEN3[] = "tests/data/qwen3_tiny";

// Both sides compute in binary32; sums of up to a few hundred products in different orders differ
// by about 1e-6 of the largest value here. The contract with users is 1e-4.
static const double TOLERANCE = 1e-5;

static pool *threads(int n)
{
    pool *p;
    err e = ERR_INIT;
    ASSERT_OK(pool_open(&p, n, &e), e);
    return p;
}

// ---- against transformers ----

static void compare_logits(const outcome *r, const npy *want, int64_t from)
{
    int64_t rows = want->shape[1] * r->vocab;
    for (int64_t w = 0; w < want->shape[0]; w++)
        ck_assert_double_lt(relative_difference(r->logits + (w * r->len + from) * r->vocab,
                                                (float *)want->data + w * rows, rows), TOLERANCE);
}

static void compare_hidden(const outcome *r, const npy *want)
{
    int64_t some = want->shape[2] * r->hidden_size; // of the first window
    ck_assert_int_eq(want->shape[0], r->layers + 1);
    for (int64_t i = 0; i <= r->layers; i++)
        ck_assert_double_lt(relative_difference(r->hidden + i * r->n * r->len * r->hidden_size,
                                                (float *)want->data + i * some, some), TOLERANCE);
}

static void compare_nll(const outcome *r, const npy *tokens, const npy *want)
{
    err e = ERR_INIT;
    float *nll = calloc((size_t)want->n, sizeof *nll);
    nll_args a = {tokens->data, r->len, r->vocab, 0, r->n * r->len, r->logits, nll};
    ASSERT_OK(nll_fill(NULL, &a, &e), e);
    ck_assert_double_lt(relative_difference(nll, want->data, want->n), TOLERANCE);
    free(nll);
}

// want [moe layers][positions][k] of the first window, or [moe layers][n][len][k].
static void compare_router(const outcome *r, const npy *want)
{
    int64_t positions = want->n / r->moe_layers / r->top_k;
    for (int64_t l = 0; l < r->moe_layers; l++)
        ck_assert_mem_eq(r->router + l * r->n * r->len * r->top_k,
                         (int32_t *)want->data + l * positions * r->top_k,
                         (size_t)(positions * r->top_k) * sizeof(int32_t));
}

static void compare_with_reference(const char *path, bool last_logits)
{
    opened o;
    npy tokens, logits, nll, hidden, router;
    outcome r;
    pool *p = threads(2);
    open_model(&o, path);
    read_reference(&tokens, path, "tokens");
    read_reference(&logits, path, "logits");
    read_reference(&nll, path, "nll");
    read_reference(&hidden, path, "hidden");
    read_reference(&router, path, "router");
    run_model(&r, o.m, tokens.data, tokens.shape[0], tokens.shape[1], p, 64u << 20);
    compare_logits(&r, &logits, last_logits ? r.len - logits.shape[1] : 0);
    compare_nll(&r, &tokens, &nll);
    compare_hidden(&r, &hidden);
    compare_router(&r, &router);
    outcome_free(&r);
    npy *all[] = {&tokens, &logits, &nll, &hidden, &router};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        npy_free(all[i]);
    close_model(&o);
    pool_close(p);
}

START_TEST(nano_agrees_with_transformers)
{
    compare_with_reference(NANO, false);
}
END_TEST

START_TEST(qwen3_moe_agrees_with_transformers)
{
    compare_with_reference(QWEN3, true);
}
END_TEST

START_TEST(mini_agrees_with_transformers)
{
    char buf[512];
    const char *path = shared_path("models/mini", buf, sizeof buf);
    if (path)
        compare_with_reference(path, false);
}
END_TEST

// ---- the same bits ----

enum { N = 5, LEN = 70 }; // two tiles of queries in a window

static void run_nano(outcome *r, const opened *o, pool *p, uint64_t memory)
{
    int32_t tokens[N * LEN];
    random_tokens(tokens, N * LEN, model_arch(o->m)->vocab, 5);
    run_model(r, o->m, tokens, N, LEN, p, memory);
}

START_TEST(threads_do_not_move_a_bit)
{
    static const int counts[] = {2, 7};
    opened o;
    outcome one, more;
    open_model(&o, NANO);
    run_nano(&one, &o, NULL, 64u << 20);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        pool *p = threads(counts[i]);
        run_nano(&more, &o, p, 64u << 20);
        assert_same_bits(&one, &more);
        outcome_free(&more);
        pool_close(p);
    }
    outcome_free(&one);
    close_model(&o);
}
END_TEST

START_TEST(cpu_levels_do_not_move_a_bit)
{
    err e = ERR_INIT;
    int32_t tokens[LEN];
    opened o;
    outcome best, other;
    open_model(&o, NANO);
    random_tokens(tokens, LEN, model_arch(o.m)->vocab, 9);
    run_model(&best, o.m, tokens, 1, LEN, NULL, 64u << 20);
    for (int level = 0; level < CPU_LEVELS; level++) {
        if (!cpu_has((cpu_level)level) || (cpu_level)level == cpu_best())
            continue;
        ASSERT_OK(cpu_use((cpu_level)level, &e), e);
        run_model(&other, o.m, tokens, 1, LEN, NULL, 64u << 20);
        assert_same_bits(&best, &other);
        outcome_free(&other);
    }
    ASSERT_OK(cpu_use(cpu_best(), &e), e);
    outcome_free(&best);
    close_model(&o);
}
END_TEST

START_TEST(memory_does_not_move_a_bit)
{
    opened o;
    outcome much, little;
    pool *p = threads(2);
    open_model(&o, NANO);
    run_nano(&much, &o, p, 64u << 20);
    uint64_t least = 0;
    forward_options with = {.pool = p};
    ck_assert_int_eq(forward_windows(o.m, LEN, &with, &least), 0);
    least += 4 * (uint64_t)model_arch(o.m)->vocab; // passes keeps one row of logits beside
    for (uint64_t memory = least; memory < 16 * least; memory *= 3) {
        run_nano(&little, &o, p, memory);
        assert_same_bits(&much, &little);
        outcome_free(&little);
    }
    outcome_free(&much);
    close_model(&o);
    pool_close(p);
}
END_TEST

START_TEST(windows_do_not_see_each_other)
{
    int32_t tokens[2 * LEN];
    opened o;
    outcome both, alone;
    open_model(&o, NANO);
    random_tokens(tokens, 2 * LEN, model_arch(o.m)->vocab, 11);
    run_model(&both, o.m, tokens, 2, LEN, NULL, 64u << 20);
    run_model(&alone, o.m, tokens + LEN, 1, LEN, NULL, 64u << 20);
    int64_t window = LEN * both.vocab;
    ck_assert(memcmp(alone.logits, both.logits + window, (size_t)window * 4) == 0);
    outcome_free(&both);
    outcome_free(&alone);
    close_model(&o);
}
END_TEST

START_TEST(later_tokens_do_not_reach_earlier_ones)
{
    int32_t tokens[LEN];
    opened o;
    outcome whole, part;
    open_model(&o, QWEN3);
    random_tokens(tokens, LEN, model_arch(o.m)->vocab, 13);
    run_model(&whole, o.m, tokens, 1, LEN, NULL, 64u << 20);
    run_model(&part, o.m, tokens, 1, LEN - 9, NULL, 64u << 20);
    ck_assert(memcmp(part.logits, whole.logits, (size_t)((LEN - 9) * whole.vocab) * 4) == 0);
    outcome_free(&whole);
    outcome_free(&part);
    close_model(&o);
}
END_TEST

// ---- announcements ----

typedef struct {
    const model *m;
    const arch *a;
    int64_t rows[ROLE_COUNT];  // of all layers and experts
    int64_t calls;
    int32_t chosen[64];        // of the last routing
    float route[64];
    int64_t tokens;
} listener;

static bool hear_activation(void *ctx, const activation *x, err *e)
{
    listener *l = ctx;
    const weight *w = model_weight(l->m, x->role, x->layer, x->expert);
    (void)e;
    ck_assert_ptr_nonnull(w);
    ck_assert_int_eq(x->cols, w->in);
    ck_assert_int_ge(x->rows, 1);
    ck_assert_int_lt(reduce_first_nonfinite(x->x, x->rows * x->cols), 0);
    ck_assert_int_eq(x->expert >= 0, role_is_expert(x->role));
    ck_assert_int_eq(x->route != NULL, role_is_expert(x->role));
    for (int64_t i = 0, t = -1; x->route && i < x->rows; i++) { // tokens in order
        for (t++; t < l->tokens * l->a->top_k && l->chosen[t] != x->expert; t++)
            ;
        ck_assert_float_eq(x->route[i], l->route[t]);
    }
    l->rows[x->role] += x->rows;
    l->calls++;
    return true;
}

static bool hear_routing(void *ctx, const routing *r, err *e)
{
    listener *l = ctx;
    (void)e;
    ck_assert_int_eq(r->n_tokens, l->tokens);
    memcpy(l->chosen, r->chosen, (size_t)(r->n_tokens * r->top_k) * sizeof(int32_t));
    memcpy(l->route, r->weight, (size_t)(r->n_tokens * r->top_k) * sizeof(float));
    return true;
}

// Every linear matrix hears all tokens once under its announced role; experts share top_k times.
static void check_announcements(const char *path)
{
    enum { TOKENS = 12 };
    err e = ERR_INIT;
    opened o;
    forward *f;
    int32_t tokens[TOKENS];
    open_model(&o, path);
    listener l = {.m = o.m, .a = model_arch(o.m), .tokens = TOKENS};
    forward_options with = {.memory = 64u << 20, .on_activation = hear_activation,
                            .on_routing = hear_routing, .ctx = &l};
    random_tokens(tokens, TOKENS, l.a->vocab, 3);
    ASSERT_OK(forward_open(&f, o.m, &with, &e), e);
    ASSERT_OK(forward_begin(f, tokens, 2, TOKENS / 2, &e), e);
    for (int64_t i = 0; i < l.a->n_layers; i++)
        ASSERT_OK(forward_layer(f, i, &e), e);
    for (int r = 0; r < ROLE_COUNT; r++) {
        int64_t layers = 0;
        for (int64_t i = 0; i < l.a->n_layers; i++)
            layers += model_weight(o.m, (role)r, i, role_is_expert((role)r) ? 0 : -1) != NULL;
        int64_t want = layers * TOKENS * (role_is_expert((role)r) ? l.a->top_k : 1);
        role as = forward_announced_as(l.a, (role)r);
        if (role_is_linear((role)r) && layers)
            ck_assert_int_eq(l.rows[as], want);
        if (as != (role)r || !role_is_linear((role)r))
            ck_assert_int_eq(l.rows[r], 0);
    }
    forward_close(f);
    close_model(&o);
}

START_TEST(latent_attention_announces_every_matrix)
{
    check_announcements(NANO);
}
END_TEST

START_TEST(grouped_attention_announces_every_matrix)
{
    check_announcements(QWEN3);
}
END_TEST

// ---- refusals ----

static forward *opened_forward(const opened *o, uint64_t memory)
{
    forward *f;
    err e = ERR_INIT;
    forward_options with = {.memory = memory};
    ASSERT_OK(forward_open(&f, o->m, &with, &e), e);
    return f;
}

START_TEST(refuses_tokens_outside_the_vocabulary)
{
    opened o;
    open_model(&o, QWEN3);
    forward *f = opened_forward(&o, 64u << 20);
    int32_t tokens[6] = {1, 2, 3, 4, 64, 5};
    ASSERT_REFUSED(forward_begin(f, tokens, 2, 3, &refused),
                   "window 1, position 1: token 64 is outside the vocabulary of 64");
    tokens[4] = -1;
    ASSERT_REFUSED(forward_begin(f, tokens, 2, 3, &refused), "token -1 is outside");
    ASSERT_REFUSED(forward_begin(f, tokens, 0, 3, &refused), "there are no tokens");
    forward_close(f);
    close_model(&o);
}
END_TEST

START_TEST(names_the_memory_that_one_window_needs)
{
    opened o;
    err e = ERR_INIT;
    int32_t tokens[40];
    uint64_t least = 0;
    forward_options none = {0};
    open_model(&o, QWEN3);
    random_tokens(tokens, 40, 64, 1);
    ck_assert_int_eq(forward_windows(o.m, 40, &none, &least), 0);
    char words[64];
    (void)snprintf(words, sizeof words, "needs %llu bytes", (unsigned long long)least);
    forward *f = opened_forward(&o, least - 1);
    ASSERT_FAILS(forward_begin(f, tokens, 1, 40, &refused), ERR_ENV, words);
    forward_close(f);
    f = opened_forward(&o, least);
    ASSERT_OK(forward_begin(f, tokens, 1, 40, &e), e);
    forward_close(f);
    close_model(&o);
}
END_TEST

START_TEST(refuses_steps_out_of_order)
{
    opened o;
    err e = ERR_INIT;
    int32_t tokens[3] = {1, 2, 3};
    float logits[64];
    open_model(&o, QWEN3);
    forward *f = opened_forward(&o, 64u << 20);
    ASSERT_FAILS(forward_layer(f, 0, &refused), ERR_INTERNAL, "layer 0 was asked for");
    ASSERT_OK(forward_begin(f, tokens, 1, 3, &e), e);
    ASSERT_FAILS(forward_final_norm(f, &refused), ERR_INTERNAL, "before the last layer");
    ASSERT_FAILS(forward_logits(f, 0, 1, logits, &refused), ERR_INTERNAL, "before the final");
    ASSERT_FAILS(forward_layer(f, 1, &refused), ERR_INTERNAL, "where 0 comes next");
    forward_close(f);
    close_model(&o);
}
END_TEST

// An expert's down projection with one NaN in row 2, column 7.
static void plant_nan(tiny *t, const char *name)
{
    static float values[64 * 32];
    for (int i = 0; i < 64 * 32; i++)
        values[i] = 0.01f;
    values[2 * 32 + 7] = NAN;
    tiny_drop(t, name);
    tiny_add(t, name, DT_F32, 2, 64, 32, values);
}

static bool run_tiny(const tiny *t, err *e)
{
    opened o;
    int32_t tokens[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    open_model(&o, t->dir);
    passes run = {.n_models = 1, .model = {o.m}, .tokens = tokens, .n = 1, .len = 8,
                  .memory = 64u << 20};
    bool ok = passes_run(&run, e);
    close_model(&o);
    return ok;
}

START_TEST(names_the_weight_that_is_not_finite)
{
    tiny t;
    tiny_shape shape = {"model.", "", false, 0, false};
    tiny_init(&t);
    tiny_deepseek_v3(&t, &shape);
    for (int x = 0; x < 4; x++) { // whichever the router takes
        char name[64];
        (void)snprintf(name, sizeof name, "model.layers.1.mlp.experts.%d.down_proj.weight", x);
        plant_nan(&t, name);
    }
    tiny_write(&t, tiny_deepseek_v3_config);
    ASSERT_REFUSED(run_tiny(&t, &refused), "down_proj");
    ASSERT_REFUSED(run_tiny(&t, &refused), "model.layers.1.mlp.experts.");
    ASSERT_REFUSED(run_tiny(&t, &refused), "row 2, column 7 is not finite");
    tiny_free(&t);
}
END_TEST

START_TEST(experts_that_are_not_hit_are_not_read)
{
    tiny t;
    err e = ERR_INIT;
    tiny_shape shape = {"model.", "", false, 0, false};
    static const float bias[4] = {10, 10, -10, -10};
    static const char name[] = "model.layers.1.mlp.gate.e_score_correction_bias";
    tiny_init(&t);
    tiny_deepseek_v3(&t, &shape);
    tiny_drop(&t, name);
    tiny_add(&t, name, DT_F32, 1, 4, 0, bias);
    plant_nan(&t, "model.layers.1.mlp.experts.2.down_proj.weight");
    plant_nan(&t, "model.layers.1.mlp.experts.3.down_proj.weight");
    tiny_write(&t, tiny_deepseek_v3_config);
    ASSERT_OK(run_tiny(&t, &e), e);
    tiny_free(&t);
}
END_TEST

START_TEST(names_where_a_state_overflows)
{
    tiny t;
    tiny_shape shape = {"model.", "", false, 0, false};
    static float huge[64 * 96];
    for (int i = 0; i < 64 * 96; i++)
        huge[i] = 3e38f;
    tiny_init(&t);
    tiny_deepseek_v3(&t, &shape);
    tiny_drop(&t, "model.layers.0.mlp.down_proj.weight");
    tiny_add(&t, "model.layers.0.mlp.down_proj.weight", DT_F32, 2, 64, 96, huge);
    tiny_write(&t, tiny_deepseek_v3_config);
    ASSERT_REFUSED(run_tiny(&t, &refused), "layer 0: the state of token 0 of window 0");
    tiny_free(&t);
}
END_TEST

// ---- reading ahead ----

// Blocks of rows that did not come ahead in a pass over n windows of 8 tokens.
static int64_t unforeseen(const model *m, int64_t n, uint64_t memory)
{
    enum { LONG = 8, LOGITS = 40 };
    err e = ERR_INIT;
    forward *f;
    const arch *a = model_arch(m);
    int32_t *tokens = calloc((size_t)(n * LONG), sizeof *tokens);
    float *logits = calloc((size_t)(LOGITS * a->vocab), sizeof *logits);
    ck_assert(tokens && logits);
    random_tokens(tokens, n * LONG, a->vocab, 5);
    forward_options o = {.memory = memory};
    ASSERT_OK(forward_open(&f, m, &o, &e), e);
    ASSERT_OK(forward_begin(f, tokens, n, LONG, &e), e);
    for (int64_t layer = 0; layer < a->n_layers; layer++)
        ASSERT_OK(forward_layer(f, layer, &e), e);
    ASSERT_OK(forward_final_norm(f, &e), e);
    for (int64_t at = 0; at + LOGITS <= n * LONG && at < 2 * LOGITS; at += LOGITS)
        ASSERT_OK(forward_logits(f, at, LOGITS, logits, &e), e);
    int64_t missed = f->lin.unforeseen;
    forward_close(f);
    free(tokens);
    free(logits);
    return missed;
}

static void foresees_all(const model *m)
{
    enum { MANY = 700 }; // three groups of windows and three blocks of tokens
    ck_assert_int_eq(unforeseen(m, 10, 256 << 20), 0);
    ck_assert_int_eq(unforeseen(m, MANY, 256 << 20), 0);
    ck_assert_int_gt(unforeseen(m, 10, 16 << 20), 0); // too little memory to read ahead
}

START_TEST(every_matrix_comes_ahead_of_its_use)
{
    static const char *const models[] = {"tests/data/nano", "tests/data/qwen3_tiny"};
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        opened o;
        open_model(&o, models[i]);
        foresees_all(o.m);
        close_model(&o);
    }
}
END_TEST

Suite *suite_forward(void)
{
    Suite *s = suite_create("forward");
    TCase *c = tcase_create("forward");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, nano_agrees_with_transformers);
    tcase_add_test(c, qwen3_moe_agrees_with_transformers);
    tcase_add_test(c, mini_agrees_with_transformers);
    tcase_add_test(c, threads_do_not_move_a_bit);
    tcase_add_test(c, cpu_levels_do_not_move_a_bit);
    tcase_add_test(c, memory_does_not_move_a_bit);
    tcase_add_test(c, windows_do_not_see_each_other);
    tcase_add_test(c, later_tokens_do_not_reach_earlier_ones);
    tcase_add_test(c, latent_attention_announces_every_matrix);
    tcase_add_test(c, grouped_attention_announces_every_matrix);
    tcase_add_test(c, refuses_tokens_outside_the_vocabulary);
    tcase_add_test(c, names_the_memory_that_one_window_needs);
    tcase_add_test(c, refuses_steps_out_of_order);
    tcase_add_test(c, names_the_weight_that_is_not_finite);
    tcase_add_test(c, experts_that_are_not_hit_are_not_read);
    tcase_add_test(c, names_where_a_state_overflows);
    tcase_add_test(c, every_matrix_comes_ahead_of_its_use);
    suite_add_tcase(s, c);
    return s;
}
