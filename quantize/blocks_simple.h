// SPDX-License-Identifier: Apache-2.0
// ggml's types of one scale (and minimum) a block, as a template (kernel_lanes.h): their bytes.
// blocks_simple_search.h finds the codes of Q4_0, Q4_1, Q5_0 and Q5_1.
#include "quantize/block_kernels.h"
#include "quantize/block_lanes.h"
#include "quantize/blocks_simple_search.h"

// ---- Q4_0: f16 d @0; nibbles @2.  Q4_1: f16 d @0; f16 m @2; nibbles @4 ----
// ---- Q5_0: f16 d @0; u32 fifth bits @2; nibbles @6.  Q5_1: f16 d, m; u32 @4; nibbles @8 ----
// Byte j of 16 has element j's low bits in its low nibble and element j + 16's in the high one;
// element j's fifth bit is bit j. Value d (q - 8), d q + m, d (q - 16), d q + m.

INLINE int simple_bytes(simple_type t)
{
    return 2 + (t.with_minimum ? 2 : 0) + (t.bits == 5 ? 4 : 0) + SIMPLE_BLOCK / 2;
}

INLINE void simple_decode(simple_type t, float *to, const uint8_t *from, int64_t blocks)
{
    vi bit;
    for (int i = 0; i < KERNEL_LANES; i++)
        bit[i] = 1 << i;
    for (int64_t b = 0; b < blocks; b++, from += simple_bytes(t), to += SIMPLE_BLOCK) {
        const uint8_t *low = from + simple_bytes(t) - 16;
        float d = f16_to_f32(load_u16(from));
        float m = t.with_minimum ? f16_to_f32(load_u16(from + 2)) : 0;
        uint32_t fifth = t.bits == 5 ? load_u32(low - 4) : 0;
        for (int j = 0; j < 16; j += KERNEL_LANES) {
            vi pair = bytes(low + j);
            vi q[2] = {pair & 15, pair >> 4};
            for (int half = 0; half < 2; half++) {
                if (t.bits == 5)
                    q[half] |= ((bit & (int32_t)(fifth >> (j + 16 * half))) != 0) & 16;
                vf x = __builtin_convertvector(q[half], vf);
                x = t.with_minimum ? x * d + m : (x - (float)simple_zero(t)) * d;
                memcpy(to + j + 16 * half, &x, sizeof x);
            }
        }
    }
}

// An infinite scale would be of no use to anybody.
INLINE vi scale_bits(vf x) { return to_f16_lanes(clamp(x, -65504, 65504)); }

// The first count lanes' blocks.
INLINE void simple_pack(simple_type t, const simple_codes *c, uint8_t *to, int count)
{
    vi head = scale_bits(c->d), fifth = {0}, low[4];
    if (t.with_minimum)
        head |= scale_bits(c->m) << 16;
    for (int k = 0; k < 4; k++) {
        low[k] = (vi){0};
        for (int i = 0; i < 4; i++) {
            int j = 4 * k + i;
            vi first = c->q[j] & 15, second = c->q[j + 16] & 15;
            low[k] |= first << (8 * i) | second << (8 * i + 4);
            if (t.bits == 5)
                fifth |= c->q[j] >> 4 << j | c->q[j + 16] >> 4 << (j + 16);
        }
    }
    for (int i = 0; i < count; i++) {
        uint8_t *p = to + i * simple_bytes(t);
        store_u16(p, (uint16_t)head[i]);
        p += 2;
        if (t.with_minimum) {
            store_u16(p, (uint16_t)(head[i] >> 16));
            p += 2;
        }
        if (t.bits == 5) {
            store_u32(p, (uint32_t)fifth[i]);
            p += 4;
        }
        for (int k = 0; k < 4; k++)
            store_u32(p + 4 * k, (uint32_t)low[k][i]);
    }
}

// Sum of squares / in of at most KERNEL_LANES rows, each in order.
INLINE void mean_squares(float to[KERNEL_LANES], const float *from, int64_t rows, int64_t in)
{
    vf sum = {0};
    for (int64_t j = 0; j < in; j += SIMPLE_BLOCK) {
        const float *at[KERNEL_LANES];
        vf x[SIMPLE_BLOCK];
        for (int i = 0; i < KERNEL_LANES; i++)
            at[i] = from + (i < rows ? i : 0) * in + j;
        columns(x, at, SIMPLE_BLOCK);
        for (int k = 0; k < SIMPLE_BLOCK; k++)
            sum += x[k] * x[k];
    }
    sum /= (float)in;
    memcpy(to, &sum, sizeof sum);
}

// Blocks [b, b + count), count at most KERNEL_LANES, of rows whose mean squares begin with row0's.
INLINE void simple_encode_lanes(simple_type t, const block_rows *r, int64_t b, int count,
                                int64_t row0, const float *mean_square)
{
    int64_t per_row = r->in / SIMPLE_BLOCK;
    const float *from[KERNEL_LANES], *importance[KERNEL_LANES];
    vf x[SIMPLE_BLOCK], w[SIMPLE_BLOCK], square;
    simple_codes c;
    for (int i = 0; i < KERNEL_LANES; i++) {
        int64_t at = b + (i < count ? i : 0);
        from[i] = r->from + at * SIMPLE_BLOCK;
        if (!r->importance)
            continue;
        importance[i] = r->importance + at % per_row * SIMPLE_BLOCK;
        square[i] = mean_square[at / per_row - row0];
    }
    columns(x, from, SIMPLE_BLOCK);
    if (!r->importance) {
        simple_plain(t, x, &c);
    } else {
        columns(w, importance, SIMPLE_BLOCK);
        for (int j = 0; j < SIMPLE_BLOCK; j++)
            w[j] *= square_root(square + x[j] * x[j]);
        if (t.with_minimum)
            simple_fit_line(t, x, w, &c);
        else
            simple_fit_scale(t, x, w, &c);
    }
    simple_pack(t, &c, r->to + b * simple_bytes(t), count);
}

INLINE void simple_encode(simple_type t, const block_rows *r)
{
    int64_t per_row = r->in / SIMPLE_BLOCK;
    for (int64_t row = 0; row < r->n; row += KERNEL_LANES) {
        int64_t rows = r->n - row < KERNEL_LANES ? r->n - row : KERNEL_LANES;
        float mean_square[KERNEL_LANES];
        if (r->importance)
            mean_squares(mean_square, r->from + row * r->in, rows, r->in);
        int64_t end = (row + rows) * per_row;
        for (int64_t b = row * per_row; b < end; b += KERNEL_LANES)
            simple_encode_lanes(t, r, b, end - b < KERNEL_LANES ? (int)(end - b) : KERNEL_LANES,
                                row, mean_square);
    }
}

#define SIMPLE_TYPE(name, ...)                                                                   \
    KERNEL_TARGET static void KERNEL(name##_decode)(float *to, const uint8_t *from,              \
                                                    int64_t blocks)                              \
    {                                                                                            \
        simple_decode((simple_type){__VA_ARGS__}, to, from, blocks);                             \
    }                                                                                            \
    KERNEL_TARGET static void KERNEL(name##_encode)(const block_rows *r)                         \
    {                                                                                            \
        simple_encode((simple_type){__VA_ARGS__}, r);                                            \
    }

SIMPLE_TYPE(q4_0, 4, false)
SIMPLE_TYPE(q4_1, 4, true)
SIMPLE_TYPE(q5_0, 5, false)
SIMPLE_TYPE(q5_1, 5, true)
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
    {DT_Q4_0, 65504.0f * 8, true, KERNEL(q4_0_decode), KERNEL(q4_0_encode)},
    {DT_Q4_1, 65504.0f, true, KERNEL(q4_1_decode), KERNEL(q4_1_encode)},
    {DT_Q5_0, 65504.0f * 16, true, KERNEL(q5_0_decode), KERNEL(q5_0_encode)},
    {DT_Q5_1, 65504.0f, true, KERNEL(q5_1_decode), KERNEL(q5_1_encode)},
    {DT_Q8_0, 65504.0f * 127, false, KERNEL(q8_0_decode), KERNEL(q8_0_encode)},
};
