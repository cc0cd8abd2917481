// SPDX-License-Identifier: Apache-2.0
#include "quantize/search.h"

#include "base/bytes.h"
#include "quantize/number.h"

static uint16_t scale_bits(float scale)
{
    return f32_to_bf16(scale < 0x1p-126f ? 0x1p-126f : scale);
}

static void codes_of(const float *w, int64_t n, float scale, int8_t *code)
{
    for (int64_t i = 0; i < n; i++) {
        float x = w[i] / scale;
        x = x < -8.0f ? -8.0f : x;
        x = x > 7.0f ? 7.0f : x;
        code[i] = (int8_t)(x + 0x1.8p23f - 0x1.8p23f); // to nearest even
    }
}

static void absmax_group(const float *w, int64_t n, uint16_t *scale, int8_t *code)
{
    float amax = 0;
    for (int64_t i = 0; i < n; i++) {
        float a = f32_from_bits(f32_bits(w[i]) & 0x7fffffff);
        amax = a > amax ? a : amax;
    }
    *scale = amax == 0 ? 0x3f80 : scale_bits(amax / 7.5f);
    codes_of(w, n, bf16_to_f32(*scale), code);
}

void search_int4(const encode_options *o, int64_t group, const float *w, int64_t n,
                 uint16_t *scale, int8_t *code)
{
    (void)o;
    for (int64_t i = 0; i < n; i += group)
        absmax_group(w + i, group, scale + i / group, code + i);
}
