// SPDX-License-Identifier: Apache-2.0
// THE table of element types: one row a type, nobody else keeps a list. Those of safetensors, and
// ggml's block types, whose elements share scales and are not to be had one by one. Knows sizes and
// names, not values; values are quantize/'s.
#ifndef SCRUPLE_BASE_DTYPE_H
#define SCRUPLE_BASE_DTYPE_H

#include "base/base.h"

// First safetensors' types, in the official writer's order ("increasing alignment"), which its
// files are sorted by; then ggml's.
typedef enum {
    DT_BOOL, DT_F4, DT_F6_E2M3, DT_F6_E3M2, DT_U8, DT_I8, DT_F8_E5M2, DT_F8_E4M3, DT_F8_E8M0,
    DT_F8_E4M3FNUZ, DT_F8_E5M2FNUZ, DT_I16, DT_U16, DT_F16, DT_BF16, DT_I32, DT_U32, DT_F32,
    DT_C64, DT_F64, DT_I64, DT_U64,
    DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_Q8_1,
    DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_Q8_K,
    DT_IQ1_S, DT_IQ1_M, DT_IQ2_XXS, DT_IQ2_XS, DT_IQ2_S, DT_IQ3_XXS, DT_IQ3_S, DT_IQ4_NL, DT_IQ4_XS,
    DT_TQ1_0, DT_TQ2_0, DT_MXFP4, DT_NVFP4, DT_Q1_0, DT_Q2_0,
    DT_COUNT,
    DT_SAFETENSORS = DT_Q4_0 // so many types does safetensors have
} dtype;

const char *dtype_name(dtype t);   // "BF16", "Q4_K"
bool dtype_is_block(dtype t);      // one of ggml's
int64_t dtype_block(dtype t);      // elements that stand together: 1; F4 2, F6 4; 32, 64, 128, 256
int64_t dtype_block_bytes(dtype t); // of so many elements
int dtype_bits(dtype t);           // of one element of a safetensors type: 16; 4 and 6 exist
// Bytes of n elements. False where n is no whole number of blocks, or for more than 2^63 - 1.
bool dtype_bytes(dtype t, uint64_t n, uint64_t *bytes);
// A safetensors type by its name; case-sensitive.
bool dtype_from_name(const char *name, size_t len, dtype *out);
bool dtype_is_float(dtype t);      // F64 F32 F16 BF16: has a plain value (not the F8 and F4 codes)

#endif
