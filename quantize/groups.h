// SPDX-License-Identifier: Apache-2.0
// Groups of consecutive weights that share a scale: which scale, zero point and codes stand for
// them. Integers of 4 and 8 bits with and without a zero point, E2M1 and E4M3 under scales of a
// byte. Knows floats, bits and stored types only: no tensors, parts or files. (The search of
// symmetric int4 groups of up to SEARCH_MAX_GROUP weights is search.h's.)
//
// SEARCH_COMPAT: the bytes of compressed-tensors 0.18, which computes in the weight's own type:
// every result is rounded to binary32 and then to `source`.
//   integers, symmetric: scale = amax / (2^bits - 1) x 2; code = clamp(RNE(w / scale))
//   with zero points: min <= 0 <= max; scale = (max - min) / (2^bits - 1); zero =
//     RNE(clamp(lo - min / scale)); code = RNE(clamp(w / scale + zero))
//   MX (E8M0 scales): the power of two of amax, of the next one from 1.75 on, less 2 (E2M1) or 8
//     (E4M3) in the exponent; code = RNE(w / scale)
//   NVFP4: scale = E4M3(global x (amax / 6)), global = 2688 x (1 / amax) of the whole weight;
//     code = RNE(w / (scale / global)), in binary32
//     ModelOpt's (`multiplies`): scale = E4M3 of amax / (6 x global) within 2^-9 and 448, global =
//     amax / 2688 of the whole weight; code = RNE(w / (scale x global)), all in binary32
// A scale that would be 0 is 2^-7, 2^-10 or 2^-23 (one step at 1 of BF16, F16, F32); 0.125 in
// NVFP4 (ModelOpt: 1); one that would overflow is the largest there is. An E2M1 zero has code 0
// where the quotient is one, a negative quotient that rounds to zero has code 8.
// SEARCH_BEST: of the scales (and zero points) around that one the best by weighted squared error,
// as binary32 sums it: all powers of two; 16 E4M3 codes; for integers the BF16 numbers under which
// the largest weight (the range) is a whole number of steps, both signs or three zero points each,
// for more than 128 weights smaller ones, and then the 16 numbers around the best; for 4 bits with
// zero points the codes that have the least error under their own scale (zeros_kernel.h). Then what
// least squares takes from the weights is given back (docs/decisions.md): the scale of 4-bit
// integers is that under which the codes found have sum w value equal to sum w^2; NVFP4's scale and
// codes are those nearest to weights that have grown by the error's share. Never worse than COMPAT
// beyond the rounding of a sum; where nothing is better, COMPAT's scale. The global scale is
// COMPAT's. What was decoded is encoded to the same values again.
#ifndef SCRUPLE_QUANTIZE_GROUPS_H
#define SCRUPLE_QUANTIZE_GROUPS_H

#include "quantize/codec.h"

typedef struct {
    const float *w;          // [groups][n] finite
    const float *importance; // [groups][n] >= 0, or NULL: all 1
    int64_t n, groups;       // n a multiple of 16
    codec_search search;
    dtype source;            // DT_F32, DT_BF16 or DT_F16: what w was made of, exactly
} group_weights;

typedef struct {
    group_weights from;
    int bits;                // 4 or 8
    bool positive;           // BEST without zero points: never a negative scale
    uint8_t *codes;          // out: code + 2^(bits - 1), two a byte or one
    uint16_t *scale;         // out: BF16, of F16 weights in COMPAT F16
    int8_t *zero;            // out: the code of 0; NULL: symmetric
} int_groups;

typedef enum {
    FP_MXFP4, // n = 32
    FP_NVFP4, // n = 16
    FP_MXFP8  // n = 32; BEST is COMPAT
} fp_form;

typedef struct {
    group_weights from;
    fp_form form;
    float global;            // NVFP4's, which scales are divided by
    bool multiplies;         // or, by ModelOpt's rules, multiplied by
    uint8_t *codes;          // out: E2M1 two a byte, the low nibble first, or E4M3
    uint8_t *scale;          // out: E8M0 or E4M3
} fp_groups;

// Whose rules COMPAT has. In any of them a scale is stored in another type than it was found in.
//   GPTQ (GPTQModel 7.7's nearest rounding, binary32): min <= 0 <= max; scale = (max - min) /
//     (2^bits - 1), zero = RNE(-min / scale), 1 for all zeros between -1 and 1; symmetric: min and
//     max are both amax, or 0 and amax where nothing is negative, zero = 2^(bits - 1); code =
//     clamp(RNE(w / scale) + zero). In the first format a zero point of 0 is 1, and scale = max /
//     (2^bits - 2): it is stored less 1, and only some readers know a borrow. Codes are found
//     again in the decoded weights, rounded to the weights' own type.
//   AWQ (AutoAWQ 0.2.9; every result rounded to binary16, w too): scale = (max - min) / 15, of at
//     least 10^-5; zero = clamp(-RNE(min / scale)); code = clamp(RNE(w / scale) + zero)
//   MLX (mlx 0.32, binary32): scale = (max - min) / (2^bits - 1), at least 10^-7; edge is what is
//     larger, min or max, and scale has the sign that leads away from it; where q = RNE(edge /
//     scale) is not 0: scale = edge / q, bias = edge, else bias = 0; code = clamp(RNE((w - bias) /
//     scale))
// BEST: for GPTQ and AWQ as above, with scales of the stored type. MLX, 4 bits: the codes of least
// error under their own scale and bias (affine_kernel.h). 8 bits, and groups so far from 0 that the
// stored type has no bias near enough: ends of the range, ends cut off, and for the codes found the
// scale and bias of least squares, all as they are stored. Those of 4 bits grow in the end as
// above. No group is worse than COMPAT's beyond the rounding of a sum.
typedef enum { TOOL_GPTQ, TOOL_AWQ, TOOL_MLX } int_tool;

typedef struct {
    group_weights from;
    int_tool tool;
    int bits;                // 4 or 8
    dtype stored;            // of scales and biases: BF16 or F16
    bool zeros;              // there are zero points to be found; else they are 2^(bits - 1)
    uint8_t least_zero;      // 0 or 1
    bool positive;           // BEST without zero points: never a negative scale
    const float *near;       // BEST without zero points: what search.h found codes with, or NULL
    uint8_t *codes;          // out: a byte each
    float *scale;            // out: numbers of the stored type
    uint8_t *zero;           // out: GPTQ, AWQ
    float *bias;             // out: MLX
} tool_groups;

// NVFP4's global scale of weights with that largest magnitude; 1 where it would be infinite.
float nvfp4_global(float amax, dtype source);
// ModelOpt's; 1 for zeros, never below 2^-126.
float nvfp4_factor(float amax);

#endif
