// SPDX-License-Identifier: Apache-2.0
// FP8 E4M3 with a scale a block of 128x128 or 32x32 (DeepSeek's form, `weight_scale_inv`, which
// multiplies in spite of its name) or a scale a row or tensor (compressed-tensors'
// float-quantized).
//
// Encoding, for both searches: amax of the block as it lies in the matrix (edges are ragged, never
// padded); scale = amax / 448, one binary32 division; code = E4M3(w / scale), the quotient rounded
// to binary32 first and then to E4M3, both to nearest even, saturating at 448. That is what torch's
// (w / scale).to(float8_e4m3fn) does; the two roundings differ from a single one only where the
// binary32 quotient is exactly a tie and the real one is within 2^-24 of it.
// pow2: scale = 2^ceil(log2(amax / 448)), found on the bits: with amax = m 2^e the exponent is
// e - 8 where m <= 1.75 (448 = 1.75 x 2^8), else e - 7. A scale never falls below 2^-126; a block
// of zeros gets scale 1.
// A scale stored as BF16 is rounded to it, to nearest even, before codes are found: it is off by
// 2^-9 at most, so the largest code is 448 all the same.
//
// SEARCH_BEST does not search here: E4M3's error is relative to each element, so a smaller scale
// trades saturation of the largest element for nothing (algorithms.md 1.9, and measured again:
// tests/quantize/test_codec_fp8.c).
//
// Encoding a decoded block gives the same bytes: a block's largest code is 448, and
// (448 s) / 448 = s in binary32 for every s that is itself a rounded quotient by 448. The
// power-of-two form gives the same values; where the largest quotient, in (224, 232], was rounded
// down to 224, the second encoding takes half the scale and doubled codes.
#include <float.h>

#include "base/bytes.h"
#include "base/reduce.h"
#include "quantize/codec_forms.h"
#include "quantize/kernels.h"
#include "quantize/number.h"

static float max_abs(const float *w, int64_t stride, int64_t rows, int64_t cols)
{
    float largest = 0;
    for (int64_t row = 0; row < rows; row++) {
        float here = reduce_max_abs(w + row * stride, cols);
        largest = here > largest ? here : largest;
    }
    return largest;
}

float fp8_scale(float amax, bool pow2)
{
    if (amax == 0)
        return 1;
    if (pow2) {
        int32_t exponent = (int32_t)(f32_bits(amax) >> 23) - 8;
        exponent += (f32_bits(amax) & 0x7fffff) > 0x600000;
        return exponent < 1 ? 0x1p-126f : f32_from_bits((uint32_t)exponent << 23);
    }
    float scale = amax / 448.0f;
    return scale < 0x1p-126f ? 0x1p-126f : scale;
}

// The scale of block i as it is stored.
static float store_scale(const codec *c, void *scales, int64_t i, float amax)
{
    float scale = fp8_scale(amax, c->pow2);
    uint16_t half = f32_to_bf16(scale);
    switch (c->part[1].type) {
    case DT_BF16:
        store_u16((unsigned char *)scales + 2 * i, half);
        return bf16_to_f32(half);
    case DT_F8_E8M0:
        ((uint8_t *)scales)[i] = (uint8_t)(f32_bits(scale) >> 23);
        return scale;
    default:
        store_f32((unsigned char *)scales + 4 * i, scale);
        return scale;
    }
}

bool fp8_block_encode(const codec *c, int64_t in, int64_t n, const float *from,
                      const encode_options *o, void *const *part, err *e)
{
    bool rounds_up = c->pow2 || c->part[1].type != DT_F32;
    if (!codec_within(c, from, n, in, rounds_up ? CODEC_LARGEST : FLT_MAX, o->row0, e))
        return false;
    const kernels *use = kernels_used();
    uint8_t *code = part[0];
    const int64_t side = c->group, blocks = i64_ceil_div(in, side);
    for (int64_t row = 0; row < n; row += side)
        for (int64_t b = 0; b < blocks; b++) {
            int64_t at = row * in + b * side;
            int64_t rows = i64_min(side, n - row);
            int64_t cols = i64_min(side, in - b * side);
            float amax = max_abs(from + at, in, rows, cols);
            float scale = store_scale(c, part[1], row / side * blocks + b, amax);
            for (int64_t r = 0; r < rows; r++)
                use->to_e4m3(code + at + r * in, from + at + r * in, scale, cols);
        }
    return true;
}

bool fp8_channel_encode(const codec *c, int64_t in, int64_t n, const float *from,
                        const encode_options *o, void *const *part, err *e)
{
    if (!codec_all_finite(c, from, n, in, o->row0, e))
        return false;
    const kernels *use = kernels_used();
    uint8_t *code = part[0];
    unsigned char *scales = part[1];
    for (int64_t row = 0; row < n; row++) {
        float scale = fp8_scale(max_abs(from + row * in, in, 1, in), c->pow2);
        store_f32(scales + 4 * row, scale);
        use->to_e4m3(code + row * in, from + row * in, scale, in);
    }
    return true;
}

bool fp8_tensor_encode(const codec *c, int64_t in, int64_t n, const float *from,
                       const encode_options *o, void *const *part, err *e)
{
    if (!codec_all_finite(c, from, n, in, o->row0, e))
        return false;
    kernels_used()->to_e4m3(part[0], from, o->whole_scale, n * in);
    if (o->row0 == 0)
        store_f32(part[1], o->whole_scale);
    return true;
}
