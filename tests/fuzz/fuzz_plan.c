// SPDX-License-Identifier: Apache-2.0
// A saved plan. An input is the whole file; one that begins with byte 1 is a change to a good one:
// a position (2 bytes) and a length (1 byte) of what gives way to the rest of the input.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "convert/saved_plan.h"
#include "tests/fuzz/fuzz.h"

static const plan_small small[] = {{"config.json", {{1}}}};

// The plan of copying two tensors: short lines, for there are millions of executions.
static saved_plan_facts facts(void)
{
    static const char header[] = "{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},"
                                 "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}";
    static char file[8 + sizeof header - 1];
    static const order copy = ORDER_DEFAULTS;
    static plan made;
    err e = ERR_INIT;
    checkpoint *c;
    if (!made.n_files) {
        store_u64(file, sizeof header - 1);
        memcpy(file + 8, header, sizeof header - 1);
        fuzz_file("/in/x.safetensors", file, sizeof file, sizeof file + 16);
        FUZZ_OK(checkpoint_open(&c, "/in/x.safetensors", NULL, &e) &&
                plan_make(&made, c, NULL, &copy.plan, &e), &e);
        fuzz_files_clear();
    }
    return (saved_plan_facts){.order = &copy, .input = "/in", .output = "/out",
                              .small = small, .n_small = COUNT_OF(small), .plan = &made};
}

// The file as saved_plan_save writes it; once, through a real one.
static fuzz_text good(void)
{
    static char text[1 << 16], dir[] = "/tmp/scruple-fuzz-XXXXXX", path[64];
    static size_t len;
    err e = ERR_INIT;
    if (len)
        return (fuzz_text){text, len};
    saved_plan_facts f = facts();
    FUZZ_CHECK(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/x.plan", dir);
    FUZZ_OK(saved_plan_save(&f, path, true, &e), &e);
    FILE *in = fopen(path, "rb");
    FUZZ_CHECK(in);
    len = fread(text, 1, sizeof text, in);
    (void)fclose(in);
    FUZZ_CHECK(len > 0 && len < sizeof text && unlink(path) == 0 && rmdir(dir) == 0);
    return (fuzz_text){text, len};
}

// The options are found again.
static void check_order(const order *o)
{
    err e = ERR_INIT;
    order again;
    strbuf text = {0}, twice = {0};
    json *j = NULL;
    json_writer w = {.out = &text}, w2 = {.out = &twice};
    order_write(o, &w, NULL);
    FUZZ_OK(json_parse(&j, text.text, text.len, "options", &e) &&
            order_parse(&again, order_command(o), j, &e), &e);
    order_write(&again, &w2, NULL);
    FUZZ_CHECK(text.len == twice.len && memcmp(text.text, twice.text, text.len) == 0);
    json_free(j);
    strbuf_free(&text);
    strbuf_free(&twice);
}

static bool is_good(const uint8_t *bytes, size_t n)
{
    fuzz_text g = good();
    return n == g.len && memcmp(bytes, g.text, n) == 0;
}

static void check_open(const saved_plan *f, const uint8_t *bytes, size_t n)
{
    err e = ERR_INIT;
    saved_plan_facts now = facts();
    FUZZ_CHECK(f->input && f->output && f->version && strlen(f->plan) == 64);
    FUZZ_CHECK((f->statistics != NULL) == f->order.weighted && f->units_at <= n);
    check_order(&f->order);
    if (saved_plan_check(f, &now, &e)) {
        // The first line has members that do not count for the plan; the lines of units are equal.
        fuzz_text g = good();
        const char *newline = memchr(g.text, '\n', g.len);
        size_t rest = g.len - (size_t)(newline - g.text);
        FUZZ_CHECK(rest <= n && memcmp(bytes + n - rest, newline, rest) == 0);
    } else {
        fuzz_refused_or(&e, ERR_ENV);
        FUZZ_CHECK(!is_good(bytes, n));
    }
}

static void run(const uint8_t *bytes, size_t n)
{
    err e = ERR_INIT;
    saved_plan f;
    fuzz_file("/p/x.plan", bytes, n, n);
    if (saved_plan_open(&f, "/p/x.plan", &e)) {
        fuzz_accept();
        check_open(&f, bytes, n);
        saved_plan_close(&f);
    } else {
        fuzz_refused(&e);
        FUZZ_CHECK(!f.path && !f.input && !f.small && !is_good(bytes, n));
    }
}

FUZZ_TARGET(plan, 8 << 20)
{
    static uint8_t changed[(1 << 16) + 4096];
    fuzz_text g = good();
    if (n < 4 || n > 4096 || bytes[0] != 1) {
        run(bytes, n);
        return;
    }
    size_t at = load_u16(bytes + 1) % (g.len + 1), cut = bytes[3], more = n - 4;
    cut = cut < g.len - at ? cut : g.len - at;
    memcpy(changed, g.text, at);
    memcpy(changed + at, bytes + 4, more);
    memcpy(changed + at + more, g.text + at + cut, g.len - at - cut);
    run(changed, g.len - cut + more);
}
