// SPDX-License-Identifier: Apache-2.0
#include "quantize/groups.h"

#include "quantize/number.h"

static float rounded(dtype type, float x)
{
    if (type == DT_BF16)
        return bf16_to_f32(f32_to_bf16(x));
    return type == DT_F16 ? f16_to_f32(f32_to_f16(x)) : x;
}

float nvfp4_global(float amax, dtype source)
{
    float least = source == DT_F16 ? 0x1p-14f : 0x1p-126f; // torch's finfo.tiny
    // torch divides a number by a tensor by multiplying with the tensor's reciprocal.
    float inverse = rounded(source, 1 / (amax > least ? amax : least));
    float global = rounded(source, inverse * 2688);
    return global <= 0x1.fffffep127f ? global : 1;
}

float nvfp4_factor(float amax)
{
    float factor = amax / 2688;
    if (amax == 0)
        return 1;
    return factor < 0x1p-126f ? 0x1p-126f : factor;
}
