// SPDX-License-Identifier: Apache-2.0
// What the registry (codec.c) and the forms (codec_float.c, codec_fp8.c, codec_int.c, codec_mx.c,
// codec_tools.c, codec_scaled.c, codec_blocks.c) share. The world outside quantize/ goes through
// codec.h.
#ifndef SCRUPLE_QUANTIZE_CODEC_FORMS_H
#define SCRUPLE_QUANTIZE_CODEC_FORMS_H

#include "quantize/codec.h"

bool float_decode(const codec *c, int64_t in, int64_t n, const part_view *part, float *to, err *e);
// Codes, scales and whatever else, as the codec's row says they lie (codec_scaled.c).
bool scaled_decode(const codec *c, int64_t in, int64_t n, const part_view *part, float *to,
                   err *e);
bool scaled_scales(const codec *c, int64_t in, int64_t n, const part_view *part, float *to,
                   err *e);
bool float_encode(const codec *c, int64_t in, int64_t n, const float *from,
                  const encode_options *o, void *const *part, err *e);
bool fp8_block_encode(const codec *c, int64_t in, int64_t n, const float *from,
                      const encode_options *o, void *const *part, err *e);
bool fp8_channel_encode(const codec *c, int64_t in, int64_t n, const float *from,
                        const encode_options *o, void *const *part, err *e);
// The scale of a tensor, row or block of FP8 with that largest magnitude (codec_fp8.c).
float fp8_scale(float amax, bool pow2);
bool fp8_tensor_encode(const codec *c, int64_t in, int64_t n, const float *from,
                       const encode_options *o, void *const *part, err *e);
bool mx_encode(const codec *c, int64_t in, int64_t n, const float *from, const encode_options *o,
               void *const *part, err *e);
bool int_encode(const codec *c, int64_t in, int64_t n, const float *from, const encode_options *o,
                void *const *part, err *e);
bool tools_encode(const codec *c, int64_t in, int64_t n, const float *from,
                  const encode_options *o, void *const *part, err *e);
bool blocks_decode(const codec *c, int64_t in, int64_t n, const part_view *part, float *to, err *e);
bool blocks_encode(const codec *c, int64_t in, int64_t n, const float *from,
                   const encode_options *o, void *const *part, err *e);

// ERR_INPUT unless part i was found in a type that the codec reads.
MUST_USE bool codec_accepts(const codec *c, const part_view *part, err *e);
// ERR_INPUT naming row and column of the first NaN or infinity of from [n][in].
MUST_USE bool codec_all_finite(const codec *c, const float *from, int64_t n, int64_t in,
                               int64_t row0, err *e);
// Above it the next scale, a power of two or rounded up, or a code times it may be infinite.
#define CODEC_LARGEST 0x1.8p127f
// Likewise, or the first whose magnitude is above `largest`.
MUST_USE bool codec_within(const codec *c, const float *from, int64_t n, int64_t in, float largest,
                           int64_t row0, err *e);

#endif
