// SPDX-License-Identifier: Apache-2.0
// Every row of the command table is held to its promises: names, defaults, examples, docs.
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/file.h"
#include "base/mem.h"
#include "cli/help.h"
#include "cli/shared.h"

Suite *suite_commands(void);

static option_set sets[SHARED_SETS];
static shared_options shared;
static void *own;
static size_t n_sets;

// The sets of command `i`, their targets zeroed.
static const command *take(int i)
{
    err e = ERR_INIT;
    const command *c = commands[i];
    shared = (shared_options){0};
    own = mem_new(1, c->options_size, "options", &e);
    ck_assert_ptr_nonnull(own);
    n_sets = shared_sets(c, own, &shared, sets);
    return c;
}

static void put_back(void)
{
    options_free(sets, n_sets);
    free(own);
}

static void check_name(const char *name, char names[][64], size_t *n)
{
    for (const char *p = name; *p; p++)
        ck_assert_msg(islower((unsigned char)*p) || isdigit((unsigned char)*p) || *p == '-',
                      "'%s' is no option name", name);
    for (size_t i = 0; i < *n; i++)
        ck_assert_msg(strcmp(names[i], name) != 0, "'%s' means two things", name);
    ck_assert_uint_lt(*n, 200);
    ck_assert_uint_lt(strlen(name), 64);
    memcpy(names[(*n)++], name, strlen(name) + 1);
}

static void check_row(const option *o)
{
    bool argument = o->kind == OPTION_KIND_ARG || o->kind == OPTION_KIND_ARGS;
    ck_assert(argument || o->name);
    ck_assert_msg(o->help && *o->help && o->help[strlen(o->help) - 1] != '.', "help of %s",
                  o->name);
    ck_assert_msg((o->kind == OPTION_KIND_FLAG) == !o->value, "value of %s", o->name);
    ck_assert_msg((o->kind == OPTION_KIND_CHOICE) == !!o->choices, "choices of %s", o->name);
    ck_assert_msg(o->kind != OPTION_KIND_REAL || o->low < o->high, "range of %s", o->name);
}

START_TEST(names_and_letters_mean_one_thing)
{
    static char names[200][64];
    char letters[128] = {0};
    size_t n = 0;
    const command *c = take(_i);
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++) {
            const option *o = &sets[s].row[i];
            check_row(o);
            if (o->name)
                check_name(o->name, names, &n);
            for (size_t k = 0; k < OPTION_ALIASES && o->alias[k]; k++)
                check_name(o->alias[k], names, &n);
            if (o->letter) {
                ck_assert_msg(!strchr(letters, o->letter), "%s: -%c twice", c->name, o->letter);
                letters[strlen(letters)] = o->letter;
            }
        }
    put_back();
}
END_TEST

START_TEST(a_command_says_what_it_is)
{
    const command *c = commands[_i];
    ck_assert_ptr_eq(command_find(c->name), c);
    ck_assert(c->summary[strlen(c->summary) - 1] != '.');
    ck_assert_uint_lt(strlen(c->summary), 68);
    for (const char *line = c->about; *line;) {
        size_t n = strcspn(line, "\n");
        ck_assert_msg(n <= 80, "%s: a line of help has %zu columns", c->name, n);
        line += n + (line[n] == '\n');
    }
    ck_assert(c->about[strlen(c->about) - 1] != '\n');
    ck_assert_uint_gt(c->n_examples, 0);
    strbuf text = {0};
    help_overview(&text);
    ck_assert_msg(strstr(text.text, c->summary), "group of %s", c->name);
    strbuf_free(&text);
}
END_TEST

// Words up to a pipe or a redirection, without quotes.
static int split(char *line, char *argv[], int most)
{
    int argc = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        if (strcmp(word, "|") == 0 || strcmp(word, ">") == 0 || strcmp(word, "&&") == 0)
            break;
        ck_assert_int_lt(argc, most);
        argv[argc++] = word;
    }
    return argc;
}

START_TEST(examples_in_help_parse)
{
    const command *c = commands[_i];
    for (size_t i = 0; i < c->n_examples; i++) {
        char line[256], *argv[32];
        err e = ERR_INIT;
        ck_assert_uint_lt(strlen(c->example[i].line), sizeof line);
        memcpy(line, c->example[i].line, strlen(c->example[i].line) + 1);
        int argc = split(line, argv, 32);
        ck_assert_str_eq(argv[0], "scruple");
        ck_assert_str_eq(argv[1], c->name);
        take(_i);
        ck_assert_msg(options_parse(sets, n_sets, argc - 2, argv + 2, &e), "%s: %s",
                      c->example[i].line, e.text);
        put_back();
    }
}
END_TEST

static void same_as_page(const char *name, const strbuf *made)
{
    err e = ERR_INIT;
    char path[128], *text;
    size_t len;
    (void)snprintf(path, sizeof path, "docs/commands/%s.md", name);
    ck_assert_msg(file_read_all(path, 1 << 20, &text, &len, &e), "%s (make docs)", e.text);
    ck_assert_msg(strcmp(text, made->text) == 0, "%s differs from the tables: make docs", path);
    free(text);
}

START_TEST(docs_pages_are_what_the_tables_say)
{
    strbuf text = {0};
    help_command_markdown(commands[_i], &text);
    same_as_page(commands[_i]->name, &text);
    strbuf_free(&text);
}
END_TEST

START_TEST(docs_have_an_overview_and_no_page_too_many)
{
    err e = ERR_INIT;
    strbuf text = {0};
    help_overview_markdown(&text);
    same_as_page("README", &text);
    strbuf_free(&text);
    dir_entry *entry;
    int64_t n;
    ck_assert_msg(dir_list("docs/commands", &entry, &n, &e), "%s", e.text);
    ck_assert_int_eq(n, (int64_t)n_commands + 1);
    dir_list_free(entry, n);
}
END_TEST

START_TEST(usage_lines_name_only_what_the_table_has)
{
    const command *c = take(_i);
    strbuf names = {0};
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++)
            if (sets[s].row[i].name)
                strbuf_printf(&names, " --%s ", sets[s].row[i].name);
    for (const char *at = c->usage ? strstr(c->usage, "--") : NULL; at; at = strstr(at, "--")) {
        char name[70];
        (void)snprintf(name, sizeof name, " %.*s ", (int)strspn(at, "-abcdefghijklmnopqrstuvwxyz"),
                       at);
        ck_assert_msg(strstr(names.text, name), "%s: usage has%s", c->name, name);
        at += 2;
    }
    strbuf_free(&names);
    put_back();
}
END_TEST

START_TEST(cpu_choices_are_the_levels)
{
    take(0);
    const option *cpu = NULL;
    for (size_t s = 0; s < n_sets; s++)
        for (size_t i = 0; i < sets[s].n; i++)
            if (sets[s].row[i].name && strcmp(sets[s].row[i].name, "cpu") == 0)
                cpu = &sets[s].row[i];
    ck_assert_ptr_nonnull(cpu);
    for (int level = 0; level < CPU_LEVELS; level++)
        ck_assert_str_eq(cpu->choices[level + 1], cpu_name((cpu_level)level));
    ck_assert_ptr_null(cpu->choices[CPU_LEVELS + 1]);
    put_back();
}
END_TEST

Suite *suite_commands(void)
{
    Suite *s = suite_create("commands");
    TCase *c = tcase_create("each");
    int n = (int)n_commands;
    tcase_add_loop_test(c, names_and_letters_mean_one_thing, 0, n);
    tcase_add_loop_test(c, a_command_says_what_it_is, 0, n);
    tcase_add_loop_test(c, examples_in_help_parse, 0, n);
    tcase_add_loop_test(c, usage_lines_name_only_what_the_table_has, 0, n);
    tcase_add_loop_test(c, docs_pages_are_what_the_tables_say, 0, n);
    suite_add_tcase(s, c);
    c = tcase_create("all");
    tcase_add_test(c, docs_have_an_overview_and_no_page_too_many);
    tcase_add_test(c, cpu_choices_are_the_levels);
    suite_add_tcase(s, c);
    return s;
}
