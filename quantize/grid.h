// SPDX-License-Identifier: Apache-2.0
// The grid of a form: the values that a block of its codes can stand for, under whichever scale
// (and zero point, bias) the form can store. Answers whether a block of numbers lies on it, and
// with which scale; nothing is rounded, and nothing is searched but what can be exact. Knows
// numbers only: no parts, tensors or files.
//
// A block lies on the grid if there are a scale of the form's type and codes that decode to the
// very same binary32 numbers; zeros are the same whatever their signs, and -0 gets a code of its
// own where the form has one. Complete: each code that the block's largest number can have, with
// each scale under which it has that code, is tried. (Not so for scales below 2^-126, where
// products lose bits; such a block may be called off the grid though it is on it.)
// Where several scales do, it is the source's, if that is one of them; else the one with the
// largest code, positive before negative.
#ifndef SCRUPLE_QUANTIZE_GRID_H
#define SCRUPLE_QUANTIZE_GRID_H

#include "quantize/codec.h"

typedef struct {
    codec_element element; // E4M3, E2M1 or INT
    int bits;              // of INT: 4, 5 or 8
    int zero;              // INT: the code of 0, the preferred one where zero points are stored
    bool zeros, biases;    // INT: value = (code - zero point) x scale, code x scale + bias
    int least_zero;        // the smallest zero point there is
    dtype scale;           // F32, BF16, F16, F8_E4M3, F8_E8M0: the type of scales (and biases)
    bool pow2;             // of F32: powers of two only
    float global;          // scales are multiplied by it, or divided; 1 where there is none
    float fixed;           // the only scale there is; 0: any
    bool divides;
} grid;

typedef struct {
    const float *from;     // [rows][stride], finite
    int64_t stride, rows, cols; // E2M1: a multiple of 16 columns
    float source_scale;    // that stood for them in the source, or 0
    float scale;           // out: as values are multiplied by it, global scale and all
    int zero;              // out
    float bias;            // out
} grid_block;

// True and filled in where the block lies on the grid.
bool grid_finds(const grid *g, grid_block *b);
// The codes of n numbers of a row of such a block: a byte each, E2M1 two a byte with the low nibble
// first (n a multiple of 16).
void grid_codes(const grid *g, const grid_block *b, const float *from, int64_t n, uint8_t *codes);
// The bits of a scale that grid_finds gave, or of a bias, in the type of scales: as stored.
uint32_t grid_scale_bits(const grid *g, float scale);
uint32_t grid_bias_bits(const grid *g, float bias);

#endif
