// SPDX-License-Identifier: Apache-2.0
// Recipes: ordered rules that say which type a weight gets. For each weight the first rule decides
// that has a pattern it fits; decide.h applies them to a model. Rules come from a recipe file
// (strict JSON) and from --tensor-type PATTERN=TYPE. Patterns: formats/selector.h; the file's form:
// docs/recipes.md. Refuses what it does not know: a key with a typing error decides nothing.
#ifndef SCRUPLE_CONVERT_RECIPE_H
#define SCRUPLE_CONVERT_RECIPE_H

#include "base/json.h"
#include "formats/selector.h"
#include "quantize/codec.h"

enum { RECIPE_MAX_BYTES = 8 << 20, RECIPE_MAX_PATTERNS = 100000, RECIPE_MAX_REGEXES = 1000 };

typedef struct {
    selector *pattern;        // a weight has to fit one of them
    int64_t n_patterns;
    const codec *codec;       // NULL: "keep", moved as it is
    const codec *fallback;    // NULL: the command line's, if any
    bool has_search, has_signs;
    codec_search search;      // where has_search
    bool positive_scales;     // where has_signs
    bool optional;            // may match nothing
    const char *file;         // NULL: of --tensor-type
    int64_t number;           // in the file, from 1
} recipe_rule;

// Zero-initialised is a valid one without rules.
typedef struct {
    recipe_rule *rule;
    int64_t n;
    uint64_t cap;
    int64_t n_patterns, n_regexes;
    arena texts;
} recipe;

// Appends the rules of a recipe. `name` is used in sentences and kept. After a failure (ERR_INPUT)
// the recipe holds rules up to the bad one and is good for recipe_free only.
MUST_USE bool recipe_parse(recipe *r, const char *text, size_t len, const char *name, err *e);
MUST_USE bool recipe_read(recipe *r, const char *path, err *e);
// Appends the rule of --tensor-type PATTERN=TYPE; the last '=' parts them. ERR_USAGE.
MUST_USE bool recipe_add_option(recipe *r, const char *text, err *e);
void recipe_free(recipe *r);
// The list of rules alone, as it stands in plan files: all that recipe_read_rules wants to have.
void recipe_write_rules(const recipe *r, json_writer *w, const char *key);
MUST_USE bool recipe_read_rules(recipe *r, const json *list, const char *name, err *e);

// "rule 3 of 'mix.json' (experts.down & layer<3)" or "--tensor-type experts.down=int4-g32"; returns
// buf.
enum { RECIPE_RULE_TEXT = 320 };
const char *recipe_rule_text(const recipe_rule *r, char buf[RECIPE_RULE_TEXT]);
const char *recipe_search_name(codec_search s); // "best"

// Writing a file: begin, one call a rule, end. Codec NULL is "keep"; search and signs are written
// where they decide anything.
void recipe_write_begin(json_writer *w, const char *comment);
void recipe_write_rule(json_writer *w, const char *pattern, const codec *c, codec_search search,
                       bool positive_scales);
void recipe_write_end(json_writer *w);

#endif
