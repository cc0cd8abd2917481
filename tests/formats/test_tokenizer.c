// SPDX-License-Identifier: Apache-2.0
// Ids against those of the Hugging Face tokenizers package (tests/data/tokenizer/README.md), and
// what is refused.
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/utf8.h"
#include "formats/bpe.h"
#include "formats/tokenizer.h"
#include "tests/forward_case.h"
#include "tests/refused.h"
#include "tests/temp.h"

Suite *suite_tokenizer(void);

#define END "<|endoftext|>"

static const char *dir;
static json *golden;

static void set_up(void)
{
    err e = ERR_INIT;
    char *text;
    size_t len;
    dir = temp_dir_make();
    ASSERT_OK(file_read_all("tests/data/tokenizer/ids.json", 1 << 24, &text, &len, &e), e);
    ASSERT_OK(json_parse(&golden, text, len, "ids.json", &e), e);
    free(text);
}

static void tear_down(void)
{
    json_free(golden);
    temp_dir_remove(dir);
}

static tokenizer *opened_tokenizer(const char *path)
{
    err e = ERR_INIT;
    tokenizer *t;
    ASSERT_OK(tokenizer_open(&t, path, &e), e);
    return t;
}

static const char *text_of(const json *row, const char *key)
{
    const char *text = json_as_text(json_get(row, key));
    ck_assert_ptr_nonnull(text);
    return text;
}

static int64_t number_of(const json *j)
{
    int64_t n;
    ck_assert(json_as_int(j, &n));
    return n;
}

// Whether the ids are those of a row with "ids" (how many) and "sha256".
static void assert_digest(tokenizer *t, const char *text, size_t len, const json *row,
                          const char *name)
{
    err e = ERR_INIT;
    int32_t *ids;
    int64_t n;
    sha256_digest digest;
    char hex[65];
    ASSERT_OK(tokenizer_encode(t, text, len, &ids, &n, &e), e);
    const json *first = json_first(json_get(row, "first"));
    for (int64_t i = 0; first && i < n; i++, first = json_next(first))
        ck_assert_msg(ids[i] == number_of(first), "%s: id %lld is %d", name, (long long)i, ids[i]);
    ck_assert_msg(n == number_of(json_get(row, "ids")), "%s: %lld ids", name, (long long)n);
    ASSERT_OK(sha256_of(ids, (size_t)n * sizeof *ids, &digest, &e), e);
    ck_assert_msg(strcmp(hex_of(digest.b, 32, hex), text_of(row, "sha256")) == 0,
                  "%s: other ids than the package's", name);
    free(ids);
}

static void assert_file(const char *model_dir, const char *path, const json *row)
{
    err e = ERR_INIT;
    char *text;
    size_t len;
    tokenizer *t = opened_tokenizer(model_dir);
    ASSERT_OK(file_read_all(path, 1 << 24, &text, &len, &e), e);
    assert_digest(t, text, len, row, path);
    free(text);
    tokenizer_close(t);
}

START_TEST(ids_of_texts_are_those_of_the_package)
{
    for (const json *row = json_first(json_get(golden, "texts")); row; row = json_next(row))
        assert_file(text_of(row, "model"), text_of(row, "text"), row);
}
END_TEST

START_TEST(ids_of_shared_texts_are_those_of_the_package)
{
    for (const json *row = json_first(json_get(golden, "shared")); row; row = json_next(row)) {
        char model_dir[500], path[500];
        if (!shared_path(text_of(row, "model"), model_dir, sizeof model_dir) ||
            !shared_path(text_of(row, "text"), path, sizeof path))
            return;
        assert_file(model_dir, path, row);
    }
}
END_TEST

static void assert_ids(tokenizer *t, const char *text, const json *want)
{
    err e = ERR_INIT;
    int32_t *ids;
    int64_t n, i = 0;
    ASSERT_OK(tokenizer_encode(t, text, strlen(text), &ids, &n, &e), e);
    ck_assert_msg(n == json_len(want), "'%s': %lld ids", text, (long long)n);
    for (const json *id = json_first(want); id; id = json_next(id), i++)
        ck_assert_msg(ids[i] == number_of(id), "'%s': id %lld is %d", text, (long long)i, ids[i]);
    free(ids);
}

START_TEST(ids_of_tricky_strings_are_those_of_the_package)
{
    tokenizer *nano = opened_tokenizer("tests/data/nano");
    tokenizer *qwen2 = opened_tokenizer("tests/data/tokenizer/qwen2");
    for (const json *row = json_first(json_get(golden, "strings")); row; row = json_next(row)) {
        assert_ids(nano, text_of(row, "text"), json_get(row, "nano"));
        assert_ids(qwen2, text_of(row, "text"), json_get(row, "qwen2"));
    }
    tokenizer_close(nano);
    tokenizer_close(qwen2);
}
END_TEST

// How GPT-2's alphabet spells a byte, as a JSON string's inside.
static void add_letter(strbuf *out, int byte)
{
    int printable = 0;
    for (int b = 0; b < byte; b++)
        printable += (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
    bool shown = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    char text[4];
    if (byte == '"' || byte == '\\')
        strbuf_puts(out, "\\");
    strbuf_add(out, text,
               (size_t)utf8_encode(shown ? (uint32_t)byte : 256u + (uint32_t)(byte - printable),
                                   text));
}

// The parts of a tokenizer.json of bytes; NULL: the one that works.
typedef struct {
    const char *added, *normalizer, *pre, *more_vocab, *merges, *options, *top;
} parts;

static void write_tokenizer(const parts *p)
{
    strbuf s = {0};
    strbuf_printf(&s, "{\"version\":\"1.0\",%s\"added_tokens\":%s,\"normalizer\":%s,",
                  p->top ? p->top : "", p->added ? p->added : "[]",
                  p->normalizer ? p->normalizer : "null");
    strbuf_printf(&s, "\"pre_tokenizer\":%s,\"model\":{%s,\"merges\":%s,\"vocab\":{",
                  p->pre ? p->pre : "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                                    "\"trim_offsets\":true}",
                  p->options ? p->options : "\"type\":\"BPE\"", p->merges ? p->merges : "[]");
    for (int byte = 0; byte < 256; byte++) {
        strbuf_puts(&s, byte ? ",\"" : "\"");
        add_letter(&s, byte);
        strbuf_printf(&s, "\":%d", byte);
    }
    strbuf_printf(&s, "%s}}}", p->more_vocab ? p->more_vocab : "");
    temp_write(dir, "tokenizer.json", s.text, s.len);
    strbuf_free(&s);
}

START_TEST(every_pipeline_gives_the_ids_of_the_package)
{
    strbuf joined = {0};
    for (const json *row = json_first(json_get(golden, "strings")); row; row = json_next(row)) {
        strbuf_puts(&joined, joined.len ? END : "");
        strbuf_puts(&joined, text_of(row, "text"));
    }
    for (const json *row = json_first(json_get(golden, "pipelines")); row; row = json_next(row)) {
        const parts p = {.added = text_of(row, "added_tokens"),
                         .pre = text_of(row, "pre_tokenizer"),
                         .normalizer = text_of(row, "normalizer")};
        write_tokenizer(&p);
        tokenizer *t = opened_tokenizer(dir);
        assert_digest(t, joined.text, joined.len, row, text_of(row, "name"));
        tokenizer_close(t);
    }
    strbuf_free(&joined);
}
END_TEST

static void assert_encodes(const parts *p, const char *text, int64_t n_want, const int32_t *want)
{
    err e = ERR_INIT;
    int32_t *ids;
    int64_t n;
    write_tokenizer(p);
    tokenizer *t = opened_tokenizer(dir);
    for (int twice = 0; twice < 2; twice++) { // the second time out of the memory of pieces
        ASSERT_OK(tokenizer_encode(t, text, strlen(text), &ids, &n, &e), e);
        ck_assert_int_eq(n, n_want);
        ck_assert_mem_eq(ids, want, (size_t)n * sizeof *ids);
        free(ids);
    }
    tokenizer_close(t);
}

START_TEST(merges_lowest_rank_first_and_the_leftmost_of_equals)
{
    const parts texts = {.more_vocab = ",\"aa\":256,\"ab\":257,\"aab\":258",
                         .merges = "[\"#version: 0.2\",\"a b\",\"a a\",\"a ab\"]"};
    const parts lists = {.more_vocab = ",\"aa\":256,\"ab\":257,\"aab\":258",
                         .merges = "[[\"a\",\"b\"],[\"a\",\"a\"],[\"a\",\"ab\"]]"};
    assert_encodes(&texts, "aaaab", 2, (const int32_t[]){256, 258});
    assert_encodes(&lists, "aaaab", 2, (const int32_t[]){256, 258});
    assert_encodes(&lists, "aaa", 2, (const int32_t[]){256, 'a'});
    assert_encodes(&lists, "aab", 1, (const int32_t[]){258});
    // The same merge again: its last rank counts, as in the package.
    const parts again = {.more_vocab = ",\"ab\":256,\"bc\":257",
                         .merges = "[\"a b\",\"b c\",\"a b\"]"};
    assert_encodes(&again, "abc", 2, (const int32_t[]){'a', 257});
}
END_TEST

START_TEST(takes_whole_pieces_where_merges_are_ignored)
{
    // "\u0120" is how a space is spelled. ByteLevel's pattern splits "abc", " x", " ab".
    const parts p = {.more_vocab = ",\"abc\":256,\"\u0120x\":257,\"ab\":258",
                     .merges = "[\"a b\"]",
                     .options = "\"type\":\"BPE\",\"ignore_merges\":true,\"dropout\":0.0,"
                                "\"unk_token\":\"a\",\"byte_fallback\":true"};
    assert_encodes(&p, "abc x ab", 4, (const int32_t[]){256, 257, ' ', 258});
}
END_TEST

START_TEST(a_long_piece_takes_no_square_of_its_length)
{
    enum { LONG = 300 * 1000 };
    err e = ERR_INIT;
    int32_t *ids;
    int64_t n;
    char *text = malloc(LONG);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', LONG);
    const parts p = {.more_vocab = ",\"aa\":256,\"aaaa\":257,\"aaaaaaaa\":258",
                     .merges = "[\"a a\",\"aa aa\",\"aaaa aaaa\"]"};
    write_tokenizer(&p);
    tokenizer *t = opened_tokenizer(dir);
    ASSERT_OK(tokenizer_encode(t, text, LONG, &ids, &n, &e), e);
    ck_assert_int_eq(n, LONG / 8);
    free(ids);
    free(text);
    tokenizer_close(t);
    // Marks that have to be put in order, too: 90,000 of them behind one letter.
    strbuf marks = {0};
    strbuf_puts(&marks, "a");
    for (int i = 0; i < 30000; i++)
        strbuf_puts(&marks, "\u0301\u0323\u0334");
    const parts nfc = {.normalizer = "{\"type\":\"NFC\"}"};
    write_tokenizer(&nfc);
    t = opened_tokenizer(dir);
    ASSERT_OK(tokenizer_encode(t, marks.text, marks.len, &ids, &n, &e), e);
    // U+0334 stays behind the letter; the first U+0323 composes with it, to U+1EA1 (3 bytes).
    ck_assert_int_eq(n, (int64_t)marks.len + 3 - 3);
    ck_assert_int_eq(ids[0], 0xe1);
    ck_assert_int_eq(ids[3], 0xcc);
    free(ids);
    tokenizer_close(t);
    strbuf_free(&marks);
}
END_TEST

START_TEST(refuses_a_piece_beyond_the_limit)
{
    err e = ERR_INIT;
    int32_t *ids;
    int64_t n;
    size_t len = BPE_MAX_PIECE + 1;
    char *text = malloc(len);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', len);
    write_tokenizer(&(const parts){0});
    tokenizer *t = opened_tokenizer(dir);
    ASSERT_REFUSED(tokenizer_encode(t, text, len, &ids, &n, &refused),
                   "4194305 bytes of text without a place to split");
    ck_assert_ptr_null(ids);
    text[len / 2] = ' ';
    ASSERT_OK(tokenizer_encode(t, text, len, &ids, &n, &e), e);
    ck_assert_int_eq(n, (int64_t)len);
    free(ids);
    free(text);
    tokenizer_close(t);
}
END_TEST

START_TEST(an_empty_text_has_no_ids)
{
    err e = ERR_INIT;
    int32_t *ids;
    int64_t n;
    tokenizer *t = opened_tokenizer("tests/data/tokenizer/qwen2");
    ASSERT_OK(tokenizer_encode(t, "", 0, &ids, &n, &e), e);
    ck_assert_int_eq(n, 0);
    ck_assert_ptr_nonnull(ids);
    free(ids);
    tokenizer_close(t);
}
END_TEST

START_TEST(refuses_text_that_is_not_utf8_and_says_where)
{
    static const struct {
        const char *text;
        size_t len;
        const char *words;
    } row[] = {
        {"abc\xff", 4, "byte 3 (0xff)"},
        {"\xc3", 1, "byte 0 (0xc3)"},
        {"a\xc0\x80", 3, "byte 1 (0xc0)"},
        {"ab\xed\xa0\x80", 5, "byte 2 (0xed)"},
        {"\xf4\x90\x80\x80", 4, "byte 0 (0xf4)"},
    };
    tokenizer *t = opened_tokenizer("tests/data/nano");
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        int32_t *ids;
        int64_t n;
        ASSERT_REFUSED(tokenizer_encode(t, row[i].text, row[i].len, &ids, &n, &refused),
                       row[i].words);
        ck_assert_ptr_null(ids);
        ck_assert_int_eq(n, 0);
    }
    tokenizer_close(t);
}
END_TEST

START_TEST(counts_the_vocabulary_with_its_added_tokens)
{
    tokenizer *t = opened_tokenizer("tests/data/nano");
    ck_assert_int_eq(tokenizer_vocab(t), 2048);
    tokenizer_close(t);
    t = opened_tokenizer("tests/data/tokenizer/qwen2");
    ck_assert_int_eq(tokenizer_vocab(t), 1205);
    tokenizer_close(t);
}
END_TEST

static int32_t bos_with(const char *config)
{
    temp_write(dir, "tokenizer_config.json", config, strlen(config));
    tokenizer *t = opened_tokenizer(dir);
    int32_t bos = tokenizer_bos(t);
    tokenizer_close(t);
    return bos;
}

#define TOKEN(id, content, more)                                                              \
    "{\"id\":" id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false,"       \
    "\"rstrip\":false,\"normalized\":false,\"special\":true" more "}"

START_TEST(knows_the_bos_that_the_config_asks_for)
{
    tokenizer *t = opened_tokenizer("tests/data/nano");
    ck_assert_int_eq(tokenizer_bos(t), 0);
    tokenizer_close(t);
    t = opened_tokenizer("tests/data/tokenizer/qwen2"); // has no tokenizer_config.json
    ck_assert_int_eq(tokenizer_bos(t), -1);
    tokenizer_close(t);
    const parts p = {.added = "[" TOKEN("256", "<s>", "") "]"};
    write_tokenizer(&p);
    ck_assert_int_eq(bos_with("{\"add_bos_token\":true,\"bos_token\":\"<s>\"}"), 256);
    ck_assert_int_eq(bos_with("{\"add_bos_token\":true,\"bos_token\":{\"content\":\"<s>\"}}"), 256);
    ck_assert_int_eq(bos_with("{\"add_bos_token\":true,\"bos_token\":\"a\"}"), 97);
    ck_assert_int_eq(bos_with("{\"add_bos_token\":false,\"bos_token\":\"<s>\"}"), -1);
    ck_assert_int_eq(bos_with("{\"add_bos_token\":null,\"bos_token\":\"<s>\"}"), -1);
    ck_assert_int_eq(bos_with("{\"bos_token\":\"<s>\"}"), -1);
}
END_TEST

START_TEST(refuses_a_bos_that_is_no_token)
{
    static const struct {
        const char *config, *words;
    } row[] = {
        {"{\"add_bos_token\":true,\"bos_token\":\"<s>\"}", "bos_token '<s>' is no token"},
        {"{\"add_bos_token\":true,\"bos_token\":null}", "there is no 'bos_token'"},
        {"{\"add_bos_token\":true}", "there is no 'bos_token'"},
        {"{\"add_bos_token\":1}", "'add_bos_token' must be true or false"},
        {"{", "tokenizer_config.json: bad JSON"},
    };
    write_tokenizer(&(const parts){0});
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        tokenizer *t;
        temp_write(dir, "tokenizer_config.json", row[i].config, strlen(row[i].config));
        ASSERT_REFUSED(tokenizer_open(&t, dir, &refused), row[i].words);
    }
}
END_TEST

#define SPLIT(pattern) \
    "{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"Isolated\",\"invert\":false}"
#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true}"
#define SEQUENCE(parts) "{\"type\":\"Sequence\",\"pretokenizers\":[" parts "]}"
#define REGEX(pattern) SEQUENCE(SPLIT("{\"Regex\":\"" pattern "\"}") "," BYTES)

static const struct {
    parts p;
    const char *words;
} refusals[] = {
    {{.pre = "null"}, "no ByteLevel"},
    {{.pre = "{\"type\":\"Metaspace\"}"}, "pre_tokenizer 'Metaspace' is not supported"},
    {{.pre = SEQUENCE("")}, "no ByteLevel"},
    {{.pre = SEQUENCE(BYTES "," BYTES)}, "something follows ByteLevel"},
    {{.pre = "{\"type\":\"ByteLevel\",\"trim_offsets\":true}"}, "'add_prefix_space' must be true"},
    {{.pre = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
             "\"new\":1}"}, "pre_tokenizer ByteLevel has 'new'"},
    {{.pre = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Merged\","
             "\"invert\":false}"}, "behavior 'Merged' is unknown"},
    {{.pre = "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Isolated\"}"},
     "'invert' must be true or false"},
    {{.pre = SPLIT("\"a\"")}, "'pattern' must hold one text"},
    {{.pre = SPLIT("{\"Glob\":\"a\"}")}, "a pattern of kind 'Glob' is unknown"},
    {{.pre = "{\"type\":\"Sequence\",\"pretokenizers\":1}"}, "'pretokenizers' must be a list"},
    {{.pre = "7"}, "'type' must be text"},
    {{.pre = REGEX("(a")}, "the pattern '(a' has a group without its ')' at byte 0"},
    {{.pre = REGEX("a)")}, "a ')' without its group at byte 1"},
    {{.pre = REGEX("a|*")}, "a quantifier behind nothing at byte 2"},
    {{.pre = REGEX("a{2}{3}")}, "a quantifier behind a quantifier"},
    {{.pre = REGEX("a{3,2}")}, "bounds are the wrong way round"},
    {{.pre = REGEX("a{1001}")}, "a repeat of more than 1000"},
    {{.pre = REGEX("(?=a)*")}, "a quantifier behind an assertion"},
    {{.pre = REGEX("(a*)*")}, "a repeat of what can be empty"},
    {{.pre = REGEX("(?<x>a)")}, "a kind of group that is unknown here at byte 0"},
    {{.pre = REGEX("(?>a)")}, "a kind of group that is unknown here at byte 0"},
    {{.pre = REGEX("a(?i)b")}, "a kind of group that is unknown here at byte 1"},
    {{.pre = REGEX("\\\\w+")}, "an escape that is unknown here at byte 0"},
    {{.pre = REGEX("(a)\\\\1")}, "an escape that is unknown here at byte 3"},
    {{.pre = REGEX("\\\\p{Greek}")}, "a Unicode property that is unknown here"},
    {{.pre = REGEX("\\\\p{Mn}")}, "a Unicode property that is unknown here"},
    {{.pre = REGEX("\\\\pL")}, "\\p without its '{'"},
    {{.pre = REGEX("\\\\xff")}, "a byte that is not ASCII"},
    {{.pre = REGEX("\\\\x{110000}")}, "a number that is no character's"},
    {{.pre = REGEX("\\\\ud800")}, "a number that is no character's"},
    {{.pre = REGEX("\\\\x{41")}, "a hexadecimal escape without its '}'"},
    {{.pre = REGEX("a\\\\")}, "a backslash behind which nothing follows"},
    {{.pre = REGEX("[]a]")}, "an empty class"},
    {{.pre = REGEX("[a")}, "a class without its ']'"},
    {{.pre = REGEX("[b-a]")}, "a bad range"},
    {{.pre = REGEX("[a-\\\\s]")}, "a bad range"},
    {{.pre = REGEX("[a-c-e]")}, "'-' in the middle of a class"},
    {{.pre = REGEX("[[:alpha:]]")}, "a POSIX bracket"},
    {{.pre = REGEX("[a[^b]]")}, "a negated class inside of another"},
    {{.pre = REGEX("[^a&&b]")}, "'&&' in a negated class"},
    {{.pre = REGEX("(?i:\u00e9)")}, "a character outside of ASCII under (?i"},
    {{.pre = REGEX("(?i:'ss)")}, "a pair of letters under (?i that one character folds to"},
    {{.pre = REGEX("(?i:\\\\s)")}, "a set under (?i"},
    {{.pre = REGEX("(?i:[^a])")}, "a negated class under (?i"},
    {{.pre = REGEX("(?<=a+)b")}, "looks behind by a variable length"},
    {{.normalizer = "{\"type\":\"Lowercase\"}"}, "normalizer 'Lowercase' is not supported"},
    {{.normalizer = "{\"type\":\"NFC\",\"x\":true}"}, "normalizer has 'x'"},
    {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[null]}"}, "'type' must be text"},
    {{.normalizer = "{\"type\":\"Sequence\"}"}, "'normalizers' must be a list"},
    {{.top = "\"truncation\":{},"}, "'truncation' is set"},
    {{.top = "\"padding\":{},"}, "'padding' is set"},
    {{.top = "\"extra\":1,"}, "the file has 'extra'"},
    {{.options = "\"type\":\"WordPiece\""}, "model 'WordPiece' is not supported"},
    {{.options = "\"type\":\"BPE\",\"dropout\":0.1"}, "'dropout' makes ids random"},
    {{.options = "\"end_of_word_suffix\":\"</w>\""}, "'end_of_word_suffix' is not supported"},
    {{.options = "\"continuing_subword_prefix\":\"##\""},
     "'continuing_subword_prefix' is not supported"},
    {{.options = "\"ignore_merges\":1"}, "'ignore_merges' must be true or false"},
    {{.options = "\"speed\":9"}, "model has 'speed'"},
    {{.more_vocab = ",\"xx\":7"}, "id 7 of token 'xx' is there twice"},
    {{.more_vocab = ",\"xx\":16777217"}, "the id of token 'xx' is not a whole number from 0 to"},
    {{.more_vocab = ",\"xx\":4294967296"}, "the id of token 'xx' is not a whole number"},
    {{.more_vocab = ",\"xx\":-1"}, "the id of token 'xx' is not a whole number"},
    {{.more_vocab = ",\"xx\":300.5"}, "the id of token 'xx' is not a whole number"},
    {{.more_vocab = ",\"xx\":\"300\""}, "the id of token 'xx' is not a whole number"},
    {{.more_vocab = ",\"a\":300"}, "key 'a' a second time"},
    {{.merges = "[\"a b\"]"}, "merge 0 needs the token 'ab'"},
    {{.merges = "[\"a zz\"]"}, "merge 0 needs the token 'zz'"},
    {{.merges = "[[\"zz\",\"a\"]]"}, "merge 0 needs the token 'zz'"},
    {{.merges = "[\"a b c\"]"}, "merge 0 is neither"},
    {{.merges = "[\"ab\"]"}, "merge 0 is neither"},
    {{.merges = "[[\"a\"]]"}, "merge 0 is neither"},
    {{.merges = "[[\"a\",\"b\",\"c\"]]"}, "merge 0 is neither"},
    {{.merges = "[7]"}, "merge 0 is neither"},
    {{.merges = "{}"}, "'merges' must be a list"},
    {{.added = "{}"}, "'added_tokens' must be a list"},
    {{.added = "[7]"}, "an added token is not an object"},
    {{.added = "[{\"id\":256,\"content\":\"<s>\"}]"}, "'single_word' must be true or false"},
    {{.added = "[" TOKEN("300", "<s>", "") "]"},
     "added token '<s>' has id 300, but the vocabulary and the tokens before it make it 256"},
    {{.added = "[" TOKEN("256", "a", "") "]"}, "make it 97"},
    {{.added = "[" TOKEN("-1", "<s>", "") "]"}, "'id' must be a whole number"},
    {{.added = "[" TOKEN("4294967296", "<s>", "") "]"}, "'id' must be a whole number"},
    {{.added = "[" TOKEN("256", "<s>", ",\"new\":2") "]"}, "an added token has 'new'"},
    {{.added = "[" TOKEN("256", "<s>", "") "," TOKEN("257", "<s>", "") "]"},
     "added token '<s>' is there twice"},
    {{.added = "[" TOKEN("97", "a", "") "," TOKEN("97", "a", "") "]"}, "'a' is there twice"},
    {{.normalizer = "{\"type\":\"NFC\"}",
      .added = "[{\"id\":256,\"content\":\"caf\u00e9\",\"single_word\":false,\"lstrip\":false,"
               "\"rstrip\":false,\"normalized\":true,\"special\":true},"
               "{\"id\":257,\"content\":\"cafe\u0301\",\"single_word\":false,\"lstrip\":false,"
               "\"rstrip\":false,\"normalized\":true,\"special\":true}]"},
     "ids 256 and 257 are the same text when normalised"},
};

START_TEST(refuses_what_it_does_not_know)
{
    for (size_t i = 0; i < COUNT_OF(refusals); i++) {
        tokenizer *t;
        write_tokenizer(&refusals[i].p);
        ASSERT_REFUSED(tokenizer_open(&t, dir, &refused), refusals[i].words);
        ck_assert_ptr_null(t);
    }
}
END_TEST

START_TEST(refuses_unknown_tokens_only_where_a_byte_has_none)
{
    static const char bytes[] =
        "{\"version\":\"1.0\",\"pre_tokenizer\":" BYTES ",\"model\":{\"type\":\"BPE\",%s"
        "\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}";
    static const char *const options[] = {"", "\"unk_token\":\"a\",", "\"byte_fallback\":true,"};
    err e = ERR_INIT;
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        strbuf s = {0};
        tokenizer *t;
        const char *at = strstr(bytes, "%s");
        strbuf_add(&s, bytes, (size_t)(at - bytes));
        strbuf_puts(&s, options[i]);
        strbuf_puts(&s, at + 2);
        temp_write(dir, "tokenizer.json", s.text, s.len);
        strbuf_free(&s);
        if (i > 0) {
            ASSERT_REFUSED(tokenizer_open(&t, dir, &refused), "byte 0x00 has no token");
            continue;
        }
        // What has no token is left out, as in the package.
        int32_t *ids;
        int64_t n;
        ASSERT_OK(tokenizer_open(&t, dir, &e), e);
        ASSERT_OK(tokenizer_encode(t, "axb c", 5, &ids, &n, &e), e);
        ck_assert_int_eq(n, 2);
        ck_assert_int_eq(ids[0] * 10 + ids[1], 1);
        free(ids);
        tokenizer_close(t);
    }
}
END_TEST

START_TEST(refuses_a_folder_without_tokenizer_json)
{
    tokenizer *t;
    ASSERT_REFUSED(tokenizer_open(&t, dir, &refused), "tokenizer.json");
    temp_write(dir, "tokenizer.json", "[]", 2);
    ASSERT_REFUSED(tokenizer_open(&t, dir, &refused), "the file is not an object");
    temp_write(dir, "tokenizer.json", "{}", 2);
    ASSERT_REFUSED(tokenizer_open(&t, dir, &refused), "'model' must be an object");
    const char old[] = "{\"version\":\"0.9\"}";
    temp_write(dir, "tokenizer.json", old, strlen(old));
    ASSERT_REFUSED(tokenizer_open(&t, dir, &refused), "version '0.9' is not supported");
}
END_TEST

START_TEST(gives_up_on_patterns_that_try_too_much)
{
    const parts p = {.pre = REGEX("(?:(?:a|b|ab)+c)+d")};
    char text[200];
    int32_t *ids;
    int64_t n;
    memset(text, 'a', sizeof text);
    for (size_t i = 1; i < sizeof text; i += 2)
        text[i] = 'b';
    memcpy(text + sizeof text - 3, "xcd", 3);
    write_tokenizer(&p);
    tokenizer *t = opened_tokenizer(dir);
    ASSERT_REFUSED(tokenizer_encode(t, text, sizeof text, &ids, &n, &refused),
                   "step 1 takes too many tries to split 200 bytes of text");
    tokenizer_close(t);
}
END_TEST

Suite *suite_tokenizer(void)
{
    Suite *s = suite_create("tokenizer");
    TCase *c = tcase_create("ids");
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_set_timeout(c, 60); // for the sanitizers; a second is enough otherwise
    tcase_add_test(c, ids_of_texts_are_those_of_the_package);
    tcase_add_test(c, ids_of_shared_texts_are_those_of_the_package);
    tcase_add_test(c, ids_of_tricky_strings_are_those_of_the_package);
    tcase_add_test(c, every_pipeline_gives_the_ids_of_the_package);
    tcase_add_test(c, merges_lowest_rank_first_and_the_leftmost_of_equals);
    tcase_add_test(c, takes_whole_pieces_where_merges_are_ignored);
    tcase_add_test(c, a_long_piece_takes_no_square_of_its_length);
    tcase_add_test(c, an_empty_text_has_no_ids);
    tcase_add_test(c, counts_the_vocabulary_with_its_added_tokens);
    tcase_add_test(c, knows_the_bos_that_the_config_asks_for);
    suite_add_tcase(s, c);
    TCase *r = tcase_create("refusals");
    tcase_add_checked_fixture(r, set_up, tear_down);
    tcase_set_timeout(r, 60);
    tcase_add_test(r, refuses_a_piece_beyond_the_limit);
    tcase_add_test(r, refuses_text_that_is_not_utf8_and_says_where);
    tcase_add_test(r, refuses_a_bos_that_is_no_token);
    tcase_add_test(r, refuses_what_it_does_not_know);
    tcase_add_test(r, refuses_unknown_tokens_only_where_a_byte_has_none);
    tcase_add_test(r, refuses_a_folder_without_tokenizer_json);
    tcase_add_test(r, gives_up_on_patterns_that_try_too_much);
    suite_add_tcase(s, r);
    return s;
}
