// SPDX-License-Identifier: Apache-2.0
#include "tests/make_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "convert/run_parts.h"
#include "tests/folder.h"
#include "tests/temp.h"

make_case the;
ears heard;

static void hear(char *to, size_t size, const char *line)
{
    size_t len = strlen(to);
    (void)snprintf(to + len, size - len, "%s\n", line);
}

static void on_warn(void *ctx, const char *line)
{
    (void)ctx;
    hear(heard.warned, sizeof heard.warned, line);
}

static void on_note(void *ctx, const char *line)
{
    (void)ctx;
    hear(heard.noted, sizeof heard.noted, line);
}

static void on_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    (void)ctx;
    (void)what;
    ck_assert_uint_le(done, total);
    heard.done = done;
    heard.total = total;
    if (++heard.progress == heard.touch_at) {
        // Kernels stamp files by a clock that ticks every few milliseconds.
        const struct timespec ticks = {0, 50000000};
        (void)nanosleep(&ticks, NULL);
        folder_flip(the.t.dir, "model.safetensors", -1);
    }
}

static bool on_stop(void *ctx)
{
    (void)ctx;
    return heard.stop_at && heard.progress >= heard.stop_at;
}

static const events all_ears = {.warn = on_warn, .note = on_note, .progress = on_progress,
                                .stop = on_stop};

// ---- frame ----

void make_set_up(void)
{
    temp_prefer_memory();
    tiny_init(&the.t);
    (void)snprintf(the.top, sizeof the.top, "%s", temp_dir_make());
    (void)snprintf(the.out, sizeof the.out, "%s/out", the.top);
    (void)snprintf(the.other, sizeof the.other, "%s/other", the.top);
    memset(&heard, 0, sizeof heard);
    the.order = (make_options){.command = "quantize", .input = the.t.dir, .output = the.out,
                               .plan = PLAN_DEFAULTS, .needs_model = true,
                               .options_json = "{\"test\": 1}",
                               .memory = 1 << 30, .events = &all_ears};
}

void make_tear_down(void)
{
    pool_close(the.order.pool);
    temp_dir_remove(the.top);
    tiny_free(&the.t);
}

void make_use_qwen3(void)
{
    static const tiny_shape shape = TINY_SHAPE;
    tiny_qwen3_moe(&the.t, &shape);
    tiny_write(&the.t, tiny_qwen3_moe_config);
}

void make_quantize(const char *type, plan_scope scope, plan_layout layout)
{
    the.order.plan.codec = codec_find(type);
    the.order.plan.scope = scope;
    the.order.plan.layout = layout;
}

void make_convert(plan_layout layout)
{
    the.order.command = "convert";
    the.order.plan.codec = NULL;
    the.order.plan.scope = SCOPE_NONE;
    the.order.plan.layout = layout;
}

void make_runs(void)
{
    err e = ERR_INIT;
    if (!make_checkpoint(&the.order, &the.report, &e))
        ck_abort_msg("%s", e.text);
}

void make_open_parts(make_parts *k)
{
    err e = ERR_INIT;
    bool complete;
    *k = (make_parts){.with = {.memory = 1 << 30}};
    ck_assert_msg(checkpoint_open(&k->source, the.t.dir, NULL, &e), "%s", e.text);
    ck_assert_msg(model_open(&k->m, k->source, NULL, &e), "%s", e.text);
    ck_assert_msg(plan_make(&k->p, k->source, k->m, &the.order.plan, &e), "%s", e.text);
    output_order with = {.dir = the.out, .input = the.t.dir, .plan = &k->p.id};
    ck_assert_msg(output_open(&k->to, &with, &complete, &e), "%s", e.text);
    ck_assert_msg(run_result_init(&k->r, &k->p, &e), "%s", e.text);
}

void make_close_parts(make_parts *k)
{
    run_result_free(&k->r, &k->p);
    output_close(k->to);
    plan_free(&k->p);
    model_close(k->m);
    checkpoint_close(k->source);
}

void make_sums_are_right(const char *dir)
{
    char command[600];
    (void)snprintf(command, sizeof command, "cd %s && sha256sum -c --quiet SHA256SUMS && "
                   "test $(wc -l < SHA256SUMS) = $(($(ls -A | wc -l) - 1))", dir);
    ck_assert_int_eq(system(command), 0);
}

void make_same_tensors(const char *a, const char *b)
{
    err e = ERR_INIT;
    checkpoint *x, *y;
    sha256_digest p, q;
    ck_assert(checkpoint_open(&x, a, NULL, &e));
    ck_assert(checkpoint_open(&y, b, NULL, &e));
    ck_assert_int_eq(checkpoint_count(x), checkpoint_count(y));
    ck_assert(checkpoint_digest(x, NULL, &p, &e));
    ck_assert(checkpoint_digest(y, NULL, &q, &e));
    ck_assert_mem_eq(p.b, q.b, sizeof p.b);
    checkpoint_close(x);
    checkpoint_close(y);
}

void make_file_says(const char *dir, const char *name, const char *words)
{
    size_t len;
    char *text = folder_read(dir, name, &len);
    ck_assert_msg(strstr(text, words), "%s does not say %s:\n%s", name, words, text);
    free(text);
}

void make_walk_all(const make_parts *k)
{
    for (uint64_t batch = 1; batch < 10000; batch *= 9) {
        source_walk w;
        stream_range r;
        bool end = false;
        err e = ERR_INIT;
        uint64_t sum = 0, all = 0, places = 0;
        for (int64_t i = 0; i < checkpoint_count(k->source); i++) {
            const tensor *t = checkpoint_at(k->source, i);
            all += t->bytes;
            for (uint64_t at = 0; at < t->bytes; at++)
                places -= t->offset + at;
        }
        walk_begin(&w, &k->p, k->r.resumed, (run_slice){0, k->p.n_files}, batch);
        for (;;) {
            ck_assert_msg(walk_next(&w, &r, &end, &e), "%s", e.text);
            if (end)
                break;
            sum += r.bytes;
            for (uint64_t at = 0; at < r.bytes; at++)
                places += r.offset + at;
        }
        ck_assert_uint_eq(sum, all);
        ck_assert_uint_eq(places, 0);
    }
}

char *make_with_text(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "%s", from);
    strbuf s = {0};
    strbuf_add(&s, text, (size_t)(at - text));
    strbuf_puts(&s, to);
    strbuf_puts(&s, at + strlen(from));
    return s.text;
}

const char *make_fails(err_kind kind, const char *words)
{
    static err e;
    e = (err)ERR_INIT;
    int before = temp_count(the.top);
    ck_assert(!make_checkpoint(&the.order, &the.report, &e));
    ck_assert_msg(e.kind == kind && strstr(e.text, words), "%d: '%s' does not say '%s'",
                  (int)e.kind, e.text, words);
    ck_assert_int_eq(temp_count(the.top), before);
    return e.text;
}

void make_give_up(make_parts *k)
{
    output_abandon(k->to);
    k->to = NULL;
    make_close_parts(k);
}

static void is_again(const char *digest)
{
    char found[65];
    ck_assert_str_eq(folder_digest(the.out, found), digest);
}

void make_goes_on(const char *digest)
{
    err e = ERR_INIT;
    int progress = heard.progress;
    folder_remove(the.out);
    memset(&heard, 0, sizeof heard);
    heard.stop_at = progress - 2;
    ck_assert(!make_checkpoint(&the.order, &the.report, &e));
    ck_assert_int_eq(e.kind, ERR_INTERRUPTED);
    heard.stop_at = 0;
    make_runs();
    ck_assert_int_gt(the.report.n_resumed, 0);
    is_again(digest);
}

void make_in_parts(int64_t parts, const char *digest)
{
    err e = ERR_INIT;
    make_options o = the.order;
    folder_remove(the.out);
    o.mode = OUTPUT_PART;
    o.parts = parts;
    for (o.part = parts; o.part > 0; o.part--)
        ck_assert_msg(make_checkpoint(&o, &the.report, &e), "%s", e.text);
    o.mode = OUTPUT_MERGE;
    ck_assert_msg(make_checkpoint(&o, &the.report, &e), "%s", e.text);
    is_again(digest);
}
