// SPDX-License-Identifier: Apache-2.0
// Command lines: one table of options and arguments parses, makes --help and makes the page in
// docs/. Values go into the caller's struct; the table says where, and the OPTION_* words check at
// compile time that the field has the right type. Prints nothing and knows no command.
//
//     typedef struct { const char *model, *output; int64_t threads; text_list merge; } my_options;
//     static const option table[] = {
//         {OPTION_ARG(my_options, model), .value = "MODEL", .required = true, .help = "..."},
//         {OPTION_TEXT(my_options, output), .name = "output", .letter = 'o', .value = "DIR",
//          .help = "where to write"},
//         {OPTION_INT(my_options, threads), .name = "threads", .value = "N", .preset = "0",
//          .max = 4096, .help = "worker threads, 0 for all cores"},
//     };
//
// The grammar: --name VALUE, --name=VALUE, --some_name for --some-name, -o VALUE, -oVALUE, -qv for
// two flags, "--" ends the options, arguments may stand anywhere. No abbreviations, and a value
// given twice is refused: a script must mean tomorrow what it means today.
#ifndef SCRUPLE_BASE_OPTION_H
#define SCRUPLE_BASE_OPTION_H

#include "base/err.h"
#include "base/str.h"

typedef struct {
    const char **item; // the texts are borrowed from argv, the array is freed by options_free
    uint64_t n, cap;
} text_list;

typedef enum {
    OPTION_KIND_FLAG,   // bool: --name
    OPTION_KIND_TEXT,   // const char *: borrowed from argv; NULL where absent and without preset
    OPTION_KIND_INT,    // int64_t in [min, max]
    OPTION_KIND_BYTES,  // uint64_t >= min: 512MiB, 2G
    OPTION_KIND_SECONDS, // int64_t >= min: 90, 1h30m, 1:30:00
    OPTION_KIND_REAL,   // double, finite, in [low, high]
    OPTION_KIND_CHOICE, // int: index into choices, found without regard to case
    OPTION_KIND_LIST,   // text_list: --name A --name B
    OPTION_KIND_WORDS,  // text_list: --name A B C, up to the next option
    OPTION_KIND_ARG,    // const char *: a positional argument (also --name VALUE if it has a name)
    OPTION_KIND_ARGS    // text_list: all further positional arguments
} option_kind;

enum { OPTION_ALIASES = 6 };

typedef struct {
    option_kind kind;
    size_t at;            // offset of the field in the target struct
    const char *name;     // "output"; only arguments may have none
    char letter;          // 'o', or 0
    const char *value;    // how help calls the value: "DIR"; for arguments their name: "MODEL"
    const char *help;     // without full stop; defaults, choices and aliases are added to it
    const char *preset;   // the default, as a person would type it; NULL: zero
    const char *const *choices; // CHOICE: NULL-terminated
    int64_t min, max;     // INT, BYTES and SECONDS (min only); max 0 with min 0: no upper bound
    double low, high;     // REAL: both wanted
    bool required;
    bool alone;           // FLAG: ends parsing at once, nothing else is checked (--help)
    const char *alias[OPTION_ALIASES]; // other long names
} option;

#define OPTION_FIELD(word, type, T, field)                                                 \
    .kind = OPTION_KIND_##word,                                                            \
    .at = offsetof(T, field) + 0 * sizeof(_Generic(((T *)0)->field, type: 0))
#define OPTION_FLAG(T, field) OPTION_FIELD(FLAG, bool, T, field)
#define OPTION_TEXT(T, field) OPTION_FIELD(TEXT, const char *, T, field)
#define OPTION_INT(T, field) OPTION_FIELD(INT, int64_t, T, field)
#define OPTION_BYTES(T, field) OPTION_FIELD(BYTES, uint64_t, T, field)
#define OPTION_SECONDS(T, field) OPTION_FIELD(SECONDS, int64_t, T, field)
#define OPTION_REAL(T, field) OPTION_FIELD(REAL, double, T, field)
#define OPTION_CHOICE(T, field) OPTION_FIELD(CHOICE, int, T, field)
#define OPTION_LIST(T, field) OPTION_FIELD(LIST, text_list, T, field)
#define OPTION_WORDS(T, field) OPTION_FIELD(WORDS, text_list, T, field)
#define OPTION_ARG(T, field) OPTION_FIELD(ARG, const char *, T, field)
#define OPTION_ARGS(T, field) OPTION_FIELD(ARGS, text_list, T, field)

// A table and the zeroed struct it fills. A command line is parsed against several at once: the
// command's own and those it shares with others. Names and letters are unique over all of them.
typedef struct {
    const char *title; // heading in help: "Options"
    const option *row;
    size_t n;
    void *target;
} option_set;

// Sets presets, then parses argv[0 .. argc) (without program and command name). ERR_USAGE with one
// sentence. The targets are to be freed by options_free in any case.
MUST_USE bool options_parse(const option_set *sets, size_t n_sets, int argc, char *const *argv,
                            err *e);
void options_free(const option_set *sets, size_t n_sets);

// "MODEL [FILE...] --type TYPE [options]": what the usage line says behind the command's name.
void options_usage(const option_set *sets, size_t n_sets, strbuf *out);
// Arguments and options as aligned text, lines of at most 80 columns.
void options_help(const option_set *sets, size_t n_sets, strbuf *out);
// The same as Markdown tables.
void options_markdown(const option_set *sets, size_t n_sets, strbuf *out);

#endif
