// SPDX-License-Identifier: Apache-2.0
#include "quantize/groups.h"

#include "quantize/number.h"

float nvfp4_global(float amax, dtype source)
{
    float most = 0x1.fffffep127f;
    float least = source == DT_F16 ? 0x1p-14f : 0x1p-126f;
    float global = 2688.0f / (amax > least ? amax : least);
    if (source == DT_BF16)
        global = bf16_to_f32(f32_to_bf16(global));
    else if (source == DT_F16)
        global = f16_to_f32(f32_to_f16(global));
    return global <= most ? global : 1.0f;
}
