// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "formats/checkpoint.h"
#include "formats/shards.h"
#include "tests/temp.h"

Suite *suite_checkpoint(void);

static char dir[256];

static void begin(void) { (void)snprintf(dir, sizeof dir, "%s", temp_dir_make()); }

static void end(void) { temp_dir_remove(dir); }

// ---- helpers ---------------------------------------------------------------------------------

// A file with one F32 [1] tensor for each of the names (separated by spaces), valued 1, 2, ...
static void shard(const char *where, const char *file, const char *names)
{
    err e = ERR_INIT;
    strbuf out = {0};
    tensor t[16];
    char text[256], *rest = text;
    int n = 0;
    (void)snprintf(text, sizeof text, "%s", names);
    for (char *name; (name = strsep(&rest, " "));)
        t[n++] = (tensor){.name = name, .type = DT_F32, .rank = 1, .shape = {1}};
    ck_assert_msg(st_write_header(&out, t, n, NULL, 0, 8, &e), "%s", e.text);
    for (int i = 0; i < n; i++) {
        float value = (float)(i + 1);
        strbuf_add(&out, &value, sizeof value);
    }
    ck_assert(strbuf_ok(&out, &e));
    temp_write(where, file, out.text, out.len);
    strbuf_free(&out);
}

static void text_file(const char *where, const char *name, const char *text)
{
    temp_write(where, name, text, strlen(text));
}

static char warnings[4096];

static void keep_warning(void *ctx, const char *line)
{
    (void)ctx;
    size_t n = strlen(warnings);
    (void)snprintf(warnings + n, sizeof warnings - n, "%s\n", line);
}

static const events listener = {.warn = keep_warning};

// The sentence with the temporary folder's name taken out.
static const char *without_dir(const char *sentence)
{
    static char text[4096];
    const char *at;
    text[0] = 0;
    while ((at = strstr(sentence, dir))) {
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%.*sDIR",
                       (int)(at - sentence), sentence);
        sentence = at + strlen(dir);
    }
    (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s", sentence);
    return text;
}

static void refuses(const char *path, const char *sentence)
{
    err e = ERR_INIT;
    checkpoint *c;
    ck_assert_msg(!checkpoint_open(&c, path, &listener, &e), "it was opened: %s", sentence);
    ck_assert_ptr_null(c);
    ck_assert_str_eq(without_dir(e.text), sentence);
    ck_assert_int_eq(e.kind, ERR_INPUT);
}

static checkpoint *opens(const char *path, const char *expected_warnings)
{
    err e = ERR_INIT;
    checkpoint *c;
    warnings[0] = 0;
    ck_assert_msg(checkpoint_open(&c, path, &listener, &e), "%s", e.text);
    ck_assert_str_eq(without_dir(warnings), expected_warnings);
    return c;
}

static void two_shards(const char *where)
{
    shard(where, "model-00001-of-00002.safetensors", "a b");
    shard(where, "model-00002-of-00002.safetensors", "c");
    text_file(where, SHARD_INDEX_NAME,
              "{\"metadata\":{\"total_size\":12},\"weight_map\":{"
              "\"c\":\"model-00002-of-00002.safetensors\","
              "\"b\":\"model-00001-of-00002.safetensors\","
              "\"a\":\"model-00001-of-00002.safetensors\"}}");
}

static void index_of(const char *weight_map)
{
    char text[1024];
    (void)snprintf(text, sizeof text, "{\"metadata\":{},\"weight_map\":{%s}}", weight_map);
    text_file(dir, SHARD_INDEX_NAME, text);
}

// ---- one file --------------------------------------------------------------------------------

START_TEST(opens_a_file_of_any_name)
{
    shard(dir, "weights.bin", "x y");
    checkpoint *c = opens(temp_path(dir, "weights.bin"), "");
    ck_assert_int_eq(checkpoint_count(c), 2);
    ck_assert_str_eq(checkpoint_at(c, 0)->name, "x");
    ck_assert_str_eq(checkpoint_at(c, 1)->name, "y");
    ck_assert_int_eq(checkpoint_index_of(c, "y"), 1);
    ck_assert_int_eq(checkpoint_index_of(c, "z"), -1);
    ck_assert_ptr_eq(checkpoint_find(c, "x"), checkpoint_at(c, 0));
    ck_assert_ptr_null(checkpoint_find(c, "z"));
    ck_assert_str_eq(checkpoint_path(c), temp_path(dir, "weights.bin"));
    ck_assert_str_eq(checkpoint_dir(c), dir);
    ck_assert_int_eq(checkpoint_n_files(c), 1);
    ck_assert_str_eq(checkpoint_file_name(c, 0), "weights.bin");
    int64_t first, n;
    checkpoint_file_tensors(c, 0, &first, &n);
    ck_assert(first == 0 && n == 2);
    checkpoint_close(c);
    checkpoint_close(NULL);
}
END_TEST

START_TEST(names_the_folder_of_a_bare_file_name)
{
    char here[4096];
    shard(dir, "m.safetensors", "x");
    ck_assert_ptr_nonnull(getcwd(here, sizeof here));
    ck_assert_int_eq(chdir(dir), 0);
    checkpoint *c = opens("m.safetensors", "");
    ck_assert_str_eq(checkpoint_dir(c), ".");
    checkpoint_close(c);
    c = opens(".//m.safetensors", "");
    ck_assert_str_eq(checkpoint_dir(c), ".");
    checkpoint_close(c);
    ck_assert_int_eq(chdir(here), 0);
}
END_TEST

START_TEST(knows_what_people_give_instead)
{
    static const struct {
        const char *content;
        size_t len;
        const char *sentence;
    } row[] = {
        {"GGUF\3\0\0\0\0\0\0\0", 12,
         "'DIR/x': a file of 12 bytes, expected at least the 24 of a GGUF header"},
        {"PK\3\4\0\0\0\0\0\0\0\0", 12, "'DIR/x' is a zip archive, as PyTorch writes its "
         "checkpoints: expected a safetensors file"},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "'DIR/x' is a Git LFS pointer, not "
         "the file itself: git lfs pull fetches it"},
        {"{\"metadata\":{}}", 15, "'DIR/x' is a JSON file: expected a safetensors file or the "
         "folder of a checkpoint"},
        {"\2\0\0\0\0\0\0\0[]", 10, "'DIR/x' is not a safetensors file: expected '{' behind the "
         "8-byte header length, found byte 0x5b"},
        {"\2\0\0\0\0\0\0\0\0\0", 10, "'DIR/x' is not a safetensors file: expected '{' behind the "
         "8-byte header length, found byte 0x00"},
        {"GGUF", 4, "'DIR/x': a file of 4 bytes, expected at least the 24 of a GGUF header"},
        {"", 0, "'DIR/x': a file of 0 bytes, expected at least the 8 of a header length"},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        temp_write(dir, "x", row[i].content, row[i].len);
        refuses(temp_path(dir, "x"), row[i].sentence);
    }
    refuses(temp_path(dir, "absent"), "cannot open 'DIR/absent': No such file or directory");
}
END_TEST

START_TEST(warns_of_holes)
{
    shard(dir, "x", "a");
    checkpoint *c = opens(temp_path(dir, "x"), "");
    checkpoint_close(c);
    err e = ERR_INIT;
    strbuf out = {0};
    tensor t = {.name = "big", .type = DT_U8, .rank = 1, .shape = {1 << 20}};
    ck_assert(st_write_header(&out, &t, 1, NULL, 0, 4096, &e));
    temp_write(dir, "x", out.text, out.len);
    ck_assert_int_eq(truncate(temp_path(dir, "x"), (off_t)(out.len + (1 << 20))), 0);
    c = opens(temp_path(dir, "x"), "'DIR/x' has a hole at byte 4096 of 1052672: an interrupted "
              "download or save?\n");
    checkpoint_close(c);
    strbuf_free(&out);
}
END_TEST

// ---- folders ---------------------------------------------------------------------------------

START_TEST(opens_a_sharded_folder)
{
    static const char *const order[] = {"a", "b", "c"};
    two_shards(dir);
    char slashed[300];
    (void)snprintf(slashed, sizeof slashed, "%s//", dir);
    checkpoint *c = opens(slashed, "");
    ck_assert_int_eq(checkpoint_count(c), 3);
    ck_assert_str_eq(checkpoint_dir(c), dir);
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(checkpoint_at(c, i)->name, order[i]);
        ck_assert_int_eq(checkpoint_at(c, i)->file, i / 2);
        ck_assert_int_eq(checkpoint_index_of(c, order[i]), i);
        ck_assert_ptr_eq(checkpoint_find(c, order[i]), checkpoint_at(c, i));
    }
    ck_assert_str_eq(checkpoint_file_name(c, 1), "model-00002-of-00002.safetensors");
    checkpoint_close(c);
}
END_TEST

START_TEST(skips_shards_without_tensors_when_it_counts)
{
    err e = ERR_INIT;
    strbuf out = {0};
    shard(dir, "a.safetensors", "a");
    ck_assert(st_write_header(&out, NULL, 0, NULL, 0, 8, &e));
    temp_write(dir, "b.safetensors", out.text, out.len);
    shard(dir, "c.safetensors", "c");
    strbuf_free(&out);
    index_of("\"a\":\"a.safetensors\",\"c\":\"c.safetensors\"");
    checkpoint *c = opens(dir, "'DIR/b.safetensors' does not belong to the checkpoint beside it "
                          "and is not read\n");
    ck_assert_str_eq(checkpoint_at(c, 1)->name, "c");
    ck_assert_int_eq(checkpoint_at(c, 1)->file, 1);
    checkpoint_close(c);
}
END_TEST

START_TEST(opens_the_one_file_of_a_folder)
{
    shard(dir, "only.safetensors", "x");
    text_file(dir, "config.json", "{}");
    shard(dir, ".hidden.safetensors", "y");
    checkpoint *c = opens(dir, "");
    ck_assert_str_eq(checkpoint_file_name(c, 0), "only.safetensors");
    checkpoint_close(c);
    shard(dir, "model.safetensors", "z");
    c = opens(dir, "'DIR/only.safetensors' does not belong to the checkpoint beside it and is "
              "not read\n");
    ck_assert_str_eq(checkpoint_at(c, 0)->name, "z");
    checkpoint_close(c);
    shard(dir, "zz.safetensors", "z");
    c = opens(dir, "'DIR/only.safetensors' and 1 more safetensors files do not belong to the "
              "checkpoint beside them and are not read\n");
    checkpoint_close(c);
}
END_TEST

START_TEST(refuses_folders_without_an_answer)
{
    refuses(dir, "'DIR' holds no safetensors and no GGUF file");
    text_file(dir, "pytorch_model.bin", "x");
    refuses(dir, "'DIR' holds no safetensors file, but 'pytorch_model.bin': PyTorch checkpoints "
            "are not read");
    text_file(dir, "m.gguf", "x");
    refuses(dir, "'DIR/m.gguf': a file of 1 bytes, expected at least the 24 of a GGUF header");
    shard(dir, "model-00001-of-00002.safetensors", "a");
    shard(dir, "model-00002-of-00002.safetensors", "b");
    refuses(dir, "'DIR' holds 2 safetensors files and no model.safetensors.index.json, which "
            "says what belongs together");
}
END_TEST

START_TEST(refuses_missing_shards)
{
    two_shards(dir);
    ck_assert_int_eq(unlink(temp_path(dir, "model-00001-of-00002.safetensors")), 0);
    refuses(dir, "'DIR/model.safetensors.index.json': shard 'model-00001-of-00002.safetensors' "
            "with 2 tensors is missing (1 of 2 shards are)");
}
END_TEST

START_TEST(refuses_shards_that_the_index_contradicts)
{
    shard(dir, "a.safetensors", "x y");
    shard(dir, "b.safetensors", "z");
    index_of("\"x\":\"a.safetensors\",\"z\":\"b.safetensors\"");
    refuses(dir, "'DIR': tensor 'y' is in shard 'a.safetensors', and the index does not name it");
    index_of("\"x\":\"a.safetensors\",\"z\":\"b.safetensors\",\"y\":\"b.safetensors\"");
    refuses(dir, "'DIR': tensor 'y' is in shard 'a.safetensors', the index says "
            "'b.safetensors'");
    index_of("\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"z\":\"b.safetensors\","
             "\"w\\u0031\":\"b.safetensors\"");
    refuses(dir, "'DIR/model.safetensors.index.json': the index says that tensor 'w1' is "
            "in shard 'b.safetensors', which does not hold it");
    shard(dir, "b.safetensors", "x z");
    index_of("\"x\":\"a.safetensors\",\"y\":\"a.safetensors\",\"z\":\"b.safetensors\"");
    refuses(dir, "'DIR': tensor 'x' is in two shards, 'a.safetensors' and 'b.safetensors'");
}
END_TEST

START_TEST(refuses_names_that_lead_out_of_the_folder)
{
    static const char *const name[] = {
        "../../etc/passwd", "/etc/passwd", "sub/../../x", "c:x", "a\\\\b", "..", "a\\nb"};
    shard(dir, "a.safetensors", "x");
    for (size_t i = 0; i < COUNT_OF(name); i++) {
        for (int suffix = 0; suffix < 2; suffix++) {
            err e = ERR_INIT;
            checkpoint *c;
            char map[256];
            (void)snprintf(map, sizeof map, "\"x\":\"%s%s\"", name[i],
                           suffix ? ".safetensors" : "");
            index_of(map);
            ck_assert(!checkpoint_open(&c, dir, &listener, &e));
            ck_assert_int_eq(e.kind, ERR_INPUT);
        }
    }
    index_of("\"x\":\"../../etc/passwd\"");
    refuses(dir, "'DIR/model.safetensors.index.json': weight_map: tensor 'x': it is said to be "
            "in '../../etc/passwd', and that name is refused: it holds one of / \\ :, and only "
            "plain names inside the folder are followed");
    index_of("\"x\":\"../x.safetensors\"");
    refuses(dir, "'DIR/model.safetensors.index.json': weight_map: tensor 'x': it is said to be "
            "in '../x.safetensors', and that name is refused: it holds one of / \\ :, and only "
            "plain names inside the folder are followed");
    temp_mkdir(dir, "in");
    shard(dir, "secret.safetensors", "x");
    temp_symlink("../secret.safetensors", temp_path(dir, "in"), "m.safetensors");
    err e = ERR_INIT;
    checkpoint *c;
    ck_assert(!checkpoint_open(&c, temp_path(dir, "in"), &listener, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "outside the folder"));
}
END_TEST

START_TEST(follows_the_links_of_a_hub_snapshot)
{
    temp_mkdir(dir, "models--o--m");
    temp_mkdir(dir, "models--o--m/blobs");
    temp_mkdir(dir, "models--o--m/snapshots");
    temp_mkdir(dir, "models--o--m/snapshots/main");
    two_shards(temp_path(dir, "models--o--m/blobs"));
    const char *snapshot = temp_path(dir, "models--o--m/snapshots/main");
    static const char *const name[] = {"model-00001-of-00002.safetensors",
                                       "model-00002-of-00002.safetensors", SHARD_INDEX_NAME};
    for (size_t i = 0; i < COUNT_OF(name); i++) {
        char target[128];
        (void)snprintf(target, sizeof target, "../../blobs/%s", name[i]);
        temp_symlink(target, snapshot, name[i]);
    }
    checkpoint *c = opens(snapshot, "");
    ck_assert_int_eq(checkpoint_count(c), 3);
    ck_assert_str_eq(checkpoint_dir(c), snapshot);
    checkpoint_close(c);
    // A shard typed by a person: config.json is looked for beside the link, not beside the blob.
    c = opens(temp_path(snapshot, name[1]), "");
    ck_assert_str_eq(checkpoint_dir(c), snapshot);
    checkpoint_close(c);
}
END_TEST

START_TEST(warns_of_a_wrong_total_size)
{
    two_shards(dir);
    text_file(dir, SHARD_INDEX_NAME,
              "{\"metadata\":{\"total_size\":13,\"more\":[1,{}]},\"other\":[],\"weight_map\":{"
              "\"c\":\"model-00002-of-00002.safetensors\","
              "\"b\":\"model-00001-of-00002.safetensors\","
              "\"a\":\"model-00001-of-00002.safetensors\"}}");
    checkpoint *c = opens(dir, "'DIR/model.safetensors.index.json' says total_size 13, the "
                          "tensors have 12 bytes\n");
    checkpoint_close(c);
}
END_TEST

START_TEST(opens_more_shards_than_the_soft_limit_has_descriptors)
{
    enum { SHARDS = 80 };
    struct rlimit limit;
    strbuf map = {0};
    err e = ERR_INIT;
    strbuf_puts(&map, "{\"weight_map\":{");
    for (int i = 0; i < SHARDS; i++) {
        char file[64], name[32];
        (void)snprintf(file, sizeof file, "m-%05d.safetensors", i);
        (void)snprintf(name, sizeof name, "t%d", i);
        shard(dir, file, name);
        strbuf_printf(&map, "%s\"%s\":\"%s\"", i ? "," : "", name, file);
    }
    strbuf_puts(&map, "}}");
    ck_assert(strbuf_ok(&map, &e));
    text_file(dir, SHARD_INDEX_NAME, map.text);
    strbuf_free(&map);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 40;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    checkpoint *c = opens(dir, "");
    ck_assert_int_eq(checkpoint_count(c), SHARDS);
    for (int i = 0; i < SHARDS; i++)
        ck_assert_int_eq(checkpoint_at(c, i)->file, i);
    checkpoint_close(c);
}
END_TEST

// ---- the index alone -------------------------------------------------------------------------

START_TEST(refuses_bad_indices)
{
    static const struct {
        const char *text, *sentence;
    } row[] = {
        {"", "bad JSON at byte 0: expected a value, the text ends"},
        {"[]", "bad JSON at byte 0: expected an object with a weight_map, found an array"},
        {"{}", "weight_map is missing"},
        {"{\"weight_map\":[]}",
         "weight_map: bad JSON at byte 14: expected an object, found an array"},
        {"{\"weight_map\":{}}", "weight_map names no tensor"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\"},\"weight_map\":{\"a\":\"a.safetensors\"}}",
         "weight_map is there twice"},
        {"{\"metadata\":{},\"metadata\":{}}", "metadata is there twice"},
        {"{\"metadata\":7}", "metadata: bad JSON at byte 12: expected an object, found a number"},
        {"{\"metadata\":{\"total_size\":1,\"total_size\":2}}",
         "metadata: total_size is there twice"},
        {"{\"metadata\":{\"a\":[[[1]]]}}",
         "bad JSON at byte 19: nested deeper than 4 levels"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\","
         "\"\\u0061\":\"a.safetensors\"}}",
         "weight_map: tensor 'a' is there twice"},
        {"{\"weight_map\":{\"a\":1}}",
         "weight_map: tensor 'a': bad JSON at byte 19: expected the name of a shard, found a "
         "number"},
        {"{\"weight_map\":{\"a\":\"config.json\"}}",
         "weight_map: tensor 'a': it is said to be in 'config.json', which is no .safetensors "
         "file"},
        {"{\"weight_map\":{\"a\":\"x\\u0000.safetensors\"}}",
         "weight_map: tensor 'a': a NUL byte in the shard's name"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\"}} x",
         "bad JSON at byte 37: expected nothing behind the value, found 'x'"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\"",
         "bad JSON at byte 34: expected '}', the text ends"},
        {"{\"weight_map\":{\"a\xff\":\"a.safetensors\"}}",
         "bad JSON at byte 17: invalid UTF-8 in a string"},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        err e = ERR_INIT;
        shard_index x;
        ck_assert_msg(!shard_index_parse(&x, row[i].text, strlen(row[i].text), &e), "%s",
                      row[i].text);
        ck_assert_str_eq(e.text, row[i].sentence);
        ck_assert_int_eq(e.kind, ERR_INPUT);
        ck_assert_ptr_null(x.entry);
    }
}
END_TEST

START_TEST(limits_the_index)
{
    err e = ERR_INIT;
    shard_index x;
    ck_assert(!shard_index_parse(&x, "{}", (size_t)SHARD_INDEX_MAX_BYTES + 1, &e));
    ck_assert_str_eq(e.text, "an index of 268435457 bytes: the limit is 268435456");
}
END_TEST

// Five seconds and 600 MB, so not by default.
START_TEST(limits_the_tensors_of_an_index)
{
    if (!getenv("SCRUPLE_SLOW_TESTS")) {
        printf("skipped: an index of 4 million tensors (SCRUPLE_SLOW_TESTS is not set)\n");
        return;
    }
    for (int excess = 0; excess < 2; excess++) {
        err e = ERR_INIT;
        shard_index x;
        strbuf text = {0};
        strbuf_puts(&text, "{\"weight_map\":{");
        for (int i = 0; i < SHARD_INDEX_MAX_TENSORS + excess; i++)
            strbuf_printf(&text, "%s\"%x\":\"a.safetensors\"", i ? "," : "", (unsigned)i);
        strbuf_puts(&text, "}}");
        ck_assert(strbuf_ok(&text, &e));
        ck_assert_int_eq(shard_index_parse(&x, text.text, text.len, &e), !excess);
        ck_assert_str_eq(e.text, excess ? "weight_map has more than 4194304 tensors" : "");
        shard_index_free(&x);
        strbuf_free(&text);
    }
}
END_TEST

START_TEST(takes_a_total_size_only_as_a_whole_number)
{
    static const struct {
        const char *value;
        bool has;
    } row[] = {{"7", true}, {"7.0", false}, {"\"7\"", false}, {"-7", false}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        err e = ERR_INIT;
        shard_index x;
        char text[256];
        (void)snprintf(text, sizeof text,
                       "{\"metadata\":{\"total_size\":%s},"
                       "\"weight_map\":{\"a\":\"a.safetensors\"}}", row[i].value);
        ck_assert_msg(shard_index_parse(&x, text, strlen(text), &e), "%s", e.text);
        ck_assert_int_eq(x.has_total, row[i].has);
        ck_assert_uint_eq(x.total_size, row[i].has ? 7 : 0);
        shard_index_free(&x);
    }
}
END_TEST

// ---- reading ---------------------------------------------------------------------------------

START_TEST(reads_parts_of_tensors_and_nothing_beyond)
{
    err e = ERR_INIT;
    two_shards(dir);
    checkpoint *c = opens(dir, "");
    const tensor *b = checkpoint_find(c, "b");
    unsigned char bytes[4];
    ck_assert(checkpoint_read(c, b, 0, bytes, 4, &e));
    ck_assert(load_f32(bytes) == 2);
    ck_assert(checkpoint_read(c, b, 2, bytes, 2, &e));
    ck_assert_uint_eq(load_u16(bytes), 0x4000);
    ck_assert(checkpoint_read(c, b, 4, bytes, 0, &e));
    ck_assert(!checkpoint_read(c, b, 1, bytes, 4, &e));
    ck_assert_str_eq(e.text, "tensor 'b' has 4 bytes, 4 were asked for at offset 1");
    ck_assert_int_eq(e.kind, ERR_INTERNAL);
    ck_assert(!checkpoint_read(c, b, UINT64_MAX, bytes, 2, &e));
    checkpoint_close(c);
}
END_TEST

START_TEST(notices_files_that_change)
{
    err e = ERR_INIT;
    unsigned char bytes[4];
    sha256_digest digest;
    two_shards(dir);
    checkpoint *c = opens(dir, "");
    ck_assert(checkpoint_unchanged(c, &e));
    const char *second = temp_path(dir, "model-00002-of-00002.safetensors");
    struct stat st;
    ck_assert_int_eq(stat(second, &st), 0);
    ck_assert_int_eq(truncate(second, st.st_size - 1), 0);
    ck_assert(!checkpoint_unchanged(c, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "model-00002-of-00002.safetensors' changed"));
    ck_assert_int_eq(e.kind, ERR_INPUT);
    ck_assert(!checkpoint_read(c, checkpoint_find(c, "c"), 0, bytes, 4, &e));
    ck_assert_ptr_nonnull(strstr(e.text, "tensor 'c': "));
    ck_assert_ptr_nonnull(strstr(e.text, "ends early"));
    ck_assert(!checkpoint_digest(c, NULL, &digest, &e));
    checkpoint_close(c);
}
END_TEST

static bool stop_now(void *ctx)
{
    (void)ctx;
    return true;
}

static void keep_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
    uint64_t *last = ctx;
    ck_assert_str_eq(what, "bytes");
    ck_assert_uint_eq(total, 12);
    ck_assert_uint_gt(done, last[0]);
    last[0] = done;
}

START_TEST(digests_do_not_depend_on_container_or_order)
{
    err e = ERR_INIT;
    sha256_digest whole, sharded, other, expected;
    xxh128_digest one;
    uint64_t done = 0;
    events watch = {.progress = keep_progress, .ctx = &done}, stop = {.stop = stop_now};
    char lines[512] = "", hex[33];
    two_shards(dir);
    checkpoint *c = opens(dir, "");
    ck_assert(checkpoint_digest(c, &watch, &sharded, &e));
    ck_assert_uint_eq(done, 12);
    ck_assert(!checkpoint_digest(c, &stop, &other, &e));
    ck_assert_int_eq(e.kind, ERR_INTERRUPTED);
    for (int i = 0; i < 3; i++) {
        unsigned char bytes[4];
        xxh128_digest by_hand;
        ck_assert(checkpoint_tensor_digest(c, checkpoint_at(c, i), &one, &e));
        ck_assert(checkpoint_read(c, checkpoint_at(c, i), 0, bytes, 4, &e));
        xxh128_of(bytes, 4, &by_hand);
        ck_assert_mem_eq(one.b, by_hand.b, 16);
        size_t n = strlen(lines);
        (void)snprintf(lines + n, sizeof lines - n, "%s\tF32\t[1]\t%s\n",
                       checkpoint_at(c, i)->name, hex_of(one.b, 16, hex));
    }
    ck_assert(sha256_of(lines, strlen(lines), &expected, &e));
    ck_assert_mem_eq(sharded.b, expected.b, 32);
    checkpoint_close(c);
    // c a b valued 1 1 2, in one file and another order
    strbuf out = {0};
    tensor t[] = {{.name = "c", .type = DT_F32, .rank = 1, .shape = {1}},
                  {.name = "b", .type = DT_F32, .rank = 1, .shape = {1}},
                  {.name = "a", .type = DT_F32, .rank = 1, .shape = {1}}};
    static const float values[] = {1, 2, 1};
    ck_assert(st_write_header(&out, t, 3, NULL, 0, 64, &e));
    strbuf_add(&out, values, sizeof values);
    temp_write(dir, "one", out.text, out.len);
    strbuf_free(&out);
    c = opens(temp_path(dir, "one"), "");
    ck_assert(checkpoint_digest(c, NULL, &whole, &e));
    ck_assert_mem_eq(whole.b, sharded.b, 32);
    checkpoint_close(c);
    shard(dir, "one", "a b d");
    c = opens(temp_path(dir, "one"), "");
    ck_assert(checkpoint_digest(c, NULL, &other, &e));
    ck_assert(memcmp(whole.b, other.b, 32) != 0);
    checkpoint_close(c);
}
END_TEST

START_TEST(opens_nano_and_mini)
{
    err e = ERR_INIT;
    sha256_digest digest;
    char path[1024], hex[65];
    checkpoint *c = opens("tests/data/nano", "");
    ck_assert_str_eq(checkpoint_dir(c), "tests/data/nano");
    ck_assert_ptr_nonnull(checkpoint_find(c, "model.layers.1.mlp.experts.15.down_proj.weight"));
    ck_assert(checkpoint_digest(c, NULL, &digest, &e));
    ck_assert_str_eq(hex_of(digest.b, 32, hex),
                     "d3dfb1b45cac66d2b20b89b54a0beb6704f71df859749f7a55e25579e39915c9");
    checkpoint_close(c);
    const char *shared = getenv("SCRUPLE_SHARED");
    (void)snprintf(path, sizeof path, "%s/models/mini", shared ? shared : "../shared");
    if (!path_exists(path)) {
        printf("skipped: mini is not there (%s)\n", path);
        return;
    }
    c = opens(path, "");
    ck_assert_int_eq(checkpoint_n_files(c), 3);
    checkpoint_close(c);
}
END_TEST

Suite *suite_checkpoint(void)
{
    Suite *s = suite_create("checkpoint");
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, opens_a_file_of_any_name);
    tcase_add_test(c, names_the_folder_of_a_bare_file_name);
    tcase_add_test(c, knows_what_people_give_instead);
    tcase_add_test(c, warns_of_holes);
    suite_add_tcase(s, c);
    c = tcase_create("folders");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, opens_a_sharded_folder);
    tcase_add_test(c, skips_shards_without_tensors_when_it_counts);
    tcase_add_test(c, opens_the_one_file_of_a_folder);
    tcase_add_test(c, refuses_folders_without_an_answer);
    tcase_add_test(c, refuses_missing_shards);
    tcase_add_test(c, refuses_shards_that_the_index_contradicts);
    tcase_add_test(c, refuses_names_that_lead_out_of_the_folder);
    tcase_add_test(c, follows_the_links_of_a_hub_snapshot);
    tcase_add_test(c, warns_of_a_wrong_total_size);
    tcase_add_test(c, opens_more_shards_than_the_soft_limit_has_descriptors);
    suite_add_tcase(s, c);
    c = tcase_create("index");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, refuses_bad_indices);
    tcase_add_test(c, limits_the_index);
    tcase_add_test(c, limits_the_tensors_of_an_index);
    tcase_add_test(c, takes_a_total_size_only_as_a_whole_number);
    suite_add_tcase(s, c);
    c = tcase_create("reading");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, reads_parts_of_tensors_and_nothing_beyond);
    tcase_add_test(c, notices_files_that_change);
    tcase_add_test(c, digests_do_not_depend_on_container_or_order);
    tcase_add_test(c, opens_nano_and_mini);
    suite_add_tcase(s, c);
    return s;
}
