// SPDX-License-Identifier: Apache-2.0
#include "base/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    int bits;
    bool is_float;
} table[DT_COUNT] = {
    [DT_BOOL] = {"BOOL", 8, false},
    [DT_F4] = {"F4", 4, false},
    [DT_F6_E2M3] = {"F6_E2M3", 6, false},
    [DT_F6_E3M2] = {"F6_E3M2", 6, false},
    [DT_U8] = {"U8", 8, false},
    [DT_I8] = {"I8", 8, false},
    [DT_F8_E5M2] = {"F8_E5M2", 8, false},
    [DT_F8_E4M3] = {"F8_E4M3", 8, false},
    [DT_F8_E8M0] = {"F8_E8M0", 8, false},
    [DT_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8, false},
    [DT_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8, false},
    [DT_I16] = {"I16", 16, false},
    [DT_U16] = {"U16", 16, false},
    [DT_F16] = {"F16", 16, true},
    [DT_BF16] = {"BF16", 16, true},
    [DT_I32] = {"I32", 32, false},
    [DT_U32] = {"U32", 32, false},
    [DT_F32] = {"F32", 32, true},
    [DT_C64] = {"C64", 64, false},
    [DT_F64] = {"F64", 64, true},
    [DT_I64] = {"I64", 64, false},
    [DT_U64] = {"U64", 64, false},
};

const char *dtype_name(dtype t) { return table[t].name; }

int dtype_bits(dtype t) { return table[t].bits; }

bool dtype_is_float(dtype t) { return table[t].is_float; }

bool dtype_from_name(const char *name, size_t len, dtype *out)
{
    for (int t = 0; t < DT_COUNT; t++) {
        if (strlen(table[t].name) == len && memcmp(table[t].name, name, len) == 0) {
            *out = (dtype)t;
            return true;
        }
    }
    return false;
}
