// SPDX-License-Identifier: Apache-2.0
// The files of tests/data/hostile that are no safetensors: each is read, or refused with its
// sentence, by the function that reads its format. tests/data/hostile/expected.tsv says which.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "convert/journal.h"
#include "convert/recipe.h"
#include "convert/saved_plan.h"
#include "formats/checkpoint.h"
#include "formats/imatrix.h"
#include "formats/npy.h"
#include "formats/pack_reader.h"
#include "formats/quant_config.h"
#include "formats/stats_file.h"
#include "formats/tokenizer.h"
#include "tests/temp.h"

Suite *suite_hostile_formats(void);

#define DIR "tests/data/hostile/"

static const char *dir;

static void set_up(void) { dir = temp_dir_make(); }

static void tear_down(void) { temp_dir_remove(dir); }

// Puts a copy of a file into the test's folder.
static void copy_as(const char *from, const char *name)
{
    err e = ERR_INIT;
    char *bytes;
    size_t n;
    ck_assert_msg(file_read_all(from, 1 << 24, &bytes, &n, &e), "%s", e.text);
    temp_write(dir, name, bytes, n);
    free(bytes);
}

static bool read_index(const char *path, err *e)
{
    checkpoint *c;
    copy_as(DIR "index/a.safetensors", "a.safetensors");
    copy_as(DIR "index/b.safetensors", "b.safetensors");
    copy_as(DIR "index/c.safetensors", "c.safetensors");
    copy_as(path, "model.safetensors.index.json");
    bool ok = checkpoint_open(&c, dir, NULL, e);
    ck_assert(ok == (c != NULL));
    checkpoint_close(c);
    return ok;
}

static bool read_model(const char *path, err *e)
{
    checkpoint *c;
    bool ok = checkpoint_open(&c, path, NULL, e);
    checkpoint_close(c);
    return ok;
}

static bool read_config(const char *path, err *e)
{
    char *text;
    size_t len;
    config c;
    quant_config q;
    if (!file_read_all(path, CONFIG_MAX_BYTES, &text, &len, e))
        return false;
    bool ok = config_init(&c, text, len, NULL, e);
    ck_assert(ok == (c.root != NULL));
    if (ok) {
        ok = quant_config_read(&q, &c, e);
        config_free(&c);
    }
    free(text);
    return ok;
}

static bool read_tokenizer(const char *path, err *e)
{
    tokenizer *t;
    int32_t *ids = NULL;
    int64_t n;
    bool is_config = str_ends(path, ".config.json");
    copy_as(is_config ? DIR "tokenizer/accept-good.json" : path, "tokenizer.json");
    temp_write(dir, "tokenizer_config.json", "{}", 2);
    if (is_config)
        copy_as(path, "tokenizer_config.json");
    bool ok = tokenizer_open(&t, dir, e);
    ck_assert(ok == (t != NULL));
    if (ok)
        ok = tokenizer_encode(t, "abba", 4, &ids, &n, e);
    free(ids);
    tokenizer_close(t);
    return ok;
}

static bool read_npy(const char *path, err *e)
{
    npy a;
    bool ok = npy_read(&a, path, e);
    ck_assert(ok == (a.data != NULL));
    npy_free(&a);
    return ok;
}

static bool read_npz(const char *path, err *e)
{
    zip_in *z;
    npy a = {0};
    bool ok = zip_in_open(&z, path, e) && npz_read(&a, z, "a", e);
    ck_assert(ok == (a.data != NULL));
    npy_free(&a);
    zip_in_close(z);
    return ok;
}

static bool read_pack(const char *path, err *e)
{
    pack *p;
    copy_as(DIR "pack/layer.safetensors", "layer.safetensors");
    copy_as(path, "experts.idx");
    bool ok = pack_open(&p, dir, e);
    ck_assert(ok == (p != NULL));
    for (int64_t x = 0; ok && x < 2; x++) {
        pack_record r;
        char bytes[64];
        ok = pack_find(p, 1, x, &r, e) && pack_read(p, &r, bytes, e) &&
             pack_verify(p, &r, bytes, e);
    }
    pack_close(p);
    return ok;
}

static bool read_stats(const char *path, err *e)
{
    stats_file f;
    bool ok = stats_file_read(&f, path, NULL, e);
    stats_file_free(&f);
    return ok;
}

static bool read_imatrix(const char *path, err *e)
{
    imatrix m;
    bool ok = imatrix_open(&m, path, e);
    ck_assert(ok == (m.n > 0));
    imatrix_close(&m);
    return ok;
}

static bool read_recipe(const char *path, err *e)
{
    recipe r = {0};
    bool ok = recipe_read(&r, path, e);
    recipe_free(&r);
    return ok;
}

static bool read_plan(const char *path, err *e)
{
    saved_plan f;
    bool ok = saved_plan_open(&f, path, e);
    ck_assert(ok == (f.input != NULL));
    saved_plan_close(&f);
    return ok;
}

static bool read_journal(const char *path, err *e)
{
    journal j = JOURNAL_CLOSED;
    copy_as(path, JOURNAL_NAME);
    bool ok = journal_read(&j, dir, e);
    journal_close(&j);
    return ok;
}

static bool read_note(const char *path, err *e)
{
    static const char name[] = ".model.safetensors.note";
    static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";
    file_note n;
    bool counts;
    copy_as(path, name);
    if (!file_note_read(&n, dir, name, zeros, &counts, e))
        return false;
    ck_assert(counts == (n.name != NULL));
    file_note_free(&n);
    return counts || err_set(e, ERR_ENV, "it does not count");
}

static const struct {
    const char *folder;
    bool (*read)(const char *path, err *e);
} formats[] = {
    {"config/", read_config}, {"gguf/", read_model}, {"imatrix/", read_imatrix},
    {"index/", read_index},
    {"journal/", read_journal}, {"model/", read_model}, {"note/", read_note},
    {"npy/", read_npy}, {"npz/", read_npz},
    {"pack/", read_pack}, {"plan/", read_plan}, {"recipe/", read_recipe},
    {"stats/", read_stats}, {"tokenizer/", read_tokenizer},
};

// One line: file, status, sentence. True where the verdict is the expected one; says so if not.
static bool judge(char *line)
{
    char *status = strchr(line, '\t'), *sentence = status ? strchr(status + 1, '\t') : NULL;
    const char *file = line;
    uint64_t kind;
    ck_assert(status && sentence);
    *status++ = *sentence++ = 0;
    ck_assert(str_to_u64(status, ERR_INTERNAL, &kind) && (*sentence != 0) == (kind != 0));
    size_t i = 0;
    while (i < COUNT_OF(formats) && !str_starts(file, formats[i].folder))
        i++;
    ck_assert_msg(i < COUNT_OF(formats), "nobody reads %s", file);
    err e = ERR_INIT;
    char path[256];
    (void)snprintf(path, sizeof path, DIR "%s", file);
    bool ok = formats[i].read(path, &e);
    if (ok ? kind == ERR_NONE : e.kind == kind && kind && strstr(e.text, sentence))
        return true;
    printf("%s\t%d\t%s\n", file, (int)e.kind, e.text);
    (void)fflush(stdout);
    return false;
}

START_TEST(each_is_read_or_refused_with_its_sentence)
{
    err e = ERR_INIT;
    char *text, *rest;
    size_t len;
    int n = 0, wrong = 0;
    ck_assert_msg(file_read_all(DIR "expected.tsv", 1 << 20, &text, &len, &e), "%s", e.text);
    for (char *line = strchr(text, '\n') + 1; *line; line = rest) {
        rest = strchr(line, '\n');
        ck_assert_ptr_nonnull(rest);
        *rest++ = 0;
        wrong += !judge(line);
        n++;
    }
    free(text);
    ck_assert_msg(wrong == 0, "%d of %d files have another verdict than expected", wrong, n);
    ck_assert_int_ge(n, 700);
}
END_TEST

Suite *suite_hostile_formats(void)
{
    Suite *s = suite_create("hostile_formats");
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_test(c, each_is_read_or_refused_with_its_sentence);
    tcase_set_timeout(c, 60);
    suite_add_tcase(s, c);
    return s;
}
