// SPDX-License-Identifier: Apache-2.0
// Rows of integers as plain numbers, between whoever finds them (a search, another form of the same
// codes) and the parts that they are stored in. One packer writes every form: how words lie is what
// a codec's row says. Finds nothing and reads no part: codec_scaled.c decodes.
#ifndef SCRUPLE_QUANTIZE_CODED_H
#define SCRUPLE_QUANTIZE_CODED_H

#include "quantize/codec.h"

typedef struct {
    int64_t rows, in;
    int64_t group, groups; // columns that share a scale; such groups in a row
    uint8_t *code;         // [rows][in], 0 to 2^bits - 1
    float *scale;          // [rows][groups]
    uint8_t *zero;         // [rows][groups] the code of 0; NULL: the codec has no such part
    float *bias;           // [rows][groups]; NULL: the codec has no such part
} coded_rows;

// Where a range of rows of a part is written.
typedef struct {
    void *bytes;           // of the first row; of parts across in the part's first row
    dtype type;            // of scales and biases: F32, BF16 or F16, which hold them exactly
    int64_t pitch;         // of parts across: bytes from a row of the part to the next
} part_room;

// Room for rows of a codec of integers that has a scale a group or row, for as many columns as the
// codec divides; ERR_ENV. coded_free takes them and any others whose memory came from here.
MUST_USE bool coded_init(coded_rows *r, const codec *c, int64_t rows, int64_t in, err *e);
void coded_free(coded_rows *r);
// Writes codes (of 4 or 8 bits), scales, zero points and biases; what the shape alone says
// (codec_fixed_part) is the caller's. The rows begin at a multiple of c->row_quantum and end at
// one, or with the weight: what is behind it in the last words is 0.
void coded_pack(const codec *c, const coded_rows *r, const part_room *room);

#endif
