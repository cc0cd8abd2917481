// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/sys.h"

// Apart from strbuf_room, which is asked for every few bytes: an err is 640 bytes to clear.
static bool strbuf_grow(strbuf *s, size_t more)
{
    err ignored = ERR_INIT;
    uint64_t need;
    if (s->failed)
        return false;
    if (!size_add(s->len, more, &need) || !size_add(need, 1, &need) ||
        !mem_grow((void **)&s->text, &s->cap, need, 1, "text", &ignored))
        s->failed = true;
    return !s->failed;
}

static inline bool strbuf_room(strbuf *s, size_t more)
{
    return (!s->failed && s->cap > s->len && s->cap - s->len > more) || strbuf_grow(s, more);
}

void strbuf_add(strbuf *s, const void *bytes, size_t len)
{
    if (!strbuf_room(s, len))
        return;
    if (len)
        memcpy(s->text + s->len, bytes, len);
    s->len += len;
    s->text[s->len] = 0;
}

void strbuf_join(strbuf *s, const strbuf *from)
{
    s->failed = s->failed || from->failed;
    strbuf_add(s, from->text, from->len);
}

void strbuf_puts(strbuf *s, const char *text) { strbuf_add(s, text, strlen(text)); }

void strbuf_printf(strbuf *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        s->failed = true;
        return;
    }
    if (!strbuf_room(s, (size_t)n))
        return;
    va_start(args, format);
    (void)vsnprintf(s->text + s->len, (size_t)n + 1, format, args);
    va_end(args);
    s->len += (size_t)n;
}

void strbuf_clear(strbuf *s)
{
    s->len = 0;
    if (s->text)
        s->text[0] = 0;
}

bool strbuf_ok(const strbuf *s, err *e)
{
    return !s->failed || err_set(e, ERR_ENV, "no memory for text");
}

void strbuf_free(strbuf *s)
{
    free(s->text);
    *s = (strbuf){0};
}

bool str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && memcmp(text + n - m, suffix, m) == 0;
}

bool str_same_nocase(const char *a, const char *b) { return strcasecmp(a, b) == 0; }

// SIZE_MAX where it is more than `most`: each row holds a part of every way, so that one without a
// number as small ends it.
static size_t edit_distance(const char *a, const char *b, size_t most)
{
    enum { LONGEST = 63 };
    size_t n = strlen(a), m = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST || n > m + most || m > n + most)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0], least = i;
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            least = best < least ? best : least;
        }
        if (least > most)
            return SIZE_MAX;
    }
    return row[m] <= most ? row[m] : SIZE_MAX;
}

const char *str_nearest(const char *text, const char *const *candidates, size_t n)
{
    const char *best = NULL;
    size_t least = SIZE_MAX, most = 1 + strlen(text) / 4;
    for (size_t i = 0; i < n; i++) {
        size_t d = edit_distance(text, candidates[i], most);
        if (d < least) {
            least = d;
            best = candidates[i];
        }
    }
    return best;
}

bool str_to_u64(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    *out = 0;
    if (!*text)
        return false;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return false;
    }
    if (value > max)
        return false;
    *out = value;
    return true;
}

enum { LONGEST_HOURS = 1000000 }; // a century and more

bool str_to_bytes(const char *text, uint64_t *out)
{
    char digits[24];
    size_t n = strspn(text, "0123456789");
    *out = 0;
    if (n == 0 || n >= sizeof digits)
        return false;
    memcpy(digits, text, n);
    digits[n] = 0;
    const char *unit = text + n;
    static const char letters[] = "KMGT";
    uint64_t factor = 1;
    if (*unit) {
        char upper = (char)(*unit >= 'a' && *unit <= 'z' ? *unit - 32 : *unit);
        const char *at = strchr(letters, upper);
        if (at) {
            factor = (uint64_t)1 << (10 * (at - letters + 1));
            unit++;
        }
        if (*unit && !(at && str_same_nocase(unit, "iB")) && !str_same_nocase(unit, "B"))
            return false;
    }
    return str_to_u64(digits, UINT64_MAX, out) && size_mul(*out, factor, out);
}

const char *str_duration(double seconds, char buf[32])
{
    uint64_t s = seconds < 1e9 ? (uint64_t)(seconds + 0.5) : 1000000000;
    if (s < 3600)
        (void)snprintf(buf, 32, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        (void)snprintf(buf, 32, "%llu:%02u:%02u", (unsigned long long)(s / 3600),
                       (unsigned)(s / 60 % 60), (unsigned)(s % 60));
    return buf;
}

static bool clock_to_seconds(const char *text, int64_t *out)
{
    uint64_t part[3] = {0};
    char digits[16];
    for (int i = 0; i < 3; i++) {
        size_t n = strspn(text, "0123456789");
        if (n == 0 || n >= sizeof digits || text[n] != (i < 2 ? ':' : 0))
            return false;
        memcpy(digits, text, n);
        digits[n] = 0;
        if (!str_to_u64(digits, i == 0 ? LONGEST_HOURS : 59, &part[i]))
            return false;
        text += n + 1;
    }
    *out = (int64_t)(part[0] * 3600 + part[1] * 60 + part[2]);
    return true;
}

bool str_to_seconds(const char *text, int64_t *out)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    char digits[16];
    int64_t sum = 0;
    *out = 0;
    if (strchr(text, ':'))
        return clock_to_seconds(text, out);
    size_t unit = 0; // the smallest that may still come
    for (bool first = true; *text || first; first = false) {
        uint64_t value;
        size_t n = strspn(text, "0123456789");
        if (n == 0 || n >= sizeof digits)
            return false;
        memcpy(digits, text, n);
        digits[n] = 0;
        text += n;
        if (!str_to_u64(digits, LONGEST_HOURS * 3600u, &value))
            return false;
        if (!*text && first)
            unit = COUNT_OF(units) - 1; // a number alone means seconds
        while (*text && unit < COUNT_OF(units) && units[unit].unit != *text)
            unit++;
        if (unit == COUNT_OF(units) || (!*text && !first))
            return false;
        sum += (int64_t)value * units[unit++].seconds;
        text += *text != 0;
    }
    *out = sum;
    return true;
}

const char *str_short_n(const char *text, size_t len, char buf[STR_SHORT])
{
    enum { END = 40 };
    bool fits = len < STR_SHORT;
    size_t begin = fits ? len : STR_SHORT - END - 4, end = fits ? len : len - END;
    while (end < len && ((unsigned char)text[end] & 0xc0) == 0x80)
        end++;
    while (begin > 0 && begin < len && ((unsigned char)text[begin] & 0xc0) == 0x80)
        begin--;
    memcpy(buf, text, begin);
    if (begin < len) {
        memcpy(buf + begin, "...", 3);
        memcpy(buf + begin + 3, text + end, len - end);
        begin += 3 + len - end;
    }
    buf[begin] = 0;
    return buf;
}

const char *str_short(const char *text, char buf[STR_SHORT])
{
    size_t len = strlen(text);
    return len < STR_SHORT ? text : str_short_n(text, len, buf);
}

const char *str_decimal(uint64_t value, char *buf)
{
    char reversed[20];
    size_t n = 0, at = 0;
    do
        reversed[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n)
        buf[at++] = reversed[--n];
    buf[at] = 0;
    return buf;
}

const char *str_human_bytes(uint64_t bytes, char *buf)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t u = 0;
    while (value >= 999.5 && u + 1 < COUNT_OF(units)) {
        value /= 1000;
        u++;
    }
    (void)snprintf(buf, 24, u == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[u]);
    return buf;
}

struct strmap_slot {
    const char *name;
    uint64_t hash;
    size_t len;
    int64_t index;
};

static inline uint64_t rotate_left(uint64_t x, int k) { return x << k | x >> (64 - k); }

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate_left(v[1], 13) ^ v[0];
    v[3] = rotate_left(v[3], 16) ^ v[2];
    v[0] = rotate_left(v[0], 32) + v[3];
    v[2] += v[1];
    v[3] = rotate_left(v[3], 21) ^ v[0];
    v[1] = rotate_left(v[1], 17) ^ v[2];
    v[2] = rotate_left(v[2], 32);
}

static inline void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

// SipHash-1-3 (Aumasson and Bernstein) under a random key: names come from hostile files, and
// whoever could choose a million that collide would make a header cost hours.
static uint64_t name_hash(const uint64_t key[2], const char *name, size_t len)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    size_t i = 0;
    for (; len - i >= 8; i += 8)
        sip_word(v, load_u64(name + i));
    uint64_t last = (uint64_t)len << 56;
    for (int shift = 0; i < len; i++, shift += 8)
        last |= (uint64_t)(unsigned char)name[i] << shift;
    sip_word(v, last);
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static struct strmap_slot *find_slot(const strmap *m, const char *name, size_t len, uint64_t hash)
{
    for (uint64_t i = hash & (m->n_slots - 1);; i = (i + 1) & (m->n_slots - 1)) {
        struct strmap_slot *s = &m->slot[i];
        if (!s->name || (s->hash == hash && s->len == len && memcmp(s->name, name, len) == 0))
            return s;
    }
}

static bool strmap_grow(strmap *m, err *e)
{
    uint64_t n = m->n_slots ? m->n_slots * 2 : 16;
    strmap bigger = *m;
    if (!m->n_slots && !sys_random(bigger.key, sizeof bigger.key))
        return err_sys(e, "cannot get random numbers for a name table");
    bigger.slot = mem_new(n, sizeof *m->slot, "a name table", e);
    bigger.n_slots = n;
    if (!bigger.slot)
        return false;
    for (uint64_t i = 0; i < m->n_slots; i++) {
        struct strmap_slot *old = &m->slot[i];
        if (old->name)
            *find_slot(&bigger, old->name, old->len, old->hash) = *old;
    }
    free(m->slot);
    *m = bigger;
    return true;
}

bool strmap_put(strmap *m, const char *name, size_t len, int64_t index, bool *fresh, err *e)
{
    if ((m->n + 1) * 4 > m->n_slots * 3 && !strmap_grow(m, e))
        return false;
    uint64_t hash = name_hash(m->key, name, len);
    struct strmap_slot *s = find_slot(m, name, len, hash);
    if (fresh)
        *fresh = !s->name;
    if (s->name)
        return true;
    arena names = {m->names_last, m->names_bytes};
    const char *copy = arena_text(&names, name, len, e);
    m->names_last = names.last;
    m->names_bytes = names.bytes;
    if (!copy)
        return false;
    *s = (struct strmap_slot){copy, hash, len, index};
    m->n++;
    return true;
}

int64_t strmap_get(const strmap *m, const char *name, size_t len)
{
    if (!m->n)
        return -1;
    const struct strmap_slot *s = find_slot(m, name, len, name_hash(m->key, name, len));
    return s->name ? s->index : -1;
}

void strmap_free(strmap *m)
{
    arena names = {m->names_last, m->names_bytes};
    arena_free(&names);
    free(m->slot);
    *m = (strmap){0};
}
