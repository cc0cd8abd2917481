// SPDX-License-Identifier: Apache-2.0
// Text that grows, and names that are found again. Both borrow nothing: what goes in is copied.
#ifndef SCRUPLE_BASE_STR_H
#define SCRUPLE_BASE_STR_H

#include "base/err.h"

// A growing byte string, always NUL-terminated once anything was added. Failures stick: add as
// often as you like, ask once with strbuf_ok. Zero-initialised is a valid empty one.
typedef struct {
    char *text;
    size_t len;
    uint64_t cap;
    bool failed;
} strbuf;

void strbuf_add(strbuf *s, const void *bytes, size_t len);
// The whole text of another; where that is failed, this one is.
void strbuf_join(strbuf *s, const strbuf *from);
void strbuf_puts(strbuf *s, const char *text);
void strbuf_printf(strbuf *s, const char *format, ...) PRINTF_LIKE(2, 3);
void strbuf_clear(strbuf *s);                 // keeps the memory
MUST_USE bool strbuf_ok(const strbuf *s, err *e);
void strbuf_free(strbuf *s);

bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *suffix);
bool str_same_nocase(const char *a, const char *b); // ASCII only
// The candidate with the smallest edit distance if it is near enough to be a typing error
// (distance <= 1 + length / 4), else NULL. Ties to the first.
const char *str_nearest(const char *text, const char *const *candidates, size_t n);
// Decimal without sign, space or excess: false unless the whole text is a number <= max.
MUST_USE bool str_to_u64(const char *text, uint64_t max, uint64_t *out);
// "64M", "2GiB", "512KiB", "1000": binary multiples for K M G T with or without iB/B.
MUST_USE bool str_to_bytes(const char *text, uint64_t *out);
// "0:14", "1:02:33": rounded to seconds.
const char *str_duration(double seconds, char buf[32]);
// A duration in seconds: "90", "90s", "1h30m", "2d", or "1:30:00" (hours, minutes, seconds).
MUST_USE bool str_to_seconds(const char *text, int64_t *out);
// `text` where it is short, else its beginning, "..." and its end: names out of files may have a
// kilobyte, and a sentence should keep its own words. Cuts between UTF-8 characters.
enum { STR_SHORT = 128 };
const char *str_short(const char *text, char buf[STR_SHORT]);
const char *str_short_n(const char *text, size_t len, char buf[STR_SHORT]); // always into buf
// A number's digits; buf must hold 21 bytes.
const char *str_decimal(uint64_t value, char *buf);
// "4.9 MB" style in decimal units, for people; buf must hold 24 bytes.
const char *str_human_bytes(uint64_t bytes, char *buf);

// Names to indices: open addressing, names copied into the map's own memory. The hash has a random
// key, since names are hostile; nothing can be seen of it, as the map has no order.
typedef struct {
    struct strmap_slot *slot;
    uint64_t n, n_slots;
    uint64_t key[2];
    struct arena_block *names_last; // an arena's inside, see mem.h
    uint64_t names_bytes;
} strmap;

// Puts name -> index. If the name is there already: returns true, *fresh = false, and the old
// index stays. fresh may be NULL.
MUST_USE bool strmap_put(strmap *m, const char *name, size_t len, int64_t index, bool *fresh,
                         err *e);
int64_t strmap_get(const strmap *m, const char *name, size_t len); // -1 where absent
void strmap_free(strmap *m);

#endif
