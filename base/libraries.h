// SPDX-License-Identifier: Apache-2.0
// Which third-party libraries base/ runs with: each one's version, told by the file that may
// include it, and what one of them has to be asked before another uses it. buf holds
// LIBRARY_VERSION bytes and is not always used.
#ifndef SCRUPLE_BASE_LIBRARIES_H
#define SCRUPLE_BASE_LIBRARIES_H

#include "base/err.h"

enum { LIBRARY_VERSION = 64 };

const char *cjson_library(char *buf);   // "1.7.15"; json.c
const char *pcre2_library(char *buf);   // pattern.c
const char *xxhash_library(char *buf);  // hash.c
const char *openssl_library(char *buf); // sha256.c
const char *libzip_library(char *buf);  // zip.c
const char *zlib_library(char *buf);    // gzip.c

// To be asked before libzip writes, which takes random numbers from OpenSSL: that crashes where it
// had no memory to set itself up. ERR_ENV then; sha256.c.
MUST_USE bool openssl_ready(err *e);

#endif
