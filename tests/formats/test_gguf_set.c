// SPDX-License-Identifier: Apache-2.0
// GGUF through the one door: files, folders, split files.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/checkpoint.h"
#include "formats/gguf_split.h"
#include "tests/gguf_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_gguf_set(void);

static char dir[256];

static void begin(void) { (void)snprintf(dir, sizeof dir, "%s", temp_dir_make()); }

static void end(void) { temp_dir_remove(dir); }

static char warning[512];

static void keep_warning(void *ctx, const char *line)
{
    (void)ctx;
    (void)snprintf(warning, sizeof warning, "%s", line);
}

static const events listener = {.warn = keep_warning};

static checkpoint *opens(const char *path)
{
    err e = ERR_INIT;
    checkpoint *c;
    warning[0] = 0;
    ASSERT_OK(checkpoint_open(&c, path, &listener, &e), e);
    return c;
}

static void refuses(const char *path, const char *words)
{
    checkpoint *c;
    ASSERT_REFUSED(checkpoint_open(&c, path, &listener, &refused), words);
    ck_assert_ptr_null(c);
}

static const char *at(const char *name) { return temp_path(dir, name); }

// Three parts with the tensors a, b and c of 1, 2 and 3 elements.
static void three_parts(void)
{
    gguf_case_part(dir, "m-00001-of-00003.gguf", 0, 3, 3, "a", 1);
    gguf_case_part(dir, "m-00002-of-00003.gguf", 1, 3, 3, "b", 2);
    gguf_case_part(dir, "m-00003-of-00003.gguf", 2, 3, 3, "c", 3);
}

static void assert_three(const checkpoint *c)
{
    err e = ERR_INIT;
    static const char *const names[] = {"a", "b", "c"};
    ck_assert_int_eq(checkpoint_n_files(c), 3);
    ck_assert_int_eq(checkpoint_count(c), 3);
    for (int i = 0; i < 3; i++) {
        float value[3];
        int64_t first, n;
        const tensor *t = checkpoint_find(c, names[i]);
        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(checkpoint_index(c, t), i);
        ck_assert_int_eq(t->file, i);
        ck_assert_int_eq(t->n_elements, i + 1);
        checkpoint_file_tensors(c, i, &first, &n);
        ck_assert(first == i && n == 1);
        ck_assert_uint_eq(t->offset, checkpoint_data_start(c, i));
        ASSERT_OK(checkpoint_read(c, t, 0, value, t->bytes, &e), e);
        ck_assert(value[0] == 1 && value[i] == (float)(i + 1));
    }
    ck_assert_str_eq(warning, "");
}

START_TEST(a_file_is_known_by_its_content)
{
    gguf_case_f32(dir, "weights.bin", "x", 2);
    checkpoint *c = opens(at("weights.bin"));
    ck_assert_int_eq(checkpoint_count(c), 1);
    ck_assert(!checkpoint_is_folder(c));
    ck_assert_str_eq(gguf_as_text(gguf_find(checkpoint_gguf(c), "general.name")), "case");
    ck_assert_ptr_null(checkpoint_metadata(c, 0, "general.name"));
    ck_assert_str_eq(checkpoint_dir(c), dir);
    checkpoint_close(c);
    // But a folder's only safetensors file has to be one.
    ck_assert_int_eq(rename(at("weights.bin"), at("model.safetensors")), 0);
    refuses(dir, "is a GGUF file under the name of a safetensors file");
}
END_TEST

START_TEST(a_folder_holds_one_gguf)
{
    gguf_case_f32(dir, "x.gguf", "x", 2);
    gguf_case_f32(dir, ".hidden.gguf", "x", 2);
    checkpoint *c = opens(dir);
    ck_assert(checkpoint_is_folder(c));
    ck_assert_str_eq(checkpoint_file_name(c, 0), "x.gguf");
    checkpoint_close(c);
    gguf_case_f32(dir, "y.gguf", "x", 2);
    refuses(dir, "holds GGUF files that do not belong together, 'x.gguf' and 'y.gguf' among them");
}
END_TEST

START_TEST(any_part_leads_to_all)
{
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf",
                                        "m-00003-of-00003.gguf"};
    sha256_digest first, digest;
    err e = ERR_INIT;
    three_parts();
    checkpoint *c = opens(dir);
    assert_three(c);
    ck_assert(checkpoint_is_folder(c));
    ASSERT_OK(checkpoint_digest(c, NULL, &first, &e), e);
    checkpoint_close(c);
    gguf_case_f32(dir, "other.gguf", "x", 2); // is of no account to who names a part
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        c = opens(at(names[i]));
        assert_three(c);
        ck_assert(!checkpoint_is_folder(c));
        ASSERT_OK(checkpoint_digest(c, NULL, &digest, &e), e);
        ck_assert_mem_eq(&digest, &first, sizeof digest);
        checkpoint_close(c);
    }
    refuses(dir, "holds GGUF files that do not belong together, 'm-00001-of-00003.gguf' and "
            "'other.gguf'");
}
END_TEST

START_TEST(a_named_part_may_be_a_link)
{
    three_parts();
    temp_mkdir(dir, "far");
    ck_assert_int_eq(rename(at("m-00002-of-00003.gguf"), at("far/x")), 0);
    temp_symlink("far/x", dir, "m-00002-of-00003.gguf");
    checkpoint *c = opens(at("m-00002-of-00003.gguf"));
    assert_three(c);
    checkpoint_close(c);
}
END_TEST

START_TEST(parts_have_to_be_there)
{
    three_parts();
    ck_assert_int_eq(unlink(at("m-00002-of-00003.gguf")), 0);
    refuses(dir, "/m-00002-of-00003.gguf' is missing (1 of the 3 parts of a split GGUF file are)");
    ck_assert_int_eq(unlink(at("m-00001-of-00003.gguf")), 0);
    refuses(at("m-00003-of-00003.gguf"), "/m-00001-of-00003.gguf' is missing (2 of the 3 parts");
}
END_TEST

START_TEST(parts_must_not_contradict_each_other)
{
    three_parts();
    gguf_case_part(dir, "m-00002-of-00003.gguf", 0, 3, 3, "b", 2);
    refuses(dir, "m-00002-of-00003.gguf': split.no is 0, by its name it is part 2, which has 1");
    gguf_case_part(dir, "m-00002-of-00003.gguf", 1, 4, 3, "b", 2);
    refuses(dir, "m-00002-of-00003.gguf' is part of 4 with 3 tensors, ");
    gguf_case_part(dir, "m-00002-of-00003.gguf", 1, 3, 4, "b", 2);
    refuses(dir, "m-00002-of-00003.gguf' is part of 3 with 4 tensors, ");
    gguf_case_f32(dir, "m-00002-of-00003.gguf", "b", 2);
    refuses(dir, "m-00002-of-00003.gguf' is part of 1 with 1 tensors, ");
    gguf_case_f32(dir, "m-00001-of-00003.gguf", "b", 2);
    refuses(dir, "holds 3 GGUF files that their names call parts of one, but "
            "'m-00001-of-00003.gguf' says that it is one of 1");
    gguf_case_part(dir, "m-00001-of-00003.gguf", 0, 3, 3, "a", 1);
    gguf_case_part(dir, "m-00002-of-00003.gguf", 1, 3, 3, "b", 2);
    gguf_case_part(dir, "m-00004-of-00003.gguf", 3, 3, 3, "d", 2);
    refuses(dir, "holds 4 GGUF files that their names call parts of one, but "
            "'m-00001-of-00003.gguf' says that it is one of 3");
    ck_assert_int_eq(unlink(at("m-00004-of-00003.gguf")), 0);
    gguf_case_part(dir, "m-00002-of-00003.gguf", 1, 3, 3, "a", 2);
    refuses(dir, "m-00002-of-00003.gguf': tensor 'a' is in another part, too");
    gguf_case_part(dir, "m-00001-of-00003.gguf", 0, 3, 4, "a", 1);
    gguf_case_part(dir, "m-00002-of-00003.gguf", 1, 3, 4, "b", 2);
    gguf_case_part(dir, "m-00003-of-00003.gguf", 2, 3, 4, "c", 3);
    refuses(dir, "m-00001-of-00003.gguf': split.tensors.count is 4, the 3 parts have 3 tensors");
    ck_assert_int_eq(unlink(at("m-00001-of-00003.gguf")), 0);
    ck_assert_int_eq(unlink(at("m-00002-of-00003.gguf")), 0);
    ck_assert_int_eq(rename(at("m-00003-of-00003.gguf"), at("m.gguf")), 0);
    refuses(dir, "m.gguf': part 3 of 3 of a split GGUF file, whose name has to end in "
            "-00003-of-00003.gguf");
}
END_TEST

START_TEST(parts_are_of_one_architecture)
{
    three_parts();
    gguf_case gg = {.name = "m-00003-of-00003.gguf", .no = 2, .count = 3, .total = 3,
                    .tensor = "c", .elements = 3, .architecture = "llama"};
    gguf_case_write(dir, &gg);
    checkpoint_close(opens(dir)); // the others do not say
    gg = (gguf_case){.name = "m-00001-of-00003.gguf", .count = 3, .total = 3, .tensor = "a",
                     .elements = 1, .architecture = "qwen3moe"};
    gguf_case_write(dir, &gg);
    refuses(dir, "m-00003-of-00003.gguf': general.architecture is 'llama', in ");
}
END_TEST

START_TEST(bytes_behind_the_last_tensor_are_told_of)
{
    gguf_case_f32(dir, "x.gguf", "x", 2);
    FILE *f = fopen(at("x.gguf"), "ab");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fputs("rest", f) >= 0, 1);
    ck_assert_int_eq(fclose(f), 0);
    checkpoint *c = opens(at("x.gguf"));
    ck_assert_ptr_nonnull(strstr(warning, "has 4 bytes behind its last tensor that belong to "
                                 "nothing"));
    checkpoint_close(c);
}
END_TEST

START_TEST(names_of_parts_are_taken_apart_and_made)
{
    static const char *const wrong[] = {"", ".gguf", "m.gguf", "m-0001-of-00002.gguf",
                                        "m-00001-of-00002.ggu", "m-00001-of-0000x.gguf",
                                        "m-00001_of-00002.gguf", "m_00001-of-00002.gguf",
                                        "m-00002-of-00002.gguf", "m-00001-of-00003.gguf"};
    const gguf_split split = {0, 2, 5};
    gguf_set set;
    char name[GGUF_SET_NAME];
    err e = ERR_INIT;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        ASSERT_REFUSED(gguf_set_of(&set, wrong[i], &split, &refused), "part 1 of 2 of a split");
    ASSERT_OK(gguf_set_of(&set, "-00001-of-00002.gguf", &split, &e), e);
    ck_assert_str_eq(gguf_set_name(&set, 1, name), "-00002-of-00002.gguf");
    ASSERT_OK(gguf_set_of(&set, "a-00001-of-00002-00001-of-00002.gguf", &split, &e), e);
    ck_assert_str_eq(gguf_set_name(&set, 0, name), "a-00001-of-00002-00001-of-00002.gguf");
    ck_assert(gguf_set_same("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"));
    ck_assert(!gguf_set_same("m-00001-of-00002.gguf", "m-00002-of-00003.gguf"));
    ck_assert(!gguf_set_same("m-00001-of-00002.gguf", "n-00002-of-00002.gguf"));
    ck_assert(!gguf_set_same("m-00001-of-00002.gguf", "m.gguf"));
}
END_TEST

Suite *suite_gguf_set(void)
{
    Suite *s = suite_create("gguf_set");
    TCase *c = tcase_create("files");
    tcase_add_checked_fixture(c, begin, end);
    tcase_add_test(c, a_file_is_known_by_its_content);
    tcase_add_test(c, a_folder_holds_one_gguf);
    tcase_add_test(c, any_part_leads_to_all);
    tcase_add_test(c, a_named_part_may_be_a_link);
    tcase_add_test(c, parts_have_to_be_there);
    tcase_add_test(c, parts_must_not_contradict_each_other);
    tcase_add_test(c, parts_are_of_one_architecture);
    tcase_add_test(c, bytes_behind_the_last_tensor_are_told_of);
    tcase_add_test(c, names_of_parts_are_taken_apart_and_made);
    suite_add_tcase(s, c);
    return s;
}
