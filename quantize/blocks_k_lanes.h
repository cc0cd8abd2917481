// SPDX-License-Identifier: Apache-2.0
// What the templates of the K-quants share (kernel_lanes.h): a batch has one super-block a lane, so
// that each lane runs through the scalar order of operations of the reference, whatever the level.
#ifndef SCRUPLE_QUANTIZE_BLOCKS_K_LANES_H
#define SCRUPLE_QUANTIZE_BLOCKS_K_LANES_H

#include "quantize/block_kernels.h"
#include "quantize/block_lanes.h"

enum {
    K_SUPER = 256,  // weights of a super-block
    K_WORDS = 64,   // room for its encoded form, in words of 32 bits
    K_AHEAD = KERNEL_LANES * K_SUPER * 4, // bytes to the next batch, if there is one
};

typedef struct {
    vf x[K_SUPER];          // [weight][super-block]
    vf importance[K_SUPER]; // of each weight, or 1
    vi word[2][K_WORDS];    // of the encoded forms: ggml's and the best one
    vf error[2];            // of both; if best
    bool best;              // the best one is asked for
    int form;               // which one is being written
    float factor;           // for the importance
} k_batch;

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

INLINE vi k_within(vi x, int32_t least, int32_t most)
{
    return smaller_int(larger_int(x, SPREAD_INT(least)), SPREAD_INT(most));
}

// The same for floats, which are no NaN, and most >= 0: such bits order like integers. Unlike the
// minimum of floats it does not wait for the adders.
INLINE vf k_cap(vf x, vf most)
{
#if KERNEL_LANES == 4
    return smaller(x, most);
#else
    return (vf)smaller_int((vi)x, (vi)most);
#endif
}

// Negative numbers become +0.
INLINE vf k_positive(vf x)
{
#if KERNEL_LANES == 4
    return larger(x, SPREAD(0.0f));
#else
    return (vf)larger_int((vi)x, SPREAD_INT(0));
#endif
}

INLINE vf k_float(vi x) { return __builtin_convertvector(x, vf); }

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
    for (int e = 0; e < K_SUPER; e += KERNEL_LANES) { // and a few lines of the next batch
        const float *at[KERNEL_LANES];
        UNROLLED(i, KERNEL_LANES) {
            at[i] = x[i] + e;
            __builtin_prefetch((const void *)((uintptr_t)at[i] + K_AHEAD), 0, 2);
        }
        columns(b->x + e, at, KERNEL_LANES);
    }
    if (r->importance) {
        columns(b->importance, importance, K_SUPER);
        for (int i = 0; i < K_SUPER && b->factor != 1; i++)
            b->importance[i] *= b->factor;
    }
    memset(b->word, 0, b->best ? sizeof b->word : sizeof b->word[0]);
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
        vf a[KERNEL_LANES];
        UNROLLED(i, KERNEL_LANES)
            a[i] = (vf)b->word[0][w + i];
        transpose(a);
        UNROLLED(i, KERNEL_LANES)
            memcpy(&tile[i][w], &a[i], sizeof a[i]);
    }
    int64_t n = r->n * (r->in / K_SUPER) - first;
    for (int i = 0; i < KERNEL_LANES && i < n; i++)
        memcpy(r->to + (first + i) * bytes, tile[i], (size_t)bytes);
}

#endif
