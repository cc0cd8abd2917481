// SPDX-License-Identifier: Apache-2.0
#include "convert/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

static const char *const searches[] = {[SEARCH_BEST] = "best", [SEARCH_COMPAT] = "compat"};
static const char keep[] = "keep";

const char *recipe_search_name(codec_search s) { return searches[s]; }

const char *recipe_rule_text(const recipe_rule *r, char buf[RECIPE_RULE_TEXT])
{
    char pattern[STR_SHORT], file[STR_SHORT];
    const char *first = str_short(r->n_patterns ? r->pattern[0].text : "", pattern);
    if (!r->file)
        (void)snprintf(buf, RECIPE_RULE_TEXT, "--tensor-type %s=%s", first,
                       r->codec ? r->codec->name : keep);
    else
        (void)snprintf(buf, RECIPE_RULE_TEXT, "rule %lld of '%s' (%s%s)", (long long)r->number,
                       str_short(r->file, file), first, r->n_patterns > 1 ? ", ..." : "");
    return buf;
}

// ---- rules -----------------------------------------------------------------------------------

static recipe_rule *new_rule(recipe *r, err *e)
{
    if (!mem_grow((void **)&r->rule, &r->cap, (uint64_t)r->n + 1, sizeof *r->rule, "rules", e))
        return NULL;
    recipe_rule *rule = &r->rule[r->n++];
    *rule = (recipe_rule){0};
    return rule;
}

static bool add_pattern(recipe *r, recipe_rule *rule, const char *text, err *e)
{
    if (++r->n_patterns > RECIPE_MAX_PATTERNS)
        return err_set(e, ERR_INPUT, "more than %d patterns", RECIPE_MAX_PATTERNS);
    // A pattern can hold several; each costs compiled code.
    for (const char *p = strstr(text, "re:"); p; p = strstr(p + 1, "re:"))
        if (++r->n_regexes > RECIPE_MAX_REGEXES)
            return err_set(e, ERR_INPUT, "more than %d regular expressions", RECIPE_MAX_REGEXES);
    if (!selector_parse(&rule->pattern[rule->n_patterns], text, &r->texts, e))
        return false;
    rule->n_patterns++;
    return true;
}

static bool room_for_patterns(recipe_rule *rule, uint64_t n, err *e)
{
    rule->pattern = mem_new(n, sizeof *rule->pattern, "patterns", e);
    return rule->pattern != NULL;
}

static bool type_from_user(const char *text, const codec **out, err *e)
{
    *out = NULL;
    return str_same_nocase(text, keep) || codec_from_user(text, out, e);
}

// ---- --tensor-type ---------------------------------------------------------------------------

static bool read_option(recipe *r, recipe_rule *rule, const char *text, err *e)
{
    const char *equals = strrchr(text, '=');
    if (!equals || !equals[1] || equals == text)
        return err_set(e, ERR_USAGE, "PATTERN=TYPE is wanted, as in experts.down=int4-g32");
    // Names of tensors are UTF-8, and so is the recipe in the output that repeats the pattern.
    if (!utf8_is_valid(text, strlen(text)))
        return err_set(e, ERR_USAGE, "it is not UTF-8");
    char *pattern = arena_text(&r->texts, text, (size_t)(equals - text), e);
    return pattern && room_for_patterns(rule, 1, e) && add_pattern(r, rule, pattern, e) &&
           type_from_user(equals + 1 + strspn(equals + 1, " "), &rule->codec, e);
}

bool recipe_add_option(recipe *r, const char *text, err *e)
{
    char s[STR_SHORT];
    recipe_rule *rule = new_rule(r, e);
    if (!rule)
        return false;
    if (read_option(r, rule, text, e))
        return true;
    if (e->kind == ERR_INPUT)
        e->kind = ERR_USAGE;
    return err_in(e, "--tensor-type '%s'", str_short(text, s));
}

// ---- recipe files ----------------------------------------------------------------------------

static bool unknown_key(const char *key, const char *const *known, size_t n, err *e)
{
    char s[STR_SHORT];
    const char *near = str_nearest(key, known, n);
    return err_set(e, ERR_INPUT, "no key is called '%s'%s%s%s", str_short(key, s),
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static bool read_text(const json *j, const char **out, err *e)
{
    *out = json_as_text(j);
    return *out || err_set(e, ERR_INPUT, "'%s' must be a text", json_key(j));
}

static bool read_bool(const json *j, bool *out, err *e)
{
    return json_as_bool(j, out) ||
           err_set(e, ERR_INPUT, "'%s' must be true or false", json_key(j));
}

static bool read_type(const json *j, const codec **out, err *e)
{
    const char *text;
    if (!read_text(j, &text, e))
        return false;
    if (type_from_user(text, out, e))
        return true;
    e->kind = ERR_INPUT;
    return err_in(e, "'%s'", json_key(j));
}

static bool read_match(recipe *r, recipe_rule *rule, const json *j, err *e)
{
    const char *one = json_as_text(j);
    if (one)
        return room_for_patterns(rule, 1, e) && add_pattern(r, rule, one, e);
    if (json_type(j) != JSON_ARRAY || json_len(j) == 0)
        return err_set(e, ERR_INPUT, "'match' must be a pattern or a list of patterns");
    if (!room_for_patterns(rule, (uint64_t)json_len(j), e))
        return false;
    for (const json *p = json_first(j); p; p = json_next(p)) {
        const char *text = json_as_text(p);
        if (!text)
            return err_set(e, ERR_INPUT, "'match' must hold patterns only");
        if (!add_pattern(r, rule, text, e))
            return false;
    }
    return true;
}

static bool read_search(recipe_rule *rule, const json *j, err *e)
{
    char s[STR_SHORT];
    const char *text;
    if (!read_text(j, &text, e))
        return false;
    rule->has_search = true;
    for (size_t i = 0; i < COUNT_OF(searches); i++) {
        if (strcmp(text, searches[i]) == 0) {
            rule->search = (codec_search)i;
            return true;
        }
    }
    return err_set(e, ERR_INPUT, "'search' is 'best' or 'compat', not '%s'", str_short(text, s));
}

typedef enum { KEY_MATCH, KEY_TYPE, KEY_SEARCH, KEY_SIGNS, KEY_FALLBACK, KEY_OPTIONAL,
               KEY_COMMENT, KEY_COUNT } rule_key;

static const char *const rule_keys[KEY_COUNT] = {"match", "type", "search", "positive_scales",
                                                 "fallback", "optional", "comment"};

static bool read_rule_member(recipe *r, recipe_rule *rule, const json *j, bool seen[KEY_COUNT],
                             err *e)
{
    const char *ignored;
    int k = 0;
    while (k < KEY_COUNT && strcmp(json_key(j), rule_keys[k]) != 0)
        k++;
    if (k == KEY_COUNT)
        return unknown_key(json_key(j), rule_keys, KEY_COUNT, e);
    seen[k] = true;
    switch ((rule_key)k) {
    case KEY_MATCH: return read_match(r, rule, j, e);
    case KEY_TYPE: return read_type(j, &rule->codec, e);
    case KEY_SEARCH: return read_search(rule, j, e);
    case KEY_SIGNS:
        rule->has_signs = true;
        return read_bool(j, &rule->positive_scales, e);
    case KEY_FALLBACK: return read_type(j, &rule->fallback, e);
    case KEY_OPTIONAL: return read_bool(j, &rule->optional, e);
    case KEY_COMMENT: return read_text(j, &ignored, e);
    case KEY_COUNT: break;
    }
    return true;
}

// What a rule says must have an effect: a setting that its type has no use for is a mistake.
static bool check_rule(const recipe_rule *rule, const bool seen[KEY_COUNT], err *e)
{
    const char *type = rule->codec ? rule->codec->name : keep;
    for (int k = KEY_MATCH; k <= KEY_TYPE; k++)
        if (!seen[k])
            return err_set(e, ERR_INPUT, "'%s' is missing", rule_keys[k]);
    for (int k = KEY_SEARCH; k <= KEY_SIGNS; k++)
        if (seen[k] && !(rule->codec && codec_is_searched(rule->codec)))
            return err_set(e, ERR_INPUT, "'%s' has no effect with type '%s'", rule_keys[k], type);
    if (seen[KEY_FALLBACK] && !rule->fallback)
        return err_set(e, ERR_INPUT, "'fallback' must be a type");
    if (seen[KEY_FALLBACK] && (!rule->codec || codec_divides(rule->codec, 1)))
        return err_set(e, ERR_INPUT, "'fallback' has no effect with type '%s', which any number of "
                       "columns suits", type);
    return true;
}

static bool read_rule(recipe *r, const json *j, err *e)
{
    bool seen[KEY_COUNT] = {false};
    recipe_rule *rule = new_rule(r, e);
    if (!rule)
        return false;
    if (json_type(j) != JSON_OBJECT)
        return err_set(e, ERR_INPUT, "a rule is a JSON object");
    for (const json *m = json_first(j); m; m = json_next(m))
        if (!read_rule_member(r, rule, m, seen, e))
            return false;
    return check_rule(rule, seen, e);
}

static bool read_rules(recipe *r, const json *list, const char *file, err *e)
{
    int64_t number = 0;
    if (json_type(list) != JSON_ARRAY)
        return err_set(e, ERR_INPUT, "'rules' must be a list");
    for (const json *j = json_first(list); j; j = json_next(j)) {
        if (!read_rule(r, j, e))
            return err_in(e, "rule %lld", (long long)number + 1);
        r->rule[r->n - 1].file = file;
        r->rule[r->n - 1].number = ++number;
    }
    return true;
}

static bool read_root(recipe *r, const json *root, const char *file, err *e)
{
    static const char *const keys[] = {"schema_version", "comment", "rules"};
    const char *ignored;
    const json *version = NULL, *rules = NULL;
    int64_t n;
    if (json_type(root) != JSON_OBJECT)
        return err_set(e, ERR_INPUT, "a recipe is one JSON object");
    for (const json *m = json_first(root); m; m = json_next(m)) {
        if (strcmp(json_key(m), keys[0]) == 0)
            version = m;
        else if (strcmp(json_key(m), keys[2]) == 0)
            rules = m;
        else if (strcmp(json_key(m), keys[1]) != 0)
            return unknown_key(json_key(m), keys, COUNT_OF(keys), e);
        else if (!read_text(m, &ignored, e))
            return false;
    }
    if (!version || !json_as_int(version, &n) || n != 1)
        return err_set(e, ERR_INPUT, "'schema_version' must be there and be 1");
    if (!rules)
        return err_set(e, ERR_INPUT, "'rules' is missing");
    return read_rules(r, rules, file, e);
}

bool recipe_read_rules(recipe *r, const json *list, const char *name, err *e)
{
    const char *file = arena_text(&r->texts, name, strlen(name), e);
    return file && read_rules(r, list, file, e);
}

bool recipe_parse(recipe *r, const char *text, size_t len, const char *name, err *e)
{
    json *root = NULL;
    char s[STR_SHORT];
    if (len > RECIPE_MAX_BYTES)
        return err_set(e, ERR_INPUT, "recipe '%s' has %zu bytes, the limit is %d",
                       str_short(name, s), len, RECIPE_MAX_BYTES);
    const char *file = arena_text(&r->texts, name, strlen(name), e);
    bool ok = file && json_parse(&root, text, len, name, e);
    if (ok && !read_root(r, root, file, e))
        ok = err_in(e, "recipe '%s'", str_short(name, s));
    json_free(root);
    return ok;
}

bool recipe_read(recipe *r, const char *path, err *e)
{
    char *text = NULL;
    size_t len = 0;
    bool ok = file_read_all(path, RECIPE_MAX_BYTES, &text, &len, e) &&
              recipe_parse(r, text, len, path, e);
    free(text);
    return ok;
}

void recipe_free(recipe *r)
{
    for (int64_t i = 0; i < r->n; i++) {
        for (int64_t k = 0; k < r->rule[i].n_patterns; k++)
            selector_free(&r->rule[i].pattern[k]);
        free(r->rule[i].pattern);
    }
    free(r->rule);
    arena_free(&r->texts);
    *r = (recipe){0};
}

// ---- writing ---------------------------------------------------------------------------------

static void write_whole_rule(const recipe_rule *r, json_writer *w)
{
    jw_object(w, NULL);
    jw_array(w, "match");
    for (int64_t i = 0; i < r->n_patterns; i++)
        jw_text(w, NULL, r->pattern[i].text);
    jw_array_end(w);
    jw_text(w, "type", r->codec ? r->codec->name : keep);
    if (r->has_search)
        jw_text(w, "search", searches[r->search]);
    if (r->has_signs)
        jw_bool(w, "positive_scales", r->positive_scales);
    if (r->fallback)
        jw_text(w, "fallback", r->fallback->name);
    if (r->optional)
        jw_bool(w, "optional", true);
    jw_object_end(w);
}

void recipe_write_rules(const recipe *r, json_writer *w, const char *key)
{
    jw_array(w, key);
    for (int64_t i = 0; i < r->n; i++)
        write_whole_rule(&r->rule[i], w);
    jw_array_end(w);
}

void recipe_write_begin(json_writer *w, const char *comment)
{
    jw_object(w, NULL);
    jw_int(w, "schema_version", 1);
    jw_text(w, "comment", comment);
    jw_array(w, "rules");
}

// A line a rule, so that two recipes can be compared by line.
void recipe_write_rule(json_writer *w, const char *pattern, const codec *c, codec_search search,
                       bool positive_scales)
{
    strbuf line = {0};
    json_writer one = {.out = &line};
    jw_object(&one, NULL);
    jw_text(&one, "match", pattern);
    jw_text(&one, "type", c ? c->name : keep);
    if (c && codec_is_searched(c)) {
        jw_text(&one, "search", searches[search]);
        jw_bool(&one, "positive_scales", positive_scales);
    }
    jw_object_end(&one);
    w->out->failed = w->out->failed || line.failed;
    if (!line.failed)
        jw_raw(w, NULL, line.text);
    strbuf_free(&line);
}

void recipe_write_end(json_writer *w)
{
    jw_array_end(w);
    jw_object_end(w);
    strbuf_puts(w->out, "\n");
}
