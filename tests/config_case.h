// SPDX-License-Identifier: Apache-2.0
// The frame of tests of config.json: a tiny model, a plan for it, the edited text and what it
// says. Failures end the test.
#ifndef SCRUPLE_TESTS_CONFIG_CASE_H
#define SCRUPLE_TESTS_CONFIG_CASE_H

#include "base/json.h"
#include "convert/config_edit.h"
#include "tests/tiny_model.h"

typedef struct {
    tiny t;
    checkpoint *source;
    model *bound;
    plan p;
    strbuf out; // the text as edited
    json *root; // the same, parsed
} config_case;

extern config_case edited; // the one of the running test
extern const tiny_shape config_shape;

void config_set_up(void);
void config_tear_down(void);
void config_use_qwen3(void);           // writes the model and opens it
void config_open(const char *config);  // edited.t, with this config.json
// Types by name; NULL: the source's own, and no type to fall back on.
void config_plan(const char *type, plan_scope scope, const char *fallback);
void config_ruled_plan(const char *const *rule, size_t n);
bool config_try(const char *config, err *why); // sets out only
void config_edits(const char *config);          // sets out and root

// What stands under a path of names, "a.b.c".
const json *config_at(const char *path); // NULL: nothing
const char *config_text(const char *path);
int64_t config_number(const char *path);
// The strings of a list, one behind the other.
void config_list_is(const char *path, const char *const *expected, int64_t n);

#endif
