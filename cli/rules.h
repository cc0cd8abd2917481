// SPDX-License-Identifier: Apache-2.0
// The options that say which weights get which type, alike in quantize and explain.
#ifndef SCRUPLE_CLI_RULES_H
#define SCRUPLE_CLI_RULES_H

#include "base/event.h"
#include "base/option.h"
#include "convert/order.h"

typedef struct {
    const char *type, *fallback, *recipe;
    text_list tensor_type;
    int scope, search;
    bool positive_scales;
} rules_options;

// Rows for a table whose struct T has a rules_options called `rules`.
#define RULES_ROWS(T)                                                                         \
    {OPTION_TEXT(T, rules.type), .name = "type", .value = "TYPE",                             \
     .help = "int4 or int8 with -g16 to -g1024 or -channel, and -asym for zero points "       \
             "(W4A16, W4A16_ASYM, W8A16: -g128), nvfp4-packed, mxfp4-packed, mxfp8 "          \
             "(NVFP4A16, MXFP4A16, MXFP8A16), fp8-block or fp8-block32 with nothing, -pow2, " \
             "-bf16 or -e8m0 behind it, fp8-channel, fp8-fbgemm, fp8-tensor, "                \
             "mxfp4-deepseek, nvfp4-modelopt; into a GGUF: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "    \
             "Q2_K to Q6_K, IQ4_NL, IQ4_XS, MXFP4, NVFP4",                                    \
     .alias = {"outtype", "scheme"}},                                                         \
    {OPTION_CHOICE(T, rules.scope), .name = "scope", .value = "SCOPE",                        \
     .choices = order_scopes, .preset = "experts",                                            \
     .help = "what --type is for: experts: the routed experts; all-linear: also attention, "  \
             "shared experts and dense layers (never router, norms, embeddings, head)"},      \
    {OPTION_LIST(T, rules.tensor_type), .name = "tensor-type", .value = "PATTERN=TYPE",       \
     .help = "type for the weights that fit the pattern, before --recipe and --type; keep "   \
             "moves them as they are; the first that fits decides (docs/recipes.md)"},        \
    {OPTION_TEXT(T, rules.recipe), .name = "recipe", .value = "FILE",                         \
     .help = "ordered rules as JSON, before --type"},                                         \
    {OPTION_CHOICE(T, rules.search), .name = "search", .value = "HOW",                        \
     .choices = order_searches, .preset = "best",                                             \
     .help = "how scales and codes are found: best: the least squared error; compat: the "    \
             "bytes of the tool that the format comes from"},                                 \
    {OPTION_FLAG(T, rules.positive_scales), .name = "positive-scales",                        \
     .help = "int4: never a negative scale"},                                                 \
    {OPTION_TEXT(T, rules.fallback), .name = "fallback", .value = "TYPE",                     \
     .help = "type for tensors whose columns the group does not divide (also bf16)"}

// Rows of quantize and convert for where files are cut: T has shard_bytes and shard_tensors; and
// for where tensors of a GGUF begin: gguf_alignment.
#define SHARD_ROWS(T)                                                                         \
    {OPTION_BYTES(T, shard_bytes), .name = "shard-size", .value = "SIZE",                     \
     .preset = "5000000000", .min = 1, .alias = {"split-max-size"},              \
     .help = "cut files of tensors before they pass this, never inside a module; an expert "  \
             "pack's layers stay whole"},                                                     \
    {OPTION_INT(T, shard_tensors), .name = "shard-tensors", .value = "N", .preset = "0",      \
     .alias = {"split-max-tensors"}, .help = "and before they pass this number; 0: any"},     \
    {OPTION_BYTES(T, gguf_alignment), .name = "gguf-alignment", .value = "BYTES",             \
     .help = "of tensors in a GGUF, a power of two from 8 to 16MiB; 32, or what a GGUF "      \
             "source says, where it is left away"}

// Fills in what the options decide: scope, codec, fallback, search, signs, and the rules, which are
// read into *rules (to be freed in any case); out->rules stays as it is. ERR_USAGE where nothing
// gives a type, or no type has a use for --positive-scales.
MUST_USE bool rules_choose(const rules_options *o, recipe *rules, plan_options *out, err *e);
// Warns of what decides nothing with the types of an order: --search compat, statistics (NULL:
// there are none). No errors, so that a job can go through many types with the same options.
void rules_warn(const rules_options *o, const order *what, const char *statistics,
                const events *v);

#endif
