// SPDX-License-Identifier: Apache-2.0
#include "base/dtype.h"

#include <assert.h>
#include <string.h>

// ggml's block sizes: ggml/src/ggml-common.h.
static const struct {
    const char *name;
    int block, bytes; // bytes of a block of so many elements
    bool is_float;
} table[DT_COUNT] = {
    [DT_BOOL] = {"BOOL", 1, 1, false},
    [DT_F4] = {"F4", 2, 1, false},
    [DT_F6_E2M3] = {"F6_E2M3", 4, 3, false},
    [DT_F6_E3M2] = {"F6_E3M2", 4, 3, false},
    [DT_U8] = {"U8", 1, 1, false},
    [DT_I8] = {"I8", 1, 1, false},
    [DT_F8_E5M2] = {"F8_E5M2", 1, 1, false},
    [DT_F8_E4M3] = {"F8_E4M3", 1, 1, false},
    [DT_F8_E8M0] = {"F8_E8M0", 1, 1, false},
    [DT_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 1, 1, false},
    [DT_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 1, 1, false},
    [DT_I16] = {"I16", 1, 2, false},
    [DT_U16] = {"U16", 1, 2, false},
    [DT_F16] = {"F16", 1, 2, true},
    [DT_BF16] = {"BF16", 1, 2, true},
    [DT_I32] = {"I32", 1, 4, false},
    [DT_U32] = {"U32", 1, 4, false},
    [DT_F32] = {"F32", 1, 4, true},
    [DT_C64] = {"C64", 1, 8, false},
    [DT_F64] = {"F64", 1, 8, true},
    [DT_I64] = {"I64", 1, 8, false},
    [DT_U64] = {"U64", 1, 8, false},
    [DT_Q4_0] = {"Q4_0", 32, 18, false},
    [DT_Q4_1] = {"Q4_1", 32, 20, false},
    [DT_Q5_0] = {"Q5_0", 32, 22, false},
    [DT_Q5_1] = {"Q5_1", 32, 24, false},
    [DT_Q8_0] = {"Q8_0", 32, 34, false},
    [DT_Q8_1] = {"Q8_1", 32, 36, false},
    [DT_Q2_K] = {"Q2_K", 256, 84, false},
    [DT_Q3_K] = {"Q3_K", 256, 110, false},
    [DT_Q4_K] = {"Q4_K", 256, 144, false},
    [DT_Q5_K] = {"Q5_K", 256, 176, false},
    [DT_Q6_K] = {"Q6_K", 256, 210, false},
    [DT_Q8_K] = {"Q8_K", 256, 292, false},
    [DT_IQ1_S] = {"IQ1_S", 256, 50, false},
    [DT_IQ1_M] = {"IQ1_M", 256, 56, false},
    [DT_IQ2_XXS] = {"IQ2_XXS", 256, 66, false},
    [DT_IQ2_XS] = {"IQ2_XS", 256, 74, false},
    [DT_IQ2_S] = {"IQ2_S", 256, 82, false},
    [DT_IQ3_XXS] = {"IQ3_XXS", 256, 98, false},
    [DT_IQ3_S] = {"IQ3_S", 256, 110, false},
    [DT_IQ4_NL] = {"IQ4_NL", 32, 18, false},
    [DT_IQ4_XS] = {"IQ4_XS", 256, 136, false},
    [DT_TQ1_0] = {"TQ1_0", 256, 54, false},
    [DT_TQ2_0] = {"TQ2_0", 256, 66, false},
    [DT_MXFP4] = {"MXFP4", 32, 17, false},
    [DT_NVFP4] = {"NVFP4", 64, 36, false},
    [DT_Q1_0] = {"Q1_0", 128, 18, false},
    [DT_Q2_0] = {"Q2_0", 64, 18, false},
};

const char *dtype_name(dtype t) { return table[t].name; }

bool dtype_is_block(dtype t) { return t >= DT_SAFETENSORS; }

int64_t dtype_block(dtype t) { return table[t].block; }

int64_t dtype_block_bytes(dtype t) { return table[t].bytes; }

int dtype_bits(dtype t)
{
    assert(!dtype_is_block(t));
    return 8 * table[t].bytes / table[t].block;
}

bool dtype_bytes(dtype t, uint64_t n, uint64_t *bytes)
{
    uint64_t block = (uint64_t)table[t].block, each = (uint64_t)table[t].bytes;
    *bytes = 0;
    if (n % block != 0 || n / block > INT64_MAX / each)
        return false;
    *bytes = n / block * each;
    return true;
}

bool dtype_is_float(dtype t) { return table[t].is_float; }

bool dtype_from_name(const char *name, size_t len, dtype *out)
{
    for (int t = 0; t < DT_SAFETENSORS; t++) {
        if (strlen(table[t].name) == len && memcmp(table[t].name, name, len) == 0) {
            *out = (dtype)t;
            return true;
        }
    }
    return false;
}
