// SPDX-License-Identifier: Apache-2.0
// Scalar number formats and their rounding rules, and the row forms the codecs and readers use.
// To nearest, ties to even. Bit layouts: OCP 8-bit float (E4M3 without infinities, max 448), OCP MX
// E8M0 and E2M1, IEEE binary16, bfloat16.
#ifndef SCRUPLE_QUANTIZE_NUMBER_H
#define SCRUPLE_QUANTIZE_NUMBER_H

#include "base/base.h"
#include "base/dtype.h"

float f16_to_f32(uint16_t bits);
uint16_t f32_to_f16(float value);   // overflow to infinity, NaN stays NaN (quiet)
float bf16_to_f32(uint16_t bits);
uint16_t f32_to_bf16(float value);  // NaN stays NaN (quiet)
float e4m3_to_f32(uint8_t code);
uint8_t f32_to_e4m3(float value);   // saturates at +-448 (also infinities); NaN gives 0x7f
float e8m0_to_f32(uint8_t code);    // 0xff: NaN
float e2m1_to_f32(uint8_t code);    // 0 .. 15

// n values of a plain type (F64 F32 F16 BF16, and F8_E4M3, F8_E8M0 as bare codes) to binary32.
// False where the type has no such reading.
MUST_USE bool row_to_f32(float *to, const void *from, dtype type, int64_t n);
// The way back for F32, F16, BF16. False for other types.
MUST_USE bool row_from_f32(void *to, dtype type, const float *from, int64_t n);

#endif
