// SPDX-License-Identifier: Apache-2.0
#include "formats/gguf_table.h"

static const struct {
    const char *name;
    uint8_t bytes;
    bool is_integer, is_signed;
} value_types[GGUF_TYPES] = {
    [GGUF_U8] = {"U8", 1, true, false},
    [GGUF_I8] = {"I8", 1, true, true},
    [GGUF_U16] = {"U16", 2, true, false},
    [GGUF_I16] = {"I16", 2, true, true},
    [GGUF_U32] = {"U32", 4, true, false},
    [GGUF_I32] = {"I32", 4, true, true},
    [GGUF_F32] = {"F32", 4, false, false},
    [GGUF_BOOL] = {"BOOL", 1, false, false},
    [GGUF_TEXT] = {"STRING", 0, false, false},
    [GGUF_ARRAY] = {"ARRAY", 0, false, false},
    [GGUF_U64] = {"U64", 8, true, false},
    [GGUF_I64] = {"I64", 8, true, true},
    [GGUF_F64] = {"F64", 8, false, false},
};

// By ggml's numbers (enum ggml_type); 4, 5, 31 to 33 and 36 to 38 were removed from it.
static const struct {
    uint8_t id;
    dtype type;
} tensor_types[] = {
    {0, DT_F32},      {1, DT_F16},      {2, DT_Q4_0},     {3, DT_Q4_1},     {6, DT_Q5_0},
    {7, DT_Q5_1},     {8, DT_Q8_0},     {9, DT_Q8_1},     {10, DT_Q2_K},    {11, DT_Q3_K},
    {12, DT_Q4_K},    {13, DT_Q5_K},    {14, DT_Q6_K},    {15, DT_Q8_K},    {16, DT_IQ2_XXS},
    {17, DT_IQ2_XS},  {18, DT_IQ3_XXS}, {19, DT_IQ1_S},   {20, DT_IQ4_NL},  {21, DT_IQ3_S},
    {22, DT_IQ2_S},   {23, DT_IQ4_XS},  {24, DT_I8},      {25, DT_I16},     {26, DT_I32},
    {27, DT_I64},     {28, DT_F64},     {29, DT_IQ1_M},   {30, DT_BF16},    {34, DT_TQ1_0},
    {35, DT_TQ2_0},   {39, DT_MXFP4},   {40, DT_NVFP4},   {41, DT_Q1_0},    {42, DT_Q2_0},
};

// enum llama_ftype: what most of the tensors are.
static const char *const file_types[] = {
    [0] = "F32",      [1] = "F16",      [2] = "Q4_0",     [3] = "Q4_1",     [7] = "Q8_0",
    [8] = "Q5_0",     [9] = "Q5_1",     [10] = "Q2_K",    [11] = "Q3_K_S",  [12] = "Q3_K_M",
    [13] = "Q3_K_L",  [14] = "Q4_K_S",  [15] = "Q4_K_M",  [16] = "Q5_K_S",  [17] = "Q5_K_M",
    [18] = "Q6_K",    [19] = "IQ2_XXS", [20] = "IQ2_XS",  [21] = "Q2_K_S",  [22] = "IQ3_XS",
    [23] = "IQ3_XXS", [24] = "IQ1_S",   [25] = "IQ4_NL",  [26] = "IQ3_S",   [27] = "IQ3_M",
    [28] = "IQ2_S",   [29] = "IQ2_M",   [30] = "IQ4_XS",  [31] = "IQ1_M",   [32] = "BF16",
    [36] = "TQ1_0",   [37] = "TQ2_0",   [38] = "MXFP4_MOE", [39] = "NVFP4", [40] = "Q1_0",
};

uint64_t gguf_type_bytes(gguf_type t) { return value_types[t].bytes; }

const char *gguf_type_name(gguf_type t) { return value_types[t].name; }

bool gguf_is_integer(gguf_type t, bool *is_signed)
{
    *is_signed = value_types[t].is_signed;
    return value_types[t].is_integer;
}

bool gguf_type_of_id(uint32_t id, dtype *out)
{
    for (size_t i = 0; i < COUNT_OF(tensor_types); i++) {
        if (tensor_types[i].id == id) {
            *out = tensor_types[i].type;
            return true;
        }
    }
    return false;
}

bool gguf_id_of_type(dtype t, uint32_t *id)
{
    for (size_t i = 0; i < COUNT_OF(tensor_types); i++) {
        if (tensor_types[i].type == t) {
            *id = tensor_types[i].id;
            return true;
        }
    }
    return false;
}

bool gguf_holds(dtype t)
{
    uint32_t id;
    return gguf_id_of_type(t, &id);
}

const char *gguf_file_type_name(uint64_t file_type)
{
    return file_type < COUNT_OF(file_types) ? file_types[file_type] : NULL;
}
