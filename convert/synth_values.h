// SPDX-License-Identifier: Apache-2.0
// The numbers of synthetic tensors: normally distributed, or FP8 codes and block scales as they
// come out of quantizing normally distributed weights. Element i of a tensor depends on the seed,
// the tensor's name and i alone, so that any range can be made by any thread; the same bytes on
// every machine. Knows no file and no model.
#ifndef SCRUPLE_CONVERT_SYNTH_VALUES_H
#define SCRUPLE_CONVERT_SYNTH_VALUES_H

#include "formats/tensor.h"

typedef enum {
    SYNTH_NORMAL, // BF16 or F32: mean + deviation x normal
    SYNTH_CODES,  // F8_E4M3 [out][in]: in every block of 128 x 128 the largest magnitude is 448,
                  // and the deviation is 112, as where amax is about 4 deviations. No NaN.
    SYNTH_SCALES  // F32: deviation / 112, times a factor from [0.75, 1.25) that differs by block
} synth_kind;

typedef struct {
    synth_kind kind;
    double mean, deviation;
} synth_recipe;

enum { SYNTH_QUANTILES = 65536 };

// Quantiles of the normal distribution, as numbers and as codes.
typedef struct {
    float normal[SYNTH_QUANTILES];
    uint8_t code[SYNTH_QUANTILES];
} synth_tables;

void synth_tables_fill(synth_tables *t);
uint64_t synth_key(uint64_t seed, const char *name);
// Elements [first, first + n) of a tensor; first is a multiple of 4.
void synth_fill(const synth_tables *tables, const synth_recipe *r, const tensor *t, uint64_t key,
                int64_t first, int64_t n, void *to);

#endif
