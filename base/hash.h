// SPDX-License-Identifier: Apache-2.0
// Two digests for two purposes: SHA-256 for files and everything that crosses a trust border
// (SHA256SUMS, the Hub's LFS ids), XXH3-128 for tensors and records (accidental damage, equality).
#ifndef SCRUPLE_BASE_HASH_H
#define SCRUPLE_BASE_HASH_H

#include "base/err.h"

typedef struct { uint8_t b[32]; } sha256_digest;
typedef struct { uint8_t b[16]; } xxh128_digest; // big-endian canonical form, as xxhsum prints it

typedef struct sha256 sha256;
MUST_USE sha256 *sha256_new(err *e);
void sha256_add(sha256 *s, const void *bytes, size_t n);
void sha256_end(sha256 *s, sha256_digest *out); // also frees s
void sha256_free(sha256 *s);                    // where it is not ended
MUST_USE bool sha256_of(const void *bytes, size_t n, sha256_digest *out, err *e);
MUST_USE bool sha256_of_file(const char *path, sha256_digest *out, err *e);

typedef struct xxh128 xxh128;
MUST_USE xxh128 *xxh128_new(err *e);
void xxh128_add(xxh128 *x, const void *bytes, size_t n);
void xxh128_end(xxh128 *x, xxh128_digest *out); // also frees x
void xxh128_free(xxh128 *x);
void xxh128_of(const void *bytes, size_t n, xxh128_digest *out);

// Lower-case hex; buf must hold 2 * n + 1 bytes.
const char *hex_of(const void *bytes, size_t n, char *buf);
MUST_USE bool hex_to(const char *hex, void *bytes, size_t n); // exactly 2n digits

#endif
