// SPDX-License-Identifier: Apache-2.0
#include "quantize/blocks.h"

#include "quantize/block_kernels.h"

// A family of types at all levels. On aarch64 the plain code's vectors are NEON's.
typedef struct {
    int n;
    const block_ops *at[CPU_LEVELS];
} family;

#if defined(__x86_64__)
#define FAMILY(name, count)                                                                      \
    {                                                                                            \
        count, { [CPU_PLAIN] = name##_plain, [CPU_AVX2] = name##_avx2,                           \
                 [CPU_AVX512] = name##_avx512 }                                                  \
    }
#else
#define FAMILY(name, count) {count, {[CPU_PLAIN] = name##_plain}}
#endif

static const family families[] = {
    FAMILY(blocks_simple, N_BLOCKS_SIMPLE),
    FAMILY(blocks_iq4, N_BLOCKS_IQ4),
    FAMILY(blocks_fp4, N_BLOCKS_FP4),
    FAMILY(blocks_k, N_BLOCKS_K),
};

const block_ops *block_ops_at(dtype type, cpu_level level)
{
    for (size_t f = 0; f < COUNT_OF(families); f++) {
        const block_ops *set = families[f].at[level];
        if (!set)
            set = families[f].at[CPU_PLAIN];
        for (int i = 0; i < families[f].n; i++)
            if (set[i].type == type)
                return &set[i];
    }
    return NULL;
}

const block_ops *block_ops_used(dtype type) { return block_ops_at(type, cpu_used()); }
