// SPDX-License-Identifier: Apache-2.0
// Scalar number formats and their rounding rules, and the row forms the codecs and readers use.
// To nearest, ties to even unless said. Bit layouts: OCP 8-bit float (E4M3 without infinities, max
// 448), OCP MX E8M0 and E2M1, IEEE binary16, bfloat16.
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
float e2m1_to_f32(uint8_t code);    // low nibble: sign, then 0 .5 1 1.5 2 3 4 6; 8 is -0
uint8_t f32_to_e2m1(float value);   // ties to the even code; keeps the sign of zero; saturates at
                                    // +-6 (also infinities, and NaN, which has no code)
// UE4M3, the scale of ggml's NVFP4: E4M3 whose sign bit is not looked at, without a NaN: 0x7f is 0
// and 0xff 480, as ggml reads them.
float ue4m3_to_f32(uint8_t code);
// ggml's way to it: ties go up, below 2^-6 no further than code 7, from 256 on always 448 (0x7e),
// 0 for what is not positive.
uint8_t f32_to_ue4m3(float value);
// Floor of the binary logarithm as binary32 holds it, that is one more than the exponent for the
// last floats before a power of two (what floorf(log2f(value)) gives). value: a normal number > 0.
int32_t f32_floor_log2(float value);

// n values of a plain type (F64 F32 F16 BF16, and F8_E4M3, F8_E8M0 as bare codes) to binary32.
// False where the type has no such reading.
MUST_USE bool row_to_f32(float *to, const void *from, dtype type, int64_t n);
// The way back for F32, F16, BF16. False for other types.
MUST_USE bool row_from_f32(void *to, dtype type, const float *from, int64_t n);

#endif
