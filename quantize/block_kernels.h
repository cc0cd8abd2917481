// SPDX-License-Identifier: Apache-2.0
// The tables of block types that the templates make, a set a CPU level. Internal to quantize/.
#ifndef SCRUPLE_QUANTIZE_BLOCK_KERNELS_H
#define SCRUPLE_QUANTIZE_BLOCK_KERNELS_H

#include "quantize/blocks.h"

enum { N_BLOCKS_SIMPLE = 8, N_BLOCKS_IQ4 = 2, N_BLOCKS_FP4 = 2, N_BLOCKS_K = 5 };

#define BLOCKS_DECLARE(level)                                                                    \
    extern const block_ops blocks_simple_##level[N_BLOCKS_SIMPLE];                               \
    extern const block_ops blocks_iq4_##level[N_BLOCKS_IQ4];                                     \
    extern const block_ops blocks_fp4_##level[N_BLOCKS_FP4];                                     \
    extern const block_ops blocks_k_##level[N_BLOCKS_K];

BLOCKS_DECLARE(plain)
#if defined(__x86_64__)
BLOCKS_DECLARE(avx2)
BLOCKS_DECLARE(avx512)
#endif

#endif
