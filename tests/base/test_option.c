// SPDX-License-Identifier: Apache-2.0
#include <check.h>
#include <string.h>

#include "base/option.h"

Suite *suite_option(void);

typedef struct {
    const char *model, *output, *text;
    text_list files, rules, merge;
    int64_t threads, delta;
    uint64_t memory;
    int64_t duration;
    double ratio;
    int cpu;
    bool force, quiet;
} values;

typedef struct {
    bool help;
} shared;

static const char *const cpus[] = {"auto", "plain", "avx2", NULL};

static const option own[] = {
    {OPTION_ARG(values, model), .name = "input", .letter = 'i', .value = "MODEL",
     .required = true, .help = "what to read", .alias = {"model"}},
    {OPTION_ARGS(values, files), .value = "FILE", .help = "more to read"},
    {OPTION_TEXT(values, output), .name = "output", .letter = 'o', .value = "DIR",
     .help = "where to write", .alias = {"outfile"}},
    {OPTION_TEXT(values, text), .name = "text", .value = "FILE", .preset = "x.txt",
     .help = "a text with a long explanation that does not fit into one line of the help"},
    {OPTION_LIST(values, rules), .name = "tensor-type", .value = "RULE", .help = "rules"},
    {OPTION_WORDS(values, merge), .name = "merge", .value = "STATS", .help = "files to add up"},
    {OPTION_INT(values, threads), .name = "threads", .letter = 't', .value = "N", .preset = "0",
     .max = 4096, .help = "worker threads"},
    {OPTION_INT(values, delta), .name = "delta", .value = "N", .min = -5, .max = 5,
     .help = "a shift"},
    {OPTION_BYTES(values, memory), .name = "memory", .value = "SIZE", .preset = "2GiB",
     .min = 1 << 20, .help = "ceiling"},
    {OPTION_SECONDS(values, duration), .name = "duration", .value = "TIME", .min = 2,
     .help = "how long"},
    {OPTION_REAL(values, ratio), .name = "ratio", .value = "X", .low = 0, .high = 1,
     .preset = "0.5", .help = "a share"},
    {OPTION_CHOICE(values, cpu), .name = "cpu", .value = "LEVEL", .choices = cpus,
     .preset = "auto", .help = "instructions"},
    {OPTION_FLAG(values, force), .name = "force", .letter = 'f', .help = "replace",
     .alias = {"overwrite"}},
    {OPTION_FLAG(values, quiet), .name = "quiet", .letter = 'q', .help = "say less"},
};

static const option common[] = {
    {OPTION_FLAG(shared, help), .name = "help", .letter = 'h', .alone = true, .help = "this text"},
};

enum { MOST_WORDS = 24 };
static values v;
static shared c;
static const option_set sets[] = {{"Options", own, COUNT_OF(own), &v},
                                  {"Common options", common, COUNT_OF(common), &c}};

// Parses a line of words separated by single spaces; "''" is the empty word.
static bool parse(const char *line, err *e)
{
    static char text[512];
    char *argv[MOST_WORDS];
    int argc = 0;
    v = (values){0};
    c = (shared){0};
    ck_assert_uint_lt(strlen(line), sizeof text);
    memcpy(text, line, strlen(line) + 1);
    for (char *word = text; *word;) {
        char *end = word + strcspn(word, " ");
        bool last = !*end;
        *end = 0;
        argv[argc++] = strcmp(word, "''") == 0 ? end : word;
        word = last ? end : end + 1;
    }
    return options_parse(sets, COUNT_OF(sets), argc, argv, e);
}

static void accept(const char *line)
{
    err e = ERR_INIT;
    ck_assert_msg(parse(line, &e), "%s: %s", line, e.text);
}

START_TEST(sets_defaults_from_the_table)
{
    accept("m");
    ck_assert_str_eq(v.model, "m");
    ck_assert_ptr_null(v.output);
    ck_assert_str_eq(v.text, "x.txt");
    ck_assert_uint_eq(v.memory, (uint64_t)2 << 30);
    ck_assert_int_eq(v.duration, 0);
    ck_assert(v.ratio == 0.5);
    ck_assert_int_eq(v.cpu, 0);
    ck_assert(!v.force);
    options_free(sets, COUNT_OF(sets));
}
END_TEST

START_TEST(takes_all_spellings_of_a_value)
{
    static const char *const lines[] = {
        "m -o d -t 4 --tensor-type a --tensor-type=b -fq",
        "-od -t4 -f -q m --tensor_type a --tensor_type=b",
        "--output=d --threads=4 --overwrite --quiet --model m --tensor-type a --tensor-type b",
        "--outfile d --threads 4 --force --quiet -i m --tensor-type a --tensor-type b",
        "-q -f -o d -t 4 --tensor-type a --tensor-type b -- m"};
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        accept(lines[i]);
        ck_assert_str_eq(v.model, "m");
        ck_assert_str_eq(v.output, "d");
        ck_assert_int_eq(v.threads, 4);
        ck_assert(v.force && v.quiet);
        ck_assert_uint_eq(v.rules.n, 2);
        ck_assert_str_eq(v.rules.item[1], "b");
        options_free(sets, COUNT_OF(sets));
    }
}
END_TEST

START_TEST(takes_words_up_to_the_next_option)
{
    accept("--merge a b c -o d m");
    ck_assert_uint_eq(v.merge.n, 3);
    ck_assert_str_eq(v.merge.item[2], "c");
    ck_assert_str_eq(v.model, "m");
    options_free(sets, COUNT_OF(sets));
    accept("m --merge a b -- x");
    ck_assert_uint_eq(v.merge.n, 2);
    ck_assert_uint_eq(v.files.n, 1);
    options_free(sets, COUNT_OF(sets));
    accept("m --merge=a b --merge c");
    ck_assert_uint_eq(v.merge.n, 3);
    options_free(sets, COUNT_OF(sets));
}
END_TEST

START_TEST(gives_arguments_in_order_and_keeps_a_lone_dash)
{
    accept("m - --cpu AVX2 b --delta -5 -- -c --force");
    ck_assert_str_eq(v.model, "m");
    ck_assert_uint_eq(v.files.n, 4);
    ck_assert_str_eq(v.files.item[0], "-");
    ck_assert_str_eq(v.files.item[3], "--force");
    ck_assert_int_eq(v.cpu, 2);
    ck_assert_int_eq(v.delta, -5);
    ck_assert(!v.force);
    options_free(sets, COUNT_OF(sets));
}
END_TEST

START_TEST(stops_at_a_flag_that_stands_alone)
{
    accept("--threads 1 --help --nonsense");
    ck_assert(c.help);
    options_free(sets, COUNT_OF(sets));
}
END_TEST

static const struct {
    const char *line, *sentence;
} wrong[] = {
    {"", "argument MODEL is missing"},
    {"m --thread 2", "unknown option '--thread'; did you mean '--threads'?"},
    {"m --outfil=2", "unknown option '--outfil'; did you mean '--outfile'?"},
    {"m --tensor_typ", "unknown option '--tensor_typ'; did you mean '--tensor-type'?"},
    {"m --zzz", "unknown option '--zzz'"},
    {"m -x", "unknown option '-x'"},
    {"m -qx", "unknown option '-x'"},
    {"m -o", "option '--output' wants a value (DIR)"},
    {"m -o --force", "option '--output' wants a value (DIR)"},
    {"m --merge -f", "option '--merge' wants a value (STATS)"},
    {"m -o ''", "option '--output' is empty"},
    {"''", "argument MODEL is empty"},
    {"m -o a --outfile b", "option '--output' is given twice"},
    {"m --input b", "argument MODEL is given twice"},
    {"m --force=yes", "option '--force' takes no value"},
    {"m -t x", "option '--threads' wants a whole number from 0 to 4096, not 'x'"},
    {"m -t 4097", "option '--threads' wants a whole number from 0 to 4096, not '4097'"},
    {"m -t -1", "option '--threads' wants a whole number from 0 to 4096, not '-1'"},
    {"m -t 1.0", "option '--threads' wants a whole number from 0 to 4096, not '1.0'"},
    {"m --delta -6", "option '--delta' wants a whole number from -5 to 5, not '-6'"},
    {"m --delta --5", "option '--delta' wants a value (N)"},
    {"m --memory 2XB", "option '--memory' wants a size such as 512MiB or 2GiB, not '2XB'"},
    {"m --memory 1000", "option '--memory' wants at least 1.0 MB, not '1000'"},
    {"m --duration 1.5h", "option '--duration' wants a duration such as 90s, 1h30m or 1:30:00, not "
     "'1.5h'"},
    {"m --duration 1", "option '--duration' wants at least 2 seconds, not '1'"},
    {"m --ratio nan", "option '--ratio' wants a number from 0 to 1, not 'nan'"},
    {"m --ratio 0x1", "option '--ratio' wants a number from 0 to 1, not '0x1'"},
    {"m --ratio 1.5", "option '--ratio' wants a number from 0 to 1, not '1.5'"},
    {"m --ratio 1e", "option '--ratio' wants a number from 0 to 1, not '1e'"},
    {"m --cpu sse", "option '--cpu' wants auto, plain or avx2, not 'sse'"}};

START_TEST(refuses_with_a_sentence)
{
    err e = ERR_INIT;
    ck_assert_msg(!parse(wrong[_i].line, &e), "accepted: %s", wrong[_i].line);
    ck_assert_int_eq(e.kind, ERR_USAGE);
    ck_assert_str_eq(e.text, wrong[_i].sentence);
    options_free(sets, COUNT_OF(sets));
}
END_TEST

START_TEST(refuses_an_argument_too_many)
{
    err e = ERR_INIT;
    shared target = {0};
    option_set one = {"Common options", common, COUNT_OF(common), &target};
    char word[] = "m";
    char *argv[] = {word};
    ck_assert(!options_parse(&one, 1, 1, argv, &e));
    ck_assert_str_eq(e.text, "unexpected argument 'm'");
}
END_TEST

START_TEST(writes_help_from_the_table)
{
    strbuf out = {0};
    options_usage(sets, COUNT_OF(sets), &out);
    ck_assert_str_eq(out.text, "MODEL [FILE...] [options]");
    strbuf_clear(&out);
    options_help(sets, COUNT_OF(sets), &out);
    ck_assert_str_eq(out.text,
                     "\nArguments:\n"
                     "  MODEL                   what to read (also -i, --input, --model)\n"
                     "  FILE...                 more to read\n"
                     "\nOptions:\n"
                     "  -o, --output DIR        where to write (also --outfile)\n"
                     "      --text FILE         a text with a long explanation that does not fit "
                     "into\n                          one line of the help (default x.txt)\n"
                     "      --tensor-type RULE  rules (may be given several times)\n"
                     "      --merge STATS...    files to add up\n"
                     "  -t, --threads N         worker threads (default 0)\n"
                     "      --delta N           a shift\n"
                     "      --memory SIZE       ceiling (default 2GiB)\n"
                     "      --duration TIME     how long\n"
                     "      --ratio X           a share (default 0.5)\n"
                     "      --cpu LEVEL         instructions: auto, plain or avx2 (default auto)\n"
                     "  -f, --force             replace (also --overwrite)\n"
                     "  -q, --quiet             say less\n"
                     "\nCommon options:\n"
                     "  -h, --help              this text\n");
    strbuf_free(&out);
}
END_TEST

START_TEST(writes_markdown_from_the_table)
{
    strbuf out = {0};
    options_markdown(sets, 1, &out);
    ck_assert(str_starts(out.text, "\n## Arguments\n\n| argument | meaning |\n|---|---|\n"
                                   "| `MODEL` | what to read (also -i, --input, --model) |\n"));
    ck_assert(strstr(out.text, "| `-o, --output DIR` | where to write (also --outfile) |\n"));
    strbuf_free(&out);
}
END_TEST

Suite *suite_option(void)
{
    Suite *s = suite_create("option");
    TCase *t = tcase_create("parse");
    tcase_add_test(t, sets_defaults_from_the_table);
    tcase_add_test(t, takes_all_spellings_of_a_value);
    tcase_add_test(t, takes_words_up_to_the_next_option);
    tcase_add_test(t, gives_arguments_in_order_and_keeps_a_lone_dash);
    tcase_add_test(t, stops_at_a_flag_that_stands_alone);
    tcase_add_loop_test(t, refuses_with_a_sentence, 0, COUNT_OF(wrong));
    tcase_add_test(t, refuses_an_argument_too_many);
    suite_add_tcase(s, t);
    t = tcase_create("help");
    tcase_add_test(t, writes_help_from_the_table);
    tcase_add_test(t, writes_markdown_from_the_table);
    suite_add_tcase(s, t);
    return s;
}
