// SPDX-License-Identifier: Apache-2.0
// A recipe; an input that does not begin as JSON does is the text of --tensor-type. What was read,
// written and read again is the same, and every pattern can be held against names.
#include <string.h>

#include "convert/recipe.h"
#include "tests/fuzz/fuzz.h"

static void check_pattern(const selector *s)
{
    static const char module[] = "model.layers.3.mlp.experts.5.down_proj";
    static const char stored[] = "model.layers.3.mlp.experts.5.down_proj.weight";
    static const selector_subject subjects[] = {
        {module, stored, true, ROLE_EXPERT_DOWN, 3, 5},
        {"lm_head.weight", "lm_head.weight", false, ROLE_COUNT, -1, -1},
    };
    err e = ERR_INIT;
    bool yes;
    FUZZ_CHECK(s->text && s->n_terms >= 1 && s->n_terms <= SELECTOR_MAX_TERMS);
    FUZZ_CHECK(!s->name || s->n_terms == 1);
    for (size_t i = 0; i < COUNT_OF(subjects); i++)
        if (!selector_matches(s, &subjects[i], &yes, &e))
            fuzz_refused(&e); // too many steps
}

static void write(const recipe *r, strbuf *out)
{
    json_writer w = {.out = out};
    jw_object(&w, NULL);
    jw_int(&w, "schema_version", 1);
    recipe_write_rules(r, &w, "rules");
    jw_object_end(&w);
}

static void check_round_trip(const recipe *r)
{
    err e = ERR_INIT;
    recipe again = {0};
    strbuf first = {0}, second = {0};
    write(r, &first);
    FUZZ_OK(strbuf_ok(&first, &e) && recipe_parse(&again, first.text, first.len, "y.json", &e),
            &e);
    FUZZ_CHECK(again.n == r->n && again.n_patterns == r->n_patterns);
    write(&again, &second);
    FUZZ_CHECK(first.len == second.len && memcmp(first.text, second.text, first.len) == 0);
    recipe_free(&again);
    strbuf_free(&first);
    strbuf_free(&second);
}

static void check(const recipe *r, bool of_file)
{
    char text[RECIPE_RULE_TEXT];
    for (int64_t i = 0; i < r->n; i++) {
        const recipe_rule *rule = &r->rule[i];
        FUZZ_CHECK(rule->n_patterns >= 1 && (rule->file != NULL) == of_file);
        FUZZ_CHECK(!of_file || rule->number == i + 1);
        FUZZ_CHECK(strlen(recipe_rule_text(rule, text)) > 0);
        for (int64_t k = 0; k < rule->n_patterns; k++)
            check_pattern(&rule->pattern[k]);
    }
    check_round_trip(r);
}

FUZZ_TARGET(recipe, 32 << 20)
{
    err e = ERR_INIT;
    recipe r = {0};
    arena a = {0};
    bool of_file = n == 0 || (bytes[0] && strchr("{[ \n\"", bytes[0]));
    bool ok;
    if (of_file) {
        ok = recipe_parse(&r, (const char *)bytes, n, "x.json", &e);
    } else {
        const char *text = arena_text(&a, (const char *)bytes, n, &e);
        ok = text && recipe_add_option(&r, text, &e);
    }
    if (ok) {
        fuzz_accept();
        check(&r, of_file);
    } else {
        fuzz_refused_or(&e, of_file ? ERR_INPUT : ERR_USAGE);
    }
    recipe_free(&r);
    arena_free(&a);
}
