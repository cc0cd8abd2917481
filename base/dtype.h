// SPDX-License-Identifier: Apache-2.0
// THE table of element types as safetensors names them: one row a type, nobody else keeps a list.
// Knows sizes and names, not values; values are quantize/number.h's.
#ifndef SCRUPLE_BASE_DTYPE_H
#define SCRUPLE_BASE_DTYPE_H

#include "base/base.h"

// In the official writer's order ("increasing alignment"), which its files are sorted by.
typedef enum {
    DT_BOOL, DT_F4, DT_F6_E2M3, DT_F6_E3M2, DT_U8, DT_I8, DT_F8_E5M2, DT_F8_E4M3, DT_F8_E8M0,
    DT_F8_E4M3FNUZ, DT_F8_E5M2FNUZ, DT_I16, DT_U16, DT_F16, DT_BF16, DT_I32, DT_U32, DT_F32,
    DT_C64, DT_F64, DT_I64, DT_U64,
    DT_COUNT
} dtype;

const char *dtype_name(dtype t);   // "BF16"
int dtype_bits(dtype t);           // 16; 4 and 6 exist
bool dtype_from_name(const char *name, size_t len, dtype *out); // case-sensitive
bool dtype_is_float(dtype t);      // F64 F32 F16 BF16: has a plain value (not the F8 and F4 codes)

#endif
