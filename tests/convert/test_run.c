// SPDX-License-Identifier: Apache-2.0
// The run itself: that its bytes depend neither on memory nor on how it is cut, that its proof can
// fail, what it notes for others, and what it asks of its input.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/run_parts.h"
#include "formats/expected.h"
#include "tests/folder.h"
#include "tests/make_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_run(void);

static const tiny_shape shape = TINY_SHAPE;

// ---- the same bytes --------------------------------------------------------------------------

static void runs_as(make_parts *k, uint64_t batch, uint64_t held, char digest[65])
{
    err e = ERR_INIT;
    make_open_parts(k);
    k->with.batch = batch;
    k->with.held = held;
    k->with.scratch = the.out;
    k->with.count_changes = true;
    ASSERT_OK(run_plan(&k->p, &k->with, k->to, &k->r, &e), e);
    ASSERT_OK(run_read_back(&k->p, &k->with, k->to, &k->r, &e), e);
    sha256 *sha = sha256_new(&e);
    for (int64_t f = 0; f < k->p.n_files; f++) {
        sha256_digest one;
        ck_assert(output_has(k->to, k->p.file[f].name, &one));
        sha256_add(sha, one.b, sizeof one.b);
    }
    sha256_digest all;
    sha256_end(sha, &all);
    (void)hex_of(all.b, sizeof all.b, digest);
}

// One row (or block of rows) at a time, and every part that waits on disk, against all at once.
START_TEST(batches_and_scratch_do_not_change_a_byte)
{
    static const struct {
        const char *from, *to;
        plan_layout layout;
    } cases[] = {{NULL, "int4-g32", LAYOUT_EXPERTS},     {NULL, "fp8-block", LAYOUT_EXPERTS},
                 {NULL, "fp8-channel", LAYOUT_PLAIN},    {"fp8", "int4-g32", LAYOUT_PLAIN},
                 {"fp8", "bf16", LAYOUT_PLAIN},          {"int4", "fp8-block", LAYOUT_EXPERTS},
                 {"int4", "int4-g64", LAYOUT_EXPERTS},
                 {NULL, "int4-gptq-g32", LAYOUT_EXPERTS}, {"int4", "int4-awq-g32", LAYOUT_PLAIN},
                 {"fp8", "int8-gptq-v2-channel-asym", LAYOUT_PLAIN},
                 {NULL, "int8-mlx-g32", LAYOUT_EXPERTS}};
    static const char fp8[] = "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}";
    static const char int4[] =
        "{\"quant_method\": \"compressed-tensors\", \"format\": \"pack-quantized\", "
        "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], "
        "\"weights\": {\"num_bits\": 4, \"type\": \"int\", \"symmetric\": true, "
        "\"strategy\": \"group\", \"group_size\": 32}}}}";
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char first[65], now[65];
        make_parts k;
        const char *from = cases[i].from ? cases[i].from : "";
        if (i)
            make_set_up();
        tiny_qwen3_moe(&the.t, &shape);
        for (int x = 0; *from && x < 36; x++) {
            static const char *const names[] = {"gate", "up", "down"};
            char module[80];
            (void)snprintf(module, sizeof module, "model.layers.%d.mlp.experts.%d.%s_proj", x / 12,
                           x / 3 % 4, names[x % 3]);
            (strcmp(from, "fp8") == 0 ? tiny_make_fp8_block : tiny_make_int4)(&the.t, module);
        }
        char *config = tiny_config_with(tiny_qwen3_moe_config, "quantization_config",
                                        strcmp(from, "fp8") == 0 ? fp8 : *from ? int4 : NULL);
        tiny_write(&the.t, config);
        free(config);
        make_quantize(cases[i].to, SCOPE_EXPERTS, cases[i].layout);
        the.order.plan.fallback = codec_find("bf16");
        runs_as(&k, 0, 0, first);
        make_give_up(&k);
        runs_as(&k, 1, 1, now);
        ck_assert_msg(strcmp(first, now) == 0, "case %zu", i);
        make_give_up(&k);
        runs_as(&k, 3000, 200, now);
        ck_assert_msg(strcmp(first, now) == 0, "case %zu", i);
        make_give_up(&k);
        if (i + 1 < COUNT_OF(cases))
            make_tear_down();
    }
}
END_TEST

START_TEST(a_walk_meets_every_byte_of_the_source_once)
{
    make_parts k;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_open_parts(&k);
    make_walk_all(&k);
    make_give_up(&k);
}
END_TEST

START_TEST(what_waits_on_disk_comes_back)
{
    make_parts k;
    held_store h;
    err e = ERR_INIT;
    char bytes[1200], back[1200];
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_open_parts(&k);
    const plan_file *f = &k.p.file[1];
    for (uint64_t limit = 1; limit <= 301; limit += 60) {
        uint64_t at[200], n = 0;
        ASSERT_OK(held_open(&h, &k.p, f, limit, the.top, &e), e);
        ck_assert(h.spill.fd >= 0);
        for (int64_t i = f->first; i < f->first + f->n; i++) {
            const plan_tensor *t = &k.p.tensor[i];
            for (int part = 0; t->starts && part < 3; part++) {
                uint64_t size = codec_part_bytes(t->codec, part, 32, 64);
                if (part == t->part)
                    continue;
                ASSERT_OK(held_add(&h, t->source, part, size, &at[n], &e), e);
                memset(bytes, (int)(i + part), sizeof bytes);
                ASSERT_OK(held_put(&h, at[n], 0, bytes, size, &e), e);
                ck_assert_uint_le(h.in_memory, limit);
            }
            if (!t->source || t->starts)
                continue;
            int64_t place = held_find(&h, t->source, t->part), start = i;
            ck_assert_int_ge(place, 0);
            while (!(k.p.tensor[start].starts && k.p.tensor[start].source == t->source))
                start--;
            memset(bytes, (int)(start + t->part), sizeof bytes);
            ASSERT_OK(held_get(&h, (uint64_t)place, 0, back, t->to.bytes, &e), e);
            ck_assert_mem_eq(bytes, back, t->to.bytes);
            held_drop(&h, (uint64_t)place);
            ck_assert_int_eq(held_find(&h, t->source, t->part), -1);
        }
        for (uint64_t i = 0; i < h.n; i++) // free places in scratch
            ck_assert(h.part[i].spills && !h.part[i].source);
        ck_assert_uint_eq(h.in_memory, 0);
        ck_assert_uint_eq(h.spilled, h.spill.size); // what was measured
        held_close(&h);
    }
    make_give_up(&k);
}
END_TEST

// ---- proof -----------------------------------------------------------------------------------

typedef struct {
    make_parts k;
    unsigned char *bytes; // of unit 1, behind the header
    uint64_t n, begin;
    size_t piece;
} written;

static void open_written(written *w)
{
    err e = ERR_INIT;
    make_open_parts(&w->k);
    ASSERT_OK(run_plan(&w->k.p, &w->k.with, w->k.to, &w->k.r, &e), e);
    const plan_file *f = &w->k.p.file[1];
    in_file in;
    char *path = output_path(w->k.to, f->name, &e);
    w->begin = f->header.len;
    w->n = f->bytes - w->begin;
    w->bytes = malloc(w->n);
    ck_assert(path && w->bytes);
    ASSERT_OK(in_open(&in, path, &e), e);
    ASSERT_OK(in_read(&in, w->begin, w->bytes, w->n, &e), e);
    in_close(&in);
    free(path);
}

static bool proves(written *w, uint64_t n, err *e)
{
    proof *p;
    const plan_file *f = &w->k.p.file[1];
    xxh128_digest record[4] = {{{0}}};
    ck_assert(proof_open(&p, f, e));
    for (uint64_t at = 0; at < n; at += w->piece)
        proof_bytes(p, w->begin + at, w->bytes + at, w->piece < n - at ? w->piece : n - at);
    bool ok = proof_end(p, "as written", w->k.p.tensor + f->first, w->k.r.tensor + f->first,
                        record, e);
    proof_close(p);
    if (ok)
        ck_assert_mem_eq(record, w->k.r.record[1], sizeof record);
    return ok;
}

START_TEST(the_proof_sees_what_is_not_at_its_address)
{
    static const size_t pieces[] = {1, 1000, 4096, 1 << 20};
    err e = ERR_INIT;
    written w;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    open_written(&w);
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        w.piece = pieces[i];
        ASSERT_OK(proves(&w, w.n, &e), e);
        for (uint64_t at = 0; at < w.n; at += w.n / 7) {
            w.bytes[at] ^= 1;
            ASSERT_FAILS(proves(&w, w.n, &refused), ERR_INTERNAL, "as written differs from what");
            w.bytes[at] ^= 1;
        }
        // Two tensors of one size in each other's place: every byte was written, none got lost.
        const plan_tensor *t = &w.k.p.tensor[w.k.p.file[1].first];
        unsigned char *a = w.bytes + (t[0].to.offset - w.begin);
        unsigned char *b = w.bytes + (t[2].to.offset - w.begin), *room = malloc(t[0].to.bytes);
        ck_assert(room && t[0].to.bytes == t[2].to.bytes && memcmp(a, b, t[0].to.bytes) != 0);
        for (int back = 0; back < 2; back++) {
            memcpy(room, a, t[0].to.bytes);
            memcpy(a, b, t[0].to.bytes);
            memcpy(b, room, t[0].to.bytes);
            ck_assert(proves(&w, w.n, &refused) == back);
        }
        free(room);
        ASSERT_FAILS(proves(&w, w.n - 1, &refused), ERR_INTERNAL, "not what its header says");
        ASSERT_FAILS(proves(&w, 0, &refused), ERR_INTERNAL, "not what its header says");
        w.begin++;
        ASSERT_FAILS(proves(&w, w.n, &refused), ERR_INTERNAL, "not what its header says");
        w.begin--;
    }
    free(w.bytes);
    make_give_up(&w.k);
}
END_TEST

START_TEST(a_source_that_is_not_what_was_read_is_found)
{
    written w;
    make_use_qwen3();
    make_convert(LAYOUT_EXPERTS);
    open_written(&w);
    w.piece = 4096;
    w.bytes[5] ^= 4;
    ASSERT_FAILS(proves(&w, w.n, &refused), ERR_INTERNAL, "as written differs from its source");
    free(w.bytes);
    make_give_up(&w.k);
}
END_TEST

// ---- notes -----------------------------------------------------------------------------------

START_TEST(a_note_is_read_as_it_was_written_or_not_at_all)
{
    static const struct {
        const char *from, *to;
    } damage[] = {{"{\"note\":1", "{\"note\":2"}, {"{\"note\":1", "{\"note\":\"1\""},
                  {"{\"note\":1,", "{"},          {"{\"note\":1", "{\"more\":1,\"note\":1"},
                  {"\"records\":\"", "\"records\":\"0"}, {"\"records\":\"", "\"records\":\"00"},
                  {"\"sources\":\"", "\"sources\":\"zz"}, {"\"sources\":\"", "\"sources\":["},
                  {"\"changed\":[[", "\"changed\":[[1,2],["}, {"[0,7]", "[0,0]"},
                  {"[0,7]", "[-1,7]"}, {"[0,7]", "[0]"}, {"[0,7]", "[0,7,1]"}, {"[0,7]", "7"},
                  {"[3,1]", "[0,1]"}, {"[3,1]", "[999,1]"}, {"}", ""}, {"}", "}{}"}};
    make_parts k;
    run_result back;
    strbuf text = {0};
    err e = ERR_INIT;
    bool known;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_open_parts(&k);
    ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
    const plan_file *f = &k.p.file[2];
    k.r.changed[f->first] = 7;
    k.r.changed[f->first + 3] = 1;
    ASSERT_OK(note_write(&k.p, 2, &k.r, &text, &e), e);
    ASSERT_OK(run_result_init(&back, &k.p, &e), e);
    for (size_t i = 0; i < COUNT_OF(damage); i++) {
        char *bad = make_with_text(text.text, damage[i].from, damage[i].to);
        ASSERT_OK(note_read(&k.p, 2, bad, &back, &known, &e), e);
        ck_assert_msg(!known, "case %zu", i);
        free(bad);
    }
    ASSERT_OK(note_read(&k.p, 1, "", &back, &known, &e), e);
    ck_assert(!known);
    ASSERT_OK(note_read(&k.p, 0, text.text, &back, &known, &e), e); // another unit's
    ck_assert(!known);
    for (int64_t i = 0; i < checkpoint_count(k.source); i++)
        ck_assert(!back.read[i]);
    ASSERT_OK(note_read(&k.p, 2, text.text, &back, &known, &e), e);
    ck_assert(known);
    ck_assert_mem_eq(back.record[2], k.r.record[2], 4 * sizeof(xxh128_digest));
    for (int64_t i = 0; i < f->n; i++)
        ck_assert_int_eq(back.changed[f->first + i], k.r.changed[f->first + i]);
    int n = 0;
    for (int64_t i = 0; i < checkpoint_count(k.source); i++) {
        n += back.read[i];
        if (back.read[i])
            ck_assert_mem_eq(&back.source[i], &k.r.source[i], sizeof *back.source);
    }
    ck_assert_int_eq(n, 12);
    run_result_free(&back, &k.p);
    strbuf_free(&text);
    make_give_up(&k);
}
END_TEST

START_TEST(slices_and_their_notes_are_a_whole_run)
{
    make_parts k;
    source_id id[2], again[2];
    xxh128_digest record[4];
    sha256_digest sha[8], now;
    err e = ERR_INIT;
    make_use_qwen3();
    make_quantize("int4-g32", SCOPE_EXPERTS, LAYOUT_EXPERTS);
    make_open_parts(&k);
    ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
    ASSERT_OK(run_source_ids(&k.p, &k.r, id, &e), e);
    memcpy(record, k.r.record[2], sizeof record);
    for (int64_t f = 0; f < k.p.n_files; f++)
        ck_assert(output_has(k.to, k.p.file[f].name, &sha[f]));
    make_give_up(&k);
    for (int64_t f = 3; f >= 0; f--) { // one unit a run, the last one first
        const run_slice slice = {f, 1};
        make_open_parts(&k);
        k.with.slice = &slice;
        k.with.events = the.order.events;
        ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
        ck_assert(!k.r.resumed[f]);
        ck_assert_uint_eq(heard.total, k.p.file[f].bytes - k.p.file[f].header.len);
        ck_assert_uint_eq(heard.done, heard.total);
        ASSERT_FAILS(run_source_ids(&k.p, &k.r, again, &refused), ERR_INTERNAL, "was never read");
        if (f)
            ASSERT_FAILS(run_recall(&k.p, k.to, &k.r, &refused), ERR_ENV, "is not finished yet");
        make_close_parts(&k);
    }
    make_open_parts(&k);
    ASSERT_OK(run_recall(&k.p, k.to, &k.r, &e), e);
    ASSERT_OK(run_source_ids(&k.p, &k.r, again, &e), e);
    ck_assert_mem_eq(&id[0].content, &again[0].content, sizeof id[0].content);
    ck_assert_mem_eq(record, k.r.record[2], sizeof record);
    for (int64_t f = 0; f < k.p.n_files; f++) {
        ck_assert(output_has(k.to, k.p.file[f].name, &now));
        ck_assert_mem_eq(&now, &sha[f], sizeof now);
    }
    make_give_up(&k);
}
END_TEST

START_TEST(a_unit_without_a_note_is_made_again)
{
    static const char *const notes[] = {NULL, "", "1:2", "{\"note\":1}"};
    err e = ERR_INIT;
    make_use_qwen3();
    make_convert(LAYOUT_EXPERTS);
    for (size_t i = 0; i < COUNT_OF(notes); i++) {
        make_parts k;
        out_file f;
        make_open_parts(&k);
        const char *name = k.p.file[1].name;
        ASSERT_OK(output_begin(k.to, &f, name, 3, NULL, 0, &e), e);
        ASSERT_OK(out_append(&f, "old", 3, &e), e);
        ASSERT_OK(output_end(k.to, &f, name, notes[i], &e), e);
        ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
        ck_assert(!k.r.resumed[1]);
        ASSERT_OK(run_read_back(&k.p, &k.with, k.to, &k.r, &e), e);
        ASSERT_OK(output_begin(k.to, &f, name, 3, NULL, 0, &e), e);
        ASSERT_OK(out_append(&f, "old", 3, &e), e);
        ASSERT_OK(output_end(k.to, &f, name, notes[i], &e), e);
        ASSERT_FAILS(run_recall(&k.p, k.to, &k.r, &refused), ERR_ENV, "without a note");
        ck_assert(!output_has(k.to, name, NULL));
        make_give_up(&k);
    }
}
END_TEST

// ---- what the input has to be ----------------------------------------------------------------

static void write_sums(const char *dir, const char *name, bool right)
{
    char line[200], hex[65];
    sha256_digest sha;
    err e = ERR_INIT;
    ASSERT_OK(sha256_of_file(temp_path(the.t.dir, "model.safetensors"), &sha, &e), e);
    sha.b[0] ^= !right;
    (void)snprintf(line, sizeof line, "%s  model.safetensors\n", hex_of(sha.b, 32, hex));
    temp_write(dir, name, line, strlen(line));
}

START_TEST(an_input_must_have_the_sha256_that_is_expected)
{
    char list[300];
    make_use_qwen3();
    for (int how = 0; how < 3; how++) { // by its list, by the user's, and read from front to end
        make_convert(how == 2 ? LAYOUT_PLAIN : LAYOUT_EXPERTS);
        the.order.expect = how == 1 ? list : NULL;
        const char *dir = how == 1 ? the.top : the.t.dir;
        (void)snprintf(list, sizeof list, "%s/SHA256SUMS", the.top);
        write_sums(dir, "SHA256SUMS", false);
        ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_INPUT,
                     "model.safetensors");
        ck_assert(strstr(refused.text, "SHA256SUMS") || strstr(refused.text, list));
        ck_assert(!folder_has(the.top, "out"));
        write_sums(dir, "SHA256SUMS", true);
        make_runs();
        make_file_says(the.out, "scruple.json", "\"digest\": \"");
        make_file_says(the.out, "scruple.json", "\"sha256\": \"");
        make_runs();
        ck_assert(the.report.already_complete);
        write_sums(dir, "SHA256SUMS", false);
        ASSERT_FAILS(make_checkpoint(&the.order, &the.report, &refused), ERR_INPUT,
                     "model.safetensors");
        folder_remove(the.out);
    }
}
END_TEST

// A plain file that is already in the order of its copy needs no second reading.
START_TEST(what_is_read_in_order_is_summed_on_the_way)
{
    make_parts k;
    err e = ERR_INIT;
    expected x = {0};
    make_use_qwen3();
    make_convert(LAYOUT_PLAIN);
    make_runs();
    char plain[300], source[256];
    memcpy(plain, the.out, sizeof plain);
    memcpy(source, the.t.dir, sizeof source);
    (void)snprintf(the.out, sizeof the.out, "%s/second", the.top);
    for (int in_order = 0; in_order < 2; in_order++) {
        sha256_digest sha;
        make_convert(in_order ? LAYOUT_PLAIN : LAYOUT_EXPERTS);
        (void)snprintf(the.t.dir, sizeof the.t.dir, "%.255s", plain);
        make_open_parts(&k);
        ASSERT_OK(expected_find(&x, k.source, NULL, NULL, &e), e);
        k.with.expected = &x;
        ASSERT_OK(run_plan(&k.p, &k.with, k.to, &k.r, &e), e);
        ck_assert_int_eq(k.r.whole[0], in_order);
        source_id id = {0};
        ASSERT_OK(run_expected(&k.p, &k.with, &x, &k.r, &id, &e), e);
        ASSERT_OK(sha256_of_file(temp_path(plain, "model.safetensors"), &sha, &e), e);
        ck_assert(id.checked);
        ck_assert_mem_eq(&id.sha256, &sha, sizeof sha);
        expected_free(&x);
        make_give_up(&k);
    }
    memcpy(the.t.dir, source, sizeof source);
}
END_TEST

Suite *suite_run(void)
{
    Suite *s = suite_create("run");
    TCase *c = tcase_create("bytes");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_test(c, batches_and_scratch_do_not_change_a_byte);
    tcase_add_test(c, a_walk_meets_every_byte_of_the_source_once);
    tcase_add_test(c, what_waits_on_disk_comes_back);
    suite_add_tcase(s, c);
    c = tcase_create("proof and notes");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_test(c, the_proof_sees_what_is_not_at_its_address);
    tcase_add_test(c, a_source_that_is_not_what_was_read_is_found);
    tcase_add_test(c, a_note_is_read_as_it_was_written_or_not_at_all);
    tcase_add_test(c, slices_and_their_notes_are_a_whole_run);
    tcase_add_test(c, a_unit_without_a_note_is_made_again);
    suite_add_tcase(s, c);
    c = tcase_create("input");
    tcase_add_checked_fixture(c, make_set_up, make_tear_down);
    tcase_add_test(c, an_input_must_have_the_sha256_that_is_expected);
    tcase_add_test(c, what_is_read_in_order_is_summed_on_the_way);
    suite_add_tcase(s, c);
    return s;
}
