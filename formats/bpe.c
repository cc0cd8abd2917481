// SPDX-License-Identifier: Apache-2.0
#include "formats/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "formats/tokjson.h"

#define NO_RANK UINT32_MAX
#define NO_SYMBOL UINT32_MAX

// What the pair (left, right) becomes, and when.
typedef struct {
    int32_t left, right;
    uint32_t rank;
    int32_t id;
} merge;

// A token in the making; a dead one (merged into the one before it) has no rank and id -1.
typedef struct {
    int32_t id;
    uint32_t before, behind; // NO_SYMBOL at the ends
    uint32_t rank;           // of the pair with the one behind, NO_RANK where they do not merge
    int32_t merged;          // what that pair becomes
} symbol;

// Pieces repeat: a direct-mapped memory of short ones.
enum { CACHE_SLOTS = 1 << 15, CACHE_KEY = 30, CACHE_IDS = 8 };
typedef struct {
    unsigned char len, n_ids; // len 0: free
    char key[CACHE_KEY];
    int32_t id[CACHE_IDS];
} cache_slot;

struct bpe {
    strmap vocab;
    int32_t top;
    int32_t byte_id[256]; // -1: the vocabulary lacks this byte
    uint16_t letter[256]; // how the vocabulary spells a byte
    merge *merge;         // by (left, right)
    uint64_t n_merges;
    uint32_t *first; // [top + 2]: first merge of a left token
    bool ignore_merges;
    cache_slot *cache;
    scratch symbols, heap;
    strbuf spelled;
};

bool id_list_add(id_list *l, const int32_t *ids, uint64_t n, err *e)
{
    if (!mem_grow((void **)&l->v, &l->cap, l->n + n, sizeof *l->v, "token ids", e))
        return false;
    memcpy(l->v + l->n, ids, n * sizeof *ids);
    l->n += n;
    return true;
}

static bool read_vocab(bpe *b, const json *vocab, err *e)
{
    if (!vocab || json_type(vocab) != JSON_OBJECT)
        return err_set(e, ERR_INPUT, "model: 'vocab' must be an object");
    for (const json *m = json_first(vocab); m; m = json_next(m)) {
        int64_t id;
        const char *token = json_key(m);
        char name[STR_SHORT];
        if (!json_as_int(m, &id) || id < 0 || id > BPE_MAX_ID)
            return err_set(e, ERR_INPUT,
                           "model: the id of token '%s' is not a whole number from 0 to %d",
                           str_short(token, name), BPE_MAX_ID);
        if (!strmap_put(&b->vocab, token, strlen(token), id, NULL, e))
            return false;
        b->top = id > b->top ? (int32_t)id : b->top;
    }
    return true;
}

static bool refuse_duplicate_ids(const bpe *b, const json *vocab, err *e)
{
    unsigned char *seen = mem_new((uint64_t)(b->top + 1), 1, "token ids", e);
    if (!seen)
        return false;
    bool ok = true;
    for (const json *m = json_first(vocab); m && ok; m = json_next(m)) {
        int64_t id;
        char name[STR_SHORT];
        if (!json_as_int(m, &id) || seen[id]++)
            ok = err_set(e, ERR_INPUT, "model: id %lld of token '%s' is there twice",
                         (long long)id, str_short(json_key(m), name));
    }
    free(seen);
    return ok;
}

// GPT-2's alphabet: a printable byte is the character of its number, the others follow from
// U+0100 on, in order.
static void spell_bytes(bpe *b)
{
    uint16_t next = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) ||
                         byte >= 0xae;
        b->letter[byte] = printable ? (uint16_t)byte : next++;
        char text[4];
        int n = utf8_encode(b->letter[byte], text);
        b->byte_id[byte] = (int32_t)strmap_get(&b->vocab, text, (size_t)n);
    }
}

// The two tokens of a merge: "left right", or a list of both.
static bool merge_names(const json *j, const char **left, size_t *left_len, const char **right)
{
    if (json_type(j) == JSON_ARRAY) {
        const json *l = json_first(j), *r = l ? json_next(l) : NULL;
        if (!r || json_next(r) || !json_as_text(l) || !json_as_text(r))
            return false;
        *left = json_as_text(l);
        *right = json_as_text(r);
        *left_len = strlen(*left);
        return true;
    }
    const char *text = json_as_text(j), *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return false;
    *left = text;
    *left_len = (size_t)(space - text);
    *right = space + 1;
    return true;
}

static bool token_id(const bpe *b, const char *name, size_t len, uint64_t number, int32_t *id,
                     err *e)
{
    char shown[STR_SHORT];
    *id = (int32_t)strmap_get(&b->vocab, name, len);
    return *id >= 0 ||
           err_set(e, ERR_INPUT, "model: merge %llu needs the token '%s', which is not in the "
                   "vocabulary", (unsigned long long)number, str_short_n(name, len, shown));
}

static bool read_merge(bpe *b, const json *j, strbuf *both, err *e)
{
    const char *left, *right;
    size_t left_len;
    merge *m = &b->merge[b->n_merges];
    uint64_t number = b->n_merges;
    if (!merge_names(j, &left, &left_len, &right))
        return err_set(e, ERR_INPUT, "model: merge %llu is neither \"a b\" nor [\"a\", \"b\"]",
                       (unsigned long long)number);
    strbuf_clear(both);
    strbuf_add(both, left, left_len);
    strbuf_puts(both, right);
    if (!strbuf_ok(both, e) || !token_id(b, left, left_len, number, &m->left, e) ||
        !token_id(b, right, strlen(right), number, &m->right, e) ||
        !token_id(b, both->text, both->len, number, &m->id, e))
        return false;
    m->rank = (uint32_t)b->n_merges++;
    return true;
}

// By (left, right), the last of equals first: it is the one that counts.
static int compare_merges(const void *one, const void *other)
{
    const merge *a = one, *b = other;
    if (a->left != b->left)
        return a->left < b->left ? -1 : 1;
    if (a->right != b->right)
        return a->right < b->right ? -1 : 1;
    return a->rank > b->rank ? -1 : a->rank < b->rank;
}

static bool index_merges(bpe *b, err *e)
{
    qsort(b->merge, b->n_merges, sizeof *b->merge, compare_merges);
    uint64_t kept = 0;
    for (uint64_t i = 0; i < b->n_merges; i++) {
        const merge *m = &b->merge[i], *last = kept ? &b->merge[kept - 1] : NULL;
        if (!last || last->left != m->left || last->right != m->right)
            b->merge[kept++] = *m;
    }
    b->n_merges = kept;
    b->first = mem_new((uint64_t)b->top + 2, sizeof *b->first, "merges", e);
    if (!b->first)
        return false;
    for (uint64_t i = 0; i < kept; i++)
        b->first[b->merge[i].left + 1]++;
    for (int32_t id = 0; id <= b->top; id++)
        b->first[id + 1] += b->first[id];
    return true;
}

static bool read_merges(bpe *b, const json *list, err *e)
{
    if (!list || json_type(list) != JSON_ARRAY)
        return err_set(e, ERR_INPUT, "model: 'merges' must be a list");
    uint64_t n = (uint64_t)json_len(list);
    if (n >= NO_RANK)
        return err_set(e, ERR_INPUT, "model: %llu merges", (unsigned long long)n);
    b->merge = mem_new(n, sizeof *b->merge, "merges", e);
    if (!b->merge)
        return false;
    strbuf both = {0};
    bool ok = true;
    for (const json *m = json_first(list); m && ok; m = json_next(m)) {
        // Lists of texts may begin with the headline of a merges.txt.
        const char *text = json_as_text(m);
        ok = (text && str_starts(text, "#version")) || read_merge(b, m, &both, e);
    }
    strbuf_free(&both);
    return ok && index_merges(b, e);
}

static bool optional_flag(const json *model, const char *key, bool *out, err *e)
{
    const json *j = json_get(model, key);
    *out = false;
    return !j || json_type(j) == JSON_NULL || tokjson_flag(model, key, "model", out, e);
}

static bool refuse_text(const json *model, const char *key, err *e)
{
    const json *j = json_get(model, key);
    const char *text = j ? json_as_text(j) : NULL;
    return !j || json_type(j) == JSON_NULL || (text && !*text) ||
           err_set(e, ERR_INPUT, "model: '%s' is not supported", key);
}

static bool read_options(bpe *b, const json *model, err *e)
{
    static const char *const known[] = {"dropout", "unk_token", "continuing_subword_prefix",
                                        "end_of_word_suffix", "fuse_unk", "byte_fallback",
                                        "ignore_merges", "vocab", "merges", NULL};
    const json *type = json_get(model, "type"), *dropout = json_get(model, "dropout");
    const json *unknown = json_get(model, "unk_token");
    const char *name = type ? json_as_text(type) : NULL;
    bool fuse, fallback;
    double rate;
    if (type && (!name || strcmp(name, "BPE") != 0))
        return err_set(e, ERR_INPUT, "model '%s' is not supported (known: BPE)",
                       name ? name : "?");
    if (!tokjson_only(model, known, "model", e) ||
        !refuse_text(model, "continuing_subword_prefix", e) ||
        !refuse_text(model, "end_of_word_suffix", e) ||
        !optional_flag(model, "fuse_unk", &fuse, e) ||
        !optional_flag(model, "byte_fallback", &fallback, e) ||
        !optional_flag(model, "ignore_merges", &b->ignore_merges, e))
        return false;
    if (dropout && json_type(dropout) != JSON_NULL &&
        (!json_as_double(dropout, &rate) || rate != 0))
        return err_set(e, ERR_INPUT, "model: 'dropout' makes ids random, which is not supported");
    bool has_unknown = unknown && json_type(unknown) != JSON_NULL;
    for (int byte = 0; byte < 256 && (has_unknown || fallback); byte++)
        if (b->byte_id[byte] < 0)
            return err_set(e, ERR_INPUT, "model: '%s' is not supported where byte 0x%02x has no "
                           "token", has_unknown ? "unk_token" : "byte_fallback", byte);
    return true;
}

bool bpe_open(bpe **out, const json *model, err *e)
{
    *out = NULL;
    if (!model || json_type(model) != JSON_OBJECT)
        return err_set(e, ERR_INPUT, "'model' must be an object");
    bpe *b = mem_new(1, sizeof *b, "a tokenizer", e);
    if (!b)
        return false;
    b->top = -1;
    const json *vocab = json_get(model, "vocab");
    b->cache = mem_new(CACHE_SLOTS, sizeof *b->cache, "a tokenizer's cache", e);
    bool ok = b->cache && read_vocab(b, vocab, e) && refuse_duplicate_ids(b, vocab, e);
    if (ok) {
        spell_bytes(b);
        ok = read_options(b, model, e) && read_merges(b, json_get(model, "merges"), e);
    }
    if (!ok) {
        bpe_close(b);
        return false;
    }
    *out = b;
    return true;
}

void bpe_close(bpe *b)
{
    if (!b)
        return;
    strmap_free(&b->vocab);
    free(b->merge);
    free(b->first);
    free(b->cache);
    scratch_free(&b->symbols);
    scratch_free(&b->heap);
    strbuf_free(&b->spelled);
    free(b);
}

int32_t bpe_id(const bpe *b, const char *token)
{
    return (int32_t)strmap_get(&b->vocab, token, strlen(token));
}

int64_t bpe_size(const bpe *b) { return (int64_t)b->vocab.n; }
int32_t bpe_top(const bpe *b) { return b->top; }

static const merge *find_merge(const bpe *b, int32_t left, int32_t right)
{
    uint32_t low = b->first[left], end = b->first[left + 1], high = end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (b->merge[middle].right < right)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && b->merge[low].right == right ? &b->merge[low] : NULL;
}

// A binary heap of (rank, position), lowest first.
typedef struct {
    uint64_t *v, n;
} heap;

static void heap_put(heap *h, uint64_t x)
{
    uint64_t i = h->n++;
    for (; i > 0 && h->v[(i - 1) / 2] > x; i = (i - 1) / 2)
        h->v[i] = h->v[(i - 1) / 2];
    h->v[i] = x;
}

static uint64_t heap_take(heap *h)
{
    uint64_t top = h->v[0], x = h->v[--h->n], i = 0;
    for (;;) {
        uint64_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->v[child + 1] < h->v[child])
            child++;
        if (h->v[child] >= x)
            break;
        h->v[i] = h->v[child];
        i = child;
    }
    h->v[i] = x;
    return top;
}

// Looks up what s[at] and the one behind it become, and queues it.
static void rank_pair(const bpe *b, symbol *s, uint32_t at, heap *h)
{
    const merge *m = s[at].behind == NO_SYMBOL
                         ? NULL
                         : find_merge(b, s[at].id, s[s[at].behind].id);
    s[at].rank = m ? m->rank : NO_RANK;
    s[at].merged = m ? m->id : -1;
    if (m)
        heap_put(h, (uint64_t)m->rank << 32 | at);
}

static void merge_all(const bpe *b, symbol *s, uint32_t n, heap *h)
{
    for (uint32_t i = 0; i + 1 < n; i++)
        rank_pair(b, s, i, h);
    while (h->n) {
        uint64_t top = heap_take(h);
        uint32_t at = (uint32_t)top;
        if (s[at].rank != (uint32_t)(top >> 32))
            continue; // the pair that this entry was made for is gone
        uint32_t gone = s[at].behind;
        s[at].id = s[at].merged;
        s[at].behind = s[gone].behind;
        s[gone].id = -1;
        s[gone].rank = NO_RANK;
        if (s[at].behind != NO_SYMBOL)
            s[s[at].behind].before = at;
        rank_pair(b, s, at, h);
        if (s[at].before != NO_SYMBOL)
            rank_pair(b, s, s[at].before, h);
    }
}

static bool encode_merging(bpe *b, const char *piece, size_t len, id_list *out, err *e)
{
    if (len > BPE_MAX_PIECE)
        return err_set(e, ERR_INPUT, "%zu bytes of text without a place to split, the limit is %d",
                       len, BPE_MAX_PIECE);
    symbol *s = scratch_need(&b->symbols, len, sizeof *s, "a piece of text", e);
    // Each pair is queued once at the start, each merge queues two more.
    uint64_t *queue = s ? scratch_need(&b->heap, 3 * len, sizeof *queue, "a piece of text", e)
                        : NULL;
    if (!queue)
        return false;
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = b->byte_id[(unsigned char)piece[i]];
        if (id >= 0) {
            s[n] = (symbol){.id = id, .before = n - 1, .behind = n + 1, .rank = NO_RANK};
            n++;
        }
    }
    if (n == 0)
        return true;
    s[0].before = NO_SYMBOL;
    s[n - 1].behind = NO_SYMBOL;
    heap h = {queue, 0};
    merge_all(b, s, n, &h);
    if (!mem_grow((void **)&out->v, &out->cap, out->n + n, sizeof *out->v, "token ids", e))
        return false;
    for (uint32_t i = 0; i != NO_SYMBOL; i = s[i].behind)
        out->v[out->n++] = s[i].id;
    return true;
}

// With ignore_merges a piece that is a token as a whole is that token.
static bool encode_whole(bpe *b, const char *piece, size_t len, int32_t *id, err *e)
{
    strbuf_clear(&b->spelled);
    for (size_t i = 0; i < len; i++) {
        char letter[4];
        int n = utf8_encode(b->letter[(unsigned char)piece[i]], letter);
        strbuf_add(&b->spelled, letter, (size_t)n);
    }
    *id = (int32_t)strmap_get(&b->vocab, b->spelled.text, b->spelled.len);
    return strbuf_ok(&b->spelled, e);
}

static uint64_t piece_hash(const char *piece, size_t len)
{
    uint64_t h = len * 0x9e3779b97f4a7c15u;
    while (len >= 8) {
        h = (h ^ load_u64(piece)) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
        piece += 8;
        len -= 8;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < len; i++)
        rest |= (uint64_t)(unsigned char)piece[i] << (8 * i);
    h = (h ^ rest) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

bool bpe_encode(bpe *b, const char *piece, size_t len, id_list *out, err *e)
{
    cache_slot *c = NULL;
    if (len > 0 && len <= sizeof c->key) {
        c = &b->cache[piece_hash(piece, len) % CACHE_SLOTS];
        if (c->len == len && memcmp(c->key, piece, len) == 0)
            return id_list_add(out, c->id, c->n_ids, e);
    }
    uint64_t before = out->n;
    int32_t whole = -1;
    if (b->ignore_merges && !encode_whole(b, piece, len, &whole, e))
        return false;
    if (whole >= 0 ? !id_list_add(out, &whole, 1, e) : !encode_merging(b, piece, len, out, e))
        return false;
    uint64_t n = out->n - before;
    if (c && n <= CACHE_IDS) {
        c->len = (unsigned char)len;
        c->n_ids = (unsigned char)n;
        memcpy(c->key, piece, len);
        memcpy(c->id, out->v + before, n * sizeof *c->id);
    }
    return true;
}
