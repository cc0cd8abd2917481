// SPDX-License-Identifier: Apache-2.0
// What the templates of the K-quants share (kernel_lanes.h): a batch has one super-block a lane, so
// that each lane runs through the scalar order of operations of the reference, whatever the level.
#ifndef SCRUPLE_QUANTIZE_BLOCKS_K_LANES_H
#define SCRUPLE_QUANTIZE_BLOCKS_K_LANES_H

#include "quantize/block_kernels.h"
#include "quantize/kernel_lanes.h"

enum {
    K_SUPER = 256,  // weights of a super-block
    K_WORDS = 64,   // room for its encoded form, in words of 32 bits
    K_AHEAD = KERNEL_LANES * K_SUPER * 4, // bytes to the next batch, if there is one
    K_ROUNDS = KERNEL_LANES == 16 ? 4 : KERNEL_LANES == 8 ? 3 : 2,
};

#if defined(__clang__)
#define K_EACH(i, n) _Pragma("unroll") for (int i = 0; i < (n); i++)
#else
#define K_EACH(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)
#endif

typedef struct {
    vf x[K_SUPER];          // [weight][super-block]
    vf importance[K_SUPER]; // of each weight, or 1
    vi word[2][K_WORDS];    // of the encoded forms: ggml's and the best one
    vf error[2];            // of both; if best
    bool best;              // the best one is asked for
    int form;               // which one is being written
    float factor;           // for the importance
} k_batch;

#define SPREAD_INT(value) ((vi){0} + (value))

INLINE vf k_magnitude(vf x) { return (vf)((vi)x & 0x7fffffff); }

// Of a mask: lanes are 0 or -1.
INLINE bool k_any(vi mask)
{
#if KERNEL_LANES == 16
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif KERNEL_LANES == 8
    return _mm256_movemask_ps((__m256)mask) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)mask) != 0;
#else
    int32_t all = 0;
    K_EACH(i, KERNEL_LANES)
        all |= mask[i];
    return all != 0;
#endif
}

// To the nearest whole number, ties to even; |x| < 2^22.
INLINE vf k_whole(vf x)
{
#if KERNEL_LANES == 16
    return (vf)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
#elif KERNEL_LANES == 8
    return (vf)_mm256_round_ps((__m256)x, _MM_FROUND_TO_NEAREST_INT);
#else
    return x + 0x1.8p23f - 0x1.8p23f;
#endif
}

// The same as an integer, and for all other numbers what ggml's nearest_int makes of them.
INLINE vi k_nearest(vf x) { return ((vi)(x + 0x1.8p23f) & 0x007fffff) - 0x00400000; }

INLINE vi k_at_most(vi x, vi most)
{
#if KERNEL_LANES == 16
    return (vi)_mm512_min_epi32((__m512i)x, (__m512i)most);
#elif KERNEL_LANES == 8
    return (vi)_mm256_min_epi32((__m256i)x, (__m256i)most);
#else
    return either_int(x < most, x, most);
#endif
}

INLINE vi k_at_least(vi x, vi least)
{
#if KERNEL_LANES == 16
    return (vi)_mm512_max_epi32((__m512i)x, (__m512i)least);
#elif KERNEL_LANES == 8
    return (vi)_mm256_max_epi32((__m256i)x, (__m256i)least);
#else
    return either_int(x > least, x, least);
#endif
}

INLINE vi k_within(vi x, int32_t least, int32_t most)
{
    return k_at_most(k_at_least(x, SPREAD_INT(least)), SPREAD_INT(most));
}

// The same for floats, which are no NaN, and most >= 0: such bits order like integers. Unlike the
// minimum of floats it does not wait for the adders.
INLINE vf k_cap(vf x, vf most)
{
#if KERNEL_LANES == 4
    return smaller(x, most);
#else
    return (vf)k_at_most((vi)x, (vi)most);
#endif
}

// Negative numbers become +0.
INLINE vf k_positive(vf x)
{
#if KERNEL_LANES == 4
    return larger(x, SPREAD(0.0f));
#else
    return (vf)k_at_least((vi)x, SPREAD_INT(0));
#endif
}

INLINE vf k_float(vi x) { return __builtin_convertvector(x, vf); }

// a0 b0 a1 b1 ... of the lower and of the upper halves.
INLINE vi k_low(vi a, vi b)
{
#if KERNEL_LANES == 16
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif KERNEL_LANES == 8
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}

INLINE vi k_high(vi a, vi b)
{
#if KERNEL_LANES == 16
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
#elif KERNEL_LANES == 8
    return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

// Each round turns row and column, read as one number of 2 log2(lanes) bits, left by one bit.
INLINE void k_transpose(vi a[KERNEL_LANES])
{
    vi b[KERNEL_LANES];
    K_EACH(round, K_ROUNDS) {
        K_EACH(i, KERNEL_LANES / 2) {
            b[2 * i] = k_low(a[i], a[i + KERNEL_LANES / 2]);
            b[2 * i + 1] = k_high(a[i], a[i + KERNEL_LANES / 2]);
        }
        K_EACH(i, KERNEL_LANES)
            a[i] = b[i];
    }
}

INLINE void k_gather(vf to[K_SUPER], const float *const from[KERNEL_LANES])
{
    for (int e = 0; e < K_SUPER; e += KERNEL_LANES) {
        vi a[KERNEL_LANES];
        K_EACH(i, KERNEL_LANES)
            memcpy(&a[i], from[i] + e, sizeof a[i]);
        K_EACH(i, KERNEL_LANES)
            __builtin_prefetch((const void *)((uintptr_t)(from[i] + e) + K_AHEAD), 0, 2);
        k_transpose(a);
        K_EACH(i, KERNEL_LANES)
            to[e + i] = (vf)a[i];
    }
}

KERNEL_TARGET static void KERNEL(k_start)(k_batch *b, const block_rows *r)
{
    b->best = r->search == SEARCH_BEST;
    b->factor = 1;
    if (!r->importance) {
        for (int i = 0; i < K_SUPER; i++)
            b->importance[i] = SPREAD(1.0f);
        return;
    }
    float most = 0;
    for (int64_t i = 0; i < r->in; i++)
        most = r->importance[i] > most ? r->importance[i] : most;
    // Bytes depend on its ratios only, as long as no product of it leaves the range of binary32.
    if (most > 0x1p30f || most < 0x1p-30f) {
        uint32_t exponent = f32_bits(most) >> 23;
        exponent = exponent < 1 ? 1 : exponent > 253 ? 253 : exponent;
        b->factor = f32_from_bits((254 - exponent) << 23); // its largest into [1, 2)
    }
}

// Super-blocks from `first` on; lanes beyond the last one repeat it.
KERNEL_TARGET static void KERNEL(k_load)(k_batch *b, const block_rows *r, int64_t first)
{
    const float *x[KERNEL_LANES], *importance[KERNEL_LANES];
    int64_t in_row = r->in / K_SUPER, n = r->n * in_row;
    for (int i = 0; i < KERNEL_LANES; i++) {
        int64_t at = first + i < n ? first + i : n - 1;
        x[i] = r->from + at * K_SUPER;
        importance[i] = r->importance ? r->importance + at % in_row * K_SUPER : NULL;
    }
    k_gather(b->x, x);
    if (r->importance) {
        k_gather(b->importance, importance);
        for (int i = 0; i < K_SUPER && b->factor != 1; i++)
            b->importance[i] *= b->factor;
    }
    memset(b->word, 0, sizeof b->word);
    b->error[0] = b->error[1] = SPREAD(0.0f);
    b->form = 0;
}

// Puts the better of both forms into the first. Their errors were summed up in binary32, whose own
// error is far below the margin.
INLINE void k_choose(k_batch *b)
{
    vi stays = b->error[0] * (1 - 0x1p-16f) <= b->error[1]; // ggml's may be no number
    for (int i = 0; i < K_WORDS; i++)
        b->word[0][i] = either_int(stays, b->word[0][i], b->word[1][i]);
}

KERNEL_TARGET static void KERNEL(k_store)(const k_batch *b, const block_rows *r, int64_t first,
                                          int64_t bytes)
{
    uint32_t tile[KERNEL_LANES][K_WORDS];
    for (int w = 0; 4 * w < bytes; w += KERNEL_LANES) {
        vi a[KERNEL_LANES];
        K_EACH(i, KERNEL_LANES)
            a[i] = b->word[0][w + i];
        k_transpose(a);
        K_EACH(i, KERNEL_LANES)
            memcpy(&tile[i][w], &a[i], sizeof a[i]);
    }
    int64_t n = r->n * (r->in / K_SUPER) - first;
    for (int i = 0; i < KERNEL_LANES && i < n; i++)
        memcpy(r->to + (first + i) * bytes, tile[i], (size_t)bytes);
}

#endif
