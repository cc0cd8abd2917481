// SPDX-License-Identifier: Apache-2.0
// Text that may be gzip-compressed (told by its first two bytes), read whole under a ceiling.
// gzip.c is the only file that includes zlib.
#ifndef SCRUPLE_BASE_GZIP_H
#define SCRUPLE_BASE_GZIP_H

#include "base/err.h"

// The file's bytes, decompressed where it is gzip (all members). More than max_bytes: ERR_INPUT.
// NUL-terminated; free *text.
MUST_USE bool gzip_read_text(const char *path, uint64_t max_bytes, char **text, size_t *len,
                             err *e);

#endif
