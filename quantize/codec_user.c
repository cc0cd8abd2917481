// SPDX-License-Identifier: Apache-2.0
// What users call types. Names of other tools mean what their makers mean by them: where we write
// the very same form they are accepted, else refused with the name of the nearest form we have.
#include <assert.h>
#include <string.h>

#include "base/str.h"
#include "quantize/codec.h"

static const struct {
    const char *name, *codec;
} same[] = {
    {"W4A16", "int4-g128"}, {"W4A16_ASYM", "int4-g128-asym"}, {"W8A16", "int8-g128"},
    {"MXFP4A16", "mxfp4-packed"}, {"NVFP4A16", "nvfp4-packed"}, {"MXFP8A16", "mxfp8"},
    {"BFLOAT16", "bf16"}, {"FLOAT16", "f16"}, {"FP16", "f16"}, {"FLOAT32", "f32"}, {"FP32", "f32"},
};

static const char mixes[] =
    "the name stands for a mix of types that llama-quantize chooses tensor by tensor "
    "(--tensor-type and --recipe choose here)";

// First match wins; a name that ends in '*' stands for all that begin so.
static const struct {
    const char *name, *instead, *reason;
} refused[] = {
    {"FP8_BLOCK", "fp8-block",
     "compressed-tensors' FP8_BLOCK quantizes activations too and names its tensors otherwise"},
    {"FP8_DYNAMIC", "fp8-channel", "FP8_DYNAMIC quantizes activations too"},
    {"FP8", "fp8-tensor", "FP8 has static activation scales, too"},
    {"FP4*", "nvfp4-packed", NULL},
    {"NF4*", "int4-g32", NULL},
    {"W4A8", "int4-g128", NULL},
    {"W4AFP8", "int4-g128", NULL},
    {"W8A*", "fp8-channel", NULL},
    {"INT8", "int8-g128", "the group size belongs to the name"},
    {"INT4", "int4-g32", "the group size belongs to the name"},
    {"Q2_K_*", "Q2_K", mixes},
    {"Q3_K_*", "Q3_K", mixes},
    {"Q4_K_*", "Q4_K", mixes},
    {"Q5_K_*", "Q5_K", mixes},
    {"MXFP4_MOE", "MXFP4", mixes},
    {"Q8_*", "Q8_0", NULL},
    {"Q6_*", "Q6_K", NULL},
    {"Q5_*", "Q5_K", NULL},
    {"Q4_*", "Q4_K", NULL},
    {"Q3_*", "Q3_K", NULL},
    {"Q?_*", "Q2_K", NULL},
    {"IQ4_*", "IQ4_XS", NULL},
    {"IQ3_*", "Q3_K", NULL},
    {"IQ?_*", "Q2_K", NULL},
    {"TQ?_*", "Q2_K", NULL},
    {"GPTQ*", "int4-gptq-g128", "bits and the group size belong to the name"},
    {"AWQ*", "int4-awq-g128", "the group size belongs to the name"},
    {"MLX*", "int4-mlx-g64", "bits and the group size belong to the name"},
};

// Likewise, of types that are read only.
static const struct {
    const char *name, *instead;
} only_read[] = {
    {"int8-gptq", "int8-gptq-g128"},       {"int?-gptq", "int4-gptq-g128"},
    {"int8-gptq-v2", "int8-gptq-v2-g128"}, {"int?-gptq-v2", "int4-gptq-v2-g128"},
    {"int?-awq*", "int4-awq-g128"},        {"int8-mlx", "int8-mlx-g64"},
    {"int?-mlx", "int4-mlx-g64"},          {"int8*", "int8-g128"},
    {"fp8-*", "fp8-channel"},              {"*", "int4-g32"},
};

static char upper(char ch) { return ch >= 'a' && ch <= 'z' ? (char)(ch - 'a' + 'A') : ch; }

// '?' stands for one character, a '*' at the end for any rest.
static bool matches(const char *pattern, const char *text)
{
    for (; *pattern && *pattern != '*'; pattern++, text++)
        if (!*text || (*pattern != '?' && upper(*pattern) != upper(*text)))
            return false;
    return *pattern == '*' || !*text;
}

static const char *instead_of(const char *text)
{
    size_t i = 0;
    while (!matches(only_read[i].name, text))
        i++;
    return only_read[i].instead;
}

bool codec_from_user(const char *text, const codec **out, err *e)
{
    *out = NULL;
    const char *name[192];
    size_t n = 0;
    for (int64_t i = 0; i < codec_count(); i++) {
        if (!codec_at(i)->encode) // what is only read
            continue;
        assert(n < COUNT_OF(name));
        name[n++] = codec_at(i)->name;
        if (str_same_nocase(text, codec_at(i)->name)) {
            *out = codec_at(i);
            return true;
        }
    }
    for (size_t i = 0; i < COUNT_OF(same); i++)
        if (str_same_nocase(text, same[i].name)) {
            *out = codec_find(same[i].codec);
            return true;
        }
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        if (matches(refused[i].name, text))
            return err_set(e, ERR_USAGE, "type '%s' does not exist here%s%s; the nearest is %s",
                           text, refused[i].reason ? ": " : "",
                           refused[i].reason ? refused[i].reason : "", refused[i].instead);
    for (int64_t i = 0; i < codec_count(); i++)
        if (!codec_at(i)->encode && str_same_nocase(text, codec_at(i)->name))
            return err_set(e, ERR_USAGE, "type '%s' is read, but this version does not write it; "
                           "the nearest is %s", text, instead_of(text));
    const char *near = str_nearest(text, name, n);
    if (near)
        return err_set(e, ERR_USAGE, "unknown type '%s', did you mean %s?", text, near);
    return err_set(e, ERR_USAGE,
                   "unknown type '%s'; types are f32, f16, bf16, fp8-block and fp8-block32 with "
                   "nothing, -pow2, -bf16 or -e8m0 behind it, fp8-channel, fp8-fbgemm, "
                   "fp8-tensor, mxfp8, mxfp4-packed, mxfp4-deepseek, mxfp4-blocks, "
                   "nvfp4-packed, nvfp4-modelopt, and int4 or int8 with -g16 to -g1024 or "
                   "-channel, and -asym for zero points (int4-g32, int8-channel-asym); the "
                   "forms of GPTQ, AWQ and MLX (int4-gptq-g128, int4-awq-g128, int4-mlx-g64); for "
                   "GGUF files Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL, IQ4_XS, MXFP4 "
                   "and NVFP4", text);
}
