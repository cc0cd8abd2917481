// SPDX-License-Identifier: Apache-2.0
// How fast a codec is on this machine: rows of made-up weights are encoded and decoded for a short
// time. Numbers for people; nothing depends on them.
#ifndef SCRUPLE_QUANTIZE_SPEED_H
#define SCRUPLE_QUANTIZE_SPEED_H

#include "base/pool.h"
#include "quantize/codec.h"

typedef struct speed_bench speed_bench;

// Bytes a second, the median of several runs. 0: the codec does not do it.
typedef struct {
    double encode; // bytes of the BF16 weights that are read
    double decode; // bytes of the binary32 values that are written
} codec_speed;

// The weights: SPEED_ROWS rows of SPEED_COLUMNS normal values (mean 0, deviation 0.02, rounded to
// BF16), 16 MiB: more than a core's own caches hold. Each measurement lasts about `seconds`, and
// three runs at least.
enum { SPEED_ROWS = 4096, SPEED_COLUMNS = 2048 };
MUST_USE bool speed_open(speed_bench **out, double seconds, const events *v, err *e);
void speed_close(speed_bench *b); // NULL is fine
// On all threads of the pool; NULL: on one, in its processor time. ERR_INTERRUPTED where a stop
// was asked for.
MUST_USE bool speed_of(speed_bench *b, const codec *c, codec_search search, pool *p,
                       codec_speed *out, err *e);
// memcpy of as many bytes as decoding writes: bytes a second.
MUST_USE bool speed_of_copy(speed_bench *b, pool *p, double *out, err *e);

#endif
