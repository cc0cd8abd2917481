// SPDX-License-Identifier: Apache-2.0
// What a config's quantization_config (MLX: quantization) declares about stored weights, so that it
// can be held against what the tensors are (model.c). It decides how a tensor is decoded only where
// tensors do not tell: which of GPTQ's two formats they are. Ignore and target lists are not
// evaluated: published ones name modules that do not exist. Refuses, by name, methods that this
// version cannot decode.
#ifndef SCRUPLE_FORMATS_QUANT_CONFIG_H
#define SCRUPLE_FORMATS_QUANT_CONFIG_H

#include "formats/config.h"
#include "formats/weight.h"

enum { QUANT_MAX_DECLARED = 16 };

typedef enum { ZEROS_ANY, ZEROS_NONE, ZEROS_GIVEN } quant_zeros;

typedef struct {
    codec_element element;
    int bits;
    int64_t rows, cols;  // that share a scale; PART_WHOLE: all of them; 0: it is not said
    quant_zeros zeros;
} quant_scheme;

typedef struct {
    const char *method; // "fp8", "compressed-tensors"; NULL where nothing is declared
    int gptq_format;    // 1 (zero points less 1) or 2, of method "gptq"; else 0
    int n;              // 0 also where a method has schemes of activations only
    quant_scheme declared[QUANT_MAX_DECLARED];
    const json *cache;  // compressed-tensors' kv_cache_scheme, of the config's tree; NULL: none
} quant_config;

// Of an open model, which keeps it; `method` is NULL where its config declares nothing.
const quant_config *quant_config_of(const model *m);
MUST_USE bool quant_config_read(quant_config *q, const config *c, err *e);
bool quant_config_declares(const quant_config *q, const weight *w);
// "int4-g32, fp8-channel"; buf must hold 200 bytes.
const char *quant_config_text(const quant_config *q, char *buf, size_t size);

#endif
