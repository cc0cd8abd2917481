// SPDX-License-Identifier: Apache-2.0
// The pack reader on a pack of a tiny model, and on that pack damaged in every way that its index
// can be: each is refused with its own sentence, nothing is read out of bounds.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "convert/make.h"
#include "formats/pack_reader.h"
#include "tests/folder.h"
#include "tests/refused.h"
#include "tests/temp.h"
#include "tests/tiny_model.h"

Suite *suite_pack(void);

static tiny t;
static char dir[300];
static pack *p;

// int4 experts, so that records hold codes and scales and the tail holds shapes.
static void set_up(void)
{
    static const tiny_shape shape = TINY_SHAPE;
    err e = ERR_INIT;
    make_report r;
    temp_prefer_memory();
    tiny_init(&t);
    tiny_qwen3_moe(&t, &shape);
    tiny_write(&t, tiny_qwen3_moe_config);
    (void)snprintf(dir, sizeof dir, "%s", temp_dir_make());
    make_options o = {.command = "quantize", .input = t.dir, .output = dir, .plan = PLAN_DEFAULTS,
                      .needs_model = true, .options_json = "{}",
                      .memory = 1 << 30};
    o.plan.layout = LAYOUT_EXPERTS;
    o.plan.page = 4096;
    o.plan.scope = SCOPE_EXPERTS;
    o.plan.codec = codec_find("int4-g32");
    ASSERT_OK(make_checkpoint(&o, &r, &e), e);
    p = NULL;
}

static void tear_down(void)
{
    pack_close(p);
    temp_dir_remove(dir);
    tiny_free(&t);
}

static void open_pack(void)
{
    err e = ERR_INIT;
    ASSERT_OK(pack_open(&p, dir, &e), e);
}

// ---- a good pack ----

START_TEST(a_pack_names_its_layers)
{
    open_pack();
    ck_assert_uint_eq(pack_page(p), 4096);
    ck_assert_int_eq(pack_n_layers(p), 3);
    for (int64_t i = 0; i < 3; i++) {
        const pack_layer *l = pack_layer_at(p, i);
        ck_assert_int_eq(l->layer, i);
        ck_assert_int_eq(l->n_experts, 4);
        ck_assert_int_eq(l->n_components, 9);
        // gate, up and down of 2048 codes each, and 64 BF16 scales.
        ck_assert_uint_eq(l->record_bytes, 3 * (1024 + 128));
    }
    ck_assert_str_eq(pack_file_name(p, 1), "model-00002-of-00004.safetensors");
}
END_TEST

START_TEST(components_are_the_tensors_that_the_header_names)
{
    err e = ERR_INIT;
    checkpoint *c;
    open_pack();
    ASSERT_OK(checkpoint_open(&c, dir, NULL, &e), e);
    static const char *const projections[] = {"gate", "up", "down"};
    for (int64_t layer = 0; layer < 3; layer++)
        for (int64_t x = 0; x < 4; x++)
            for (int64_t i = 0; i < 9; i++) {
                pack_component k;
                char name[120], mine[2048], its[2048];
                ASSERT_OK(pack_component_at(p, layer, x, i, &k, &e), e);
                ck_assert_int_eq(k.in_record, i < 6);
                (void)snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.%s_proj.%s",
                               (int)layer, (int)x, projections[k.projection], k.suffix);
                const tensor *to = checkpoint_find(c, name);
                ck_assert_msg(to, "%s", name);
                ck_assert_int_eq(to->type, k.type);
                ck_assert_int_eq(to->rank, k.rank);
                ck_assert_int_eq(to->shape[0], k.shape[0]);
                ck_assert_int_eq(k.rank == 2 ? to->shape[1] : 0, k.shape[1]);
                ck_assert_uint_eq(to->offset, k.offset);
                ck_assert_uint_eq(to->bytes, k.bytes);
                ck_assert_str_eq(checkpoint_file_name(c, to->file), pack_file_name(p, k.file));
                ASSERT_OK(pack_read_component(p, &k, mine, &e), e);
                ASSERT_OK(checkpoint_read(c, to, 0, its, to->bytes, &e), e);
                ck_assert_mem_eq(mine, its, to->bytes);
            }
    checkpoint_close(c);
}
END_TEST

START_TEST(a_record_is_read_mapped_and_verified)
{
    err e = ERR_INIT;
    pack_record r;
    pack_window w;
    unsigned char bytes[3456];
    open_pack();
    for (int64_t x = 0; x < 4; x++) {
        ASSERT_OK(pack_find(p, 2, x, &r, &e), e);
        ck_assert_uint_eq(r.bytes, sizeof bytes);
        ck_assert_int_eq(r.file, 3);
        pack_prefetch(p, &r);
        ASSERT_OK(pack_read(p, &r, bytes, &e), e);
        ASSERT_OK(pack_verify(p, &r, bytes, &e), e);
        ASSERT_OK(pack_map(p, &r, &w, &e), e);
        ck_assert_mem_eq(w.bytes, bytes, sizeof bytes);
        pack_unmap(&w);
        ck_assert_ptr_null(w.map);
        bytes[17] ^= 4;
        ASSERT_REFUSED(pack_verify(p, &r, bytes, &refused), "does not have its digest");
    }
}
END_TEST

START_TEST(records_are_contiguous_from_the_data_start)
{
    err e = ERR_INIT;
    open_pack();
    uint64_t at = 0;
    for (int64_t x = 0; x < 4; x++) {
        pack_record r;
        ASSERT_OK(pack_find(p, 0, x, &r, &e), e);
        ck_assert_uint_eq(x == 0 ? r.offset % 4096 : r.offset - at, 0);
        at = r.offset + r.bytes;
    }
}
END_TEST

START_TEST(what_a_pack_does_not_have_is_refused)
{
    pack_record r;
    pack_component c;
    open_pack();
    ASSERT_REFUSED(pack_find(p, 3, 0, &r, &refused), "layer 3 has no experts in this pack");
    ASSERT_REFUSED(pack_find(p, -1, 0, &r, &refused), "layer -1 has no experts in this pack");
    ASSERT_REFUSED(pack_find(p, 1, 4, &r, &refused), "layer 1 has experts 0 to 3, not 4");
    ASSERT_REFUSED(pack_find(p, 1, -1, &r, &refused), "layer 1 has experts 0 to 3, not -1");
    ASSERT_REFUSED(pack_component_at(p, 1, 0, 9, &c, &refused),
                   "layer 1: experts have 9 tensors, there is no 9");
    ASSERT_REFUSED(pack_component_at(p, 1, 0, -1, &c, &refused), "there is no -1");
}
END_TEST

// ---- broken packs ----

static void refuses(const char *words) { ASSERT_REFUSED(pack_open(&p, dir, &refused), words); }

// New digests of tables and header, so that a lie is found as such.
static void seal(char *index, size_t len)
{
    xxh128_digest sum;
    xxh128_of(index + 96, len - 96, &sum);
    memcpy(index + 64, sum.b, sizeof sum.b);
    xxh128_of(index, 80, &sum);
    memcpy(index + 80, sum.b, sizeof sum.b);
}

enum { FILES = 96, LAYERS = FILES + 4 * 48, COMPONENTS = LAYERS + 3 * 56,
       RECORDS = COMPONENTS + 27 * 72 };

// Where a number of the index is, and what stands there instead.
typedef struct {
    size_t at;
    int bytes;
    uint64_t value;
    const char *words;
} lie;

static void check_lies(const lie *list, size_t n, bool sealed)
{
    size_t len;
    char *good = folder_read(dir, "experts.idx", &len);
    char *bad = malloc(len);
    ck_assert_ptr_nonnull(bad);
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, good, len);
        memcpy(bad + list[i].at, &list[i].value, (size_t)list[i].bytes);
        if (sealed)
            seal(bad, len);
        temp_write(dir, "experts.idx", bad, len);
        refused = (err)ERR_INIT;
        if (pack_open(&p, dir, &refused))
            ck_abort_msg("lie %zu was believed: %s", i, list[i].words);
        ck_assert_int_eq(refused.kind, ERR_INPUT);
        ck_assert_msg(strstr(refused.text, list[i].words), "lie %zu: '%s' does not say '%s'", i,
                      refused.text, list[i].words);
    }
    free(good);
    free(bad);
}

START_TEST(bits_that_flip_are_found)
{
    static const lie list[] = {
        {0, 1, 'X', "does not begin with its magic"},
        {8, 4, 2, "has version 2; this reader knows 1"},
        {24, 8, 8192, "the header does not have its digest"},
        {80, 1, 0, "the header does not have its digest"},
        {64, 1, 0, "the header does not have its digest"},
        {RECORDS, 8, 0, "the tables do not have their digest"},
        {FILES + 24, 1, 0, "the tables do not have their digest"},
    };
    check_lies(list, COUNT_OF(list), false);
}
END_TEST

START_TEST(headers_that_lie_are_refused)
{
    static const lie list[] = {
        {12, 4, 100, "says "},
        {16, 8, 7, "says 7 bytes, the file has"},
        {24, 8, 0, "page 0 is no power of two from 4096 to 2097152"},
        {24, 8, 2048, "page 2048 is no power of two"},
        {24, 8, 12288, "page 12288 is no power of two"},
        {24, 8, (uint64_t)1 << 40, "is no power of two"},
        {32, 4, 5, "its tables do not fill its"},
        {32, 4, UINT32_MAX, "its tables do not fill its"},
        {36, 4, 2, "its tables do not fill its"},
        {40, 4, 26, "its tables do not fill its"},
        {48, 8, 13, "its tables do not fill its"},
        {48, 8, UINT64_MAX, "its tables do not fill its"},
        {56, 8, UINT64_MAX - 3, "its tables do not fill its"},
    };
    check_lies(list, COUNT_OF(list), true);
}
END_TEST

START_TEST(file_rows_that_lie_are_refused)
{
    static const lie list[] = {
        {FILES, 4, 1 << 20, "a name lies outside its strings"},
        {FILES, 4, UINT32_MAX, "a name lies outside its strings"},
        {FILES + 4, 4, 256, "a name lies outside its strings"},
        {FILES + 4, 4, 0, "it is empty"},
        {FILES + 8, 8, 5, "experts.idx describes one of 5"},
        {FILES + 48 + 16, 8, 0, "data start 0 is not inside the file on a page"},
        {FILES + 48 + 16, 8, 4097, "data start 4097 is not inside the file on a page"},
        {FILES + 48 + 16, 8, 1 << 30, "is not inside the file on a page"},
        {FILES + 48 + 24, 1, 0, "is not the shard that experts.idx describes: its header differs"},
    };
    check_lies(list, COUNT_OF(list), true);
}
END_TEST

START_TEST(layer_rows_that_lie_are_refused)
{
    static const lie list[] = {
        {LAYERS + 56, 4, 0, "the row of layer 0 contradicts the rest"}, // not ascending
        {LAYERS + 4, 4, 4, "contradicts the rest"},
        {LAYERS + 4, 4, 0, "contradicts the rest"}, // the resident shard
        {LAYERS + 8, 4, 0, "contradicts the rest"},
        {LAYERS + 8, 4, 5, "the row of layer 0 contradicts the rest"},
        {LAYERS + 8, 4, 3, "the row of layer 1 contradicts the rest"}, // records do not follow
        {LAYERS + 2 * 56 + 8, 4, 3, "12 records, its layers have 11 experts"},
        {LAYERS + 12, 4, UINT32_MAX, "contradicts the rest"},
        {LAYERS + 16, 4, 28, "contradicts the rest"},
        {LAYERS + 24, 8, 1, "contradicts the rest"},
        {LAYERS + 32, 8, 4096, "contradicts the rest"},
        {LAYERS + 40, 8, UINT64_MAX / 2, "contradicts the rest"},
        {LAYERS + 40, 8, 3455, "record 0 of layer 0 is not contiguous"},
        {LAYERS + 12, 4, 5, "have 3328 bytes of a record of 3456"}, // 6 make a record
        {LAYERS + 12, 4, 0, "have 0 bytes of a record of 3456"},
    };
    check_lies(list, COUNT_OF(list), true);
}
END_TEST

START_TEST(component_rows_that_lie_are_refused)
{
    enum { C = COMPONENTS, TAIL = COMPONENTS + 6 * 72 };
    static const lie list[] = {
        {C, 4, 3, "component 0 of layer 0"},            // projection
        {C + 4, 4, 2, "component 0 of layer 0"},        // in the record?
        {C + 4, 4, 0, "component 0 of layer 0"},        // a tail before the record
        {C + 8, 4, UINT32_MAX, "a name lies outside"},  // suffix
        {C + 20, 4, 20, "is no element type"},         // type
        {C + 16, 4, 0, "is no element type"},
        {C + 24, 4, 3, "component 0 of layer 0"},       // rank
        {C + 24, 4, 1, "component 0 of layer 0"},
        {C + 32, 8, 0, "component 0 of layer 0"},       // shape
        {C + 32, 8, UINT64_MAX, "component 0 of layer 0"},
        {C + 40, 8, (uint64_t)1 << 62, "component 0 of layer 0"},
        {C + 48, 8, 4100, "component 0 of layer 0"},    // offset
        {C + 48, 8, UINT64_MAX, "component 0 of layer 0"},
        {C + 56, 8, 0, "component 0 of layer 0"},       // stride
        {C + 64, 8, 1023, "component 0 of layer 0"},    // bytes
        {C + 64, 8, 1 << 20, "component 0 of layer 0"},
        {TAIL + 48, 8, 4096, "component 6 of layer 0"}, // a tail inside a record
        {TAIL + 48, 8, UINT64_MAX - 8, "component 6 of layer 0"},
        {TAIL + 56, 8, UINT64_MAX / 3, "component 6 of layer 0"},
        {TAIL + 56, 8, 4096, "component 6 of layer 0"}, // past the end
        {TAIL + 32, 8, 1 << 20, "component 6 of layer 0"},
    };
    check_lies(list, COUNT_OF(list), true);
}
END_TEST

START_TEST(record_rows_that_lie_are_refused)
{
    static const lie list[] = {
        {RECORDS, 8, 0, "record 0 of layer 0 is not contiguous"},
        {RECORDS + 5 * 32, 8, 8192, "record 1 of layer 1 is not contiguous"},
        {RECORDS + 11 * 32 + 8, 8, UINT64_MAX, "record 3 of layer 2 is not contiguous"},
    };
    check_lies(list, COUNT_OF(list), true);
}
END_TEST

START_TEST(no_flipped_byte_crashes_a_reader)
{
    // Sealed or not, whatever stands in one byte: refused, or a pack whose every record is inside.
    size_t len;
    char *good = folder_read(dir, "experts.idx", &len);
    char *bad = malloc(len);
    ck_assert_ptr_nonnull(bad);
    for (size_t at = 8; at < len; at++) {
        if ((at >= 64 && at < 96) || (at >= RECORDS && at < RECORDS + 12 * 32 && at % 7))
            continue;
        memcpy(bad, good, len);
        bad[at] = (char)(bad[at] ^ (0x81 >> (at % 2)));
        seal(bad, len);
        temp_write(dir, "experts.idx", bad, len);
        err e = ERR_INIT;
        if (!pack_open(&p, dir, &e)) {
            ck_assert_int_eq(e.kind, ERR_INPUT);
            continue;
        }
        for (int64_t i = 0; i < pack_n_layers(p); i++)
            for (int64_t c = 0; c < pack_layer_at(p, i)->n_components; c++) {
                pack_component k;
                char bytes[2048];
                ASSERT_OK(pack_component_at(p, pack_layer_at(p, i)->layer, 3, c, &k, &e), e);
                ck_assert_uint_le(k.bytes, sizeof bytes);
                ASSERT_OK(pack_read_component(p, &k, bytes, &e), e);
            }
        pack_close(p);
        p = NULL;
    }
    free(good);
    free(bad);
}
END_TEST

START_TEST(an_index_that_is_cut_is_refused)
{
    size_t len;
    char *good = folder_read(dir, "experts.idx", &len);
    for (size_t n = 0; n < len; n += n < 100 ? 1 : 97) {
        temp_write(dir, "experts.idx", good, n);
        refused = (err)ERR_INIT;
        ck_assert(!pack_open(&p, dir, &refused));
        ck_assert_int_eq(refused.kind, ERR_INPUT);
    }
    free(good);
}
END_TEST

static void swap_files(const char *a, const char *b)
{
    ck_assert_int_eq(rename(temp_path(dir, a), temp_path(dir, "x")), 0);
    ck_assert_int_eq(rename(temp_path(dir, b), temp_path(dir, a)), 0);
    ck_assert_int_eq(rename(temp_path(dir, "x"), temp_path(dir, b)), 0);
}

START_TEST(shards_that_are_not_the_described_ones_are_refused)
{
    static const char two[] = "model-00002-of-00004.safetensors";
    static const char three[] = "model-00003-of-00004.safetensors";
    size_t len;
    swap_files(two, three); // same size, other names inside
    refuses("'model-00002-of-00004.safetensors' is not the shard that experts.idx describes");
    swap_files(two, three);
    folder_flip(dir, two, 2000); // padding of the header
    refuses("its header differs");
    folder_flip(dir, two, 2000);
    char *bytes = folder_read(dir, two, &len);
    temp_write(dir, two, bytes, len - 1);
    refuses("'model-00002-of-00004.safetensors' has ");
    free(bytes);
    ck_assert_int_eq(unlink(temp_path(dir, two)), 0);
    refuses("cannot open");
}
END_TEST

START_TEST(a_saved_again_checkpoint_is_a_plain_one)
{
    // Other software sorts by type and name, without padding: the index no longer describes it.
    err e = ERR_INIT;
    checkpoint *c;
    model *m;
    ASSERT_OK(checkpoint_open(&c, dir, NULL, &e), e);
    st_header h;
    arena a = {0};
    ASSERT_OK(st_read_header(&h, checkpoint_file(c, 1), 0, &a, &e), e);
    tensor *from = mem_new((uint64_t)h.n_tensors, sizeof *from, "tensors", &e);
    strbuf out = {0};
    st_sort_official(h.tensor, h.n_tensors);
    memcpy(from, h.tensor, (size_t)h.n_tensors * sizeof *from);
    ASSERT_OK(st_write_header(&out, h.tensor, h.n_tensors, NULL, 0, 8, &e), e);
    for (int64_t i = 0; i < h.n_tensors; i++) {
        char bytes[2048];
        ASSERT_OK(in_read(checkpoint_file(c, 1), from[i].offset, bytes, from[i].bytes, &e), e);
        strbuf_add(&out, bytes, from[i].bytes);
    }
    temp_write(dir, "model-00002-of-00004.safetensors", out.text, out.len);
    strbuf_free(&out);
    free(from);
    arena_free(&a);
    checkpoint_close(c);
    refuses("experts.idx describes one of ");
    ASSERT_OK(checkpoint_open(&c, dir, NULL, &e), e);
    ASSERT_OK(model_open(&m, c, NULL, &e), e);
    model_close(m);
    checkpoint_close(c);
}
END_TEST

// The first name of the strings; the text is padded to the same length.
static void name_first_shard(const char *name)
{
    size_t len;
    char *index = folder_read(dir, "experts.idx", &len);
    size_t at = RECORDS + 12 * 32;
    memcpy(index + at, name, strlen(name));
    store_u32(index + FILES + 4, (uint32_t)strlen(name));
    seal(index, len);
    temp_write(dir, "experts.idx", index, len);
    free(index);
}

START_TEST(hostile_names_are_refused)
{
    static const char *const names[] = {"../../etc/passwd", "/etc/passwd", "a/b", "..", ".",
                                        "a\nb", "c:d"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        name_first_shard(names[i]);
        refuses("is refused");
    }
    temp_symlink("/etc/passwd", dir, "link");
    name_first_shard("link");
    refuses("outside the folder");
}
END_TEST

START_TEST(a_folder_without_an_index_is_no_pack)
{
    ck_assert_int_eq(unlink(temp_path(dir, "experts.idx")), 0);
    refuses("is no expert pack: cannot open");
    temp_mkdir(dir, "experts.idx");
    refuses("is a folder");
}
END_TEST

Suite *suite_pack(void)
{
    Suite *s = suite_create("pack");
    TCase *c = tcase_create("good");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, a_pack_names_its_layers);
    tcase_add_test(c, components_are_the_tensors_that_the_header_names);
    tcase_add_test(c, a_record_is_read_mapped_and_verified);
    tcase_add_test(c, records_are_contiguous_from_the_data_start);
    tcase_add_test(c, what_a_pack_does_not_have_is_refused);
    suite_add_tcase(s, c);
    c = tcase_create("broken");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, bits_that_flip_are_found);
    tcase_add_test(c, headers_that_lie_are_refused);
    tcase_add_test(c, file_rows_that_lie_are_refused);
    tcase_add_test(c, layer_rows_that_lie_are_refused);
    tcase_add_test(c, component_rows_that_lie_are_refused);
    tcase_add_test(c, record_rows_that_lie_are_refused);
    tcase_add_test(c, no_flipped_byte_crashes_a_reader);
    tcase_add_test(c, an_index_that_is_cut_is_refused);
    tcase_add_test(c, shards_that_are_not_the_described_ones_are_refused);
    tcase_add_test(c, a_saved_again_checkpoint_is_a_plain_one);
    tcase_add_test(c, hostile_names_are_refused);
    tcase_add_test(c, a_folder_without_an_index_is_no_pack);
    suite_add_tcase(s, c);
    return s;
}
