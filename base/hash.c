// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/libraries.h"

struct xxh128 {
    XXH3_state_t *state;
};

// xxHash finds out by itself which vectors a processor has, in builds of the library that have this
// function (distributions' do): three times as fast as the function that everybody has. It sets
// itself up at its first call, which must not be two calls.
#if defined(__x86_64__)
XXH_errorcode XXH3_128bits_update_dispatch(XXH3_state_t *state, const void *bytes, size_t n)
    __attribute__((weak));

static void first_call(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return;
    (void)XXH3_128bits_reset(state);
    (void)XXH3_128bits_update_dispatch(state, "", 1);
    (void)XXH3_freeState(state);
}

static void add(XXH3_state_t *state, const void *bytes, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (!XXH3_128bits_update_dispatch) {
        (void)XXH3_128bits_update(state, bytes, n); // fails for NULL only, as all of them
        return;
    }
    (void)pthread_once(&once, first_call);
    (void)XXH3_128bits_update_dispatch(state, bytes, n);
}
#else
static void add(XXH3_state_t *state, const void *bytes, size_t n)
{
    (void)XXH3_128bits_update(state, bytes, n); // fails for NULL only
}
#endif

static void canonical(XXH128_hash_t hash, xxh128_digest *out)
{
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    memcpy(out->b, bytes.digest, sizeof out->b);
}

xxh128 *xxh128_new(err *e)
{
    xxh128 *x = malloc(sizeof *x);
    XXH3_state_t *state = x ? XXH3_createState() : NULL;
    if (!state) {
        free(x);
        err_set(e, ERR_ENV, "no memory for a digest");
        return NULL;
    }
    (void)XXH3_128bits_reset(state); // fails for NULL only
    x->state = state;
    return x;
}

void xxh128_add(xxh128 *x, const void *bytes, size_t n)
{
    if (n)
        add(x->state, bytes, n);
}

void xxh128_end(xxh128 *x, xxh128_digest *out)
{
    canonical(XXH3_128bits_digest(x->state), out);
    xxh128_free(x);
}

void xxh128_free(xxh128 *x)
{
    if (x)
        (void)XXH3_freeState(x->state);
    free(x);
}

void xxh128_of(const void *bytes, size_t n, xxh128_digest *out)
{
    canonical(XXH3_128bits(bytes, n), out);
}

const char *hex_of(const void *bytes, size_t n, char *buf)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    for (size_t i = 0; i < n; i++) {
        buf[2 * i] = digits[from[i] >> 4];
        buf[2 * i + 1] = digits[from[i] & 15];
    }
    buf[2 * n] = 0;
    return buf;
}

// c is a digit.
static int hex_value(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

bool hex_to(const char *hex, void *bytes, size_t n)
{
    unsigned char *to = bytes;
    if (strlen(hex) != 2 * n || strspn(hex, "0123456789abcdefABCDEF") != 2 * n) {
        memset(to, 0, n);
        return false;
    }
    for (size_t i = 0; i < n; i++)
        to[i] = (unsigned char)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
    return true;
}

const char *xxhash_library(char *buf)
{
    unsigned v = XXH_versionNumber();
    (void)snprintf(buf, LIBRARY_VERSION, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
    return buf;
}
