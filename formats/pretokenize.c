// SPDX-License-Identifier: Apache-2.0
#include "formats/pretokenize.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pattern.h"
#include "base/utf8.h"
#include "formats/onig.h"
#include "formats/tokjson.h"

enum { MAX_STEPS = 16 };

typedef enum {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_WITH_PREVIOUS,
    SPLIT_MERGED_WITH_NEXT,
    SPLIT_CONTIGUOUS
} behavior;

typedef struct {
    pattern *find;
    behavior behavior;
    bool invert;
} step;

struct pretokenizer {
    step step[MAX_STEPS];
    int n_steps;
    bool bytes;        // ByteLevel was there
    bool prefix_space; // its add_prefix_space
    int prefix_at;     // the step in front of which the space is added
    strbuf prefixed;
};

// GPT-2's pattern, which ByteLevel brings along.
static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static bool too_many_steps(err *e)
{
    return err_set(e, ERR_INPUT, "pre_tokenizer: more than %d steps", MAX_STEPS);
}

static bool add_step(pretokenizer *p, const strbuf *regex, behavior b, bool invert, err *e)
{
    if (p->n_steps == MAX_STEPS)
        return too_many_steps(e);
    step *s = &p->step[p->n_steps];
    if (!strbuf_ok(regex, e) || !pattern_open(&s->find, regex->text, e))
        return false;
    s->behavior = b;
    s->invert = invert;
    p->n_steps++;
    return true;
}

static bool add_regex(pretokenizer *p, const char *regex, behavior b, bool invert, err *e)
{
    strbuf translated = {0};
    if (p->n_steps == MAX_STEPS)
        return too_many_steps(e);
    bool known = onig_translate(regex, &translated, e);
    bool ok = known && add_step(p, &translated, b, invert, e);
    strbuf_free(&translated);
    // PCRE2's own sentence would show the translation, which nobody has written.
    char name[STR_SHORT];
    if (known && !ok && e->kind == ERR_INPUT)
        err_set(e, ERR_INPUT, "pre_tokenizer: the pattern '%s' is too large or looks behind by a "
                "variable length, which is not supported", str_short(regex, name));
    return ok;
}

static bool read_behavior(const json *j, behavior *out, err *e)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name;
    if (!tokjson_text(j, "behavior", "pre_tokenizer Split", &name, e))
        return false;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (behavior)i;
            return true;
        }
    }
    return err_set(e, ERR_INPUT, "pre_tokenizer Split: behavior '%s' is unknown", name);
}

static bool read_split(pretokenizer *p, const json *j, err *e)
{
    static const char *const known[] = {"pattern", "behavior", "invert", NULL};
    behavior b = SPLIT_ISOLATED;
    bool invert;
    if (!tokjson_only(j, known, "pre_tokenizer Split", e) || !read_behavior(j, &b, e) ||
        !tokjson_flag(j, "invert", "pre_tokenizer Split", &invert, e))
        return false;
    const json *what = json_first(json_get(j, "pattern"));
    const char *text = what ? json_as_text(what) : NULL;
    if (!text || json_next(what) || !json_key(what))
        return err_set(e, ERR_INPUT, "pre_tokenizer Split: 'pattern' must hold one text");
    if (strcmp(json_key(what), "Regex") == 0)
        return add_regex(p, text, b, invert, e);
    if (strcmp(json_key(what), "String") != 0)
        return err_set(e, ERR_INPUT, "pre_tokenizer Split: a pattern of kind '%s' is unknown",
                       json_key(what));
    strbuf literal = {0};
    bool ok = onig_literal(text, &literal, e) && add_step(p, &literal, b, invert, e);
    strbuf_free(&literal);
    return ok;
}

// The package asks Rust here, not Oniguruma: numeric characters of Unicode 17.
static bool read_digits(pretokenizer *p, const json *j, err *e)
{
    static const char *const known[] = {"individual_digits", NULL};
    bool single;
    if (!tokjson_only(j, known, "pre_tokenizer Digits", e) ||
        !tokjson_flag(j, "individual_digits", "pre_tokenizer Digits", &single, e))
        return false;
    strbuf regex = {0};
    strbuf_puts(&regex, "[");
    (void)onig_property("N", &regex);
    strbuf_puts(&regex, "\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]");
    bool ok = add_step(p, &regex, single ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, false, e);
    strbuf_free(&regex);
    return ok;
}

static bool read_byte_level(pretokenizer *p, const json *j, err *e)
{
    static const char *const known[] = {"add_prefix_space", "trim_offsets", "use_regex", NULL};
    const char part[] = "pre_tokenizer ByteLevel";
    bool offsets, use_regex = true; // the package's default
    if (!tokjson_only(j, known, part, e) ||
        !tokjson_flag(j, "add_prefix_space", part, &p->prefix_space, e) ||
        !tokjson_flag(j, "trim_offsets", part, &offsets, e) ||
        (json_get(j, "use_regex") && !tokjson_flag(j, "use_regex", part, &use_regex, e)))
        return false;
    p->bytes = true;
    p->prefix_at = p->n_steps;
    return !use_regex || add_regex(p, gpt2, SPLIT_ISOLATED, false, e);
}

static bool read_part(pretokenizer *p, const json *j, err *e)
{
    const char *type;
    if (p->bytes)
        return err_set(e, ERR_INPUT, "pre_tokenizer: something follows ByteLevel, which is not "
                                     "supported");
    if (!tokjson_text(j, "type", "pre_tokenizer", &type, e))
        return false;
    if (strcmp(type, "Split") == 0)
        return read_split(p, j, e);
    if (strcmp(type, "Digits") == 0)
        return read_digits(p, j, e);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(p, j, e);
    if (strcmp(type, "Sequence") != 0)
        return err_set(e, ERR_INPUT, "pre_tokenizer '%s' is not supported (known: Sequence, Split, "
                       "Digits, ByteLevel)", type);
    static const char *const known[] = {"pretokenizers", NULL};
    const json *list = json_get(j, "pretokenizers");
    if (!tokjson_only(j, known, "pre_tokenizer Sequence", e))
        return false;
    if (!list || json_type(list) != JSON_ARRAY)
        return err_set(e, ERR_INPUT, "pre_tokenizer Sequence: 'pretokenizers' must be a list");
    for (const json *m = json_first(list); m; m = json_next(m))
        if (!read_part(p, m, e))
            return false;
    return true;
}

bool pretokenizer_open(pretokenizer **out, const json *part, err *e)
{
    *out = NULL;
    pretokenizer *p = mem_new(1, sizeof *p, "a pre-tokenizer", e);
    if (!p)
        return false;
    bool ok = !part || json_type(part) == JSON_NULL || read_part(p, part, e);
    if (ok && !p->bytes)
        ok = err_set(e, ERR_INPUT, "pre_tokenizer: no ByteLevel; only byte-level tokenizers are "
                                   "supported");
    if (!ok) {
        pretokenizer_close(p);
        return false;
    }
    *out = p;
    return true;
}

void pretokenizer_close(pretokenizer *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n_steps; i++)
        pattern_close(p->step[i].find);
    strbuf_free(&p->prefixed);
    free(p);
}

typedef struct {
    pretokenizer *p;
    piece_fn *take;
    void *to;
    err *e;
} run;

// What one step has cut so far of one text: the piece that a neighbour may still be merged into.
typedef struct {
    int step;
    const char *text;
    size_t begin, end;
    bool have, matched; // matched: the last part of the pending piece was a match
} cutter;

static bool cut(const run *r, int s, const char *text, size_t len);

static bool flush(const run *r, const cutter *c)
{
    return !c->have || c->begin == c->end ||
           cut(r, c->step + 1, c->text + c->begin, c->end - c->begin);
}

// The next part of the text, in order: a match of the step's pattern or what lies between two.
static bool add_part(const run *r, cutter *c, size_t begin, size_t end, bool match)
{
    const step *s = &r->p->step[c->step];
    match = match != s->invert;
    if (s->behavior == SPLIT_REMOVED && match)
        return true;
    bool merge = false;
    switch (s->behavior) {
    case SPLIT_MERGED_WITH_PREVIOUS:
        merge = match && !c->matched;
        break;
    case SPLIT_MERGED_WITH_NEXT:
        merge = !match && c->matched;
        break;
    case SPLIT_CONTIGUOUS:
        merge = match == c->matched;
        break;
    default:
        break;
    }
    bool ok = true;
    if (!merge || !c->have) {
        ok = flush(r, c);
        c->begin = begin;
    }
    c->end = end;
    c->have = true;
    c->matched = match;
    return ok;
}

// Bytes of the character at text[at]; text is valid UTF-8.
static size_t char_len(const char *text, size_t len, size_t at)
{
    uint32_t code;
    int n = utf8_decode(text + at, len - at, &code);
    return n > 0 ? (size_t)n : 1;
}

// All matches in order, as the package finds them: an empty match directly behind a match does not
// count, and the search goes on one character later.
static bool cut_step(const run *r, int number, const char *text, size_t len)
{
    cutter c = {.step = number, .text = text};
    size_t from = 0, done = 0;
    bool matched_before = false;
    while (from <= len) {
        bool found;
        size_t begin, end;
        if (!pattern_find(r->p->step[number].find, text, len, from, &found, &begin, &end, r->e))
            return r->e->kind != ERR_INPUT
                       ? false
                       : err_set(r->e, ERR_INPUT, "pre_tokenizer: step %d takes too many tries to "
                                 "split %zu bytes of text", number + 1, len);
        if (!found)
            break;
        if (begin == end && matched_before && end == done) {
            from += from < len ? char_len(text, len, from) : 1;
            continue;
        }
        if ((begin > done && !add_part(r, &c, done, begin, false)) ||
            !add_part(r, &c, begin, end, true))
            return false;
        from = done = end;
        matched_before = true;
    }
    return (done == len || add_part(r, &c, done, len, false)) && flush(r, &c);
}

static bool cut(const run *r, int s, const char *text, size_t len)
{
    pretokenizer *p = r->p;
    if (s == p->prefix_at && p->prefix_space && text[0] != ' ') {
        strbuf_clear(&p->prefixed);
        strbuf_puts(&p->prefixed, " ");
        strbuf_add(&p->prefixed, text, len);
        if (!strbuf_ok(&p->prefixed, r->e))
            return false;
        text = p->prefixed.text;
        len = p->prefixed.len;
    }
    return s < p->n_steps ? cut_step(r, s, text, len) : r->take(r->to, text, len, r->e);
}

bool pretokenize(pretokenizer *p, const char *text, size_t len, piece_fn *take, void *to, err *e)
{
    run r = {p, take, to, e};
    return len == 0 || cut(&r, 0, text, len);
}
