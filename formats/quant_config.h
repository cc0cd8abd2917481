// SPDX-License-Identifier: Apache-2.0
// What a config's quantization_config declares about stored weights, so that it can be held
// against what the tensors are (model.c). It never decides how a tensor is decoded; weight.c does,
// by the tensors alone. Ignore and target lists are not evaluated: published ones name modules that
// do not exist. Refuses, by name, methods that this version cannot decode.
#ifndef SCRUPLE_FORMATS_QUANT_CONFIG_H
#define SCRUPLE_FORMATS_QUANT_CONFIG_H

#include "formats/config.h"
#include "quantize/codec.h"

enum { QUANT_MAX_DECLARED = 16 };

typedef struct {
    const char *method; // "fp8", "compressed-tensors"; NULL where nothing is declared
    int n;
    struct {
        codec_form form;
        int64_t group;  // of CODEC_INT4_GROUP, else 0
    } declared[QUANT_MAX_DECLARED];
} quant_config;

MUST_USE bool quant_config_read(quant_config *q, const config *c, err *e);
bool quant_config_declares(const quant_config *q, const codec *c);
// "int4-g32, fp8-channel"; buf must hold 200 bytes.
const char *quant_config_text(const quant_config *q, char *buf, size_t size);

#endif
