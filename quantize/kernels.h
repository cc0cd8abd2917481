// SPDX-License-Identifier: Apache-2.0
// The hot loops of this room, one set a CPU level, all with equal bits: the code of a set is a
// template (row_kernel.h, search_kernel.h, groups_kernel.h) in GCC's vector extension. Internal to
// quantize/.
#ifndef SCRUPLE_QUANTIZE_KERNELS_H
#define SCRUPLE_QUANTIZE_KERNELS_H

#include "base/cpu.h"
#include "quantize/groups.h"
#include "quantize/search.h"

// How far right the code of row r % 8 lies in a word of AWQ's.
static const int eights_shift[8] = {0, 16, 4, 20, 8, 24, 12, 28};

typedef struct {
    void (*search)(search_group *g);
    void (*from_bf16)(float *to, const void *from, int64_t n);
    void (*from_f16)(float *to, const void *from, int64_t n);
    void (*to_bf16)(void *to, const float *from, int64_t n);
    void (*to_f16)(void *to, const float *from, int64_t n);
    // to[i] = e4m3_to_f32(code[i]) * scale
    void (*from_e4m3)(float *to, const uint8_t *code, float scale, int64_t n);
    // code[i] = f32_to_e4m3(from[i] / scale)
    void (*to_e4m3)(uint8_t *code, const float *from, float scale, int64_t n);
    // to[i] = (nibble i of packed - zero) * scale
    void (*from_u4)(float *to, const uint8_t *packed, float zero, float scale, int64_t n);
    // to[i] = (code i of a stream of `bits` bits each - zero) * scale; bits is below 8, `end` is
    // behind the last byte that may be read.
    void (*from_bits)(float *to, const uint8_t *stream, const uint8_t *end, int bits, float zero,
                      float scale, int64_t n);
    // to[i] = ((code[i] ^ flip) - zero) * scale
    void (*from_u8)(float *to, const uint8_t *code, uint8_t flip, float zero, float scale,
                    int64_t n);
    // e2m1_to_f32(nibble i of packed, the low one first) * scale
    void (*from_e2m1)(float *to, const uint8_t *packed, float scale, int64_t n);
    // The way back: f32_to_e2m1(from[i] / scale); n a multiple of 16.
    void (*to_e2m1)(uint8_t *packed, const float *from, float scale, int64_t n);
    // Words of eight codes, those of rows 8 k .. 8 k + 7 in AWQ's order, a column's words `pitch`
    // bytes after the last one's: to[r * row + i] is the code of row r in column i.
    void (*split_eights)(uint8_t *to, int64_t row, const uint8_t *words, int64_t pitch,
                         int64_t n_words, int64_t columns);
    void (*add_bias)(float *to, float bias, int64_t n);
    // code[i] = RNE((from[i] - bias) / scale) + zero, kept within 0 and most (at most 255)
    void (*to_whole)(uint8_t *code, const float *from, float bias, float zero, float scale,
                     float most, int64_t n);
    void (*int_rows)(const int_groups *g);
    void (*fp_rows)(const fp_groups *g);
    void (*tool_rows)(const tool_groups *g);
} kernels;

#define KERNELS_DECLARE(level)                                                                   \
    void search_##level(search_group *g);                                                       \
    void from_bf16_##level(float *to, const void *from, int64_t n);                             \
    void from_f16_##level(float *to, const void *from, int64_t n);                              \
    void to_bf16_##level(void *to, const float *from, int64_t n);                               \
    void to_f16_##level(void *to, const float *from, int64_t n);                                \
    void from_e4m3_##level(float *to, const uint8_t *code, float scale, int64_t n);             \
    void to_e4m3_##level(uint8_t *code, const float *from, float scale, int64_t n);             \
    void from_u4_##level(float *to, const uint8_t *packed, float zero, float scale, int64_t n); \
    void from_bits_##level(float *to, const uint8_t *stream, const uint8_t *end, int bits,      \
                           float zero, float scale, int64_t n);                                 \
    void from_u8_##level(float *to, const uint8_t *code, uint8_t flip, float zero, float scale, \
                         int64_t n);                                                            \
    void from_e2m1_##level(float *to, const uint8_t *packed, float scale, int64_t n);           \
    void to_e2m1_##level(uint8_t *packed, const float *from, float scale, int64_t n);           \
    void split_eights_##level(uint8_t *to, int64_t row, const uint8_t *words, int64_t pitch,    \
                              int64_t n_words, int64_t columns);                                \
    void add_bias_##level(float *to, float bias, int64_t n);                                    \
    void to_whole_##level(uint8_t *code, const float *from, float bias, float zero,             \
                          float scale, float most, int64_t n);                                  \
    void int_rows_##level(const int_groups *g);                                                 \
    void fp_rows_##level(const fp_groups *g);                                                   \
    void tool_rows_##level(const tool_groups *g);

KERNELS_DECLARE(plain)
KERNELS_DECLARE(avx2)
KERNELS_DECLARE(avx512)

const kernels *kernels_at(cpu_level level); // a level that cpu_has
const kernels *kernels_used(void);

#endif
