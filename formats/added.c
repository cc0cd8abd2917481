// SPDX-License-Identifier: Apache-2.0
#include "formats/added.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pattern.h"
#include "base/utf8.h"
#include "formats/onig.h"
#include "formats/tokjson.h"

// A tree of bytes; children are a list of siblings. Node 0 stands for none.
typedef struct {
    uint32_t child, sibling;
    int32_t token; // index of the token that ends here, -1: none
    unsigned char byte;
} node;

typedef struct {
    node *node;
    uint64_t n, cap;
    uint32_t first[256]; // node of a first byte
} tree;

struct added {
    tree tree[2]; // looked for before and after normalisation
    added_token *token;
    uint64_t n, cap;
    pattern *word; // one word character of Rust's regular expressions
};

// A longer content would make hostile tokens expensive to look for; published ones are < 100 bytes.
enum { MAX_CONTENT = 4096 };

bool added_open(added **out, err *e)
{
    *out = NULL;
    added *a = mem_new(1, sizeof *a, "added tokens", e);
    if (!a)
        return false;
    strbuf regex = {0};
    strbuf_puts(&regex, "[");
    onig_rust_word(&regex);
    strbuf_puts(&regex, "]");
    bool ok = strbuf_ok(&regex, e) && pattern_open(&a->word, regex.text, e);
    strbuf_free(&regex);
    if (!ok) {
        added_close(a);
        return false;
    }
    *out = a;
    return true;
}

void added_close(added *a)
{
    if (!a)
        return;
    free(a->tree[0].node);
    free(a->tree[1].node);
    free(a->token);
    pattern_close(a->word);
    free(a);
}

bool added_read(added_token *out, const json *j, err *e)
{
    static const char *const known[] = {"id",     "content",    "single_word", "lstrip",
                                        "rstrip", "normalized", "special",     NULL};
    const char part[] = "an added token";
    const json *number = json_get(j, "id");
    int64_t id;
    bool special; // makes no difference to encoding, but the package wants it to be there
    *out = (added_token){0};
    if (!tokjson_only(j, known, part, e) || !tokjson_text(j, "content", part, &out->content, e) ||
        !tokjson_flag(j, "single_word", part, &out->single_word, e) ||
        !tokjson_flag(j, "lstrip", part, &out->lstrip, e) ||
        !tokjson_flag(j, "rstrip", part, &out->rstrip, e) ||
        !tokjson_flag(j, "normalized", part, &out->normalized, e) ||
        !tokjson_flag(j, "special", part, &special, e))
        return false;
    if (!number || !json_as_int(number, &id) || id < 0 || id > INT32_MAX)
        return err_set(e, ERR_INPUT, "added token '%s': 'id' must be a whole number from 0 on",
                       out->content);
    out->id = (int32_t)id;
    if (strlen(out->content) > MAX_CONTENT)
        return err_set(e, ERR_INPUT, "an added token of %zu bytes, the limit is %d",
                       strlen(out->content), MAX_CONTENT);
    return true;
}

static uint32_t child_of(const tree *t, uint32_t parent, unsigned char byte)
{
    uint32_t c = t->node[parent].child;
    while (c && t->node[c].byte != byte)
        c = t->node[c].sibling;
    return c;
}

// A new node for `byte`, not yet linked; 0 on failure.
static uint32_t new_node(tree *t, unsigned char byte, err *e)
{
    uint64_t index = t->n ? t->n : 1;
    if (!mem_grow((void **)&t->node, &t->cap, index + 1, sizeof *t->node, "added tokens", e))
        return 0;
    if (index > INT32_MAX) {
        err_set(e, ERR_INPUT, "added tokens: more than %d bytes of them", INT32_MAX);
        return 0;
    }
    t->node[0] = (node){.token = -1};
    t->node[index] = (node){.token = -1, .byte = byte};
    t->n = index + 1;
    return (uint32_t)index;
}

bool added_put(added *a, const added_token *t, const char *form, size_t len, err *e)
{
    tree *tr = &a->tree[t->normalized];
    const unsigned char *bytes = (const unsigned char *)form;
    if (len == 0)
        return true;
    if (!mem_grow((void **)&a->token, &a->cap, a->n + 1, sizeof *a->token, "added tokens", e))
        return false;
    uint32_t *first = &tr->first[bytes[0]];
    if (!*first && !(*first = new_node(tr, bytes[0], e)))
        return false;
    uint32_t at = *first;
    for (size_t i = 1; i < len; i++) {
        uint32_t next = child_of(tr, at, bytes[i]);
        if (!next) {
            next = new_node(tr, bytes[i], e);
            if (!next)
                return false;
            tr->node[next].sibling = tr->node[at].child;
            tr->node[at].child = next;
        }
        at = next;
    }
    int32_t other = tr->node[at].token;
    if (other >= 0)
        return err_set(e, ERR_INPUT, "the added tokens with ids %d and %d are the same text when "
                       "normalised", a->token[other].id, t->id);
    tr->node[at].token = (int32_t)a->n;
    a->token[a->n++] = *t;
    return true;
}

// The longest token that begins at text[at]: its index and end; -1 where there is none.
static int32_t longest_at(const tree *t, const char *text, size_t len, size_t at, size_t *end)
{
    int32_t found = -1;
    uint32_t n = t->first[(unsigned char)text[at]];
    for (size_t i = at; n;) {
        i++;
        if (t->node[n].token >= 0) {
            found = t->node[n].token;
            *end = i;
        }
        n = i < len ? child_of(t, n, (unsigned char)text[i]) : 0;
    }
    return found;
}

// White_Space, which is Rust's \s.
static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

// Where the character that ends at text[end] begins; end > 0.
static size_t char_before(const char *text, size_t end)
{
    size_t at = end - 1;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at;
}

static size_t spaces_before(const char *text, size_t end)
{
    while (end > 0) {
        uint32_t code;
        size_t at = char_before(text, end);
        if (utf8_decode(text + at, end - at, &code) == 0 || !is_space(code))
            break;
        end = at;
    }
    return end;
}

static size_t spaces_behind(const char *text, size_t len, size_t at)
{
    while (at < len) {
        uint32_t code;
        int n = utf8_decode(text + at, len - at, &code);
        if (n == 0 || !is_space(code))
            break;
        at += (size_t)n;
    }
    return at;
}

static bool is_word(const added *a, const char *text, size_t len, bool *yes, err *e)
{
    size_t begin, end;
    return pattern_find(a->word, text, len, 0, yes, &begin, &end, e);
}

// Whether text[begin..end) has no word character on either side.
static bool stands_alone(const added *a, const char *text, size_t len, size_t begin, size_t end,
                         bool *yes, err *e)
{
    bool before = false, behind = false;
    if (begin > 0) {
        size_t at = char_before(text, begin);
        if (!is_word(a, text + at, begin - at, &before, e))
            return false;
    }
    if (end < len) {
        uint32_t code;
        int n = utf8_decode(text + end, len - end, &code);
        if (!is_word(a, text + end, (size_t)n, &behind, e))
            return false;
    }
    *yes = !before && !behind;
    return true;
}

bool added_cut(const added *a, bool normalized, const char *text, size_t len, part_fn *take,
               void *to, err *e)
{
    const tree *t = &a->tree[normalized];
    size_t done = 0;
    for (size_t at = 0; at < len;) {
        size_t found_end = 0;
        int32_t index = t->n ? longest_at(t, text, len, at, &found_end) : -1;
        if (index < 0) {
            at++;
            continue;
        }
        const added_token *token = &a->token[index];
        size_t begin = at, end = at = found_end;
        bool alone = true;
        if (token->single_word && !stands_alone(a, text, len, begin, end, &alone, e))
            return false;
        if (!alone)
            continue;
        if (token->lstrip) {
            size_t left = spaces_before(text, begin);
            begin = left > done ? left : done;
        }
        if (token->rstrip)
            end = spaces_behind(text, len, end);
        if (done < begin && !take(to, text + done, begin - done, -1, e))
            return false;
        // As in the package, a token inside the spaces that an rstrip took counts nevertheless, and
        // the text goes on behind it.
        if (!take(to, text + begin, end > begin ? end - begin : 0, token->id, e))
            return false;
        done = end;
    }
    return done == len || take(to, text + done, len - done, -1, e);
}
