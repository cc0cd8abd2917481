// SPDX-License-Identifier: Apache-2.0
// What the tests of ggml's block types share: the golden vectors of ggml's own library (made with
// ggml d99724f2 built for x86-64 without contraction: one row of 512 values, importance
// 1 + i mod 7) and comparisons over CPU levels.
#ifndef SCRUPLE_TESTS_BLOCK_CASE_H
#define SCRUPLE_TESTS_BLOCK_CASE_H

#include "quantize/blocks.h"

enum {
    GOLDEN_VALUES = 512,
    // block_fill_rows'
    BLOCK_ROWS = 5, BLOCK_COLUMNS = 768, BLOCK_VALUES = BLOCK_ROWS * BLOCK_COLUMNS
};

// x_i = ((s_i >> 8) - 2^23) / 2^23 with s_0 = 1664525 + 1013904223, s_{i+1} = 1664525 s_i +
// 1013904223 mod 2^32: the input of the golden vectors, n of them.
void block_golden_input(float *x, int64_t n);
// First 32 hex digits of the SHA-256 of ggml's bytes: plain, with importance (NULL: the same as
// plain), and of the plain bytes decoded (512 binary32, little-endian). At every level cpu_has.
void block_check_golden(dtype type, const char *plain, const char *weighted, const char *decoded);
// Encoding and decoding n rows of `in` values gives the same bytes at every level as at the plain
// one, for both searches, with and without importance.
void block_check_levels(dtype type, const float *x, int64_t n, int64_t in);
// Rows of a bell with outliers, of every magnitude up to `largest`, of multiples of `step` (ties),
// steps of them at most, of zeros with a few others (256 zeros first), of subnormal numbers.
// x: [BLOCK_ROWS][BLOCK_COLUMNS]
void block_fill_rows(float *x, float largest, float step, int steps);
// What these blocks decode to has the digest of that name in tests/data/codecs/fourbit.txt, at
// every level; one NaN is like another.
void block_check_decoded(dtype type, const char *name, const uint8_t *from, int64_t blocks);
// SEARCH_BEST has no larger squared error than SEARCH_COMPAT in any part of so many elements (those
// with a scale of their own), and on average at most this ratio of it: ratio[0] without importance,
// ratio[1] weighted by importance.
void block_check_best(dtype type, int64_t part, const float *x, int64_t in, const double ratio[2]);
// What is read from these blocks is read from SEARCH_BEST's encoding of it too.
void block_check_again(dtype type, const uint8_t *from, int64_t blocks);
// And what SEARCH_BEST makes of it then are the same bytes, without and with importance.
void block_check_own(dtype type, const float *x, int64_t in);

#endif
