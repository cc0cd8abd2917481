// SPDX-License-Identifier: Apache-2.0
// ggml's types of one scale (and minimum) a block, as a template (kernel_lanes.h): their bytes.
// blocks_simple_ggml.h and blocks_simple_best.h find the codes. Q8_K, Q1_0 and Q2_0 are only read.
#include "quantize/block_kernels.h"
#include "quantize/block_lanes.h"
#include "quantize/blocks_simple_best.h"

// ---- Q4_0: f16 d @0; nibbles @2.  Q4_1: f16 d @0; f16 m @2; nibbles @4 ----
// ---- Q5_0: f16 d @0; u32 fifth bits @2; nibbles @6.  Q5_1: f16 d, m; u32 @4; nibbles @8 ----
// Byte j of 16 has element j's low bits in its low nibble and element j + 16's in the high one;
// element j's fifth bit is bit j. Value d (q - 8), d q + m, d (q - 16), d q + m.

INLINE int simple_bytes(simple_type t)
{
    return 2 + (t.with_minimum ? 2 : 0) + SIMPLE_BLOCK * t.bits / 8;
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

// Bytes 4 k .. 4 k + 3 of the codes: nibbles, or for 8 bits the codes around 0.
INLINE vi code_word(simple_type t, const simple_codes *c, int k)
{
    vi word = {0};
    UNROLLED(i, 4) {
        int j = 4 * k + i;
        vi byte = t.bits == 8 ? c->q[j] ^ 0x80 : c->q[j] | c->q[j + 16] << 4;
        if (t.bits == 5)
            byte = (c->q[j] & 15) | (c->q[j + 16] & 15) << 4;
        word |= byte << (8 * i);
    }
    return word;
}

// The first count lanes' blocks.
INLINE void simple_pack(simple_type t, const simple_codes *c, uint8_t *to, int count)
{
    enum { SCALES, FIFTHS, CODES, MOST = CODES + 8 };
    int codes = t.bits == 8 ? 8 : 4;
    vi fifth = {0};
    uint32_t word[MOST][KERNEL_LANES];
    vi scales = scale_bits(c->d) | (t.with_minimum ? scale_bits(c->m) << 16 : (vi){0});
    memcpy(word[SCALES], &scales, sizeof scales);
    if (t.bits == 5) {
        UNROLLED(j, 16)
            fifth |= c->q[j] >> 4 << j | c->q[j + 16] >> 4 << (j + 16);
        memcpy(word[FIFTHS], &fifth, sizeof fifth);
    }
    for (int k = 0; k < codes; k++) {
        vi code = code_word(t, c, k);
        memcpy(word[CODES + k], &code, sizeof code);
    }
    for (int i = 0; i < count; i++, to += simple_bytes(t)) {
        uint8_t *p = to + (t.with_minimum ? 4 : 2);
        if (t.with_minimum)
            store_u32(to, word[SCALES][i]);
        else
            store_u16(to, (uint16_t)word[SCALES][i]);
        if (t.bits == 5) {
            store_u32(p, word[FIFTHS][i]);
            p += 4;
        }
        for (int k = 0; k < codes; k++)
            store_u32(p + 4 * k, word[CODES + k][i]);
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
    enum { AHEAD = KERNEL_LANES * SIMPLE_BLOCK };
    int64_t per_row = r->in / SIMPLE_BLOCK, blocks = r->n * per_row;
    const float *from[KERNEL_LANES], *importance[KERNEL_LANES];
    vf x[SIMPLE_BLOCK], importances[SIMPLE_BLOCK], square;
    simple_codes c;
    for (int i = 0; i < KERNEL_LANES; i++) {
        int64_t at = b + (i < count ? i : 0);
        from[i] = r->from + at * SIMPLE_BLOCK;
        // The vectors read with strides that processors do not foresee.
        const float *next = at + KERNEL_LANES < blocks ? from[i] + AHEAD : from[i];
        __builtin_prefetch(next);
        __builtin_prefetch(next + SIMPLE_BLOCK / 2);
        if (!r->importance)
            continue;
        importance[i] = r->importance + at % per_row * SIMPLE_BLOCK;
        square[i] = t.bits != 8 ? mean_square[at / per_row - row0] : 0;
    }
    columns(x, from, SIMPLE_BLOCK);
    if (r->importance)
        columns(importances, importance, SIMPLE_BLOCK);
    if (t.bits == 8) {
        simple_plain_8(x, &c);
    } else if (!r->importance) {
        simple_plain(t, x, &c);
    } else {
        vf w[SIMPLE_BLOCK];
        for (int j = 0; j < SIMPLE_BLOCK; j++)
            w[j] = importances[j] * square_root(square + x[j] * x[j]);
        if (t.with_minimum)
            simple_fit_line(t, x, w, &c);
        else
            simple_fit_scale(t, x, w, &c);
    }
    if (r->search == SEARCH_BEST) {
        for (int j = 0; j < SIMPLE_BLOCK && !r->importance; j++)
            importances[j] = SPREAD(1);
        simple_best(t, x, importances, r->importance != NULL, &c);
    }
    simple_pack(t, &c, r->to + b * simple_bytes(t), count);
}

INLINE void simple_encode(simple_type t, const block_rows *r)
{
    int64_t per_row = r->in / SIMPLE_BLOCK;
    for (int64_t row = 0; row < r->n; row += KERNEL_LANES) {
        int64_t rows = r->n - row < KERNEL_LANES ? r->n - row : KERNEL_LANES;
        float mean_square[KERNEL_LANES];
        if (r->importance && t.bits != 8)
            mean_squares(mean_square, r->from + row * r->in, rows, r->in);
        int64_t end = (row + rows) * per_row;
        for (int64_t b = row * per_row; b < end; b += KERNEL_LANES)
            simple_encode_lanes(t, r, b, end - b < KERNEL_LANES ? (int)(end - b) : KERNEL_LANES,
                                row, mean_square);
    }
}

// ---- Q8_0: f16 d @0; i8 q[32] @2; value d q ----

INLINE void bytes_decode(float *to, const uint8_t *q, int n, float d)
{
    for (int j = 0; j < n; j += KERNEL_LANES) {
        vi8 part;
        memcpy(&part, q + j, sizeof part);
        vf x = __builtin_convertvector(__builtin_convertvector(part, vi16), vf) * d;
        memcpy(to + j, &x, sizeof x);
    }
}

KERNEL_TARGET static void KERNEL(q8_0_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += 34, to += 32)
        bytes_decode(to, from + 2, 32, f16_to_f32(load_u16(from)));
}

// ---- Q8_K: f32 d @0; i8 q[256] @4; i16 sums of 16 q @260, not needed; value d q ----

KERNEL_TARGET static void KERNEL(q8_k_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    for (int64_t b = 0; b < blocks; b++, from += 292, to += 256)
        bytes_decode(to, from + 4, 256, load_f32(from));
}

// ---- Q1_0: f16 d @0; a bit an element @2; value d where it is set, else -d ----

KERNEL_TARGET static void KERNEL(q1_0_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    vi bit = {0};
    for (int i = 0; i < KERNEL_LANES; i++)
        bit[i] = 1 << i;
    for (int64_t b = 0; b < blocks; b++, from += 18, to += 128) {
        int32_t d = (int32_t)f32_bits(f16_to_f32(load_u16(from)));
        for (int j = 0; j < 128; j += KERNEL_LANES) {
            int32_t bits = (int32_t)(load_u32(from + 2 + j / 32 * 4) >> j % 32);
            vi x = d ^ (((bit & bits) == 0) & INT32_MIN);
            memcpy(to + j, &x, sizeof x);
        }
    }
}

// ---- Q2_0: f16 d @0; 2 bits an element @2, the low ones first; value d (q - 1) ----

KERNEL_TARGET static void KERNEL(q2_0_decode)(float *to, const uint8_t *from, int64_t blocks)
{
    vu shift = {0};
    for (int i = 0; i < KERNEL_LANES; i++)
        shift[i] = 2 * (uint32_t)i;
    for (int64_t b = 0; b < blocks; b++, from += 18, to += 64) {
        float d = f16_to_f32(load_u16(from));
        for (int j = 0; j < 64; j += KERNEL_LANES) {
            vu q = ((vu){0} + (load_u32(from + 2 + j / 16 * 4) >> 2 * (j % 16))) >> shift & 3;
            vf x = (__builtin_convertvector((vi)q, vf) - 1.0f) * d;
            memcpy(to + j, &x, sizeof x);
        }
    }
}

#define SIMPLE_DECODE(name, ...)                                                                 \
    KERNEL_TARGET static void KERNEL(name##_decode)(float *to, const uint8_t *from,              \
                                                    int64_t blocks)                              \
    {                                                                                            \
        simple_decode((simple_type){__VA_ARGS__}, to, from, blocks);                             \
    }
#define SIMPLE_ENCODE(name, ...)                                                                 \
    KERNEL_TARGET static void KERNEL(name##_encode)(const block_rows *r)                         \
    {                                                                                            \
        simple_encode((simple_type){__VA_ARGS__}, r);                                            \
    }

SIMPLE_DECODE(q4_0, 4, false)
SIMPLE_DECODE(q4_1, 4, true)
SIMPLE_DECODE(q5_0, 5, false)
SIMPLE_DECODE(q5_1, 5, true)
SIMPLE_ENCODE(q4_0, 4, false)
SIMPLE_ENCODE(q4_1, 4, true)
SIMPLE_ENCODE(q5_0, 5, false)
SIMPLE_ENCODE(q5_1, 5, true)
SIMPLE_ENCODE(q8_0, 8, false)

const block_ops KERNEL(blocks_simple)[N_BLOCKS_SIMPLE] = {
    {DT_Q4_0, 65504.0f * 8, true, KERNEL(q4_0_decode), KERNEL(q4_0_encode)},
    {DT_Q4_1, 65504.0f, true, KERNEL(q4_1_decode), KERNEL(q4_1_encode)},
    {DT_Q5_0, 65504.0f * 16, true, KERNEL(q5_0_decode), KERNEL(q5_0_encode)},
    {DT_Q5_1, 65504.0f, true, KERNEL(q5_1_decode), KERNEL(q5_1_encode)},
    {DT_Q8_0, 65504.0f * 127, true, KERNEL(q8_0_decode), KERNEL(q8_0_encode)},
    {DT_Q8_K, 0, false, KERNEL(q8_k_decode), NULL},
    {DT_Q1_0, 0, false, KERNEL(q1_0_decode), NULL},
    {DT_Q2_0, 0, false, KERNEL(q2_0_decode), NULL},
};
