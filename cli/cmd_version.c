// SPDX-License-Identifier: Apache-2.0
// scruple version: what this program was built from and what it will use on this machine.
#include <stdio.h>

#include "base/cpu.h"
#include "base/json.h"
#include "base/libraries.h"
#include "base/version.h"
#include "cli/command.h"
#include "formats/normalize.h"

#if defined(__clang__)
static const char compiler[] = "clang " __clang_version__;
#else
static const char compiler[] = "gcc " __VERSION__;
#endif

#if defined(__x86_64__)
static const char machine[] = "x86_64";
#elif defined(__aarch64__)
static const char machine[] = "aarch64";
#else
static const char machine[] = "other";
#endif

static const struct {
    const char *name;
    const char *(*version)(char *buf);
} libraries[] = {{"cJSON", cjson_library},   {"libzip", libzip_library},
                 {"OpenSSL", openssl_library}, {"PCRE2", pcre2_library},
                 {"xxHash", xxhash_library},   {"zlib", zlib_library},
                 {"utf8proc", utf8proc_library}};

static const command_example examples[] = {
    {"For a bug report", "scruple version"},
    {"The version alone", "scruple version --json | jq -r .version"},
};

static void as_text(strbuf *out)
{
    strbuf_printf(out, "scruple %s\ncompiler   %s\nmachine    %s\n", SCRUPLE_VERSION, compiler,
                  machine);
    strbuf_printf(out, "cpu level  %s (this machine has:", cpu_name(cpu_used()));
    for (int level = 0; level < CPU_LEVELS; level++)
        if (cpu_has((cpu_level)level))
            strbuf_printf(out, " %s", cpu_name((cpu_level)level));
    strbuf_puts(out, ")\n");
    char buf[LIBRARY_VERSION];
    for (size_t i = 0; i < COUNT_OF(libraries); i++)
        strbuf_printf(out, "%-10s %s\n", libraries[i].name, libraries[i].version(buf));
}

static void as_json(strbuf *out)
{
    json_writer w = {.out = out, .indent = 2};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    jw_text(&w, "version", SCRUPLE_VERSION);
    jw_text(&w, "compiler", compiler);
    jw_text(&w, "machine", machine);
    jw_text(&w, "cpu_level", cpu_name(cpu_used()));
    jw_array(&w, "cpu_levels");
    for (int level = 0; level < CPU_LEVELS; level++)
        if (cpu_has((cpu_level)level))
            jw_text(&w, NULL, cpu_name((cpu_level)level));
    jw_array_end(&w);
    jw_object(&w, "libraries");
    char buf[LIBRARY_VERSION];
    for (size_t i = 0; i < COUNT_OF(libraries); i++)
        jw_text(&w, libraries[i].name, libraries[i].version(buf));
    jw_object_end(&w);
    jw_object_end(&w);
    strbuf_puts(out, "\n");
}

static bool run(const context *c, const void *options, err *e)
{
    strbuf text = {0};
    (void)options;
    (c->json ? as_json : as_text)(&text);
    bool ok = strbuf_ok(&text, e);
    if (ok)
        (void)fputs(text.text, stdout);
    strbuf_free(&text);
    return ok;
}

const command cmd_version = {
    .name = "version",
    .group = "self",
    .summary = "print version, compiler, CPU level and libraries",
    .about = "What this program was built from, and which instructions it will use on this\n"
             "machine. The results of the other commands depend on the version only: not on\n"
             "the compiler, the CPU level or the number of threads.",
    .example = examples,
    .n_examples = COUNT_OF(examples),
    .flags = COMMAND_JSON,
    .run = run,
};
