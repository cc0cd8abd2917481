// SPDX-License-Identifier: Apache-2.0
// ggml's types of one scale (and minimum) a block, as a template (kernel_lanes.h): Q8_0.
#include "quantize/block_kernels.h"
#include "quantize/kernel_lanes.h"

// ---- Q8_0: f16 d @0; i8 q[32] @2; value d q ----

enum { Q8_0_BLOCK = 32, Q8_0_BYTES = 34 };

KERNEL_TARGET static void KERNEL(q8_0_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += Q8_0_BYTES, to += Q8_0_BLOCK) {
        float d = f16_to_f32(load_u16(from));
        for (int j = 0; j < Q8_0_BLOCK; j += KERNEL_LANES) {
            vi8 q;
            memcpy(&q, from + 2 + j, sizeof q);
            vf x = __builtin_convertvector(__builtin_convertvector(q, vi16), vf) * d;
            memcpy(to + j, &x, sizeof x);
        }
    }
}

// roundf: half away from zero. What has no code (a product that overflowed) becomes 0.
INLINE vi round_away(vf x)
{
    vf a = (vf)((vi)x & 0x7fffffff);
    vi fits = a < 0x1p22f;
    a = (vf)((vi)a & fits);
    vi whole = __builtin_convertvector(a, vi);
    whole -= a - __builtin_convertvector(whole, vf) >= 0.5f; // a true lane is -1
    vi sign = (vi)x >> 31;
    return (whole ^ sign) - sign;
}

KERNEL_TARGET static void KERNEL(q8_0_encode_block)(uint8_t *to, const float *from)
{
    vf most = {0};
    for (int j = 0; j < Q8_0_BLOCK; j += KERNEL_LANES) {
        vi x;
        memcpy(&x, from + j, sizeof x);
        vf a = (vf)(x & 0x7fffffff);
        most = either(a > most, a, most);
    }
    float amax = 0;
    for (int i = 0; i < KERNEL_LANES; i++)
        amax = most[i] > amax ? most[i] : amax;
    float d = amax / 127, inverse = d != 0 ? 1 / d : 0;
    store_u16(to, f32_to_f16(d));
    for (int j = 0; j < Q8_0_BLOCK; j += KERNEL_LANES) {
        vf x;
        memcpy(&x, from + j, sizeof x);
        vi16 wide = __builtin_convertvector(round_away(x * inverse), vi16);
        vi8 q = __builtin_convertvector(wide, vi8);
        memcpy(to + 2 + j, &q, sizeof q);
    }
}

// Importance is not asked: neither does ggml.
KERNEL_TARGET static void KERNEL(q8_0_encode)(const block_rows *r)
{
    for (int64_t b = 0; b < r->n * r->in / Q8_0_BLOCK; b++)
        KERNEL(q8_0_encode_block)(r->to + b * Q8_0_BYTES, r->from + b * Q8_0_BLOCK);
}

const block_ops KERNEL(blocks_simple)[N_BLOCKS_SIMPLE] = {
    {DT_Q8_0, 65504.0f * 127, false, KERNEL(q8_0_decode), KERNEL(q8_0_encode)},
};
