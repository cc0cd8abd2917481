// SPDX-License-Identifier: Apache-2.0
#include "tests/output_case.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "tests/folder.h"
#include "tests/refused.h"
#include "tests/temp.h"

char top[256], dir[300], input[300];
const sha256_digest plan_a = {{1, 2, 3}}, plan_b = {{4, 5, 6}};

void output_set_up(void)
{
    temp_prefer_memory();
    (void)snprintf(top, sizeof top, "%s", temp_dir_make());
    (void)snprintf(dir, sizeof dir, "%s/out", top);
    (void)snprintf(input, sizeof input, "%s/in", top);
    temp_mkdir(top, "in");
}

void output_tear_down(void) { temp_dir_remove(top); }

const output_file two[2] = {{"model-00001-of-00002.safetensors", 11},
                                  {"model-00002-of-00002.safetensors", 12}};
const output_file one[1] = {{"model.safetensors", 11}};

output_order order_of(const run *r)
{
    return (output_order){.dir = dir,
                          .input = input,
                          .plan = r->plan,
                          .inputs = &r->input_line,
                          .n_inputs = 1,
                          .file = r->fewer ? one : two,
                          .n_files = r->fewer ? 1 : 2,
                          .bytes = 100,
                          .mode = r->mode,
                          .n_own = r->fewer ? 1 : 2,
                          .force = r->force,
                          .dry_run = r->dry_run};
}

bool stage(output *o, const char *name, const char *text, err *e)
{
    out_file f = OUT_FILE_CLOSED;
    if (output_has(o, name, NULL))
        return true;
    if (output_begin(o, &f, name, strlen(text), text, 4, e) &&
        out_append(&f, text + 4, strlen(text) - 4, e) && output_end(o, &f, name, "7:1", e))
        return true;
    out_discard(&f);
    return false;
}

// As scruple.json, as far as the folder's meaning needs it.
static void make_manifest(const run *r, strbuf *text)
{
    char hex[65];
    strbuf_printf(text, "{\"schema_version\":1,\"tool\":\"scruple\",\"plan\":\"%s\",\"files\":[",
                  hex_of(r->plan->b, 32, hex));
    output_order w = order_of(r);
    for (uint64_t i = 0; i < w.n_files; i++)
        strbuf_printf(text, "\"%s\",", w.file[i].name);
    strbuf_puts(text, "\"config.json\",\"scruple.json\",\"SHA256SUMS\"]}");
    ck_assert(!text->failed);
}

bool go(output *o, const run *r, err *e)
{
    strbuf text = {0};
    make_manifest(r, &text);
    output_order w = order_of(r);
    bool ok = stage(o, w.file[0].name, r->first, e) &&
              (r->fewer || stage(o, w.file[1].name, "second shard", e)) &&
              output_small(o, "config.json", "{}", 2, e) &&
              output_small(o, "scruple.json", text.text, text.len, e) && output_publish(o, e);
    strbuf_free(&text);
    return ok;
}

bool run_all(const run *r, bool *complete, err *e)
{
    output *o;
    output_order w = order_of(r);
    if (!output_open(&o, &w, complete, e))
        return false;
    bool ok = *complete || r->dry_run || go(o, r, e);
    output_close(o);
    return ok;
}

void run_well(const run *r, bool expect_complete)
{
    err e = ERR_INIT;
    bool complete;
    ASSERT_OK(run_all(r, &complete, &e), e);
    ck_assert_int_eq(complete, expect_complete);
}

void refuses_as(const run *r, err_kind kind, const char *words)
{
    char before[65], after[65];
    bool complete;
    folder_digest(dir, before);
    ASSERT_FAILS(run_all(r, &complete, &refused), kind, words);
    ck_assert_str_eq(before, folder_digest(dir, after));
}

void refuses(const run *r, const char *words) { refuses_as(r, ERR_ENV, words); }

void holds_result(const run *r)
{
    ck_assert_int_eq(folder_hidden(dir), 0);
    ck_assert_int_eq(folder_visible(dir), r->fewer ? 4 : 5);
    size_t len;
    char *text = folder_read(dir, r->fewer ? one[0].name : two[0].name, &len);
    ck_assert_str_eq(text, r->first);
    free(text);
}

void begin_and_stop(const run *r)
{
    output *o;
    err e = ERR_INIT;
    bool complete;
    output_order w = order_of(r);
    ASSERT_OK(output_open(&o, &w, &complete, &e), e);
    ASSERT_OK(stage(o, w.file[0].name, r->first, &e), e);
    output_close(o);
}
