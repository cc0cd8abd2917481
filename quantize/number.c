// SPDX-License-Identifier: Apache-2.0
#include "quantize/number.h"

#include "base/bytes.h"
#include "quantize/kernels.h"

float f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t exponent = bits >> 10 & 0x1f;
    uint32_t fraction = bits & 0x3ff;
    if (exponent == 0x1f) // a signalling NaN becomes quiet, as the processor's conversion has it
        return f32_from_bits(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    if (exponent == 0) {
        float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return f32_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t f32_to_f16(float value)
{
    uint32_t u = f32_bits(value);
    uint32_t sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));
    if (u >= 0x47800000) // 2^16 and above; [65520, 2^16) gets there by the carry below
        return (uint16_t)(sign | 0x7c00);
    if (u < 0x38800000) { // below 2^-14: 0.5 has the subnormals' step, 2^-24, as its last place
        float shifted = f32_from_bits(u) + 0.5f;
        return (uint16_t)(sign | (f32_bits(shifted) - 0x3f000000));
    }
    u += 0xfff + (u >> 13 & 1);
    return (uint16_t)(sign | ((u >> 13) - (112 << 10)));
}

float bf16_to_f32(uint16_t bits) { return f32_from_bits((uint32_t)bits << 16); }

uint16_t f32_to_bf16(float value)
{
    uint32_t u = f32_bits(value);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float e4m3_to_f32(uint8_t code)
{
    uint32_t sign = (uint32_t)(code & 0x80) << 24;
    uint32_t magnitude = code & 0x7f;
    if (magnitude == 0x7f)
        return f32_from_bits(sign | 0x7fc00000);
    if (magnitude < 8) {
        float value = (float)magnitude * 0x1p-9f;
        return sign ? -value : value;
    }
    return f32_from_bits(sign | ((magnitude << 20) + (120u << 23)));
}

uint8_t f32_to_e4m3(float value)
{
    uint32_t u = f32_bits(value);
    uint32_t sign = u >> 24 & 0x80;
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return 0x7f;
    if (u >= 0x43e00000) // 448 and above
        return (uint8_t)(sign | 0x7e);
    if (u < 0x3c800000) { // below 2^-6: 2^14 has the subnormals' step, 2^-9, as its last place
        float shifted = f32_from_bits(u) + 0x1p14f;
        return (uint8_t)(sign | (f32_bits(shifted) - 0x46800000));
    }
    u += 0x7ffff + (u >> 20 & 1);
    return (uint8_t)(sign | ((u >> 20) - (120 << 3)));
}

float e8m0_to_f32(uint8_t code)
{
    if (code == 0xff)
        return f32_from_bits(0x7fc00000);
    return f32_from_bits(code ? (uint32_t)code << 23 : 0x400000);
}

float e2m1_to_f32(uint8_t code)
{
    static const float value[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6,
                                    -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
    return value[code & 15];
}

uint8_t f32_to_e2m1(float value)
{
    uint32_t u = f32_bits(value);
    uint32_t sign = u >> 28 & 8;
    u &= 0x7fffffff;
    if (u >= 0x40a00001) // above 5
        return (uint8_t)(sign | 7);
    if (u < 0x3f800000) { // below 1: 2^22 has the step 0.5 as its last place
        float shifted = f32_from_bits(u) + 0x1p22f;
        return (uint8_t)(sign | (f32_bits(shifted) - 0x4a800000));
    }
    u += 0x1fffff + (u >> 22 & 1);
    return (uint8_t)(sign | ((u >> 22) - (126 << 1)));
}

float ue4m3_to_f32(uint8_t code)
{
    if ((code & 0x7f) == 0x7f)
        return code == 0x7f ? 0 : 480;
    return e4m3_to_f32(code & 0x7f);
}

uint8_t f32_to_ue4m3(float value)
{
    if (!(value > 0))
        return 0;
    if (value >= 256)
        return 0x7e;
    if (value < 0x1p-6f) {
        int32_t steps = (int32_t)(value * 512 + 0.5f);
        return (uint8_t)(steps < 7 ? steps : 7);
    }
    uint32_t code = ((f32_bits(value) + (1 << 19)) >> 20) - (120 << 3);
    return (uint8_t)(code < 0x78 ? code : 0x7e);
}

int32_t f32_floor_log2(float value)
{
    uint32_t u = f32_bits(value);
    int32_t exponent = (int32_t)(u >> 23) - 127;
    // The logarithm of (1 - n 2^-24) 2^above is above - n 2^-24 / ln 2, and becomes `above` where
    // that is nearer than half a step there: for n up to 2^i ln 2, 2^i the power of two at or below
    // the integer part of the numbers next to `above` on this side.
    int32_t above = exponent + 1;
    uint32_t near = (uint32_t)(above > 0 ? above - 1 : -above);
    uint32_t below = (1u << 23) - (u & 0x7fffff); // floats up to 2^above
    int32_t i = near ? 31 - __builtin_clz(near) : 0;
    return below <= 44u >> (6 - i) ? above : exponent;
}

bool row_to_f32(float *to, const void *from, dtype type, int64_t n)
{
    const unsigned char *p = from;
    switch (type) {
    case DT_F64:
        for (int64_t i = 0; i < n; i++)
            to[i] = (float)load_f64(p + 8 * i);
        return true;
    case DT_F32:
        if (n > 0)
            memcpy(to, p, (size_t)n * 4);
        return true;
    case DT_F16:
        kernels_used()->from_f16(to, from, n);
        return true;
    case DT_BF16:
        kernels_used()->from_bf16(to, from, n);
        return true;
    case DT_F8_E4M3:
        kernels_used()->from_e4m3(to, from, 1.0f, n);
        return true;
    case DT_F8_E8M0:
        for (int64_t i = 0; i < n; i++)
            to[i] = e8m0_to_f32(p[i]);
        return true;
    default:
        return false;
    }
}

bool row_from_f32(void *to, dtype type, const float *from, int64_t n)
{
    switch (type) {
    case DT_F32:
        if (n > 0)
            memcpy(to, from, (size_t)n * 4);
        return true;
    case DT_F16:
        kernels_used()->to_f16(to, from, n);
        return true;
    case DT_BF16:
        kernels_used()->to_bf16(to, from, n);
        return true;
    default:
        return false;
    }
}
