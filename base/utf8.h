// SPDX-License-Identifier: Apache-2.0
// UTF-8, one code point at a time: strict (no overlong forms, no surrogates, nothing above
// U+10FFFF). Of code points it knows only which ones
// play tricks with terminals.
#ifndef SCRUPLE_BASE_UTF8_H
#define SCRUPLE_BASE_UTF8_H

#include "base/base.h"

// Bytes of the code point at text (1 to 4) and its number; 0 where the bytes are not UTF-8 or
// `len` ends inside of it (*code is then 0).
static inline int utf8_decode(const char *text, size_t len, uint32_t *code)
{
    const unsigned char *p = (const unsigned char *)text;
    *code = 0;
    if (len == 0)
        return 0;
    if (p[0] < 0x80) {
        *code = p[0];
        return 1;
    }
    int n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len < (size_t)n)
        return 0;
    uint32_t c = p[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
        (n == 4 && (c < 0x10000 || c > 0x10ffff)))
        return 0;
    *code = c;
    return n;
}

// True where all bytes are UTF-8.
static inline bool utf8_is_valid(const char *text, size_t len)
{
    uint32_t code;
    for (size_t at = 0; at < len;) {
        int n = utf8_decode(text + at, len - at, &code);
        if (n == 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

// Bytes written to `to` (1 to 4). The code point must be a valid one.
static inline int utf8_encode(uint32_t code, char *to)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    int n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--) {
        to[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    to[0] = (char)((0xf00u >> n & 0xff) | code);
    return n;
}

// True for what a terminal shows without tricks: no control characters (those of the second set
// too), no marks that reverse the direction of writing, no line separators.
static inline bool utf8_is_harmless(uint32_t c)
{
    bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
    bool separator = c == 0x2028 || c == 0x2029;
    bool direction = c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
                     (c >= 0x2066 && c <= 0x2069);
    return !control && !separator && !direction;
}

#endif
